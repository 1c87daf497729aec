"""The command ``spotmix``: its help, runs, refusals, signals, and the commands for a finished run."""

from __future__ import annotations

import csv
import hashlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_spotmix import (
    Cancelled,
    InputError,
    Parameters,
    deconvolve,
    read_reference,
    read_spatial,
    simulate,
)
from napari_spotmix.cli import _options, _run
from napari_spotmix.cli import main as run_main
from napari_spotmix.io import ReadOptions, recipe
from napari_spotmix.params import ParameterInfo, describe
from napari_spotmix.workflow import deconvolve as pipeline
from napari_spotmix.workflow.codegen import as_command, as_python
from napari_spotmix.workflow.recipe import spec_of_recipe
from napari_spotmix.workflow.rerun import plan_rerun
from napari_spotmix.workflow.run import run
from napari_spotmix.workflow.spec import RunSpec
from tests.cli.commands import command, fresh_process, spotmix, spotmix_process
from tests.clock import allowed
from tests.io.layouts import write_hd

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals and terminals as on Linux and macOS")
OUTPUTS = {"spatial.h5ad", "proportions.csv", "recipe.toml", "report.html"}
#: Never converges, so that there is time to cancel.
ENDLESS = (
    "--tolerance",
    "1e-14",
    "--max-sweeps",
    "100000000",
    "--n-outer-iterations",
    "100",
    "--lambda-c",
    "1000",
)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a simulated section and its reference; one type has a "/" in its name."""
    folder = tmp_path_factory.mktemp("sample")
    tissue = simulate(n_spots=120, n_genes=150, n_cell_types=4, n_cells_per_type=30, random_state=1)
    labels = tissue.reference.obs["cell_type"].astype(str)
    tissue.reference.obs["cell_type"] = labels.replace(labels.iloc[0], "odd/name").astype("category")
    tissue.spatial.write_h5ad(folder / "spots.h5ad")
    tissue.reference.write_h5ad(folder / "cells.h5ad")
    write_space_ranger(folder / "outs", tissue.spatial)
    return folder


def write_space_ranger(outs: Path, spatial: anndata.AnnData) -> None:
    """Write the matrix and the positions of a Space Ranger run."""
    (outs / "spatial").mkdir(parents=True)
    with h5py.File(outs / "filtered_feature_bc_matrix.h5", "w") as file:
        for name in ("data", "indices", "indptr"):
            file[f"matrix/{name}"] = getattr(spatial.X, name).astype(np.int64)
        file["matrix/shape"] = spatial.shape[::-1]
        file["matrix/barcodes"] = np.array(spatial.obs_names, "S")
        for name in ("id", "name"):
            file[f"matrix/features/{name}"] = np.array(spatial.var_names, "S")
        file["matrix/features/feature_type"] = np.array(["Gene Expression"] * spatial.n_vars, "S")
    x, y = spatial.obsm["spatial"].T
    places = pd.DataFrame({"in_tissue": 1, "row": 0, "column": 0, "y": y, "x": x}, index=spatial.obs_names)
    places.to_csv(outs / "spatial" / "tissue_positions_list.csv", header=False)


@pytest.fixture(scope="module")
def finished(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """The folder of a finished run, and what it said on stdout and stderr."""
    output = tmp_path_factory.mktemp("finished") / "new" / "results"
    files = (sample / "spots.h5ad", sample / "cells.h5ad")
    done = fresh_process("run", *files, "--output", output, "--seed", 3)
    assert done.returncode == 0, done.stderr
    return output, done.stdout, done.stderr


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


# --------------------------------------------------------------------------------------------- help


def test_help_names_the_commands_and_where_to_begin() -> None:
    done = fresh_process("--help")
    assert done.returncode == 0
    names = ("run", "rerun", "demo", "view", "figure", "report", "export", "New here?")
    assert all(word in done.stdout for word in names)


@pytest.mark.parametrize("name", ["run", "rerun", "demo", "view", "figure", "report", "export"])
def test_help_of_each_command_has_an_example(name: str) -> None:
    done = spotmix(name, "--help")
    assert done.returncode == 0
    assert "For example:" in done.stdout
    assert re.search(rf"^ *spotmix {name}", done.stdout.split("For example:")[1], re.MULTILINE)


def test_help_lists_every_parameter_with_its_default_and_bounds() -> None:
    text = spotmix("run", "--help", columns=400).stdout
    for info in describe():
        assert f"{_options.option_name(info.name)} " in text
        assert info.help in text
        if info.default is not None:
            assert f"[default: {info.default}]" in text
    assert "at least 1, at most 64" in text
    assert "--seed" in text
    assert "--random-state" not in text


def test_warm_up_says_when_runs_can_begin() -> None:
    run = spotmix("warm-up")
    assert run.returncode == 0
    assert run.stdout == "Ready: the first run starts at once.\n"


def test_version_is_that_of_the_package() -> None:
    from napari_spotmix import __version__

    assert fresh_process("--version").stdout.strip() == __version__


def another(info: ParameterInfo) -> object:
    """Return a value that is allowed and not the default."""
    if info.kind is bool:
        return not info.default
    if info.choices:
        return next(choice for choice in info.choices if choice != info.default)
    return info.kind(1 if info.default != 1 else 2)


def test_every_parameter_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way from words to `Parameters`, short of running."""
    wanted = {info.name: another(info) for info in describe()}
    assert not any(wanted[info.name] == info.default for info in describe())
    arguments: list[str] = []
    for name, value in wanted.items():
        option = _options.option_name(name)
        if isinstance(value, bool):
            arguments.append(option if value else option.replace("--", "--no-", 1))
        else:
            arguments += [option, str(value)]
    taken = taken_specs(monkeypatch)
    run_main(["run", "a", "b", "-o", "c", "--layer", "counts", "--cell-type-key", "label", *arguments])
    (spec,) = taken
    assert (spec.spatial, spec.reference, spec.output) == (Path("a"), Path("b"), Path("c"))
    assert spec.settings == {"cell_type_key": "label", "layer": "counts", "library_key": None}
    assert spec.parameters.as_dict() == wanted


