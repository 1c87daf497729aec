"""Questions put to a result."""
