"""Whether spots are on the stained tissue of their image, and the flip or swap that would put them there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import binary_closing, gaussian_filter

from napari_spotmix.base.keys import IN_TISSUE
from napari_spotmix.dataset.access import coordinates, libraries, placed_images

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    Points = NDArray[np.float64]
    Mask = NDArray[np.bool_]

__all__ = ["MOVES", "better_moves", "extent_of", "moved", "registered_images"]

#: How coordinates are converted from one convention to another.
MOVES = ("swap-xy", "flip-x", "flip-y")
#: Every orientation of the spots: swap the axes or not, then mirror them.
_WAYS = [
    tuple(name for name, is_done in zip(MOVES, done, strict=True) if is_done) for done in np.ndindex(2, 2, 2)
]
#: Cells along the longer side of the grid on which spots and stain are compared.
_CELLS = 64
#: Another orientation must agree this well with the stain, by this much better than the given one, and by
#: this much better than any third one.
_WELL, _BETTER, _CLEARLY = 0.7, 0.15, 0.04
#: Fewer spots than this show no outline.
_FEW_SPOTS = 10
#: Above this difference to the glass, of 255, all tissue counts the same.
_DARK = 80.0


def registered_images(spatial: AnnData) -> list[tuple[str, NDArray[Any], float]]:
    """Return what `access.placed_images` does, but nothing for several libraries.

    Spots of several sections are not all on the image of the first.
    """
    return placed_images(spatial) if len(libraries(spatial)) == 1 else []


def extent_of(spatial: AnnData) -> Points:
    """Return the smallest and largest (x, y) of the image, else of the spots, float64 (2, 2)."""
    images = registered_images(spatial)
    if images:
        _, image, factor = images[0]
        return np.array([[0.0, 0.0], [image.shape[1] / factor, image.shape[0] / factor]])
    xy = coordinates(spatial)
    return np.array([np.nanmin(xy, axis=0), np.nanmax(xy, axis=0)])


def moved(xy: Points, moves: Sequence[str], extent: Points) -> Points:
    """Return coordinates after moves of `MOVES`, in their order; mirrored at the center of the extent.

    Examples
    --------
    >>> moved(np.array([[1.0, 2.0]]), ["swap-xy", "flip-x"], np.array([[0.0, 0.0], [10.0, 10.0]]))
    array([[8., 1.]])
    """
    xy = np.array(xy, dtype=np.float64)
    for move in moves:
        if move == "swap-xy":
            xy[:, :2] = xy[:, 1::-1]
        else:
            axis = ("flip-x", "flip-y").index(move)
            xy[:, axis] = extent[:, axis].sum() - xy[:, axis]
    return xy


def better_moves(spatial: AnnData) -> tuple[str, ...]:
    """Return the moves that put the spots on the stained tissue if they clearly are elsewhere, else none.

    The area of the spots under tissue is compared with the stain of the image, on a coarse grid, in the eight
    orientations of a section. No move is returned if no orientation fits the stain well, or if two fit
    equally well.
    """
    images, xy = registered_images(spatial), _under_tissue(spatial)
    if not images or len(xy) < _FEW_SPOTS:
        return ()
    _, image, factor = min(images, key=lambda one: one[1].size)
    amount = stain(image)
    cell = max(image.shape[:2]) / factor / _CELLS
    extent = extent_of(spatial)
    scores = [_agreement(_covered(moved(xy, way, extent), cell, amount.shape), amount) for way in _WAYS]
    best, *others = np.argsort(scores)[::-1]
    is_clear = scores[best] >= _WELL and scores[best] - scores[others[0]] >= _CLEARLY
    return _WAYS[best] if is_clear and scores[best] - scores[0] >= _BETTER else ()


def _under_tissue(spatial: AnnData) -> Points:
    xy = coordinates(spatial)
    kept = np.isfinite(xy).all(axis=1)
    if IN_TISSUE in spatial.obs:
        kept &= spatial.obs[IN_TISSUE].to_numpy() == 1
    return xy[kept]


def stain(image: NDArray[Any]) -> Points:
    """Return the difference of the color to that of the glass, on a coarse grid, in parts of 255.

    The color of the glass is the median along the border of the image.
    """
    skip = max(max(image.shape[:2]) // (8 * _CELLS), 1)
    image = image[::skip, ::skip]
    step = max(image.shape[:2]) / _CELLS
    colors = image[..., :3] if image.ndim == 3 else image[..., None]
    smooth = gaussian_filter(colors.astype(np.float32), (step / 3, step / 3, 0))
    smooth *= 255.0 / max(float(smooth.max()), 1.0)
    rows, columns = (
        ((np.arange(np.ceil(side / step)) + 0.5) * step).clip(max=side - 1) for side in image.shape[:2]
    )
    coarse = smooth[rows.astype(int)][:, columns.astype(int)]
    border = np.concatenate([coarse[0], coarse[-1], coarse[:, 0], coarse[:, -1]])
    away = np.abs(coarse - np.median(border, axis=0)).max(axis=-1)
    return np.asarray(np.minimum(away, _DARK), dtype=np.float64)


def _covered(xy: Points, cell: float, shape: tuple[int, ...]) -> Mask:
    """Return which cells of the grid hold spots, with the gaps between spots closed."""
    column, row = np.floor(xy / cell).astype(np.int64).T
    inside = (row >= 0) & (row < shape[0]) & (column >= 0) & (column < shape[1])
    covered = np.zeros(shape, dtype=bool)
    if not inside.any():
        return covered
    covered[row[inside], column[inside]] = True
    gap = math.sqrt(float(np.prod(np.ptp(xy[inside], axis=0))) / inside.sum()) / cell
    n = math.ceil(gap / 2) + 1
    return np.asarray(binary_closing(np.pad(covered, n), iterations=n)[n:-n, n:-n]) | covered


def _agreement(covered: Mask, amount: Points) -> float:
    """Return the correlation of spots with stain, over the cells of the grid."""
    if covered.all() or not covered.any() or np.ptp(amount) == 0:
        return 0.0
    return float(np.corrcoef(covered.ravel(), amount.ravel())[0, 1])
