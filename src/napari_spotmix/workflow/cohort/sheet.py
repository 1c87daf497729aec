"""The samplesheet: one row for each section, read and checked as a whole before anything runs.

Each row becomes a `RunSpec`: its cells are texts, which `workflow.convert` reads.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from napari_spotmix.base.errors import InputError, ReadError
from napari_spotmix.base.text import quoted
from napari_spotmix.base.urls import check_url
from napari_spotmix.params import RENAMED, describe
from napari_spotmix.workflow.spec import Location, RunSpec, location_of, spec_of, with_values

__all__ = ["COLUMNS", "Section", "is_samplesheet", "read_samplesheet"]

#: The main columns of a samplesheet; all but the last are required.
COLUMNS = ("sample", "spatial", "reference", "condition")
_DELIMITERS = ",;\t"
#: Names that Windows keeps for devices.
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
#: Names of what a cohort and a run write: a folder of that name would be in the way of the file.
_FILES = {
    *("proportions.parquet", "samples.csv", "report.html"),
    *("spatial.h5ad", "proportions.csv", "recipe.toml"),
}
#: Bytes of the name of a folder, so that a suffix such as "-rerun" still fits.
_MOST_BYTES = 200
#: Letters of a name, which is shown in tables, maps and messages.
_MOST_LETTERS = 200


@dataclass(frozen=True)
class Section:
    """One row of a samplesheet.

    Attributes
    ----------
    sample, condition : str
        Its name, and the group that it belongs to, "" if none is given.
    spec : RunSpec
        With a folder of its own for the results.
    """

    sample: str
    condition: str
    spec: RunSpec

    @property
    def folder(self) -> Path:
        """The folder for its results."""
        if self.spec.output is None:
            raise InputError(f"The section {self.sample!r} has no `output`: give a folder for its results.")
        return self.spec.output


def is_samplesheet(path: str | Path) -> bool:
    """Whether a file is a table with the columns ``sample`` and ``spatial``; raises nothing.

    Examples
    --------
    >>> is_samplesheet("no/such/sheet.csv")
    False
    """
    try:
        if not Path(path).is_file():
            return False  # a pipe, whose lines can be read once
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            header = file.readline(4096)
    except (OSError, ValueError):
        return False
    return {"sample", "spatial"} <= set(_cells(header, _delimiter(header)))


def read_samplesheet(
    path: str | Path,
    output: str | Path,
    *,
    defaults: Mapping[str, Any] | None = None,
) -> list[Section]:
    """Read a samplesheet: a CSV file with a row for each section.

    Parameters
    ----------
    path : path
        The columns ``sample``, ``spatial`` and ``reference``, and if there are groups ``condition``.
        Further columns are fields of `RunSpec` (``cell_type_key``, ``layer`` ...) and of `Parameters`
        (``lambda_c`` ...). Paths are relative to the folder of the sheet, several in a cell have "|" between
        them; URLs are accepted too. Cells are separated by commas, semicolons or tabs, as spreadsheets write
        them. The text is UTF-8.
    output : path
        Folder in which each section gets a folder.
    defaults : mapping, optional
        Values, by the same names, for empty cells and for columns that the sheet does not have.

    Returns
    -------
    list of Section
        In the order of the rows.

    Raises
    ------
    ReadError
        Everything that is wrong with the sheet, with row and column as a spreadsheet numbers them.

    Examples
    --------
    >>> read_samplesheet("no/such/sheet.csv", "results")
    Traceback (most recent call last):
    napari_spotmix.base.errors.ReadError: no/such/sheet.csv: does not exist. Check the spelling of the path.
    """
    path = Path(path)
    header, rows = _table(path)
    defaults = {name: value for name, value in (defaults or {}).items() if value is not None}
    reader = _Rows(path.absolute().parent, Path(output).absolute(), defaults)
    sections = [reader.section(number, dict(zip(header, cells, strict=False))) for number, cells in rows]
    problems = [
        *_header_problems(header, defaults),
        *_shape_problems(header, rows),
        *reader.problems,
        *_name_problems(sections),
    ]
    if problems:
        raise ReadError(path, problems)
    return [section for _, section in sections]


# ------------------------------------------------------------------------------------------ the table


def _table(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the header, in names of today, and each row that is not empty with its number."""
    text = _text(path)
    delimiter = _delimiter(text.partition("\n")[0])
    try:
        lines = [
            [cell.strip() for cell in row]
            for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        ]
    except csv.Error as error:
        raise ReadError(path, f"cannot be read as a table ({error}). Save it as CSV.") from error
    if not lines:
        raise ReadError(
            path, f"is empty: expected a header with {_quoted(COLUMNS)}, and a row for each section."
        )
    rows = [(number, row) for number, row in enumerate(lines[1:], start=2) if any(row)]
    if not rows:
        raise ReadError(path, "has a header but no rows: add a row for each section.")
    return [RENAMED.get(name, name) for name in lines[0]], rows


