"""A haematoxylin-eosin picture of simulated cells.

Light passes through the stains by the law of Beer and Lambert,

    I = I_0 exp(-(c_H o_H + c_E o_E))

with the amount of each stain c per pixel and the optical densities o of the stains in red, green
and blue. Haematoxylin is in nuclei, eosin in cytoplasm and fibres.

References
----------
Macenko M et al. (2009), A method for normalizing histology slides for quantitative analysis,
ISBI: the stain vectors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from napari_spotmix.core.anatomy import FOLLICLE, GLAND, MANTLE, MUSCLE, SUBMUCOSA, VESSEL

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_spotmix.core.anatomy import Anatomy
    from napari_spotmix.core.simulate import Tissue

    Plane = NDArray[np.float32]
    Floats = NDArray[np.float64]

__all__ = ["HAEMATOXYLIN", "EOSIN", "render"]

HAEMATOXYLIN = np.array([0.5626, 0.7201, 0.4062], dtype=np.float32)
EOSIN = np.array([0.2159, 0.8012, 0.5581], dtype=np.float32)
_GLASS = np.array([243, 242, 244], dtype=np.float32)

_COARSE = 4  # pixels between the points at which the anatomy is asked
_STAMP = 1 << 20  # pixels of nuclei drawn at once


class _Look(NamedTuple):
    """Mean eosin and haematoxylin of a zone without its nuclei, and how strong its fibres show."""

    eosin: float
    haematoxylin: float
    fibres: float


_LAMINA_LOOK = _Look(0.42, 0.10, 0.30)
_LOOKS = {
    GLAND: _Look(0.40, 0.20, 0.05),
    SUBMUCOSA: _Look(0.46, 0.02, 0.75),
    MUSCLE: _Look(0.78, 0.05, 0.34),
    FOLLICLE: _Look(0.26, 0.20, 0.05),
    MANTLE: _Look(0.28, 0.26, 0.05),
    VESSEL: _Look(0.72, 0.06, 0.25),
}


def render(tissue: Tissue, um_per_px: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Render a tissue as if stained with haematoxylin and eosin.

    Parameters
    ----------
    tissue : Tissue
        What to draw.
    um_per_px : float
        Size of a pixel in micrometres; the middle of pixel (row, column) lies at
        (x, y) = (column, row) * `um_per_px`.
    rng : Generator
        Source of the texture.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
        RGB.
    """
    width, height = np.ceil(tissue.extent_um / um_per_px).astype(int)
    shape = (int(height), int(width))
    inside, lumen, look = _anatomy_planes(tissue.anatomy, shape, um_per_px)
    fibres = _fibres(tissue.anatomy, shape, um_per_px, rng)
    grain = gaussian_filter(rng.standard_normal(shape, dtype=np.float32), 0.7)
    eosin = look[0] * np.clip(1 + look[2] * fibres + 0.25 * grain, 0.04, 2.2)
    haematoxylin = look[1] * (1 + 0.5 * grain)
    lumina = _soft_step(lumen, um_per_px)
    eosin *= lumina
    haematoxylin *= lumina
    haematoxylin += _nuclei(tissue, shape, um_per_px, rng) * np.clip(1 + 0.45 * grain, 0.5, 1.5)
    tissue_mask = _soft_step(inside + 6 * fibres, um_per_px)
    return _through_light(haematoxylin * tissue_mask, eosin * tissue_mask)


def _through_light(haematoxylin: Plane, eosin: Plane) -> NDArray[np.uint8]:
    picture = np.empty((*haematoxylin.shape, 3), dtype=np.uint8)
    for channel in range(3):
        density = haematoxylin * HAEMATOXYLIN[channel] + eosin * EOSIN[channel]
        picture[..., channel] = np.exp(-density) * _GLASS[channel] + 0.5
    return picture


