"""One trial: a command is begun, something happens to it at a random moment, and what it leaves is checked.

What happens: a signal, a disk that is full after a random number of bytes, or another command that writes
into the same folder. What must hold:

* SIGINT ends with 130 and SIGTERM with 143, or the command was done before (0). Before Python has begun to
  run our first line, the system ends it by the signal, which a shell shows as the same numbers.
* The result is the old one or the new one, whole. After SIGKILL it may also be one that is refused as
  incomplete.
* On a full disk the command ends with 2 and one sentence, or has room enough (0).
* Of two commands that write into one folder, each ends with 0, or with 2 and a sentence; the result is that
  of one of them, whole.
* Nothing else is left. After SIGKILL the next command removes what was left.
"""

from __future__ import annotations

import hashlib
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from napari_spotmix.base.errors import InputError
from napari_spotmix.io import OUTPUTS, read_recipe
from napari_spotmix.io.atomic import staging_folder
from napari_spotmix.result import read_result
from tests.cli.commands import command
from tests.torture.sample import FAST

__all__ = ["CROWDED", "SIGNALS", "Bench", "Trial"]

SIGNALS = {"kill": signal.SIGKILL, "cancel": signal.SIGINT, "terminate": signal.SIGTERM}
#: What else happens to a command.
CROWDED = ("full disk", "two writers")
#: Letters of a command that are shown, and the largest disk, in bytes.
_SHOWN, _DISK = 300, 1 << 20
#: Part of a command in which the system, Python and its site begin, before our first line runs. A part, since
#: a busy machine makes all of it slower.
_OF_PYTHON = 0.1


@dataclass(frozen=True)
class Trial:
    """What was done, and what is wrong with what came of it.

    Attributes
    ----------
    task, signal : str
        `signal` is what happened: one of `SIGNALS` or of `CROWDED`.
    moment : float
        Seconds after the start at which the signal was sent, or the second writer began; bytes of a disk.
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

    def _begin(
        self, words: tuple[object, ...], limit: Callable[[], None] | None = None
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command(*words), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=limit
        )

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

    def full_disk(self, task: str, moments: random.Random) -> Trial:
        """Do a task on a disk that is full after a random number of bytes, over an old result at times."""
        home = self._home("trial")
        size = int(_DISK ** moments.random())
        with small_disk(home, size) as limit:
            has_old = task in ("run", "rerun") and limit is not None and moments.random() < 0.5
            if has_old:
                shutil.copytree(self._old, home / "result")
            process = self._begin(self._tasks[task](home), limit)
            words = process.communicate(timeout=120)[1]
            problems = _wrong_refusal(process.returncode, words, ("No space left", "File too large"))
            problems += self._wrong_files(task, home, has_old, process.returncode, False)
        return Trial(task, "full disk", size, process.returncode, tuple(problems))

    def two_writers(self, moments: random.Random) -> Trial:
        """Let two runs with different results write into one folder, as much at once as can be."""
        home = self._home("trial")
        if has_old := moments.random() < 0.5:
            shutil.copytree(self._old, home / "result")
        moment = moments.uniform(0, 0.2)
        first = self._begin(self._tasks["run"](home))
        time.sleep(moment)
        second = self._begin(self._tasks["rerun"](home))
        ends = [(process, process.communicate(timeout=240)[1]) for process in (first, second)]
        problems = [
            one for process, words in ends for one in _wrong_refusal(process.returncode, words, ("",))
        ]
        if all(process.returncode for process, _ in ends):
            problems.append("neither has written")
        problems += self._wrong_files("run", home, has_old, 0, False)
        if not problems and _checksum(home / "result") != _stated(home / "result"):
            problems.append("the files are of different runs")
        return Trial("run", "two writers", moment, max(first.returncode, second.returncode), tuple(problems))

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


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Callable[[], None] | None]:
    """Make a folder a disk of a size in memory, if this user may; else limit the size of each file.

    Yields what a process that writes there must call first, or None.
    """
    words = ["mount", "-t", "tmpfs", "-o", f"size={max(size, 4096)}", "tmpfs", str(folder)]
    try:
        is_mounted = size % 2 == 0 and subprocess.run(words, capture_output=True, check=False).returncode == 0
    except OSError:
        is_mounted = False
    if not is_mounted:
        yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        return
    try:
        yield None
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _checksum(folder: Path) -> str:
    return hashlib.sha256((folder / "proportions.csv").read_bytes()).hexdigest()


def _stated(folder: Path) -> str:
    return str(read_recipe(folder)["outputs"]["proportions_sha256"])


def _wrong_refusal(code: int, words: str, reasons: tuple[str, ...]) -> list[str]:
    """Return what is wrong with the end of a command that may be refused for one of some reasons."""
    if code == 0:
        return []
    errors = [line for line in words.splitlines() if line.startswith("Error:")]
    is_right = code == 2 and len(errors) == 1 and any(reason in errors[0] for reason in reasons)
    return [] if is_right and "Traceback" not in words else [f"exit code {code}: {words[-_SHOWN:]}"]


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
