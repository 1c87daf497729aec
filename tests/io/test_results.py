"""Results out: all or nothing, the same bytes each time, and nothing of anybody else's touched."""

from __future__ import annotations

import csv
import hashlib
import os
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from napari_spotmix import Cancelled, InputError, ReadError, read_spatial
from napari_spotmix.base.progress import Progress
from napari_spotmix.base.unfinished import discard_unfinished
from napari_spotmix.io import (
    OUTPUTS,
    atomic,
    check_complete,
    check_writable,
    checksums,
    make_recipe,
    output_problems,
    read_recipe,
    results,
    write_outputs,
)
from tests.io.layouts import section, write_folder

RECIPE = make_recipe({}, {"given": {"alpha": 0.3}, "versions": {"numpy": "2"}})


@pytest.fixture
def outs(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "outs", section())


@pytest.fixture
def adata(outs: Path) -> anndata.AnnData:
    return read_spatial(outs)


@pytest.fixture
def proportions(adata: anndata.AnnData) -> pd.DataFrame:
    values = np.random.default_rng(0).dirichlet([1, 1, 1], adata.n_obs)
    values[2] = np.nan
    return pd.DataFrame(values, index=adata.obs_names, columns=["B", "NK/T", 'odd, "name"'])


def write(directory: Path, adata: anndata.AnnData, proportions: pd.DataFrame, **options) -> list[Path]:
    return write_outputs(directory, adata=adata, proportions=proportions, recipe=RECIPE, **options)


def everything_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_three_files_are_written_into_a_new_folder(tmp_path, adata, proportions):
    written = write(tmp_path / "a" / "b", adata, proportions)
    assert [path.name for path in written] == list(OUTPUTS)
    assert everything_in(tmp_path / "a") == {"b", *(f"b/{name}" for name in OUTPUTS)}


def test_csv_has_spots_in_its_first_column_and_every_digit(tmp_path, adata, proportions):
    write(tmp_path / "a", adata, proportions)
    with (tmp_path / "a" / "proportions.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["spot", "B", "NK/T", 'odd, "name"']
    assert [row[0] for row in rows[1:]] == list(adata.obs_names)
    assert rows[3][1:] == ["", "", ""]
    assert [float(cell) for cell in rows[1][1:]] == proportions.iloc[0].tolist()


@pytest.mark.parametrize("n_types", [1, 3])
def test_csv_keeps_odd_names_and_numbers(tmp_path, n_types, monkeypatch):
    monkeypatch.setattr(results, "_BATCH", 3)
    names = ["plain", "a,b", 'say "T"', "two\nlines", "cr\rlf", "ünïcode 🧬", "=1+1", ""]
    values = np.full((len(names), n_types), 1 / 3)
    values[:5, 0] = [0.0, 1.0, 5e-324, 0.1 + 0.2, 1e-17]
    values[6] = np.nan
    table = pd.DataFrame(values, index=names, columns=["T <b>", "B", "x"][:n_types])
    sha = results._write_proportions(table, tmp_path / "a.csv", lambda: None)
    assert sha == hashlib.sha256((tmp_path / "a.csv").read_bytes()).hexdigest()
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["spot", *table.columns]
    assert [row[0] for row in rows] == names
    found = np.array([[float(cell or "nan") for cell in row[1:]] for row in rows])
    np.testing.assert_array_equal(found, values)


def test_spots_can_be_opened_again(tmp_path, adata, proportions):
    adata.obsm["spotmix"] = proportions
    write(tmp_path / "a", adata, proportions)
    again = read_spatial(tmp_path / "a" / "spatial.h5ad")
    pd.testing.assert_frame_equal(again.obsm["spotmix"], proportions, check_index_type=False)


def test_two_runs_give_the_same_bytes(tmp_path, adata, proportions):
    for name in ("a", "b"):
        write(tmp_path / name, adata, proportions)
    for name in OUTPUTS:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_a_profiler_that_looks_on_changes_no_byte(tmp_path, adata, proportions):
    """It holds frames, and so their datasets, longer than they last: as the one in each worker of Dask."""
    adata.obsm["shares"] = proportions
    adata.uns["many"] = {f"number {n}": np.arange(n) for n in range(100)}
    write(tmp_path / "alone", adata, proportions)
    is_done = threading.Event()
    profiler = threading.Thread(target=hold_frames, args=(is_done,))
    profiler.start()
    for name in "abc":
        write(tmp_path / name, adata, proportions)
    is_done.set()
    profiler.join()
    files = [tmp_path / name / "spatial.h5ad" for name in ("alone", *"abc")]
    assert len({file.read_bytes() for file in files}) == 1


def hold_frames(is_done: threading.Event) -> None:
    while not is_done.is_set():
        frames = sys._current_frames()
        is_done.wait(0.002)
        del frames


def test_other_files_are_kept_and_earlier_results_replaced(tmp_path, adata, proportions):
    directory = tmp_path / "results"
    directory.mkdir()
    (directory / "notes.txt").write_text("mine")
    write(directory, adata, proportions)
    write(directory, adata, proportions * 0)
    assert everything_in(directory) == {"notes.txt", *OUTPUTS}
    assert (directory / "notes.txt").read_text() == "mine"
    assert pd.read_csv(directory / "proportions.csv", index_col=0).max().max() == 0


@pytest.mark.parametrize("step", [0, 1, 2, 3])
@pytest.mark.parametrize("exists", [True, False])
def test_cancelled_leaves_nothing_behind(tmp_path, adata, proportions, step, exists):
    base = tmp_path / "base"
    base.mkdir()
    if exists:
        (base / "results").mkdir()
    before = everything_in(base)

    def cancel(progress: Progress) -> None:
        if progress.step == step:
            raise Cancelled

    with pytest.raises(Cancelled):
        write(base / "results", adata, proportions, on_progress=cancel)
    assert everything_in(base) == before


def test_error_leaves_nothing_behind(tmp_path, adata, proportions):
    adata.uns["strange"] = object()
    with pytest.raises(Exception, match="strange"):
        write(tmp_path / "results", adata, proportions)
    assert [path.name for path in tmp_path.iterdir()] == ["outs"]


def test_unfinished_files_can_be_removed_by_a_process_that_ends(tmp_path, adata, proportions):
    base = tmp_path / "base"
    base.mkdir()
    found: list[set[str]] = []

    def end(progress: Progress) -> None:
        if progress.step == 2:
            found.append(everything_in(base))
            discard_unfinished()
            found.append(everything_in(base))
            raise Cancelled

    with pytest.raises(Cancelled):
        write(base / "results", adata, proportions, on_progress=end)
    assert any(name.endswith("proportions.csv") for name in found[0])
    assert found[1] == set()


def test_only_files_of_dead_processes_of_this_machine_are_removed(tmp_path, adata, proportions):
    ended = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True
    )
    here, dead = atomic._host(), ended.stdout.strip()
    names = {
        "alive": f".spotmix-{here}-{os.getpid()}-abc",
        "elsewhere": f".spotmix-{here}x-{dead}-abc",
        "mine": ".spotmix-notes",
        "dead": f".spotmix-{here}-{dead}-abc",
    }
    with subprocess.Popen([sys.executable, "-c", ""]) as orphan:
        # It has ended, but nobody has asked for its end: in a container nobody may ever do.
        os.waitid(os.P_PID, orphan.pid, os.WEXITED | os.WNOWAIT)
        names["not asked for"] = f".spotmix-{here}-{orphan.pid}-abc"
        for name in names.values():
            (tmp_path / name).mkdir()
        write(tmp_path / "results", adata, proportions)
    left = {key for key, name in names.items() if (tmp_path / name).exists()}
    assert left == {"alive", "elsewhere", "mine"}


