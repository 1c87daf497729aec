"""Many sections on this machine, run as people run them: by the command, in processes."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
from pyarrow import parquet

from napari_spotmix.base.progress import Progress
from napari_spotmix.cli import main
from napari_spotmix.io import write_h5ad
from napari_spotmix.params import Parameters
from napari_spotmix.result import read_result
from napari_spotmix.workflow.cohort import DONE, FAILED, UNCHANGED, Outcome, Section, local, run_cohort
from napari_spotmix.workflow.cohort.joint import cohort_problems, samples_of, write_joint
from napari_spotmix.workflow.cohort.section import do_order, order_of
from napari_spotmix.workflow.cohort.sheet import read_samplesheet
from napari_spotmix.workflow.run import run
from napari_spotmix.workflow.spec import RunSpec
from tests.cli.commands import spotmix_process
from tests.clock import allowed
from tests.workflow.cohort.cohorts import ENDLESS, OUTPUTS, Running, write_sections, write_sheet

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals as on Linux and macOS")
SAMPLES = [f"s{number}" for number in range(8)]
BROKEN = "s3"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight sections, one of them broken, their samplesheet, and what came of it two at once."""
    folder = tmp_path_factory.mktemp("cohort")
    write_sections(folder, 8)
    (folder / f"{BROKEN}.h5ad").write_bytes(b"broken")
    rows = [
        [name, f"{name}.h5ad", f"cells{n % 2}.h5ad", "ko" if n % 2 else "wt"]
        for n, name in enumerate(SAMPLES)
    ]
    write_sheet(folder / "sheet.csv", rows)
    done = spotmix_process("run", "sheet.csv", "-o", "out", "--at-once", 2, cwd=folder)
    (folder / "said").write_text(f"{done.returncode}\n{done.stdout}\n{done.stderr}", encoding="utf-8")
    return folder


@pytest.fixture
def said(folder: Path) -> str:
    return (folder / "said").read_text(encoding="utf-8")


def rows_of(output: Path) -> dict[str, dict[str, str]]:
    with (output / "samples.csv").open(encoding="utf-8", newline="") as file:
        return {row["sample"]: row for row in csv.DictReader(file)}


def test_a_broken_section_does_not_stop_the_others_and_is_named_at_the_end(folder: Path, said: str) -> None:
    assert said.startswith("1\n8 sections: 7 done, 1 failed.")
    assert f"{BROKEN}: {folder / 's3.h5ad'}: is named .h5ad but is not an HDF5 file" in said
    assert said.rstrip().endswith(f"Error: 1 of 8 sections failed: {BROKEN}.")
    assert "Traceback" not in said
    for name in SAMPLES:
        found = sorted(path.name for path in (folder / "out" / name).glob("*"))
        assert set(found) >= set(OUTPUTS) if name != BROKEN else not found


def test_progress_is_a_line_when_a_section_begins_and_one_when_it_ends(said: str) -> None:
    for name in SAMPLES:
        assert said.count(f"{name}  started\n") <= 1
        assert said.count(f"{name}  [") == 1
    assert "[8/8]" in said


def test_a_section_is_the_same_as_when_it_is_run_alone(folder: Path, tmp_path: Path) -> None:
    files = folder / "s0.h5ad", folder / "cells0.h5ad"
    run(RunSpec(*files, tmp_path / "alone", parameters=Parameters(n_threads=2)))
    for name in OUTPUTS:
        assert (tmp_path / "alone" / name).read_bytes() == (folder / "out" / "s0" / name).read_bytes()


def test_the_joint_table_holds_every_spot_of_every_finished_section(folder: Path) -> None:
    table = parquet.read_table(folder / "out" / "proportions.parquet").to_pandas()
    assert list(table.columns[:5]) == ["sample", "condition", "spot", "x", "y"]
    assert list(table["sample"].unique()) == [name for name in SAMPLES if name != BROKEN]
    result = read_result(folder / "out" / "s1")
    part = table[table["sample"] == "s1"]
    assert (part["condition"] == "ko").all()
    assert list(part["spot"]) == list(result.proportions.index)
    np.testing.assert_array_equal(part[["x", "y"]].to_numpy(), result.spatial.obsm["spatial"])
    shares = part[list(result.proportions.columns)].to_numpy()
    np.testing.assert_array_equal(shares, result.proportions.to_numpy())


def test_the_table_of_samples_holds_state_spots_and_mean_composition(folder: Path) -> None:
    rows = rows_of(folder / "out")
    assert list(rows) == SAMPLES
    assert rows[BROKEN]["state"] == "failed"
    assert "is not an HDF5 file" in rows[BROKEN]["message"]
    assert rows[BROKEN]["spots"] == ""
    means = read_result(folder / "out" / "s1").mean_proportions
    assert rows["s1"]["spots"] == "150"
    assert float(rows["s1"]["seconds"]) > 0
    assert all(float(rows["s1"][name]) == pytest.approx(mean) for name, mean in means.items())


