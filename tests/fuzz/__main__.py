"""Fuzz what users give: ``python -m tests.fuzz 10000`` makes so many mutants of files of all kinds.

Each must end in a result or in a message of at most 600 letters, in time and in little memory. A fault is
printed with its kind and seed, which repeat it alone: ``python -m tests.fuzz --only csv:123``.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.campaign import Campaign, Mutant
from tests.fuzz.kinds import KINDS


def main() -> None:
    """Make the mutants, print faults as they are found, and the figures at the end."""
    given = _options()
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    orders = [(kind, int(number)) for kind, _, number in (one.partition(":") for one in given.only)]
    if not orders:
        kinds = given.kind or list(KINDS)
        print(f"Seed {seed}. Repeat with --seed {seed}.", flush=True)
        orders = [(kinds[at % len(kinds)], seed * 10**6 + at) for at in range(given.number)]
    begin, n_faults = time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        campaign = Campaign(Path(folder))
        for at, mutant in enumerate(campaign.mutants(iter(orders)), start=1):
            n_faults += bool(mutant.fault)
            if at % 500 == 0:
                print(f"{at} mutants in {time.monotonic() - begin:.0f} s", flush=True)
            _show(mutant, is_alone=bool(given.only))
    _print_figures(campaign)
    print(f"{len(orders)} mutants in {time.monotonic() - begin:.0f} s, {n_faults} faults.")
    sys.exit(bool(n_faults))


def _options() -> argparse.Namespace:
    options = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    options.add_argument("number", type=int, nargs="?", default=1000, help="mutants")
    options.add_argument("--seed", type=int, default=None, help="repeats an earlier campaign")
    options.add_argument(
        "--kind", action="append", choices=list(KINDS), help="only this kind; may be repeated"
    )
    options.add_argument(
        "--only", action="append", default=[], metavar="KIND:SEED", help="one mutant; may be repeated"
    )
    return options.parse_args()


def _show(mutant: Mutant, *, is_alone: bool) -> None:
    if mutant.fault:
        print(f"FAULT --only {mutant.kind}:{mutant.seed} ({mutant.part})\n{mutant.fault}\n", flush=True)
    elif is_alone:
        print(f"{mutant.kind}:{mutant.seed} ({mutant.part}): {mutant.outcome}\n{mutant.said}", flush=True)


def _print_figures(campaign: Campaign) -> None:
    print(f"{'kind':10}{'results':>9}{'refused':>9}{'faults':>9}")
    for kind in KINDS:
        counted = [campaign.figures[kind, outcome] for outcome in ("result", "refused", "fault")]
        if any(counted):
            print(f"{kind:10}" + "".join(f"{number:9}" for number in counted))


if __name__ == "__main__":
    main()
