"""What the fit leaves over: by gene over the tissue, and by spot.

A count of fitted mean ``mu`` has the variance ``mu + phi_g mu^2``: sampling, and everything else that keeps
the tissue from looking like a mixture of the reference's signatures (cells differ, signatures come from few
cells, technologies differ). ``phi_g`` is measured, gene by gene.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from napari_spotmix.base.progress import Progress, ProgressCallback, silent
from napari_spotmix.base.threads import Threads
from napari_spotmix.model.clustering import group_sums
from napari_spotmix.model.counts import Counts
from napari_spotmix.model.kernels import counts as counts_kernels
from napari_spotmix.model.kernels.arguments import GeneCounts

__all__ = ["GeneResiduals", "Misfit", "find_misfit", "gene_residuals"]

Array = NDArray[np.float64]

#: Genes are judged on at most this many spots, spread evenly over the tissue.
_SPOTS = 10_000
#: A patch holds at least so many spots and counts on average, and there are at most so many.
_PATCH_SPOTS, _PATCH_COUNTS, _MOST_PATCHES = 9, 10_000.0, 256
#: In an unmodeled patch the misfit exceeds the median by so many times the spread, and this share.
_STANDS_OUT, _LEAST_SHARE = 8.0, 0.2
#: With fewer patches their spread is not known well enough.
_FEWEST_PATCHES = 20
#: At most so many genes are listed, with a surplus of at least so many standard deviations.
_GENES_LISTED, _CLEAR_SURPLUS = 8, 5.0
#: Parts of the patches, for different threads.
_PARTS = 4


@dataclass(frozen=True)
class GeneResiduals:
    """How the counts of each gene differ from what is fitted.

    Attributes
    ----------
    observed, expected : ndarray of float64, shape (n_genes,)
        Counts over the spots that were compared, and what the fit expects there.
    excess : ndarray of float64, shape (n_genes,)
        ``phi``, mean squared deviation from the fit beyond sampling, over the mean squared fit; at least 0.
    pattern : ndarray of float64, shape (n_genes,)
        The same about the fit brought to the gene's total: what one factor per gene does not explain.
    squared_fit : ndarray of float64, shape (n_genes,)
        Sum of squared fitted means.
    squared_depth : ndarray of float64, shape (n_cell_types,)
        Sum over spots of the squared counts, split among the types that they are fitted to.
    """

    observed: Array
    expected: Array
    excess: Array
    pattern: Array
    squared_fit: Array
    squared_depth: Array

    @property
    def factor(self) -> Array:
        """Return observed over expected counts, both raised by a half, float64 (n_genes,)."""
        return (self.observed + 0.5) / (self.expected + 0.5)

    @property
    def surprise(self) -> Array:
        """Return how unusual each gene's total is among the genes, as a z-score, float64 (n_genes,).

        Positive where more is observed than expected. Technologies differ in every gene, so the spread of all
        genes is the measure, with the sampling error of the gene itself.
        """
        log = np.log(self.factor)
        away = log - np.median(log)
        spread = 1.4826 * np.median(np.abs(away))
        sampling = 1.0 / (self.observed + 0.5) + 1.0 / (self.expected + 0.5)
        return np.asarray(away / np.sqrt(spread**2 + sampling))


def gene_residuals(
    counts: Counts,
    signatures: Array,
    abundances: Array,
    scale: Array,
    on_progress: ProgressCallback = silent,
) -> GeneResiduals:
    """Compare the counts of each gene with the fit ``scale_i x_i S``.

    Parameters
    ----------
    counts : Counts
    signatures : ndarray of float64, shape (n_cell_types, n_genes)
    abundances : ndarray of float64, shape (n_spots, n_cell_types)
    scale : ndarray of float64, shape (n_spots,)
        What turns a spot's abundances into counts.
    on_progress : callable, optional

    Notes
    -----
    The sums of squared means over spots follow from the moments of ``x`` alone, so that zeros cost nothing.
    """
    spots = _spread(counts.n_spots)
    counts, X, scale = counts.only(spots), np.ascontiguousarray(abundances[spots]), scale[spots]
    total, square, cross = _moments(counts, signatures, X, scale, on_progress)
    expected = np.einsum("k,kg->g", np.einsum("n,nk->k", scale, X), signatures)
    second = np.einsum("n,nk,nm->km", scale**2, X, X)
    fitted = (signatures * np.einsum("km,mg->kg", second, signatures)).sum(axis=0)
    # Each spot has fitted its own types, which takes this part of the squares away.
    free = max(1.0 - (X > 0).sum(axis=1).mean() / signatures.shape[1], 0.1)
    factor = (total + 0.5) / (expected + 0.5)
    about_fit = (square - 2 * cross + fitted) / free - total
    about_level = (square - 2 * factor * cross + factor**2 * fitted) / free - total
    return GeneResiduals(
        total,
        expected,
        _ratio(about_fit, fitted),
        _ratio(about_level, factor**2 * fitted),
        fitted,
        second.sum(axis=1),
    )


def _spread(n_spots: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, n_spots - 1, min(n_spots, _SPOTS)).round().astype(np.int64))


def _ratio(above: Array, below: Array) -> Array:
    return np.maximum(np.divide(above, below, out=np.zeros_like(above), where=below > 0), 0.0)


def _moments(
    counts: Counts, signatures: Array, X: Array, scale: Array, on_progress: ProgressCallback
) -> Array:
    """Return ``sum Y``, ``sum Y^2`` and ``sum Y mu`` of each gene, float64 (3, n_genes)."""
    transposed, n_genes = np.ascontiguousarray(signatures.T), signatures.shape[1]
    moments, count, genes = np.zeros((3, n_genes)), np.zeros(n_genes), np.empty(n_genes, np.int64)

    def add(values: GeneCounts) -> None:
        counts_kernels.add_gene_moments(values, transposed, X, scale, count, genes, moments)

    # One thread, one order: fractions would sum to other bits in another.
    counts.over_rows(add, Threads(1), lambda n: on_progress(Progress("Comparing genes", n, counts.n_spots)))
    return moments


@dataclass(frozen=True)
class Misfit:
    """Where the tissue differs from every mixture of the reference's types.

    Attributes
    ----------
    patch : ndarray of int64, shape (n_spots,)
        Number of the patch that a spot is in.
    share : ndarray of float64, shape (n_patches,)
        Share of the patch's counts that a further type would have, if it differed from the types of
        the reference as much as these differ from each other.
    is_unmodeled : ndarray of bool, shape (n_patches,)
        Whether the patch is an outlier among those of the tissue: a type may be missing.
    genes : ndarray of int64, shape (n_listed,)
        Genes with the most counts beyond the fit in such patches, the clearest first.
    """

    patch: NDArray[np.int64]
    share: Array
    is_unmodeled: NDArray[np.bool_]
    genes: NDArray[np.int64]


def find_misfit(
    counts: Counts,
    signatures: Array,
    abundances: Array,
    scale: Array,
    coordinates: Array,
    threads: Threads,
    on_progress: ProgressCallback = silent,
) -> Misfit:
    """Compare the pooled counts of patches of neighboring spots with the fit.

    Parameters
    ----------
    counts : Counts
    signatures : ndarray of float64, shape (n_cell_types, n_genes)
    abundances : ndarray of float64, shape (n_spots, n_cell_types)
    scale : ndarray of float64, shape (n_spots,)
        What turns a spot's abundances into counts.
    coordinates : ndarray of float64, shape (n_spots, 2)
    threads : Threads
    on_progress : callable, optional

    Notes
    -----
    Spots are pooled by position, never by what was found in them: noise that has moved an estimate would have
    moved the pool too. A missing type with share ``u`` moves the profile of its patch by ``u`` times its
    distance to the nearest mixture of the others, so the squared chi-square distance between profile and
    fit, less sampling noise, over the typical such distance of the known types, is ``u^2``. Fits are brought
    to each gene's total first, since technologies differ by gene. What remains in all patches is
    not a sign of a missing type: only outliers, by many times the usual spread, are unmodeled.
    """
    patch = _patches(coordinates, float((scale * abundances.sum(axis=1)).sum()))
    n_patches, n_genes = int(patch.max()) + 1, signatures.shape[1]
    observed = _pooled_counts(counts, patch, n_patches, n_genes, threads, on_progress)
    on_progress(Progress("Comparing patches", counts.n_spots, counts.n_spots))
    loads = group_sums(abundances, patch, n_patches, scale)
    fitted = np.einsum("pk,kg->pg", loads, signatures)
    fitted *= (observed.sum(axis=0) + 0.5) / (fitted.sum(axis=0) + 0.5)
    squared = _squared_distance(observed, fitted) / _typical_distance(signatures)
    share = np.sqrt(squared.clip(0))
    is_unmodeled = _stands_out(squared, np.bincount(patch, minlength=n_patches)) & (share >= _LEAST_SHARE)
    return Misfit(patch, share, is_unmodeled, _surplus_genes(observed[is_unmodeled], fitted[is_unmodeled]))


def _patches(coordinates: Array, n_counts: float) -> NDArray[np.int64]:
    """Number square patches of as many spots that each can show its profile."""
    n_patches = np.clip(
        n_counts / _PATCH_COUNTS, 1, min(_MOST_PATCHES, max(len(coordinates) / _PATCH_SPOTS, 1))
    )
    away = coordinates - coordinates.min(axis=0)
    extent = np.maximum(away.max(axis=0), 1e-12)
    # A section of one row of spots is cut along it.
    side = max(float(np.sqrt(extent.prod() / n_patches)), float(extent.max() / n_patches))
    square = np.floor(away / side).astype(np.int64)
    columns = square[:, 1].max() + 1
    return np.unique(square[:, 0] * columns + square[:, 1], return_inverse=True)[1].astype(np.int64)


def _pooled_counts(
    counts: Counts,
    patch: NDArray[np.int64],
    n_patches: int,
    n_genes: int,
    threads: Threads,
    on_progress: ProgressCallback,
) -> Array:
    pooled, once = np.zeros((n_patches, n_genes)), np.ones(len(patch))
    parts = [np.where(patch % _PARTS == part, patch, -1) for part in range(_PARTS)]

    def add(values: GeneCounts) -> None:
        def add_part(part: int, _: int) -> None:
            counts_kernels.add_to_groups(values, parts[part], once, pooled)

        threads.over_blocks(add_part, _PARTS, block=1)

    # One order for each patch: fractions would sum to other bits in another. Threads take different patches.
    counts.over_rows(add, Threads(1), lambda n: on_progress(Progress("Comparing patches", n, counts.n_spots)))
    return pooled


def _squared_distance(observed: Array, fitted: Array) -> Array:
    """Return the chi-square distance of each row's profile from the fit, less what sampling alone brings."""
    # One row after the other: tables of patches and genes would be copied several times.
    return np.array([_squared_distance_of(*rows) for rows in zip(observed, fitted, strict=True)])


