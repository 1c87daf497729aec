"""What can go wrong, in words for the person who has to fix it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

__all__ = ["Cancelled", "ConvergenceWarning", "InputError", "ReadError", "attempted"]

T = TypeVar("T")


class InputError(ValueError):
    """Input that cannot be used; holds *all* the problems found, not just the first.

    Parameters
    ----------
    problems : str or iterable of str
        One complete sentence or two per problem: what was expected, what was found and where,
        and what to do about it. Argument names stand in backticks.

    Examples
    --------
    >>> print(InputError(["`alpha` must be at least 0, found -1.", "`layer`: there is no layer 'raw'."]))
    2 problems:
      1. `alpha` must be at least 0, found -1.
      2. `layer`: there is no layer 'raw'.
    >>> print(InputError("`alpha` must be at least 0, found -1."))
    `alpha` must be at least 0, found -1.
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
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
        The file or folder that was asked for.
    problems : str or iterable of str
        As in :class:`InputError`.
    """

    def __init__(self, path: str | Path, problems: str | Iterable[str]) -> None:
        self.path = Path(path)
        super().__init__(problems)

    def _message(self) -> str:
        return f"{self.path}: {super()._message()}"


class Cancelled(Exception):
    """Raised by a progress callback to stop a task, and by the task that was stopped."""


class ConvergenceWarning(UserWarning):
    """The solver stopped at its limit of sweeps before the optimality violation was small."""


def attempted(problems: list[str], action: Callable[[], T]) -> T | None:
    """Return what `action` gives, or None, with all that is wrong with its input added to `problems`.

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
        problems += [f"{error.path}: {text}" for text in error.problems]
    except InputError as error:
        problems += error.problems
    return None
