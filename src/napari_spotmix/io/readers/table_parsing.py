"""Read tables as text or parquet: their first lines, and their columns in blocks of bounded memory.

The content is detected: gzip by its first bytes, the delimiter and the header by the first lines. Lines and
compression ratios that no table of counts has are refused, so that a damaged file cannot fill the memory.

References
----------
RFC 4180, "Common Format and MIME Type for CSV Files"; RFC 1952, "GZIP file format specification".
"""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from napari_spotmix.base.errors import ReadError
from napari_spotmix.base.progress import Progress, ProgressCallback
from napari_spotmix.io.problems import as_read_error, check_is_file, listed

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "TABLE_SUFFIXES",
    "TableHead",
    "read_blocks",
    "is_number",
    "is_table_name",
    "is_whole",
    "open_text",
    "names_problem",
    "read_head",
]

#: Extensions of tables; gzipped tables have an additional ``.gz``.
TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".tab", ".gem", ".parquet")
#: Maximum compression ratio of gzip: that of a table with one count in a thousand cells is about 400.
MAX_EXPANSION = 500
#: Maximum length of a line, as of a header with two million barcodes, and the size from which the compression
#: ratio is checked; in bytes.
MAX_LINE = 1 << 26
#: Bytes of text that are read at once; more if rows are long.
_BLOCK = 1 << 22
#: Cells of a parquet file that are read at once.
_CELLS = 1 << 22
#: Bytes of a number and of a name in memory, and of a parquet file in memory that is never refused.
_CELL, _LARGE = {"0": 4, "text": 100}, 1 << 28
#: Rows that are inspected to find out what a column holds.
_N_INSPECTED = 3
_DELIMITERS = "\t,;|"
#: Maximum number of columns, as many as there are barcodes; and of letters in one cell.
_MOST_COLUMNS, _LONGEST_CELL = 1 << 21, 1 << 16
_ENDS_OF_CELLS = b"\t,;| "
_MISSING = ("", "na", "nan", "n/a", "#n/a", "null", "none")
_OTHER_FILES = {
    b"PK\x03\x04": "a ZIP archive or an Excel workbook. Unpack it, or save its sheet as CSV",
    b"\x89HDF": "an HDF5 file. Rename it, for example to .h5ad",
    b"\xff\xfe": "text in UTF-16. Save it as UTF-8 (in Excel, as `CSV UTF-8`)",
    b"\xfe\xff": "text in UTF-16. Save it as UTF-8 (in Excel, as `CSV UTF-8`)",
    b"BZh": "a bzip2 file. Unpack it",
    b"\xfd7zXZ": "an xz file. Unpack it",
}
_PARQUET = b"PAR1"
_GZIP = b"\x1f\x8b"


def is_table_name(name: str) -> bool:
    """Return whether a file may be a table, by its extension.

    Examples
    --------
    >>> [is_table_name(name) for name in ("counts.csv", "SS200.gem.gz", "tissue.png")]
    [True, True, False]
    """
    return name.lower().removesuffix(".gz").endswith(TABLE_SUFFIXES) and not name.startswith(".")


def is_number(cell: str) -> bool:
    """Return whether a cell holds a number or a missing value.

    Examples
    --------
    >>> [is_number(cell) for cell in ("3", "-1.5e3", "NA", "AAAC-1")]
    [True, True, True, False]
    """
    try:
        float(cell)
    except ValueError:
        return cell.strip().lower() in _MISSING
    return "_" not in cell


def is_whole(cell: str) -> bool:
    """Return whether a cell may hold a whole number, of any length.

    Examples
    --------
    >>> [is_whole(cell) for cell in ("110883424764611924400221639916314253469", "-1", "2.0")]
    [True, True, False]
    """
    return cell.isascii() and cell.removeprefix("-").isdigit()


