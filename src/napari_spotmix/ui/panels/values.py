"""What the panels of genes and of columns have in common: a value of each spot, read in a thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from magicgui.widgets import PushButton
from qtpy.QtCore import QAbstractListModel, QModelIndex, QRect, Qt
from qtpy.QtGui import QPainter
from qtpy.QtWidgets import QAbstractItemView

from napari_spotmix.ui.canvas.paint import draw_name, draw_number
from napari_spotmix.ui.panels.notify import problem_text, reporting, show_problem
from napari_spotmix.ui.panels.painted_rows import ROW, PaintedRows
from napari_spotmix.ui.panels.panel import Panel
from napari_spotmix.ui.panels.section import plain_label
from napari_spotmix.ui.state.worker import Runner
from napari_spotmix.ui.text import plain, printable

if TYPE_CHECKING:
    from napari_spotmix.base.progress import Progress, Task
    from napari_spotmix.ui.state.maps import SpotMap
    from napari_spotmix.ui.state.session import Session
    from napari_spotmix.ui.state.spot_values import SpotValues

__all__ = ["NameList", "NameRow", "ValuesPanel"]

_PALE = 0.65
#: The note of a row takes at most this part of its width.
_NOTE = 0.55


@dataclass(frozen=True)
class NameRow:
    """A name, and in pale letters what else is known of it."""

    name: str
    note: str = ""


class _Names(QAbstractListModel):
    """Rows that are made when they are painted: a section has tens of thousands of genes."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: Sequence[int] = ()
        self.row_of: Callable[[int], NameRow] = lambda _: NameRow("")

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        return len(self.numbers)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        row = self.row_of(self.numbers[index.row()])
        if role == Qt.ItemDataRole.DisplayRole:
            return printable(row.name)
        if role == Qt.ItemDataRole.ToolTipRole:
            return plain(f"{row.name} ({row.note})" if row.note else row.name)
        return row if role == ROW else None

    def replace(self, numbers: Sequence[int]) -> None:
        self.beginResetModel()
        self.numbers = numbers
        self.endResetModel()


def _paint_row(painter: QPainter, area: QRect, row: NameRow) -> None:
    note = painter.fontMetrics().elidedText(
        printable(row.note), Qt.TextElideMode.ElideRight, round(_NOTE * area.width())
    )
    room = painter.fontMetrics().horizontalAdvance(note) + 8 if note else 0
    draw_name(painter, area.adjusted(0, 0, -room, 0), printable(row.name))
    ink = painter.pen().color()
    ink.setAlphaF(_PALE)
    painter.setPen(ink)
    draw_number(painter, area, note)


class NameList(PaintedRows):
    """A list of names; `chosen` is called with the number of one that is clicked or moved to by key."""

    def __init__(self, name: str, tip: str, most_rows: int, chosen: Callable[[int], None]) -> None:
        super().__init__(_paint_row)
        self._most, self._chosen = most_rows, chosen
        self.names = _Names()
        self.setModel(self.names)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setAccessibleName(name)
        self.setToolTip(tip)
        self.clicked.connect(self._choose)
        self.selection.currentChanged.connect(self._choose)

    @reporting
    def _choose(self, index: QModelIndex, _: object = None) -> None:
        if index.isValid():
            self._chosen(self.names.numbers[index.row()])

    def show_numbers(self, numbers: Sequence[int], row_of: Callable[[int], NameRow]) -> None:
        """Show the rows of these numbers, none of them selected."""
        blocked = self.selection.blockSignals(True)
        self.names.row_of = row_of
        self.names.replace(numbers)
        self.selection.blockSignals(blocked)
        rows = min(max(len(numbers), 1), self._most)
        self.setFixedHeight(rows * max(self.sizeHintForRow(0), 22) + 2 * self.frameWidth() + 2)

    def select(self, number: int | None) -> None:
        """Select the row of a number without choosing it, or none."""
        blocked = self.selection.blockSignals(True)
        self.clearSelection()
        if number is not None and number in self.names.numbers:
            index = self.names.index(self.names.numbers.index(number))
            self.setCurrentIndex(index)
            self.scrollTo(index)
        self.selection.blockSignals(blocked)
        if (viewport := self.viewport()) is not None:
            viewport.update()


class ValuesPanel(Panel):
    """Reads a value of each spot in a thread, with a button to cancel, and shows it."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.state = plain_label()
        self.cancel = PushButton(text="Cancel", tooltip="Stop reading")
        self.runner = Runner(self)
        self._wanted: SpotMap | None = None
        self._rest("")
        connect = self._connections.connect
        connect(self.cancel.changed, self.runner.cancel)
        connect(self.runner.progressed, self._report)
        connect(self.runner.finished, self._take)
        connect(self.runner.failed, self._fail)
        connect(self.runner.cancelled, lambda: self._rest("Cancelled."))

    @property
    def runners(self) -> tuple[Runner, ...]:
        return (self.runner,)

    @property
    def is_busy(self) -> bool:
        """Whether values are being read."""
        return self.runner.is_running

    def _want(self, shown: SpotMap, task: Task) -> None:
        """Show what is known, and read what is not; one that is being read is waited for."""
        if shown in self._session.known_values:
            self.runner.drop()
            self._take((shown, self._session.known_values[shown]))
        elif not (self.runner.is_running and self._wanted == shown):
            self._wanted = shown
            self._rest("")
            self.runner.start(task)

    def _report(self, progress: Progress) -> None:
        share = f" {progress.fraction:.0%}" if progress.total > 1 else ""
        self.state.setText(printable(f"{progress.stage}…{share}"))
        self.state.show()
        self.cancel.native.show()

    def _rest(self, text: str) -> None:
        self.state.setText(text)
        self.state.setVisible(bool(text))
        self.cancel.native.hide()

    @reporting
    def _take(self, found: tuple[SpotMap, SpotValues]) -> None:
        self._rest("")
        self._session.show_values(*found)

    @reporting
    def _fail(self, error: BaseException) -> None:
        self._rest(f"Failed: {problem_text(error)}")
        show_problem(error)
