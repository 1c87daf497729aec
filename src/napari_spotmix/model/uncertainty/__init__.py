"""How far the proportions can be trusted."""
