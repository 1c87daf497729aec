"""Results of a function, cached for as long as the object that they were made from exists."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import wraps
from typing import TypeVar

__all__ = ["weakly_cached"]

Owner = TypeVar("Owner")
Made = TypeVar("Made")


def weakly_cached(make: Callable[[Owner], Made]) -> Callable[[Owner], Made]:
    """Call a function once for each object; forget the result when the object is deleted.

    The object needs no hash. It must not change, since the result is not made again.

    Examples
    --------
    >>> @weakly_cached
    ... def length(numbers):
    ...     print("counting")
    ...     return len(numbers)
    >>> import numpy as np
    >>> numbers = np.zeros(3)
    >>> length(numbers) + length(numbers)
    counting
    6
    """
    cache: dict[int, Made] = {}

    @wraps(make)
    def cached(owner: Owner) -> Made:
        key = id(owner)
        if key not in cache:
            cache[key] = make(owner)
            weakref.finalize(owner, cache.pop, key, None)
        return cache[key]

    return cached
