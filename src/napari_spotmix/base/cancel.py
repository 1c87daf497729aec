"""Run a library call that cannot be divided, and stay cancellable while it runs."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TypeVar

from napari_spotmix.base.progress import Progress, ProgressCallback
from napari_spotmix.base.unfinished import removed_when_done

__all__ = ["run_cancellable"]

_T = TypeVar("_T")

#: Seconds between two calls of the progress callback, which raises to cancel.
_INTERVAL = 0.1


def run_cancellable(
    work: Callable[[], _T],
    stage: str,
    on_progress: ProgressCallback,
    step: int = 0,
    total: int = 1,
    *,
    writes_into: Path | None = None,
) -> _T:
    """Run `work` in a thread and return its result; stop waiting as soon as `on_progress` raises.

    A thread cannot be ended, so cancelled work runs on in the background until it returns by itself.

    Parameters
    ----------
    work : callable
        Takes no argument.
    stage, step, total : str, int, int
        The `Progress` that is reported every 0.1 s.
    on_progress : callable
        Raises `Cancelled` to stop.
    writes_into : Path, optional
        The folder that `work` writes into, and nothing else does. After a cancel it is removed when the work
        has ended.

    Returns
    -------
    object
        The result of `work`.

    Raises
    ------
    Exception
        What `work` or `on_progress` raises.

    Examples
    --------
    >>> run_cancellable(lambda: 3, "Reading", print)
    Progress(stage='Reading', step=0, total=1, violation=None)
    3
    """
    on_progress(Progress(stage, step, total))
    pool = ThreadPoolExecutor(1, "spotmix-cancellable")
    future = pool.submit(work)
    try:
        while wait([future], _INTERVAL).not_done:
            on_progress(Progress(stage, step, total))
        return future.result()
    except BaseException:
        if writes_into is not None:
            removed_when_done(writes_into, future)
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
