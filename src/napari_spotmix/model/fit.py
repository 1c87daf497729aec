"""The whole fit on arrays: counts, signatures and coordinates -> abundances and edge weights.

Each outer iteration estimates again what depends on the proportions: the composition clusters and their
weights, the platform effect if it is used, and the attention; then it solves. Parameters of the smoothing
that are not given are learned once, in the first outer iteration.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby, product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from napari_spotmix.base.progress import Progress, ProgressCallback, silent
from napari_spotmix.base.threads import Threads
from napari_spotmix.model.attention import attention_weights, distance_weights, embed
from napari_spotmix.model.composition_clusters import (
    CompositionClusters,
    find_composition_clusters,
    one_composition_cluster,
)
from napari_spotmix.model.counts import Counts
from napari_spotmix.model.graph import SpatialGraph, build_graph
from napari_spotmix.model.learning.data_term import (
    HALF,
    PLAUSIBLE_SHARE,
    PartsTrial,
    PlatformEvidence,
    ResidualEvidence,
    is_clear,
    judge_overdispersion,
    judge_parts,
    try_parts,
)
from napari_spotmix.model.learning.heldout import HeldOutGenes, Smoothing
from napari_spotmix.model.learning.selection import (
    START,
    Choice,
    choose_smoothing,
    contiguous_patches,
    prior_smoothness,
)
from napari_spotmix.model.log_residuals import LogResiduals
from napari_spotmix.model.noise import DataTerm
from napari_spotmix.model.overdispersion import OverdispersionEvidence, estimate_overdispersion
from napari_spotmix.model.platform import platform_factors
from napari_spotmix.model.solver.solve import Solution, solve
from napari_spotmix.model.sufficient_statistics import Statistics, sufficient_statistics
from napari_spotmix.model.variation import CellVariation, VariationEvidence, learn_kappa
from napari_spotmix.params import Parameters

__all__ = ["Fit", "fit"]

Array = NDArray[np.float64]

#: Learning uses at most this many spots, in patches of this size.
_LEARNING_SPOTS, _PATCH = 2000, 200
#: The parts of the data term are learned from fewer spots, in smaller patches, by halves of the genes; and by
#: other halves too if there is a doubt.
_FEWER_SPOTS, _SMALL_PATCH, _HALVES = 400, 20, 2
#: Seeds by which genes are split, always the same: a fit is a property of the data.
_SPLIT, _SPLITS_OF_PARTS = 0, (0, 1)
#: Candidates are judged on this many folds of genes, and fitted on some of them, to this tolerance.
_FOLDS, _GRADIENT_FOLDS, _LEARNING_TOLERANCE = 4, 2, 3e-3
#: Overdispersion below this makes no difference that matters.
_SMALL_OVERDISPERSION = 1e-3
#: Outer iterations in between only show which spots are similar: this many times the tolerance is enough.
_LOOSER = 30.0
#: Spots whose proportions a thread takes at a time.
_BLOCK = 8192
#: Least ridge if none is given: it keeps the minimizer unique.
_LEAST_RIDGE = 1e-6
#: For the progress bar only.
_EXPECTED_EVALUATIONS = 30


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What was fitted, in the order of the spots given.

    Attributes
    ----------
    abundances : ndarray of float64, shape (n_spots, n_cell_types)
    weights, attention : csr_array of float64, shape (n_spots, n_spots)
        ``W`` and ``Attn`` on the same edges.
    graph : SpatialGraph
    statistics : Statistics
        Of the last iteration, in units of `precision_unit`: with `weights` and the penalties, all that is
        needed to solve again.
    solution : Solution
        Of the last iteration.
    lambda_r, lambda_c : float
        The penalties that were used.
    precision_unit : float
        What the data term was divided by.
    platform : ndarray of float64, shape (n_genes,)
        Factor per gene; 1 where no platform effect was fitted.
    smoothing : Smoothing
        That was used; with `lambda_c` 0, that under which `weights` are shown.
    choice : Choice or None
        The evidence for it; None if nothing was learned.
    data_term : DataTerm
    log_weight : float
        Of logarithmic residuals.
    variation_evidence : VariationEvidence or None
        For its within-type variability; None if that was not learned.
    residual_evidence : ResidualEvidence or None
        For `log_weight`; None if that was not learned.
    platform_evidence : PlatformEvidence or None
        For `platform`; None if that was not learned.
    overdispersion_evidence : OverdispersionEvidence or None
        For that of `data_term`; None if it was not learned, or is nearly 0.
    notes : tuple of str
    """

    abundances: Array
    weights: csr_array
    attention: csr_array
    graph: SpatialGraph
    statistics: Statistics
    solution: Solution
    lambda_r: float
    lambda_c: float
    precision_unit: float
    platform: Array
    smoothing: Smoothing
    choice: Choice | None
    data_term: DataTerm
    log_weight: float
    variation_evidence: VariationEvidence | None
    residual_evidence: ResidualEvidence | None
    platform_evidence: PlatformEvidence | None
    overdispersion_evidence: OverdispersionEvidence | None
    notes: tuple[str, ...] = ()


