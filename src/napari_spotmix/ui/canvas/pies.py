"""Every spot as a pie of its proportions: one surface of colored triangles, crisp at any zoom."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.utils.colormaps.standardize_color import transform_color

from napari_spotmix.dataset.bin_grid import MOST_POINTS
from napari_spotmix.dataset.geometry import placed_spots, to_yx
from napari_spotmix.ui.canvas.layers import spot_diameter

if TYPE_CHECKING:
    from napari.types import FullLayerData
    from numpy.typing import NDArray

    from napari_spotmix.result import Result

__all__ = ["THINNEST", "has_pies", "pies_layer"]

#: A full circle is drawn with so many corners, and a slice with at least two of its own.
_CORNERS = 24
#: Thinner slices are left out: they would be lines.
THINNEST = 0.01


def has_pies(result: Result) -> bool:
    """Return whether the spots are few enough to be drawn as pies."""
    return len(placed_spots(result.spatial)) <= MOST_POINTS


def pies_layer(result: Result, name: str) -> FullLayerData:
    """Return the pies, slices in the order of the cell types, from twelve o'clock on.

    Vertices (n, 2) in (y, x), triangles (m, 3), and a color for each vertex. Spots that were not estimated
    have no pie.
    """
    spots = placed_spots(result.spatial)
    shares = result.proportions.to_numpy()[spots]
    spots, shares = spots[~np.isnan(shares).any(axis=1)], shares[~np.isnan(shares).any(axis=1)]
    shares = np.where(shares < THINNEST, 0.0, shares)
    shares /= shares.sum(axis=1, keepdims=True)
    pie, kind = np.nonzero(shares)
    ends = np.cumsum(shares, axis=1)[pie, kind]
    vertices, triangles, owner = _slices(ends - shares[pie, kind], ends)
    center = to_yx(result.coordinates[spots])[pie[owner]]
    colors = transform_color(list(result.colors.values()))[kind[owner]]
    settings = {
        "name": name,
        "vertex_colors": colors.astype(np.float32),
        "shading": "none",
    }
    return (center + vertices * spot_diameter(result.spatial) / 2, triangles), settings, "surface"


def _slices(
    start: NDArray[np.float64], end: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Return slices of a circle of radius 1 between two shares of its turn.

    Returns
    -------
    vertices : ndarray of float64, shape (n_vertices, 2)
        (y, x), y pointing down.
    triangles : ndarray of int64, shape (n_triangles, 3)
    owner : ndarray of int64, shape (n_vertices,)
        The slice of each vertex.
    """
    n_steps = np.maximum(np.ceil((end - start) * _CORNERS).astype(int), 1)
    # Each slice: its tip, then the corners of its arc.
    n_vertices = n_steps + 2
    first = np.concatenate([[0], np.cumsum(n_vertices)])[:-1]
    owner = np.repeat(np.arange(len(start)), n_vertices)
    at = np.arange(len(owner)) - first[owner] - 1
    turn = start[owner] + (end - start)[owner] * np.maximum(at, 0) / n_steps[owner]
    angle = 2 * np.pi * turn
    vertices = np.where(at[:, None] < 0, 0.0, np.column_stack([-np.cos(angle), np.sin(angle)]))
    corner = np.flatnonzero((at >= 0) & (at < n_steps[owner]))
    return vertices, np.column_stack([first[owner[corner]], corner, corner + 1]), owner
