"""Tables of measurements, printed and written to pages of the documentation."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Table:
    """Numbers with a title.

    `name` marks the table on a page. `best` is the NumPy function that selects the bold number of a row.
    """

    name: str
    title: str
    frame: pd.DataFrame
    digits: int = 4
    best: str | None = None

    def print(self) -> None:
        """Print the table for a terminal."""
        print(f"\n{self.title}\n")
        print(self.frame.to_string(float_format=f"{{:.{self.digits}f}}".format, na_rep=""), flush=True)

    def markdown(self) -> str:
        """Return the table as Markdown."""
        index = [name or "" for name in self.frame.index.names]
        header = [*index, *map(str, self.frame.columns)]
        rows = [
            [*map(str, at if isinstance(at, tuple) else (at,)), *self._cells(row.to_numpy(float))]
            for at, row in self.frame.iterrows()
        ]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows))

    def _cells(self, values: np.ndarray) -> list[str]:
        texts = ["" if np.isnan(value) else _short(value, self.digits) for value in values]
        if self.best is None:
            return texts
        best = f"{getattr(np, self.best)(values):.{self.digits}f}"
        return [f"**{text}**" if text == best else text for text in texts]


def fill(page: Path, tables: Iterable[Table]) -> None:
    """Replace the text between ``<!-- table: NAME -->`` and ``<!-- end -->`` on a page."""
    text = page.read_text(encoding="utf-8")
    for table in tables:
        marked = re.compile(rf"(<!-- table: {re.escape(table.name)} -->\n).*?(<!-- end -->)", re.DOTALL)
        text = marked.sub(partial(_between, table.markdown()), text)
    page.write_text(text, encoding="utf-8")


def _between(new: str, found: re.Match[str]) -> str:
    return f"{found[1]}\n{new}\n\n{found[2]}"


def _short(value: float, digits: int) -> str:
    return f"{value:.0f}" if value == round(value) else f"{value:.{digits}f}"
