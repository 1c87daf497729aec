"""AnnData in, Result out: everything between the files and the arithmetic.

``deconvolve`` checks what it was given, matches the genes, hands plain arrays to the core, and labels what
comes back.
"""

from __future__ import annotations

import platform as host
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from anndata.abc import CSCDataset
from numpy.typing import NDArray
from scipy.sparse import csr_array

from napari_spotmix.base.errors import InputError
from napari_spotmix.base.keys import CELL_TYPE
from napari_spotmix.base.progress import Progress, ProgressCallback, silent
from napari_spotmix.base.text import agreeing, count
from napari_spotmix.base.threads import Threads
from napari_spotmix.dataset.access import coordinates, gene_names, labels, layers_chosen, matrix
from napari_spotmix.dataset.matrix_blocks import row_blocks
from napari_spotmix.dataset.validation import FEW_CELLS, FEW_GENES, check, choices
from napari_spotmix.io import is_signatures, reading_notes
from napari_spotmix.model.counts import Counts, RowBlocks
from napari_spotmix.model.fit import Fit, fit
from napari_spotmix.model.genes import GeneMatch, informative_genes, is_housekeeping, match_genes
from napari_spotmix.model.refit import RefitProblem
from napari_spotmix.model.rna_content import Content, rna_content, unknown_content
from napari_spotmix.model.signatures import mean_signatures
from napari_spotmix.model.sufficient_statistics import total_counts
from napari_spotmix.model.uncertainty.assessment import Assessment, assess
from napari_spotmix.model.uncertainty.errors import Cells, cells_to_look_at, lost_to_depth
from napari_spotmix.model.uncertainty.residuals import GeneResiduals
from napari_spotmix.model.variation import CellVariation, cell_variation, cells_to_compare
from napari_spotmix.params import Parameters
from napari_spotmix.result import Learned, Provenance, Result, over_all_spots

__all__ = ["deconvolve"]

#: At most so many pairs of types are named.
_LISTED = 5
#: Told where the reference holds signatures in place of cells.
_SIGNATURE_NOTES = (
    "The reference holds signatures without cells. What only cells tell is not known: how much RNA cells of "
    "each type hold, so proportions are of RNA; and how cells of a type differ, which standard errors leave "
    "out.",
)
#: Totals of the reference of which less than this is believed get a note.
_LITTLE_TRUST = 0.4


def deconvolve(
    spatial: AnnData,
    reference: AnnData,
    *,
    cell_type_key: str = CELL_TYPE,
    layer: str | None = None,
    library_key: str | None = None,
    params: Parameters | None = None,
    on_progress: ProgressCallback = silent,
    **parameters: Any,
) -> Result:
    """Infer the proportion of each cell type in every spot.

    Parameters
    ----------
    spatial : AnnData, n_spots x n_genes
        Raw counts of the spots in `X` (or `layer` where it has one of that name), coordinates (x, y) in
        ``obsm['spatial']``. Not modified.
    reference : AnnData, n_cells x n_genes
        Raw counts of labeled single cells, in `X` (or `layer` where it has one of that name), or signatures
        (see `read_reference`). Not modified.
    cell_type_key : str, optional
        Column of ``reference.obs`` with the labels; cells without a label are left out.
    layer : str, optional
        Layer that holds the counts, where `X` does not; ``"raw"`` is `raw`, unless a layer is called so.
    library_key : str, optional
        Column of ``spatial.obs``; spots of different samples are never linked.
    params : Parameters, optional
        All parameters at once.
    on_progress : callable, optional
        Called several times a second with a :class:`Progress`; cancels by raising :class:`Cancelled`.
    **parameters
        Single parameters, by the names of :class:`Parameters`; they go before `params`.

    Returns
    -------
    Result

    Raises
    ------
    InputError
        Lists everything that is wrong with the input.

    Examples
    --------
    >>> from napari_spotmix import simulate
    >>> tissue = simulate(n_spots=60, n_genes=120, n_cell_types=4, image=False)
    >>> result = deconvolve(tissue.spatial, tissue.reference)
    >>> bool(np.allclose(result.proportions.sum(axis=1), 1))
    True
    """
    params = _merged(params, parameters)
    problems = check(
        spatial,
        reference,
        cell_type_key=cell_type_key,
        layer=layer,
        library_key=library_key,
        on_progress=on_progress,
    )
    if problems:
        raise InputError(problems)
    with Threads.of(params.n_threads) as threads:
        problem = _prepare(spatial, reference, cell_type_key, layer, params, threads, on_progress)
        sample = None if library_key is None else pd.factorize(spatial.obs[library_key])[0][problem.kept]
        fitted = fit(
            problem.counts,
            problem.signatures,
            problem.totals[problem.kept],
            problem.places,
            params,
            variation=problem.variation,
            sample=sample,
            threads=threads,
            on_progress=on_progress,
        )
        assessment = assess(
            fitted,
            problem.counts,
            problem.signatures,
            problem.totals[problem.kept],
            problem.places,
            problem.some_cells,
            problem.content,
            params,
            threads=threads,
            on_progress=on_progress,
        )
    on_progress(Progress("Writing up", 0, 1))
    settings = {"cell_type_key": cell_type_key, "layer": layer, "library_key": library_key}
    return _result(spatial, problem, fitted, assessment, settings | _given(params))


