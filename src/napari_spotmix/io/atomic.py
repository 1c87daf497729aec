"""Atomic writes: a file or folder is written to a staging folder and moved to its path when complete.

The staging folder is on the same file system as the path, so the move is a rename.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from napari_spotmix.base.errors import InputError
from napari_spotmix.base.unfinished import removed_at_the_end

__all__ = [
    "existing_parent",
    "staging_folder",
    "why_not_written",
    "write_atomically",
    "write_folder_atomically",
]

#: Name of a staging folder: the machine and the process that write into it.
_STAGING = re.compile(r"\.spotmix-(?P<host>.*)-(?P<process>\d+)-[^-]*")


def write_atomically(path: str | Path, write: Callable[[Path], Any]) -> Path:
    """Write one file completely or not at all.

    Parameters
    ----------
    path : str or Path
        The file; it is replaced if it exists. Its folder must exist.
    write : callable
        Takes the temporary path to write to, which has the same file name.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    InputError
        If it cannot be written there.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_atomically(Path(folder, "a.txt"), lambda path: path.write_text("text")).name
    'a.txt'
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder, expected the name of a file. Add a file name.")
    return _write(path, write)


def write_folder_atomically(path: str | Path, write: Callable[[Path], Any]) -> Path:
    """Write a folder completely or not at all; as `write_atomically`, but never replaces anything.

    Raises
    ------
    InputError
        If `path` exists already, or it cannot be written there.
    """
    path = Path(path)
    if os.path.lexists(path):
        raise InputError(
            f"{path} already exists and is not overwritten. Choose another name, or delete it first."
        )
    return _write(path, write)


def _write(path: Path, write: Callable[[Path], Any]) -> Path:
    folder = path.absolute().parent
    if not folder.is_dir():
        raise InputError(f"{path}: the folder {folder} does not exist. Create it first.")
    try:
        with staging_folder(folder) as stage:
            write(stage / path.name)
            return (stage / path.name).replace(path)
    except OSError as error:
        raise InputError(f"Writing {path} failed ({why_not_written(error)}). Nothing was kept.") from error


def why_not_written(error: OSError) -> str:
    """Return the system's reason why writing failed; HDF5 has it in the middle of a long message."""
    number = re.search(r"errno[ =]+(\d+)", str(error))
    return os.strerror(int(number[1])) if number else error.strerror or str(error)


def existing_parent(directory: Path) -> Path:
    """Return `directory` or the nearest folder above it that exists."""
    return next(path for path in (directory, *directory.absolute().parents) if os.path.lexists(path))


@contextmanager
def staging_folder(directory: Path) -> Iterator[Path]:
    """Yield a new folder on the file system of `directory`, and remove it afterward.

    What killed processes have left there is removed too.
    """
    for folder in {existing_parent(directory), existing_parent(directory.absolute().parent)}:
        _remove_leftovers(folder)
    prefix = f".spotmix-{_host()}-{os.getpid()}-"
    with removed_at_the_end(Path(tempfile.mkdtemp(prefix=prefix, dir=existing_parent(directory)))) as stage:
        yield stage


def _remove_leftovers(folder: Path) -> None:
    """Remove staging folders of killed processes of this machine; those of other machines may be in use."""
    import psutil

    for left in folder.glob(".spotmix-*"):
        owner = _STAGING.fullmatch(left.name)
        if owner and owner["host"] == _host() and not psutil.pid_exists(int(owner["process"])):
            shutil.rmtree(left, ignore_errors=True)


def _host() -> str:
    return re.sub(r"\W", "_", platform.node()) or "unknown"