@dataclass(frozen=True)
class TableHead:
    """The first lines of a table.

    Attributes
    ----------
    path : Path
    columns : list of str
        One name per column; ``""`` for row names, whose column R does not name.
    rows : list of list of str
        The first rows. For parquet a single row, which shows only which columns hold numbers.
    delimiter : str
        ``""`` for parquet.
    comments : tuple of str
        The lines above the header that begin with ``#``.
    n_skipped : int
        Number of lines above the first row.
    has_header : bool
        False if the first line holds values; columns are then named by their number.
    """

    path: Path
    columns: list[str]
    rows: list[list[str]]
    delimiter: str = ""
    comments: tuple[str, ...] = ()
    n_skipped: int = 0
    has_header: bool = True

    @cached_property
    def numbers(self) -> list[int]:
        """The columns that hold numbers in the first rows."""
        cells = zip(*self.rows, strict=True)
        return [column for column, values in enumerate(cells) if all(map(is_number, values))]


def read_head(path: Path) -> TableHead:
    """Read the first lines of a table.

    Raises
    ------
    ReadError
        If the file is empty, is not text, or its first lines are not a table.
    """
    check_is_file(path)
    with as_read_error(path.parent, path.name):
        with path.open("rb") as file:
            is_parquet = file.read(len(_PARQUET)) == _PARQUET
        return _parquet_head(path) if is_parquet else _text_head(path)


def _parquet_head(path: Path) -> TableHead:
    import pyarrow.parquet as pq
    from pyarrow.types import is_floating, is_integer

    with pq.ParquetFile(path) as file:
        schema, n_rows = file.schema_arrow, file.metadata.num_rows
    if not n_rows:
        raise ReadError(path.parent, f"`{path.name}` must have rows, found none. Export it again.")
    kinds = ["0" if is_integer(field.type) or is_floating(field.type) else "text" for field in schema]
    claimed, stored = n_rows * sum(_CELL[kind] for kind in kinds), path.stat().st_size
    if claimed > max(_LARGE, MAX_EXPANSION * stored):
        raise ReadError(
            path.parent,
            f"`{path.name}` claims too much memory: {n_rows:,} rows of {len(schema):,} columns, "
            f"with {stored:,} bytes on disk. Copy or download it again.",
        )
    # pandas' name for an index without a name.
    names = ["" if field.name.startswith("__index_level_") else field.name for field in schema]
    return TableHead(path, names, [kinds])


def _text_head(path: Path) -> TableHead:
    above, lines = _comments_and_lines(_first_lines(path))
    if not lines:
        raise ReadError(path.parent, f"`{path.name}` must hold a table, but is empty. Export it again.")
    delimiter = _delimiter(lines)
    if (n_columns := 1 + lines[0].count(delimiter)) > _MOST_COLUMNS:
        raise ReadError(
            path.parent,
            f"`{path.name}` must have at most {_MOST_COLUMNS:,} columns, found {n_columns:,}. "
            "Export it as .h5ad.",
        )
    rows = [_cells(line, delimiter) for line in lines]
    if len(rows) == 1:
        raise ReadError(
            path.parent,
            f"`{path.name}` must have rows, found only the line {lines[0][:60]!r}. Export it again.",
        )
    header, rows = rows[0], rows[1:]
    _check_widths(path, header, rows)
    if _is_data(header, rows):
        names = [str(number) for number in range(1, len(header) + 1)]
        return TableHead(path, names, [header, *rows], delimiter, above, len(above), has_header=False)
    header = [""] * (len(rows[0]) - len(header)) + header
    # The Single Cell Portal writes the type of each column below its name.
    n_types = int(len(rows) > 1 and (header[0], rows[0][0]) == ("NAME", "TYPE"))
    return TableHead(path, header, rows[n_types:], delimiter, above, len(above) + 1 + n_types)