def _text(path: Path) -> str:
    if not path.exists():
        raise ReadError(path, "does not exist. Check the spelling of the path.")
    from napari_spotmix.io import as_read_error

    try:
        with as_read_error(path.parent, path.name):
            return path.read_bytes().decode("utf-8-sig")
    except ReadError as error:
        if not isinstance(error.__cause__, UnicodeDecodeError):
            raise
        words = "is not UTF-8 text. Save it in the spreadsheet as “CSV UTF-8”."
        raise ReadError(path, words) from error


def _delimiter(header: str) -> str:
    return max(_DELIMITERS, key=header.count)


def _cells(line: str, delimiter: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]


def _header_problems(header: list[str], defaults: Mapping[str, Any]) -> list[str]:
    needed = [name for name in COLUMNS[:3] if name not in header and name not in defaults]
    known = [*COLUMNS, *sorted(_columns())]
    problems = []
    if needed:
        problems.append(
            f"a samplesheet has the columns {_quoted(COLUMNS[:3])}; {_quoted(needed)} "
            f"{'is' if len(needed) == 1 else 'are'} missing. Found {_quoted(header)}."
        )
    for column, name in enumerate(header, start=1):
        if name not in known:
            problems.append(
                f"Row 1, column {column}: {quoted(name)} is an unknown column.{_meant(name, known)}"
            )
    problems += [
        f"Row 1: the column {quoted(name)} occurs {header.count(name)} times. Keep one."
        for name in dict.fromkeys(header)
        if header.count(name) > 1
    ]
    return problems


