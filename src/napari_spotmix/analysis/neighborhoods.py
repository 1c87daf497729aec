"""Which cell types lie near each other, and which kinds of neighborhood a tissue has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from napari_spotmix.base.threads import Threads
from napari_spotmix.model.attention import embed
from napari_spotmix.model.clustering import cluster_points, group_means
from napari_spotmix.params import N_NICHES

__all__ = ["BY_CHANCE", "Colocalization", "Niches", "colocalization", "niches"]

Array = NDArray[np.float64]
OnBlock = Callable[[int], None]

#: Pairs whose z is smaller than this are no more than chance.
BY_CHANCE = 3.0

_BLOCK = 65_536
#: Rounds of k-means from other centers, of which the tightest is kept.
_STARTS = 4
#: A standard deviation of a proportion below it is rounding.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Colocalization:
    """How alike proportions are across the edges of a graph, against spots put in random order.

    Attributes
    ----------
    observed : ndarray of float64, shape (n_cell_types, n_cell_types)
        Bivariate Moran's I: mean over edges, by their weight, of the product of the standardized proportion
        of one type at one end and of another at the other end. Symmetric; the diagonal is Moran's I.
    expected, deviation : ndarray of float64, shape (n_cell_types, n_cell_types)
        Its mean and standard deviation if whole spots changed places at random.
    z : ndarray of float64, shape (n_cell_types, n_cell_types)
        ``(observed - expected) / deviation``: positive for types that lie near each other more than their
        mixing inside of spots alone would make them, negative for types that avoid each other.
    """

    observed: Array
    expected: Array
    deviation: Array

    @property
    def z(self) -> Array:
        return np.divide(
            self.observed - self.expected,
            self.deviation,
            out=np.full_like(self.observed, np.nan),
            where=self.deviation > 0,
        )


def colocalization(proportions: Array, W: csr_array, on_block: OnBlock = lambda _: None) -> Colocalization:
    """Tell which types lie in neighboring spots, by moments that are exact for random order of the spots.

    Parameters
    ----------
    proportions : ndarray of float64, shape (n_spots, n_cell_types)
        Rows of NaN, where nothing was estimated, are left out with their edges.
    W : csr_array, shape (n_spots, n_spots)
        Symmetric weights of edges, none from a spot to itself. They must not have been made from the
        proportions, as attention is: edges between spots that are alike would count most, and all types
        seem to lie near themselves.
    on_block : callable, optional
        Called between parts of the work; what it raises stops it.

    Returns
    -------
    Colocalization
        NaN for a type that is the same in all spots; all NaN for fewer than four spots or without edges.

    Notes
    -----
    Moments are those under randomization (Cliff and Ord 1981; Czaplewski and Reich 1993 for two variables),
    so no permutations are drawn. A fit that draws neighbors together makes every type like itself nearby:
    compare pairs of types by z, and do not read the diagonal as evidence of structure.

    Examples
    --------
    >>> first = np.array([1.0, 0.9, 0.1, 0.0])
    >>> path = csr_array(np.eye(4, k=1) + np.eye(4, k=-1))
    >>> found = colocalization(np.column_stack([first, 1 - first]), path)
    >>> np.sign(found.z)
    array([[ 1., -1.],
           [-1.,  1.]])
    """
    known = np.flatnonzero(~np.isnan(proportions).any(axis=1))
    on_block(0)
    linked = _between(W, known)
    on_block(0)
    n_types, total = proportions.shape[1], float(linked.sum())
    if len(known) < 4 or total <= 0:
        unknown = np.full((n_types, n_types), np.nan)
        return Colocalization(unknown, unknown, unknown)
    Z = _standardized(proportions[known], on_block)
    observed = _across_edges(linked, Z, on_block) / total
    expected, variance = _moments(linked, Z, on_block)
    return Colocalization(observed, expected / total, np.sqrt(np.maximum(variance, 0.0)) / total)


def _between(W: csr_array, spots: NDArray[np.int64]) -> csr_array:
    return W if len(spots) == W.shape[0] else csr_array(W[spots][:, spots])


def _standardized(values: Array, on_block: OnBlock) -> Array:
    """Return columns of mean 0 and mean square 1; NaN for one that does not vary."""
    on_block(0)
    Z = values - values.mean(axis=0)
    on_block(0)
    deviation = np.sqrt(np.mean(Z**2, axis=0))
    on_block(0)
    return np.asarray(Z / np.where(deviation > _ROUNDING, deviation, np.nan))


def _across_edges(W: csr_array, Z: Array, on_block: OnBlock) -> Array:
    """Return ``Z' W Z``, its halves made equal where rounding differs."""
    product = np.zeros((Z.shape[1], Z.shape[1]))
    for rows in _blocks(len(Z)):
        product += _products(Z[rows], W[rows] @ Z)
        on_block(rows.stop)
    return (product + product.T) / 2


