"""The box of the legend: it moves, folds and scrolls, and takes at most a quarter of the canvas."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QPoint, QRect, QSize, Qt
from qtpy.QtGui import QMouseEvent, QPaintEvent, QPolygon, QWheelEvent
from qtpy.QtWidgets import QScrollBar, QWidget

from napari_spotmix.ui.canvas.overlay import PAD, CanvasBox
from napari_spotmix.ui.canvas.paint import draw_name, fill
from napari_spotmix.ui.state.display import Display, LegendPlace

__all__ = ["Legend"]

#: Share of the height of the canvas, and of its width, that the legend takes at most.
_HIGHEST, _WIDEST_SHARE = 0.25, 0.5
_ROW, _TITLE, _SWATCH, _WIDEST, _SCROLL, _ARROW = 18, 20, 11, 190, 10, 4
#: A press that moves further, in pixels of the screen, is a drag; so near to an edge a drag ends at it.
_DRAG, _SNAP = 4, 40
#: Rows for each step of the wheel.
_STEP = 2


class Legend(CanvasBox):
    """Swatches and names, below a title that folds them; a drag moves it, and it stays at the nearest corner.

    Parameters
    ----------
    display : Display
        Keeps where the legend is and whether it is folded.
    others : sequence of CanvasBox
        Boxes that a legend in a corner stays clear of.
    """

    def __init__(self, display: Display, others: Sequence[CanvasBox] = ()) -> None:
        super().__init__()
        self._display, self._others = display, others
        self._pressed: QPoint | None = None
        self._grip: QPoint | None = None
        self.entries: list[tuple[str, str]] = []
        self.title = ""
        self.bar = QScrollBar(Qt.Orientation.Vertical, self)
        self.bar.setSingleStep(_ROW)
        self.bar.valueChanged.connect(self.update)
        self.bar.hide()
        self.set_clickable(True)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setToolTip("Click the title: fold or unfold. Drag: move")
        self.setAccessibleName("Legend")

    def show_entries(self, entries: Sequence[tuple[str, str]], title: str = "") -> None:
        """Show these names and colors below a title, or hide the legend without any."""
        if [name for name, _ in entries] != [name for name, _ in self.entries]:
            self.bar.setValue(0)
        self.entries, self.title = list(entries), title
        self.update_position()
        self.setVisible(bool(entries) and self.parent() is not None)
        self.update()

    @property
    def is_folded(self) -> bool:
        """Whether only the title is shown."""
        return self._display.legend.is_folded

    @property
    def n_rows(self) -> int:
        """Number of entries for which there is room."""
        canvas = self.parent()
        if self.is_folded or not isinstance(canvas, QWidget):
            return 0
        return max(1, min(len(self.entries), int((_HIGHEST * canvas.height() - _TITLE - PAD) / _ROW)))

    # Its position and size

    def sizeHint(self) -> QSize:
        width = self.fontMetrics().horizontalAdvance
        title, canvas = width(self.title) + 3 * PAD + 2 * _ARROW, self.parent()
        if self.is_folded:
            return QSize(title, _TITLE)
        names = (
            min(max((width(name) for name, _ in self.entries), default=0), _WIDEST) + _SWATCH + 3 * PAD + 2
        )
        widest = int(_WIDEST_SHARE * canvas.width()) if isinstance(canvas, QWidget) else _WIDEST
        scroll = _SCROLL if self.n_rows < len(self.entries) else 0
        return QSize(min(max(title, names) + scroll, widest), _TITLE + _ROW * self.n_rows + PAD // 2)

    def corner(self, canvas: QWidget) -> QPoint:
        """Return its position; in a corner, it is next to the boxes that are there."""
        place, size = self._display.legend, self.sizeHint()
        right, low = canvas.width() - size.width() - PAD, canvas.height() - size.height() - PAD
        x = right - place.away[0] if place.is_right else PAD + place.away[0]
        y = low - place.away[1] if place.is_low else PAD + place.away[1]
        area = QRect(QPoint(x, y), size)
        for other in self._others if place.away[1] == 0 else ():
            if not other.isHidden() and area.intersects(other.geometry()):
                edge = other.geometry()
                area.moveTop(edge.top() - size.height() - PAD // 2 if place.is_low else edge.bottom() + 1)
        return _within(canvas, area.topLeft(), size)

    def update_position(self) -> None:
        super().update_position()
        n_hidden = len(self.entries) - self.n_rows
        is_scrolled = n_hidden > 0 and not self.is_folded
        self.bar.setVisible(is_scrolled)
        if is_scrolled:
            self.bar.setPageStep(self.n_rows * _ROW)
            self.bar.setRange(0, n_hidden * _ROW)
            self.bar.setGeometry(self.width() - _SCROLL, _TITLE, _SCROLL, self.n_rows * _ROW)

    def _keep_place(self, canvas: QWidget) -> None:
        """Keep the corner that is nearest, and how far from it the legend is; near an edge, none."""
        is_right, right = _from_edge(self.x(), self.width(), canvas.width())
        is_low, low = _from_edge(self.y(), self.height(), canvas.height())
        self._display.legend = LegendPlace(is_right, is_low, (right, low), self.is_folded)

    # Mouse

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        if event is not None and event.button() == Qt.MouseButton.LeftButton:
            self._pressed = event.position().toPoint()

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        canvas = self.parent()
        if event is None or self._pressed is None or not isinstance(canvas, QWidget):
            return
        at = event.position().toPoint()
        if (at - self._pressed).manhattanLength() > _DRAG:
            self._grip = self._pressed
        if self._grip is not None:
            self.move(_within(canvas, self.pos() + at - self._grip, self.size()))

    def mouseReleaseEvent(self, event: QMouseEvent | None) -> None:
        pressed, grip, canvas = self._pressed, self._grip, self.parent()
        self._pressed = self._grip = None
        if grip is not None and isinstance(canvas, QWidget):
            self._keep_place(canvas)
        elif pressed is not None and pressed.y() < _TITLE:
            self._display.legend = self._display.legend.folded(not self.is_folded)
        self.update_position()
        self.update()

    def wheelEvent(self, event: QWheelEvent | None) -> None:
        """Scroll; the tissue below is not zoomed."""
        if event is not None:
            self.bar.setValue(self.bar.value() - round(event.angleDelta().y() / 120 * _STEP * _ROW))
            event.accept()

    # Painting

    def paintEvent(self, event: QPaintEvent | None) -> None:
        painter = self.paint_ground()
        middle, left = _TITLE // 2, PAD + _ARROW
        folded = [(-_ARROW // 2, -_ARROW), (-_ARROW // 2, _ARROW), (_ARROW // 2, 0)]
        open_ = [(-_ARROW, -_ARROW // 2), (_ARROW, -_ARROW // 2), (0, _ARROW // 2)]
        painter.setBrush(painter.pen().color())
        corners = folded if self.is_folded else open_
        painter.drawPolygon(QPolygon([QPoint(left + x, middle + y) for x, y in corners]))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        after = 2 * PAD + 2 * _ARROW
        draw_name(painter, QRect(after, 0, self.width() - after, _TITLE), self.title)
        if self.is_folded:
            return
        painter.setClipRect(QRect(0, _TITLE, self.width(), self.n_rows * _ROW))
        room = self.width() - 3 * PAD - _SWATCH - (_SCROLL if not self.bar.isHidden() else 0)
        for at, (name, color) in enumerate(self.entries):
            top = _TITLE + at * _ROW - self.bar.value() * (not self.bar.isHidden())
            if color:
                fill(painter, QRect(PAD, top + 3, _SWATCH, _SWATCH), color)
            draw_name(painter, QRect(2 * PAD + _SWATCH, top, room, _ROW), name)


def _from_edge(at: int, size: int, whole: int) -> tuple[bool, int]:
    """Return whether the far edge of a whole is nearer, and the distance to the nearer one; near it, none.

    Examples
    --------
    >>> _from_edge(300, 100, 1000), _from_edge(880, 100, 1000)
    ((False, 292), (True, 0))
    """
    is_far = 2 * at + size > whole
    away = (whole - size - at if is_far else at) - PAD
    return is_far, away if away >= _SNAP else 0


def _within(canvas: QWidget, at: QPoint, size: QSize) -> QPoint:
    """Return a position at which a box of that size is all on the canvas."""
    right, low = canvas.width() - size.width(), canvas.height() - size.height()
    return QPoint(max(0, min(at.x(), right)), max(0, min(at.y(), low)))
