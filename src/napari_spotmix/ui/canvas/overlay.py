"""Boxes over the canvas, painted by Qt: names in them are never anything but text."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QObject, QPoint, QRect, Qt
from qtpy.QtGui import QPainter, QPalette
from qtpy.QtWidgets import QWidget

__all__ = ["PAD", "CanvasBox"]

#: Between a box and the edge of the canvas, and inside of it.
PAD = 8


class CanvasBox(QWidget):
    """A box as large as its `sizeHint`, where `corner` says; clicks pass through it."""

    def __init__(self) -> None:
        super().__init__()
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.hide()

    def put_on(self, canvas: QWidget) -> None:
        """Lie over a widget and follow its size."""
        self.setParent(canvas)
        canvas.installEventFilter(self)

    def corner(self, canvas: QWidget) -> QPoint:
        """Return where the upper left corner lies on the canvas."""
        raise NotImplementedError

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Resize:
            self.place()
        return False

    def place(self) -> None:
        """Go where the box belongs, above all else on the canvas."""
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
