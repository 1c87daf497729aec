"""Put an image that lies elsewhere under the spots, in a size that can be kept with them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spotmix.base.errors import ReadError
from napari_spotmix.base.keys import HIRES, IMAGES, SCALE_FACTORS, SPATIAL, image_scale
from napari_spotmix.base.progress import Progress, ProgressCallback, silent
from napari_spotmix.base.text import agreeing
from napari_spotmix.io.notes import add_notes
from napari_spotmix.io.problems import reported
from napari_spotmix.io.readers.images import TissueImage, read_image

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["Overview", "lay_under", "overview", "read_overview", "spots_off_image"]

#: Longest side of an overview in pixels: what Space Ranger gives the hires image of Visium HD.
LONGEST = 6000
#: Tiles beside each other that are read at once.
_TILES = 8
#: Values above this share of an image with more than 8 bits are shown as white.
_WHITE = 99.9


@dataclass(frozen=True)
class Overview:
    """An image small enough to be kept with the spots.

    Attributes
    ----------
    path : Path
        Where the image lies as a whole.
    pixels : ndarray of uint8, shape (height, width), (height, width, 3) or (height, width, 4)
    factor : float
        Pixels of the overview for each of the image.
    notes : list of str
        What of the image is not shown.
    """

    path: Path
    pixels: np.ndarray
    factor: float
    notes: list[str]


def read_overview(path: Path, on_progress: ProgressCallback = silent) -> Overview:
    """Read an image in bands, and keep an overview of it.

    Raises
    ------
    ReadError
        If it is no such image, or is damaged; its problems name the file.
    """
    try:
        with reported(path, path.name):
            return _read_overview(path, on_progress)
    except ReadError as error:
        raise ReadError(path, [f"`image`: {path}: {text}" for text in error.problems]) from error


def _read_overview(path: Path, on_progress: ProgressCallback) -> Overview:
    image = read_image(path)
    try:
        pixels, factor = overview(image, on_progress=on_progress)
    finally:
        image.close()
    n_planes = math.prod(_leading(image.levels[0], image.is_rgb))
    notes = (
        [f"`{path.name}` holds {n_planes} planes or channels: the first is shown."] if n_planes > 1 else []
    )
    return Overview(path, pixels, factor, notes)


def lay_under(adata: AnnData, seen: Overview) -> None:
    """Keep an overview as the ``hires`` image of `adata`, in place.

    Parameters
    ----------
    adata : AnnData
        With ``obsm['spatial']`` in the pixels of the image that was read.
    seen : Overview

    Raises
    ------
    ReadError
        If there are several sections, which have an image each.
    """
    given = adata.uns.setdefault(SPATIAL, {})
    # Files of CELLxGENE have `is_single` there too, which is no library.
    libraries = {name: value for name, value in given.items() if isinstance(value, Mapping)}
    if len(libraries) > 1:
        problem = f"`image` belongs to one section, and there are {len(libraries)}. Read them one by one."
        raise ReadError(seen.path, problem)
    library = given.setdefault(next(iter(libraries), "library"), {})
    library[IMAGES] = {**library.get(IMAGES, {}), HIRES: seen.pixels}
    library[SCALE_FACTORS] = {**library.get(SCALE_FACTORS, {}), image_scale(HIRES): seen.factor}
    xy = adata.obsm[SPATIAL][:, :2] * seen.factor
    add_notes(adata, seen.notes + spots_off_image(xy, seen.pixels, f"`{seen.path.name}`"))


def spots_off_image(xy: np.ndarray, image: np.ndarray, name: str) -> list[str]:
    """Tell of an image that does not lie under all spots: it may belong to another section.

    Parameters
    ----------
    xy : ndarray of float, shape (n_spots, 2)
        In pixels of `image`.
    image : ndarray, shape (height, width, ...)
    name : str
        What it is called in the note.
    """
    off = ((xy < 0) | (xy > image.shape[1::-1])).any(axis=1).sum()
    if not off:
        return []
    return [
        f"{off:,} of {len(xy):,} spots {agreeing(off, 'lie')} outside of {name}: "
        "image and positions may belong to different sections."
    ]


def overview(
    image: TissueImage, longest: int = LONGEST, on_progress: ProgressCallback = silent
) -> tuple[np.ndarray, float]:
    """Reduce an image by averaging, from the smallest of its levels that is large enough.

    Parameters
    ----------
    image : TissueImage
        Read in bands, so that it never lies in memory as a whole.
    longest : int
        Neither side of the overview is longer, in pixels.

    Returns
    -------
    pixels : ndarray of uint8, shape (height, width), (height, width, 3) or (height, width, 4)
    factor : float
        Pixels of the overview for each of the image.

    Examples
    --------
    >>> image = TissueImage([np.full((40, 60, 3), 7, np.uint8)], True, "tissue")
    >>> pixels, factor = overview(image, longest=30)
    >>> pixels.shape, factor
    ((20, 30, 3), 0.5)
    """
    level, shape = _level_for(image, longest)
    step = max(1, math.ceil(max(shape) / longest))
    bands = list(_reduced(level, image.is_rgb, shape, step, on_progress))
    return _as_bytes(np.concatenate(bands)), shape[1] / image.height_width[1] / step


def _level_for(image: TissueImage, longest: int) -> tuple[Any, tuple[int, int]]:
    shapes = [_height_width(level, image.is_rgb) for level in image.levels]
    large_enough = [index for index, shape in enumerate(shapes) if max(shape) >= longest]
    index = large_enough[-1] if large_enough else 0
    return image.levels[index], shapes[index]


def _leading(level: Any, is_rgb: bool) -> tuple[int, ...]:
    """Return the lengths of the axes before height and width."""
    return tuple(level.shape[: -3 if is_rgb else -2])


def _height_width(level: Any, is_rgb: bool) -> tuple[int, int]:
    height, width = level.shape[-3:-1] if is_rgb else level.shape[-2:]
    return int(height), int(width)


def _reduced(
    level: Any, is_rgb: bool, shape: tuple[int, int], step: int, on_progress: ProgressCallback
) -> Iterator[np.ndarray]:
    """Yield bands of whole tiles, each square of `step` pixels averaged into one."""
    first = (0,) * len(_leading(level, is_rgb))
    height, width = shape[0] // step * step, shape[1] // step * step
    tile = getattr(level, "chunks", level.shape)[len(first) :]
    rows = _whole_steps(min(tile[0], height), step)
    columns = _whole_steps(min(tile[1] * _TILES, width), step)
    for top in range(0, height, rows):
        down = slice(top, min(top + rows, height))
        parts = []
        for left in range(0, width, columns):
            on_progress(Progress("Reading image", top, height))
            part = np.asarray(level[(*first, down, slice(left, min(left + columns, width)))])
            parts.append(_averaged(part, step))
        yield np.concatenate(parts, axis=1)


def _whole_steps(length: int, step: int) -> int:
    return max(1, length // step) * step


def _averaged(pixels: np.ndarray, step: int) -> np.ndarray:
    """Return the mean of each square of `step` pixels."""
    if step == 1:
        return pixels
    total = np.zeros_like(pixels[::step, ::step], dtype=np.float32)
    for row in range(step):
        for column in range(step):
            total += pixels[row::step, column::step]
    return (total / step**2).astype(pixels.dtype)


def _as_bytes(pixels: np.ndarray) -> np.ndarray:
    """Return pixels of more bits, or of fractions, as 8-bit ones that use all of their range."""
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == bool:
        return pixels.astype(np.uint8) * 255
    white = float(np.percentile(pixels, _WHITE)) or 1.0
    return np.asarray((pixels / white * 255).clip(0, 255), dtype=np.uint8)
