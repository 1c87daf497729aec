"""Count matrices of an AnnData, in memory or on disk, as blocks of rows for the model.

Within a row, columns are sorted and unique, however they are stored, so equal counts give equal results, to
the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np
from anndata.abc import CSCDataset, CSRDataset
from numpy.typing import NDArray
from scipy.sparse import csr_array, issparse

from napari_spotmix.io import (
    as_read_error,
    index_problem,
    layout_problem,
    native,
    pointer_problem,
    signed,
    sparse_problem,
    to_csr,
)
from napari_spotmix.model.counts import InMemory, RowBlocks, block_bounds, is_in_order

__all__ = ["csr", "reading", "row_blocks", "value_blocks"]

#: Values read at a time: some hundredths of a second.
_VALUES = 1 << 21


def row_blocks(matrix: Any) -> csr_array | RowBlocks:
    """Return a matrix of an AnnData as the model reads it.

    Parameters
    ----------
    matrix : sparse matrix, ndarray, CSRDataset, CSCDataset or h5py Dataset, shape (n_rows, n_columns)
        Any kind of number. CSR in memory is not copied if its columns are in order, CSC is converted as a
        whole; all else is converted to CSR block by block.

    Examples
    --------
    >>> blocks = row_blocks(np.array([[0, 2], [1, 0], [0, 3]]))
    >>> blocks.bounds, blocks.read(1, 3).toarray()
    (array([0, 3]), array([[1, 0],
           [0, 3]]))
    """
    if isinstance(matrix, CSRDataset):
        return _InOrder(_SparseRows(matrix))
    if isinstance(matrix, CSCDataset) or issparse(matrix):
        rows = csr(matrix)
        return rows if is_in_order(rows) else _InOrder(InMemory(rows))
    return _DenseRows(matrix)


def value_blocks(matrix: Any) -> tuple[int, np.dtype[Any], Iterator[NDArray[Any]]]:
    """Return how many blocks all values (of a sparse matrix those stored) are in, their type and the blocks.

    Examples
    --------
    >>> n_blocks, dtype, blocks = value_blocks(csr_array(np.array([[0, 2], [1, 0]])))
    >>> n_blocks, dtype, [block.tolist() for block in blocks]
    (1, dtype('int64'), [[2, 1]])
    """
    values = _values(matrix)
    step = max(_VALUES // int(np.prod(values.shape[1:])), 1)
    starts = range(0, len(values), step)
    return len(starts), values.dtype, (_read(values, start, start + step).ravel() for start in starts)


def _values(matrix: Any) -> Any:
    if isinstance(matrix, (CSRDataset, CSCDataset)):
        return matrix.group["data"]
    return matrix.data if issparse(cast("object", matrix)) else matrix


def _read(array: Any, start: int, stop: int) -> NDArray[Any]:
    with reading(array):
        return np.asarray(array[start:stop])


def reading(array: Any) -> AbstractContextManager[None]:
    """Name the file in errors of reading, if the array is in one."""
    file = getattr(array, "file", None)
    return nullcontext() if file is None else as_read_error(Path(file.filename), array.name)


def csr(matrix: Any) -> csr_array:
    """Return a matrix of an AnnData as CSR in memory; CSR in memory is not copied."""
    if isinstance(matrix, (CSRDataset, CSCDataset)):
        with reading(matrix.group["data"]):
            matrix = matrix.to_memory()
            _refuse(sparse_problem(matrix))
    elif isinstance(matrix, h5py.Dataset):
        matrix = _read(matrix, 0, len(matrix))
    return to_csr(matrix)


@dataclass(frozen=True)
class _InOrder:
    """Rows of a matrix with columns in order, and repeated entries summed."""

    matrix: RowBlocks

    @property
    def bounds(self) -> NDArray[np.int64]:
        return self.matrix.bounds

    def read(self, start: int, stop: int) -> csr_array:
        rows = self.matrix.read(start, stop)
        if not is_in_order(rows):
            rows = rows.astype(np.float64)  # which holds every sum
            rows.sum_duplicates()
        return rows


@dataclass(frozen=True)
class _SparseRows:
    """Rows of a CSR matrix on disk."""

    matrix: CSRDataset

    @cached_property
    def _arrays(self) -> tuple[Any, Any, NDArray[np.int64]]:
        data, indices, indptr = (self.matrix.group[name] for name in ("data", "indices", "indptr"))
        with reading(indptr):
            _refuse(layout_problem(data, indices, indptr, self.matrix.shape[0]))
            pointers = np.asarray(indptr[:], dtype=np.int64)
            _refuse(pointer_problem(pointers, len(indices)))
        return data, indices, pointers

    @cached_property
    def bounds(self) -> NDArray[np.int64]:
        data, indices, indptr = self._arrays
        return block_bounds(indptr, data.dtype.itemsize + indices.dtype.itemsize)

    def read(self, start: int, stop: int) -> csr_array:
        data, indices, indptr = self._arrays
        first, last = int(indptr[start]), int(indptr[stop])
        values, columns = _read(data, first, last), _read(indices, first, last)
        n_columns = self.matrix.shape[1]
        with reading(indices):
            _refuse(index_problem(columns, n_columns, "column"))
        rows = (native(values), signed(columns), indptr[start : stop + 1] - first)
        return csr_array(rows, (stop - start, n_columns))


def _refuse(problem: str) -> None:
    """Reject a matrix with which compiled code would read out of bounds."""
    if problem:
        raise ValueError(problem)


@dataclass(frozen=True)
class _DenseRows:
    """Rows of a dense matrix, in memory or on disk."""

    matrix: Any

    @cached_property
    def bounds(self) -> NDArray[np.int64]:
        n_rows, n_columns = self.matrix.shape
        return block_bounds(np.arange(n_rows + 1) * n_columns, self.matrix.dtype.itemsize)

    def read(self, start: int, stop: int) -> csr_array:
        return csr(_read(self.matrix, start, stop))
