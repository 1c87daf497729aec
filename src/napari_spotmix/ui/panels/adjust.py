"""Another smoothness, or fewer cell types: solved again while the slider moves."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from magicgui.widgets import PushButton
from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QPainter, QPaintEvent, QPalette, QPen
from qtpy.QtWidgets import QListWidget, QListWidgetItem, QSlider, QStyle

from napari_spotmix.base.progress import Task
from napari_spotmix.ui.panels.notify import problem_text, reporting
from napari_spotmix.ui.panels.panel import Panel
from napari_spotmix.ui.panels.section import add_all, plain_label
from napari_spotmix.ui.state.prepare import prepare
from napari_spotmix.ui.state.worker import Runner
from napari_spotmix.ui.text import count, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_spotmix.base.progress import ProgressCallback
    from napari_spotmix.result import Result
    from napari_spotmix.ui.state.session import Session

__all__ = ["AdjustPanel", "refit_task"]

#: The slider goes this many steps to either side of the learned value, and so many to ten times it.
_RANGE, _STEPS_PER_TEN = 60, 20
#: The middle of the slider if smoothing was switched off.
_INSTEAD_OF_NONE = 0.1
#: A solve that has taken longer than this is cancelled for a newer request; a quicker one is shown first.
_PATIENCE_S = 0.5
#: Shorter than for long tasks: the map follows the slider.
_POLL_MS = 8
_MOST_ROWS, _MARK_HEIGHT = 6, 22


def refit_task(result: Result, lambda_c: float, without: Sequence[str]) -> Task:
    """Return the task that solves a result again."""

    def task(on_progress: ProgressCallback) -> Result:
        found = result.refit(lambda_c=lambda_c, without=without, on_progress=on_progress)
        prepare(found)
        return found

    return task


class _Smoothness(QSlider):
    """A slider of factors on the learned smoothness; its left end switches smoothing off."""

    def __init__(self) -> None:
        super().__init__(Qt.Orientation.Horizontal)
        self.learned = 0.0
        self.setRange(-_RANGE, _RANGE)
        self.setPageStep(_STEPS_PER_TEN // 4)
        self.setMinimumHeight(_MARK_HEIGHT)
        self.setAccessibleName("Smoothness")
        self.setToolTip(
            "Smoothness (lambda_c): how much spots are smoothed over their neighbors. Less to the left, none "
            "at the left end, more to the right. The line marks the learned value; 20 steps change it tenfold"
        )

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Mark the learned value; napari's style paints no ticks."""
        painter = QPainter(self)
        painter.setPen(QPen(self.palette().color(QPalette.ColorRole.WindowText), 2))
        style = self.style()
        handle = 0 if style is None else style.pixelMetric(QStyle.PixelMetric.PM_SliderLength)
        left = QStyle.sliderPositionFromValue(-_RANGE, _RANGE, self.start, self.width() - handle)
        painter.drawLine(left + handle // 2, 1, left + handle // 2, self.height() - 1)
        painter.end()
        super().paintEvent(event)

    @property
    def lambda_c(self) -> float:
        """The smoothness that the slider is set to."""
        if self.value() == self.start:
            return self.learned
        if self.value() == -_RANGE:
            return 0.0
        return (self.learned or _INSTEAD_OF_NONE) * 10 ** (self.value() / _STEPS_PER_TEN)

    @property
    def start(self) -> int:
        """The position of the learned smoothness."""
        return 0 if self.learned > 0 else -_RANGE


class AdjustPanel(Panel):
    """Solves the result of a run again with other settings, and shows the new result."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._started = 0.0
        self._request: tuple[float, tuple[str, ...]] | None = None
        self.state = plain_label()
        self.slider = _Smoothness()
        self.types = QListWidget()
        self.types.setSpacing(1)
        self.types.setToolTip("Uncheck a cell type to leave it out; the others are fitted again without it")
        self.back = PushButton(text="Back to the run", tooltip="Show the result of the run again")
        self._runner = Runner(self, poll_ms=_POLL_MS)
        add_all(self, self.state, self.slider, self.types, self.back.native)
        connect = self._connections.connect
        connect(self._runner.finished, self._take)
        connect(self._runner.failed, self._fail)
        connect(self.slider.valueChanged, self._ask)
        connect(self.types.itemChanged, self._ask)
        connect(self.back.changed, self._go_back)
        connect(session.result_changed, self._show)
        self._show()

    @property
    def summary(self) -> str:
        """One line on what was changed."""
        return "" if self._session.result is self._session.learned else self.state.text()

    @property
    def is_running(self) -> bool:
        """Whether something is being solved."""
        return self._runner.is_running

    @property
    def without(self) -> tuple[str, ...]:
        """The cell types that are left out."""
        names = self._session.learned.cell_types if self._session.learned else ()
        pairs = zip(self._items, names, strict=True)
        return tuple(name for item, name in pairs if item.checkState() != Qt.CheckState.Checked)

    @property
    def _items(self) -> list[QListWidgetItem]:
        found = (self.types.item(row) for row in range(self.types.count()))
        return [item for item in found if item is not None]

    @property
    def runners(self) -> tuple[Runner, ...]:
        return (self._runner,)

    def release(self) -> None:
        """Stop solving, and disconnect from the session."""
        self._request = None
        super().release()

    # What is asked for

    @reporting
    def _ask(self, _: object = None) -> None:
        """Solve with what is set; of many requests only the newest is kept."""
        request = self.slider.lambda_c, self.without
        self._say(solving=True)
        if len(request[1]) == self.types.count():
            return
        if self._runner.is_running and time.monotonic() - self._started < _PATIENCE_S:
            self._request = request
        else:
            self._solve(request)

    def _solve(self, request: tuple[float, tuple[str, ...]]) -> None:
        learned = self._session.learned
        if learned is None:
            return
        self._request, self._started = None, time.monotonic()
        if request == (self.slider.learned, ()):
            self._runner.cancel()
            self._session.replay(learned)
            self._say()
        else:
            self._runner.start(refit_task(learned, *request))

    def _go_back(self) -> None:
        self._reset()
        self._solve((self.slider.learned, ()))

    # The new result

    @reporting
    def _take(self, result: Result) -> None:
        self._session.replay(result)
        request, self._request = self._request, None
        if request is not None:
            self._solve(request)
        else:
            self._say()

    @reporting
    def _fail(self, error: BaseException) -> None:
        self.state.setText(f"Failed: {problem_text(error)}")

    # What is shown

    def _show(self) -> None:
        """Begin with the result of a run."""
        self._request = None
        self._runner.cancel()
        learned = self._session.learned
        problem = None if learned is None else learned.problem
        for widget in (self.slider, self.types, self.back.native):
            widget.setVisible(problem is not None)
        if learned is None:
            self.state.setText("After a run, smoothness and cell types can be changed here.")
        elif problem is None:
            self.state.setText("This result was read from a file; to change it, run again.")
        else:
            self.slider.learned = problem.lambda_c
            self._fill(learned)
            self._reset()
            self._say()

    def _fill(self, learned: Result) -> None:
        blocked = self.types.blockSignals(True)
        self.types.clear()
        height = self.types.fontMetrics().height() + 2
        for name in learned.cell_types:
            item = QListWidgetItem(name)
            item.setToolTip(plain(name))
            item.setSizeHint(QSize(1, height))  # a long name is cut off, and its tooltip has all of it
            item.setFlags(
                Qt.ItemFlag.ItemIsUserCheckable | Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
            )
            item.setCheckState(Qt.CheckState.Checked)
            self.types.addItem(item)
        self.types.blockSignals(blocked)
        rows = min(self.types.count(), _MOST_ROWS)
        row = max(self.types.sizeHintForRow(0), 1) + 2 * self.types.spacing()
        self.types.setFixedHeight(rows * row + 2 * self.types.frameWidth() + 2)

    def _reset(self) -> None:
        """Set everything as the run has it, without solving."""
        for widget in (self.slider, self.types):
            widget.blockSignals(True)
        self.slider.setValue(self.slider.start)
        for item in self._items:
            item.setCheckState(Qt.CheckState.Checked)
        for widget in (self.slider, self.types):
            widget.blockSignals(False)

    def _say(self, *, solving: bool = False) -> None:
        """Describe the settings, and offer to go back to the run if they differ."""
        lambda_c, learned, without = self.slider.lambda_c, self.slider.learned, self.without
        if len(without) == self.types.count():
            text = "At least one cell type must stay."
        else:
            text = _described(lambda_c, learned, without) + ("…" if solving else "")
        self.state.setText(text)
        self.back.enabled = (lambda_c, without) != (learned, ())
        self.back.tooltip = (
            "Show the result of the run again" if self.back.enabled else "This is the result of the run"
        )


def _described(lambda_c: float, learned: float, without: Sequence[str]) -> str:
    smoothness = "No smoothing" if lambda_c == 0 else f"Smoothness {lambda_c:.3g}"
    origin = (
        ", as learned"
        if lambda_c == learned
        else f" (learned: {learned:.3g})"
        if learned
        else " (learned: none)"
    )
    return f"{smoothness}{origin}" + (f", without {count(len(without), 'cell type')}" if without else "")
