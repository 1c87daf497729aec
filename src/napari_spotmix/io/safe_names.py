"""Names that HDF5 or Zarr cannot hold: made safe in the file, and restored when it is read.

A column or key becomes the name of an HDF5 object, in which "/" would nest ("NK/T" would be "T" inside
"NK"). In the file such a name gets "_" for "/", and ``uns["spotmix_names"]`` tells the true one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pandas as pd

from napari_spotmix.base.keys import NAMES
from napari_spotmix.io.on_disk import copied

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["NAMES", "restore_names", "restored_names", "with_safe_names"]

#: No names in a path: of nothing, of the folder itself, and of the one above, which Zarr refuses.
_NO_PATHS = ("", ".", "..")


def with_safe_names(adata: AnnData) -> AnnData:
    """Return `adata`, or a copy in which every column and key may be the name of an HDF5 object."""
    names = set(_names(adata))
    unsafe = sorted(name for name in names if not _is_safe(name))
    if not unsafe:
        return adata
    table: dict[str, str] = {}
    for name in unsafe:
        safe = _safe(name, names | set(table))
        table[safe] = name
    back = {true: safe for safe, true in table.items()}
    copy = copied(adata)
    _rename(copy, lambda name: back.get(name, name))
    copy.uns[NAMES] = table
    return copy


def restored_names(adata: AnnData) -> AnnData:
    """Return `adata`, or a copy with the names that `with_safe_names` changed given back."""
    if NAMES not in adata.uns:
        return adata
    copy = copied(adata)
    restore_names(copy)
    return copy


def restore_names(adata: AnnData) -> None:
    """Give back, in place, the names that `with_safe_names` changed."""
    table = adata.uns.pop(NAMES, None)
    if isinstance(table, dict):
        _rename(adata, lambda name: str(table.get(name, name)))


def _is_safe(name: str) -> bool:
    return "/" not in name and name not in (*_NO_PATHS, "_index")  # the last is how anndata calls the rows


def _safe(name: str, taken: set[str]) -> str:
    safe = "_" if name in _NO_PATHS else name.replace("/", "_")
    while safe in taken:
        safe += "_"
    return safe


def _frames(adata: AnnData) -> Iterator[pd.DataFrame]:
    yield from (adata.obs, adata.var)
    yield from (
        item for part in (adata.obsm, adata.varm) for item in part.values() if isinstance(item, pd.DataFrame)
    )


def _names(adata: AnnData) -> Iterator[str]:
    for frame in _frames(adata):
        yield from (str(name) for name in frame.columns)
    yield from _keys(adata.uns)


def _keys(mapping: Any) -> Iterator[str]:
    for key, value in mapping.items():
        yield str(key)
        if isinstance(value, dict):
            yield from _keys(value)


def _rename(adata: AnnData, rename: Callable[[str], str]) -> None:
    """Rename columns and keys in place."""
    adata.obs = adata.obs.rename(columns=rename)
    adata.var = adata.var.rename(columns=rename)
    for part in (adata.obsm, adata.varm):
        for key, item in list(part.items()):
            if isinstance(item, pd.DataFrame):
                part[key] = item.rename(columns=rename)
    adata.uns = _renamed_keys(adata.uns, rename)


def _renamed_keys(mapping: Any, rename: Callable[[str], str]) -> dict[str, Any]:
    return {
        rename(str(key)): _renamed_keys(value, rename) if isinstance(value, dict) else value
        for key, value in mapping.items()
    }
