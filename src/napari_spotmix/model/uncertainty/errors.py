"""Standard errors of the proportions, and pairs of cell types that cannot be distinguished.

The error of an estimate is the noise of the counts, seen through the fit. The noise has three parts:
sampling; what each gene's counts scatter beyond it; and the differences between cells of a type. The last
moves whole programs of genes at once, some of them towards another type, so that many genes do not average
it out. Its shape is taken from the cells of the reference, its size from the scatter in the tissue.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from napari_spotmix.base.progress import Progress, ProgressCallback, silent
from napari_spotmix.base.threads import Threads
from napari_spotmix.model.kernels import uncertainty as uncertainty_kernels
from napari_spotmix.model.kernels.arguments import ErrorTerms, SpotErrorTerms
from napari_spotmix.model.sufficient_statistics import Statistics
from napari_spotmix.model.uncertainty.calibration import Z90
from napari_spotmix.model.uncertainty.residuals import GeneResiduals

__all__ = [
    "Noise",
    "ReferenceCells",
    "cells_for_noise",
    "confusable_pairs",
    "lost_to_depth",
    "measure_noise",
    "scatter_of_cells",
    "standard_errors",
]

Array = NDArray[np.float64]

#: Cells of each type that show how its cells differ.
_CELLS_PER_TYPE = 64
#: A type counts in a cluster from this mean share on.
_PRESENT = 0.02
#: Rows per call of a kernel: some milliseconds of work, so that a cancel is noticed soon.
_BLOCK = 4096


@dataclass(frozen=True)
class ReferenceCells:
    """Some cells of the reference, as `cells_for_noise` chooses them.

    Attributes
    ----------
    counts : csr_array, shape (n_cells, n_genes)
    totals : ndarray of float64, shape (n_cells,)
        Counts of each cell over all shared genes, > 0.
    label : ndarray of int64, shape (n_cells,)
        Type of each cell.
    lost : ndarray of float64, shape (n_cell_types,)
        Variance of a type's signature over that of one of its cells: if totals are equal, one over their
        number.
    """

    counts: csr_array
    totals: Array
    label: NDArray[np.int64]
    lost: Array


def cells_for_noise(members: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Choose cells of each type, at most 64, and return which, type by type.

    Parameters
    ----------
    members : list of ndarray of int64
        Cells of each type that have counts, as `cells_by_content` orders them: the first are as good as any.

    Examples
    --------
    >>> cells_for_noise([np.array([7, 2]), np.array([3])])
    array([7, 2, 3])
    """
    return np.concatenate([cells[:_CELLS_PER_TYPE] for cells in members])


def lost_to_depth(label: NDArray[np.integer], totals: Array, n_cell_types: int) -> Array:
    """Return the variance of each type's signature over that of one of its cells, from all cells."""
    used = (label >= 0) & (totals > 0)
    squares = _shares(totals[used], label[used]) ** 2
    return np.bincount(label[used], squares, n_cell_types).astype(np.float64)


def _shares(totals: Array, label: NDArray[np.integer]) -> Array:
    """Return the weight of each cell in the mean of its type, as signatures are made."""
    root = np.sqrt(totals)
    return np.asarray(root / np.bincount(label, root)[label])


@dataclass(frozen=True)
class Noise:
    """Covariance of counts seen through the filter of the fit, ``F_a' Y_i``: ``N linear + N^2 square``.

    Attributes
    ----------
    linear, square : ndarray of float64, shape (n_clusters, n_cell_types, n_cell_types)
        Of a spot with one count; N is its total.
    cell_share : float
        How much of the variance between single cells of the reference is seen in spots: about one over the
        number of cells in a spot, more if the technologies differ, 0 if spots vary by sampling only.
    signature_variance : ndarray of float64, shape (n_cell_types, n_genes)
        Of the signatures, which come from a limited number of cells.
    """

    linear: Array
    square: Array
    cell_share: float
    signature_variance: Array


def measure_noise(
    residuals: GeneResiduals,
    signatures: Array,
    filters: Array,
    composition: Array,
    cells: ReferenceCells,
    on_progress: ProgressCallback = silent,
) -> Noise:
    """Combine sampling, the scatter of genes and the differences between cells.

    Parameters
    ----------
    residuals : GeneResiduals
    signatures : ndarray of float64, shape (n_cell_types, n_genes)
    filters : ndarray of float64, shape (n_clusters, n_genes, n_cell_types)
        ``F_a``, that the fit has used.
    composition : ndarray of float64, shape (n_clusters, n_cell_types)
    cells : ReferenceCells
        Over the same genes.
    on_progress : callable, optional
    """
    profiles = _Profiles.of(cells, len(signatures))
    share = _cell_share(residuals, profiles)
    linear = np.empty((len(filters), len(signatures), len(signatures)))
    square = np.empty_like(linear)
    for a, (F, part) in enumerate(zip(filters, composition, strict=True)):
        on_progress(Progress("Measuring noise", a, len(filters)))
        mean = part @ signatures
        linear[a] = _through(F, mean)
        square[a] = _through(F, mean**2 * residuals.excess) + share * profiles.covariance(part, F)
    return Noise(linear, square, share, _signature_variance(profiles, cells))


