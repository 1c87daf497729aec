"""A campaign: thousands of mutants through a warm worker, which is replaced if it does not answer."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.clock import allowed
from tests.fuzz.sources import write_sources

__all__ = ["SECONDS", "Campaign", "Mutant"]

#: Seconds that a mutant may take, all its doors together, and that a worker may take to begin.
SECONDS, START = 20.0, 300.0
#: Mutants of one worker, after which a fresh one begins.
_WORN = 500


@dataclass(frozen=True)
class Mutant:
    """What came of one mutant: what it was made of, what was said first, and the fault, "" if all is well."""

    kind: str
    seed: int
    outcome: str
    part: str = ""
    said: str = ""
    fault: str = ""


@dataclass
class Campaign:
    """Puts mutants through a worker.

    Parameters
    ----------
    folder : Path
        For sources and mutants.
    """

    folder: Path
    figures: Counter[tuple[str, str]] = field(default_factory=Counter)
    _worker: Worker | None = None

    def __post_init__(self) -> None:
        self.sources = self.folder / "sources"
        self.sources.mkdir()
        write_sources(self.sources)

    def mutants(self, orders: Iterator[tuple[str, int]]) -> Iterator[Mutant]:
        """Yield what comes of each order, a kind and a seed."""
        try:
            for kind, seed in orders:
                mutant = self._one(kind, seed)
                self.figures[kind, mutant.outcome] += 1
                yield mutant
        finally:
            self._end()

    def _one(self, kind: str, seed: int) -> Mutant:
        if self._worker is None or self._worker.n_done >= _WORN:
            self._end()
            self._worker = Worker(self.folder)
        answer = self._worker.answer({"kind": kind, "seed": seed}, SECONDS)
        if self._worker.is_ended:
            self._end()
        return Mutant(kind, seed, **({**answer, "outcome": "fault"} if "fault" in answer else answer))

    def _end(self) -> None:
        if self._worker is not None:
            self._worker.end()
        self._worker = None


class Worker:
    """The process, and its answers.

    Parameters
    ----------
    folder : Path
        With the sources; for mutants.
    words : sequence of str
        Arguments of Python: what the process does.
    """

    def __init__(self, folder: Path, words: Sequence[str] = ("-m", "tests.fuzz.worker")) -> None:
        self.n_done, self._noise = 0, folder / "noise"
        self._process = subprocess.Popen(
            [sys.executable, *words, str(folder / "sources"), str(folder / "work"), str(self._noise)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # Each heap of the C library would take 64 MB of the addresses that are left for threads.
            env=os.environ
            | {"QT_QPA_PLATFORM": "offscreen", "PYTHONFAULTHANDLER": "1", "MALLOC_ARENA_MAX": "2"},
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        if "fault" in (first := self._next(START)):
            self.end()
            raise RuntimeError(f"The worker does not begin: {first['fault']}")

    @property
    def is_ended(self) -> bool:
        return self._process.poll() is not None

    def _read(self) -> None:
        if self._process.stdout is not None:
            for line in self._process.stdout:
                self._lines.put(line)
        self._lines.put("")

    def answer(self, order: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Return the answer to an order; of a process that ends or does not answer, that as the fault."""
        self.n_done += 1
        with suppress(OSError):  # it has ended, which is seen next
            if self._process.stdin is not None:
                self._process.stdin.write(json.dumps(order) + "\n")
                self._process.stdin.flush()
        return self._next(seconds)

    def _next(self, seconds: float) -> dict[str, Any]:
        line = self._line(seconds)
        if line is None:
            line = self._line(allowed(seconds) - seconds)  # the machine is busy
        if line is None:
            return {"outcome": "fault", "fault": f"no answer in {seconds:.0f} s: {self._where()}"}
        if line:
            return dict(json.loads(line))
        code = self._process.wait()
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return {"outcome": "fault", "fault": f"the process ended, {how}: {self._said()}"}

    def _line(self, seconds: float) -> str | None:
        try:
            return self._lines.get(timeout=max(seconds, 0.01))
        except queue.Empty:
            return None

    def _where(self) -> str:
        """Return where the process is, from the traceback that it prints when it is aborted."""
        self._process.send_signal(signal.SIGABRT)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        return self._said()

    def _said(self) -> str:
        said = self._noise.read_text(errors="replace") if self._noise.exists() else ""
        said = said.partition("\nExtension modules")[0]
        return (
            said[said.rfind("Fatal Python error") :][:6000] if "Fatal Python error" in said else said[-1000:]
        )

    def end(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
