"""How well abundances predict genes that they were not fitted on, and the exact gradient of that.

Held out are *genes*, since held-out molecules of the same genes share the errors of the signatures and see
sampling noise only. Abundances are fitted on the genes of all folds but one; the score is the multinomial
log-likelihood of the counts of that fold's genes given their total in the spot::

    E = -sum_ig Y_ig log( m_ig / sum_g' m_ig' ) / n_spots,      m = X S
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from napari_spotmix.base.progress import Progress, ProgressCallback, silent
from napari_spotmix.base.threads import Threads
from napari_spotmix.model.attention import (
    attention_slopes,
    attention_weights,
    distance_weights,
    embed,
    product,
)
from napari_spotmix.model.composition_clusters import CompositionClusters
from napari_spotmix.model.counts import Counts
from napari_spotmix.model.kernels import attention as attention_kernels
from napari_spotmix.model.kernels import counts as counts_kernels
from napari_spotmix.model.kernels.arguments import Edges, GeneCounts
from napari_spotmix.model.log_residuals import LogResiduals
from napari_spotmix.model.noise import DataTerm
from napari_spotmix.model.solver.adjoint import solve_on_free
from napari_spotmix.model.solver.multigrid import Level
from napari_spotmix.model.solver.solve import solve
from napari_spotmix.model.sufficient_statistics import (
    Statistics,
    projections,
    sufficient_statistics,
    total_counts,
)

__all__ = ["HeldOutGenes", "Smoothing"]

Array = NDArray[np.float64]
T = TypeVar("T")

#: Up to this many genes are split several times: else luck decides, by which genes come together.
_FEW_GENES, _PARTITIONS_OF_FEW = 500, 3
#: Share of the tissue's mean in a spot's prediction: a type that a fit lacks may still be there.
_BACKGROUND = 0.01
_BLOCK = 2048
#: Spots whose genes are scored at a time: all of them, dense, would take more memory than all else.
_SPOTS_AT_ONCE = 128
#: Fits of a fold until its pseudo-counts are those at its own mean.
_REFITS = 2
#: Squared coefficient of variation of a held-out count around a right composition. Without it, few abundant
#: genes would decide which of two data terms predicts better.
_SCATTER = 0.3


@dataclass(frozen=True)
class Smoothing:
    """How neighbors are coupled, and abundances shrunk toward zero.

    Attributes
    ----------
    smoothness : float
        Smoothness in units of counts: ``lambda_c`` times the mean precision of the data term.
    alpha : float
        Decay of weights with squared distance in pitches.
    sharpness : float
        Of the attention; 0 is the plain Laplacian.
    ridge : float
        Pull of all abundances to zero in units of counts: what ``lambda_r`` has beyond its least value, times
        the mean precision.
    spread : float
        Of two heads one is this many times as sharp and the other as many times less; with 1 there is one.
    metric : tuple of float, length n_cell_types
        What a difference in each cell type counts for; empty where all count the same.
    """

    smoothness: float
    alpha: float
    sharpness: float
    ridge: float = 0.0
    spread: float = 1.0
    metric: tuple[float, ...] = ()

    def heads(self, n_cell_types: int) -> Array:
        """Return the sharpness of each head for each type, float64 (n_heads, n_cell_types)."""
        factors = np.array([1.0] if self.spread == 1 else [1 / self.spread, self.spread])
        metric = np.array(self.metric) if self.metric else np.ones(n_cell_types)
        return self.sharpness * factors[:, None] * metric


@dataclass
class _Fold:
    """Statistics of the training genes, the held-out genes, and the end of the last fit."""

    is_held_out: NDArray[np.bool_]
    filters: Array
    statistics: Statistics
    unit: float
    held_out: Counts
    total_signature: Array
    embedding: Array
    abundances: Array | None = None
    adjoint: Array | None = None


class _Loss(NamedTuple):
    """Loss of each spot, minus its derivative by the abundances, and the fit: edge weights, abundances."""

    losses: Array
    slope: Array
    W: csr_array
    X: Array


class HeldOutGenes:
    """Folds of genes over some spots.

    Parameters
    ----------
    counts : Counts
        Read many times: best in memory.
    signatures : ndarray of float64, shape (n_cell_types, n_genes)
    totals : ndarray of float64, shape (n_spots,)
    clusters : CompositionClusters
        Of these spots.
    squared_distance : csr_array, shape (n_spots, n_spots)
        Edges between these spots.
    data_term : DataTerm
    lambda_r : float
        Least ridge.
    n_folds : int
        Parts into which genes are split.
    n_partitions : int, optional
        How many times they are split, for all parts to be folds; by default several times if they are few.
    n_gradient_folds : int
        The gradient is taken on this many of the folds.
    random_state : int
    tolerance : float
        Of each fit; a tenth of the precision of the gradient.
    threads : Threads
    predicting : ndarray of float64, shape (n_cell_types, n_genes), optional
        Signatures of the held-out genes if they are not those of the fit.
    on_progress : callable, optional
    """

    def __init__(
        self,
        counts: Counts,
        signatures: Array,
        totals: Array,
        clusters: CompositionClusters,
        squared_distance: csr_array,
        *,
        data_term: DataTerm,
        lambda_r: float,
        n_folds: int,
        n_gradient_folds: int,
        random_state: int,
        tolerance: float,
        threads: Threads,
        n_partitions: int | None = None,
        predicting: Array | None = None,
        on_progress: ProgressCallback = silent,
    ) -> None:
        self._counts, self._signatures, self._totals = counts, signatures, totals
        self._clusters, self._squared_distance = clusters, squared_distance
        self._lambda_r, self._threads, self._on_progress = lambda_r, threads, on_progress
        # Threads take different folds; within one fold there is too little to share.
        self._alone = Threads(1)
        self._n_gradient_folds, self._tolerance = n_gradient_folds, tolerance
        predicting = signatures if predicting is None else predicting
        background = predicting.mean(axis=0)
        self._predicting = np.ascontiguousarray(((1 - _BACKGROUND) * predicting + _BACKGROUND * background).T)
        self._data_term = data_term
        self.n_folds = n_folds
        rng = np.random.default_rng(random_state)
        self.folds = [
            self._fold(fold_of_gene == fold)
            for fold_of_gene in _partitions(signatures.shape[1], n_folds, n_partitions, rng)
            for fold in range(n_folds)
        ]

    def _fold(self, is_held_out: NDArray[np.bool_]) -> _Fold:
        given = (self._signatures, self._clusters, self._threads)
        filters = self._data_term.filters(*given, used=~is_held_out, on_cluster=self._report_weighing)
        statistics = self._reduced(filters)
        unit = statistics.mean_precision() or 1.0
        statistics.divide_by(unit)
        genes = self._counts.gene_of_column
        held_out = self._counts.of_columns(np.flatnonzero((genes >= 0) & is_held_out[genes]))
        total = self._predicting[is_held_out].sum(axis=0)
        embedding = np.zeros((self._counts.n_spots, 1))
        return _Fold(is_held_out, filters, statistics, unit, held_out, total, embedding)

    def _report_weighing(self, n_done: int) -> None:
        self._on_progress(Progress("Learning", n_done, len(self._clusters.depth)))

    def _reduced(self, filters: Array) -> Statistics:
        """Return the statistics of the training genes."""
        return sufficient_statistics(
            self._counts,
            self._signatures,
            self._totals,
            filters=filters,
            cluster=self._clusters.label,
            scale=self._totals,
            threads=self._threads,
            on_progress=self._on_progress,
        )

    def with_log_residuals(self, log_residuals: LogResiduals, smoothing: Smoothing) -> HeldOutGenes:
        """Return the same folds, fitted to pseudo-counts at their own means.

        Parameters
        ----------
        log_residuals : LogResiduals
            Of these spots: the weight of pseudo-counts, and the abundances at which they are first taken.
        smoothing : Smoothing
            Of the fits in between.
        """
        other = copy(self)
        other.folds = [self._with_pseudo_counts(fold, log_residuals, smoothing) for fold in self.folds]
        return other

    def _with_pseudo_counts(self, fold: _Fold, log_residuals: LogResiduals, smoothing: Smoothing) -> _Fold:
        for refit in range(_REFITS):
            if refit:
                abundances = self._fit(fold, self._edges(fold, smoothing), smoothing)
                log_residuals = replace(log_residuals, abundances=abundances)
            projection = self._projection_of_pseudo_counts(fold, log_residuals) / fold.unit
            fold = replace(fold, statistics=replace(fold.statistics, projection=projection))
        return replace(fold, abundances=None)

    def _projection_of_pseudo_counts(self, fold: _Fold, log_residuals: LogResiduals) -> Array:
        # Genes without a count have pseudo-counts too: leaving out those that are held out halves the work.
        fitted = ~fold.is_held_out
        return projections(
            self._counts.of_genes(fitted),
            self._signatures[:, fitted],
            self._totals,
            filters=fold.filters[:, fitted],
            cluster=self._clusters.label,
            scale=self._totals,
            threads=self._threads,
            log_residuals=log_residuals,
            on_progress=self._on_progress,
        )

    def _fit(self, fold: _Fold, W: csr_array, smoothing: Smoothing) -> Array:
        fold.abundances = solve(
            fold.statistics,
            W,
            lambda_r=self._lambda_r + smoothing.ridge / fold.unit,
            lambda_c=smoothing.smoothness / fold.unit,
            start=fold.abundances,
            tolerance=self._tolerance,
            threads=self._alone,
        ).abundances
        return fold.abundances

    def losses(self, smoothing: Smoothing) -> Array:
        """Return minus the score of each fold and spot, float64 (n_partitions, n_folds, n_spots)."""
        losses = self._over_folds(lambda fold: self._loss(fold, smoothing).losses, self.folds)
        return np.stack(losses).reshape(-1, self.n_folds, self.n_spots)

    def gene_scores(self, smoothing: Smoothing) -> Array:
        """Return how well each gene's distribution over the spots is predicted while it is held out.

        Returns
        -------
        ndarray of float64, shape (n_genes,)
            Log-likelihood per spot, in nats, of negative binomial counts: each spot with its total over the
            fold's genes, each gene with its total over the spots. So a gene that one technology hardly sees
            decides nothing by its total.
        """
        scores = np.zeros(len(self._predicting))
        of_folds = self._over_folds(lambda fold: self._gene_scores(fold, smoothing), self.folds)
        for fold, found in zip(self.folds, of_folds, strict=True):
            scores[fold.is_held_out] += found
        return scores * self.n_folds / len(self.folds)

    def _gene_scores(self, fold: _Fold, smoothing: Smoothing) -> Array:
        X = self._fit(fold, self._edges(fold, smoothing), smoothing)
        counts, predicting = fold.held_out.of_genes(fold.is_held_out), self._predicting[fold.is_held_out]
        expected = np.einsum("nk,k->n", X, predicting.sum(axis=0))
        X = X * (total_counts(counts, self._alone) / np.maximum(expected, 1e-300))[:, None]
        level = (counts.gene_sums(len(predicting)) + 0.5) / (predicting @ X.sum(axis=0) + 0.5)
        predicting, scores = predicting * level[:, None], np.zeros(len(predicting))

        def judge(values: GeneCounts) -> None:
            for start in range(0, len(values.spot), _SPOTS_AT_ONCE):
                stop = min(start + _SPOTS_AT_ONCE, len(values.spot))
                scores[:] += _scores_of_genes(values, start, stop, X[values.spot[start:stop]] @ predicting.T)

        counts.over_rows(judge, self._alone)
        return scores / len(X)

    def few_losses(self, smoothing: Smoothing) -> Array:
        """Return the losses of the folds that give the gradient, float64 (n_gradient_folds, n_spots)."""
        folds = self.folds[: self._n_gradient_folds]
        return np.stack(self._over_folds(lambda fold: self._loss(fold, smoothing).losses, folds))

    def loss_and_gradient(self, smoothing: Smoothing) -> tuple[float, dict[str, Array]]:
        """Return the mean loss per spot of some folds, and its derivatives by each parameter."""

        def judge(fold: _Fold) -> tuple[float, dict[str, Array]]:
            found = self._loss(fold, smoothing)
            slope = found.slope / found.losses.size
            return float(found.losses.mean()), self._gradient(fold, smoothing, found.W, found.X, slope)

        judged = self._over_folds(judge, self.folds[: self._n_gradient_folds])
        loss, gradient = 0.0, dict.fromkeys((field.name for field in fields(Smoothing)), np.zeros(1))
        for its_loss, its_gradient in judged:
            loss += its_loss / len(judged)
            for name, part in its_gradient.items():
                gradient[name] = gradient[name] + part / len(judged)
        return loss, gradient

    def _over_folds(self, judge: Callable[[_Fold], T], folds: list[_Fold]) -> list[T]:
        def block(start: int, stop: int) -> list[T]:
            return [judge(fold) for fold in folds[start:stop]]

        def report(n_done: int) -> None:
            self._on_progress(Progress("Learning", n_done, len(folds)))

        return [
            found
            for part in self._threads.over_blocks(block, len(folds), block=1, on_block=report)
            for found in part
        ]

    def _loss(self, fold: _Fold, smoothing: Smoothing) -> _Loss:
        W = self._edges(fold, smoothing)
        X = self._fit(fold, W, smoothing)
        score, slope = np.empty(len(X)), np.empty_like(X)

        def judge(values: GeneCounts) -> None:
            counts_kernels.held_out_score(values, self._predicting, fold.total_signature, X, score, slope)

        fold.held_out.over_rows(judge, self._alone)
        return _Loss(-score, slope, W, X)

    def _edges(self, fold: _Fold, smoothing: Smoothing) -> csr_array:
        near = distance_weights(self._squared_distance, smoothing.alpha)
        if smoothing.sharpness == 0:
            return near
        heads = smoothing.heads(fold.embedding.shape[1])
        return product(near, attention_weights(near, fold.embedding, heads, self._alone))

    @property
    def n_spots(self) -> int:
        return self._counts.n_spots

    @property
    def n_cell_types(self) -> int:
        return len(self._signatures)

    @property
    def precision_unit(self) -> float:
        """Mean precision of the data term of all genes: what they have in the folds, each in all but one."""
        mean = sum(fold.unit for fold in self.folds) / len(self.folds)
        return mean * self.n_folds / (self.n_folds - 1)

    def update_attention(self, smoothing: Smoothing) -> None:
        """From now on let attention compare what fits under `smoothing` find."""

        def update(fold: _Fold) -> None:
            W = self._edges(fold, smoothing)
            fold.embedding = embed(self._fit(fold, W, smoothing), W, self._alone)

        self._over_folds(update, self.folds)

    def forget(self) -> None:
        """Drop the ends of the last fits, so that what follows does not depend on them."""
        for fold in self.folds:
            fold.abundances = fold.adjoint = None

    def mean_explained(self) -> float:
        """Return the mean sum of the abundances last fitted."""
        return float(
            np.mean(
                [fold.abundances.sum(axis=1).mean() for fold in self.folds if fold.abundances is not None]
            )
        )

    def _gradient(
        self, fold: _Fold, smoothing: Smoothing, W: csr_array, X: Array, slope: Array
    ) -> dict[str, Array]:
        """Return ``-<Lambda, (dH/dp) X>`` for each parameter p, by way of the edges' weights."""
        lambda_c = smoothing.smoothness / fold.unit
        lambda_r = self._lambda_r + smoothing.ridge / fold.unit
        level = Level(fold.statistics, W, lambda_r, lambda_c, self._alone, lambda _: None)
        adjoint = solve_on_free(level, X, slope, start=fold.adjoint, precision=10 * self._tolerance)
        fold.adjoint = adjoint
        # Each edge is twice in W, and once in Tr(X' L X): hence the halves.
        by_weight = -0.5 * lambda_c * self._edge_sums(W, adjoint, X)
        by_smoothness = W.data @ by_weight / max(lambda_c, 1e-300) / fold.unit
        by_alpha = -(by_weight * W.data) @ self._squared_distance.data
        by_ridge = -np.einsum("nk,nk->", adjoint, X) / fold.unit
        gradient = {"smoothness": by_smoothness, "alpha": by_alpha, "ridge": by_ridge}
        if smoothing.sharpness > 0:
            gradient |= self._by_heads(fold, smoothing, W, by_weight)
        return {name: np.atleast_1d(value) for name, value in gradient.items()}

    def _by_heads(self, fold: _Fold, smoothing: Smoothing, W: csr_array, by_weight: Array) -> dict[str, Any]:
        near = np.exp(-smoothing.alpha * self._squared_distance.data)
        heads = smoothing.heads(fold.embedding.shape[1])
        by_log = heads * attention_slopes(W, fold.embedding, heads, by_weight * near)
        gradient: dict[str, Any] = {"sharpness": by_log.sum() / smoothing.sharpness}
        if len(heads) > 1:
            gradient["spread"] = (by_log[1] - by_log[0]).sum() / smoothing.spread
        if smoothing.metric:
            gradient["metric"] = by_log.sum(axis=0) / np.array(smoothing.metric)
        return gradient

    def _edge_sums(self, W: csr_array, A: Array, B: Array) -> Array:
        """Return ``(a_i - a_j) . (b_i - b_j)`` for every entry of `W`."""
        sums, edges = np.empty(W.nnz), Edges(W.indptr, W.indices)

        def block(start: int, stop: int) -> None:
            attention_kernels.edge_differences(edges, A, B, start, stop, sums)

        self._alone.over_blocks(block, W.shape[0], block=_BLOCK)
        return sums


def _scores_of_genes(counts: GeneCounts, start: int, stop: int, mean: Array) -> Array:
    """Return the sum over some spots of each gene's log-likelihood, given the mean of every spot and gene."""
    np.maximum(mean, 1e-12, out=mean)
    size = 1.0 / _SCATTER
    # Logarithms in single precision take a quarter of the time; they are summed in double.
    of_all = np.log((mean + size).astype(np.float32)).sum(axis=0, dtype=np.float64)
    here = slice(counts.indptr[start], counts.indptr[stop])
    row = np.repeat(np.arange(stop - start), np.diff(counts.indptr[start : stop + 1]))
    gene = counts.gene_of_column[counts.indices[here]]
    seen = mean[row, gene]
    of_seen = counts.data[here] * np.log(seen / (seen + size))
    return np.asarray(np.bincount(gene, of_seen, mean.shape[1]) - size * of_all)


def _partitions(
    n_genes: int, n_folds: int, n_partitions: int | None, rng: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Yield the fold of each gene, for each way to split them."""
    for _ in range(n_partitions or (_PARTITIONS_OF_FEW if n_genes <= _FEW_GENES else 1)):
        yield rng.permutation(n_genes) % n_folds
