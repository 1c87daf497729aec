"""A dock that is closed leaves no connection behind."""

from __future__ import annotations

import gc
import re
import weakref
from pathlib import Path
from typing import Any

import pytest
from psygnal import SignalInstance
from qtpy.QtCore import QTimer

import napari_spotmix.ui
from napari_spotmix.result import Result
from napari_spotmix.ui.demo import show_result
from napari_spotmix.ui.state.connections import Connections
from napari_spotmix.ui.state.session import Session

pytestmark = pytest.mark.viewer

#: The session itself drops its result with the tissue.
OWN = 1


def session_signals(session: Session) -> list[SignalInstance]:
    parts = (session, session.data, session.display, session.pointer)
    return [
        getattr(part, name)
        for part in parts
        for name in dir(type(part))
        if isinstance(getattr(part, name, None), SignalInstance)
    ]


def viewer_receivers(viewer: Any) -> int:
    """Return how many receivers the signals of a viewer have that the plugin connects to."""
    camera = viewer.scene.camera.events
    emitters = (viewer.layers.events.inserted, viewer.layers.events.removed, camera.zoom, camera.center)
    callbacks = (viewer.mouse_drag_callbacks, viewer.mouse_move_callbacks)
    return sum(len(one.callbacks) for one in (*emitters, viewer.dims.events.ndisplay)) + sum(
        map(len, callbacks)
    )


def test_a_closed_dock_leaves_nothing_connected(make_napari_viewer: Any, result: Result) -> None:
    viewer = make_napari_viewer()
    before = viewer_receivers(viewer)
    _, dock = viewer.window.add_plugin_dock_widget("napari-spotmix", "Cell-type deconvolution")
    show_result(dock, result, "Gut")
    dock.run.keep.press("Layer per cell type")
    session = dock.session
    assert len(session_signals(session)) == 22
    assert all(len(signal) > 0 for signal in session_signals(session)), (
        "each signal has a slot while it is open"
    )
    assert viewer_receivers(viewer) > before
    dock.close_session()
    assert sum(map(len, session_signals(session))) == OWN
    assert viewer_receivers(viewer) == before


def used_and_removed(viewer: Any, result: Result) -> list[weakref.ref[Any]]:
    """Return the parts of a dock that was used and removed; no local of the test holds them."""
    _, dock = viewer.window.add_plugin_dock_widget("napari-spotmix", "Cell-type deconvolution")
    show_result(dock, result, "Gut")
    dock.session.pointer.pick(12)
    parts = [dock, dock.scene, dock.quick, dock.load, dock.run, dock.explore, dock.overlays.side_by_side]
    dock.close_session()
    viewer.window.remove_dock_widget(dock)
    dock.deleteLater()
    return [weakref.ref(part) for part in parts]


def test_a_removed_dock_and_its_panels_are_freed(qtbot: Any, make_napari_viewer: Any, result: Result) -> None:
    parts = used_and_removed(make_napari_viewer(), result)

    def left() -> list[str]:
        gc.collect()
        return [type(found).__name__ for part in parts if (found := part()) is not None]

    # Qt deletes its part of a widget first, which may hold a slot of another one.
    qtbot.waitUntil(lambda: left() == [], timeout=5000)


def test_connections_of_each_kind_are_undone_once(qtbot: Any) -> None:
    seen: list[str] = []
    connections, timer, signal = Connections(), QTimer(), SignalInstance(())
    timer.setInterval(0)
    connections.connect(timer.timeout, lambda: seen.append("Qt"))
    connections.connect(signal, lambda: seen.append("psygnal"))
    connections.on_disconnect(lambda: seen.append("undone"))
    assert len(connections) == 3
    connections.disconnect_all()
    connections.disconnect_all()
    timer.start()
    signal.emit()
    qtbot.wait(20)
    assert seen == ["undone"]
    assert len(connections) == 0


def test_only_the_helper_disconnects() -> None:
    root = Path(napari_spotmix.ui.__file__).parent
    by_hand = [
        path.relative_to(root).as_posix()
        for path in sorted(root.rglob("*.py"))
        if re.search(r"\.disconnect\(", path.read_text(encoding="utf-8"))
    ]
    assert by_hand == ["state/connections.py"]
