"""Read the flat files of NanoString's CosMx: cells with their counts and centers.

References
----------
NanoString, "CosMx SMI Data File Formats" (flat files): ``*_exprMat_file.csv`` (fov, cell_ID, then genes) and
``*_metadata_file.csv`` (fov, cell_ID, CenterX_global_px, CenterY_global_px), maybe gzipped. Cell 0 of a field
of view is what was counted outside of all cells.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_spotmix.base.errors import ReadError
from napari_spotmix.base.keys import SPATIAL
from napari_spotmix.base.progress import ProgressCallback, silent
from napari_spotmix.base.text import agreeing, count
from napari_spotmix.io.notes import add_notes
from napari_spotmix.io.readers.cell_tables import cells_at, first_of, library_of, read_named
from napari_spotmix.io.readers.options import DEFAULT, ReadOptions
from napari_spotmix.io.readers.table_columns import Table, open_table
from napari_spotmix.io.readers.table_counts import TableCounts, genes_table, read_counts

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["cosmx_files", "find_cosmx", "read_cosmx"]

_COUNTS, _CELLS = "exprMat_file.csv", "metadata_file.csv"
_FOV, _CELL = "fov", "cell_ID"
_CENTER = ("CenterX_global_px", "CenterY_global_px")


def find_cosmx(path: Path) -> Path | None:
    """Return the folder with the flat files of CosMx: `path`, or the folder of the file with the counts."""
    folder = path.parent if path.is_file() and _COUNTS in path.name else path
    return folder if all(any(folder.glob(f"*{name}*")) for name in (_COUNTS, _CELLS)) else None


def cosmx_files(root: Path, _: ReadOptions = DEFAULT) -> list[Path]:
    """Return the files that are read: counts and metadata.

    Raises
    ------
    ReadError
        If there are several of one kind.
    """
    found = [first_of(root, f"*{name}", f"*{name}.gz") for name in (_COUNTS, _CELLS)]
    problems = [
        f"holds flat files of CosMx without `*_{name}`. Copy it from the same export."
        for name, path in zip((_COUNTS, _CELLS), found, strict=True)
        if path is None
    ]
    if problems:
        raise ReadError(root, problems)
    return [path for path in found if path is not None]


def read_cosmx(
    root: Path,
    options: ReadOptions = DEFAULT,
    *,
    backed: bool = False,
    on_progress: ProgressCallback = silent,
) -> AnnData:
    """Read the cells of all fields of view; as :func:`napari_spotmix.io.read_spatial`.

    Cells are named by their number and field of view, such as ``12_3``. Coordinates are in pixels of the
    whole slide.

    Raises
    ------
    ReadError
        If files are missing, damaged, or of different exports.
    """
    counts_path, cells_path = cosmx_files(root)
    numbers = read_named(cells_path, (), (_FOV, _CELL, *_CENTER), on_progress)
    positions = pd.DataFrame(
        {"x": numbers[_CENTER[0]], "y": numbers[_CENTER[1]], _FOV: numbers[_FOV]},
        index=_names(numbers[_CELL], numbers[_FOV], cells_path),
    )
    counts, fov, cell = _counts_of_cells(counts_path, on_progress)
    names, is_cell = _names(cell, fov, counts_path), cell != 0
    notes = ["The section was read as flat files of CosMx. Coordinates are in pixels of the whole slide."]
    n_outside = int((~is_cell).sum())
    if n_outside:
        were = agreeing(n_outside, "were")
        notes.append(f"{count(n_outside, 'row')} of counts outside of cells (cell 0) {were} dropped.")
    genes = genes_table(counts.columns, notes)
    kept = np.flatnonzero(is_cell)
    adata = cells_at(root, counts.matrix[kept], names[is_cell], genes, positions, cells_path.name)
    adata.obs[_FOV] = pd.Categorical(adata.obs[_FOV].astype(int).astype(str))
    adata.uns[SPATIAL] = library_of(counts_path.name.split(_COUNTS)[0].strip("_") or root.resolve().name, {})
    notes += ["The counts were read into memory: tables cannot be read in blocks."] if backed else []
    add_notes(adata, notes)
    return adata


def _counts_of_cells(
    path: Path, on_progress: ProgressCallback
) -> tuple[TableCounts, NDArray[np.float64], NDArray[np.float64]]:
    """Return the counts of genes, and the field of view and the number of the cell of each row."""
    head = open_table(path).head
    missing = [name for name in (_FOV, _CELL) if name not in head.columns]
    if missing:
        raise ReadError(
            path.parent, f"`{path.name}` must have the columns {_FOV!r} and {_CELL!r}. Copy it again."
        )
    table = Table(head, named=head.columns.index(_CELL))
    counts = read_counts(table, on_progress)
    at = counts.columns.index(_FOV)
    others = [column for column in range(len(counts.columns)) if column != at]
    genes = TableCounts(counts.matrix[:, others], counts.rows, [counts.columns[column] for column in others])
    cell = pd.to_numeric(pd.Series(counts.rows), errors="coerce").to_numpy(dtype=np.float64)
    return genes, counts.matrix[:, [at]].toarray().ravel().astype(np.float64), cell


def _names(cell: NDArray[np.float64], fov: NDArray[np.float64], path: Path) -> pd.Index[str]:
    if not (np.isfinite(cell).all() and np.isfinite(fov).all()):
        raise ReadError(
            path.parent,
            f"`{path.name}` must have a number for {_FOV!r} and {_CELL!r} in every row, found an empty cell. "
            "Copy it again.",
        )
    return pd.Index([f"{a:.0f}_{b:.0f}" for a, b in zip(cell, fov, strict=True)], dtype=object)
