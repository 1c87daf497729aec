"""The legend in a real window: how much it covers, folding, moving and scrolling by the mouse."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from napari._qt.dialogs.qt_notification import NapariQtNotification
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QColor, QWheelEvent
from qtpy.QtWidgets import QApplication

from napari_spotmix.analysis.niches import find_niches
from napari_spotmix.result import Result
from napari_spotmix.ui.demo import show_result
from napari_spotmix.ui.state.maps import DOMINANT, GRAPH, NICHES

pytestmark = pytest.mark.viewer

#: On the title of the legend.
GRIP = QPoint(20, 10)
MANY = [(f"type {at}", QColor.fromHsv(9 * at, 200, 200).name()) for at in range(40)]


@pytest.fixture
def opened(qtbot: Any, make_dock: Any, result: Result) -> tuple[Any, Any]:
    viewer, dock = make_dock(show=True)
    show_result(dock, result, "Gut")
    qtbot.waitUntil(dock.overlays.legend.isVisible)
    qtbot.wait(50)
    return viewer, dock


def drag(qtbot: Any, dock: Any, to: QPoint) -> None:
    """Drag the legend until its upper left corner is at a point of the canvas."""
    legend = dock.overlays.legend
    qtbot.mousePress(legend, Qt.MouseButton.LeftButton, pos=GRIP)
    for part in (0.5, 1.0):
        at = legend.mapFromParent(to + GRIP) * part + GRIP * (1 - part)
        qtbot.mouseMove(legend, at)
    qtbot.mouseRelease(legend, Qt.MouseButton.LeftButton, pos=GRIP)


def others(dock: Any) -> Iterator[Any]:
    overlays = dock.overlays
    for box in (overlays.title, overlays.color_bar, overlays.scale_bar):
        if box.isVisible():
            yield box


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (1600, 1000)])
def test_many_types_take_a_quarter_of_the_canvas_and_scroll(
    qtbot: Any, opened: Any, width: int, height: int
) -> None:
    viewer, dock = opened
    viewer.window.resize(width, height)
    qtbot.wait(100)
    legend = dock.overlays.legend
    legend.show_entries(MANY, "40 types")
    canvas = legend.parent()
    assert 4 * legend.height() <= canvas.height()
    assert 4 <= legend.n_rows < 40
    assert legend.bar.isVisible()
    assert swatch(legend, 0) == MANY[0][1]
    zoom = viewer.scene.camera.zoom
    for _ in range(40):
        turn_wheel(legend, -120)
    assert swatch(legend, legend.n_rows - 1) == MANY[-1][1], "the last one is reached"
    assert viewer.scene.camera.zoom == zoom, "the tissue below is not zoomed"
    dock.session.display.show(DOMINANT)
    assert legend.bar.isHidden()
    assert legend.title == "5 types"
    assert [swatch(legend, at) for at in range(2)] == [color for _, color in legend.entries[:2]]


def swatch(legend: Any, row: int) -> str:
    """Return the color that is painted in a row."""
    return str(legend.grab().toImage().pixelColor(13, 20 + 18 * row + 8).name())


def turn_wheel(legend: Any, angle: int) -> None:
    at = legend.rect().center()
    keys = Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False
    turned = QPointF(at), QPointF(legend.mapToGlobal(at)), QPoint(), QPoint(0, angle)
    QApplication.sendEvent(legend, QWheelEvent(*turned, *keys))


def test_a_click_on_its_title_folds_it_for_all_maps(
    qtbot: Any, opened: Any, make_dock: Any, result: Result
) -> None:
    viewer, dock = opened
    legend = dock.overlays.legend
    low, tall = legend.geometry().bottom(), legend.height()
    qtbot.mouseClick(legend, Qt.MouseButton.LeftButton, pos=legend.rect().center())
    assert legend.height() == tall, "only the title folds it"
    qtbot.mouseClick(legend, Qt.MouseButton.LeftButton, pos=GRIP)
    assert legend.height() == 20
    assert legend.geometry().bottom() == low, "it stays in its corner"
    assert dock.session.pointer.spot is None, "the spot below is not picked"
    dock.session.set_niches(find_niches(result, 3, random_state=5), is_shown=True)
    assert dock.session.display.shown is NICHES
    assert (legend.title, legend.height()) == ("3 niches", 20)
    dock.session.display.show(GRAPH)
    assert (legend.title, legend.height()) == ("Edges", 20)
    viewer.window.remove_dock_widget(dock.parent())
    dock.close_session()
    _, again = viewer.window.add_plugin_dock_widget("napari-spotmix", "Cell-type deconvolution")
    again.session.display.show(DOMINANT)
    qtbot.waitUntil(again.overlays.legend.isVisible)
    assert again.overlays.legend.height() == 20, "also in a dock that is opened again"
    qtbot.mouseClick(again.overlays.legend, Qt.MouseButton.LeftButton, pos=GRIP)
    assert again.overlays.legend.height() == tall
    again.close_session()


def test_it_is_dragged_to_each_corner_and_leaves_the_other_boxes_there_alone(qtbot: Any, opened: Any) -> None:
    viewer, dock = opened
    legend, types = dock.overlays.legend, dock.session.result.cell_types
    canvas = legend.parent()
    for is_right, is_low in product((False, True), repeat=2):
        dock.session.display.show(tuple(types[:3]))
        x = canvas.width() - legend.width() - 15 if is_right else 4
        y = canvas.height() - legend.height() - 15 if is_low else 4
        drag(qtbot, dock, QPoint(x, y))
        for shown in (tuple(types[:3]), DOMINANT):
            dock.session.display.show(shown)
            for size in ((1280, 800), (1500, 900)):
                viewer.window.resize(*size)
                qtbot.wait(30)
                box = legend.geometry()
                assert canvas.rect().contains(box)
                assert (box.center().x() > canvas.width() / 2) == is_right
                assert (box.center().y() > canvas.height() / 2) == is_low
                assert not [other for other in others(dock) if other.geometry().intersects(box)]
                assert min(box.left(), canvas.width() - box.right() - 1) == 8
    assert dock.session.pointer.spot is None
    viewer.window.resize(1280, 800)


def test_it_stays_where_it_was_put(qtbot: Any, opened: Any) -> None:
    viewer, dock = opened
    legend = dock.overlays.legend
    canvas = legend.parent()
    center = viewer.scene.camera.center
    drag(qtbot, dock, QPoint(90, 150))
    assert legend.pos() == QPoint(90, 150)
    assert viewer.scene.camera.center == center, "the tissue is not dragged"
    dock.session.display.show(tuple(dock.session.result.cell_types[:3]))
    assert legend.pos() == QPoint(90, 150)
    drag(qtbot, dock, QPoint(5000, 5000))
    assert canvas.rect().contains(legend.geometry())


def test_a_notification_is_above_a_legend_in_its_corner(qtbot: Any, opened: Any) -> None:
    _, dock = opened
    legend = dock.overlays.legend
    canvas = legend.parent()
    drag(qtbot, dock, QPoint(canvas.width(), canvas.height()))
    note = NapariQtNotification("A warning", "warning", parent=canvas)
    note.show()
    note.move(legend.geometry().topLeft() - QPoint(10, 0))
    drag(qtbot, dock, legend.pos() - QPoint(5, 0))
    dock.session.display.show(tuple(dock.session.result.cell_types[:3]))
    dock.session.display.show(DOMINANT)
    both = legend.geometry().intersected(note.geometry())
    assert not both.isEmpty()
    seen = canvas.childAt(both.center())
    assert seen is note or note.isAncestorOf(seen)
    note.close()