def fit(
    counts: Counts,
    signatures: Array,
    totals: Array,
    coordinates: Array,
    params: Parameters,
    *,
    variation: CellVariation | None = None,
    sample: NDArray[np.integer] | None = None,
    threads: Threads,
    on_progress: ProgressCallback = silent,
) -> Fit:
    """Fit abundances to counts.

    Parameters
    ----------
    counts : Counts
        Not modified. Every spot has some; genes are numbered as in `signatures`.
    signatures : ndarray of float64, shape (n_cell_types, n_genes)
        ``S``; every gene is expressed in some type.
    totals : ndarray of float64, shape (n_spots,)
        Counts of each spot over all shared genes, > 0.
    coordinates : ndarray of float64, shape (n_spots, 2)
        Any unit.
    params : Parameters
    variation : CellVariation, optional
        How the cells of each type vary; without it counting is the only noise.
    sample : ndarray of int, shape (n_spots,), optional
        Spots of different samples are not linked.
    threads : Threads
    on_progress : callable, optional

    Returns
    -------
    Fit
    """

    def report_graph(_: int = 0) -> None:
        on_progress(Progress("Linking neighbors", 0, 1))

    report_graph()
    graph = build_graph(
        coordinates,
        layout=params.graph,
        n_neighbors=params.n_neighbors,
        sample=sample,
        threads=threads,
        on_block=report_graph,
    )
    data_term = DataTerm(params.overdispersion or 0.0, variation, params.cell_variation or 0.0)
    observed = _Observed(counts, signatures, totals)
    iterations = _OuterIterations(observed, data_term, graph, params, threads, on_progress)
    for _ in range(1 + params.n_outer_iterations):
        iterations.advance()
    result = iterations.result()
    refusal = _refusal(result, totals, params) if iterations.has_platform else None
    if refusal:
        del iterations, result
        plain = fit(
            counts,
            signatures,
            totals,
            coordinates,
            replace(params, platform_effect="off"),
            variation=variation,
            sample=sample,
            threads=threads,
            on_progress=on_progress,
        )
        return replace(plain, notes=(refusal,))
    return result


def _refusal(result: Fit, totals: Array, params: Parameters) -> str | None:
    """Return why the platform effect must be left out, or None."""
    if params.weights != "poisson":
        return f"The platform effect was not used: it needs `weights` 'poisson', not {params.weights!r}."
    one = 1.0 if params.normalize else totals
    share = float((result.abundances.sum(axis=1) / one).mean())
    low, high = PLAUSIBLE_SHARE
    if low <= share <= high:
        return None
    return (
        f"The platform effect was not used: with it, cell types explained {share:.2f} of the counts on "
        "average, expected about 1, so its factors also captured the cell types."
    )


class _Observed(NamedTuple):
    """What is given: counts of spots, signatures, and the total of each spot."""

    counts: Counts
    signatures: Array
    totals: Array


class _Sample(NamedTuple):
    """Spots that are learned from, their counts, in memory, and their composition clusters."""

    spots: NDArray[np.int64]
    counts: Counts
    clusters: CompositionClusters