def _squared_distance_of(observed: Array, fitted: Array) -> float:
    total = max(observed.sum(), 1.0)
    profile, model = observed / total, fitted / max(fitted.sum(), 1e-300)
    middle = (profile + model) / 2
    squares = (profile - model) ** 2 - profile / total
    return float(np.divide(squares, middle, out=np.zeros_like(middle), where=middle > 0).sum())


def _typical_distance(signatures: Array) -> float:
    """Return the median over types of the distance from the mixture of the others that comes closest."""
    if len(signatures) < 2:
        return 1.0
    weight = 1.0 / np.sqrt(np.maximum(signatures.mean(axis=0), 1e-300))
    # Columns of R are as far from each other as the signatures, but have a row per type, not one per gene.
    R = np.asarray(np.linalg.qr((signatures * weight).T)[1])
    nearest = []
    for k in range(len(signatures)):
        mixture = nnls(np.delete(R, k, axis=1), R[:, k])[0]
        nearest.append(np.einsum("k,kg->g", mixture, np.delete(signatures, k, axis=0)))
    # As profiles of so many counts that sampling brings nothing.
    distance = _squared_distance(1e15 * signatures, np.array(nearest))
    return max(float(np.median(distance)), 1e-12)


def _stands_out(values: Array, n_spots: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which patches are far above the median, in units of the spread around it."""
    whole = n_spots >= np.median(n_spots) / 2
    center = np.median(values[whole])
    spread = 1.4826 * np.median(np.abs(values[whole] - center))
    return np.asarray(whole & (values > center + _STANDS_OUT * spread) & (whole.sum() >= _FEWEST_PATCHES))


def _surplus_genes(observed: Array, fitted: Array) -> NDArray[np.int64]:
    surplus = (observed - fitted).sum(axis=0) / np.sqrt(observed.sum(axis=0) + fitted.sum(axis=0) + 1.0)
    order = np.argsort(-surplus, kind="stable")[:_GENES_LISTED]
    return np.asarray(order[surplus[order] > _CLEAR_SURPLUS], dtype=np.int64)
