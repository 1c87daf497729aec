"""Running, cancelling, failing, saving."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QFileDialog

from napari_spotmix.io import read_recipe
from napari_spotmix.io.readers.options import ReadOptions
from napari_spotmix.simulation.simulate import SimulatedTissue, simulate
from napari_spotmix.ui.demo import read_result
from napari_spotmix.ui.state.loaded import LoadedTissue
from napari_spotmix.ui.state.maps import DOMINANT
from tests.io.layouts import write_hd

pytestmark = pytest.mark.viewer


@pytest.fixture(scope="session")
def large_tissue() -> SimulatedTissue:
    """Enough work to be cancelled in the midst of it."""
    return simulate(n_spots=2500, n_genes=800, n_cell_types=20, n_cells_per_type=40, image=False)


def press(qtbot: Any, button: Any) -> None:
    qtbot.mouseClick(button.native, Qt.MouseButton.LeftButton)


def test_a_run_ends_with_a_result_and_its_overview(qtbot: Any, loaded: Any) -> None:
    viewer, dock = loaded
    press(qtbot, dock.run.run)
    assert dock.run.is_running
    assert not dock.run.run.enabled
    assert dock.run.cancel.enabled
    qtbot.waitUntil(lambda: dock.session.result is not None, timeout=60000)
    assert [layer.name for layer in viewer.layers] == ["Gut image", "Gut spots", "Dominant type"]
    assert "Finished in" in dock.run.state.text()
    assert dock.session.result.provenance.summary in dock.run.state.text()
    assert dock.run.run.enabled
    assert not dock.run.cancel.enabled
    assert dock.run.save.enabled
    assert not dock.sections["Data"].is_open
    assert "90 spots" in dock.sections["Data"].summary


def test_the_form_decides_the_parameters(qtbot: Any, loaded: Any) -> None:
    _, dock = loaded
    dock.run.form.fields["lambda_c"].value = "0.25"
    dock.run.form.fields["random_state"].value = 7
    press(qtbot, dock.run.run)
    qtbot.waitUntil(lambda: dock.session.result is not None, timeout=60000)
    given = dock.session.result.provenance.given
    assert given["lambda_c"] == 0.25
    assert given["random_state"] == 7


def test_empty_fields_are_learned(loaded: Any) -> None:
    _, dock = loaded
    for name in ("lambda_c", "alpha", "attention_sharpness"):
        field = dock.run.form.fields[name]
        assert field.native.placeholderText() == "learned"
        assert dock.run.form.values()[name] is None
        field.value = "0.25"
        assert dock.run.form.values()[name] == 0.25
        field.value = " "
        assert dock.run.form.values()[name] is None


def test_a_reference_of_one_type_says_what_is_missing(loaded: Any, tissue: SimulatedTissue) -> None:
    _, dock = loaded
    first = tissue.reference.obs["cell_type"].iloc[0]
    one_type = tissue.reference[tissue.reference.obs["cell_type"] == first].copy()
    dock.session.open_in_memory(LoadedTissue(tissue.spatial, "Gut"), one_type)
    assert not dock.run.run.enabled
    assert "at least two" in dock.run.state.text()


def test_all_problems_of_the_form_are_shown(qtbot: Any, loaded: Any, messages: list[str]) -> None:
    _, dock = loaded
    dock.run.form.fields["alpha"].value = "-1"
    dock.run.form.fields["tolerance"].value = "7"
    press(qtbot, dock.run.run)
    assert "`alpha` (Distance decay) must be" in messages[0]
    assert "`tolerance` (Tolerance) must be" in messages[0]
    assert dock.run.more.is_open, "what is wrong can be corrected"
    dock.run.form.fields["tolerance"].value = "many"
    press(qtbot, dock.run.run)
    assert "'many'" in messages[1]
    assert not dock.run.is_running
    assert dock.run.run.enabled


def test_an_error_is_shown_and_the_form_works_again(
    qtbot: Any, loaded: Any, tissue: SimulatedTissue, messages: list[str]
) -> None:
    _, dock = loaded
    other_genes = tissue.reference.copy()
    other_genes.var_names = [f"other {name}" for name in other_genes.var_names]
    dock.session.open_in_memory(LoadedTissue(tissue.spatial, "Gut"), other_genes)
    press(qtbot, dock.run.run)
    qtbot.waitUntil(lambda: len(messages) == 1, timeout=60000)
    assert "share no gene" in messages[0]
    assert dock.run.state.text().startswith("Failed: ")
    # The check finds the same, sooner or later, and shows it in its own panel.
    qtbot.waitUntil(lambda: not dock.run.run.enabled, timeout=60000)
    assert dock.run.state.text().startswith("Failed: ")
    assert dock.session.result is None
    dock.session.open_in_memory(LoadedTissue(tissue.spatial, "Gut"), tissue.reference)
    qtbot.waitUntil(lambda: dock.run.run.enabled, timeout=60000)
    press(qtbot, dock.run.run)
    qtbot.waitUntil(lambda: dock.session.result is not None, timeout=60000)


def test_cancel_stops_within_half_a_second(
    qtbot: Any, make_dock: Callable[..., Any], large_tissue: SimulatedTissue
) -> None:
    _, dock = make_dock()
    start_long_run(qtbot, dock, large_tissue)
    start = time.monotonic()
    press(qtbot, dock.run.cancel)
    qtbot.waitUntil(lambda: not dock.run.is_running, timeout=3000)
    assert time.monotonic() - start < 0.5
    assert dock.run.state.text() == "Cancelled. Nothing was changed."
    assert dock.session.result is None
    assert dock.run.run.enabled


def start_long_run(qtbot: Any, dock: Any, tissue: SimulatedTissue) -> None:
    dock.session.open_in_memory(LoadedTissue(tissue.spatial, "Large"), tissue.reference)
    dock.run.form.fields["tolerance"].value = "1e-14"
    dock.run.form.fields["lambda_c"].value = "100"
    dock.run.form.fields["n_outer_iterations"].value = 100
    press(qtbot, dock.run.run)
    qtbot.waitUntil(lambda: dock.run.state.text().startswith("Running: "), timeout=30000)


def test_the_window_stays_alive_while_running(
    qtbot: Any, make_dock: Callable[..., Any], large_tissue: SimulatedTissue
) -> None:
    _, dock = make_dock()
    start_long_run(qtbot, dock, large_tissue)
    ticks = [time.monotonic()]
    timer = QTimer()
    timer.timeout.connect(lambda: ticks.append(time.monotonic()))
    timer.start(10)
    qtbot.wait(1000)
    timer.stop()
    assert dock.run.is_running, "the ticks are those of a run"
    gaps = np.diff(ticks)
    # Two cores are shared with everything else that runs: a single late tick may happen.
    assert np.quantile(gaps, 0.95) < 0.05
    assert gaps.max() < 0.25


def test_closing_the_viewer_while_running_leaves_no_thread(
    qtbot: Any, make_dock: Callable[..., Any], large_tissue: SimulatedTissue
) -> None:
    viewer, dock = make_dock()
    start_long_run(qtbot, dock, large_tissue)
    viewer.close()
    qtbot.waitUntil(lambda: not spotmix_threads(), timeout=10_000)


def test_closing_the_dock_while_running_leaves_no_thread(
    qtbot: Any, make_dock: Callable[..., Any], large_tissue: SimulatedTissue
) -> None:
    viewer, dock = make_dock()
    start_long_run(qtbot, dock, large_tissue)
    viewer.window.remove_dock_widget(dock)
    qtbot.waitUntil(lambda: not spotmix_threads(), timeout=10_000)
    assert dock.scene._on_press not in viewer.mouse_drag_callbacks


def test_a_closed_dock_is_not_kept(qtbot: Any, make_napari_viewer: Any, tissue: SimulatedTissue) -> None:
    viewer = make_napari_viewer()
    kept = open_and_close_dock(viewer, tissue)
    qtbot.waitUntil(lambda: gc.collect() >= 0 and kept() is None, timeout=3000)


def open_and_close_dock(viewer: Any, tissue: SimulatedTissue) -> weakref.ref[Any]:
    _, dock = viewer.window.add_plugin_dock_widget("napari-spotmix", "Cell-type deconvolution")
    dock.session.open_in_memory(LoadedTissue(tissue.spatial, "Gut"), tissue.reference)
    viewer.window.remove_dock_widget(dock)
    return weakref.ref(dock)


def test_closing_the_window_itself_ends_the_session(
    qtbot: Any, make_dock: Callable[..., Any], large_tissue: SimulatedTissue
) -> None:
    viewer, dock = make_dock(show=True)
    start_long_run(qtbot, dock, large_tissue)
    viewer.window._qt_window.close()
    del viewer.window._qt_window  # it is gone; the fixture would close it again
    qtbot.waitUntil(lambda: dock.is_closed and not spotmix_threads(), timeout=10_000)


def spotmix_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("spotmix-")]


def test_the_result_of_data_that_are_gone_is_dropped(
    qtbot: Any, loaded: Any, tissue: SimulatedTissue
) -> None:
    _, dock = loaded
    press(qtbot, dock.run.run)
    assert not dock.load.spots.spatial.native.isEnabled()
    dock.session.open_in_memory(LoadedTissue(tissue.spatial.copy(), "Other"), tissue.reference)
    qtbot.waitUntil(lambda: not dock.run.is_running, timeout=60000)
    qtbot.wait(200)
    assert dock.session.result is None
    assert dock.load.spots.spatial.native.isEnabled()


def test_layers_deleted_while_running_do_no_harm(qtbot: Any, loaded: Any) -> None:
    viewer, dock = loaded
    press(qtbot, dock.run.run)
    viewer.layers.clear()
    qtbot.waitUntil(lambda: dock.session.result is not None, timeout=60000)
    assert [layer.name for layer in viewer.layers] == ["Dominant type"]


def test_a_result_is_saved_and_opens_again(qtbot: Any, explored: Any, tmp_path: Path) -> None:
    _, dock = explored
    result = dock.session.result
    dock.run.save_to(tmp_path / "out")
    qtbot.waitUntil(lambda: not dock.run.is_running, timeout=10000)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "proportions.csv",
        "recipe.toml",
        "spatial.h5ad",
    ]
    assert dock.run.state.text() == f"Saved in {tmp_path / 'out'}"
    np.testing.assert_array_equal(read_result(tmp_path / "out").proportions, result.proportions)


def test_a_saved_recipe_names_the_size_of_bins(qtbot: Any, explored: Any, tmp_path: Path) -> None:
    _, dock = explored
    outs = write_hd(tmp_path / "outs", (8, 16))
    dock.session.data.tissue = LoadedTissue(dock.session.result.spatial, "Gut", outs, ReadOptions(bin_um=16))
    dock.run.save_to(tmp_path / "out")
    qtbot.waitUntil(lambda: not dock.run.is_running, timeout=10000)
    recipe = read_recipe(tmp_path / "out")
    assert recipe["reading"] == {"bin_um": 16}
    assert all("square_016um" in file["name"] for file in recipe["inputs"]["spatial"]["files"])


def test_a_report_is_written_and_shown_in_the_browser(
    qtbot: Any, explored: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, dock = explored
    shown: list[Path] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: shown.append(Path(url.toLocalFile())))
    chosen = str(tmp_path / "my gut"), ""
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: chosen)
    press(qtbot, dock.run.report)
    assert dock.run.is_running
    assert not dock.run.report.enabled
    qtbot.waitUntil(lambda: not dock.run.is_running, timeout=10000)
    page = tmp_path / "my gut.html"
    assert shown == [page]
    assert str(page) in dock.run.state.text()
    html = page.read_text(encoding="utf-8")
    assert "<bdi>Gut</bdi></h1>" in html
    assert "T/NK &#34;cells&#34; &lt;b&gt;" in html


def test_without_a_result_there_is_nothing_to_report(loaded: Any) -> None:
    _, dock = loaded
    assert not dock.run.report.enabled
    assert "run first" in dock.run.report.tooltip


def test_a_folder_that_cannot_be_written_is_reported(
    qtbot: Any, explored: Any, tmp_path: Path, messages: list[str]
) -> None:
    _, dock = explored
    (tmp_path / "file").write_text("")
    dock.run.save_to(tmp_path / "file")
    qtbot.waitUntil(lambda: not dock.run.is_running, timeout=10000)
    assert "`output`" in messages[0]
    assert dock.run.save.enabled


def test_notes_are_counted_and_open(explored: Any) -> None:
    _, dock = explored
    assert not dock.run.notes.is_open
    assert dock.run.notes.title == "2 notes"
    assert "T <i>" in dock.run.notes_text.text()
    assert dock.run.notes_text.textFormat() == Qt.TextFormat.PlainText


def test_other_data_drop_the_old_result(explored: Any, tissue: SimulatedTissue) -> None:
    viewer, dock = explored
    dock.session.pointer.pick(10)
    dock.session.open_in_memory(LoadedTissue(tissue.spatial.copy(), "Other"), tissue.reference)
    assert dock.session.result is None
    assert dock.scene.layer_of(DOMINANT) is None
    assert [layer.name for layer in viewer.layers] == ["Other image", "Other spots"]
