"""One thing that was found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from napari_spotmix.dataset.fixes import Fix

__all__ = ["LEVELS", "NOTE", "PROBLEM", "WARNING", "Finding", "Level"]

Level = Literal["problem", "warning", "note"]
PROBLEM: Final = "problem"
WARNING: Final = "warning"
NOTE: Final = "note"
#: The gravest first.
LEVELS: Final = (PROBLEM, WARNING, NOTE)


@dataclass(frozen=True)
class Finding:
    """One thing to know before a run.

    Attributes
    ----------
    level : {"problem", "warning", "note"}
    text : str
        Complete sentences: what was expected, what was found and where, what to do. Plain text, which may
        hold names from files.
    fixes : tuple of Fix
        What would fix it, all of them together; empty where only its owner can.
    """

    level: Level
    text: str
    fixes: tuple[Fix, ...] = ()
