"""Wait for a library that reads or writes all in one call, and hear a cancel meanwhile."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TypeVar

from napari_spotmix.base.progress import Progress, ProgressCallback

__all__ = ["heard"]

_T = TypeVar("_T")

#: Seconds between two looks at whether it was cancelled.
_PATIENCE = 0.1


def heard(
    work: Callable[[], _T],
    stage: str,
    on_progress: ProgressCallback,
    step: int = 0,
    total: int = 1,
    *,
    writes_into: Path | None = None,
) -> _T:
    """Return what `work` returns; where `on_progress` raises, it raises at once.

    The work may go on in its thread then, until it ends by itself: nobody waits for it. What it writes must
    be in a folder of its own, `writes_into`, which is removed when it ends so.

    Examples
    --------
    >>> heard(lambda: 3, "Reading", print)
    Progress(stage='Reading', step=0, total=1, violation=None)
    3
    """
    on_progress(Progress(stage, step, total))
    pool = ThreadPoolExecutor(1, "spotmix-waiting")
    future = pool.submit(work)
    try:
        while wait([future], _PATIENCE).not_done:
            on_progress(Progress(stage, step, total))
        return future.result()
    except BaseException:
        if writes_into is not None:
            future.add_done_callback(lambda _: shutil.rmtree(writes_into, ignore_errors=True))
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
