"""Read the output folder of Curio Seeker: beads with their counts and positions.

References
----------
Curio Bioscience, "Curio Seeker Bioinformatics Pipeline" (outputs): ``*_MoleculesPerMatchedBead.mtx`` (genes x
beads) with ``*_barcodes.tsv`` and ``*_genes.tsv``, and ``*_MatchedBeadLocation.csv``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from napari_spotmix.base.errors import ReadError
from napari_spotmix.base.keys import SPATIAL
from napari_spotmix.base.progress import ProgressCallback, silent
from napari_spotmix.io.notes import add_notes
from napari_spotmix.io.readers.cell_tables import cells_at, first_of, library_of
from napari_spotmix.io.readers.coordinate_tables import read_coordinates
from napari_spotmix.io.readers.options import DEFAULT, ReadOptions
from napari_spotmix.io.readers.table_columns import open_table
from napari_spotmix.io.readers.tenx_matrix import read_mtx_files

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["curio_files", "find_curio", "read_curio"]

_MATRIX, _POSITIONS = "MoleculesPerMatchedBead.mtx", "MatchedBeadLocation.csv"
_PARTS = (_MATRIX, "barcodes.tsv", "genes.tsv", _POSITIONS)


def find_curio(path: Path) -> Path | None:
    """Return `path` if it is the output folder of Curio Seeker."""
    return path if all(any(path.glob(f"*{name}*")) for name in (_MATRIX, _POSITIONS)) else None


def curio_files(root: Path, _: ReadOptions = DEFAULT) -> list[Path]:
    """Return the files that are read: the matrix, its lists of beads and genes, and the positions.

    Raises
    ------
    ReadError
        If one is missing, or there are several.
    """
    found = [first_of(root, f"*{name}", f"*{name}.gz") for name in _PARTS]
    problems = [
        f"is the output of Curio Seeker without `*_{name}`. Copy it from the run."
        for name, path in zip(_PARTS, found, strict=True)
        if path is None
    ]
    if problems:
        raise ReadError(root, problems)
    return [path for path in found if path is not None]


def read_curio(
    root: Path,
    options: ReadOptions = DEFAULT,
    *,
    backed: bool = False,
    on_progress: ProgressCallback = silent,
) -> AnnData:
    """Read the beads of a run; as :func:`napari_spotmix.io.read_spatial`.

    Raises
    ------
    ReadError
        If files are missing, damaged, or of different runs.
    """
    matrix_path, barcodes, genes, positions_path = curio_files(root)
    matrix = read_mtx_files(matrix_path, barcodes, genes, root, on_progress)
    found = read_coordinates(open_table(positions_path), on_progress)
    if found is None:
        raise ReadError(
            root, f"`{positions_path.name}` must have the columns SPATIAL_1 and SPATIAL_2. Copy it again."
        )
    found = found.named_as({"beads": list(matrix.barcodes)})
    (names,) = found.names.values()
    positions = pd.DataFrame(found.xy, columns=["x", "y"], index=names)
    features = matrix.features.drop(columns="feature_types")
    adata = cells_at(root, matrix.counts, matrix.barcodes, features, positions, positions_path.name)
    adata.uns[SPATIAL] = library_of(root.resolve().name or "curio", {})
    notes = [f"The section was read as output of Curio Seeker: counts of `{matrix_path.name}`."]
    notes += ["The counts were read into memory: Matrix Market files cannot be read in blocks."] * backed
    add_notes(adata, notes)
    return adata
