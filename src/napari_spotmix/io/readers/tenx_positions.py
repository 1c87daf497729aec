"""Read positions of spots and bins: the CSV of Space Ranger 1 to 4, and the parquet of Visium HD.

References
----------
10x Genomics, "Space Ranger Spatial Outputs" (tissue_positions.csv since 2.0, tissue_positions_list.csv
before, tissue_positions.parquet for Visium HD).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_spotmix.base.cancel import run_cancellable
from napari_spotmix.base.errors import ReadError
from napari_spotmix.base.keys import ARRAY_COL, ARRAY_ROW, IN_TISSUE
from napari_spotmix.base.progress import Progress, ProgressCallback, silent
from napari_spotmix.io.problems import as_read_error, listed
from napari_spotmix.io.readers.table_parsing import open_text

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["POSITION_COLUMNS", "POSITION_FILES", "read_positions"]

POSITION_COLUMNS = (
    "barcode",
    IN_TISSUE,
    ARRAY_ROW,
    ARRAY_COL,
    "pxl_row_in_fullres",
    "pxl_col_in_fullres",
)
_WHOLE = POSITION_COLUMNS[1:4]
_ARRAY = POSITION_COLUMNS[2:4]
_CSV = ("tissue_positions.csv", "tissue_positions_list.csv", "tissue_positions*.csv")
#: In order of preference.
POSITION_FILES = ("tissue_positions.parquet", *_CSV, *(f"{name}.gz" for name in _CSV))
#: A barcode of Visium HD holds the size, row and column of its bin: "s_008um_00012_00345-1".
_HD_BARCODE = r"^s_\d+um_(\d+)_(\d+)(?:-\d+)?$"
_FINDING = "Finding positions"
_COPY = "Copy it again from the run."
#: Largest plausible row or column of an array.
_LARGEST = 2**31 - 1
#: Rows of a parquet file that are read at once.
_BATCH = 1 << 18


def read_positions(
    path: Path,
    root: Path,
    wanted: pd.Index[str] | None = None,
    on_progress: ProgressCallback = silent,
) -> pd.DataFrame:
    """Read the positions of spots.

    Parameters
    ----------
    path : Path
        A CSV, with or without a header (detected by its first cell, not by its name), or a parquet
        file.
    root : Path
        The folder that was given; messages name files relative to it.
    wanted : Index, optional
        The barcodes to keep of a parquet file, which may hold millions of bins outside the tissue.
    on_progress : callable, optional
        Called for every batch of a parquet file; raises `Cancelled` to stop.

    Returns
    -------
    DataFrame
        Index barcodes; columns in_tissue, array_row, array_col (int64), and pxl_row_in_fullres,
        pxl_col_in_fullres (float64, full-resolution pixels).

    Raises
    ------
    ReadError
        If a column is missing, a value is not a number (with its row) or a barcode is duplicated.
    """
    name = path.relative_to(root).as_posix()
    if path.suffix == ".parquet":
        return _read_parquet(path, root, name, wanted, on_progress)
    return _read_csv(path, root, name)


def _checked(columns: dict[str, Any], barcodes: pd.Index[str]) -> pd.DataFrame:
    whole = {column: columns[column].astype(np.int64) for column in _WHOLE}
    return pd.DataFrame({**columns, **whole}, index=barcodes)


def _twice(name: str, n_barcodes: int, examples: list[str]) -> str:
    return (
        f"`{name}` must list each barcode once, found {n_barcodes} more than once: "
        f"{listed(examples, most=3)}. {_COPY}"
    )


def _wrong_whole(columns: Mapping[str, np.ndarray], name: str) -> list[str]:
    """Return the problems of the columns of whole numbers, all of which are finite."""
    problems = [
        f"`{name}`: {key} must be whole numbers up to {_LARGEST:,}, found {values[wrong][0]:g}. {_COPY}"
        for key, values in columns.items()
        if key in _ARRAY and (wrong := np.abs(values) > _LARGEST).any()
    ]
    if not np.isin(columns[IN_TISSUE], (0, 1)).all():
        problems.append(f"`{name}`: in_tissue must be 0 or 1 in every row, found another value. {_COPY}")
    return problems


def _read_csv(path: Path, root: Path, name: str) -> pd.DataFrame:
    # Only a gzipped file can unpack to more than it seems to hold.
    with as_read_error(root, name), open_text(path) if path.suffix == ".gz" else path.open("rb") as file:
        table = pd.read_csv(
            file, header=None, dtype=str, na_filter=False, encoding="utf-8-sig", skipinitialspace=True
        )
    table = _named_columns(table, root, name)
    barcodes = pd.Index(table["barcode"].str.strip().to_list(), dtype=object)
    problems: list[str] = []
    columns = {column: _numbers(table[column], name, problems) for column in POSITION_COLUMNS[1:]}
    problems += [] if problems else _wrong_whole(columns, name)
    if barcodes.has_duplicates:
        twice = barcodes[barcodes.duplicated()].unique()
        problems.append(_twice(name, len(twice), list(twice)))
    if problems:
        raise ReadError(root, problems)
    return _checked(columns, barcodes)


def _named_columns(table: pd.DataFrame, root: Path, name: str) -> pd.DataFrame:
    first = [str(cell).strip() for cell in table.iloc[0]]
    if "barcode" in first[0].lower():
        _check_columns(POSITION_COLUMNS, first, root, name)
        return table.iloc[1:].set_axis(first, axis=1)
    if len(first) != len(POSITION_COLUMNS):
        raise ReadError(
            root,
            f"`{name}` must have {len(POSITION_COLUMNS)} columns ({', '.join(POSITION_COLUMNS)}), "
            f"separated by commas; found {len(first)} in its first row, {listed(first)}. {_COPY}",
        )
    return table.set_axis(list(POSITION_COLUMNS), axis=1)


def _check_columns(expected: tuple[str, ...], found: list[str], root: Path, name: str) -> None:
    missing = [column for column in expected if column not in found]
    if missing:
        raise ReadError(
            root, f"`{name}` must have the columns {listed(missing)}; found {listed(found)}. {_COPY}"
        )
    if twice := [column for column in expected if found.count(column) > 1]:
        raise ReadError(root, f"`{name}` must have each column once, found {listed(twice)} again. {_COPY}")


def _numbers(cells: pd.Series[str], name: str, problems: list[str]) -> np.ndarray:
    """Return the cells as float64; add a problem with the first one that is not a number."""
    values = pd.to_numeric(cells, errors="coerce").to_numpy(dtype=np.float64)
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        row = int(cells.index[wrong[0]]) + 1
        others = f", and {len(wrong) - 1:,} others" if len(wrong) > 1 else ""
        problems.append(
            f"`{name}`: {cells.name} must be a number in every row, "
            f"found {cells.iloc[wrong[0]]!r} in row {row}{others}. {_COPY}"
        )
    return values


def _read_parquet(
    path: Path, root: Path, name: str, wanted: pd.Index[str] | None, on_progress: ProgressCallback
) -> pd.DataFrame:
    with as_read_error(root, name):
        table = _arrow_table(path, root, name, on_progress)
        if wanted is None:
            barcodes = pd.Index(table["barcode"].to_numpy(), dtype=object)
        else:
            table, barcodes = _rows_of(table, wanted, root, name, on_progress)
        columns = {key: table[key].to_numpy() for key in table.column_names if key != "barcode"}
    problems = [
        f"`{name}`: {key} must be a number in every row, found none for {barcodes[np.argmax(wrong)]!r}. "
        f"{_COPY}"
        for key, values in columns.items()
        if (wrong := ~np.isfinite(values.astype(np.float64))).any()
    ]
    problems += [] if problems else _wrong_whole(columns, name)
    if not all(key in columns for key in _ARRAY):
        columns |= _array_indices(barcodes, name, problems)
    if problems:
        raise ReadError(root, problems)
    return _checked({key: columns[key] for key in POSITION_COLUMNS[1:]}, barcodes)


def _arrow_table(path: Path, root: Path, name: str, on_progress: ProgressCallback) -> pa.Table:
    """Read the columns that are used as an Arrow table: a Python string for each bin would be slow."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        found = file.schema_arrow.names
        has_array = all(key in found for key in _ARRAY)
        columns = [key for key in POSITION_COLUMNS if has_array or key not in _ARRAY]
        _check_columns(tuple(columns), found, root, name)
        n_rows = file.metadata.num_rows
        batches: list[Any] = []
        kinds = [(key, pa.string() if key == "barcode" else pa.float64()) for key in columns]
        for batch in file.iter_batches(_BATCH, columns=columns):
            on_progress(Progress("Reading positions", sum(len(one) for one in batches), n_rows))
            batch.validate(full=True)  # text may be no UTF-8
            arrays = [pc.cast(batch.column(key), kind) for key, kind in kinds]
            batches.append(pa.record_batch(arrays, names=columns))
    return pa.Table.from_batches(batches, pa.schema(kinds))


