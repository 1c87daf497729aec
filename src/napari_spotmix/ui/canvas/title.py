"""The title of a map, in the upper left corner of the canvas."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QPoint, QSize
from qtpy.QtGui import QPaintEvent
from qtpy.QtWidgets import QWidget

from napari_spotmix.ui.canvas.overlay import PAD, CanvasBox
from napari_spotmix.ui.canvas.paint import draw_name
from napari_spotmix.ui.state.maps import (
    COUNTS,
    ERRORS,
    GRAPH,
    UNEXPLAINED,
    Column,
    Gene,
    Measure,
    Shown,
    name_of,
)
from napari_spotmix.ui.text import printable, shortened

if TYPE_CHECKING:
    from napari_spotmix.ui.state.edges import EdgeMap

__all__ = ["TITLE_HEIGHT", "Title", "title_of"]

#: A longer name would run into the color bar.
_LONGEST = 27
_OF_MAPS = {
    UNEXPLAINED: "Unexplained: share",
    COUNTS: "Counts per spot",
    ERRORS: "Standard error of the largest type",
}
_OF_MEASURES = {
    Measure.COUNTS: "counts",
    Measure.PER_DEPTH: "counts per 10,000",
    Measure.LOG: "log(1 + counts per 10,000)",
}
TITLE_HEIGHT = 24


def title_of(shown: Shown, edges: EdgeMap) -> str:
    """Return the title of a map."""
    if shown is GRAPH:
        return edges.value
    if isinstance(shown, str):
        return f"{shortened(shown, _LONGEST)}: proportion"
    if isinstance(shown, Gene):
        return f"{shortened(printable(shown.name), _LONGEST)}: {_OF_MEASURES[shown.measure]}"
    if isinstance(shown, Column):
        return shortened(printable(shown.name), _LONGEST)
    if isinstance(shown, tuple):
        return f"Blend of {len(shown)} types"  # the legend names them
    return _OF_MAPS.get(shown) or name_of(shown)


class Title(CanvasBox):
    """A line of text. napari has one too, but needs 10 ms to make its letters again for each text."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        font = self.font()
        font.setBold(True)
        self.setFont(font)

    def show_text(self, text: str) -> None:
        """Show a text, or nothing at all."""
        self.text = text
        self.update_position()
        self.setVisible(bool(text) and self.parent() is not None)
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(self.fontMetrics().horizontalAdvance(self.text) + 2 * PAD, TITLE_HEIGHT)

    def corner(self, canvas: QWidget) -> QPoint:
        return QPoint(PAD, PAD)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        draw_name(self.paint_ground(), self.rect().adjusted(PAD, 0, 0, 0), self.text)
