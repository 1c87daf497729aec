"""What was drawn as regions, step by step, so that each step can be undone and redone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["DrawnShape", "RegionHistory", "free_name", "named_shapes"]

#: Older steps are forgotten.
_MOST_STEPS = 200


@dataclass(frozen=True, eq=False)
class DrawnShape:
    """A shape as it was drawn.

    Attributes
    ----------
    name : str
    kind : str
        "polygon", "rectangle", "ellipse" or another kind of napari's shapes.
    corners : ndarray of float64, shape (n_corners, 2)
        (y, x) in full-resolution pixels, as napari holds them.
    """

    name: str
    kind: str
    corners: NDArray[np.float64]

    def is_same(self, other: DrawnShape) -> bool:
        """Whether nothing differs."""
        return (self.name, self.kind) == (other.name, other.kind) and self.has_outline_of(other)

    def has_outline_of(self, other: DrawnShape) -> bool:
        """Whether the corners are the same."""
        return bool(np.array_equal(self.corners, other.corners))


_Shapes = tuple[DrawnShape, ...]


class RegionHistory:
    """The shapes as they are, and as they were after each step.

    Examples
    --------
    >>> history = RegionHistory()
    >>> square = np.array([[0.0, 0.0], [0.0, 9.0], [9.0, 9.0], [9.0, 0.0]])
    >>> history.note([DrawnShape("tumor", "polygon", square)])
    True
    >>> history.undone
    'add tumor'
    >>> history.undo()
    ()
    >>> [shape.name for shape in history.redo()]
    ['tumor']
    """

    def __init__(self) -> None:
        self.now: _Shapes = ()
        self._before: list[_Shapes] = []
        self._after: list[_Shapes] = []

    def begin(self, shapes: Sequence[DrawnShape] = ()) -> None:
        """Begin with these shapes: nothing can be undone."""
        self.now = tuple(shapes)
        self._before.clear()
        self._after.clear()

    def note(self, shapes: Sequence[DrawnShape]) -> bool:
        """Take the shapes after a step, and return whether anything differs."""
        if _are_same(self.now, shapes):
            return False
        self._before = [*self._before, self.now][-_MOST_STEPS:]
        self._after.clear()
        self.now = tuple(shapes)
        return True

    def undo(self) -> _Shapes:
        """Return to the shapes before the last step; without one, nothing changes."""
        if self._before:
            self._after.append(self.now)
            self.now = self._before.pop()
        return self.now

    def redo(self) -> _Shapes:
        """Return to the shapes before the last `undo`; without one, nothing changes."""
        if self._after:
            self._before.append(self.now)
            self.now = self._after.pop()
        return self.now

    @property
    def undone(self) -> str:
        """What `undo` would undo, "" if nothing."""
        return _step(self._before[-1], self.now) if self._before else ""

    @property
    def redone(self) -> str:
        """What `redo` would do again, "" if nothing."""
        return _step(self.now, self._after[-1]) if self._after else ""


def named_shapes(shapes: Sequence[DrawnShape], n_known: int) -> list[DrawnShape]:
    """Return the shapes with a name each; those after the first `n_known` are new, and get one of their own.

    Examples
    --------
    >>> triangle = np.zeros((3, 2))
    >>> drawn = [DrawnShape("tumor", "polygon", triangle), DrawnShape("tumor", "polygon", triangle)]
    >>> [shape.name for shape in named_shapes(drawn, 1)]
    ['tumor', 'Region 1']
    """
    taken = {shape.name for at, shape in enumerate(shapes) if at < n_known}
    named = []
    for at, shape in enumerate(shapes):
        is_new = at >= n_known
        name = shape.name
        if not name or (is_new and name in taken):
            name = free_name("Region", taken)
        taken.add(name)
        named.append(DrawnShape(name, shape.kind, shape.corners))
    return named


def free_name(base: str, taken: set[str]) -> str:
    """Return a name with the next number that is free."""
    return next(f"{base} {number}" for number in range(1, len(taken) + 2) if f"{base} {number}" not in taken)


def _are_same(before: Sequence[DrawnShape], after: Sequence[DrawnShape]) -> bool:
    return len(before) == len(after) and all(map(DrawnShape.is_same, before, after))


def _step(before: _Shapes, after: _Shapes) -> str:
    """Name the difference between two states."""
    gone = [shape.name for shape in before if shape.name not in {one.name for one in after}]
    new = [shape.name for shape in after if shape.name not in {one.name for one in before}]
    if len(gone) == 1 and len(new) == 1:
        return f"rename {gone[0]} to {new[0]}"
    if gone or new:
        return f"delete {', '.join(gone)}" if gone else f"add {', '.join(new)}"
    changed = [
        shape.name for shape, former in zip(after, before, strict=False) if not shape.has_outline_of(former)
    ]
    return f"edit {', '.join(dict.fromkeys(changed))}"
