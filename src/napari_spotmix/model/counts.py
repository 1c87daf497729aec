"""Counts of spots with the gene of each column: what the model reads instead of a matrix.

The matrix need not be in memory. To read all of it, go through its blocks of rows in order, so that no more
than three of them are held at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from napari_spotmix.base.threads import Threads
from napari_spotmix.model.kernels import counts as counts_kernels
from napari_spotmix.model.kernels.arguments import GeneCounts

__all__ = ["Counts", "InMemory", "Kernel", "RowBlocks", "block_bounds", "is_in_order"]

#: What is called with a few rows at a time.
Kernel = Callable[[GeneCounts], None]

#: Most rows per call of a kernel: some milliseconds of work, so that a cancel is noticed soon.
_ROWS = 4096
#: Bytes per block: less than a tenth of a second of reading, compressed or not.
_BYTES = 16 << 20


class RowBlocks(Protocol):
    """A matrix that is read in blocks of rows."""

    @property
    def bounds(self) -> NDArray[np.int64]:
        """First row of each block, in order, and at the end the number of rows."""
        ...

    def read(self, start: int, stop: int) -> csr_array:
        """Return some rows of one block, in memory; called by one thread at a time."""
        ...


def is_in_order(rows: csr_array) -> bool:
    """Return whether the columns of each row are sorted, without duplicates."""
    return bool(counts_kernels.rows_in_order(rows.indptr, rows.indices, 0, rows.shape[0]))


def block_bounds(indptr: NDArray[np.integer], bytes_per_entry: int) -> NDArray[np.int64]:
    """Cut rows into blocks of at most 16 MiB, or of one row if that is larger.

    Parameters
    ----------
    indptr : ndarray of int, shape (n_rows + 1,)
        Entries before each row, and of all rows.
    bytes_per_entry : int

    Examples
    --------
    >>> block_bounds(np.array([0, 3, 4, 5, 9]), bytes_per_entry=2**22)
    array([0, 2, 3, 4])
    """
    most, n_rows = max(_BYTES // bytes_per_entry, 1), len(indptr) - 1
    bounds = [0]
    while bounds[-1] < n_rows:
        start = bounds[-1]
        end = min(int(indptr[start]) + most, int(indptr[-1]))
        # In the type of `indptr`: else all of it would be converted for each block.
        stop = int(np.searchsorted(indptr, indptr.dtype.type(end), side="right")) - 1
        bounds.append(max(stop, start + 1))
    return np.array(bounds)


@dataclass(frozen=True)
class InMemory:
    """A matrix in memory that is read in blocks of rows."""

    values: csr_array

    @property
    def bounds(self) -> NDArray[np.int64]:
        entry = self.values.data.itemsize + self.values.indices.itemsize
        return block_bounds(self.values.indptr, entry)

    def read(self, start: int, stop: int) -> csr_array:
        whole = self.values
        first, last = whole.indptr[start], whole.indptr[stop]
        # Not by SciPy's slices, which may copy all of the matrix's indices each time.
        rows = (whole.data[first:last], whole.indices[first:last], whole.indptr[start : stop + 1] - first)
        return csr_array(rows, shape=(stop - start, whole.shape[1]))


@dataclass(frozen=True)
class _Chosen:
    """Some rows of a matrix; `rows` are sorted, without duplicates."""

    matrix: RowBlocks
    rows: NDArray[np.int64]

    @property
    def bounds(self) -> NDArray[np.int64]:
        return np.unique(np.searchsorted(self.rows, self.matrix.bounds))

    def read(self, start: int, stop: int) -> csr_array:
        rows = self.rows[start:stop]
        around = self.matrix.read(int(rows[0]), int(rows[-1]) + 1)
        return csr_array(around[rows - rows[0]])


@dataclass(frozen=True)
class Counts:
    """Counts of some spots, as they are in their matrix.

    Several columns may hold the same gene, and a column may be unused; entries of a row may be unsorted and
    repeated. Nothing is modified, and what is in memory is not copied.

    Attributes
    ----------
    rows : csr_array, shape (n_spots, n_columns), or RowBlocks
        Any kind of number.
    gene_of_column : ndarray of int64, shape (n_columns,)
        Number of each column's gene, or -1 for a column that is not used.
    spot_of_row : ndarray of int64, shape (n_spots,), optional
        Number of each row's spot, if spots are numbered in another order than their rows.

    Examples
    --------
    >>> counts = Counts(csr_array(np.array([[1, 2, 9], [0, 3, 9]])), np.array([0, 1, -1]))
    >>> counts.n_spots, counts.gene_sums(2).tolist()
    (2, [1.0, 5.0])
    """

    rows: csr_array | RowBlocks
    gene_of_column: NDArray[np.int64]
    spot_of_row: NDArray[np.int64] | None = None

    @property
    def n_spots(self) -> int:
        return int(self.rows.shape[0] if isinstance(self.rows, csr_array) else self.rows.bounds[-1])

    def blocks(self) -> Generator[tuple[slice, csr_array]]:
        """Yield all rows in the order in which they are stored: which ones, and their counts."""
        if isinstance(self.rows, csr_array):
            # All at once: no thread has to wait for the end of each block.
            yield slice(0, self.n_spots), self.rows
        else:
            yield from _read_ahead(self.rows)

    def over_rows(
        self, kernel: Kernel, threads: Threads, on_rows: Callable[[int], None] = lambda _: None
    ) -> None:
        """Call `kernel` for a few rows at a time until it has seen every row once.

        `on_rows` is called in this thread with the number of rows done; what it raises stops the rest.
        """
        spot_of_row = self._spot_of_row
        with closing(self.blocks()) as blocks:
            for rows, values in blocks:
                own = partial(GeneCounts.of_rows, values, self.gene_of_column, spot_of_row[rows])

                def some(start: int, stop: int, own: Callable[[int, int], GeneCounts] = own) -> None:
                    kernel(own(start, stop))

                threads.over_blocks(
                    some,
                    values.shape[0],
                    block=_rows_per_call(values.shape[0], threads.n_threads),
                    on_block=partial(_report, on_rows, rows.start),
                )

    @property
    def _spot_of_row(self) -> NDArray[np.int64]:
        return np.arange(self.n_spots) if self.spot_of_row is None else self.spot_of_row

    def numbered(self, order: NDArray[np.int64]) -> Counts:
        """Return the same counts with the spots numbered in another order; nothing is read.

        Parameters
        ----------
        order : ndarray of int64, shape (n_spots,)
            Number that each spot has had.

        Examples
        --------
        >>> counts = Counts(csr_array([[5.0], [6.0], [7.0]]), np.array([0]))
        >>> counts.numbered(np.array([2, 0, 1])).of_spots(np.arange(3)).in_memory().toarray().ravel()
        array([7., 5., 6.])
        """
        number = np.empty(self.n_spots, np.int64)
        number[order] = np.arange(self.n_spots)
        return replace(self, spot_of_row=number[self._spot_of_row])

    def only(self, spots: NDArray[np.int64]) -> Counts:
        """Return the counts of some spots, sorted and without duplicates; nothing is read."""
        if len(spots) == self.n_spots:
            return self
        rows = InMemory(self.rows) if isinstance(self.rows, csr_array) else self.rows
        if self.spot_of_row is None:
            return Counts(_Chosen(rows, spots), self.gene_of_column)
        number = np.full(self.n_spots, -1)
        number[spots] = np.arange(len(spots))
        number = number[self.spot_of_row]
        chosen = np.flatnonzero(number >= 0)
        return Counts(_Chosen(rows, chosen), self.gene_of_column, number[chosen])

    def of_spots(self, spots: NDArray[np.int64], on_rows: Callable[[int], None] = lambda _: None) -> Counts:
        """Return the counts of some spots, sorted and without duplicates, in memory and in their order."""
        chosen = self.only(spots)
        if isinstance(chosen.rows, csr_array):
            matrix = chosen.rows
        else:
            found = []
            with closing(chosen.blocks()) as blocks:
                for here, values in blocks:
                    found.append(values)
                    on_rows(here.stop)
            matrix = csr_array(vstack(found, format="csr"))
        if chosen.spot_of_row is None:
            return self if matrix is self.rows else Counts(matrix, self.gene_of_column)
        return Counts(csr_array(matrix[np.argsort(chosen.spot_of_row)]), self.gene_of_column)

    def in_memory(self) -> csr_array:
        """Return the matrix, a row for each spot in order.

        Raises
        ------
        TypeError
            If the matrix is read in blocks, or its rows are in another order: `of_spots` returns counts in
            memory and in order.
        """
        if isinstance(self.rows, csr_array) and self.spot_of_row is None:
            return self.rows
        raise TypeError(
            f"`rows` must be a csr_array in memory, in the order of the spots, found "
            f"{type(self.rows).__name__}. Take the counts of some spots by `of_spots` first."
        )

    def of_genes(self, used: NDArray[np.bool_]) -> Counts:
        """Return the counts with only the genes that are marked, which get new numbers; nothing is read.

        Parameters
        ----------
        used : ndarray of bool, shape (n_genes,)

        Examples
        --------
        >>> counts = Counts(csr_array([[5.0, 6.0, 7.0]]), np.array([0, 1, 2]))
        >>> counts.of_genes(np.array([False, True, True])).gene_of_column
        array([-1,  0,  1])
        """
        number = np.where(used, np.cumsum(used) - 1, -1)
        genes = self.gene_of_column
        return replace(self, gene_of_column=np.where(genes >= 0, number[genes], -1))

    def of_columns(self, columns: NDArray[np.int64]) -> Counts:
        """Return the counts of some columns only; they must be in memory."""
        return Counts(csr_array(self.in_memory()[:, columns]), self.gene_of_column[columns])

    def by_gene(self, n_genes: int) -> csr_array:
        """Return the counts with a column for each gene, shape (n_spots, n_genes); they must be in memory."""
        matrix = self.in_memory()
        columns = np.flatnonzero(self.gene_of_column >= 0)
        # In single precision, so that counts keep the precision and the size that they have.
        ones = np.ones(len(columns), np.float32)
        entries = (columns.astype(np.int32), self.gene_of_column[columns].astype(np.int32))
        return csr_array(matrix @ csr_array((ones, entries), shape=(matrix.shape[1], n_genes)))

    def gene_sums(self, n_genes: int, on_rows: Callable[[int], None] = lambda _: None) -> NDArray[np.float64]:
        """Return each gene's total over all spots, float64 (n_genes,)."""
        sums = np.zeros(n_genes)

        def add(values: GeneCounts) -> None:
            counts_kernels.add_to_genes(values, sums)

        # One thread, one order: fractions would sum to other bits in another.
        self.over_rows(add, Threads(1), on_rows)
        return sums


def _read_ahead(matrix: RowBlocks) -> Generator[tuple[slice, csr_array]]:
    """Yield each block, while a thread reads the next one."""
    bounds = list(pairwise(matrix.bounds.tolist()))
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(matrix.read, *bounds[0])
        for here, after in zip(bounds, [*bounds[1:], None], strict=True):
            values = coming.result()
            if after is not None:
                coming = reader.submit(matrix.read, *after)
            yield slice(*here), values


def _rows_per_call(n_rows: int, n_threads: int) -> int:
    """Return how many rows to take at a time, so that every thread has some of a small block."""
    return min(_ROWS, n_rows // (2 * n_threads) + 1)


def _report(on_rows: Callable[[int], None], n_before: int, n_done: int) -> None:
    on_rows(n_before + n_done)
