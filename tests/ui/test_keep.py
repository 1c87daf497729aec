"""The menu next to Save: what is exported, and what is copied does the same as the widget did."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QFileDialog

from napari_spotmix.io import read_recipe
from napari_spotmix.output.exporters import TARGETS
from napari_spotmix.result import Result
from napari_spotmix.simulation.simulate import simulate
from napari_spotmix.ui.state.loaded import LoadedTissue
from napari_spotmix.workflow.rerun import plan_rerun

pytestmark = pytest.mark.viewer


@pytest.fixture
def run_from_files(qtbot: Any, make_dock: Any, tmp_path: Path) -> Any:
    """A dock after a run of files in a folder whose name needs quotes."""
    folder = tmp_path / "it's my data"
    folder.mkdir()
    tissue = simulate(n_spots=60, n_genes=80, n_cell_types=3, n_cells_per_type=20, image=False)
    tissue.spatial.write_h5ad(folder / "spots.h5ad")
    tissue.reference.write_h5ad(folder / "cells.h5ad")
    _, dock = make_dock()
    dock.load.spots.spatial.value = folder / "spots.h5ad"
    dock.load.cells.reference.value = folder / "cells.h5ad"
    qtbot.waitUntil(lambda: dock.run.run.enabled, timeout=20_000)
    dock.run.form.fields["random_state"].value = 5
    dock.run.form.fields["n_outer_iterations"].value = 1
    qtbot.mouseClick(dock.run.run.native, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: dock.session.result is not None, timeout=60_000)
    return dock


def copied(dock: Any, action: str) -> str:
    dock.run.keep.press(action)
    return QApplication.clipboard().text()


def test_what_is_copied_does_what_the_widget_did(qtbot: Any, run_from_files: Any, tmp_path: Path) -> None:
    dock = run_from_files
    expected = dock.session.result.proportions
    command = copied(dock, "Copy command")
    assert command.endswith("--output spotmix-results --n-outer-iterations 1 --seed 5")
    assert "Paste it into a terminal" in dock.run.state.text()
    words = [sys.executable, "-m", "napari_spotmix.cli", *shlex.split(command)[1:]]
    code = copied(dock, "Copy Python") + "\nresult.proportions.to_csv('python.csv')"
    running = [
        subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for line in (words, [sys.executable, "-c", code])
    ]
    for process in running:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    for written in ("spotmix-results/proportions.csv", "python.csv"):
        found = pd.read_csv(tmp_path / written, index_col=0, float_precision="round_trip")
        np.testing.assert_array_equal(found, expected)
    # Another color is no other run; another smoothness is.
    dock.session.set_color(dock.session.result.cell_types[0], "#123456")
    assert copied(dock, "Copy command") == command
    # What Save writes is made again by a rerun too.
    dock.run.save_to(tmp_path / "saved")
    qtbot.waitUntil(lambda: not dock.run.is_running, timeout=10_000)
    assert read_recipe(tmp_path / "saved") == read_recipe(tmp_path / "spotmix-results")
    assert plan_rerun(tmp_path / "saved").spec.parameters.n_outer_iterations == 1
    dock.session.replay(dock.session.learned.refit(lambda_c=10.0))
    assert copied(dock, "Copy command") == command
    assert "It does not include adjustments made after the run." in dock.run.state.text()


def test_data_in_memory_say_why_there_is_no_command(qtbot: Any, loaded: Any) -> None:
    _, dock = loaded
    assert not dock.run.keep.isEnabled()
    qtbot.mouseClick(dock.run.run.native, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: dock.session.result is not None, timeout=60_000)
    QApplication.clipboard().setText("mine")
    for action in ("Copy command", "Copy Python"):
        assert copied(dock, action) == "mine"
        assert "simulated or given in memory, so no command can read them" in dock.run.state.text()


def test_an_opened_result_says_how_to_make_it_again(explored: Any) -> None:
    _, dock = explored
    dock.run.keep.press("Copy command")
    assert "`spotmix rerun`" in dock.run.state.text()


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.filterwarnings("ignore")  # spatialdata's own
def test_each_kind_can_be_chosen_and_is_exported(
    qtbot: Any, explored: Any, result: Result, tmp_path: Path, target: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, dock = explored
    offered: list[str] = []

    def choose(_: Any, __: str, ___: str, filters: str) -> tuple[str, str]:
        offered[:] = filters.split(";;")
        chosen = next(one for one in offered if one.startswith(f"{target.words} ("))
        return str(tmp_path / "exported"), chosen

    monkeypatch.setattr(QFileDialog, "getSaveFileName", choose)
    dock.run.keep.press("Export…")
    qtbot.waitUntil(lambda: not dock.run.is_running, timeout=30_000)
    assert len(offered) == len(TARGETS)
    path = tmp_path / f"exported{target.suffixes[0]}"
    if target.name == "regions":
        assert "This result has no regions" in dock.run.state.text()
    else:
        assert path.exists()
        assert dock.run.state.text().startswith(f"Exported to {path}")


def test_no_file_chosen_exports_nothing(explored: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, dock = explored
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: ("", ""))
    dock.run.keep.press("Export…")
    assert not dock.run.is_running


def test_the_menu_is_off_without_a_result(explored: Any, tissue: Any) -> None:
    _, dock = explored
    assert dock.run.keep.isEnabled()
    dock.session.open_in_memory(LoadedTissue(tissue.spatial.copy(), "Other"), tissue.reference)
    assert not dock.run.keep.isEnabled()
    assert "run first" in dock.run.keep.toolTip()
