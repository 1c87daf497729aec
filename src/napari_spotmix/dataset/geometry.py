"""Where spots and the image of a section lie and how large they are, as its files tell it.

Everything is in full-resolution pixels, the unit of ``obsm['spatial']``; `microns_per_pixel` turns them into
micrometers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from napari_spotmix.base.keys import SPATIAL

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = [
    "bin_sides",
    "length_words",
    "microns_per_pixel",
    "placed_spots",
    "round_length",
    "scalefactors",
    "spot_diameter",
    "tissue_image",
]

#: So many spots tell the usual distance between spots.
_MOST_MEASURED = 2000
#: Micrometers between the middles of neighboring spots of Visium, whose rows alternate.
_VISIUM_PITCH = 100.0
#: What `spot_diameter_fullres` may be of that: Space Ranger gives a spot 65 um, though it measures 55.
_VISIUM_DIAMETERS = (0.5, 0.8)
#: Spots may lie off their place in the array by this part of the pitch, and its axes differ by this in scale.
_OFF, _ANISOTROPY = 0.1, 0.03


def scalefactors(adata: AnnData) -> Mapping[str, Any]:
    """Return the scale factors of the section, empty where there are none."""
    return _library(adata).get("scalefactors") or {}


def placed_spots(adata: AnnData) -> NDArray[np.intp]:
    """Return the indices of the spots that have coordinates, int (n_placed,)."""
    known = np.isfinite(_xy(adata))
    return np.flatnonzero(np.logical_and(*known.T))  # of a million, `all` takes ten times as long


def tissue_image(adata: AnnData) -> tuple[NDArray[Any], float] | None:
    """Return the finest image of the tissue, and how many full-resolution pixels its own measure."""
    images = _library(adata).get("images") or {}
    for resolution in ("hires", "lowres"):
        factor = _positive(adata, f"tissue_{resolution}_scalef")
        if images.get(resolution) is not None and factor is not None:
            return np.asarray(images[resolution]), 1.0 / factor
    return None


def spot_diameter(adata: AnnData) -> float:
    """Return the diameter of a spot in full-resolution pixels: as given, else half the usual distance."""
    given = _positive(adata, "spot_diameter_fullres")
    if given is not None:
        return given
    places = np.unique(_xy(adata)[placed_spots(adata)], axis=0)
    if len(places) < 2:
        return 1.0
    measured = places[:: -(-len(places) // _MOST_MEASURED)]
    distances, _ = KDTree(places).query(measured, k=2)
    return float(np.median(np.asarray(distances)[:, 1])) / 2


def bin_sides(adata: AnnData) -> NDArray[np.float64] | None:
    """Return the sides of a square bin as two vectors (x, y), float64 (2, 2), or None where spots are discs.

    Spots are bins where the scale factors tell the size of bins, or where they fill a square array. Their
    sides lie along the array, which may lie askew in the image.
    """
    side = spot_diameter(adata)
    axes = _array_axes(adata, np.eye(2))
    fills = axes is not None and abs(np.linalg.norm(axes, axis=1).mean() / side - 1) < _OFF
    if not fills and "bin_size_um" not in scalefactors(adata):
        return None
    return side * (np.eye(2) if axes is None else axes / np.linalg.norm(axes, axis=1, keepdims=True))


def microns_per_pixel(adata: AnnData) -> float | None:
    """Return the micrometers that a full-resolution pixel measures, or None where the section does not tell.

    The scale factors may say it (`microns_per_pixel`, or `bin_size_um` for a bin's diameter in pixels). Else,
    spots with the diameter of Visium's that lie in its array of alternating rows (``obs`` array_row,
    array_col) are taken for Visium's, 100 um apart: that distance is exact, and `spot_diameter_fullres` is
    not, which makes spots of 55 um 65 um large. A diameter alone tells nothing: any technology may have one.

    Examples
    --------
    >>> from napari_spotmix import simulate
    >>> microns_per_pixel(simulate(n_spots=60, n_genes=120, n_cell_types=4, image=False).spatial)
    0.5
    """
    given = _positive(adata, "microns_per_pixel")
    if given is not None:
        return given
    diameter = _positive(adata, "spot_diameter_fullres")
    bin_size = _positive(adata, "bin_size_um")
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
    names = ["array_row", "array_col"]
    if not all(name in adata.obs and np.issubdtype(adata.obs[name].dtype, np.number) for name in names):
        return None
    spots = placed_spots(adata)
    places = adata.obs[names].to_numpy(float)[spots] @ steps
    if not np.isfinite(places).all():
        return None
    design = np.column_stack([places, np.ones(len(places))])
    fitted, _, rank, _ = np.linalg.lstsq(design, _xy(adata)[spots], rcond=None)
    if rank < 3:
        return None
    stretches = np.linalg.svd(fitted[:2], compute_uv=False)
    off = np.abs(design @ fitted - _xy(adata)[spots]).max()
    pitch = steps.max() * stretches.mean()
    if stretches[0] > (1 + _ANISOTROPY) * stretches[1] or off > _OFF * pitch:
        return None
    return np.asarray(fitted[1::-1], dtype=float)


def _xy(adata: AnnData) -> NDArray[np.float64]:
    return np.asarray(adata.obsm[SPATIAL], dtype=float)[:, :2]


def _positive(adata: AnnData, name: str) -> float | None:
    """Return a scale factor, or None where it is missing or none."""
    value = scalefactors(adata).get(name)
    return float(value) if value is not None and np.isfinite(value) and value > 0 else None


def _library(adata: AnnData) -> Mapping[str, Any]:
    """Return the first library of ``uns['spatial']`` that holds anything."""
    libraries = adata.uns.get(SPATIAL)
    if not isinstance(libraries, Mapping):
        return {}
    found = (library for library in libraries.values() if isinstance(library, Mapping))
    return next(found, {})
