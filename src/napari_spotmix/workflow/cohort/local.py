"""Sections on the cores of this machine, each in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from napari_spotmix.base.cores import available_cores
from napari_spotmix.base.errors import InputError
from napari_spotmix.params import LARGE_FILE
from napari_spotmix.workflow.cohort.section import FAILED, Order, spec_of_order
from napari_spotmix.workflow.spec import Location

__all__ = ["how_many_at_once", "run_here"]

#: Called with the sample, and what its worker reports: ``progress`` or ``outcome``.
Listener = Callable[[str, Mapping[str, Any]], None]

#: What Python runs in each process.
CHILD = ("-m", "napari_spotmix.workflow.cohort.child")
#: Seconds between two checks whether to go on.
_TICK = 0.05
#: Seconds that a process gets to end by itself.
_PATIENCE = 1.0
#: How often a section is begun whose process dies.
_ATTEMPTS = 2
#: Bytes that a process needs before it reads anything, and for each byte of a file that it reads.
_BASE, _PER_BYTE = 500 * 2**20, 8


def run_here(orders: Sequence[Order], listen: Listener, tick: Callable[[], None], *, at_once: int) -> None:
    """Run sections in `at_once` processes, and report the progress and the outcome of each.

    A process takes one section after the other: what it has compiled serves all of them.

    Parameters
    ----------
    orders : sequence of Order
    listen : callable
        Called with the sample, and ``{"progress": ...}`` or ``{"outcome": ...}``.
    tick : callable
        Called every 50 ms; ends all processes by raising.
    at_once : int
        Processes.
    """
    todo = deque((order, 1) for order in orders)
    answers: SimpleQueue[tuple[_Child, Any]] = SimpleQueue()
    children = [_Child(answers) for _ in range(min(at_once, len(orders)))]
    try:
        while todo or any(child.order for child in children):
            for child in children:
                if todo and child.order is None:
                    child.give(*todo.popleft())
            tick()
            try:
                child, message = answers.get(timeout=_TICK)
            except Empty:
                continue
            if message is None:
                children.remove(child)
                _after_death(child, todo, listen)
                children += [_Child(answers)] if todo else []
            elif child.order is not None:
                sample = child.order["sample"]
                if "outcome" in message:
                    child.order = None
                listen(sample, message)
    finally:
        _stop(children)


class _Child:
    """A process that runs sections; what it says is put into a queue, and None at its end."""

    def __init__(self, answers: SimpleQueue[tuple[_Child, Any]]) -> None:
        self.order: Order | None = None
        self.attempt = 0
        self._words = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the process)
        # In a session of its own: Ctrl-C is for this process, which ends the others.
        self._process = subprocess.Popen(
            [sys.executable, *CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            text=True,
            encoding="utf-8",
            start_new_session=os.name == "posix",
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        threading.Thread(target=self._listen, args=(answers,), daemon=True).start()

    def _listen(self, answers: SimpleQueue[tuple[_Child, Any]]) -> None:
        if self._process.stdout is None:  # for mypy alone: both are pipes
            return
        # The last line of a process that is killed may be a part of one.
        with suppress(ValueError, OSError):
            for line in self._process.stdout:
                answers.put((self, json.loads(line)))
        answers.put((self, None))

    def give(self, order: Order, attempt: int) -> None:
        self.order, self.attempt = order, attempt
        if self._process.stdin is None:  # for mypy alone: both are pipes
            return
        with suppress(OSError):  # it is dead, which its listener reports
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()

    def ask_to_end(self) -> None:
        """Ask it to end, which it does whatever it is doing."""
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()

    def end(self) -> int:
        """Wait for its end, not for long, and return its exit code."""
        try:
            code = self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        return code

    def last_words(self) -> str:
        self._words.seek(0)
        lines = self._words.read().decode("utf-8", "replace").split("\n")
        return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "")

    def close(self) -> None:
        self._words.close()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


def _stop(children: Iterable[_Child]) -> None:
    children = list(children)
    for child in children:
        child.ask_to_end()
    for child in children:
        child.end()
        child.close()


def _after_death(child: _Child, todo: deque[tuple[Order, int]], listen: Listener) -> None:
    """Start the section of a process that has died again; the second time it has failed."""
    child.ask_to_end()
    code, words = child.end(), child.last_words()
    child.close()
    if child.order is not None and child.attempt < _ATTEMPTS:
        todo.append((child.order, child.attempt + 1))
    elif child.order is not None:
        outcome = {"state": FAILED, "seconds": 0.0, "message": _why_dead(code, words)}
        listen(child.order["sample"], {"outcome": outcome})


def _why_dead(code: int, last_words: str) -> str:
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        return (
            f"its process was killed by {name} {_ATTEMPTS} times, most likely because memory ran out. Run "
            "fewer sections at once."
        )
    return (
        f"its process ended with code {code} ({last_words or 'no message'}). Run the section alone to see "
        "why."
    )


# ------------------------------------------------------------------------------------------ how many


def how_many_at_once(orders: Sequence[Order]) -> int:
    """Return how many sections to run at once: one per core, or fewer if memory is short."""
    needs = sorted((_memory_needed(order) for order in orders), reverse=True)
    left, n = _memory_free(), 0
    for need in needs[: available_cores()]:
        left -= need
        if left < 0:
            break
        n += 1
    return max(n, 1)


def _memory_needed(order: Order) -> int:
    """Return about how many bytes a section takes: files are compressed, large ones stay on disk."""
    spec = spec_of_order(order)
    return _BASE + _PER_BYTE * (min(_size(spec.spatial), LARGE_FILE) + sum(map(_size, spec.references)))


def _size(given: Location | None) -> int:
    """Return the bytes of what is read; 0 for a URL, of which nothing is known."""
    from napari_spotmix.io import files_read

    if not isinstance(given, Path):
        return 0
    try:
        return sum(file.stat().st_size for file in files_read(given))
    except (InputError, OSError):
        return 0


def _memory_free() -> int:
    """Return the bytes that are free, on this machine and in the share of it that a batch system gives."""
    import psutil

    free = int(psutil.virtual_memory().available)
    try:
        group = Path("/sys/fs/cgroup")
        limit, used = (int((group / f"memory.{name}").read_text()) for name in ("max", "current"))
    except (OSError, ValueError):  # no batch system, or no limit
        return free
    return min(free, limit - used)