def signature_variance(cells: ReferenceCells, n_cell_types: int) -> Array:
    """Return the variance of each signature that comes from its limited number of cells.

    Returns
    -------
    ndarray of float64, shape (n_cell_types, n_genes)
    """
    return _signature_variance(_Profiles.of(cells, n_cell_types), cells)


def _signature_variance(profiles: _Profiles, cells: ReferenceCells) -> Array:
    return np.asarray(cells.lost[:, None] * (profiles.variance.clip(0) + profiles.sampling))


def _through(F: Array, variance: Array) -> Array:
    return np.asarray((F * variance[:, None]).T @ F)


@dataclass(frozen=True)
class _Profiles:
    """Cells divided by their totals, about the mean of their type, with the noise of their own counts.

    Attributes
    ----------
    rows : csr_array, shape (n_cells, n_genes)
    mean, sampling, variance : ndarray of float64, shape (n_cell_types, n_genes)
        Of the cells of a type: mean, variance by sampling alone, and variance beyond it.
    label : ndarray of int64, shape (n_cells,)
    weight : ndarray of float64, shape (n_cells,)
        Of each cell in the covariance of its type; 0 for a type of one cell.
    """

    rows: csr_array
    mean: Array
    sampling: Array
    variance: Array
    label: NDArray[np.int64]
    weight: Array

    @classmethod
    def of(cls, cells: ReferenceCells, n_types: int) -> _Profiles:
        rows = _scaled(cells.counts, 1.0 / cells.totals)
        share = _shares(cells.totals, cells.label)
        lost = np.bincount(cells.label, share**2, n_types)
        free = np.divide(1.0, 1.0 - lost, out=np.zeros(n_types), where=lost < 1.0 - 1e-9)
        mean = _by_type(cells.label, share, rows, n_types)
        sampling = _by_type(cells.label, share / cells.totals, rows, n_types)
        square = _by_type(cells.label, share, rows.power(2), n_types)
        variance = free[:, None] * (square - mean**2) - np.where(free > 0, 1.0, 0.0)[:, None] * sampling
        return cls(rows, mean, sampling, variance, cells.label, share * free[cells.label])

    def covariance(self, composition: Array, F: Array) -> Array:
        """Return the covariance of ``F' profile`` within types and beyond sampling, types in proportion."""
        several = np.bincount(self.label, self.weight, len(self.mean)) > 0
        present = np.where(composition >= _PRESENT, composition, 0.0) * several
        part = present[self.label] * self.weight
        used = np.flatnonzero(part > 0)
        away = self.rows[used] @ F - (self.mean @ F)[self.label[used]]
        spread = (part[used, None] * away).T @ away
        return _without_negative(spread - _through(F, present @ self.sampling))


def _scaled(counts: csr_array, factors: Array) -> csr_array:
    data = counts.data * np.repeat(factors, np.diff(counts.indptr))
    # SciPy sorts the indices of a matrix in place: shared, they would no longer belong to the counts.
    return csr_array((data, counts.indices.copy(), counts.indptr), shape=counts.shape)


def _by_type(label: NDArray[np.int64], weight: Array, rows: csr_array, n_types: int) -> Array:
    members = csr_array((weight, (label, np.arange(len(label)))), shape=(n_types, len(label)))
    return np.asarray((members @ rows).todense())


