"""Boxes over the canvas, painted by Qt: names in them are always plain text."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QObject, QPoint, QRect, Qt, Signal
from qtpy.QtGui import QEnterEvent, QPainter, QPalette
from qtpy.QtWidgets import QDialog, QWidget

from napari_spotmix.ui.state.connections import Connections

__all__ = ["PAD", "CanvasBox", "raise_below_notifications"]

#: Between a box and the edge of the canvas, and inside of it.
PAD = 8


def raise_below_notifications(box: QWidget) -> None:
    """Put a box above all on its canvas, below the notifications of napari, which are dialogs there."""
    box.raise_()
    canvas = box.parent()
    if canvas is not None:
        for dialog in canvas.findChildren(QDialog, options=Qt.FindChildOption.FindDirectChildrenOnly):
            dialog.raise_()


class CanvasBox(QWidget):
    """A box as large as its `sizeHint`, at the position `corner`; clicks pass through it.

    Signals
    -------
    entered
        The mouse has come from the canvas, which is not told by Qt.
    """

    entered = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.set_clickable(False)
        # Else the canvas would pick a spot below a box that takes clicks.
        self.setAttribute(Qt.WidgetAttribute.WA_NoMousePropagation)
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

    def enterEvent(self, event: QEnterEvent | None) -> None:
        self.entered.emit()

    def update_position(self) -> None:
        """Move to the corner, above everything else on the canvas but notifications."""
        canvas = self.parent()
        if isinstance(canvas, QWidget):
            self.setGeometry(QRect(self.corner(canvas), self.sizeHint()))
            raise_below_notifications(self)

    def set_clickable(self, is_clickable: bool) -> None:
        """Take clicks, or let them pass through to the canvas."""
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents, not is_clickable)

    def paint_ground(self) -> QPainter:
        """Paint the ground, and return the painter with the color of the text."""
        painter = QPainter(self)
        ground = self.palette().color(QPalette.ColorRole.Window)
        ground.setAlphaF(0.92)
        painter.fillRect(self.rect(), ground)
        painter.setPen(self.palette().color(QPalette.ColorRole.WindowText))
        return painter
