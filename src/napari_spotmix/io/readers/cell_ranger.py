"""Read a reference from 10x output: an HDF5 matrix, a Matrix Market folder, or the output of Cell Ranger.

The labels of the cells are in a separate table (see `labels`).
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from anndata import AnnData

from napari_spotmix.base.errors import ReadError
from napari_spotmix.base.progress import Progress, ProgressCallback
from napari_spotmix.base.text import agreeing, count
from napari_spotmix.io.notes import add_notes
from napari_spotmix.io.on_disk import assembled
from napari_spotmix.io.problems import listed
from napari_spotmix.io.readers.h5ad import begins_as_hdf5
from napari_spotmix.io.readers.labels import LabelTable, missing_labels
from napari_spotmix.io.readers.space_ranger import has_positions
from napari_spotmix.io.readers.tenx_matrix import is_mtx, mtx_files_in, read_matrix

__all__ = ["find_cell_ranger", "read_cell_ranger"]

_STAGE = "Reading reference"
#: In order of preference; a name may have a prefix, as in downloads from GEO.
_MATRICES = (
    "*filtered_feature_bc_matrix.h5",
    "*filtered_feature_bc_matrix",
    "*filtered_gene_bc_matrices_h5.h5",
    "*filtered_gene_bc_matrices/*",
    "*feature_bc_matrix.h5",
    "*feature_bc_matrix",
)


def find_cell_ranger(path: Path) -> Path | None:
    """Return the matrix at `path`, or the one in the output folder of Cell Ranger, or None."""
    if path.is_file():
        is_h5 = path.suffix.lower() == ".h5" and begins_as_hdf5(path)
        return path if is_h5 or is_mtx(path) else None
    if _is_mtx_folder(path):
        return path
    if flat := ([] if has_positions(path) else mtx_files_in(path)):
        return _only(path, flat)
    for folder in (path, path / "outs"):
        if not (folder / "spatial").is_dir():
            found = (one for name in _MATRICES for one in sorted(folder.glob(name)))
            if matrix := next((one for one in found if one.is_file() or _is_mtx_folder(one)), None):
                return matrix
    return None


def _only(path: Path, found: list[Path]) -> Path:
    """Return the matrix of the one sample in a folder."""
    if len(found) > 1:
        names = listed([one.name for one in found])
        raise ReadError(
            path, f"Expected the matrix of one sample, found several: {names}. Choose one of them."
        )
    return found[0]


def _is_mtx_folder(path: Path) -> bool:
    return any((path / f"matrix.mtx{end}").is_file() for end in ("", ".gz"))


def read_cell_ranger(path: Path, labels: LabelTable | None, on_progress: ProgressCallback) -> AnnData:
    """Read the cells of a 10x matrix.

    Raises
    ------
    MissingLabels
        If there is no table of labels.
    ReadError
        If the matrix is damaged.
    """
    if labels is None:
        raise missing_labels(path)
    on_progress(Progress(_STAGE, 0, 1))
    matrix = read_matrix(path, path.parent, None, on_progress)
    genes = matrix.genes_only()
    n_others = len(matrix.features) - len(genes.features)
    adata = assembled({"X": genes.counts, "obs": pd.DataFrame(index=genes.barcodes)})
    adata.var = genes.features.astype({"feature_types": "category"})
    if n_others:
        features, were = count(n_others, "feature"), agreeing(n_others, "were")
        add_notes(adata, [f"{features} of the reference other than genes {were} dropped."])
    on_progress(Progress(_STAGE, 1, 1))
    return adata
