"""Sections of the dock that can be folded, and the forms, rows and labels in them."""

from __future__ import annotations

from collections.abc import Iterable

from magicgui.widgets import Container
from magicgui.widgets.bases import Widget
from qtpy.QtCore import QEvent, QObject, QPoint, QSize, Qt, QTimer
from qtpy.QtWidgets import (
    QFormLayout,
    QFrame,
    QLabel,
    QScrollArea,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_spotmix.ui.text import plain

__all__ = ["FoldableSection", "Form", "add_all", "bring_into_view", "plain_label", "row_of", "soon"]


class _WrappedLabel(QLabel):
    """Asks for one line; a layout gives it the height that its lines need at the given width."""

    def minimumSizeHint(self) -> QSize:
        return QSize(0, self.fontMetrics().height())

    def sizeHint(self) -> QSize:
        return self.minimumSizeHint()


def plain_label(text: str = "") -> QLabel:
    """Return a label that shows its text literally and never asks for more width than there is."""
    label = _WrappedLabel(text)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label


def add_all(parent: QWidget, *widgets: QWidget) -> None:
    """Put widgets below each other."""
    layout = QVBoxLayout(parent)
    layout.setContentsMargins(4, 0, 4, 0)
    layout.setSpacing(4)
    for widget in widgets:
        layout.addWidget(widget)


def row_of(*widgets: Widget, labels: bool = False) -> Container[Widget]:
    """Return fields of magicgui in a row."""
    row = Container[Widget](widgets=list(widgets), layout="horizontal", labels=labels)
    row.margins = (0, 0, 0, 0)
    return row


def soon(parent: QObject) -> QTimer:
    """Return a timer that, once started, fires when pending events have been handled."""
    timer = QTimer(parent)
    timer.setSingleShot(True)
    timer.setInterval(0)
    return timer


def bring_into_view(widget: QWidget) -> None:
    """Scroll to a widget, once it has its size; its top is seen if it is too high for all of it."""
    area = widget.parentWidget()
    while area is not None and not isinstance(area, QScrollArea):
        area = area.parentWidget()
    if area is not None:
        _Scrolling(area, widget).start()


class _Scrolling(QTimer):
    """Scrolls to a widget until its size stays: nested layouts give it in several rounds of events."""

    _interval, _most_rounds = 40, 25

    def __init__(self, area: QScrollArea, widget: QWidget) -> None:
        super().__init__(widget)
        self._area, self._widget, self._rounds = area, widget, 0
        self._size = QSize()
        self.setInterval(self._interval)
        self.timeout.connect(self._scroll)

    def _scroll(self) -> None:
        content, bar = self._area.widget(), self._area.verticalScrollBar()
        is_settled = self._widget.size() == self._size and self._widget.height() >= self._least_height()
        self._size, self._rounds = self._widget.size(), self._rounds + 1
        if content is not None and bar is not None:
            self._area.ensureWidgetVisible(self._widget, 0, 0)
            bar.setValue(min(bar.value(), self._widget.mapTo(content, QPoint(0, 0)).y()))
        if is_settled or self._rounds >= self._most_rounds:
            self.stop()
            self.deleteLater()

    def _least_height(self) -> int:
        layout = self._widget.layout()
        return 0 if layout is None else layout.minimumSize().height()


class Form(QWidget):
    """Fields of magicgui below each other, their labels in one column."""

    def __init__(self, fields: Iterable[Widget] = ()) -> None:
        super().__init__()
        self._fields: list[Widget] = []  # magicgui's widgets live as long as somebody holds them
        self._layout = QFormLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setVerticalSpacing(4)
        self._layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.add(*fields)

    def add(self, *fields: Widget) -> None:
        """Add fields at the bottom."""
        self._fields.extend(fields)
        for field in fields:
            label = QLabel(field.label)
            label.setToolTip(field.tooltip or "")
            self._layout.addRow(label, field.native)

    def show_field(self, field: Widget, visible: bool) -> None:
        """Show or hide a field with its label."""
        self._layout.setRowVisible(field.native, visible)


class FoldableSection(QFrame):
    """A title that folds and unfolds its content; folded, it is summed up in a line."""

    def __init__(self, title: str, content: QWidget, *, tip: str = "", open: bool = True) -> None:
        super().__init__()
        self.content = content
        self._title = QToolButton()
        self._title.setText(title)
        self._title.setObjectName("section_title")
        self._title.setCheckable(True)
        self._title.setChecked(open)
        self._title.setToolTip(tip)
        self._title.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._title.setIconSize(QSize(8, 8))
        self._title.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._title.setStyleSheet(
            "QToolButton { border: none; font-weight: bold; text-align: left; padding: 2px; }"
        )
        self._title.toggled.connect(self._fold)
        self._summary = plain_label()
        self._summary.setContentsMargins(18, 0, 4, 2)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 2)
        layout.setSpacing(2)
        for widget in (self._title, self._summary, content):
            layout.addWidget(widget)
        self._fold(open)
        self.set_summary("")

    @property
    def in_tab_order(self) -> list[QWidget]:
        """What the tab key visits, from top to bottom."""
        own = self.content.window()  # lists that pop up are windows of their own
        inside = [widget for widget in self.content.findChildren(QWidget) if widget.window() is own]
        return [self._title, *(widget for widget in inside if widget.focusPolicy() & Qt.FocusPolicy.TabFocus)]

    @property
    def is_open(self) -> bool:
        """Whether the content can be seen."""
        return self._title.isChecked()

    @property
    def summary(self) -> str:
        """The line below the title."""
        return self._summary.text()

    @property
    def title(self) -> str:
        """The name of the section."""
        return self._title.text()

    def set_title(self, text: str) -> None:
        """Name the section."""
        self._title.setText(text)

    def set_open(self, open: bool) -> None:
        """Fold or unfold."""
        self._title.setChecked(open)

    def set_summary(self, text: str, tip: str = "") -> None:
        """Sum up the content in one line; an empty `text` hides it."""
        self._summary.setText(text)
        self._summary.setToolTip(plain(tip or text))
        self._summary.setVisible(bool(text) and not self.is_open)

    def changeEvent(self, event: QEvent | None) -> None:
        """Give the title letters as large as those of labels, which napari sets."""
        super().changeEvent(event)
        if event is not None and event.type() == QEvent.Type.StyleChange:
            self._summary.ensurePolished()
            self._title.setFont(self._summary.font())

    def _fold(self, open: bool) -> None:
        self._title.setArrowType(Qt.ArrowType.DownArrow if open else Qt.ArrowType.RightArrow)
        self.content.setVisible(open)
        self._summary.setVisible(bool(self.summary) and not open)
