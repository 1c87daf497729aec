"""Regions drawn, edited, renamed, copied and deleted by mouse and keyboard; every step undone and redone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QGuiApplication, QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QLineEdit

from napari_spotmix.analysis.regions import compare_regions
from napari_spotmix.dataset.regions import Region
from napari_spotmix.result import Result
from napari_spotmix.ui.demo import show_result
from napari_spotmix.ui.state.loaded import LoadedTissue
from tests.ui.conftest import wait_for_rest

pytestmark = pytest.mark.viewer

CONTROL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier
LEFT = Qt.MouseButton.LeftButton


class Hand:
    """The mouse and the keyboard of one user, in the window of one viewer."""

    def __init__(self, viewer: Any, dock: Any, qtbot: Any) -> None:
        self.viewer, self.dock, self.qtbot = viewer, dock, qtbot
        self.canvas = viewer.window._qt_viewer.canvas.native
        xy = dock.session.result.coordinates
        self.low, self.size = np.nanmin(xy, axis=0), np.ptp(xy, axis=0)

    @property
    def names(self) -> list[str]:
        return [region.name for region in self.dock.session.regions]

    def world(self, x: float, y: float) -> np.ndarray:
        """Return (x, y) in the tissue of shares of its width and height."""
        return np.asarray(self.low + np.array([x, y]) * self.size)

    def at(self, x: float, y: float) -> QPoint:
        camera, (height, width) = self.viewer.scene.camera, self.viewer.canvas.size
        away = (self.world(x, y)[::-1] - np.array(camera.center[-2:])) * camera.zoom
        return QPoint(round(away[1] + width / 2), round(away[0] + height / 2))

    def move(self, x: float, y: float, buttons: Any = Qt.MouseButton.NoButton) -> None:
        """Move the mouse; not the cursor of the screen, which may be smaller than the window."""
        at = QPointF(self.at(x, y))
        keys = Qt.MouseButton.NoButton, buttons, Qt.KeyboardModifier.NoModifier
        event = QMouseEvent(QEvent.Type.MouseMove, at, QPointF(self.canvas.mapToGlobal(at.toPoint())), *keys)
        QApplication.sendEvent(self.canvas, event)
        self.qtbot.wait(20)  # vispy drops moves that follow each other within 10 ms

    def click(self, x: float, y: float) -> None:
        self.move(x, y)
        QTest.mouseClick(self.canvas, LEFT, pos=self.at(x, y))
        self.qtbot.wait(20)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        self.move(*start)
        QTest.mousePress(self.canvas, LEFT, pos=self.at(*start))
        for share in np.linspace(0.2, 1, 5):
            x, y = np.array(start) + share * (np.array(end) - start)
            self.move(x, y, LEFT)
        QTest.mouseRelease(self.canvas, LEFT, pos=self.at(*end))
        self.qtbot.wait(20)

    def key(self, key: Qt.Key, modifiers: Any = Qt.KeyboardModifier.NoModifier, widget: Any = None) -> None:
        QTest.keyClick(widget or self.canvas, key, modifiers)
        self.qtbot.wait(20)

    def draw(self, *corners: tuple[float, float]) -> None:
        self.qtbot.mouseClick(self.dock.regions.drawing.polygon.native, LEFT)
        for corner in corners:
            self.click(*corner)
        self.key(Qt.Key.Key_Escape)

    def press(self, button: Any) -> None:
        self.qtbot.mouseClick(button.native, LEFT)


@pytest.fixture
def hand(make_dock: Any, result: Result, qtbot: Any) -> Hand:
    viewer, dock = make_dock(show=True)
    show_result(dock, result, "Gut")
    for name in ("Run", "Explore", "Inspect"):
        dock.sections[name].set_open(False)
    dock.sections["Regions"].set_open(True)
    wait_for_rest(qtbot, viewer)
    return Hand(viewer, dock, qtbot)


SQUARE = ((0.2, 0.2), (0.6, 0.2), (0.6, 0.6), (0.2, 0.6))
TRIANGLE = ((0.65, 0.65), (0.95, 0.65), (0.95, 0.95))


def test_drawing_is_undone_and_redone_by_keys(hand: Hand) -> None:
    hand.draw(*SQUARE)
    hand.draw(*TRIANGLE)
    assert hand.names == ["Region 1", "Region 2"]
    outline = hand.dock.session.regions[0].outline
    np.testing.assert_allclose(outline, [hand.world(*one) for one in SQUARE], atol=0.02 * hand.size.max())
    hand.key(Qt.Key.Key_Z, CONTROL)
    assert hand.names == ["Region 1"]
    hand.key(Qt.Key.Key_Z, CONTROL)
    assert hand.names == []
    assert not hand.dock.regions.drawing.undo.enabled
    for _ in range(3):
        hand.key(Qt.Key.Key_Z, CONTROL | SHIFT)
    assert hand.names == ["Region 1", "Region 2"]
    np.testing.assert_array_equal(hand.dock.session.regions[0].outline, outline)
    assert [len(one) for one in hand.viewer.layers["Regions"].data] == [4, 3]


def test_undo_while_drawing_gives_up_the_polygon_alone(hand: Hand) -> None:
    hand.draw(*SQUARE)
    hand.press(hand.dock.regions.drawing.polygon)
    for corner in TRIANGLE:
        hand.click(*corner)
    assert len(hand.viewer.layers["Regions"].data) == 2
    hand.key(Qt.Key.Key_Z, CONTROL)
    assert hand.names == ["Region 1"]
    assert len(hand.viewer.layers["Regions"].data) == 1
    hand.press(hand.dock.regions.drawing.polygon)
    hand.click(0.7, 0.7)
    hand.key(Qt.Key.Key_Z, CONTROL)
    assert hand.names == ["Region 1"], "a single corner is no region to undo"


def test_a_corner_is_dragged_and_undone(hand: Hand) -> None:
    hand.draw(*SQUARE)
    before = hand.dock.session.regions[0].outline
    hand.press(hand.dock.regions.drawing.edit)
    hand.drag(SQUARE[0], (0.05, 0.05))
    after = hand.dock.session.regions[0].outline
    np.testing.assert_allclose(after[0], hand.world(0.05, 0.05), atol=0.02 * hand.size.max())
    np.testing.assert_array_equal(after[1:], before[1:])
    assert hand.dock.regions.drawing.undo.tooltip == "Undo: edit Region 1 (Ctrl+Z)"
    hand.press(hand.dock.regions.drawing.undo)
    np.testing.assert_array_equal(hand.dock.session.regions[0].outline, before)
    hand.press(hand.dock.regions.drawing.redo)
    np.testing.assert_array_equal(hand.dock.session.regions[0].outline, after)


def test_a_region_is_renamed_in_place(hand: Hand) -> None:
    hand.draw(*SQUARE)
    hand.draw(*TRIANGLE)
    names = hand.dock.regions.drawing.names
    names.setCurrentRow(1)
    hand.press(hand.dock.regions.drawing.rename)
    editor = names.findChild(QLineEdit)
    editor.selectAll()
    QTest.keyClicks(editor, "Region 1")
    hand.key(Qt.Key.Key_Return, widget=editor)
    assert hand.names == ["Region 1", "Region 2"], "two regions must not have one name"
    assert "Region 1" in hand.dock.regions.drawing.state.text()
    names.setFocus()
    names.setCurrentRow(1)
    hand.key(Qt.Key.Key_F2, widget=names)
    editor = names.findChildren(QLineEdit)[-1]
    editor.selectAll()
    QTest.keyClicks(editor, "muscle")
    hand.key(Qt.Key.Key_Return, widget=editor)
    assert hand.names == ["Region 1", "muscle"]
    assert list(hand.viewer.layers["Regions"].features["name"]) == hand.names
    hand.key(Qt.Key.Key_Z, CONTROL, names)
    assert hand.names == ["Region 1", "Region 2"]


def test_a_region_is_copied_and_deleted(hand: Hand) -> None:
    hand.draw(*SQUARE)
    drawing = hand.dock.regions.drawing
    hand.press(drawing.duplicate)
    hand.press(drawing.duplicate)
    assert hand.names == ["Region 1", "Region 1 copy", "Region 1 copy copy"]
    first, second, _ = (region.outline for region in hand.dock.session.regions)
    assert (second > first).all(), "a copy that is shifted can be seen"
    assert drawing.names.currentRow() == 2
    drawing.names.setFocus()
    hand.key(Qt.Key.Key_Delete, widget=drawing.names)
    assert hand.names == ["Region 1", "Region 1 copy"]
    drawing.names.setCurrentRow(0)
    hand.press(drawing.delete)
    assert hand.names == ["Region 1 copy"]
    np.testing.assert_array_equal(hand.dock.session.regions[0].outline, second)
    hand.press(drawing.undo)
    hand.press(drawing.undo)
    assert hand.names == ["Region 1", "Region 1 copy", "Region 1 copy copy"]


def test_a_layer_that_was_deleted_returns_by_undo(hand: Hand) -> None:
    hand.draw(*SQUARE)
    hand.viewer.layers.remove("Regions")
    assert hand.names == []
    hand.press(hand.dock.regions.drawing.undo)
    assert hand.names == ["Region 1"]
    assert list(hand.viewer.layers["Regions"].features["name"]) == ["Region 1"]


def test_a_pasted_shape_is_a_region_with_a_name_of_its_own(hand: Hand) -> None:
    hand.draw(*SQUARE)
    layer = hand.viewer.layers["Regions"]
    layer.mode = "select"
    layer.selected_data = {0}
    hand.key(Qt.Key.Key_C, CONTROL)
    hand.key(Qt.Key.Key_V, CONTROL)
    assert hand.names == ["Region 1", "Region 2"]


def test_ellipses_and_lines_keep_their_kind(hand: Hand) -> None:
    hand.draw(*SQUARE)
    layer = hand.viewer.layers["Regions"]
    line = np.array([hand.world(0.1, 0.1)[::-1], hand.world(0.3, 0.1)[::-1]])
    layer.add(line, shape_type="line")
    box = np.array([hand.world(*one)[::-1] for one in SQUARE])
    layer.add(box, shape_type="ellipse")
    assert len(hand.names) == 2, "a line encloses nothing"
    outline = hand.dock.session.regions[1].outline
    drawing = hand.dock.regions.drawing
    drawing.names.setCurrentRow(0)
    hand.press(drawing.delete)
    assert len(hand.names) == 1
    np.testing.assert_array_equal(hand.dock.session.regions[0].outline, outline)
    hand.press(drawing.undo)
    assert list(layer.shape_type) == ["polygon", "line", "ellipse"]
    np.testing.assert_array_equal(hand.dock.session.regions[1].outline, outline)


def test_a_lasso_is_one_step(hand: Hand) -> None:
    hand.press(hand.dock.regions.drawing.lasso)
    turn = np.linspace(0, 2 * np.pi, 30)
    path = [(0.5 + 0.3 * float(np.cos(one)), 0.5 + 0.3 * float(np.sin(one))) for one in turn]
    QTest.mouseMove(hand.canvas, hand.at(*path[0]))
    QTest.mousePress(hand.canvas, LEFT, pos=hand.at(*path[0]))
    for point in path[1:]:
        QTest.mouseMove(hand.canvas, hand.at(*point))
        hand.qtbot.wait(10)
    QTest.mouseRelease(hand.canvas, LEFT, pos=hand.at(*path[-1]))
    hand.qtbot.wait(50)
    assert hand.names == ["Region 1"]
    hand.key(Qt.Key.Key_Z, CONTROL)
    assert hand.names == []


def test_what_is_selected_on_the_canvas_is_chosen_in_the_list(hand: Hand) -> None:
    hand.draw(*SQUARE)
    hand.draw(*TRIANGLE)
    layer, names = hand.viewer.layers["Regions"], hand.dock.regions.drawing.names
    hand.press(hand.dock.regions.drawing.edit)
    layer.selected_data = {1}
    assert names.currentRow() == 1
    names.setCurrentRow(0)
    assert set(layer.selected_data) == {0}


def test_regions_of_another_section_do_not_stay(hand: Hand, result: Result) -> None:
    hand.draw(*SQUARE)
    width = hand.viewer.layers["Regions"].edge_width[0]
    other = result.spatial.copy()
    other.obsm["spatial"] = other.obsm["spatial"] * 10.0
    far = Region("Region 1", np.array([[0.0, 0.0], [900.0, 0.0], [900.0, 900.0]]))
    hand.dock.session.data.set_tissue(LoadedTissue(other, "other"))
    assert "Regions" not in hand.viewer.layers
    hand.dock.session.set_result(replace(result, spatial=other, regions=(far,)))
    layer = hand.viewer.layers["Regions"]
    np.testing.assert_array_equal(layer.data[0], far.outline[:, ::-1])
    extent = np.ptp(other.obsm["spatial"], axis=0).max()
    assert layer.edge_width[0] == pytest.approx(extent / 400)
    assert layer.edge_width[0] > 5 * width
    assert not hand.dock.regions.drawing.undo.enabled, "steps of another section cannot be undone"


def test_outlines_of_one_name_stay_one_region(hand: Hand, result: Result) -> None:
    parts = [Region("tumor", hand.world(0, 0) + 50 * np.eye(3, 2) + 100 * at) for at in (0, 1)]
    hand.dock.session.set_result(replace(result, regions=tuple(parts)))
    hand.draw(*TRIANGLE)
    assert hand.names == ["tumor", "tumor", "Region 1"]


def test_a_comparison_of_a_region_that_was_changed_is_dropped(hand: Hand) -> None:
    panel = hand.dock.regions
    hand.draw(*SQUARE)
    hand.draw(*TRIANGLE)
    panel.first.value = "Region 1"
    hand.press(panel.compare)
    hand.qtbot.waitUntil(lambda: panel.compared is not None, timeout=20_000)
    panel.drawing.names.setCurrentRow(1)
    hand.press(panel.drawing.delete)
    assert panel.compared is not None, "Region 2 was not compared"
    panel.drawing.names.setCurrentRow(0)
    hand.press(panel.drawing.edit)
    hand.drag(SQUARE[0], (0.05, 0.05))
    assert panel.compared is None
    assert panel.comparison.isHidden()


def test_a_comparison_comes_into_view_and_is_copied(hand: Hand) -> None:
    panel, area = hand.dock.regions, hand.dock.area
    hand.draw(*SQUARE)
    hand.dock.sections["Run"].set_open(True)
    hand.dock.sections["Explore"].set_open(True)
    hand.qtbot.wait(100)
    area.ensureWidgetVisible(panel.compare.native)
    hand.press(panel.compare)
    hand.qtbot.waitUntil(lambda: panel.compared is not None, timeout=20_000)
    hand.qtbot.wait(200)
    top = panel.comparison.mapTo(area.viewport(), QPoint(0, 0)).y()
    assert top >= 0
    bottom = panel.comparison.copy.native.mapTo(area.viewport(), QPoint(0, 0)).y()
    assert bottom < area.viewport().height()
    clipboard = QGuiApplication.clipboard()
    clipboard.clear()
    assert panel.comparison.bars.focusPolicy() & Qt.FocusPolicy.ClickFocus
    hand.key(Qt.Key.Key_C, CONTROL, panel.comparison.bars)
    lines = clipboard.text().splitlines()
    assert lines[0].split("\t")[:3] == ["cell_type", "first", "second"]
    assert len(lines) == 1 + len(hand.dock.session.result.cell_types)
    clipboard.clear()
    hand.press(panel.comparison.copy)
    assert clipboard.text().splitlines() == lines


def test_the_headline_names_only_what_there_is_evidence_for(hand: Hand, result: Result) -> None:
    table = compare_regions(result, Region("left", hand.world(0, 0) + 900 * np.eye(3, 2)), n_surrogates=19)
    table = table.assign(first="left <b>", p_holm=[0.004, 0.03, *[0.6] * (len(table) - 2)])
    view = hand.dock.regions.comparison
    view.show_table(table, result.colors)
    assert view.headline.text().startswith(f"2 of {len(table)} cell types differ. ")
    assert "p = .004" in view.headline.text()
    assert [bar.note for bar in view.bars.bars[:3]] == [".004 *", ".030 *", ".60"]
    assert view.bars.n_differing == 2
    assert "90% interval" in view.key.text()
    assert "Holm" in view.key.text()
    assert "90% interval" in view.bars.toolTip()
    assert "neighbors" not in view.bars.toolTip()
    view.show_table(table.assign(p_holm=0.6), result.colors)
    assert view.headline.text().startswith("No difference found between left <b> and Rest of the tissue")
    view.show_table(table.assign(p_holm=np.nan), result.colors)
    assert view.headline.text().startswith("Too few spots")
    view.show_table(table.drop(columns="level"), result.colors)
    assert "95% interval" in view.key.text(), "tables of before did not name their level"


@pytest.mark.parametrize(
    "damage",
    [
        lambda table: table.drop(columns="p_holm"),
        lambda table: table.assign(mean_first="much"),
        lambda table: table.assign(n_spots_first=np.nan),
    ],
)
def test_a_damaged_comparison_of_a_file_is_not_shown(result: Result, damage: Any) -> None:
    is_left = result.coordinates[:, 0] < np.median(result.coordinates[:, 0])
    table = compare_regions(result, is_left, n_surrogates=19)
    adata = replace(result, region_comparison=table).to_anndata()
    assert len(Result.from_anndata(adata).region_comparison) == len(table)
    (key,) = [key for key in adata.uns if key.endswith("region_comparison")]
    adata.uns[key] = damage(pd.DataFrame(adata.uns[key]))
    assert not len(Result.from_anndata(adata).region_comparison)
