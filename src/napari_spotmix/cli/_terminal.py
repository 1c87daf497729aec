"""The terminal: progress, Ctrl-C, and text without control characters."""

from __future__ import annotations

import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from napari_spotmix.base.cancel import released
from napari_spotmix.base.errors import Cancelled, ConvergenceWarning
from napari_spotmix.base.progress import Progress, ProgressCallback
from napari_spotmix.cli._ending import WRONG_INPUT, harmless, leave, say
from napari_spotmix.cli._options import as_options

__all__ = ["WRONG_INPUT", "cancellable", "harmless", "leave", "say", "without_afterthoughts"]

#: Seconds that a cancelled run gets to tidy up by itself before it is ended.
PATIENCE = 0.3


def cancellable(
    work: Callable[[ProgressCallback], Any],
    display: AbstractContextManager[ProgressCallback] | None = None,
    cancelled: Callable[[], str] = lambda: "Cancelled. Nothing was written.",
) -> Any:
    """Do `work` in a thread and return what it returns; end the process on SIGINT or SIGTERM.

    Compiled code cannot be interrupted, but this thread can: if the work has not stopped by itself soon
    after the signal, its unfinished files are removed and the process ends.

    Parameters
    ----------
    work : callable
        Takes the callback for its progress.
    display : context manager, optional
        Shows progress in another way than as one bar.
    cancelled : callable, optional
        Returns what is said after a signal.
    """
    received: list[int] = []
    outcome: dict[str, Any] = {}

    def attempt() -> None:
        try:
            outcome["result"] = released(lambda: work(report))
        except BaseException as error:
            outcome["error"] = error

    with _signals(received), _plain_warnings(), display or _progress_display() as show:

        def report(progress: Progress) -> None:
            if received:
                raise Cancelled
            show(progress)

        thread = threading.Thread(target=attempt, name="spotmix-run", daemon=True)
        thread.start()
        while thread.is_alive() and not received:
            thread.join(0.05)
        thread.join(PATIENCE if received else None)
    if received and "result" not in outcome:
        leave(128 + received[0], cancelled())
    if "error" in outcome:
        raise outcome["error"]
    return outcome["result"]


@contextmanager
def without_afterthoughts() -> Iterator[None]:
    """Hide errors while objects are deleted: HDF5 repeats there what has been reported already."""
    before = sys.unraisablehook, sys.excepthook
    # Cython shows such errors in both ways. What a command raises is shown after this block.
    sys.unraisablehook, sys.excepthook = lambda _: None, lambda *_: None
    try:
        yield
    finally:
        sys.unraisablehook, sys.excepthook = before


@contextmanager
def _signals(received: list[int]) -> Iterator[None]:
    """Note Ctrl-C and a request to end instead of being interrupted by them."""

    def note(number: int, _: Any) -> None:
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show our own warnings in one line each, and nothing of other packages' housekeeping."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", ConvergenceWarning)
        warnings.showwarning = lambda message, *_, **__: say(
            f"Warning: {as_options(str(message))}", sys.stderr
        )
        yield


@contextmanager
def _progress_display() -> Iterator[ProgressCallback]:
    """Show progress on stderr: a bar on a terminal, elsewhere one line per stage."""
    if not sys.stderr.isatty():
        yield _one_line_per_stage()
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description:<28}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[right]}"),
    )
    with Bars(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("Starting", total=None, right="")

        def show(progress: Progress) -> None:
            right = "" if progress.violation is None else f"violation {progress.violation:.1e}"
            total = progress.total or None
            bars.update(task, description=progress.stage, completed=progress.step, total=total, right=right)

        yield show


def _one_line_per_stage() -> ProgressCallback:
    """Return a callback that names each stage once, though some alternate for each of many parts."""
    seen: set[str] = set()

    def show(progress: Progress) -> None:
        if progress.stage not in seen:
            seen.add(progress.stage)
            say(f"{progress.stage} ...", sys.stderr)

    return show
