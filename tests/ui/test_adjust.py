"""Smoothness and cell types changed by hand, and the map that follows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from napari_spotmix import deconvolve
from napari_spotmix.result import Result
from napari_spotmix.simulation.simulate import SimulatedTissue
from napari_spotmix.ui.demo import show_result
from napari_spotmix.ui.state.maps import DOMINANT

pytestmark = pytest.mark.viewer


@pytest.fixture(scope="module")
def fitted(tissue: SimulatedTissue) -> Result:
    return deconvolve(tissue.spatial, tissue.reference, lambda_c=0.2, attention=False)


@pytest.fixture
def ran(make_dock: Callable[..., Any], fitted: Result) -> tuple[Any, Any]:
    """A viewer and its dock with the result of a run in it, and its controls in sight."""
    viewer, dock = make_dock()
    show_result(dock, fitted, "Gut")
    dock.sections["Adjust"].set_open(True)
    return viewer, dock


def wait_for_rest(qtbot: Any, dock: Any) -> None:
    qtbot.waitUntil(lambda: not dock.adjust.is_running, timeout=5000)


def uncheck(dock: Any, name: str) -> None:
    dock.adjust.types.findItems(name, Qt.MatchFlag.MatchExactly)[0].setCheckState(Qt.CheckState.Unchecked)


def shares_shown(dock: Any, cell_type: str) -> np.ndarray:
    return np.asarray(dock.scene.layer_of(cell_type).features["proportion"])


def test_the_map_follows_the_slider_in_the_same_layer(qtbot: Any, ran: Any, fitted: Result) -> None:
    viewer, dock = ran
    name = fitted.cell_types[0]
    dock.session.display.show(name)
    layer, n_layers = dock.scene.layer_of(name), len(viewer.layers)
    before, colors = shares_shown(dock, name).copy(), layer.face_color.copy()
    dock.adjust.slider.setValue(40)  # a hundred times as smooth
    wait_for_rest(qtbot, dock)
    assert dock.scene.layer_of(name) is layer
    assert len(viewer.layers) == n_layers
    expected = fitted.refit(lambda_c=20.0)
    np.testing.assert_allclose(shares_shown(dock, name), expected.proportions[name], rtol=1e-12)
    assert shares_shown(dock, name).std() < 0.9 * before.std()
    assert not np.array_equal(layer.face_color, colors)
    assert dock.adjust.state.text() == "Smoothness 20 (learned: 0.2)"
    assert "Solved again with lambda_c 20" in dock.run.notes_text.text()


def test_a_hidden_map_follows_when_it_is_shown(qtbot: Any, ran: Any, fitted: Result) -> None:
    _, dock = ran
    first, second = fitted.cell_types[:2]
    dock.session.display.show(first)
    dock.session.display.show(second)
    dock.adjust.slider.setValue(40)
    wait_for_rest(qtbot, dock)
    dock.session.display.show(first)
    np.testing.assert_allclose(shares_shown(dock, first), dock.session.result.proportions[first])
    means = {row.key: row.mean for row in dock.explore.list.rows.rows}
    assert means[first] == pytest.approx(dock.session.result.proportions[first].mean())


def test_one_click_leads_back_to_what_was_learned(qtbot: Any, ran: Any, fitted: Result) -> None:
    _, dock = ran
    assert not dock.adjust.back.enabled
    dock.adjust.slider.setValue(30)
    uncheck(dock, fitted.cell_types[1])
    wait_for_rest(qtbot, dock)
    assert dock.adjust.back.enabled
    dock.adjust.back.native.click()
    assert dock.session.result is fitted
    assert dock.adjust.slider.value() == 0
    assert dock.adjust.without == ()
    assert dock.adjust.state.text() == "Smoothness 0.2, as learned"


def test_a_type_that_is_left_out_is_shared_among_the_others(qtbot: Any, ran: Any, fitted: Result) -> None:
    _, dock = ran
    gone = fitted.cell_types[2]
    dock.session.display.show(gone)
    uncheck(dock, gone)
    wait_for_rest(qtbot, dock)
    result = dock.session.result
    assert gone not in result.cell_types
    assert dock.session.display.shown is DOMINANT
    assert gone not in [row.key for row in dock.explore.list.rows.rows]
    np.testing.assert_allclose(result.proportions.sum(axis=1).dropna(), 1.0)
    assert result.provenance.learned.refit.without == (gone,)


def test_the_list_of_types_shows_whole_rows_and_cuts_long_names_off(ran: Any, fitted: Result) -> None:
    _, dock = ran
    names = [f"{name} of the lamina propria, as far as it was taken out" for name in fitted.cell_types]
    long = dict(zip(fitted.cell_types, names, strict=True))
    tables = {name: getattr(fitted, name).rename(columns=long) for name in ("abundances", "standard_errors")}
    dock.session.set_result(replace(fitted, **tables, signatures=fitted.signatures.rename(index=long)))
    QApplication.processEvents()
    types = dock.adjust.types
    last = types.visualItemRect(types.item(types.count() - 1))
    assert types.count() == 5
    assert types.viewport().rect().contains(last)
    assert types.horizontalScrollBar().maximum() == 0
    assert types.verticalScrollBar().maximum() == 0


def test_the_last_type_cannot_be_left_out(qtbot: Any, ran: Any, fitted: Result) -> None:
    _, dock = ran
    for name in fitted.cell_types:
        uncheck(dock, name)
    wait_for_rest(qtbot, dock)
    assert dock.adjust.state.text() == "At least one cell type must stay."
    assert len(dock.session.result.cell_types) == 1


def test_of_many_requests_the_newest_is_shown_last(qtbot: Any, ran: Any, fitted: Result) -> None:
    _, dock = ran
    for value in range(1, 41):
        dock.adjust.slider.setValue(value)
    wait_for_rest(qtbot, dock)
    assert dock.session.result.provenance.learned.lambda_c == pytest.approx(20.0)


def test_the_left_end_is_no_smoothing(qtbot: Any, ran: Any, fitted: Result) -> None:
    _, dock = ran
    dock.adjust.slider.setValue(dock.adjust.slider.minimum())
    wait_for_rest(qtbot, dock)
    assert dock.session.result.provenance.learned.lambda_c == 0
    assert dock.adjust.state.text() == "No smoothing (learned: 0.2)"


def test_a_picked_spot_stays_picked_and_shows_the_new_numbers(qtbot: Any, ran: Any) -> None:
    _, dock = ran
    dock.session.pointer.pick(7)
    before = [bar.spot for bar in dock.inspect.bars.bars]
    dock.adjust.slider.setValue(40)
    wait_for_rest(qtbot, dock)
    assert dock.session.pointer.spot == 7
    after = [bar.spot for bar in dock.inspect.bars.bars]
    assert after != before
    assert max(after) == pytest.approx(dock.session.result.proportions.iloc[7].max())


def test_a_result_from_a_file_says_why_it_cannot_be_changed(make_dock: Any, result: Result) -> None:
    _, dock = make_dock()
    show_result(dock, result, "Gut")
    assert dock.adjust.slider.isHidden()
    assert dock.adjust.state.text() == "This result was read from a file; to change it, run again."


def test_a_layer_that_was_deleted_is_made_again(qtbot: Any, ran: Any, fitted: Result) -> None:
    viewer, dock = ran
    name = fitted.cell_types[0]
    dock.session.display.show(name)
    viewer.layers.remove(dock.scene.layer_of(name))
    dock.adjust.slider.setValue(10)
    wait_for_rest(qtbot, dock)
    assert dock.scene.layer_of(name) in viewer.layers
    np.testing.assert_allclose(shares_shown(dock, name), dock.session.result.proportions[name])


def test_closing_while_it_solves_leaves_no_thread(qtbot: Any, ran: Any) -> None:
    _, dock = ran
    before = {thread for thread in threading.enumerate() if not thread.name.startswith("spotmix")}
    dock.adjust.slider.setValue(25)
    dock.close_session()
    assert {thread for thread in threading.enumerate() if thread.name.startswith("spotmix")} == set()
    assert before <= set(threading.enumerate()) | before


def test_another_run_begins_with_its_own_result(
    qtbot: Any, ran: Any, fitted: Result, tissue: SimulatedTissue
) -> None:
    _, dock = ran
    dock.adjust.slider.setValue(25)
    wait_for_rest(qtbot, dock)
    other = deconvolve(tissue.spatial, tissue.reference, lambda_c=0.0)
    dock.session.set_result(other)
    assert dock.adjust.state.text() == "No smoothing, as learned"
    assert dock.adjust.slider.value() == dock.adjust.slider.minimum()
    dock.adjust.slider.setValue(0)
    wait_for_rest(qtbot, dock)
    assert dock.session.result.provenance.learned.lambda_c == pytest.approx(0.1)