class _OuterIterations:
    """The state that each iteration improves: abundances, clusters, platform factors and attention."""

    abundances: Array
    statistics: Statistics
    unit: float

    def __init__(
        self,
        observed: _Observed,
        data_term: DataTerm,
        graph: SpatialGraph,
        params: Parameters,
        threads: Threads,
        on_progress: ProgressCallback,
    ) -> None:
        self.counts, self.signatures, self.totals = observed
        self.data_term, self.graph, self.params, self.threads = data_term, graph, params, threads
        self.platform_weight = float(params.platform_effect == "on")
        self.log_weight = float(params.residuals == "log")
        self.residual_evidence: ResidualEvidence | None = None
        self.variation_evidence: VariationEvidence | None = None
        self.platform_evidence: PlatformEvidence | None = None
        self.overdispersion_evidence: OverdispersionEvidence | None = None
        self._report = on_progress
        sharpness = params.attention_sharpness if params.attention else 0.0
        self.unlearned = replace(START, **_given(alpha=params.alpha, sharpness=sharpness))
        self.choice: Choice | None = None
        # Overwritten by each iteration: new memory is slow.
        self.weights, self.attention = _weights_on(graph), _weights_on(graph)
        self._use(replace(self.unlearned, sharpness=0.0))
        self.clusters = one_composition_cluster(self.totals, len(self.signatures))
        self.platform = np.ones(self.signatures.shape[1])
        self.proportions: NDArray[np.float32] | None = None
        self.n_done = 0
        self._begin_learning("", 0)

    @property
    def has_platform(self) -> bool:
        return self.platform_weight > 0

    def advance(self) -> None:
        """Estimate what depends on the proportions, then solve."""
        if self.n_done:
            self._update()
        self._solve()
        self.n_done += 1

    def _update(self) -> None:
        """Estimate clusters, platform factors and attention again; learn the open parameters, once."""
        genes: HeldOutGenes | None = None
        self._report_comparing()
        self.proportions = self._mean_proportions(self.abundances)
        if self.params.weights == "poisson":
            self.clusters = find_composition_clusters(
                self.proportions,
                self.totals,
                self.params.n_clusters,
                threads=self.threads,
                on_block=self._report_comparing,
            )
            if self.n_done == self.params.n_outer_iterations:
                self.proportions = None  # large, and of no more use
            if self.n_done == 1 and self.params.normalize:
                genes = self._learn_data_term()
            if self.has_platform:
                self.platform = self._platform_factors()
        if self.n_done == 1 and self._is_open():
            self._learn(genes)
        if self.choice is None:
            self._use(self.unlearned)
        elif self.choice.chosen.smoothing.smoothness == 0:
            # Neighbors are shown as smoothing would have begun to see them.
            self._use(replace(self.unlearned, smoothness=0.0, ridge=self.choice.chosen.smoothing.ridge))
        else:
            self._follow_path(self.choice.chosen.path)

    def _mean_proportions(self, abundances: Array) -> NDArray[np.float32]:
        """Return the mean of two iterations: reweighting by the last one alone can swing back and forth.

        In single precision, since they only choose clusters.
        """
        is_first = self.proportions is None
        mean = np.empty(abundances.shape, np.float32) if self.proportions is None else self.proportions

        def block(start: int, stop: int) -> None:
            now = _proportions(abundances[start:stop])
            mean[start:stop] = now if is_first else (mean[start:stop] + now) / 2

        self.threads.over_blocks(block, len(mean), block=_BLOCK, on_block=self._report_comparing)
        return mean

    def _report_comparing(self, _: int = 0) -> None:
        self.on_progress(Progress("Comparing spots", 0, 1))

    def _learn_data_term(self) -> HeldOutGenes | None:
        """Decide the open parameters of the data term; return the folds of genes if they stay valid."""
        params = self.params
        if params.cell_variation is None and self.data_term.variation is not None:
            self._learn_variation(self.data_term.variation)
        states = self._states_of_parts()
        # Genes are split once for what is known, and again with overdispersion.
        n_splits = 2 if params.overdispersion is None else 0
        self._begin_learning("Learning the data term", len(states) + n_splits)
        if len(states) > 1:
            self._learn_parts(states)
        if not n_splits:
            return None
        genes = self._learn_overdispersion(self._held_out_genes(predicting=self.signatures))
        genes.forget()
        return None if self.has_platform else genes

    def _states_of_parts(self) -> list[tuple[bool, bool]]:
        """Return with and without which parts fits are compared: platform factors, logarithmic residuals."""
        on_off = (False, True)
        factors = on_off if self.params.platform_effect == "auto" else (self.has_platform,)
        logarithmic = on_off if self.params.residuals == "auto" else (self.log_weight > 0,)
        return list(product(factors, logarithmic))

    def _learn_parts(self, states: list[tuple[bool, bool]]) -> None:
        """Weigh logarithmic residuals and the platform effect, unless they are given."""
        sample, trials = self._of_patches(_FEWER_SPOTS, _SMALL_PATCH), []
        for split in _SPLITS_OF_PARTS:
            trials.append(self._try_parts(states, sample, split))
            self.residual_evidence, self.platform_evidence = judge_parts(trials)
            if is_clear(self.residual_evidence, self.platform_evidence):
                break
        if self.residual_evidence is not None:
            self.log_weight = self.residual_evidence.weight
        if self.platform_evidence is not None:
            self.platform_weight = HALF * self.platform_evidence.weight

    def _try_parts(self, states: list[tuple[bool, bool]], sample: _Sample, split: int) -> PartsTrial:
        """Predict genes with and without each part, for one way to split them."""
        tried = {}
        for factor, of_factor in groupby(states, key=lambda state: state[0]):
            self.platform_weight = HALF * factor if self.params.platform_effect == "auto" else float(factor)
            genes = self._split_genes(sample, _HALVES, 1, predicting=self.signatures, split=split)
            for _, log in of_factor:
                self.log_weight = float(log)
                tried[log, factor] = self._with_log_residuals(genes, sample.spots)
                self._n_learned += 1
        return try_parts(tried, self._smoothing_so_far())

    def _learn_variation(self, variation: CellVariation) -> None:
        self.variation_evidence = learn_kappa(
            self.counts,
            self.totals,
            self.abundances,
            self.signatures,
            self.clusters,
            variation,
            threads=self.threads,
            on_step=lambda _: self.on_progress(Progress("Comparing cells", 0, 1)),
        )
        self.data_term = replace(self.data_term, kappa=self.variation_evidence.kappa)

    def _learn_overdispersion(self, plain: HeldOutGenes) -> HeldOutGenes:
        """Decide about overdispersion, and return the folds of genes with what was decided."""
        spots, counts, clusters = self._patches
        estimate = estimate_overdispersion(
            counts,
            self.totals[spots],
            self.abundances[spots],
            self.signatures,
            clusters,
            self.data_term,
            threads=self.threads,
            on_step=self._report_learning_step,
        )
        if estimate < _SMALL_OVERDISPERSION:
            return plain
        before = self.data_term
        self.data_term = replace(before, overdispersion=estimate)
        dispersed = self._held_out_genes(predicting=self.signatures)
        evidence = judge_overdispersion(plain, dispersed, self._smoothing_so_far(), estimate)
        self.overdispersion_evidence = evidence
        if evidence.used:
            return dispersed
        self.data_term = before
        return plain

    def _smoothing_so_far(self) -> Smoothing:
        """Return how the first fit was smoothed: how to smooth is learned after the data term."""
        return replace(self.smoothing, smoothness=self.lambda_c * self.unit, sharpness=0.0)

    def _is_open(self) -> bool:
        """Return whether something about the penalties is left to learn, by the likelihood of shares."""
        params = self.params
        if params.weights != "poisson" or not params.normalize:
            return False
        sharpness = params.attention_sharpness if params.attention else 0.0
        of_smoothing = (params.lambda_c, params.alpha, sharpness) if self._can_smooth() else ()
        return None in (params.lambda_r, *of_smoothing)

    def _can_smooth(self) -> bool:
        return self.params.lambda_c != 0 and self.graph.n_edges > 0

    def _follow_path(self, path: tuple[Smoothing, ...]) -> None:
        """Use the next learned smoothing: each attention compares what the one before found."""
        step = self.n_done - 1 + max(len(path) - self.params.n_outer_iterations, 0)
        if step < len(path):
            self._use(path[step])

    def _use(self, smoothing: Smoothing) -> None:
        """Couple neighbors by `smoothing`, and by the similarity of what was found so far."""
        self.smoothing, edges = smoothing, self.graph.squared_distance
        self.attention.data[:] = 1.0
        if smoothing.sharpness > 0:
            report, attention = self._report_comparing, self.attention.data
            embedding = embed(self.abundances, self.weights, self.threads, report)
            heads = smoothing.heads(embedding.shape[1])
            attention_weights(edges, embedding, heads, self.threads, report, out=attention)
        distance_weights(edges, smoothing.alpha, out=self.weights.data)
        self.weights.data *= self.attention.data

    def _learn(self, genes: HeldOutGenes | None) -> None:
        self._begin_learning("Learning the smoothing (folds of genes)", _EXPECTED_EVALUATIONS)
        params, genes = self.params, genes or self._held_out_genes()
        lambda_c = params.lambda_c if self._can_smooth() else 0.0
        self.choice = choose_smoothing(
            genes,
            smoothness=None if lambda_c is None else lambda_c * genes.precision_unit,
            alpha=params.alpha,
            sharpness=params.attention_sharpness,
            ridge=None if params.lambda_r is None else 0.0,
            with_attention=params.attention,
            on_step=self._report_learning,
        )

    @cached_property
    def _patches(self) -> _Sample:
        """Return the spots that are learned from, and their counts, in memory since they are read often."""
        return self._of_patches(_LEARNING_SPOTS, _PATCH)

    def _of_patches(self, n_spots: int, size: int) -> _Sample:
        spots = contiguous_patches(self.graph.squared_distance, n_spots, size)
        clusters = replace(self.clusters, label=self.clusters.label[spots])
        return _Sample(spots, self.counts.of_spots(spots, self._report_learning_step), clusters)

    def _held_out_genes(self, predicting: Array | None = None) -> HeldOutGenes:
        genes = self._split_genes(self._patches, _FOLDS, None, predicting)
        self._n_learned += 1
        return self._with_log_residuals(genes, self._patches.spots)

    def _with_log_residuals(self, genes: HeldOutGenes, spots: NDArray[np.int64]) -> HeldOutGenes:
        residuals = self._log_residuals(spots)
        return genes if residuals is None else genes.with_log_residuals(residuals, self._smoothing_so_far())

    def _split_genes(
        self,
        sample: _Sample,
        n_folds: int,
        n_partitions: int | None,
        predicting: Array | None,
        split: int = _SPLIT,
    ) -> HeldOutGenes:
        """Return folds of genes that are fitted with what has been decided of the data term."""
        squared, spots = self.graph.squared_distance, sample.spots
        everywhere = len(spots) == len(self.totals)
        platform = self._platform_factors() if self.has_platform else np.ones_like(self.platform)
        return HeldOutGenes(
            sample.counts,
            self.signatures * platform,
            self.totals[spots],
            sample.clusters,
            squared if everywhere else csr_array(squared[spots][:, spots]),
            data_term=self.data_term.scaled(platform),
            lambda_r=self._least_ridge(),
            n_folds=n_folds,
            n_partitions=n_partitions,
            n_gradient_folds=_GRADIENT_FOLDS,
            tolerance=_LEARNING_TOLERANCE,
            random_state=split,
            threads=self.threads,
            predicting=predicting,
            on_progress=self._report_learning_step,
        )

    def _begin_learning(self, what: str, n_steps: int) -> None:
        self._learning, self._n_learned, self._n_to_learn = what, 0, n_steps

    def _report_learning(self, candidate: str) -> None:
        self._learning = f"Learning the smoothing ({candidate})"
        self._n_learned += 1
        self._report_learning_step()

    def _report_learning_step(self, _: object = None) -> None:
        done = min(self._n_learned, self._n_to_learn)
        self._report(Progress(self._learning, done, self._n_to_learn))

    def _platform_factors(self) -> Array:
        scale = self.totals if self.params.normalize else np.ones_like(self.totals)
        expected = np.einsum("nk,n->k", self.abundances, scale) @ self.signatures
        factors = platform_factors(self._gene_sums, expected, self.signatures)
        return np.asarray(factors**self.platform_weight)

    def _log_residuals(self, spots: NDArray[np.int64] | None = None) -> LogResiduals | None:
        """Return logarithmic residuals of some spots or all at the current fit; None if without weight."""
        if self.log_weight == 0:
            return None
        per_share = self.totals if self.params.normalize else np.ones_like(self.totals)
        of_all = LogResiduals(self.abundances, per_share, self.log_weight)
        return of_all if spots is None else of_all.of_spots(spots)

    @cached_property
    def _gene_sums(self) -> Array:
        return self.counts.gene_sums(self.signatures.shape[1], self._report_counting)

    def _report_counting(self, n_done: int) -> None:
        self.on_progress(Progress("Comparing with the reference", n_done, self.counts.n_spots))

    def _solve(self) -> None:
        self._reduce_counts()
        self.lambda_c = self._smoothness()
        self.lambda_r = self._least_ridge() + self.smoothing.ridge / (self.unit or 1.0)
        self.solution = solve(
            self.statistics,
            self.weights,
            lambda_r=self.lambda_r,
            lambda_c=self.lambda_c,
            start=self.abundances if self.n_done else None,
            overwrite_start=True,
            tolerance=self._tolerance(),
            max_sweeps=self.params.max_sweeps,
            threads=self.threads,
            on_progress=self.on_progress,
        )
        self.abundances = self.solution.abundances

    def _reduce_counts(self) -> None:
        self.statistics = self._statistics()
        # With plain least squares the penalties are those of the stated objective, to the letter.
        self.unit = self.statistics.mean_precision() if self.params.weights == "poisson" else 1.0
        self.statistics.divide_by(self.unit or 1.0)

    def _tolerance(self) -> float:
        """Be precise in the first fit, from which all is learned, and in the last."""
        is_between = 0 < self.n_done < self.params.n_outer_iterations
        return self.params.tolerance * (_LOOSER if is_between else 1.0)

    def _least_ridge(self) -> float:
        return _LEAST_RIDGE if self.params.lambda_r is None else self.params.lambda_r

    def _smoothness(self) -> float:
        if self.params.lambda_c is not None:
            return self.params.lambda_c
        if self.choice is not None:
            return self.smoothing.smoothness / self.unit
        return prior_smoothness(self.unit) if self.params.weights == "poisson" else 0.0

    def _statistics(self) -> Statistics:
        divisor = self.totals if self.params.normalize else np.ones_like(self.totals)
        if self.params.weights == "poisson":
            adapted = self.signatures * self.platform
            filters = self.data_term.scaled(self.platform).filters(
                adapted,
                self.clusters,
                self.threads,
                on_cluster=lambda _: self.on_progress(Progress("Weighing genes", 0, 1)),
            )
            scale = self.totals if self.params.normalize else 1.0 / self.totals
        else:
            adapted = self.signatures
            filters, scale = np.ascontiguousarray(adapted.T)[None], np.ones_like(self.totals)
        return sufficient_statistics(
            self.counts,
            adapted,
            divisor,
            filters=filters,
            cluster=self.clusters.label,
            scale=scale,
            threads=self.threads,
            log_residuals=self._log_residuals() if self.n_done else None,
            out=self.statistics.projection if self.n_done else None,
            on_progress=self.on_progress,
        )

    def on_progress(self, progress: Progress) -> None:
        """Pass progress on, with the iteration's number in the stage's name."""
        iteration = f"{progress.stage} (iteration {self.n_done} of {self.params.n_outer_iterations})"
        self._report(replace(progress, stage=iteration if self.n_done else f"{progress.stage} (first fit)"))

    def result(self) -> Fit:
        return Fit(
            abundances=self.abundances,
            weights=self.weights,
            attention=self.attention,
            graph=self.graph,
            statistics=self.statistics,
            solution=self.solution,
            lambda_r=self.lambda_r,
            lambda_c=self.lambda_c,
            precision_unit=self.unit,
            platform=self.platform,
            smoothing=self.smoothing,
            choice=self.choice,
            data_term=self.data_term,
            log_weight=self.log_weight,
            residual_evidence=self.residual_evidence,
            variation_evidence=self.variation_evidence,
            platform_evidence=self.platform_evidence,
            overdispersion_evidence=self.overdispersion_evidence,
        )


def _given(**values: float | None) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _weights_on(graph: SpatialGraph) -> csr_array:
    edges = graph.squared_distance
    return csr_array((np.empty(edges.nnz), edges.indices, edges.indptr), shape=edges.shape)


def _proportions(abundances: Array) -> Array:
    """Return rows divided by their sums; a row of zeros becomes flat."""
    total = abundances.sum(axis=1, keepdims=True)
    flat = np.full_like(abundances, 1.0 / abundances.shape[1])
    return np.asarray(np.divide(abundances, total, out=flat, where=total > 0))
