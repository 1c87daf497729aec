"""AnnData in, Result out: everything between the files and the arithmetic.

``deconvolve`` checks the input, has it prepared as plain arrays (`workflow.prepare`), passes these to the
model, and labels the result.
"""

from __future__ import annotations

import platform as host
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy.sparse import csr_array

from napari_spotmix.base.errors import InputError
from napari_spotmix.base.keys import CELL_TYPE
from napari_spotmix.base.progress import Progress, ProgressCallback, silent
from napari_spotmix.base.text import count
from napari_spotmix.base.threads import Threads
from napari_spotmix.dataset.access import library_column
from napari_spotmix.dataset.diagnostics import input_findings
from napari_spotmix.dataset.diagnostics.genes import few_genes
from napari_spotmix.dataset.diagnostics.spots import not_estimated
from napari_spotmix.dataset.finding import messages, messages_with_fixes
from napari_spotmix.dataset.validation import check, choices
from napari_spotmix.model.compilation import compiled
from napari_spotmix.model.fit import Fit, fit
from napari_spotmix.model.refit import RefitProblem
from napari_spotmix.model.rna_content import Content
from napari_spotmix.model.uncertainty.assessment import Assessment, assess
from napari_spotmix.model.uncertainty.residuals import GeneResiduals
from napari_spotmix.model.variation import VariationEvidence
from napari_spotmix.params import Parameters, current_names
from napari_spotmix.result import Learned, Provenance, Result, over_all_spots
from napari_spotmix.workflow.prepare import Inputs, Prepared, prepare

__all__ = ["deconvolve"]

