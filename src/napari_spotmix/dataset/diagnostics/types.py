"""Whether the cell types of the reference are reliable and can be distinguished."""

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
from napari_spotmix.dataset.finding import NOTE, WARNING, Finding
from napari_spotmix.dataset.fixes import Fix
from napari_spotmix.dataset.matrix_blocks import row_blocks
from napari_spotmix.dataset.spelling import differ_only_in_spelling, spelling_key
from napari_spotmix.dataset.validation import FEW_CELLS, types_without_counts
from napari_spotmix.model.canonical import cells_by_content
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

__all__ = ["few_cells", "label_findings", "signature_findings", "unlabeled_cells"]

#: At most this many pairs of types are reported one by one.
_LISTED = 5
#: Labels that programs and people give to cells of unknown type.
_NO_TYPE = re.compile(
    r"nan|n ?a|none|null|\?|un(known|assigned|classified|defined|determined|labell?ed)"
    r"|doublets?|low quality|debris"
)
#: Types are compared for spots of this many counts. In deeper ones, cells differ more than counts scatter.
_DEPTH = 2000.0


def few_cells(types: pd.Categorical[str]) -> list[Finding]:
    """Return a warning if some types have fewer than `FEW_CELLS` cells.

    Examples
    --------
    >>> found = few_cells(pd.Categorical(["B"] * 20 + ["T"] * 20 + ["Mast"] * 3))
    >>> found[0].message.split(":")[0], [str(fix) for fix in found[0].fixes]
    ('Cell types with fewer than 10 reference cells', ['reference:drop-below=10'])
    """
    n_cells = _n_cells(types)
    few = n_cells[n_cells < FEW_CELLS]
    if few.empty:
        return []
    named = ", ".join(f"{name} ({n})" for name, n in few.head(20).items())
    more = f" and {len(few) - 20} more" if len(few) > 20 else ""
    text = (
        f"Cell types with fewer than {FEW_CELLS} reference cells: {named}{more}. Their proportions are "
        "unreliable. Drop them, or use a reference with more cells of them."
    )
    leaves_two = len(n_cells) - len(few) >= 2
    return [Finding(WARNING, text, (Fix("reference", "drop-below", str(FEW_CELLS)),) if leaves_two else ())]


def unlabeled_cells(types: pd.Categorical[str]) -> list[Finding]:
    """Return a note if some cells have no label.

    Examples
    --------
    >>> print(unlabeled_cells(pd.Categorical(["B", "T", None]))[0].message)
    1 of 3 reference cells has no label and is dropped.
    """
    n_unlabeled = int((types.codes < 0).sum())
    if not n_unlabeled:
        return []
    have, are = agreeing(n_unlabeled, "have"), agreeing(n_unlabeled, "are")
    text = f"{n_unlabeled:,} of {len(types):,} reference cells {have} no label and {are} dropped."
    return [Finding(NOTE, text)]


def label_findings(reference: AnnData, cell_type_key: str) -> list[Finding]:
    """Return warnings about labels that name no type, and names that differ only in spelling."""
    n_cells = _n_cells(labels(reference, cell_type_key))
    return [*_no_types(n_cells), *_same_names(n_cells)]


def _n_cells(types: pd.Categorical[str]) -> pd.Series[int]:
    return pd.Series(types).value_counts(sort=False)


def _no_types(n_cells: pd.Series[int]) -> list[Finding]:
    names = [str(name) for name in n_cells.index if _NO_TYPE.fullmatch(spelling_key(str(name)))]
    return [
        Finding(
            WARNING,
            f"The label {name!r} ({count(n_cells[name], 'cell')}) seems to mean that the cell type is "
            "unknown, but it would be estimated like any other type. If it is not a cell type, drop it.",
            (Fix("reference", "drop", name),),
        )
        for name in names
    ]


def _same_names(n_cells: pd.Series[int]) -> list[Finding]:
    pairs = [
        (one, other)
        for one, other in combinations(n_cells.sort_values(ascending=False, kind="stable").index, 2)
        if differ_only_in_spelling(one, other)
    ]
    return [
        Finding(
            WARNING,
            f"The cell types {one!r} and {other!r} differ only in spelling: case, spaces, hyphens, or "
            "letters that look the same. If they are one type, merge them.",
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
    """Return types without counts of the shared genes, and pairs that counts can hardly distinguish."""
    types = labels(reference, cell_type_key)
    genes = match_genes(list(spatial.var_names), list(reference.var_names))
    counts = Counts(row_blocks(reference.X), genes.reference)
    label, names = types.codes.astype(np.int64), list(types.categories)

    def report(n_done: int) -> None:
        on_progress(Progress("Comparing cell types", n_done, len(label)))

    averaged = mean_signatures(counts, label, len(names), len(genes.names), report)
    signatures, totals = averaged.signatures, averaged.totals
    absent = [name for name, row in zip(names, signatures, strict=True) if not row.any()]
    if absent:
        return [types_without_counts(absent)]
    chosen = np.sort(cells_for_noise(cells_by_content(label, totals, averaged.fingerprints, len(names))))
    rows = counts.of_spots(chosen, report).by_gene(len(genes.names))
    cells = ReferenceCells(rows, totals[chosen], label[chosen], lost_to_depth(label, totals, len(names)))
    variance = signature_variance(cells, len(names))
    pairs = confusable_pairs(signatures, variance, np.zeros(len(genes.names)), _DEPTH)
    return _similar([(names[a], names[b]) for a, b in pairs], _n_cells(types))


def _similar(pairs: Sequence[tuple[str, str]], n_cells: pd.Series[int]) -> list[Finding]:
    found = []
    for pair in pairs[:_LISTED]:
        one, other = sorted(pair, key=lambda name: -n_cells[name])
        text = (
            f"The cell types {one!r} and {other!r} have nearly the same signature: counts of a spot can "
            "hardly distinguish them, and only their sum is reliable. Merge them, or interpret only their "
            "sum."
        )
        found.append(Finding(WARNING, text, (_merge(one, other),)))
    if len(pairs) > _LISTED:
        more = len(pairs) - _LISTED
        pairs_have = f"{count(more, 'more pair')} of cell types {agreeing(more, 'have')}"
        text = f"{pairs_have} nearly the same signature. Consider coarser cell types."
        found.append(Finding(WARNING, text))
    return found
