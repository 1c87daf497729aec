"""``python -m napari_spotmix.workflow.cohort.child``: a process that runs sections, one after the other.

It reads an order as a line of JSON from standard input and answers on standard output, with lines of JSON
too: progress, and in the end the outcome. When its input ends, it ends too, whatever it is doing, so it does
not outlive the process that has started it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any, TextIO

from napari_spotmix.base.ending import end_process
from napari_spotmix.base.progress import Progress

__all__ = ["main", "now_and_then"]

#: Seconds between two reports of the same stage.
_PAUSE = 0.1


def main() -> None:
    """Take orders until standard input ends."""
    warnings.simplefilter("ignore")
    answers = _own_stdout()
    for line in sys.stdin:
        threading.Thread(target=_answer, args=(json.loads(line), answers), daemon=True).start()
    _leave()


def _own_stdout() -> TextIO:
    """Keep the pipe for answers, and let what libraries print go to standard error."""
    pipe = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return pipe


def _answer(order: dict[str, Any], answers: TextIO) -> None:
    def say(message: dict[str, Any]) -> None:
        try:
            print(json.dumps(message), file=answers, flush=True)
        except OSError:  # nobody reads any more
            _leave()

    from napari_spotmix.workflow.cohort.section import do_order

    say({"outcome": do_order(order, on_progress=now_and_then(lambda progress: say({"progress": progress})))})


def now_and_then(say: Callable[[list[Any]], None]) -> Callable[[Progress], None]:
    """Return a callback that passes on a new stage at once, and steps of it ten times a second."""
    last = ("", 0.0)

    def report(progress: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if progress.stage != last[0] or now - last[1] > _PAUSE:
            last = (progress.stage, now)
            say([progress.stage, progress.step, progress.total, progress.violation])

    return report


def _leave() -> None:
    """End now, and leave no unfinished files."""
    end_process(0)


if __name__ == "__main__":
    main()
