"""The list of cell types and the layers it shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from napari.layers import Points
from napari.utils.colormaps.standardize_color import transform_color
from napari.utils.events import Event
from qtpy.QtCore import QEvent, QPoint, Qt
from qtpy.QtGui import QColor
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QColorDialog, QFileDialog
from scipy.sparse import csr_array

from napari_spotmix.base.color_range import ColorRange, RangeMode, end_words, largest_proportion, rounded_up
from napari_spotmix.base.colors import cell_type_colors
from napari_spotmix.base.errors import Cancelled
from napari_spotmix.base.progress import Progress
from napari_spotmix.dataset.geometry import microns_per_pixel
from napari_spotmix.model.uncertainty.calibration import IntervalTable, Lookup
from napari_spotmix.result import Result
from napari_spotmix.ui.canvas.layer_info import map_of
from napari_spotmix.ui.canvas.legend import legend_of
from napari_spotmix.ui.demo import show_result
from napari_spotmix.ui.panels.explore import SORT_BY_NAME
from napari_spotmix.ui.panels.type_list import rows_of
from napari_spotmix.ui.state.figures import Framing, content_of, figure_task
from napari_spotmix.ui.state.loaded import LoadedTissue
from napari_spotmix.ui.state.maps import COUNTS, DOMINANT, ERRORS, GRAPH, PIES, UNEXPLAINED
from napari_spotmix.ui.text import plain

pytestmark = pytest.mark.viewer

HOSTILE = 'T/NK "cells" <b>'


def visible_types(viewer: Any, dock: Any) -> list[str]:
    return [layer.name for layer in viewer.layers if layer.visible and map_of(layer)]


def row_of(dock: Any, key: Any) -> int:
    return next(at for at, row in enumerate(dock.explore.list.rows.rows) if row.key == key)


def click_row(qtbot: Any, dock: Any, row: int) -> None:
    types = dock.explore.list
    middle = types.visualRect(types.rows.index(row)).center()
    qtbot.mouseClick(types.viewport(), Qt.MouseButton.LeftButton, pos=middle)


def test_rows_are_sorted_by_mean_between_the_overview_and_further_maps(result: Result) -> None:
    overview, *rows, pies, unexplained, counts, graph = rows_of(result)
    maps = [row.key for row in (overview, pies, unexplained, counts, graph)]
    assert maps == [DOMINANT, PIES, UNEXPLAINED, COUNTS, GRAPH]
    assert [row.mean for row in rows] == sorted((row.mean for row in rows), reverse=True)
    assert rows[0].length == 1
    assert rows[-1].length == pytest.approx(rows[-1].mean / rows[0].mean)
    for row in rows:
        assert row.mean == pytest.approx(result.proportions[row.key].mean())
        assert row.colors == (cell_type_colors(result.cell_types)[row.key],)


def test_layers_are_made_when_first_shown(qtbot: Any, explored: Any) -> None:
    viewer, dock = explored
    assert visible_types(viewer, dock) == ["Dominant type"]
    before = len(viewer.layers)
    click_row(qtbot, dock, 2)
    name = dock.explore.list.rows.rows[2].key
    assert len(viewer.layers) == before + 1
    assert visible_types(viewer, dock) == [name]
    end = viewer.layers[name].face_contrast_limits[1]
    assert dock.overlays.color_bar.bar.end.text() == end_words(end)
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
    assert high == rounded_up(np.quantile(expected[known], 0.98))
    brightness = layer.face_color[known, :3].sum(axis=1)
    below = expected[known] <= high
    assert np.corrcoef(brightness[below], expected[known][below])[0, 1] > 0.9
    assert dock.overlays.color_bar.bar.end.text() == end_words(high)
    assert dock.overlays.title.text == title
    assert dock.explore.summary == key.value


def test_filter_and_order(explored: Any) -> None:
    _, dock = explored
    explore = dock.explore
    explore.filter.value = "t/nk"
    assert [row.key for row in explore.list.rows.rows] == [DOMINANT, HOSTILE]
    explore.filter.value = ""
    explore.sort.value = SORT_BY_NAME
    names = [row.key for row in explore.list.rows.rows if isinstance(row.key, str)]
    assert names == sorted(names, key=str.casefold)
    assert dock.session.display.shown is DOMINANT, "filtering and sorting show nothing else"


def test_hostile_names_are_shown_literally(qtbot: Any, explored: Any) -> None:
    viewer, dock = explored
    dock.session.display.show(HOSTILE)
    index = dock.explore.list.rows.index(row_of(dock, HOSTILE))
    assert index.data(Qt.ItemDataRole.DisplayRole) == HOSTILE
    assert not Qt.mightBeRichText(index.data(Qt.ItemDataRole.ToolTipRole))
    assert plain(HOSTILE) in viewer.layers
    assert not Qt.mightBeRichText(plain(HOSTILE))
    assert dock.overlays.title.text == f"{HOSTILE}: proportion"
    dock.sections["Explore"].set_open(False)
    assert dock.sections["Explore"].summary == HOSTILE


def test_legend_lists_the_dominant_types_in_the_colors_of_the_layer(explored: Any) -> None:
    _, dock = explored
    result = dock.session.result
    entries = legend_of(result)
    assert {name for name, _ in entries} == set(result.dominant.dropna())
    assert dict(entries).items() <= cell_type_colors(result.cell_types).items()
    assert dock.overlays.legend.entries == entries
    dock.session.display.show(result.cell_types[1])
    assert list(dock.overlays.legend.entries) == []


def test_the_title_is_painted_and_leaves_its_corner_to_nothing_else(
    qtbot: Any, make_dock: Any, result: Result
) -> None:
    _, dock = make_dock(show=True)
    show_result(dock, result, "Gut")
    dock.session.display.show(HOSTILE)
    qtbot.waitUntil(dock.overlays.title.isVisible)
    assert dock.overlays.title.text == f"{HOSTILE}: proportion"
    image = dock.overlays.title.grab().toImage()
    seen = {image.pixelColor(x, image.height() // 2).name() for x in range(image.width())}
    assert dock.overlays.title.palette().color(dock.overlays.title.foregroundRole()).name() in seen, "letters"
    narrow = dock.overlays.title.width()
    dock.session.display.show(DOMINANT)
    assert dock.overlays.title.text == "Dominant type"
    assert dock.overlays.title.width() < narrow
    assert not dock.overlays.title.geometry().intersects(dock.overlays.legend.geometry())


def test_legend_is_painted(qtbot: Any, explored: Any) -> None:
    _, dock = explored
    legend = dock.overlays.legend
    image = legend.grab().toImage()
    for at, (_, color) in enumerate(legend.entries[: legend.n_rows]):
        painted, expected = image.pixelColor(14, 20 + 18 * at + 8), QColor(color)
        # Screens of 16 bits round colors.
        np.testing.assert_allclose(painted.getRgb(), expected.getRgb(), atol=8)


def test_opacity_is_kept_for_types_that_are_shown_later(explored: Any) -> None:
    viewer, dock = explored
    dock.explore.settings.opacity.value = 0.5
    assert viewer.layers["Dominant type"].opacity == pytest.approx(0.5)
    name = dock.session.result.cell_types[0]
    dock.session.display.show(name)
    assert viewer.layers[plain(name)].opacity == pytest.approx(0.5)


def test_reopened_dock_takes_over_the_layers(explored: Any) -> None:
    viewer, dock = explored
    name = dock.session.result.cell_types[1]
    dock.session.display.show(name)
    layers = list(viewer.layers)
    viewer.window.remove_dock_widget(dock)
    _, again = viewer.window.add_plugin_dock_widget("napari-spotmix", "Cell-type deconvolution")
    assert again.session is dock.session
    again.session.display.show(name)
    assert list(viewer.layers) == layers
    assert np.sum([layer.name == name for layer in viewer.layers]) == 1
    again.close_session()


def with_errors(result: Result) -> Result:
    """The same with standard errors that grow along the table."""
    grown = np.linspace(0.01, 0.3, result.abundances.size).reshape(result.abundances.shape)
    errors = pd.DataFrame(grown, index=result.abundances.index, columns=result.cell_types)
    return replace(result, standard_errors=errors.astype(np.float32), interval_table=pd.DataFrame())


def test_standard_errors_are_a_map_and_whiskers_if_a_result_has_them(
    qtbot: Any, make_dock: Any, result: Result
) -> None:
    _, dock = make_dock()
    show_result(dock, result, "Gut")
    assert ERRORS not in [row.key for row in dock.explore.list.rows.rows]
    result = with_errors(result)
    dock.session.set_result(result)
    click_row(qtbot, dock, row_of(dock, ERRORS))
    layer = dock.scene.layer_of(ERRORS)
    largest = result.proportions.to_numpy()[7].argmax()
    assert layer.features["dominant_error"][7] == pytest.approx(result.standard_errors.iloc[7, largest])
    dock.session.pointer.pick(7)
    for bar in dock.inspect.bars.bars:
        away = 1.6449 * result.standard_errors.loc[result.abundances.index[7], bar.name]
        assert bar.low == pytest.approx(max(bar.spot - away, 0))
        assert bar.high == pytest.approx(min(bar.spot + away, 1))
    assert "90% interval" in dock.inspect.bars.accessibleDescription()
    dock.session.replay(replace(result, standard_errors=pd.DataFrame()))
    assert dock.session.display.shown is DOMINANT
    assert np.isnan(dock.inspect.bars.bars[0].low)


def test_whiskers_reach_as_far_as_the_intervals_of_the_result(make_dock: Any, result: Result) -> None:
    nodes = IntervalTable(
        Lookup(0.01, 1.0, np.full((33, 17), 0.05)), Lookup(0.01, 1.0, np.full((33, 17), 0.2))
    )
    result = replace(with_errors(result), interval_table=pd.DataFrame(nodes.columns()))
    _, dock = make_dock()
    show_result(dock, result, "Gut")
    dock.session.pointer.pick(7)
    assert dock.inspect.bars.bars
    for bar in dock.inspect.bars.bars:
        assert bar.low == pytest.approx(max(bar.spot - 0.05, 0))
        assert bar.high == pytest.approx(min(bar.spot + 0.2, 1))


def test_types_chosen_together_are_blended_in_their_colors(qtbot: Any, explored: Any) -> None:
    viewer, dock = explored
    result, types = dock.session.result, dock.explore.list
    first, second = types.rows.rows[1].key, types.rows.rows[3].key
    click_row(qtbot, dock, 1)
    middle = types.visualRect(types.rows.index(3)).center()
    control = Qt.KeyboardModifier.ControlModifier
    qtbot.mouseClick(types.viewport(), Qt.MouseButton.LeftButton, control, pos=middle)
    assert dock.session.display.shown == (first, second)
    assert visible_types(viewer, dock) == [plain(f"{first} + {second}")]
    layer = dock.scene.layer_of((first, second))
    dock.session.display.set_color_range(ColorRange(chosen={first: 0.5}))
    ends = {first: 0.5, second: largest_proportion(result.proportions[second].to_numpy())}
    shares = result.proportions[[first, second]].to_numpy() / list(ends.values())
    colors = transform_color([result.colors[first], result.colors[second]])[:, :3]
    known = ~np.isnan(shares).any(axis=1) & (shares.sum(axis=1) > 0.06)
    expected = shares[known] @ colors / shares[known].sum(axis=1, keepdims=True)
    np.testing.assert_allclose(layer.face_color[known, :3], expected, atol=1e-5)
    np.testing.assert_allclose(
        layer.face_color[known, 3], np.minimum(shares[known].sum(axis=1), 1), atol=1e-5
    )
    entries = [(f"{name}: 0 – {end_words(end)}", result.colors[name]) for name, end in ends.items()]
    assert dock.overlays.legend.entries == entries
    assert {index.row() for index in types.selectedIndexes()} == {1, 3}
    click_row(qtbot, dock, 2)
    assert visible_types(viewer, dock) == [plain(types.rows.rows[2].key)]
    assert len(types.selectedIndexes()) == 1


def test_below_the_threshold_spots_fade(qtbot: Any, explored: Any) -> None:
    _, dock = explored
    result = dock.session.result
    click_row(qtbot, dock, 1)
    name = dock.explore.list.rows.rows[1].key
    layer, share = dock.scene.layer_of(name), result.proportions[name].to_numpy()
    before = layer.face_color.copy()
    dock.explore.settings.threshold.value = 0.3
    known = ~np.isnan(share)
    is_faded = layer.face_color[:, 3] < 0.1
    np.testing.assert_array_equal(is_faded[known], share[known] < 0.3)
    np.testing.assert_allclose(layer.face_color[known & ~is_faded], before[known & ~is_faded], atol=0.01)
    click_row(qtbot, dock, 0)
    largest = np.nanmax(result.proportions.to_numpy()[known], axis=1)
    overview = dock.scene.layer_of(DOMINANT).face_color[known, 3]
    np.testing.assert_array_equal(overview < 0.1, largest < 0.3)
    dock.explore.settings.threshold.value = 0.0
    click_row(qtbot, dock, 1)
    np.testing.assert_allclose(layer.face_color, before, atol=1e-6)


def test_the_box_at_the_mouse_names_the_largest_three_types(
    qtbot: Any, make_dock: Any, result: Result
) -> None:
    viewer, dock = make_dock(show=True)
    show_result(dock, result, "Gut")
    qtbot.waitUntil(lambda: dock.overlays.hover.parent() is not None)
    x, y = result.coordinates[12]
    move_mouse(viewer, y, x)
    assert not dock.overlays.hover.isHidden()
    assert dock.overlays.hover.title == result.abundances.index[12]
    largest = result.proportions.iloc[12].sort_values(ascending=False)[:3]
    assert [name for name, _, _ in dock.overlays.hover.entries] == list(largest[largest > 0].index)
    assert [share for _, _, share in dock.overlays.hover.entries] == pytest.approx(list(largest[largest > 0]))
    x, y = result.coordinates[4]
    move_mouse(viewer, y, x)
    assert dock.overlays.hover.title == f"{result.abundances.index[4]}: no counts"
    assert dock.overlays.hover.entries == []
    move_mouse(viewer, -1e6, -1e6)
    assert dock.overlays.hover.isHidden()
    canvas = dock.overlays.hover.parent()
    ends: list[Callable[[], Any]] = [
        lambda: QApplication.sendEvent(canvas, QEvent(QEvent.Type.Leave)),
        lambda: dock.session.pointer.walk(0, 1),
        viewer.layers.clear,
    ]
    dock.session.pointer.pick(12)
    for end in ends:
        move_mouse(viewer, y, x)
        assert not dock.overlays.hover.isHidden()
        end()
        assert dock.overlays.hover.isHidden()
    move_mouse(viewer, y, x)
    assert dock.overlays.hover.isHidden(), "without a layer there is nothing to point at"
    dock.close_session()
    assert dock.scene._on_move not in viewer.mouse_move_callbacks


def move_mouse(viewer: Any, y: float, x: float) -> None:
    """Move the mouse to a point of the tissue."""
    event = Event("mouse_move")
    event.position, event.is_dragging = (y, x), False
    for callback in list(viewer.mouse_move_callbacks):
        callback(viewer, event)


def test_the_attention_graph_shows_every_edge_once(qtbot: Any, explored: Any) -> None:
    _, dock = explored
    result = dock.session.result
    click_row(qtbot, dock, row_of(dock, GRAPH))
    layer = dock.scene.layer_of(GRAPH)
    assert len(layer.data) == result.attention.nnz // 2
    spot_at = {tuple(np.round(yx, 3)): spot for spot, yx in enumerate(result.coordinates[:, ::-1])}
    for (start, step), attention in list(zip(layer.data, layer.features["attention"], strict=True))[::20]:
        first, second = spot_at[tuple(np.round(start, 3))], spot_at[tuple(np.round(start + step, 3))]
        assert attention == pytest.approx(result.attention[first, second])
    low, high = layer.features["attention"].argmin(), layer.features["attention"].argmax()
    assert layer.edge_color[low, :3].sum() < layer.edge_color[high, :3].sum()
    assert [name for name, _ in dock.overlays.legend.entries] == ["Attention 1", "0.75", "0.5", "0.25", "0"]
    ones = csr_array((np.ones(result.attention.nnz), result.attention.nonzero()), result.attention.shape)
    dock.session.replay(replace(result, attention=ones, weights=ones))
    assert [name for name, _ in dock.overlays.legend.entries] == ["All edges have the same weight"]


def test_another_color_of_a_type_is_seen_everywhere_and_kept(
    qtbot: Any, explored: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, dock = explored
    name = dock.session.result.cell_types[1]
    monkeypatch.setattr(QColorDialog, "getColor", lambda *_: QColor("#12ab34"))
    types = dock.explore.list
    middle = types.visualRect(types.rows.index(row_of(dock, name))).center()
    click_row(qtbot, dock, row_of(dock, name))
    qtbot.mouseDClick(types.viewport(), Qt.MouseButton.LeftButton, pos=middle)
    assert dock.session.result.colors[name] == "#12ab34"
    assert next(row for row in types.rows.rows if row.key == name).colors == ("#12ab34",)
    dock.session.display.show(DOMINANT)
    mine = (dock.session.result.dominant == name).to_numpy()
    expected = transform_color("#12ab34")[0]
    np.testing.assert_allclose(dock.scene.layer_of(DOMINANT).face_color[mine] - expected, 0, atol=1e-6)
    assert dict(dock.overlays.legend.entries)[name] == "#12ab34"
    kept = dock.session.result.to_anndata()
    assert Result.from_anndata(kept).colors[name] == "#12ab34"
    monkeypatch.setattr(QColorDialog, "getColor", lambda *_: QColor())
    qtbot.mouseDClick(types.viewport(), Qt.MouseButton.LeftButton, pos=middle)
    assert dock.session.result.colors[name] == "#12ab34", "a dialog that is closed changes nothing"


def test_arrow_keys_walk_from_spot_to_spot_and_t_hides_the_tissue(explored: Any) -> None:
    viewer, dock = explored
    result = dock.session.result
    center = int(np.linalg.norm(result.coordinates - result.coordinates.mean(axis=0), axis=1).argmin())
    dock.session.pointer.pick(center)
    keys = {str(key): action for key, action in viewer.keymap.items()}
    for key, sign in (("Right", 1), ("Left", -1)):
        before = result.coordinates[dock.session.pointer.spot]
        keys[key](viewer)
        after = result.coordinates[dock.session.pointer.spot]
        assert sign * (after - before)[0] > 2 * abs((after - before)[1])
    assert dock.session.pointer.spot == center
    for _ in range(30):
        keys["Up"](viewer)
    edge = dock.session.pointer.spot
    keys["Up"](viewer)
    assert dock.session.pointer.spot == edge, "there the tissue ends"
    image = viewer.layers["Gut image"]
    keys["T"](viewer)
    assert not image.visible
    keys["T"](viewer)
    assert image.visible


def test_what_is_shown_is_saved_as_a_figure(
    qtbot: Any, explored: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, dock = explored
    names = dock.session.result.cell_types[1:3]
    for shown in (DOMINANT, names[0], tuple(names), PIES, GRAPH, COUNTS):
        dock.session.display.show(shown)
        path = tmp_path / "figure.png"
        monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_, path=path: (str(path), ""))
        with qtbot.waitSignal(dock.explore.figure.runner.finished, timeout=20_000):
            dock.explore.figure.native.click()
        assert path.read_bytes()[:4] == b"\x89PNG"
        assert dock.explore.state.text() == f"Saved {path}."
        path.unlink()
    dock.session.display.show(DOMINANT)
    wrong = str(tmp_path / "figure.gif")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (wrong, ""))
    with qtbot.waitSignal(dock.explore.figure.runner.failed, timeout=20_000):
        dock.explore.figure.native.click()
    assert "figure.gif" in dock.explore.state.text()


def test_a_figure_that_is_cancelled_while_it_is_written_is_not_kept(explored: Any, tmp_path: Path) -> None:
    content = content_of(explored[1].session, Framing())
    assert content is not None

    def cancel_late(progress: Progress) -> None:
        if progress.step == progress.total:
            raise Cancelled

    with pytest.raises(Cancelled):
        figure_task(content, tmp_path / "figure.png")(cancel_late)
    assert list(tmp_path.iterdir()) == []
    assert list(tmp_path.iterdir()) == []


def test_the_scale_bar_counts_micrometers(qtbot: Any, make_dock: Any, result: Result) -> None:
    viewer, dock = make_dock(show=True)
    show_result(dock, result, "Gut")
    bar = dock.overlays.scale_bar
    qtbot.waitUntil(lambda: bar.parent() is not None)
    microns = microns_per_pixel(result.spatial)
    assert microns is not None
    for zoom in (0.05, 0.31, 2.0):
        viewer.scene.camera.zoom = zoom
        assert not bar.isHidden()
        # A pixel of the screen is 1 / zoom pixels of the image.
        assert bar.length / zoom * microns == pytest.approx(bar.microns)
        assert 50 <= bar.length <= 131
        digit = bar.microns / 10 ** np.floor(np.log10(bar.microns) + 1e-9)
        assert min(abs(digit - round_number) for round_number in (1, 2, 5)) < 1e-9
    assert not viewer.canvas.overlays.scale_bar.visible
    unknown = result.spatial.copy()
    del unknown.uns["spatial"]
    unknown.obs = unknown.obs[[]]
    dock.session.data.set_tissue(LoadedTissue(unknown, "unknown"))
    assert bar.isHidden()
    assert viewer.canvas.overlays.scale_bar.visible


def test_another_type_colors_the_same_layer_and_is_drawn_once(
    qtbot: Any, make_dock: Any, result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer, dock = make_dock(show=True)
    show_result(dock, result, "Gut")
    first, second = result.cell_types[:2]
    dock.session.display.show(first)
    qtbot.wait(100)
    layer, n_layers = dock.scene.layer_of(first), len(viewer.layers)
    viewer.mouse_over_canvas = True  # wherever the window and the mouse are on the screen
    canvas, draws = viewer.window._qt_viewer.canvas.native, []
    paint = type(canvas).paintGL
    monkeypatch.setattr(type(canvas), "paintGL", lambda self: (draws.append(self), paint(self))[1])
    dock.session.display.show(second)
    qtbot.wait(100)
    assert draws == [canvas]
    assert dock.scene.layer_of(second) is layer
    assert dock.scene.layer_of(first) is None
    assert (len(viewer.layers), layer.name) == (n_layers, plain(second))
    assert plain(second) in str(viewer.status)
    known = (result.reasons == "").to_numpy()
    np.testing.assert_allclose(
        np.asarray(layer.features["proportion"])[known], result.proportions[second].to_numpy()[known]
    )
    end = layer.face_contrast_limits[1]
    expected = layer.face_colormap.map(result.proportions[second].to_numpy()[known] / end)
    np.testing.assert_allclose(layer.face_color[known], expected, atol=1e-6)
    assert dock.overlays.title.text.endswith(": proportion")
    assert dock.overlays.color_bar.bar.end.text() == end_words(end)


def test_each_cell_type_can_have_a_layer_of_its_own(qtbot: Any, make_dock: Any, result: Result) -> None:
    viewer, dock = make_dock(show=True)
    show_result(dock, result, "Gut")
    dock.session.display.show(HOSTILE)
    shown = viewer.layers.selection.active
    assert shown.name == plain(HOSTILE)
    dock.run.keep.press("Layer per cell type")

    def own() -> list[Any]:
        found = [(layer, map_of(layer)) for layer in viewer.layers]
        return [layer for layer, info in found if info and info.is_own]

    qtbot.waitUntil(lambda: len(own()) == len(result.cell_types), timeout=20_000)
    # The first of the list is the highest; all are hidden, below what is shown, and what was active still is.
    assert [layer.name for layer in own()[::-1]] == [plain(name) for name in result.cell_types]
    assert not any(layer.visible for layer in own())
    assert viewer.layers.index(own()[-1]) < viewer.layers.index(shown)
    assert viewer.layers.selection.active is shown
    assert "hidden" in dock.run.state.text()
    known = (result.reasons == "").to_numpy()
    for layer, name in zip(own()[::-1], result.cell_types, strict=True):
        found = np.asarray(layer.features["proportion"])[known]
        np.testing.assert_allclose(found, result.proportions[name].to_numpy()[known])
    # They are left alone, and only those that are gone are added again.
    lowest = own()[0]
    lowest.visible = True
    dock.session.display.show(result.cell_types[1])
    assert lowest.visible
    assert shown.name == f"{plain(result.cell_types[1])} (Explore)"
    assert not any("[1]" in layer.name for layer in viewer.layers)
    viewer.layers.remove(own()[-1])
    dock.run.keep.press("Layer per cell type")
    qtbot.waitUntil(lambda: len(own()) == len(result.cell_types), timeout=20_000)
    qtbot.wait(50)
    assert len(own()) == len(result.cell_types)
    assert lowest in own()


def test_layers_are_no_longer_added_once_the_result_has_gone(
    qtbot: Any, make_dock: Any, result: Result
) -> None:
    viewer, dock = make_dock(show=True)
    show_result(dock, result, "Gut")
    dock.run.keep.press("Layer per cell type")
    dock.session.data.set_tissue(LoadedTissue(result.spatial.copy(), "other"))
    qtbot.wait(100)
    assert not any(info.is_own for layer in viewer.layers if (info := map_of(layer)))


def drag_end(qtbot: Any, gradient: Any, part: float) -> None:
    """Drag the end of the colors to a part of the bar."""
    left, middle = gradient.end - 120, gradient.height() // 2
    qtbot.mousePress(gradient, Qt.MouseButton.LeftButton, pos=QPoint(gradient.end, middle))
    for step in (0.9, part):
        QTest.mouseMove(gradient, QPoint(left + round(120 * step), middle))
        qtbot.wait(10)
    qtbot.mouseRelease(gradient, Qt.MouseButton.LeftButton, pos=QPoint(left + round(120 * part), middle))


def choose_rule(qtbot: Any, bar: Any, mode: RangeMode) -> None:
    """Choose where colors end, by keyboard."""
    bar.rule.setFocus()
    qtbot.keyClick(bar.rule, Qt.Key.Key_Home)
    for _ in range(list(RangeMode).index(mode)):
        qtbot.keyClick(bar.rule, Qt.Key.Key_Down)


def test_the_range_is_dragged_typed_and_chosen(qtbot: Any, make_dock: Any, result: Result) -> None:
    _, dock = make_dock(show=True)
    show_result(dock, result, "Gut")
    rare, common = result.mean_proportions.sort_values().index[[0, -1]]
    own = {name: largest_proportion(result.proportions[name].to_numpy()) for name in result.cell_types}
    assert own[rare] < own[common] == max(own.values())
    bar = dock.overlays.color_bar.bar
    assert dock.overlays.color_bar.isHidden(), "the dominant type has no range"
    dock.session.display.show(rare)
    qtbot.waitUntil(bar.isVisible)
    layer = dock.scene.layer_of(rare)

    def end() -> float:
        assert bar.end.text() == end_words(layer.face_contrast_limits[1])
        return layer.face_contrast_limits[1]

    before, colors = end(), layer.face_color.copy()
    assert before == own[rare]
    drag_end(qtbot, bar.gradient, 0.5)
    assert end() == pytest.approx(before / 2, rel=0.05)
    brighter = result.proportions[rare].to_numpy() > before / 10
    assert (layer.face_color[brighter] != colors[brighter]).any(axis=1).all()
    bar.end.selectAll()
    qtbot.keyClicks(bar.end, "12%")
    qtbot.keyClick(bar.end, Qt.Key.Key_Return)
    assert end() == 0.12
    bar.end.selectAll()
    qtbot.keyClicks(bar.end, "much")
    qtbot.keyClick(bar.end, Qt.Key.Key_Return)
    assert end() == 0.12, "nonsense changes nothing"
    middle = bar.gradient.rect().center()
    qtbot.mouseDClick(bar.gradient, Qt.MouseButton.LeftButton, pos=middle)
    assert end() == own[rare]
    choose_rule(qtbot, bar, RangeMode.FULL)
    assert end() == 1
    choose_rule(qtbot, bar, RangeMode.SAME)
    assert end() == own[common]
    dock.session.display.show_panels((rare, common))
    choose_rule(qtbot, dock.overlays.side_by_side._foot.bar, RangeMode.OWN)
    titles = [panel.title.range_text for panel in dock.overlays.side_by_side.panels]
    assert titles == [f"0 – {end_words(own[name])}" for name in (rare, common)]
    dock.session.display.show_panels(())
    assert end() == own[rare], "the map below has followed"


def test_nothing_in_the_layers_of_a_result_can_be_edited(qtbot: Any, make_dock: Any, result: Result) -> None:
    viewer, dock = make_dock(show=True)
    show_result(dock, result, "Gut")
    dock.session.display.show(result.cell_types[0])
    dock.session.display.show(result.cell_types[1])  # new values in the same layer
    dock.session.pointer.pick(12)
    canvas = viewer.window._qt_viewer.canvas.native
    qtbot.waitUntil(canvas.isVisible)
    points = [layer for layer in viewer.layers if isinstance(layer, Points)]
    assert len(points) == 4
    for layer in points:
        viewer.layers.selection.active = layer
        n_points = len(layer.data)
        for key in (Qt.Key.Key_2, Qt.Key.Key_Delete):
            qtbot.keyClick(canvas, key)
        layer.mode = "add"
        layer.selected_data = {0, 1}
        assert str(layer.mode) == "pan_zoom"
        layer.remove_selected()
        for _ in range(2):
            qtbot.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=canvas.rect().center())
        assert len(layer.data) == n_points, layer.name


def test_3d_returns_to_2d_with_a_message_and_the_same_view(
    qtbot: Any, explored: Any, messages: list[str]
) -> None:
    viewer, _ = explored
    camera = viewer.scene.camera
    camera.center, camera.zoom = (700.0, 450.0), 2.5 * camera.zoom
    zoom = camera.zoom
    viewer.dims.ndisplay = 3
    qtbot.waitUntil(lambda: viewer.dims.ndisplay == 2, timeout=3000)
    assert len(messages) == 1
    assert "Spots are shown in 2D only" in messages[0]
    assert tuple(camera.center[-2:]) == (700.0, 450.0)
    assert camera.zoom == pytest.approx(zoom)


def test_3d_is_left_to_volumes(qtbot: Any, explored: Any, messages: list[str]) -> None:
    viewer, _ = explored
    viewer.add_image(np.zeros((3, 4, 5)))
    viewer.dims.ndisplay = 3
    qtbot.wait(100)
    assert viewer.dims.ndisplay == 3
    assert messages == []
