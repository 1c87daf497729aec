"""The composition of a picked spot, next to that of its neighborhood."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from magicgui.widgets import PushButton
from qtpy.QtCore import QRect, QSize, Qt
from qtpy.QtGui import QColor, QLinearGradient, QPainter, QPaintEvent, QPalette
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_spotmix.analysis.neighborhood import neighbors_of
from napari_spotmix.params import INTERVAL_LEVEL
from napari_spotmix.ui.canvas.layers import ATTENTION_COLORMAP
from napari_spotmix.ui.canvas.paint import draw_name, draw_number, fill
from napari_spotmix.ui.panels.gene_links import GeneLinks
from napari_spotmix.ui.panels.panel import Panel
from napari_spotmix.ui.panels.section import add_all, plain_label
from napari_spotmix.ui.text import count, percent, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_spotmix.result import Result
    from napari_spotmix.ui.state.session import Session

__all__ = ["Bar", "Bars", "InspectPanel", "composition_of", "describe_spot"]

#: Types below this share, in the spot and around it, are left out of the bars.
_LEAST_SHARE = 0.005
_MOST_BARS = 8
#: Types below this share have no supporting genes listed.
_LEAST_SUPPORTED = 0.03
_INDENT = 4
_KEY = "Strong: this spot. Pale: its neighbors, weighted."
_KEY_OF_WHISKERS = f" Whiskers: {INTERVAL_LEVEL:.0%} interval."


@dataclass(frozen=True)
class Bar:
    """Proportion of one cell type in a spot, and its mean over the spot's neighbors (NaN without any).

    `low` and `high` are the ends of a 90% interval, NaN if it is unknown. The `note` is shown in place of the
    proportion.
    """

    name: str
    color: str
    spot: float
    neighborhood: float
    low: float = np.nan
    high: float = np.nan
    note: str = ""


def composition_of(result: Result, spot: int) -> list[Bar]:
    """Return the cell types in a spot or around it, the largest first; neighbors count by their weight W."""
    own = result.proportions.to_numpy()[spot]
    around = _neighborhood_mean(result, spot)
    colors = result.colors
    largest = np.fmax(np.nan_to_num(own), np.nan_to_num(around))
    order = np.argsort(-np.nan_to_num(own) - 1e-3 * largest, kind="stable")
    shown = [at for at in order if largest[at] >= _LEAST_SHARE][:_MOST_BARS]
    names, (low, high) = result.cell_types, _interval(result, spot)
    return [
        Bar(names[at], colors[names[at]], float(own[at]), float(around[at]), float(low[at]), float(high[at]))
        for at in shown
    ]


def _interval(result: Result, spot: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the 90% intervals of a spot's proportions."""
    own = result.proportions.to_numpy()[spot]
    if not len(result.standard_errors):
        return np.full_like(own, np.nan), np.full_like(own, np.nan)
    low, high = result.intervals(slice(spot, spot + 1))
    return low.to_numpy()[0], high.to_numpy()[0]


def _neighborhood_mean(result: Result, spot: int) -> np.ndarray:
    neighbors, weights, _ = neighbors_of(result, spot)
    values = result.proportions.to_numpy()[neighbors]
    weights = np.where(np.isnan(values).any(axis=1), 0.0, weights)
    if weights.sum() <= 0:
        return np.full(len(result.cell_types), np.nan)
    return np.asarray(weights @ np.nan_to_num(values) / weights.sum(), dtype=float)


def supporting_rows(result: Result, spot: int, bars: Sequence[Bar]) -> list[tuple[str, list[str]]]:
    """Return the genes that support each of the spot's types most; without rows if they are unknown."""
    genes = result.supporting_genes(spot)
    return [(bar.name, genes[bar.name]) for bar in bars if bar.name in genes and bar.spot >= _LEAST_SUPPORTED]


def describe_spot(result: Result, spot: int) -> str:
    """Describe a spot: its name, counts, unexplained share, neighbors, and why it was not estimated."""
    name = result.abundances.index[spot]
    facts = [f"{result.counts.iloc[spot]:,.0f} counts"]
    if not np.isnan(result.unexplained.iloc[spot]):
        facts.append(f"{percent(result.unexplained.iloc[spot])} unexplained")
    facts.append(count(len(neighbors_of(result, spot)[0]), "neighbor"))
    lines = [f"Spot {name}", " · ".join(facts)]
    if result.reasons.iloc[spot]:
        lines.append(f"Not estimated: {result.reasons.iloc[spot]}")
    return "\n".join(lines)


def _bar_text(bar: Bar) -> str:
    text = f"{bar.name}: {percent(bar.spot)}"
    if bar.low == bar.low:
        text += f" ({INTERVAL_LEVEL:.0%} interval {percent(bar.low)} to {percent(bar.high)})"
    return f"{text}, neighbors {percent(bar.neighborhood)}"


def _draw_whisker(painter: QPainter, y: int, first: int, last: int) -> None:
    """Draw the interval of a bar."""
    painter.drawLine(first, y, last, y)
    for end in (first, last):
        painter.drawLine(end, y - 3, end, y + 3)


