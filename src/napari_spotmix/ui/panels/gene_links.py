"""Names of genes in rows, each a click from its map."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QEvent, QRect, QSize, Qt, Signal
from qtpy.QtGui import QFocusEvent, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPalette, QResizeEvent
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_spotmix.ui.canvas.paint import draw_name
from napari_spotmix.ui.text import printable

__all__ = ["GeneLinks"]

_LINE, _GAP, _INDENT = 19, 10, 4
#: The labels of rows take at most this part of the width.
_LABELS = 0.45
_STEPS = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1, Qt.Key.Key_Up: -1, Qt.Key.Key_Down: 1}
_PRESSES = {Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space}


class GeneLinks(QWidget):
    """A heading and rows of genes, painted, so that a name is never anything but text.

    A click on a gene asks for it; so does Enter, after the arrow keys have moved to it.
    """

    asked = Signal(str)

    def __init__(self, tip: str) -> None:
        super().__init__()
        self.heading = ""
        self.rows: Sequence[tuple[str, Sequence[str]]] = ()
        self.cursor_at = 0
        self._hovered: int | None = None
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setToolTip(tip)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_rows(self, heading: str, rows: Sequence[tuple[str, Sequence[str]]]) -> None:
        """Show a heading, and rows of a label and its genes."""
        self.heading, self.rows = heading, rows
        self.cursor_at, self._hovered = 0, None
        self.setAccessibleName(heading)
        self.setAccessibleDescription(self.text())
        self.setFixedHeight(self.sizeHint().height())
        self.update()

    def text(self) -> str:
        """Return the heading and the rows as text; "" without any gene."""
        lines = [f"{label}: {', '.join(genes)}" for label, genes in self.rows]
        return printable("\n".join([f"{self.heading}:", *lines]), keep="\n") if lines else ""

    @property
    def genes(self) -> list[str]:
        """All genes, in the order of the arrow keys."""
        return [gene for _, genes in self.rows for gene in genes]

    def sizeHint(self) -> QSize:
        bottom = max((area.bottom() for area in self._areas()), default=0)
        return QSize(300, bottom + 3)

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        self.setFixedHeight(self.sizeHint().height())

    def area_of(self, gene: int) -> QRect:
        """Return where a gene is painted, by its number in `genes`."""
        return self._areas()[gene]

    def _left(self) -> int:
        """Return where the genes begin."""
        longest = max((self.fontMetrics().horizontalAdvance(label) for label, _ in self.rows), default=0)
        return min(longest + _GAP + _INDENT, round(_LABELS * self.width()))

    def _areas(self) -> list[QRect]:
        """Return where each gene is painted: on the next line if there is not enough room."""
        areas: list[QRect] = []
        left, top = self._left(), _LINE
        for _, genes in self.rows:
            x = left
            for gene in genes:
                width = min(self.fontMetrics().horizontalAdvance(printable(gene)) + 2, self.width() - left)
                if x > left and x + width > self.width():
                    x, top = left, top + _LINE
                areas.append(QRect(x, top, max(width, 1), _LINE))
                x += width + _GAP
            top += _LINE
        return areas

    def _gene_at(self, event: QMouseEvent) -> int | None:
        point = event.position().toPoint()
        return next((at for at, area in enumerate(self._areas()) if area.contains(point)), None)

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        self._point_at(None if event is None else self._gene_at(event))

    def leaveEvent(self, event: QEvent | None) -> None:
        self._point_at(None)

    def _point_at(self, gene: int | None) -> None:
        if gene != self._hovered:
            self._hovered = gene
            self.setCursor(Qt.CursorShape.ArrowCursor if gene is None else Qt.CursorShape.PointingHandCursor)
            self.update()

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        found = None if event is None else self._gene_at(event)
        if found is not None and event is not None and event.button() == Qt.MouseButton.LeftButton:
            self.cursor_at = found
            self.update()
            self.asked.emit(self.genes[found])

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        if event is None or not self.genes:
            return
        key = Qt.Key(event.key())
        if key in _PRESSES:
            self.asked.emit(self.genes[self.cursor_at])
        elif key in _STEPS:
            self.cursor_at = min(max(self.cursor_at + _STEPS[key], 0), len(self.genes) - 1)
            self.setAccessibleDescription(printable(self.genes[self.cursor_at]))
            self.update()
        else:
            super().keyPressEvent(event)

    def focusInEvent(self, event: QFocusEvent | None) -> None:
        super().focusInEvent(event)
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        painter = QPainter(self)
        painter.setPen(self.palette().color(QPalette.ColorRole.WindowText))
        draw_name(painter, QRect(_INDENT, 0, self.width() - _INDENT, _LINE), f"{self.heading}:")
        areas, at = self._areas(), 0
        for label, genes in self.rows:
            if genes:
                room = QRect(_INDENT, areas[at].top(), self._left() - _GAP, _LINE)
                draw_name(painter, room, printable(label))
            at += len(genes)
        font = self.font()
        for number, (gene, area) in enumerate(zip(self.genes, areas, strict=True)):
            font.setUnderline(True)
            font.setBold(False)
            painter.setFont(font)
            is_marked = number == self._hovered or (self.hasFocus() and number == self.cursor_at)
            if is_marked:
                highlight = self.palette().color(QPalette.ColorRole.Highlight)
                painter.fillRect(area.adjusted(-3, 1, 1, -1), highlight)
            draw_name(painter, area, printable(gene))
