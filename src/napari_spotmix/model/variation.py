"""How cells of one type differ from each other, and how much of that is seen in a spot.

A spot holds a few cells of a type, not the type's mean. What distinguishes cells of a type (cell cycle,
activation, zonation) moves many genes at once, so the errors of a spot's genes go together: its shares have
the covariance

    V = diag(m / N) + sum_k c_k C_k,        C_k = F_k F_k' + diag(v_k),      c_k = kappa p_k + p_k^2 / n_k

of counting and of cells, with ``m`` the expected shares, ``N`` the spot's total, ``p`` its proportions and
``n_k`` the reference cells behind signature k. ``C_k`` comes from the reference. ``kappa``, the inverse of an
effective number of cells in a spot, comes from the spots: it maximizes the restricted likelihood, that of
the part of the counts that no mixture of signatures explains.

References
----------
Patterson and Thompson, *Recovery of inter-block information when block sizes are unequal*, Biometrika 1971
(restricted likelihood). Marchenko and Pastur, *Distribution of eigenvalues for some sets of random matrices*,
1967 (how large an eigenvalue noise alone makes).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from napari_spotmix.base.threads import Threads
from napari_spotmix.model.canonical import spread_out
from napari_spotmix.model.composition_clusters import CompositionClusters, precision_weights
from napari_spotmix.model.counts import Counts

__all__ = [
    "CellVariation",
    "VariationEvidence",
    "bulk_factors",
    "cell_variation",
    "cells_to_compare",
    "learn_kappa",
]

Array = NDArray[np.float64]

#: At most this many cells of a type are compared, for at most this many directions.
_MOST_CELLS, _MOST_DIRECTIONS = 200, 12
#: The variation of a type is shrunk towards that of all types, as if by this many cells.
_PRIOR_CELLS = 50
#: Relative expression below which a gene of a type counts as silent.
_FLOOR = 0.01
#: Types with less than this share of a cluster add no directions to it.
_SMALLEST_SHARE = 0.02
#: Spots from which kappa is learned, and the values that are tried. What exceeds four cells is mostly misfit
#: between reference and tissue, which has the same directions.
_SPOTS, _KAPPAS = 1000, np.geomspace(1e-3, 0.25, 31)


@dataclass(frozen=True)
class CellVariation:
    """Covariance of the shares of genes between cells of a type, ``F_k F_k' + diag(v_k)``.

    Attributes
    ----------
    directions : tuple of ndarray of float64, shape (n_genes, n_directions)
        ``F_k`` of each type; some may have no direction.
    single : ndarray of float64, shape (n_cell_types, n_genes)
        ``v_k``, what a gene varies by itself.
    n_cells : ndarray of float64, shape (n_cell_types,)
        Reference cells of each type.
    """

    directions: tuple[Array, ...]
    single: Array
    n_cells: Array

    def scaled(self, factor: Array) -> CellVariation:
        """Return the variation of counts whose gene g is captured `factor` times as often."""
        directions = tuple(F * factor[:, None] for F in self.directions)
        return replace(self, directions=directions, single=self.single * factor**2)

    def of_genes(self, used: NDArray[np.bool_]) -> CellVariation:
        """Return the variation of some genes only."""
        directions = tuple(F[used] for F in self.directions)
        return replace(self, directions=directions, single=self.single[:, used])

    def of_mixture(self, composition: Array, kappa: float) -> tuple[Array, Array]:
        """Return ``F`` (n_genes, n_directions) and ``v`` (n_genes,) of a spot with these proportions."""
        share = kappa * composition + composition**2 / np.maximum(self.n_cells, 1)
        large = np.flatnonzero(composition > _SMALLEST_SHARE)
        directions = [np.sqrt(share[k]) * self.directions[k] for k in large]
        none = np.zeros((self.single.shape[1], 0))
        return np.concatenate([*directions, none], axis=1), np.einsum("k,kg->g", share, self.single)


@dataclass(frozen=True)
class VariationEvidence:
    """The evidence of the spots for variation of the cells in them.

    Attributes
    ----------
    kappa : float
        0 if counting alone explains the spots as well.
    gain, error : float
        Mean gain in restricted log-likelihood per spot over counting alone, in nats, at the best ``kappa``,
        and its standard error over spots.
    """

    kappa: float
    gain: float
    error: float


def cells_to_compare(members: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Choose cells of each type, at most 200, and return which, type by type.

    Parameters
    ----------
    members : list of ndarray of int64
        Cells of each type that have counts, as `cells_by_content` orders them: the first are as good as any.

    Examples
    --------
    >>> cells_to_compare([np.array([7]), np.array([3])])
    array([7, 3])
    """
    return np.concatenate([cells[:_MOST_CELLS] for cells in members])


