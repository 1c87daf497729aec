"""One run, of files and of data in memory."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from napari_spotmix import InputError, Parameters
from napari_spotmix.io import read_recipe
from napari_spotmix.simulation.simulate import SimulatedTissue, simulate
from napari_spotmix.workflow.run import Data, run, save
from napari_spotmix.workflow.spec import RunSpec

FAST = Parameters(lambda_c=0.3, n_outer_iterations=0)


@pytest.fixture(scope="module")
def tissue() -> SimulatedTissue:
    return simulate(n_spots=60, n_genes=80, n_cell_types=3, n_cells_per_type=20, image=False)


def test_data_in_memory_are_run_without_reading_or_writing(
    tissue: SimulatedTissue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # The files are not there: what is in memory takes their place.
    spec = RunSpec(tmp_path / "no.h5ad", tmp_path / "none.h5ad", fix=("spatial:flip-x",), parameters=FAST)
    done = run(spec, Data(tissue.spatial, tissue.reference))
    assert done.written == []
    assert not list(tmp_path.iterdir())
    assert done.result.parameters["given"]["fix"] == ["spatial:flip-x"], "which the data have had already"


def test_data_in_memory_give_what_their_files_give(tissue: SimulatedTissue, tmp_path: Path) -> None:
    files = tmp_path / "spots.h5ad", tmp_path / "cells.h5ad"
    for adata, path in zip((tissue.spatial, tissue.reference), files, strict=True):
        adata.write_h5ad(path)
    spec = RunSpec(*files, tmp_path / "read", report=False, parameters=FAST)
    run(spec)
    in_memory = run(RunSpec(*files, parameters=FAST), Data(tissue.spatial, tissue.reference))
    save(in_memory.result, RunSpec(*files, report=False, parameters=FAST), tmp_path / "saved")
    assert read_recipe(tmp_path / "saved") == read_recipe(tmp_path / "read")
    before, after = (pd.read_csv(tmp_path / name / "proportions.csv") for name in ("read", "saved"))
    pd.testing.assert_frame_equal(before, after)


def test_what_was_never_a_file_is_not_in_the_recipe(tissue: SimulatedTissue, tmp_path: Path) -> None:
    spec = RunSpec(report=False, parameters=FAST)
    done = run(spec, Data(tissue.spatial, tissue.reference))
    save(done.result, spec, tmp_path)
    recipe = read_recipe(tmp_path)
    assert recipe["inputs"] == {}
    assert recipe["parameters"]["lambda_c"] == 0.3


def test_a_run_without_files_and_data_says_what_is_missing() -> None:
    with pytest.raises(InputError, match="2 problems") as caught:
        run(RunSpec())
    assert [text.split(":")[0] for text in caught.value.problems] == [
        "`spatial` is missing",
        "`reference` is missing",
    ]


def test_known_problems_are_reported_with_those_of_the_files(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        run(RunSpec(tmp_path / "a.h5ad", tmp_path / "b.h5ad"), problems=["`alpha` must be at least 0."])
    first, spots, cells = caught.value.problems
    assert first == "`alpha` must be at least 0."
    assert "a.h5ad" in spots
    assert "b.h5ad" in cells