def test_running_again_runs_only_what_has_changed_or_failed(folder: Path, tmp_path: Path) -> None:
    """In this process, by the orders that workers get."""
    for name in ("s0.h5ad", "cells0.h5ad"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    spec = RunSpec(tmp_path / "s0.h5ad", tmp_path / "cells0.h5ad", tmp_path / "out", report=False)
    order = order_of_spec(spec)
    assert do_order(order)["state"] == "done"
    before = (tmp_path / "out" / "proportions.csv").stat().st_mtime_ns
    assert do_order(order) | {"seconds": 0} == {"state": UNCHANGED, "seconds": 0, "message": ""}
    assert (tmp_path / "out" / "proportions.csv").stat().st_mtime_ns == before
    assert do_order(order_of_spec(spec, n_threads=1))["state"] == UNCHANGED
    assert do_order(order_of_spec(spec, lambda_c=1.0))["state"] == "done"
    assert do_order(order)["state"] == "done"
    recipe = tmp_path / "out" / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("napari-spotmix = ", 'napari-spotmix = "0.0.1" # '))
    assert do_order(order)["state"] == "done"
    (tmp_path / "out" / "spatial.h5ad").unlink()
    assert do_order(order)["state"] == "done"
    (tmp_path / "s0.h5ad").write_bytes((folder / "s1.h5ad").read_bytes())
    assert do_order(order)["state"] == "done"
    assert do_order(order)["state"] == UNCHANGED


def order_of_spec(spec: RunSpec, **parameters: Any) -> dict[str, str]:
    return order_of(Section("s", "", replace(spec, parameters=Parameters(**parameters))), 2)


def test_a_cohort_goes_on_where_it_stopped(folder: Path, tmp_path: Path) -> None:
    """What is there is not run again, and is in the joint table all the same; what is missing is run."""
    output = tmp_path / "moved"
    shutil.copytree(folder / "out", output)
    shutil.rmtree(output / "s2")
    sections = read_samplesheet(folder / "sheet.csv", output)[:3]
    news: list[tuple[str, object]] = []
    cohort = run_cohort(sections, output, at_once=1, on_section=lambda *one: news.append(one))
    assert [outcome.state for outcome in cohort.outcomes] == [UNCHANGED, UNCHANGED, DONE]
    fitted = {name for name, one in news if isinstance(one, Progress) and one.stage == "Solving"}
    assert fitted <= {"s2"}
    before, after = (place / "s2" / "spatial.h5ad" for place in (folder / "out", output))
    assert before.read_bytes() == after.read_bytes()
    assert len(parquet.read_table(output / "proportions.parquet")) == 450
    assert list(rows_of(output)) == ["s0", "s1", "s2"]


@POSIX
def test_ctrl_c_ends_all_sections_and_keeps_what_is_finished(folder: Path, tmp_path: Path) -> None:
    running = endless(folder, tmp_path)
    children = running.children()
    assert len(children) >= 2
    start = time.monotonic()
    running.process.send_signal(signal.SIGINT)
    code, _ = running.end()
    took = time.monotonic() - start
    assert code == 130
    assert took < allowed(1.5)
    assert "Cancelled. 1 of 3 sections has ended" in running.said
    assert_ended(children)
    assert_only_the_first_is_whole(tmp_path / "out")


@POSIX
def test_no_section_outlives_a_command_that_is_killed(folder: Path, tmp_path: Path) -> None:
    files = [str(folder / "s0.h5ad"), str(folder / "cells0.h5ad"), ""]
    sheet = write_sheet(tmp_path / "sheet.csv", [["a", *files, *ENDLESS.values()]], tuple(ENDLESS))
    running = Running("run", sheet, "-o", tmp_path / "out")
    running.wait_for("a +started")
    children = running.children()
    assert children
    running.process.kill()
    running.end()
    assert_ended(children)
    assert not (tmp_path / "out").exists()


def endless(folder: Path, place: Path) -> Running:
    """Start three sections, two at once, of which one ends, and wait until the others are being fitted."""
    files = [str(folder / "s0.h5ad"), str(folder / "cells0.h5ad"), ""]
    rows = [["quick", *files, "", "", "", ""], *([name, *files, *ENDLESS.values()] for name in ("a", "b"))]
    sheet = write_sheet(place / "sheet.csv", rows, tuple(ENDLESS))
    running = Running("run", sheet, "-o", place / "out", "--at-once", 2)
    running.wait_for(r"quick +\[1/3\] done")
    running.wait_for("b +started")
    return running


