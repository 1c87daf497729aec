"""Read images of tissue: TIFF, OME-TIFF, BTF and SVS with their pyramids, PNG and JPEG."""

from __future__ import annotations

import math
import os
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
import zarr

from napari_spotmix.base.errors import ReadError
from napari_spotmix.io.problems import as_read_error, check_is_file, listed
from napari_spotmix.io.quiet import quiet_libraries
from napari_spotmix.io.readers.gzipped import read_bytes

__all__ = ["IMAGE_SUFFIXES", "TissueImage", "read_image", "read_pixels"]


_TIFF_SUFFIXES = frozenset({".tif", ".tiff", ".btf", ".svs"})
#: Extensions of the files that `read_image` reads.
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"}) | _TIFF_SUFFIXES

#: Larger images, in pixels, must be tiled TIFF files.
MAX_PIXELS = 1 << 28
#: Larger images, in bytes, are read tile by tile, or page by page; no tile may be larger.
MAX_BYTES = 4 * MAX_PIXELS
_ADVICE = (
    "Save it as a tiled, pyramidal OME-TIFF (for example with `vips tiffsave --tile --pyramid` "
    "or QuPath), which is read tile by tile."
)


@dataclass(frozen=True, eq=False)
class TissueImage:
    """An image and its pyramid.

    Attributes
    ----------
    levels : list of array-like
        Largest first; a single one for an image without a pyramid. Shape (height, width, 3 or 4) if
        `is_rgb`, otherwise (height, width), possibly with leading axes. NumPy arrays, or Zarr arrays that
        read tiles on demand.
    is_rgb : bool
        True if the last axis is color.
    name : str
        Name of the file without its extension.
    """

    levels: list[Any]
    is_rgb: bool
    name: str
    _store: Any = field(default=None, repr=False)

    @property
    def height_width(self) -> tuple[int, int]:
        """Size of the largest level in pixels."""
        shape = self.levels[0].shape[:-1] if self.is_rgb else self.levels[0].shape
        return int(shape[-2]), int(shape[-1])

    def close(self) -> None:
        """Close the file of levels that are read on demand; they cannot be used afterward."""
        if self._store is not None:
            self._store.close()