def _comments_and_lines(lines: list[str]) -> tuple[tuple[str, ...], list[str]]:
    """Separate the comments and empty lines above the header from the header and the rows."""
    n_above = next((n for n, line in enumerate(lines) if not _is_above(line)), len(lines))
    table = [line for line in lines[n_above:] if line.strip()]
    return tuple(lines[:n_above]), table[: _N_INSPECTED + 1]


def _first_lines(path: Path) -> list[str]:
    """Return the comments at the top and the lines that are inspected, complete."""
    lines: list[bytes] = []
    n_needed = _N_INSPECTED + 1
    with open_text(path) as file:
        for text in _whole_lines(file, path, _LONGEST_CELL):
            if b"\0" in text:
                raise ReadError(
                    path.parent,
                    f"`{path.name}` must be text, but begins with {text[:8]!r}. Export it as CSV or TSV.",
                )
            new = text.splitlines()
            lines += new
            n_needed -= sum(not _is_above(line) for line in new)
            if n_needed <= 0:
                break
    return [_decoded(path, line) for line in lines]


def _is_above(line: bytes | str) -> bool:
    """Return whether a line is a comment or empty, as above the header."""
    return not line.strip() or line[:1] in (b"#", "#")


def _endless(path: Path) -> str:
    return (
        f"`{path.name}` must have lines of at most {MAX_LINE >> 20} MB, found a longer one. "
        "Copy or download it again."
    )


def _without_cells(path: Path) -> str:
    return (
        f"`{path.name}` must be a table, found more than {_LONGEST_CELL >> 10} kB without a tab, comma, "
        "space or end of line. Export it as CSV or TSV."
    )


def _decoded(path: Path, line: bytes) -> str:
    try:
        return line.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise ReadError(path.parent, f"`{path.name}` {_NOT_UTF8}") from error


_NOT_UTF8 = "must be text in UTF-8, found another encoding. Save it as UTF-8 (in Excel, as `CSV UTF-8`)."


def _delimiter(lines: list[str]) -> str:
    """Return the delimiter that splits the lines into equally many, and most, cells; a space only at last."""

    rows = lines[1:] or lines
    is_quoted = any('"' in line for line in rows)

    def score(delimiter: str) -> tuple[bool, int]:
        counted = (len(_cells(line, delimiter)) - 1 if is_quoted else line.count(delimiter) for line in rows)
        widths = set(counted)
        return len(widths) == 1, min(widths)

    best = max(_DELIMITERS, key=score)
    return best if score(best)[1] else " "


def _cells(line: str, delimiter: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter))]


def _check_widths(path: Path, header: list[str], rows: list[list[str]]) -> None:
    width = len(rows[0])
    found = next((row for row in rows if len(row) != width), None)
    if found is None and len(header) in (width, width - 1) and width > 1:
        return
    if width == 1 and len(header) == 1:
        raise ReadError(
            path.parent,
            f"`{path.name}` must be a table with several columns, found no tabs, commas or semicolons. "
            "Export it as CSV or TSV.",
        )
    n_cells = width if found is None else len(found)
    raise ReadError(
        path.parent,
        f"`{path.name}` must have the same number of cells in each line, found {len(header)} in its first "
        "line and "
        f"{n_cells} in another. If decimals are written with commas, export it again with decimal points.",
    )


def _is_data(header: list[str], rows: list[list[str]]) -> bool:
    """Return whether the first line holds values: numbers, in the columns of numbers.

    Tables with many columns have a header: their numbers may be names of spots.
    """
    if len(header) != len(rows[0]) or len(header) > 8 or not header[0]:
        return False
    numeric = [column for column in range(len(header)) if all(is_number(row[column]) for row in rows)]
    return bool(numeric) and all(is_number(header[n]) and header[n] for n in numeric)


