"""A run again from its recipe: the same bytes, or a clear message why not."""

from __future__ import annotations

import os
import shutil
import tomllib
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from napari_spotmix import InputError, ReadError
from napari_spotmix.io import OUTPUTS, read_recipe
from napari_spotmix.params import Parameters
from napari_spotmix.simulation.simulate import simulate
from napari_spotmix.workflow.recipe import recipe_of, spec_of_recipe
from napari_spotmix.workflow.rerun import plan_rerun
from napari_spotmix.workflow.run import run
from napari_spotmix.workflow.spec import RunSpec
from tests.cli.commands import spotmix


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where ``data/spots.h5ad`` and ``cells.h5ad`` were run, by relative paths, into ``results``."""
    folder = tmp_path_factory.mktemp("my project")
    tissue = simulate(n_spots=60, n_genes=80, n_cell_types=3, n_cells_per_type=20, image=False)
    (folder / "data").mkdir()
    tissue.spatial.write_h5ad(folder / "data" / "spots.h5ad")
    tissue.reference.write_h5ad(folder / "cells.h5ad")
    done = spotmix(
        "run", "data/spots.h5ad", "cells.h5ad", "-o", "results", "--lambda-c", 0.5, "--seed", 4, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def copy(project: Path, tmp_path: Path) -> Path:
    """The project somewhere else, its recipe naming the files there."""
    shutil.copytree(project, tmp_path / "copy")
    change(tmp_path / "copy" / "results", lambda text: text.replace(str(project), str(tmp_path / "copy")))
    return tmp_path / "copy"


def change(results: Path, edit: Callable[[str], str]) -> None:
    recipe = results / "recipe.toml"
    recipe.write_text(edit(recipe.read_text(encoding="utf-8")), encoding="utf-8")


def test_a_rerun_gives_the_same_bytes_from_anywhere(project: Path, tmp_path: Path) -> None:
    done = spotmix("rerun", project / "results", "--threads", 1, "-o", tmp_path / "again", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "identical to those of the first run, byte for byte" in done.stdout
    assert "Warning" not in done.stderr
    for name in OUTPUTS:
        assert (tmp_path / "again" / name).read_bytes() == (project / "results" / name).read_bytes(), name


def test_without_an_output_the_first_run_is_kept(copy: Path) -> None:
    plan = plan_rerun(copy / "results" / "recipe.toml")
    assert plan.output == copy / "results-rerun"
    assert plan.spec.parameters.lambda_c == 0.5
    assert plan.spec.parameters.alpha is None, "what was learned is learned again"


def test_a_changed_and_a_missing_file_are_named(copy: Path) -> None:
    with (copy / "cells.h5ad").open("ab") as file:
        file.write(b"\0")
    shutil.move(copy / "data" / "spots.h5ad", copy / "data" / "moved.h5ad")
    with pytest.raises(InputError, match=r"`spatial`: .*spots.h5ad, which is missing") as missing:
        plan_rerun(copy / "results")
    assert "`inputs`" in str(missing.value)
    shutil.move(copy / "data" / "moved.h5ad", copy / "data" / "spots.h5ad")
    with pytest.raises(InputError, match=r"cells.h5ad has changed since the run: expected SHA-256 \w{12}…"):
        plan_rerun(copy / "results")


def test_a_changed_input_is_refused_before_anything_runs(copy: Path) -> None:
    with (copy / "cells.h5ad").open("ab") as file:
        file.write(b"\0")
    done = spotmix("rerun", "results", cwd=copy)
    assert done.returncode == 2
    assert "--" not in done.stderr.split("Error:")[0]
    assert f"{copy / 'cells.h5ad'} has changed since the run" in done.stderr
    assert "Reading" not in done.stderr
    assert not (copy / "results-rerun").exists()


def test_moved_inputs_are_found_in_the_folder_that_is_given(project: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(project, tmp_path / "elsewhere" / "copy")
    change(copied / "results", lambda text: text.replace(str(project), str(tmp_path / "gone")))
    with pytest.raises(InputError, match="2 problems"):
        plan_rerun(copied / "results")
    plan = plan_rerun(copied / "results", inputs=copied)
    assert (plan.spec.spatial, plan.spec.reference) == (copied / "data" / "spots.h5ad", copied / "cells.h5ad")
    shutil.move(copied / "data" / "spots.h5ad", copied / "spots.h5ad")
    assert plan_rerun(copied / "results", inputs=copied).spec.spatial == copied / "spots.h5ad"


def test_a_missing_recipe_is_named_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"nowhere: does not exist"):
        plan_rerun(tmp_path / "nowhere")


def test_other_versions_and_adjustments_give_warnings(copy: Path) -> None:
    recipe = read_recipe(copy / "results")
    recipe["versions"] |= {"numpy": "1.0", "no-such-package": "2"}
    recipe["learned"]["refit"] = {"lambda_c": 1.0}
    (copy / "results" / "recipe.toml").write_bytes(tomli_w.dumps(recipe).encode())
    versions, adjusted = plan_rerun(copy / "results").warnings
    assert "numpy 1.0 (now " in versions
    assert "no-such-package 2 (now not installed)" in versions
    assert "adjusted in napari" in adjusted
    recipe["versions"] |= {"numpy": "1" * 5000}
    (copy / "results" / "recipe.toml").write_bytes(tomli_w.dumps(recipe).encode())
    assert len(plan_rerun(copy / "results").warnings[0]) < 300


def test_a_result_that_differs_is_said_to_differ(copy: Path, tmp_path: Path) -> None:
    change(copy / "results", lambda text: text.replace("lambda_c = 0.5", "lambda_c = 2.5"))
    plan = plan_rerun(copy / "results", output=tmp_path / "out")
    plan.run()
    assert plan.is_identical() is False


def test_data_that_were_no_files_cannot_be_read_again(copy: Path) -> None:
    recipe = read_recipe(copy / "results")
    del recipe["inputs"]["reference"]
    (copy / "results" / "recipe.toml").write_bytes(tomli_w.dumps(recipe).encode())
    with pytest.raises(ReadError, match="names no file for `reference`"):
        plan_rerun(copy / "results")


def test_what_this_version_does_not_know_is_refused_and_not_ignored(copy: Path) -> None:
    change(copy / "results", lambda text: text.replace("[parameters]", "[parameters]\nmagic = 3"))
    with pytest.raises(ReadError, match="holds `magic`, which this version does not know"):
        plan_rerun(copy / "results")


EDITS = {
    "path": ("path = ", "place = ", r"\[inputs.spatial\] must name a file or folder as `path`, found None"),
    "files": ("[[inputs.spatial.files]]", "[[others]]", r"\[inputs.spatial\] must list its `files`"),
    "sums": ("sha256 = ", "md5 = ", "each with `name` and `sha256`"),
    "versions": ("[versions]", "versions = 3\n[others]", r"\[versions\] must be a table, found 3"),
    "outputs": ("[outputs]", "outputs = 3\n[others]", r"\[outputs\] must be a table, found 3"),
    "layer": (
        "[parameters]",
        "[parameters]\nlayer = 3",
        r"In \[parameters\], `layer` must be a text, found 3",
    ),
    "fix": ("[parameters]", '[parameters]\nfix = "raw"', "`fix` must be a list of strings, found 'raw'"),
    "bin_um": (
        "[parameters]",
        '[reading]\nbin_um = "x"\n[parameters]',
        "`bin_um` must be a number, found 'x'",
    ),
    "image": ("[parameters]", "[reading]\nimage = 5\n[parameters]", "`image` must be a text, found 5"),
    "unknown": ("[parameters]", "[reading]\nmagic = 5\n[parameters]", "holds `magic`, which this version"),
    "seed": ("n_genes = 5000", "n_genes = -5", "`n_genes` must be at least 0"),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_recipe_that_was_edited_wrongly_is_refused_with_the_place(copy: Path, name: str) -> None:
    old, new, words = EDITS[name]
    text = (copy / "results" / "recipe.toml").read_text(encoding="utf-8")
    # A key of the root must stand before all tables.
    root, _, rest = new.partition("\n") if name in ("versions", "outputs") else ("", "", new)
    change(copy / "results", lambda _: f"{root}\n{text.replace(old, rest)}")
    with pytest.raises(ReadError, match=words):
        plan_rerun(copy / "results")


def test_everything_that_is_wrong_in_an_edited_recipe_is_reported_at_once(copy: Path) -> None:
    edited = "[parameters]\nlayer = 3\nfix = [1]\nmagic = 2"
    change(copy / "results", lambda text: text.replace("[parameters]", edited).replace("5000", "-5"))
    with pytest.raises(ReadError, match="4 problems"):
        plan_rerun(copy / "results")


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    done = spotmix("rerun", ".", cwd=tmp_path)
    assert done.returncode == 2
    assert "`recipe.toml` does not exist" in done.stderr


# ------------------------------------------------------------------------------ a run and its recipe


def recipe_as_read(spec: RunSpec) -> dict[str, Any]:
    inputs = {role: {"path": str(Path(path).absolute())} for role, path in spec.inputs.items()}
    recipe = recipe_of(spec, inputs, {"given": spec.settings | spec.parameters.as_dict()})
    return tomllib.loads(tomli_w.dumps(recipe))


def test_every_field_of_a_run_survives_its_recipe(tmp_path: Path) -> None:
    whole = RunSpec(
        *(tmp_path / name for name in ("spots", "cells", "out")),
        cell_type_key="kind",
        layer="raw",
        library_key="slice",
        format="space_ranger",
        bin_um=16,
        image=tmp_path / "image.tif",
        coordinates=tmp_path / "xy.csv",
        gem_bin=20,
        table="counts",
        section="left",
        labels=tmp_path / "labels.csv",
        more_references=tuple(tmp_path / str(number) for number in range(12)),
        fix=("spatial:flip-x",),
        parameters=Parameters(lambda_c=0.5, attention=False),
    )
    at_default = {item.name for item in fields(RunSpec) if getattr(whole, item.name) == item.default}
    assert at_default == {"report"}, "which no number depends on"
    assert spec_of_recipe(recipe_as_read(whole), whole.output) == whole
    plain = RunSpec(tmp_path / "spots", tmp_path / "cells", tmp_path / "out")
    assert spec_of_recipe(recipe_as_read(plain), plain.output) == plain


def test_a_recipe_names_an_image_by_its_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = recipe_as_read(RunSpec(Path("spots"), Path("cells"), image=Path("image.tif")))
    assert recipe["reading"] == {"image": str(tmp_path / "image.tif")}


def test_a_recipe_names_its_inputs_by_absolute_paths(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project / "data")
    files = Path("spots.h5ad"), Path(os.pardir) / "cells.h5ad"
    run(RunSpec(*files, tmp_path, parameters=Parameters(lambda_c=0.5, random_state=4)))
    inputs = read_recipe(tmp_path)["inputs"]
    assert inputs["spatial"] == read_recipe(project / "results")["inputs"]["spatial"]
    assert Path(inputs["reference"]["path"]).samefile(project / "cells.h5ad")
