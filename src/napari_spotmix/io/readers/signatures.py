"""Read signatures without cells: a table with the mean expression of each gene in each cell type.

Other programs write them: averages of Seurat, scanpy or cell2location, signature matrices of CIBERSORTx.
Without single cells, the variability within types and the RNA content of their cells are unknown.
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
from napari_spotmix.io.readers.table_counts import TableCounts, genes_table

__all__ = ["is_signatures", "may_be_signatures", "signatures_from_table"]

#: A table with more rows and columns than this holds cells, not cell types.
_MAX_TYPES = 200
_BARCODE = re.compile(r"(.*[_-])?[ACGTN]{8,}([-_.]\w+)?")


def is_signatures(reference: AnnData) -> bool:
    """Return whether a reference holds the mean expression of cell types instead of cells.

    Examples
    --------
    >>> is_signatures(AnnData(np.ones((2, 3))))
    False
    """
    return bool(reference.uns.get(SIGNATURES, False))


def may_be_signatures(table: TableCounts) -> bool:
    """Return whether rows or columns may be cell types: they are few, and no names look like barcodes."""
    sides = (table.rows, table.columns)
    has_cells = any(all(map(_BARCODE.fullmatch, names)) for names in sides)
    return min(map(len, sides)) <= _MAX_TYPES and not has_cells


def signatures_from_table(table: TableCounts, path: Path) -> AnnData:
    """Return a table as a reference of types x genes; the longer side is assumed to be the genes.

    Returns
    -------
    AnnData
        ``X`` float32 (n_cell_types, n_genes), as in the table; ``obs[CELL_TYPE]`` the types;
        ``uns[SIGNATURES]`` true.

    Raises
    ------
    ReadError
        If a value is negative, rows and columns are equally many, or a type is duplicated.
    """
    n_rows, n_columns = len(table.rows), len(table.columns)
    side, other = ("columns", "rows") if n_rows > n_columns else ("rows", "columns")
    types = table.transposed() if side == "columns" else table
    problems = _problems(types)
    if n_rows == n_columns:
        problems.append(
            f"must have more genes than cell types, found {n_rows} rows and columns, which cannot be "
            "distinguished. Add genes."
        )
    if problems:
        raise ReadError(path.parent, [f"`{path.name}` {problem}" for problem in problems])
    notes = [
        f"`{path.name}` was read as signatures: the {side} are {len(types.rows)} cell types, the {other} are "
        f"{len(types.columns):,} genes. Values must be means of counts, not logarithms."
    ]
    names = pd.Index(types.rows, dtype=object)
    adata = AnnData(types.matrix)
    adata.var = genes_table(types.columns, notes)
    adata.obs = pd.DataFrame({CELL_TYPE: pd.Categorical(names, categories=names)}, index=names)
    adata.uns[SIGNATURES] = True
    add_notes(adata, notes)
    return adata


def _problems(types: TableCounts) -> list[str]:
    problems = []
    names = pd.Index(types.rows, dtype=object)
    twice = names[names.duplicated()].unique()
    if len(twice):
        problems.append(
            f"must have unique cell types, found some more than once: {listed(list(twice), most=3)}. "
            "Rename them."
        )
    values = types.matrix.data
    n_wrong = int((~np.isfinite(values) | (values < 0)).sum())
    if n_wrong:
        problems.append(
            "must hold the mean counts of each gene in each type, "
            f"found {n_wrong:,} negative or infinite values, as in scaled data and logarithms. "
            "Export the means of counts."
        )
    return problems
