"""k-means of many points, in blocks, the same for any number of threads."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from napari_spotmix.base.threads import Threads
from napari_spotmix.model.kernels import clustering as clustering_kernels

__all__ = [
    "Array",
    "Points",
    "cluster_points",
    "group_means",
    "group_sums",
]


Array = NDArray[np.float64]

Points = NDArray[np.floating]

#: Centers are found on at most this many points, with this many rounds of k-means.
_SAMPLE, _ROUNDS = 20_000, 10

_BLOCK = 8192


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
        Applied to a few points at a time; distances are measured between its results.

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
        clustering_kernels.assign_to_centers(some, columns, 0, len(some), label[here], distance[here])

    threads.over_blocks(block, len(points), block=_BLOCK, on_block=on_block)
    return label, distance


def group_means(values: Points, label: NDArray[np.int64], n_groups: int, times: Array | None = None) -> Array:
    """Return the mean of each group's rows, float64 (n_groups, n_columns); zeros for an empty group.

    Row i is multiplied by ``times_i`` in the sum, if `times` is given.
    """
    sums = group_sums(values, label, n_groups, np.ones(len(label)) if times is None else times)
    return sums / np.maximum(np.bincount(label, minlength=n_groups), 1)[:, None]


def group_sums(values: Points, label: NDArray[np.int64], n_groups: int, times: Array) -> Array:
    """Return the sum of ``times_i`` times each row by group, float64 (n_groups, n_columns)."""
    sums = np.zeros((n_groups, values.shape[1]))
    clustering_kernels.sum_by_group(values, times, label, sums)
    return sums
