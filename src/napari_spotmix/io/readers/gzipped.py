"""Read small files that archives such as GEO compress one by one."""

from __future__ import annotations

import gzip
from pathlib import Path

__all__ = ["is_gzip", "read_bytes"]

_GZIP = b"\x1f\x8b"


def is_gzip(path: Path) -> bool:
    """Return whether the first bytes of a file are those of gzip."""
    with path.open("rb") as file:
        return file.read(len(_GZIP)) == _GZIP


def read_bytes(path: Path, most: int) -> bytes:
    """Return the content of a file, decompressed if it is gzip.

    Raises
    ------
    OSError
        If it cannot be read or decompressed.
    ValueError
        If it has more than `most` bytes after decompression; no more are read.
    """
    if not is_gzip(path):
        return path.read_bytes()
    with gzip.open(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"{path.name} must have at most {most >> 20:,} MB when it is unpacked, found more")
    return content
