"""Measure time and memory of whole runs, and fit the estimate of `spotmix check`.

    python benchmarks/cost.py [DATA ...] [--cache FOLDER]

Runs `spotmix run` in separate processes, on simulated sections of several sizes and on each folder DATA that
holds `spatial.h5ad` and `reference.h5ad`. Fits the coefficients to the measurements and prints both, with the
prediction error for runs that were left out of the fit. The coefficients are stored in
`src/napari_spotmix/dataset/cost.py`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from napari_spotmix.dataset.access import labels
from napari_spotmix.dataset.cost import Size
from napari_spotmix.io import is_large, read_reference, read_spatial

#: A run that prints its peak memory, in kB, when it ends. (`getrusage` would report that of this process if
#: it is larger.)
RUN = """
import sys
from napari_spotmix.cli import main
main(sys.argv[1:])
with open("/proc/self/status") as status:
    print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""
#: Above this number the section has bins on a square grid, with fewer counts each.
LARGEST_IN_SPOTS = 50_000
#: Spots, genes and cell types of the simulated sections.
SIZES = [
    (300, 500, 6),
    (1_000, 2_000, 12),
    (3_000, 2_000, 6),
    (3_000, 6_000, 20),
    (8_000, 2_000, 12),
    (20_000, 1_000, 20),
    (40_000, 2_000, 8),
    (100_000, 2_000, 20),
    (1_000_000, 2_000, 20),
]


def main() -> None:
    """Measure every section, and print the measurements, the coefficients and the prediction error."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("data", nargs="*", type=Path, metavar="DATA", help="folders of more sections")
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path(tempfile.gettempdir()) / "spotmix-cost",
        metavar="FOLDER",
        help="folder of the simulated sections",
    )
    options = parser.parse_args()
    folders = [simulated(options.cache, *size) for size in SIZES] + options.data
    table = pd.DataFrame([measure(folder, options.cache) for folder in folders])
    print(table.to_string(index=False, float_format="%.4g"))
    for what in ("seconds", "megabytes"):
        features = np.array([getattr(Size(*row), what) for row in table[list(Size._fields)].to_numpy()])
        show_fit(what, features, table[what].to_numpy())


def simulated(cache: Path, n_spots: int, n_genes: int, n_types: int) -> Path:
    """Return the folder of a simulated section; simulate it if it does not exist."""
    from napari_spotmix import simulate

    folder = cache / f"{n_spots}-{n_genes}-{n_types}"
    if not (folder / "reference.h5ad").exists():
        layout: Any = {"layout": "square", "counts_per_spot": 300} if n_spots > LARGEST_IN_SPOTS else {}
        tissue = simulate(n_spots=n_spots, n_genes=n_genes, n_cell_types=n_types, image=False, **layout)
        folder.mkdir(parents=True, exist_ok=True)
        tissue.spatial.write_h5ad(folder / "spatial.h5ad")
        tissue.reference.write_h5ad(folder / "reference.h5ad")
    return folder


def measure(folder: Path, cache: Path) -> dict[str, object]:
    """Run twice, and return the size of the input with the cost of the faster run."""
    spatial, reference = folder / "spatial.h5ad", folder / "reference.h5ad"
    tissue, cells = read_spatial(spatial, backed=is_large(spatial)), read_reference(reference)
    n_types = len(labels(cells, "cell_type").categories)
    runs = [run_once(spatial, reference, cache) for _ in range(2)]  # the machine may be shared
    seconds, megabytes = min(runs)
    print(f"{folder.name}: {seconds:.1f} s, {megabytes:.0f} MB", file=sys.stderr, flush=True)
    size = Size.of(tissue, cells, n_types)
    return {"run": folder.name, **size._asdict(), "seconds": seconds, "megabytes": megabytes}


def run_once(spatial: Path, reference: Path, cache: Path) -> tuple[float, float]:
    """Return the seconds and peak megabytes of a whole run."""
    with tempfile.TemporaryDirectory(dir=cache) as output:
        start = time.perf_counter()
        command = [sys.executable, "-c", RUN, "run", spatial, reference, "--output", f"{output}/results"]
        done = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)
        return time.perf_counter() - start, int(done.stdout.split()[-1]) / 1024


def show_fit(what: str, features: np.ndarray, measured: np.ndarray) -> None:
    """Print the coefficients, and the prediction error for each run when it is left out of the fit."""
    print(f"\n{what}: {np.array2string(fitted(features, measured), precision=4)}")
    others = [np.arange(len(measured)) != one for one in range(len(measured))]
    guess = [float(row @ fitted(features[o], measured[o])) for row, o in zip(features, others, strict=True)]
    factor = np.exp(np.abs(np.log(np.array(guess) / measured)))
    print(
        f"left-out runs are predicted within a factor of {np.median(factor):.2f} (median), "
        f"{factor.max():.2f} (worst)"
    )
    print("predicted:", np.round(guess, 1).tolist())


def fitted(features: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Return the non-negative coefficients with the smallest relative error."""
    return np.asarray(nnls(features / measured[:, None], np.ones(len(measured)))[0])


if __name__ == "__main__":
    main()
