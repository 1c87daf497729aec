"""Changes of bytes, for files of any kind."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

__all__ = ["RAW", "flip", "rewrap"]


def flip(path: Path, moments: random.Random) -> None:
    """Change a few bytes."""
    content = bytearray(path.read_bytes())
    for _ in range(moments.choice((1, 1, 2, 8, 64))):
        if content:
            content[moments.randrange(len(content))] = moments.choice(
                (0, 255, 127, 128, moments.randrange(256))
            )
    path.write_bytes(content)


def cut(path: Path, moments: random.Random) -> None:
    """Cut off the end, or a part in the middle."""
    content = path.read_bytes()
    start = moments.randrange(len(content) + 1)
    stop = (
        len(content)
        if moments.random() < 0.5
        else min(len(content), start + moments.choice((1, 4, 64, 1000)))
    )
    path.write_bytes(content[:start] + content[stop:])


def insert(path: Path, moments: random.Random) -> None:
    """Insert bytes: noise, zeros, or a part of the file itself."""
    content = path.read_bytes()
    at, length = moments.randrange(len(content) + 1), moments.choice((1, 2, 8, 100))
    inserted = moments.choice((moments.randbytes(length), b"\0" * length, content[at // 2 :][:length]))
    path.write_bytes(content[:at] + inserted + content[at:])


def number(path: Path, moments: random.Random) -> None:
    """Write a large or negative number of 4 or 8 bytes somewhere, as if it were a length or an offset."""
    content = bytearray(path.read_bytes())
    size, order = moments.choice((2, 4, 8)), moments.choice(("little", "big"))
    value = moments.choice((0, 1, -1, 2 ** (8 * size - 1) - 1, -(2 ** (8 * size - 1)), 1 << (7 * size)))
    at = moments.randrange(max(1, len(content) - size))
    content[at : at + size] = value.to_bytes(size, order, signed=True)  # type: ignore[arg-type]
    path.write_bytes(content)


def whole(path: Path, moments: random.Random) -> None:
    """Replace the file as a whole: by nothing, by another kind of file, or by a compressed one."""
    content = path.read_bytes()
    kinds = (
        *(
            b"",
            b"\0",
            b"\x89HDF\r\n\x1a\n",
            b"PK\x03\x04",
            b"PAR1PAR1",
            b"II*\0",
            b"\x89PNG\r\n\x1a\n",
            b"{}",
            b"[]",
        ),
        *(gzip.compress(content), content * 2, content[::-1], moments.randbytes(1000), b"\xff\xfe" + content),
    )
    path.write_bytes(moments.choice(kinds))


def rewrap(path: Path, moments: random.Random) -> None:
    """Damage what is inside of gzip, or gzip itself."""
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError):
        return flip(path, moments)
    kinds = (
        gzip.compress(content)[: -moments.randrange(1, 20)],
        gzip.compress(content) + gzip.compress(content),
        gzip.compress(content) + b"junk",
        gzip.compress(gzip.compress(content)),
        content,
        gzip.compress(b"0" * 30_000_000),
    )
    path.write_bytes(moments.choice(kinds))
    return None


RAW = (flip, flip, cut, insert, number, whole)
