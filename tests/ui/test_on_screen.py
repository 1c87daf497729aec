"""What lies over the canvas goes with the mouse, with the tool and with the layer of the map."""

from __future__ import annotations

from typing import Any

import pytest
from napari._qt.dialogs.qt_notification import NapariQtNotification
from qtpy.QtCore import QEvent, QPoint, QPointF, QRect, Qt
from qtpy.QtGui import QCursor, QMouseEvent, QWheelEvent
from qtpy.QtWidgets import QApplication, QWidget

from napari_spotmix.result import Result
from napari_spotmix.ui.demo import show_result
from napari_spotmix.ui.state.maps import DOMINANT, PIES
from tests.ui.conftest import wait_for_rest

pytestmark = pytest.mark.viewer


@pytest.fixture
def opened(qtbot: Any, make_dock: Any, result: Result) -> tuple[Any, Any]:
    viewer, dock = make_dock(show=True)
    show_result(dock, result, "Gut")
    qtbot.waitUntil(dock.overlays.legend.isVisible)
    wait_for_rest(qtbot, viewer)
    return viewer, dock


def spot_in_the_middle(viewer: Any, dock: Any) -> QPoint:
    """Return where on the canvas a spot is that no box covers."""
    canvas, camera = dock.overlays.legend.parent(), viewer.scene.camera
    x, y = dock.session.result.coordinates[44]
    center = canvas.rect().center()
    return center + QPoint(
        round((x - camera.center[-1]) * camera.zoom), round((y - camera.center[-2]) * camera.zoom)
    )


def point(qtbot: Any, viewer: Any, dock: Any) -> None:
    """Move the mouse over a spot, and wait for its box."""
    canvas, at = dock.overlays.legend.parent(), spot_in_the_middle(viewer, dock)
    for _ in range(100):
        QCursor.setPos(canvas.mapToGlobal(at - QPoint(3, 0)))
        qtbot.wait(20)
        QCursor.setPos(canvas.mapToGlobal(at))
        qtbot.wait(60)  # until the last move has arrived; vispy drops those within 10 ms of another
        if dock.overlays.hover.isVisible():
            return
    pytest.fail("there is no box at the mouse")


def test_the_box_goes_when_the_mouse_leaves_the_canvas(qtbot: Any, opened: Any) -> None:
    viewer, dock = opened
    hover, canvas = dock.overlays.hover, dock.overlays.legend.parent()
    point(qtbot, viewer, dock)
    assert hover.title == dock.session.result.abundances.index[44]
    assert canvas.rect().contains(hover.geometry())
    # Not by the cursor: the screen may be smaller than the window.
    QApplication.sendEvent(canvas, QEvent(QEvent.Type.Leave))
    qtbot.waitUntil(hover.isHidden)
    point(qtbot, viewer, dock)
    dock.session.display.show(dock.session.result.cell_types[1])
    qtbot.waitUntil(dock.overlays.color_bar.isVisible)
    point(qtbot, viewer, dock)
    bar = dock.overlays.color_bar
    QCursor.setPos(bar.mapToGlobal(QPoint(20, 10)))
    qtbot.wait(50)
    if QApplication.widgetAt(QCursor.pos()) is not bar:
        pytest.skip("the cursor of this screen is not taken to the color bar")
    qtbot.waitUntil(hover.isHidden)


def test_the_box_goes_when_the_tissue_moves_below_it(qtbot: Any, opened: Any) -> None:
    viewer, dock = opened
    hover, canvas = dock.overlays.hover, dock.overlays.legend.parent()
    point(qtbot, viewer, dock)
    at, step = spot_in_the_middle(viewer, dock), QPoint(0, 120)
    keys = Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False
    wheel = QWheelEvent(QPointF(at), QPointF(canvas.mapToGlobal(at)), QPoint(), step, *keys)
    before = viewer.scene.camera.zoom
    QApplication.sendEvent(canvas, wheel)
    qtbot.waitUntil(lambda: viewer.scene.camera.zoom != before)
    assert hover.isHidden()
    viewer.scene.camera.zoom = before
    viewer.scene.camera.center = (*viewer.scene.camera.center[:-2], 0.0, 0.0)
    viewer.reset_view()
    point(qtbot, viewer, dock)
    qtbot.mousePress(canvas, Qt.MouseButton.LeftButton, pos=spot_in_the_middle(viewer, dock))
    assert hover.isHidden(), "a drag begins"
    qtbot.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=spot_in_the_middle(viewer, dock))
    assert dock.session.pointer.spot == 44


