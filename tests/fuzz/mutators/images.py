"""Changes of PNG by its chunks, and of TIFF by its tags."""

from __future__ import annotations

import random
import struct
import zlib
from pathlib import Path

from tests.fuzz.mutators.raw import RAW

__all__ = ["PNG", "TIFF"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def _chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], len(_SIGNATURE)
    while at + 12 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        found.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def _written(path: Path, chunks: list[tuple[bytes, bytes]]) -> None:
    """Write chunks with right checksums, so that decoders look into them."""
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    ]
    path.write_bytes(_SIGNATURE + b"".join(parts))


def png_header(path: Path, moments: random.Random) -> None:
    """Change the size, the depth or the colors that a PNG claims."""
    (kind, data), *rest = _chunks(path.read_bytes())
    fields = list(struct.unpack(">IIBBBBB", data))
    at = moments.randrange(7)
    sizes = (0, 1, 39, 41, 20_000, 100_000, 2**31 - 1, 2**31, 2**32 - 1)
    fields[at] = moments.choice(sizes if at < 2 else (0, 1, 2, 3, 4, 6, 7, 8, 16, 255))
    _written(path, [(kind, struct.pack(">IIBBBBB", *fields)), *rest])


def png_chunks(path: Path, moments: random.Random) -> None:
    """Remove, double, shuffle, add or damage chunks."""
    chunks = _chunks(path.read_bytes())
    at = moments.randrange(len(chunks))
    kind, data = chunks[at]
    bomb = zlib.compress(b"\0" * 50_000_000)
    kinds = (
        chunks[:at] + chunks[at + 1 :],
        [*chunks[:at], chunks[at], *chunks[at:]],
        moments.sample(chunks, len(chunks)),
        [
            *chunks[:1],
            (moments.choice((b"tRNS", b"PLTE", b"iCCP", b"zTXt", b"acTL", b"gAMA")), moments.randbytes(9)),
            *chunks[1:],
        ],
        [*chunks[:1], (b"zTXt", b"a\0\0" + bomb), *chunks[1:]],
        [*chunks[:1], (b"IDAT", bomb), *chunks[-1:]],
        [*chunks[:at], (kind, moments.randbytes(len(data))), *chunks[at + 1 :]],
        [*chunks[:at], (kind, data[: len(data) // 2]), *chunks[at + 1 :]],
        [*chunks[:1], (b"IDAT", zlib.compress(moments.randbytes(500))), *chunks[-1:]],
    )
    _written(path, moments.choice(kinds))


def tag(path: Path, moments: random.Random) -> None:
    """Change the number, the type, the count or the value of a tag of any page of a classic TIFF."""
    content = bytearray(path.read_bytes())
    entries, links = [], [4]
    offset = int.from_bytes(content[4:8], "little")
    while 0 < offset < len(content) - 2 and len(links) < 20:
        count = int.from_bytes(content[offset : offset + 2], "little")
        entries += [offset + 2 + 12 * at for at in range(count)]
        links.append(offset + 2 + 12 * count)
        offset = int.from_bytes(content[links[-1] : links[-1] + 4], "little")
    if moments.random() < 0.15:
        at = moments.choice(links)
        content[at : at + 4] = moments.choice((0, 8, 1, len(content), 2**32 - 1, links[1] // 2)).to_bytes(
            4, "little"
        )
    else:
        entry, part = moments.choice(entries), moments.randrange(4)
        values = (
            0,
            1,
            2,
            3,
            7,
            8,
            65535,
            2**31,
            2**32 - 1,
            100_000,
            40_000,
            len(content),
            moments.randrange(70_000),
        )
        at, size = ((0, 2), (2, 2), (4, 4), (8, 4))[part]
        value = moments.choice(values) % (1 << (8 * size))
        if part == 0:
            value = moments.choice(
                (256, 257, 258, 259, 262, 273, 277, 279, 284, 317, 322, 323, 324, 325, 330, 339, 338)
            )
        if part == 3 and moments.random() < 0.3:
            value = moments.choice((5, 6, 7, 8, 32773, 34712, 50000, 33003, 34892, 34925))  # of compressions
        content[entry + at : entry + at + size] = value.to_bytes(size, "little")
    path.write_bytes(content)


PNG = (png_header, png_header, png_chunks, png_chunks, *RAW)
TIFF = (tag, tag, tag, tag, *RAW)
