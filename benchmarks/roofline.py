"""What the machine would need at the least for each stage of a fit, beside the time that was measured.

    python benchmarks/roofline.py [N] [--cache FOLDER] [--page FILE]

N is a number of bins of the simulated tissue of speed.py (by default 1,000,000). Rows that each kernel visits
are counted while the fit runs; each costs bytes and operations that it cannot do without. The machine's
bandwidth and speed are measured in the same run, with as many threads as the fit uses.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import anndata
import numba
import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from napari_spotmix import Result, deconvolve
from napari_spotmix.base.progress import Progress
from napari_spotmix.model.kernels import (
    aggregation,
    attention,
    clustering,
    counts,
    graph,
    linear_algebra,
    sweep,
    uncertainty,
)
from speed import simulated
from tables import Table, fill

#: Stages as the progress bar names them, by how they begin, under the headings of the table.
HEADINGS = {
    "checking and averaging the input": (
        "start",
        "Checking the input",
        "Averaging the reference",
        "Counting",
        "Comparing cells of the reference",
        "Comparing with the reference",
    ),
    "linking neighbors": ("Linking",),
    "reducing counts": ("Weighing genes", "Reducing counts"),
    "solving": ("Solving",),
    "learning": ("Learning", "Comparing cells"),
    "comparing spots": ("Comparing spots",),
    "measuring uncertainty": ("Comparing genes", "Comparing patches", "Measuring"),
    "writing up": ("Writing up",),
}
_LOG, _ROOT = 20, 10


def _between(start: int, stop: int) -> float:
    return stop - start


def _members(start: int, stop: int, aggregates: Any) -> float:
    return float(aggregates.start_of[stop] - aggregates.start_of[start])


KERNELS = (aggregation, attention, clustering, counts, graph, linear_algebra, sweep, uncertainty)
#: How many rows a call visits, from its arguments: a list of rows, or the first and the last.
ROWS: dict[str, Callable[..., float]] = {
    "filtered_projections": lambda *given: _between(*given[-3:-1]),
    "sweep": lambda rows, *_: len(rows),
    "kkt_violations": lambda rows, *_: len(rows),
    "apply_hessian": lambda start, stop, *_: _between(start, stop),
    "coarsen_spots": lambda start, stop, aggregates, *_: _members(start, stop, aggregates),
    "coarsen_aggregates": lambda start, stop, aggregates, *_: _members(start, stop, aggregates),
    "sweep_aggregates": lambda rows, *_: len(rows),
    "factor_own_blocks": lambda start, stop, *_: _between(start, stop),
    "solve_own_blocks": lambda start, stop, *_: _between(start, stop),
    "held_out_score": lambda *given: float(given[0].indptr[given[4]] - given[0].indptr[given[3]]),
    "assign_to_centers": lambda *given: given[1].shape[1] * _between(*given[2:4]),
    "embed_rows": lambda *given: _between(*given[3:5]),
    "edge_attention": lambda *given: _between(*given[3:5]),
    "add_gene_moments": lambda *given: _between(*given[4:6]),
    "proportion_errors": lambda *given: _between(*given[-3:-1]),
}


#: Kernels that return how many rounds over the types spots needed, and under which name these are counted.
ROUNDS = {"sweep": "rounds of spots", "sweep_aggregates": "rounds of aggregates"}


@dataclass
class Work:
    """What each stage of a fit took, and the rows that each kernel visited in it."""

    seconds: Counter[str] = field(default_factory=Counter)
    visits: defaultdict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    stage: str = "start"

    def rows(self, stage: str, kernel: str) -> float:
        """Return the rows that a kernel visited in a stage."""
        return float(sum(self.visits[stage, kernel]))


@contextmanager
def counted(work: Work) -> Iterator[None]:
    """Let the rows that kernels visit be counted; lists, since several threads add to them."""

    def counting(name: str, kernel: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            work.visits[heading(work.stage), name].append(ROWS[name](*given))
            returned = kernel(*given)
            if name in ROUNDS:
                work.visits[heading(work.stage), ROUNDS[name]].append(returned)
            return returned

        return call

    homes = {name: module for module in KERNELS for name in ROWS if name in module.__all__}
    kernels = {name: getattr(homes[name], name) for name in ROWS}
    for name, kernel in kernels.items():
        setattr(homes[name], name, counting(name, kernel))
    try:
        yield
    finally:
        for name, kernel in kernels.items():
            setattr(homes[name], name, kernel)


def run(spatial: anndata.AnnData, reference: anndata.AnnData) -> tuple[Result, Work]:
    """Fit once with the defaults; time goes to the stage that was announced last."""
    work, last = Work(), time.perf_counter()

    def tell(progress: Progress) -> None:
        nonlocal last
        now = time.perf_counter()
        work.seconds[heading(work.stage)] += now - last
        last, work.stage = now, progress.stage

    with counted(work):
        result = deconvolve(spatial, reference, cell_type_key="cell_type", on_progress=tell)
    work.seconds[heading(work.stage)] += time.perf_counter() - last
    return result, work


@cache
def heading(stage: str) -> str:
    """Return the heading in the table for a stage of the progress bar."""
    by_length = sorted(
        ((begin, name) for name, begins in HEADINGS.items() for begin in begins),
        key=lambda pair: -len(pair[0]),
    )
    return next(name for begin, name in by_length if stage.startswith(begin))


def costs(result: Result) -> dict[str, tuple[float, float]]:
    """Return the bytes and the operations that a row costs each kernel at the least.

    An entry of sparse counts has 8 bytes, an edge 12, an abundance 8. A multiplication and an addition are
    two operations, a division or a root counts as ten and a logarithm or exponential as twenty.
    """
    n, K = result.abundances.shape
    z, e = result.spatial.X.nnz / n, result.weights.nnz / n
    p = float((result.abundances.to_numpy() > 0).sum() / n)
    around, own = 2 * K * e, 2 * K * p
    # The gradient, what it is divided by, and the violation; a round finds the latter anew.
    visit = around + own + (5 + _ROOT) * K
    violation_of_aggregate = around + 2 * K**2 + (5 + _ROOT) * K
    a_round, round_of_aggregate = own + (5 + 5) * K, 2 * K**2 + (5 + 5) * K
    table, edges = 8 * K, 12 * e
    # The prolongation of a member and its neighbors, their coupling, and the member's block.
    assembly = around + own + (2 + 4 * e) * K + 3 * p * (p + 1) / 2
    triangle = 4 * K * (K + 1) / 2
    return {
        "filtered_projections": (8 * z + table, 2 * K * z),
        "sweep": (3 * table + edges, visit),
        "rounds of spots": (0.0, a_round),
        "kkt_violations": (2 * table + edges, visit),
        "apply_hessian": (2 * table + edges, around + own),
        "coarsen_spots": (2 * table + edges, assembly),
        "coarsen_aggregates": (table + triangle, assembly),
        "sweep_aggregates": (2 * table + triangle + 4 * e * K, violation_of_aggregate),
        "rounds of aggregates": (0.0, round_of_aggregate),
        "factor_own_blocks": (0.0, p**3 / 3),
        "solve_own_blocks": (2 * table, 2 * p**2),
        "held_out_score": (0.0, 4 * K + _LOG),
        "assign_to_centers": (0.0, 3 * K),
        "embed_rows": (2 * table + edges, around + _ROOT * K),
        "edge_attention": (table + edges + 8 * e, e * (5 * K + _LOG)),
        "add_gene_moments": (8 * z + table, 2 * K * z),
        "proportion_errors": (1.5 * table, K**3 + 2 * K**2),
    }


def needed(result: Result, work: Work, n_cells_nnz: int) -> dict[str, tuple[float, float]]:
    """Return the bytes and the operations that each stage cannot do without."""
    n, K = result.abundances.shape
    nnz, table = result.spatial.X.nnz, n * K * 8
    by_row = costs(result)
    # What is not done by kernels: reading, tables made anew, searching for neighbors.
    moved = Counter(
        {
            "checking and averaging the input": 3 * nnz * 8 + 3 * n_cells_nnz * 8,
            "linking neighbors": 16 * n + 12 * result.weights.nnz,
            "comparing spots": 3 * 3 * table,
            "measuring uncertainty": nnz * 8,
            "writing up": 3 * table,
        }
    )
    done = Counter(
        {
            "checking and averaging the input": 3 * nnz + 4 * n_cells_nnz,
            "linking neighbors": 8 * n * np.log2(n),
            "comparing spots": 3 * n * 2 * _ROOT * K,
            "measuring uncertainty": nnz,
            "writing up": 3 * n * K,
        }
    )
    for stage in HEADINGS:
        for kernel, (bytes_of, operations) in by_row.items():
            rows = work.rows(stage, kernel)
            # What is learned from fits in the cache.
            moved[stage] += 0 if stage == "learning" else rows * bytes_of
            done[stage] += rows * operations
    return {stage: (float(moved[stage]), float(done[stage])) for stage in HEADINGS}


@numba.njit(nogil=True)
def short_rows(M: Any, v: Any, n_rounds: int, out: Any) -> None:
    """Add multiples of rows of 20 numbers, four at a time: what the kernels do most of the time."""
    for r in range(n_rounds):
        for m in range(0, M.shape[0], 4):
            a, b, c, d = v[m] + r, v[m + 1] + r, v[m + 2] + r, v[m + 3] + r
            for k in range(M.shape[1]):
                out[k] += a * M[m, k] + b * M[m + 1, k] + c * M[m + 2, k] + d * M[m + 3, k]


def in_threads(job: Callable[[], Any], n_threads: int) -> float:
    """Return the shortest of five times in which every thread does the job once."""
    with ThreadPoolExecutor(n_threads) as pool:
        times = []
        for _ in range(5):
            start = time.perf_counter()
            for done in [pool.submit(job) for _ in range(n_threads)]:
                done.result()
            times.append(time.perf_counter() - start)
    return min(times)


def machine(n_threads: int) -> dict[str, float]:
    """Measure bytes a second of long sums, and operations a second of short rows and of matrix products."""
    length, n_rounds, side = 2**24, 200_000, 1200

    def triad() -> None:
        a, b, c = (np.ones(length) for _ in range(3))
        start = time.perf_counter()
        for _ in range(4):
            np.add(b, c, out=a)
        bandwidth.append(4 * 24 * length / (time.perf_counter() - start))

    def rows() -> None:
        short_rows(np.ones((20, 20)), np.ones(20), n_rounds, np.zeros(20))

    bandwidth: list[float] = []
    in_threads(triad, n_threads)
    short_rows(np.ones((4, 20)), np.ones(4), 1, np.zeros(20))
    square = np.ones((side, side))
    with threadpool_limits(1, "blas"):
        product = in_threads(lambda: square @ square, n_threads)
    return {
        "bytes": n_threads * float(np.median(bandwidth)),
        "short": n_threads * n_rounds * 2 * 400 / in_threads(rows, n_threads),
        "matrix": n_threads * 2 * side**3 / product,
    }


def table_of(
    needs: dict[str, tuple[float, float]], seconds: Counter[str], speed: dict[str, float]
) -> pd.DataFrame:
    """Set what is implied beside what was measured, stage by stage and for the whole."""
    rows = {
        name: (moved / 1e9, done / 1e9, max(moved / speed["bytes"], done / speed["short"]), seconds[name])
        for name, (moved, done) in needs.items()
    }
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["GB", "Gflop", "implied s", "measured s"])
    table.loc["whole"] = table.sum()
    table["measured / implied"] = table["measured s"] / table["implied s"]
    return table.rename_axis("stage")


def main() -> None:
    """Measure the machine and a fit, print the table, and put it on a page if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("n_bins", nargs="?", type=int, metavar="N", default=1_000_000)
    parser.add_argument(
        "--cache", type=Path, default=Path.home() / ".cache" / "napari-spotmix-benchmarks", metavar="FOLDER"
    )
    parser.add_argument("--page", type=Path, metavar="FILE")
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    for path in (1000, options.n_bins):
        spatial, reference = (anndata.read_h5ad(file) for file in simulated(path, options.cache))
        result, work = run(spatial, reference)  # the first run loads the kernels
    n_threads = len(os.sched_getaffinity(0))
    speed = machine(n_threads)
    table = table_of(needed(result, work, reference.X.nnz), work.seconds, speed)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    made = f"{options.n_bins:,} bins, {n_threads} threads, {date.today()}, commit {commit.stdout.strip()}"
    shown = [
        Table("roofline", made, table, digits=2),
        Table(
            "machine",
            "The machine",
            pd.DataFrame(
                {"": [speed["bytes"] / 1e9, speed["short"] / 1e9, speed["matrix"] / 1e9]},
                index=["memory, GB/s", "short rows, Gflop/s", "matrix products, Gflop/s"],
            ),
            digits=1,
        ),
    ]
    for one in shown:
        one.print()
    if options.page:
        fill(options.page, shown)
        note = re.compile(r"(<!-- made -->).*?(<!-- end -->)", re.DOTALL)
        text = options.page.read_text(encoding="utf-8")
        options.page.write_text(note.sub(rf"\g<1>\nMeasured on: {made}.\n\g<2>", text), encoding="utf-8")


if __name__ == "__main__":
    main()
