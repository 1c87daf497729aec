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

from napari_spotmix.base.cancel import heard
from napari_spotmix.base.errors import ReadError
from napari_spotmix.base.progress import Progress, ProgressCallback, silent
from napari_spotmix.base.text import agreeing, count
from napari_spotmix.io.notes import add_notes
from napari_spotmix.io.on_disk import kept_open
from napari_spotmix.io.problems import listed, reported
from napari_spotmix.io.readers.delimited import is_table_name
from napari_spotmix.io.readers.detect import sniff
from napari_spotmix.io.readers.h5ad import HDF5_MAGIC, check_labels, is_h5ad, read_h5ad
from napari_spotmix.io.readers.labels import (
    LabelTable,
    find_labels,
    join_labels,
    label_files,
    may_be_labels,
    read_labels,
)
from napari_spotmix.io.readers.matrix import matrix_files, read_matrix
from napari_spotmix.io.readers.signatures import is_signatures, may_be_signatures, signatures_of
from napari_spotmix.io.readers.stores import find_anndata_store, read_anndata_store, store_files
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


class MissingLabels(ReadError):
    """A reference that can be read once a table of labels is given."""


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
    found = sniff(path)
    if found.kind in ("missing", "unreadable"):
        raise ReadError(path, found.words)
    for one in REFERENCES:
        with reported(path, path.name):
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


def _missing_labels(path: Path) -> MissingLabels:
    return MissingLabels(
        path,
        "holds cells without labels. Give a table of cells and their types (CSV or TSV) as `labels`, "
        "or put it beside, named `cell_types.csv`.",
    )


# AnnData


def _read_h5ad(path: Path, _: LabelTable | None, on_progress: ProgressCallback) -> AnnData:
    return read_h5ad(path, _STAGE, on_progress)


def _open_h5ad(path: Path, _: LabelTable | None, on_progress: ProgressCallback) -> AnnData:
    with kept_open() as files:
        return read_h5ad(path, _STAGE, on_progress, files)


# 10x Genomics


def _tenx_place(path: Path) -> Path | None:
    """Return the matrix at `path`, or the one in the output folder of Cell Ranger."""
    if path.is_file():
        return path if path.suffix.lower() == ".h5" and _starts_as_hdf5(path) else None
    if _is_mtx_folder(path):
        return path
    for folder in (path, path / "outs"):
        if not (folder / "spatial").is_dir():
            found = (one for name in _MATRICES for one in sorted(folder.glob(name)))
            if matrix := next((one for one in found if one.is_file() or _is_mtx_folder(one)), None):
                return matrix
    return None


def _is_mtx_folder(path: Path) -> bool:
    return any((path / f"matrix.mtx{end}").is_file() for end in ("", ".gz"))


def _starts_as_hdf5(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(HDF5_MAGIC)) == HDF5_MAGIC


def _read_tenx(path: Path, labels: LabelTable | None, on_progress: ProgressCallback) -> AnnData:
    if labels is None:
        raise _missing_labels(path)
    on_progress(Progress(_STAGE, 0, 1))
    matrix = read_matrix(path, path.parent, None, on_progress)
    genes = matrix.genes_only()
    n_others = len(matrix.features) - len(genes.features)
    adata = AnnData(genes.counts, obs=pd.DataFrame(index=genes.barcodes))
    adata.var = genes.features.astype({"feature_types": "category"})
    if n_others:
        features, were = count(n_others, "feature"), agreeing(n_others, "were")
        add_notes(adata, [f"{features} of the reference other than genes {were} left out."])
    on_progress(Progress(_STAGE, 1, 1))
    return adata


# Loom


def _loom_place(path: Path) -> Path | None:
    return path if path.suffix.lower() == ".loom" and path.is_file() and _starts_as_hdf5(path) else None


def _read_loom(path: Path, _: LabelTable | None, on_progress: ProgressCallback) -> AnnData:
    try:
        import loompy  # noqa: F401  (what anndata reads it with)
    except ImportError:
        raise ReadError(
            path, "is a loom file, which needs loompy: `pip install 'napari-spotmix[loom]'`."
        ) from None
    with reported(path, path.name), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # duplicate gene names, and loompy's own use of NumPy
        names = {"obs_names": _attribute(path, "col_attrs", "CellID", "obs_names", "cell_id", "barcode")}
        names |= {"var_names": _attribute(path, "row_attrs", "Gene", "var_names", "gene", "gene_name")}
        adata: AnnData = heard(lambda: anndata.io.read_loom(path, X_name="", **names), _STAGE, on_progress)
    on_progress(Progress(_STAGE, 1, 1))
    return adata


def _attribute(path: Path, side: str, *names: str) -> str:
    """Return the attribute that names cells or genes."""
    with h5py.File(path, "r") as file:
        found = [str(name) for name in file[side]]
    known = {name.lower(): name for name in found}
    for name in names:
        if name.lower() in known:
            return known[name.lower()]
    raise ReadError(
        path,
        f"`{side}` names neither cells nor genes: expected one of {listed(names)}, found {listed(found)}.",
    )


# Tables


def _table_place(path: Path) -> Path | None:
    """Return a table of numbers, or the one of counts in a folder such as RCTD's."""
    if path.is_file():
        return path if is_table_name(path.name) and not may_be_labels(path) else None
    tables = [one for one in sorted(path.iterdir()) if is_table_name(one.name) and one.is_file()]
    named = [one for one in tables if _COUNTS.fullmatch(one.name.split(".")[0]) and not may_be_labels(one)]
    return named[0] if len(named) == 1 else None


def _read_table(path: Path, labels: LabelTable | None, on_progress: ProgressCallback) -> AnnData:
    table = open_table(path)
    if table.name is None or not table.genes:
        raise ReadError(
            path.parent,
            f"`{path.name}` is no table of counts or signatures: expected names in its first column and "
            f"numbers in the others, found the columns {listed(table.head.columns)}.",
        )
    counts = read_counts(Table(table.head), on_progress, _STAGE)
    sides = pd.Index(counts.rows), pd.Index(counts.columns)
    n_rows, n_columns = (0, 0) if labels is None else map(labels.n_matching, sides)
    if n_rows or n_columns:
        return _cells_of(counts if n_rows >= n_columns else counts.turned(), path)
    if may_be_signatures(counts):
        return signatures_of(counts, path)
    if labels is None:
        raise _missing_labels(path)
    raise ReadError(
        path.parent,
        f"No cell has a label: `{labels.path.name}` names neither the rows ({listed(counts.rows[:2])}) nor "
        f"the columns ({listed(counts.columns[:2])}) of `{path.name}`. Take both from the same data set.",
    )


def _cells_of(counts: TableCounts, path: Path) -> AnnData:
    notes = [f"`{path.name}` was read as {len(counts.rows):,} cells x {len(counts.columns):,} genes."]
    adata = AnnData(counts.matrix, obs=pd.DataFrame(index=pd.Index(counts.rows, dtype=object)))
    adata.var = with_plain_ids(counts.columns, notes)
    add_notes(adata, notes)
    return adata


def _just(path: Path) -> list[Path]:
    return [path]


REFERENCES: tuple[ReferenceFormat, ...] = (
    ReferenceFormat("h5ad", is_h5ad, _just, _read_h5ad, read_backed=_open_h5ad),
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
