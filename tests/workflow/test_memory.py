"""How much memory a deconvolution takes beyond what it is given: blocks, never the matrix of counts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from anndata import AnnData

#: Spots, genes, and counts per spot: 416 MB as they lie in the file.
N_SPOTS, N_GENES, N_PER_SPOT = 8000, 8000, 6500
MATRIX_MB = N_SPOTS * N_PER_SPOT * 8 / 2**20

#: A small run before the one that is measured has all kernels loaded. Prints the peak and whether any kernel
#: was compiled, which takes memory too.
MEASURED = """
import sys
from numba.core import event
from napari_spotmix import deconvolve, read_reference, read_spatial

compiled = event.RecordingListener()
event.register("numba:compile", compiled)

def megabytes(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name)) / 1024

large = sys.argv[3]
spatial = read_spatial(sys.argv[1], backed=large == "spatial")
reference = read_reference(sys.argv[2], backed=large == "reference")
settings = {"n_genes": 0, "lambda_c": 1.0, "alpha": 0.3, "attention": False, "cell_variation": 0.0,
            "lambda_r": 0.0, "overdispersion": 0.0, "platform_effect": "on", "residuals": "counts",
            "n_outer_iterations": 1}  # nothing is learned, which would take some spots into memory
if large == "spatial":
    deconvolve(spatial[:50].to_memory(), reference, **settings)
else:
    deconvolve(spatial, reference[::67].to_memory(), **settings)
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # forget the peak so far
before = megabytes("VmRSS")
result = deconvolve(spatial, reference, **settings)
assert result.proportions.notna().all(axis=None)
print(megabytes("VmHWM") - before, len(compiled.buffer))
"""


def write_large(path: Path) -> None:
    """Write counts that repeat every hundred spots or cells, without ever holding all of them."""
    y, x = np.divmod(np.arange(N_SPOTS), 100)
    spots = AnnData(shape=(N_SPOTS, N_GENES), obsm={"spatial": np.column_stack([x, y]) * 10.0})
    spots.obs["cell_type"] = np.array(list("abc"))[x * 3 // 100]
    spots.write_h5ad(path)
    n_entries, n_repeated = N_SPOTS * N_PER_SPOT, 100 * N_PER_SPOT
    counts = np.random.default_rng(0).poisson(2.0, n_repeated).astype(np.float32) + 1
    columns = np.tile(np.arange(N_PER_SPOT, dtype=np.int32), 100)
    with h5py.File(path, "a") as file:
        group = file.create_group("X")
        group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
        group.attrs["shape"] = (N_SPOTS, N_GENES)
        group["indptr"] = np.arange(N_SPOTS + 1) * N_PER_SPOT
        data = group.create_dataset("data", (n_entries,), np.float32)
        indices = group.create_dataset("indices", (n_entries,), np.int32)
        for start in range(0, n_entries, n_repeated):
            data[start : start + n_repeated], indices[start : start + n_repeated] = counts, columns


def write_small(path: Path) -> None:
    cells = AnnData(np.random.default_rng(1).poisson(3.0, (12, N_GENES)).astype(np.float32))
    cells.obsm["spatial"] = np.stack(np.divmod(np.arange(12), 4), axis=1) * 10.0
    cells.obs["cell_type"] = list("abc") * 4
    cells.write_h5ad(path)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak of memory from /proc")
@pytest.mark.parametrize("large", ["spatial", "reference"])
def test_counts_on_disk_are_never_held_in_memory(tmp_path: Path, large: str) -> None:
    files = {name: tmp_path / f"{name}.h5ad" for name in ("spatial", "reference")}
    for name, path in files.items():
        (write_large if name == large else write_small)(path)
    command = [sys.executable, "-c", MEASURED, *map(str, files.values()), large]
    # The first process compiles what is not on disk yet; then only the next one counts.
    for _ in range(2):
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        if printed[1] == "0":
            break
    peak_mb = float(printed[0])
    files[large].unlink()  # pytest keeps its folders for a while
    assert MATRIX_MB > 390
    assert peak_mb < 0.4 * MATRIX_MB
