"""One module for each format; `detect` finds the format of a path, `registry` and `references` list them."""
