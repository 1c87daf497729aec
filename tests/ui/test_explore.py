"""The list of cell types and the layers it shows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor

from napari_spotmix.colors import cell_type_colors
from napari_spotmix.result import Result
from napari_spotmix.ui.demo import show_result
from napari_spotmix.ui.explore import SORT_BY_NAME, rows_of
from napari_spotmix.ui.legend import legend_of
from napari_spotmix.ui.session import COUNTS, DOMINANT, UNEXPLAINED
from napari_spotmix.ui.text import plain

pytestmark = pytest.mark.viewer

HOSTILE = 'T/NK "cells" <b>'


def visible_types(viewer: Any, dock: Any) -> list[str]:
    return [
        layer.name
        for layer in viewer.layers
        if layer.visible and "shown" in layer.metadata.get("spotmix", {})
    ]


def row_of(dock: Any, key: Any) -> int:
    return next(at for at, row in enumerate(dock.explore.list.rows.rows) if row.key == key)


def click_row(qtbot: Any, dock: Any, row: int) -> None:
    types = dock.explore.list
    middle = types.visualRect(types.rows.index(row)).center()
    qtbot.mouseClick(types.viewport(), Qt.MouseButton.LeftButton, pos=middle)


def test_rows_are_sorted_by_mean_between_the_overview_and_further_maps(result: Result) -> None:
    overview, *rows, unexplained, counts = rows_of(result)
    assert (overview.key, unexplained.key, counts.key) == (DOMINANT, UNEXPLAINED, COUNTS)
    assert [row.mean for row in rows] == sorted((row.mean for row in rows), reverse=True)
    assert rows[0].length == 1
    assert rows[-1].length == pytest.approx(rows[-1].mean / rows[0].mean)
    for row in rows:
        assert row.mean == pytest.approx(result.proportions[row.key].mean())
        assert row.colors == (cell_type_colors(result.cell_types)[row.key],)


def test_layers_are_made_when_first_looked_at(qtbot: Any, explored: Any) -> None:
    viewer, dock = explored
    assert visible_types(viewer, dock) == ["Dominant type"]
    before = len(viewer.layers)
    click_row(qtbot, dock, 2)
    name = dock.explore.list.rows.rows[2].key
    assert len(viewer.layers) == before + 1
    assert visible_types(viewer, dock) == [name]
    assert viewer.layers[name].face_colorbar.visible
    assert viewer.layers[name].face_contrast_limits == (0, 1)
    assert viewer.layers.selection.active is viewer.layers[name]
    click_row(qtbot, dock, 0)
    assert visible_types(viewer, dock) == ["Dominant type"]
    assert len(viewer.layers) == before + 1


def test_arrow_keys_walk_through_the_types(qtbot: Any, explored: Any) -> None:
    viewer, dock = explored
    types = dock.explore.list
    for row in (1, 2, 3):
        qtbot.keyClick(types, Qt.Key.Key_Down)
        assert visible_types(viewer, dock) == [types.rows.rows[row].key]
    qtbot.keyClick(types, Qt.Key.Key_Up)
    assert visible_types(viewer, dock) == [types.rows.rows[2].key]


def test_a_deleted_layer_comes_back_at_a_click(qtbot: Any, explored: Any) -> None:
    viewer, dock = explored
    click_row(qtbot, dock, 1)
    name = dock.explore.list.rows.rows[1].key
    viewer.layers.remove(name)
    click_row(qtbot, dock, 1)
    assert visible_types(viewer, dock) == [name]


@pytest.mark.parametrize(
    ("key", "feature", "title"),
    [
        (UNEXPLAINED, "unexplained", "Unexplained: share"),
        (COUNTS, "counts", "Counts per spot"),
    ],
)
def test_further_maps_show_what_they_name(
    qtbot: Any, make_dock: Any, result: Result, key: Any, feature: str, title: str
) -> None:
    viewer, dock = make_dock()
    explained = np.linspace(0.5, 1.0, len(result.abundances))
    result = replace(result, abundances=result.abundances.mul(explained, axis=0))
    show_result(dock, result, "Gut")
    click_row(qtbot, dock, row_of(dock, key))
    assert visible_types(viewer, dock) == [key.value]
    layer = dock.scene.layer_of(key)
    known = (result.reasons == "").to_numpy()
    expected = {"unexplained": result.unexplained, "counts": result.counts}[feature].to_numpy()
    np.testing.assert_allclose(np.asarray(layer.features[feature])[known], expected[known])
    low, high = layer.face_contrast_limits
    assert low == 0
    assert high == pytest.approx(np.quantile(expected[known], 0.98))
    brightness = layer.face_color[known, :3].sum(axis=1)
    below = expected[known] <= high
    assert np.corrcoef(brightness[below], expected[known][below])[0, 1] > 0.9
    assert layer.face_colorbar.visible
    assert viewer.canvas.overlays.text.text == title
    assert dock.explore.summary == key.value


def test_filter_and_order(explored: Any) -> None:
    _, dock = explored
    explore = dock.explore
    explore.filter.value = "t/nk"
    assert [row.key for row in explore.list.rows.rows] == [DOMINANT, HOSTILE]
    explore.filter.value = ""
    explore.sort.value = SORT_BY_NAME
    names = [row.name for row in explore.list.rows.rows[1:-2]]
    assert names == sorted(names, key=str.casefold)
    assert dock.session.shown is DOMINANT, "filtering and sorting show nothing else"


def test_hostile_names_are_shown_literally(qtbot: Any, explored: Any) -> None:
    viewer, dock = explored
    dock.session.show(HOSTILE)
    index = dock.explore.list.rows.index(row_of(dock, HOSTILE))
    assert index.data(Qt.ItemDataRole.DisplayRole) == HOSTILE
    assert not Qt.mightBeRichText(index.data(Qt.ItemDataRole.ToolTipRole))
    assert plain(HOSTILE) in viewer.layers
    assert not Qt.mightBeRichText(plain(HOSTILE))
    assert viewer.canvas.overlays.text.text == f"{HOSTILE}: proportion"
    dock.sections["Explore"].set_open(False)
    assert dock.sections["Explore"].summary == HOSTILE


def test_legend_lists_the_dominant_types_in_the_colours_of_the_layer(explored: Any) -> None:
    _, dock = explored
    result = dock.session.result
    entries = legend_of(result)
    assert {name for name, _ in entries} == set(result.dominant.dropna())
    assert dict(entries).items() <= cell_type_colors(result.cell_types).items()
    assert dock.legend.entries == entries
    dock.session.show(result.cell_types[1])
    assert list(dock.legend.entries) == []


def test_legend_is_painted(qtbot: Any, explored: Any) -> None:
    _, dock = explored
    image = dock.legend.grab().toImage()
    for at, (_, color) in enumerate(dock.legend.entries):
        painted, expected = image.pixelColor(14, 4 + 18 * at + 8), QColor(color)
        # Screens of 16 bits round colours.
        np.testing.assert_allclose(painted.getRgb(), expected.getRgb(), atol=8)


def test_opacity_is_kept_for_types_that_come_later(explored: Any) -> None:
    viewer, dock = explored
    dock.explore.opacity.value = 0.5
    assert viewer.layers["Dominant type"].opacity == pytest.approx(0.5)
    name = dock.session.result.cell_types[0]
    dock.session.show(name)
    assert viewer.layers[plain(name)].opacity == pytest.approx(0.5)


def test_reopened_dock_takes_over_the_layers(explored: Any) -> None:
    viewer, dock = explored
    name = dock.session.result.cell_types[1]
    dock.session.show(name)
    layers = list(viewer.layers)
    viewer.window.remove_dock_widget(dock)
    _, again = viewer.window.add_plugin_dock_widget("napari-spotmix", "Cell-type deconvolution")
    assert again.session is dock.session
    again.session.show(name)
    assert list(viewer.layers) == layers
    assert np.sum([layer.name == name for layer in viewer.layers]) == 1
    again.close_session()
