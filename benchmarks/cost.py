"""What a run costs: seconds and memory of whole runs, and the model of them that `spotmix check` tells by.

    python benchmarks/cost.py [DATA ...] [--cache FOLDER]

Runs `spotmix run` in processes of their own, on simulated sections of several sizes and on each folder DATA
that holds `spatial.h5ad` and `reference.h5ad`; fits the model to what was measured; prints both, with the
error of the prediction for runs that the model was not fitted to. Put the numbers into `cost.py`.
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

#: A run that prints, at its end, the most memory that it has had, in kB. (Not by `getrusage`, which would
#: tell that of this process where it is larger.)
RUN = """
import sys
from napari_spotmix.cli import main
main(sys.argv[1:])
with open("/proc/self/status") as status:
    print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""
#: More than so many are bins on a square grid, with fewer counts each.
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
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("data", nargs="*", type=Path)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "spotmix-cost")
    given = parser.parse_args()
    folders = [simulated(given.cache, *size) for size in SIZES] + given.data
    table = pd.DataFrame([measure(folder, given.cache) for folder in folders])
    print(table.to_string(index=False, float_format="%.4g"))
    for what in ("seconds", "megabytes"):
        features = np.array([getattr(Size(*row), what) for row in table[list(Size._fields)].to_numpy()])
        tell(what, features, table[what].to_numpy())


def simulated(cache: Path, n_spots: int, n_genes: int, n_types: int) -> Path:
    """Return the folder of a simulated section, made where it is not there yet."""
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
    """Run once, and return the size of the input with the cost of the run."""
    spatial, reference = folder / "spatial.h5ad", folder / "reference.h5ad"
    tissue, cells = read_spatial(spatial, backed=is_large(spatial)), read_reference(reference)
    n_types = len(labels(cells, "cell_type").categories)
    runs = [run_once(spatial, reference, cache) for _ in range(2)]  # the faster one: others may be at work
    seconds, megabytes = min(runs)
    print(f"{folder.name}: {seconds:.1f} s, {megabytes:.0f} MB", file=sys.stderr, flush=True)
    size = Size.of(tissue, cells, n_types)
    return {"run": folder.name, **size._asdict(), "seconds": seconds, "megabytes": megabytes}


def run_once(spatial: Path, reference: Path, cache: Path) -> tuple[float, float]:
    """Return seconds and megabytes of a whole run."""
    with tempfile.TemporaryDirectory(dir=cache) as output:
        start = time.perf_counter()
        command = [sys.executable, "-c", RUN, "run", spatial, reference, "--output", f"{output}/results"]
        done = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)
        return time.perf_counter() - start, int(done.stdout.split()[-1]) / 1024


def tell(what: str, features: np.ndarray, measured: np.ndarray) -> None:
    """Print the coefficients, and by how much runs are missed that were left out of the fit."""
    print(f"\n{what}: {np.array2string(fitted(features, measured), precision=4)}")
    others = [np.arange(len(measured)) != one for one in range(len(measured))]
    guess = [float(row @ fitted(features[o], measured[o])) for row, o in zip(features, others, strict=True)]
    factor = np.exp(np.abs(np.log(np.array(guess) / measured)))
    print(
        f"left out, predicted within a factor of {np.median(factor):.2f} (median), {factor.max():.2f} (worst)"
    )
    print("predicted:", np.round(guess, 1).tolist())


def fitted(features: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Return coefficients of least relative error, none of them negative."""
    return np.asarray(nnls(features / measured[:, None], np.ones(len(measured)))[0])


if __name__ == "__main__":
    main()
