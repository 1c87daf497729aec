"""Everything of Qt and napari: widgets that wire, pure functions that decide."""
