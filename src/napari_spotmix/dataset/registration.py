"""Whether spots lie on the stained tissue of their image, and the flip or swap that would put them there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import binary_closing, gaussian_filter

from napari_spotmix.base.keys import SPATIAL

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    Points = NDArray[np.float64]
    Mask = NDArray[np.bool_]

__all__ = ["MOVES", "better_moves", "extent_of", "factor_of", "images_of", "moved", "pictures_of"]

#: How coordinates are brought from one convention into another.
MOVES = ("swap-xy", "flip-x", "flip-y")
#: Every way to lay the spots down: exchange the axes or not, then mirror them.
_WAYS = [
    tuple(name for name, is_done in zip(MOVES, done, strict=True) if is_done) for done in np.ndindex(2, 2, 2)
]
#: Cells along the longer side of the grid on which spots and stain are compared.
_CELLS = 64
#: Another way must agree so well with the stain, and by so much better than the given and than any third way.
_WELL, _BETTER, _CLEARLY = 0.7, 0.15, 0.04
#: Fewer spots than this show no outline.
_FEW_SPOTS = 10
#: From this difference to the glass on, of 255, all tissue counts alike.
_DARK = 80.0


def library_of(spatial: AnnData) -> Mapping[str, Any] | None:
    """Return images and scale factors of the section, or None where there are none or several."""
    libraries = spatial.uns.get(SPATIAL)
    if not isinstance(libraries, Mapping) or len(libraries) != 1:
        return None
    library = next(iter(libraries.values()))
    return library if isinstance(library, Mapping) else None


def images_of(spatial: AnnData) -> list[tuple[str, NDArray[Any], float]]:
    """Return the images whose place is known: name, pixels, and its pixels for each full-resolution pixel."""
    known = [
        (name, np.asarray(image), factor_of(spatial, name)) for name, image in pictures_of(spatial).items()
    ]
    return [
        (name, image, factor) for name, image, factor in known if factor is not None and image.ndim in (2, 3)
    ]


def pictures_of(spatial: AnnData) -> dict[str, Any]:
    """Return all images of the section by name, placed or not."""
    images = (library_of(spatial) or {}).get("images")
    return {str(name): image for name, image in images.items()} if isinstance(images, Mapping) else {}


def factor_of(spatial: AnnData, name: str) -> float | None:
    """Return the scale factor of an image, None where there is no number above 0."""
    factors = (library_of(spatial) or {}).get("scalefactors")
    factor = factors.get(f"tissue_{name}_scalef") if isinstance(factors, Mapping) else None
    is_number = isinstance(factor, (int, float, np.number)) and np.isfinite(factor) and factor > 0
    return float(factor) if is_number else None  # type: ignore[arg-type]


def extent_of(spatial: AnnData) -> Points:
    """Return the smallest and largest (x, y) of the image, else of the spots, float64 (2, 2)."""
    images = images_of(spatial)
    if images:
        _, image, factor = images[0]
        return np.array([[0.0, 0.0], [image.shape[1] / factor, image.shape[0] / factor]])
    xy = np.asarray(spatial.obsm[SPATIAL], dtype=np.float64)[:, :2]
    return np.array([np.nanmin(xy, axis=0), np.nanmax(xy, axis=0)])


def moved(xy: Points, moves: Sequence[str], extent: Points) -> Points:
    """Return coordinates after moves of `MOVES`, in their order; mirrors are in the middle of the extent.

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
    """Return the moves that lay the spots on the stained tissue, where they clearly lie elsewhere; else none.

    The area of the spots under tissue is compared with the stain of the image, on a coarse grid, in the eight
    ways that a section can be turned and mirrored. Nothing is said where another way would not fit the
    stain well, or two ways do alike.
    """
    images, xy = images_of(spatial), _under_tissue(spatial)
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
    xy = np.asarray(spatial.obsm[SPATIAL], dtype=np.float64)[:, :2]
    kept = np.isfinite(xy).all(axis=1)
    if "in_tissue" in spatial.obs:
        kept &= spatial.obs["in_tissue"].to_numpy() == 1
    return xy[kept]


def stain(image: NDArray[Any]) -> Points:
    """Return by how much the color differs from that of the glass, on a coarse grid, in parts of 255.

    The glass has the usual color along the border of the image.
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
    """Return which cells of the grid spots lie in, with the gaps between spots closed."""
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
    """Return the correlation of where spots are with where the stain is."""
    if covered.all() or not covered.any() or np.ptp(amount) == 0:
        return 0.0
    return float(np.corrcoef(covered.ravel(), amount.ravel())[0, 1])
