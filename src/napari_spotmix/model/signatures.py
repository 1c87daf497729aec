"""Reference cells and their labels -> one signature per cell type.

``S`` (K, G): row k is the expected share of each gene in the counts of a cell of type k.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from napari_spotmix.base.threads import Threads
from napari_spotmix.model.counts import Counts
from napari_spotmix.model.kernels import counts as counts_kernels
from napari_spotmix.model.kernels.arguments import CSR, GeneCounts

__all__ = ["mean_signatures"]


def mean_signatures(
    counts: Counts,
    label: NDArray[np.integer],
    n_cell_types: int,
    n_genes: int,
    on_rows: Callable[[int], None] = lambda _: None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean over each type's cells of counts divided by the cell's total, and the totals.

    A cell weighs as the square root of its total: between the plain mean, in which shallow cells bring
    their sampling noise, and the pooled counts, in which a few deep cells dominate.

    Parameters
    ----------
    counts : Counts
        Of the reference's cells, read once; not modified.
    label : ndarray of int, shape (n_cells,)
        Type of each cell, 0 to ``n_cell_types - 1``; a negative label leaves the cell out.
    n_cell_types, n_genes : int
    on_rows : callable, optional
        Called with the number of cells done; what it raises stops the work.

    Returns
    -------
    signatures : ndarray of float64, shape (n_cell_types, n_genes)
        Rows sum to 1; a type without counts has a row of zeros.
    totals : ndarray of float64, shape (n_cells,)
        Counts of each cell over the genes.

    Examples
    --------
    >>> counts = Counts(csr_array([[1.0, 3.0], [2.0, 2.0], [0.0, 5.0]]), np.array([0, 1]))
    >>> signatures, totals = mean_signatures(counts, np.array([0, 0, 1]), 2, 2)
    >>> signatures
    array([[0.375, 0.625],
           [0.   , 1.   ]])
    >>> totals
    array([4., 4., 5.])
    """
    totals, weight = np.zeros(counts.n_spots), np.zeros(counts.n_spots)
    sums, used = np.zeros((n_cell_types, n_genes)), counts.gene_of_column >= 0

    def add(values: csr_array, cells: slice, start: int, stop: int) -> None:
        here = slice(cells.start + start, cells.start + stop)
        counts_kernels.row_totals(CSR.of(values), used, start, stop, totals[cells])
        np.divide(1.0, np.sqrt(totals[here]), out=weight[here], where=totals[here] > 0)
        of_genes = GeneCounts.of(values, counts.gene_of_column)
        counts_kernels.add_to_groups(of_genes, label[cells], weight[cells], start, stop, sums)

    # One thread, one order: sums in another would differ in their last bits.
    counts.over_rows(add, Threads(1), on_rows)
    labeled = label >= 0
    whole = np.bincount(label[labeled], np.sqrt(totals[labeled]), n_cell_types)
    return np.divide(sums, whole[:, None], out=sums, where=whole[:, None] > 0), totals
