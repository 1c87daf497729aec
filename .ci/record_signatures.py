"""Write anew which types of arguments fits call the kernels with: for the warm-up after installation."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba.core.dispatcher import Dispatcher

from napari_spotmix import deconvolve, find_niches, simulate
from napari_spotmix.model.kernels.ahead import SIGNATURES, all_kernels

NAMES = {kernel: name for name, kernel in all_kernels().items()}
#: The types of arguments of each kernel, in JSON.
SEEN: dict[str, set[str]] = defaultdict(set)


def main(path: Path) -> None:
    """Write down how a default run calls kernels, and how others do."""
    listen()
    tissue = simulate(n_spots=1000, n_genes=120, n_cell_types=4, image=False)
    result = deconvolve(tissue.spatial, tissue.reference)
    every_run = in_order()
    SEEN.clear()
    find_niches(result, 3)
    # A smooth problem takes the kernels of several grids.
    deconvolve(tissue.spatial, tissue.reference, lambda_c=1000.0, n_outer_iterations=0)
    # Files of 10x have long indices.
    counts = tissue.spatial.X
    counts.indices, counts.indptr = counts.indices.astype(np.int64), counts.indptr.astype(np.int64)
    deconvolve(tissue.spatial, tissue.reference, lambda_c=1.0, residuals="log", platform_effect="on")
    path.write_text(f"[\n{as_lines(every_run)},\n{as_lines(in_order())}\n]\n", encoding="utf-8")


def listen() -> None:
    """Note each call from Python with types that are new to a kernel, not those among kernels."""
    meet = Dispatcher._compile_for_args

    def noted(kernel: Any, *args: Any, **named: Any) -> Any:
        if kernel in NAMES:
            types = [described(kernel.typeof_pyval(one)) for one in args]
            SEEN[NAMES[kernel]].add(json.dumps(types))  # two threads may meet the same
        return meet(kernel, *args, **named)

    Dispatcher._compile_for_args = noted


def described(one: Any) -> Any:
    """Return a type of numba in plain words."""
    if isinstance(one, numba.types.Array):
        return {"array": str(one.dtype), "dimensions": one.ndim, "layout": one.layout, "mutable": one.mutable}
    if isinstance(one, (numba.types.NamedTuple, numba.types.NamedUniTuple)):
        return {"tuple": one.instance_class.__name__, "of": [described(inner) for inner in one.types]}
    return str(one)


def in_order() -> dict[str, list[str]]:
    """Return what was seen, in an order that does not depend on threads."""
    return {name: sorted(SEEN[name]) for name in sorted(SEEN)}


def as_lines(signatures: dict[str, list[str]]) -> str:
    """Return JSON with a line for each kernel."""
    lines = [f"{json.dumps(name)}: [{', '.join(types)}]" for name, types in signatures.items()]
    return "{\n" + ",\n".join(lines) + "\n}"


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else SIGNATURES)
