"""The tissue as a whole: which cell types are near each other, and niches of similar neighborhoods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from magicgui.widgets import PushButton, SpinBox
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

from napari_spotmix.analysis.colocalization import BY_CHANCE, Colocalization, colocalization
from napari_spotmix.analysis.niches import Niches, find_niches, stored_niches
from napari_spotmix.base.colors import pair_color
from napari_spotmix.params import MOST_NICHES, N_NICHES
from napari_spotmix.ui.canvas.paint import draw_name, fill
from napari_spotmix.ui.panels.notify import reporting
from napari_spotmix.ui.panels.panel import Panel
from napari_spotmix.ui.panels.section import add_all, plain_label, row_of
from napari_spotmix.ui.panels.task_button import TaskButton
from napari_spotmix.ui.state.maps import DOMINANT, NICHES
from napari_spotmix.ui.text import plain

if TYPE_CHECKING:
    from napari_spotmix.base.progress import ProgressCallback, Task
    from napari_spotmix.result import Result
    from napari_spotmix.ui.state.session import Session
    from napari_spotmix.ui.state.worker import Runner

__all__ = [
    "HeatMap",
    "TissuePanel",
    "Whole",
    "diverging",
    "tissue_task",
]


_SWATCH, _HEAD = 9, 12

#: Rows down and columns to the right that an arrow key moves the cursor.
_STEPS = {
    Qt.Key.Key_Up: (-1, 0),
    Qt.Key.Key_Down: (1, 0),
    Qt.Key.Key_Left: (0, -1),
    Qt.Key.Key_Right: (0, 1),
}

_PRESSES = {Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space}


@dataclass(frozen=True)
class Whole:
    """What was found in the tissue as a whole."""

    colocalization: Colocalization
    niches: Niches


def tissue_task(result: Result, n_niches: int) -> Task:
    """Return the task that finds which types are near each other, and niches."""

    def task(on_progress: ProgressCallback) -> Whole:
        together = colocalization(result, on_progress=on_progress)
        return Whole(together, find_niches(result, n_niches, on_progress=on_progress))

    return task


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
        self.values, self.scores = found.observed.to_numpy(), found.z.to_numpy()
        self.cursor_at = (0, 0)
        self.setAccessibleDescription("; ".join(self._strongest_pairs()))
        self.setFixedHeight(self.sizeHint().height())
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(300, self._row() * len(self.names) + _HEAD + 2)

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        self.setFixedHeight(self.sizeHint().height())

    def pair_at(self, x: float, y: float) -> tuple[int, int] | None:
        """Return row and column of the cell under a point, or None."""
        row, column = int((y - _HEAD) // self._row()), int((x - self._name) // self._side())
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
        return QRect(self._name + column * side, _HEAD + row * height, side - 1, height - 1)

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
        side, height = self._side(), self._row()
        painter.setPen(self.palette().color(QPalette.ColorRole.WindowText))
        font = self.font()
        font.setPixelSize(min(self.fontInfo().pixelSize(), height))
        painter.setFont(font)
        for row, name in enumerate(self.names):
            top = _HEAD + row * height
            # Columns are labeled by the colors of their types.
            fill(painter, QRect(self._name + row * side, 0, side - 1, _SWATCH), self.colors[name])
            fill(painter, QRect(4, top + (height - _SWATCH) // 2, _SWATCH, _SWATCH), self.colors[name])
            draw_name(painter, QRect(_SWATCH + 10, top, self._name - _SWATCH - 16, height), name)
            for column in range(len(self.names)):
                color = diverging(self.values[row, column])
                is_chance = not abs(self.scores[row, column]) >= BY_CHANCE
                painter.fillRect(self._cell(row, column), QColor(pair_color(0.0)) if is_chance else color)
        if self.hasFocus() and self.names:
            self._paint_cursor(painter)

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


class TissuePanel(Panel):
    """Analyzes the whole tissue, and shows what it finds."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.pairs: Colocalization | None = None
        #: Whether to show the niches that a saved view asked for; None if the user asked.
        self._restored_on_screen: bool | None = None
        self.n_niches = SpinBox(
            label="Niches",
            value=N_NICHES,
            min=2,
            max=MOST_NICHES,
            tooltip="Number of groups of spots with similar neighborhoods",
        )
        self.state = plain_label()
        self.search = TaskButton(
            self._search,
            self.state.setText,
            text="Find",
            tooltip="Find which types are near each other, and niches; press again to cancel",
        )
        self._head = row_of(self.n_niches, self.search, labels=True)
        self.map = HeatMap()
        self.show_niches = PushButton(text="Show niches", tooltip="Each spot in the color of its niche")
        add_all(self, self._head.native, self.state, self.map, self.show_niches.native)
        connect = self._connections.connect
        connect(self.search.runner.finished, self._take)
        connect(self.map.asked, self._blend)
        connect(self.show_niches.changed, self._show_niches)
        connect(session.result_changed, self._forget)
        connect(session.result_replayed, self._forget)
        connect(session.niches_wanted, self._find_again)
        self._show()

    @property
    def summary(self) -> str:
        """One line on what was found."""
        niches = self._session.niches
        return "" if niches is None else f"{len(niches.composition)} niches"

    @property
    def runners(self) -> tuple[Runner, ...]:
        return (self.search.runner,)

    def _show_niches(self) -> None:
        self._session.display.show(NICHES)

    def _find_again(self, n_niches: int, is_on_screen: bool) -> None:
        """Find the niches that a saved view had."""
        if self._session.result is not None:
            self.n_niches.value = n_niches
            self.search.run(tissue_task(self._session.result, n_niches))
            self._restored_on_screen = is_on_screen

    def _search(self) -> Task | None:
        result = self._session.result
        self._restored_on_screen = None
        return None if result is None else tissue_task(result, int(self.n_niches.value))

    @reporting
    def _take(self, whole: Whole) -> None:
        self.pairs = whole.colocalization
        # Meanwhile the user may have chosen another map.
        is_asked = self._restored_on_screen is None
        is_shown = is_asked or (bool(self._restored_on_screen) and self._session.display.shown is DOMINANT)
        self._session.set_niches(whole.niches, is_shown=is_shown)
        self._show()

    def _blend(self, first: str, second: str) -> None:
        self._session.display.show(first if first == second else (first, second))

    def _forget(self) -> None:
        """Drop what was found of another result; show the niches that are stored with this one."""
        self.search.runner.cancel()
        self.pairs = None
        result = self._session.result
        stored = None if result is None else stored_niches(result)
        if stored is not None:
            self._session.set_niches(stored, is_shown=False)
        self._show()

    def _show(self) -> None:
        result, pairs = self._session.result, self.pairs
        self._head.native.setVisible(result is not None)
        self.map.setVisible(pairs is not None)
        self.show_niches.native.setVisible(self._session.niches is not None)
        if result is None:
            self.state.setText("After a run: which cell types are near each other, and niches.")
        elif pairs is None:
            self.state.setText("Find which cell types are near each other, and niches.")
        else:
            self.map.show_pairs(result.colors, pairs)
            self.state.setText(
                "Red: together in neighboring spots; blue: apart; white: no more than chance. "
                "Click a cell, or move with the arrow keys and press Enter, to see both types."
            )
