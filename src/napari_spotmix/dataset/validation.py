"""What keeps input from being used, told in full before any work is done.

Each check returns complete sentences: what was expected, what was found and where, what to do.
"""

from __future__ import annotations

import re
from collections import Counter
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
    layers_of_counts,
    matrix,
)
from napari_spotmix.dataset.matrix_blocks import value_blocks
from napari_spotmix.io import is_closed, is_signatures

__all__ = [
    "FEW_CELLS",
    "FEW_GENES",
    "check",
    "choices",
    "coordinate_problems",
    "problems_by_part",
]


#: Types with fewer cells than this are told of: their signature is mostly sampling noise.
FEW_CELLS = 10

#: Fewer shared genes than this are told of.
FEW_GENES = 50

#: Below this, fractions are taken for logarithms; above, for scaled counts.
_LARGEST_LOG = 20.0

#: No count is larger: not even whole numbers can be told apart above it. And squares of distances farther
#: than this, or as small as one over it, are no numbers.
_LARGEST_COUNT, _FARTHEST = 2.0**53, 1e100

#: More labels than this, with fewer cells each than that on average, are no cell types.
_MANY_TYPES, _CELLS_PER_TYPE = 100, 3

#: Ensembl identifiers of genes, and the species that their prefixes stand for.
_ENSEMBL = re.compile(r"(ENS[A-Z]*)G\d{6,}(\.\d+)?$")

_SPECIES = {"ENS": "human", "ENSMUS": "mouse", "ENSRNO": "rat", "ENSDAR": "zebrafish", "ENSGAL": "chicken"}


def check(
    spatial: AnnData,
    reference: AnnData,
    *,
    cell_type_key: str = CELL_TYPE,
    layer: str | None = None,
    library_key: str | None = None,
    on_progress: ProgressCallback = silent,
) -> list[str]:
    """Return everything that keeps the input from being used; an empty list where nothing does.

    Parameters are those of :func:`deconvolve`.
    """
    parts = problems_by_part(
        spatial,
        reference,
        cell_type_key=cell_type_key,
        layer=layer,
        library_key=library_key,
        on_progress=on_progress,
    )
    return [problem for part in parts.values() for problem in part]


def problems_by_part(
    spatial: AnnData,
    reference: AnnData,
    *,
    cell_type_key: str = CELL_TYPE,
    layer: str | None = None,
    library_key: str | None = None,
    on_progress: ProgressCallback = silent,
) -> dict[str, list[str]]:
    """Return the problems as `check` does, by what they are about.

    The parts: "kind", and where that is right "spatial counts", "places", "reference counts", "labels",
    "samples" and "genes".
    """
    if problems := _kind_problems(spatial=spatial, reference=reference):
        return {"kind": problems}
    spatial_layer, reference_layer = layers_chosen(spatial, reference, layer)
    genes = gene_names(spatial, spatial_layer), gene_names(reference, reference_layer)
    return {
        "spatial counts": _count_problems(spatial, spatial_layer, "spatial", on_progress),
        "places": coordinate_problems(spatial),
        "reference counts": _count_problems(reference, reference_layer, "reference", on_progress),
        "labels": _label_problems(reference, cell_type_key),
        "samples": _sample_problems(spatial, library_key),
        "genes": _gene_problems(*genes),
    }


def _sample_problems(spatial: AnnData, library_key: str | None) -> list[str]:
    if library_key is None:
        return []
    if library_key in spatial.obs:
        is_empty = spatial.n_obs > 0 and spatial.obs[library_key].isna().all()
        text = f"`library_key`: the column {library_key!r} of the spatial data is empty."
        return [f"{text} Fill it, or name another."] if is_empty else []
    return [f"`library_key`: the spatial data has no column {library_key!r}. {choices(spatial.obs.columns)}"]


def _gene_problems(spatial: Sequence[str], reference: Sequence[str]) -> list[str]:
    is_empty = not spatial or not reference  # which is told as such
    if is_empty or set(spatial) & set(reference):
        return []
    return [_no_shared_genes(spatial, reference)]


