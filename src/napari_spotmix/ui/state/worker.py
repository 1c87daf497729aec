"""A long call in a thread: its progress, its end, and how it is stopped.

The thread writes down its progress, and a timer of the GUI thread reads it. So no other thread touches
Qt, progress is throttled by itself, and a call that is no longer needed has no effect.
"""

from __future__ import annotations

import time
from contextlib import suppress
from itertools import count
from threading import Event, Thread
from typing import Any

from qtpy.QtCore import QCoreApplication, QObject, QTimer, Signal

from napari_spotmix.base.cancel import released
from napari_spotmix.base.errors import Cancelled
from napari_spotmix.base.progress import Progress, Task

__all__ = ["Runner"]

_numbers = count(1)


class _Call:
    """One call in its thread; `error` is `Cancelled` if it was stopped."""

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
            self.value = released(lambda: self._task(self._report))
        except BaseException as error:  # an error that leaves a thread can abort the process
            self.error = error
        finally:
            self._done.set()

    def _report(self, progress: Progress) -> None:
        if self._stop.is_set():
            raise Cancelled("Cancelled.")
        self.progress = progress


class Runner(QObject):
    """Runs one call at a time; all its signals are emitted in the GUI thread.

    A call that is started while another runs replaces it: the result of the older one is dropped. A
    cancelled call that does not stop at once is left to end by itself.
    """

    progressed = Signal(object)
    finished = Signal(object)
    failed = Signal(object)
    cancelled = Signal()

    patience_s = 0.3

    def __init__(self, parent: QObject | None = None, *, poll_ms: int = 30) -> None:
        super().__init__(parent)
        self._call: _Call | None = None
        self._reported: Progress | None = None
        self._timer = QTimer(self)
        self._timer.setInterval(poll_ms)
        self._timer.timeout.connect(self._poll)
        application = QCoreApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self.close)
        # However the window is closed, its threads are stopped. A bound method would not be called any more.
        self._threads: list[_Call] = []
        self.destroyed.connect(lambda: self._abandon())

    @property
    def is_running(self) -> bool:
        """Whether a call is running."""
        return self._call is not None

    def start(self, task: Task) -> int:
        """Run `task(on_progress)` in a thread; return the number of the call."""
        self._abandon()
        self._reported = None
        self._call = _Call(task)
        self._threads.append(self._call)
        self._call.start()
        self._timer.start()
        return self._call.number

    def cancel(self) -> None:
        """Ask the running call to stop; `cancelled` follows within half a second."""
        if self._call is not None:
            self._call.cancel()

    def drop(self) -> None:
        """Stop the running call, which is no longer needed: nothing is emitted."""
        self._timer.stop()
        self._abandon()

    def close(self, seconds: float = 3.0) -> None:
        """Stop everything, and wait for the threads; nothing is emitted any more."""
        with suppress(RuntimeError):  # the window may have taken the timer with it
            self._timer.stop()
        self._abandon()
        for call in self._threads:
            call.wait(seconds)
        self._threads.clear()

    def _abandon(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call.cancel()
        self._threads[:] = [thread for thread in self._threads if not thread.is_done()]

    def _poll(self) -> None:
        call = self._call
        if call is None:
            self._timer.stop()
            return
        if call.is_done():
            self._end(call)
        elif call.cancelled_at is None:
            self._report_progress(call.progress)
        elif time.monotonic() - call.cancelled_at > self.patience_s:
            self._abandon()
            self.cancelled.emit()

    def _report_progress(self, progress: Progress | None) -> None:
        if progress is not None and progress is not self._reported:
            self._reported = progress
            self.progressed.emit(progress)

    def _end(self, call: _Call) -> None:
        self._timer.stop()
        self._call = None
        # Its value may be large, and belongs to the slot of `finished` from here on.
        self._threads.remove(call)
        if call.cancelled_at is not None or isinstance(call.error, Cancelled):
            self.cancelled.emit()
        elif call.error is not None:
            self.failed.emit(call.error)
        else:
            self.finished.emit(call.value)
