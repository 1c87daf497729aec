"""How a long task reports its progress, and how it is cancelled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Progress", "ProgressCallback", "Task", "silent"]


@dataclass(frozen=True)
class Progress:
    """One report from a running task.

    Parameters
    ----------
    stage : str
        What is being done, in words to show ("Reading counts", "Solving").
    step, total : int
        Steps done in this stage and steps expected; ``total`` is 0 where it is not known.
    violation : float, optional
        Scaled violation of the optimality conditions, while solving.

    Examples
    --------
    >>> Progress("Solving", 3, 12).fraction
    0.25
    """

    stage: str
    step: int
    total: int
    violation: float | None = None

    @property
    def fraction(self) -> float:
        """Share of this stage that is done, 0 to 1."""
        return min(self.step / self.total, 1.0) if self.total else 0.0


#: Called often (several times a second) by every long task. It stops the task by raising
#: :class:`~napari_spotmix.base.errors.Cancelled`, which the task lets through after tidying up.
ProgressCallback = Callable[[Progress], None]

#: A long call that reports its progress, to be run in a thread.
Task = Callable[[ProgressCallback], Any]


def silent(_: Progress) -> None:
    """Ignore progress: the default callback."""
