"""Tables on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from io import StringIO
from typing import TYPE_CHECKING

from napari_spotmix.base.text import shortened
from napari_spotmix.cli._terminal import harmless

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["as_table", "p_value"]

#: Columns are as wide as they need: a terminal wraps lines that are longer than its width.
_WIDTH = 10_000
#: Longest cell, in letters: names come from files.
_LONGEST = 80


def as_table(header: Sequence[str], rows: Iterable[Sequence[str]], indent: int = 2) -> str:
    """Return rows in aligned columns, the first to the left, numbers to the right.

    Examples
    --------
    >>> print(as_table(["type", "share"], [["T cell", "71%"], ["B cell", "3.1%"]]))
      type    share
      T cell    71%
      B cell   3.1%
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    for number, title in enumerate(header):
        table.add_column(_cell(title), justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(_cell, row))
    text = StringIO()
    Console(file=text, width=_WIDTH, color_system=None, legacy_windows=False).print(table)
    return "\n".join(" " * indent + line.rstrip() for line in text.getvalue().splitlines())


def _cell(text: str) -> Text:
    from rich.text import Text

    return Text(harmless(shortened(text, _LONGEST)))


def p_value(p: float) -> str:
    """Return a p value for people.

    Examples
    --------
    >>> p_value(0.0004), p_value(0.0321), p_value(0.6), p_value(float("nan"))
    ('<0.001', '0.032', '0.60', '-')
    """
    if p != p:
        return "-"
    if p < 0.001:
        return "<0.001"
    return f"{p:.3f}" if p < 0.1 else f"{p:.2f}"
