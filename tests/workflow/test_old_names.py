"""What was written for an older version, under the names of then, works as before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_spotmix import Parameters, deconvolve, simulate
from napari_spotmix.base.errors import InputError
from napari_spotmix.cli import _run
from napari_spotmix.io import read_recipe
from napari_spotmix.params import RENAMED
from napari_spotmix.workflow.cohort import is_samplesheet, read_samplesheet
from napari_spotmix.workflow.recipe import spec_of_recipe
from napari_spotmix.workflow.rerun import plan_rerun
from napari_spotmix.workflow.spec import RunSpec
from tests.cli.commands import spotmix

FROZEN = Path(__file__).parents[1] / "frozen"
#: Set in the frozen run: nothing but them differs from the defaults of today.
FIXES = ("reference:drop-below=5", "spatial:flip-y")


def test_an_old_recipe_describes_the_same_run() -> None:
    spec = spec_of_recipe(read_recipe(FROZEN / "run"), None)
    expected = RunSpec(
        Path("/data/spots.h5ad"),
        Path("/data/cells.h5ad"),
        layer="counts",
        library_key="slice",
        fix=FIXES,
        parameters=Parameters(exclude_mito_ribo=False, lambda_c=0.3),
    )
    assert spec == expected


def test_an_old_recipe_is_run_again_with_the_same_proportions(tmp_path: Path) -> None:
    plan = plan_rerun(FROZEN / "run", inputs=FROZEN, output=tmp_path)
    plan.run()
    before, today, after = (
        pd.read_csv(path, index_col=0, float_precision="round_trip")
        for path in (
            FROZEN / "run" / "proportions.csv",
            FROZEN / "rerun_proportions.csv",
            tmp_path / "proportions.csv",
        )
    )
    assert set(before.columns) == set(after.columns)
    np.testing.assert_allclose(after, today, rtol=0, atol=1e-6)
    # What has changed since (see the changelog) is small.
    assert np.sqrt(((after[before.columns] - before) ** 2).to_numpy().mean()) < 0.01
    written = read_recipe(tmp_path)
    assert not written["parameters"].keys() & RENAMED.keys(), "it is written with the names of today"
    assert written["parameters"]["fix"] == list(FIXES)
    assert "n_unmodeled_patches" in written["learned"]


def test_an_old_recipe_of_an_adjusted_result_warns(tmp_path: Path) -> None:
    text = (FROZEN / "run" / "recipe.toml").read_text(encoding="utf-8")
    adjusted = text.replace("[learned]\n", "[learned]\nresolved = {lambda_c = 1.0}\n")
    (tmp_path / "recipe.toml").write_text(adjusted, encoding="utf-8")
    warnings = plan_rerun(tmp_path, inputs=FROZEN, output=tmp_path / "out").warnings
    assert any("adjusted in napari" in warning for warning in warnings)


def test_a_samplesheet_with_old_columns_is_read(tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.csv"
    columns = "sample,spatial,reference,mend,sample_key,exclude_housekeeping,n_archetypes,n_epochs"
    files = f"{FROZEN / 'spots.h5ad'},{FROZEN / 'cells.h5ad'}"
    sheet.write_text(f"{columns}\none,{files},{'|'.join(FIXES)},slice,no,16,2\n", encoding="utf-8")
    assert is_samplesheet(sheet)
    (section,) = read_samplesheet(sheet, tmp_path / "out")
    parameters = Parameters(exclude_mito_ribo=False, n_clusters=16, n_outer_iterations=2)
    assert (section.spec.fix, section.spec.library_key) == (FIXES, "slice")
    assert section.spec.parameters == parameters


OLD_OPTIONS = ("--mend", FIXES[0], f"--mend={FIXES[1]}", "--sample-key", "slice")
OLD_PARAMETERS = ("--no-exclude-housekeeping", "--n-archetypes", "16", "--n-epochs", "2")


def test_run_takes_old_options_and_names_the_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[RunSpec] = []
    monkeypatch.setattr(_run, "run_and_report", lambda spec, _: taken.append(spec))
    done = spotmix("run", "a", "b", "-o", "c", *OLD_OPTIONS, *OLD_PARAMETERS)
    assert done.returncode == 0, done.stderr
    expected = RunSpec(
        Path("a"),
        Path("b"),
        Path("c"),
        library_key="slice",
        fix=FIXES,
        parameters=Parameters(exclude_mito_ribo=False, n_clusters=16, n_outer_iterations=2),
    )
    assert taken == [expected]
    for old, new in (
        ("--mend", "--fix"),
        ("--sample-key", "--library-key"),
        ("--no-exclude-housekeeping", "--no-exclude-mito-ribo"),
        ("--n-archetypes", "--n-clusters"),
        ("--n-epochs", "--n-outer-iterations"),
    ):
        assert f"{old} is now called {new}." in done.stderr
    assert done.stdout == ""


def test_check_takes_old_options(tmp_path: Path) -> None:
    files = (FROZEN / "spots.h5ad", FROZEN / "cells.h5ad")
    done = spotmix("check", *files, "--layer", "counts", *OLD_OPTIONS)
    assert done.returncode == 0, done.stdout
    assert "--sample-key is now called --library-key." in done.stderr


def test_help_has_the_names_of_today_only() -> None:
    said = spotmix("run", "--help", columns=200).stdout
    assert "--n-outer-iterations" in said
    assert not any(f"--{old.replace('_', '-')} " in said for old in RENAMED)


def test_old_keywords_of_parameters_warn() -> None:
    with pytest.warns(DeprecationWarning, match=r"`n_epochs` is now called `n_outer_iterations`") as caught:
        parameters = Parameters(n_epochs=2)  # type: ignore[call-arg]
    assert caught[0].filename == __file__, "it points to the line with the old name"
    assert parameters == Parameters(n_outer_iterations=2)
    with pytest.raises(InputError, match="`n_epochs` is the old name of `n_outer_iterations`"):
        Parameters(n_epochs=2, n_outer_iterations=2)  # type: ignore[call-arg]


def test_old_keywords_of_deconvolve_warn() -> None:
    tissue = simulate(n_spots=60, n_genes=80, n_cell_types=3, n_cells_per_type=20, image=False)
    tissue.spatial.obs["slice"] = ["a"] * 30 + ["b"] * 30
    with pytest.warns(DeprecationWarning, match="is now called") as caught:
        old = deconvolve(tissue.spatial, tissue.reference, sample_key="slice", n_epochs=1, lambda_c=0.3)
    assert sorted(str(one.message).split("`")[1] for one in caught) == ["n_epochs", "sample_key"]
    assert {one.filename for one in caught} == {__file__}
    new = deconvolve(
        tissue.spatial, tissue.reference, library_key="slice", n_outer_iterations=1, lambda_c=0.3
    )
    assert old.parameters["given"] == new.parameters["given"]
    pd.testing.assert_frame_equal(old.proportions, new.proportions)
