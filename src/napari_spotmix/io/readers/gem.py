"""Read spots from tables with one count per row: Stereo-seq's GEM, and others with gene, x, y, count.

A file is read in blocks, whose counts are summed by spot and gene, so that the memory needed is that of the
sums, not that of the file.

References
----------
Chen et al. 2022 (Cell 185:1777): DNBs, the spots that capture RNA, are 500 nm apart. STOmics, "Stereo-seq
Analysis Workflow Software Suite, User Manual", GEM format 0.1 and 0.2: comments ``#Key=Value``, then
``geneID``, in 0.2 ``geneName``, ``x``, ``y``, ``MIDCount`` and, optionally, ``ExonCount`` and ``CellID``.
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
from napari_spotmix.base.text import quoted
from napari_spotmix.io.notes import add_notes
from napari_spotmix.io.problems import listed
from napari_spotmix.io.readers.options import DEFAULT, BinSize, ReadOptions
from napari_spotmix.io.readers.table_columns import LongColumns, Table, open_table
from napari_spotmix.io.readers.table_counts import genes_table
from napari_spotmix.io.readers.table_parsing import is_table_name, read_blocks
from napari_spotmix.io.readers.table_sections import open_tables
from napari_spotmix.params import GEM_BIN

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = [
    "PITCH_UM",
    "SpotSums",
    "add_bins",
    "bins_at",
    "find_gem",
    "gem_bins",
    "gem_files",
    "read_gem",
    "rows_of",
    "side_of",
    "usual_bins",
]

#: Micrometers between the DNBs of a Stereo-seq chip.
PITCH_UM = 0.5
#: Usual sides of bins, in DNBs, to choose from.
_SIDES = (20, 50, 100, 200)
_STAGE = "Reading spots"
#: The key of a count: the row and column of its bin, and its gene, with so many bits each.
_BITS = 21
_MASK = (1 << _BITS) - 1
#: Counts that are added before they are merged, and that are merged at once.
_PENDING, _RANGE = 1 << 22, 1 << 20


def find_gem(path: Path) -> Path | None:
    """Return `path` if it is a table with one count per row, or a folder with no other counts."""
    return path if _long_tables(path) else None


def gem_files(path: Path, options: ReadOptions = DEFAULT) -> list[Path]:
    """Return the file that is read.

    Raises
    ------
    ReadError
        If there are none or several.
    """
    return [_find_table(path).path]


def gem_bins(path: Path) -> list[BinSize]:
    """Return usual bin sizes; empty if the table is not of Stereo-seq."""
    tables = _long_tables(path)
    return usual_bins() if tables and _is_gem(tables[0]) else []


def usual_bins() -> list[BinSize]:
    """Return usual sizes of bins of Stereo-seq."""
    return [BinSize(side * PITCH_UM, None) for side in _SIDES]


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
        raise ReadError(
            path,
            "must be a table with one count per row, with columns such as geneID, x, y, MIDCount; "
            "found no such table. Choose another file or format.",
        )
    found = listed([table.path.name for table in tables])
    raise ReadError(path, f"Expected one table of counts, found several: {found}. Choose one of them.")


def read_gem(
    path: Path,
    options: ReadOptions = DEFAULT,
    *,
    backed: bool = False,
    on_progress: ProgressCallback = silent,
) -> AnnData:
    """Read spots from a table with one count per row.

    Parameters
    ----------
    path : Path
        The table, or a folder that holds one.
    options : ReadOptions
        `gem_bin` is the side of the bins, or `bin_um` for Stereo-seq.
    backed : bool, optional
        Tables cannot stay on disk; a note is added.
    on_progress : callable, optional
        Called for each block that is read; raises `Cancelled` to stop.

    Returns
    -------
    AnnData
        Spots are the bins with counts, row by row. ``obs`` array_row, array_col of bins.
        ``obsm['spatial']`` float64, center of a bin in DNBs, or in the unit of the table; for GEM
        ``uns['spatial']`` holds the bin size in micrometers.

    Raises
    ------
    ReadError
        If a cell is not a number, or a coordinate is negative or too large.
    InputError
        If the side of a bin is invalid.
    """
    table = _find_table(path)
    is_gem = _is_gem(table)
    _check_bin_size(table)
    sums = _read(table, side_of(options, is_gem), on_progress)
    adata = _assembled(table, sums, is_gem, on_progress)
    if backed:
        add_notes(adata, ["The counts were read into memory: tables cannot be read in blocks."])
    return adata


def side_of(options: ReadOptions, is_gem: bool) -> int | None:
    """Return the side of the bins in DNBs, or in the unit of the table; None if each position is a spot."""
    if options.bin_um is not None and (options.gem_bin is not None or not is_gem):
        raise InputError("`bin_um` must be left out: `gem_bin` sets the bin size of this table.")
    if options.bin_um is not None:
        n_dnbs = round(options.bin_um / PITCH_UM)
        if n_dnbs < 1 or n_dnbs * PITCH_UM != options.bin_um:
            raise InputError(
                f"`bin_um` must be a multiple of {PITCH_UM} for Stereo-seq, found {options.bin_um:g}. "
                f"Use {max(n_dnbs, 1) * PITCH_UM:g}."
            )
        return n_dnbs
    side = options.gem_bin if options.gem_bin is not None else GEM_BIN if is_gem else None
    if side is not None and (not isinstance(side, int) or isinstance(side, bool) or side < 1):
        raise InputError(f"`gem_bin` must be a whole number of at least 1, found {side!r}. Correct it.")
    return side


def _is_gem(table: Table) -> bool:
    columns = {name.lower() for name in table.head.columns}
    return any(line.startswith("#") for line in table.head.comments) or bool(
        {"midcount", "midcounts"} & columns
    )


def _check_bin_size(table: Table) -> None:
    """Check that the counts are not binned: the unit of x and y would be unknown, bins or DNBs."""
    sizes = (line.removeprefix("#BinSize=") for line in table.head.comments if line.startswith("#BinSize="))
    size = next(sizes, "1").strip()
    if size != "1":
        raise ReadError(
            table.path.parent,
            f"`{table.path.name}` must hold single DNBs (`#BinSize=1`), found bins of {size[:20]}. "
            "Export it with a bin size of 1.",
        )


# Summing counts by spot and gene


@dataclass
class _Names:
    """Numbers for names, in order of first occurrence."""

    numbers: dict[Any, int] = field(default_factory=dict)

    def of(self, names: pd.Index[Any]) -> NDArray[np.int64]:
        """Return the number of each name; new names get the next numbers."""
        numbers = self.numbers
        return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)


@dataclass(frozen=True)
class _SummedCounts:
    """Sums of counts, float32, by `keys`: sorted and unique, with the spot in the high bits."""

    keys: NDArray[np.int64]
    sums: NDArray[np.float32]


class SpotSums:
    """Counts by spot and gene. Added counts are sorted at once, and merged when they are many."""

    def __init__(self, side: int | None, on_progress: ProgressCallback) -> None:
        self.side = side
        self.genes, self.positions = _Names(), _Names()
        self.symbols: dict[int, str] = {}
        self._on_progress = on_progress
        self._parts: list[_SummedCounts] = []
        self._size = self._size_merged = 0

    def add(self, spots: NDArray[np.int64], genes: NDArray[np.int64], counts: NDArray[np.float64]) -> None:
        """Add counts."""
        part = _summed((spots << _BITS) | genes, counts.astype(np.float32))
        self._parts.append(part)
        self._size += len(part.keys)
        if self._size > _PENDING + 2 * self._size_merged:
            self.merged()

    def merged(self) -> list[_SummedCounts]:
        """Merge all counts that were added, and return them by ascending ranges of keys."""
        self._parts = [part for part in _ranges(self._parts, self._on_progress) if len(part.keys)]
        self._size = self._size_merged = sum(len(part.keys) for part in self._parts)
        return self._parts


def _summed(keys: NDArray[np.int64], counts: NDArray[np.float32]) -> _SummedCounts:
    if not len(keys):
        return _SummedCounts(keys, counts)
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    return _SummedCounts(keys[starts], np.add.reduceat(counts, starts))


def _ranges(parts: list[_SummedCounts], on_progress: ProgressCallback) -> Iterator[_SummedCounts]:
    """Merge parts range by range of their keys, which needs little memory and is cancellable."""
    sample = np.sort(np.concatenate([part.keys[:: 1 << 10] for part in parts]))
    limits = np.unique(sample[_RANGE >> 10 :: _RANGE >> 10])
    cuts = [np.r_[0, np.searchsorted(part.keys, limits), len(part.keys)] for part in parts]
    for number in range(len(limits) + 1):
        on_progress(Progress("Merging counts", number, len(limits) + 1))
        pieces = [slice(*cut[number : number + 2]) for cut in cuts]
        yield _summed(
            np.concatenate([part.keys[piece] for part, piece in zip(parts, pieces, strict=True)]),
            np.concatenate([part.sums[piece] for part, piece in zip(parts, pieces, strict=True)]),
        )


def _read(table: Table, side: int | None, on_progress: ProgressCallback) -> SpotSums:
    import pyarrow as pa

    columns = _columns(table)
    kinds = {
        columns.gene: pa.string(),
        columns.x: pa.float64(),
        columns.y: pa.float64(),
        columns.count: pa.float64(),
    }
    if columns.symbol is not None and columns.symbol != columns.gene:
        kinds[columns.symbol] = pa.string()
    sums = SpotSums(side, on_progress)
    for block in read_blocks(table.head, kinds, _STAGE, on_progress):
        genes = _gene_numbers(sums, block)
        x, y, counts = (
            _numbers(table, block.column(index), column)
            for index, column in enumerate((columns.x, columns.y, columns.count), start=1)
        )
        sums.add(_spots(table, sums, x, y), genes, counts)
    return sums


def _columns(table: Table) -> LongColumns:
    if table.long is None:
        raise ReadError(table.path, "must have columns such as geneID, x, y, MIDCount. Choose another file.")
    return table.long


def _gene_numbers(sums: SpotSums, block: pa.RecordBatch) -> NDArray[np.int64]:
    encoded = block.column(0).fill_null("").dictionary_encode()
    number_of = sums.genes.of(pd.Index(encoded.dictionary.to_pylist(), dtype=object))
    if len(sums.genes.numbers) > _MASK:
        raise InputError(
            f"The table must have at most {_MASK:,} names of genes, found more. "
            "Rename the column of genes to `geneID`."
        )
    genes: NDArray[np.int64] = number_of[encoded.indices.to_numpy()]
    if block.num_columns > 4:
        numbers, first = np.unique(genes, return_index=True)
        names = block.column(4).take(first).to_pylist()
        sums.symbols |= {gene: name for gene, name in zip(numbers.tolist(), names, strict=True) if name}
    return genes


def _numbers(table: Table, values: pa.Array, column: int) -> NDArray[np.float64]:
    numbers = values.to_numpy(zero_copy_only=False)
    if not np.isfinite(numbers).all():
        raise ReadError(
            table.path.parent,
            f"`{table.path.name}` must have numbers in the column "
            f"{quoted(table.head.columns[column])}, found rows without one. Remove or correct them.",
        )
    return np.asarray(numbers, dtype=np.float64)


def _spots(table: Table, sums: SpotSums, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return a number for the spot of each row: of its bin (row in the high bits) or its position."""
    if sums.side is None:
        codes, positions = pd.factorize(x + 1j * y)
        numbers = sums.positions.of(pd.Index(positions))
        return np.asarray(numbers[codes], dtype=np.int64)
    return bins_at(table.path, sums.side, x, y)


