"""Spots with known truth that look like the section's: mixtures of the reference's cells, fitted again.

What a formula for errors cannot know (a share that is bounded at zero, a type that is missed altogether, blur
across a border) a repetition of the whole experiment shows. Its spots have the compositions that were
fitted, in whole cells, the depths of the section, and genes that are off by as much as the section's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from napari_spotmix.base.progress import Progress, ProgressCallback
from napari_spotmix.base.threads import Threads
from napari_spotmix.model.attention import attention_weights, distance_weights, embed, product
from napari_spotmix.model.canonical import spread_out
from napari_spotmix.model.composition_clusters import CompositionClusters
from napari_spotmix.model.counts import Counts
from napari_spotmix.model.fit import Fit
from napari_spotmix.model.learning.selection import contiguous_patches
from napari_spotmix.model.log_residuals import LogResiduals
from napari_spotmix.model.rna_content import Content
from napari_spotmix.model.solver.solve import Solution, solve
from napari_spotmix.model.sufficient_statistics import Statistics, sufficient_statistics
from napari_spotmix.model.uncertainty.calibration import proportions
from napari_spotmix.model.uncertainty.errors import ReferenceCells, scatter_of_cells
from napari_spotmix.model.uncertainty.residuals import GeneResiduals
from napari_spotmix.model.variation import CellVariation
from napari_spotmix.params import Parameters

__all__ = ["PseudoSpots", "Refit", "Ingredients", "draw_pseudo_spots", "refit_pseudo_spots"]

Array = NDArray[np.float64]

#: The experiment is repeated in so many tissues, in each with this many spots. What is off in a gene or in a
#: type's RNA is off in all spots of a tissue.
_TISSUES, _SPOTS = 4, 150
#: Spots of a patch where neighbors are coupled.
_PATCH = 50
#: Part of a composition that is that of the whole section: a type that was missed may be there.
_OVERLOOKED = 0.05
#: Bounds of the number of cells in a spot.
_FEWEST_CELLS, _MOST_CELLS = 1.0, 20.0
#: Expression below this part of the mean over types does not count in relative differences, and a program
#: changes no gene by a larger factor than this logarithm says.
_FLOOR, _LARGEST_LOG = 0.01, 3.0
#: Counts by which a reference without cells shows each type.
_COUNTS_OF_SIGNATURE = 1e6
#: Drawn in the same way for every random seed.
_SEED = 0
#: Fits after the first one, in which clusters, attention and pseudo-counts follow the last.
_REFITS = 2
_TOLERANCE, _SWEEPS = 1e-3, 1000
#: Spots that are drawn at a time.
_BLOCK = 25


@dataclass(frozen=True)
class Ingredients:
    """What pseudo-spots are made of.

    Attributes
    ----------
    abundances : ndarray of float64, shape (n_spots, n_cell_types)
        As they were fitted.
    totals : ndarray of float64, shape (n_spots,)
        Counts of each spot.
    signatures : ndarray of float64, shape (n_cell_types, n_genes)
        Those that were fitted with.
    residuals : GeneResiduals
        Of the section, about the signatures that were given.
    cells : ReferenceCells
    content : Content
    kappa : float
        Of the fit: the inverse of an effective number of cells; 0 if unknown.
    of_cells : bool
        Whether proportions are those of cells, not of RNA.
    cell_share : float
        How much of the variance between single cells spots show, levels of genes included.
    variation : CellVariation or None
        How cells of each type vary, about `signatures`.
    """

    abundances: Array
    totals: Array
    signatures: Array
    residuals: GeneResiduals
    cells: ReferenceCells
    content: Content
    kappa: float
    of_cells: bool
    cell_share: float = 0.0
    variation: CellVariation | None = None

    @cached_property
    def composition(self) -> Array:
        """Mean proportions of cells, float64 (n_cell_types,)."""
        content = self.content.ratio
        total = np.einsum("nk,k->n", self.abundances, 1.0 / content)
        once = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
        mean = np.einsum("nk,n->k", self.abundances, once) / content
        return mean / mean.sum() if mean.sum() > 0 else np.full_like(mean, 1.0 / len(mean))

    @cached_property
    def shown(self) -> ReferenceCells:
        """The cells; for a reference of signatures one for each type, which has its signature."""
        if len(self.cells.label):
            return self.cells
        n_types = len(self.signatures)
        counts = csr_array(np.rint(_COUNTS_OF_SIGNATURE * self.signatures))
        return ReferenceCells(
            counts, np.full(n_types, _COUNTS_OF_SIGNATURE), np.arange(n_types), np.zeros(n_types)
        )

    @cached_property
    def mean_of_shown(self) -> Array:
        """Part of each gene in the counts of those cells, float64 (n_cell_types, n_genes)."""
        shown, n_types = self.shown, len(self.signatures)
        n_cells = len(shown.label)
        of_type = csr_array((np.ones(n_cells), (shown.label, np.arange(n_cells))), shape=(n_types, n_cells))
        totals = np.bincount(shown.label, shown.totals, n_types)
        return np.asarray((of_type @ shown.counts).toarray() / totals[:, None])

    @cached_property
    def _scatter(self) -> tuple[float, Array]:
        return scatter_of_cells(self.residuals, self.cells, len(self.signatures))

    @cached_property
    def n_cells(self) -> float:
        """Number of cells in a spot: as many as leave the scatter between spots that the section shows.

        If the technologies differ, genes scatter more than any number of cells could explain. At least, it
        is half of what the restricted likelihood found, which follows the programs that cells share.
        """
        share, _ = self._scatter
        by_scatter = 1.0 / max(share, 1e-300)
        by_programs = 0.5 / self.kappa if self.kappa > 0 else 0.0
        return float(np.clip(max(by_scatter, by_programs), _FEWEST_CELLS, _MOST_CELLS))

    @cached_property
    def deviations(self) -> tuple[Array, Array]:
        """Standard deviations of the log factors by which a gene is off, float64 (n_genes,), twice.

        In all types together, and in each by itself: what the scatter about the gene's level has beyond that
        of the cells.
        """
        residuals = self.residuals
        level = residuals.excess - residuals.pattern * residuals.factor**2
        each = residuals.pattern - self._scatter[1] / self.n_cells
        return np.sqrt(np.log1p(level.clip(0))), np.sqrt(np.log1p(each.clip(0)))

    def programs_off(self, rng: np.random.Generator) -> Array:
        """Draw log factors by which each type is off along the programs of its cells.

        What the section scatters beyond what its cells can is also taken to follow programs: genes that are
        off one by one average out, those of another state or chemistry do not.

        Returns
        -------
        ndarray of float64, shape (n_cell_types, n_genes)
        """
        off = np.zeros_like(self.signatures)
        if self.variation is None:
            return off
        beyond = max(self.cell_share - 1.0 / self.n_cells, 0.0)
        floor = _FLOOR * self.signatures.mean(axis=0)
        for k, directions in enumerate(self.variation.directions):
            moved = np.einsum("gd,d->g", directions, rng.normal(size=directions.shape[1]))
            below = np.maximum(self.signatures[k], floor)
            off[k] = np.sqrt(beyond) * np.divide(moved, below, out=np.zeros_like(moved), where=below > 0)
        return off


@dataclass(frozen=True)
class PseudoSpots:
    """Counts whose truth is known.

    Attributes
    ----------
    spots : ndarray of int64, shape (n_pseudo_spots,)
        Spot of the section that each imitates.
    counts : csr_array, shape (n_pseudo_spots, n_genes)
    truth : ndarray of float64, shape (n_pseudo_spots, n_cell_types)
        True proportions, of cells or RNA.
    """

    spots: NDArray[np.int64]
    counts: csr_array
    truth: Array


def draw_pseudo_spots(
    section: Ingredients, fitted: Fit, threads: Threads, on_progress: ProgressCallback
) -> list[PseudoSpots]:
    """Draw pseudo-spots of several tissues.

    Parameters
    ----------
    section : Ingredients
    fitted : Fit
        Where neighbors are coupled, spots are drawn in contiguous patches.
    threads : Threads
    on_progress : callable
    """
    edges, n_spots = fitted.graph.squared_distance, len(section.totals)
    tissues = []
    for tissue in range(_TISSUES):
        offset = (tissue + 0.5) / _TISSUES
        if fitted.lambda_c > 0:
            spots = contiguous_patches(edges, _SPOTS, _PATCH, offset)
        else:
            spots = spread_out(n_spots, _SPOTS, offset)
        tissues.append(_draw(section, spots, tissue, threads, on_progress))
    return tissues


def _draw(
    section: Ingredients,
    spots: NDArray[np.int64],
    tissue: int,
    threads: Threads,
    on_progress: ProgressCallback,
) -> PseudoSpots:
    rng = np.random.default_rng([_SEED, tissue])
    n_types, n_genes = section.signatures.shape
    content = section.content.ratio * np.exp(rng.normal(size=n_types) * np.sqrt(section.content.variance))
    together, each = section.deviations
    off = _lognormal(rng, together, (1, n_genes)) * _lognormal(rng, each, (n_types, n_genes))
    off *= np.exp(section.programs_off(rng).clip(-_LARGEST_LOG, _LARGEST_LOG))
    cells = _Cells.of(section, content, off)

    def block(start: int, stop: int) -> tuple[csr_array, Array]:
        # A stream for each block: threads take blocks in any order.
        return cells.mixed(spots[start:stop], np.random.default_rng([_SEED, tissue, start]))

    def report(n_done: int) -> None:
        on_progress(Progress("Drawing pseudo-spots", tissue * len(spots) + n_done, _TISSUES * len(spots)))

    report(0)
    blocks = threads.over_blocks(block, len(spots), block=_BLOCK, on_block=report)
    counts = csr_array(vstack([counts for counts, _ in blocks], format="csr"))
    return PseudoSpots(spots, counts, np.concatenate([truth for _, truth in blocks]))


def _lognormal(rng: np.random.Generator, deviation: Array, shape: tuple[int, int]) -> Array:
    """Return factors of mean 1."""
    return np.asarray(np.exp(deviation * rng.normal(size=shape) - deviation**2 / 2))


@dataclass(frozen=True)
class _Cells:
    """The reference's cells as the cells of one tissue."""

    section: Ingredients
    members: list[NDArray[np.int64]]
    counts: csr_array
    per_count: Array
    factor: Array
    unseen: Array

    @classmethod
    def of(cls, section: Ingredients, content: Array, off: Array) -> _Cells:
        """Prepare cells whose types bring RNA by `content` and whose genes are off by `off`."""
        shown, signatures, mean = section.shown, section.signatures, section.mean_of_shown
        members = [np.flatnonzero(shown.label == k) for k in range(len(signatures))]
        # On average, cells of a type have its signature, which comes from many more of them.
        factor = np.divide(signatures, mean, out=np.zeros_like(mean), where=mean > 0) * off
        unseen = np.where(mean > 0, 0.0, signatures) * off
        per_count = content / np.array([shown.totals[some].mean() for some in members])
        return cls(section, members, shown.counts, per_count, factor, unseen)

    def mixed(self, spots: NDArray[np.int64], rng: np.random.Generator) -> tuple[csr_array, Array]:
        """Return the counts of pseudo-spots and their true proportions."""
        number = self._numbers(spots, rng)
        spot, kind = np.nonzero(number)
        chosen = self._choice(number, rng)
        totals = chosen @ self.section.shown.totals
        mass = totals * self.per_count[kind]
        of_spot = np.bincount(spot, mass, len(spots))
        depth = self.section.totals[spots][spot] * mass / of_spot[spot]
        # Dense, so that each molecule meets the same random number, however the counts are stored.
        counts = self._captured((chosen @ self.counts).toarray(), kind, depth / totals, rng)
        starts = np.flatnonzero(np.diff(spot, prepend=-1))
        loads = np.zeros(number.shape)
        loads[spot, kind] = depth
        # Not through BLAS, whose sums may depend on its number of threads.
        more = rng.poisson(np.einsum("nk,kg->ng", loads, self.unseen))
        seen = np.add.reduceat(counts, starts, axis=0) + more
        shares = number if self.section.of_cells else loads
        truth = shares / shares.sum(axis=1, keepdims=True)
        return csr_array(seen.astype(np.float32)), truth

    def _numbers(self, spots: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Return how many cells of each type each spot has."""
        section = self.section
        own = proportions(section.abundances[spots], section.content.ratio)
        mixture = (1.0 - _OVERLOOKED) * own + _OVERLOOKED * section.composition
        # Rounding must not bring the sum above 1.
        mixture /= mixture.sum(axis=1, keepdims=True) * (1.0 + 1e-9)
        n_cells = np.floor(self.section.n_cells + rng.random(len(spots))).astype(np.int64)
        return rng.multinomial(n_cells, mixture)

    def _choice(self, number: NDArray[np.int64], rng: np.random.Generator) -> csr_array:
        """Return which cells are in each spot, a row for each type that is there."""
        kinds = np.nonzero(number)[1]
        several = number[np.nonzero(number)]
        rows, kind = np.repeat(np.arange(len(kinds)), several), np.repeat(kinds, several)
        sizes = np.array([len(some) for some in self.members])
        first = np.append(0, np.cumsum(sizes))[:-1]
        place = first[kind] + (rng.random(len(kind)) * sizes[kind]).astype(np.int64)
        cells = np.concatenate(self.members)[place]
        return csr_array((np.ones(len(cells)), (rows, cells)), shape=(len(kinds), self.counts.shape[0]))

    def _captured(
        self, counts: Array, kind: NDArray[np.int64], part: Array, rng: np.random.Generator
    ) -> Array:
        """Return what is left of the counts of cells in a spot: each molecule is seen or not.

        If a spot is deeper than its cells, more molecules of the same genes are added.
        """
        row, gene = np.nonzero(counts)
        chance = part[row] * self.factor[kind[row], gene]
        molecules = np.rint(counts[row, gene]).astype(np.int64)
        seen = rng.binomial(molecules, np.minimum(chance, 1.0)).astype(np.float64)
        deeper = np.flatnonzero(chance > 1.0)
        seen[deeper] += rng.poisson(molecules[deeper] * (chance[deeper] - 1.0))
        left = np.zeros_like(counts)
        left[row, gene] = seen
        return left


@dataclass(frozen=True)
class Refit:
    """Pseudo-spots as they are fitted.

    Attributes
    ----------
    abundances : ndarray of float64, shape (n_pseudo_spots, n_cell_types)
    statistics : Statistics
    degree : ndarray of float64, shape (n_pseudo_spots,)
        Sum of the weights of each one's edges.
    """

    abundances: Array
    statistics: Statistics
    degree: Array


def refit_pseudo_spots(
    pseudo: PseudoSpots,
    section: Ingredients,
    fitted: Fit,
    clusters: CompositionClusters,
    filters: Array,
    params: Parameters,
    threads: Threads,
    on_progress: ProgressCallback,
) -> Refit:
    """Fit pseudo-spots as the section was fitted.

    Parameters
    ----------
    pseudo : PseudoSpots
    section : Ingredients
    fitted : Fit
        Its penalties, smoothing and logarithmic residuals are used.
    clusters : CompositionClusters
        Of the section. A pseudo-spot belongs to that which its own fit is nearest to.
    filters : ndarray of float64, shape (n_clusters, n_genes, n_cell_types)
        Of genes weighted one by one: filters made from the reference's cells would remove exactly the
        differences between them.
    params : Parameters
    threads : Threads
    on_progress : callable
    """
    totals, edges = section.totals[pseudo.spots], fitted.graph.squared_distance
    if len(pseudo.spots) < len(section.totals):
        edges = csr_array(edges[pseudo.spots][:, pseudo.spots])
    near = distance_weights(edges, fitted.smoothing.alpha)
    counts = Counts(pseudo.counts, np.arange(pseudo.counts.shape[1]))
    ones = np.ones_like(totals)
    divisor = totals if params.normalize else ones
    scale = ones if params.weights == "none" else totals if params.normalize else 1.0 / totals
    label = np.full(len(totals), np.bincount(clusters.label).argmax())
    W, log, X = near, None, None
    solution: Solution

    for _ in range(1 + _REFITS):
        statistics = sufficient_statistics(
            counts,
            section.signatures,
            divisor,
            filters=filters,
            cluster=label,
            scale=scale,
            threads=threads,
            log_residuals=log,
            on_progress=on_progress,
        )
        statistics.divide_by(fitted.precision_unit or 1.0)
        solution = solve(
            statistics,
            W,
            lambda_r=fitted.lambda_r,
            lambda_c=fitted.lambda_c,
            start=X,
            tolerance=_TOLERANCE,
            max_sweeps=_SWEEPS,
            threads=threads,
            on_progress=on_progress,
        )
        X = solution.abundances
        label = _nearest(X, clusters)
        log = LogResiduals(X, divisor, fitted.log_weight) if fitted.log_weight > 0 else None
        if fitted.lambda_c > 0 and fitted.smoothing.sharpness > 0:
            embedding = embed(X, W, threads)
            heads = fitted.smoothing.heads(embedding.shape[1])
            W = product(near, attention_weights(near, embedding, heads, threads))
    degree = np.asarray(W.sum(axis=1), dtype=np.float64).ravel()
    return Refit(solution.abundances, statistics, degree)


def _nearest(X: Array, clusters: CompositionClusters) -> NDArray[np.int64]:
    """Return the cluster of each spot by square roots of proportions."""
    total = X.sum(axis=1, keepdims=True)
    root = np.sqrt(np.divide(X, total, out=np.zeros_like(X), where=total > 0))
    sums = np.maximum(clusters.composition.sum(axis=1, keepdims=True), 1e-300)
    centers = np.sqrt(clusters.composition / sums)
    likeness = np.einsum("nk,ak->na", root, centers) - 0.5 * (centers**2).sum(axis=1)
    return np.asarray(likeness.argmax(axis=1))