def _merged(params: Parameters | None, parameters: dict[str, Any]) -> Parameters:
    if params is not None and not isinstance(params, Parameters):
        raise InputError(f"`params` must be Parameters, found {params!r}.")
    known = (params or Parameters()).as_dict()
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        raise InputError([f"`{name}` is no parameter. {choices(known)}" for name in unknown])
    return Parameters(**known | parameters) if parameters else params or Parameters()


@dataclass(frozen=True)
class _Problem:
    """What the core needs, and what is needed to label what it gives back."""

    counts: Counts
    totals: NDArray[np.float64]
    kept: NDArray[np.bool_]
    places: NDArray[np.float64]
    reasons: pd.Series
    genes: GeneMatch
    signatures: NDArray[np.float64]
    variation: CellVariation | None
    some_cells: Cells
    content: Content
    cell_types: list[str]
    notes: tuple[str, ...]


def _prepare(
    spatial: AnnData,
    reference: AnnData,
    cell_type_key: str,
    layer: str | None,
    params: Parameters,
    threads: Threads,
    on_progress: ProgressCallback,
) -> _Problem:
    on_progress(Progress("Averaging the reference", 0, 1))
    types = labels(reference, cell_type_key)
    spatial_layer, reference_layer = layers_chosen(spatial, reference, layer)
    cells = _cells(
        match_genes(gene_names(spatial, spatial_layer), gene_names(reference, reference_layer)),
        row_blocks(matrix(reference, reference_layer)),
        types,
        params,
        on_progress,
    )
    given = matrix(spatial, spatial_layer)
    counts = Counts(row_blocks(given), cells.genes.spatial)
    totals = total_counts(counts, threads, on_progress)
    on_progress(Progress("Comparing cells of the reference", 0, 1))
    chosen = informative_genes(cells.signatures, params.n_genes)
    are_cells = not is_signatures(reference)
    content = cells.content if are_cells else unknown_content(len(types.categories))
    cells = cells.of_genes(chosen)
    variation, some_cells = cells.compared(params) if are_cells else (None, cells.without_any())
    on_progress(Progress("Comparing cells of the reference", 1, 1))
    # Asked for once: AnnData compares the names of all spots each time.
    places = coordinates(spatial)
    placed, counted = np.asarray(np.isfinite(places).all(axis=1)), totals > 0
    kept = placed & counted
    if not kept.any():
        raise InputError(
            "No spot has both coordinates and counts of the shared genes: there is nothing to fit."
        )
    notes = (
        *reading_notes(spatial),
        *reading_notes(reference),
        *_layer_notes(layer, spatial=spatial_layer, reference=reference_layer),
        *_disk_notes(given),
        *_gene_notes(cells.genes),
        *((*_type_notes(types), *_content_notes(content, params)) if are_cells else _SIGNATURE_NOTES),
    )
    return _Problem(
        replace(counts.only(np.flatnonzero(kept)), gene_of_column=cells.genes.spatial),
        totals,
        kept,
        places[kept],
        _reasons(placed, counted, spatial.obs_names),
        cells.genes,
        cells.signatures,
        variation,
        some_cells,
        content,
        list(types.categories),
        notes,
    )


