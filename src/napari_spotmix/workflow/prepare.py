"""What the model needs of the spots and the reference, as plain arrays.

`prepare` matches the genes, averages the reference, and chooses the spots that can be fitted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy.sparse import csr_array

from napari_spotmix.base.errors import InputError
from napari_spotmix.base.progress import Progress, ProgressCallback
from napari_spotmix.base.threads import Threads
from napari_spotmix.dataset.access import coordinates, gene_names, labels, layers_chosen, matrix
from napari_spotmix.dataset.diagnostics.spots import NO_COORDINATES, NO_COUNTS
from napari_spotmix.dataset.matrix_blocks import row_blocks
from napari_spotmix.dataset.validation import no_usable_spots, types_without_counts
from napari_spotmix.io import is_signatures
from napari_spotmix.model.canonical import cells_by_content, row_fingerprints, spots_along_a_curve
from napari_spotmix.model.counts import Counts, RowBlocks
from napari_spotmix.model.genes import GeneMatch, informative_genes, is_housekeeping, match_genes
from napari_spotmix.model.rna_content import Content, rna_content, unknown_content
from napari_spotmix.model.signatures import AveragedCells, mean_signatures
from napari_spotmix.model.sufficient_statistics import total_counts
from napari_spotmix.model.uncertainty.errors import ReferenceCells, cells_for_noise, lost_to_depth
from napari_spotmix.model.variation import CellVariation, cell_variation, cells_to_compare
from napari_spotmix.params import Parameters

__all__ = ["Inputs", "Prepared", "prepare"]


@dataclass(frozen=True)
class Inputs:
    """Both inputs of a deconvolution, and which of their columns and layers are used.

    Attributes
    ----------
    spatial : AnnData, n_spots x n_genes
    reference : AnnData, n_cells x n_genes
    cell_type_key : str
        Column of ``reference.obs``.
    layer : str or None
        As it was asked for; `spatial_layer` and `reference_layer` are the layers that are there.
    library_key : str or None
        Column of ``spatial.obs``.
    """

    spatial: AnnData
    reference: AnnData
    cell_type_key: str
    layer: str | None
    library_key: str | None

    @property
    def spatial_layer(self) -> str | None:
        """The layer with the counts of the spots; None for `X`."""
        return layers_chosen(self.spatial, self.reference, self.layer)[0]

    @property
    def reference_layer(self) -> str | None:
        """The layer with the counts of the cells; None for `X`."""
        return layers_chosen(self.spatial, self.reference, self.layer)[1]

    @property
    def are_cells(self) -> bool:
        """Whether the reference holds cells, and not signatures alone."""
        return not is_signatures(self.reference)

    @property
    def settings(self) -> dict[str, str | None]:
        """What a result keeps of it."""
        return {
            "cell_type_key": self.cell_type_key,
            "layer": self.layer,
            "library_key": self.library_key,
        }


@dataclass(frozen=True)
class Prepared:
    """What the model needs, and what is needed to label what it returns.

    Attributes
    ----------
    counts : Counts, n_fitted x n_genes
        Of the spots that are fitted, over the shared genes that were chosen.
    totals : float64, n_spots
        Counts of each spot over all shared genes.
    spots : int64, n_fitted
        Which of the given spots each fitted one is: those are numbered by what they hold, not by their rows.
    xy : float64, n_fitted x 2
        Coordinates in full-resolution pixels.
    library : int64, n_fitted, or None
        Number of the tissue section of each fitted spot.
    reasons : Series of str, n_spots
        Why a spot is not fitted; "" if it is.
    genes : GeneMatch
    signatures : float64, n_types x n_genes
    variation : CellVariation or None
        How cells of each type vary, if that is asked for and there are cells.
    some_cells : ReferenceCells
        Cells of the reference to measure noise by.
    content : Content
        RNA content of each type.
    types : Categorical
        Label of each cell of the reference.
    """

    counts: Counts
    totals: NDArray[np.float64]
    spots: NDArray[np.int64]
    xy: NDArray[np.float64]
    library: NDArray[np.int64] | None
    reasons: pd.Series
    genes: GeneMatch
    signatures: NDArray[np.float64]
    variation: CellVariation | None
    some_cells: ReferenceCells
    content: Content
    types: pd.Categorical[str]

    @property
    def cell_types(self) -> list[str]:
        """Names of the cell types."""
        return list(self.types.categories)

    @property
    def fitted_totals(self) -> NDArray[np.float64]:
        """Totals of the spots that are fitted."""
        return self.totals[self.spots]


def prepare(inputs: Inputs, params: Parameters, threads: Threads, on_progress: ProgressCallback) -> Prepared:
    """Match genes, average the reference and choose spots.

    Raises
    ------
    InputError
        If a cell type has no counts of the shared genes, or no spot can be fitted.
    """
    on_progress(Progress("Averaging the reference", 0, 1))
    types = labels(inputs.reference, inputs.cell_type_key)
    cells = _labeled_cells(
        match_genes(
            gene_names(inputs.spatial, inputs.spatial_layer),
            gene_names(inputs.reference, inputs.reference_layer),
        ),
        row_blocks(matrix(inputs.reference, inputs.reference_layer)),
        types,
        params,
        on_progress,
    )
    counts = Counts(row_blocks(matrix(inputs.spatial, inputs.spatial_layer)), cells.genes.spatial)
    totals = total_counts(counts, threads, on_progress)
    on_progress(Progress("Comparing cells of the reference", 0, 1))
    chosen = informative_genes(cells.signatures, params.n_genes)
    content = cells.content if inputs.are_cells else unknown_content(len(types.categories))
    cells = cells.of_genes(chosen)
    variation, some_cells = cells.compared(params) if inputs.are_cells else (None, cells.without_any())
    on_progress(Progress("Comparing cells of the reference", 1, 1))
    # Asked for once: AnnData compares the names of all spots each time.
    xy = coordinates(inputs.spatial)
    placed, counted = np.asarray(np.isfinite(xy).all(axis=1)), totals > 0
    kept = placed & counted
    if not kept.any():
        raise InputError(no_usable_spots().message)
    spots = np.flatnonzero(kept)
    library, counts = _library(inputs, spots), counts.only(spots)
    order = spots_along_a_curve(xy[spots], library, lambda tied: row_fingerprints(counts.only(tied)))
    spots = spots[order]
    return Prepared(
        replace(counts.numbered(order), gene_of_column=cells.genes.spatial),
        totals,
        spots,
        xy[spots],
        None if library is None else library[order],
        _reasons(placed, counted, inputs.spatial.obs_names),
        cells.genes,
        cells.signatures,
        variation,
        some_cells,
        content,
        types,
    )


def _library(inputs: Inputs, spots: NDArray[np.int64]) -> NDArray[np.int64] | None:
    if inputs.library_key is None:
        return None
    names = inputs.spatial.obs[inputs.library_key].astype(str).to_numpy()[spots]
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def _reasons(placed: NDArray[np.bool_], counted: NDArray[np.bool_], spots: pd.Index[str]) -> pd.Series:
    """Return why each spot is not estimated; \"\" for those that are."""
    reasons = np.full(len(placed), "", dtype=object)
    reasons[~counted] = NO_COUNTS
    reasons[~placed] = NO_COORDINATES
    return pd.Series(reasons, index=spots, dtype=object)


