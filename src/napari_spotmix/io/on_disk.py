"""AnnData whose matrices stay in their file: opened, copied and written without being read into memory.

A matrix on disk is a ``CSRDataset`` or ``CSCDataset`` of anndata if it is sparse, and an HDF5 dataset if it
is dense. Everything else in the AnnData is in memory.

References
----------
anndata, "On-disk format" (0.8 and later).
"""

from __future__ import annotations

import warnings
from collections import UserDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import h5py
from anndata import AnnData
from anndata.abc import CSCDataset, CSRDataset
from anndata.io import read_elem, sparse_dataset, write_elem
from pandas import DataFrame

from napari_spotmix.io.hdf5_blocks import copy_dataset
from napari_spotmix.io.notes import add_notes
from napari_spotmix.io.uns import read_uns

__all__ = [
    "assembled",
    "close_files",
    "copied",
    "csr_on_disk",
    "is_closed",
    "is_on_disk",
    "kept_open",
    "open_h5ad",
    "replaced",
    "size_of_file",
    "without_matrices",
    "write_matrices",
]

_TABLES = ("obs", "var", "uns", "obsm", "varm", "obsp", "varp")
_ARRAYS = ("data", "indices", "indptr")
_SPARSE = ("csr_matrix", "csc_matrix")


def is_on_disk(matrix: Any) -> bool:
    """Return whether a matrix of an AnnData is still in its HDF5 file."""
    return isinstance(getattr(matrix, "group", matrix), (h5py.Dataset, h5py.Group, UserDict))


@contextmanager
def kept_open() -> Iterator[ExitStack]:
    """Yield a stack that closes its files on an error; without one, they stay open while they are in use."""
    with ExitStack() as files:
        yield files
        files.pop_all()


def is_closed(matrix: Any) -> bool:
    """Return whether a matrix of an AnnData is on disk in a file that has been closed."""
    return is_on_disk(matrix) and _file(matrix) is None


def open_h5ad(file: h5py.File) -> AnnData:
    """Return the AnnData in an open ``.h5ad`` file, with `X`, layers and the `X` of `raw` left on disk."""
    parts: dict[str, Any] = {key: read_elem(file[key]) for key in _TABLES if key in file and key != "uns"}
    parts["uns"], notes = read_uns(file["uns"]) if "uns" in file else ({}, [])
    parts["X"] = _left_on_disk(file["X"]) if "X" in file else None
    parts["layers"] = {name: _left_on_disk(item) for name, item in list(file.get("layers", {}).items())}
    if "raw" in file:
        parts["raw"] = {
            key: _left_on_disk(item) if key == "X" else read_elem(item)
            for key, item in list(file["raw"].items())
        }
    adata = assembled(parts)
    add_notes(adata, notes)
    return adata


def _left_on_disk(item: h5py.Group | h5py.Dataset) -> Any:
    kind = item.attrs.get("encoding-type")
    if kind in _SPARSE:
        return sparse_dataset(item)
    return item if kind == "array" else read_elem(item)


def csr_on_disk(group: h5py.Group, shape: tuple[int, int]) -> CSRDataset:
    """Return the CSR matrix whose three arrays are in a group without anndata's attributes."""
    arrays: Any = UserDict({name: group[name] for name in _ARRAYS})
    arrays.attrs = UserDict({"encoding-type": _SPARSE[0], "encoding-version": "0.1.0", "shape": shape})
    return sparse_dataset(arrays)


def copied(adata: AnnData) -> AnnData:
    """Return a copy that may be modified; matrices on disk are shared with `adata`, not read."""
    matrices = _matrices(adata)
    if not matrices:
        with _duplicates_kept():
            return adata.to_memory() if adata.isbacked else adata.copy()
    parts = deepcopy(_in_memory(adata, matrices))
    parts["X"] = matrices.get("X", parts.get("X"))
    for name in adata.layers:
        parts["layers"][name] = matrices.get(f"layers/{name}", parts["layers"].get(name))
    if adata.raw is not None:
        parts["raw"] = {"X": adata.raw.X, "var": adata.raw.var.copy(), "varm": dict(adata.raw.varm)}
    return assembled(parts)


