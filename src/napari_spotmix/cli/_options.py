"""Parameters as options of the command line."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter

from napari_spotmix.base.text import quoted
from napari_spotmix.base.urls import is_url, url_problem
from napari_spotmix.params import RENAMED, ParameterInfo, describe, option_name
from napari_spotmix.workflow.spec import Location, location_of

__all__ = [
    "as_options",
    "group",
    "location_given",
    "location_problems",
    "locations_given",
    "option",
    "option_name",
    "path_given",
    "whole_given",
    "with_current_options",
]

MAIN = "Model"
#: Arguments that name inputs.
_LOCATIONS = ("spatial", "reference", "image", "coordinates", "labels", "more_references")
#: Bytes of a file name; more are possible on no common file system.
_LONGEST_NAME = 255
#: Advanced parameters that are options of the main part.
_MAIN_TOO = ("random_state", "n_threads")


@cache
def group(name: str, rank: int) -> Group:
    """Return the one group of that name in the help: cyclopts distinguishes groups by identity."""
    return Group(name, sort_key=rank)


def path_given(_: Any, tokens: Sequence[Any]) -> Path:
    """Refuse an empty path, often a variable that was never set; it would mean the current folder."""
    text = str(tokens[0].value)
    if problem := _path_problem(text):
        raise ValueError(problem)
    return Path(text)


def _path_problem(text: str) -> str | None:
    if not text:
        return "the path is empty. Check the variable that it comes from."
    if any(len(os.fsencode(part)) > _LONGEST_NAME for part in Path(text).parts):
        return f"{quoted(text)} has a name of more than {_LONGEST_NAME} bytes."
    return None


def location_given(_: Any, tokens: Sequence[Any]) -> Location:
    """Return a path, and a URL or an empty text as it is; see `location_problems`."""
    text = str(tokens[0].value)
    return location_of(text) if text else text


def location_problems(given: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the paths and URLs among the arguments, so that all are reported at once."""
    problems = []
    for name in _LOCATIONS:
        found = given.get(name)
        for one in found if isinstance(found, tuple) else (found,):
            problem = url_problem(one) if is_url(one) else _path_problem("" if one is None else str(one))
            if problem and one is not None:
                problems.append(f"`{name}`: {problem}")
    return problems


def whole_given(_: Any, tokens: Sequence[Any]) -> int:
    """Refuse a text that is not a whole number: cyclopts would read 2.5 as 2."""
    text = str(tokens[0].value)
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"it must be a whole number, found {text!r}.") from None


def locations_given(_: Any, tokens: Sequence[Any]) -> tuple[Location, ...]:
    """Return several paths and URLs, as `location_given` does."""
    return tuple(location_given(_, [token]) for token in tokens)


def _groups() -> list[str]:
    return list(dict.fromkeys(info.group for info in describe()))


def option(info: ParameterInfo) -> inspect.Parameter:
    """Return a parameter of the model as an argument that cyclopts makes an option of."""
    is_main = not info.advanced or info.name in _MAIN_TOO
    shown_in = (
        group(MAIN, 2) if is_main else group(f"Advanced: {info.group}", 3 + _groups().index(info.group))
    )
    kind: Any = Literal[info.choices] if info.choices else info.kind
    parameter = Parameter(
        name=option_name(info.name),
        help=info.help + _bounds(info),
        group=shown_in,
        converter=None if info.kind is bool else _converter(info),
        show_default=info.default is not None,
    )
    annotation: Any = Annotated[kind | None if info.optional else kind, parameter]
    return inspect.Parameter(
        info.name, inspect.Parameter.KEYWORD_ONLY, default=info.default, annotation=annotation
    )


def _bounds(info: ParameterInfo) -> str:
    limits = [("at least", info.minimum), ("at most", info.maximum)]
    words = ", ".join(f"{word} {limit:g}" for word, limit in limits if limit is not None)
    return f" ({', '.join(part for part in (info.unit, words) if part)})" if info.unit or words else ""


def _converter(info: ParameterInfo) -> Callable[[Any, Sequence[Any]], Any]:
    """Return a converter that leaves a wrong value as it is, so that all of them are reported at once."""
    return lambda _, tokens: info.parsed(tokens[0].value)


#: Arguments that a message may name, besides parameters.
_ARGUMENTS = (
    *("show", "opacity", "region", "color_range", "dpi"),
    *("output", "inputs", "to", "fix", "overwrite"),
    *("cell_type_key", "layer", "library_key"),
    *("format", "bin_um", "image", "coordinates", "gem_bin", "table", "section"),
    *("labels", "more_references"),
    *("dask", "at_once"),
    *("regions", "first", "second", "n_niches"),
)


def as_options(text: str) -> str:
    """Call the parameters in a message by the names of their options."""
    for name in (*_ARGUMENTS, *(info.name for info in describe())):
        text = text.replace(f"`{name}`", option_name(name))
    return text.replace("`kind`", "--as")


#: Commands that have had other options before.
_WITH_OLD_OPTIONS = ("run", "check")


def with_current_options(words: Sequence[str]) -> list[str]:
    """Return the arguments of a command with old option names replaced by the current ones.

    Each old name is reported on standard error.
    """
    if not words or words[0] not in _WITH_OLD_OPTIONS:
        return list(words)
    return list(map(_current, words))


def _current(word: str) -> str:
    name, equals, value = word.partition("=")
    if name not in _old_options():
        return word
    new = _old_options()[name]
    print(f"{name} is now called {new}. Use the new name.", file=sys.stderr)
    return f"{new}{equals}{value}"


@cache
def _old_options() -> dict[str, str]:
    return dict(_renamed())


def _renamed() -> Iterator[tuple[str, str]]:
    """Yield each old option name and the current one, for switches also the negated form."""
    switches = {info.name for info in describe() if info.kind is bool}
    for old, new in RENAMED.items():
        yield option_name(old), option_name(new)
        if new in switches:
            yield (f"--no-{option_name(old)[2:]}", f"--no-{option_name(new)[2:]}")
