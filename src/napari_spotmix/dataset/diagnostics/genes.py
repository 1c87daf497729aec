"""Whether tissue and reference speak of the same genes, and how much of the counts these hold."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise, product
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy.sparse import csr_array

from napari_spotmix.base.progress import Progress, ProgressCallback
from napari_spotmix.base.text import agreeing, count
from napari_spotmix.dataset.diagnostics.finding import NOTE, PROBLEM, WARNING, Finding
from napari_spotmix.dataset.fixes import Fix, without_version
from napari_spotmix.dataset.matrix_blocks import row_blocks
from napari_spotmix.dataset.validation import FEW_GENES
from napari_spotmix.model.counts import InMemory

__all__ = ["depth_findings", "fixes_for_names", "name_findings"]

#: A column of `var` that repeats itself more than this holds no names of genes.
_DISTINCT = 0.5
#: Other names must bring so many times the genes.
_WORTH_IT = 2.0
#: Less than this share of the counts in common is told as a warning.
_LITTLE = 0.5


def name_findings(spatial: AnnData, reference: AnnData) -> list[Finding]:
    """Tell of names that would fit better, of another species, and of genes in several columns."""
    shared = set(spatial.var_names) & set(reference.var_names)
    found = [_in_several_columns(adata, role) for adata, role in _roles(spatial, reference)]
    fixes = fixes_for_names(spatial, reference)
    if shared and fixes:
        text = (
            f"Only {_gene_names_are(len(shared))} in both the spatial data and the reference; "
            f"{_most_shared(spatial, reference)[1]:,} would be, by the other names that the files hold."
        )
        found.append(Finding(WARNING, text, fixes))
    elif shared:
        found.append(_other_species(spatial, reference, len(shared)))
    return [one for one in found if one is not None]


def _roles(spatial: AnnData, reference: AnnData) -> list[tuple[AnnData, str]]:
    return [(spatial, "spatial"), (reference, "reference")]


def _in_several_columns(adata: AnnData, role: str) -> Finding | None:
    names = adata.var_names
    if not names.has_duplicates:
        return None
    twice = names[names.duplicated()].unique()
    text = (
        f"{_gene_names_are(len(twice))} found more than once in the {role} data ({_few(twice)}). "
        "A run sums such counts by itself; summed beforehand, the result has each name once."
    )
    return Finding(NOTE, text, (Fix(role, "sum-genes"),))


def _other_species(spatial: AnnData, reference: AnnData, n_shared: int) -> Finding | None:
    """Tell of names that agree but for their case, as those of man and mouse do."""
    lower = {str(name).lower() for name in reference.var_names}
    n_but_for_case = len({str(name).lower() for name in spatial.var_names} & lower)
    if n_but_for_case < _WORTH_IT * n_shared:
        return None
    return Finding(
        WARNING,
        f"Only {_gene_names_are(n_shared)} in both the spatial data and the reference, but "
        f"{n_but_for_case:,} agree but for upper and lower case, as those of human and mouse do. Take a "
        "reference of the same species.",
    )


def fixes_for_names(spatial: AnnData, reference: AnnData) -> tuple[Fix, ...]:
    """Return what brings both to the same names of genes, where other names that they hold agree better."""
    n_now = len(set(spatial.var_names) & set(reference.var_names))
    fixes, n_best = _most_shared(spatial, reference)
    return fixes if n_best > max(_WORTH_IT * n_now, n_now + 1) else ()


def _most_shared(spatial: AnnData, reference: AnnData) -> tuple[tuple[Fix, ...], int]:
    """Return the fixes by which most genes are shared, as few as possible, and how many are then."""
    ways = [
        (len(set(spots) & set(cells)), (*one, *other))
        for (one, spots), (other, cells) in product(
            list(_names_of(spatial, "spatial")), list(_names_of(reference, "reference"))
        )
    ]
    n_best, fixes = max(ways, key=lambda way: (way[0], -len(way[1])))
    return fixes, n_best


def _names_of(adata: AnnData, role: str) -> Iterator[tuple[tuple[Fix, ...], pd.Index[str]]]:
    """Yield every set of names that genes have in the data, with the fixes that lead to it."""
    columns = {(): adata.var_names.to_series()} | {
        (Fix(role, "genes", str(column)),): adata.var[column]
        for column in adata.var
        if _may_be_names(adata.var[column])
    }
    for fixes, values in columns.items():
        names = pd.Index(values.dropna().astype(str))
        yield fixes, names
        plain = without_version(names)
        if not plain.equals(names):
            yield (*fixes, Fix(role, "no-versions")), plain


def _may_be_names(column: pd.Series[Any]) -> bool:
    is_text = isinstance(column.dtype, pd.CategoricalDtype) or pd.api.types.is_string_dtype(column.dtype)
    return bool(is_text) and column.nunique() > _DISTINCT * len(column)


def _gene_names_are(number: int) -> str:
    return f"{count(number, 'gene name')} {agreeing(number, 'are')}"


def _few(names: pd.Index[str]) -> str:
    return ", ".join(repr(str(name)) for name in names[:3]) + (", ..." if len(names) > 3 else "")


def depth_findings(spatial: AnnData, reference: AnnData, on_progress: ProgressCallback) -> list[Finding]:
    """Tell what the shared genes hold of the counts, and of spots without any."""
    shared = set(spatial.var_names) & set(reference.var_names)
    spots = _totals(spatial.X, spatial.var_names.isin(shared), on_progress)
    cells = _totals(reference.X, reference.var_names.isin(shared), on_progress)
    if not spots[:, 1].any():
        text = "No spot has counts of the genes that the reference has too: there is nothing to fit. "
        return [Finding(PROBLEM, text + "Check the gene names.")]
    return [_shares(len(shared), spots, cells), *_empty(spots)]


def _totals(counts: Any, chosen: NDArray[np.bool_], on_progress: ProgressCallback) -> NDArray[np.float64]:
    """Return the counts of each row, of all columns and of those chosen, float64 (n_rows, 2)."""
    blocks = row_blocks(counts)
    blocks = InMemory(blocks) if isinstance(blocks, csr_array) else blocks
    columns = np.column_stack([np.ones(len(chosen)), chosen])
    totals = []
    for start, stop in pairwise(blocks.bounds):
        on_progress(Progress("Looking at the counts", int(start), int(blocks.bounds[-1])))
        totals.append(blocks.read(start, stop) @ columns)
    return np.concatenate(totals)


def _shares(n_shared: int, spots: NDArray[np.float64], cells: NDArray[np.float64]) -> Finding:
    of_spots, of_cells = (float(totals[:, 1].sum() / totals[:, 0].sum()) for totals in (spots, cells))
    seen = np.median(spots[spots[:, 1] > 0, 1])
    text = (
        f"{count(n_shared, 'gene')} {agreeing(n_shared, 'are')} in both: "
        f"{of_spots:.0%} of the counts of the spots and {of_cells:.0%} of "
        f"those of the reference. A spot has {seen:,.0f} counts of them (median)."
    )
    if n_shared >= FEW_GENES and min(of_spots, of_cells) >= _LITTLE:
        return Finding(NOTE, text)
    return Finding(
        WARNING, f"{text} That is little: proportions will be uncertain. Do both name genes alike?"
    )


def _empty(spots: NDArray[np.float64]) -> list[Finding]:
    n_empty = int((spots[:, 1] == 0).sum())
    if not n_empty:
        return []
    return [
        Finding(
            NOTE,
            f"{n_empty:,} of {len(spots):,} spots {agreeing(n_empty, 'have')} no counts of the shared genes, "
            f"and {agreeing(n_empty, 'are')} kept, with NaN.",
        )
    ]
