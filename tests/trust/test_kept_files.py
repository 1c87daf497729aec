"""No command replaces a file that it or the run has read, nor one that spotmix may not have written."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.cli.commands import Done, spotmix
from tests.torture.sample import FAST

COMMANDS = {
    ".csv": ("export", "--to"),
    ".parquet": ("export", "--to"),
    ".geojson": ("export", "--to"),
    ".png": ("figure", "--show", "dominant", "-o"),
    ".svg": ("figure", "--show", "dominant", "-o"),
    ".pdf": ("figure", "--show", "dominant", "-o"),
    ".html": ("report", "-o"),
}


def write(result: Path, path: Path, *more: str) -> Done:
    """Run the command that writes files of that suffix."""
    name, *options = COMMANDS[path.suffix]
    return spotmix(name, result, *options, path, *more)


@pytest.mark.parametrize("suffix", COMMANDS)
def test_a_file_of_somebody_else_is_kept_unless_overwriting_is_asked_for(
    suffix: str, finished: Path, tmp_path: Path
) -> None:
    path = tmp_path / f"mine{suffix}"
    path.write_bytes(b"years of work")
    done = write(finished, path)
    assert (done.returncode, path.read_bytes()) == (2, b"years of work")
    assert "kept" in done.stderr
    assert "--overwrite" in done.stderr
    assert write(finished, path, "--overwrite").returncode == 0
    assert path.read_bytes() != b"years of work"


@pytest.mark.parametrize("suffix", COMMANDS)
def test_what_the_same_command_wrote_before_is_replaced_if_it_can_be_known(
    suffix: str, finished: Path, tmp_path: Path
) -> None:
    path = tmp_path / f"ours{suffix}"
    assert write(finished, path).returncode == 0
    first = path.read_bytes()
    done = write(finished, path)
    assert done.returncode == (2 if suffix == ".csv" else 0), done.stderr
    assert path.read_bytes() == first


@pytest.mark.parametrize("way", ["itself", "spelling", "symbolic", "hard"])
def test_a_table_of_the_result_is_never_replaced_by_any_path(
    way: str, finished: Path, tmp_path: Path
) -> None:
    target = finished / "proportions.csv"
    before = target.read_bytes()
    path = {"itself": target, "spelling": finished / ".." / "results" / "proportions.csv"}.get(way)
    if path is None:
        path = tmp_path / "link.csv"
        (os.symlink if way == "symbolic" else os.link)(target, path)
    done = spotmix("export", finished, "--to", path, "--overwrite")
    assert (done.returncode, target.read_bytes()) == (2, before)
    assert "was read, or holds the result, and is kept" in done.stderr
    assert path.exists()


def test_an_input_of_the_run_is_never_replaced(sample: Path, tmp_path: Path) -> None:
    inputs = Path(shutil.copytree(sample, tmp_path / "data"))
    labels = inputs / "labels.csv"
    labels.write_text("cell,kind\n" + "".join(f"{name},a\n" for name in ("x", "y")))
    output = tmp_path / "out"
    assert spotmix("run", inputs / "spots.h5ad", inputs / "cells.h5ad", "-o", output, *FAST).returncode == 0
    recipe = output / "recipe.toml"
    text = recipe.read_text(encoding="utf-8")
    added = f'[inputs.labels]\npath = "{labels}"\nfiles = [{{name = "labels.csv", bytes = 1, sha256 = ""}}]\n'
    recipe.write_text(text.replace("[parameters]", added + "\n[parameters]", 1), encoding="utf-8")
    before = labels.read_bytes()
    for name, *more in (("export", "--to"), ("niches", "-o"), ("regions", "-o")):
        done = spotmix(name, output, *more, labels, *(["--overwrite"] if name == "export" else []))
        assert (done.returncode, labels.read_bytes()) == (2, before), name


def test_a_recipe_of_another_program_does_not_make_a_folder_ours(sample: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "recipe.toml").write_text('[versions]\npython = "3.12"\n')
    (folder / "proportions.csv").write_text("raw")
    done = spotmix("run", sample / "spots.h5ad", sample / "cells.h5ad", "-o", folder, *FAST)
    assert done.returncode == 2
    assert (folder / "proportions.csv").read_text() == "raw"


@pytest.mark.parametrize(
    ("name", "words"),
    [("proportions.csv", "has changed since the run"), ("spatial.h5ad", "another program has written")],
)
def test_raw_data_next_to_a_copied_recipe_are_kept(
    name: str, words: str, finished: Path, sample: Path, tmp_path: Path
) -> None:
    shutil.copy(sample / "spots.h5ad", finished / "spatial.h5ad") if name == "spatial.h5ad" else (
        (finished / name).write_text("spot,a\nx,1\n")
    )
    before = (finished / name).read_bytes()
    done = spotmix("run", sample / "spots.h5ad", sample / "cells.h5ad", "-o", finished, *FAST)
    assert (done.returncode, (finished / name).read_bytes()) == (2, before)
    assert words in " ".join(done.stderr.split())


def test_a_run_never_replaces_its_inputs_through_a_link(sample: Path, tmp_path: Path, finished: Path) -> None:
    os.link(finished / "spatial.h5ad", tmp_path / "linked.h5ad")
    before = (finished / "spatial.h5ad").read_bytes()
    done = spotmix("run", tmp_path / "linked.h5ad", sample / "cells.h5ad", "-o", finished, *FAST)
    assert (done.returncode, (finished / "spatial.h5ad").read_bytes()) == (2, before)
    assert "is the input" in done.stderr


def test_a_finished_run_is_replaced_by_the_next(finished: Path, sample: Path) -> None:
    done = spotmix("run", sample / "spots.h5ad", sample / "cells.h5ad", "-o", finished, *FAST)
    assert done.returncode == 0, done.stderr
    done = spotmix("rerun", finished, "-o", finished)
    assert done.returncode == 0, done.stderr


def test_the_cohort_never_replaces_an_input_of_a_section(
    sample: Path, tmp_path: Path, finished: Path
) -> None:
    output = tmp_path / "cohort"
    shutil.copytree(finished, output / "two")
    rows = [("one", output / "two" / "spatial.h5ad"), ("two", sample / "spots.h5ad")]
    sheet = tmp_path / "sheet.csv"
    lines = [f"{name},{spots},{sample / 'cells.h5ad'}\n" for name, spots in rows]
    sheet.write_text("sample,spatial,reference\n" + "".join(lines))
    before = (output / "two" / "spatial.h5ad").read_bytes()
    done = spotmix("run", sheet, "-o", output, *FAST)
    assert (done.returncode, (output / "two" / "spatial.h5ad").read_bytes()) == (2, before)
    assert "is an input of a section and is not overwritten" in done.stderr


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="no devices as on POSIX")
def test_a_device_is_not_replaced(finished: Path, tmp_path: Path) -> None:
    link = tmp_path / "null.csv"
    link.symlink_to("/dev/null")
    done = spotmix("export", finished, "--to", link, "--overwrite")
    assert done.returncode == 2
    assert link.is_symlink()
