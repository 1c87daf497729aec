"""A scale bar in micrometers, in place of napari's, whose unit is the pixel of the full-resolution image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QPoint, QRect, QSize, Qt
from qtpy.QtGui import QPaintEvent, QPalette
from qtpy.QtWidgets import QWidget

from napari_spotmix.dataset.geometry import length_words, microns_per_pixel, round_length
from napari_spotmix.ui.canvas.overlay import PAD, CanvasBox

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_spotmix.ui.canvas.on_screen import OnScreen
    from napari_spotmix.ui.state.session import Session

__all__ = ["ScaleBar"]

#: The bar is about this long, in pixels of the screen.
_LONGEST = 130
_TEXT, _LINE = 20, 3


class ScaleBar(CanvasBox):
    """A bar of a round length in the lower right corner of the canvas."""

    def __init__(self, viewer: ViewerModel, session: Session, on_screen: OnScreen) -> None:
        super().__init__()
        self._viewer, self._session, self._on_screen = viewer, session, on_screen
        self._microns: float | None = None
        self.microns = 0.0
        self._connections.connect(viewer.scene.camera.events.zoom, self._show)
        self._connections.connect(viewer.dims.events.ndisplay, self._show)
        self._connections.connect(session.data.tissue_changed, self._measure)
        self._connections.connect(session.display.panels_changed, self._show)
        self._connections.connect(on_screen.layers_changed, self._show)
        self._measure()

    @property
    def text(self) -> str:
        """The text above the bar."""
        return length_words(self.microns, True)

    @property
    def length(self) -> float:
        """Length of the bar in pixels of the screen."""
        return 0.0 if self._microns is None else self.microns / self._microns * self._viewer.scene.camera.zoom

    def sizeHint(self) -> QSize:
        text = self.fontMetrics().horizontalAdvance(self.text)
        return QSize(max(round(self.length), text) + 2 * PAD, _TEXT + _LINE + PAD + 3)

    def corner(self, canvas: QWidget) -> QPoint:
        size = self.sizeHint()
        return QPoint(canvas.width() - size.width() - PAD, canvas.height() - size.height() - PAD)

    def put_on(self, canvas: QWidget) -> None:
        """Appear over a widget, and follow its size."""
        super().put_on(canvas)
        self._show()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        painter = self.paint_ground()
        painter.drawText(QRect(0, 2, self.width(), _TEXT), int(Qt.AlignmentFlag.AlignCenter), self.text)
        left = (self.width() - round(self.length)) // 2
        bar = QRect(left, _TEXT + 3, round(self.length), _LINE)
        painter.fillRect(bar, self.palette().color(QPalette.ColorRole.WindowText))

    def _measure(self) -> None:
        """Find the size of a pixel; if it is unknown, napari's own bar shows pixels."""
        tissue = self._session.data.tissue
        self._microns = None if tissue is None else microns_per_pixel(tissue.adata)
        if tissue is not None:
            self._viewer.canvas.overlays.scale_bar.visible = self._microns is None
        self._show()

    def _show(self) -> None:
        canvas, zoom = self.parent(), self._viewer.scene.camera.zoom
        is_seen = isinstance(canvas, QWidget) and not self._session.display.panels
        is_seen = is_seen and not self._on_screen.is_empty
        is_shown = self._microns is not None and is_seen and self._viewer.dims.ndisplay == 2
        if self._microns is not None and zoom > 0:
            self.microns = round_length(_LONGEST * self._microns / zoom)
        self.update_position()
        self.setVisible(is_shown)
        self.update()