def test_the_box_goes_while_the_keyboard_walks(qtbot: Any, opened: Any) -> None:
    viewer, dock = opened
    dock.session.pointer.pick(44)
    point(qtbot, viewer, dock)
    qtbot.keyClick(dock.overlays.legend.parent(), Qt.Key.Key_Right)
    assert dock.session.pointer.spot != 44
    qtbot.wait(50)
    assert dock.overlays.hover.isHidden()
    canvas, at = dock.overlays.legend.parent(), spot_in_the_middle(viewer, dock)
    send_move(canvas, at)
    assert dock.overlays.hover.isHidden(), "a mouse that stays where it is does not point"
    qtbot.wait(30)  # vispy takes a move each 10 ms
    send_move(canvas, at + QPoint(2, 0))
    assert dock.overlays.hover.isVisible()


def send_move(canvas: QWidget, at: QPoint) -> None:
    """Send a move, as Qt also does when the window changes below a mouse that stays where it is."""
    no_button, no_key = Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier
    place = QPointF(at), QPointF(canvas.mapToGlobal(at))
    QApplication.sendEvent(canvas, QMouseEvent(QEvent.Type.MouseMove, *place, no_button, no_button, no_key))


def test_what_is_drawn_has_the_whole_canvas(qtbot: Any, opened: Any) -> None:
    viewer, dock = opened
    hover, canvas = dock.overlays.hover, dock.overlays.legend.parent()
    dock.session.display.show(dock.session.result.cell_types[1])
    bar = dock.overlays.color_bar
    on_bar = bar.geometry().center()
    assert bar.isAncestorOf(canvas.childAt(on_bar))
    point(qtbot, viewer, dock)
    dock.regions.drawing.polygon.native.click()
    assert hover.isHidden()
    at = spot_in_the_middle(viewer, dock)
    for away in (0, 2):
        qtbot.mouseMove(canvas, at + QPoint(away, 0))
    qtbot.wait(50)
    assert hover.isHidden()
    assert canvas.childAt(on_bar) is None, "a corner can be drawn below the color bar"
    viewer.layers.selection.active.mode = "pan_zoom"
    assert bar.isAncestorOf(canvas.childAt(on_bar))
    point(qtbot, viewer, dock)
    viewer.layers.selection.active.mode = "add_polygon"
    assert hover.isHidden(), "also if the tool is changed by a key"


def test_title_legend_and_box_go_with_the_layer_and_come_back(qtbot: Any, opened: Any) -> None:
    viewer, dock = opened
    overlays = dock.overlays
    layer = dock.scene.layer_of(DOMINANT)
    point(qtbot, viewer, dock)
    layer.visible = False
    assert overlays.hover.isHidden()
    assert overlays.title.isHidden()
    assert overlays.legend.isHidden()
    assert overlays.scale_bar.isVisible(), "there is an image to measure"
    at = spot_in_the_middle(viewer, dock)
    for away in (0, 2):
        qtbot.mouseMove(overlays.legend.parent(), at + QPoint(away, 0))
    assert overlays.hover.isHidden(), "no map is there to point at"
    for other in viewer.layers:
        other.visible = False
    assert overlays.scale_bar.isHidden()
    layer.visible = True
    assert overlays.title.isVisible()
    assert overlays.legend.isVisible()
    assert overlays.scale_bar.isVisible()
    dock.session.display.show(dock.session.result.cell_types[0])
    assert overlays.color_bar.isVisible()
    viewer.layers.remove(dock.scene.layer_of(dock.session.result.cell_types[0]))
    assert overlays.color_bar.isHidden()
    assert overlays.title.isHidden()
    dock.session.display.show(PIES)
    assert overlays.title.text == "Pies"
    assert overlays.title.isVisible()
    viewer.layers.clear()
    assert overlays.title.isHidden()
    assert overlays.scale_bar.isHidden()


def test_no_box_lies_over_a_notification(qtbot: Any, opened: Any) -> None:
    viewer, dock = opened
    canvas = dock.overlays.legend.parent()
    assert canvas is viewer.window._qt_viewer.canvas.native, "where napari puts its notifications"
    note = NapariQtNotification("A warning", "warning", parent=canvas)
    note.show()
    qtbot.wait(300)
    point(qtbot, viewer, dock)
    for shown in (*dock.session.result.cell_types[:2], DOMINANT):
        dock.session.display.show(shown)
        for box in (dock.overlays.hover, dock.overlays.legend, dock.overlays.scale_bar):
            box.setGeometry(note.geometry())
            assert is_on_top(note, canvas)
    dock.session.display.show_panels(dock.session.result.cell_types[:2])
    qtbot.waitUntil(dock.overlays.side_by_side.isVisible)
    assert is_on_top(note, canvas)
    dock.session.display.show_panels(())
    note.close()


def is_on_top(box: QWidget, canvas: QWidget) -> bool:
    """Return whether nothing else on the canvas is above any part of a box."""
    area: QRect = box.geometry().adjusted(2, 2, -2, -2)
    seen = [canvas.childAt(at) for at in (area.topLeft(), area.center(), area.bottomRight())]
    return all(one is box or box.isAncestorOf(one) for one in seen)
