"""What a comparison of two regions has found: a sentence, bars by evidence, and a table to copy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from magicgui.widgets import PushButton
from qtpy.QtCore import QRect, Qt
from qtpy.QtGui import QFocusEvent, QGuiApplication, QKeyEvent, QKeySequence, QPainter, QPaintEvent
from qtpy.QtWidgets import QWidget

from napari_spotmix.analysis.region_findings import (
    about_p_values,
    differing,
    headline,
    interval_words,
    p_words,
)
from napari_spotmix.ui.panels.inspect import Bar, Bars
from napari_spotmix.ui.panels.section import add_all, plain_label, row_of
from napari_spotmix.ui.text import count, percent, plain, printable

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ComparedBars", "RegionComparison"]

_MOST_BARS = 12
_UNKNOWN_COLOR = "#808080"
#: Opacity of the rows without evidence for a difference.
_WEAK = 0.6


class ComparedBars(Bars):
    """A pair of bars for each cell type, those that differ first, in bold and with a star."""

    _number = 62

    def __init__(self) -> None:
        super().__init__()
        self.n_differing = 0
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAccessibleName("Comparison of two regions")

    def show_table(self, table: pd.DataFrame, colors: Mapping[str, str]) -> None:
        """Show a comparison."""
        self.n_differing = len(differing(table))
        shown = table.head(_MOST_BARS)
        bars = [_bar(str(name), row, colors) for name, row in shown.iterrows()]
        largest = max(
            (one for bar in bars for one in (bar.spot, bar.neighborhood, bar.high) if one == one), default=1.0
        )
        self.scale = max(largest, 0.01)
        self.show_bars(bars)
        words = interval_words(table)
        lines = [_row_text(str(name), row, words) for name, row in shown.iterrows()]
        self.setAccessibleDescription("; ".join(lines))
        self.setToolTip(plain("\n".join(lines)))

    def _paint(self, painter: QPainter, area: QRect, bar: Bar) -> None:
        is_clear = area.top() < self.n_differing * self._row
        font = self.font()
        font.setBold(is_clear)
        painter.setFont(font)
        painter.setOpacity(1.0 if is_clear or not self.n_differing else _WEAK)
        super()._paint(painter, area, bar)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        super().paintEvent(event)
        if self.hasFocus():
            QPainter(self).drawRect(self.rect().adjusted(0, 0, -1, -1))

    def focusInEvent(self, event: QFocusEvent | None) -> None:
        super().focusInEvent(event)
        self.update()


def _bar(name: str, row: pd.Series, colors: Mapping[str, str]) -> Bar:
    p = float(row["p_holm"])
    words = "–" if p != p else p_words(p).replace("p = ", "").replace("p < ", "<")
    return Bar(
        printable(name),
        colors.get(name, _UNKNOWN_COLOR),
        float(row["mean_first"]),
        float(row["mean_second"]),
        float(row["lower_first"]),
        float(row["upper_first"]),
        note=f"{words} *" if differing(row.to_frame().T) else words,
    )


def _row_text(name: str, row: pd.Series, interval: str) -> str:
    first = percent(float(row["mean_first"]))
    ends = (percent(float(row["lower_first"])), percent(float(row["upper_first"])))
    return (
        f"{name}: {first} ({interval} {ends[0]} to {ends[1]}) against {percent(float(row['mean_second']))}, "
        f"{p_words(float(row['p_holm']))}"
    )


class RegionComparison(QWidget):
    """Shows a comparison, and copies it."""

    def __init__(self) -> None:
        super().__init__()
        self.table: pd.DataFrame | None = None
        self.headline = plain_label()
        font = self.headline.font()
        font.setBold(True)
        self.headline.setFont(font)
        self.sizes = plain_label()
        self.bars = ComparedBars()
        self.key = plain_label()
        self.copy = PushButton(
            text="Copy table", tooltip="All cell types, separated by tabs, for a spreadsheet (Ctrl+C)"
        )
        self.save = PushButton(text="Save table…", tooltip="The numbers behind the bars, as CSV")
        self._buttons = row_of(self.copy, self.save)
        add_all(self, self.headline, self.sizes, self.bars, self.key, self._buttons.native)
        self.copy.changed.connect(self._copy)
        self.hide()

    def show_table(self, table: pd.DataFrame | None, colors: Mapping[str, str]) -> None:
        """Show a comparison, or none."""
        self.table = table
        self.setVisible(table is not None)
        if table is None:
            return
        self.headline.setText(headline(table))
        row = table.iloc[0]
        first, second = printable(str(row["first"])), printable(str(row["second"]))
        sizes = [
            f"{name}: {count(int(row[number]), 'spot')}"
            for name, number in ((first, "n_spots_first"), (second, "n_spots_second"))
        ]
        self.sizes.setText("; ".join(sizes) + ".")
        self.bars.show_table(table, colors)
        more = (
            f" {count(len(table) - _MOST_BARS, 'more type')} in the table." if len(table) > _MOST_BARS else ""
        )
        self.key.setText(
            f"Strong: {first}, with its {interval_words(table)}. Pale: {second}. "
            f"Bars: 0 to {percent(self.bars.scale)}. {about_p_values(len(table))}{more}"
        )

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Copy the table by the keys of the system."""
        if event is not None and event.matches(QKeySequence.StandardKey.Copy):
            self._copy()
        else:
            super().keyPressEvent(event)

    def _copy(self, *_: object) -> None:
        clipboard = QGuiApplication.clipboard()
        if self.table is not None and clipboard is not None:
            clipboard.setText(self.table.to_csv(sep="\t", lineterminator="\n"))
