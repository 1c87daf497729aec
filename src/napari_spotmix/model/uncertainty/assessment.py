"""What a fit is worth: errors of the proportions, and what the reference leaves unexplained."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_spotmix.base.progress import Progress, ProgressCallback, silent
from napari_spotmix.base.threads import Threads
from napari_spotmix.model.clustering import group_means
from napari_spotmix.model.composition_clusters import CompositionClusters
from napari_spotmix.model.counts import Counts
from napari_spotmix.model.fit import Fit
from napari_spotmix.model.noise import DataTerm
from napari_spotmix.model.rna_content import Content
from napari_spotmix.model.uncertainty.calibration import (
    Calibration,
    IntervalTable,
    calibrate,
    proportions,
)
from napari_spotmix.model.uncertainty.errors import (
    Noise,
    ReferenceCells,
    confusable_pairs,
    measure_noise,
    standard_errors,
)
from napari_spotmix.model.uncertainty.pseudo_spots import (
    Ingredients,
    Refit,
    draw_pseudo_spots,
    refit_pseudo_spots,
)
from napari_spotmix.model.uncertainty.residuals import GeneResiduals, Misfit, find_misfit, gene_residuals
from napari_spotmix.params import Parameters

__all__ = ["Assessment", "assess"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Assessment:
    """How certain a fit is, and what it does not explain.

    Attributes
    ----------
    errors : ndarray of float32, shape (n_spots, n_cell_types)
        Standard error of each proportion, of cells or RNA as the parameters ask.
    intervals : IntervalTable
        How far the ends of the 90% intervals are from the proportions.
    genes : GeneResiduals
    misfit : Misfit
    pairs : list of (int, int)
        Types that a spot of this tissue's usual depth cannot distinguish, the worst first.
    cell_share : float
        How much of the variance between single cells spots show.
    """

    errors: NDArray[np.float32]
    intervals: IntervalTable
    genes: GeneResiduals
    misfit: Misfit
    pairs: list[tuple[int, int]]
    cell_share: float


def assess(
    fitted: Fit,
    counts: Counts,
    signatures: Array,
    totals: Array,
    coordinates: Array,
    cells: ReferenceCells,
    content: Content,
    params: Parameters,
    *,
    threads: Threads,
    on_progress: ProgressCallback = silent,
) -> Assessment:
    """Measure how certain a fit is; the arguments are those of :func:`~napari_spotmix.model.fit.fit`.

    Parameters
    ----------
    fitted : Fit
    counts : Counts
    signatures : ndarray of float64, shape (n_cell_types, n_genes)
    totals : ndarray of float64, shape (n_spots,)
    coordinates : ndarray of float64, shape (n_spots, 2)
    cells : ReferenceCells
        Of the reference, over the same genes.
    content : Content
    params : Parameters
    threads : Threads
    on_progress : callable, optional
    """
    given, signatures = signatures, signatures * fitted.platform
    X, statistics = fitted.abundances, fitted.statistics
    per_share: Array = totals if params.normalize else np.ones(len(totals))
    genes = gene_residuals(counts, signatures, X, per_share, on_progress)
    misfit = find_misfit(counts, signatures, X, per_share, coordinates, threads, on_progress)
    on_progress(Progress("Measuring noise", 0, 1))
    clusters = _clusters(X, totals, statistics.cluster, len(statistics.gram))
    on_progress(Progress("Measuring noise", 0, 1))
    overdispersion = fitted.data_term.overdispersion
    filters = _filters(signatures, clusters, overdispersion, params, threads)
    gram = np.einsum("kg,agm->akm", signatures, filters) / fitted.precision_unit
    # Factors learned from the tissue itself hide the scatter that they stand for.
    plain = (
        genes if (fitted.platform == 1).all() else gene_residuals(counts, given, X, per_share, on_progress)
    )
    noise = measure_noise(plain, signatures, filters, clusters.composition, cells, on_progress)
    formula = _Formula(fitted, content, params, threads, on_progress)
    statistics = replace(statistics, gram=gram)
    degree = np.asarray(fitted.weights.sum(axis=1), dtype=np.float64).ravel()
    errors = formula.errors(Refit(X, statistics, degree), totals, noise)
    section = Ingredients(
        X,
        totals,
        signatures,
        plain,
        cells,
        content,
        fitted.data_term.kappa,
        params.share == "cells",
        noise.cell_share,
        fitted.data_term.scaled(fitted.platform).variation,
    )
    calibration = _calibration(section, formula, clusters, filters, noise)
    # More scatter than in spots of a single cell comes from the reference, and pseudo-spots lack it.
    unexplained = 1.0 - 1.0 / max(noise.cell_share, 1.0)
    intervals = calibration.standard_errors(X, formula.content, errors, unexplained, threads, on_progress)
    coupling = formula.coupling(degree)
    borrowed = 1.0 + float(coupling.mean()) / max(statistics.mean_precision(), 1e-300)
    depth = borrowed * float(np.median(totals))
    pairs = confusable_pairs(signatures, noise.signature_variance, genes.excess, depth, overdispersion)
    return Assessment(errors, intervals, genes, misfit, pairs, noise.cell_share)


@dataclass(frozen=True)
class _Formula:
    """Standard errors by the formula, of any spots that are fitted as the section is."""

    fitted: Fit
    known_content: Content
    params: Parameters
    threads: Threads
    on_progress: ProgressCallback

    @property
    def content(self) -> Array:
        """What abundances are divided by to get proportions, up to their sum."""
        ratio = self.known_content.ratio
        return ratio if self.params.share == "cells" else np.ones_like(ratio)

    def coupling(self, degree: Array) -> Array:
        """Return the curvature that ridge and neighbors add to spots."""
        return self.fitted.lambda_r + self.fitted.lambda_c * degree

    def errors(self, found: Refit, totals: Array, noise: Noise) -> NDArray[np.float32]:
        """Return the standard errors of spots with these totals."""
        per_share = totals if self.params.normalize else np.ones_like(totals)
        variance = self.known_content.variance
        return standard_errors(
            found.statistics,
            found.abundances,
            noise,
            factor=found.statistics.scale / per_share / self.fitted.precision_unit,
            totals=totals,
            coupling=self.coupling(found.degree),
            content=self.content,
            content_variance=variance if self.params.share == "cells" else np.zeros_like(variance),
            threads=self.threads,
            on_progress=self.on_progress,
        )


def _calibration(
    section: Ingredients,
    formula: _Formula,
    clusters: CompositionClusters,
    filters: Array,
    noise: Noise,
) -> Calibration:
    """Repeat the experiment with pseudo-spots, and compare what the formula says with what came out."""
    on_progress = formula.on_progress

    def report(_: Progress) -> None:
        on_progress(Progress("Fitting pseudo-spots", 0, 1))

    formula = replace(formula, on_progress=report)
    given = (section, formula.fitted, clusters, filters, formula.params, formula.threads, report)
    tissues = draw_pseudo_spots(section, formula.fitted, formula.threads, on_progress)
    refits = [refit_pseudo_spots(one, *given) for one in tissues]
    totals = [section.totals[one.spots] for one in tissues]
    errors = np.concatenate(
        [formula.errors(found, total, noise) for found, total in zip(refits, totals, strict=True)]
    ).astype(np.float64)
    known = np.isfinite(errors).all(axis=1)
    X = np.concatenate([found.abundances for found in refits])[known]
    return calibrate(
        proportions(X, formula.content).ravel(),
        errors[known].ravel(),
        np.concatenate([one.truth for one in tissues])[known].ravel(),
    )


def _clusters(X: Array, totals: Array, label: NDArray[np.int64], n_clusters: int) -> CompositionClusters:
    depth = group_means(totals[:, None], label, n_clusters)[:, 0]
    one_over_sum = 1.0 / np.maximum(X.sum(axis=1), 1e-300)
    return CompositionClusters(group_means(X, label, n_clusters, one_over_sum), depth, label)


def _filters(
    signatures: Array,
    clusters: CompositionClusters,
    overdispersion: float,
    params: Parameters,
    threads: Threads,
) -> Array:
    """Return the filters of a fit that weighs genes one by one.

    A fit that models how cells vary is more certain, but only if the tissue's cells vary like those of the
    reference; and through filters made from the same cells their noise would vanish.
    """
    if params.weights == "none":
        return np.tile(signatures.T, (len(clusters.composition), 1, 1))
    return DataTerm(overdispersion).filters(signatures, clusters, threads)
