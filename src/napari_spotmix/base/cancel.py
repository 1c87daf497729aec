"""Run a library call that cannot be divided, and stay cancellable while it runs."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TypeVar

from napari_spotmix.base.progress import Progress, ProgressCallback
from napari_spotmix.base.unfinished import removed_when_done

__all__ = ["released", "run_cancellable"]

_T = TypeVar("_T")

#: Seconds between two calls of the progress callback, which raises to cancel.
_INTERVAL = 0.1


def released(work: Callable[[], _T]) -> _T:
    """Return the result of `work`; what it raises holds nothing of the thread that raised it.

    A comprehension over a group of h5py that ends by an exception keeps the lock of h5py as long as its
    frame is there: any other thread would wait for it without end.

    Examples
    --------
    >>> released(lambda: 3)
    3
    """
    try:
        return work()
    except BaseException as error:
        left: list[BaseException | None] = [error]
        seen: set[int] = set()
        while left:
            one = left.pop()
            if one is not None and id(one) not in seen:
                seen.add(id(one))
                traceback.clear_frames(one.__traceback__)
                left += [one.__cause__, one.__context__]
        raise


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
    future = pool.submit(released, work)
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
