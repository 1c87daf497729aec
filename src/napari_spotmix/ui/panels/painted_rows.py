"""A list whose rows are painted by a function, so that a name is never anything but text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QItemSelectionModel, QModelIndex, QRect, QSize, Qt
from qtpy.QtGui import QPainter, QPalette
from qtpy.QtWidgets import QListView, QStyle, QStyledItemDelegate, QStyleOptionViewItem

__all__ = ["ROW", "PaintedRows"]

#: Role under which a model returns what `paint_row` gets.
ROW = Qt.ItemDataRole.UserRole


class PaintedRows(QListView):
    """Rows of one height; `paint_row` is called with a painter, its area and the row of the model."""

    def __init__(self, paint_row: Callable[[QPainter, QRect, Any], None]) -> None:
        super().__init__()
        self.setItemDelegate(_Painter(self, paint_row))
        self.setUniformItemSizes(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)

    @property
    def selection(self) -> QItemSelectionModel:
        """The selected rows."""
        found = self.selectionModel()
        if found is None:
            raise RuntimeError("The list has no selection model: give it a model first.")
        return found


class _Painter(QStyledItemDelegate):
    def __init__(self, parent: QListView, paint_row: Callable[[QPainter, QRect, Any], None]) -> None:
        super().__init__(parent)
        self._paint_row = paint_row

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex) -> QSize:
        return QSize(120, max(22, option.fontMetrics.height() + 6))

    def paint(self, painter: QPainter | None, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        if painter is None:
            return
        is_current = bool(option.state & QStyle.StateFlag.State_Selected)
        palette = option.palette
        painter.save()
        if is_current:
            painter.fillRect(option.rect, palette.color(QPalette.ColorRole.Highlight))
        text = QPalette.ColorRole.HighlightedText if is_current else QPalette.ColorRole.Text
        painter.setPen(palette.color(text))
        font = option.font
        font.setBold(is_current)
        painter.setFont(font)
        self._paint_row(painter, option.rect.adjusted(6, 0, -6, 0), index.data(ROW))
        painter.restore()
