"""Read small JSON files, whatever they hold."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

from napari_spotmix.io.readers.gzipped import read_bytes

__all__ = ["read_json", "read_json_object"]

#: No JSON file of a section is larger, in bytes; the largest describe all arrays of a store. While one is
#: parsed, no other thread runs.
_LARGEST = 1 << 23


def read_json(file: Path) -> Any:
    """Return what a JSON file holds.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is a folder or a pipe, is larger than 8 MB (also unpacked, if it is gzip), or is not JSON.
    """
    found = file.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"{file.name} is not a file")
    if found.st_size > _LARGEST:
        raise ValueError(
            f"{file.name} must have at most {_LARGEST >> 20} MB, found {found.st_size >> 20:,} MB"
        )
    try:
        return json.loads(read_bytes(file, _LARGEST).decode("utf-8-sig"))
    except RecursionError:
        raise ValueError(f"{file.name} holds lists within each other without end") from None


def read_json_object(file: Path) -> dict[str, Any]:
    """Return the object in a JSON file; raises as `read_json`, and ValueError if it holds something else."""
    content = read_json(file)
    if not isinstance(content, dict):
        raise ValueError(f"{file.name} must hold a JSON object, found {type(content).__name__}")
    return content
