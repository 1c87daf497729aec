"""Between a `RunSpec` and plain values: tables of TOML, JSON, and the cells of a samplesheet.

cattrs goes through the fields of the dataclass; the functions below say what may stand for a value of each
type. Everything that does not fit is reported at once, by the name of its field.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin

from cattrs import ClassValidationError, Converter, ForbiddenExtraKeysError

from napari_spotmix.base.errors import InputError
from napari_spotmix.base.text import quoted
from napari_spotmix.params import Parameters, describe
from napari_spotmix.workflow.spec import Location, RunSpec, location_of

__all__ = [
    "WrongValue",
    "as_json",
    "cells_converter",
    "from_json",
    "parts_of",
    "structured",
    "tables_converter",
]

#: Returns the value that stands for what was found; raises InputError if there is none.
Reader = Callable[[Any], Any]


@dataclass(frozen=True)
class WrongValue:
    """What is wrong with one value: the name of its field, and a sentence that continues from there.

    Attributes
    ----------
    name : str
    text : str
        "must be a number, found 'x'."; "" for a name that is unknown.
    """

    name: str
    text: str


def structured(converter: Converter, values: Mapping[str, Any]) -> tuple[RunSpec, list[WrongValue]]:
    """Return the run that plain values stand for, and all that is wrong with them.

    Parameters
    ----------
    converter : Converter
        `tables_converter` or `cells_converter`.
    values : mapping
        By the names of the fields of `RunSpec`; the parameters of the model in a mapping of their own.

    Returns
    -------
    spec : RunSpec
        With defaults throughout if anything is wrong.
    misfits : list of WrongValue

    Examples
    --------
    >>> _, misfits = structured(tables_converter(), {"layer": 3, "parameters": {"alpha": -1}})
    >>> [(misfit.name, misfit.text) for misfit in misfits]
    [('layer', 'must be a text, found 3.'), ('alpha', 'must be at least 0, found -1.')]
    """
    try:
        return converter.structure(values, RunSpec), []
    except ClassValidationError as error:
        return RunSpec(), list(_misfits(error))


def _misfits(error: Exception, name: str = "") -> Iterator[WrongValue]:
    if isinstance(error, ClassValidationError):
        of_fields, others = error.group_exceptions()
        for one, note in of_fields:
            yield from _misfits(one, note.name)
        for one in others:
            yield from _misfits(one)
    elif isinstance(error, ForbiddenExtraKeysError):
        yield from (WrongValue(unknown, "") for unknown in sorted(error.extra_fields))
    elif isinstance(error, InputError):
        yield from (_named(text, name) for text in error.problems)
    else:
        raise error


def _named(text: str, name: str) -> WrongValue:
    """Return a problem with the name that it begins with, in backticks, as those of `Parameters` do."""
    found = re.match(r"`(\w+)` ", text)
    return WrongValue(found[1], text[found.end() :]) if found else WrongValue(name, text)


# ----------------------------------------------------------------------------------- JSON and TOML


def as_json(spec: RunSpec) -> str:
    """Return a run as JSON; `from_json` reads it.

    Examples
    --------
    >>> spec = RunSpec(Path("outs"), "https://example.org/cells.h5ad")
    >>> from_json(as_json(spec)) == spec
    True
    """
    return json.dumps(tables_converter().unstructure(spec))


def from_json(text: str) -> RunSpec:
    """Return the run that `as_json` was given."""
    return tables_converter().structure(json.loads(text), RunSpec)


def tables_converter() -> Converter:
    """Return the converter of what TOML and JSON hold: texts, numbers, lists."""
    kinds: dict[type, Reader] = {
        str: _fitting(lambda value: isinstance(value, str), "a text"),
        bool: _fitting(lambda value: isinstance(value, bool), "true or false"),
        int: _fitting(_is_whole, "a whole number"),
        float: _fitting(lambda value: _is_whole(value) or isinstance(value, float), "a number"),
    }
    return _converter(
        kinds,
        items=_fitting(lambda value: isinstance(value, list | tuple), "a list of strings"),
        location=lambda value: location_of(kinds[str](value)),
        parameters=_parameters_of,
    )


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _fitting(fits: Callable[[Any], bool], what: str) -> Reader:
    def read(value: Any) -> Any:
        if not fits(value):
            raise InputError(f"must be {what}, found {quoted(value)}.")
        return value

    return read


def _parameters_of(values: Mapping[str, Any]) -> Parameters:
    """Return parameters, once not only their names are known: all problems at once."""
    known = {info.name for info in describe()}
    problems = [f"`{name}` " for name in sorted(values.keys() - known)]
    try:
        parameters = Parameters(**{name: value for name, value in values.items() if name in known})
    except InputError as error:
        raise InputError([*error.problems, *problems]) from None
    if problems:
        raise InputError(problems)
    return parameters


# ------------------------------------------------------------------------------------------- cells


def cells_converter(location: Callable[[str], Location]) -> Converter:
    """Return the converter of the cells of a table, which are texts; "|" stands between several.

    Parameters
    ----------
    location : callable
        Returns the file that a cell names; raises InputError if there is none.

    Examples
    --------
    >>> cells = {"fix": "spatial:flip-x | spatial:flip-y", "report": "no", "parameters": {"n_genes": "100"}}
    >>> spec, problems = structured(cells_converter(Path), cells)
    >>> spec.fix, spec.report, spec.parameters.n_genes
    (('spatial:flip-x', 'spatial:flip-y'), False, 100)
    """
    infos = {info.name: info for info in describe()}

    def parameters(cells: Mapping[str, str]) -> Parameters:
        return _parameters_of(
            {name: infos[name].parsed(text) if name in infos else text for name, text in cells.items()}
        )

    kinds: dict[type, Reader] = {
        str: lambda text: text,
        bool: _truth,
        int: _number(int, "a whole number"),
        float: _number(float, "a number"),
    }
    return _converter(
        kinds,
        items=parts_of,
        location=location,
        parameters=parameters,
    )


def parts_of(cell: str) -> list[str]:
    """Return the values of a cell that may hold several.

    Examples
    --------
    >>> parts_of("a.h5ad | b.h5ad")
    ['a.h5ad', 'b.h5ad']
    """
    return [part.strip() for part in cell.split("|")]


def _truth(text: str) -> bool:
    known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in known:
        raise InputError(f"must be true or false, found {quoted(text)}.")
    return known[text.lower()]


def _number(kind: Callable[[str], Any], what: str) -> Reader:
    def read(text: str) -> Any:
        try:
            return kind(text)
        except ValueError:
            raise InputError(f"must be {what}, found {quoted(text)}.") from None

    return read


# ------------------------------------------------------------------------------------ the converter


def _converter(
    kinds: Mapping[type, Reader], *, items: Reader, location: Reader, parameters: Reader
) -> Converter:
    """Return a converter that reads values of each kind, of files, of tuples and of `Parameters` so."""
    converter = Converter(forbid_extra_keys=True)
    for kind, read in kinds.items():
        converter.register_structure_hook(kind, _without_type(read))
    converter.register_structure_hook(Parameters, _without_type(parameters))

    def several(value: Any, kind: Any) -> tuple[Any, ...]:
        inner = get_args(kind)[0]
        return tuple(converter.structure(item, inner) for item in items(value))

    def optional_location(value: Any, kind: Any) -> Location | None:
        return None if value is None and NoneType in get_args(kind) else location(value)

    converter.register_structure_hook_func(_is_tuple, several)
    converter.register_structure_hook_func(_is_location, optional_location)
    converter.register_unstructure_hook(Path, str)
    converter.register_unstructure_hook_func(
        _is_location, lambda value: None if value is None else str(value)
    )
    return converter


def _without_type(read: Reader) -> Callable[[Any, Any], Any]:
    """Return a reader as cattrs calls it, with the type as well."""
    return lambda value, _: read(value)


def _is_tuple(kind: Any) -> bool:
    origin: Any = get_origin(kind)
    return origin is tuple


def _is_location(kind: Any) -> bool:
    return kind is Path or Path in get_args(kind)
