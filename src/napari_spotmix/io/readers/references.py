"""The formats of references, in the order in which they are tried.

To add a format, write a module for it and add an entry to `REFERENCES`.

================  ============================================================================
format            labels
================  ============================================================================
``.h5ad``, Zarr   a column of ``obs``, or a table that is given
loom              a column attribute, or a table that is given (the extra ``loom``)
10x               a table in the folder of the matrix (HDF5 or Matrix Market), or one that is given
cells in place    a table in the folder, the table of coordinates itself, or one that is given
table             a table in the folder of the counts, or one that is given; none for signatures
================  ============================================================================
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from anndata import AnnData

from napari_spotmix.base.errors import ReadError
from napari_spotmix.base.progress import ProgressCallback, silent
from napari_spotmix.io.on_disk import kept_open
from napari_spotmix.io.problems import as_read_error
from napari_spotmix.io.readers.anndata_zarr import find_anndata_store, read_anndata_store, store_files
from napari_spotmix.io.readers.cell_ranger import find_cell_ranger, read_cell_ranger
from napari_spotmix.io.readers.detect import Detected, detect_format, why_packed
from napari_spotmix.io.readers.h5ad import check_labels, find_h5ad, read_h5ad
from napari_spotmix.io.readers.labels import (
    LabelTable,
    find_labels,
    has_types,
    join_labels,
    label_files,
    missing_labels,
    read_labels,
)
from napari_spotmix.io.readers.loom import find_loom, read_loom
from napari_spotmix.io.readers.options import DEFAULT
from napari_spotmix.io.readers.reference_tables import find_reference_table, read_reference_table
from napari_spotmix.io.readers.registry import TABLES, format_of
from napari_spotmix.io.readers.signatures import is_signatures
from napari_spotmix.io.readers.tenx_matrix import matrix_files

__all__ = ["REFERENCES", "ReferenceFormat", "read_labeled", "reference_files"]

_STAGE = "Reading reference"
_IN_PLACE = "cells in place"
#: Formats of spatial data whose rows are cells, which can be a reference.
_CELLS = ("xenium", "cosmx", "segmented_cells", "gef")
#: Where the prefix of a matrix of 10x ends.
_NAME_OF_COUNTS = re.compile(r"matrix\.mtx|(filtered|raw)_(feature|gene)_bc")
_EXPECTED = (
    "Expected an .h5ad file, a 10x matrix (.h5 or folder) or a table of counts with a table of labels, "
    "a loom file, or a table of signatures (genes x cell types)."
)


@dataclass(frozen=True)
class ReferenceFormat:
    """One kind of reference.

    Attributes
    ----------
    name : str
    find : callable
        Takes an existing path and returns the path of the data, or None if they have another format. Reads
        names and first bytes only.
    files : callable
        Returns every file that is read, except labels.
    read : callable
        Takes the path of the data, a table of labels or None, and `on_progress`.
    finds_labels : bool
        Whether a table of labels is looked up in the folder of the data.
    read_backed : callable, optional
        As `read`, with the counts left on disk; None for formats that cannot.
    """

    name: str
    find: Callable[[Path], Path | None]
    files: Callable[[Path], list[Path]]
    read: Callable[[Path, LabelTable | None, ProgressCallback], AnnData]
    finds_labels: bool = False
    read_backed: Callable[[Path, LabelTable | None, ProgressCallback], AnnData] | None = None


def read_labeled(
    path: Path,
    *,
    cell_type_key: str | None = None,
    labels: Path | None = None,
    backed: bool = False,
    on_progress: ProgressCallback = silent,
) -> AnnData:
    """Read one reference; as :func:`napari_spotmix.io.read_reference`."""
    entry, data = _format_at(path, labels)
    chosen = labels or _found_labels(entry, data)
    table = None if chosen is None else read_labels(chosen)
    read = entry.read_backed if backed and entry.read_backed is not None else entry.read
    adata = read(data, table, on_progress)
    if table is not None and not is_signatures(adata):
        join_labels(adata, table, cell_type_key)
    check_labels(adata, data, cell_type_key)
    return adata


def reference_files(path: Path, labels: Path | None = None) -> list[Path]:
    """Return every file that `read_labeled` reads for `path`, except `labels`, in a fixed order.

    Raises
    ------
    ReadError
        If the table of labels is ambiguous.
    """
    try:
        entry, data = _format_at(path, labels)
    except ReadError:
        return [path]
    found = _found_labels(entry, data) if labels is None else None
    return list(dict.fromkeys([*entry.files(data), *(label_files(found) if found else [])]))


def _format_at(path: Path, labels: Path | None) -> tuple[ReferenceFormat, Path]:
    found = detect_format(path)
    if found.kind in ("missing", "unreadable"):
        raise ReadError(path, found.words)
    if found.kind in _CELLS:
        return _cells_in_place(found), found.path
    # Few cells look like signatures: a table of their coordinates says that they are cells.
    if found.kind == TABLES and path.is_dir():
        entry = _cells_in_place(found)
        own = _own_labels(entry, path)
        if own is not None and labels is None and find_labels([path]) in (None, own):
            return entry, found.path
    for entry in REFERENCES:
        with as_read_error(path, path.name):
            data = entry.find(path)
        if data is not None:
            return entry, data
    if found.kind == TABLES and path.is_dir():
        entry = _cells_in_place(found)
        if labels or _found_labels(entry, found.path):
            return entry, found.path
    if packed := why_packed(path):
        raise ReadError(path, packed)
    if path.suffix.lower() == ".h5ad":
        raise ReadError(path, found.words)
    if found.is_spatial:
        raise ReadError(path, f"holds spatial data ({found.words}), not single cells. {_EXPECTED}")
    raise ReadError(path, f"is not a reference. {_EXPECTED}")


def _cells_in_place(found: Detected) -> ReferenceFormat:
    """Return how cells of an imaging assay are read as a reference: as the section that they are."""
    section = format_of(found.kind)
    if section is None:
        raise ReadError(found.path, found.words)

    def read(path: Path, labels: LabelTable | None, on_progress: ProgressCallback) -> AnnData:
        if labels is None:
            raise missing_labels(path)
        return section.read_spatial(path, DEFAULT, backed=False, on_progress=on_progress)

    def files(path: Path) -> list[Path]:
        return section.files(path, DEFAULT)

    return ReferenceFormat(_IN_PLACE, lambda path: path, files, read, finds_labels=True)


def _own_labels(entry: ReferenceFormat, path: Path) -> Path | None:
    """Return the file of a section that holds types of its cells too, or None."""
    try:
        return next((one for one in entry.files(path) if has_types(one)), None)
    except ReadError:
        return None


def _found_labels(entry: ReferenceFormat, data: Path) -> Path | None:
    if not entry.finds_labels:
        return None
    if entry.name != _IN_PLACE:
        return _labels_of(data)
    own = _own_labels(entry, data)
    if own is not None:
        return own
    return find_labels([data if data.is_dir() else data.parent], without=entry.files(data))


def _labels_of(data: Path) -> Path | None:
    folders = [data, data.parent] if data.is_dir() else [data.parent]
    prefix = "" if data.is_dir() else _NAME_OF_COUNTS.split(data.name)[0]
    return find_labels(folders, prefix)


def _read_h5ad(path: Path, _: LabelTable | None, on_progress: ProgressCallback) -> AnnData:
    return read_h5ad(path, _STAGE, on_progress)


def _open_h5ad(path: Path, _: LabelTable | None, on_progress: ProgressCallback) -> AnnData:
    with kept_open() as files:
        return read_h5ad(path, _STAGE, on_progress, files)


def _read_zarr(path: Path, _: LabelTable | None, on_progress: ProgressCallback) -> AnnData:
    return read_anndata_store(path, _STAGE, on_progress)


def _only(path: Path) -> list[Path]:
    return [path]


REFERENCES: tuple[ReferenceFormat, ...] = (
    ReferenceFormat("h5ad", find_h5ad, _only, _read_h5ad, read_backed=_open_h5ad),
    ReferenceFormat("anndata_zarr", find_anndata_store, store_files, _read_zarr),
    ReferenceFormat("loom", find_loom, _only, read_loom),
    ReferenceFormat("10x", find_cell_ranger, matrix_files, read_cell_ranger, finds_labels=True),
    ReferenceFormat("table", find_reference_table, _only, read_reference_table, finds_labels=True),
)
