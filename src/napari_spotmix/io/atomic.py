"""Atomic writes: files are written beside their place and moved into it when whole."""

from __future__ import annotations

import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_spotmix.base.errors import InputError
from napari_spotmix.base.unfinished import discard_unfinished, removed_at_the_end

if TYPE_CHECKING:
    pass

__all__ = [
    "aside",
    "discard_unfinished",
    "existing_parent",
    "reason",
    "write_aside",
    "write_folder_aside",
]


#: Name of a folder that is written aside: the machine and the process that write it.
_ASIDE = re.compile(r"\.spotmix-(?P<host>.*)-(?P<process>\d+)-[^-]*")


def existing_parent(directory: Path) -> Path:
    """Return `directory` or the nearest folder above it that exists."""
    return next(path for path in (directory, *directory.absolute().parents) if os.path.lexists(path))


def write_aside(path: str | Path, write: Callable[[Path], Any]) -> Path:
    """Have one file written beside its place and move it there, so that there is all of it or nothing.

    Parameters
    ----------
    path : path
        The file; it is replaced if it exists. Its folder must exist.
    write : callable
        Given the path to write to, which has the same name.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    InputError
        If it cannot be written there.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder. Give the name of a file.")
    return _written(path, write)


def write_folder_aside(path: str | Path, write: Callable[[Path], Any]) -> Path:
    """Have a folder written beside its place and move it there; as `write_aside`, but replaces nothing.

    Raises
    ------
    InputError
        If there is something of that name already, or it cannot be written there.
    """
    path = Path(path)
    if os.path.lexists(path):
        raise InputError(f"{path} exists already, and is kept. Choose another name, or delete it first.")
    return _written(path, write)


def _written(path: Path, write: Callable[[Path], Any]) -> Path:
    if not path.absolute().parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.absolute().parent}. Make it first.")
    try:
        with aside(path.absolute().parent) as stage:
            write(stage / path.name)
            return (stage / path.name).replace(path)
    except OSError as error:
        words = reason(error)
        raise InputError(f"Writing {path} failed ({words}). Nothing was kept.") from error


def reason(error: OSError) -> str:
    """Return why writing failed in the system's words; HDF5 gives them in the middle of many of its own."""
    number = re.search(r"errno[ =]+(\d+)", str(error))
    return os.strerror(int(number[1])) if number else error.strerror or str(error)


@contextmanager
def aside(directory: Path) -> Iterator[Path]:
    """Give a folder to write into, on the same file system as `directory`; remove it in the end."""
    for place in {existing_parent(directory), existing_parent(directory.absolute().parent)}:
        _tidy(place)
    stage = Path(
        tempfile.mkdtemp(prefix=f".spotmix-{_host()}-{os.getpid()}-", dir=existing_parent(directory))
    )
    with removed_at_the_end(stage):
        yield stage


def _tidy(place: Path) -> None:
    """Remove what killed processes of this machine have left; those of others may be alive."""
    import psutil

    for left in place.glob(".spotmix-*"):
        written_by = _ASIDE.fullmatch(left.name)
        if written_by and written_by["host"] == _host() and not psutil.pid_exists(int(written_by["process"])):
            shutil.rmtree(left, ignore_errors=True)


def _host() -> str:
    return re.sub(r"\W", "_", platform.node()) or "unknown"
