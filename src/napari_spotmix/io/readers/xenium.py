"""Read the output bundle of 10x Genomics' Xenium: cells with their counts, centers and outlines.

References
----------
10x Genomics, "Xenium Output Files" (Xenium Onboard Analysis 1 to 3): ``cell_feature_matrix.h5`` or a folder
of that name, ``cells.parquet`` or ``cells.csv.gz``, ``cell_boundaries.parquet`` or ``.csv.gz``; micrometers.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from napari_spotmix.base.errors import ReadError
from napari_spotmix.base.keys import MICRONS_PER_PIXEL, SPATIAL
from napari_spotmix.base.progress import ProgressCallback, silent
from napari_spotmix.base.text import agreeing, count
from napari_spotmix.io.notes import add_notes
from napari_spotmix.io.readers.cell_tables import cells_at, library_of, read_named
from napari_spotmix.io.readers.json_files import read_json_object
from napari_spotmix.io.readers.options import DEFAULT, ReadOptions
from napari_spotmix.io.readers.outlines import keep_outlines, outlines_by_rows
from napari_spotmix.io.readers.tenx_matrix import matrix_files, read_matrix

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["find_xenium", "read_xenium", "xenium_files"]

_BUNDLE = "experiment.xenium"
_MATRICES = ("cell_feature_matrix.h5", "cell_feature_matrix")
_CELLS = ("cells.parquet", "cells.csv.gz", "cells.csv")
_BOUNDARIES = ("cell_boundaries.parquet", "cell_boundaries.csv.gz", "cell_boundaries.csv")
_OF_CELLS = ("cell_area", "nucleus_area")


def find_xenium(path: Path) -> Path | None:
    """Return the folder of a Xenium bundle: `path`, ``outs`` in it, or that of ``experiment.xenium``."""
    if path.name == _BUNDLE and path.is_file():
        return path.parent
    for folder in (path, path / "outs"):
        has_cells = _first(folder, _MATRICES) is not None and _first(folder, _CELLS) is not None
        if (folder / _BUNDLE).is_file() or has_cells:
            return folder
    return None


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).exists()), None)


def _required(root: Path) -> tuple[Path, Path]:
    """Return the matrix and the table of cells."""
    matrix, cells = _first(root, _MATRICES), _first(root, _CELLS)
    problems = [
        f"is a Xenium bundle without {words}: expected `{names[0]}` or `{names[1]}`. Copy it from the run."
        for found, words, names in (
            (matrix, "counts of its cells", _MATRICES),
            (cells, "its table of cells", _CELLS),
        )
        if found is None
    ]
    if matrix is None or cells is None:
        raise ReadError(root, problems)
    return matrix, cells


def xenium_files(root: Path, _: ReadOptions = DEFAULT) -> list[Path]:
    """Return every file that is read, in a fixed order."""
    matrix, cells = _required(root)
    others = [root / _BUNDLE, _first(root, _BOUNDARIES)]
    return [*matrix_files(matrix), cells, *(one for one in others if one is not None and one.is_file())]


def read_xenium(
    root: Path,
    options: ReadOptions = DEFAULT,
    *,
    backed: bool = False,
    on_progress: ProgressCallback = silent,
) -> AnnData:
    """Read the cells of a bundle; as :func:`napari_spotmix.io.read_spatial`.

    Coordinates are in micrometers, as in the files. ``uns['spatial'][library]['outlines']`` holds the
    outlines of cells.

    Raises
    ------
    ReadError
        If files are missing, damaged, or of different runs.
    """
    matrix_path, cells_path = _required(root)
    matrix = read_matrix(matrix_path, root, None, on_progress)
    genes = matrix.genes_only()
    numbers = ("x_centroid", "y_centroid")
    cells = read_named(cells_path, ("cell_id",), numbers, on_progress, optional=_OF_CELLS)
    positions = pd.DataFrame(cells).set_index("cell_id").rename_axis(None)
    positions = positions.rename(columns=dict(zip(numbers, ("x", "y"), strict=True)))
    positions.index = positions.index.astype(object)
    adata = cells_at(root, genes.counts, genes.barcodes, genes.features, positions, cells_path.name)
    adata.var["feature_types"] = adata.var["feature_types"].astype("category")
    name = root.resolve().name or "xenium"
    adata.uns[SPATIAL] = library_of(name, {MICRONS_PER_PIXEL: 1.0}, **_metadata(root))
    notes = ["The section was read as a Xenium bundle. Coordinates are the centers of cells in micrometers."]
    n_others = len(matrix.features) - len(genes.features)
    if n_others:
        were = agreeing(n_others, "were")
        notes.append(f"{count(n_others, 'feature')} other than genes (controls, codewords) {were} dropped.")
    notes += _add_outlines(adata, root, name, on_progress)
    notes += ["The counts were read into memory: those of cells cannot be read in blocks."] if backed else []
    add_notes(adata, notes)
    return adata


def _metadata(root: Path) -> dict[str, str]:
    """Return what is known about the run; nothing if its description is missing or damaged."""
    try:
        content = read_json_object(root / _BUNDLE)
    except (OSError, ValueError):
        return {}
    names = ("run_name", "region_name", "analysis_sw_version")
    return {name: str(content[name]) for name in names if isinstance(content.get(name), str)}


def _add_outlines(adata: AnnData, root: Path, library: str, on_progress: ProgressCallback) -> list[str]:
    path = _first(root, _BOUNDARIES)
    if path is None:
        return ["No outlines of cells were found (`cell_boundaries.parquet`)."]
    read = read_named(path, ("cell_id",), ("vertex_x", "vertex_y"), on_progress)
    xy = np.column_stack([read["vertex_x"], read["vertex_y"]])
    if not np.isfinite(xy).all():
        raise ReadError(root, f"`{path.name}` must hold a number for each vertex, found none. Copy it again.")
    cells, outlines = outlines_by_rows(read["cell_id"], xy)
    if cells.has_duplicates:
        raise ReadError(root, f"`{path.name}` must list the vertices of a cell together. Copy it again.")
    keep_outlines(adata, library, outlines.taken(cells.get_indexer(adata.obs_names)))
    return []
