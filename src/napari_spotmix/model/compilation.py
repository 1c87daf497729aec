"""Have the kernels compiled once after installation, in the background, and wait for that where it matters.

Nothing here loads the compiler: the window begins this when it opens, a command when it starts, and a fit
waits for it. If it fails for whatever reason, kernels are compiled when they are called, as numba does.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from napari_spotmix.base.progress import Progress, ProgressCallback, silent
from napari_spotmix.model import kernels

__all__ = ["begin_to_compile", "compiled", "mark", "mark_done"]

#: Seconds between two reports.
_INTERVAL = 0.1
_MARK = "napari-spotmix-compiled-"
_STAGE = "Preparing, once after installation"


def begin_to_compile() -> None:
    """Begin to compile the kernels in another process, unless that was done before; return at once."""
    _COMPILATION.begin()


def compiled(on_progress: ProgressCallback = silent, *, whole: bool = False) -> None:
    """Return when the kernels that every run needs are compiled; begin if that was not done.

    Parameters
    ----------
    on_progress : callable, optional
        Raises `Cancelled` to stop waiting. Compiling continues, since the next run needs it too.
    whole : bool, optional
        Wait for the kernels that only some runs need, too.
    """
    _COMPILATION.begin()
    _COMPILATION.wait(on_progress, whole)


def mark() -> Path:
    """Return the path of the file that says that kernels, as they are now, have been compiled here."""
    stamp = hashlib.sha256()
    folder = Path(kernels.__path__[0])
    for path in sorted([*folder.glob("*.py"), *folder.glob("*.json")]):
        stamp.update(path.read_bytes())
    for part in (version("numba"), version("llvmlite"), platform.python_version(), platform.machine()):
        stamp.update(part.encode() + b"\0")
    return _folder() / f"{_MARK}{stamp.hexdigest()[:16]}"


def mark_done() -> None:
    """Write that file; those of earlier versions go."""
    path = mark()
    path.parent.mkdir(parents=True, exist_ok=True)
    for old in path.parent.glob(f"{_MARK}*"):
        old.unlink(missing_ok=True)
    path.touch()


def _folder() -> Path:
    """Return a folder for the mark: mostly that of the compiled code, which only numba knows."""
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        return Path(chosen)
    beside = Path(kernels.__path__[0]) / "__pycache__"
    if os.access(beside if beside.exists() else beside.parent, os.W_OK):
        return beside
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "napari-spotmix"


class _Compilation:
    """The process that compiles, at most one."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._lock, self._n_done, self._n_all = threading.Lock(), 0, 0

    def begin(self) -> None:
        with self._lock, suppress(OSError):
            if self._process is not None or not _is_possible() or mark().exists():
                return
            # With -P, nothing is imported from the folder that a user happens to be in.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", f"{kernels.__name__}.ahead"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                cwd=tempfile.gettempdir(),
                # Ctrl-C is for this process, and on Windows no console opens.
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
            atexit.register(_end, self._process)
            self.follow(self._process)

    def follow(self, process: subprocess.Popen[str]) -> None:
        """Read what a process says of its progress."""
        self._process = process
        threading.Thread(target=self._read, args=(process,), daemon=True).start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        for line in process.stdout or ():
            with suppress(ValueError):
                self._n_done, self._n_all = map(int, line.split())

    def wait(self, on_progress: ProgressCallback, whole: bool) -> None:
        process = self._process
        while process is not None and process.poll() is None and (whole or not self._is_ready):
            on_progress(Progress(_STAGE, self._n_done, self._n_all))
            with suppress(subprocess.TimeoutExpired):
                process.wait(_INTERVAL)

    @property
    def _is_ready(self) -> bool:
        return 0 < self._n_all <= self._n_done


def _end(process: subprocess.Popen[str]) -> None:
    """End the process and those that it has started."""
    with suppress(OSError):
        if sys.platform == "win32" or process.poll() is not None:
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)


def _is_possible() -> bool:
    is_off = os.environ.get("NUMBA_DISABLE_JIT", "0") != "0"
    return bool(sys.executable) and not getattr(sys, "frozen", False) and not is_off


_COMPILATION = _Compilation()