@dataclass(frozen=True)
class _Cells:
    """The labeled cells of the reference over the shared genes that it shows."""

    genes: GeneMatch
    rows: csr_array | RowBlocks
    label: NDArray[np.int64]
    totals: NDArray[np.float64]
    signatures: NDArray[np.float64]

    def of_genes(self, chosen: NDArray[np.int64]) -> _Cells:
        """Return the cells over the genes numbered in `chosen`; totals stay those over all genes."""
        if len(chosen) == self.signatures.shape[1]:
            return self
        signatures = np.ascontiguousarray(self.signatures[:, chosen])
        return replace(self, genes=self.genes.select(chosen), signatures=signatures)

    @property
    def content(self) -> Content:
        """RNA content of each type, as the totals of the cells tell it."""
        return rna_content(self.totals, self.label, self.signatures)

    def without_any(self) -> Cells:
        """Return no cells to measure noise by, with signatures that are taken for exact."""
        n_types, n_genes = self.signatures.shape
        none = np.zeros(0)
        return Cells(csr_array((0, n_genes)), none, none.astype(np.int64), np.zeros(n_types))

    def compared(self, params: Parameters) -> tuple[CellVariation | None, Cells]:
        """Return how cells of each type vary, where that is asked for, and some cells to measure noise by."""
        n_types, n_genes = self.signatures.shape
        shown = cells_to_look_at(self.label, self.totals, n_types)
        compared = shown[:0]
        if params.cell_variation != 0 and params.weights == "poisson":
            compared = cells_to_compare(self.label, self.totals, n_types, params.random_state)
        both = np.union1d(shown, compared)
        counts = Counts(self.rows, self.genes.reference).of_spots(both).by_gene(n_genes)

        def of(cells: NDArray[np.int64]) -> tuple[csr_array, NDArray[np.float64], NDArray[np.int64]]:
            return counts[np.searchsorted(both, cells)], self.totals[cells], self.label[cells]

        lost = lost_to_depth(self.label, self.totals, n_types)
        return self._variation(*of(compared)) if len(compared) else None, Cells(*of(shown), lost)

    def _variation(
        self, counts: csr_array, totals: NDArray[np.float64], label: NDArray[np.int64]
    ) -> CellVariation:
        used = (self.label >= 0) & (self.totals > 0)
        n_cells = np.bincount(self.label[used], minlength=len(self.signatures)).astype(np.float64)
        return cell_variation(counts, label, totals, self.signatures, n_cells)


def _cells(
    genes: GeneMatch,
    rows: csr_array | RowBlocks,
    labels: pd.Categorical[str],
    params: Parameters,
    on_progress: ProgressCallback,
) -> _Cells:
    if params.exclude_mito_ribo:
        genes = _without_housekeeping(genes)
    counts, label = Counts(rows, genes.reference), labels.codes.astype(np.int64)

    def report(n_done: int) -> None:
        on_progress(Progress("Averaging the reference", n_done, len(label)))

    n_types = len(labels.categories)
    signatures, totals = mean_signatures(counts, label, n_types, len(genes.names), report)
    silent_types = [name for name, row in zip(labels.categories, signatures, strict=True) if not row.any()]
    if silent_types:
        raise InputError(
            f"No cell of {', '.join(repr(name) for name in silent_types)} has counts of the shared genes. "
            "Leave the type out of the reference, or use a reference with more genes."
        )
    cells = _Cells(genes, rows, label, totals, signatures)
    return cells.of_genes(np.flatnonzero(signatures.any(axis=0)))


def _without_housekeeping(genes: GeneMatch) -> GeneMatch:
    """Leave out housekeeping genes, unless hardly anything else is shared."""
    others = np.array([g for g, name in enumerate(genes.names) if not is_housekeeping(name)], dtype=np.int64)
    return genes.select(others) if 2 * len(others) >= len(genes.names) else genes


def _reasons(placed: NDArray[np.bool_], counted: NDArray[np.bool_], spots: pd.Index[str]) -> pd.Series:
    """Say of each spot why it is not estimated; nothing of those that are."""
    reasons = np.full(len(placed), "", dtype=object)
    reasons[~counted] = "no counts of the shared genes"
    reasons[~placed] = "no coordinates"
    return pd.Series(reasons, index=spots, dtype=object)


def _layer_notes(layer: str | None, **used: str | None) -> list[str]:
    """Tell where the layer that was asked for is in one of the two only."""
    without = [name for name, found in used.items() if layer is not None and found is None]
    return [f"The {name} data have no layer {layer!r}: their counts were taken from `X`." for name in without]


def _disk_notes(counts: Any) -> list[str]:
    if not isinstance(counts, CSCDataset):
        return []
    return [
        "The counts were read into memory: on disk they lie column by column (CSC). "
        "Write them as CSR to have them read in blocks."
    ]


def _gene_notes(genes: GeneMatch) -> list[str]:
    notes = [
        f"{count(n, 'gene name')} {agreeing(n, 'stand')} more than once in the {what} data; "
        "the counts were summed."
        for n, what in zip(genes.n_duplicated, ("spatial", "reference"), strict=True)
        if n
    ]
    if len(genes.names) < FEW_GENES:
        are = agreeing(len(genes.names), "are")
        shared = f"Only {count(len(genes.names), 'gene')} {are} shared and informative"
        notes.append(f"{shared}: proportions are uncertain.")
    return notes


