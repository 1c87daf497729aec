"""One thing to know about the input: the only type in which problems, warnings and notes are passed on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from napari_spotmix.base.text import shortened
from napari_spotmix.dataset.fixes import Fix

__all__ = ["LEVELS", "NOTE", "PROBLEM", "WARNING", "Finding", "Level", "messages", "messages_with_fixes"]

Level = Literal["problem", "warning", "note"]
PROBLEM: Final = "problem"
WARNING: Final = "warning"
NOTE: Final = "note"
#: The most serious first.
LEVELS: Final = (PROBLEM, WARNING, NOTE)


@dataclass(frozen=True)
class Finding:
    """One thing to know before a run, or about a finished one.

    Attributes
    ----------
    level : {"problem", "warning", "note"}
        With a problem, no run starts. A warning makes a result doubtful. A note is good to know.
    message : str
        Complete sentences: what was expected, what was found and where, what to do. Plain text, which may
        hold names from files. Of more than `text.LONGEST_MESSAGE` letters, the middle is left out.
    fixes : tuple of Fix
        What would fix it, all of them together; empty if only the owner of the data can.
    """

    level: Level
    message: str
    fixes: tuple[Fix, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", shortened(self.message))


def messages(findings: Iterable[Finding]) -> list[str]:
    """Return the message of each, as `InputError` and the notes of a result take them.

    Examples
    --------
    >>> messages([Finding(NOTE, "No image was found.")])
    ['No image was found.']
    """
    return [finding.message for finding in findings]


def messages_with_fixes(findings: Iterable[Finding]) -> list[str]:
    """Return the message of each, with the fixes for it.

    Examples
    --------
    >>> messages_with_fixes([Finding(PROBLEM, "`X` holds logarithms.", (Fix("spatial", "raw"),))])
    ["`X` holds logarithms. To fix it: `fix` 'spatial:raw'."]
    """
    return [
        f"{one.message} To fix it: {', '.join(f'`fix` {str(fix)!r}' for fix in one.fixes)}."
        if one.fixes
        else one.message
        for one in findings
    ]
