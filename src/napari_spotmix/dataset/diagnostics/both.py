"""Diagnose spatial data and reference together."""

from __future__ import annotations

from collections.abc import Iterable

from anndata import AnnData

from napari_spotmix.base.keys import CELL_TYPE, RAW
from napari_spotmix.base.progress import ProgressCallback, silent
from napari_spotmix.dataset.access import layers_chosen, library_column
from napari_spotmix.dataset.diagnostics.cost import cost_finding
from napari_spotmix.dataset.diagnostics.genes import depth_findings, name_findings
from napari_spotmix.dataset.diagnostics.inputs import input_findings
from napari_spotmix.dataset.diagnostics.spots import spot_findings
from napari_spotmix.dataset.diagnostics.types import label_findings, signature_findings
from napari_spotmix.dataset.finding import LEVELS, Finding
from napari_spotmix.dataset.fixes import FIXES
from napari_spotmix.dataset.validation import check, kind_problems, label_problems
from napari_spotmix.io import is_signatures

__all__ = ["diagnose"]


def diagnose(
    spatial: AnnData,
    reference: AnnData,
    *,
    cell_type_key: str = CELL_TYPE,
    layer: str | None = None,
    library_key: str | None = None,
    on_progress: ProgressCallback = silent,
) -> list[Finding]:
    """Return everything that is worth knowing before `deconvolve` is called with the same arguments.

    Parameters
    ----------
    spatial, reference, cell_type_key, layer, library_key
        As `deconvolve` takes them. Not modified. Counts may be on disk; they are read in blocks of rows.
    on_progress : callable, optional
        Called after every block; raises `Cancelled` to stop.

    Returns
    -------
    list of Finding
        Problems first, then warnings, then notes. Without a problem, `deconvolve` accepts the data.

    Notes
    -----
    Counts are read two or three times. Depth and signatures are only compared if there is no problem.

    Examples
    --------
    >>> from napari_spotmix import simulate
    >>> tissue = simulate(n_spots=60, n_genes=120, n_cell_types=4, image=False)
    >>> tissue.spatial.layers["counts"] = tissue.spatial.X.copy()
    >>> tissue.spatial.X = tissue.spatial.X.log1p()
    >>> worst = diagnose(tissue.spatial, tissue.reference)[0]
    >>> worst.level, [str(fix) for fix in worst.fixes]
    ('problem', ['spatial:layer=counts'])
    """
    if library_key is None and isinstance(spatial, AnnData):
        library_key = library_column(spatial)
    found = check(
        spatial,
        reference,
        cell_type_key=cell_type_key,
        layer=layer,
        library_key=library_key,
        on_progress=on_progress,
    )
    if kind_problems(spatial=spatial, reference=reference):
        return found
    is_usable = not found
    chosen = layers_chosen(spatial, reference, layer)
    spots, cells = (_with_counts(*one) for one in zip((spatial, reference), chosen, strict=True))
    # What makes all of a result wrong comes before what makes one type of it doubtful.
    found += name_findings(spots, cells)
    found += depth_findings(spots, cells, on_progress) if is_usable else []
    found += spot_findings(spatial, library_key)
    found += input_findings(
        spatial, reference, cell_type_key=cell_type_key, layer=layer, library_key=library_key
    )
    if not label_problems(reference, cell_type_key) and not is_signatures(reference):
        found += label_findings(reference, cell_type_key)
    if is_usable:
        found += signature_findings(spots, cells, cell_type_key, on_progress)
        found += [cost_finding(spots, cells, cell_type_key)]
    return _once_each(sorted(found, key=lambda one: LEVELS.index(one.level)))


def _with_counts(adata: AnnData, layer: str | None) -> AnnData:
    """Return data whose `X` is the layer that a run uses; nothing is copied."""
    if layer in adata.layers:
        return FIXES["layer"].fix(adata, str(layer), "")
    return FIXES["raw"].fix(adata, "", "") if layer == RAW and adata.raw is not None else adata


def _once_each(findings: Iterable[Finding]) -> list[Finding]:
    """Keep the first finding of each message: readers note some of them too."""
    found: dict[str, Finding] = {}
    for one in findings:
        found.setdefault(one.message, one)
    return list(found.values())
