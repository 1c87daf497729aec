"""Signatures without cells: a table with the mean expression of each gene in each cell type.

As other programs save them: averages of Seurat, scanpy or cell2location, signature matrices of CIBERSORTx.
Cells are no part of it, so how cells of a type vary, and how much RNA they hold, is not known.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData

from napari_spotmix.base.errors import ReadError
from napari_spotmix.base.keys import CELL_TYPE, SIGNATURES
from napari_spotmix.io.notes import add_notes
from napari_spotmix.io.problems import listed
from napari_spotmix.io.readers.tables import TableCounts, with_plain_ids

__all__ = ["is_signatures", "may_be_signatures", "signatures_of"]

#: A table whose shorter side is longer than this holds cells, not types.
_MOST_TYPES = 200
_BARCODE = re.compile(r"(.*[_-])?[ACGTN]{8,}([-_.]\w+)?")


def is_signatures(reference: AnnData) -> bool:
    """Tell whether a reference holds mean expressions of cell types in place of cells.

    Examples
    --------
    >>> is_signatures(AnnData(np.ones((2, 3))))
    False
    """
    return bool(reference.uns.get(SIGNATURES, False))


def may_be_signatures(table: TableCounts) -> bool:
    """Tell whether one side of a table may be cell types: it is short, and no side has names of barcodes."""
    sides = (table.rows, table.columns)
    has_cells = any(all(map(_BARCODE.fullmatch, names)) for names in sides)
    return min(map(len, sides)) <= _MOST_TYPES and not has_cells


def signatures_of(table: TableCounts, path: Path) -> AnnData:
    """Return a table as a reference of types x genes; the longer side is taken for the genes.

    Returns
    -------
    AnnData
        ``X`` float32 (n_cell_types, n_genes), as in the table; ``obs[CELL_TYPE]`` the types;
        ``uns[SIGNATURES]`` true.

    Raises
    ------
    ReadError
        If a value is negative, both sides are as long, or a type stands twice.
    """
    n_rows, n_columns = len(table.rows), len(table.columns)
    side, other = ("columns", "rows") if n_rows > n_columns else ("rows", "columns")
    types = table.turned() if side == "columns" else table
    problems = _problems(types)
    if n_rows == n_columns:
        problems.append(f"has as many rows as columns ({n_rows}): which are the genes cannot be told.")
    if problems:
        raise ReadError(path.parent, [f"`{path.name}` {problem}" for problem in problems])
    notes = [
        f"`{path.name}` was read as signatures: {side} are {len(types.rows)} cell types, {other} are "
        f"{len(types.columns):,} genes. Their values must be means of counts, not logarithms."
    ]
    names = pd.Index(types.rows, dtype=object)
    adata = AnnData(types.matrix)
    adata.var = with_plain_ids(types.columns, notes)
    adata.obs = pd.DataFrame({CELL_TYPE: pd.Categorical(names, categories=names)}, index=names)
    adata.uns[SIGNATURES] = True
    add_notes(adata, notes)
    return adata


def _problems(types: TableCounts) -> list[str]:
    problems = []
    names = pd.Index(types.rows, dtype=object)
    twice = names[names.duplicated()].unique()
    if len(twice):
        problems.append(f"names cell types more than once: {listed(list(twice), most=3)}. Rename them.")
    n_negative = int((types.matrix.data < 0).sum())
    if n_negative or not np.isfinite(types.matrix.data).all():
        problems.append(
            f"holds {n_negative:,} negative values, or infinite ones, as scaled data and logarithms do. "
            "Mean counts of each gene in each type are needed."
        )
    return problems
