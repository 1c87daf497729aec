"""Painting for the list, the bars and the legend; names are painted, so they are always plain text."""

from __future__ import annotations

from qtpy.QtCore import QRect, Qt
from qtpy.QtGui import QColor, QPainter

__all__ = ["draw_name", "draw_number", "fill"]


def fill(painter: QPainter, area: QRect, color: str | QColor) -> None:
    """Fill an area, with a faint edge in the color of the text, so that dark colors show on a dark ground."""
    if area.width() < 1:
        return
    painter.fillRect(area, QColor(color))
    text = painter.pen().color()
    edge = QColor(text)
    edge.setAlphaF(0.35)
    painter.setPen(edge)
    painter.drawRect(area.adjusted(0, 0, -1, -1))
    painter.setPen(text)


def draw_name(painter: QPainter, area: QRect, name: str) -> None:
    """Write a name at the left of an area, shortened if it is too long."""
    elided = painter.fontMetrics().elidedText(name, Qt.TextElideMode.ElideRight, area.width())
    painter.drawText(area, int(Qt.AlignmentFlag.AlignVCenter | Qt.TextFlag.TextSingleLine), elided)


def draw_number(painter: QPainter, area: QRect, number: str) -> None:
    """Write a number at the right of an area."""
    painter.drawText(area, int(Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight), number)
