"""Read the cells that Space Ranger 4 segments in Visium HD: ``segmented_outputs``.

References
----------
10x Genomics, "Segmented Outputs" (Space Ranger 4.0): ``filtered_feature_cell_matrix.h5``,
``cell_segmentations.geojson`` with the outline of each cell in full-resolution pixels, and ``spatial``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from napari_spotmix.base.errors import ReadError
from napari_spotmix.base.keys import IN_TISSUE, RESOLUTIONS, SPATIAL
from napari_spotmix.base.progress import ProgressCallback, silent
from napari_spotmix.io.notes import add_notes
from napari_spotmix.io.problems import Gatherer, as_read_error, listed
from napari_spotmix.io.readers.options import DEFAULT, ReadOptions
from napari_spotmix.io.readers.outlines import Outlines, keep_outlines, read_geojson
from napari_spotmix.io.readers.space_ranger import (
    SpaceRangerFiles,
    first_file,
    image_names,
    read_run_files,
)

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["SEGMENTED", "cell_files", "find_cells", "read_cells"]

SEGMENTED = "segmented_outputs"
_MATRICES = tuple(f"{kind}_feature_cell_matrix{end}" for kind in ("filtered", "raw") for end in (".h5", ""))
_OUTLINES = tuple(f"{of}_segmentations.geojson{end}" for of in ("cell", "nucleus") for end in ("", ".gz"))
_NUMBER = re.compile(r"(\d+)(-\d+)?")


def find_cells(path: Path) -> Path | None:
    """Return the folder of segmented cells: `path`, or ``segmented_outputs`` in it or in ``outs``."""
    folders = (path, path / SEGMENTED, path / "outs" / SEGMENTED)
    return next((one for one in folders if any(one.glob("*feature_cell_matrix*"))), None)


def cell_files(root: Path) -> SpaceRangerFiles:
    """Find the files of the segmented cells.

    Raises
    ------
    ReadError
        If the matrix or the outlines are missing or ambiguous.
    """
    gather = Gatherer(root)
    found: dict[str, Path | None] = {}
    spatial = root / "spatial"
    wanted = {
        "matrix": (root, _MATRICES),
        "positions": (root, _OUTLINES),
        "scale_factors": (spatial, ("scalefactors_json.json", "scalefactors_json.json.gz")),
    }
    for role, (folder, names) in wanted.items():
        with gather:
            found[role] = first_file(root, folder, names)
    images = {}
    for resolution in RESOLUTIONS:
        with gather:
            images[resolution] = first_file(root, spatial, image_names(resolution))
    matrix, positions = found.get("matrix"), found.get("positions")
    for what, names, one in (("counts", _MATRICES, matrix), ("outlines", _OUTLINES, positions)):
        if one is None and not gather.problems:
            gather.problems.append(f"No {what} of cells: expected `{names[0]}`. Copy it from the run.")
    if gather.problems or matrix is None or positions is None:
        raise gather.error()
    chosen = {resolution: path for resolution, path in images.items() if path}
    return SpaceRangerFiles(root, root, matrix, positions, found.get("scale_factors"), chosen)


def read_cells(
    root: Path,
    options: ReadOptions = DEFAULT,
    *,
    backed: bool = False,
    on_progress: ProgressCallback = silent,
) -> AnnData:
    """Read the segmented cells; as :func:`napari_spotmix.io.read_spatial`.

    The coordinates are the centroids of the outlines, in full-resolution pixels;
    ``uns['spatial'][library]['outlines']`` holds the outlines.

    Raises
    ------
    ReadError
        With all problems of the folder, also if a cell has no outline.
    """
    kept: list[tuple[pd.Index[str], Outlines]] = []

    def positions(
        path: Path, root: Path, wanted: pd.Index[str] | None, on_progress: ProgressCallback
    ) -> pd.DataFrame:
        cells, outlines = _outlines_of(path, root, wanted, on_progress)
        kept.append((cells, outlines))
        x, y = outlines.centers().T
        columns = {IN_TISSUE: 1, "pxl_row_in_fullres": y, "pxl_col_in_fullres": x}
        return pd.DataFrame(columns, index=cells)

    run = cell_files(root)
    adata = read_run_files(run, options, backed=backed, on_progress=on_progress, read_positions=positions)
    cells, outlines = kept[0]
    keep_outlines(adata, next(iter(adata.uns[SPATIAL])), outlines.taken(cells.get_indexer(adata.obs_names)))
    what = "cells" if run.positions.name.startswith("cell") else "nuclei"
    add_notes(
        adata, [f"Cells segmented by Space Ranger were read, at the centers of the outlines of {what}."]
    )
    return adata


def _outlines_of(
    path: Path, root: Path, wanted: pd.Index[str] | None, on_progress: ProgressCallback
) -> tuple[pd.Index[str], Outlines]:
    """Return the outlines by the barcodes of cells, such as ``cellid_000000001-1`` for the cell 1."""
    name = path.relative_to(root).as_posix()
    with as_read_error(root, name):
        numbers, outlines = read_geojson(path, on_progress)
    barcode_of = {} if wanted is None else {_number(barcode): barcode for barcode in wanted}
    cells = pd.Index([barcode_of.get(_number(number), str(number)) for number in numbers], dtype=object)
    if cells.has_duplicates:
        twice = list(cells[cells.duplicated()].unique())
        raise ReadError(
            root,
            f"`{name}` must hold one outline for each cell, found several of {listed(twice, most=3)}. "
            "Copy it again from the run.",
        )
    return cells, outlines


def _number(name: object) -> int | str:
    found = _NUMBER.search(str(name))
    return int(found[1]) if found else str(name)
