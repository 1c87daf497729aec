"""Spots from tables with one count in each row: Stereo-seq's GEM, and others of gene, x, y, count.

A file is read in blocks, and what was read is gathered by spot and gene before the next is, so that memory is
that of the gathered counts and not that of the file.

References
----------
Chen et al. 2022 (Cell 185:1777): DNBs, the places that catch RNA, are 500 nm apart. STOmics, "Stereo-seq
Analysis Workflow Software Suite, User Manual", GEM format 0.1 and 0.2: comments ``#Key=Value``, then
``geneID``, in 0.2 ``geneName``, ``x``, ``y``, ``MIDCount`` and, where known, ``ExonCount`` and ``CellID``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import csr_matrix

from napari_spotmix.base.errors import InputError, ReadError
from napari_spotmix.base.keys import (
    ARRAY_COL,
    ARRAY_ROW,
    BIN_SIZE,
    IMAGES,
    METADATA,
    SCALE_FACTORS,
    SPATIAL,
    SPOT_DIAMETER,
)
from napari_spotmix.base.progress import Progress, ProgressCallback, silent
from napari_spotmix.io.notes import add_notes
from napari_spotmix.io.problems import listed
from napari_spotmix.io.readers.delimited import blocks, is_table_name
from napari_spotmix.io.readers.reading import DEFAULT, Reading
from napari_spotmix.io.readers.table_files import LongColumns, Table, open_table, open_tables
from napari_spotmix.io.readers.tables import with_plain_ids
from napari_spotmix.io.readers.visium_hd import BinSize
from napari_spotmix.params import GEM_BIN

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["gem_bins", "gem_files", "gem_place", "read_gem"]

#: Micrometers between the DNBs of a Stereo-seq chip.
PITCH_UM = 0.5
#: Sides of bins that people use, in DNBs, to choose from.
_SIDES = (20, 50, 100, 200)
_STAGE = "Reading spots"
#: A count is gathered under one number: its row and column of bins, and its gene, in so many bits each.
_BITS = 21
_MASK = (1 << _BITS) - 1
#: Counts that wait to be gathered, and that are gathered at once.
_WAITING, _RANGE = 1 << 22, 1 << 20


def gem_place(path: Path) -> Path | None:
    """Return `path` if it is a table with one count in each row, or a folder with no other counts."""
    tables = _long_tables(path)
    return path if tables else None


def gem_files(path: Path, how: Reading = DEFAULT) -> list[Path]:
    """Return the file that is read.

    Raises
    ------
    ReadError
        If there are several.
    """
    return [_find_table(path).path]


def gem_bins(path: Path) -> list[BinSize]:
    """Return usual sizes of bins; empty for a table that is not of Stereo-seq."""
    tables = _long_tables(path)
    return [BinSize(side * PITCH_UM, None) for side in _SIDES] if tables and _is_gem(tables[0]) else []


def _long_tables(path: Path) -> list[Table]:
    if path.is_dir():
        tables = open_tables(path)
        return (
            [] if any(table.has_counts for table in tables) else [table for table in tables if table.is_long]
        )
    if not is_table_name(path.name):
        return []
    try:
        table = open_table(path)
    except ReadError:
        return []
    return [table] if table.is_long else []


def _find_table(path: Path) -> Table:
    tables = _long_tables(path)
    if len(tables) == 1:
        return tables[0]
    if not tables:
        columns = "geneID, x, y, MIDCount"
        raise ReadError(path, f"is no table with one count in each row: expected columns such as {columns}.")
    found = listed([table.path.name for table in tables])
    raise ReadError(path, f"Several tables of counts to choose from: {found}. Choose the one to read.")


def read_gem(
    path: Path, how: Reading = DEFAULT, *, backed: bool = False, on_progress: ProgressCallback = silent
) -> AnnData:
    """Read spots from a table with one count in each row.

    Parameters
    ----------
    path : Path
        The table, or a folder that holds one.
    how : Reading
        `gem_bin` is the side of the bins, or `bin_um` for Stereo-seq.
    backed : bool, optional
        Tables cannot stay on disk; a note says so.
    on_progress : callable, optional
        Told of each block that is read.

    Returns
    -------
    AnnData
        Spots are bins that hold any count, row by row. ``obs`` array_row, array_col of bins.
        ``obsm['spatial']`` float64, middle of a bin in DNBs, or in the unit of the table; for GEM
        ``uns['spatial']`` tells their size in micrometers.

    Raises
    ------
    ReadError
        If a cell is no number, or a coordinate is negative or too far out.
    InputError
        If the side of a bin is none.
    """
    table = _find_table(path)
    columns = table.long
    assert columns is not None
    is_gem = _is_gem(table)
    _check_bins_of(table)
    side = _side(how, is_gem)
    gathered = _read(table, columns, side, on_progress)
    adata = _assembled(table, gathered, is_gem, on_progress)
    if backed:
        add_notes(adata, ["The counts were read into memory: tables cannot be read in parts."])
    return adata


def _side(how: Reading, is_gem: bool) -> int | None:
    """Return the side of the bins in DNBs, or in the unit of the table; None where each place is a spot."""
    if how.bin_um is not None and (how.gem_bin is not None or not is_gem):
        raise InputError("`bin_um`: the size of bins is told by `gem_bin` here. Leave `bin_um` out.")
    if how.bin_um is not None:
        n_dnbs = round(how.bin_um / PITCH_UM)
        if n_dnbs < 1 or n_dnbs * PITCH_UM != how.bin_um:
            raise InputError(
                f"`bin_um` must be a multiple of {PITCH_UM} for Stereo-seq, found {how.bin_um:g}."
            )
        return n_dnbs
    side = how.gem_bin if how.gem_bin is not None else GEM_BIN if is_gem else None
    if side is not None and (not isinstance(side, int) or isinstance(side, bool) or side < 1):
        raise InputError(f"`gem_bin` must be a whole number of at least 1, found {side!r}.")
    return side


def _is_gem(table: Table) -> bool:
    columns = {name.lower() for name in table.head.columns}
    return any(line.startswith("#") for line in table.head.comments) or bool(
        {"midcount", "midcounts"} & columns
    )


def _check_bins_of(table: Table) -> None:
    """Refuse what was put in bins before: whether its x and y count bins or DNBs is not told in the file."""
    sizes = (line.removeprefix("#BinSize=") for line in table.head.comments if line.startswith("#BinSize="))
    size = next(sizes, "1").strip()
    if size != "1":
        raise ReadError(
            table.path.parent,
            f"`{table.path.name}` holds bins of {size[:20]} already: expected single DNBs (`#BinSize=1`). "
            "Export it with a bin size of 1.",
        )


# Gathering


@dataclass
class _Names:
    """Numbers for names, in the order in which they come."""

    numbers: dict[Any, int] = field(default_factory=dict)

    def of(self, names: pd.Index[Any]) -> NDArray[np.int64]:
        """Return the number of each name, a new one for each that is new."""
        numbers = self.numbers
        return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)


@dataclass(frozen=True)
class _Sums:
    """Sums of counts, float32, by `keys`: sorted, each once, the spot above the gene."""

    keys: NDArray[np.int64]
    sums: NDArray[np.float32]


class _Gathered:
    """Counts by spot and gene. What is added is put in order at once, and gathered when it has grown."""

    def __init__(self, side: int | None, on_progress: ProgressCallback) -> None:
        self.side = side
        self.genes, self.places = _Names(), _Names()
        self.symbols: dict[int, str] = {}
        self._on_progress = on_progress
        self._parts: list[_Sums] = []
        self._size = self._size_gathered = 0

    def add(self, spots: NDArray[np.int64], genes: NDArray[np.int64], counts: NDArray[np.float64]) -> None:
        """Add counts."""
        part = _summed((spots << _BITS) | genes, counts.astype(np.float32))
        self._parts.append(part)
        self._size += len(part.keys)
        if self._size > _WAITING + 2 * self._size_gathered:
            self.gather()

    def gather(self) -> list[_Sums]:
        """Gather all that was added, and return it in ranges of the keys, in their order."""
        self._parts = [part for part in _ranges(self._parts, self._on_progress) if len(part.keys)]
        self._size = self._size_gathered = sum(len(part.keys) for part in self._parts)
        return self._parts


def _summed(keys: NDArray[np.int64], counts: NDArray[np.float32]) -> _Sums:
    if not len(keys):
        return _Sums(keys, counts)
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    return _Sums(keys[starts], np.add.reduceat(counts, starts))


def _ranges(parts: list[_Sums], on_progress: ProgressCallback) -> Iterator[_Sums]:
    """Gather parts range by range of their keys, which takes little memory and lets a cancel be heard."""
    sample = np.sort(np.concatenate([part.keys[:: 1 << 10] for part in parts]))
    limits = np.unique(sample[_RANGE >> 10 :: _RANGE >> 10])
    cuts = [np.r_[0, np.searchsorted(part.keys, limits), len(part.keys)] for part in parts]
    for number in range(len(limits) + 1):
        on_progress(Progress("Gathering counts", number, len(limits) + 1))
        pieces = [slice(*cut[number : number + 2]) for cut in cuts]
        yield _summed(
            np.concatenate([part.keys[piece] for part, piece in zip(parts, pieces, strict=True)]),
            np.concatenate([part.sums[piece] for part, piece in zip(parts, pieces, strict=True)]),
        )


def _read(table: Table, columns: LongColumns, side: int | None, on_progress: ProgressCallback) -> _Gathered:
    import pyarrow as pa

    kinds = {
        columns.gene: pa.string(),
        columns.x: pa.float64(),
        columns.y: pa.float64(),
        columns.count: pa.float64(),
    }
    if columns.symbol is not None and columns.symbol != columns.gene:
        kinds[columns.symbol] = pa.string()
    gathered = _Gathered(side, on_progress)
    for block in blocks(table.head, kinds, _STAGE, on_progress):
        genes = _gene_numbers(gathered, block)
        x, y, counts = (
            _numbers(table, block.column(place), column)
            for place, column in enumerate((columns.x, columns.y, columns.count), start=1)
        )
        gathered.add(_spots(table, gathered, x, y), genes, counts)
    return gathered


def _gene_numbers(gathered: _Gathered, block: pa.RecordBatch) -> NDArray[np.int64]:
    encoded = block.column(0).fill_null("").dictionary_encode()
    number_of = gathered.genes.of(pd.Index(encoded.dictionary.to_pylist(), dtype=object))
    if len(gathered.genes.numbers) > _MASK:
        raise InputError(f"The table has more than {_MASK:,} names of genes: is its column of genes another?")
    genes: NDArray[np.int64] = number_of[encoded.indices.to_numpy()]
    if block.num_columns > 4:
        numbers, first = np.unique(genes, return_index=True)
        names = block.column(4).take(first).to_pylist()
        gathered.symbols |= {gene: name for gene, name in zip(numbers.tolist(), names, strict=True) if name}
    return genes


def _numbers(table: Table, values: pa.Array, column: int) -> NDArray[np.float64]:
    numbers = values.to_numpy(zero_copy_only=False)
    if not np.isfinite(numbers).all():
        raise ReadError(
            table.path.parent,
            f"`{table.path.name}` has rows without a number in the column {table.head.columns[column]!r}. "
            "Leave them out, or fix them.",
        )
    return np.asarray(numbers, dtype=np.float64)


def _spots(
    table: Table, gathered: _Gathered, x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return a number for the spot of each row: of the bin, row above column, or of the very place."""
    if gathered.side is None:
        codes, places = pd.factorize(x + 1j * y)
        numbers = gathered.places.of(pd.Index(places))
        return np.asarray(numbers[codes], dtype=np.int64)
    most = gathered.side << _BITS
    for name, values in (("x", x), ("y", y)):
        if len(values) and (values.min() < 0 or values.max() >= most):
            wrong = values.min() if values.min() < 0 else values.max()
            raise ReadError(
                table.path.parent,
                f"`{table.path.name}`: {name} must be between 0 and {most:,} to be put into bins of "
                f"{gathered.side}, found {wrong:g}.",
            )
    column, row = ((values // gathered.side).astype(np.int64) for values in (x, y))
    return (row << _BITS) | column


# Assembling


def _assembled(table: Table, gathered: _Gathered, is_gem: bool, on_progress: ProgressCallback) -> AnnData:
    spots, counts = _rows(gathered.gather(), len(gathered.genes.numbers), on_progress)
    adata = AnnData(counts)
    on_progress(Progress(_STAGE, 1, 1))
    notes: list[str] = []
    adata.var = _genes(gathered, notes)
    name = table.path.name.split(".")[0]
    if gathered.side is None:
        words = _add_places(adata, gathered)
    else:
        words = _add_bins(adata, name, spots, gathered.side, is_gem)
    add_notes(adata, [words, *notes, *_columns_left_out(table)])
    return adata


def _rows(
    parts: list[_Sums], n_genes: int, on_progress: ProgressCallback
) -> tuple[NDArray[np.int64], csr_matrix]:
    """Return the spots and their counts; each part is let go once its counts are in the matrix."""
    size = sum(len(part.keys) for part in parts)
    sums, genes = np.empty(size, np.float32), np.empty(size, np.int32)
    spots, starts, end = [np.empty(0, np.int64)], [np.empty(0, np.int64)], size
    while parts:
        part = parts.pop()
        on_progress(Progress(_STAGE, size - end, size))
        here = slice(end - len(part.keys), end)
        sums[here], genes[here] = part.sums, part.keys & _MASK
        of_part = part.keys >> _BITS
        before = parts[-1].keys[-1] >> _BITS if parts else -1
        first = np.flatnonzero(np.diff(of_part, prepend=before))
        spots.append(of_part[first])
        starts.append(first + here.start)
        end = here.start
    order = slice(None, None, -1)
    indptr = np.concatenate([*starts[order], [size]])
    return np.concatenate(spots[order]), csr_matrix((sums, genes, indptr), shape=(len(indptr) - 1, n_genes))


def _genes(gathered: _Gathered, notes: list[str]) -> pd.DataFrame:
    ids = [str(name) for name in gathered.genes.numbers]
    if not gathered.symbols:
        return with_plain_ids(ids, notes)
    symbols = [gathered.symbols.get(number, name) for number, name in enumerate(ids)]
    return pd.DataFrame({"gene_ids": ids}, index=pd.Index(symbols, dtype=object))


def _add_places(adata: AnnData, gathered: _Gathered) -> str:
    places = np.array(list(gathered.places.numbers), dtype=np.complex128)
    adata.obsm[SPATIAL] = np.column_stack([places.real, places.imag])
    adata.obs_names = _place_names(places.real, places.imag)
    return f"Each of the {len(places):,} places in the table is a spot; `gem_bin` gathers them in bins."


def _place_names(x: NDArray[Any], y: NDArray[Any]) -> pd.Index[str]:
    return pd.Index([f"{a:.10g}_{b:.10g}" for a, b in zip(x, y, strict=True)], dtype=object)


def _add_bins(adata: AnnData, name: str, spots: NDArray[np.int64], side: int, is_gem: bool) -> str:
    row, column = spots >> _BITS, spots & _MASK
    adata.obs_names = _place_names(column * side, row * side)
    adata.obs[ARRAY_ROW], adata.obs[ARRAY_COL] = row, column
    # A bin begins with the DNB of its name: five of them, 10 to 14, have their middle at 12.
    adata.obsm[SPATIAL] = np.column_stack([column, row]) * float(side) + (side - 1) / 2
    size = f"{side} x {side} {'DNBs' if is_gem else 'in size'}"
    factors = {SPOT_DIAMETER: float(side)}
    if is_gem:
        factors[BIN_SIZE] = side * PITCH_UM
        size += f" ({side * PITCH_UM:g} µm)"
    adata.uns[SPATIAL] = {name: {IMAGES: {}, SCALE_FACTORS: factors, METADATA: {}}}
    return f"Counts were gathered in {adata.n_obs:,} bins of {size}; `gem_bin` sets another size."


def _columns_left_out(table: Table) -> list[str]:
    cells = [name for name in table.head.columns if name.lower() in ("cellid", "cell", "label")]
    if not cells:
        return []
    return [f"The column {cells[0]!r} tells cells; bins do not follow it."]