def _kind_problems(**given: Any) -> list[str]:
    return [
        f"`{name}` must be an AnnData, found {type(value).__name__}. Read a file with `read_{name}`."
        for name, value in given.items()
        if not isinstance(value, AnnData)
    ]


def choices(names: Any) -> str:
    """Return the sentence that tells what there is to choose from."""
    shown = [str(name) for name in names]
    if not shown:
        return "There are none to choose from."
    more = f" and {len(shown) - 12} more" if len(shown) > 12 else ""
    return f"Choose one of: {', '.join(shown[:12])}{more}."


def _no_shared_genes(spatial: Sequence[str], reference: Sequence[str]) -> str:
    return (
        "The spatial data and the reference share no gene names. The spatial data has "
        f"{_few(spatial)}; the reference has {_few(reference)}. {_why_none(spatial, reference)}"
    )


def _why_none(spatial: Sequence[str], reference: Sequence[str]) -> str:
    species = [_species_of(names) for names in (spatial, reference)]
    if None not in species and species[0] != species[1]:
        return (
            f"They are Ensembl identifiers of {species[0]} and of {species[1]}: take a reference of the same "
            "species."
        )
    lower = {str(name).lower() for name in reference}
    n_but_for_case = sum(str(name).lower() in lower for name in spatial)
    if n_but_for_case:
        names, agree = count(n_but_for_case, "name"), agreeing(n_but_for_case, "agree")
        return f"{names} {agree} but for upper and lower case: is one of them of another species?"
    return "Are some of them identifiers and the others symbols? Bring both to the same kind."


def _species_of(names: Sequence[str]) -> str | None:
    """Return of which species most names are Ensembl identifiers of genes, None if they are none.

    Examples
    --------
    >>> _species_of(["ENSMUSG00000000001", "ENSMUSG00000000028.16"]), _species_of(["Actb", "Ckm"])
    ('mouse', None)
    """
    prefixes = Counter(found[1] for name in names if (found := _ENSEMBL.match(str(name))))
    prefix, n_names = prefixes.most_common(1)[0] if prefixes else ("", 0)
    return _SPECIES.get(prefix, f"the species '{prefix}'") if 2 * n_names > len(names) else None


def _few(names: Sequence[str]) -> str:
    return ", ".join(repr(str(name)) for name in names[:3]) + (", ..." if len(names) > 3 else "")


def _count_problems(adata: AnnData, layer: str | None, what: str, on_progress: ProgressCallback) -> list[str]:
    if layer is not None and not has_layer(adata, layer):
        return [f"`layer`: the {what} data has no layer {layer!r}. {choices(layers(adata))}"]
    where = f"The {what} data ({'`X`' if layer is None else f'layer {layer!r}'})"
    values = matrix(adata, layer)
    if values is None or 0 in adata.shape:
        needed = f"Counts are needed.{_advice(adata)}"
        return [f"{where} is empty: {adata.n_obs} rows and {adata.n_vars} genes. {needed}"]
    if is_closed(values):
        return [f"{where} is in a file that has been closed. Read it again, and keep the file open."]
    return _value_problems(values, where, adata, on_progress)


def _value_problems(matrix: Any, where: str, adata: AnnData, on_progress: ProgressCallback) -> list[str]:
    n_blocks, dtype, blocks = value_blocks(matrix)
    if dtype.kind not in "iufb":
        return [f"{where} holds values of type {dtype}, not numbers. Raw counts are needed."]
    found = _tally(blocks, n_blocks, on_progress)
    needed = f"Raw counts are needed.{'' if found.is_counts else _advice(adata)}"
    if found.n_not_finite:
        values, are = count(found.n_not_finite, "value"), agreeing(found.n_not_finite, "are")
        return [f"{where} holds {values} that {are} NaN or infinite. {needed}"]
    if found.n_negative:
        negative = count(found.n_negative, "negative value")
        return [f"{where} holds {negative}, as scaled or centered data do. {needed}"]
    if not found.n_positive:
        return [f"{where} holds no counts at all: every value is 0."]
    if found.largest > _LARGEST_COUNT:
        return [f"{where} holds values up to {found.largest:.2g}, larger than any count. {needed}"]
    if not found.is_counts and not is_signatures(adata):
        share = found.n_fractions / found.n_positive
        if found.largest < _LARGEST_LOG:
            return [
                f"{where} looks log-normalized: {share:.0%} of its values are fractions and the largest is "
                f"{found.largest:.2f}. {needed}"
            ]
        return [f"{where} looks normalized: {share:.0%} of its values are fractions. {needed}"]
    return []