def _spot_notes(reasons: pd.Series) -> list[str]:
    left_out = reasons[reasons != ""].value_counts()
    return [
        f"{n} of {len(reasons)} spots {agreeing(n, 'were')} not estimated ({reason}), "
        f"and {agreeing(n, 'are')} kept, with NaN."
        for reason, n in left_out.items()
    ]


def _fit_notes(fitted: Fit) -> list[str]:
    return [*fitted.notes, *([fitted.choice.reason] if fitted.choice else [])]


def _type_notes(labels: pd.Categorical[str]) -> list[str]:
    n_cells = pd.Series(labels).value_counts(sort=False)
    few = [f"{name} ({n})" for name, n in n_cells.items() if n < FEW_CELLS]
    n_unlabeled = int((labels.codes < 0).sum())
    notes = []
    if few:
        notes.append(
            f"Cell types with fewer than {FEW_CELLS} reference cells, to be read with care: "
            f"{', '.join(few[:20])}{f' and {len(few) - 20} more' if len(few) > 20 else ''}."
        )
    if n_unlabeled:
        cells = count(n_unlabeled, "reference cell")
        notes.append(f"{cells} without a label {agreeing(n_unlabeled, 'were')} left out.")
    return notes


def _content_notes(content: Content, params: Parameters) -> list[str]:
    if params.share == "rna" or content.trust.mean() >= _LITTLE_TRUST:
        return []
    return [
        f"The totals of the reference differ {content.fold:.2g}-fold between cell types, more than RNA "
        "content does: proportions of cells were corrected for RNA content only in part."
    ]


def _result(
    spatial: AnnData,
    problem: _Problem,
    fitted: Fit,
    assessment: Assessment,
    given: dict[str, Any],
) -> Result:
    cell_types = pd.Index(problem.cell_types)
    abundances, reasons = over_all_spots(fitted.abundances, problem.kept, problem.reasons, cell_types)
    errors = _of_all_spots(assessment.errors, problem.kept)
    return Result(
        abundances=abundances,
        counts=pd.Series(problem.totals, index=spatial.obs_names),
        reasons=reasons,
        signatures=pd.DataFrame(problem.signatures, index=cell_types, columns=problem.genes.names),
        weights=_over_all_spots(fitted.weights, problem.kept),
        attention=_over_all_spots(fitted.attention, problem.kept),
        standard_errors=pd.DataFrame(errors, index=spatial.obs_names, columns=cell_types),
        misfit=pd.Series(_of_all_spots(_misfit(assessment), problem.kept), index=spatial.obs_names),
        residual_genes=_residual_genes(assessment.genes, problem.genes.names),
        spatial=spatial,
        provenance=Provenance(
            given=given,
            learned=Learned.from_dict(_learned(fitted, problem) | _doubts(assessment, problem.cell_types)),
            versions=_versions(),
            summary=_summary(fitted, problem),
        ),
        notes=(
            *problem.notes,
            *_spot_notes(reasons),
            *_fit_notes(fitted),
            *_pair_notes(assessment, problem.cell_types),
            *_misfit_notes(assessment, problem.places, problem.genes.names),
        ),
        problem=RefitProblem(
            fitted.statistics, fitted.weights, fitted.lambda_r, fitted.lambda_c, fitted.abundances
        ),
    )


def _of_all_spots(values: NDArray[Any], kept: NDArray[np.bool_]) -> NDArray[Any]:
    """Return rows of kept spots as rows of all spots, NaN for the others."""
    if kept.all():
        return values
    everywhere = np.full((len(kept), *values.shape[1:]), np.nan, values.dtype)
    everywhere[kept] = values
    return everywhere


def _misfit(assessment: Assessment) -> NDArray[np.float64]:
    return assessment.misfit.share[assessment.misfit.patch]


def _residual_genes(genes: GeneResiduals, names: list[str]) -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "observed": genes.observed,
            "expected": genes.expected,
            "log2_ratio": np.log2(genes.factor),
            "z": genes.surprise,
            "scatter": np.sqrt(genes.pattern),
        },
        index=pd.Index(names, name="gene"),
    )
    return table.iloc[np.argsort(-table["z"].abs().to_numpy(), kind="stable")]


def _doubts(assessment: Assessment, cell_types: list[str]) -> dict[str, Any]:
    return {
        "cell_share": assessment.cell_share,
        "confusable_types": [f"{cell_types[a]} | {cell_types[b]}" for a, b in assessment.pairs],
        "n_foreign_patches": int(assessment.misfit.is_foreign.sum()),
    }


