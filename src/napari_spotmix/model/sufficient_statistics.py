"""One pass over sparse counts -> the only numbers that the solver ever sees.

``b_i = c_i S P_a(i) y_i`` (n, K) and ``M_a = S P_a S'`` (A, K, K), with ``P_a`` the precision of the genes in
spots of a cluster and ``P_a S'`` its *filters*: the data term of spot i is ``c_i (x_i' M_a(i) x_i) -
2 b_i' x_i`` up to a constant. No dense (n, G) array is made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_spotmix.base.progress import Progress, ProgressCallback, silent
from napari_spotmix.base.threads import Threads
from napari_spotmix.model.counts import Counts
from napari_spotmix.model.kernels import counts as counts_kernels
from napari_spotmix.model.kernels import residuals as residual_kernels
from napari_spotmix.model.kernels.arguments import GeneCounts
from napari_spotmix.model.log_residuals import LogResiduals

__all__ = ["Statistics", "projections", "sufficient_statistics", "total_counts"]


@dataclass(frozen=True)
class Statistics:
    """Sufficient statistics of the quadratic data term.

    Attributes
    ----------
    gram : ndarray of float64, shape (n_clusters, n_cell_types, n_cell_types)
        ``M``.
    cluster : ndarray of int64, shape (n_spots,)
        Which Gram matrix belongs to a spot.
    scale : ndarray of float64, shape (n_spots,)
        ``c``, what a spot's Gram matrix is multiplied by.
    projection : ndarray of float64, shape (n_spots, n_cell_types)
        ``b``.
    """

    gram: NDArray[np.float64]
    cluster: NDArray[np.int64]
    scale: NDArray[np.float64]
    projection: NDArray[np.float64]

    @property
    def n_spots(self) -> int:
        return len(self.projection)

    @property
    def n_cell_types(self) -> int:
        return int(self.projection.shape[1])

    def typical_curvature(self) -> NDArray[np.float64]:
        """Return the mean over spots of ``c_i M_kk`` for each type, float64 (n_cell_types,)."""
        weight = np.bincount(self.cluster, self.scale, len(self.gram)) / max(len(self.scale), 1)
        return np.asarray(np.einsum("a,akk->k", weight, self.gram))

    def mean_precision(self) -> float:
        """Return the mean over spots and types of ``c_i M_kk``: the unit that penalties are measured in."""
        diagonal = np.einsum("akk->a", self.gram) / self.n_cell_types
        return float((self.scale * diagonal[self.cluster]).mean())

    def divide_by(self, unit: float) -> None:
        """Divide the data term by `unit`, in place; its minimizer stays the same."""
        for values in (self.gram, self.projection):
            np.divide(values, unit, out=values)


def total_counts(
    counts: Counts, threads: Threads, on_progress: ProgressCallback = silent
) -> NDArray[np.float64]:
    """Return each spot's total over the columns that hold a gene, float64 (n_spots,)."""
    totals = np.zeros(counts.n_spots)

    def add(values: GeneCounts) -> None:
        counts_kernels.row_totals(values, totals)

    def report(n_done: int) -> None:
        on_progress(Progress("Counting", n_done, len(totals)))

    counts.over_rows(add, threads, report)
    return totals


def sufficient_statistics(
    counts: Counts,
    signatures: NDArray[np.float64],
    divisor: NDArray[np.float64],
    *,
    filters: NDArray[np.float64],
    cluster: NDArray[np.int64],
    scale: NDArray[np.float64],
    threads: Threads,
    log_residuals: LogResiduals | None = None,
    out: NDArray[np.float64] | None = None,
    on_progress: ProgressCallback = silent,
) -> Statistics:
    """Reduce counts to what the solver needs.

    Parameters
    ----------
    counts : Counts
        Not modified.
    signatures : ndarray of float64, shape (n_cell_types, n_genes)
        ``S``.
    divisor : ndarray of float64, shape (n_spots,)
        ``y_i`` is the counts of spot i divided by this.
    filters : ndarray of float64, shape (n_clusters, n_genes, n_cell_types)
        ``P_a S'``, precision of the genes in spots of a cluster times signatures.
    cluster : ndarray of int64, shape (n_spots,)
    scale : ndarray of float64, shape (n_spots,)
        ``c``, precision of a spot.
    threads : Threads
    log_residuals : LogResiduals, optional
        Pseudo-counts are projected instead of counts.
    out : ndarray of float64, shape (n_spots, n_cell_types), optional
        The projection is written here, so that no new memory is needed.
    on_progress : callable, optional

    Notes
    -----
    Costs ``nnz K + A G K^2 / 2`` multiplications and memory for (n, K) and (A, K, K); with logarithmic
    residuals ``n G`` logarithms and ``n G K`` multiplications, since counts of 0 have residuals too.
    """
    n_types = len(signatures)
    transposed = np.ascontiguousarray(signatures.T)
    gram = np.empty((len(filters), n_types, n_types))

    def grams(start: int, stop: int) -> None:
        counts_kernels.filtered_grams(transposed, filters, start, stop, gram)

    threads.over_blocks(grams, len(filters), block=1, on_block=lambda _: _report(on_progress, 0, counts))
    projection = projections(
        counts,
        signatures,
        divisor,
        filters=filters,
        cluster=cluster,
        scale=scale,
        threads=threads,
        log_residuals=log_residuals,
        out=out,
        on_progress=on_progress,
    )
    return Statistics(gram, cluster, scale, projection)


def projections(
    counts: Counts,
    signatures: NDArray[np.float64],
    divisor: NDArray[np.float64],
    *,
    filters: NDArray[np.float64],
    cluster: NDArray[np.int64],
    scale: NDArray[np.float64],
    threads: Threads,
    log_residuals: LogResiduals | None = None,
    out: NDArray[np.float64] | None = None,
    on_progress: ProgressCallback = silent,
) -> NDArray[np.float64]:
    """Return ``b`` alone; the arguments are those of `sufficient_statistics`."""
    n_spots = counts.n_spots
    projection = np.empty((n_spots, len(signatures))) if out is None else out
    tables = _padded(filters)
    factor = np.divide(scale, divisor, out=np.zeros(n_spots), where=divisor > 0)
    term = None if log_residuals is None else log_residuals.term(signatures)

    def project(values: GeneCounts) -> None:
        given = (tables, cluster, factor, projection)
        if term is None:
            counts_kernels.filtered_projections(values, *given)
        else:
            residual_kernels.log_projections(values, term, *given)

    counts.over_rows(project, threads, lambda n_done: _report(on_progress, n_done, counts))
    return projection


def _report(on_progress: ProgressCallback, n_done: int, counts: Counts) -> None:
    on_progress(Progress("Reducing counts", n_done, counts.n_spots))


def _padded(filters: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return filters as the kernel reads them, single precision: reading them is what limits it."""
    n_columns = -(-filters.shape[2] // counts_kernels.COLUMNS) * counts_kernels.COLUMNS
    padded = np.zeros((*filters.shape[:2], n_columns), np.float32)
    padded[:, :, : filters.shape[2]] = filters
    return padded
