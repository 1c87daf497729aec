"""Choose the columns x and y by what columns hold and how they are spelled, not by the first that fits."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import product

__all__ = ["COORDINATE_COLUMNS", "ColumnPair", "choose_columns", "first_named", "plain_name"]

#: Names of the columns x and y, in lower case without punctuation; pixels of the image before other units.
COORDINATE_COLUMNS = (
    ("pixelx", "pixely"),
    ("pxlcolinfullres", "pxlrowinfullres"),
    ("imagecol", "imagerow"),
    ("x", "y"),
    ("xcoord", "ycoord"),
    ("coordx", "coordy"),
    ("xcoordinate", "ycoordinate"),
    ("xcentroid", "ycentroid"),
    ("centroidx", "centroidy"),
    ("centerx", "centery"),
    ("xlocation", "ylocation"),
    ("xposition", "yposition"),
    ("xpos", "ypos"),
    ("posx", "posy"),
    ("spatialx", "spatialy"),
    ("spatial1", "spatial2"),
    ("xum", "yum"),
    ("xpx", "ypx"),
)


@dataclass(frozen=True)
class ColumnPair:
    """The numbers of the columns x and y, and of columns that have the same names in another spelling."""

    x: int
    y: int
    others: tuple[int, ...] = ()


def choose_columns(
    names: Sequence[str],
    numeric: Collection[int],
    pairs: Sequence[tuple[str, str]] = COORDINATE_COLUMNS,
) -> ColumnPair | None:
    """Return the columns x and y, or None.

    Columns of numbers come before text, and two columns that are spelled in the same way before others: next
    to ``x`` and ``y``, R's ``X`` holds the names or numbers of rows.

    Parameters
    ----------
    names : sequence of str
        The names of all columns.
    numeric : collection of int
        The columns that hold numbers.
    pairs : sequence of (str, str), optional
        Plain names of x and y (see `plain_name`), the preferred ones first.

    Examples
    --------
    >>> choose_columns(["X", "x", "y"], {0, 1, 2})
    ColumnPair(x=1, y=2, others=(0,))
    """
    plain = [plain_name(name) for name in names]
    found = []
    for rank, (x_name, y_name) in enumerate(pairs):
        for x, y in product(_all(plain, x_name), _all(plain, y_name)):
            is_number = x in numeric and y in numeric
            evidence = (is_number, _spelling(names[x]) == _spelling(names[y]), -rank, names[x] == x_name)
            found.append((evidence, -x, -y, rank))
    if not found:
        return None
    _, x, y, rank = max(found)
    same = {*_all(plain, pairs[rank][0]), *_all(plain, pairs[rank][1])}
    return ColumnPair(-x, -y, tuple(sorted(same - {-x, -y})))


def _all(plain: Sequence[str], name: str) -> list[int]:
    return [column for column, one in enumerate(plain) if one == name]


def _spelling(name: str) -> str:
    """Return how a name is written: with capitals or not, and its punctuation."""
    return re.sub(r"\d+", "0", re.sub(r"[A-Z]+", "A", re.sub(r"[a-z]+", "a", name.strip())))


def first_named(names: Sequence[str], wanted: Sequence[str]) -> str | None:
    """Return the first of the wanted plain names; if spelled in several ways, exactly as wanted if possible.

    Examples
    --------
    >>> first_named(["Spatial", "spatial"], ["spatial", "xspatial"])
    'spatial'
    """
    for name in wanted:
        if same := [one for one in names if plain_name(one) == name]:
            return name if name in same else same[0]
    return None


def plain_name(name: str) -> str:
    """Return a name in lower case without punctuation, to compare names of columns.

    Examples
    --------
    >>> plain_name("Pixel_X")
    'pixelx'
    """
    return re.sub(r"[\W_]", "", name).lower()
