"""The one adapter for what an AnnData holds: access, geometry, validation, diagnosis, fixes."""