def taken_specs(monkeypatch: pytest.MonkeyPatch) -> list[RunSpec]:
    """Return the list that gets the specs of runs, which are not run."""
    taken: list[RunSpec] = []
    monkeypatch.setattr(_run, "run_and_report", lambda spec, _: taken.append(spec))
    return taken


def test_parameters_that_are_not_given_keep_their_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = taken_specs(monkeypatch)
    run_main(["run", "a", "b", "-o", "c"])
    assert taken[0].parameters == Parameters()


# ------------------------------------------------------------------------------------------- running


def test_run_writes_its_files_and_says_where(finished: tuple[Path, str, str]) -> None:
    output, said, _ = finished
    assert files_in(output) == OUTPUTS
    assert all(str(output / name) in said for name in OUTPUTS)
    assert f"spotmix view {output}" in said


def test_stages_are_printed_on_stderr_only(finished: tuple[Path, str, str]) -> None:
    _, said, stages = finished
    for stage in ("Reading spots", "Reading reference", "Computing checksums", "Writing results"):
        assert stages.count(f"{stage} ...") == 1
        assert stage not in said


def test_proportions_have_spots_in_the_first_column_and_rows_that_sum_to_one(
    finished: tuple[Path, str, str], sample: Path
) -> None:
    with (finished[0] / "proportions.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header[0] == "spot"
    assert "odd/name" in header
    assert [row[0] for row in rows] == list(anndata.read_h5ad(sample / "spots.h5ad").obs_names)
    sums = [sum(map(float, row[1:])) for row in rows]
    assert np.allclose(sums, 1)


def test_written_spots_hold_the_result(finished: tuple[Path, str, str], sample: Path) -> None:
    adata = read_spatial(finished[0] / "spatial.h5ad")
    before = read_spatial(sample / "spots.h5ad")
    assert "odd/name" in adata.obsm["spotmix"]
    assert (adata.X != before.X).nnz == 0
    assert list(adata.uns["spatial"]) == list(before.uns["spatial"])
    assert set(adata.obs["spotmix_dominant"].cat.categories) == set(adata.obsm["spotmix"].columns)


def test_recipe_has_inputs_parameters_versions_and_seed(
    finished: tuple[Path, str, str], sample: Path
) -> None:
    recipe = tomllib.loads((finished[0] / "recipe.toml").read_text(encoding="utf-8"))
    for role, name in (("spatial", "spots.h5ad"), ("reference", "cells.h5ad")):
        (entry,) = recipe["inputs"][role]["files"]
        assert entry["name"] == name
        assert entry["sha256"] == hashlib.sha256((sample / name).read_bytes()).hexdigest()
    assert recipe["parameters"]["random_state"] == 3
    given = {"cell_type_key": "cell_type"} | Parameters(random_state=3).as_dict()
    # What was left open is not there, nor is the number of threads, which changes nothing.
    left_out = {key for key, value in given.items() if value is None} | {"n_threads"}
    assert recipe["parameters"] == {key: given[key] for key in given.keys() - left_out}
    assert recipe["learned"]
    assert recipe["versions"]["napari-spotmix"]


def test_spots_of_different_sections_have_no_edges(sample: Path, tmp_path: Path) -> None:
    spots = read_spatial(sample / "spots.h5ad")
    spots.obs["slice"] = np.where(
        spots.obsm["spatial"][:, 0] > np.median(spots.obsm["spatial"][:, 0]), "b", "a"
    )
    spots.write_h5ad(tmp_path / "spots.h5ad")
    done = spotmix(
        "run",
        tmp_path / "spots.h5ad",
        sample / "cells.h5ad",
        "-o",
        tmp_path / "out",
        "--library-key",
        "slice",
    )
    assert done.returncode == 0, done.stderr
    result = read_spatial(tmp_path / "out" / "spatial.h5ad")
    row, column = result.obsp["spotmix_connectivities"].nonzero()
    assert len(row) > 100
    assert (result.obs["slice"].to_numpy()[row] == result.obs["slice"].to_numpy()[column]).all()
    recipe = tomllib.loads((tmp_path / "out" / "recipe.toml").read_text(encoding="utf-8"))
    assert recipe["parameters"]["library_key"] == "slice"


def test_same_seed_gives_the_same_bytes(
    finished: tuple[Path, str, str], sample: Path, tmp_path: Path
) -> None:
    done = spotmix("run", sample / "spots.h5ad", sample / "cells.h5ad", "--output", tmp_path, "--seed", 3)
    assert done.returncode == 0, done.stderr
    for name in OUTPUTS:
        assert (tmp_path / name).read_bytes() == (finished[0] / name).read_bytes(), name


def test_threads_do_not_change_the_result(
    finished: tuple[Path, str, str], sample: Path, tmp_path: Path
) -> None:
    arguments = ("--output", tmp_path, "--seed", 3, "--threads", 1)
    assert spotmix("run", sample / "spots.h5ad", sample / "cells.h5ad", *arguments).returncode == 0
    name = "proportions.csv"
    assert (tmp_path / name).read_bytes() == (finished[0] / name).read_bytes()


@pytest.fixture
def every_file_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "LARGE_FILE", 0)