def cell_variation(
    counts: csr_array, label: NDArray[np.integer], totals: Array, signatures: Array, n_cells: Array
) -> CellVariation:
    """Estimate how cells of each type vary, beyond the noise of counting.

    Parameters
    ----------
    counts : csr_array, shape (n_chosen, n_genes)
        Counts of some cells of the reference, as `cells_to_compare` chooses them; not modified.
    label : ndarray of int, shape (n_chosen,)
        Type of each cell.
    totals : ndarray of float64, shape (n_chosen,)
        What each cell's counts are divided by, > 0.
    signatures : ndarray of float64, shape (n_cell_types, n_genes)
    n_cells : ndarray of float64, shape (n_cell_types,)
        Cells of the reference behind each signature.

    Notes
    -----
    Directions are eigenvectors of the sample covariance, in units in which counting alone gives every gene
    the same variance; from each eigenvalue the largest that counting alone would give is subtracted.
    """
    scale = np.sqrt(np.maximum(signatures, _FLOOR * signatures.mean(axis=0)))
    scale = np.where(scale > 0, scale, 1.0)
    members = [np.flatnonzero(label == k) for k in range(len(signatures))]
    own = [
        _variation_of_type(counts[cells], totals[cells], unit)
        for cells, unit in zip(members, scale, strict=True)
    ]
    parts = _shrunk(own, n_cells)
    directions = tuple(F * unit[:, None] for (F, _), unit in zip(parts, scale, strict=True))
    return CellVariation(directions, np.stack([v for _, v in parts]) * scale**2, n_cells)


def _variation_of_type(counts: csr_array, totals: Array, unit: Array) -> tuple[Array, Array]:
    """Return ``F`` and ``v`` of one type in units of `unit`, without the noise of counting."""
    n_cells, n_genes = counts.shape
    if n_cells < 3:
        return np.zeros((n_genes, 0)), np.zeros(n_genes)
    Z = counts.toarray() / totals[:, None] / unit
    Z = (Z - Z.mean(axis=0)) / np.sqrt(n_cells - 1)
    noise = float((1 / totals).mean())
    F = _directions(Z.T, noise * (1 + np.sqrt(n_genes / (n_cells - 1))) ** 2)
    return F, np.maximum((Z**2).sum(axis=0) - noise - (F**2).sum(axis=1), 0.0)


def _directions(Z: Array, threshold: float) -> Array:
    """Return the main directions of ``Z Z'``, as long as the root of what is above `threshold`."""
    eigenvalues, vectors = np.linalg.eigh(Z.T @ Z)
    largest = np.argsort(-eigenvalues)[:_MOST_DIRECTIONS]
    largest = largest[eigenvalues[largest] > max(threshold, 1e-12 * eigenvalues.max(initial=0.0))]
    length = np.sqrt((eigenvalues[largest] - threshold) / eigenvalues[largest])
    return np.asarray((Z @ vectors[:, largest]) * length)


def _shrunk(own: list[tuple[Array, Array]], n_cells: Array) -> list[tuple[Array, Array]]:
    """Shrink the variation of each type towards their mean, the more the fewer cells it has."""
    known = [part for part, n in zip(own, n_cells, strict=True) if n >= 3]
    if not known:
        return own
    common = _directions(np.concatenate([F for F, _ in known], axis=1) / np.sqrt(len(known)), 0.0)
    single = np.mean([v for _, v in known], axis=0)
    return [
        _between(part, (common, single), n / (n + _PRIOR_CELLS)) for part, n in zip(own, n_cells, strict=True)
    ]


def _between(one: tuple[Array, Array], other: tuple[Array, Array], share: float) -> tuple[Array, Array]:
    """Return ``share`` of one covariance plus the rest of the other, on the main directions of both."""
    both = np.concatenate([np.sqrt(share) * one[0], np.sqrt(1 - share) * other[0]], axis=1)
    F = _directions(both, 0.0)
    left_over = np.maximum((both**2).sum(axis=1) - (F**2).sum(axis=1), 0.0)
    return F, share * one[1] + (1 - share) * other[1] + left_over