def assert_ended(children: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(children, timeout=allowed(2))
    # In a container, an orphan that has ended may wait for a parent that never asks.
    assert not [child for child in alive if child.status() != psutil.STATUS_ZOMBIE]


def assert_only_the_first_is_whole(output: Path) -> None:
    assert {path.name for path in output.iterdir()} == {"quick"}
    assert set(OUTPUTS) <= {path.name for path in (output / "quick").iterdir()}
    read_result(output / "quick")


def test_a_section_whose_process_dies_is_run_again_and_then_has_failed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import os, signal; input(); os.kill(os.getpid(), signal.SIGKILL)"
    monkeypatch.setattr(local, "CHILD", ("-c", code))
    answers: list[tuple[str, dict[str, dict[str, str]]]] = []
    orders = [order_of(section, 1) for section in read_samplesheet(folder / "sheet.csv", tmp_path)[:2]]
    local.run_here(orders, lambda *one: answers.append(one), lambda: None, at_once=2)  # type: ignore[arg-type]
    assert sorted(sample for sample, _ in answers) == ["s0", "s1"]
    assert all(message["outcome"]["state"] == FAILED for _, message in answers)
    assert all(
        "most likely because memory ran out" in message["outcome"]["message"] for _, message in answers
    )


def test_as_many_sections_run_at_once_as_cores_and_memory_allow(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = [order_of(section, 1) for section in read_samplesheet(folder / "sheet.csv", folder)]
    monkeypatch.setattr(local, "available_cores", lambda: 6)
    monkeypatch.setattr(local, "_memory_free", lambda: 10**15)
    assert local.how_many_at_once(orders) == 6
    monkeypatch.setattr(local, "_memory_free", lambda: 3 * local._memory_needed(orders[0]))
    assert local.how_many_at_once(orders) in (2, 3)
    monkeypatch.setattr(local, "_memory_free", lambda: 1)
    assert local.how_many_at_once(orders) == 1


# ------------------------------------------------------------------------------- joining, and refusing


def test_types_that_are_not_in_a_section_are_missing_and_names_do_not_collide(
    folder: Path, tmp_path: Path
) -> None:
    result = read_result(folder / "out" / "s0")
    adata = result.to_anndata()
    names = dict(zip(result.cell_types, ["x", "state", "only here", "shared"], strict=True))
    for key in list(adata.obsm):
        if isinstance(adata.obsm[key], pd.DataFrame):
            adata.obsm[key] = adata.obsm[key].rename(columns=names)
    del adata.obs["spotmix_dominant"]
    (tmp_path / "odd").mkdir()
    write_h5ad(adata, tmp_path / "odd" / "spatial.h5ad")
    result.proportions.rename(columns=names).to_csv(tmp_path / "odd" / "proportions.csv", index_label="spot")
    outcomes = [
        Outcome("odd", "", tmp_path / "odd", "done", 1.0, ""),
        Outcome("s1", "", folder / "out" / "s1", "done", 1.0, ""),
    ]
    write_joint(outcomes, tmp_path)
    table = parquet.read_table(tmp_path / "proportions.parquet").to_pandas()
    assert {"x (cell type)", "state", "only here", "shared"} < set(table.columns)
    assert table.loc[table["sample"] == "s1", "only here"].isna().all()
    assert table.loc[table["sample"] == "odd", "only here"].notna().all()
    assert "state (cell type)" in rows_of(tmp_path)["odd"]


def test_nothing_that_is_not_ours_is_replaced(tmp_path: Path) -> None:
    sheet = write_sheet(tmp_path / "samples.csv", [])
    assert "is the samplesheet and is not overwritten" in cohort_problems(tmp_path, sheet)[0]
    sheet.rename(tmp_path / "sheet.csv")
    assert cohort_problems(tmp_path, tmp_path / "sheet.csv") == []
    (tmp_path / "proportions.parquet").write_bytes(b"mine")
    assert "not made by an earlier run" in cohort_problems(tmp_path, tmp_path / "sheet.csv")[0]


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit) as end:
        main(list(map(str, arguments)))
    assert end.value.code == 2
    return capsys.readouterr().err


def test_a_wrong_sheet_ends_with_code_2_and_all_its_problems(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = write_sheet(tmp_path / "sheet.csv", [["a", "no.h5ad", "", ""], ["a", "no.h5ad", "", ""]])
    said = refused(capsys, "run", sheet, "-o", tmp_path / "out")
    assert f"Error: {sheet}: 5 problems:" in said
    said = refused(capsys, "run", sheet, "-o", tmp_path / "out", "--alpha", -1, "--at-once", -1)
    assert "Error: 7 problems:" in said
    assert "--alpha must be at least 0" in said
    assert "--at-once must be at least 0" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["outs", "-o", "x"], "`reference` is missing"),
        (["outs", "cells.h5ad", "-o", "x", "--dask", "tcp://x:1"], "--dask is for a samplesheet"),
        (["outs", "cells.h5ad", "-o", "x", "--at-once", "2"], "--at-once is for a samplesheet"),
        (["counts.csv", "-o", "x"], "counts.csv: does not exist"),
    ],
)
def test_what_belongs_to_many_sections_is_refused_for_one(
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert words in refused(capsys, "run", *arguments)


def test_view_of_a_cohort_names_the_sections_that_can_be_viewed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(samples_of(folder / "out")) == [name for name in SAMPLES if name != BROKEN]
    said = refused(capsys, "view", folder / "out")
    assert "holds the results of many sections. Choose one of them:" in said
    assert f"spotmix view {folder / 'out' / 's0'}" in said
    assert str(folder / "out" / BROKEN) not in said
    assert "is not the folder of a finished run" in refused(capsys, "view", folder)