@pytest.mark.usefixtures("every_file_is_large")
@pytest.mark.parametrize("source", ["spots.h5ad", "outs"])
def test_large_files_give_the_same_result_and_are_closed_unchanged(
    sample: Path, tmp_path: Path, source: str
) -> None:
    given = sample / source
    expected = deconvolve(read_spatial(given), read_reference(sample / "cells.h5ad"))
    inputs = [sample / "cells.h5ad", given, *given.rglob("*")]
    before = {path: path.read_bytes() for path in inputs if path.is_file()}
    run(RunSpec(given, sample / "cells.h5ad", tmp_path / "out"))
    written = read_spatial(tmp_path / "out" / "spatial.h5ad")
    np.testing.assert_array_equal(written.obsm["spotmix"], expected.proportions)
    assert (written.X != read_spatial(given).X).nnz == 0
    assert before == {path: path.read_bytes() for path in before}
    assert_closed(given)
    assert_closed(sample / "cells.h5ad")


def test_labels_and_further_references_are_read_and_named_in_the_recipe(sample: Path, tmp_path: Path) -> None:
    cells = read_reference(sample / "cells.h5ad")
    table = tmp_path / "my labels.tsv"
    cells.obs["cell_type"].rename("kind").to_csv(table, sep="\t", index_label="cell")
    del cells.obs["cell_type"]
    for half, name in ((cells[::2], "odd.h5ad"), (cells[1::2], "even.h5ad")):
        half.copy().write_h5ad(tmp_path / name)
    arguments = ("--labels", table, "--more-references", tmp_path / "even.h5ad", "--output", tmp_path / "out")
    done = spotmix("run", sample / "spots.h5ad", tmp_path / "odd.h5ad", *arguments)
    assert done.returncode == 0, done.stderr
    assert "2 references were joined over their 150 shared genes" in done.stdout
    inputs = recipe.read_recipe(tmp_path / "out")["inputs"]
    assert {role: [file["name"] for file in entry["files"]] for role, entry in inputs.items()} == {
        "spatial": ["spots.h5ad"],
        "reference": ["odd.h5ad"],
        "reference_2": ["even.h5ad"],
        "labels": ["my labels.tsv"],
    }
    whole = pd.read_csv(tmp_path / "out" / "proportions.csv", index_col=0)
    assert "odd/name" in whole.columns
    again = spotmix("rerun", tmp_path / "out", "--output", tmp_path / "again")
    assert again.returncode == 0, again.stderr
    for name in ("proportions.csv", "recipe.toml"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
    spec = spec_of_recipe(recipe.read_recipe(tmp_path / "out"), tmp_path / "third")
    assert f"--labels '{table}' --more-references {tmp_path / 'even.h5ad'}" in as_command(spec)
    names = [str(tmp_path / "odd.h5ad"), str(tmp_path / "even.h5ad")]
    assert f"read_reference({names!r}, cell_type_key='cell_type', labels={str(table)!r})" in as_python(spec)


def test_cells_without_labels_name_the_option(sample: Path, tmp_path: Path) -> None:
    pd.DataFrame(np.ones((3, 2)), index=["g1", "g2", "g3"], columns=["ACGTACGTAA-1", "ACGTACGTCC-1"]).to_csv(
        tmp_path / "counts.csv"
    )
    done = spotmix("run", sample / "spots.h5ad", tmp_path / "counts.csv", "--output", tmp_path / "out")
    assert done.returncode == 2
    assert "holds cells without labels" in done.stderr
    assert "as --labels" in done.stderr
    assert "Traceback" not in done.stderr


def test_bins_of_a_size_and_an_image_that_is_given_are_read_and_named_in_the_recipe(
    tmp_path: Path,
) -> None:
    outs = write_hd(tmp_path / "outs", (8, 16), n_genes=60)
    pixels = np.random.default_rng(0).integers(0, 255, (160, 176, 3), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "full.tif", pixels, photometric="rgb")
    write_reference(tmp_path / "cells.h5ad", read_spatial(outs).var_names[:-1])
    done = spotmix(
        "run", outs, tmp_path / "cells.h5ad", "--output", tmp_path / "out",
        "--bin-um", 16, "--image", tmp_path / "full.tif", "--lambda-c", 0,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    written = read_spatial(tmp_path / "out" / "spatial.h5ad")
    assert written.n_obs == 78
    (library,) = written.uns["spatial"].values()
    assert np.array_equal(library["images"]["hires"], pixels)
    assert library["scalefactors"]["bin_size_um"] == 16
    written_recipe = tomllib.loads((tmp_path / "out" / "recipe.toml").read_text())
    inputs = written_recipe["inputs"]
    assert written_recipe["reading"] == {"bin_um": 16, "image": str(tmp_path / "full.tif")}
    assert all("16um" in file["name"] for file in inputs["spatial"]["files"])
    assert inputs["image"]["path"] == str(tmp_path / "full.tif")
    plan = plan_rerun(tmp_path / "out", output=tmp_path / "again")
    assert plan.spec.reading == ReadOptions(bin_um=16, image=tmp_path / "full.tif")
    again = spotmix("rerun", tmp_path / "out", "--output", tmp_path / "again")
    assert "identical to those of the first run" in again.stdout, again.stderr
    tifffile.imwrite(tmp_path / "full.tif", pixels[::-1], photometric="rgb")
    with pytest.raises(InputError, match=r"`image`: .*full.tif has changed since the run"):
        plan_rerun(tmp_path / "out")


def test_tables_are_read_with_coordinates_that_are_given_and_named_in_the_recipe(
    sample: Path, tmp_path: Path
) -> None:
    spots = read_spatial(sample / "spots.h5ad")
    (tmp_path / "elsewhere").mkdir()
    spots.to_df().to_csv(tmp_path / "counts.csv")
    xy = pd.DataFrame(spots.obsm["spatial"], spots.obs_names, ["x", "y"])
    xy.to_csv(tmp_path / "elsewhere" / "xy.csv")
    given = ("run", tmp_path / "counts.csv", sample / "cells.h5ad", "--output", tmp_path / "out")
    done = spotmix(*given)
    assert done.returncode == 2
    assert "name it as --coordinates" in " ".join(done.stderr.split())
    done = spotmix(*given, "--coordinates", tmp_path / "elsewhere" / "xy.csv", "--lambda-c", 0)
    assert done.returncode == 0, done.stderr
    assert "Spots are the rows of `counts.csv`" in " ".join(done.stdout.split())
    np.testing.assert_array_equal(read_spatial(tmp_path / "out" / "spatial.h5ad").obsm["spatial"], xy)
    inputs = tomllib.loads((tmp_path / "out" / "recipe.toml").read_text())["inputs"]
    names = {role: [file["name"] for file in entry["files"]] for role, entry in inputs.items()}
    assert names == {"spatial": ["counts.csv"], "reference": ["cells.h5ad"], "coordinates": ["xy.csv"]}
    spec = plan_rerun(tmp_path / "out").spec
    assert spec.coordinates == tmp_path / "elsewhere" / "xy.csv"


def write_reference(path: Path, genes: pd.Index) -> None:
    counts = np.random.default_rng(2).poisson(1.0, (40, len(genes))).astype(np.float32)
    counts[:20, : len(genes) // 2] += 3
    cells = anndata.AnnData(counts, var=pd.DataFrame(index=genes))
    cells.obs["cell_type"] = ["A"] * 20 + ["B"] * 20
    cells.write_h5ad(path)


def test_a_size_of_bins_and_an_image_that_are_missing_are_named_by_their_options(tmp_path: Path) -> None:
    outs = write_hd(tmp_path / "outs", (8, 16))
    write_reference(tmp_path / "cells.h5ad", read_spatial(outs).var_names[:-1])
    done = spotmix(
        "run", outs, tmp_path / "cells.h5ad", "--output", tmp_path / "out",
        "--bin-um", 2, "--image", tmp_path / "gone.tif",
    )  # fmt: skip
    assert done.returncode == 2
    message = " ".join(done.stderr.split())
    assert "--bin-um: bins of 2 µm were not found; the run has 8 and 16 µm." in message
    assert "--image: " in message
    assert "gone.tif` does not exist" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("every_file_is_large")
@pytest.mark.parametrize("error", [Cancelled(), InputError("no"), OSError("no space")])
def test_large_files_are_closed_whatever_happens(
    sample: Path, tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(pipeline, "deconvolve", fail)
    with pytest.raises(type(error)):
        run(RunSpec(sample / "spots.h5ad", sample / "cells.h5ad", tmp_path))
    assert_closed(sample / "spots.h5ad")
    assert_closed(sample / "cells.h5ad")


def assert_closed(path: Path) -> None:
    """HDF5 refuses to write to a file that is open for reading."""
    h5py.File(path if path.is_file() else path / "filtered_feature_bc_matrix.h5", "r+").close()


# --------------------------------------------------------------------------------------- wrong input


def test_everything_that_is_wrong_is_reported_at_once_with_exit_code_2(sample: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    arguments = ("--alpha", "-1", "--n-genes", "many", "--graph", "ring", "--cell-type-key", "kind")
    # Not in this process, where pydantic is loaded, with which cyclopts checks types by itself.
    done = spotmix_process(
        "run", tmp_path / "empty", sample / "cells.h5ad", "-o", tmp_path / "file" / "results", *arguments
    )
    assert done.returncode == 2
    assert done.stdout == ""
    for words in (
        "--alpha must be at least 0, found -1.0",
        "--n-genes must be a whole number, found 'many'",
        "--graph must be one of 'auto', 'hexagonal', 'square', 'knn', found 'ring'",
        "--output: cannot write to",
        "is not a Space Ranger output",
        "'kind' was not found in 'cell_type'",
    ):
        assert words in done.stderr
    assert "6 problems" in done.stderr
    assert "Traceback" not in done.stderr
    assert files_in(tmp_path) == {"file", "empty"}


def test_problems_inside_the_files_are_reported_with_those_of_the_parameters(
    sample: Path, tmp_path: Path
) -> None:
    arguments = ("--alpha", "-1", "--layer", "raw_counts", "-o", tmp_path / "results")
    done = spotmix("run", sample / "spots.h5ad", sample / "cells.h5ad", *arguments)
    assert done.returncode == 2
    assert "--alpha must be at least 0" in done.stderr
    assert "--layer: the spatial data has no layer 'raw_counts'" in done.stderr
    assert files_in(tmp_path) == set()


def test_messages_name_options_as_they_are_typed(sample: Path, tmp_path: Path) -> None:
    arguments = ("--layer", "raw_counts", "-o", tmp_path / "results")
    done = spotmix("run", sample / "spots.h5ad", sample / "cells.h5ad", *arguments)
    assert done.returncode == 2
    assert "Error: --layer: the spatial data has no layer 'raw_counts'" in done.stderr


@pytest.mark.parametrize("empty", [0, 1, 2])
def test_an_empty_path_is_not_the_current_folder(sample: Path, tmp_path: Path, empty: int) -> None:
    paths = [str(sample / "spots.h5ad"), str(sample / "cells.h5ad"), str(tmp_path / "results")]
    paths[empty] = ""
    done = spotmix("run", *paths[:2], "--output", paths[2], cwd=tmp_path)
    assert done.returncode == 2
    assert "the path is empty" in done.stderr
    assert files_in(tmp_path) == set()


def test_the_next_command_can_be_copied_though_the_folder_has_a_space(tmp_path: Path) -> None:
    output = tmp_path / "my results"
    last = _run._report("done", [], [], output).splitlines()[-1]
    assert shlex.split(last.partition(": ")[2]) == ["spotmix", "view", str(output)]


def test_a_truncated_file_is_named(sample: Path, tmp_path: Path) -> None:
    (tmp_path / "spots.h5ad").write_bytes((sample / "spots.h5ad").read_bytes()[:5000])
    done = spotmix("run", tmp_path / "spots.h5ad", sample / "cells.h5ad", "-o", tmp_path / "results")
    assert done.returncode == 2
    assert "`spots.h5ad` is truncated" in done.stderr
    assert files_in(tmp_path) == {"spots.h5ad"}


def test_counts_that_are_logarithms_are_refused(sample: Path, tmp_path: Path) -> None:
    adata = anndata.read_h5ad(sample / "spots.h5ad")
    adata.X = adata.X.log1p()
    adata.write_h5ad(tmp_path / "logged.h5ad")
    done = spotmix("run", tmp_path / "logged.h5ad", sample / "cells.h5ad", "-o", tmp_path / "results")
    assert done.returncode == 2
    assert "counts" in done.stderr
    assert "Traceback" not in done.stderr
    assert files_in(tmp_path) == {"logged.h5ad"}


def test_no_permission_to_write_is_reported_before_the_long_run(sample: Path) -> None:
    if not Path("/proc/self").is_dir():
        pytest.skip("needs a folder that not even root may write to")
    done = spotmix("run", sample / "spots.h5ad", sample / "cells.h5ad", "-o", "/proc/self/results")
    assert done.returncode == 2
    assert "--output: cannot write to /proc/self/results" in done.stderr
    assert "Computing checksums" not in done.stderr


def test_input_is_never_replaced_by_the_result(sample: Path, tmp_path: Path) -> None:
    content = (sample / "spots.h5ad").read_bytes()
    (tmp_path / "spatial.h5ad").write_bytes(content)
    done = spotmix("run", tmp_path / "spatial.h5ad", sample / "cells.h5ad", "-o", tmp_path)
    assert done.returncode == 2
    assert (tmp_path / "spatial.h5ad").read_bytes() == content


@pytest.mark.parametrize(
    "arguments", [["run"], ["run", "a", "b"], ["run", "a", "b", "-o", "c", "--frob", "1"], ["frob"]]
)
def test_misused_command_line_is_exit_code_2_on_stderr(arguments: list[str], tmp_path: Path) -> None:
    done = spotmix(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.strip()
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "spots.h5ad", "cells.h5ad", "-o", "out", "--gem-bin", "2.5"],
        ["run", "sheet.csv", "-o", "out", "--at-once", "1.5"],
        ["rerun", "out", "--threads", "2.5"],
    ],
)
def test_a_fraction_is_not_cut_to_a_whole_number(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        run_main(arguments)
    assert left.value.code == 2
    assert f"must be a whole number, found '{arguments[-1]}'" in " ".join(capsys.readouterr().err.split())


def test_control_characters_of_file_names_are_written_out(tmp_path: Path) -> None:
    done = spotmix("run", "a\x1b[31m", "b", "-o", tmp_path / "results")
    assert done.returncode == 2
    assert "\x1b" not in done.stderr
    assert r"a\x1b[31m" in done.stderr


# ---------------------------------------------------------------------------------------- cancelling


@pytest.fixture
def running(sample: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A run that never ends by itself, writing to ``tmp_path/results``."""
    files = (sample / "spots.h5ad", sample / "cells.h5ad")
    process = subprocess.Popen(
        command("run", *files, "-o", tmp_path / "results", *ENDLESS),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


def wait_for(process: subprocess.Popen[str], stage: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(stage):
            return
    pytest.fail(f"ended before it came to {stage!r}")


@POSIX
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("stage", ["Reading spots", "Solving"])
def test_signal_ends_the_run_at_once_and_leaves_nothing(
    running: subprocess.Popen[str], tmp_path: Path, number: int, code: int, stage: str
) -> None:
    wait_for(running, stage)
    if stage == "Solving":
        time.sleep(0.3)
    sent = time.monotonic()
    running.send_signal(number)
    assert running.wait(timeout=10) == code
    assert time.monotonic() - sent < allowed(1.0)
    assert running.stderr is not None
    assert "Cancelled. Nothing was written." in running.stderr.read()
    assert files_in(tmp_path) == set()


@POSIX
def test_work_that_does_not_answer_is_ended_with_its_unfinished_files(tmp_path: Path) -> None:
    """Compiled code or a large write cannot be interrupted; the process can."""
    code = """
import sys, time
from pathlib import Path
from napari_spotmix.cli import _terminal
from napari_spotmix.io.atomic import staging_folder

def work(_):
    with staging_folder(Path(sys.argv[1]) / "results") as stage:
        (stage / "half").write_text("x")
        print("stuck", flush=True)
        time.sleep(60)

_terminal.cancellable(work)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "stuck\n"
    assert len(files_in(tmp_path)) == 2
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 130
    assert time.monotonic() - sent < allowed(1.0)
    assert files_in(tmp_path) == set()


@POSIX
def test_terminal_shows_a_bar(sample: Path, tmp_path: Path) -> None:
    import pty

    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(
        command("run", sample / "spots.h5ad", sample / "cells.h5ad", "-o", tmp_path / "results"),
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=environment,
    )
    os.close(theirs)
    shown = bytearray()
    try:
        while chunk := os.read(ours, 4096):
            shown += chunk
    except OSError:
        pass  # Linux ends a terminal like this
    os.close(ours)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert "━".encode() in shown
    assert shown.rfind(b"\x1b[?25h") > shown.rfind(b"\x1b[?25l") >= 0  # the cursor is shown again


# ------------------------------------------------------------------------------------------- figure


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_figure_is_drawn_of_a_finished_run(
    finished: tuple[Path, str, str], tmp_path: Path, suffix: str
) -> None:
    output = tmp_path / f"odd{suffix}"
    done = spotmix("figure", finished[0], "--show", "odd/name", "--output", output)
    assert done.returncode == 0, done.stderr
    assert str(output) in done.stdout
    assert files_in(tmp_path) == {output.name}


def test_figure_shows_several_types_of_the_file_of_a_run(
    finished: tuple[Path, str, str], tmp_path: Path
) -> None:
    types = pd.read_csv(finished[0] / "proportions.csv", index_col=0).columns
    shown = [word for name in types[:3] for word in ("--show", name)]
    options = ("--region", 0, 0, 1e5, 1e5, "--dark", "--no-image", "--color-range", 0.3)
    options = (*options, "--output", tmp_path / "a.png")
    done = spotmix("figure", finished[0] / "spatial.h5ad", *shown, *options)
    assert done.returncode == 0, done.stderr
    assert files_in(tmp_path) == {"a.png"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--show", "dominnat", "--output", "a.png"), "--show: unknown cell type or map 'dominnat'"),
        (("--show", "dominant", "--output", "a.jpg"), "--output must end with .png, .svg or .pdf"),
        (("--show", "dominant", "--output", "no/a.png"), "does not exist. Create it first."),
        (("--show", "dominant", "--output", "a.png", "--opacity", "2"), "--opacity must be from 0 to 1"),
        (
            ("--show", "dominant", "-o", "a.png", "--color-range", "x"),
            "--color-range must be own, full, same",
        ),
        (
            ("--show", "dominant", "--output", "a.png", "--region", "1", "1", "0", "0"),
            "--region must be left",
        ),
    ],
)
def test_a_figure_that_cannot_be_drawn_is_refused_with_the_reason(
    finished: tuple[Path, str, str], tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    done = spotmix("figure", finished[0], *options, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not files_in(tmp_path)


def test_figure_of_what_holds_no_result_is_refused(sample: Path, tmp_path: Path) -> None:
    for path, said in ((tmp_path, "holds no `spatial.h5ad`"), (sample / "spots.h5ad", "no result of a run")):
        done = spotmix("figure", path, "--show", "dominant", "--output", tmp_path / "a.png")
        assert done.returncode == 2
        assert said in done.stderr
        assert "Traceback" not in done.stderr


# ------------------------------------------------------------------------------------------- report


def test_report_is_made_again_of_a_finished_run(finished: tuple[Path, str, str], tmp_path: Path) -> None:
    output = tmp_path / "odd.html"
    done = spotmix("report", finished[0], "--output", output)
    assert done.returncode == 0, done.stderr
    assert str(output) in done.stdout
    assert output.read_bytes() == (finished[0] / "report.html").read_bytes(), "as the run itself wrote it"
    assert files_in(tmp_path) == {output.name}


def test_report_of_what_holds_no_result_is_refused(sample: Path, tmp_path: Path) -> None:
    for path, said in ((tmp_path, "holds no `spatial.h5ad`"), (sample / "spots.h5ad", "no result of a run")):
        done = spotmix("report", path, "--output", tmp_path / "a.html")
        assert done.returncode == 2
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    assert not files_in(tmp_path)


def test_a_run_without_a_report_leaves_none(sample: Path, tmp_path: Path) -> None:
    parameters = Parameters(lambda_c=0.0)
    run(RunSpec(sample / "spots.h5ad", sample / "cells.h5ad", tmp_path, report=False, parameters=parameters))
    assert files_in(tmp_path) == OUTPUTS - {"report.html"}


@POSIX
def test_a_full_disk_is_reported_in_one_sentence(sample: Path, tmp_path: Path) -> None:
    """A limit on the size of files does what a full disk does, and needs no disk."""
    options = (sample / "spots.h5ad", sample / "cells.h5ad", "--output", tmp_path, "--lambda-c", 0)
    done = spotmix_process("run", *options, limits={"RLIMIT_FSIZE": 60 * 1024})
    assert done.returncode == 2, done.stderr
    errors = [line for line in done.stderr.splitlines() if not line.endswith(" ...")]
    assert errors == [f"Error: --output: writing to {tmp_path} failed (File too large). Nothing was kept."]
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------ demo and view


def test_view_of_what_is_no_run_is_refused(tmp_path: Path) -> None:
    done = spotmix("view", tmp_path)
    assert done.returncode == 2
    assert "is not the folder of a finished run" in done.stderr


def test_view_of_spots_without_a_result_is_refused_in_one_sentence(sample: Path, tmp_path: Path) -> None:
    spots = tmp_path / "spatial.h5ad"
    shutil.copy(sample / "spots.h5ad", spots)
    done = spotmix("view", spots)
    assert done.returncode == 2
    assert "holds spots, but no result of a run. Open the `spatial.h5ad` that" in done.stderr
    assert "problems" not in done.stderr


def test_demo_into_a_missing_folder_is_refused(tmp_path: Path) -> None:
    done = spotmix("demo", "--screenshot", tmp_path / "no" / "demo.png")
    assert done.returncode == 2
    assert "does not exist. Create it first." in done.stderr


def test_demo_onto_a_folder_is_refused(tmp_path: Path) -> None:
    done = spotmix("demo", "--screenshot", tmp_path)
    assert done.returncode == 2
    assert f"{tmp_path} is a folder" in done.stderr


def without(names: tuple[str, ...], *arguments: object) -> subprocess.CompletedProcess[str]:
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({names!r}))\n"
        f"from napari_spotmix.cli import main; main({[str(word) for word in arguments]!r})"
    )
    environment = {key: value for key, value in os.environ.items() if key not in DISPLAYS}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )


DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
QT = ("PyQt6", "PySide6", "PyQt5", "PySide2")


def test_missing_qt_is_reported_with_what_to_install(finished: tuple[Path, str, str]) -> None:
    for arguments in (("demo",), ("view", finished[0])):
        done = without(QT, *arguments)
        assert done.returncode == 2
        assert "napari-spotmix[all]" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux runs without a display")
@pytest.mark.viewer
def test_missing_display_is_reported_with_what_to_do() -> None:
    done = without((), "demo")
    assert done.returncode == 2
    assert "xvfb-run -a spotmix demo" in done.stderr


# ---------------------------------------------------------------------------------- what is imported


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["run", "outs", "-o", "out"], ["frob"]])
def test_help_and_refusals_import_nothing_heavy(arguments: list[str]) -> None:
    code = f"""
import sys
from napari_spotmix.cli import main
try:
    main({arguments!r})
except SystemExit:
    pass
heavy = {{"numpy", "pandas", "anndata", "scipy", "numba", "matplotlib", "napari", "qtpy", "cattrs"}}
print("loaded:", sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded: []"


def test_run_prints_what_was_fixed(sample: Path, tmp_path: Path) -> None:
    options = ("--fix", "spatial:flip-x", "--lambda-c", 0, "--no-report", "-o", tmp_path / "out")
    done = spotmix("run", sample / "spots.h5ad", sample / "cells.h5ad", *options)
    assert done.returncode == 0, done.stderr
    assert "  - Fixes applied before the run: spatial:flip-x. The files were not changed." in done.stdout


def test_a_path_that_no_system_takes_is_told_in_short(sample: Path, tmp_path: Path) -> None:
    done = spotmix("run", "x" * 5000, sample / "cells.h5ad", "--output", tmp_path / "out")
    assert done.returncode == 2
    assert len(done.stderr) < 1000
