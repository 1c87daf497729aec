"""Folders with files that are being written, to remove them before the process ends.

This module is light to import: a signal handler uses it while other modules may still be loading.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["discard_unfinished", "removed_at_the_end", "removed_when_done", "unfinished"]

_unfinished: set[Path] = set()
#: Those that a cancelled library call in another thread still writes into.
_abandoned: set[Path] = set()


@contextmanager
def removed_at_the_end(folder: Path) -> Iterator[Path]:
    """Yield `folder` and remove it afterward, also if the process ends by `discard_unfinished`.

    Examples
    --------
    >>> import tempfile
    >>> with removed_at_the_end(Path(tempfile.mkdtemp())) as folder:
    ...     folder.exists()
    True
    >>> folder.exists()
    False
    """
    _unfinished.add(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _unfinished.discard(folder)


def removed_when_done(folder: Path, work: Future[Any]) -> None:
    """Remove `folder` when `work`, which was cancelled but cannot be ended, has returned by itself."""
    _abandoned.add(folder)

    def remove(_: Future[Any]) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        _abandoned.discard(folder)

    work.add_done_callback(remove)


def unfinished() -> list[Path]:
    """Return the folders with files that are being written now."""
    return [*_unfinished, *_abandoned]


def discard_unfinished() -> None:
    """Remove all files that are being written; only for a process that is about to end."""
    for folder in unfinished():
        shutil.rmtree(folder, ignore_errors=True)
