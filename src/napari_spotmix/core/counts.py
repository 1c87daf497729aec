"""Counts of spots with the gene of each column: what the core reads in place of a matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from napari_spotmix.core import _kernels
from napari_spotmix.core._threads import Threads

__all__ = ["Counts", "Kernel"]

#: What is called for a few rows: `values`, whose first row is spot ``spots.start``, and start and stop in it.
Kernel = Callable[[csr_array, slice, int, int], None]

#: Rows per call of a kernel: some milliseconds of work, so that a cancel is heard in time.
_ROWS = 4096


@dataclass(frozen=True)
class Counts:
    """Counts of some spots, as they lie in their matrix.

    Several columns may hold one gene, and a column no gene that is of use; entries of a row may be unsorted
    and repeated. Nothing is copied and nothing modified.

    Attributes
    ----------
    rows : csr_array of any number, shape (n_spots, n_columns)
    gene_of_column : ndarray of int64, shape (n_columns,)
        Number of each column's gene, or -1 for a column that is not used.

    Examples
    --------
    >>> counts = Counts(csr_array(np.array([[1, 2, 9], [0, 3, 9]])), np.array([0, 1, -1]))
    >>> counts.n_spots, counts.gene_sums(2).tolist()
    (2, [1.0, 5.0])
    """

    rows: csr_array
    gene_of_column: NDArray[np.int64]

    @property
    def n_spots(self) -> int:
        return int(self.rows.shape[0])

    def blocks(self) -> Iterator[tuple[slice, csr_array]]:
        """Yield all spots in order: which ones, and their rows in memory."""
        yield slice(0, self.n_spots), self.rows

    def over_rows(
        self, kernel: Kernel, threads: Threads, on_rows: Callable[[int], None] = lambda _: None
    ) -> None:
        """Call `kernel` for a few rows at a time until it has seen every row once.

        `on_rows` is called in this thread with the number of rows done; what it raises stops the rest.
        """
        for spots, values in self.blocks():
            on_block = partial(_after, spots.start, on_rows)
            threads.over_blocks(
                partial(kernel, values, spots), values.shape[0], block=_ROWS, on_block=on_block
            )

    def of_spots(self, spots: NDArray[np.int64]) -> Counts:
        """Return the counts of some spots, in memory; `spots` are in order, each once."""
        return self if len(spots) == self.n_spots else Counts(self.rows[spots], self.gene_of_column)

    def gene_sums(self, n_genes: int, on_rows: Callable[[int], None] = lambda _: None) -> NDArray[np.float64]:
        """Return each gene's total over all spots, float64 (n_genes,)."""
        sums = np.zeros(n_genes)

        def add(values: csr_array, _: slice, start: int, stop: int) -> None:
            _kernels.add_to_genes(
                values.indptr, values.indices, values.data, self.gene_of_column, start, stop, sums
            )

        # One thread, one order: fractions would sum to other bits in another.
        self.over_rows(add, Threads(1), on_rows)
        return sums


def _after(n_before: int, on_rows: Callable[[int], None], n_done: int) -> None:
    on_rows(n_before + n_done)
