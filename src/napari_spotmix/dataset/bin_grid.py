"""Bins on a grid, drawn as an image: a million of them pan and zoom smoothly, as points they do not.

An image of the bins has one pixel for each bin, in the rows and columns of the grid, and an affine transform
to the tissue, so bins on a grid that is rotated in the microscope's image are registered too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_spotmix.base.weak_cache import weakly_cached
from napari_spotmix.dataset.access import array_positions, coordinates
from napari_spotmix.dataset.geometry import placed_spots, to_yx

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = [
    "BinGrid",
    "bin_grid",
    "pyramid",
]


#: Fewer spots than this are drawn as points, at their true size and shape.
MOST_POINTS = 20_000

#: Bins may be off the grid by this part of the pitch, and must fill this part of the image.
_OFF, _LEAST_FILLED = 0.25, 0.1

#: Bins are taken as square if no side is longer than the other by more than this factor.
_LONGEST_SIDE = 1.3

#: Levels are made until the smallest has no side longer than this.
_SMALLEST_LEVEL = 512

#: The pitch is measured on this many bins around the center.
_PATCH = 20_000


@dataclass(frozen=True)
class BinGrid:
    """The pixel of each bin in an image of all bins.

    Attributes
    ----------
    rows, columns : ndarray of int64, shape (n_bins,)
        Pixel of each bin.
    shape : tuple of int
        Of the image: a multiple of the coarsest level's pixels, so that levels stay registered.
    affine : ndarray of float64, shape (3, 3)
        From (row, column) to (y, x) in full-resolution pixels.
    bin_at : ndarray of int32, shape `shape`
        The bin in each pixel, -1 if there is none.
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    shape: tuple[int, int]
    affine: NDArray[np.float64]
    bin_at: NDArray[np.int32]

    @property
    def side(self) -> float:
        """Length of a bin's side, in full-resolution pixels."""
        return float(np.linalg.norm(self.affine[:2, 0]))

    def image(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Return a value per bin as an image (rows, columns), or (rows, columns, channels), NaN around."""
        values = np.asarray(values, np.float32)
        pixels = np.full((*self.shape, *values.shape[1:]), np.nan, np.float32)
        pixels[self.rows, self.columns] = values
        return pixels

    def at(self, y: float, x: float) -> int | None:
        """Return the bin under a point of the tissue, or None."""
        row, column = np.rint(np.linalg.solve(self.affine, [y, x, 1.0])[:2]).astype(int)
        if not (0 <= row < self.shape[0] and 0 <= column < self.shape[1]):
            return None
        found = int(self.bin_at[row, column])
        return None if found < 0 else found


@weakly_cached
def bin_grid(adata: AnnData) -> BinGrid | None:
    """Return the grid of many bins, or None for few spots and for spots that are not on a square grid.

    Bins without coordinates are left out; the others are in the order of the data.
    """
    placed = placed_spots(adata)
    if len(placed) <= MOST_POINTS:
        return None
    yx = to_yx(coordinates(adata)[placed])
    cells = _array_cells(adata, placed)
    cells = _cells_by_pitch(yx) if cells is None else cells
    cells = cells - cells.min(axis=0)
    affine = _fitted(cells, yx)
    extent = cells.max(axis=0) + 1
    if affine is None or len(placed) < _LEAST_FILLED * extent.prod():
        return None
    shape = _padded(extent)
    bin_at = np.full(shape, -1, np.int32)
    bin_at[cells[:, 0], cells[:, 1]] = np.arange(len(cells))
    has_its_own = bin_at[cells[:, 0], cells[:, 1]] == np.arange(len(cells))
    return BinGrid(cells[:, 0], cells[:, 1], shape, affine, bin_at) if has_its_own.all() else None


def _array_cells(adata: AnnData, placed: NDArray[np.integer]) -> NDArray[np.int64] | None:
    """Return (row, column) in the array, if the file holds them."""
    positions = array_positions(adata)
    if positions is None or not np.isfinite(positions[placed]).all():
        return None
    return np.asarray(positions[placed], dtype=np.int64)


def _cells_by_pitch(yx: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return (row, column) of bins along the axes of the image."""
    # Imported here: what draws a figure of a few spots must not load the compiler.
    from napari_spotmix.model.graph import detect_pitch

    middle = np.abs(yx - np.median(yx, axis=0)).max(axis=1)
    patch = yx[np.argpartition(middle, _PATCH - 1)[:_PATCH]]
    return np.asarray(np.rint((yx - yx.min(axis=0)) / detect_pitch(patch)), dtype=np.int64)


def _fitted(cells: NDArray[np.int64], yx: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return the affine transform from cells to (y, x), or None if bins are not square or off the grid."""
    design = np.column_stack([cells, np.ones(len(cells))])
    turned = np.linalg.lstsq(design, yx, rcond=None)[0]
    sides = np.linalg.norm(turned[:2], axis=1)
    off = np.abs(design @ turned - yx).max()
    if sides.min() <= 0 or sides.max() > _LONGEST_SIDE * sides.min() or off > _OFF * sides.min():
        return None
    affine = np.eye(3)
    affine[:2] = turned.T
    return affine


def _padded(extent: NDArray[np.int64]) -> tuple[int, int]:
    n_halvings = 0
    while -(-int(extent.max()) // 2**n_halvings) > _SMALLEST_LEVEL:
        n_halvings += 1
    step = 2**n_halvings
    return int(-(-extent[0] // step) * step), int(-(-extent[1] // step) * step)


def pyramid(pixels: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Return the image and coarser and coarser ones, each pixel the mean of the four below that are not NaN.

    Examples
    --------
    >>> large = np.ones((1024, 512), np.float32)
    >>> [level.shape for level in pyramid(large)]
    [(1024, 512), (512, 256)]
    """
    levels = [pixels]
    while max(levels[-1].shape[:2]) > _SMALLEST_LEVEL:
        levels.append(_halved(levels[-1]))
    return levels


def _halved(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    corners = [pixels[row::2, column::2] for row in (0, 1) for column in (0, 1)]
    total, known = np.zeros_like(corners[0]), np.zeros_like(corners[0])
    for corner in corners:
        is_known = ~np.isnan(corner)
        total[is_known] += corner[is_known]
        known += is_known
    return np.divide(total, known, out=np.full_like(total, np.nan), where=known > 0)