def test_files_of_two_runs_are_refused(tmp_path, adata, proportions):
    write(tmp_path / "a", adata, proportions)
    write(tmp_path / "b", adata, proportions * 0.5)
    check_complete(tmp_path / "a")
    (tmp_path / "b" / "recipe.toml").replace(tmp_path / "a" / "recipe.toml")
    with pytest.raises(ReadError, match=r"is from another run than `recipe\.toml`"):
        check_complete(tmp_path / "a")
    (tmp_path / "a" / "spatial.h5ad").unlink()
    with pytest.raises(ReadError, match="is missing: a run was killed"):
        check_complete(tmp_path / "a")


def test_a_file_that_another_program_has_written_again_is_still_opened(tmp_path, adata, proportions):
    adata.var_names_make_unique()
    write(tmp_path / "a", adata, proportions)
    changed = anndata.read_h5ad(tmp_path / "a" / "spatial.h5ad")
    changed.obs["mine"] = 1
    changed.write_h5ad(tmp_path / "a" / "spatial.h5ad")
    check_complete(tmp_path / "a")


# -------------------------------------------------------------------------- where one may not write


def test_new_and_nested_folders_may_be_written_to(tmp_path):
    check_writable(tmp_path / "a" / "b" / "c")
    assert everything_in(tmp_path) == set()


def test_folder_below_a_file_is_refused_before_anything_runs(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"because .*file is a file"):
        check_writable(tmp_path / "file" / "results")
    with pytest.raises(InputError, match=r"because .*file is a file"):
        check_writable(tmp_path / "file")


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that not even root may write to")
def test_folder_without_permission_is_refused():
    with pytest.raises(InputError, match=r"cannot write to /proc/self/results \("):
        check_writable("/proc/self/results")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions do not bind root")
def test_read_only_folder_is_refused(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o555)
    with pytest.raises(InputError, match="Permission denied"):
        check_writable(tmp_path / "locked" / "results")


def test_inputs_are_never_replaced(tmp_path, adata):
    adata.write_h5ad(tmp_path / "spatial.h5ad", convert_strings_to_categoricals=False)
    (problem,) = output_problems(tmp_path, {"spatial": tmp_path / "spatial.h5ad"})
    assert "is the input `spatial` and is not overwritten" in problem


