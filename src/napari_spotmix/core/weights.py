"""How precisely each gene is measured in each kind of spot.

A count of mean ``N m`` has variance ``N m + phi (N m)^2`` (Poisson, and overdispersion ``phi``), so a share
``y`` has precision ``N w`` with ``w = 1 / (m (1 + phi N m))``. ``m`` is the *model's* mean, never the
observed one: weights from observed counts favour genes that happen to be low, and lose the spot's total.
Reweighting to convergence with ``phi = 0`` gives the Poisson fit. Spots of like composition share their
weights, one vector per *archetype*, so that only a few Gram matrices are needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_spotmix.core import _kernels
from napari_spotmix.core._threads import Threads

__all__ = [
    "Archetypes",
    "cluster_points",
    "expected_shares",
    "find_archetypes",
    "group_means",
    "group_sums",
    "one_archetype",
    "platform_factors",
    "precision_weights",
]

Array = NDArray[np.float64]
Points = NDArray[np.floating]

#: A gene counts as expressed with at least this part of its mean over types: without a floor, a gene that
#: the model calls silent would outweigh all others as soon as one count of it is seen.
_FLOOR = 0.01
#: Archetypes are found on at most this many spots, with this many rounds of k-means.
_SAMPLE, _ROUNDS = 20_000, 10
_BLOCK = 8192


@dataclass(frozen=True)
class Archetypes:
    """Groups of spots of like composition.

    Attributes
    ----------
    composition : ndarray of float64, shape (n_archetypes, n_cell_types)
        Mean proportions.
    depth : ndarray of float64, shape (n_archetypes,)
        Mean total count.
    label : ndarray of int64, shape (n_spots,)
    """

    composition: Array
    depth: Array
    label: NDArray[np.int64]


def one_archetype(totals: Array, n_cell_types: int) -> Archetypes:
    """Return all spots as one group in which every type has the same share: where the fit begins."""
    flat = np.full((1, n_cell_types), 1.0 / n_cell_types)
    depth = np.array([totals.mean() if totals.size else 0.0])
    return Archetypes(flat, depth, np.zeros(len(totals), np.int64))


def find_archetypes(
    proportions: Points,
    totals: Array,
    n_archetypes: int,
    *,
    random_state: int,
    threads: Threads,
    on_block: Callable[[int], None] = lambda _: None,
) -> Archetypes:
    """Group spots by k-means on square roots of proportions (Hellinger distance).

    Parameters
    ----------
    proportions : ndarray of float, shape (n_spots, n_cell_types)
    totals : ndarray of float64, shape (n_spots,)
        Total counts.
    n_archetypes : int
        At most this many groups; empty ones are left out.
    random_state : int
    threads : Threads
    on_block : callable, optional
        Called between blocks of spots; what it raises stops the work.
    """
    label, _ = cluster_points(
        proportions,
        n_archetypes,
        random_state=random_state,
        threads=threads,
        on_block=on_block,
        transform=np.sqrt,
    )
    n_found = int(label.max()) + 1
    composition = group_means(proportions, label, n_found)
    return Archetypes(composition, group_means(totals[:, None], label, n_found)[:, 0], label)


def cluster_points(
    points: Points,
    n_groups: int,
    *,
    random_state: int,
    threads: Threads,
    on_block: Callable[[int], None] = lambda _: None,
    transform: Callable[[Points], Points] = lambda points: points,
) -> tuple[NDArray[np.int64], Array]:
    """Group points by k-means.

    Parameters
    ----------
    points : ndarray of float, shape (n_points, n_features)
    n_groups : int
        At most this many groups; empty ones are left out.
    random_state : int
    threads : Threads
    on_block : callable, optional
        Called between blocks of points; what it raises stops the work.
    transform : callable, optional
        What distances are measured between, of a few points at a time.

    Returns
    -------
    label : ndarray of int64, shape (n_points,)
    squared_distance : ndarray of float64, shape (n_points,)
        To the center of the point's group.

    Notes
    -----
    Centers are found on a sample of at most 20,000 points, so a large tissue costs one more round.

    Examples
    --------
    >>> points = np.array([[0.0], [0.1], [5.0], [5.1]])
    >>> label, _ = cluster_points(points, 2, random_state=0, threads=Threads(1))
    >>> bool(label[0] == label[1] != label[2] == label[3])
    True
    """
    rng = np.random.default_rng(random_state)
    on_block(0)
    sample = np.sort(rng.choice(len(points), min(_SAMPLE, len(points)), replace=False))
    centers = _k_means(transform(points[sample]), n_groups, rng, threads, on_block)
    label, squared_distance = _nearest(points, centers, threads, on_block, transform)
    on_block(len(points))
    # Numbered without gaps.
    number = np.cumsum(np.bincount(label) > 0) - 1
    return number[label], squared_distance


def _k_means(
    points: Points,
    n_centers: int,
    rng: np.random.Generator,
    threads: Threads,
    on_block: Callable[[int], None],
) -> Array:
    centers = _spread_centers(points, n_centers, rng, threads)
    for _ in range(_ROUNDS):
        label, _ = _nearest(points, centers, threads, on_block)
        occupied = np.bincount(label, minlength=len(centers)) > 0
        centers = np.where(occupied[:, None], group_means(points, label, len(centers)), centers)
    return centers


def _spread_centers(points: Points, n_centers: int, rng: np.random.Generator, threads: Threads) -> Array:
    """Choose centers far from those chosen before (k-means++, Arthur and Vassilvitskii 2007)."""
    centers = points[rng.integers(len(points), size=1)].astype(np.float64)
    _, distance = _nearest(points, centers, threads)
    while len(centers) < min(n_centers, len(points)) and distance.max() > 1e-12:
        newest = points[rng.choice(len(points), size=1, p=distance / distance.sum())]
        centers = np.vstack([centers, newest])
        distance = np.minimum(distance, _nearest(points, newest.astype(np.float64), threads)[1])
    return centers


def _nearest(
    points: Points,
    centers: Array,
    threads: Threads,
    on_block: Callable[[int], None] = lambda _: None,
    transform: Callable[[Points], Points] = lambda points: points,
) -> tuple[NDArray[np.int64], Array]:
    label = np.zeros(len(points), np.int64)
    distance = np.zeros(len(points))
    columns = np.ascontiguousarray(centers.T)

    def block(start: int, stop: int) -> None:
        here = slice(start, stop)
        some = transform(points[here])
        _kernels.assign_to_centers(some, columns, 0, len(some), label[here], distance[here])

    threads.over_blocks(block, len(points), block=_BLOCK, on_block=on_block)
    return label, distance


def group_means(values: Points, label: NDArray[np.int64], n_groups: int, times: Array | None = None) -> Array:
    """Return the mean of each group's rows, float64 (n_groups, n_columns); zeros for an empty group.

    Each row is counted so many times in the sum, where `times` says so.
    """
    sums = group_sums(values, label, n_groups, np.ones(len(label)) if times is None else times)
    return sums / np.maximum(np.bincount(label, minlength=n_groups), 1)[:, None]


def group_sums(values: Points, label: NDArray[np.int64], n_groups: int, times: Array) -> Array:
    """Return the sum of each group's rows, each so many times, float64 (n_groups, n_columns)."""
    sums = np.zeros((n_groups, values.shape[1]))
    _kernels.sum_by_group(values, times, label, sums)
    return sums


