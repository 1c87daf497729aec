"""Inputs that must not harm the window: small files, each of another kind."""

from __future__ import annotations

import gzip
import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

__all__ = ["FILES", "FOLDERS", "IMAGES", "Make"]

Make = Callable[[Path, Path], Path]

#: Text that Qt would take for markup, that spans lines, or that is shown in another order.
MARKUP = "<b>&lt;img src=x>"
LINES = "a\nb\tc"
BIDI = "a\u202egnp.b"


def _h5ad(path: Path, good: Path, change: Callable[[h5py.File], None]) -> Path:
    path.write_bytes(good.read_bytes())
    with h5py.File(path, "a") as file:
        change(file)
    return path


def _replace(file: h5py.File, name: str, values: object) -> None:
    attributes = dict(file[name].attrs)
    del file[name]
    file[name] = values
    file[name].attrs.update(attributes)


def damaged_pointers(folder: Path, good: Path) -> Path:
    def change(file: h5py.File) -> None:
        pointers = file["X/indptr"][()].astype("i8")
        pointers[5:] = 2**40
        _replace(file, "X/indptr", pointers)

    return _h5ad(folder / "pointers.h5ad", good, change)


def damaged_indices(folder: Path, good: Path) -> Path:
    def change(file: h5py.File) -> None:
        file["X/indices"][10] = -5

    return _h5ad(folder / "indices.h5ad", good, change)


def bomb(folder: Path, good: Path) -> Path:
    def change(file: h5py.File) -> None:
        for number in range(20):
            array = file.create_dataset(
                f"uns/a{number}", (125_000_000,), "f4", chunks=True, compression="gzip"
            )
            array.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})

    return _h5ad(folder / "bomb.h5ad", good, change)


def external_link(folder: Path, good: Path) -> Path:
    def change(file: h5py.File) -> None:
        file["uns/big"] = h5py.ExternalLink(str(good), "/X")

    return _h5ad(folder / "link.h5ad", good, change)


def truncated(folder: Path, good: Path) -> Path:
    path = folder / f"{MARKUP}.h5ad"
    path.write_bytes(good.read_bytes()[:4000])
    return path


def not_hdf5(folder: Path, good: Path) -> Path:
    path = folder / f"{LINES}.h5ad"
    path.write_text("no HDF5")
    return path


def empty_file(folder: Path, good: Path) -> Path:
    path = folder / f"{BIDI}.h5ad"
    path.touch()
    return path


def pipe(folder: Path, good: Path) -> Path:
    os.mkfifo(folder / "pipe.h5ad")
    return folder / "pipe.h5ad"


def not_utf8(folder: Path, good: Path) -> Path:
    path = Path(os.fsdecode(os.fsencode(folder) + b"/spots\xff.h5ad"))
    path.write_bytes(good.read_bytes())
    return path


def link_loop(folder: Path, good: Path) -> Path:
    (folder / "loop.h5ad").symlink_to(folder / "loop.h5ad")
    return folder / "loop.h5ad"


def one_line(folder: Path, good: Path) -> Path:
    path = folder / "one.gem.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(2):
            file.write(b"x" * (1 << 20))
    return path


def empty_folder(folder: Path, good: Path) -> Path:
    (folder / MARKUP).mkdir()
    return folder / MARKUP


def images_alone(folder: Path, good: Path) -> Path:
    (folder / "outs" / "spatial").mkdir(parents=True)
    (folder / "outs" / "spatial" / "scalefactors_json.json").write_text("[1, 2]")
    return folder / "outs" / "spatial"


def list_store(folder: Path, good: Path) -> Path:
    (folder / "list.zarr").mkdir()
    (folder / "list.zarr" / "zarr.json").write_text("[1, 2]")
    return folder / "list.zarr"


def deep_store(folder: Path, good: Path) -> Path:
    (folder / "deep.zarr").mkdir()
    (folder / "deep.zarr" / "zarr.json").write_text("[" * 100_000)
    return folder / "deep.zarr"


def long_store(folder: Path, good: Path) -> Path:
    (folder / "long.zarr").mkdir()
    (folder / "long.zarr" / "zarr.json").write_text(json.dumps({"a": " " * (9 << 20)}))
    return folder / "long.zarr"


def folder_of_itself(folder: Path, good: Path) -> Path:
    (folder / "itself").mkdir()
    (folder / "itself" / "spatial").symlink_to(folder / "itself")
    return folder / "itself"


def many_files(folder: Path, good: Path) -> Path:
    (folder / "many").mkdir()
    for number in range(2_000):
        (folder / "many" / f"{number}.csv").touch()
    return folder / "many"


def png_bomb(folder: Path, good: Path) -> Path:
    """Return a PNG of 60,000 x 60,000 pixels in some kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(1 << 20))
    path = folder / "bomb.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )
    return path


def tiff_bomb(folder: Path, good: Path) -> Path:
    import tifffile

    path = folder / "bomb.tif"
    tifffile.imwrite(path, np.zeros((16, 16), np.uint8))
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        for name in ("ImageWidth", "ImageLength"):
            tag = file.pages[0].tags[name]
            data[tag.valueoffset : tag.valueoffset + 2] = b"\xff\xff"
    path.write_bytes(bytes(data))
    return path


def text_image(folder: Path, good: Path) -> Path:
    path = folder / f"{MARKUP}.png"
    path.write_text("no image")
    return path


FILES: tuple[Make, ...] = (
    *(damaged_pointers, damaged_indices, bomb, external_link, truncated, not_hdf5, empty_file, pipe),
    *(not_utf8, one_line),
)
FOLDERS: tuple[Make, ...] = (
    *(empty_folder, images_alone, list_store, deep_store, long_store, folder_of_itself, many_files),
)
IMAGES: tuple[Make, ...] = (png_bomb, tiff_bomb, text_image)
