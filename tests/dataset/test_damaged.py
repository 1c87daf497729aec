"""What `spotmix check` says about damaged input: one clear message, soon, in little memory, no traceback.

All cases run in one process of its own, with a limit on its memory; each is timed alone, by the time that its
process has worked, since the machine may be busy.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest

from napari_spotmix.simulation.simulate import SimulatedTissue, simulate
from tests.dataset.pictures import lay_on_picture
from tests.io.layouts import Section, section, write_folder

if sys.platform != "win32":
    import resource

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of memory as on Linux")

SECONDS, BYTES = 5.0, 1 << 30

#: Runs every command in JSON on stdin, and prints exit code, text, seconds and peak of memory of each. The
#: first is not counted: it brings the imports, which `test_a_whole_process_is_in_time` times.
RUN = f"""
import contextlib, io, json, resource, sys, time, warnings
resource.setrlimit(resource.RLIMIT_DATA, ({BYTES}, {BYTES}))
warnings.simplefilter("error")
from napari_spotmix.cli import main

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))

def run(arguments):
    open("/proc/self/clear_refs", "w").write("5")
    out, code, start = io.StringIO(), 0, time.process_time()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            main(arguments)
        except SystemExit as end:
            code = end.code
    return dict(code=code, text=out.getvalue(), seconds=time.process_time() - start, bytes=peak())

