"""Turn the exceptions of libraries into problems that a user can fix, and collect them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from napari_spotmix.base.errors import Cancelled, InputError, ReadError
from napari_spotmix.base.text import quoted, shortened

__all__ = [
    "NOT_A_FILE",
    "NOT_UTF8",
    "Gatherer",
    "as_read_error",
    "check_is_file",
    "has_plain_name",
    "is_special",
    "listed",
    "why_not_read",
]

#: What is said of names that no recipe can hold, and of a pipe.
NOT_UTF8 = "has a name that is not UTF-8. Rename it."
NOT_A_FILE = (
    "is neither a file nor a folder, but a pipe or a device. Save the data as a file, and choose that."
)


def why_not_read(error: BaseException) -> str:
    """Return in one clause why a file could not be read, and what to do.

    Examples
    --------
    >>> why_not_read(PermissionError(13, "Permission denied"))
    'cannot be read: permission denied. Ask its owner for read access.'
    """
    if isinstance(error, PermissionError):
        return "cannot be read: permission denied. Ask its owner for read access."
    if isinstance(error, FileNotFoundError):
        return "does not exist. Check the spelling of the path."
    if isinstance(error, IsADirectoryError):
        return "is a folder, expected a file. Choose a file."
    if isinstance(error, (EOFError, zlib.error)) or "truncated" in str(error):
        return f"is truncated: it ends too early ({_one_line(error)}). Copy or download it again."
    if isinstance(error, MemoryError):
        return "does not fit into memory. Close other programs, or use a machine with more memory."
    return f"is damaged, or its extension is wrong ({_one_line(error)}). Copy or download it again."


def _one_line(error: BaseException, longest: int = 160) -> str:
    return shortened(" ".join(str(error).split()) or type(error).__name__, longest)


def listed(names: Sequence[object], most: int = 8, nothing: str = "nothing") -> str:
    """Return up to `most` names in quotes, and how many more there are.

    Examples
    --------
    >>> listed(["a", "b", "c"], most=2)
    "'a', 'b' and 1 more"
    """
    shown = ", ".join(quoted(str(name)) for name in names[:most])
    rest = len(names) - most
    return (f"{shown} and {rest} more" if rest > 0 else shown) or nothing


@contextmanager
def as_read_error(path: Path, name: str) -> Iterator[None]:
    """Raise any exception of the block as a ReadError of `path` about the file called `name`.

    Use it around calls of libraries that parse files: they raise almost any exception for a damaged file.
    The original exception is kept as the cause.
    """
    try:
        yield
    except (InputError, Cancelled):
        raise
    except Exception as error:
        raise ReadError(path, f"`{name}` {why_not_read(error)}") from error


def has_plain_name(path: Path) -> bool:
    """Return whether a path can be written into a recipe: as UTF-8.

    Examples
    --------
    >>> has_plain_name(Path("liver.h5ad")), has_plain_name(Path("liver\\udcff.h5ad"))
    (True, False)
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def is_special(path: Path) -> bool:
    """Return whether a path exists, but is neither a file nor a folder: reading it may never end.

    Examples
    --------
    >>> is_special(Path(__file__)), is_special(Path("no/such/file"))
    (False, False)
    """
    return path.exists() and not path.is_file() and not path.is_dir()


def check_is_file(path: Path) -> None:
    """Raise ReadError if a path is a pipe or a device, or its name is not UTF-8."""
    if not has_plain_name(path):
        raise ReadError(path, NOT_UTF8)
    if is_special(path):
        raise ReadError(path, NOT_A_FILE)


class Gatherer:
    """Collect the problems of several parts of a folder, to raise them all at once.

    Examples
    --------
    >>> gather = Gatherer(Path("outs"))
    >>> with gather:
    ...     raise ReadError("outs", "`a.csv` is empty.")
    >>> with gather:
    ...     raise ReadError("outs", "`b.json` is damaged.")
    >>> gather.raise_all()
    Traceback (most recent call last):
    napari_spotmix.base.errors.ReadError: outs: 2 problems:
      1. `a.csv` is empty.
      2. `b.json` is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems: list[str] = []
        self._first: BaseException | None = None

    def __enter__(self) -> Gatherer:
        return self

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> bool:
        if not isinstance(error, InputError):
            return False
        self.problems += error.problems
        self._first = self._first or error
        return True

    def error(self) -> ReadError:
        """Return one ReadError with all problems."""
        error = ReadError(self.path, self.problems)
        error.__cause__ = self._first
        return error

    def raise_all(self) -> None:
        """Raise one ReadError with all problems, if there are any."""
        if self.problems:
            raise self.error()
