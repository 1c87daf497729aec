"""Read Zarr stores of AnnData, format 2 and 3: the content of an ``.h5ad`` file as a folder.

References
----------
anndata, "On-disk format" (0.7 and later).
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import anndata
import zarr
from anndata import AnnData

from napari_spotmix.base.cancel import run_cancellable
from napari_spotmix.base.progress import Progress, ProgressCallback, silent
from napari_spotmix.io.notes import add_notes
from napari_spotmix.io.problems import as_read_error
from napari_spotmix.io.readers.anndata_coordinates import join_coordinates, set_coordinates
from napari_spotmix.io.readers.json_files import read_json_object
from napari_spotmix.io.readers.off_tissue import only_under_tissue
from napari_spotmix.io.readers.options import DEFAULT, ReadOptions
from napari_spotmix.io.readers.store_inspection import check_store
from napari_spotmix.io.safe_names import restore_names
from napari_spotmix.io.sparse_gate import check_matrices
from napari_spotmix.io.uns import is_current, read_anndata

__all__ = [
    "IN_MEMORY",
    "attributes",
    "find_anndata_store",
    "read_anndata_store",
    "read_spatial_anndata_store",
    "store_files",
]

#: The note for `backed`.
IN_MEMORY = "The counts were read into memory: Zarr stores cannot be read in blocks."


def attributes(folder: Path) -> dict[str, Any]:
    """Return the attributes of a group of a Zarr store, empty if `folder` is not one."""
    for name, key in (("zarr.json", "attributes"), (".zattrs", None)):
        if (file := folder / name).is_file():
            content = read_json_object(file)
            found = content.get(key, {}) if key else content
            return found if isinstance(found, dict) else {}
    return {}


def find_anndata_store(path: Path) -> Path | None:
    """Return `path` if it is a Zarr store of AnnData."""
    return path if path.is_dir() and attributes(path).get("encoding-type") == "anndata" else None


def store_files(path: Path) -> list[Path]:
    """Return every file of a store, in a fixed order."""
    return sorted(file for file in path.rglob("*") if file.is_file())


def read_anndata_store(path: Path, stage: str, on_progress: ProgressCallback = silent) -> AnnData:
    """Read a Zarr store of AnnData into memory.

    Raises
    ------
    ReadError
        If it is damaged.
    """
    with as_read_error(path, path.name), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # duplicate gene names, and experimental formats
        adata: AnnData = run_cancellable(lambda: _read_all(path), stage, on_progress)
        restore_names(adata)
    on_progress(Progress(stage, 1, 1))
    return adata


def _read_all(path: Path) -> AnnData:
    check_store(path)
    store: Any = zarr.open_group(path, mode="r")
    adata: AnnData = read_anndata(store) if is_current(store) else anndata.read_zarr(path)
    check_matrices(adata, path)
    return adata


def read_spatial_anndata_store(
    path: Path,
    options: ReadOptions = DEFAULT,
    *,
    backed: bool = False,
    on_progress: ProgressCallback = silent,
) -> AnnData:
    """Read spots from a Zarr store of AnnData; as :func:`napari_spotmix.io.read_spatial`."""
    adata = read_anndata_store(path, "Reading spots", on_progress)
    if options.coordinates is None:
        set_coordinates(adata, path)
    else:
        join_coordinates(adata, options.coordinates, path, on_progress)
    adata = only_under_tissue(adata)
    if backed:
        add_notes(adata, [IN_MEMORY])
    return adata
