"""The end of the command at any moment: by Ctrl-C (130) or SIGTERM (143), without a traceback or files left.

This module is the first that the command imports, so it imports almost nothing.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from types import FrameType

__all__ = ["end_at_signals", "end_command_at_signals", "end_process"]

#: Removes folders in a new program: no thread of this one is left to write into them again.
_REMOVE = "import shutil, sys; [shutil.rmtree(one, True) for one in sys.argv[2:]]; sys.exit(int(sys.argv[1]))"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def end_command_at_signals() -> None:
    """Do `end_at_signals` if this process is the command ``spotmix``."""
    if _is_command():
        end_at_signals()


def _is_command() -> bool:
    """Return whether this process is the command ``spotmix``, and not a program that imports the package."""
    words = sys.orig_argv[1:3]
    if words[:1] == ["-m"]:
        return words[1:] == ["napari_spotmix.cli"]
    return bool(words) and os.path.basename(words[0]).removesuffix(".exe") == "spotmix"  # noqa: PTH119


def end_at_signals() -> None:
    """End the process at SIGINT and SIGTERM from now on, unless its parent has it ignore them."""
    for number in _SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _end)


def _end(number: int, _: FrameType | None) -> None:
    with suppress(OSError):
        os.write(2, b"Cancelled.\n")  # print() may be what was interrupted
    end_process(128 + number)


def end_process(code: int) -> None:
    """End the process now, whatever its threads are doing, and leave no unfinished files."""
    with suppress(ValueError):  # not the main thread
        for number in _SIGNALS:  # another Ctrl-C must not stop the cleaning
            signal.signal(number, signal.SIG_IGN)
    folders = _discarded()
    if folders and os.name == "posix":
        with suppress(OSError):  # no memory for it
            os.execv(sys.executable, [sys.executable, "-ISc", _REMOVE, str(code), *folders])
    os._exit(code)


def _discarded() -> list[str]:
    """Remove unfinished files and return their folders, in which other threads may still write."""
    try:
        from napari_spotmix.base.unfinished import discard_unfinished, unfinished

        folders = [str(folder) for folder in unfinished()]
        discard_unfinished()
    except Exception:  # the module is being imported just now, so nothing has been written
        return []
    return folders
