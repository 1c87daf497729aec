"""Read ``.h5ad`` files: spots in the layout of scanpy, and labeled single cells."""

from __future__ import annotations

import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import anndata
import h5py
import pandas as pd

from napari_spotmix.base.cancel import run_cancellable
from napari_spotmix.base.errors import ReadError
from napari_spotmix.base.keys import SIGNATURES
from napari_spotmix.base.progress import Progress, ProgressCallback, silent
from napari_spotmix.io.notes import add_notes
from napari_spotmix.io.on_disk import kept_open, open_h5ad
from napari_spotmix.io.problems import as_read_error, listed
from napari_spotmix.io.readers.anndata_coordinates import join_coordinates, set_coordinates
from napari_spotmix.io.readers.off_tissue import only_under_tissue
from napari_spotmix.io.readers.options import DEFAULT, ReadOptions
from napari_spotmix.io.readers.safety import check_hdf5
from napari_spotmix.io.safe_names import restore_names
from napari_spotmix.io.sparse_gate import check_matrices
from napari_spotmix.io.uns import is_current, read_anndata

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = [
    "HDF5_MAGIC",
    "begins_as_hdf5",
    "check_labels",
    "find_h5ad",
    "label_columns",
    "read_h5ad",
    "read_spatial_h5ad",
]

#: First bytes of an HDF5 file.
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


def find_h5ad(path: Path) -> Path | None:
    """Return `path` if it is an HDF5 file named ``.h5ad``."""
    if not path.name.lower().endswith(".h5ad") or path.is_dir():
        return None
    return path if begins_as_hdf5(path) else None


def begins_as_hdf5(path: Path) -> bool:
    """Return whether the first bytes of a file are those of HDF5."""
    with path.open("rb") as file:
        return file.read(len(HDF5_MAGIC)) == HDF5_MAGIC


def read_h5ad(
    path: Path, stage: str, on_progress: ProgressCallback = silent, files: ExitStack | None = None
) -> AnnData:
    """Read any ``.h5ad`` file, also of old versions, and restore the names that were made safe for the file.

    With `files`, matrices stay on disk, and the file stays open until that stack is closed.
    """
    on_progress(Progress(stage, 0, 1))
    with as_read_error(path, path.name), warnings.catch_warnings():
        # anndata warns of old layouts and duplicate names; both are fine here.
        warnings.simplefilter("ignore")
        check_hdf5(path, in_memory=files is None, stage=stage, on_progress=on_progress)
        if files is None:
            adata = run_cancellable(lambda: _read_all(path), stage, on_progress)
        else:
            adata = run_cancellable(lambda: _read_tables(path, files), stage, on_progress)
        restore_names(adata)
    on_progress(Progress(stage, 1, 1))
    return adata


def _read_all(path: Path) -> AnnData:
    with h5py.File(path, "r") as file:
        adata: AnnData = read_anndata(file) if is_current(file) else anndata.read_h5ad(path)
    check_matrices(adata, path)
    return adata


def _read_tables(path: Path, files: ExitStack) -> AnnData:
    file = files.enter_context(h5py.File(path, "r"))
    if is_current(file):
        adata = open_h5ad(file)
        check_matrices(adata, path)
        return adata
    adata = _read_all(path)
    add_notes(
        adata, [f"The counts were read into memory: {path.name} was written by an old version of anndata."]
    )
    return adata


def read_spatial_h5ad(
    path: Path,
    options: ReadOptions = DEFAULT,
    *,
    backed: bool = False,
    on_progress: ProgressCallback = silent,
) -> AnnData:
    """Read spots from ``.h5ad``; as :func:`napari_spotmix.io.read_spatial`."""
    with kept_open() as files:
        adata = read_h5ad(path, "Reading spots", on_progress, files if backed else None)
        if options.coordinates is None:
            set_coordinates(adata, path)
        else:
            join_coordinates(adata, options.coordinates, path, on_progress)
        return only_under_tissue(adata)


def check_labels(adata: AnnData, path: Path, cell_type_key: str | None) -> None:
    """Check that a reference has the column of labels that was given.

    Raises
    ------
    ReadError
        If not; the message names likely columns.
    """
    if cell_type_key is None or cell_type_key in adata.obs:
        return
    likely = label_columns(adata)
    hint = f"Likely columns: {listed(likely)}." if likely else "Give a table of cell types as `labels`."
    raise ReadError(
        path,
        f"`cell_type_key` must be a column of `obs` with the cell types; {cell_type_key!r} was not found "
        f"in {listed(list(adata.obs))}. {hint}",
    )


def label_columns(adata: AnnData) -> list[str]:
    """Return the columns of ``obs`` that may hold cell types, the most likely first.

    They hold text or categories with at least two values, and fewer values than cells. In signatures, each
    row is a type.

    Examples
    --------
    >>> obs = pd.DataFrame({"batch": ["1", "1", "2"], "cell_type": ["B", "T", "T"], "depth": [1.0, 2.0, 3.0]},
    ...                    index=["a", "b", "c"])
    >>> label_columns(anndata.AnnData(obs=obs))
    ['cell_type', 'batch']
    """
    n_most = adata.n_obs + 1 if SIGNATURES in adata.uns else max(adata.n_obs, 3)
    names = [str(name) for name in adata.obs if _may_be_labels(adata.obs[name], n_most)]
    return sorted(
        names, key=lambda name: not any(word in name.lower() for word in ("type", "label", "annot"))
    )


def _may_be_labels(column: pd.Series, n_most: int) -> bool:
    is_text = isinstance(column.dtype, pd.CategoricalDtype) or pd.api.types.is_string_dtype(column.dtype)
    return bool(is_text) and 2 <= column.nunique() < n_most
