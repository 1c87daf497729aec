"""Maps of a section as small images: the spot of each pixel is found once, then each map is a look-up.

`figure` draws figures for a paper. A report has a map of each type, which would take minutes and megabytes
that way. Here a map is a PNG of at most 256 colors, transparent between spots, over one image of the tissue
that all maps of the page share.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_spotmix.base.progress import Progress, ProgressCallback
from napari_spotmix.output.scene import FigureScene

__all__ = ["MOST_COLORS", "Box", "Raster", "painted", "rasterize", "tissue_picture"]

Floats = NDArray[np.float64]

#: Colors of a map: with soft edges each takes four entries of a palette of 256, and one is transparent.
MOST_COLORS = 63
#: Levels of coverage of a pixel at the edge of a spot.
_COVERS = 4
#: Pixels whose distance to spots is computed at once: it can be cancelled between blocks.
_BLOCK = 1_000_000
#: Least radius of a spot in pixels: smaller ones might fall between the centers of pixels.
_LEAST_RADIUS = 0.75
_TISSUE_SIDE, _JPEG_QUALITY = 1400, 80


@dataclass(frozen=True)
class Raster:
    """The spot on each pixel.

    Attributes
    ----------
    spot : ndarray of int32, shape (height, width)
        Position among the drawn spots; -1 between them.
    cover : ndarray of uint8, shape (height, width)
        How much of the pixel it covers, 0 to 4.
    """

    spot: NDArray[np.int32]
    cover: NDArray[np.uint8]


@dataclass(frozen=True)
class Box:
    """An image and its position, in full-resolution pixels."""

    uri: str
    left: float
    top: float
    width: float
    height: float


def rasterize(
    scene: FigureScene, sides: Floats | None, longest: int, stage: str, on_progress: ProgressCallback
) -> Raster:
    """Find the spot on each pixel of a map.

    Parameters
    ----------
    scene : FigureScene
    sides : ndarray of float64, shape (2, 2), or None
        Of a bin, as `dataset.geometry.bin_sides` returns them; None if spots are discs.
    longest : int
        Pixels along the longer side of the map.
    stage : str
        Name of the stage in reports of progress.
    on_progress : callable
        Called after each block of spots.
    """
    left, top, right, bottom = scene.region
    scale = longest / max(right - left, bottom - top)
    width, height = (max(1, round(scale * side)) for side in (right - left, bottom - top))
    spot = np.full((height, width), -1, np.int32)
    cover = np.zeros((height, width), np.uint8)
    centers = (scene.xy - (left, top)) * scale
    across = scene.diameter if sides is None else float(np.abs(sides).sum(axis=0).max())
    reach = across * scale / 2
    window = _window(reach)
    for rows in _blocks(len(centers), len(window)):
        on_progress(Progress(stage, rows.start, len(centers)))
        pixels = np.floor(centers[rows]).astype(np.int64)[:, None] + window
        away = pixels + 0.5 - centers[rows, None]
        share = _of_disc(away, max(reach, _LEAST_RADIUS)) if sides is None else _of_bin(away, sides * scale)
        _assign(spot, cover, pixels, share, rows.start)
    return Raster(spot, cover)


def _window(reach: float) -> NDArray[np.int64]:
    """Return the pixels around one that a spot in it may touch, int (n, 2) as (x, y)."""
    steps = np.arange(-int(np.ceil(max(reach, 1.0))) - 1, int(np.ceil(max(reach, 1.0))) + 2)
    return np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)


def _blocks(n_spots: int, n_pixels: int) -> Iterator[slice]:
    size = max(1, _BLOCK // n_pixels)
    return (slice(start, min(start + size, n_spots)) for start in range(0, n_spots, size))


def _of_disc(away: Floats, radius: float) -> NDArray[np.uint8]:
    inside = np.clip(radius + 0.5 - np.hypot(away[..., 0], away[..., 1]), 0, 1)
    return np.ceil(_COVERS * inside - 1e-9).astype(np.uint8)


def _of_bin(away: Floats, sides: Floats) -> NDArray[np.uint8]:
    """Return full coverage inside bins: soft edges would leave lines between adjacent bins."""
    along = np.abs(away @ np.linalg.inv(sides))
    return np.where((along <= 0.5 + 1e-9).all(axis=-1), _COVERS, 0).astype(np.uint8)


def _assign(
    spot: NDArray[np.int32],
    cover: NDArray[np.uint8],
    pixels: NDArray[np.int64],
    share: NDArray[np.uint8],
    first: int,
) -> None:
    """Assign pixels to the spots that cover more of them than the spots before."""
    height, width = spot.shape
    x, y = pixels[..., 0], pixels[..., 1]
    which, at = np.nonzero((share > 0) & (x >= 0) & (y >= 0) & (x < width) & (y < height))
    pixel, covered = y[which, at] * width + x[which, at], share[which, at]
    more = covered > cover.ravel()[pixel]
    which, pixel, covered = which[more], pixel[more], covered[more]
    # Of several spots on a pixel the last one stays, which covers most of it.
    order = np.argsort(covered, kind="stable")
    spot.ravel()[pixel[order]] = first + which[order]
    cover.ravel()[pixel[order]] = covered[order]


def painted(raster: Raster, codes: NDArray[np.integer[Any]], colors: Floats) -> str:
    """Return a map as a PNG data URI.

    Parameters
    ----------
    raster : Raster
    codes : ndarray of int, shape (n_drawn,)
        Color of each spot.
    colors : ndarray of float64, shape (n_colors, 4)
        RGBA, 0 to 1; more than 63 make the file larger.
    """
    shown = raster.cover > 0
    index = np.zeros(raster.cover.shape, np.int64)
    index[shown] = 1 + codes[raster.spot[shown]].astype(np.int64) * _COVERS + raster.cover[shown] - 1
    covers = np.arange(1, _COVERS + 1) / _COVERS
    palette = np.repeat(colors, _COVERS, axis=0)
    palette[:, 3] *= np.tile(covers, len(colors))
    palette = np.rint(255 * np.vstack([np.zeros((1, 4)), palette])).astype(np.uint8)
    if len(colors) > MOST_COLORS:
        return _data_uri(Image.fromarray(palette[index]), "png")
    picture = Image.fromarray(index.astype(np.uint8))
    picture.putpalette(palette[:, :3].tobytes())
    # Not optimized: that saves 5% of the size and takes ten times as long.
    return _data_uri(picture, "png", transparency=palette[:, 3].tobytes())


def tissue_picture(scene: FigureScene) -> Box | None:
    """Return the tissue image below the spots, or None without one."""
    if scene.image is None:
        return None
    pixels, step = scene.image
    corners = np.array(scene.region).reshape(2, 2) / step
    first = np.maximum(np.floor(corners[0]), 0).astype(int)
    last = np.minimum(np.ceil(corners[1]), (pixels.shape[1], pixels.shape[0])).astype(int)
    if (last <= first).any():
        return None
    picture = Image.fromarray(_as_rgb(pixels[first[1] : last[1], first[0] : last[0]]))
    picture.thumbnail((_TISSUE_SIDE, _TISSUE_SIDE), Image.Resampling.LANCZOS)
    # A full-resolution pixel has its center at its index, so the first one begins half a pixel before 0.
    left, top = first * step - 0.5
    width, height = (last - first) * step
    uri = _data_uri(picture, "jpeg", quality=_JPEG_QUALITY, optimize=True)
    return Box(uri, float(left), float(top), float(width), float(height))


def _as_rgb(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return uint8 (height, width, 3): of an image without colors, its first channel."""
    if pixels.ndim == 2 or pixels.shape[2] not in (3, 4):
        pixels = pixels.reshape(*pixels.shape[:2], -1)[..., :1].repeat(3, axis=2)
    pixels = pixels[..., :3]
    if pixels.dtype != np.uint8:
        most = np.iinfo(pixels.dtype).max if pixels.dtype.kind in "ui" else 1.0
        pixels = np.clip(np.nan_to_num(pixels / most), 0, 1) * 255
    return np.ascontiguousarray(pixels).astype(np.uint8)


def _data_uri(picture: Image.Image, kind: str, **settings: Any) -> str:
    stream = io.BytesIO()
    picture.save(stream, kind, **settings)
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
