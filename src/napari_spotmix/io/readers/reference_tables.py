"""Read a reference from a table: counts of single cells with a table of labels, or signatures."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
from anndata import AnnData

from napari_spotmix.base.errors import ReadError
from napari_spotmix.base.progress import ProgressCallback
from napari_spotmix.io.notes import add_notes
from napari_spotmix.io.on_disk import assembled
from napari_spotmix.io.problems import listed
from napari_spotmix.io.readers.labels import LabelTable, may_be_labels, missing_labels
from napari_spotmix.io.readers.signatures import may_be_signatures, signatures_from_table
from napari_spotmix.io.readers.table_columns import Table, open_table
from napari_spotmix.io.readers.table_counts import TableCounts, genes_table, read_counts
from napari_spotmix.io.readers.table_parsing import is_table_name

__all__ = ["find_reference_table", "read_reference_table"]

_STAGE = "Reading reference"
_COUNTS = re.compile(r"(.*[_. -])?(counts?|dge|expression|umis?)([_. -].*)?", re.IGNORECASE)


def find_reference_table(path: Path) -> Path | None:
    """Return `path` if it may be a table of numbers, or the table of counts in a folder such as RCTD's."""
    if path.is_file():
        return path if is_table_name(path.name) and not may_be_labels(path) else None
    tables = [one for one in sorted(path.iterdir()) if is_table_name(one.name) and one.is_file()]
    named = [one for one in tables if _COUNTS.fullmatch(one.name.split(".")[0]) and not may_be_labels(one)]
    return named[0] if len(named) == 1 else None


def read_reference_table(path: Path, labels: LabelTable | None, on_progress: ProgressCallback) -> AnnData:
    """Read a table of counts with labels, or of signatures.

    Cells are the rows or the columns, whichever the table of labels names. Without labels, the table holds
    signatures if one of its sides may be cell types.

    Raises
    ------
    MissingLabels
        If the table holds cells, and there is no table of labels.
    ReadError
        If the table is neither, or the labels are of other cells.
    """
    table = open_table(path)
    if table.name is None or not table.genes:
        raise ReadError(
            path.parent,
            f"`{path.name}` must be a table of counts or signatures, with names in its first column and "
            f"numbers in the others; found the columns {listed(table.head.columns)}. Choose another table.",
        )
    counts = read_counts(Table(table.head), on_progress, _STAGE)
    sides = pd.Index(counts.rows), pd.Index(counts.columns)
    n_rows, n_columns = (0, 0) if labels is None else map(labels.n_matching, sides)
    if n_rows or n_columns:
        return _cells(counts if n_rows >= n_columns else counts.transposed(), path)
    if may_be_signatures(counts):
        return signatures_from_table(counts, path)
    if labels is None:
        raise missing_labels(path)
    raise ReadError(
        path.parent,
        f"No cell has a label: `{labels.path.name}` names neither the rows ({listed(counts.rows[:2])}) nor "
        f"the columns ({listed(counts.columns[:2])}) of `{path.name}`. Use files of the same data set.",
    )


def _cells(counts: TableCounts, path: Path) -> AnnData:
    notes = [f"`{path.name}` was read as {len(counts.rows):,} cells x {len(counts.columns):,} genes."]
    adata = assembled({"X": counts.matrix, "obs": pd.DataFrame(index=pd.Index(counts.rows, dtype=object))})
    adata.var = genes_table(counts.columns, notes)
    add_notes(adata, notes)
    return adata
