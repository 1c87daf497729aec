"""The range of a map's colors: a bar whose end can be dragged and typed, and the rule for its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QPointF, QRect, Qt, Signal
from qtpy.QtGui import QColor, QLinearGradient, QMouseEvent, QPainter, QPaintEvent, QPalette, QPolygonF
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QLineEdit, QWidget

from napari_spotmix.base.color_range import RangeMode, end_words
from napari_spotmix.ui.canvas.layers import map_colormap
from napari_spotmix.ui.canvas.value_layers import values_colormap
from napari_spotmix.ui.state.connections import Connections
from napari_spotmix.ui.state.map_range import (
    Key,
    drop_chosen_ends,
    is_signed,
    set_ends,
    shown_ends,
    shows_types,
)

if TYPE_CHECKING:
    from napari.utils.colormaps import Colormap

    from napari_spotmix.ui.state.session import Session

__all__ = ["TISSUE", "ColorBar"]

_WIDTH, _HEIGHT, _BAR, _HANDLE = 120, 24, 12, 5
_FIELD = 52
#: A drag makes an end at most so many times as large, or small.
_FURTHEST = 10.0
#: About as light as stained tissue, which shows through low colors.
TISSUE = "#e8e0e4"
_TIPS = {
    RangeMode.OWN: "Each map from 0 to its own rounded maximum: rare types are seen",
    RangeMode.FULL: "Each map from 0 to 1: colors can be compared between types and sections",
    RangeMode.SAME: "All maps from 0 to the largest maximum: of the panels, or of all types if one is shown",
}


class Gradient(QWidget):
    """The colors of a range, with a handle at its end.

    While the handle is dragged, the bar keeps the length that it had for the former end; afterwards the new
    range fills it.

    Signals
    -------
    dragged : float
        The end as a multiple of what it was when the mouse was pressed.
    pressed, dropped
    """

    pressed = Signal()
    dragged = Signal(float)
    dropped = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._colors: list[QColor] = []
        self._is_over_tissue = True
        self._part = 1.0
        self._is_dragging = False
        self.setFixedSize(_WIDTH + 2 * _HANDLE, _HEIGHT)
        self.setCursor(Qt.CursorShape.SizeHorCursor)
        self.setToolTip("Drag the end of the colors; double-click: back to the rule")
        self.setAccessibleName("End of the colors")

    def show_colors(self, colormap: Colormap) -> None:
        """Take the colors of a map."""
        colors = np.asarray(colormap.map(np.linspace(0, 1, 33)), dtype=float)
        self._colors = [QColor.fromRgbF(*map(float, color)) for color in colors]
        self._is_over_tissue = bool(colors[:, 3].min() == 0)
        self.update()

    @property
    def end(self) -> int:
        """Where the handle is, in pixels from the left."""
        return _HANDLE + round(_WIDTH * min(self._part, 1.0))

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        if event is not None and event.button() == Qt.MouseButton.LeftButton:
            self._is_dragging = True
            self.pressed.emit()

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        if event is not None and self._is_dragging:
            part = (event.position().x() - _HANDLE) / _WIDTH
            self._part = float(np.clip(part, 1 / _FURTHEST, _FURTHEST))
            self.dragged.emit(self._part)
            self.update()

    def mouseReleaseEvent(self, event: QMouseEvent | None) -> None:
        if self._is_dragging:
            self._is_dragging, self._part = False, 1.0
            self.update()

    def mouseDoubleClickEvent(self, event: QMouseEvent | None) -> None:
        self._is_dragging, self._part = False, 1.0
        self.dropped.emit()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        bar = QRect(_HANDLE, (_HEIGHT - _BAR) // 2, _WIDTH, _BAR)
        ground = self.palette().color(QPalette.ColorRole.Window)
        painter.fillRect(bar, QColor(TISSUE) if self._is_over_tissue else ground)
        gradient = QLinearGradient(bar.left(), 0, bar.left() + _WIDTH * self._part, 0)
        for at, color in enumerate(self._colors):
            gradient.setColorAt(at / max(len(self._colors) - 1, 1), color)
        painter.fillRect(bar, gradient)
        ink = self.palette().color(QPalette.ColorRole.WindowText)
        painter.setPen(ink)
        painter.drawRect(bar.adjusted(0, 0, -1, -1))
        painter.setBrush(ink)
        corners = [(-_HANDLE, _HEIGHT - 1), (_HANDLE, _HEIGHT - 1), (0, bar.bottom() - 3)]
        painter.drawPolygon(QPolygonF([QPointF(self.end + x, y) for x, y in corners]))


class ColorBar(QWidget):
    """The range of what is shown, and the ways to change it: drag, type, or choose a rule."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._before: dict[Key, float] = {}
        self.gradient = Gradient()
        self.zero = QLabel("0")
        self.end = QLineEdit()
        self.end.setFixedWidth(_FIELD)
        self.end.setToolTip("End of the colors, such as 0.2 or 20%")
        self.end.setAccessibleName("End of the colors as a number")
        self.rule = QComboBox()
        for at, mode in enumerate(RangeMode):
            self.rule.addItem(mode.value, mode)
            self.rule.setItemData(at, _TIPS[mode], Qt.ItemDataRole.ToolTipRole)
        self.rule.setAccessibleName("Range of the colors")
        row = QHBoxLayout(self)
        row.setContentsMargins(8, 2, 6, 2)
        row.setSpacing(4)
        for widget in (self.zero, self.gradient, self.end, self.rule):
            row.addWidget(widget)
        self._connections = Connections()
        self._connect()
        self.hide()

    def _connect(self) -> None:
        connect, session, display = self._connections.connect, self._session, self._session.display
        connect(self.gradient.pressed, self._note_ends)
        connect(self.gradient.dragged, self._drag)
        connect(self.gradient.dropped, lambda: drop_chosen_ends(session))
        connect(self.end.editingFinished, self._take_typed)
        connect(self.rule.activated, self._take_rule)
        for changed in (
            *(session.result_changed, session.result_replayed, display.shown_changed),
            *(display.panels_changed, display.color_range_changed),
        ):
            connect(changed, self.refresh)

    def release(self) -> None:
        """Disconnect from the session."""
        self._connections.disconnect_all()

    def refresh(self) -> None:
        """Show the range of what is shown."""
        session, display = self._session, self._session.display
        ends = shown_ends(session)
        if not ends:
            return
        is_blend = isinstance(display.shown, tuple) and not display.panels
        self.gradient.setVisible(not is_blend)
        self.zero.setVisible(not is_blend)
        if not is_blend:
            self.gradient.show_colors(self._colormap())
        values = {*ends.values()}
        self.zero.setText(f"−{end_words(next(iter(values)))}" if is_signed(session) else "0")
        # Else each panel, or the legend of a blend, names its own.
        self.end.setVisible(len(values) == 1 and not is_blend)
        self.end.setText(end_words(next(iter(values))))
        self.rule.setVisible(shows_types(session))
        mode = display.color_range.mode
        self.rule.setCurrentIndex(list(RangeMode).index(mode))
        self.rule.setToolTip(_TIPS[mode])

    def _colormap(self) -> Colormap:
        """Return the colors of what is shown; of panels, those of the cell types."""
        session, shown = self._session, self._session.display.shown
        found = None if session.display.panels else session.shown_values
        if found is not None and session.spatial is not None:
            return values_colormap(session.spatial, found[1])
        if session.result is None:
            raise RuntimeError("Only genes and columns can be shown without a result.")
        return map_colormap(
            session.result, next(iter(shown_ends(session))) if shows_types(session) else shown
        )

    def _note_ends(self) -> None:
        self._before = shown_ends(self._session)

    def _drag(self, part: float) -> None:
        set_ends(self._session, {name: end * part for name, end in self._before.items()})

    def _take_typed(self) -> None:
        """Take the number in the field; anything else is replaced by what applies."""
        end = _number(self.end.text())
        ends = shown_ends(self._session)
        if end is not None and ends and any(end_words(one) != end_words(end) for one in ends.values()):
            set_ends(self._session, dict.fromkeys(ends, end))
        self.refresh()

    def _take_rule(self, at: int) -> None:
        display = self._session.display
        display.set_color_range(display.color_range.in_mode(list(RangeMode)[at]))


def _number(text: str) -> float | None:
    """Return a positive number that may be written with a percent sign or commas; None for anything else.

    Examples
    --------
    >>> _number("20%"), _number("15,000"), _number("much"), _number("-1")
    (0.2, 15000.0, None, None)
    """
    text = text.strip().replace(",", "")
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        return None
    return value if 0 < value < float("inf") else None
