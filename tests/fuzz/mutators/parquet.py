"""Changes of parquet files: of their columns, and of their bytes."""

from __future__ import annotations

import datetime
import decimal
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.fuzz.mutators.raw import RAW
from tests.fuzz.values import text

__all__ = ["PARQUET"]


def _column(moments: random.Random, n: int) -> Any:
    """Return a column of any type."""
    kinds: tuple[tuple[Any, Any], ...] = (
        (None, pa.null()),
        (True, pa.bool_()),
        (text(moments), pa.string()),
        (b"\xff\x00", pa.binary()),
        (-1, pa.int8()),
        (2**63, pa.uint64()),
        (float("nan"), pa.float64()),
        (float("inf"), pa.float32()),
        ([1, 2], pa.list_(pa.int32())),
        ({"a": 1}, pa.struct([("a", pa.int32())])),
        (decimal.Decimal("1.5"), pa.decimal128(10, 2)),
        (1, pa.duration("s")),
        (datetime.date(1, 1, 1), pa.date32()),
        (10**17, pa.timestamp("s")),
        (1.5, pa.float64()),
        (0, pa.int64()),
        ([("a", 1)], pa.map_(pa.string(), pa.int32())),
        (10**6, pa.time32("ms")),
        (1e308, pa.float64()),
        (decimal.Decimal("1e30"), pa.decimal256(50, 2)),
    )
    value, kind = moments.choice(kinds)
    return pa.array([value] * n, kind)


def column(path: Path, moments: random.Random) -> None:
    """Replace, remove, rename or double a column, or empty some of its values."""
    table = pq.read_table(path)
    at, how = moments.randrange(table.num_columns), moments.randrange(8)
    name, values = table.column_names[at], table.column(at)
    n = len(table)
    if how == 0:
        table = table.remove_column(at)
    elif how == 1:
        table = table.rename_columns([text(moments) if one == name else one for one in table.column_names])
    elif how == 2:
        table = table.append_column(name, values)
    elif how == 3:
        table = table.set_column(at, name, pa.array([None, *values.to_pylist()[1:]], values.type))
    elif how == 4:
        table = table.set_column(at, name, values.cast(pa.string()))
    elif how == 5:
        table = table.set_column(at, name, values.cast(pa.string()).dictionary_encode())
    else:
        table = table.set_column(at, name, _column(moments, n))
    _write(table, path, moments)


def rows(path: Path, moments: random.Random) -> None:
    """Remove, double or repeat rows, or change what is said about the index."""
    table = pq.read_table(path)
    kinds = (
        table[:0],
        table[:1],
        pa.concat_tables([table, table]),
        table.take(pa.array(range(len(table)))[::-1]),
        pa.concat_tables([table[:1]] * 5000),
        table.replace_schema_metadata(None),
        table.select([]),
        table.replace_schema_metadata(
            {"pandas": moments.choice(('{"index_columns": ["x"]}', "{}", "[", "\xff", "null"))}
        ),
    )
    _write(moments.choice(kinds), path, moments)


def repeated(path: Path, moments: random.Random) -> None:
    """Claim a great many rows in a few bytes: one value that is repeated."""
    table = pq.read_table(path)
    n = moments.choice((10**6, 3 * 10**6))
    chosen = table[:1].take(pa.array([0] * n, pa.int32()))
    pq.write_table(chosen, path, compression="zstd")


def _write(table: Any, path: Path, moments: random.Random) -> None:
    pq.write_table(table, path, compression=moments.choice(("snappy", "gzip", "zstd", "none", "brotli")))


PARQUET = (*(column,) * 6, rows, rows, repeated, *RAW)