@dataclass
class _Tally:
    """What a matrix holds, in numbers of values."""

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
    """Look at all values once, in blocks, so that no copy of the matrix is made and a cancel is heard."""
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
    """Tell whether all values are, as those of sparse counts mostly are; NaN and infinity are not."""
    return len(block) > 0 and bool(block.min() > 0 and np.isfinite(block.max()))


def _positive_of(block: NDArray[Any], found: _Tally) -> NDArray[Any]:
    """Return the positive values, and count those that should not be there."""
    finite = block[np.isfinite(block)]
    found.n_not_finite += len(block) - len(finite)
    found.n_negative += int(np.count_nonzero(finite < 0))
    return np.asarray(finite[finite > 0])


def _advice(adata: AnnData) -> str:
    """Name where whole numbers are kept, if they are."""
    names = layers_of_counts(adata)
    if not names:
        return ""
    if names[0] not in adata.layers:
        return f" Its `raw` holds whole numbers: choose {RAW!r} as `layer`."
    return f" The layer {names[0]!r} holds whole numbers: choose it as `layer`."


def coordinate_problems(spatial: AnnData) -> list[str]:
    found = spatial.obsm
    if SPATIAL not in found:
        return [
            f"The spatial data has no coordinates: `obsm['{SPATIAL}']` is missing. {choices(found)} "
            "Is this a spatial section?"
        ]
    shape = np.shape(found[SPATIAL])
    if len(shape) != 2 or shape[1] < 2:
        return [f"`obsm['{SPATIAL}']` must have two columns, x and y, found shape {shape}."]
    try:
        xy = coordinates(spatial)
    except (TypeError, ValueError) as error:
        return [f"`obsm['{SPATIAL}']` must hold numbers, x and y of each spot ({error})."]
    if not len(xy):  # which is told of the counts
        return []
    if not np.isfinite(xy).all(axis=1).any():
        return [f"`obsm['{SPATIAL}']` holds no place at all: every spot has a coordinate that is no number."]
    farthest = np.abs(xy[np.isfinite(xy)]).max()
    if farthest > _FARTHEST or 0 < farthest < 1 / _FARTHEST:
        return [
            f"`obsm['{SPATIAL}']` holds coordinates up to {farthest:.2g}, which are no places in pixels or "
            "micrometers. Correct them, or set those of single spots to NaN."
        ]
    return []


def _label_problems(reference: AnnData, cell_type_key: str) -> list[str]:
    if cell_type_key not in reference.obs:
        return [
            f"`cell_type_key`: the reference has no column {cell_type_key!r}. "
            f"{choices(reference.obs.columns)}"
        ]
    types = labels(reference, cell_type_key).categories
    if len(types) < 2:
        return [
            f"`cell_type_key`: the column {cell_type_key!r} holds {len(types)} cell type"
            f"{f' ({types[0]!r})' if len(types) else 's'}; at least 2 are needed. "
            "Choose another column, or a reference with more types."
        ]
    if (
        not is_signatures(reference)
        and len(types) > _MANY_TYPES
        and reference.n_obs < _CELLS_PER_TYPE * len(types)
    ):
        return [
            f"`cell_type_key`: the column {cell_type_key!r} holds {len(types):,} different labels for "
            f"{reference.n_obs:,} cells, as names of cells do ({types[0]!r}, {types[1]!r}, ...). "
            "Choose the column that holds cell types."
        ]
    return []
