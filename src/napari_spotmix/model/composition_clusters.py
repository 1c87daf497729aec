"""How precisely each gene is measured in each kind of spot.

A count of mean ``N m`` has variance ``N m + phi (N m)^2`` (Poisson, and overdispersion ``phi``), so a share
``y`` has precision ``N w`` with ``w = 1 / (m (1 + phi N m))``. ``m`` is the *model's* mean, never the
observed one: weights from observed counts favor genes that happen to be low, and lose the spot's total.
Reweighting to convergence with ``phi = 0`` gives the Poisson fit. Spots of similar composition share their
weights, one vector per *cluster*, so that only a few Gram matrices are needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_spotmix.base.threads import Threads
from napari_spotmix.model.clustering import Array, Points, cluster_points, group_means

__all__ = [
    "CompositionClusters",
    "expected_shares",
    "find_composition_clusters",
    "one_composition_cluster",
    "precision_weights",
]


#: Where k-means begins, always the same: a fit is a property of the data.
_START = 0
#: A gene's expected share is at least this part of its mean over types: without a floor, a gene that the
#: model takes for silent would outweigh all others as soon as one count of it is observed.
_FLOOR = 0.01


@dataclass(frozen=True)
class CompositionClusters:
    """Groups of spots of similar composition.

    Attributes
    ----------
    composition : ndarray of float64, shape (n_clusters, n_cell_types)
        Mean proportions.
    depth : ndarray of float64, shape (n_clusters,)
        Mean total count.
    label : ndarray of int64, shape (n_spots,)
    """

    composition: Array
    depth: Array
    label: NDArray[np.int64]


def one_composition_cluster(totals: Array, n_cell_types: int) -> CompositionClusters:
    """Return all spots as one group in which every type has the same share: the start of the fit."""
    flat = np.full((1, n_cell_types), 1.0 / n_cell_types)
    depth = np.array([totals.mean() if totals.size else 0.0])
    return CompositionClusters(flat, depth, np.zeros(len(totals), np.int64))


def find_composition_clusters(
    proportions: Points,
    totals: Array,
    n_clusters: int,
    *,
    threads: Threads,
    on_block: Callable[[int], None] = lambda _: None,
) -> CompositionClusters:
    """Group spots by k-means on square roots of proportions (Hellinger distance).

    Parameters
    ----------
    proportions : ndarray of float, shape (n_spots, n_cell_types)
    totals : ndarray of float64, shape (n_spots,)
        Total counts.
    n_clusters : int
        At most this many groups; empty ones are left out.
    threads : Threads
    on_block : callable, optional
        Called between blocks of spots; what it raises stops the work.
    """
    label, _ = cluster_points(
        proportions,
        n_clusters,
        random_state=_START,
        threads=threads,
        on_block=on_block,
        transform=np.sqrt,
    )
    n_found = int(label.max()) + 1
    composition = group_means(proportions, label, n_found)
    return CompositionClusters(composition, group_means(totals[:, None], label, n_found)[:, 0], label)


def expected_shares(signatures: Array, clusters: CompositionClusters) -> Array:
    """Return ``m`` of each cluster, with its floor, float64 (n_clusters, n_genes)."""
    # Not through BLAS, whose sums may depend on its number of threads.
    mean = np.einsum("ak,kg->ag", clusters.composition, signatures)
    return np.asarray(np.maximum(mean, _FLOOR * signatures.mean(axis=0)))


def precision_weights(signatures: Array, clusters: CompositionClusters, overdispersion: float) -> Array:
    """Return ``w = 1 / (m (1 + phi N m))`` per cluster and gene, with ``m = composition @ S``.

    Parameters
    ----------
    signatures : ndarray of float64, shape (n_cell_types, n_genes)
        Every gene is expressed in some type.
    clusters : CompositionClusters
    overdispersion : float
        ``phi``.

    Examples
    --------
    >>> S = np.array([[0.8, 0.2], [0.2, 0.8]])
    >>> precision_weights(S, one_composition_cluster(np.array([10.0]), 2), 0.0)
    array([[2., 2.]])
    >>> precision_weights(S, one_composition_cluster(np.array([10.0]), 2), 0.2)
    array([[1., 1.]])
    """
    mean = expected_shares(signatures, clusters)
    return np.asarray(1.0 / (mean * (1.0 + overdispersion * clusters.depth[:, None] * mean)))
