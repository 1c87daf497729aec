"""Which cell types are near each other, as a map of colors with a click for each pair."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QRect, QSize, Qt, Signal
from qtpy.QtGui import (
    QColor,
    QFocusEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPalette,
    QResizeEvent,
)
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

from napari_spotmix.analysis.colocalization import BY_CHANCE
from napari_spotmix.base.colors import pair_color
from napari_spotmix.ui.canvas.paint import draw_name, fill
from napari_spotmix.ui.text import plain, printable

if TYPE_CHECKING:
    from napari_spotmix.analysis.colocalization import Colocalization

__all__ = ["END", "HeatMap", "diverging"]

_SWATCH = 9
#: The Moran's I at which the colors end.
END = 0.5

#: Rows down and columns to the right that an arrow key moves the cursor.
_STEPS = {
    Qt.Key.Key_Up: (-1, 0),
    Qt.Key.Key_Down: (1, 0),
    Qt.Key.Key_Left: (0, -1),
    Qt.Key.Key_Right: (0, 1),
}

_PRESSES = {Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space}


def diverging(value: float) -> QColor:
    """Return the color of a Moran's I: red for types that are together, blue for those that are apart.

    Examples
    --------
    >>> diverging(0.0).name(), diverging(9.0).name(), diverging(-9.0).name()
    ('#f7f7f7', '#b2182b', '#2166ac')
    """
    return QColor(pair_color(value))


class HeatMap(QWidget):
    """Cell types against cell types; a click on a cell of the map, or Enter or Space, asks for both types.

    Arrow keys move the cursor, Home and End move it along its row. A tooltip and the accessible description
    say what is at the cursor.
    """

    asked = Signal(str, str)
    _name, _narrowest, _lowest, _most = 130, 4, 10, 22
    #: Columns that are narrower have no names; names are at most so high.
    _named_from, _highest_name = 9, 130
    _foot = 34

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.colors: dict[str, str] = {}
        self.values = np.zeros((0, 0))
        self.scores = np.zeros((0, 0))
        self.cursor_at = (0, 0)
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAccessibleName("Which cell types are near each other")
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_pairs(self, colors: dict[str, str], found: Colocalization) -> None:
        """Show Moran's I of each pair of the types, white if chance explains it."""
        self.names, self.colors = list(colors), colors
        self.values = found.observed.loc[self.names, self.names].to_numpy()
        self.scores = found.z.loc[self.names, self.names].to_numpy()
        self.cursor_at = (0, 0)
        self.setAccessibleDescription("; ".join(self._strongest_pairs()))
        self.setFixedHeight(self.sizeHint().height())
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(300, self._head() + self._row() * len(self.names) + self._foot)

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        self.setFixedHeight(self.sizeHint().height())

    def pair_at(self, x: float, y: float) -> tuple[int, int] | None:
        """Return row and column of the cell under a point, or None."""
        row, column = int((y - self._head()) // self._row()), int((x - self._name) // self._side())
        inside = 0 <= row < len(self.names) and 0 <= column < len(self.names) and x >= self._name
        return (row, column) if inside else None

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        if event is None:
            return
        pair = self.pair_at(event.position().x(), event.position().y())
        if pair is not None and event.button() == Qt.MouseButton.LeftButton:
            self.cursor_at = pair
            self.update()
            self._ask()

    def _ask(self) -> None:
        row, column = self.cursor_at
        self.asked.emit(self.names[row], self.names[column])

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        if event is None:
            return
        key, last = Qt.Key(event.key()), len(self.names) - 1
        row, column = self.cursor_at
        ends = {Qt.Key.Key_Home: (row, 0), Qt.Key.Key_End: (row, last)}
        if last < 0 or key not in {*_STEPS, *ends, *_PRESSES}:
            super().keyPressEvent(event)
        elif key in _PRESSES:
            self._ask()
        else:
            down, right = _STEPS.get(key, (0, 0))
            moved = (min(max(row + down, 0), last), min(max(column + right, 0), last))
            self._move_to(*ends.get(key, moved))

    def focusInEvent(self, event: QFocusEvent | None) -> None:
        super().focusInEvent(event)
        self.update()

    def _move_to(self, row: int, column: int) -> None:
        """Put the cursor on a cell of the map, and say what is there."""
        self.cursor_at = (row, column)
        text = self.pair_text(row, column)
        self.setAccessibleDescription(text)
        QToolTip.showText(self.mapToGlobal(self._cell(row, column).bottomRight()), plain(text), self)
        self.update()

    def _cell(self, row: int, column: int) -> QRect:
        side, height = self._side(), self._row()
        return QRect(self._name + column * side, self._head() + row * height, side - 1, height - 1)

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        if event is None:
            return
        pair = self.pair_at(event.position().x(), event.position().y())
        text = "" if pair is None else plain(self.pair_text(*pair))
        QToolTip.showText(event.globalPosition().toPoint(), text, self)

    def pair_text(self, row: int, column: int) -> str:
        """Say whether two types are near each other."""
        value, score = self.values[row, column], self.scores[row, column]
        pair = self.names[row] if row == column else f"{self.names[row]} and {self.names[column]}"
        if not np.isfinite(score) or abs(score) < BY_CHANCE:
            return f"{pair}: no more than chance (I {value:.2f}, z {score:.1f})"
        return f"{pair}: {'together' if value > 0 else 'apart'} (I {value:.2f}, z {score:.1f})"

    def paintEvent(self, event: QPaintEvent | None) -> None:
        painter = QPainter(self)
        height = self._row()
        painter.setPen(self.palette().color(QPalette.ColorRole.WindowText))
        font = self.font()
        font.setPixelSize(min(self.fontInfo().pixelSize(), height))
        painter.setFont(font)
        for row, name in enumerate(self.names):
            top = self._head() + row * height
            self._paint_column(painter, row, name)
            fill(painter, QRect(4, top + (height - _SWATCH) // 2, _SWATCH, _SWATCH), self.colors[name])
            draw_name(painter, QRect(_SWATCH + 10, top, self._name - _SWATCH - 16, height), printable(name))
            for column in range(len(self.names)):
                color = diverging(self.values[row, column])
                is_chance = not abs(self.scores[row, column]) >= BY_CHANCE
                painter.fillRect(self._cell(row, column), QColor(pair_color(0.0)) if is_chance else color)
        self._paint_scale(painter)
        if self.hasFocus() and self.names:
            self._paint_cursor(painter)

    def _paint_column(self, painter: QPainter, column: int, name: str) -> None:
        """Name a column by the color of its type, and by its name above it if there is room."""
        side, bottom = self._side(), self._head() - _SWATCH - 3
        left = self._name + column * side
        fill(painter, QRect(left, bottom, side - 1, _SWATCH), self.colors[name])
        if bottom > 0:
            painter.save()
            painter.translate(left, bottom - 3)
            painter.rotate(-90)
            draw_name(painter, QRect(0, 0, bottom - 3, side), printable(name))
            painter.restore()

    def _paint_scale(self, painter: QPainter) -> None:
        """Paint the colors from one end to the other, and what they mean."""
        if not self.names:
            return
        top = self.height() - self._foot + 6
        bar = QRect(self._name, top, max(min(self.width() - self._name - 8, 200), 1), 9)
        for at in range(bar.width()):
            value = END * (2 * at / max(bar.width() - 1, 1) - 1)
            painter.fillRect(QRect(bar.left() + at, top, 1, bar.height()), diverging(value))
        below = QRect(bar.left(), bar.bottom() + 1, bar.width(), self._foot - 16)
        for flag, text in (
            (Qt.AlignmentFlag.AlignLeft, f"−{END:g}"),
            (Qt.AlignmentFlag.AlignHCenter, "0"),
            (Qt.AlignmentFlag.AlignRight, f"{END:g}"),
        ):
            painter.drawText(below, int(flag | Qt.AlignmentFlag.AlignVCenter), text)
        draw_name(painter, QRect(4, top - 3, self._name - 10, 15), "Moran's I")

    def _head(self) -> int:
        """Return the height above the first row: swatches, and names if columns are wide enough."""
        if self._side() < self._named_from:
            return _SWATCH + 3
        longest = max(
            (self.fontMetrics().horizontalAdvance(printable(name)) for name in self.names), default=0
        )
        return min(longest + 8, self._highest_name) + _SWATCH + 3

    def _paint_cursor(self, painter: QPainter) -> None:
        """Outline the cell of the cursor, white around black, to be seen on any color."""
        cell = self._cell(*self.cursor_at)
        for color, away in (("#ffffff", 2), ("#000000", 1)):
            painter.setPen(QColor(color))
            painter.drawRect(cell.adjusted(-away, -away, away - 1, away - 1))

    def _side(self) -> int:
        n = max(len(self.names), 1)
        return max(self._narrowest, min(self._most, (self.width() - self._name) // n))

    def _row(self) -> int:
        """Return the height of a row: as high as wide, but names must be read."""
        return max(self._side(), self._lowest)

    def _strongest_pairs(self) -> list[str]:
        upper = np.triu_indices(len(self.names), k=1)
        order = np.argsort(-np.abs(np.nan_to_num(self.values[upper])), kind="stable")[:5]
        return [self.pair_text(int(upper[0][at]), int(upper[1][at])) for at in order]
