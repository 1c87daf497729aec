"""Read spots or cells from GEF, the HDF5 format of Stereo-seq.

Square bins are summed from the DNBs (``bin1``), in blocks, so that bins of any size are those of GEM.

References
----------
STOmics, "Stereo-seq Analysis Workflow Software Suite, User Manual", GEF and cell bin GEF, format 2 to 4:
``/geneExp/bin1/expression`` (x, y, count), sorted by gene, and ``gene`` (gene, or geneID and geneName, with
offset and count); ``/cellBin/cell`` (id, x, y, offset, geneCount), ``cellExp`` (geneID, count), ``gene`` and
``cellBorder``, int (n_cells, n_vertices, 2) from the center, filled up with the highest value of its type.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from napari_spotmix.base.errors import InputError, ReadError
from napari_spotmix.base.keys import MICRONS_PER_PIXEL, SPATIAL
from napari_spotmix.base.progress import Progress, ProgressCallback, silent
from napari_spotmix.io.notes import add_notes
from napari_spotmix.io.problems import as_read_error, listed
from napari_spotmix.io.readers.cell_tables import cells_at, library_of
from napari_spotmix.io.readers.gem import (
    PITCH_UM,
    SpotSums,
    add_bins,
    bins_at,
    rows_of,
    side_of,
    usual_bins,
)
from napari_spotmix.io.readers.h5ad import begins_as_hdf5
from napari_spotmix.io.readers.options import DEFAULT, BinSize, ReadOptions
from napari_spotmix.io.readers.outlines import Outlines, keep_outlines
from napari_spotmix.io.readers.safety import check_hdf5
from napari_spotmix.io.readers.table_counts import genes_table
from napari_spotmix.params import GEM_BIN

__all__ = ["find_gef", "gef_bins", "read_gef"]

_SUFFIXES = (".gef", ".cgef")
_CELLS, _BINS = "cellBin", "geneExp"
_STAGE = "Reading spots"
#: Records that are read at once.
_BLOCK = 1 << 20
#: Genes, and the largest count that sums of float32 hold exactly.
_MOST_GENES, _MOST = (1 << 21) - 1, 1 << 24
_NANOMETERS = 500


def find_gef(path: Path) -> Path | None:
    """Return `path` if it is a GEF file."""
    is_gef = path.suffix.lower() in _SUFFIXES and path.is_file() and begins_as_hdf5(path)
    return path if is_gef else None


def gef_bins(path: Path) -> list[BinSize]:
    """Return usual bin sizes; empty for cell bins.

    Raises
    ------
    ReadError
        If the file is damaged.
    """
    check_hdf5(path)
    with as_read_error(path, path.name), h5py.File(path, "r") as file:
        return usual_bins() if _BINS in file else []


def read_gef(
    path: Path,
    options: ReadOptions = DEFAULT,
    *,
    backed: bool = False,
    on_progress: ProgressCallback = silent,
) -> AnnData:
    """Read square bins, or cells with their outlines; as :func:`napari_spotmix.io.read_spatial`.

    Coordinates are in DNBs of 0.5 um.

    Raises
    ------
    ReadError
        If the file is damaged, or holds other bins than single DNBs.
    InputError
        If the side of a bin is invalid, or given for cells.
    """
    check_hdf5(path, stage=_STAGE, on_progress=on_progress)
    with as_read_error(path, path.name), h5py.File(path, "r") as file:
        _check_pitch(file)
        if isinstance(file.get(_BINS), h5py.Group):
            adata = _read_bins(path, file, options, on_progress)
        elif isinstance(file.get(_CELLS), h5py.Group):
            adata = _read_cells(path, file[_CELLS], options, on_progress)
        else:
            raise ReadError(
                path,
                f"must hold '{_BINS}' or '{_CELLS}', found {listed(sorted(file))}. Choose the output of SAW.",
            )
    if backed:
        add_notes(adata, ["The counts were read into memory: GEF files cannot be read in blocks."])
    return adata


def _check_pitch(file: h5py.File) -> None:
    """Check that DNBs are 500 nm apart, if the file says: lengths would be wrong."""
    found = np.atleast_1d(file.attrs.get("resolution", _NANOMETERS))
    if found.dtype.kind not in "iuf" or found.size != 1 or found[0] not in (0, _NANOMETERS):
        raise ValueError(f"`resolution` must be {_NANOMETERS} nm, found {str(found)[:40]}")


# Square bins


def _read_bins(path: Path, file: h5py.File, options: ReadOptions, on_progress: ProgressCallback) -> AnnData:
    side = side_of(options, True) or GEM_BIN
    if "bin1" not in file[_BINS]:
        raise ReadError(
            path,
            f"must hold single DNBs (`{_BINS}/bin1`), found {listed(sorted(file[_BINS]))}. "
            "Export it with a bin size of 1.",
        )
    group = file[_BINS]["bin1"]
    expression = _records(group, "expression", ("x", "y", "count"))
    table = _records(group, "gene", ("offset", "count"))[:]
    ids, symbols = _names(table)
    ends = _ends(table["offset"], table["count"], len(expression), "gene")
    sums = SpotSums(side, on_progress)
    for start, block in _blocks(expression, on_progress):
        genes = np.searchsorted(ends, np.arange(start, start + len(block)), side="right")
        spots = bins_at(path, side, block["x"].astype(np.int64), block["y"].astype(np.int64))
        sums.add(spots, genes.astype(np.int64), _counts(block["count"]).astype(np.float64))
    spots, counts = rows_of(sums.merged(), len(ids), on_progress)
    adata = AnnData(counts)
    notes: list[str] = []
    adata.var = _genes(ids, symbols, notes)
    words = add_bins(adata, path.name.split(".")[0], spots, side, True)
    add_notes(adata, [words, *notes])
    return adata


# Cells


def _read_cells(
    path: Path, group: h5py.Group, options: ReadOptions, on_progress: ProgressCallback
) -> AnnData:
    if options.bin_um is not None or options.gem_bin is not None:
        raise InputError("`bin_um` and `gem_bin` must be left out: this file holds cells, not bins.")
    cells = _records(group, "cell", ("id", "x", "y", "offset", "geneCount"))[:]
    entries = _records(group, "cellExp", ("geneID", "count"))
    ids, symbols = _names(_records(group, "gene", ())[:])
    ends = _ends(cells["offset"], cells["geneCount"], len(entries), "cell")
    genes, counts = np.empty(len(entries), np.int32), np.empty(len(entries), np.float32)
    for start, block in _blocks(entries, on_progress):
        numbers = block["geneID"].astype(np.int64)
        if numbers.min() < 0 or numbers.max() >= len(ids):
            raise ValueError(f"`cellExp` names the gene {numbers.max():,} of {len(ids):,}")
        here = slice(start, start + len(block))
        genes[here], counts[here] = numbers, _counts(block["count"])
    matrix = csr_matrix((counts, genes, np.concatenate([[0], ends])), shape=(len(cells), len(ids)))
    matrix.sum_duplicates()
    notes: list[str] = []
    names = pd.Index([str(number) for number in cells["id"]], dtype=object)
    xy = {"x": cells["x"].astype(np.float64), "y": cells["y"].astype(np.float64)}
    positions = pd.DataFrame(xy, index=names)
    adata = cells_at(path, matrix, names, _genes(ids, symbols, notes), positions, path.name)
    name = path.name.split(".")[0]
    adata.uns[SPATIAL] = library_of(name, {MICRONS_PER_PIXEL: PITCH_UM})
    notes.append("Cells of Stereo-seq were read, at their centers. Coordinates are in DNBs of 0.5 µm.")
    add_notes(adata, [*notes, *_add_outlines(adata, group, name)])
    return adata


def _add_outlines(adata: AnnData, group: h5py.Group, library: str) -> list[str]:
    borders = group.get("cellBorder")
    if borders is None:
        return ["No outlines of cells were found (`cellBorder`)."]
    shape: tuple[int, ...] = getattr(borders, "shape", ())
    if len(shape) != 3 or (shape[0], shape[2]) != (adata.n_obs, 2) or borders.dtype.kind != "i":
        raise ValueError("`cellBorder` must be integers of (cells, vertices, 2)")
    offsets = borders[:]
    is_there = (offsets != np.iinfo(offsets.dtype).max).all(axis=2)
    vertices = (offsets.astype(np.float64) + adata.obsm[SPATIAL][:, None])[is_there]
    starts = np.concatenate([[0], np.cumsum(is_there.sum(axis=1))]).astype(np.int64)
    keep_outlines(adata, library, Outlines(vertices, starts))
    return []


# What a file holds, checked before it is used


def _records(group: h5py.Group, name: str, fields: tuple[str, ...]) -> h5py.Dataset:
    """Return a list of records that has these fields, each of integers."""
    found = group.get(name)
    if not isinstance(found, h5py.Dataset) or found.ndim != 1 or found.dtype.names is None:
        raise ValueError(f"`{group.name}/{name}` must be a list of records")
    for field in fields:
        if field not in found.dtype.names or found.dtype[field].kind not in "iu":
            raise ValueError(f"`{found.name}` must have integers called `{field}`")
    return found


def _blocks(records: h5py.Dataset, on_progress: ProgressCallback) -> Iterator[tuple[int, Any]]:
    for start in range(0, len(records), _BLOCK):
        on_progress(Progress(_STAGE, start, len(records)))
        yield start, records[start : start + _BLOCK]


def _counts(counts: NDArray[Any]) -> NDArray[Any]:
    if counts.min() < 0 or counts.max() > _MOST:
        raise ValueError(
            f"counts must be between 0 and {_MOST:,}, found {counts.min():,} to {counts.max():,}"
        )
    return counts


def _ends(starts: NDArray[Any], lengths: NDArray[Any], n_records: int, what: str) -> NDArray[np.int64]:
    """Return where the records of each gene or cell end: they must follow each other without gaps."""
    begin, n = starts.astype(np.int64), lengths.astype(np.int64)
    if (n < 0).any() or (n > n_records).any():
        raise ValueError(f"`{what}` has numbers of records that are not between 0 and {n_records:,}")
    if not n_records:
        raise ValueError("it holds no counts")
    ends = np.cumsum(n)
    is_wrong = (begin != ends - n) & (n > 0)
    if is_wrong.any() or (ends[-1] if len(ends) else 0) != n_records:
        raise ValueError(f"the offsets in `{what}` do not match the {n_records:,} records")
    return ends


def _names(table: NDArray[Any]) -> tuple[list[str], list[str]]:
    """Return the identifiers and the symbols of genes; both are the same in old versions."""
    found = [name for name in ("geneID", "gene", "geneName") if name in (table.dtype.names or ())]
    if not found or len(table) > _MOST_GENES:
        raise ValueError(f"`gene` must hold names (`geneID` or `gene`) of at most {_MOST_GENES:,} genes")
    ids, symbols = _texts(table[found[0]]), _texts(table[found[-1]])
    return ids, [symbol or name for symbol, name in zip(symbols, ids, strict=True)]


def _texts(values: NDArray[Any]) -> list[str]:
    if values.dtype.kind not in "SO":
        raise ValueError(f"names of genes must be text, found {str(values.dtype)[:40]}")
    names = [
        one.decode("utf-8", "replace") if isinstance(one, bytes) else str(one) for one in values.tolist()
    ]
    if any("\0" in name for name in names):
        raise ValueError("a gene has a name with a NUL character")
    return names


def _genes(ids: list[str], symbols: list[str], notes: list[str]) -> pd.DataFrame:
    if ids == symbols:
        return genes_table(ids, notes)
    return pd.DataFrame({"gene_ids": ids}, index=pd.Index(symbols, dtype=object))
