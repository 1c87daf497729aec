"""One trial: a command is begun, gets a signal at a random moment, and what it leaves is checked.

What must hold:

* SIGINT ends with 130 and SIGTERM with 143, or the command was done before (0). Before Python has begun to
  run our first line, the system ends it by the signal, which a shell shows as the same numbers.
* The result is the old one or the new one, whole. After SIGKILL it may also be one that is refused as
  incomplete.
* Nothing else is left. After SIGKILL the next command removes what was left.
"""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from napari_spotmix.base.errors import InputError
from napari_spotmix.io import OUTPUTS
from napari_spotmix.io.atomic import staging_folder
from napari_spotmix.result import read_result
from tests.cli.commands import command
from tests.torture.sample import FAST

__all__ = ["SIGNALS", "Bench", "Trial"]

SIGNALS = {"kill": signal.SIGKILL, "cancel": signal.SIGINT, "terminate": signal.SIGTERM}
#: Part of a command in which the system, Python and its site begin, before our first line runs. A part, since
#: a busy machine makes all of it slower.
_OF_PYTHON = 0.1


@dataclass(frozen=True)
class Trial:
    """What was done, and what is wrong with what came of it.

    Attributes
    ----------
    task, signal : str
    moment : float
        Seconds after the start at which the signal was sent.
    code : int
        Exit code; negative if the system ended the process by a signal.
    problems : tuple of str
    """

    task: str
    signal: str
    moment: float
    code: int
    problems: tuple[str, ...]


class Bench:
    """A folder with inputs and finished results, on which trials are made one after the other."""

    #: What is done.
    TASKS: tuple[str, ...] = ("run", "rerun", "report", "export", "store")

    def __init__(self, sample: Path, folder: Path) -> None:
        self._folder = folder
        inputs = (sample / "spots.h5ad", sample / "cells.h5ad")
        self._old = folder / "old"
        self._begin(("run", *inputs, "-o", self._old, *FAST, "--seed", 1)).communicate()
        old = self._old
        #: What is written into a folder of its own, by the name of the task.
        self._tasks: Mapping[str, Callable[[Path], tuple[object, ...]]] = {
            "run": lambda home: ("run", *inputs, "-o", home / "result", *FAST, "--seed", 2),
            "rerun": lambda home: ("rerun", old, "-o", home / "result"),
            "report": lambda home: ("report", old, "-o", home / "page.html"),
            "export": lambda home: ("export", old, "--to", home / "spots.geojson"),
            "store": lambda home: ("export", old, "--to", home / "store.zarr"),
        }
        self._lengths: dict[str, float] = {}
        self._whole: dict[str, set[str]] = {}
        for task in self.TASKS:
            self._measure(task)

    @property
    def tasks(self) -> tuple[str, ...]:
        return self.TASKS

    def _begin(self, words: tuple[object, ...]) -> subprocess.Popen[str]:
        return subprocess.Popen(command(*words), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def _home(self, name: str) -> Path:
        home = self._folder / name
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        return home

    def _measure(self, task: str) -> None:
        """Do a task undisturbed: how long it takes, and what it writes."""
        home = self._home("whole")
        begin = time.monotonic()
        process = self._begin(self._tasks[task](home))
        words = process.communicate()[1]
        if process.returncode:
            raise RuntimeError(f"{task} fails by itself: {words}")
        self._lengths[task] = time.monotonic() - begin
        self._whole[task] = _names(home)

    def trial(self, task: str, name: str, moments: random.Random) -> Trial:
        """Send a signal at a random moment of a task, over an old result every other time."""
        home = self._home("trial")
        if has_old := task in ("run", "rerun") and moments.random() < 0.5:
            shutil.copytree(self._old, home / "result")
        # A third of the signals come while everything is imported.
        is_early = moments.random() < 1 / 3
        moment = moments.uniform(0, min(0.6, self._lengths[task]) if is_early else self._lengths[task])
        process = self._begin(self._tasks[task](home))
        time.sleep(moment)
        process.send_signal(SIGNALS[name])
        words = process.communicate(timeout=120)[1]
        code = process.returncode
        # While Python ends by itself, after the work is done, it has no handlers any more.
        is_done = _names(home) >= self._whole[task]
        problems = [*_wrong_end(code, SIGNALS[name], words, moment / self._lengths[task], is_done)]
        if name == "kill":
            with staging_folder(home):  # as the next command that writes there
                pass
        problems += self._wrong_files(task, home, has_old, code, name == "kill")
        return Trial(task, name, moment, code, tuple(problems))

    def _wrong_files(self, task: str, home: Path, has_old: bool, code: int, is_killed: bool) -> list[str]:
        found = _names(home)
        if task not in ("run", "rerun"):
            return [] if found in (set(), self._whole[task]) else [f"left {sorted(found)[:5]}"]
        folder = home / "result"
        others = found - {"result", *(f"result/{name}" for name in (*OUTPUTS, "report.html"))}
        problems = [f"left {sorted(others)[:5]}"] if others else []
        if not folder.exists() or not any(folder.iterdir()):
            is_gone = has_old or (folder.exists() and not is_killed)
            return [*problems, "the old result is gone, or an empty folder is left"] if is_gone else problems
        try:
            read_result(folder)
        except InputError as error:
            if not (is_killed and "was killed" in str(error)):
                problems.append(f"the result is damaged: {error}")
        return problems


def _names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def _wrong_end(code: int, number: int, words: str, part: float, is_done: bool) -> list[str]:
    if code == 0 or code == -number:
        is_late = code == -number and number != signal.SIGKILL and part > _OF_PYTHON and not is_done
        return [f"ended by the signal itself after {part:.0%} of its time"] if is_late else []
    if number == signal.SIGKILL:
        return [f"exit code {code}: {words[-300:]}"]
    problems = [] if code == 128 + number else [f"exit code {code}: {words[-300:]}"]
    if "Traceback" in words:
        problems.append(f"a traceback: {words[-300:]}")
    # Python begins by itself, and shows an interruption of that as it does.
    is_python = part < _OF_PYTHON and "napari_spotmix" not in words
    return [] if is_python else problems
