"""A long call in a thread: its progress, its end, and how it is stopped.

The thread writes down where it is; a timer of the GUI thread looks. So nothing of Qt is touched
from another thread, progress is throttled by itself, and a job that nobody waits for any more
has nobody to disturb.
"""

from __future__ import annotations

import time
from contextlib import suppress
from itertools import count
from threading import Event, Thread
from typing import Any

from qtpy.QtCore import QCoreApplication, QObject, QTimer, Signal

from napari_spotmix.base.errors import Cancelled
from napari_spotmix.base.progress import Progress, Task

__all__ = ["Runner"]

_numbers = count(1)


class _Job:
    """One call in its thread; `error` is `Cancelled` where it was stopped."""

    def __init__(self, task: Task) -> None:
        self.number = next(_numbers)
        self.progress: Progress | None = None
        self.value: Any = None
        self.error: BaseException | None = None
        self.cancelled_at: float | None = None
        self._task = task
        self._stop = Event()
        self._done = Event()
        self._thread = Thread(target=self._run, name=f"spotmix-{self.number}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def cancel(self) -> None:
        if self.cancelled_at is None:
            self.cancelled_at = time.monotonic()
            self._stop.set()

    def is_done(self) -> bool:
        return self._done.is_set()

    def wait(self, seconds: float) -> None:
        self._thread.join(seconds)

    def _run(self) -> None:
        try:
            self.value = self._task(self._report)
        except BaseException as error:  # an error that leaves a thread can abort the process
            self.error = error
        finally:
            self._done.set()

    def _report(self, progress: Progress) -> None:
        if self._stop.is_set():
            raise Cancelled("Cancelled.")
        self.progress = progress


class Runner(QObject):
    """Runs one job at a time; all its signals are emitted in the GUI thread.

    A job that is started while another runs takes its place: whatever the older one still
    brings is dropped. A cancelled job that does not answer at once is left to end by itself.
    """

    progressed = Signal(object)
    finished = Signal(object)
    failed = Signal(object)
    cancelled = Signal()

    patience_s = 0.3

    def __init__(self, parent: QObject | None = None, *, poll_ms: int = 30) -> None:
        super().__init__(parent)
        self._job: _Job | None = None
        self._told: Progress | None = None
        self._timer = QTimer(self)
        self._timer.setInterval(poll_ms)
        self._timer.timeout.connect(self._look)
        application = QCoreApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self.close)
        # However the window goes, its threads are told to stop. A bound method would not be called any more.
        self._threads: list[_Job] = []
        self.destroyed.connect(lambda: self._abandon())

    @property
    def is_running(self) -> bool:
        """Whether somebody waits for a job."""
        return self._job is not None

    def start(self, task: Task) -> int:
        """Run `task(on_progress)` in a thread; return the number of the job."""
        self._abandon()
        self._told = None
        self._job = _Job(task)
        self._threads.append(self._job)
        self._job.start()
        self._timer.start()
        return self._job.number

    def cancel(self) -> None:
        """Ask the running job to stop; `cancelled` follows within half a second."""
        if self._job is not None:
            self._job.cancel()

    def close(self, seconds: float = 3.0) -> None:
        """Stop everything, and wait for the threads; nothing is emitted any more."""
        with suppress(RuntimeError):  # the window may have taken the timer with it
            self._timer.stop()
        self._abandon()
        for job in self._threads:
            job.wait(seconds)
        self._threads.clear()

    def _abandon(self) -> None:
        job, self._job = self._job, None
        if job is not None:
            job.cancel()
        self._threads[:] = [thread for thread in self._threads if not thread.is_done()]

    def _look(self) -> None:
        job = self._job
        if job is None:
            self._timer.stop()
            return
        if job.is_done():
            self._end(job)
        elif job.cancelled_at is None:
            self._tell(job.progress)
        elif time.monotonic() - job.cancelled_at > self.patience_s:
            self._abandon()
            self.cancelled.emit()

    def _tell(self, progress: Progress | None) -> None:
        if progress is not None and progress is not self._told:
            self._told = progress
            self.progressed.emit(progress)

    def _end(self, job: _Job) -> None:
        self._timer.stop()
        self._job = None
        # What it found may be large, and is the listener's from here on.
        self._threads.remove(job)
        if job.cancelled_at is not None or isinstance(job.error, Cancelled):
            self.cancelled.emit()
        elif job.error is not None:
            self.failed.emit(job.error)
        else:
            self.finished.emit(job.value)
