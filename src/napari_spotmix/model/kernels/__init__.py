"""Every compiled function, by what it serves."""
