"""Measure time and memory on simulated tissue and compare them with FlashDeconv.

    python benchmarks/speed.py [N ...] [--cache FOLDER] [--only spotmix]

Each N is a number of bins (default: 1000, 10000 and 100000). The tissue is a square grid with 20 cell types,
2,000 genes and about 300 counts per bin. It is simulated once and kept in the cache folder. Each method runs
with its defaults in a separate process, from a sparse AnnData in memory to proportions. The first run creates
an environment for FlashDeconv in the cache folder. See README.md in the same folder.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from textwrap import dedent

import numpy as np
import pandas as pd

PEER = ["flashdeconv==0.2.0", "anndata<0.13", "pandas<3"]
N_GENES, N_TYPES, COUNTS = 2000, 20, 300

#: Runs in a separate process: prints seconds, peak memory beyond imports and input, and the error.
MEASURE = """
    import json, resource, sys, time
    import anndata, numpy as np
    {imports}
    spatial, reference = (anndata.read_h5ad(path) for path in sys.argv[1:3])
    truth = spatial.obsm.pop("truth")
    spatial.obsm.pop("truth_rna", None)
    def kilobytes():
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    before, start = kilobytes(), time.perf_counter()
    {run}
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    error = float(np.sqrt(((proportions[truth.columns].to_numpy() - truth.to_numpy()) ** 2).mean()))
    print(json.dumps(dict(seconds=seconds, megabytes=(peak - before) / 1024, rmse=error)))
"""
METHODS = {
    "spotmix": (
        "from napari_spotmix import deconvolve",
        'proportions = deconvolve(spatial, reference, cell_type_key="cell_type").proportions',
    ),
    "flashdeconv": (
        "import flashdeconv",
        'flashdeconv.tl.deconvolve(spatial, reference, cell_type_key="cell_type"); '
        'proportions = spatial.obsm["flashdeconv"]',
    ),
}


def simulated(n_bins: int, cache: Path) -> tuple[Path, Path]:
    """Return the files of a simulated tissue and its reference; simulate them if they do not exist."""
    files = cache / f"tissue_{n_bins}.h5ad", cache / f"reference_{n_bins}.h5ad"
    if not all(path.exists() for path in files):
        from napari_spotmix import simulate

        tissue = simulate(
            n_spots=n_bins,
            n_genes=N_GENES,
            n_cell_types=N_TYPES,
            layout="square",
            counts_per_spot=COUNTS,
            image=False,
        )
        tissue.spatial.write_h5ad(files[0])
        tissue.reference.write_h5ad(files[1])
    return files


def python_of_peer(cache: Path) -> Path:
    """Return the interpreter of FlashDeconv's environment; create the environment if it does not exist."""
    python = cache / "peer" / "bin" / "python"
    if not python.exists():
        venv.create(cache / "peer", with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PEER], check=True)
    return python


def measured(method: str, python: Path, files: tuple[Path, Path]) -> dict[str, float]:
    """Run one method on one tissue in a fresh process."""
    imports, run = METHODS[method]
    code = dedent(MEASURE).format(imports=imports, run=run)
    done = subprocess.run(
        [python, "-W", "ignore", "-c", code, *files], capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def first_run_seconds(files: tuple[Path, Path]) -> float:
    """Return the additional seconds of a run that has to compile its kernels."""
    with tempfile.TemporaryDirectory() as empty:
        environment = os.environ | {"NUMBA_CACHE_DIR": empty}
        imports, run = METHODS["spotmix"]
        code = dedent(MEASURE).format(imports=imports, run=run)
        command = [sys.executable, "-W", "ignore", "-c", code, *files]
        first, second = (
            json.loads(
                subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
            )["seconds"]
            for _ in range(2)
        )
    return float(first - second)


def import_seconds() -> float:
    """Return the median time of a cold ``import napari_spotmix`` beyond that of Python itself."""

    def once(code: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - start

    return float(np.median([once("import napari_spotmix") - once("pass") for _ in range(5)]))


def table_of(sizes: list[int], methods: list[str], cache: Path) -> pd.DataFrame:
    """Measure each method at each size, one after the other."""
    rows = []
    for n_bins in sizes:
        files = simulated(n_bins, cache)
        for method in methods:
            python = Path(sys.executable) if method == "spotmix" else python_of_peer(cache)
            rows.append({"bins": n_bins, "method": method} | measured(method, python, files))
            print(f"{method}, {n_bins:,} bins: {rows[-1]['seconds']:.1f} s", file=sys.stderr)
    return pd.DataFrame(rows)


def with_ratios(table: pd.DataFrame) -> pd.DataFrame:
    """Add the time and memory of spotmix over those of FlashDeconv, on the rows of spotmix."""
    peer = table[table.method == "flashdeconv"].set_index("bins")
    ours = table.method == "spotmix"
    return table.assign(
        **{
            f"{column} / FlashDeconv": (table[column] / table.bins.map(peer[column])).where(ours)
            for column in ("seconds", "megabytes")
        }
    )


def growth(table: pd.DataFrame) -> str:
    """Return a sentence with the exponent of spotmix's time in the number of bins, from 10,000 bins on."""
    ours = table[(table.method == "spotmix") & (table.bins >= 10_000)].sort_values("bins")
    if len(ours) < 2:
        return "Growth: not computed. It needs two sizes of at least 10,000 bins."
    first, last = ours.iloc[0], ours.iloc[-1]
    power = np.log(last.seconds / first.seconds) / np.log(last.bins / first.bins)
    return f"Time of spotmix from {first.bins:,} to {last.bins:,} bins: grows as n^{power:.2f}."


def main() -> None:
    """Measure the requested sizes and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "sizes", nargs="*", type=int, metavar="N", default=[1000, 10_000, 100_000], help="bins"
    )
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path.home() / ".cache" / "napari-spotmix-benchmarks",
        metavar="FOLDER",
        help="folder of the simulated tissue and of FlashDeconv's environment",
    )
    parser.add_argument("--only", choices=METHODS, help="measure this method only")
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    methods = [options.only] if options.only else list(METHODS)
    smallest = simulated(min(options.sizes), options.cache)
    compiling = first_run_seconds(smallest)
    table = with_ratios(table_of(options.sizes, methods, options.cache))
    print(table.to_string(index=False, float_format=lambda value: f"{value:.3g}", na_rep=""))
    print(
        f"\n{growth(table)}\nseconds: from sparse counts in memory to proportions, with all parameters "
        f"learned. The first run compiles kernels, which takes {compiling:.0f} s more.\n"
        "megabytes: peak resident memory beyond imports and input.\n"
        f"`import napari_spotmix`: {import_seconds():.2f} s. Cores: {len(os.sched_getaffinity(0))}."
    )


if __name__ == "__main__":
    main()
