"""Atomic writes: a file or folder is written to a staging folder and moved to its path when complete.

The staging folder is on the same file system as the path, so the move is a rename.
"""

from __future__ import annotations

import errno
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from napari_spotmix.base.errors import Cancelled, InputError
from napari_spotmix.base.text import quoted, shortened
from napari_spotmix.base.unfinished import removed_at_the_end

__all__ = [
    "existing_parent",
    "failures_reported",
    "is_disk_full",
    "is_write_failure",
    "name_problem",
    "only_writer",
    "staging_folder",
    "why_not_written",
    "write_atomically",
    "write_folder_atomically",
]

#: Name of a staging folder: the machine and the process that write into it.
_STAGING = re.compile(r"\.spotmix-(?P<host>.*)-(?P<process>\d+)-[^-]*")
#: How messages of HDF5 begin; h5py raises them as almost any exception, RuntimeError when it closes a file.
_OF_HDF5 = re.compile(r"(Can't|Unable to|Couldn't|Failed to) ")
#: HDF5 has the system's error number in the middle of a long message.
_NUMBER = re.compile(r"errno[ =]+(\d+)")
#: The disk has no room, or takes no writes.
_FULL = {errno.ENOSPC, errno.EROFS, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


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
    if problem := name_problem(path):
        raise InputError(problem)
    with failures_reported(f"Writing {path}"), staging_folder(folder) as stage:
        write(stage / path.name)
        return (stage / path.name).replace(path)


@contextmanager
def failures_reported(doing: str) -> Iterator[None]:
    """Raise what goes wrong while files are written, such as a full disk, as an InputError of one sentence.

    Parameters
    ----------
    doing : str
        What failed: "Writing results".
    """
    try:
        yield
    except (InputError, Cancelled):
        raise
    except Exception as error:
        if not is_write_failure(error):
            raise
        raise InputError(f"{doing} failed ({why_not_written(error)}). Nothing was kept.") from error


def is_write_failure(error: BaseException) -> bool:
    """Return whether an exception, or one that it was raised from, is the system's refusal to write.

    Examples
    --------
    >>> is_write_failure(OSError(28, "No space left on device")), is_write_failure(KeyError("a"))
    (True, False)
    >>> is_write_failure(RuntimeError("Unable to flush file's cached information (errno = 28, ...)"))
    True
    """
    return any(isinstance(one, OSError) or _is_of_hdf5(one) for one in _chain(error))


def is_disk_full(error: BaseException) -> bool:
    """Return whether the disk has no room or takes no writes.

    Examples
    --------
    >>> is_disk_full(OSError(28, "No space left on device")), is_disk_full(ConnectionResetError(104, "reset"))
    (True, False)
    """
    return any(_number(one) in _FULL for one in _chain(error))


def _is_of_hdf5(error: BaseException) -> bool:
    return _NUMBER.search(str(error)) is not None or _OF_HDF5.match(str(error)) is not None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and those that it was raised from; libraries wrap the system's errors."""
    seen: set[int] = set()
    left: BaseException | None = error
    while left is not None and id(left) not in seen:
        seen.add(id(left))
        yield left
        left = left.__cause__ or left.__context__


def _number(error: BaseException) -> int | None:
    found = _NUMBER.search(str(error))
    return int(found[1]) if found else error.errno if isinstance(error, OSError) else None


def why_not_written(error: BaseException) -> str:
    """Return the system's reason why writing failed."""
    number = next((number for one in _chain(error) if (number := _number(one)) is not None), None)
    if number is not None:
        return os.strerror(number)
    return shortened(" ".join(str(error).split()), 200) or type(error).__name__


def name_problem(path: Path) -> str | None:
    """Return why nothing can have this path: a name in it is too long, or holds a null character.

    Examples
    --------
    >>> "(File name too long)" in name_problem(Path("a" * 300 + ".csv"))
    True
    """
    try:
        os.lstat(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        number = getattr(error, "errno", errno.EINVAL)
        if number not in (errno.ENAMETOOLONG, errno.EINVAL):
            return None
        why = os.strerror(errno.ENAMETOOLONG) if number == errno.ENAMETOOLONG else "null character"
        return f"{quoted(path.name, 60)} is not a valid file name ({why}). Choose another name."
    return None


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


@contextmanager
def only_writer(directory: Path) -> Iterator[None]:
    """Wait until no other process of this machine moves files into `directory`, and let none begin.

    The system ends the lock with the process. Where folders have none, as on Windows, nothing is locked.
    """
    try:
        import fcntl

        handle = os.open(directory, os.O_RDONLY)
    except (ImportError, OSError):
        yield
        return
    try:
        with suppress(OSError):  # some file systems on a network have no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _remove_leftovers(folder: Path) -> None:
    """Remove staging folders of killed processes of this machine; those of other machines may be in use."""
    for left in folder.glob(".spotmix-*"):
        owner = _STAGING.fullmatch(left.name)
        if owner and owner["host"] == _host() and not _runs(int(owner["process"])):
            shutil.rmtree(left, ignore_errors=True)


def _runs(process: int) -> bool:
    """Return whether a process of this machine is running; an orphan that has ended may still be listed."""
    import psutil

    try:
        return bool(psutil.Process(process).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _host() -> str:
    return re.sub(r"\W", "_", platform.node()) or "unknown"
