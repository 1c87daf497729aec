"""Overdispersion: variance of counts beyond Poisson and cells, as one number for all genes.

A count of mean ``N m`` has the variance ``N m + N^2 d + phi (N m)^2``, with ``d`` what the cells of a spot
vary by (:mod:`napari_spotmix.model.variation`). ``phi`` is estimated by moments, and used only if it
improves the prediction of held-out genes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_spotmix.base.threads import Threads
from napari_spotmix.model.composition_clusters import CompositionClusters, expected_shares
from napari_spotmix.model.counts import Counts
from napari_spotmix.model.noise import DataTerm
from napari_spotmix.model.variation import bulk_factors

__all__ = ["OverdispersionEvidence", "estimate_overdispersion"]

Array = NDArray[np.float64]

#: Larger estimates mean that the reference does not fit.
_LARGEST = 1.0


@dataclass(frozen=True)
class OverdispersionEvidence:
    """Whether overdispersion improves the prediction of held-out genes.

    Attributes
    ----------
    used : bool
    estimate : float
        ``phi`` by moments.
    gain, error : float
        How much better held-out genes are predicted with it, per spot in nats, and the standard error.
    """

    used: bool
    estimate: float
    gain: float
    error: float


def estimate_overdispersion(
    counts: Counts,
    totals: Array,
    abundances: Array,
    signatures: Array,
    clusters: CompositionClusters,
    data_term: DataTerm,
    *,
    threads: Threads,
    on_step: Callable[[int], None] = lambda _: None,
) -> float:
    """Return ``phi`` by moments, between 0 and 1.

    Parameters
    ----------
    counts : Counts
        In memory.
    totals : ndarray of float64, shape (n_spots,)
    abundances : ndarray of float64, shape (n_spots, n_cell_types)
        Of shares, as fitted so far.
    signatures : ndarray of float64, shape (n_cell_types, n_genes)
    clusters : CompositionClusters
        Of these spots.
    data_term : DataTerm
        Its overdispersion is not used.
    threads : Threads
    on_step : callable, optional
        Called between clusters.

    Notes
    -----
    Least squares of the squared residuals beyond the known variance on the squared means, each count
    weighted by its known variance. Each gene is scaled to its total over the tissue before: a
    difference between tissue and reference as a whole is not scatter.
    """
    rows = counts.by_gene(signatures.shape[1])
    factor = bulk_factors(counts, totals, abundances, signatures)
    signatures, data_term = signatures * factor, data_term.scaled(factor)
    shares = expected_shares(signatures, clusters)
    sums = np.zeros((len(shares), 2))

    def one(start: int, stop: int) -> None:
        for a in range(start, stop):
            here = np.flatnonzero(clusters.label == a)
            mean = np.maximum(abundances[here] @ signatures, 1e-3 * shares[a]) * totals[here, None]
            own = data_term.diagonal(clusters.composition[a])
            sums[a] = _moments(rows[here].toarray(), mean, mean + totals[here, None] ** 2 * own)

    threads.over_blocks(one, len(shares), block=1, on_block=on_step)
    beyond, squares = sums.sum(axis=0)
    return float(np.clip(beyond / squares, 0.0, _LARGEST)) if squares > 0 else 0.0


def _moments(observed: Array, mean: Array, variance: Array) -> tuple[float, float]:
    square = mean**2 / variance
    beyond = ((observed - mean) ** 2 - variance) / variance
    return float(np.einsum("ng,ng->", beyond, square)), float(np.einsum("ng,ng->", square, square))
