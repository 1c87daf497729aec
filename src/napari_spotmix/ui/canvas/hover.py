"""A small box next to the mouse with the largest cell types of the spot under it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QEvent, QObject, QPoint, QRect, QSize
from qtpy.QtGui import QCursor, QPaintEvent
from qtpy.QtWidgets import QWidget

from napari_spotmix.ui.canvas.overlay import PAD, CanvasBox
from napari_spotmix.ui.canvas.paint import draw_name, draw_number, fill
from napari_spotmix.ui.state.maps import Gene, name_of
from napari_spotmix.ui.text import percent, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_spotmix.result import Result
    from napari_spotmix.ui.state.session import Session

__all__ = ["HoverBox", "largest_types"]

_MOST_TYPES = 3
_ROW, _SWATCH, _NUMBER, _WIDEST = 18, 11, 44, 230
_LEAVING = (QEvent.Type.Leave, QEvent.Type.Hide, QEvent.Type.WindowDeactivate)
#: From the point of the arrow to the box.
_AWAY = 16


def largest_types(result: Result, spot: int) -> list[tuple[str, str, float]]:
    """Return (name, color, proportion) of the three largest types of a spot; none if it was not estimated."""
    own = result.proportions.to_numpy()[spot]
    if np.isnan(own).any():
        return []
    order = np.argsort(-own, kind="stable")[:_MOST_TYPES]
    names, colors = result.cell_types, result.colors
    return [(names[at], colors[names[at]], float(own[at])) for at in order if own[at] > 0]


class HoverBox(CanvasBox):
    """Follows the mouse over the canvas."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self.title = ""
        self.entries: Sequence[tuple[str, str, float]] = ()
        #: The genes or the column on the screen, with their value here.
        self.readings: Sequence[tuple[str, str]] = ()
        self._connections.connect_each(
            session.pointer.hover_changed, session.result_changed, session.result_replayed, slot=self._show
        )

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Hide when the mouse leaves the canvas, also for a box on it or for another window."""
        if event is not None and event.type() in _LEAVING:
            self._session.pointer.hover(None)
        return super().eventFilter(watched, event)

    def sizeHint(self) -> QSize:
        width = self.fontMetrics().horizontalAdvance
        rows = [width(name) + _SWATCH + PAD + _NUMBER for name, _, _ in self.entries]
        rows += [width(name) + width(value) + 2 * PAD for name, value in self.readings]
        widest = max([width(self.title), *rows])
        n_rows = 1 + len(self.readings) + len(self.entries)
        return QSize(min(widest, _WIDEST) + 2 * PAD, _ROW * n_rows + PAD)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        painter = self.paint_ground()
        inner = self.rect().adjusted(PAD, PAD // 2, -PAD, 0)
        draw_name(painter, QRect(inner.left(), inner.top(), inner.width(), _ROW), self.title)
        for at, (name, value) in enumerate(self.readings, start=1):
            row = QRect(inner.left(), inner.top() + at * _ROW, inner.width(), _ROW)
            room = painter.fontMetrics().horizontalAdvance(value) + PAD
            draw_name(painter, row.adjusted(0, 0, -room, 0), name)
            draw_number(painter, row, value)
        for at, (name, color, share) in enumerate(self.entries, start=1 + len(self.readings)):
            row = QRect(inner.left(), inner.top() + at * _ROW, inner.width(), _ROW)
            fill(painter, QRect(row.left(), row.top() + 3, _SWATCH, _SWATCH), color)
            draw_name(painter, row.adjusted(_SWATCH + PAD, 0, -_NUMBER, 0), name)
            draw_number(painter, row, percent(share))

    def _show(self) -> None:
        result, spot, canvas = self._session.result, self._session.pointer.hovered, self.parent()
        spatial = self._session.spatial
        is_known = result is not None or self._session.shown_values is not None
        if not is_known or spatial is None or spot is None or not isinstance(canvas, QWidget):
            self.hide()
            return
        self.entries = [] if result is None else largest_types(result, spot)
        reason = "" if result is None else result.reasons.iloc[spot]
        self.title = printable(f"{spatial.obs_names[spot]}" + (f": {reason}" if reason else ""))
        self.readings = self._values(spot)
        self.update_position()
        self.show()
        self.update()

    def _values(self, spot: int) -> list[tuple[str, str]]:
        """Return the name and the value of each gene or column on the screen."""
        session, display = self._session, self._session.display
        found = [] if display.panels or session.shown_values is None else [session.shown_values]
        found += [(one, session.known_values[one]) for one in display.panels if isinstance(one, Gene)]
        return [(printable(name_of(shown)), printable(values.text(spot))) for shown, values in found]

    def corner(self, canvas: QWidget) -> QPoint:
        """Return the corner below and to the right of the mouse, or on its other side near an edge."""
        mouse, size = canvas.mapFromGlobal(QCursor.pos()), self.sizeHint()
        x, y = mouse.x() + _AWAY, mouse.y() + _AWAY
        if x + size.width() > canvas.width():
            x = mouse.x() - _AWAY - size.width()
        if y + size.height() > canvas.height():
            y = mouse.y() - _AWAY - size.height()
        furthest = canvas.width() - size.width(), canvas.height() - size.height()
        return QPoint(max(min(x, furthest[0]), 0), max(min(y, furthest[1]), 0))