def _without_negative(matrix: Array) -> Array:
    """Return the symmetric matrix with its negative eigenvalues, which are noise, set to zero."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * values.clip(0)) @ vectors.T)


def scatter_of_cells(
    residuals: GeneResiduals, cells: ReferenceCells, n_cell_types: int
) -> tuple[float, Array]:
    """Return how much of the variance between single cells spots show about the level of each gene.

    Parameters
    ----------
    residuals : GeneResiduals
    cells : ReferenceCells
    n_cell_types : int

    Returns
    -------
    share : float
        About one over the number of cells in a spot.
    single : ndarray of float64, shape (n_genes,)
        Variance that single cells would add to each gene, as a multiple of its squared mean.
    """
    profiles = _Profiles.of(cells, n_cell_types)
    about_level = replace(residuals, excess=residuals.pattern * residuals.factor**2)
    single = np.einsum("k,kg->g", residuals.squared_depth, profiles.variance)
    below = residuals.squared_fit
    share = np.divide(single, below, out=np.zeros_like(single), where=below > 0)
    return _cell_share(about_level, profiles), share


def _cell_share(residuals: GeneResiduals, profiles: _Profiles) -> float:
    """Return the scatter of genes beyond sampling over what single cells of the reference would show."""
    single = np.einsum("k,kg->g", residuals.squared_depth, profiles.variance)
    seen = np.divide(1.0, residuals.expected, out=np.zeros_like(single), where=residuals.expected > 0)
    predicted = float((single * seen).sum())
    measured = float((residuals.excess * residuals.squared_fit * seen).sum())
    return measured / predicted if predicted > 0 else 0.0


def standard_errors(
    statistics: Statistics,
    abundances: Array,
    noise: Noise,
    *,
    factor: Array,
    totals: Array,
    coupling: Array,
    content: Array,
    content_variance: Array,
    threads: Threads,
    on_progress: ProgressCallback = silent,
) -> NDArray[np.float32]:
    """Return the standard error of each proportion, float32 (n_spots, n_cell_types), at most 1.

    Parameters
    ----------
    statistics : Statistics
        That `abundances` were fitted to.
    abundances : ndarray of float64, shape (n_spots, n_cell_types)
    noise : Noise
    factor : ndarray of float64, shape (n_spots,)
        ``b_i`` of `statistics` over ``F_a' Y_i``.
    totals : ndarray of float64, shape (n_spots,)
        Counts of each spot.
    coupling : ndarray of float64, shape (n_spots,)
        Curvature that ridge and neighbors add: ``lambda_r + lambda_c D_ii``.
    content, content_variance : ndarray of float64, shape (n_cell_types,)
        RNA content by which abundances are divided to get proportions, and the variance of its logarithm.
    threads : Threads
    on_progress : callable, optional

    Notes
    -----
    The error is that of the estimate without the bound at zero. A type that is not found gets one too: the
    share that could have been overlooked. Costs ``n K^3 / 2`` operations; counts are not needed.
    """
    curvature, basis = np.linalg.eigh(statistics.gram)
    linear, square = (_turned(part, basis) for part in (noise.linear, noise.square))
    trace = np.stack([np.einsum("aqq->a", part) for part in (statistics.gram, linear, square)], axis=1)
    errors = np.empty(abundances.shape, np.float32)
    once, twice = factor**2 * totals, (factor * totals) ** 2
    tilted = np.ascontiguousarray((basis / content[:, None]).transpose(0, 2, 1))
    terms = ErrorTerms(tilted, tilted.sum(axis=2), curvature, linear, square, trace)
    of_spots = SpotErrorTerms(statistics.cluster, statistics.scale, coupling, once, twice)
    given = (terms, of_spots, content, content_variance, abundances)

    def block(start: int, stop: int) -> None:
        uncertainty_kernels.proportion_errors(*given, start, stop, errors)

    def report(n_done: int) -> None:
        on_progress(Progress("Measuring errors", n_done, len(errors)))

    threads.over_blocks(block, len(errors), block=_BLOCK, on_block=report)
    return errors


def _turned(matrices: Array, basis: Array) -> Array:
    half = np.einsum("akm,amr->akr", matrices, basis)
    return np.ascontiguousarray(np.einsum("akq,akr->aqr", basis, half))


def confusable_pairs(
    signatures: Array,
    signature_variance: Array,
    excess: Array,
    depth: float,
    overdispersion: float = 0.0,
) -> list[tuple[int, int]]:
    """Return the pairs of types that a spot of this depth cannot distinguish, the worst first.

    In a spot that holds half of each and nothing else, the 90% interval of the share of one of them then
    reaches from none to all.

    Parameters
    ----------
    signatures : ndarray of float64, shape (n_cell_types, n_genes)
    signature_variance : ndarray of float64, shape (n_cell_types, n_genes)
        By which signatures of the same type differ: it makes types look more different than they are.
    excess : ndarray of float64, shape (n_genes,)
        Variance of a count beyond sampling, as a multiple of its squared mean.
    depth : float
        Counts of the spot, with what its neighbors add to it.
    overdispersion : float, optional
        With which counts are weighted.

    Examples
    --------
    >>> S = np.array([[0.50, 0.50, 0.0], [0.48, 0.52, 0.0], [0.0, 0.1, 0.9]])
    >>> confusable_pairs(S, 0 * S, np.zeros(3), 100.0)
    [(0, 1)]
    >>> confusable_pairs(S, 0 * S, np.zeros(3), 1e5)
    []
    """
    found = []
    for k in range(len(signatures)):
        others = signatures[k + 1 :]
        difference, mean = signatures[k] - others, (signatures[k] + others) / 2
        seen = mean > 0
        weight = np.divide(
            1.0, mean * (1.0 + overdispersion * depth * mean), out=np.zeros_like(mean), where=seen
        )
        information = depth * (weight * difference**2).sum(axis=1)
        variance = depth * (weight**2 * difference**2 * mean * (1.0 + depth * excess * mean)).sum(axis=1)
        by_chance = depth * (weight * (signature_variance[k] + signature_variance[k + 1 :])).sum(axis=1)
        true = np.maximum(information - by_chance, 0.0) * information
        hopeless = np.full_like(information, np.inf)
        error = np.sqrt(np.divide(variance, true, out=hopeless, where=true > 0))
        confusable = np.flatnonzero(Z90 * error >= 0.5)
        found += [(float(error[other]), k, k + 1 + int(other)) for other in confusable]
    return [(k, other) for _, k, other in sorted(found, key=lambda pair: (-pair[0], pair[1:]))]
