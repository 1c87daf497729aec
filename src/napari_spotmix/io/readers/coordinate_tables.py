"""Read coordinates from a table; match them with spots by the values of the columns that may name them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_spotmix.base.errors import ReadError
from napari_spotmix.base.progress import ProgressCallback
from napari_spotmix.base.text import agreeing, count
from napari_spotmix.io.problems import listed
from napari_spotmix.io.readers.table_columns import IN_TISSUE, Table
from napari_spotmix.io.readers.table_counts import read_columns
from napari_spotmix.io.readers.table_parsing import names_problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Coordinates", "Match", "read_coordinates"]

#: Spots and coordinates belong together if at least this share of the spots have coordinates.
_LEAST_IN_COMMON = 0.5


@dataclass(frozen=True)
class Match:
    """How spots were matched: the names that were given, words for a note, and the row of each spot or -1."""

    side: str
    words: str
    rows: NDArray[np.intp]

    @property
    def n_found(self) -> int:
        """Number of spots with coordinates."""
        return int((self.rows >= 0).sum())

    @property
    def is_enough(self) -> bool:
        """Whether so many spots have coordinates that both are of the same section."""
        return self.n_found >= _LEAST_IN_COMMON * len(self.rows) and self.n_found > 0


@dataclass(frozen=True)
class Coordinates:
    """Coordinates of spots, as their table holds them.

    Attributes
    ----------
    path : Path
    xy : ndarray of float64, shape (n, 2)
    names : dict of str to Index, each of length n
        All lists of names that the spots may have, by the words for their column.
    in_tissue : ndarray of bool or None
    words : str
        Which columns were read.
    """

    path: Path
    xy: NDArray[np.float64]
    names: dict[str, pd.Index[str]]
    in_tissue: NDArray[np.bool_] | None
    words: str

    def named_as(self, given: Mapping[str, list[str]]) -> Coordinates:
        """Return the coordinates with the one list of names that has most of the given names.

        Raises
        ------
        ReadError
            If the table has no names, or they are empty or repeated.
        """
        if not self.names:
            problem: str | None = "must have a column with the names of spots, found none. Add it."
        else:
            column = self._most_common([pd.Index(names, dtype=object) for names in given.values()])
            problem = names_problem(list(self.names[column]), "names of spots")
        if problem:
            raise ReadError(self.path.parent, f"`{self.path.name}` {problem}")
        words = f" Their names are {column}." if len(self.names) > 1 else ""
        return replace(self, names={column: self.names[column]}, words=self.words + words)

    def _most_common(self, sides: list[pd.Index[str]]) -> str:
        """Return the column that has most of the names of one side; the first if none has any."""
        for change, _ in _CHANGES if len(self.names) > 1 else ():
            changed = [change(side) for side in sides]
            n_common = {
                column: max(int(side.isin(change(names)).sum()) for side in changed)
                for column, names in self.names.items()
            }
            if any(n_common.values()):
                return max(n_common, key=lambda column: n_common[column])
        return next(iter(self.names))

    def matched(self, given: Mapping[str, list[str]]) -> Match:
        """Return the best match with one of the given lists of names, such as of rows and of columns."""
        found: list[Match] = []
        for change, words in _CHANGES:
            found += self._matches(given, change, words)
            if any(match.n_found == len(match.rows) for match in found):
                break
        return max(found, key=lambda match: match.n_found)

    def _matches(
        self, given: Mapping[str, list[str]], change: Callable[[pd.Index[str]], pd.Index[str]], words: str
    ) -> Iterator[Match]:
        for ours in map(change, self.names.values()):
            for side, names in given.items():
                theirs = change(pd.Index(names, dtype=object))
                # Two spots must not get the coordinates of one row because their names were changed.
                is_clear = ours.is_unique and (change is _same or theirs.is_unique)
                rows = ours.get_indexer(theirs) if is_clear else np.full(len(theirs), -1)
                yield Match(side, words, rows)

    def at(self, match: Match) -> NDArray[np.float64]:
        """Return the coordinates of each spot, float64 (n_spots, 2); NaN for spots without."""
        return np.where((match.rows >= 0)[:, None], self.xy[match.rows], np.nan)

    def under_tissue(self, match: Match) -> NDArray[np.bool_] | None:
        """Return which spots are under tissue, or None if that is unknown."""
        return None if self.in_tissue is None else (match.rows >= 0) & self.in_tissue[match.rows]

    def without_counts(self, match: Match) -> list[str]:
        """Return the note on rows under tissue that no spot has."""
        under = np.ones(len(self.xy), bool) if self.in_tissue is None else self.in_tissue
        n_empty = int(under.sum()) - int(under[match.rows[match.rows >= 0]].sum())
        if not n_empty:
            return []
        have, were = agreeing(n_empty, "have"), agreeing(n_empty, "were")
        return [f"{count(n_empty, 'spot')} of `{self.path.name}` {have} no counts, and {were} dropped."]


def _same(names: pd.Index[str]) -> pd.Index[str]:
    return names


def _as_r(names: pd.Index[str]) -> pd.Index[str]:
    """Return names as R's make.names does (punctuation becomes dots), without the X before a digit."""
    return pd.Index(
        [re.sub(r"^X(?=\d)", "", re.sub(r"[^A-Za-z0-9.]", ".", name)) for name in names], dtype=object
    )