given = json.load(sys.stdin)
json.dump({{name: run(arguments) for name, arguments in given.items()}}, sys.stdout)
"""


@dataclass
class Case:
    """A function that damages good data in a folder and returns what to check, and what is said about it."""

    name: str
    damage: Callable[[Path, SimulatedTissue], list[object]]
    words: str
    code: int = 2


def good(folder: Path, tissue: SimulatedTissue) -> list[object]:
    tissue.spatial.write_h5ad(folder / "spots.h5ad")
    tissue.reference.write_h5ad(folder / "cells.h5ad")
    return [folder / "spots.h5ad", folder / "cells.h5ad"]


def of_spots(change: Callable[[anndata.AnnData], object]) -> Callable[[Path, SimulatedTissue], list[object]]:
    def damage(folder: Path, tissue: SimulatedTissue) -> list[object]:
        spots = tissue.spatial.copy()
        return good(folder, tissue.__class__(change(spots) or spots, tissue.reference))

    return damage


def of_cells(change: Callable[[anndata.AnnData], object]) -> Callable[[Path, SimulatedTissue], list[object]]:
    def damage(folder: Path, tissue: SimulatedTissue) -> list[object]:
        cells = tissue.reference.copy()
        return good(folder, tissue.__class__(tissue.spatial, change(cells) or cells))

    return damage


def of_folder(
    change: Callable[[Path], object], **layout: object
) -> Callable[[Path, SimulatedTissue], list[object]]:
    """Damage a Space Ranger folder, whose genes the reference has too."""

    def damage(folder: Path, _: SimulatedTissue) -> list[object]:
        some = section(n_spots=40)
        outs = write_folder(folder / "outs", some, **layout)
        cells_of(some).write_h5ad(folder / "cells.h5ad")
        change(outs)
        return [outs, folder / "cells.h5ad"]

    return damage


def cells_of(some: Section) -> anndata.AnnData:
    counts = np.random.default_rng(1).poisson(3.0, (40, len(some.symbols))).astype(np.float32)
    counts[:20, :3] *= 9
    obs = pd.DataFrame({"cell_type": ["A"] * 20 + ["B"] * 20}, index=[f"cell{n}" for n in range(40)])
    var = pd.DataFrame(index=[f"Gene{n}" for n in range(len(some.symbols))])
    return anndata.AnnData(counts, obs=obs, var=var)


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def logged(spots: anndata.AnnData) -> None:
    spots.layers["counts"] = spots.X.copy()
    spots.X = spots.X.log1p()


def ensembl(cells: anndata.AnnData) -> None:
    cells.var_names = [f"ENSMUSG{n:011d}.{n % 7}" for n in range(cells.n_vars)]


def with_ids(folder: Path, tissue: SimulatedTissue) -> list[object]:
    spots, cells = tissue.spatial.copy(), tissue.reference.copy()
    spots.var["gene_ids"] = [f"ENSMUSG{n:011d}" for n in range(spots.n_vars)]
    ensembl(cells)
    return good(folder, SimulatedTissue(spots, cells[:, : spots.n_vars]))


def one_cell(cells: anndata.AnnData) -> anndata.AnnData:
    types = cells.obs["cell_type"].astype(str)
    rare = types == types.iloc[0]
    return cells[~rare | (rare.cumsum() == 1)].copy()


def without_coordinates(spots: anndata.AnnData) -> None:
    spots.obsm["spatial"][:3] = np.nan


def twice(spots: anndata.AnnData) -> None:
    names = spots.var_names.to_list()
    spots.var_names = [*names[:-2], *names[:2]]


def swapped(spots: anndata.AnnData) -> None:
    lay_on_picture(spots)
    spots.obsm["spatial"] = spots.obsm["spatial"][:, ::-1].copy()


def bomb(outs: Path) -> None:
    """Ten gigabytes of lines in a few megabytes: one megabyte, repeated."""
    header = b"%%MatrixMarket matrix coordinate integer general\n7 37 250\n"
    piece = gzip.compress(b"1 1 1\n" * (1 << 20))
    matrix = outs / "filtered_feature_bc_matrix" / "matrix.mtx.gz"
    with matrix.open("wb") as file:
        file.write(gzip.compress(header))
        for _ in range(1600):
            file.write(piece)


def h5_bomb(folder: Path, tissue: SimulatedTissue) -> list[object]:
    files = good(folder, tissue)
    with h5py.File(files[1], "a") as file:
        del file["X"]
        zeros = file.create_dataset(
            "X", (tissue.reference.n_obs, 1 << 30), "f4", chunks=(1, 1 << 20), compression=9
        )
        zeros.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    return files


def one_column(outs: Path) -> None:
    positions = outs / "spatial" / "tissue_positions.csv"
    positions.write_text("\n".join(line.split(",")[0] for line in positions.read_text().splitlines()[1:]))


def wrong_columns(outs: Path) -> None:
    positions = outs / "spatial" / "tissue_positions.csv"
    positions.write_text(positions.read_text().replace("pxl_row_in_fullres", "row"))


def no_gzip(outs: Path) -> None:
    (outs / "filtered_feature_bc_matrix" / "barcodes.tsv.gz").write_bytes(b"\x93\xfa\x01\xff no gzip")


def spaces(folder: Path, tissue: SimulatedTissue) -> list[object]:
    inside = folder / "Schnitt 1 – Lunge µ 肺"
    inside.mkdir()
    return good(inside, tissue)


def read_only(folder: Path, tissue: SimulatedTissue) -> list[object]:
    inside = folder / "locked"
    inside.mkdir()
    inside.chmod(0o500)
    # Root may write there too, but nobody may make files in /proc.
    return [
        *good(folder, tissue),
        "--output",
        Path("/proc/results") if os.geteuid() == 0 else inside / "results",
    ]


def of_2019(folder: Path, tissue: SimulatedTissue) -> list[object]:
    """As anndata 0.6 wrote it: tables as compound arrays, sparse matrices by other attributes."""
    files = good(folder, tissue)
    spots = tissue.spatial
    counts = spots.X.tocsr()
    with h5py.File(files[0], "w") as file:
        matrix = file.create_group("X")
        matrix.attrs.update({"h5sparse_format": b"csr", "h5sparse_shape": np.array(counts.shape)})
        for name in ("data", "indices", "indptr"):
            matrix[name] = getattr(counts, name)
        for name, index in (("obs", spots.obs_names), ("var", spots.var_names)):
            file[name] = np.array([(text.encode(),) for text in index], dtype=[("index", "S40")])
        xy = spots.obsm["spatial"][:, :2]
        file["obsm"] = np.array([(row,) for row in xy], dtype=[("spatial", "f8", (2,))])
    return files


def nothing(folder: Path, tissue: SimulatedTissue) -> list[object]:
    files = good(folder, tissue)
    (folder / "cells.h5ad").write_bytes(b"")
    return files


def loop(folder: Path, tissue: SimulatedTissue) -> list[object]:
    files = good(folder, tissue)
    (folder / "a").symlink_to(folder / "b")
    (folder / "b").symlink_to(folder / "a")
    return [folder / "a", files[1]]


def truncated(folder: Path, tissue: SimulatedTissue) -> list[object]:
    files = good(folder, tissue)
    cut_in_half(folder / "spots.h5ad")
    return files


CASES = [
    Case("truncated h5", truncated, "is truncated: it ends too early"),
    Case(
        "truncated h5 of a run",
        of_folder(lambda outs: cut_in_half(outs / "filtered_feature_bc_matrix.h5")),
        "`filtered_feature_bc_matrix.h5` is truncated",
    ),
    Case("wrong columns", of_folder(wrong_columns), "must have the columns 'pxl_row_in_fullres'"),
    Case("swapped x and y", of_spots(swapped), "but would be after this fix: swap x and y", code=0),
    Case("log-normalized counts", of_spots(logged), "looks log-normalized"),
    Case(
        "mouse against human",
        of_cells(lambda cells: setattr(cells, "var_names", cells.var_names.str.swapcase())),
        "The species seem to differ",
    ),
    Case("Ensembl against symbols", of_cells(ensembl), "The gene identifiers differ"),
    Case("Ensembl next to symbols", with_ids, "--fix spatial:genes=gene_ids --fix reference:no-versions"),
    Case(
        "duplicated genes",
        of_spots(twice),
        "2 gene names are found more than once",
        code=0,
    ),
    Case("a type with one cell", of_cells(one_cell), "Their proportions are unreliable", code=0),
    Case(
        "NaN coordinates",
        of_spots(without_coordinates),
        "3 of 150 spots are not estimated",
        code=0,
    ),
    Case("empty matrix", of_spots(lambda spots: setattr(spots, "X", spots.X * 0)), "holds no counts at all"),
    Case("no genes", of_spots(lambda spots: spots[:, :0].copy()), "is empty: 150 rows and 0 genes"),
    Case("gzip that is not gzip", of_folder(no_gzip, matrix="mtx.gz"), "is named .gz but not gzip"),
    Case("a zip bomb", of_folder(bomb, matrix="mtx.gz"), "must grow at most"),
    Case("a bomb in HDF5", h5_bomb, "`X` claims"),
    Case("a path with spaces and unicode", spaces, "No problems found.", code=0),
    Case("a read-only folder", read_only, "--output: cannot write to"),
    Case("a missing image", of_folder(lambda _: None, images=()), "No image of the tissue was found", code=0),
    Case("positions with 1 column", of_folder(one_column), "must have 6 columns"),
    Case("an h5ad of 2019's layout", of_2019, "was written by an old version of anndata", code=0),
    Case("a 0-byte file", nothing, "is named .h5ad but is not an HDF5 file: it is empty"),
    Case("a directory given for a file", lambda folder, tissue: [good(folder, tissue)[0], folder], "is no"),
    Case("a symlink loop", loop, "which does not exist or is a loop"),
]


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    tissue = simulate(n_spots=150, n_genes=120, n_cell_types=4, n_cells_per_type=20, random_state=1)
    commands = {}
    for number, case in enumerate(CASES):
        folder = tmp_path_factory.mktemp(f"case{number}")
        commands[case.name] = ["check", *map(str, case.damage(folder, tissue))]
    first = {"first": commands["a path with spaces and unicode"]}
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input=json.dumps(first | commands),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, object]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_damage_is_reported_soon_and_in_little_memory(case: Case, said: dict[str, dict[str, object]]) -> None:
    found = said[case.name]
    assert case.words in " ".join(str(found["text"]).split()), found["text"]
    assert found["code"] == case.code
    assert "Traceback" not in str(found["text"])
    assert float(str(found["seconds"])) < SECONDS
    assert int(str(found["bytes"])) < BYTES


def test_one_damage_gives_one_problem(said: dict[str, dict[str, object]]) -> None:
    refused = [case.name for case in CASES if case.code]
    assert [name for name in refused if "1 problem:" not in str(said[name]["text"])] == []


def test_a_whole_process_is_in_time(tmp_path: Path) -> None:
    (tmp_path / "cells.h5ad").write_bytes(b"")
    command = [sys.executable, "-m", "napari_spotmix.cli", "check", tmp_path / "cells.h5ad", tmp_path]
    before = worked()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert worked() - before < SECONDS
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def worked() -> float:
    """Return the seconds that ended processes of this one have worked."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
