"""Inspect a Zarr store before it is read: the metadata of its arrays, and sizes and headers of its files.

Refused are links to files outside of the store, links back to a folder that holds them, what is neither a
file nor a folder, arrays that claim far more memory than their files can hold, and chunks that claim more
than their array.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from napari_spotmix.base.errors import ReadError
from napari_spotmix.io.quiet import quiet_libraries
from napari_spotmix.io.readers.chunk_headers import ChunkKind, chunk_kind, chunk_problem
from napari_spotmix.io.readers.json_files import read_json_object

__all__ = ["check_store"]

#: Arrays that claim less, in bytes, are never refused; highest plausible compression; bytes for a name.
_LARGE, _MOST, _NAME = 1 << 29, 500, 64
#: No images of a section are larger, in bytes, with their pyramids.
_IMAGES = 1 << 40
_NAMES = ("zarr.json", ".zarray", ".zmetadata", ".zattrs")
_METADATA_FILES = (*_NAMES, ".zgroup")
_SPARSE = ("csr_matrix", "csc_matrix")
#: Folders within each other.
_DEEPEST = 64


def check_store(root: Path, parts: Sequence[str] = ("",), *, may_be_empty: bool = False) -> None:
    """Check parts of a Zarr store; no values are read.

    Parameters
    ----------
    root : Path
        The store, which is named in errors.
    parts : sequence of str
        Folders of the store that will be read; those that do not exist are skipped.
    may_be_empty : bool
        Whether arrays may be mostly empty, as images with background are: these may claim more than their
        files can hold, and than memory: they are read tile by tile.

    Raises
    ------
    ReadError
        If it must not be read; the message names the node.
    """
    quiet_libraries()
    top = root.resolve()
    walk = _Walk(root, top)
    for part in parts:
        if (top / part).is_dir():
            walk.folder(top / part, 0)
    claimed = sum(max(sizes) for sizes in walk.claimed.values())
    stored = sum(walk.stored.get(name, 0) for name in walk.claimed)
    memory = psutil.virtual_memory().total
    if claimed > (_IMAGES if may_be_empty else min(memory, max(_LARGE, _MOST * stored))):
        largest = max(walk.claimed, key=lambda name: max(walk.claimed[name]))
        raise ReadError(
            root,
            f"claims too much memory: {claimed:,} bytes, with {stored:,} bytes on disk, most of it in "
            f"`{_shown(largest)}`. Copy or download it again, or remove that part.",
        )
    walk.check_chunks()


class _Walk:
    """One walk over the folders of a store.

    Attributes
    ----------
    stored : dict of str to int
        The bytes of all files in and below each folder, by its path in the store.
    claimed : dict of str to list of int
        The bytes in memory of each array, by its path: as its own metadata say, and as those of groups do.
    """

    def __init__(self, root: Path, top: Path) -> None:
        self.root, self.top = root, top
        self.stored: dict[str, int] = {}
        self.claimed: dict[str, list[int]] = {}
        self._kinds: dict[str, ChunkKind] = {}

    def check_chunks(self) -> None:
        """Check what the chunks of each array claim."""
        for name, kind in self._kinds.items():
            for file in (self.top / name).rglob("*"):
                if file.name in _METADATA_FILES or not file.is_file():
                    continue
                if problem := chunk_problem(file, kind):
                    shown = _shown(file.relative_to(self.top).as_posix())
                    raise ReadError(
                        self.root, f"is damaged: the chunk `{shown}` {problem}. Copy or download it again."
                    )

    def folder(self, folder: Path, depth: int) -> int:
        """Walk one folder, and return the bytes in and below it."""
        name = "" if folder == self.top else folder.relative_to(self.top).as_posix()
        if depth > _DEEPEST:
            raise ReadError(self.root, f"holds folders more than {_DEEPEST} deep, at `{_shown(name)}`.")
        n_bytes = 0
        with os.scandir(folder) as entries:
            for entry in entries:
                n_bytes += self._entry(entry, f"{name}/{entry.name}" if name else entry.name, depth)
        self.stored[name] = n_bytes
        for file in _NAMES:
            if (folder / file).is_file():
                self._note(name, read_json_object(folder / file))
        return n_bytes

    def _entry(self, entry: os.DirEntry[str], name: str, depth: int) -> int:
        if entry.is_symlink():
            target = Path(entry.path).resolve()
            if not target.is_relative_to(self.top) or target.is_dir():
                raise ReadError(
                    self.root,
                    f"has a link to another file or folder, `{_shown(name)}`. "
                    "Save the store again with its arrays inside.",
                )
        if entry.is_dir():
            return self.folder(Path(entry.path), depth + 1)
        if not entry.is_file():
            raise ReadError(
                self.root, f"holds `{_shown(name)}`, which is neither a file nor a folder. Remove it."
            )
        return entry.stat().st_size

    def _note(self, name: str, metadata: dict[str, Any]) -> None:
        """Note the arrays and sparse matrices that a file of metadata describes."""
        if claimed := _claimed_names(metadata):
            self.claimed.setdefault(name, []).append(claimed)
        elif "shape" in metadata:
            self.claimed.setdefault(name, []).append(_bytes(metadata))
            dtype = metadata.get("dtype", metadata.get("data_type"))
            size = _item_size(dtype) if isinstance(dtype, (str, dict)) else None
            if kind := chunk_kind(metadata, _product(_chunk_shape(metadata)), size):
                self._kinds[name] = kind
        group = metadata.get("consolidated_metadata") or metadata  # of format 3, or of format 2
        inner = group.get("metadata") if isinstance(group, dict) else None
        for key, one in inner.items() if isinstance(inner, dict) else ():
            if isinstance(one, dict) and "shape" in one:
                path = f"{name}/{key}".strip("/").removesuffix("/.zarray")
                self.claimed.setdefault(path, []).append(_bytes(one))


def _bytes(metadata: dict[str, Any]) -> int:
    """Return the bytes of an array in memory, or of one of its chunks if that is more."""
    n_whole = _product(metadata["shape"])
    n_values = max(n_whole, _product(_chunk_shape(metadata)) if n_whole else 0)
    return n_values * _item_size(metadata.get("dtype", metadata.get("data_type")))


def _chunk_shape(metadata: dict[str, Any]) -> Any:
    grid = metadata.get("chunk_grid")
    of_grid = grid.get("configuration") if isinstance(grid, dict) else None
    return of_grid.get("chunk_shape") if isinstance(of_grid, dict) else metadata.get("chunks")


def _claimed_names(metadata: dict[str, Any]) -> int:
    """Return the bytes of the names that rows and columns of a sparse matrix get if they have none."""
    attributes = metadata.get("attributes", metadata)
    if not isinstance(attributes, dict) or attributes.get("encoding-type") not in _SPARSE:
        return 0
    lengths = attributes.get("shape")
    whole = [max(length, 0) for length in lengths if type(length) is int] if isinstance(lengths, list) else []
    return _NAME * sum(whole)


def _product(shape: Any) -> int:
    """Return the number of values; 0 for an invalid shape, which Zarr refuses."""
    is_shape = isinstance(shape, list) and all(type(length) is int and length >= 0 for length in shape)
    return math.prod(shape) if is_shape else 0


def _item_size(dtype: Any) -> int:
    """Return the bytes of a value; of types that NumPy does not know, those of a name."""
    if isinstance(dtype, dict):  # of format 3, with a length
        found = dtype.get("configuration")
        length = found.get("length_bytes") if isinstance(found, dict) else None
        return length if type(length) is int else _NAME
    try:
        return max(np.dtype(dtype).itemsize, 1) if isinstance(dtype, str) and dtype != "|O" else _NAME
    except (TypeError, ValueError):
        return _NAME


def _shown(name: str) -> str:
    return name if len(name) <= 100 else name[:99] + "…"
