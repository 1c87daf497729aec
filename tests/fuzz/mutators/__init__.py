"""Mutators: each takes a file and a source of randomness, and changes the file in place."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

Mutator = Callable[[Path, random.Random], None]


def apply(path: Path, mutators: Sequence[Mutator], moments: random.Random) -> None:
    """Change a file once, twice or three times; what a change leaves need not bear a further one."""
    for at in range(moments.choice((1, 1, 1, 2, 3))):
        try:
            moments.choice(mutators)(path, moments)
        except Exception:
            if at == 0 and not path.exists():
                raise
            return
