"""Whether the cell types of the reference can be trusted and told apart."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from anndata import AnnData

from napari_spotmix.base.progress import Progress, ProgressCallback
from napari_spotmix.base.text import agreeing, count
from napari_spotmix.dataset.access import labels
from napari_spotmix.dataset.diagnostics.finding import NOTE, PROBLEM, WARNING, Finding
from napari_spotmix.dataset.fixes import Fix, same_but_for_spelling
from napari_spotmix.dataset.matrix_blocks import row_blocks
from napari_spotmix.dataset.validation import FEW_CELLS
from napari_spotmix.model.counts import Counts
from napari_spotmix.model.genes import match_genes
from napari_spotmix.model.signatures import mean_signatures
from napari_spotmix.model.uncertainty.errors import (
    ReferenceCells,
    cells_for_noise,
    confusable_pairs,
    lost_to_depth,
    signature_variance,
)

__all__ = ["label_findings", "signature_findings"]

#: At most so many pairs of types are told one by one.
_LISTED = 5
#: Names that programs and people give to cells whose type they do not know.
_NO_TYPE = re.compile(
    r"nan|n ?a|none|null|\?|un(known|assigned|classified|defined|determined|labell?ed)"
    r"|doublets?|low quality|debris"
)
#: Counts of a spot that types are compared for. In deeper ones their cells differ more than counts scatter.
_DEPTH = 2000.0


def label_findings(reference: AnnData, cell_type_key: str) -> list[Finding]:
    """Tell of types with few cells, names that hardly differ, and cells without a label."""
    types = labels(reference, cell_type_key)
    n_cells = pd.Series(types).value_counts(sort=False)
    found = [*_no_types(n_cells), _few_cells(n_cells), *_alike_in_name(n_cells)]
    n_unlabeled = int((types.codes < 0).sum())
    if n_unlabeled:
        have, are = agreeing(n_unlabeled, "have"), agreeing(n_unlabeled, "are")
        text = f"{n_unlabeled:,} of {len(types):,} reference cells {have} no label and {are} left out."
        found.append(Finding(NOTE, text))
    return [one for one in found if one is not None]


def _no_types(n_cells: pd.Series[int]) -> list[Finding]:
    names = [str(name) for name in n_cells.index if _NO_TYPE.fullmatch(same_but_for_spelling(str(name)))]
    return [
        Finding(
            WARNING,
            f"The cell type {name!r} ({count(n_cells[name], 'cell')}) reads as if nobody knew what these "
            "cells are. It would be estimated like any other. If it is no type, drop it.",
            (Fix("reference", "drop", name),),
        )
        for name in names
    ]


def _few_cells(n_cells: pd.Series[int]) -> Finding | None:
    few = n_cells[n_cells < FEW_CELLS]
    if few.empty or len(n_cells) - len(few) < 2:
        return None if few.empty else Finding(WARNING, _few_words(few))
    return Finding(WARNING, _few_words(few), (Fix("reference", "drop-below", str(FEW_CELLS)),))


def _few_words(few: pd.Series[int]) -> str:
    named = ", ".join(f"{name} ({n})" for name, n in few.head(20).items())
    more = f" and {len(few) - 20} more" if len(few) > 20 else ""
    return (
        f"Cell types with fewer than {FEW_CELLS} reference cells, whose proportions cannot be trusted: "
        f"{named}{more}. Drop them, or take a reference with more cells of them."
    )


def _alike_in_name(n_cells: pd.Series[int]) -> list[Finding]:
    pairs = [
        (one, other)
        for one, other in combinations(n_cells.sort_values(ascending=False, kind="stable").index, 2)
        if same_but_for_spelling(one) == same_but_for_spelling(other)
    ]
    return [
        Finding(
            WARNING,
            f"The cell types {one!r} and {other!r} differ only in spelling: case, spaces, hyphens, or "
            "letters that look alike. If they are one type, merge them.",
            (_merge(one, other),),
        )
        for one, other in pairs[:_LISTED]
    ]


def _merge(one: str, other: str) -> Fix:
    return Fix("reference", "merge", f"{one}+{other}")


def signature_findings(
    spatial: AnnData,
    reference: AnnData,
    cell_type_key: str,
    on_progress: ProgressCallback,
) -> list[Finding]:
    """Tell of types without counts of the shared genes, and of pairs that counts can hardly tell apart."""
    types = labels(reference, cell_type_key)
    genes = match_genes(list(spatial.var_names), list(reference.var_names))
    counts = Counts(row_blocks(reference.X), genes.reference)
    label, names = types.codes.astype(np.int64), list(types.categories)

    def report(n_done: int) -> None:
        on_progress(Progress("Comparing cell types", n_done, len(label)))

    signatures, totals = mean_signatures(counts, label, len(names), len(genes.names), report)
    absent = [name for name, row in zip(names, signatures, strict=True) if not row.any()]
    if absent:
        return [Finding(PROBLEM, _without_counts(absent))]
    chosen = cells_for_noise(label, totals, len(names))
    few = counts.of_spots(chosen, report)
    rows = few.by_gene(len(genes.names)) if few is not counts else counts.by_gene(len(genes.names))[chosen]
    cells = ReferenceCells(rows, totals[chosen], label[chosen], lost_to_depth(label, totals, len(names)))
    variance = signature_variance(cells, len(names))
    pairs = confusable_pairs(signatures, variance, np.zeros(len(genes.names)), _DEPTH)
    n_cells = pd.Series(types).value_counts(sort=False)
    return _alike([(names[a], names[b]) for a, b in pairs], n_cells)


def _without_counts(absent: Sequence[str]) -> str:
    named = ", ".join(map(repr, absent))
    return (
        f"No cell of {named} has counts of the genes that the spatial data "
        "has too. Leave the type out of the reference, or use a reference with more genes."
    )


def _alike(pairs: Sequence[tuple[str, str]], n_cells: pd.Series[int]) -> list[Finding]:
    found = []
    for pair in pairs[:_LISTED]:
        one, other = sorted(pair, key=lambda name: -n_cells[name])
        text = (
            f"The cell types {one!r} and {other!r} have nearly the same signature: their counts can hardly "
            "tell them apart, only their sum will be sure. Merge them, or read them together."
        )
        found.append(Finding(WARNING, text, (_merge(one, other),)))
    if len(pairs) > _LISTED:
        more = len(pairs) - _LISTED
        pairs_are = f"{count(more, 'more pair')} of cell types {agreeing(more, 'are')}"
        text = f"{pairs_are} nearly alike. Are the types too fine for spots?"
        found.append(Finding(WARNING, text))
    return found
