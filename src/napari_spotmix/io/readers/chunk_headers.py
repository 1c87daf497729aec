"""What the chunks of a Zarr array claim: how many bytes they unpack to, or how many names they hold.

Libraries believe it before they notice that a chunk is damaged, or unpack all of it before they notice that
it is too large for its array.

References
----------
Blosc, "Chunk Format" (bytes 4 to 8); RFC 8878 (frame header of Zstandard); numcodecs, `LZ4` and `VLenUTF8`.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["ChunkKind", "chunk_kind", "chunk_problem"]

#: Bytes of a chunk that are looked at; the longest header is that of Zstandard.
_HEADER = 18
#: A chunk of names may unpack to so many bytes, or to so many times its own; one of numbers to so many more.
_LARGE, _MOST, _MORE = 1 << 26, 500, 1 << 10
#: Codecs that unpack, and those that make lists of names or arrays.
_PACKED, _LISTS = ("blosc", "zstd", "lz4", "gzip", "zlib"), ("vlen-utf8", "vlen-bytes", "vlen-array")


@dataclass(frozen=True)
class ChunkKind:
    """How the chunks of an array are written.

    Attributes
    ----------
    codec : str
        What unpacks them, "" if nothing does.
    is_list : bool
        Whether they are lists of names, each with their number in front.
    n_values : int
        Values in a chunk.
    n_bytes : int or None
        Their bytes; None if they differ from chunk to chunk.
    """

    codec: str
    is_list: bool
    n_values: int
    n_bytes: int | None


def chunk_kind(metadata: Mapping[str, Any], n_values: int, item_size: int | None) -> ChunkKind | None:
    """Return how the chunks of an array are written; None if they are shards.

    Parameters
    ----------
    metadata : mapping
        Of the array, format 2 or 3.
    n_values : int
        In a chunk.
    item_size : int or None
        Bytes of a value; None if this is not known.
    """
    codecs = metadata.get("codecs")  # of format 3
    if codecs is None:
        filters = metadata.get("filters") or []
        codecs = [*filters, metadata["compressor"]] if metadata.get("compressor") else filters
    names = [_name(one) for one in codecs] if isinstance(codecs, list) else []
    if "sharding_indexed" in names:
        return None
    packed = names.pop() if names and names[-1] in _PACKED else ""
    is_plain = set(names) <= {"bytes", "transpose"} and item_size is not None
    n_bytes = n_values * item_size if is_plain and item_size is not None else None
    return ChunkKind(packed, any(name in _LISTS for name in names), n_values, n_bytes)


def _name(codec: Any) -> str:
    found = codec.get("name", codec.get("id")) if isinstance(codec, dict) else codec
    return str(found).removeprefix("numcodecs.")


def chunk_problem(path: Path, kind: ChunkKind) -> str:
    """Return what a chunk claims and what was expected; "" if it can be unpacked.

    Parameters
    ----------
    path : Path
        The file of the chunk.
    kind : ChunkKind
    """
    with path.open("rb") as file:
        head = file.read(_HEADER)
    claimed = _unpacked(head, kind.codec)
    most = max(_LARGE, _MOST * path.stat().st_size) if kind.n_bytes is None else kind.n_bytes + _MORE
    if claimed > most:
        return f"claims {claimed:,} bytes, expected at most {most:,}"
    if kind.is_list and (n := _length(path.read_bytes(), kind.codec)) > kind.n_values:
        return f"claims {n:,} names, expected at most {kind.n_values:,}"
    return ""


def _unpacked(head: bytes, codec: str) -> int:
    """Return the bytes that a chunk unpacks to, as its header says; 0 if it does not."""
    if codec == "blosc":
        return int.from_bytes(head[4:8], "little")
    if codec == "lz4":
        return int.from_bytes(head[:4], "little")
    if codec != "zstd" or head[:4] != b"\x28\xb5\x2f\xfd" or len(head) < 5:
        return 0
    descriptor = head[4]
    is_single, n_id = descriptor >> 5 & 1, (0, 1, 2, 4)[descriptor & 3]
    size = (is_single, 2, 4, 8)[descriptor >> 6]
    start = 5 + (not is_single) + n_id
    return int.from_bytes(head[start : start + size], "little") + (256 if size == 2 else 0)


def _unpack(content: bytes, codec: str) -> Any:
    import imagecodecs

    if codec == "lz4":
        return imagecodecs.lz4_decode(content, header=True)
    return imagecodecs.blosc_decode(content) if codec == "blosc" else imagecodecs.zstd_decode(content)


def _length(content: bytes, codec: str) -> int:
    """Return how many names a chunk claims; 0 if it cannot be unpacked, which is reported when it is read."""
    try:
        if codec in ("gzip", "zlib"):
            content = zlib.decompressobj(wbits=47).decompress(content, 4)
        elif codec:
            content = bytes(_unpack(content, codec))
    except Exception:
        return 0
    return int.from_bytes(content[:4], "little")
