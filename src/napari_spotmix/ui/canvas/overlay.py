"""Boxes over the canvas, painted by Qt: names in them are always plain text."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QObject, QPoint, QRect, Qt
from qtpy.QtGui import QPainter, QPalette
from qtpy.QtWidgets import QWidget

from napari_spotmix.ui.state.connections import Connections

__all__ = ["PAD", "CanvasBox"]

#: Between a box and the edge of the canvas, and inside of it.
PAD = 8


class CanvasBox(QWidget):
    """A box as large as its `sizeHint`, at the position `corner`; clicks pass through it."""

    def __init__(self) -> None:
        super().__init__()
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self._connections = Connections()
        self.hide()

    def release(self) -> None:
        """Disconnect from the session and the viewer."""
        self._connections.disconnect_all()

    def put_on(self, canvas: QWidget) -> None:
        """Appear over a widget and follow its size."""
        self.setParent(canvas)
        canvas.installEventFilter(self)

    def corner(self, canvas: QWidget) -> QPoint:
        """Return the position of the upper left corner on the canvas."""
        raise NotImplementedError

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        if event is not None and event.type() == QEvent.Type.Resize:
            self.update_position()
        return False

    def update_position(self) -> None:
        """Move to the corner, above everything else on the canvas."""
        canvas = self.parent()
        if isinstance(canvas, QWidget):
            self.setGeometry(QRect(self.corner(canvas), self.sizeHint()))
            self.raise_()

    def paint_ground(self) -> QPainter:
        """Paint the ground, and return the painter with the color of the text."""
        painter = QPainter(self)
        ground = self.palette().color(QPalette.ColorRole.Window)
        ground.setAlphaF(0.92)
        painter.fillRect(self.rect(), ground)
        painter.setPen(self.palette().color(QPalette.ColorRole.WindowText))
        return painter