def _without_suffix(names: pd.Index[str]) -> pd.Index[str]:
    return pd.Index([re.sub(r"[-.]\d+$", "", name) for name in names], dtype=object)


#: Ways to write names, with words for a note, in the order in which they are tried.
_CHANGES: tuple[tuple[Callable[[pd.Index[str]], pd.Index[str]], str], ...] = (
    (_same, ""),
    (_as_r, ", by names as R writes them (punctuation as dots)"),
    (_without_suffix, ", by names without the number of the library, such as '-1'"),
)


def read_coordinates(table: Table, on_progress: ProgressCallback) -> Coordinates | None:
    """Read coordinates with all columns that may name the spots; None if the table has no x and y."""
    import pyarrow as pa

    if table.coordinates is None:
        return None
    (x, y), selected = table.coordinates, _in_tissue(table)
    by_array = _array_columns(table) if table.name is None else []
    numbers = [x, y, *(column for pair in by_array for column in pair), selected]
    of_numbers = dict.fromkeys(column for column in numbers if column is not None)
    of_names = [column for column in table.possible_names if column not in of_numbers]
    kinds: dict[int, Any] = dict.fromkeys(of_numbers, pa.float64()) | dict.fromkeys(of_names, pa.string())
    read = read_columns(table.head, kinds, on_progress)
    names = {f"the column {table.head.columns[column]!r}": read[column] for column in of_names}
    for a, b in by_array:
        names[f"the columns {table.head.columns[a]!r} and {table.head.columns[b]!r}"] = _array_names(
            read[a], read[b]
        )
    return Coordinates(
        table.path,
        np.column_stack([read[x], read[y]]),
        {words: pd.Index(one, dtype=object) for words, one in names.items()},
        None if selected is None else read[selected] != 0,
        _describe(table, x, y),
    )


def _in_tissue(table: Table) -> int | None:
    if table.head.has_header:
        return table.column(*IN_TISSUE)
    return 1 if len(table.head.columns) == 6 else None  # as in Space Ranger's positions


def _array_columns(table: Table) -> list[tuple[int, int]]:
    """Return the columns that form the names of spots in original Spatial Transcriptomics."""
    pairs = [(table.column(x), table.column(y)) for x, y in (("x", "y"), ("newx", "newy"))]
    return [(x, y) for x, y in pairs if x is not None and y is not None]


def _array_names(x: NDArray[np.float64], y: NDArray[np.float64]) -> list[str]:
    return [f"{a:.10g}x{b:.10g}" for a, b in zip(x, y, strict=True)]


def _describe(table: Table, x: int, y: int) -> str:
    names = [table.head.columns[column] for column in (x, y)]
    if not table.head.has_header:
        return (
            f"`{table.path.name}` has no header: its columns {names[0]} and {names[1]} were read as x and y."
        )
    others = [table.head.columns[column] for column in (table.pair.others if table.pair else ())]
    instead = f" (not {listed(others)})" if others else ""
    return (
        f"The coordinates of spots are the columns {names[0]!r} and {names[1]!r}{instead} of "
        f"`{table.path.name}`."
    )
