"""Changes of Zarr stores: of metadata, of chunks and of what their headers claim, of files and folders."""

from __future__ import annotations

import random
import shutil
import struct
from pathlib import Path

from tests.fuzz.mutators.raw import RAW
from tests.fuzz.mutators.text import JSON

__all__ = ["ZARR"]

_METADATA = ("zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata")


def _files(store: Path, *, metadata: bool) -> list[Path]:
    found = sorted(path for path in store.rglob("*") if path.is_file())
    return [path for path in found if (path.name in _METADATA) == metadata]


def metadata(store: Path, moments: random.Random) -> None:
    """Change a file of metadata."""
    moments.choice(JSON)(moments.choice(_files(store, metadata=True)), moments)


def chunk(store: Path, moments: random.Random) -> None:
    """Change the bytes of a chunk."""
    moments.choice(RAW)(moments.choice(_files(store, metadata=False)), moments)


def header(store: Path, moments: random.Random) -> None:
    """Let the header of a chunk claim another size: Blosc, zstd, or a list of texts."""
    path = moments.choice(_files(store, metadata=False))
    content = bytearray(path.read_bytes())
    size = moments.choice((0, 1, 2**20, 2**28, 2**30, 2**31 - 1, 2**31, 2**32 - 1))
    kinds = (
        content[:4] + struct.pack("<I", size) + content[8:],  # bytes that Blosc unpacks
        content[:8] + struct.pack("<I", size) + content[12:],  # block of Blosc
        bytes.fromhex("28b52ffd")
        + b"\xa0"
        + struct.pack("<I", size)
        + content[9:],  # content of a frame of zstd
        bytes.fromhex("28b52ffd") + b"\xe0" + struct.pack("<Q", size << 20) + content[13:],
        struct.pack("<I", size) + content[4:],  # number of texts
        _zstd(b"\0" * 200_000_000),
        _zstd(struct.pack("<I", size) + struct.pack("<I", 3) + b"abc"),
        _blosc(b"\0" * 200_000_000),
    )
    path.write_bytes(moments.choice(kinds))


def _zstd(content: bytes) -> bytes:
    import imagecodecs

    return bytes(imagecodecs.zstd_encode(content, level=1))


def _blosc(content: bytes) -> bytes:
    import imagecodecs

    return bytes(imagecodecs.blosc_encode(content, level=1, compressor="lz4"))


def files(store: Path, moments: random.Random) -> None:
    """Remove, empty, copy or link files and folders."""
    found = sorted(path for path in store.rglob("*"))
    path, other = moments.choice(found), moments.choice(found)
    how = moments.randrange(6)
    is_folder, is_above = path.is_dir(), store in path.parents and path in other.parents
    if how == 0 or is_above:
        shutil.rmtree(path) if is_folder else path.unlink()
    elif how == 1 and not is_folder:
        path.write_bytes(other.read_bytes() if other.is_file() else b"")
    elif how == 2:
        shutil.rmtree(path) if is_folder else path.unlink()
        path.symlink_to(moments.choice((other, Path("/dev/zero"), path, store, Path("/"))))
    elif how == 3:
        shutil.rmtree(path) if is_folder else path.unlink()
        path.write_bytes(b"x") if is_folder else path.mkdir()
    elif how == 4 and is_folder:
        path.rename(path.with_name(moments.choice(("x", "é", "c", "0", "obs", "a" * 200))))
    elif not is_folder and other.is_file():
        path.write_bytes(other.read_bytes())


ZARR = (metadata, metadata, metadata, chunk, header, header, files)
