"""The values of a gene or of a column of ``obs`` in each spot, and the tasks that read them in a thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_spotmix.base.color_range import largest_present
from napari_spotmix.base.progress import Progress
from napari_spotmix.dataset.annotations import Annotation, Labels, annotations_of, labels_of, numbers_of
from napari_spotmix.dataset.gene_counts import gene_counts
from napari_spotmix.dataset.gene_index import GeneIndex, gene_index
from napari_spotmix.dataset.geometry import placed_spots
from napari_spotmix.ui.state.maps import Column, Gene, Measure

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_spotmix.base.progress import ProgressCallback, Task

__all__ = ["Contents", "SpotValues", "column_task", "contents_task", "gene_task"]

#: What counts are divided by the depth of, as scanpy does.
_PER = 10_000


@dataclass(frozen=True, eq=False)
class SpotValues:
    """A value of each spot.

    Attributes
    ----------
    numbers : ndarray of float32, shape (n_spots,)
        NaN where there is none; of labels, their number.
    end : float
        The rounded maximum: the usual end of the colors.
    is_signed : bool
        Whether some are below 0: colors then span minus `end` to `end`.
    is_whole : bool
        Whether all are whole numbers.
    labels : Labels or None
        If each value stands for a label.
    """

    numbers: NDArray[np.float32]
    end: float
    is_signed: bool = False
    is_whole: bool = False
    labels: Labels | None = None

    def text(self, spot: int) -> str:
        """Return the value of a spot in words.

        Examples
        --------
        >>> SpotValues(np.array([12345, np.nan], np.float32), 1.0, is_whole=True).text(0)
        '12,345'
        """
        value = float(self.numbers[spot])
        if self.labels is not None:
            return "" if value < 0 else self.labels.names[int(value)]
        if value != value:
            return "–"
        return f"{value:,.0f}" if self.is_whole or abs(value) >= 1000 else f"{value:.3g}"


@dataclass(frozen=True, eq=False)
class Contents:
    """What spots hold that can be shown: their genes and their columns."""

    genes: GeneIndex
    columns: list[Annotation]


def contents_task(adata: AnnData, layer: str | None) -> Task:
    """Return the task that finds the genes and the columns of spots: of many, sorting takes a moment."""

    def task(on_progress: ProgressCallback) -> Contents:
        on_progress(Progress("Sorting genes", 0, 1))
        genes = gene_index(adata, layer)
        on_progress(Progress("Sorting genes", 1, 1))
        return Contents(genes, annotations_of(adata))

    return task


def gene_task(adata: AnnData, layer: str | None, gene: Gene) -> Task:
    """Return the task that reads the counts of a gene; its result is the gene and its values."""

    def task(on_progress: ProgressCallback) -> tuple[Gene, SpotValues]:
        is_raw = gene.measure is Measure.COUNTS
        found = gene_counts(adata, layer, gene.column, with_depths=not is_raw, on_progress=on_progress)
        values = np.where(np.isfinite(found.counts), found.counts, np.nan)
        if found.depths is not None:
            is_deep = np.isfinite(found.depths) & (found.depths > 0)
            values = np.divide(values * _PER, found.depths, out=np.full(len(values), np.nan), where=is_deep)
        if gene.measure is Measure.LOG:
            values = np.log1p(np.maximum(values, 0.0))
        return gene, _valued(adata, values)

    return task


def column_task(adata: AnnData, annotation: Annotation) -> Task:
    """Return the task that reads a column of ``obs``; its result is the column and its values."""

    def task(_: ProgressCallback) -> tuple[Column, SpotValues]:
        column = Column(annotation.name)
        if annotation.n_labels is None:
            return column, _valued(adata, numbers_of(adata, annotation.name))
        labels = labels_of(adata, annotation.name)
        return column, SpotValues(labels.codes.astype(np.float32), 1.0, labels=labels)

    return task


def _valued(adata: AnnData, values: NDArray[np.float64]) -> SpotValues:
    """Return numbers with the usual end of their colors, which spots without coordinates do not decide."""
    placed = values[placed_spots(adata)]
    known = placed[np.isfinite(placed)]
    is_signed = bool((known < 0).any())
    is_whole = bool((known == np.rint(known)).all())
    return SpotValues(values.astype(np.float32), largest_present(np.abs(known)), is_signed, is_whole)
