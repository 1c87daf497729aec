"""Reference cells and their labels -> one signature per cell type.

``S`` (K, G): row k is the expected share of each gene in the counts of a cell of type k.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_spotmix.base.threads import Threads
from napari_spotmix.model.canonical import gene_keys
from napari_spotmix.model.counts import Counts
from napari_spotmix.model.kernels import counts as counts_kernels
from napari_spotmix.model.kernels.arguments import GeneCounts

__all__ = ["AveragedCells", "mean_signatures"]


#: Weights are multiples of one over this: times counts, cells of millions sum to less than 2^53 steps.
_STEPS = 2.0**28


class AveragedCells(NamedTuple):
    """What one pass over the cells of a reference finds.

    Attributes
    ----------
    signatures : ndarray of float64, shape (n_cell_types, n_genes)
        Rows sum to 1; a type without counts has a row of zeros.
    totals : ndarray of float64, shape (n_cells,)
        Counts of each cell over the genes.
    fingerprints : ndarray of uint64, shape (n_cells,)
        Depend on the cell's counts alone (`row_fingerprints`).
    """

    signatures: NDArray[np.float64]
    totals: NDArray[np.float64]
    fingerprints: NDArray[np.uint64]


def mean_signatures(
    counts: Counts,
    label: NDArray[np.integer],
    n_cell_types: int,
    n_genes: int,
    on_rows: Callable[[int], None] = lambda _: None,
) -> AveragedCells:
    """Return the mean over each type's cells of counts divided by the cell's total.

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

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> counts = Counts(csr_array([[1.0, 3.0], [2.0, 2.0], [0.0, 5.0]]), np.array([0, 1]))
    >>> found = mean_signatures(counts, np.array([0, 0, 1]), 2, 2)
    >>> found.signatures
    array([[0.375, 0.625],
           [0.   , 1.   ]])
    >>> found.totals
    array([4., 4., 5.])
    """
    totals, weight = np.zeros(counts.n_spots), np.zeros(counts.n_spots)
    sums, keys = np.zeros((n_cell_types, n_genes)), gene_keys(n_genes)
    found = np.zeros(counts.n_spots, np.uint64)

    def add(values: GeneCounts) -> None:
        counts_kernels.row_totals(values, totals)
        counts_kernels.fingerprints(values, keys, found)
        weight[values.spot] = _weights(totals[values.spot])
        counts_kernels.add_to_groups(values, label, weight, sums)

    # One thread, one order: sums in another would differ in their last bits.
    counts.over_rows(add, Threads(1), on_rows)
    labeled = label >= 0
    whole = np.bincount(label[labeled], (weight * totals)[labeled], n_cell_types)
    signatures = np.divide(sums, whole[:, None], out=sums, where=whole[:, None] > 0)
    return AveragedCells(signatures, totals, found)


def _weights(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return one over the root of each total, in steps so coarse that sums of whole counts are exact.

    Rounded sums would depend on the order of the cells.
    """
    root = np.sqrt(np.maximum(totals, 1.0))
    return np.where(totals > 0, np.ceil(_STEPS / root) / _STEPS, 0.0)
