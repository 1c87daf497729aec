"""The whole tissue: cell types that are near each other, and niches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from napari.utils.colormaps.standardize_color import transform_color
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import QFileDialog
from scipy.sparse import csr_array

from napari_spotmix.analysis.colocalization import Colocalization, bivariate_moran
from napari_spotmix.analysis.niches import find_niches
from napari_spotmix.base.colors import NICHE_PALETTE
from napari_spotmix.base.errors import Cancelled
from napari_spotmix.result import Result
from napari_spotmix.ui.demo import show_result
from napari_spotmix.ui.panels.heat_map import END, diverging
from napari_spotmix.ui.panels.tissue import AS_LISTED, tissue_task
from napari_spotmix.ui.panels.type_list import rows_of
from napari_spotmix.ui.state.maps import DOMINANT, NICHES

pytestmark = pytest.mark.viewer


@pytest.fixture
def found(qtbot: Any, make_dock: Any, result: Result) -> tuple[Any, Any]:
    viewer, dock = make_dock()
    show_result(dock, result, "Gut")
    dock.tissue.search.native.click()
    qtbot.waitUntil(lambda: dock.tissue.pairs is not None, timeout=20_000)
    return viewer, dock


def test_before_a_run_the_panel_says_what_it_is_for(make_dock: Any) -> None:
    _, dock = make_dock()
    assert "After a run" in dock.tissue.state.text()
    assert dock.tissue.map.isHidden()


def test_niches_are_shown_with_a_legend_of_their_own(found: Any) -> None:
    _, dock = found
    assert dock.session.display.shown is NICHES
    layer, niches = dock.scene.layer_of(NICHES), dock.session.niches
    assert layer.visible
    assert niches.codes[4] == -1, "what was not estimated is in no niche"
    assert layer.face_color[4, 3] == 0
    colors = [color for _, color in dock.overlays.legend.entries]
    assert not set(colors) & set(dock.session.result.colors.values()), "no niche is taken for a cell type"
    known = niches.codes >= 0
    np.testing.assert_allclose(
        layer.face_color[known] - transform_color(colors)[niches.codes[known]], 0, atol=1e-6
    )
    name, largest = dock.overlays.legend.entries[0][0], niches.composition.iloc[0].argmax()
    assert name.startswith("1: ")
    assert all(entry.partition(": ")[2] for entry, _ in dock.overlays.legend.entries), (
        "every niche has a name"
    )
    assert dock.session.result.cell_types[largest] in name
    assert NICHES in [row.key for row in dock.explore.list.rows.rows]
    assert NICHES not in [row.key for row in rows_of(dock.session.result)]


def test_the_map_shows_the_pairs_and_a_click_shows_both_types(qtbot: Any, found: Any) -> None:
    _, dock = found
    result, heat = dock.session.result, dock.tissue.map
    ones = csr_array(result.weights)
    ones.data[:] = 1.0
    expected = bivariate_moran(result.proportions.to_numpy(), ones)
    dock.tissue.order.value = AS_LISTED
    np.testing.assert_allclose(heat.values, expected.observed)
    heat.resize(320, heat.height())
    side = heat._side()
    for row, column in ((1, 3), (2, 2)):
        point = QPoint(heat._name + column * side + side // 2, heat._head() + row * side + side // 2)
        assert heat.pair_at(point.x(), point.y()) == (row, column)
        qtbot.mouseClick(heat, Qt.MouseButton.LeftButton, pos=point)
        names = result.cell_types
        assert dock.session.display.shown == (names[row] if row == column else (names[row], names[column]))
    assert heat.pair_at(2, 20) is None
    for row, column in np.ndindex(expected.z.shape):
        value, score = expected.observed[row, column], expected.z[row, column]
        said = "no more than chance" if not abs(score) >= 3 else "together" if value > 0 else "apart"
        assert f": {said} (I {value:.2f}" in heat.pair_text(row, column)
    assert heat.accessibleDescription()


def test_types_near_each_other_follow_each_other(found: Any) -> None:
    _, dock = found
    heat, pairs = dock.tissue.map, dock.tissue.pairs
    assert heat.names == pairs.similar_order
    assert sorted(heat.names) == sorted(dock.session.result.cell_types)
    np.testing.assert_array_equal(heat.values, pairs.observed.loc[heat.names, heat.names])

    def between(names: list[str]) -> float:
        return float(np.diagonal(pairs.observed.loc[names, names], offset=1).sum())

    assert between(heat.names) > between(dock.session.result.cell_types)
    dock.tissue.order.value = AS_LISTED
    assert heat.names == dock.session.result.cell_types


def test_the_map_of_pairs_has_names_on_columns_and_a_scale(qtbot: Any, found: Any) -> None:
    heat = found[1].tissue.map
    heat.setParent(None)
    qtbot.addWidget(heat)
    heat.resize(320, 100)
    heat.show()
    height = heat._head()
    assert heat.height() > height + heat._row() * len(heat.names)
    shown = heat.grab().toImage()
    scale = heat.height() - heat._foot + 10
    first = shown.pixelColor(heat._name, scale).getRgb()  # a display may have fewer colors
    np.testing.assert_allclose(first, diverging(-END).getRgb(), atol=8)
    assert diverging(END).name() == diverging(9.0).name(), "the scale ends where the colors end"
    column = range(heat._name, heat._name + heat._side() - 1)
    above = {shown.pixelColor(x, y).name() for x in column for y in range(height - 14)}
    assert len(above) > 1, "a name is written above the first column"
    heat.show_pairs({f"type {at}": "#ff0000" for at in range(60)}, of_many(60))
    assert heat._head() < height, "60 columns are too narrow for names"


def of_many(n: int) -> Colocalization:
    names = [f"type {at}" for at in range(n)]
    zero = pd.DataFrame(np.zeros((n, n)), names, names)
    return Colocalization(zero, zero, zero, zero)


def test_pairs_are_copied_and_saved(
    qtbot: Any, found: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tissue = found[1].tissue
    clipboard = QGuiApplication.clipboard()
    clipboard.clear()
    qtbot.keyClick(tissue.map, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    lines = clipboard.text().splitlines()
    assert lines[0].split("\t") == list(tissue.pairs.pairs.columns)
    assert len(lines) == 1 + len(tissue.pairs.pairs)
    clipboard.clear()
    qtbot.mouseClick(tissue.copy.native, Qt.MouseButton.LeftButton)
    assert clipboard.text().splitlines() == lines
    path = tmp_path / "pairs.csv"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    qtbot.mouseClick(tissue.save.native, Qt.MouseButton.LeftButton)
    pd.testing.assert_frame_equal(pd.read_csv(path), tissue.pairs.pairs)


def test_together_is_red_apart_is_blue_and_unknown_gray() -> None:
    together, apart = diverging(0.4), diverging(-0.4)
    assert together.red() > together.blue()
    assert apart.blue() > apart.red()
    assert diverging(float("nan")).name() == "#808080"


def test_niches_that_are_stored_with_a_result_are_offered(make_dock: Any, result: Result) -> None:
    stored = find_niches(result, 3, random_state=5)
    _, dock = make_dock()
    show_result(dock, replace(result, niches=stored.labels), "Gut")
    np.testing.assert_array_equal(dock.session.niches.codes, stored.codes)
    np.testing.assert_allclose(dock.session.niches.composition, stored.composition)
    assert dock.session.display.shown is DOMINANT, "they are shown only if asked for"
    dock.tissue.show_niches.native.click()
    assert dock.session.display.shown is NICHES
    assert len(dock.overlays.legend.entries) == 3
    kept = dock.session.result.to_anndata()
    assert kept.uns["spotmix_niche_colors"] == [color for _, color in dock.overlays.legend.entries]


def test_niches_of_a_part_keep_their_names_and_colors(make_dock: Any, result: Result) -> None:
    stored = find_niches(result, 4, random_state=5)
    left = stored.labels.where(stored.labels != "2")
    _, dock = make_dock()
    show_result(dock, replace(result, niches=left), "Gut")
    dock.tissue.show_niches.native.click()
    assert [entry.partition(":")[0] for entry, _ in dock.overlays.legend.entries] == ["1", "3", "4"]
    colors = [color for _, color in dock.overlays.legend.entries]
    assert colors == [NICHE_PALETTE[at] for at in (0, 2, 3)]
    swatch = next(row for row in dock.explore.list.rows.rows if row.key is NICHES).colors
    assert swatch == tuple(colors), "the list has the colors of niches, not of types"
    layer = dock.scene.layer_of(NICHES)
    assert layer.face_color[(left == "3").to_numpy()][0] == pytest.approx(transform_color(colors[1])[0])


def test_another_result_takes_niches_away(found: Any) -> None:
    _, dock = found
    dock.session.replay(replace(dock.session.result, notes=()))
    assert dock.session.niches is None
    assert dock.session.display.shown is DOMINANT
    assert dock.tissue.map.isHidden()
    assert NICHES not in [row.key for row in dock.explore.list.rows.rows]
    dock.session.set_result(None)
    assert dock.tissue.pairs is None


def test_the_layer_follows_another_number_of_niches(qtbot: Any, found: Any) -> None:
    _, dock = found
    before = dock.scene.layer_of(NICHES)
    dock.tissue.n_niches.value = 2
    dock.tissue.search.native.click()
    qtbot.waitUntil(lambda: len(dock.session.niches.composition) == 2, timeout=20_000)
    assert dock.scene.layer_of(NICHES) is before
    assert len(dock.overlays.legend.entries) == 2
    shown = {tuple(color) for color in before.face_color.round(4) if color[3] > 0}
    assert len(shown) == 2


def test_it_can_be_cancelled(result: Result) -> None:
    def stop(_: Any) -> None:
        raise Cancelled("Cancelled.")

    with pytest.raises(Cancelled):
        tissue_task(result, 4)(stop)


def test_the_map_of_pairs_is_used_by_keyboard_alone(qtbot: Any, found: Any) -> None:
    _, dock = found
    map_, names = dock.tissue.map, dock.tissue.map.names
    assert names == dock.tissue.pairs.similar_order
    section = dock.sections["Tissue"]
    assert map_ in section.in_tab_order
    assert map_.accessibleName()
    for key in ("Key_Left", "Key_Down", "Key_Down", "Key_Right"):
        qtbot.keyClick(map_, getattr(Qt.Key, key))
    assert map_.cursor_at == (2, 1), "it stops at the edge"
    assert map_.accessibleDescription() == map_.pair_text(2, 1)
    qtbot.keyClick(map_, Qt.Key.Key_Return)
    assert dock.session.display.shown == (names[2], names[1])
    qtbot.keyClick(map_, Qt.Key.Key_End)
    qtbot.keyClick(map_, Qt.Key.Key_Space)
    assert dock.session.display.shown == (names[2], names[-1])
    for _ in range(9):
        qtbot.keyClick(map_, Qt.Key.Key_Down)
    qtbot.keyClick(map_, Qt.Key.Key_Enter)
    assert dock.session.display.shown == names[-1], "a type with itself"


def test_the_cursor_is_visible_while_the_map_has_the_focus(qtbot: Any, found: Any) -> None:
    map_ = found[1].tissue.map
    map_.setParent(None)
    qtbot.addWidget(map_)
    map_.show()
    map_.activateWindow()
    map_.setFocus()
    qtbot.waitUntil(map_.hasFocus, timeout=5000)
    before = map_.grab().toImage()
    qtbot.keyClick(map_, Qt.Key.Key_Right)
    assert map_.grab().toImage() != before
