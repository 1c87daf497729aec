"""From files to files."""