def _meant(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    return f" Did you mean {quoted(close[0])}?" if close else " Leave it out, or name a parameter."


def _shape_problems(header: list[str], rows: list[tuple[int, list[str]]]) -> Iterator[str]:
    for number, cells in rows:
        if len(cells) != len(header):
            yield f"Row {number}: expected {len(header)} cells, as in the header, found {len(cells)}."


def _quoted(names: Any) -> str:
    return ", ".join(quoted(name, 40) for name in names)


# ------------------------------------------------------------------------------------------- the rows


def _columns() -> set[str]:
    """Return the columns that a sheet may have, besides those for the name and the group."""
    own = {item.name for item in fields(RunSpec)} - {"output", "parameters"}
    return own | _parameter_names()


def _parameter_names() -> set[str]:
    return {info.name for info in describe()}


class _Rows:
    """Makes a section of each row, and gathers what is wrong with them."""

    def __init__(self, folder: Path, output: Path, defaults: Mapping[str, Any]) -> None:
        from napari_spotmix.workflow.convert import cells_converter

        self.problems: list[str] = []
        self._folder, self._output, self._given = folder, output, defaults.keys()
        self._defaults = spec_of(defaults)
        self._converter = cells_converter(self._location)

    def section(self, number: int, cells: Mapping[str, str]) -> tuple[int, Section]:
        """Return the section of a row; unknown and missing columns are reported with the header."""
        for column in COLUMNS[:3]:
            if cells.get(column) == "" and column not in self._given:
                self._report(number, column, "the cell is empty.")
        sample = cells.get("sample", "")
        for column in ("sample", "condition"):
            if (n := len(cells.get(column, ""))) > _MOST_LETTERS:
                self._report(
                    number, column, f"expected a name of at most {_MOST_LETTERS} letters, found {n:,}."
                )
        spec = replace(self._spec(number, cells), output=self._output / folder_name(sample))
        return number, Section(sample, cells.get("condition", ""), spec)

    def _spec(self, number: int, cells: Mapping[str, str]) -> RunSpec:
        """Return the defaults with what the cells of a row change."""
        from napari_spotmix.workflow.convert import structured

        known, model = _columns(), _parameter_names()
        given = {name: text for name, text in cells.items() if text and name in known}
        own = {name: text for name, text in given.items() if name not in model}
        parameters = {name: text for name, text in given.items() if name in model}
        spec, misfits = structured(self._converter, {**own, "parameters": parameters})
        for misfit in misfits:
            self._report(number, misfit.name, misfit.text)
        self._check_fixes(number, own.get("fix", ""))
        values = {name: getattr(spec, name) for name in own}
        return with_values(
            self._defaults, values | {name: getattr(spec.parameters, name) for name in parameters}
        )

    def _report(self, number: int, column: str, problem: str) -> None:
        self.problems.append(f"Row {number}, column {column}: {problem}")

    def _check_fixes(self, number: int, cell: str) -> None:
        """Report unknown fixes now, before any section runs."""
        if not cell:
            return
        from napari_spotmix.dataset.fixes import parse_fixes
        from napari_spotmix.workflow.convert import parts_of

        try:
            parse_fixes(parts_of(cell))
        except InputError as error:
            for problem in error.problems:
                self._report(number, "fix", problem.removeprefix("`fix`: "))

    def _location(self, text: str) -> Location:
        if isinstance(location_of(text), str):
            return check_url(text)
        path = self._folder / Path(text).expanduser()
        if not os.path.exists(path):  # noqa: PTH110  (False for a name that cannot be one)
            raise InputError(f"{path} does not exist. Paths are relative to the folder of the samplesheet.")
        return path


# ------------------------------------------------------------------------------------------ the names


def folder_name(sample: str) -> str:
    """Return the name of a sample as that of a folder, safe on any system.

    Examples
    --------
    >>> folder_name("Heart/left: 1"), folder_name(".."), folder_name("Müller 7")
    ('Heart_left_ 1', '_', 'Müller 7')
    >>> folder_name("report.html")
    '_report.html'
    """
    name = re.sub(r'[\x00-\x1f\x7f<>:"/\\|?*]', "_", sample).strip(". ")[:100]
    # Names may have 255 bytes; a letter can have four.
    name = name.encode("utf-8", "replace")[:_MOST_BYTES].decode("utf-8", "ignore").rstrip(". ")
    is_taken = not name.strip("_") or _DEVICES.fullmatch(name) or name.casefold() in _FILES
    return f"_{name}" if is_taken else name


def _name_problems(sections: list[tuple[int, Section]]) -> Iterator[str]:
    """Report names that occur twice, and names whose folders would be the same on some system."""
    first: dict[str, tuple[int, str]] = {}
    for number, section in sections:
        key = section.folder.name.casefold()
        row, sample = first.setdefault(key, (number, section.sample))
        if row == number or not section.sample:
            continue
        if sample == section.sample:
            yield (
                f"Row {number}, column sample: {quoted(sample)} is already the name of row {row}. Rename one."
            )
        else:
            yield (
                f"Row {number}, column sample: {quoted(section.sample)} would get the same folder as "
                f"{quoted(sample)} of row {row}. Rename one."
            )
