"""What both the check before a run and the notes of its result say about the input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from anndata import AnnData
from anndata.abc import CSCDataset

from napari_spotmix.base.text import agreeing, count
from napari_spotmix.dataset.access import (
    gene_names,
    labels,
    layers_chosen,
    libraries,
    library_column,
    matrix,
)
from napari_spotmix.dataset.diagnostics.types import few_cells, unlabeled_cells
from napari_spotmix.dataset.finding import NOTE, WARNING, Finding
from napari_spotmix.dataset.fixes import Fix
from napari_spotmix.dataset.identifiers import few_names
from napari_spotmix.dataset.validation import label_problems
from napari_spotmix.io import is_signatures, listed, reading_notes

__all__ = ["input_findings"]

_NO_CELLS = (
    "The reference holds signatures, not single cells. The RNA content of the cell types is unknown, so "
    "proportions are shares of RNA. The variability within cell types is unknown, so standard errors do "
    "not include it."
)


def input_findings(
    spatial: AnnData,
    reference: AnnData,
    *,
    cell_type_key: str,
    layer: str | None = None,
    library_key: str | None = None,
) -> list[Finding]:
    """Return warnings and notes about the input that a result keeps as its notes.

    Parameters
    ----------
    spatial, reference, cell_type_key, layer, library_key
        As `deconvolve` takes them. Not modified; counts are not read.

    Examples
    --------
    >>> from napari_spotmix import simulate
    >>> tissue = simulate(n_spots=60, n_genes=120, n_cell_types=4, image=False)
    >>> tissue.spatial.layers["counts"] = tissue.spatial.X
    >>> both = tissue.spatial, tissue.reference
    >>> print(input_findings(*both, cell_type_key="cell_type", layer="counts")[0].message)
    The reference data has no layer 'counts': its counts are taken from `X`.
    """
    spatial_layer, reference_layer = layers_chosen(spatial, reference, layer)
    notes = [*reading_notes(spatial), *reading_notes(reference)]
    return [
        *(Finding(NOTE, note) for note in notes),
        *_several_libraries(spatial, library_key),
        *_without_layer(layer, spatial=spatial_layer, reference=reference_layer),
        *_by_column(matrix(spatial, spatial_layer)),
        *_duplicated(gene_names(spatial, spatial_layer), "spatial"),
        *_duplicated(gene_names(reference, reference_layer), "reference"),
        *_about_cells(reference, cell_type_key),
    ]


def _several_libraries(spatial: AnnData, library_key: str | None) -> list[Finding]:
    """Return whether sections in one file were distinguished: spots of several are never neighbors."""
    names = list(libraries(spatial))
    if len(names) < 2 or library_key not in (None, library_column(spatial)):
        return []
    found = f"The spatial data holds several sections ({listed(names)})"
    if (column := library_column(spatial)) is not None:
        return [Finding(NOTE, f"{found}, which are distinguished by the column {column!r} of `obs`.")]
    text = (
        f"{found}, but no column of `obs` holds these names, so spots of different sections may be treated "
        "as neighbors. Name the column that distinguishes the sections as `library_key`."
    )
    return [Finding(WARNING, text)]


def _without_layer(layer: str | None, **chosen: str | None) -> list[Finding]:
    """Return a note if the layer is in one of both only."""
    without = [role for role, found in chosen.items() if layer is not None and found is None]
    text = "The {} data has no layer {!r}: its counts are taken from `X`."
    return [Finding(NOTE, text.format(role, layer)) for role in without]


def _by_column(counts: Any) -> list[Finding]:
    if not isinstance(counts, CSCDataset):
        return []
    text = (
        "A run reads the counts of the spots into memory, since the file stores them column by column (CSC). "
        "Write them as CSR to have them read in blocks."
    )
    return [Finding(NOTE, text)]


def _duplicated(genes: Sequence[str], role: str) -> list[Finding]:
    names = pd.Index(list(genes))
    if not names.has_duplicates:
        return []
    twice = names[names.duplicated()].unique()
    are = agreeing(len(twice), "are")
    text = (
        f"{count(len(twice), 'gene name')} {are} found more than once in the {role} data "
        f"({few_names(twice)}). Their counts are summed."
    )
    return [Finding(NOTE, text, (Fix(role, "sum-genes"),))]


def _about_cells(reference: AnnData, cell_type_key: str) -> list[Finding]:
    if is_signatures(reference):
        return [Finding(NOTE, _NO_CELLS)]
    if label_problems(reference, cell_type_key):
        return []
    types = labels(reference, cell_type_key)
    return [*few_cells(types), *unlabeled_cells(types)]
