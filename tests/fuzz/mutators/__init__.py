"""Mutators: each takes a file and a source of randomness, and changes the file in place."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

Mutator = Callable[[Path, random.Random], None]


def apply(path: Path, mutators: Sequence[Mutator], moments: random.Random) -> None:
    """Change a file once, twice or three times. Not every change can be made of every file."""
    left = moments.choice((1, 1, 1, 2, 3))
    for _ in range(20):
        before = path.read_bytes() if path.is_file() else b""
        try:
            moments.choice(mutators)(path, moments)
            left -= 1
        except Exception:
            if not path.is_dir():
                path.write_bytes(before)
        if not left:
            return
