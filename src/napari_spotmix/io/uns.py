"""Read an AnnData of a file: of `uns`, what is needed, and the rest if it is small and can be read.

Other programs store in `uns` whatever they like. It is kept for the result, but nothing there is worth
running out of memory, or not reading the counts.

References
----------
anndata, "On-disk format" (0.8 and later), and `anndata.experimental.read_dispatched`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from anndata import AnnData
from anndata.experimental import read_dispatched
from anndata.io import read_elem
from pandas.api.types import infer_dtype

from napari_spotmix.base.keys import ADDED, SPATIAL
from napari_spotmix.io.notes import add_notes
from napari_spotmix.io.problems import listed

__all__ = ["is_current", "no_file_takes", "read_anndata", "read_uns"]

#: Scalars that are read from damaged files, and cannot be written.
_UNWRITABLE = (bytes, complex, tuple, np.complexfloating, np.void, np.datetime64, np.timedelta64)
#: Bytes in memory of all that is not needed; and bytes for a name.
_MOST, _NAME = 1 << 26, 64


def is_current(group: Any) -> bool:
    """Return whether a group of HDF5 or Zarr holds an AnnData in the layout of anndata 0.8 and later."""
    return bool(group.attrs.get("encoding-type") == "anndata")


def read_anndata(group: Any) -> AnnData:
    """Return the AnnData in a group of HDF5 or Zarr, in memory; a note names what was left out of `uns`."""
    notes: list[str] = []

    def read(read_one: Callable[[Any], Any], name: str, item: Any, *, iospec: Any) -> Any:
        if name.strip("/") != "uns" or not _is_group(item):
            return read_one(item)
        uns, found = read_uns(item)
        notes.extend(found)
        return uns

    adata: AnnData = read_dispatched(group, read)
    if not isinstance(adata, AnnData):
        raise TypeError(f"expected an AnnData, found {type(adata).__name__}")
    add_notes(adata, notes)
    return adata


def read_uns(group: Any) -> tuple[dict[str, Any], list[str]]:
    """Return the content of `uns`, and notes on what was left out.

    Parameters
    ----------
    group : Group of HDF5 or Zarr
        Its structure has been checked.
    """
    found: dict[str, Any] = {}
    large, unreadable, unwritable, n_bytes = [], [], [], 0
    for key in list(group):
        is_needed = key == SPATIAL or key.startswith(ADDED)
        try:
            claimed = 0 if is_needed else _claimed(group[key])
            if n_bytes + claimed > _MOST:
                large.append(key)
                continue
            n_bytes += claimed
            found[key], lost = _without_unwritable(read_elem(group[key]), key)
            unwritable.extend(lost)
        except Exception:
            if is_needed:
                raise
            unreadable.append(key)
    words = {
        "is large and was not read": large,
        "cannot be read and was left out": unreadable,
        "holds neither numbers nor text and was left out": unwritable,
    }
    return found, [f"`uns` of the file: {listed(keys)} {why}." for why, keys in words.items() if keys]


def _without_unwritable(value: Any, name: str) -> tuple[Any, list[str]]:
    """Return a value without the scalars that no AnnData can be written with, and the names of these."""
    if not isinstance(value, dict):
        return value, []
    kept, lost = {}, []
    for key, item in value.items():
        inner = f"{name}/{key}"
        if _is_unwritable(item):
            lost.append(inner)
            continue
        kept[key], found = _without_unwritable(item, inner)
        lost += found
    return kept, lost


def _is_unwritable(item: Any) -> bool:
    if not isinstance(item, np.ndarray):
        return isinstance(item, _UNWRITABLE)
    if item.dtype.kind == "O":
        return infer_dtype(item.ravel(), skipna=True) not in ("string", "empty")
    return no_file_takes(item.dtype)


def no_file_takes(dtype: Any) -> bool:
    """Return whether values are opaque, or dates: anndata may read these, and cannot write them.

    Examples
    --------
    >>> [no_file_takes(np.dtype(name)) for name in ("V4", "M8[s]", "f8")]
    [True, True, False]
    """
    return dtype.kind in "mM" or (dtype.kind == "V" and getattr(dtype, "names", None) is None)


def _claimed(item: Any) -> int:
    """Return the bytes of all arrays in a node, in memory."""
    if _is_group(item):
        return sum(_claimed(item[key]) for key in list(item))
    kind = item.dtype
    return int(item.size or 0) * max(int(kind.itemsize), _NAME if kind.kind in "OT" else 1)


def _is_group(item: Any) -> bool:
    return isinstance(item, Mapping) or (hasattr(item, "keys") and not hasattr(item, "dtype"))
