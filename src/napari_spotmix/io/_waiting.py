"""Wait for a library that reads a whole file in one call, and hear a cancel meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

from napari_spotmix.progress import Progress, ProgressCallback

__all__ = ["heard"]

_T = TypeVar("_T")

#: Seconds between two looks at whether it was cancelled.
_PATIENCE = 0.1


def heard(
    work: Callable[[], _T], stage: str, on_progress: ProgressCallback, step: int = 0, total: int = 1
) -> _T:
    """Return what `work` returns; where `on_progress` raises, it raises at once.

    Work that only reads may go on in its thread then, until it ends by itself: nobody waits for it.

    Examples
    --------
    >>> heard(lambda: 3, "Reading", print)
    Progress(stage='Reading', step=0, total=1, violation=None)
    3
    """
    pool = ThreadPoolExecutor(1, "spotmix-reading")
    try:
        on_progress(Progress(stage, step, total))
        future = pool.submit(work)
        while wait([future], _PATIENCE).not_done:
            on_progress(Progress(stage, step, total))
        return future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