#: At most so many pairs of types are named.
_LISTED = 5
#: Totals of the reference of which less than this is believed get a note.
_LITTLE_TRUST = 0.4
#: In a table of fewer values, a second thread takes more processor time than it saves time.
_SMALL = 100_000


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
        Raw counts of the spots in `X` (or in `layer`, if it has one of that name), coordinates (x, y) in
        ``obsm['spatial']``. Not modified.
    reference : AnnData, n_cells x n_genes
        Raw counts of labeled single cells, in `X` (or in `layer`, if it has one of that name), or signatures
        (see `read_reference`). Not modified.
    cell_type_key : str, optional
        Column of ``reference.obs`` with the labels; cells without a label are left out.
    layer : str, optional
        Layer that holds the counts, if `X` does not; ``"raw"`` is `raw`, unless a layer has that name.
    library_key : str, optional
        Column of ``spatial.obs`` with the section of each spot; there are no edges between sections. If
        ``uns['spatial']`` holds several libraries, the column with their names is used by default.
    params : Parameters, optional
        All parameters at once.
    on_progress : callable, optional
        Called several times a second with a :class:`Progress`; cancels by raising :class:`Cancelled`.
    **parameters
        Single parameters, by the names of :class:`Parameters`; they override those in `params`.

    Returns
    -------
    Result

    Raises
    ------
    InputError
        Everything that is wrong with the input.

    Examples
    --------
    >>> from napari_spotmix import simulate
    >>> tissue = simulate(n_spots=60, n_genes=120, n_cell_types=4, image=False)
    >>> result = deconvolve(tissue.spatial, tissue.reference)
    >>> bool(np.allclose(result.proportions.sum(axis=1), 1))
    True
    """
    parameters = current_names(parameters, stacklevel=2)
    library_key = parameters.pop("library_key", library_key)  # by its old name
    params = _merged(params, parameters)
    if library_key is None and isinstance(spatial, AnnData):
        library_key = library_column(spatial)
    inputs = Inputs(spatial, reference, cell_type_key, layer, library_key)
    if problems := check(
        spatial,
        reference,
        cell_type_key=cell_type_key,
        layer=layer,
        library_key=library_key,
        on_progress=on_progress,
    ):
        raise InputError(messages_with_fixes(problems))
    compiled(on_progress)
    with Threads.of(_n_threads(spatial, params)) as threads:
        prepared = prepare(inputs, params, threads, on_progress)
        fitted = fit(
            prepared.counts,
            prepared.signatures,
            prepared.fitted_totals,
            prepared.xy,
            params,
            variation=prepared.variation,
            sample=prepared.library,
            threads=threads,
            on_progress=on_progress,
        )
        assessment = assess(
            fitted,
            prepared.counts,
            prepared.signatures,
            prepared.fitted_totals,
            prepared.xy,
            prepared.some_cells,
            prepared.content,
            params,
            threads=threads,
            on_progress=on_progress,
        )
    on_progress(Progress("Writing up", 0, 1))
    return _result(inputs, params, prepared, fitted, assessment)


def _n_threads(spatial: AnnData, params: Parameters) -> int:
    """Return the number of threads to use: what was asked for, or what is fastest."""
    is_small = spatial.n_obs * spatial.n_vars < _SMALL
    return 1 if is_small and params.n_threads == 0 else params.n_threads


def _merged(params: Parameters | None, parameters: Mapping[str, Any]) -> Parameters:
    """Return `params` with single parameters changed."""
    if params is not None and not isinstance(params, Parameters):
        raise InputError(f"`params` must be Parameters, found {params!r}.")
    params = params or Parameters()
    known = params.as_dict()
    if unknown := sorted(set(parameters) - set(known)):
        raise InputError([f"`{name}` is not a parameter. {choices(known)}" for name in unknown])
    return replace(params, **parameters)


def _input_notes(inputs: Inputs, prepared: Prepared, params: Parameters) -> list[str]:
    """Return what the user should know of the inputs."""
    findings = input_findings(
        inputs.spatial,
        inputs.reference,
        cell_type_key=inputs.cell_type_key,
        layer=inputs.layer,
        library_key=inputs.library_key,
    )
    of_content = _content_notes(prepared.content, params) if inputs.are_cells else []
    return [*messages(findings), *messages(few_genes(len(prepared.genes.names))), *of_content]


def _spot_notes(reasons: pd.Series) -> list[str]:
    left_out = reasons[reasons != ""].value_counts()
    return [not_estimated(n, len(reasons), str(reason)).message for reason, n in left_out.items()]


def _fit_notes(fitted: Fit) -> list[str]:
    return [*fitted.notes, *([fitted.choice.reason] if fitted.choice else [])]


def _content_notes(content: Content, params: Parameters) -> list[str]:
    if params.share == "rna" or content.trust.mean() >= _LITTLE_TRUST:
        return []
    return [
        f"The totals of the reference differ {content.fold:.2g}-fold between cell types, more than RNA "
        "content plausibly does: proportions of cells were corrected for RNA content only in part."
    ]


def _result(
    inputs: Inputs, params: Parameters, prepared: Prepared, fitted: Fit, assessment: Assessment
) -> Result:
    names, cell_types, spots = inputs.spatial.obs_names, pd.Index(prepared.cell_types), prepared.spots
    abundances, reasons = over_all_spots(fitted.abundances, spots, prepared.reasons, cell_types)
    weights, attention = _over_all_spots((fitted.weights, fitted.attention), spots, len(names))
    errors, misfit = (
        _of_all_spots(values, spots, len(names)) for values in (assessment.errors, _misfit(assessment))
    )
    return Result(
        abundances=abundances,
        counts=pd.Series(prepared.totals, index=names),
        reasons=reasons,
        signatures=pd.DataFrame(prepared.signatures, index=cell_types, columns=prepared.genes.names),
        weights=weights,
        attention=attention,
        standard_errors=pd.DataFrame(errors, index=names, columns=cell_types),
        interval_table=pd.DataFrame(assessment.intervals.columns()),
        misfit=pd.Series(misfit, index=names),
        residual_genes=_residual_genes(assessment.genes, prepared.genes.names),
        spatial=inputs.spatial,
        provenance=Provenance(
            given=inputs.settings | _given(params),
            learned=Learned.from_dict(_learned(fitted, prepared) | _doubts(assessment, prepared.cell_types)),
            versions=_versions(),
            summary=_summary(fitted, prepared),
        ),
        notes=(
            *_input_notes(inputs, prepared, params),
            *_spot_notes(reasons),
            *_fit_notes(fitted),
            *_pair_notes(assessment, prepared.cell_types),
            *_misfit_notes(assessment, prepared.xy, prepared.genes.names),
        ),
        problem=RefitProblem(
            fitted.statistics, fitted.weights, fitted.lambda_r, fitted.lambda_c, fitted.abundances, spots
        ),
    )


def _of_all_spots(values: NDArray[Any], spots: NDArray[np.int64], n_spots: int) -> NDArray[Any]:
    """Return rows of fitted spots as rows of all spots, NaN for the others."""
    everywhere = np.full((n_spots, *values.shape[1:]), np.nan, values.dtype)
    everywhere[spots] = values
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
        "n_unmodeled_patches": int(assessment.misfit.is_unmodeled.sum()),
    }


def _pair_notes(assessment: Assessment, cell_types: list[str]) -> list[str]:
    if not assessment.pairs:
        return []
    named = [f"{cell_types[a]} and {cell_types[b]}" for a, b in assessment.pairs[:_LISTED]]
    more = len(assessment.pairs) - len(named)
    return [
        "At the depth of a typical spot these cell types cannot be distinguished; only their sum is "
        "reliable: "
        f"{'; '.join(named)}{'; and ' + count(more, 'more pair') if more else ''}."
    ]


def _misfit_notes(assessment: Assessment, xy: NDArray[np.float64], genes: list[str]) -> list[str]:
    misfit = assessment.misfit
    if not misfit.is_unmodeled.any():
        return []
    worst = np.argmax(np.where(misfit.is_unmodeled, misfit.share, -1.0))
    x, y = xy[misfit.patch == worst].mean(axis=0)
    n_spots = int(misfit.is_unmodeled[misfit.patch].sum())
    named = ", ".join(genes[g] for g in misfit.genes)
    return [
        f"The reference may lack a cell type: no mixture of its types explains the counts of {n_spots} "
        f"spots, most clearly around ({x:.0f}, "
        f"{y:.0f}){f'; genes with more counts there than explained: {named}' if named else ''}."
    ]


def _over_all_spots(matrices: Sequence[csr_array], spots: NDArray[np.int64], n_spots: int) -> list[csr_array]:
    """Return matrices on the same edges between fitted spots as matrices between all spots."""
    first, rows = matrices[0], np.argsort(spots)
    starts, n_edges = first.indptr[:-1][rows], np.diff(first.indptr)[rows]
    n_before = np.zeros(n_spots + 1, first.indptr.dtype)
    n_before[spots[rows] + 1] = n_edges
    indptr = np.cumsum(n_before, dtype=first.indptr.dtype)
    # Where each edge comes from: moved and sorted once for all matrices.
    edge = np.arange(first.nnz, dtype=first.indices.dtype)
    edge += np.repeat(starts - indptr[spots[rows]], n_edges)
    others = spots.astype(first.indices.dtype)[first.indices[edge]]
    moved = csr_array((edge, others, indptr), shape=(n_spots, n_spots))
    moved.sort_indices()
    return [
        csr_array((matrix.data[moved.data], moved.indices, moved.indptr), shape=moved.shape)
        for matrix in matrices
    ]


def _given(params: Parameters) -> dict[str, Any]:
    """Return the parameters that a result depends on: all but the number of threads."""
    return {name: value for name, value in params.as_dict().items() if name != "n_threads"}


def _learned(fitted: Fit, prepared: Prepared) -> dict[str, Any]:
    return {
        "lambda_c": fitted.lambda_c,
        "lambda_r": fitted.lambda_r,
        "alpha": fitted.smoothing.alpha,
        "attention_sharpness": fitted.smoothing.sharpness,
        "evidence": _evidence(fitted),
        "layout": fitted.graph.layout,
        "pitch_px": fitted.graph.pitch,
        "n_genes_used": prepared.signatures.shape[1],
        "n_spots_fitted": len(prepared.spots),
        "n_edges": fitted.graph.n_edges,
        "precision_unit": fitted.precision_unit,
        "n_sweeps": fitted.solution.n_sweeps,
        "violation": fitted.solution.violation,
        "mean_explained": float(fitted.abundances.sum(axis=1).mean()),
        "cell_variation": fitted.data_term.kappa,
        "overdispersion": fitted.data_term.overdispersion,
        "log_residuals": fitted.log_weight,
        "data_term": _data_evidence(fitted),
        "rna_content": prepared.content.ratio.tolist(),
        "rna_content_trust": prepared.content.trust.tolist(),
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
    """Return the evidence for each part of the data term, in nats per spot."""
    found = {
        "cell_variation": fitted.variation_evidence,
        "log_residuals": fitted.residual_evidence,
        "platform_effect": fitted.platform_evidence,
        "overdispersion": fitted.overdispersion_evidence,
    }
    return {name: _table(evidence) for name, evidence in found.items() if evidence is not None}


def _table(evidence: Any) -> dict[str, Any]:
    used = {} if isinstance(evidence, VariationEvidence) else {"used": evidence.used}
    return used | asdict(evidence)


def _versions() -> dict[str, str]:
    packages = ["napari-spotmix", "anndata", "numba", "numpy", "pandas", "scipy"]
    return {"python": host.python_version()} | {name: version(name) for name in packages}


def _summary(fitted: Fit, prepared: Prepared) -> str:
    smoothing = f"smoothness {fitted.lambda_c:.2g}" if fitted.lambda_c >= 1e-3 else "hardly any smoothing"
    if fitted.lambda_c == 0:
        smoothing = "no smoothing"
    return (
        f"{count(len(prepared.spots), 'spot')}, {count(len(prepared.cell_types), 'cell type')}, "
        f"{count(prepared.signatures.shape[1], 'gene')}; {smoothing}; {fitted.graph.layout} neighbors."
    )
