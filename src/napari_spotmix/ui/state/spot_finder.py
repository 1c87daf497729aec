"""Which spot is at a point of the tissue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scipy.spatial import KDTree

from napari_spotmix.dataset.access import coordinates
from napari_spotmix.dataset.bin_grid import bin_grid
from napari_spotmix.dataset.geometry import placed_spots, spot_diameter

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["SpotFinder"]


class SpotFinder:
    """Finds the spot at a point."""

    def __init__(self, spatial: AnnData) -> None:
        self._placed = placed_spots(spatial)
        self._grid = bin_grid(spatial)
        if self._grid is not None:
            return
        xy = coordinates(spatial)[self._placed]
        self._tree = KDTree(xy) if len(xy) else None
        self._radius = spot_diameter(spatial) / 2

    def at(self, x: float, y: float) -> int | None:
        """Return the spot at (x, y) in full-resolution pixels, or None."""
        if self._grid is not None:
            found = self._grid.at(y, x)
            return None if found is None else int(self._placed[found])
        if self._tree is None:
            return None
        distance, nearest = self._tree.query((x, y))
        return int(self._placed[nearest]) if distance <= self._radius else None
