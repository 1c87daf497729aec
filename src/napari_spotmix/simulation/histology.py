"""A hematoxylin-eosin picture of simulated cells.

Light passes through the stains by the law of Beer and Lambert,

    I = I_0 exp(-(c_H o_H + c_E o_E))

with the amount of each stain c per pixel and the optical densities o of the stains in red, green
and blue. Hematoxylin is in nuclei, eosin in cytoplasm and fibers.

References
----------
Ruifrok AC, Johnston DA (2001), Quantification of histochemical staining by color deconvolution,
Anal Quant Cytol Histol 23; Macenko M et al. (2009), A method for normalizing histology slides for
quantitative analysis, ISBI: hematoxylin is midway between the two, eosin is of the second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from napari_spotmix.simulation.anatomy import FOLLICLE, GLAND, MANTLE, MUSCLE, SUBMUCOSA, VESSEL

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_spotmix.simulation.anatomy import Anatomy
    from napari_spotmix.simulation.counts import SimulatedCounts

    Plane = NDArray[np.float32]
    Floats = NDArray[np.float64]

__all__ = ["HAEMATOXYLIN", "EOSIN", "render"]

HAEMATOXYLIN = np.array([0.606, 0.714, 0.351], dtype=np.float32)
EOSIN = np.array([0.2159, 0.8012, 0.5581], dtype=np.float32)
_GLASS = np.array([243, 242, 244], dtype=np.float32)

_COARSE = 4  # pixels between the points at which the anatomy is evaluated
_STAMP = 1 << 20  # pixels of nuclei drawn at once


class _Stain(NamedTuple):
    """Mean eosin and hematoxylin of a zone without its nuclei, and the contrast of its fibers."""

    eosin: float
    hematoxylin: float
    fibers: float


_LAMINA_STAIN = _Stain(0.40, 0.08, 0.30)
_INFILTRATE_STAIN = _Stain(0.34, 0.22, 0.12)
_STAINS = {
    GLAND: _Stain(0.40, 0.20, 0.05),
    SUBMUCOSA: _Stain(0.46, 0.02, 0.75),
    MUSCLE: _Stain(0.78, 0.05, 0.34),
    FOLLICLE: _Stain(0.24, 0.22, 0.05),
    MANTLE: _Stain(0.26, 0.36, 0.05),
    VESSEL: _Stain(0.72, 0.06, 0.25),
}


def render(tissue: SimulatedCounts, um_per_px: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Render a tissue as if stained with hematoxylin and eosin.

    Parameters
    ----------
    tissue : SimulatedCounts
        What to draw.
    um_per_px : float
        Size of a pixel in micrometers; the middle of pixel (row, column) is at
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
    planes = _sample(tissue.anatomy, shape, um_per_px, rng)
    grain = gaussian_filter(rng.standard_normal(shape, dtype=np.float32), 0.7)
    fibers = _fibers(tissue.anatomy, shape, um_per_px, rng)
    eosin = planes.eosin * np.clip(1 + planes.fibers * fibers + 0.25 * grain, 0.04, 2.2)
    eosin *= 1 - _mucin(tissue, shape, um_per_px)
    hematoxylin = planes.hematoxylin * (1 + 0.5 * grain)
    filled = _soft_step(planes.lumen_um, um_per_px)
    eosin = eosin * filled + _soft_step(planes.blood_um, um_per_px) * (0.95 + 0.5 * grain)
    hematoxylin *= filled
    hematoxylin += _nuclei(tissue, shape, um_per_px, rng) * np.clip(1 + 0.4 * grain, 0.5, 1.5)
    cut = _soft_step(planes.inside_um, um_per_px)
    return _through_light(hematoxylin * cut, eosin * cut)


def _through_light(hematoxylin: Plane, eosin: Plane) -> NDArray[np.uint8]:
    picture = np.empty((*hematoxylin.shape, 3), dtype=np.uint8)
    for channel in range(3):
        light = hematoxylin * -HAEMATOXYLIN[channel]
        light -= eosin * EOSIN[channel]
        np.exp(light, out=light)
        light *= _GLASS[channel]
        picture[..., channel] = light
    return picture


class _Planes(NamedTuple):
    """The anatomy at each pixel: three distances, positive inside, and the stain of its zone."""

    inside_um: Plane
    lumen_um: Plane
    blood_um: Plane
    eosin: Plane
    hematoxylin: Plane
    fibers: Plane


def _sample(anatomy: Anatomy, shape: tuple[int, int], um_per_px: float, rng: np.random.Generator) -> _Planes:
    """Evaluate the anatomy at points `_COARSE` pixels apart and interpolate."""
    coarse = (-(-shape[0] // _COARSE) + 1, -(-shape[1] // _COARSE) + 1)
    rows, columns = np.indices(coarse)
    xy = np.column_stack([columns.ravel(), rows.ravel()]).astype(np.float64) * (_COARSE * um_per_px)
    stains = np.array([_STAINS.get(zone, _LAMINA_STAIN) for zone in range(8)])[anatomy.zones(xy)]
    # An infiltrate loosens the fibers and swells the tissue.
    stains += 0.8 * anatomy.infiltration(xy)[:, None] * (np.array(_INFILTRATE_STAIN) - stains)
    ragged = (
        gaussian_filter(rng.standard_normal(coarse), 0.8) * 8
        + gaussian_filter(rng.standard_normal(coarse), 5) * 90
    )
    inside = (1 - anatomy.outline(xy)) * anatomy.radius_um + ragged.ravel()
    distances = [inside, anatomy.lumen(xy), anatomy.blood(xy)]
    planes = [np.clip(plane, -1e3, 1e3).reshape(coarse) for plane in distances]
    planes += [gaussian_filter(stain.reshape(coarse), 0.8) for stain in stains.T]
    return _Planes(*(_enlarge(plane, shape) for plane in planes))


def _enlarge(plane: NDArray[np.floating], shape: tuple[int, int]) -> Plane:
    """Interpolate linearly between points `_COARSE` pixels apart."""
    plane = plane.astype(np.float32)
    for side in reversed(shape):
        low, part = _between(np.arange(side) / _COARSE)
        plane = plane.T  # the axis to stretch comes first, where rows are copied whole
        plane = plane[low] + part[:, None] * (plane[low + 1] - plane[low])
    return plane


def _between(position: NDArray[np.floating]) -> tuple[NDArray[np.int64], Plane]:
    """Split positions into a whole part and a fraction."""
    low = np.floor(position).astype(np.int64)
    return low, (position - low).astype(np.float32)


def _soft_step(distance_um: Plane, um_per_px: float) -> Plane:
    """0 outside, 1 inside, with an edge about two pixels wide."""
    return np.asarray(np.clip(distance_um / (2 * um_per_px) + 0.5, 0, 1))


def _fibers(anatomy: Anatomy, shape: tuple[int, int], um_per_px: float, rng: np.random.Generator) -> Plane:
    """Wavy fibers along the layers, of variance about 1: stretched noise, its columns shifted to follow."""
    height, width = shape
    length = max(2, round(45 / um_per_px))
    noise = rng.standard_normal((2 * height, width // length + 3), dtype=np.float32)
    fine = gaussian_filter1d(noise, max(1.0, 1.6 / um_per_px), axis=0)
    broad = gaussian_filter1d(noise[::-1], 7 / um_per_px, axis=0)
    noise = 0.75 * fine / fine.std() + 0.65 * broad / broad.std()
    low, part = _between(np.arange(width) / length)
    noise = noise[:, low] + part * (noise[:, low + 1] - noise[:, low])
    x_um = np.arange(width, dtype=np.float32) * np.float32(um_per_px)
    y_um = np.arange(height, dtype=np.float32)[:, None] * np.float32(um_per_px)
    level = np.column_stack([x_um, np.full(width, anatomy.center_um[1])])
    wave = (anatomy.depth(level) * anatomy.radius_um).astype(np.float32)
    shift = wave + 9 * np.sin(x_um / 37 + 5 * np.sin(y_um / 170))
    low, part = _between(np.clip((y_um + shift) / um_per_px + height // 2, 0, 2 * height - 2))
    upper = np.take_along_axis(noise, low, axis=0)
    return np.asarray(upper + part * (np.take_along_axis(noise, low + 1, axis=0) - upper))


def _nuclei(
    tissue: SimulatedCounts, shape: tuple[int, int], um_per_px: float, rng: np.random.Generator
) -> Plane:
    """Hematoxylin of all nuclei, overlapping ones darker."""
    cells, plane = tissue.cells, np.zeros(shape[0] * shape[1])
    for index, kind in enumerate(tissue.cell_types):
        xy, angles = cells.xy_um[cells.types == index], cells.angles[cells.types == index]
        axes = np.array(kind.nucleus_um) / 2 * rng.lognormal(0, 0.1, xy.shape)
        dark = 1.45 * kind.darkness * rng.lognormal(0, 0.12, len(xy))
        _add_ellipses(plane, shape, xy / um_per_px, angles, axes / um_per_px, dark)
    return (2.0 * np.tanh(plane / 2.0)).astype(np.float32).reshape(shape)


def _mucin(tissue: SimulatedCounts, shape: tuple[int, int], um_per_px: float) -> Plane:
    """The pale drop between nucleus and cavity of goblet cells, 0 to 1."""
    names = [kind.name for kind in tissue.cell_types]
    plane = np.zeros(shape[0] * shape[1])
    if "Goblet" in names:
        cells = tissue.cells
        goblet = cells.types == names.index("Goblet")
        angles = cells.angles[goblet]
        xy = cells.xy_um[goblet] - 8.0 * np.column_stack([np.cos(angles), np.sin(angles)])
        axes = np.tile([3.4, 5.0], (len(xy), 1))
        _add_ellipses(plane, shape, xy / um_per_px, angles, axes / um_per_px, np.full(len(xy), 0.8))
    return np.minimum(plane, 0.9).astype(np.float32).reshape(shape)


def _add_ellipses(
    plane: Floats, shape: tuple[int, int], xy_px: Floats, angles: Floats, axes_px: Floats, amounts: Floats
) -> None:
    """Add soft ellipses to a flat plane, each computed within a window of pixels around its middle.

    `axes_px` are half axes, the second one along `angles`.
    """
    half_width = int(np.ceil(axes_px.max(initial=0) + 1))
    window = np.stack(
        np.meshgrid(np.arange(-half_width, half_width + 1), np.arange(-half_width, half_width + 1)), -1
    ).reshape(-1, 2)
    block = max(1, _STAMP // len(window))
    for start in range(0, len(xy_px), block):
        part = slice(start, start + block)
        nearest = np.rint(xy_px[part]).astype(np.int64)
        offset = window - (xy_px[part] - nearest)[:, None]
        drawn = _ellipse(offset.astype(np.float32), angles[part], axes_px[part]) * amounts[part, None]
        pixel = nearest[:, None] + window
        seen = (pixel >= 0).all(-1) & (pixel < (shape[1], shape[0])).all(-1) & (drawn > 0)
        np.add.at(plane, pixel[seen] @ (1, shape[1]), drawn[seen])


def _ellipse(offset: Plane, angles: Floats, axes: Floats) -> Plane:
    """Share of each pixel inside an ellipse, its edge one pixel wide."""
    cos, sin = np.cos(angles).astype(np.float32)[:, None], np.sin(angles).astype(np.float32)[:, None]
    short, long = axes.astype(np.float32).T[..., None]
    along = (offset[..., 0] * cos + offset[..., 1] * sin) / long
    across = (offset[..., 1] * cos - offset[..., 0] * sin) / short
    return np.asarray(np.clip((1 - np.hypot(along, across)) * np.minimum(short, long) + 0.5, 0, 1))
