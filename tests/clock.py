"""Bounds on waiting that hold on a busy machine too: they grow with what it is slowed down by."""

from __future__ import annotations

import time

#: Seconds of computing that show how busy the machine is.
_SAMPLE = 0.05


def allowed(seconds: float) -> float:
    """Return a bound for what takes at most so long on a quiet machine.

    Measured while the test runs: how long a loop takes on the clock, for what it takes of a processor. What
    other processes leave of the machine then decides, not its speed.
    """
    wall, processor = time.perf_counter(), time.process_time()
    while time.process_time() - processor < _SAMPLE:
        pass
    slowdown = (time.perf_counter() - wall) / _SAMPLE
    return seconds * max(2.0, 3.0 * slowdown)
