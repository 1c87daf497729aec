"""What the machine would need at the least for each stage of a fit, beside the time that was measured.

    python benchmarks/roofline.py [N] [--cache FOLDER] [--page FILE]

N is a number of bins of the simulated tissue of speed.py (by default 1,000,000). Bytes and operations that
a stage cannot do without are counted from the sizes of the problem and from the sweeps that were really made;
the machine's bandwidth and speed are measured in the same run, with as many threads as the fit uses.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anndata
import numba
import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from napari_spotmix import Result, deconvolve
from napari_spotmix.core import heldout, model, multigrid
from napari_spotmix.progress import Progress
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
    "linking neighbours": ("Linking",),
    "reducing counts": ("Weighing genes", "Reducing counts"),
    "solving": ("Solving",),
    "learning": ("Learning", "Comparing cells"),
    "comparing spots": ("Comparing spots",),
    "measuring how sure": ("Comparing genes", "Comparing patches", "Measuring"),
    "writing up": ("Writing up",),
}
_LOG, _ROOT = 20, 10


@dataclass
class Work:
    """Sweeps over spots that a fit has made, counted while it runs, and the time of each stage."""

    solves: list[tuple[float, int]] = field(default_factory=list)
    learning_rows: float = 0.0
    learning_products: int = 0
    losses: int = 0
    seconds: Counter[str] = field(default_factory=Counter)


@contextmanager
def counted(work: Work) -> Iterator[None]:
    """Let the solver's calls be counted: in the fit itself, and in learning."""
    solve, products, loss = model.solve, multigrid.Level.hessian_times, heldout.HeldOutGenes._loss
    is_learning = False
    largest = model._LEARNING_SPOTS

    def in_fit(statistics: Any, *given: Any, **options: Any) -> Any:
        found = solve(statistics, *given, **options)
        work.solves.append((found.n_sweeps, len(found.history)))
        return found

    def in_learning(statistics: Any, *given: Any, **options: Any) -> Any:
        found = solve(statistics, *given, **options)
        work.learning_rows += found.n_sweeps * statistics.n_spots
        return found

    def product(level: Any, X: Any, *given: Any) -> Any:
        if is_learning and len(X) <= largest:
            work.learning_products += len(X)
        return products(level, X, *given)

    def judged(genes: Any, *given: Any) -> Any:
        nonlocal is_learning
        is_learning = True
        work.losses += 1
        return loss(genes, *given)

    model.solve, heldout.solve = in_fit, in_learning
    multigrid.Level.hessian_times, heldout.HeldOutGenes._loss = product, judged
    try:
        yield
    finally:
        model.solve = heldout.solve = solve
        multigrid.Level.hessian_times, heldout.HeldOutGenes._loss = products, loss


def run(spatial: anndata.AnnData, reference: anndata.AnnData) -> tuple[Result, Work]:
    """Fit once with the defaults; time goes to the stage that was announced last."""
    work, last = Work(), ["start", time.perf_counter()]

    def tell(progress: Progress) -> None:
        now = time.perf_counter()
        work.seconds[heading(last[0])] += now - last[1]
        last[:] = [progress.stage, now]

    with counted(work):
        result = deconvolve(spatial, reference, cell_type_key="cell_type", on_progress=tell)
    work.seconds[heading(last[0])] += time.perf_counter() - last[1]
    return result, work


def heading(stage: str) -> str:
    """Return the heading in the table for a stage of the progress bar."""
    by_length = sorted(
        ((begin, name) for name, begins in HEADINGS.items() for begin in begins),
        key=lambda pair: -len(pair[0]),
    )
    return next(name for begin, name in by_length if stage.startswith(begin))


def needed(result: Result, work: Work, n_cells_nnz: int) -> dict[str, tuple[float, float]]:
    """Return the bytes and the operations that each stage cannot do without.

    An entry of sparse counts has 8 bytes, an edge 12, an abundance 8. A multiplication and an addition are
    two operations, a division or a root counts as ten and a logarithm or exponential as twenty.
    """
    n, K = result.abundances.shape
    nnz, edges = result.spatial.X.nnz, result.weights.nnz
    present = float((result.abundances.to_numpy() > 0).sum() / n)
    n_archetypes = len(result.problem.statistics.gram)
    n_fits, table = len(work.solves), n * K * 8
    around, own = 2 * K * edges / n, 2 * K * present
    # A sweep finds each spot's gradient and violation, and improves it by one round over its types.
    violation = (5 + _ROOT) * K
    sweep = around + 2 * (own + violation)
    exact = present**3 / 3 + 2 * present**2
    sweeps, cycles = (sum(values) for values in zip(*work.solves, strict=True))
    patch_nnz = nnz * min(model._LEARNING_SPOTS / n, 1.0)
    return {
        "checking and averaging the input": (3 * nnz * 8 + 3 * n_cells_nnz * 8, 3 * nnz + 4 * n_cells_nnz),
        "linking neighbours": (16 * n + 12 * edges, 8 * n * np.log2(n)),
        "reducing counts": (n_fits * (8 * nnz + table), n_fits * 2 * K * nnz),
        "solving": (
            sweeps * (3 * table + 12 * edges) + cycles * (2 * table + 12 * edges),
            n * (sweeps * sweep + cycles * (around + own + violation) + n_fits * exact),
        ),
        "learning": (
            0.0,
            work.learning_rows * sweep
            + work.learning_products * (around + own + 2 * present**2)
            + work.losses * patch_nnz / model._FOLDS * (4 * K + _LOG),
        ),
        "comparing spots": (
            (n_fits - 1) * (6 * table + 32 * edges),
            (n_fits - 1) * (n * (3 * K * n_archetypes + 2 * _ROOT * K) + edges * (5 * K + _LOG)),
        ),
        "measuring how sure": (2 * nnz * 8 + 2 * table, n * (K**3 + 2 * K**2) + nnz),
        "writing up": (3 * table, 3 * n * K),
    }


@numba.njit(nogil=True)
def short_rows(M: Any, v: Any, n_rounds: int, out: Any) -> None:
    """Add multiples of rows of 20 numbers: what the kernels do most of the time."""
    for r in range(n_rounds):
        for m in range(M.shape[0]):
            value = v[m] + r
            for k in range(M.shape[1]):
                out[k] += value * M[m, k]


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
    short_rows(np.ones((2, 20)), np.ones(2), 1, np.zeros(20))
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
    title = f"{options.n_bins:,} bins, {n_threads} threads"
    shown = [
        Table("roofline", title, table, digits=2),
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


if __name__ == "__main__":
    main()