def bins_at(path: Path, side: int, x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.int64]:
    """Return the number of the bin at each position: its row in the high bits, its column in the others.

    Raises
    ------
    ReadError
        If a coordinate is negative or too large.
    """
    most = side << _BITS
    for name, values in (("x", x), ("y", y)):
        if len(values) and (values.min() < 0 or values.max() >= most):
            wrong = values.min() if values.min() < 0 else values.max()
            raise ReadError(
                path.parent,
                f"`{path.name}`: {name} must be between 0 and {most:,} for bins of {side}, "
                f"found {wrong:g}. Choose a larger `gem_bin`, or shift the coordinates.",
            )
    column, row = ((values // side).astype(np.int64) for values in (x, y))
    return np.asarray((row << _BITS) | column, dtype=np.int64)


# AnnData


def _assembled(table: Table, sums: SpotSums, is_gem: bool, on_progress: ProgressCallback) -> AnnData:
    spots, counts = rows_of(sums.merged(), len(sums.genes.numbers), on_progress)
    adata = AnnData(counts)
    on_progress(Progress(_STAGE, 1, 1))
    notes: list[str] = []
    adata.var = _genes(sums, notes)
    name = table.path.name.split(".")[0]
    if sums.side is None:
        words = _add_positions(adata, sums)
    else:
        words = add_bins(adata, name, spots, sums.side, is_gem)
    add_notes(adata, [words, *notes, *_ignored_columns(table)])
    return adata


def rows_of(
    parts: list[_SummedCounts], n_genes: int, on_progress: ProgressCallback
) -> tuple[NDArray[np.int64], csr_matrix]:
    """Return the spots and their counts; each part is released once its counts are in the matrix."""
    size = sum(len(part.keys) for part in parts)
    values, genes = np.empty(size, np.float32), np.empty(size, np.int32)
    spots, starts, end = [np.empty(0, np.int64)], [np.empty(0, np.int64)], size
    while parts:
        part = parts.pop()
        on_progress(Progress(_STAGE, size - end, size))
        here = slice(end - len(part.keys), end)
        values[here], genes[here] = part.sums, part.keys & _MASK
        of_part = part.keys >> _BITS
        before = parts[-1].keys[-1] >> _BITS if parts else -1
        first = np.flatnonzero(np.diff(of_part, prepend=before))
        spots.append(of_part[first])
        starts.append(first + here.start)
        end = here.start
    order = slice(None, None, -1)
    indptr = np.concatenate([*starts[order], [size]])
    return np.concatenate(spots[order]), csr_matrix((values, genes, indptr), shape=(len(indptr) - 1, n_genes))


def _genes(sums: SpotSums, notes: list[str]) -> pd.DataFrame:
    ids = [str(name) for name in sums.genes.numbers]
    if not sums.symbols:
        return genes_table(ids, notes)
    symbols = [sums.symbols.get(number, name) for number, name in enumerate(ids)]
    return pd.DataFrame({"gene_ids": ids}, index=pd.Index(symbols, dtype=object))


def _add_positions(adata: AnnData, sums: SpotSums) -> str:
    positions = np.array(list(sums.positions.numbers), dtype=np.complex128)
    adata.obsm[SPATIAL] = np.column_stack([positions.real, positions.imag])
    adata.obs_names = _position_names(positions.real, positions.imag)
    return f"Each of the {len(positions):,} positions in the table is a spot; `gem_bin` sums them in bins."


def _position_names(x: NDArray[Any], y: NDArray[Any]) -> pd.Index[str]:
    return pd.Index([f"{a:.10g}_{b:.10g}" for a, b in zip(x, y, strict=True)], dtype=object)


def add_bins(adata: AnnData, name: str, spots: NDArray[np.int64], side: int, is_gem: bool) -> str:
    """Name and place the bins of a matrix, in place; returns a note."""
    row, column = spots >> _BITS, spots & _MASK
    adata.obs_names = _position_names(column * side, row * side)
    adata.obs[ARRAY_ROW], adata.obs[ARRAY_COL] = row, column
    # A bin begins with the DNB in its name: the center of DNBs 10 to 14 is 12.
    adata.obsm[SPATIAL] = np.column_stack([column, row]) * float(side) + (side - 1) / 2
    size = f"{side} x {side} {'DNBs' if is_gem else 'in size'}"
    factors = {SPOT_DIAMETER: float(side)}
    if is_gem:
        factors[BIN_SIZE] = side * PITCH_UM
        size += f" ({side * PITCH_UM:g} µm)"
    adata.uns[SPATIAL] = {name: {IMAGES: {}, SCALE_FACTORS: factors, METADATA: {}}}
    return f"Counts were summed in {adata.n_obs:,} bins of {size}; `gem_bin` sets another size."


def _ignored_columns(table: Table) -> list[str]:
    cells = [name for name in table.head.columns if name.lower() in ("cellid", "cell", "label")]
    if not cells:
        return []
    return [f"The column {cells[0]!r} assigns counts to cells; it was not used."]