def _rows_of(
    table: pa.Table, wanted: pd.Index[str], root: Path, name: str, on_progress: ProgressCallback
) -> tuple[pa.Table, pd.Index[str]]:
    """Return the rows of the barcodes that were found, in the order of `wanted`, and these barcodes."""
    found = _indices_in(wanted, table["barcode"], on_progress)
    rows = np.flatnonzero(np.isfinite(found))
    order = found[rows].astype(np.int64)
    times = np.bincount(order, minlength=len(wanted))
    if times.max(initial=0) > 1:
        twice = np.flatnonzero(times > 1)
        raise ReadError(root, _twice(name, len(twice), list(wanted[twice])))
    rows_in_order = rows[np.argsort(order)]
    numbers = table.drop_columns("barcode")
    taken = run_cancellable(lambda: numbers.take(rows_in_order), _FINDING, on_progress, 1, 1)
    # If all were found, the given index itself is returned, so that callers need no second lookup.
    return taken, wanted if times.all() else wanted[times > 0]


def _indices_in(
    wanted: pd.Index[str], barcodes: pa.ChunkedArray, on_progress: ProgressCallback
) -> np.ndarray:
    """Return for each barcode its index in `wanted`, NaN if it is not one of them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    n, parts = len(barcodes), range(0, len(wanted), _BATCH)
    few = pa.chunked_array(
        [_arrow_names(wanted[start : start + _BATCH], start, len(wanted), on_progress) for start in parts],
        pa.string(),
    )
    found = run_cancellable(lambda: pc.index_in(barcodes, value_set=few), _FINDING, on_progress, 0, n)
    return np.asarray(found.to_numpy(), dtype=np.float64)


def _arrow_names(names: pd.Index[str], start: int, total: int, on_progress: ProgressCallback) -> pa.Array:
    import pyarrow as pa

    on_progress(Progress(_FINDING, start, total))
    return pa.array(names, pa.string())


def _array_indices(barcodes: pd.Index[str], name: str, problems: list[str]) -> dict[str, np.ndarray]:
    """Return array_row and array_col from the barcodes of Visium HD."""
    indices = barcodes.str.extract(_HD_BARCODE)
    if indices.isna().to_numpy().any():
        problems.append(
            f"`{name}` must have the columns {listed(_ARRAY)}, or barcodes of Visium HD such as "
            f"'s_008um_00012_00345-1'; found {listed(list(barcodes), most=2)}. {_COPY}"
        )
        return {key: np.zeros(len(barcodes)) for key in _ARRAY}
    return {key: indices[column].to_numpy(dtype=np.float64) for column, key in enumerate(_ARRAY)}
