"""What a command says, and how it ends. Light: it is imported before anything else of the command line."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from napari_spotmix.base.ending import end_at_signals, end_process
from napari_spotmix.base.text import printable

__all__ = ["WRONG_INPUT", "ended_by_signals", "harmless", "leave", "say"]

#: Exit code of a command whose input cannot be used.
WRONG_INPUT = 2


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """End the process at a signal while a command runs, before and after its work too."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread gets signals
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    end_at_signals()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave(code: int, words: str) -> None:
    """End the process now, whatever its threads are doing, and leave no unfinished files."""
    try:
        say(words, sys.stderr)
        sys.stdout.flush()
    except OSError:  # no one reads, or the disk is full
        pass
    end_process(code)


def say(text: str, stream: Any = None) -> None:
    """Print text, with control characters from files made harmless."""
    print(harmless(text), file=stream or sys.stdout, flush=True)


def harmless(text: str) -> str:
    """Return text whose control characters are written out, as those of file names may be."""
    return printable(text, keep="\n")
