"""A warm process that makes mutants and puts them through their doors, one after the other.

It reads an order in JSON from each line of standard input, and answers with a line of JSON on what was
standard output when it began. Its own standard output and error go to a file: what compiled libraries print
there is a fault, since users would see it.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import traceback
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

from tests.fuzz.doors import REFUSED, RESULT, Fault, command
from tests.fuzz.kinds import KINDS, Kind
from tests.fuzz.mutators import apply
from tests.torture.sample import FAST

__all__ = ["GROWTH", "handled", "serve"]

#: Bytes of memory that one mutant may take, and that the process may ever have.
GROWTH, MEMORY = 1 << 30, 6 << 30
#: Letters of a fault that are shown.
_SHOWN = 3000


def serve(sources: Path, work: Path, noise: Path) -> None:
    """Answer orders until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    seen = os.open(noise, os.O_CREAT | os.O_RDWR | os.O_TRUNC)
    for number in (1, 2):
        os.dup2(seen, number)
    _limit()
    work.mkdir(parents=True, exist_ok=True)
    warm = command(
        "run", sources / "plain.h5ad", sources / "cells.h5ad", "-o", work / "warm", "--no-report", *FAST
    )
    print(json.dumps({"fault": said} if (said := warm()) else {}), file=answers, flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        before = noise.stat().st_size
        answer = handled(order["kind"], order["seed"], sources, work)
        if (printed := noise.read_bytes()[before:]) and "fault" not in answer:
            answer["fault"] = f"libraries print: {printed[:500].decode(errors='replace')}"
        print(json.dumps(answer), file=answers, flush=True)


def handled(kind: str, seed: int, sources: Path, work: Path) -> dict[str, Any]:
    """Make one mutant, and put it through its doors.

    Parameters
    ----------
    kind : str
    seed : int
        The same kind and seed make the same mutant; -1 makes none, so that the original goes through.
    sources, work : Path

    Returns
    -------
    dict
        ``outcome``; and ``fault``, what went wrong, if anything did.
    """
    moments = random.Random(f"{kind} {seed}")
    chosen = moments.choice(KINDS[kind])
    home = work / "mutant"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    mutant = _copied(sources / chosen.part, home)
    try:
        with chdir(home):
            if seed >= 0:
                mutate(mutant, chosen, moments)
            # What the mutator took is not counted.
            before = _begin_peak()
            said = [door() for door in _doors(chosen, mutant, sources, moments)]
    except Fault as fault:
        return {"outcome": "fault", "part": chosen.part, "fault": str(fault)[:_SHOWN]}
    except Exception:
        return {"outcome": "fault", "part": chosen.part, "fault": traceback.format_exc()[-_SHOWN:]}
    if (grown := _peak() - before) > GROWTH:
        return {"outcome": "fault", "part": chosen.part, "fault": f"took {grown / 1e9:.1f} GB of memory"}
    refused = next((one for one in said if one), "")
    return {"outcome": REFUSED if refused else RESULT, "part": chosen.part, "said": refused}


def _doors(kind: Kind, mutant: Path, sources: Path, moments: random.Random) -> Iterator[Any]:
    return kind.doors(mutant, sources, moments)


def _copied(part: Path, home: Path) -> Path:
    target = home / part.name
    return Path(shutil.copytree(part, target) if part.is_dir() else shutil.copy(part, target))


def mutate(mutant: Path, kind: Kind, moments: random.Random) -> None:
    """Change one of the files of a mutant."""
    pattern = moments.choice(kind.files)
    found = sorted(mutant.glob(pattern)) if pattern else [mutant]
    apply(moments.choice(found), kind.mutators, moments)


def _limit() -> None:
    """Keep the machine alive, whatever a mutant does."""
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _begin_peak() -> int:
    """Forget the peak of memory so far, and return the bytes that are used now; 0 where this is not known."""
    if sys.platform != "linux":
        return 0
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    if sys.platform != "linux":
        return 0
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    serve(*map(Path, sys.argv[1:4]))
