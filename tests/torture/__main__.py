"""Torture the command: ``python -m tests.torture 100`` sends each signal so often, at random moments.

As often, the disk is full after a random number of bytes, and two commands write into one folder.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.torture.sample import write_sample
from tests.torture.trials import SIGNALS, Bench, Trial


def main() -> None:
    """Make the trials, print what went wrong as it happens, and the figures at the end."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("number", type=int, nargs="?", default=100, help="trials of each kind")
    options.add_argument("--seed", type=int, default=None, help="repeats the moments of an earlier time")
    given = options.parse_args()
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    print(f"Seed {seed}. Repeat with --seed {seed}.", flush=True)
    moments, begin = random.Random(seed), time.monotonic()
    codes: Counter[tuple[str, str, int]] = Counter()
    wrong: list[Trial] = []

    def note(trial: Trial) -> None:
        codes[trial.task, trial.signal, trial.code] += 1
        wrong.extend([trial] if trial.problems else [])
        for problem in trial.problems:
            print(f"{trial.task}, {trial.signal} after {trial.moment:.3f}: {problem}", flush=True)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bench = Bench(write_sample(folder), folder)
        for at in range(given.number):
            task = bench.tasks[at % len(bench.tasks)]
            for signal in SIGNALS:
                note(bench.trial(task, signal, moments))
            note(bench.full_disk(task, moments))
            note(bench.two_writers(moments))
    for (task, signal, code), n in sorted(codes.items()):
        print(f"{task:8} {signal:12} exit code {code:4}: {n}")
    print(f"{sum(codes.values())} trials in {time.monotonic() - begin:.0f} s, {len(wrong)} with problems.")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
