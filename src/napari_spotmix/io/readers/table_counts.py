"""Read the numbers of a table with the names of its rows and columns, as a sparse matrix."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix, vstack

from napari_spotmix.base.errors import ReadError
from napari_spotmix.base.progress import ProgressCallback, silent
from napari_spotmix.io.readers.table_columns import Table
from napari_spotmix.io.readers.table_parsing import TableHead, read_blocks

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["TableCounts", "genes_table", "read_columns", "read_counts", "text_columns"]

_ENSEMBL = re.compile(r"(ENS[A-Z]*G\d{11})\.\d+")
_STAGE = "Reading spots"


@dataclass
class TableCounts:
    """The numbers of a table, with the names of its rows and columns."""

    matrix: csr_matrix
    rows: list[str]
    columns: list[str]

    def transposed(self) -> TableCounts:
        """Return the transposed table."""
        return TableCounts(self.matrix.T.tocsr(), self.columns, self.rows)


def read_counts(table: Table, on_progress: ProgressCallback, stage: str = _STAGE) -> TableCounts:
    """Read the numbers of a table, and the names of its rows and columns.

    Raises
    ------
    ReadError
        If a cell does not hold a number; with its line.
    """
    import pyarrow as pa

    kinds = dict.fromkeys(table.genes, pa.float32())
    if table.name is not None:
        kinds = {table.name: pa.string()} | kinds
    rows: list[str] = []
    parts: list[csr_matrix] = []
    for block in read_blocks(table.head, kinds, stage, on_progress):
        if table.name is not None:
            rows += _values(block.column(0))
        numbers = block.select(range(table.name is not None, block.num_columns))
        parts.append(_sparse(table, numbers.to_tensor(null_to_nan=True).to_numpy()))
    matrix = vstack(parts, format="csr")
    columns = [table.head.columns[column] for column in table.genes]
    return TableCounts(matrix, rows or [str(row) for row in range(1, matrix.shape[0] + 1)], columns)


def _sparse(table: Table, block: NDArray[np.float32]) -> csr_matrix:
    n_missing = int(np.isnan(block).sum())
    if n_missing:
        raise ReadError(
            table.path.parent,
            f"`{table.path.name}` must have a number in each cell of its counts, found {n_missing:,} empty "
            "cells. Write 0 if nothing was counted.",
        )
    return csr_matrix(block)


def read_columns(
    head: TableHead, kinds: dict[int, pa.DataType], on_progress: ProgressCallback
) -> dict[int, Any]:
    """Read whole columns: text as list of str, numbers as float64 with NaN for missing ones."""
    parts: dict[int, list[Any]] = {column: [] for column in kinds}
    for block in read_blocks(head, kinds, _STAGE, on_progress):
        for part, values in zip(parts.values(), block.columns, strict=True):
            part.append(_values(values))
    return {column: _concatenated(part) for column, part in parts.items()}


def text_columns(head: TableHead, on_progress: ProgressCallback = silent) -> list[list[str]]:
    """Read all columns of a table as text, stripped; a missing cell is ``""``."""
    import pyarrow as pa

    read = read_columns(head, {column: pa.string() for column in range(len(head.columns))}, on_progress)
    return list(read.values())


def _values(column: pa.Array) -> Any:
    if str(column.type) == "string":
        return [(value or "").strip() for value in column.to_pylist()]
    return column.to_numpy(zero_copy_only=False).astype(np.float64)


def _concatenated(parts: list[Any]) -> Any:
    if parts and isinstance(parts[0], list):
        return [value for part in parts for value in part]
    return np.concatenate(parts) if parts else np.empty(0)


def genes_table(names: list[str], notes: list[str]) -> pd.DataFrame:
    """Return ``var`` for names of genes; Ensembl ids lose their version, and ``gene_ids`` keeps it.

    Parameters
    ----------
    names : list of str
        The names in the file.
    notes : list of str
        Extended by a note if versions were removed.

    Examples
    --------
    >>> notes = []
    >>> genes_table(["ENSMUSG00000064339.1", "ENSMUSG00000064337.2"], notes).index.tolist()
    ['ENSMUSG00000064339', 'ENSMUSG00000064337']
    >>> genes_table(["Actb", "Nkx2.1"], notes).index.tolist()
    ['Actb', 'Nkx2.1']
    """
    found = [_ENSEMBL.fullmatch(name) for name in names]
    if not any(found):
        return pd.DataFrame(index=pd.Index(names, dtype=object))
    plain = [match[1] if match else name for match, name in zip(found, names, strict=True)]
    notes.append(
        f"Genes have Ensembl ids with a version ({next(match[0] for match in found if match)}), which was "
        "removed from their names; `var['gene_ids']` holds the full ids."
    )
    return pd.DataFrame({"gene_ids": names}, index=pd.Index(plain, dtype=object))
