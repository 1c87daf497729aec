"""Whether the gene identifiers of both agree, and how many counts the shared genes have."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray
from scipy.sparse import csr_array

from napari_spotmix.base.progress import Progress, ProgressCallback
from napari_spotmix.base.text import agreeing, count
from napari_spotmix.dataset.access import coordinates
from napari_spotmix.dataset.diagnostics.spots import NO_COUNTS, not_estimated
from napari_spotmix.dataset.finding import NOTE, WARNING, Finding
from napari_spotmix.dataset.fixes import Fix
from napari_spotmix.dataset.gene_spelling import as_in_r
from napari_spotmix.dataset.identifiers import agree_but_for_case, few_names, fixes_for_names, most_shared
from napari_spotmix.dataset.matrix_blocks import row_blocks
from napari_spotmix.dataset.validation import FEW_GENES, no_usable_spots
from napari_spotmix.model.counts import InMemory

__all__ = ["depth_findings", "few_genes", "name_findings"]

#: If case is ignored, so many times the genes must agree for a warning.
_CLEARLY_MORE = 2.0
#: So many genes must be gained for a warning that R has changed names.
_CHANGED_BY_R = 3
#: A smaller share of the counts in shared genes gets a warning.
_LITTLE = 0.5


def name_findings(spatial: AnnData, reference: AnnData) -> list[Finding]:
    """Return warnings that other names would agree better, or that the species differ."""
    n_shared = len(set(spatial.var_names) & set(reference.var_names))
    if not n_shared:  # a problem
        return []
    fixes = fixes_for_names(spatial, reference)
    if not fixes:
        return _changed_by_r(spatial, reference) or _other_species(spatial, reference, n_shared)
    text = (
        f"The gene identifiers differ: only {_gene_names_are(n_shared)} in both the spatial data "
        f"({few_names(spatial.var_names)}) and the reference ({few_names(reference.var_names)}). With the "
        f"other gene names in the files, {most_shared(spatial, reference)[1]:,} are."
    )
    return [Finding(WARNING, text, fixes)]


def _changed_by_r(spatial: AnnData, reference: AnnData) -> list[Finding]:
    """Return a warning if R has changed names of genes in one of both, which therefore are not shared."""
    both = {"spatial": spatial, "reference": reference}
    given = {role: {str(name) for name in one.var_names} for role, one in both.items()}
    as_r = {role: set(as_in_r(names)) for role, names in given.items()}
    n_shared = len(given["spatial"] & given["reference"])
    gained = {
        role: len(as_r[role] & given[other]) - n_shared
        for role, other in (("spatial", "reference"), ("reference", "spatial"))
    }
    role = max(gained, key=lambda one: gained[one])
    if gained[role] < _CHANGED_BY_R:
        return []
    other = "reference" if role == "spatial" else "spatial data"
    shown = sorted(as_r[role] & given["reference" if role == "spatial" else "spatial"] - given[role])
    text = (
        f"{gained[role]:,} genes are not shared because R has changed their names in the {other} (dots for "
        f"punctuation, an X before a digit): {few_names(shown)}. Write the names in both as R does."
    )
    return [Finding(WARNING, text, (Fix(role, "r-names"),))]


def _other_species(spatial: AnnData, reference: AnnData, n_shared: int) -> list[Finding]:
    """Return a warning if many more names agree when case is ignored."""
    n_but_for_case = agree_but_for_case(list(spatial.var_names), list(reference.var_names))
    if n_but_for_case < _CLEARLY_MORE * n_shared:
        return []
    text = (
        f"The species seem to differ: only {_gene_names_are(n_shared)} in both the spatial data and the "
        f"reference, but {n_but_for_case:,} differ only in case, as gene names of human and mouse do. Use "
        "a reference of the same species."
    )
    return [Finding(WARNING, text)]


def _gene_names_are(number: int) -> str:
    return f"{count(number, 'gene name')} {agreeing(number, 'are')}"


def few_genes(n_genes: int) -> list[Finding]:
    """Return a warning if fewer genes than `FEW_GENES` can be used.

    Examples
    --------
    >>> few_genes(200)
    []
    >>> print(few_genes(1)[0].message)
    Only 1 gene is shared and informative: proportions are uncertain. Check the gene identifiers.
    """
    if n_genes >= FEW_GENES:
        return []
    text = (
        f"Only {count(n_genes, 'gene')} {agreeing(n_genes, 'are')} shared and informative: proportions are "
        "uncertain. Check the gene identifiers."
    )
    return [Finding(WARNING, text)]


def depth_findings(spatial: AnnData, reference: AnnData, on_progress: ProgressCallback) -> list[Finding]:
    """Return the share of counts in shared genes, and how many spots have none."""
    shared = set(spatial.var_names) & set(reference.var_names)
    spots = _totals(spatial.X, spatial.var_names.isin(shared), on_progress)
    cells = _totals(reference.X, reference.var_names.isin(shared), on_progress)
    is_placed = np.isfinite(coordinates(spatial)).all(axis=1)
    if not (spots[is_placed, 1] > 0).any():
        return [no_usable_spots()]
    n_empty = int((spots[:, 1] == 0).sum())
    empty = [not_estimated(n_empty, len(spots), NO_COUNTS)] if n_empty else []
    return [*_shares(len(shared), spots, cells), *few_genes(len(shared)), *empty]


def _totals(counts: Any, chosen: NDArray[np.bool_], on_progress: ProgressCallback) -> NDArray[np.float64]:
    """Return the counts of each row, of all columns and of those chosen, float64 (n_rows, 2)."""
    blocks = row_blocks(counts)
    blocks = InMemory(blocks) if isinstance(blocks, csr_array) else blocks
    columns = np.column_stack([np.ones(len(chosen)), chosen])
    totals = []
    for start, stop in pairwise(blocks.bounds):
        on_progress(Progress("Summing the counts", int(start), int(blocks.bounds[-1])))
        totals.append(blocks.read(start, stop) @ columns)
    return np.concatenate(totals)


def _shares(n_shared: int, spots: NDArray[np.float64], cells: NDArray[np.float64]) -> list[Finding]:
    of_spots, of_cells = (float(totals[:, 1].sum() / totals[:, 0].sum()) for totals in (spots, cells))
    seen = np.median(spots[spots[:, 1] > 0, 1])
    text = (
        f"{count(n_shared, 'gene')} {agreeing(n_shared, 'are')} shared, with {of_spots:.0%} of the counts "
        f"of the spots and {of_cells:.0%} of those of the reference. The median spot has {seen:,.0f} "
        "counts of them."
    )
    if min(of_spots, of_cells) >= _LITTLE:
        return [Finding(NOTE, text)]
    return [
        Finding(
            WARNING,
            f"{text} Low shares make proportions uncertain. Check the gene identifiers.",
        )
    ]
