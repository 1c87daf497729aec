"""What is made of data once, and kept as long as they live."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import wraps
from typing import TypeVar

__all__ = ["made_once"]

Owner = TypeVar("Owner")
Made = TypeVar("Made")


def made_once(make: Callable[[Owner], Made]) -> Callable[[Owner], Made]:
    """Make something of an object once, and forget it with the object, which needs no hash.

    Examples
    --------
    >>> @made_once
    ... def length(numbers):
    ...     print("counting")
    ...     return len(numbers)
    >>> import numpy as np
    >>> numbers = np.zeros(3)
    >>> length(numbers) + length(numbers)
    counting
    6
    """
    kept: dict[int, Made] = {}

    @wraps(make)
    def found(owner: Owner) -> Made:
        key = id(owner)
        if key not in kept:
            kept[key] = make(owner)
            weakref.finalize(owner, kept.pop, key, None)
        return kept[key]

    return found
