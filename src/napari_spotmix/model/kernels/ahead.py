"""Compile kernels before they are needed, several at a time.

``python -m napari_spotmix.model.kernels.ahead`` is a process of its own, and starts more of its kind: the
compiler holds the interpreter lock, and the window would not move meanwhile. It prints how many kernels that
every run needs are done, line by line; then it compiles those that some runs need.

``signatures.json`` in this folder lists them, with the types of arguments that a fit calls them with. What
is missing there is compiled when it is first called; `.ci/record_signatures.py` writes the list.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba.core.caching import NullCache
from numba.core.dispatcher import Dispatcher

from napari_spotmix.base.cores import available_cores
from napari_spotmix.model.compilation import mark, mark_done
from napari_spotmix.model.kernels import (
    aggregation,
    arguments,
    attention,
    clustering,
    counts,
    graph,
    residuals,
    sweep,
    uncertainty,
)

__all__ = ["SIGNATURES", "all_kernels"]

SIGNATURES = Path(__file__).with_name("signatures.json")
_MODULES = (aggregation, attention, clustering, counts, graph, residuals, sweep, uncertainty)
#: A process takes 200 MB, and the longest kernel takes as long as a quarter of all.
_MOST_PROCESSES = 4
#: These take longest, and begin first.
_LONGEST = ("aggregation.sweep_aggregates", "aggregation.coarsen_aggregates", "sweep.sweep")


def all_kernels() -> dict[str, Dispatcher]:
    """Return every kernel that is kept on disk, by its module and name."""
    return {
        f"{module.__name__.rpartition('.')[2]}.{name}": kernel
        for module in _MODULES
        for name, kernel in vars(module).items()
        if isinstance(kernel, Dispatcher)
        and kernel.py_func.__module__ == module.__name__
        and not isinstance(kernel._cache, NullCache)  # type: ignore[attr-defined]
    }


def _example(described: Any) -> Any:
    """Return a value of a type."""
    if isinstance(described, str):
        return np.zeros((), described)[()]
    if "tuple" in described:
        return getattr(arguments, described["tuple"])(*map(_example, described["of"]))
    shape = (2,) * described["dimensions"]
    array = np.zeros(shape, described["array"], order="F" if described["layout"] == "F" else "C")
    array.flags.writeable = described["mutable"]
    return array


def _compile(job: tuple[str, list[list[Any]]]) -> None:
    name, signatures = job
    kernel = all_kernels()[name]
    # What fails here fails again where it is called, and is reported there.
    with suppress(Exception):
        for types in signatures:
            kernel.compile(tuple(numba.typeof(_example(one)) for one in types))


def main() -> None:
    """Compile what the list names and is not on disk yet."""
    if mark().exists() or not all_kernels():
        return
    every_run, some_runs = json.loads(SIGNATURES.read_text(encoding="utf-8"))
    jobs = sorted(every_run.items(), key=lambda job: job[0] not in _LONGEST)
    print(0, len(jobs), flush=True)
    method = "fork" if sys.platform == "linux" else "spawn"
    with multiprocessing.get_context(method).Pool(min(available_cores(), _MOST_PROCESSES)) as pool:
        for n_done, _ in enumerate(pool.imap_unordered(_compile, jobs), start=1):
            print(n_done, len(jobs), flush=True)
        mark_done()
        pool.map(_compile, some_runs.items(), chunksize=1)


if __name__ == "__main__":
    main()
