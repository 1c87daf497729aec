"""The color bar of a map, over the canvas and below the title."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QPoint, QSize
from qtpy.QtGui import QPaintEvent
from qtpy.QtWidgets import QHBoxLayout, QWidget

from napari_spotmix.ui.canvas.color_bar import ColorBar
from napari_spotmix.ui.canvas.overlay import PAD, CanvasBox
from napari_spotmix.ui.canvas.title import TITLE_HEIGHT

if TYPE_CHECKING:
    from napari_spotmix.ui.state.session import Session

__all__ = ["RangeBox"]


class RangeBox(CanvasBox):
    """Holds a `ColorBar` in the upper left corner of the canvas; unlike other boxes it takes clicks."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.set_clickable(True)
        self.bar = ColorBar(session)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.bar)
        self.bar.show()

    def release(self) -> None:
        super().release()
        self.bar.release()

    def show_range(self, *, is_shown: bool) -> None:
        """Show the range of the current map, or nothing."""
        if is_shown:
            self.bar.refresh()
        self.update_position()
        self.setVisible(is_shown and self.parent() is not None)

    def sizeHint(self) -> QSize:
        return self.bar.sizeHint()

    def corner(self, canvas: QWidget) -> QPoint:
        return QPoint(PAD, PAD + TITLE_HEIGHT)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        self.paint_ground()
