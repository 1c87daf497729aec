"""Files to AnnData: one module for each format."""
