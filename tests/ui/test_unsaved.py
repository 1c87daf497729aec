"""A result or regions that are in no file are not lost without a question."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QFileDialog, QMessageBox

from napari_spotmix.dataset.regions import Region
from napari_spotmix.io.results import write_h5ad
from napari_spotmix.result import Result, read_result
from napari_spotmix.simulation.simulate import SimulatedTissue
from napari_spotmix.ui.demo import show_result
from napari_spotmix.ui.state.loaded import LoadedTissue

pytestmark = pytest.mark.viewer

SQUARE = Region("Core", np.array([[0.0, 0.0], [900.0, 0.0], [900.0, 900.0], [0.0, 900.0]]))


@pytest.fixture(scope="module")
def other(tissue: SimulatedTissue, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Spots without a result, far from those of the result."""
    path = tmp_path_factory.mktemp("data") / "other.h5ad"
    moved = tissue.spatial.copy()
    moved.obsm["spatial"] = moved.obsm["spatial"] + 50_000
    del moved.uns["spatial"]
    moved.write_h5ad(path)
    return path


def question() -> QMessageBox | None:
    """Return the question that is on the screen."""
    boxes = [one for one in QApplication.topLevelWidgets() if isinstance(one, QMessageBox)]
    return next((box for box in boxes if box.isVisible()), None)


def answer(qtbot: Any, text: str) -> None:
    box = question()
    assert box is not None
    (button,) = [one for one in box.buttons() if one.text().replace("&", "") == text]
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


@pytest.mark.parametrize("keep", ["Cancel", "Escape"])
def test_cancel_keeps_the_result_and_the_form_shows_its_data(
    qtbot: Any, explored: Any, other: Path, keep: str
) -> None:
    _, dock = explored
    result = dock.session.result
    dock.load.spots.spatial.value = other
    assert "The result of Gut is not saved." in question().text()
    if keep == "Escape":
        qtbot.keyClick(question(), Qt.Key.Key_Escape)
    else:
        answer(qtbot, keep)
    assert question() is None
    assert not dock.load.is_busy, "nothing was read"
    assert dock.session.result is result
    assert dock.load.spots.spatial.path is None
    dock.load.spots.spatial.value = other
    answer(qtbot, "Cancel")  # the same path again asks again


def test_discard_opens_the_other_data_and_the_camera_goes_there(
    qtbot: Any, explored: Any, other: Path
) -> None:
    viewer, dock = explored
    dock.load.spots.spatial.value = other
    answer(qtbot, "Discard")
    qtbot.waitUntil(lambda: dock.session.result is None, timeout=5000)
    assert question() is None, "one question is enough"
    assert dock.session.data.tissue.path == other
    assert min(viewer.scene.camera.center[-2:]) > 50_000


def test_save_saves_first_and_then_opens(
    qtbot: Any, explored: Any, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, dock = explored
    result = dock.session.result
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path / "kept"))
    dock.load.spots.spatial.value = other
    answer(qtbot, "Save result…")
    qtbot.waitUntil(lambda: dock.session.data.tissue.path == other, timeout=10_000)
    assert question() is None
    np.testing.assert_array_equal(read_result(tmp_path / "kept").proportions, result.proportions)


def test_what_could_not_be_saved_is_not_lost(
    qtbot: Any,
    explored: Any,
    other: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    messages: list[str],
) -> None:
    _, dock = explored
    result = dock.session.result
    (tmp_path / "file").write_text("")
    for chosen in ("", str(tmp_path / "file")):
        monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_, chosen=chosen: chosen)
        dock.load.spots.spatial.value = other
        answer(qtbot, "Save result…")
        qtbot.waitUntil(lambda: not dock.run.is_running, timeout=10_000)
        qtbot.wait(100)
        assert dock.session.result is result
        assert not dock.load.is_busy
    assert len(messages) == 1
    assert "`output`" in messages[0]


def test_a_saved_result_is_replaced_without_a_question(
    qtbot: Any, explored: Any, other: Path, tmp_path: Path
) -> None:
    _, dock = explored
    dock.run.save_to(tmp_path / "out")
    qtbot.waitUntil(lambda: not dock.run.is_running, timeout=10_000)
    assert dock.session.is_saved
    dock.load.spots.spatial.value = other
    assert question() is None
    qtbot.waitUntil(lambda: dock.session.result is None, timeout=5000)


def test_an_exported_result_is_not_saved(qtbot: Any, explored: Any, tmp_path: Path) -> None:
    _, dock = explored
    dock.run.export_to(tmp_path / "table.csv", "proportions")
    qtbot.waitUntil(lambda: not dock.run.is_running, timeout=10_000)
    assert (tmp_path / "table.csv").is_file()
    assert not dock.session.is_saved


@pytest.fixture
def opened(qtbot: Any, make_dock: Callable[..., Any], result: Result, tmp_path: Path) -> Any:
    """A dock with a result that was opened from its file, with a region."""
    write_h5ad(replace(result, regions=(SQUARE,)).to_anndata(), tmp_path / "spatial.h5ad")
    viewer, dock = make_dock()
    dock.load.spots.spatial.value = tmp_path / "spatial.h5ad"
    qtbot.waitUntil(lambda: dock.session.result is not None, timeout=10_000)
    return viewer, dock


