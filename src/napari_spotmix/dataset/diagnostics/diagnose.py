"""Look at tissue and reference as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from anndata import AnnData

from napari_spotmix.base.keys import CELL_TYPE, RAW
from napari_spotmix.base.progress import ProgressCallback, silent
from napari_spotmix.dataset import validation as checks
from napari_spotmix.dataset.diagnostics import genes as _genes
from napari_spotmix.dataset.diagnostics import spots as _spots
from napari_spotmix.dataset.diagnostics import types as _types
from napari_spotmix.dataset.diagnostics.cost import cost_finding
from napari_spotmix.dataset.diagnostics.finding import LEVELS, NOTE, PROBLEM, Finding
from napari_spotmix.dataset.fixes import FIXES, Fix
from napari_spotmix.io import is_signatures, reading_notes

__all__ = ["look"]


def look(
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
        Told after every block; raises `Cancelled` to stop.

    Returns
    -------
    list of Finding
        Problems first, then warnings, then notes. Without a problem, `deconvolve` takes the data.

    Notes
    -----
    Counts are read two or three times. What compiled code looks at (depth, signatures) is looked at only
    where there is no problem.

    Examples
    --------
    >>> from napari_spotmix import simulate
    >>> tissue = simulate(n_spots=60, n_genes=120, n_cell_types=4, image=False)
    >>> tissue.spatial.layers["counts"] = tissue.spatial.X.copy()
    >>> tissue.spatial.X = tissue.spatial.X.log1p()
    >>> worst = look(tissue.spatial, tissue.reference)[0]
    >>> worst.level, [str(fix) for fix in worst.fixes]
    ('problem', ['spatial:layer=counts'])
    """
    parts = checks.problems_by_part(
        spatial,
        reference,
        cell_type_key=cell_type_key,
        layer=layer,
        library_key=library_key,
        on_progress=on_progress,
    )
    found = list(_problems(parts, spatial, reference))
    if "kind" in parts:
        return found
    chosen = checks.layers_chosen(spatial, reference, layer)
    spatial, reference = (_with_counts(*one) for one in zip((spatial, reference), chosen, strict=True))
    is_usable = not any(parts.values())
    # What makes all of a result wrong comes before what makes one type of it doubtful.
    found += _genes.name_findings(spatial, reference)
    found += _genes.depth_findings(spatial, reference, on_progress) if is_usable else []
    found += _spots.place_findings(spatial, library_key)
    if not parts["labels"] and not is_signatures(reference):
        found += _types.label_findings(reference, cell_type_key)
    if is_usable:
        found += _types.signature_findings(spatial, reference, cell_type_key, on_progress)
        found += [cost_finding(spatial, reference, cell_type_key)]
    told = {one.text for one in found}
    notes = (*reading_notes(spatial), *reading_notes(reference))
    found += [Finding(NOTE, note) for note in notes if note not in told]
    return sorted(found, key=lambda one: LEVELS.index(one.level))


def _with_counts(adata: AnnData, layer: str | None) -> AnnData:
    """Return data whose `X` is the layer that a run would take; nothing is copied."""
    if layer in adata.layers:
        return FIXES["layer"].fix(adata, str(layer), "")
    return FIXES["raw"].fix(adata, "", "") if layer == RAW and adata.raw is not None else adata


def _problems(parts: Mapping[str, Sequence[str]], spatial: AnnData, reference: AnnData) -> Iterator[Finding]:
    """Yield what `deconvolve` would refuse, with the fixes that there are for it."""
    for part, problems in parts.items():
        fixes: tuple[Fix, ...] = ()
        if problems and part == "genes":
            fixes = _genes.fixes_for_names(spatial, reference)
        elif problems and part.endswith(" counts"):
            role = part.removesuffix(" counts")
            fixes = _fixes_for_counts(spatial if role == "spatial" else reference, role)
        yield from (Finding(PROBLEM, problem, fixes) for problem in problems)


def _fixes_for_counts(adata: AnnData, role: str) -> tuple[Fix, ...]:
    """Return what puts counts in place of `X`, if the data hold them elsewhere."""
    names = checks.layers_of_counts(adata)[:1]
    return tuple(Fix(role, "layer", name) if name in adata.layers else Fix(role, "raw") for name in names)
