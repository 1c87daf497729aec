"""Exceptions and warnings whose messages tell the user what to fix."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from napari_spotmix.base.text import printable, shortened

__all__ = [
    "NO_MEMORY",
    "Cancelled",
    "ConvergenceWarning",
    "InputError",
    "ReadError",
    "attempted",
    "shown_path",
]

#: What is said if memory runs out.
NO_MEMORY = "The data do not fit into memory. Close other programs, or use a machine with more memory."

T = TypeVar("T")


class InputError(ValueError):
    """Input that cannot be used; holds *all* problems found, not just the first.

    Parameters
    ----------
    problems : str or iterable of str
        One or two complete sentences per problem: what was expected, what was found, where, and what to do
        next. Argument names are in backticks. If a text is longer than `text.LONGEST_MESSAGE`, its middle is
        left out, and control characters are written out: what comes from a file may hold anything.

    Attributes
    ----------
    problems : tuple of str

    Examples
    --------
    >>> print(InputError(["`alpha` must be at least 0, found -1.", "`layer`: no layer is named 'raw'."]))
    2 problems:
      1. `alpha` must be at least 0, found -1.
      2. `layer`: no layer is named 'raw'.
    >>> print(InputError("`alpha` must be at least 0, found -1."))
    `alpha` must be at least 0, found -1.
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        given = (problems,) if isinstance(problems, str) else tuple(problems)
        self.problems: tuple[str, ...] = tuple(shortened(printable(text)) for text in given)
        super().__init__(self._message())

    def _message(self) -> str:
        if len(self.problems) == 1:
            return self.problems[0]
        lines = [f"{len(self.problems)} problems:"]
        lines += [f"  {number}. {text}" for number, text in enumerate(self.problems, start=1)]
        return "\n".join(lines)


class ReadError(InputError):
    """A file or folder that cannot be read; the message begins with its path.

    Parameters
    ----------
    path : str or Path
        The file or folder that was given.
    problems : str or iterable of str
        As in :class:`InputError`.
    """

    def __init__(self, path: str | Path, problems: str | Iterable[str]) -> None:
        self.path = Path(path)
        super().__init__(problems)

    def _message(self) -> str:
        return f"{shown_path(self.path)}: {super()._message()}"


def shown_path(path: str | Path) -> str:
    """Return a path as messages show it: of limited length, control characters written out.

    Examples
    --------
    >>> print(shown_path("liver" + chr(10) + ".h5ad"))
    liver\\n.h5ad
    """
    return shortened(printable(str(path)))


class Cancelled(Exception):
    """Raised by a progress callback to stop a task, and then by the task."""


class ConvergenceWarning(UserWarning):
    """The solver reached the maximum number of sweeps before the optimality violation was small."""


def attempted(problems: list[str], action: Callable[[], T]) -> T | None:
    """Return the result of `action`, or None after an `InputError`, whose problems are added to `problems`.

    Examples
    --------
    >>> problems = []
    >>> def refuse():
    ...     raise ReadError("outs", ["`a.csv` is empty.", "`b.csv` is damaged."])
    >>> attempted(problems, refuse)
    >>> problems
    ['outs: `a.csv` is empty.', 'outs: `b.csv` is damaged.']
    """
    try:
        return action()
    except ReadError as error:
        problems += [shortened(f"{shown_path(error.path)}: {text}") for text in error.problems]
    except InputError as error:
        problems += error.problems
    return None