def replaced(adata: AnnData, **parts: Any) -> AnnData:
    """Return an AnnData with some parts replaced; all others are shared with `adata`. No matrix is read.

    Parameters
    ----------
    adata : AnnData
        Not modified.
    **parts
        Arguments of the constructor of AnnData. With other genes, `var`, `layers`, `varm` and `varp` must
        be given too.
    """
    whole = _in_memory(adata, ())
    raw = adata.raw
    if raw is not None:
        whole["raw"] = {"X": raw.X, "var": raw.var, "varm": dict(raw.varm)}
    whole |= parts
    for names, tables in (("obs", "obsm"), ("var", "varm")):
        if names in parts:
            whole[tables] = {key: _renamed(item, parts[names].index) for key, item in whole[tables].items()}
    return assembled(whole)


def _renamed(item: Any, index: Any) -> Any:
    return item.set_axis(index) if isinstance(item, DataFrame) else item


def without_matrices(adata: AnnData) -> AnnData:
    """Return `adata` without the matrices that are on disk; nothing is copied."""
    matrices = _matrices(adata)
    if not matrices:
        return adata
    parts = _in_memory(adata, matrices)
    return assembled(parts if "raw/X" in matrices else parts | {"raw": adata.raw})


def assembled(parts: dict[str, Any]) -> AnnData:
    """Return an AnnData from the arguments of its constructor; duplicate names are allowed."""
    with _duplicates_kept():
        return AnnData(**parts)


@contextmanager
def _duplicates_kept() -> Iterator[None]:
    """Silence anndata's warning about duplicate gene names, which are expected."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _matrices(adata: AnnData) -> dict[str, Any]:
    """Return the matrices that are on disk, by their HDF5 path."""
    if adata.is_view:  # a view reads its matrices
        return {}
    found = {"X": adata.X} | {f"layers/{name}": layer for name, layer in adata.layers.items()}
    if adata.raw is not None:
        found["raw/X"] = adata.raw.X
    return {name: matrix for name, matrix in found.items() if is_on_disk(matrix)}


def _in_memory(adata: AnnData, matrices: Iterable[str]) -> dict[str, Any]:
    """Return the arguments of AnnData for the parts of `adata` that are in memory, except `raw`."""
    parts: dict[str, Any] = {"obs": adata.obs, "var": adata.var}
    parts |= {key: dict(getattr(adata, key)) for key in _TABLES[2:]}
    parts["layers"] = {name: item for name, item in adata.layers.items() if f"layers/{name}" not in matrices}
    return parts if "X" in matrices else parts | {"X": adata.X}


def write_matrices(file: h5py.File, adata: AnnData, check_cancelled: Callable[[], None]) -> None:
    """Copy the matrices that `without_matrices` left out into an ``.h5ad`` file, chunks as they are.

    `check_cancelled` is called several times a second; it raises `Cancelled` to stop.
    """
    for name, matrix in _matrices(adata).items():
        if name == "raw/X":
            _write_raw_tables(file, adata)
        if isinstance(matrix, h5py.Dataset):
            copy_dataset(matrix, file, name, check_cancelled)
        else:
            _write_sparse(file.create_group(name), matrix, check_cancelled)


def _write_raw_tables(file: h5py.File, adata: AnnData) -> None:
    raw = file.create_group("raw")
    raw.attrs.update({"encoding-type": "raw", "encoding-version": "0.1.0"})
    write_elem(raw, "var", adata.raw.var)
    write_elem(raw, "varm", dict(adata.raw.varm))


def _write_sparse(
    group: h5py.Group, matrix: CSRDataset | CSCDataset, check_cancelled: Callable[[], None]
) -> None:
    for name in _ARRAYS:
        copy_dataset(matrix.group[name], group, name, check_cancelled)
    kind = _SPARSE[isinstance(matrix, CSCDataset)]
    group.attrs.update({"encoding-type": kind, "encoding-version": "0.1.0", "shape": matrix.shape})


def size_of_file(matrix: Any) -> int:
    """Return the size in bytes of the file of a matrix on disk, 0 for a matrix in memory."""
    file = _file(matrix) if is_on_disk(matrix) else None
    return Path(file.filename).stat().st_size if file else 0


def close_files(adata: AnnData) -> None:
    """Close the files of the matrices that are on disk; these matrices cannot be read afterward."""
    for file in [_file(matrix) for matrix in _matrices(adata).values()]:
        if file:
            file.close()


def _file(matrix: Any) -> h5py.File | None:
    """Return the file of a matrix on disk, or None if it has been closed."""
    item = matrix if isinstance(matrix, h5py.Dataset) else matrix.group
    if isinstance(item, UserDict):
        item = item["data"]
    return item.file if item else None
