"""What makes input unusable: findings of level "problem", all of them before any work is done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from napari_spotmix.base.keys import CELL_TYPE, RAW, SPATIAL
from napari_spotmix.base.progress import Progress, ProgressCallback, silent
from napari_spotmix.base.text import agreeing, count
from napari_spotmix.dataset.access import (
    coordinates,
    gene_names,
    has_layer,
    labels,
    layers,
    layers_chosen,
    matrix,
)
from napari_spotmix.dataset.finding import PROBLEM, Finding
from napari_spotmix.dataset.fixes import FIXES, Fix
from napari_spotmix.dataset.identifiers import fixes_for_names, no_shared_genes
from napari_spotmix.dataset.matrix_blocks import value_blocks
from napari_spotmix.io import is_closed, is_signatures, sparse_damage

__all__ = [
    "FEW_CELLS",
    "FEW_GENES",
    "check",
    "choices",
    "coordinate_problems",
    "kind_problems",
    "label_problems",
    "no_usable_spots",
    "types_without_counts",
]


#: Types with fewer cells than this get a warning: their signature is mostly sampling noise.
FEW_CELLS = 10

#: Fewer shared genes than this get a warning.
FEW_GENES = 50

#: Up to this largest value, fractions are taken for logarithms; above, for scaled counts.
_LARGEST_LOG = 20.0

#: No count is larger: above it, not even whole numbers are exact. Squares of distances larger than this, or
#: as small as one over it, overflow.
_LARGEST_COUNT, _FARTHEST = 2.0**53, 1e100

#: More labels than this, with fewer cells each than that on average, are no cell types.
_MANY_TYPES, _CELLS_PER_TYPE = 100, 3


def check(
    spatial: AnnData,
    reference: AnnData,
    *,
    cell_type_key: str = CELL_TYPE,
    layer: str | None = None,
    library_key: str | None = None,
    on_progress: ProgressCallback = silent,
) -> list[Finding]:
    """Return every problem that makes the input unusable, with its fixes; an empty list for good input.

    Parameters
    ----------
    spatial, reference, cell_type_key, layer, library_key
        As `deconvolve` takes them. Not modified. Counts may be on disk; they are read in blocks.
    on_progress : callable, optional
        Called after every block; raises `Cancelled` to stop.

    Returns
    -------
    list of Finding
        All of level "problem".

    Examples
    --------
    >>> from napari_spotmix import simulate
    >>> tissue = simulate(n_spots=60, n_genes=120, n_cell_types=4, image=False)
    >>> check(tissue.spatial, tissue.reference)
    []
    >>> print(check(tissue.spatial, tissue.reference, layer="counts")[0].message)
    `layer`: the spatial data has no layer 'counts'. There are no others to choose from.
    """
    if problems := kind_problems(spatial=spatial, reference=reference):
        return problems
    spatial_layer, reference_layer = layers_chosen(spatial, reference, layer)
    return [
        *_count_problems(spatial, spatial_layer, "spatial", on_progress),
        *coordinate_problems(spatial),
        *_count_problems(reference, reference_layer, "reference", on_progress),
        *label_problems(reference, cell_type_key),
        *_library_problems(spatial, library_key),
        *_gene_problems(spatial, reference, spatial_layer, reference_layer),
    ]


def choices(names: Any) -> str:
    """Return the sentence that lists what there is to choose from."""
    shown = [str(name) for name in names]
    if not shown:
        return "There are no others to choose from."
    more = f" and {len(shown) - 12} more" if len(shown) > 12 else ""
    return f"Choose one of: {', '.join(shown[:12])}{more}."


def _problem(message: str, *fixes: Fix) -> list[Finding]:
    return [Finding(PROBLEM, message, fixes)]


def kind_problems(**given: Any) -> list[Finding]:
    """Return a problem for each argument that is not an AnnData, or has matrices that must not be used."""
    return [problem for name, value in given.items() for problem in _kind_problems(name, value)]


def _kind_problems(name: str, value: Any) -> list[Finding]:
    if not isinstance(value, AnnData):
        found = type(value).__name__
        return _problem(f"`{name}` must be an AnnData, found {found}. Read a file with `read_{name}`.")
    if damage := sparse_damage(value):
        return _problem(f"`{name}`: {damage} Read it from its file again, or make the matrix again.")
    return []


def _library_problems(spatial: AnnData, library_key: str | None) -> list[Finding]:
    if library_key is None:
        return []
    if library_key not in spatial.obs:
        return _problem(
            f"`library_key`: the spatial data has no column {library_key!r}. {choices(spatial.obs.columns)}"
        )
    if spatial.n_obs == 0 or not spatial.obs[library_key].isna().all():
        return []
    return _problem(
        f"`library_key`: the column {library_key!r} of the spatial data is empty. Fill it, or choose "
        "another column."
    )


def _gene_problems(
    spatial: AnnData, reference: AnnData, spatial_layer: str | None, reference_layer: str | None
) -> list[Finding]:
    ours, theirs = gene_names(spatial, spatial_layer), gene_names(reference, reference_layer)
    is_empty = not ours or not theirs  # reported with the counts
    if is_empty or set(ours) & set(theirs):
        return []
    # A fix names the genes of `raw` as those of `X`, so that either can be chosen afterward.
    chosen = [
        FIXES["raw"].fix(adata, "", "") if layer == RAW and RAW not in adata.layers else adata
        for adata, layer in ((spatial, spatial_layer), (reference, reference_layer))
    ]
    fixes = fixes_for_names(*chosen)
    return _problem(no_shared_genes(ours, theirs), *fixes)


# ------------------------------------------------------------------------------------------- what a run finds


def types_without_counts(cell_types: Sequence[str]) -> Finding:
    """Return the problem that no cell of some types has counts of the shared genes."""
    named = ", ".join(map(repr, cell_types))
    return Finding(
        PROBLEM,
        f"No cell of {named} has counts of the shared genes. "
        f"Drop the type{'' if len(cell_types) == 1 else 's'}, or use a reference with more genes.",
        tuple(Fix("reference", "drop", name) for name in cell_types),
    )


def no_usable_spots() -> Finding:
    """Return the problem that there is nothing to fit."""
    return Finding(
        PROBLEM,
        "No spot has both coordinates and counts of the shared genes: there is nothing to fit. "
        "Check the coordinates and the gene names.",
    )


# ----------------------------------------------------------------------------------------------------- counts


def _count_problems(
    adata: AnnData, layer: str | None, role: str, on_progress: ProgressCallback
) -> list[Finding]:
    if layer is not None and not has_layer(adata, layer):
        return _problem(f"`layer`: the {role} data has no layer {layer!r}. {choices(layers(adata))}")
    where = f"The {role} data ({'`X`' if layer is None else f'layer {layer!r}'})"
    values = matrix(adata, layer)
    if values is not None and is_closed(values):
        return _problem(f"{where} is in a file that has been closed. Read it again, and keep the file open.")
    if values is None or 0 in adata.shape:
        text, is_counts = f"is empty: {adata.n_obs} rows and {adata.n_vars} genes. Counts are needed.", False
    else:
        text, is_counts = _wrong_values(values, is_signatures(adata), on_progress)
    if not text:
        return []
    other = None if is_counts else _layer_of_counts(adata)
    if other is None:
        return _problem(f"{where} {text}")
    is_raw = other not in adata.layers
    advice = "Its `raw` holds" if is_raw else f"The layer {other!r} holds"
    fix = Fix(role, "raw") if is_raw else Fix(role, "layer", other)
    name = RAW if is_raw else other
    return _problem(f"{where} {text} {advice} whole numbers: choose {name!r} as `layer`.", fix)


def _layer_of_counts(adata: AnnData) -> str | None:
    """Return the first layer, or `RAW`, that holds whole numbers, none of them negative."""
    return next((name for name in layers(adata) if _holds_counts(matrix(adata, name))), None)


def _holds_counts(values: Any) -> bool:
    if 0 in values.shape:
        return False
    n_blocks, dtype, blocks = value_blocks(values)
    if not n_blocks or dtype.kind not in "iuf":
        return False
    return all(bool(((block == np.round(block)) & (block >= 0)).all()) for block in blocks)


def _wrong_values(matrix: Any, may_be_fractions: bool, on_progress: ProgressCallback) -> tuple[str, bool]:
    """Return why values are not counts ("" if they are), and whether most are whole numbers even so."""
    n_blocks, dtype, blocks = value_blocks(matrix)
    needed = "Raw counts are needed."
    if dtype.kind not in "iufb":
        return f"holds values of type {dtype}, not numbers. {needed}", False
    found = _tally(blocks, n_blocks, on_progress)
    if found.n_not_finite:
        values, are = count(found.n_not_finite, "value"), agreeing(found.n_not_finite, "are")
        return f"holds {values} that {are} NaN or infinite. {needed}", False
    if found.n_negative:
        negative = count(found.n_negative, "negative value")
        return f"holds {negative}, as scaled or centered data do. {needed}", False
    if not found.n_positive:
        return "holds no counts at all: every value is 0.", True
    if found.largest > _LARGEST_COUNT:
        return f"holds values up to {found.largest:.2g}, larger than any count. {needed}", found.is_counts
    if found.is_counts or may_be_fractions:
        return "", True
    share = found.n_fractions / found.n_positive
    if found.largest < _LARGEST_LOG:
        largest = f"the largest is {found.largest:.2f}"
        return f"looks log-normalized: {share:.0%} of its values are fractions and {largest}. {needed}", False
    return f"looks normalized: {share:.0%} of its values are fractions. {needed}", False


@dataclass
class _Tally:
    """How many values of a matrix are of which kind."""

    n_not_finite: int = 0
    n_negative: int = 0
    n_positive: int = 0
    n_fractions: int = 0
    largest: float = 0.0

    @property
    def is_counts(self) -> bool:
        """Whether these may be counts. Corrected or averaged counts have some fractions, but not mostly."""
        broken = self.n_not_finite or self.n_negative
        return not broken and self.n_fractions <= 0.5 * self.n_positive


def _tally(blocks: Iterator[NDArray[Any]], n_blocks: int, on_progress: ProgressCallback) -> _Tally:
    """Count the values once, in blocks: the matrix is not copied, and a cancel is noticed."""
    found = _Tally()
    for step, block in enumerate(blocks):
        on_progress(Progress("Checking the input", step, n_blocks))
        positive = block if _all_positive(block) else _positive_of(block, found)
        found.n_positive += len(positive)
        if len(positive):
            found.largest = max(found.largest, float(positive.max()))
        if block.dtype.kind == "f":
            found.n_fractions += int(np.count_nonzero(positive != np.rint(positive)))
    return found


def _all_positive(block: NDArray[Any]) -> bool:
    """Return whether all values are, as those of sparse counts mostly are; NaN and infinity are not."""
    return len(block) > 0 and bool(block.min() > 0 and np.isfinite(block.max()))


def _positive_of(block: NDArray[Any], found: _Tally) -> NDArray[Any]:
    """Return the positive values, and count those that should not be there."""
    finite = block[np.isfinite(block)]
    found.n_not_finite += len(block) - len(finite)
    found.n_negative += int(np.count_nonzero(finite < 0))
    return np.asarray(finite[finite > 0])


# ---------------------------------------------------------------------------------- coordinates and labels


def coordinate_problems(spatial: AnnData) -> list[Finding]:
    """Return the problem that there are no usable coordinates, if so."""
    found = spatial.obsm
    if SPATIAL not in found:
        return _problem(
            f"The spatial data has no coordinates: `obsm['{SPATIAL}']` is missing. {choices(found)} "
            "Is this a spatial section?"
        )
    shape = np.shape(found[SPATIAL])
    if len(shape) != 2 or shape[1] < 2:
        return _problem(f"`obsm['{SPATIAL}']` must have two columns, x and y, found shape {shape}.")
    try:
        xy = coordinates(spatial)
    except (TypeError, ValueError) as error:
        return _problem(f"`obsm['{SPATIAL}']` must hold numbers, x and y of each spot ({error}).")
    if not len(xy):  # reported with the counts
        return []
    if not np.isfinite(xy).all(axis=1).any():
        return _problem(
            f"`obsm['{SPATIAL}']` holds no usable coordinates: x or y of every spot is NaN or infinite. "
            "Read the positions again."
        )
    farthest = np.abs(xy[np.isfinite(xy)]).max()
    if farthest > _FARTHEST or 0 < farthest < 1 / _FARTHEST:
        return _problem(
            f"`obsm['{SPATIAL}']` holds coordinates up to {farthest:.2g}, which are not positions in "
            "pixels or micrometers. Correct them, or set them to NaN if only a few spots are affected."
        )
    return []


def label_problems(reference: AnnData, cell_type_key: str) -> list[Finding]:
    """Return the problem that there are no usable labels, if so."""
    if cell_type_key not in reference.obs:
        return _problem(
            f"`cell_type_key`: the reference has no column {cell_type_key!r}. "
            f"{choices(reference.obs.columns)}"
        )
    types = labels(reference, cell_type_key).categories
    if len(types) < 2:
        only = f" ({types[0]!r})" if len(types) else "s"
        return _problem(
            f"`cell_type_key`: the column {cell_type_key!r} holds {len(types)} cell type{only}; at least 2 "
            "are needed. Choose another column, or a reference with more types."
        )
    if is_signatures(reference) or len(types) <= _MANY_TYPES:
        return []
    if reference.n_obs < _CELLS_PER_TYPE * len(types):
        return _problem(
            f"`cell_type_key`: the column {cell_type_key!r} holds {len(types):,} different labels for "
            f"{reference.n_obs:,} cells, as names of cells do ({types[0]!r}, {types[1]!r}, ...). "
            "Choose the column that holds cell types."
        )
    return []