def _anatomy_planes(
    anatomy: Anatomy, shape: tuple[int, int], um_per_px: float
) -> tuple[Plane, Plane, tuple[Plane, Plane, Plane]]:
    """Ask the anatomy at coarse points and interpolate: distances to outline and cavities in um, and looks."""
    coarse = tuple(-(-side // _COARSE) + 1 for side in shape)
    rows, columns = np.indices(coarse)
    xy = np.column_stack([columns.ravel(), rows.ravel()]) * (_COARSE * um_per_px)
    inside = ((1 - anatomy.outline(xy)) * anatomy.radius_um).reshape(coarse)
    lumen = np.minimum(anatomy.lumen(xy), 1e3).reshape(coarse)
    looks = np.tile(np.array(_LAMINA_LOOK), (8, 1))
    for zone, look in _LOOKS.items():
        looks[zone] = look
    values = looks[anatomy.zones(xy)].reshape(*coarse, 3)
    # An infiltrate loosens the fibres and swells the tissue.
    infiltration = anatomy.infiltration(xy).reshape(coarse, order="C")[..., None]
    values += 0.6 * infiltration * (np.array([0.36, 0.12, 0.1]) - values)
    look = tuple(_enlarge(gaussian_filter(values[..., index], 0.6), shape) for index in range(3))
    return _enlarge(inside, shape), _enlarge(lumen, shape), (look[0], look[1], look[2])


def _enlarge(plane: NDArray[np.floating], shape: tuple[int, int]) -> Plane:
    """Interpolate linearly between points `_COARSE` pixels apart."""
    plane = plane.astype(np.float32)
    for axis, side in enumerate(shape):
        place = np.arange(side, dtype=np.float32) / _COARSE
        low = place.astype(np.int64)
        part = (place - low).reshape((-1, 1) if axis == 0 else (1, -1))
        first, second = np.take(plane, low, axis=axis), np.take(plane, low + 1, axis=axis)
        plane = first + part * (second - first)
    return plane


def _soft_step(distance_um: Plane, um_per_px: float) -> Plane:
    """0 outside, 1 inside, with an edge about two pixels wide."""
    return np.clip(distance_um / (2 * um_per_px) + 0.5, 0, 1)


def _fibres(anatomy: Anatomy, shape: tuple[int, int], um_per_px: float, rng: np.random.Generator) -> Plane:
    """Wavy fibres along the layers: stretched noise, its columns shifted to follow them; variance about 1."""
    height, width = shape
    length = max(2, round(45 / um_per_px))
    stretched = rng.standard_normal((2 * height, width // length + 3), dtype=np.float32)
    fine = gaussian_filter1d(stretched, max(1.0, 1.6 / um_per_px), axis=0)
    coarse = gaussian_filter1d(stretched[::-1], 7 / um_per_px, axis=0)
    stretched = 0.75 * fine / fine.std() + 0.65 * coarse / coarse.std()
    place = np.arange(width) / length
    low = place.astype(np.int64)
    part = (place - low).astype(np.float32)
    noise = stretched[:, low] + part * (stretched[:, low + 1] - stretched[:, low])
    # Shift each column by the wave of the layers and a slower one of its own.
    xy = np.column_stack([np.arange(width) * um_per_px, np.full(width, anatomy.center_um[1])])
    wave = anatomy.depth(xy) * anatomy.radius_um / um_per_px
    rows, columns = np.indices((height // 16 + 2, width), sparse=True)
    curl = 9 / um_per_px * np.sin(columns * um_per_px / 37 + 5 * np.sin(rows * 16 * um_per_px / 170))
    curl = np.repeat(curl, 16, axis=0)[:height]
    source = np.arange(height)[:, None] + np.rint(wave + curl).astype(np.int64) + height // 2
    return np.take_along_axis(noise, np.clip(source, 0, 2 * height - 1), axis=0)


def _nuclei(tissue: Tissue, shape: tuple[int, int], um_per_px: float, rng: np.random.Generator) -> Plane:
    """Haematoxylin of all nuclei: soft ellipses by cell type, overlapping ones darker."""
    cells, kinds = tissue.cells, tissue.cell_types
    n_cells = len(cells.types)
    axes = np.array([kind.nucleus_um for kind in kinds])[cells.types] / (2 * um_per_px)
    axes = axes * rng.lognormal(0, 0.1, (n_cells, 2))
    dark = np.array([kind.darkness for kind in kinds])[cells.types] * rng.lognormal(0, 0.15, n_cells)
    reach = int(np.ceil(axes.max() + 1))
    window = np.stack(np.meshgrid(np.arange(-reach, reach + 1), np.arange(-reach, reach + 1)), -1).reshape(-1, 2)
    plane = np.zeros(shape[0] * shape[1])
    block = max(1, _STAMP // len(window))
    for start in range(0, n_cells, block):
        part = slice(start, start + block)
        plane += _stamp(cells.xy_um[part] / um_per_px, cells.angles[part], axes[part], dark[part], window, shape)
    return (1.5 * np.tanh(plane / 1.5)).astype(np.float32).reshape(shape)


def _stamp(
    xy_px: Floats, angles: Floats, axes_px: Floats, dark: Floats, window: NDArray[np.int64], shape: tuple[int, int]
) -> Floats:
    """Sum of ellipses, each computed within a window of pixels around its middle."""
    nearest = np.rint(xy_px).astype(np.int64)
    offset = (window - (xy_px - nearest)[:, None]).astype(np.float32)
    cos, sin = np.cos(angles).astype(np.float32)[:, None], np.sin(angles).astype(np.float32)[:, None]
    along = (offset[..., 0] * cos + offset[..., 1] * sin) / axes_px[:, 1:].astype(np.float32)
    across = (offset[..., 1] * cos - offset[..., 0] * sin) / axes_px[:, :1].astype(np.float32)
    narrow = axes_px.min(axis=1)[:, None].astype(np.float32)
    amount = np.clip((1 - np.hypot(along, across)) * narrow + 0.5, 0, 1) * dark[:, None]
    pixel = nearest[:, None] + window
    seen = (pixel >= 0).all(-1) & (pixel[..., 0] < shape[1]) & (pixel[..., 1] < shape[0]) & (amount > 0)
    place = pixel[..., 1][seen] * shape[1] + pixel[..., 0][seen]
    return np.bincount(place, weights=amount[seen], minlength=shape[0] * shape[1])
