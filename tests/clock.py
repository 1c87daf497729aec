"""Bounds on waiting that hold on a busy machine too."""

from __future__ import annotations

import time

#: Seconds of computing that show how busy the machine is.
_SAMPLE = 0.05


def allowed(seconds: float) -> float:
    """Return `seconds`, longer only by what other processes take of the machine while the test runs.

    Measured by a loop: its time on the clock over its time on the processor, 1 on a quiet machine.
    """
    wall, processor = time.perf_counter(), time.process_time()
    while time.process_time() - processor < _SAMPLE:
        pass
    return seconds * max(1.0, (time.perf_counter() - wall) / (time.process_time() - processor))
