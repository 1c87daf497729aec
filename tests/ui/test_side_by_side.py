"""Cell types side by side: the same tissue in each panel, moved as one, and gone without a trace."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from napari.layers import Layer
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent, QWheelEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from scipy.sparse import csr_array

from napari_spotmix.base.color_range import ColorRange
from napari_spotmix.dataset import bin_grid as bins
from napari_spotmix.dataset.bin_grid import bin_grid
from napari_spotmix.output.ranges import ends_of_types
from napari_spotmix.result import Result
from napari_spotmix.ui.canvas import layers
from napari_spotmix.ui.canvas.panel_data import panels_task, tissue_pictures
from napari_spotmix.ui.demo import show_result, spot_at_a_border
from napari_spotmix.ui.state.map_range import shown_ends
from napari_spotmix.ui.state.maps import DOMINANT

pytestmark = pytest.mark.viewer


@pytest.fixture
def bins_result(monkeypatch: pytest.MonkeyPatch) -> Result:
    """A result of 70 x 50 bins that lie askew, drawn as an image."""
    monkeypatch.setattr(bins, "MOST_POINTS", 1000)
    monkeypatch.setattr(bins, "_PATCH", 500)
    row, column = np.divmod(np.random.default_rng(1).permutation(3500), 50)
    obs = pd.DataFrame({"array_row": row, "array_col": column}, index=[f"bin{i}" for i in range(3500)])
    adata = AnnData(csr_array(np.ones((3500, 2))), obs=obs)
    turn = np.array([[np.cos(0.3), np.sin(0.3)], [-np.sin(0.3), np.cos(0.3)]])
    adata.obsm["spatial"] = np.column_stack([column, row]) * 12.0 @ turn + [300.0, 500.0]
    shares = np.random.default_rng(2).dirichlet([1, 1, 1], 3500)
    abundances = pd.DataFrame(shares, index=adata.obs_names, columns=list("abc"))
    abundances.iloc[3] = np.nan
    reasons = pd.Series("", index=adata.obs_names)
    reasons.iloc[3] = "no counts"
    none = csr_array((3500, 3500))
    counts = pd.Series(1.0, index=adata.obs_names)
    return Result(abundances, counts, reasons, pd.DataFrame(index=list("abc")), none, none, adata)


@pytest.fixture
def beside(qtbot: Any, make_dock: Callable[..., Any], result: Result) -> tuple[Any, Any]:
    """A visible window in which three cell types are side by side."""
    viewer, dock = make_dock(show=True)
    viewer.window.resize(1280, 800)
    show_result(dock, result, "Gut")
    qtbot.wait(100)
    mark(qtbot, dock, [1, 2, 4])
    dock.explore.side_by_side.click()
    drawn(qtbot, dock)
    return viewer, dock


def mark(qtbot: Any, dock: Any, rows: list[int]) -> None:
    """Click rows of the list, all but the first with Ctrl."""
    types = dock.explore.list
    for at, row in enumerate(rows):
        held = Qt.KeyboardModifier.ControlModifier if at else Qt.KeyboardModifier.NoModifier
        middle = types.visualRect(types.rows.index(row)).center()
        qtbot.mouseClick(types.viewport(), Qt.MouseButton.LeftButton, held, middle)


def drawn(qtbot: Any, dock: Any) -> None:
    qtbot.waitUntil(lambda: not dock.overlays.side_by_side.is_busy, timeout=10_000)
    qtbot.wait(50)


def on_panel(panel: Any, xy: np.ndarray) -> QPoint:
    """Return where a point of the tissue is on the canvas of the panels."""
    rect, area = panel.view.camera._real_rect, panel.area
    x = area.left() + (xy[0] - rect.left) / rect.width * area.width()
    y = area.top() + (xy[1] - rect.bottom) / rect.height * area.height()
    return QPoint(round(x), round(y))


def state_of(viewer: Any) -> Any:
    """Return all that leaving the panels must give back."""
    camera = viewer.scene.camera
    seen = [(layer.name, layer.visible, layer.opacity) for layer in viewer.layers]
    return seen, tuple(camera.center), camera.zoom, viewer.layers.selection.active


def center(panel: Any) -> np.ndarray:
    return np.array(panel.view.camera.center[:2])


def drag_to(canvas: Any, point: QPoint, held: Qt.MouseButton) -> None:
    QTest.qWait(15)  # vispy leaves out what follows sooner
    kind = QEvent.Type.MouseMove
    where = QPointF(canvas.mapToGlobal(point))
    event = QMouseEvent(kind, QPointF(point), where, Qt.MouseButton.NoButton, held, Qt.KeyboardModifier(0))
    QApplication.sendEvent(canvas, event)


def test_each_chosen_type_has_a_panel_and_leaving_gives_back_what_was_shown(
    qtbot: Any, make_dock: Any, result: Result
) -> None:
    viewer, dock = make_dock(show=True)
    show_result(dock, result, "Gut")
    dock.session.display.show(result.cell_types[1])
    dock.session.pointer.pick(5)
    mark(qtbot, dock, [1, 2, 3, 5])
    chosen, before, shown = dock.explore.list.marked, state_of(viewer), dock.session.display.shown
    assert "4 chosen" in dock.explore.side_by_side.toolTip()
    dock.explore.side_by_side.click()
    drawn(qtbot, dock)
    assert tuple(panel.name for panel in dock.overlays.side_by_side.panels) == chosen
    assert [panel.title.name for panel in dock.overlays.side_by_side.panels] == list(chosen)
    assert dock.overlays.side_by_side.isVisible()
    assert not dock.overlays.legend.isVisible()
    assert not dock.overlays.title.isVisible()
    assert not dock.overlays.scale_bar.isVisible()
    assert dock.explore.side_by_side.isChecked()
    assert dock.explore.summary == "4 cell types side by side"
    qtbot.mouseClick(dock.overlays.side_by_side._foot.back, Qt.MouseButton.LeftButton)
    assert not dock.overlays.side_by_side.isVisible()
    assert not dock.explore.side_by_side.isChecked()
    assert (state_of(viewer), dock.session.display.shown) == (before, shown)
    assert dock.overlays.scale_bar.isVisible()
    assert dock.explore.list.marked == shown


def test_up_to_twelve_types_stay_selected_though_six_are_blended(qtbot: Any, explored: Any) -> None:
    _, dock = explored
    dock.explore.side_by_side.click()
    result = dock.session.result
    largest = result.mean_proportions.sort_values(ascending=False)
    assert list(dock.session.display.panels) == list(largest.index), "without a choice"
    wide = result.abundances.copy()
    for number in range(8):
        wide[f"type {number}"] = wide.iloc[:, 0] / 10
    dock.session.set_result(replace(result, abundances=wide, signatures=pd.DataFrame(index=wide.columns)))
    assert dock.session.display.panels == (), "of another result"
    dock.explore.list.setFixedHeight(500)
    mark(qtbot, dock, [at for at, row in enumerate(dock.explore.list.rows.rows) if isinstance(row.key, str)])
    assert len(dock.explore.list.marked) == 13
    assert len(dock.session.display.shown) == 6
    dock.explore.side_by_side.click()
    assert dock.session.display.panels == dock.explore.list.marked[:12]


def test_a_panel_shows_the_same_as_the_layer_of_its_type(result: Result) -> None:
    name = result.cell_types[2]
    end = ends_of_types(result, [name], ColorRange())
    data = panels_task(result, end, 0.0, [], 1.0)(lambda _: None)
    layer = Layer.create(*layers.proportion_layer(result, name))
    np.testing.assert_allclose(data.spots.xy[:, ::-1], layer.data)
    assert data.spots.diameter == layer.size[0]
    known = layer.features["dominant"].notna().to_numpy()
    np.testing.assert_allclose(data.colors[0][known] / 255, layer.face_color[known], atol=0.01)
    assert (data.colors[0][~known, 3] == 0).all()


def test_bins_are_at_the_coordinates_of_their_layer(bins_result: Result) -> None:
    adata = bins_result.spatial
    (picture,) = panels_task(bins_result, {"b": 1.0}, 0.0, [], 1.0)(lambda _: None).colors
    grid = bin_grid(adata)
    for spot in (0, 17, len(adata) - 1):
        edge = np.array([grid.columns[spot] + 0.5, grid.rows[spot] + 0.5, 1.0])
        np.testing.assert_allclose((picture.to_xy @ edge)[:2], adata.obsm["spatial"][spot], atol=1)
    assert picture.pixels[grid.rows[3], grid.columns[3], 3] == 0, "what was not estimated is left out"


@pytest.mark.parametrize("most_pixels", [10**6, 3000])
def test_the_tissue_below_covers_the_same_area_as_its_layer(result: Result, most_pixels: int) -> None:
    layer = Layer.create(*layers.image_layer(result.spatial, "image"))
    (picture,) = tissue_pictures([layer], most_pixels)
    height, width = picture.pixels.shape[:2]
    assert height * width <= most_pixels
    low, high = layer.extent.world
    first = (picture.to_xy @ [0, 0, 1])[:2]
    last = (picture.to_xy @ [width, height, 1])[:2]
    step = np.linalg.norm(picture.to_xy[:2, 0])
    np.testing.assert_allclose(first[::-1], low, atol=layer.scale[0])
    np.testing.assert_allclose(last[::-1], high, atol=2 * step)


def test_panels_move_and_zoom_together_and_each_knows_its_spots(qtbot: Any, beside: Any) -> None:
    _, dock = beside
    first, second, third = dock.overlays.side_by_side.panels
    canvas = dock.overlays.side_by_side.canvas.native
    before = center(first)
    start = second.area.center()
    qtbot.mousePress(canvas, Qt.MouseButton.LeftButton, pos=start)
    for step in range(1, 5):
        drag_to(canvas, start + QPoint(8 * step, 5 * step), Qt.MouseButton.LeftButton)
    qtbot.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=start + QPoint(32, 20))
    assert (center(second) < before).all()
    for panel in (first, third):
        np.testing.assert_allclose(center(panel), center(second))
    assert dock.session.pointer.spot is None, "a drag picks nothing"
    zoom = first.zoom
    turn = QWheelEvent(
        QPointF(third.area.center()),
        QPointF(canvas.mapToGlobal(third.area.center())),
        QPoint(0, 0),
        QPoint(0, 120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(canvas, turn)
    assert third.zoom > zoom
    assert first.zoom == pytest.approx(third.zoom)
    qtbot.keyClick(canvas, Qt.Key.Key_Home)
    assert first.zoom == pytest.approx(second.zoom)
    low = first.world_at(np.array([first.area.left(), first.area.top()]))
    assert (np.array(low) <= dock.session.result.coordinates.min(axis=0)).all()

    assert_hover_and_click_work(qtbot, dock)


def assert_hover_and_click_work(qtbot: Any, dock: Any) -> None:
    canvas = dock.overlays.side_by_side.canvas.native
    for panel, spot in zip(dock.overlays.side_by_side.panels, (12, 30, 60), strict=True):
        at = on_panel(panel, dock.session.result.coordinates[spot])
        drag_to(canvas, at, Qt.MouseButton.NoButton)
        assert dock.session.pointer.hovered == spot
        assert dock.overlays.hover.isVisible()
        qtbot.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=at)
        assert dock.session.pointer.spot == spot
    assert all(panel._marks.visible for panel in dock.overlays.side_by_side.panels)


def test_keys_walk_hide_the_tissue_and_lead_back(qtbot: Any, beside: Any) -> None:
    viewer, dock = beside
    canvas = dock.overlays.side_by_side.canvas.native
    spot = spot_at_a_border(dock.session.result)
    dock.session.pointer.pick(spot)
    qtbot.keyClick(canvas, Qt.Key.Key_Right)
    assert dock.session.pointer.spot not in (spot, None)
    qtbot.keyClick(canvas, Qt.Key.Key_T)
    assert not viewer.layers["Gut image"].visible
    drawn(qtbot, dock)
    assert all(not panel._tissue for panel in dock.overlays.side_by_side.panels)
    qtbot.keyClick(canvas, Qt.Key.Key_Escape)
    assert (dock.session.pointer.spot, len(dock.session.display.panels)) == (None, 3)
    qtbot.keyClick(canvas, Qt.Key.Key_T)
    drawn(qtbot, dock)
    assert all(panel._tissue for panel in dock.overlays.side_by_side.panels)
    assert_deleting_layers_disturbs_nothing(qtbot, viewer, dock)
    qtbot.keyClick(canvas, Qt.Key.Key_Escape)
    assert dock.session.display.panels == ()


def test_another_selection_changes_the_panels_and_a_single_type_ends_them(qtbot: Any, beside: Any) -> None:
    _, dock = beside
    rect = dock.overlays.side_by_side.panels[0].view.camera.rect
    mark(qtbot, dock, [2, 3])
    assert dock.session.display.panels == ()
    assert dock.session.display.shown == dock.explore.list.marked
    dock.explore.side_by_side.click()
    drawn(qtbot, dock)
    assert len(dock.overlays.side_by_side.panels) == 2
    assert dock.overlays.side_by_side.panels[0].view.camera.rect == rect
    title = dock.overlays.side_by_side.panels[1].title
    qtbot.mouseClick(title, Qt.MouseButton.LeftButton)
    assert dock.session.display.panels == ()
    assert dock.session.display.shown == title.name


def test_spots_have_their_colors_on_the_screen(qtbot: Any, beside: Any) -> None:
    _, dock = beside
    dock.overlays.side_by_side.look_at_all()
    pixels = dock.overlays.side_by_side.canvas.render(alpha=False)
    ratio = pixels.shape[1] / dock.overlays.side_by_side.canvas.native.width()
    result = dock.session.result
    ends = shown_ends(dock.session)
    for panel in dock.overlays.side_by_side.panels:
        spot = int(result.proportions[panel.name].fillna(0).argmax())
        at = on_panel(panel, result.coordinates[spot])
        share = result.proportions[panel.name].iloc[spot]
        wanted = np.asarray(layers.proportion_colormap(result).map(np.array([share / ends[panel.name]])))[0]
        wanted = 255 * wanted[:3]
        seen = pixels[round(at.y() * ratio), round(at.x() * ratio), :3].astype(float)
        assert np.abs(seen - wanted).max() < 60, panel.name
    dock.explore.settings.threshold.value = 0.4
    drawn(qtbot, dock)
    assert (dock.overlays.side_by_side.canvas.render(alpha=False) != pixels).any(), "the rest is faded"


def assert_deleting_layers_disturbs_nothing(qtbot: Any, viewer: Any, dock: Any) -> None:
    viewer.layers.remove("Gut image")
    drawn(qtbot, dock)
    assert all(not panel._tissue for panel in dock.overlays.side_by_side.panels)
    viewer.layers.clear()
    qtbot.wait(50)
    assert len(dock.overlays.side_by_side.panels) == 3
    dock.session.display.show(DOMINANT)
    assert viewer.layers["Dominant type"].visible


def test_nothing_is_left_when_it_is_closed_while_shown(qtbot: Any, beside: Any) -> None:
    viewer, dock = beside
    canvas = weakref.ref(dock.overlays.side_by_side.canvas)
    dock.session.display.show_panels(dock.session.display.panels[:2])  # a thread runs
    dock.close_session()
    assert not dock.overlays.side_by_side.is_busy
    viewer.close()
    for _ in range(3):
        QApplication.processEvents()
        gc.collect()
    assert canvas() is None


def test_two_windows_have_panels_of_their_own(
    qtbot: Any, make_dock: Any, result: Result, bins_result: Result
) -> None:
    docks = []
    for shown in (result, bins_result):
        _, dock = make_dock(show=True)
        show_result(dock, shown, "section")
        dock.explore.side_by_side.click()
        drawn(qtbot, dock)
        docks.append(dock)
    names = [[panel.name for panel in dock.overlays.side_by_side.panels] for dock in docks]
    assert sorted(names[1]) == ["a", "b", "c"]
    assert len(names[0]) == 5
    docks[0].session.display.show_panels(())
    assert len(docks[1].overlays.side_by_side.panels) == 3
