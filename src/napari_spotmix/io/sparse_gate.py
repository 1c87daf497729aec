"""The gate for sparse matrices: each one is checked here before SciPy or compiled code sees it.

Compiled code trusts the pointers and indices of a matrix: one index out of range ends the process. Files and
other programs can hold any numbers there, so every matrix passes, whichever slot it is in.

The checks read each array once, in blocks that stay in the cache, at the speed of memory.

References
----------
SciPy, `csr_array` (the three arrays of a compressed matrix); anndata, "On-disk format" (0.7 and later).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from anndata import AnnData
from anndata.abc import CSCDataset, CSRDataset
from numpy.typing import NDArray
from pandas.api.types import infer_dtype
from scipy.sparse import csr_array, issparse

from napari_spotmix.base.errors import ReadError
from napari_spotmix.io.on_disk import is_closed
from napari_spotmix.io.uns import no_file_takes

__all__ = [
    "check_matrices",
    "index_problem",
    "layout_problem",
    "native",
    "pointer_problem",
    "signed",
    "sparse_damage",
    "sparse_problem",
    "to_csr",
]

#: Indices that are checked at once: they stay in the cache.
_BLOCK = 1 << 18
#: Longest name of a slot in a message, in letters; names come from files.
_LONGEST = 80
_COMPRESSED = ("csr", "csc")
#: Kinds of dtypes: of values (bool, integers, real numbers) and of indices.
_NUMBERS, _INTEGERS = "biuf", "iu"


def check_matrices(adata: AnnData, path: Path) -> None:
    """Check every sparse matrix of an AnnData that was read from `path`, and the columns of its tables.

    Raises
    ------
    ReadError
        If one is damaged.
    """
    if damage := sparse_damage(adata) or _column_damage(adata):
        raise ReadError(path, f"{damage} Copy or download the file again, or write it again.")


def _column_damage(adata: AnnData) -> str:
    """Return which column of `obs` or `var` holds what no file of a result can; "" if there is none."""
    for slot in ("obs", "var"):
        table = getattr(adata, slot)
        for at, name in enumerate(table.columns):
            if _is_unwritable(table.iloc[:, at]):
                shown = f"{slot}[{str(name)!r}]"[:_LONGEST]
                return f"`{shown}` is damaged: its values are neither text nor numbers."
    return ""


def _is_unwritable(column: pd.Series[Any]) -> bool:
    if column.dtype == object:
        return infer_dtype(column, skipna=True) in ("mixed", "bytes")
    return no_file_takes(column.dtype)


def sparse_damage(adata: AnnData) -> str:
    """Return which sparse matrices of `adata` are damaged, and how the first one is; "" for valid data.

    Parameters
    ----------
    adata : AnnData
        Not modified. Of matrices on disk, pointers and dtypes are checked; indices are checked when they are
        read. Of a view, the data that it is a view of.

    Examples
    --------
    >>> from scipy.sparse import csr_matrix
    >>> adata = AnnData(csr_matrix(np.eye(3)))
    >>> sparse_damage(adata)
    ''
    >>> adata.X.indices[1] = 10**6
    >>> sparse_damage(adata)
    '`X` is damaged: a column index is 1,000,000, expected 0 to 2.'
    """
    whole = adata._adata_ref if adata.is_view else adata  # a view reads with compiled code
    found = ((slot, sparse_problem(matrix)) for slot, matrix in _slots(whole))
    damaged = [(slot, problem) for slot, problem in found if problem]
    if not damaged:
        return ""
    slot, problem = damaged[0]
    shown = slot if len(slot) <= _LONGEST else slot[: _LONGEST - 1] + "…"
    more = f" So are {len(damaged) - 1:,} more of its matrices." if len(damaged) > 1 else ""
    return f"`{shown}` is damaged: {problem}.{more}"


def _slots(adata: AnnData) -> Iterator[tuple[str, Any]]:
    """Yield each matrix of an AnnData, with the slot it is in."""
    yield "X", adata.X
    for name in ("layers", "obsm", "varm", "obsp", "varp", "uns"):
        yield from _items(name, getattr(adata, name))
    if adata.raw is not None:
        yield "raw.X", adata.raw.X
        yield from _items("raw.varm", adata.raw.varm)


def _items(slot: str, values: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        inner = f"{slot}[{str(name)!r}]"
        if isinstance(value, Mapping):
            yield from _items(inner, value)
        elif isinstance(value, AnnData):
            yield from ((f"{inner}.{slot}", matrix) for slot, matrix in _slots(value))
        else:
            yield inner, value


def sparse_problem(matrix: Any) -> str:
    """Return in a clause what is wrong with a sparse matrix; "" if it is valid, or not sparse.

    Parameters
    ----------
    matrix : object
        A CSR or CSC matrix of SciPy, a CSRDataset or CSCDataset, or anything else, which is valid.

    Examples
    --------
    >>> from scipy.sparse import csc_array
    >>> matrix = csc_array(np.eye(3))
    >>> matrix.indptr[1] = 7
    >>> sparse_problem(matrix)
    'its pointers decrease'
    """
    if isinstance(matrix, (CSRDataset, CSCDataset)):
        return _problem_on_disk(matrix)
    if not issparse(cast("object", matrix)) or matrix.format not in _COMPRESSED:
        return ""
    is_csr = matrix.format == "csr"
    data, indices, indptr = matrix.data, matrix.indices, matrix.indptr
    n_major, n_minor = matrix.shape if is_csr else matrix.shape[::-1]
    return (
        layout_problem(data, indices, indptr, n_major)
        or pointer_problem(indptr, len(indices))
        or index_problem(indices, n_minor, "column" if is_csr else "row")
    )


def _problem_on_disk(matrix: CSRDataset | CSCDataset) -> str:
    """Return what is wrong with all but the indices, which may be larger than memory."""
    if is_closed(matrix):
        return ""  # nothing can be read from it
    data, indices, indptr = (matrix.group.get(name) for name in ("data", "indices", "indptr"))
    n_major = matrix.shape[isinstance(matrix, CSCDataset)]
    return layout_problem(data, indices, indptr, n_major) or pointer_problem(indptr[:], len(indices))


def layout_problem(data: Any, indices: Any, indptr: Any, n_major: int) -> str:
    """Return what is wrong with kinds and lengths of the arrays of a matrix; no value is read.

    Parameters
    ----------
    data, indices, indptr : ndarray, or dataset of HDF5 or Zarr
    n_major : int
        Rows of a CSR matrix, columns of a CSC matrix.

    Examples
    --------
    >>> layout_problem(np.ones(2), np.array([0.5, 1.5]), np.array([0, 2]), 1)
    '`indices` must be integers, found float64'
    """
    for name, array, kinds in (
        ("data", data, _NUMBERS),
        ("indices", indices, _INTEGERS),
        ("indptr", indptr, _INTEGERS),
    ):
        shape, dtype = getattr(array, "shape", None), getattr(array, "dtype", None)
        if shape is None or dtype is None:
            return f"`{name}` is missing or empty"
        if len(shape) != 1:
            return f"`{name}` must have one dimension, found {len(shape)}"
        if dtype.kind not in kinds:
            wanted = "integers" if kinds == _INTEGERS else "real numbers"
            return f"`{name}` must be {wanted}, found {_short(dtype)}"
    if len(data) != len(indices):
        return f"it has {len(data):,} values but {len(indices):,} indices"
    if len(indptr) != n_major + 1:
        return f"it has {len(indptr):,} pointers, expected {n_major + 1:,}"
    return ""


def _short(dtype: Any) -> str:
    return "text" if dtype.kind in "OSUT" else str(dtype)[:40]


def pointer_problem(indptr: NDArray[np.integer], n_entries: int) -> str:
    """Return what is wrong with the pointers of a matrix with so many entries.

    Examples
    --------
    >>> pointer_problem(np.array([0, 2, 9]), 4)
    'its last pointer is 9, expected 4, the number of entries'
    """
    if int(indptr[0]) != 0:
        return f"its first pointer is {int(indptr[0]):,}, expected 0"
    if any(bool((block[1:] < block[:-1]).any()) for block in _blocks(indptr, overlap=1)):
        return "its pointers decrease"
    if int(indptr[-1]) != n_entries:
        return f"its last pointer is {int(indptr[-1]):,}, expected {n_entries:,}, the number of entries"
    return ""


def index_problem(indices: NDArray[np.integer], n_minor: int, axis: str) -> str:
    """Return what is wrong with the indices of columns (or rows, as `axis` names them) of a matrix.

    Examples
    --------
    >>> index_problem(np.array([0, 4, -5]), 6, "column")
    'a column index is -5, expected 0 to 5'
    """
    # Of integers without a sign, a negative number is larger than any other: the maximum finds both.
    unsigned = indices.view(indices.dtype.str.replace("i", "u"))
    for block, signed in zip(_blocks(unsigned), _blocks(indices), strict=True):
        if int(block.max()) >= n_minor:
            return f"a {axis} index is {int(signed[block.argmax()]):,}, expected 0 to {n_minor - 1:,}"
    return ""


def _blocks(array: NDArray[Any], overlap: int = 0) -> Iterator[NDArray[Any]]:
    """Yield an array in parts; each begins with the last `overlap` elements of the one before."""
    return (array[start : start + _BLOCK + overlap] for start in range(0, len(array), _BLOCK))


def to_csr(matrix: Any) -> csr_array:
    """Return a valid matrix as CSR, with arrays that compiled code takes; they are shared if they are so.

    Parameters
    ----------
    matrix : sparse matrix or ndarray

    Examples
    --------
    >>> matrix = csr_array(np.eye(3))
    >>> matrix.indices = matrix.indices.astype(">u2")
    >>> to_csr(matrix).indices.dtype
    dtype('int64')
    """
    is_sparse = issparse(cast("object", matrix))
    if not is_sparse or matrix.format not in _COMPRESSED:
        return csr_array(matrix if is_sparse else native(matrix))
    data = native(matrix.data)
    plain: Any = type(matrix)(matrix.shape, dtype=data.dtype)
    # Set, not given to the constructor, which warns of indices without a sign.
    plain.data, plain.indices, plain.indptr = data, signed(matrix.indices), signed(matrix.indptr)
    return csr_array(plain)


def native(array: NDArray[Any]) -> NDArray[Any]:
    """Return numbers as compiled code reads them: files of other machines have another order of bytes.

    Examples
    --------
    >>> native(np.ones(2, ">f4")).dtype.isnative, native(np.ones(2, "f2")).dtype
    (True, dtype('float32'))
    """
    # SciPy has no sparse matrices of half-precision numbers.
    kind = np.dtype(np.float32) if array.dtype == np.float16 else array.dtype.newbyteorder("=")
    return array.astype(kind, copy=False)


def signed(indices: NDArray[np.integer]) -> NDArray[np.signedinteger]:
    """Return valid indices with a sign, in 32 or 64 bits, as compiled code takes them.

    Examples
    --------
    >>> signed(np.ones(2, ">i4")).dtype, signed(np.ones(2, "u1")).dtype
    (dtype('int32'), dtype('int64'))
    """
    is_usual = indices.dtype.newbyteorder("=") in (np.int32, np.int64)
    return np.asarray(native(indices) if is_usual else indices.astype(np.int64))
