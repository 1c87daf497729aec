"""The samplesheet: one row for each section, read and checked as a whole before anything runs."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from napari_spotmix.base.errors import InputError, ReadError
from napari_spotmix.dataset.fixes import parse_fixes
from napari_spotmix.params import ParameterInfo, describe
from napari_spotmix.workflow.job import Job

__all__ = ["COLUMNS", "Section", "is_samplesheet", "read_samplesheet"]

#: What a samplesheet consists of; all but the last must be there.
COLUMNS = ("sample", "spatial", "reference", "condition")
_DELIMITERS = ",;\t"
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
#: Names that Windows keeps for devices.
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


@dataclass(frozen=True)
class Section:
    """One row of a samplesheet.

    Attributes
    ----------
    sample, condition : str
        Its name, and the group that it belongs to, "" where none is given.
    job : Job
        With a folder of its own for the results.
    """

    sample: str
    condition: str
    job: Job


def is_samplesheet(path: str | Path) -> bool:
    """Tell whether a file is a table with the columns ``sample`` and ``spatial``; raises nothing.

    Examples
    --------
    >>> is_samplesheet("no/such/sheet.csv")
    False
    """
    try:
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
        The columns ``sample``, ``spatial`` and ``reference``, and where there are groups ``condition``.
        Further columns are fields of `Job` (``cell_type_key``, ``layer`` ...) and of `Parameters`
        (``lambda_c`` ...). Paths are relative to the folder of the sheet, several in a cell have "|" between
        them; URLs are taken too. Cells are separated by commas, semicolons or tabs, as spreadsheets write
        them. The text is UTF-8.
    output : path
        Folder that each section gets a folder in.
    defaults : mapping, optional
        Values, by the same names, where the sheet has none.

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
    """Return the header, and each row that is not empty with its number."""
    text = _text(path)
    delimiter = _delimiter(text.partition("\n")[0])
    try:
        lines = [
            [cell.strip() for cell in row]
            for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        ]
    except csv.Error as error:
        raise ReadError(path, f"is no table that can be read ({error}). Save it as CSV.") from error
    if not lines:
        raise ReadError(
            path, f"is empty: expected a header with {_quoted(COLUMNS)}, and a row for each section."
        )
    rows = [(number, row) for number, row in enumerate(lines[1:], start=2) if any(row)]
    if not rows:
        raise ReadError(path, "has a header but no rows: give each section one.")
    return lines[0], rows


def _text(path: Path) -> str:
    from napari_spotmix.io import as_read_error

    if not path.exists():
        raise ReadError(path, "does not exist. Check the spelling of the path.")
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
    known = [*COLUMNS, *_settings(), *_parameters()]
    problems = []
    if needed:
        problems.append(
            f"a samplesheet has the columns {_quoted(COLUMNS[:3])}; {_quoted(needed)} "
            f"{'is' if len(needed) == 1 else 'are'} missing. Found {_quoted(header)}."
        )
    for column, name in enumerate(header, start=1):
        if name not in known:
            problems.append(
                f"Row 1, column {column}: {name!r} is no column that is known.{_meant(name, known)}"
            )
    problems += [
        f"Row 1: the column {name!r} is there {header.count(name)} times. Leave one."
        for name in dict.fromkeys(header)
        if header.count(name) > 1
    ]
    return problems


def _meant(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else " Leave it out, or name a parameter."


def _shape_problems(header: list[str], rows: list[tuple[int, list[str]]]) -> Iterator[str]:
    for number, cells in rows:
        if len(cells) != len(header):
            yield f"Row {number}: expected {len(header)} cells, as in the header, found {len(cells)}."


def _quoted(names: Any) -> str:
    return ", ".join(repr(name) for name in names)


# ------------------------------------------------------------------------------------------- the rows


class _Rows:
    """Makes a section of each row, and gathers what is wrong with them."""

    def __init__(self, folder: Path, output: Path, defaults: Mapping[str, Any]) -> None:
        self.problems: list[str] = []
        self._folder, self._output, self._defaults = folder, output, defaults

    def section(self, number: int, cells: Mapping[str, str]) -> tuple[int, Section]:
        """Return the section of a row; columns that are not known or missing are told with the header."""
        known = {"spatial", "reference", *_settings(), *_parameters()}
        given = {name: text for name, text in cells.items() if text and name in known}
        values = dict(self._defaults)
        for column, text in given.items():
            values[column] = self._attempt(number, column, text)
        for column in COLUMNS[:3]:
            if cells.get(column) == "" and column not in values:
                self._tell(number, column, "the cell is empty.")
        sample = cells.get("sample", "")
        job = job_of_values(
            {"spatial": Path(), "reference": Path()} | values, self._output / folder_name(sample)
        )
        return number, Section(sample, cells.get("condition", ""), job)

    def _attempt(self, number: int, column: str, text: str) -> Any:
        try:
            return self._value(column, text)
        except InputError as error:
            for problem in error.problems:
                self._tell(number, column, problem)
        return None

    def _tell(self, number: int, column: str, problem: str) -> None:
        self.problems.append(f"Row {number}, column {column}: {problem}")

    def _value(self, column: str, text: str) -> Any:
        if column in ("spatial", "reference"):
            return self._place(text)
        if (info := _parameters().get(column)) is not None:
            return _parameter(info, text)
        value = self._setting(_settings()[column], text)
        if column == "fix":
            parse_fixes(value)  # tells now what no section could do
        return value

    def _place(self, text: str) -> Path | str:
        from napari_spotmix.io import is_url

        if is_url(text):
            return text
        path = self._folder / Path(text).expanduser()
        if not os.path.exists(path):  # noqa: PTH110  (False for a name that cannot be one)
            raise InputError(f"there is no {path}. Paths are relative to the folder of the sheet.")
        return path

    def _setting(self, kind: str, text: str) -> Any:
        if "tuple" in kind:
            parts = [one.strip() for one in text.split("|")]
            return tuple(self._place(one) for one in parts) if "Path" in kind else tuple(parts)
        if "Path" in kind:
            return self._place(text)
        if "bool" in kind:
            return _truth(text)
        if "float" in kind or "int" in kind:
            value = _number(float if "float" in kind else int, text)
            return _refuse(f"must be a whole number, found {text!r}.") if value == text else value
        return text


def _parameters() -> dict[str, ParameterInfo]:
    return {info.name: info for info in describe()}


def _settings() -> dict[str, str]:
    """Return the kind of each field of `Job`, and of what it holds, that a column can give."""
    own = {item.name: str(item.type) for item in fields(Job) if item.name not in _APART}
    return {name: kind for name, kind in own.items() if name not in _nested()} | {
        item.name: str(item.type) for group in _nested().values() for item in fields(group)
    }


#: Fields of `Job` that are no columns of their own.
_APART = ("spatial", "reference", "output", "parameters")


def _nested() -> dict[str, type[Any]]:
    """Return the fields of `Job` that are dataclasses themselves."""
    factories = {item.name: item.default_factory for item in fields(Job) if callable(item.default_factory)}
    kinds = {name: type(factory()) for name, factory in factories.items()}
    return {name: kind for name, kind in kinds.items() if hasattr(kind, "__dataclass_fields__")}


def job_of_values(values: Mapping[str, Any], output: Path) -> Job:
    """Return a job of values by the names of columns.

    Examples
    --------
    >>> values = {"spatial": Path("outs"), "reference": Path("cells.h5ad"), "layer": "raw", "lambda_c": 0.3}
    >>> job = job_of_values(values, Path("results"))
    >>> job.layer, job.parameters
    ('raw', {'lambda_c': 0.3})
    """
    rest = dict(values)
    own: dict[str, Any] = {
        name: kind(**{item.name: rest.pop(item.name) for item in fields(kind) if item.name in rest})
        for name, kind in _nested().items()
    }
    for item in fields(Job):
        if item.name in rest and item.name not in ("output", "parameters"):
            own[item.name] = rest.pop(item.name)
    return Job(output=output, parameters=rest, **own)


def _parameter(info: ParameterInfo, text: str) -> Any:
    value: Any = text
    if info.kind is bool:
        value = _truth(text)
    elif not info.choices:
        value = _number(info.kind, text)
    if problem := info.problem(value):
        raise InputError(problem.replace(f"`{info.name}` ", ""))
    return value


def _number(kind: Callable[[str], Any], text: str) -> Any:
    try:
        return kind(text)
    except ValueError:
        return text if kind is int else _refuse(f"must be a number, found {text!r}.")


def _truth(text: str) -> bool:
    known = _TRUTH.get(text.lower())
    return _refuse(f"must be true or false, found {text!r}.") if known is None else known


def _refuse(problem: str) -> Any:
    raise InputError(problem)


# ------------------------------------------------------------------------------------------ the names


def folder_name(sample: str) -> str:
    """Return the name of a sample as that of a folder, safe on any system.

    Examples
    --------
    >>> folder_name("Heart/left: 1"), folder_name(".."), folder_name("Müller 7")
    ('Heart_left_ 1', '_', 'Müller 7')
    """
    name = re.sub(r'[\x00-\x1f\x7f<>:"/\\|?*]', "_", sample).strip(". ")[:100].rstrip(". ")
    return f"_{name}" if not name.strip("_") or _DEVICES.fullmatch(name) else name


def _name_problems(sections: list[tuple[int, Section]]) -> Iterator[str]:
    """Tell names that stand twice, and names whose folders would be the same on some system."""
    first: dict[str, tuple[int, str]] = {}
    for number, section in sections:
        key = section.job.output.name.casefold()
        row, sample = first.setdefault(key, (number, section.sample))
        if row == number or not section.sample:
            continue
        if sample == section.sample:
            yield f"Row {number}, column sample: {sample!r} is the name of row {row} already. Rename one."
        else:
            yield (
                f"Row {number}, column sample: {section.sample!r} would have the same folder as "
                f"{sample!r} of row {row}. Rename one."
            )
