"""The counts of one gene in all spots, read from memory or from disk a block at a time."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from anndata.abc import CSCDataset
from numpy.typing import NDArray
from scipy.sparse import csr_array

from napari_spotmix.base.errors import InputError
from napari_spotmix.base.progress import Progress, ProgressCallback, silent
from napari_spotmix.base.text import quoted
from napari_spotmix.base.weak_cache import weakly_cached
from napari_spotmix.dataset.access import gene_names, has_layer, matrix
from napari_spotmix.dataset.matrix_blocks import reading, row_blocks
from napari_spotmix.io import index_problem, is_closed, native, signed, sparse_problem
from napari_spotmix.model.counts import InMemory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData

__all__ = ["CountsOfGene", "gene_counts"]

Floats = NDArray[np.float64]

#: Entries of a matrix by columns that are read at a time.
_ENTRIES = 1 << 21


@dataclass(frozen=True)
class CountsOfGene:
    """The counts of a gene.

    Attributes
    ----------
    counts : ndarray of float64, shape (n_spots,)
    depths : ndarray of float64, shape (n_spots,), or None
        Counts of all genes in each spot; None if they were not asked for.
    """

    counts: Floats
    depths: Floats | None = None


def gene_counts(
    adata: AnnData,
    layer: str | None,
    gene: int,
    *,
    with_depths: bool = False,
    on_progress: ProgressCallback = silent,
) -> CountsOfGene:
    """Return the counts of one gene in all spots; of a file on disk, no more than a block is in memory.

    Parameters
    ----------
    adata : AnnData, n_spots x n_genes
        Not modified.
    layer : str or None
        As given to `deconvolve`: `X` is used if `adata` has no layer of that name.
    gene : int
        Column of the matrix, in the order of `gene_names`.
    with_depths : bool, optional
        Whether to sum all counts of each spot too: each matrix is summed once, then its sums are kept.
    on_progress : callable, optional
        Called for each block; it raises `Cancelled` to stop.

    Raises
    ------
    InputError
        If there are no counts, the gene is unknown, or the matrix is damaged.

    Examples
    --------
    >>> from anndata import AnnData
    >>> spots = AnnData(np.array([[0, 2], [1, 3]]))
    >>> found = gene_counts(spots, None, 1, with_depths=True)
    >>> found.counts.tolist(), found.depths.tolist()
    ([2.0, 3.0], [2.0, 4.0])
    """
    chosen = layer if has_layer(adata, layer) else None
    counts, known = matrix(adata, chosen), _known_depths(adata)
    _check(adata, chosen, counts, gene)
    stage = f"Reading {gene_names(adata, chosen)[gene]}"
    is_summed = with_depths and chosen not in known
    is_by_columns = getattr(counts, "format", "") == "csc"
    read = _from_columns if is_by_columns else _from_rows
    found, sums = read(counts, gene, is_summed, stage, on_progress)
    if is_summed:
        known[chosen] = sums
    return CountsOfGene(found, known[chosen] if with_depths else None)


@weakly_cached
def _known_depths(adata: AnnData) -> dict[str | None, Floats]:
    """Return the sums of spots that are known so far, by layer."""
    return {}


def _check(adata: AnnData, layer: str | None, counts: Any, gene: int) -> None:
    if counts is None:
        raise InputError("The spatial data holds no counts: `X` is empty. Choose a file with counts.")
    if is_closed(counts):
        raise InputError("The file of the spatial data has been closed. Choose it again.")
    if not 0 <= gene < counts.shape[1]:
        raise InputError(f"Gene {gene:,} is unknown: the counts have {counts.shape[1]:,} genes.")
    where = "`X`" if layer is None else f"Layer {quoted(layer)}"
    if problem := sparse_problem(counts):
        raise InputError(f"{where} is damaged: {problem}. Copy or download the file again.")
    if np.dtype(counts.dtype).kind not in "biuf":
        raise InputError(f"{where} must hold numbers, found {counts.dtype}. Choose a file with counts.")


def _from_rows(
    counts: Any, gene: int, is_summed: bool, stage: str, on_progress: ProgressCallback
) -> tuple[Floats, Floats]:
    """Return the counts and, if asked for, the sums of spots that are stored spot by spot."""
    found, sums = np.zeros(counts.shape[0]), np.zeros(counts.shape[0])
    rows = row_blocks(counts)
    blocks = InMemory(rows) if isinstance(rows, csr_array) else rows
    bounds = blocks.bounds
    for step, (start, stop) in enumerate(pairwise(bounds)):
        on_progress(Progress(stage, step, len(bounds) - 1))
        part = blocks.read(int(start), int(stop))
        at = np.flatnonzero(part.indices == gene)
        spots = np.searchsorted(part.indptr, at, side="right") - 1
        np.add.at(found, start + spots, part.data[at])
        if is_summed:
            spots = np.repeat(np.arange(stop - start), np.diff(part.indptr))
            sums[start:stop] = np.bincount(spots, weights=part.data, minlength=int(stop - start))
    return found, sums


def _from_columns(
    counts: Any, gene: int, is_summed: bool, stage: str, on_progress: ProgressCallback
) -> tuple[Floats, Floats]:
    """Return the same of a matrix that is stored gene by gene: without sums, only one gene is read."""
    n_spots = counts.shape[0]
    on_disk = isinstance(counts, CSCDataset)
    data, indices = (counts.group[name] if on_disk else getattr(counts, name) for name in ("data", "indices"))
    pointers = np.asarray(counts.group["indptr"][:] if on_disk else counts.indptr)
    first, last = (int(end) for end in pointers[gene : gene + 2])
    found = np.zeros(n_spots)
    for values, spots in _entries(data, indices, n_spots, first, last):
        found += np.bincount(spots, weights=values, minlength=n_spots)
    sums = np.zeros(n_spots)
    n_summed = len(data) if is_summed else 0
    n_blocks = -(-n_summed // _ENTRIES)
    for step, (values, spots) in enumerate(_entries(data, indices, n_spots, 0, n_summed)):
        on_progress(Progress(stage, step, n_blocks))
        sums += np.bincount(spots, weights=values, minlength=n_spots)
    return found, sums


def _entries(
    data: Any, indices: Any, n_spots: int, first: int, last: int
) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Yield values and checked spots of some entries of a matrix by columns, a block at a time."""
    for start in range(first, last, _ENTRIES):
        stop = min(start + _ENTRIES, last)
        with reading(data):
            values, spots = np.asarray(data[start:stop]), np.asarray(indices[start:stop])
        if problem := index_problem(spots, n_spots, "row"):
            raise InputError(f"The counts are damaged: {problem}. Copy or download the file again.")
        yield native(values).astype(float), signed(spots)