def test_inputs_are_known_through_links(tmp_path, adata):
    adata.write_h5ad(tmp_path / "spatial.h5ad", convert_strings_to_categoricals=False)
    (tmp_path / "link.h5ad").symlink_to(tmp_path / "spatial.h5ad")
    assert output_problems(tmp_path, {"spatial": tmp_path / "link.h5ad"})


def test_files_of_the_same_name_that_no_run_made_are_kept(tmp_path):
    (tmp_path / "proportions.csv").write_text("of somebody else")
    with pytest.raises(InputError, match="not made by an earlier run"):
        check_writable(tmp_path)
    assert (tmp_path / "proportions.csv").read_text() == "of somebody else"


# ------------------------------------------------------------------------------------------- recipe


def test_checksums_are_those_of_every_file_that_is_read(tmp_path, outs):
    (tmp_path / "cells.h5ad").write_bytes(b"abc" * 3_000_000)
    reports: list[Progress] = []
    sums = checksums({"spatial": outs, "reference": tmp_path / "cells.h5ad"}, on_progress=reports.append)
    assert [entry["name"] for entry in sums["spatial"]["files"]] == [
        "filtered_feature_bc_matrix.h5",
        "spatial/tissue_positions.csv",
        "spatial/scalefactors_json.json",
        "spatial/tissue_hires_image.png",
        "spatial/tissue_lowres_image.png",
    ]
    for entry in sums["spatial"]["files"]:
        content = (outs / entry["name"]).read_bytes()
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()
        assert entry["bytes"] == len(content)
    (entry,) = sums["reference"]["files"]
    assert entry["sha256"] == hashlib.sha256(b"abc" * 3_000_000).hexdigest()
    assert sums["reference"]["path"] == str(tmp_path / "cells.h5ad")
    assert reports[-1].step == reports[-1].total > 9_000_000


def test_checksums_of_a_missing_file_are_refused(tmp_path):
    with pytest.raises(ReadError, match="does not exist"):
        checksums({"reference": tmp_path / "gone.h5ad"})


def test_recipe_is_toml_that_reads_back(tmp_path, adata, proportions, outs):
    parameters = {
        "given": {"n_genes": np.int64(5000), "lambda_c": None, "weights": "poisson", "normalize": True},
        "learned": {"lambda_c": np.float64(0.25), "genes": ("a", "b"), "cells": {"NK/T": np.int32(3)}},
        "versions": {"numpy": np.__version__},
        "summary": "not kept",
    }
    recipe = make_recipe(checksums({"spatial": outs}), parameters)
    write_outputs(tmp_path / "a", adata=adata, proportions=proportions, recipe=recipe)
    content = tomllib.loads((tmp_path / "a" / "recipe.toml").read_text(encoding="utf-8"))
    mark = hashlib.sha256((tmp_path / "a" / "proportions.csv").read_bytes()).hexdigest()
    assert content == read_recipe(tmp_path / "a") == recipe | {"outputs": {"proportions_sha256": mark}}
    assert content["parameters"] == {"n_genes": 5000, "weights": "poisson", "normalize": True}
    assert content["learned"] == {"lambda_c": 0.25, "genes": ["a", "b"], "cells": {"NK/T": 3}}
    assert len(content["inputs"]["spatial"]["files"]) == 5


@pytest.mark.parametrize(
    ("content", "words"), [("a = [", "is damaged"), ("a = 1", "not a recipe of spotmix")]
)
def test_an_invalid_recipe_is_reported(tmp_path, content, words):
    (tmp_path / "recipe.toml").write_text(content)
    with pytest.raises(ReadError, match=words):
        read_recipe(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="folders have no locks there")
def test_of_two_writers_at_once_one_wins_whole(
    tmp_path: Path,
    adata: anndata.AnnData,
    proportions: pd.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    replaced, write_recipe, gate = Path.replace, results.write_recipe, threading.Barrier(2)
    #: One has moved its first file when the other moves all of its own.
    delays = {("first", "proportions.csv"): 0.6, ("second", "recipe.toml"): 0.3}

    def together(recipe: dict[str, object], path: Path) -> None:
        write_recipe(recipe, path)
        gate.wait(60)  # the files are complete, and each writer moves its own next

    def slowly(path: Path, target: Path) -> Path:
        time.sleep(delays.get((threading.current_thread().name, target.name), 0))
        return replaced(path, target)

    monkeypatch.setattr(results, "write_recipe", together)
    monkeypatch.setattr(Path, "replace", slowly)
    problems: list[InputError] = []

    def work(table: pd.DataFrame) -> None:
        try:
            write(tmp_path / "out", adata, table)
        except InputError as error:
            problems.append(error)

    others = proportions[::-1].set_axis(proportions.index)
    threads = [
        threading.Thread(target=work, args=(table,), name=name)
        for name, table in (("first", proportions), ("second", others))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    monkeypatch.undo()
    assert problems == []
    check_complete(tmp_path / "out")
    written = hashlib.sha256((tmp_path / "out" / "proportions.csv").read_bytes()).hexdigest()
    assert read_recipe(tmp_path / "out")["outputs"]["proportions_sha256"] == written
    assert everything_in(tmp_path / "out") == set(OUTPUTS)
