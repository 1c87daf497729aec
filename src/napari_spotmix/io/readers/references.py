"""References of every kind, tried in this order: a new one needs a reader, and an entry in `REFERENCES`.

================  ============================================================================
kind              labels
================  ============================================================================
``.h5ad``, Zarr   a column of ``obs``, or a table that is given
loom              a column attribute, or a table that is given (the extra ``loom``)
10x               a table beside the matrix (HDF5, or a Matrix Market folder), or one that is given
table             a table beside the counts, or one that is given; without one it holds signatures
================  ============================================================================
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anndata
import h5py
import pandas as pd
from anndata import AnnData

from napari_spotmix.base.cancel import run_cancellable
from napari_spotmix.base.errors import ReadError
from napari_spotmix.base.progress import Progress, ProgressCallback, silent
from napari_spotmix.base.text import agreeing, count
from napari_spotmix.io.notes import add_notes
from napari_spotmix.io.on_disk import kept_open
from napari_spotmix.io.problems import listed, as_read_error
from napari_spotmix.io.readers.table_parsing import is_table_name
from napari_spotmix.io.readers.detect import detect_format
from napari_spotmix.io.readers.h5ad import HDF5_MAGIC, check_labels, find_h5ad, read_h5ad
from napari_spotmix.io.readers.labels import (
    LabelTable,
    find_labels,
    join_labels,
    label_files,
    may_be_labels,
    read_labels,
)
from napari_spotmix.io.readers.tenx_matrix import matrix_files, read_matrix
from napari_spotmix.io.readers.signatures import is_signatures, may_be_signatures, signatures_of
from napari_spotmix.io.readers.anndata_zarr import find_anndata_store, read_anndata_store, store_files
from napari_spotmix.io.readers.table_files import Table, open_table
from napari_spotmix.io.readers.tables import TableCounts, read_counts, with_plain_ids

__all__ = ["REFERENCES", "MissingLabels", "ReferenceFormat", "read_labeled", "reference_files"]

_STAGE = "Reading reference"
#: In order of preference; a name may follow a prefix, as in downloads from GEO.
_MATRICES = (
    "*filtered_feature_bc_matrix.h5",
    "*filtered_feature_bc_matrix",
    "*filtered_gene_bc_matrices_h5.h5",
    "*filtered_gene_bc_matrices/*",
    "*feature_bc_matrix.h5",
    "*feature_bc_matrix",
)
_COUNTS = re.compile(r"(.*[_. -])?(counts?|dge|expression|umis?)([_. -].*)?", re.IGNORECASE)
_KINDS = (
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
        From a path that exists to where the data lie, or None. Looks at names and first bytes alone.
    files : callable
        Every file that reading opens, but for labels.
    read : callable
        Takes the place, a table of labels or None, and `on_progress`.
    labels_beside : bool
        Whether labels are looked for beside the file.
    read_backed : callable, optional
        As `read`, with the counts left in the file; None where they cannot be.
    """

    name: str
    find: Callable[[Path], Path | None]
    files: Callable[[Path], list[Path]]
    read: Callable[[Path, LabelTable | None, ProgressCallback], AnnData]
    labels_beside: bool = False
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
    one, place = _format_at(path)
    chosen = labels or (_labels_beside(place) if one.labels_beside else None)
    table = None if chosen is None else read_labels(chosen)
    read = one.read_backed if backed and one.read_backed is not None else one.read
    adata = read(place, table, on_progress)
    if table is not None and not is_signatures(adata):
        join_labels(adata, table, cell_type_key)
    check_labels(adata, place, cell_type_key)
    return adata


def reference_files(path: Path, labels: Path | None = None) -> list[Path]:
    """Return every file that `read_labeled` opens for `path`, but for `labels`, in a fixed order.

    Raises
    ------
    ReadError
        If its labels cannot be chosen.
    """
    try:
        one, place = _format_at(path)
    except ReadError:
        return [path]
    beside = _labels_beside(place) if one.labels_beside and labels is None else None
    return [*one.files(place), *(label_files(beside) if beside else [])]


def _format_at(path: Path) -> tuple[ReferenceFormat, Path]:
    found = detect_format(path)
    if found.kind in ("missing", "unreadable"):
        raise ReadError(path, found.words)
    for one in REFERENCES:
        with as_read_error(path, path.name):
            place = one.find(path)
        if place is not None:
            return one, place
    if path.suffix.lower() == ".h5ad":
        raise ReadError(path, found.words)
    if found.is_spatial:
        raise ReadError(path, f"holds spots of a section ({found.words}), not single cells. {_KINDS}")
    raise ReadError(path, f"is no reference. {_KINDS}")


def _labels_beside(place: Path) -> Path | None:
    folders = [place, place.parent] if place.is_dir() else [place.parent]
    return find_labels(folders)


# AnnData


def _read_h5ad(path: Path, _: LabelTable | None, on_progress: ProgressCallback) -> AnnData:
    return read_h5ad(path, _STAGE, on_progress)


def _open_h5ad(path: Path, _: LabelTable | None, on_progress: ProgressCallback) -> AnnData:
    with kept_open() as files:
        return read_h5ad(path, _STAGE, on_progress, files)


def _just(path: Path) -> list[Path]:
    return [path]


REFERENCES: tuple[ReferenceFormat, ...] = (
    ReferenceFormat("h5ad", find_h5ad, _just, _read_h5ad, read_backed=_open_h5ad),
    ReferenceFormat(
        "anndata_zarr",
        find_anndata_store,
        store_files,
        lambda path, _, report: read_anndata_store(path, _STAGE, report),
    ),
    ReferenceFormat("loom", _loom_place, _just, _read_loom),
    ReferenceFormat("10x", _tenx_place, matrix_files, _read_tenx, labels_beside=True),
    ReferenceFormat("table", _table_place, _just, _read_table, labels_beside=True),
)
