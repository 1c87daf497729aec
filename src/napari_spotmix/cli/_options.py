"""Parameters as options of the command line."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter

from napari_spotmix.params import ParameterInfo, describe, option_name

__all__ = [
    "as_options",
    "group",
    "option",
    "option_name",
    "path_given",
    "place_given",
    "places_given",
    "whole_given",
]

MAIN = "Model"
#: Advanced parameters that are options of the main part.
_MAIN_TOO = ("random_state", "n_threads")


@cache
def group(name: str, rank: int) -> Group:
    """Return the one group of that name in the help, which cyclopts tells apart by identity."""
    return Group(name, sort_key=rank)


def path_given(_: Any, tokens: Sequence[Any]) -> Path:
    """Refuse an empty path, often a variable that was never set; it would mean the current folder."""
    if not tokens[0].value:
        raise ValueError("the path is empty.")
    return Path(tokens[0].value)


def place_given(_: Any, tokens: Sequence[Any]) -> Path | str:
    """Return a path, or a URL as it is."""
    path = path_given(_, tokens)
    text = str(tokens[0].value)
    return text if "://" in text else path


def whole_given(_: Any, tokens: Sequence[Any]) -> int:
    """Refuse what is no whole number: 2.5 would be taken for 2."""
    text = str(tokens[0].value)
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"it must be a whole number, found {text!r}.") from None


def places_given(_: Any, tokens: Sequence[Any]) -> tuple[Path | str, ...]:
    """Return several paths and URLs, as `place_given` does."""
    return tuple(place_given(_, [token]) for token in tokens)


def _groups() -> list[str]:
    return list(dict.fromkeys(info.group for info in describe()))


def option(info: ParameterInfo) -> inspect.Parameter:
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
    """Return a converter that leaves what is wrong as it is, for all of it to be told at once."""

    def convert(_: Any, tokens: Sequence[Any]) -> Any:
        text = tokens[0].value
        try:
            return text if info.choices else info.kind(text)
        except ValueError:
            return text

    return convert


#: Arguments that a message may name, beside parameters.
_ARGUMENTS = (
    *("show", "opacity", "region", "dpi"),
    *("output", "inputs", "to", "fix"),
    *("cell_type_key", "layer", "library_key"),
    *("format", "bin_um", "image", "coordinates", "gem_bin", "table"),
    *("labels", "more_references"),
    *("dask", "at_once"),
    *("regions", "first", "second", "n_niches"),
)


def as_options(text: str) -> str:
    """Call the parameters in a message by the names of their options."""
    for name in (*_ARGUMENTS, *(info.name for info in describe())):
        text = text.replace(f"`{name}`", option_name(name))
    return text.replace("`kind`", "--as")