def open_text(path: Path) -> BinaryIO:
    """Open a file for reading, decompressed if its content is gzip.

    Raises
    ------
    ReadError
        If it is empty, or its first bytes are those of another kind of file.
    """
    check_is_file(path)
    file = path.open("rb")
    start = file.read(8)
    file.seek(0)
    if start.startswith(_GZIP):
        return cast(BinaryIO, io.BufferedReader(_Decompressed(file, path), 1 << 20))
    file_is = next((words for magic, words in _OTHER_FILES.items() if start.startswith(magic)), None)
    if not start:
        file_is = "empty (0 bytes). Copy or download it again"
    elif path.name.lower().endswith(".gz") and not start.isascii() and not start.startswith(b"\xef\xbb\xbf"):
        file_is = f"named .gz but not gzip: it begins with {start!r}. Copy or download it again"
    if file_is:
        file.close()
        raise ReadError(path.parent, f"`{path.name}` is {file_is}.")
    return file


class _Decompressed(io.RawIOBase):
    """The content of a gzip file, which raises if the compression ratio is too high for a table."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file, self._path = file, path
        self._content = gzip.GzipFile(fileobj=file)
        self._size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        n_read = self._content.readinto(buffer)
        self._size += n_read
        if self._size > MAX_LINE and self._size > MAX_EXPANSION * self._file.tell():
            raise ReadError(
                self._path.parent,
                f"`{self._path.name}` must grow at most {MAX_EXPANSION} times when decompressed, like tables "
                "of counts, found more. If you trust the file, decompress it yourself.",
            )
        return n_read

    def tell(self) -> int:
        """Return the position in the compressed file, for progress."""
        return self._file.tell()

    def close(self) -> None:
        self._content.close()
        self._file.close()
        super().close()


def read_blocks(
    head: TableHead, types: Mapping[int, pa.DataType], stage: str, on_progress: ProgressCallback
) -> Iterator[pa.RecordBatch]:
    """Read columns of a table in blocks of rows.

    Parameters
    ----------
    head : TableHead
    types : mapping of int to pyarrow.DataType
        The columns to read, in this order, and their types. Missing numbers become null.
    stage : str
        The stage for `on_progress`.
    on_progress : callable
        Called for each block; raises `Cancelled` to stop.

    Yields
    ------
    pyarrow.RecordBatch
        Columns in the order of `types`.

    Raises
    ------
    ReadError
        If a cell has another type, or a row has more or fewer cells; with the line.
    """
    with as_read_error(head.path.parent, head.path.name):
        read = _text_blocks if head.delimiter else _parquet_blocks
        yield from read(head, types, stage, on_progress)
    on_progress(Progress(stage, 1, 1))


def _text_blocks(
    head: TableHead, types: Mapping[int, pa.DataType], stage: str, on_progress: ProgressCallback
) -> Iterator[pa.RecordBatch]:
    from pyarrow import csv as arrow

    parsing = arrow.ParseOptions(delimiter=head.delimiter)
    converting = arrow.ConvertOptions(
        column_types={str(column): kind for column, kind in types.items()},
        include_columns=[str(column) for column in types],
    )
    size = head.path.stat().st_size
    n_above, n_skipped = 0, head.n_skipped
    with open_text(head.path) as file:
        source = (
            file.raw if isinstance(file, io.BufferedReader) and isinstance(file.raw, _Decompressed) else file
        )
        for text in _whole_lines(file, head.path, _block_size(head)):
            on_progress(Progress(stage, source.tell(), size))
            with _explained(head, n_above):
                table = arrow.read_csv(io.BytesIO(text), _reading(head, text, n_skipped), parsing, converting)
            on_progress(Progress(stage, source.tell(), size))
            yield from table.combine_chunks().to_batches()
            n_above, n_skipped = n_above + (text.count(b"\n") or text.count(b"\r")), 0


def _reading(head: TableHead, text: bytes, n_skipped: int) -> Any:
    """Return the options of pyarrow: one block and one thread, so that errors include the row."""
    from pyarrow import csv as arrow

    names = [str(column) for column in range(len(head.columns))]
    return arrow.ReadOptions(
        use_threads=False, block_size=len(text) + 1, column_names=names, skip_rows=n_skipped
    )


def _block_size(head: TableHead) -> int:
    """Return the bytes to read at once: some hundred rows if rows are long."""
    return min(max(_BLOCK, len(head.columns) << 9), MAX_LINE)


def _whole_lines(file: BinaryIO, path: Path, size: int) -> Iterator[bytes]:
    """Yield a file in blocks of about `size` that end with a line."""
    rest: list[bytes] = []
    n_rest = 0
    while chunk := file.read(size):
        end = max(chunk.rfind(b"\n"), chunk.rfind(b"\r")) + 1
        if end:
            yield b"".join([*rest, chunk[:end]])
            rest, n_rest = [], 0
        rest.append(chunk[end:])
        n_rest += len(chunk) - end
        if n_rest > MAX_LINE:
            raise ReadError(path.parent, _endless(path))
        if not end and len(chunk) >= _LONGEST_CELL and not any(one in chunk for one in _ENDS_OF_CELLS):
            raise ReadError(path.parent, _without_cells(path))
    if any(piece.strip() for piece in rest):
        yield b"".join(rest)


def _parquet_blocks(
    head: TableHead, types: Mapping[int, pa.DataType], stage: str, on_progress: ProgressCallback
) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(head.path) as file:
        n_read, n_rows = 0, file.metadata.num_rows
        for block in file.iter_batches(batch_size=max(1, _CELLS // len(head.columns))):
            on_progress(Progress(stage, n_read, n_rows))
            n_read += block.num_rows
            block.validate(full=True)  # text may be no UTF-8
            columns = [block.column(column).cast(kind) for column, kind in types.items()]
            yield pa.RecordBatch.from_arrays(columns, names=[str(column) for column in types])


_WRONG_CELL = re.compile(
    r"In CSV column #(\d+): Row #(\d+): CSV conversion error.*?invalid value '(.*)'", re.S
)
_WRONG_ROW = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+)")


@contextmanager
def _explained(head: TableHead, n_above: int) -> Iterator[None]:
    """Raise the errors of pyarrow about a block below `n_above` lines as a ReadError with the line."""
    import pyarrow as pa

    try:
        yield
    except pa.ArrowInvalid as error:
        words = _explanation(head, n_above, str(error))
        if words is None:
            raise
        raise ReadError(head.path.parent, f"`{head.path.name}` {words}") from error


def _explanation(head: TableHead, n_above: int, message: str) -> str | None:
    if found := _WRONG_CELL.search(message):
        column, row, cell = found.groups()
        return _wrong_cell(head.columns[int(column)], n_above + int(row), cell)
    if found := _WRONG_ROW.search(message):
        row, expected, n_cells = found.groups()
        return (
            f"must have {expected} cells in each line, one per column; found {n_cells} in line "
            f"{n_above + int(row):,}. It may be truncated: copy or download it again."
        )
    if "UTF8" in message:
        return _NOT_UTF8
    return None


def _wrong_cell(column: str, line: int, cell: str) -> str:
    words = f"must hold numbers in the column {column!r}, found {cell[:60]!r} in line {line:,}."
    if re.fullmatch(r"-?\d+,\d+", cell):
        return f"{words} Export it with decimal points: decimal commas are not supported."
    return f"{words} Correct the cell, or remove the column."


def names_problem(names: list[str], what: str) -> str | None:
    """Return the problem of names that are not unique or empty, or None."""
    import pandas as pd

    index = pd.Index(names, dtype=object)
    if index.has_duplicates:
        twice = list(index[index.duplicated()].unique())
        return (
            f"must have unique {what}, found {len(twice):,} more than once: {listed(twice, most=3)}. "
            "Rename them."
        )
    if any("\0" in name or not name for name in names):
        return f"must have {what} in each row, found empty ones or NUL characters. Add the names."
    return None