def _products(A: Array, B: Array) -> Array:
    """Return ``A' B``; not through BLAS, whose sums may depend on its number of threads."""
    return np.asarray(np.einsum("ik,il->kl", A, B))


def _blocks(n_rows: int) -> list[slice]:
    return [slice(start, min(start + _BLOCK, n_rows)) for start in range(0, n_rows, _BLOCK)]


def _moments(W: csr_array, Z: Array, on_block: OnBlock) -> tuple[Array, Array]:
    """Return mean and variance of ``Z' W Z`` over all orders of the rows of Z.

    A product of two edges is one of two spots (the same edge, twice), of three or of four; of each kind
    follow the sum of weights, and the mean of the product over all choices of so many different rows. With
    columns of mean 0 the latter needs only ``r = mean z_k z_l`` and ``q = mean z_k^2 z_l^2``.
    """
    n = float(len(Z))
    r, q = np.zeros((Z.shape[1], Z.shape[1])), np.zeros((Z.shape[1], Z.shape[1]))
    for rows in _blocks(len(Z)):
        r += _products(Z[rows], Z[rows]) / n
        q += _products(Z[rows] ** 2, Z[rows] ** 2) / n
        on_block(rows.stop)
    total, twice = float(W.sum()), float((W.data**2).sum())
    on_block(len(Z))
    degree = W.sum(axis=1)
    thrice = float((degree**2).sum()) - twice
    of_two = (n * (1.0 + r**2) - 2.0 * q) / (n - 1.0)
    of_three = 2.0 * (4.0 * q - n * (1.0 + r**2)) / ((n - 1.0) * (n - 2.0))
    of_four = (n * (1.0 + 2.0 * r**2) - 6.0 * q) / ((n - 1.0) * (n - 2.0) * (n - 3.0))
    mean = -total * r / (n - 1.0)
    square = twice * of_two + thrice * of_three + (total**2 - 2.0 * twice - 4.0 * thrice) * of_four
    return mean, square - mean**2


@dataclass(frozen=True)
class Niches:
    """Spots in groups of like neighborhoods, the largest first.

    Attributes
    ----------
    label : ndarray of int64, shape (n_spots,)
        From 0; -1 where nothing was estimated.
    composition : ndarray of float64, shape (n_niches, n_cell_types)
        Mean proportions of the spots of each.
    """

    label: NDArray[np.int64]
    composition: Array


def niches(
    proportions: Array,
    W: csr_array,
    n_niches: int = N_NICHES,
    *,
    random_state: int,
    threads: Threads,
    on_block: OnBlock = lambda _: None,
) -> Niches:
    """Group spots by what lies in and around them.

    Parameters
    ----------
    proportions : ndarray of float64, shape (n_spots, n_cell_types)
        Rows of NaN, where nothing was estimated, are left out.
    W : csr_array, shape (n_spots, n_spots)
        Symmetric weights of edges.
    n_niches : int, optional
        At most this many; fewer where no more differ.
    random_state : int
    threads : Threads
        The result does not depend on how many.
    on_block : callable, optional
        Called between blocks of spots; what it raises stops the work.

    Returns
    -------
    Niches

    Notes
    -----
    k-means on square roots (Hellinger distance) of each spot's proportions averaged with the mean of its
    neighbors; the tightest grouping of a few starts.

    Examples
    --------
    >>> proportions = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    >>> path = csr_array(np.diag([1.0, 1.0, 0.0, 1.0], 1) + np.diag([1.0, 1.0, 0.0, 1.0], -1))
    >>> niches(proportions, path, 2, random_state=0, threads=Threads(1)).label
    array([0, 0, 0, 1, 1])
    """
    known = np.flatnonzero(~np.isnan(proportions).any(axis=1))
    label = np.full(len(proportions), -1)
    if not len(known):
        return Niches(label, np.empty((0, proportions.shape[1])))
    estimated = proportions[known]
    around = embed(estimated, _between(W, known), threads, on_block)
    found = min(
        (
            cluster_points(around, n_niches, random_state=seed, threads=threads, on_block=on_block)
            for seed in np.random.default_rng(random_state).integers(2**32, size=_STARTS).tolist()
        ),
        key=lambda clustered: float(clustered[1].sum()),
    )[0]
    label[known] = _largest_first(found)
    return Niches(label, group_means(estimated, label[known], int(found.max()) + 1))


def _largest_first(label: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number groups by their size; of two as large, the one with the first spot comes first."""
    _, first, size = np.unique(label, return_index=True, return_counts=True)
    rank = np.empty(len(size), np.int64)
    rank[np.lexsort((first, -size))] = np.arange(len(size))
    return rank[label]