@dataclass(frozen=True)
class _LabeledCells:
    """The labeled cells of the reference over the shared genes that it shows."""

    genes: GeneMatch
    rows: csr_array | RowBlocks
    label: NDArray[np.int64]
    averaged: AveragedCells
    signatures: NDArray[np.float64]

    @property
    def totals(self) -> NDArray[np.float64]:
        """Counts of each cell over all shared genes."""
        return self.averaged.totals

    def of_genes(self, chosen: NDArray[np.int64]) -> _LabeledCells:
        """Return the cells over the genes numbered in `chosen`; totals stay those over all genes."""
        if len(chosen) == self.signatures.shape[1]:
            return self
        signatures = np.ascontiguousarray(self.signatures[:, chosen])
        return replace(self, genes=self.genes.select(chosen), signatures=signatures)

    @property
    def content(self) -> Content:
        """RNA content of each type, as the totals of the cells tell it."""
        return rna_content(self.totals, self.label, self.signatures)

    def without_any(self) -> ReferenceCells:
        """Return no cells to measure noise by, with signatures that are treated as exact."""
        n_types, n_genes = self.signatures.shape
        none = np.zeros(0)
        return ReferenceCells(csr_array((0, n_genes)), none, none.astype(np.int64), np.zeros(n_types))

    def compared(self, params: Parameters) -> tuple[CellVariation | None, ReferenceCells]:
        """Return how cells of each type vary, where that is asked for, and some cells to measure noise by."""
        n_types, n_genes = self.signatures.shape
        members = cells_by_content(self.label, self.totals, self.averaged.fingerprints, n_types)
        shown = cells_for_noise(members)
        compared = shown[:0]
        if params.cell_variation != 0 and params.weights == "poisson":
            compared = cells_to_compare(members)
        both = np.union1d(shown, compared)
        counts = Counts(self.rows, self.genes.reference).of_spots(both).by_gene(n_genes)

        def of(cells: NDArray[np.int64]) -> tuple[csr_array, NDArray[np.float64], NDArray[np.int64]]:
            return counts[np.searchsorted(both, cells)], self.totals[cells], self.label[cells]

        lost = lost_to_depth(self.label, self.totals, n_types)
        return self._variation(*of(compared)) if len(compared) else None, ReferenceCells(*of(shown), lost)

    def _variation(
        self, counts: csr_array, totals: NDArray[np.float64], label: NDArray[np.int64]
    ) -> CellVariation:
        used = (self.label >= 0) & (self.totals > 0)
        n_cells = np.bincount(self.label[used], minlength=len(self.signatures)).astype(np.float64)
        return cell_variation(counts, label, totals, self.signatures, n_cells)


def _labeled_cells(
    genes: GeneMatch,
    rows: csr_array | RowBlocks,
    types: pd.Categorical[str],
    params: Parameters,
    on_progress: ProgressCallback,
) -> _LabeledCells:
    if params.exclude_mito_ribo:
        genes = _without_housekeeping(genes)
    counts, label = Counts(rows, genes.reference), types.codes.astype(np.int64)

    def report(n_done: int) -> None:
        on_progress(Progress("Averaging the reference", n_done, len(label)))

    n_types = len(types.categories)
    averaged = mean_signatures(counts, label, n_types, len(genes.names), report)
    signatures = averaged.signatures
    silent_types = [name for name, row in zip(types.categories, signatures, strict=True) if not row.any()]
    if silent_types:
        raise InputError(types_without_counts(silent_types).message)
    cells = _LabeledCells(genes, rows, label, averaged, signatures)
    return cells.of_genes(np.flatnonzero(signatures.any(axis=0)))


def _without_housekeeping(genes: GeneMatch) -> GeneMatch:
    """Leave out housekeeping genes, unless hardly anything else is shared."""
    others = np.array([g for g, name in enumerate(genes.names) if not is_housekeeping(name)], dtype=np.int64)
    return genes.select(others) if 2 * len(others) >= len(genes.names) else genes