def read_image(path: str | os.PathLike[str]) -> TissueImage:
    """Read an image of tissue, with the pixels of the file.

    Parameters
    ----------
    path : str or Path
        A ``.tif``, ``.tiff`` or ``.btf`` (also OME-TIFF) or an ``.svs``, whose pyramids stay on disk and are
        read tile by tile; ``.png`` or ``.jpg``. From a TIFF with several images, such as the label and the
        overview of a slide, the one with the most pixels is read.

    Raises
    ------
    ReadError
        If the file is not such an image, is damaged, or is too large to be read at once.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in IMAGE_SUFFIXES:
        raise ReadError(
            path,
            f"must be an image ({', '.join(sorted(IMAGE_SUFFIXES))}), found {suffix or 'no extension'}. "
            "Convert it to one of these.",
        )
    check_is_file(path)
    quiet_libraries()
    with as_read_error(path, path.name), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tifffile, about numbers in a damaged file
        if suffix in _TIFF_SUFFIXES:
            return _read_tiff(path)
        pixels = read_pixels(path)
        return TissueImage([pixels], pixels.ndim == 3, path.stem)


def read_pixels(path: Path) -> np.ndarray:
    """Read a PNG or JPEG file, also gzipped, detected by its content, not by its name.

    Returns
    -------
    ndarray of uint8, shape (height, width), (height, width, 3) or (height, width, 4)

    Raises
    ------
    ReadError
        If the file is neither PNG nor JPEG, is damaged, or has more than `MAX_PIXELS`.
    """
    quiet_libraries()
    with as_read_error(path.parent, path.name):
        content = read_bytes(path, MAX_BYTES)
        is_png = content.startswith(b"\x89PNG")
        _check_size(path, *(_png_size(content) if is_png else _jpeg_size(content)))
        pixels = imagecodecs.png_decode(content) if is_png else imagecodecs.jpeg8_decode(content)
        return _as_bytes(pixels)


def _as_bytes(pixels: np.ndarray) -> np.ndarray:
    """Return 16-bit pixels as 8-bit pixels, and gray with transparency as gray."""
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    return pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] <= 2 else pixels


def _check_size(path: Path, width: int, height: int) -> None:
    """Check the size before decoding: a small file can decode to an image of any size."""
    if width * height > MAX_PIXELS:
        raise ReadError(
            path,
            f"`{path.name}` must have at most {MAX_PIXELS:,} pixels to be read at once, "
            f"found {width:,} x {height:,}. {_ADVICE}",
        )


def _png_size(content: bytes) -> tuple[int, int]:
    if content[12:16] != b"IHDR" or len(content) < 24:
        raise ValueError("a PNG without its header")
    return int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")


def _jpeg_size(content: bytes) -> tuple[int, int]:
    """Find the frame header of a JPEG (ITU T.81, B.2.2) and return its size."""
    if not content.startswith(b"\xff\xd8"):
        raise ValueError("neither PNG nor JPEG")
    at = 2
    while at + 9 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(content[at + 7 : at + 9], "big"), int.from_bytes(
                content[at + 5 : at + 7], "big"
            )
        # A fill byte has no length; every other segment begins with it.
        at += 1 if marker == 0xFF else 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    raise ValueError("a JPEG without its frame header")


def _read_tiff(path: Path) -> TissueImage:
    with tifffile.TiffFile(path) as tiff:
        index, series = max(enumerate(tiff.series), key=lambda item: math.prod(_height_width(item[1])))
        _check_parts(path, series)
        is_rgb = series.axes.endswith("S") and series.shape[-1] in (3, 4)
        height, width = _height_width(series)
        is_large = height * width > MAX_PIXELS
        if is_large and not series.keyframe.is_tiled:
            raise ReadError(
                path,
                f"must be tiled, found {width:,} x {height:,} pixels in strips. {_ADVICE}",
            )
        # A stack of many pages is as large as a single page; it is read page by page.
        if len(series.levels) == 1 and not is_large and series.nbytes <= MAX_BYTES:
            return TissueImage([series.asarray()], is_rgb, _stem(path))
    store = tifffile.imread(path, aszarr=True, series=index)
    levels = _levels(zarr.open(store, mode="r"))
    for level in levels:
        if math.prod(level.chunks) * level.dtype.itemsize > MAX_BYTES:
            store.close()
            raise ReadError(path, f"must have smaller tiles, found {listed(level.chunks)}. {_ADVICE}")
    return TissueImage(levels, is_rgb, _stem(path), store)


def _check_parts(path: Path, series: tifffile.TiffPageSeries) -> None:
    """Check that each level has all its tiles or strips: one that claims more would be mostly made up."""
    for level in series.levels:
        needed, found = math.prod(level.keyframe.chunked), len(level.keyframe.dataoffsets)
        if needed > found:
            height, width = _height_width(level)
            raise ReadError(
                path,
                f"`{path.name}` is damaged: {width:,} x {height:,} pixels need {needed:,} tiles or strips, "
                f"found {found:,}. Copy or download it again.",
            )


def _height_width(series: tifffile.TiffPageSeries) -> tuple[int, int]:
    """Return the size of an image in a TIFF, (0, 0) for a series that is not an image."""
    size = dict(zip(series.axes, series.shape, strict=True))
    return size.get("Y", 0), size.get("X", 0)


def _levels(opened: Any) -> list[Any]:
    """Return the arrays of a Zarr group by its multiscales metadata, or the one array."""
    if isinstance(opened, zarr.Array):
        return [opened]
    attributes = dict(opened.attrs)
    multiscales = attributes.get("multiscales") or attributes["ome"]["multiscales"]
    return [opened[dataset["path"]] for dataset in multiscales[0]["datasets"]]


def _stem(path: Path) -> str:
    return path.stem.removesuffix(".ome")
