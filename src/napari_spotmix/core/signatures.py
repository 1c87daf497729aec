"""Reference cells and their labels -> one signature per cell type.

``S`` (K, G): row k is the expected share of each gene in the counts of a cell of type k.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

__all__ = ["mean_signatures"]


def mean_signatures(
    counts: csr_array, label: NDArray[np.integer], n_cell_types: int, totals: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the mean over each type's cells of counts divided by the cell's total.

    A cell weighs as the square root of its total: between the plain mean, in which shallow cells bring
    their sampling noise, and the pooled counts, in which a few deep cells speak for the type.

    Parameters
    ----------
    counts : csr_array, shape (n_cells, n_genes)
        Counts of the reference cells; not modified.
    label : ndarray of int, shape (n_cells,)
        Type of each cell, 0 to ``n_cell_types - 1``; a negative label leaves the cell out.
    n_cell_types : int
    totals : ndarray of float64, shape (n_cells,)
        What each cell's counts are divided by; cells with a total of zero are left out.

    Returns
    -------
    ndarray of float64, shape (n_cell_types, n_genes)
        Rows sum to 1 if `totals` are the row sums; a type without cells has a row of zeros.

    Examples
    --------
    >>> counts = csr_array([[1.0, 3.0], [2.0, 2.0], [0.0, 5.0]])
    >>> mean_signatures(counts, np.array([0, 0, 1]), 2, counts.sum(axis=1))
    array([[0.375, 0.625],
           [0.   , 1.   ]])
    """
    used = np.flatnonzero((label >= 0) & (totals > 0))
    weight = np.sqrt(totals[used])
    total_weight = np.bincount(label[used], weight, n_cell_types)
    share = weight / totals[used] / total_weight[label[used]]
    members = csr_array((share, (label[used], used)), shape=(n_cell_types, counts.shape[0]))
    return np.asarray((members @ counts).todense())
