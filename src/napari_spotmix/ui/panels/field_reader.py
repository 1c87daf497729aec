"""Reading in a thread what a field asks for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from qtpy.QtCore import QObject

from napari_spotmix.base.errors import Cancelled
from napari_spotmix.base.progress import Progress, ProgressCallback
from napari_spotmix.base.text import printable, quoted
from napari_spotmix.ui.panels.notify import problem_text, reporting, show_problem
from napari_spotmix.ui.state.worker import Runner

__all__ = ["FieldReader", "Status", "why_not_used"]

_Value = TypeVar("_Value")


class Status(Protocol):
    """A line that shows the current task."""

    def say(self, text: str) -> None:
        """Show a text."""

    def rest(self) -> None:
        """Show the state while no task is running."""


def why_not_used(reader: FieldReader, shown: Path | None, used: Path | None, loaded: str) -> str | None:
    """Return why a run would not use the path that a field shows, and what to do; None if it would.

    `loaded` names the data that are in use.
    """
    if reader.runner.is_running:
        return "Reading the data: wait until they are loaded."
    if shown == used or shown is None:
        return None
    name = quoted(shown.name or str(shown))
    return (
        f"{name} was not read: {printable(loaded)} is still loaded. Choose other data, or clear the field to "
        f"return to {printable(loaded)}."
    )


class FieldReader:
    """Reads what one field asks for; a newer request replaces an older one.

    Parameters
    ----------
    parent : QObject
    status : Status
        Shows the current task.
    on_failure : callable, optional
        Called with the error, before it is reported; with `Cancelled` if the user has cancelled.
    """

    def __init__(
        self, parent: QObject, status: Status, on_failure: Callable[[BaseException], Any] | None = None
    ) -> None:
        self.runner = Runner(parent)
        self._status, self._on_failure = status, on_failure
        self._take: Callable[[Any], Any] | None = None
        self._name = ""
        self.runner.progressed.connect(self._report_progress)
        self.runner.failed.connect(self.fail)
        self.runner.cancelled.connect(self._cancel)
        self.runner.finished.connect(self._finish)

    def start(
        self, task: Callable[[ProgressCallback], _Value], take: Callable[[_Value], Any], name: str = ""
    ) -> None:
        """Run a task in a thread, and give its value to `take` in the GUI thread.

        `name` is shown with the progress, if no field names what is read.
        """
        self._take = take
        self._name = f" ({name})" if name else ""
        self.runner.start(task)
        self._status.say(f"Reading…{self._name}")

    def _report_progress(self, progress: Progress) -> None:
        self._status.say(f"{progress.stage}…{self._name}")

    @reporting
    def _finish(self, value: Any) -> None:
        self._status.rest()
        if self._take is not None:
            self._take(value)

    @reporting
    def _cancel(self) -> None:
        self._status.say("Cancelled.")
        if self._on_failure is not None:
            self._on_failure(Cancelled())

    @reporting
    def fail(self, error: BaseException) -> None:
        """Report what is wrong with what was chosen."""
        self._status.say(f"Failed: {problem_text(error)}")
        if self._on_failure is not None:
            self._on_failure(error)
        show_problem(error)
