"""A button that starts a long task, and cancels it while it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from magicgui.widgets import PushButton

from napari_spotmix.base.progress import Task
from napari_spotmix.ui.panels.notify import problem_text, reporting, show_problem
from napari_spotmix.ui.state.worker import Runner

if TYPE_CHECKING:
    from napari_spotmix.base.progress import Progress

__all__ = ["TaskButton"]


class TaskButton(PushButton):
    """Starts the task that `begin` returns, and reports its progress.

    Parameters
    ----------
    begin : callable
        Returns the task, or None if there is nothing to do.
    say : callable
        Takes the name of each stage, and how the task ended if it did not finish.
    text, tooltip : str
        Of the button while nothing runs.
    """

    def __init__(
        self, begin: Callable[[], Task | None], say: Callable[[str], Any], *, text: str, tooltip: str
    ) -> None:
        super().__init__(text=text, tooltip=tooltip)
        self._begin, self._say, self._usual = begin, say, text
        self.runner = Runner(self.native)
        self.runner.progressed.connect(self._report_progress)
        self.runner.failed.connect(self._fail)
        self.runner.cancelled.connect(lambda: self._rest("Cancelled."))
        self.runner.finished.connect(lambda _: self._rest(""))
        self.changed.connect(self._press)

    def run(self, task: Task) -> None:
        """Start a task in place of what runs."""
        self.runner.start(task)
        self.text = "Cancel"

    @reporting
    def _press(self) -> None:
        if self.runner.is_running:
            self._say("Cancelling…")
            self.runner.cancel()
            return
        task = self._begin()
        if task is not None:
            self.run(task)

    def _report_progress(self, progress: Progress) -> None:
        self._say(f"{progress.stage}…")

    def _rest(self, text: str) -> None:
        self.text = self._usual
        self._say(text)

    @reporting
    def _fail(self, error: BaseException) -> None:
        self._rest(f"Failed: {problem_text(error)}")
        show_problem(error)