def expected_shares(signatures: Array, archetypes: Archetypes) -> Array:
    """Return ``m`` of each archetype, with its floor, float64 (n_archetypes, n_genes)."""
    # Not through BLAS, whose sums may depend on its number of threads.
    mean = np.einsum("ak,kg->ag", archetypes.composition, signatures)
    return np.asarray(np.maximum(mean, _FLOOR * signatures.mean(axis=0)))


def precision_weights(signatures: Array, archetypes: Archetypes, overdispersion: float) -> Array:
    """Return ``w = 1 / (m (1 + phi N m))`` per archetype and gene, with ``m = composition @ S``.

    Parameters
    ----------
    signatures : ndarray of float64, shape (n_cell_types, n_genes)
        Every gene is expressed in some type.
    archetypes : Archetypes
    overdispersion : float
        ``phi``.

    Examples
    --------
    >>> S = np.array([[0.8, 0.2], [0.2, 0.8]])
    >>> precision_weights(S, one_archetype(np.array([10.0]), 2), 0.0)
    array([[2., 2.]])
    >>> precision_weights(S, one_archetype(np.array([10.0]), 2), 0.2)
    array([[1., 1.]])
    """
    mean = expected_shares(signatures, archetypes)
    return np.asarray(1.0 / (mean * (1.0 + overdispersion * archetypes.depth[:, None] * mean)))


def platform_factors(
    observed: Array, expected: Array, signatures: Array, bound: float = 8.0
) -> NDArray[np.float64]:
    """Return one factor per gene for the difference between two technologies.

    ``gamma_g = observed_g / expected_g``, drawn to 1 by its own sampling error, bounded, and centred so that
    each type's markers keep their mean: factors are only known up to a scale per type, since raising all
    markers of a type is the same as lowering its share.

    Parameters
    ----------
    observed, expected : ndarray of float64, shape (n_genes,)
        Total counts of each gene over the tissue, and what the model expects with factors of 1.
    signatures : ndarray of float64, shape (n_cell_types, n_genes)
    bound : float, optional
        Factors stay within ``1 / bound`` and ``bound``.

    Returns
    -------
    ndarray of float64, shape (n_genes,)

    Examples
    --------
    >>> S = np.array([[0.5, 0.5]])
    >>> platform_factors(np.array([1e6, 1e6]), np.array([1e6, 1e6]), S)
    array([1., 1.])
    """
    log_ratio = np.log((observed + 0.5) / (expected + 0.5))
    # Variance of a log count, against the spread between genes that is left when it is taken off.
    noise = 1.0 / (observed + 0.5) + 1.0 / (expected + 0.5)
    spread = max(float(np.var(log_ratio) - np.median(noise)), 0.0)
    shrunk = log_ratio * spread / (spread + noise) if spread > 0 else np.zeros_like(log_ratio)
    limit = np.log(bound)
    shrunk = np.clip(shrunk, -limit, limit)
    centred = shrunk - _type_component(shrunk, signatures)
    return np.asarray(np.exp(np.clip(centred, -limit, limit)))


def _type_component(values: Array, signatures: Array) -> Array:
    """Return the part of a value per gene that is a mean over types, weighted by who expresses the gene."""
    total = signatures.sum(axis=0)
    share = np.divide(signatures, total, out=np.zeros_like(signatures), where=total > 0)
    gram = np.einsum("kg,mg->km", share, share)
    target = np.einsum("kg,g->k", share, values)
    level = np.linalg.lstsq(gram, target, rcond=None)[0]
    return np.asarray(level @ share)
