"""Refuse containers that must not be read: with parts in other files, without end, or larger than memory.

HDF5 files are inspected by a process of its own (see `hdf5_inspection`), which is started once and can be
ended at any time: a read inside HDF5 can be neither cancelled nor survived.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from napari_spotmix.base.cancel import run_cancellable
from napari_spotmix.base.errors import ReadError
from napari_spotmix.base.progress import ProgressCallback, silent
from napari_spotmix.io.problems import as_read_error
from napari_spotmix.io.readers import hdf5_inspection

__all__ = ["check_hdf5"]

#: How many files are remembered, so that each is inspected once.
_REMEMBERED = 64

_found: OrderedDict[tuple[Any, ...], dict[str, Any]] = OrderedDict()
_idle: list[subprocess.Popen[str]] = []


def check_hdf5(
    path: Path,
    root: Path | None = None,
    name: str = "",
    *,
    in_memory: bool = False,
    stage: str = "Reading",
    on_progress: ProgressCallback = silent,
) -> None:
    """Check the structure of an HDF5 file; no data are read.

    Parameters
    ----------
    path : Path
    root, name : Path and str, optional
        How errors name the file: `name` of the folder `root`; the file itself by default.
    in_memory : bool
        Whether all its arrays will be read.
    stage : str
        What is reported as progress.
    on_progress : callable
        Called several times a second; raises `Cancelled` to stop.

    Raises
    ------
    ReadError
        If the file must not be read; the message names the node.
    """
    root, name = root or path, name or path.name
    found = _inspected(path, stage, on_progress)
    if "problem" in found:
        raise ReadError(root, f"`{name}` {found['problem']}")
    with as_read_error(root, name):
        if "error" in found:
            raise OSError(*(one for one in (found["number"], found["error"]) if one is not None))
    needed, there = found["claimed"], psutil.virtual_memory().total
    if in_memory and needed > there:
        raise ReadError(
            root,
            f"`{name}` needs {needed / 1e9:,.0f} GB of memory, and this machine has {there / 1e9:,.0f} GB. "
            "Remove what is not needed from the file, or read it with `backed`.",
        )


def _inspected(path: Path, stage: str, on_progress: ProgressCallback) -> dict[str, Any]:
    """Return what `inspect` finds; of a file that has not changed, what it found before."""
    stat = path.stat()
    key = (str(path.absolute()), stat.st_size, stat.st_mtime_ns, stat.st_ino)
    if key not in _found:
        _found[key] = _ask(key[0], stage, on_progress)
        if len(_found) > _REMEMBERED:
            _found.popitem(last=False)
    return _found[key]


def _ask(path: str, stage: str, on_progress: ProgressCallback) -> dict[str, Any]:
    process = _idle.pop() if _idle else _started()
    if process is None:
        return run_cancellable(lambda: hdf5_inspection.inspect(path), stage, on_progress)
    try:
        answer = run_cancellable(lambda: _answer(process, path), stage, on_progress)
    except BaseException:
        _stop(process)
        raise
    if answer:
        _idle.append(process)
        return dict(json.loads(answer))
    _stop(process)
    return {"problem": "is damaged: HDF5 cannot get through its structure. Copy or download it again."}


def _answer(process: subprocess.Popen[str], path: str) -> str:
    """Return a line of JSON; "" if the process has ended."""
    if process.stdin is None or process.stdout is None:  # it has both
        return ""
    try:
        process.stdin.write(json.dumps(path) + "\n")
        process.stdin.flush()
        return process.stdout.readline()
    except OSError:
        return ""


def _stop(process: subprocess.Popen[str]) -> None:
    """End a process, whatever it is doing."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()


def _started() -> subprocess.Popen[str] | None:
    """Start a process that inspects files; None if this Python cannot start another."""
    # Modules are found as here. Without `site` and the folder of the script, it starts sooner.
    paths = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)
    environment = os.environ | {"PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1"}
    try:
        return subprocess.Popen(
            [sys.executable, "-S", "-P", hdf5_inspection.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            env=environment,
            start_new_session=True,  # Ctrl-C is for us, not for it
        )
    except (OSError, ValueError):
        return None


@atexit.register
def _end() -> None:
    """End the processes that wait for files."""
    while _idle:
        _stop(_idle.pop())