class Bars(QWidget):
    """Horizontal bars, painted: a solid one for the spot, a pale one below it for the neighborhood."""

    _row, _bar, _number = 24, 8, 44

    def __init__(self) -> None:
        super().__init__()
        self.bars: Sequence[Bar] = ()
        #: The share at which bars end.
        self.scale = 1.0
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_bars(self, bars: Sequence[Bar]) -> None:
        self.bars = bars
        lines = [_bar_text(bar) for bar in bars]
        self.setAccessibleDescription("; ".join(lines))
        self.setToolTip(plain("\n".join(lines)))
        self.setFixedHeight(self.sizeHint().height())
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(300, self._row * len(self.bars) + 2)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        painter = QPainter(self)
        painter.setPen(self.palette().color(QPalette.ColorRole.WindowText))
        for at, bar in enumerate(self.bars):
            self._paint(painter, QRect(0, at * self._row, self.width(), self._row), bar)

    def _paint(self, painter: QPainter, area: QRect, bar: Bar) -> None:
        left = self._left()
        width = area.width() - left - self._number
        draw_name(painter, QRect(_INDENT, area.top(), left - 8, area.height()), bar.name)
        strong, pale = QColor(bar.color), QColor(bar.color)
        pale.setAlphaF(0.45)
        for share, color, top in ((bar.spot, strong, 3), (bar.neighborhood, pale, 4 + self._bar)):
            painter.fillRect(QRect(left, area.top() + top, width, self._bar), QColor(128, 128, 128, 50))
            if share == share:
                fill(
                    painter,
                    QRect(left, area.top() + top, round(width * share / self.scale), self._bar),
                    color,
                )
        if bar.low == bar.low:
            middle = area.top() + 3 + self._bar // 2
            ends = [left + round(width * share / self.scale) for share in (bar.low, bar.high)]
            _draw_whisker(painter, middle, *ends)
        draw_number(
            painter,
            QRect(left + width, area.top(), self._number, area.height()),
            bar.note or percent(bar.spot),
        )

    def _left(self) -> int:
        """Return where the bars begin: after the names, which take at most half the width."""
        longest = max(self.fontMetrics().horizontalAdvance(bar.name) for bar in self.bars)
        return min(max(longest + 12 + _INDENT, round(self.width() * 0.3)), self.width() // 2)


class _Gradient(QWidget):
    """The colors of the edges, from attention 0 to 1."""

    def __init__(self) -> None:
        super().__init__()
        self.setFixedHeight(18)
        self.setToolTip("Color and width of the lines to the neighbors: how similar they are, 0 to 1")

    def paintEvent(self, event: QPaintEvent | None) -> None:
        from napari.utils.colormaps import ensure_colormap

        painter = QPainter(self)
        painter.setPen(self.palette().color(QPalette.ColorRole.WindowText))
        colors = ensure_colormap(ATTENTION_COLORMAP).map(np.linspace(0, 1, 9))
        bar = QRect(round(self.width() * 0.38), 4, 120, 10)
        gradient = QLinearGradient(bar.left(), 0, bar.right(), 0)
        for at, color in enumerate(colors):
            gradient.setColorAt(at / 8, QColor.fromRgbF(*map(float, color)))
        centered = int(Qt.AlignmentFlag.AlignVCenter)
        painter.drawText(QRect(_INDENT, 0, bar.left() - 16, self.height()), centered, "Edges: attention")
        painter.drawText(QRect(bar.left() - 12, 0, 12, self.height()), centered, "0")
        painter.fillRect(bar, gradient)
        painter.drawText(QRect(bar.right() + 6, 0, 20, self.height()), centered, "1")


class InspectPanel(Panel):
    """Shows the picked spot."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.clear = PushButton(text="Clear selection", tooltip="Clear the selection (Escape)")
        self.text = plain_label()
        self.key = plain_label(_KEY)
        self.bars = Bars()
        self.genes = GeneLinks("Genes that support each cell type of this spot most; click one for its map")
        self.gradient = _Gradient()
        add_all(self, self.text, self.bars, self.key, self.gradient, self.genes, self.clear.native)
        self._connections.connect(self.clear.changed, self._clear)
        self._connections.connect(self.genes.asked, session.gene_wanted.emit)
        self._connections.connect_each(
            session.result_changed, session.result_replayed, session.pointer.spot_changed, slot=self._show
        )
        self._show()

    @property
    def summary(self) -> str:
        """Name of the picked spot."""
        spot, result = self._session.pointer.spot, self._session.result
        return "" if spot is None or result is None else f"Spot {result.abundances.index[spot]}"

    def _clear(self) -> None:
        self._session.pointer.pick(None)

    def _show(self) -> None:
        result, spot = self._session.result, self._session.pointer.spot
        is_picked = result is not None and spot is not None
        rows: list[tuple[str, list[str]]] = []
        for widget in (self.bars, self.key, self.gradient, self.clear.native):
            widget.setVisible(is_picked)
        if result is not None and spot is not None:
            self.key.setText(_KEY + (_KEY_OF_WHISKERS if len(result.standard_errors) else ""))
            self.text.setText(describe_spot(result, spot))
            bars = composition_of(result, spot)
            self.bars.show_bars(bars)
            rows = supporting_rows(result, spot, bars)
        elif result is not None:
            self.text.setText("Click a spot on the tissue to see what it is made of.")
        else:
            self.text.setText("After a run, click a spot on the tissue to see what it is made of.")
        self.genes.show_rows("Supporting genes", rows)
        self.genes.setVisible(bool(rows))