def test_a_result_from_a_file_asks_only_once_it_is_changed(qtbot: Any, opened: Any, other: Path) -> None:
    viewer, dock = opened
    session = dock.session
    assert session.is_saved
    viewer.layers["Regions"].add(SQUARE.outline[:, ::-1] / 2, shape_type="polygon")
    dock.load.spots.spatial.value = other
    assert question().text() == "2 regions are not saved."
    answer(qtbot, "Cancel")
    viewer.layers["Regions"].selected_data = {1}
    viewer.layers["Regions"].remove_selected()
    assert session.is_saved, "as in the file again"
    viewer.layers.remove("Regions")
    assert session.has_unsaved_regions
    session.set_regions((SQUARE,))
    session.set_color(session.result.cell_types[0], "#123456")
    dock.load.spots.spatial.value = other
    assert question().text() == "The result of spatial is not saved."
    answer(qtbot, "Cancel")


def test_every_way_to_other_data_asks(
    qtbot: Any, explored: Any, other: Path, opened_file: Path, tissue: SimulatedTissue
) -> None:
    viewer, dock = explored
    result = dock.session.result
    dock.load.sample.native.click()
    answer(qtbot, "Cancel")
    viewer.open(other, plugin="napari-spotmix")
    dock.load.open_layer.box.value = "other spots"
    answer(qtbot, "Cancel")
    assert dock.load.open_layer.box.value is None
    dock.open_file(opened_file)
    qtbot.waitUntil(lambda: question() is not None, timeout=10_000)
    answer(qtbot, "Cancel")
    assert dock.session.result is result
    assert dock.session.data.tissue.name == "Gut"
    dock.load.open_layer.box.value = "other spots"
    answer(qtbot, "Discard")
    assert dock.session.data.tissue.path == other
    assert min(viewer.scene.camera.center[-2:]) > 50_000, "also to a layer that was open already"


@pytest.fixture
def opened_file(result: Result, tmp_path: Path) -> Path:
    write_h5ad(result.to_anndata(), tmp_path / "spatial.h5ad")
    return tmp_path / "spatial.h5ad"


def test_a_fix_of_the_spots_asks_and_one_of_the_reference_does_not(
    qtbot: Any, loaded: Any, result: Result
) -> None:
    _, dock = loaded
    dock.session.set_result(replace(result, spatial=dock.session.spatial))
    qtbot.waitUntil(lambda: not dock.check.is_busy, timeout=20_000)
    dock.check._fix(("spatial:flip-x",))
    answer(qtbot, "Cancel")
    assert not dock.check.is_busy
    dock.check._fix(("reference:drop-below=1",))
    assert question() is None
    qtbot.waitUntil(lambda: not dock.check.is_busy, timeout=20_000)
    assert dock.session.result is not None


def test_discarding_before_a_read_that_fails_asks_again(
    qtbot: Any, explored: Any, tmp_path: Path, messages: list[str]
) -> None:
    _, dock = explored
    dock.load.spots.spatial.value = tmp_path / "missing.h5ad"
    answer(qtbot, "Discard")
    qtbot.waitUntil(lambda: len(messages) == 1, timeout=5000)
    assert dock.session.result is not None
    assert not dock.unsaved.is_settled


@pytest.fixture
def shown(qtbot: Any, make_dock: Callable[..., Any], result: Result) -> Any:
    """A window on the screen, with a result that was not saved."""
    viewer, dock = make_dock(show=True)
    qtbot.waitUntil(dock.isVisible, timeout=5000)
    show_result(dock, result, "Gut")
    return viewer, dock


def test_closing_the_window_asks_and_stays_until_the_answer(qtbot: Any, shown: Any) -> None:
    viewer, dock = shown
    window = viewer.window._qt_window
    assert not window.close()
    assert "Closing napari" in question().informativeText()
    answer(qtbot, "Cancel")
    qtbot.wait(50)
    assert window.isVisible()
    assert not dock.is_closed
    assert not window.close()
    answer(qtbot, "Discard")
    qtbot.waitUntil(lambda: dock.is_closed, timeout=5000)
    del viewer.window._qt_window  # it is gone; the fixture would close it again


def test_closing_after_saving_loses_nothing(
    qtbot: Any, shown: Any, result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer, dock = shown
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path / "kept"))
    viewer.window._qt_window.close()
    answer(qtbot, "Save result…")
    qtbot.waitUntil(lambda: dock.is_closed, timeout=10_000)
    del viewer.window._qt_window  # it is gone; the fixture would close it again
    np.testing.assert_array_equal(read_result(tmp_path / "kept").proportions, result.proportions)


def test_a_script_closes_the_viewer_without_a_question(shown: Any) -> None:
    viewer, _ = shown
    viewer.close()
    assert question() is None
    assert not hasattr(viewer.window, "_qt_window")


def test_a_result_that_is_dropped_during_a_run_waits_for_its_end(
    qtbot: Any, loaded: Any, opened_file: Path
) -> None:
    _, dock = loaded
    dock.run.form.fields["n_outer_iterations"].value = 1
    dock.load.set_held(True)
    dock.open_file(opened_file)
    qtbot.waitUntil(lambda: not dock.load.is_busy, timeout=10_000)
    assert dock.session.data.tissue.name == "Gut"
    dock.load.set_held(False)
    assert dock.session.data.tissue.path == opened_file
    assert dock.session.result is not None


def test_a_name_with_markup_is_shown_literally(explored: Any, tissue: SimulatedTissue, other: Path) -> None:
    _, dock = explored
    result = dock.session.result
    dock.session.data.set_tissue(LoadedTissue(tissue.spatial.copy(), "<b>Gut</b>\u202e"))
    dock.session.set_result(result)
    dock.load.spots.spatial.value = other
    assert question().textFormat() == Qt.TextFormat.PlainText
    assert question().text() == "The result of <b>Gut</b>\\u202e is not saved."
    question().reject()
