"""Read a reference from a loom file, with the optional package loompy.

References
----------
Linnarsson lab, "The loom file format" (version 3).
"""

from __future__ import annotations

import warnings
from pathlib import Path

import anndata
import h5py
from anndata import AnnData

from napari_spotmix.base.cancel import run_cancellable
from napari_spotmix.base.errors import ReadError
from napari_spotmix.base.progress import Progress, ProgressCallback
from napari_spotmix.io.problems import as_read_error, listed
from napari_spotmix.io.readers.h5ad import begins_as_hdf5
from napari_spotmix.io.readers.labels import LabelTable
from napari_spotmix.io.readers.safety import check_hdf5
from napari_spotmix.io.sparse_gate import check_matrices

__all__ = ["find_loom", "read_loom"]

_STAGE = "Reading reference"


def find_loom(path: Path) -> Path | None:
    """Return `path` if it is a loom file."""
    return path if path.suffix.lower() == ".loom" and path.is_file() and begins_as_hdf5(path) else None


def read_loom(path: Path, _: LabelTable | None, on_progress: ProgressCallback) -> AnnData:
    """Read the cells of a loom file, whose labels are a column attribute.

    Raises
    ------
    ReadError
        If loompy is not installed, or the file is damaged or names neither cells nor genes.
    """
    try:
        import loompy  # noqa: F401  (anndata reads loom files with it)
    except ImportError:
        raise ReadError(
            path,
            "is a loom file, which needs the package loompy. "
            "Install it with `pip install 'napari-spotmix[loom]'`.",
        ) from None
    with as_read_error(path, path.name), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # duplicate gene names, and loompy's use of NumPy
        check_hdf5(path, in_memory=True, stage=_STAGE, on_progress=on_progress)
        names = {
            "obs_names": _attribute(path, "col_attrs", "CellID", "obs_names", "cell_id", "barcode"),
            "var_names": _attribute(path, "row_attrs", "Gene", "var_names", "gene", "gene_name"),
        }
        adata: AnnData = run_cancellable(lambda: _read_all(path, names), _STAGE, on_progress)
    on_progress(Progress(_STAGE, 1, 1))
    return adata


def _read_all(path: Path, names: dict[str, str]) -> AnnData:
    adata: AnnData = anndata.io.read_loom(path, X_name="", **names)
    check_matrices(adata, path)
    return adata


def _attribute(path: Path, side: str, *names: str) -> str:
    """Return the attribute with the names of the cells or genes."""
    with h5py.File(path, "r") as file:
        found = [str(name) for name in list(file[side])]
    known = {name.lower(): name for name in found}
    for name in names:
        if name.lower() in known:
            return known[name.lower()]
    raise ReadError(
        path,
        f"`{side}` must hold the names of cells or genes, as one of {listed(names)}; found {listed(found)}. "
        "Add the attribute.",
    )