def _pair_notes(assessment: Assessment, cell_types: list[str]) -> list[str]:
    if not assessment.pairs:
        return []
    named = [f"{cell_types[a]} and {cell_types[b]}" for a, b in assessment.pairs[:_LISTED]]
    more = len(assessment.pairs) - len(named)
    return [
        "A spot of usual depth cannot tell these cell types apart, only their sum is sure: "
        f"{'; '.join(named)}{'; and ' + count(more, 'more pair') if more else ''}."
    ]


def _misfit_notes(assessment: Assessment, xy: NDArray[np.float64], genes: list[str]) -> list[str]:
    misfit = assessment.misfit
    if not misfit.is_foreign.any():
        return []
    worst = np.argmax(np.where(misfit.is_foreign, misfit.share, -1.0))
    x, y = xy[misfit.patch == worst].mean(axis=0)
    n_spots = int(misfit.is_foreign[misfit.patch].sum())
    named = ", ".join(genes[g] for g in misfit.genes)
    return [
        f"The reference may lack a cell type: {n_spots} spots, most of all around ({x:.0f}, {y:.0f}), "
        f"look like no mixture of its types{f'; more than explained there: {named}' if named else ''}."
    ]


def _over_all_spots(edges: csr_array, kept: NDArray[np.bool_]) -> csr_array:
    """Return the edges between kept spots as edges between all spots."""
    if kept.all():
        return edges
    number = np.flatnonzero(kept)
    n_edges = np.zeros(len(kept), edges.indptr.dtype)
    n_edges[kept] = np.diff(edges.indptr)
    indptr = np.concatenate([[0], np.cumsum(n_edges)])
    return csr_array((edges.data, number[edges.indices], indptr), shape=(len(kept), len(kept)))


def _given(params: Parameters) -> dict[str, Any]:
    """Return the parameters that a result depends on: all but the number of threads."""
    return {name: value for name, value in params.as_dict().items() if name != "n_threads"}


def _learned(fitted: Fit, problem: _Problem) -> dict[str, Any]:
    return {
        "lambda_c": fitted.lambda_c,
        "lambda_r": fitted.lambda_r,
        "alpha": fitted.smoothing.alpha,
        "attention_sharpness": fitted.smoothing.sharpness,
        "evidence": _evidence(fitted),
        "layout": fitted.graph.layout,
        "pitch_px": fitted.graph.pitch,
        "n_genes_used": problem.signatures.shape[1],
        "n_spots_fitted": int(problem.kept.sum()),
        "n_edges": fitted.graph.n_edges,
        "precision_unit": fitted.precision_unit,
        "n_sweeps": fitted.solution.n_sweeps,
        "violation": fitted.solution.violation,
        "mean_explained": float(fitted.abundances.sum(axis=1).mean()),
        "cell_variation": fitted.data_term.strength,
        "overdispersion": fitted.data_term.overdispersion,
        "data_term": _data_evidence(fitted),
        "rna_content": problem.content.ratio.tolist(),
        "rna_content_trust": problem.content.trust.tolist(),
        "platform_effect": bool((fitted.platform != 1).any()),
    }


def _evidence(fitted: Fit) -> dict[str, Any]:
    """Return the held-out loss of each way to smooth, in nats per spot, and which was chosen."""
    if fitted.choice is None:
        return {}
    tried = {
        one.name: {"loss": one.loss, "gain": one.gain, "standard_error": one.error} | asdict(one.smoothing)
        for one in fitted.choice.candidates
    }
    return tried | {"chosen": fitted.choice.chosen.name, "reason": fitted.choice.reason}


def _data_evidence(fitted: Fit) -> dict[str, Any]:
    """Return what speaks for each part of the data term, in nats per spot."""
    found = {
        "cell_variation": fitted.variation_evidence,
        "platform_effect": fitted.platform_evidence,
        "overdispersion": fitted.overdispersion_evidence,
    }
    return {name: asdict(evidence) for name, evidence in found.items() if evidence is not None}


def _versions() -> dict[str, str]:
    packages = ["napari-spotmix", "anndata", "numba", "numpy", "pandas", "scipy"]
    return {"python": host.python_version()} | {name: version(name) for name in packages}


def _summary(fitted: Fit, problem: _Problem) -> str:
    smoothing = f"smoothness {fitted.lambda_c:.2g}" if fitted.lambda_c >= 1e-3 else "hardly any smoothing"
    if fitted.lambda_c == 0:
        smoothing = "no smoothing"
    return (
        f"{count(problem.kept.sum(), 'spot')}, {count(len(problem.cell_types), 'cell type')}, "
        f"{count(problem.signatures.shape[1], 'gene')}; {smoothing}; {fitted.graph.layout} neighbors."
    )