def learn_kappa(
    counts: Counts,
    totals: Array,
    abundances: Array,
    signatures: Array,
    clusters: CompositionClusters,
    variation: CellVariation,
    *,
    threads: Threads,
    on_step: Callable[[int], None] = lambda _: None,
) -> VariationEvidence:
    """Estimate ``kappa`` by restricted maximum likelihood on some spots.

    Parameters
    ----------
    counts : Counts
    totals : ndarray of float64, shape (n_spots,)
    abundances : ndarray of float64, shape (n_spots, n_cell_types)
        Of shares, as fitted so far.
    signatures : ndarray of float64, shape (n_cell_types, n_genes)
    clusters : CompositionClusters
    variation : CellVariation
    threads : Threads
    on_step : callable, optional
        Called while counts are read and between clusters.
    """
    spots = spread_out(len(totals), _SPOTS)
    shown, totals, label = counts.of_spots(spots, on_step), totals[spots], clusters.label[spots]
    # What a whole tissue expresses more or less than its reference is no variation between cells.
    factor = bulk_factors(shown, totals, abundances[spots], signatures)
    signatures, variation = signatures * factor, variation.scaled(factor)
    weights = precision_weights(signatures, clusters, 0.0)
    gain = np.zeros((len(_KAPPAS), len(spots)))

    def one(start: int, stop: int) -> None:
        for a in range(start, stop):
            here = np.flatnonzero(label == a)
            if len(here):
                contrasts = _contrasts(signatures, weights[a], clusters.composition[a], variation)
                gain[:, here] = _gains_of(shown, here, totals[here], *contrasts)

    threads.over_blocks(one, len(weights), block=1, on_block=on_step)
    return _best(gain)


def _gains_of(
    counts: Counts, spots: NDArray[np.int64], totals: Array, project: Array, length: Array
) -> list[Array]:
    """Return the gains of some spots for each ``kappa``, from their contrasts."""
    by_column = project[counts.gene_of_column] * (counts.gene_of_column >= 0)[:, None]
    squares = (counts.in_memory()[spots] @ by_column) ** 2 / totals[:, None]
    return [_gains(squares, kappa * totals[:, None] * length) for kappa in _KAPPAS]


def bulk_factors(counts: Counts, totals: Array, abundances: Array, signatures: Array) -> Array:
    """Return how much more of each gene the spots show together than is expected, float64 (n_genes,)."""
    observed = counts.gene_sums(signatures.shape[1])
    expected = np.einsum("k,kg->g", np.einsum("nk,n->k", abundances, totals), signatures)
    return np.asarray((observed + 0.5) / (expected + 0.5))


def _contrasts(S: Array, w: Array, composition: Array, variation: CellVariation) -> tuple[Array, Array]:
    """Return combinations of genes that no mixture changes, with unit variance by counting, and by cells.

    Returns
    -------
    ndarray of float64, shape (n_genes, n_contrasts)
        To be multiplied with counts and divided by the root of the spot's total.
    ndarray of float64, shape (n_contrasts,)
        Variance that cells add per count of the spot, for ``kappa`` 1.
    """
    F, _ = variation.of_mixture(composition, 1.0)
    present = S[composition > _SMALLEST_SHARE / 2]
    gram = (present * w) @ present.T
    F = F - present.T @ np.linalg.lstsq(gram, (present * w) @ F, rcond=None)[0]
    eigenvalues, vectors = np.linalg.eigh(F.T @ (F * w[:, None]))
    large = eigenvalues > 1e-6 * eigenvalues.max(initial=0.0)
    length = eigenvalues[large]
    return (F * w[:, None]) @ vectors[:, large] / np.sqrt(length), length


def _gains(squares: Array, added: Array) -> Array:
    """Return each spot's log-likelihood of its contrasts with variance ``1 + added``, over that with 1."""
    return np.asarray(0.5 * (squares * added / (1 + added) - np.log1p(added)).sum(axis=1))


def _best(gain: Array) -> VariationEvidence:
    best = int(np.argmax(gain.mean(axis=1)))
    mean = float(gain[best].mean())
    error = float(gain[best].std(ddof=1) / np.sqrt(gain.shape[1])) if gain.shape[1] > 1 else np.inf
    return VariationEvidence(float(_KAPPAS[best]) if mean > error else 0.0, mean, error)
