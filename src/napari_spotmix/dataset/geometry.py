"""Position and size of spots and bins, and the scale of a section.

Everything is in full-resolution pixels, the unit of ``obsm['spatial']``; `microns_per_pixel` converts them to
micrometers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from napari_spotmix.base.keys import BIN_SIZE, MICRONS_PER_PIXEL, SPOT_DIAMETER
from napari_spotmix.dataset.access import array_positions, coordinates, scale_factor, scale_factors

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = [
    "bin_sides",
    "length_words",
    "microns_per_pixel",
    "placed_spots",
    "round_length",
    "spot_diameter",
    "to_yx",
]

#: The usual distance between spots is measured on at most this many.
_MOST_MEASURED = 2000
#: Micrometers between the centers of neighboring spots of Visium, whose rows alternate.
_VISIUM_PITCH = 100.0
#: What `spot_diameter_fullres` may be of that: Space Ranger gives a spot 65 um, though it measures 55.
_VISIUM_DIAMETERS = (0.5, 0.8)
#: Spots may be off the array by this part of the pitch, and its axes may differ by this in scale.
_OFF, _ANISOTROPY = 0.1, 0.03


def to_yx(xy: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return points (x, y), as AnnData holds them, as (y, x), as napari and images have them.

    Examples
    --------
    >>> to_yx(np.array([[1, 2]]))
    array([[2., 1.]])
    """
    return np.asarray(xy, dtype=float)[..., 1::-1]


def placed_spots(adata: AnnData) -> NDArray[np.intp]:
    """Return the indices of the spots that have coordinates, int (n_placed,)."""
    known = np.isfinite(coordinates(adata))
    return np.flatnonzero(np.logical_and(*known.T))  # of a million, `all` takes ten times as long


def spot_diameter(adata: AnnData) -> float:
    """Return the diameter of a spot in full-resolution pixels: as given, else half the usual distance."""
    given = scale_factor(adata, SPOT_DIAMETER)
    if given is not None:
        return given
    centers = np.unique(coordinates(adata)[placed_spots(adata)], axis=0)
    if len(centers) < 2:
        return 1.0
    measured = centers[:: -(-len(centers) // _MOST_MEASURED)]
    distances, _ = KDTree(centers).query(measured, k=2)
    return float(np.median(np.asarray(distances)[:, 1])) / 2


def bin_sides(adata: AnnData) -> NDArray[np.float64] | None:
    """Return the sides of a square bin as two vectors (x, y), float64 (2, 2), or None if spots are discs.

    Spots are bins if the scale factors hold the size of bins, or if spots fill a square array. The sides of
    bins follow the array, which may be rotated in the image.
    """
    side = spot_diameter(adata)
    axes = _array_axes(adata, np.eye(2))
    fills = axes is not None and abs(np.linalg.norm(axes, axis=1).mean() / side - 1) < _OFF
    if not fills and BIN_SIZE not in scale_factors(adata):
        return None
    return side * (np.eye(2) if axes is None else axes / np.linalg.norm(axes, axis=1, keepdims=True))


def microns_per_pixel(adata: AnnData) -> float | None:
    """Return the micrometers in a full-resolution pixel, or None if the section does not say.

    The scale factors may hold it (`microns_per_pixel`, or `bin_size_um` for a bin's side in pixels). Else,
    spots with the diameter of Visium's in an array of alternating rows (``obs`` array_row, array_col) are
    taken as Visium's, 100 um apart. That distance is exact, and `spot_diameter_fullres` is not: it makes
    spots of 55 um 65 um large. A diameter alone does not give the scale: any technology may have one.

    Examples
    --------
    >>> from napari_spotmix import simulate
    >>> microns_per_pixel(simulate(n_spots=60, n_genes=120, n_cell_types=4, image=False).spatial)
    0.5
    """
    given = scale_factor(adata, MICRONS_PER_PIXEL)
    if given is not None:
        return given
    diameter = scale_factor(adata, SPOT_DIAMETER)
    bin_size = scale_factor(adata, BIN_SIZE)
    if diameter is None:
        return None
    return _visium_scale(adata, diameter) if bin_size is None else bin_size / diameter


def round_length(most: float) -> float:
    """Return the longest of 1, 2 or 5 times a power of ten that is no longer.

    Examples
    --------
    >>> [round_length(most) for most in (999.0, 270.0, 0.03)]
    [500.0, 200.0, 0.02]
    """
    power = 10.0 ** np.floor(np.log10(most))
    step = max(step for step in (1, 2, 5) if step * power <= most * (1 + 1e-9))
    return float(f"{step * power:.3g}")


def length_words(length: float, is_micron: bool) -> str:
    """Return a length with its unit.

    Examples
    --------
    >>> length_words(500.0, True), length_words(2000.0, True), length_words(500.0, False)
    ('500 µm', '2 mm', '500 px')
    """
    if not is_micron:
        return f"{length:g} px"
    return f"{length / 1000:g} mm" if length >= 1000 else f"{length:g} µm"


def _visium_scale(adata: AnnData, diameter: float) -> float | None:
    steps = np.array([np.sqrt(3.0), 1.0]) * _VISIUM_PITCH / 2  # columns count half pitches
    axes = _array_axes(adata, np.diag(steps))
    if axes is None:
        return None
    scale = float(1 / np.linalg.norm(axes, axis=1).mean())
    least, most = _VISIUM_DIAMETERS
    return scale if least <= diameter * scale / _VISIUM_PITCH <= most else None


def _array_axes(adata: AnnData, steps: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return (x, y) of a unit along columns and along rows, float64 (2, 2), or None for another array.

    `steps` has on its diagonal the units that a row and a column measure.
    """
    array = array_positions(adata)
    if array is None:
        return None
    spots = placed_spots(adata)
    positions, xy = array[spots] @ steps, coordinates(adata)[spots]
    if not np.isfinite(positions).all():
        return None
    design = np.column_stack([positions, np.ones(len(positions))])
    fitted, _, rank, _ = np.linalg.lstsq(design, xy, rcond=None)
    if rank < 3:
        return None
    stretches = np.linalg.svd(fitted[:2], compute_uv=False)
    off = np.abs(design @ fitted - xy).max()
    pitch = steps.max() * stretches.mean()
    if stretches[0] > (1 + _ANISOTROPY) * stretches[1] or off > _OFF * pitch:
        return None
    return np.asarray(fitted[1::-1], dtype=float)
