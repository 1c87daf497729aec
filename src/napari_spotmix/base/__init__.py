"""Used by every other package, uses none: errors, progress, names, text, threads."""
