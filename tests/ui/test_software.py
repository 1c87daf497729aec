"""Points are drawn quickly by a processor, and look as napari draws them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.layers import Points

from napari_spotmix.ui.canvas import software

pytestmark = pytest.mark.viewer


@pytest.fixture(autouse=True)
def _software(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw as on a processor, whatever draws here: a graphics card must show the same."""
    monkeypatch.setattr(software, "is_software", lambda: True)


def add_spots(viewer: Any, n_side: int = 30) -> Points:
    positions = np.stack(np.meshgrid(np.arange(n_side), np.arange(n_side)), axis=-1).reshape(-1, 2) * 10.0
    random = np.random.default_rng(0)
    symbols = np.where(random.random(len(positions)) < 0.1, "x", "disc")
    return viewer.add_points(
        positions, size=8, symbol=symbols, face_color=random.random((len(positions), 4)), antialiasing=1
    )


def methods(dock: Any) -> list[str]:
    return [markers._method for markers in software._markers_below(dock.quick._canvas.central_widget)]


def seen(viewer: Any, qtbot: Any, spot_on_screen: float) -> np.ndarray:
    """Return what is seen where a spot has so many pixels on the screen, the first row in the middle."""
    viewer.scene.camera.center = (0, 0, 145)
    viewer.scene.camera.zoom = spot_on_screen / 8
    qtbot.wait(50)
    return viewer.screenshot(flash=False).astype(int)


def test_small_points_are_drawn_as_napari_draws_them(make_dock: Any, qtbot: Any) -> None:
    viewer, dock = make_dock(show=True)
    layer = add_spots(viewer)
    quick = seen(viewer, qtbot, 8)
    assert methods(dock) == ["points"]
    (markers, hooks), *_ = dock.quick._hooks.items()
    software._change(markers, "instanced", hooks)
    usual = seen(viewer, qtbot, 8)
    assert methods(dock) == ["instanced"]
    height = len(usual)
    inside = np.s_[height // 2 + 10 : height - 10, 10:-10]  # at the edges half a spot may be missing
    assert usual[inside].std() > 20
    assert (np.abs(quick - usual)[inside] > 30).mean() < 0.001
    dock.quick._hooks.clear()
    dock.quick._update()
    layer.face_color = "red"
    assert (np.abs(seen(viewer, qtbot, 8) - quick) > 30).mean() > 0.03, "what is changed is drawn"


def test_spots_that_are_zoomed_in_are_left_to_napari(make_dock: Any, qtbot: Any) -> None:
    viewer, dock = make_dock(show=True)
    add_spots(viewer)
    far = seen(viewer, qtbot, 10)
    near = seen(viewer, qtbot, 400)
    assert methods(dock) == ["instanced"]
    assert (np.abs(near - near[0, 0]).max(axis=-1) > 30).mean() > 0.2, "spots are not cut to 255 pixels"
    np.testing.assert_array_equal(seen(viewer, qtbot, 10), far)
    assert methods(dock) == ["points"]


def test_few_points_are_left_alone(make_dock: Any, qtbot: Any) -> None:
    viewer, dock = make_dock(show=True)
    add_spots(viewer, n_side=5)
    seen(viewer, qtbot, 10)
    assert methods(dock) == ["instanced"]


def test_what_a_graphics_card_draws_is_left_alone(
    make_dock: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(software, "is_software", lambda: False)
    viewer, dock = make_dock(show=True)
    add_spots(viewer)
    seen(viewer, qtbot, 10)
    assert dock.quick._canvas is None
    assert not dock.quick._hooks


def test_a_closed_dock_leaves_points_to_napari(make_dock: Any, qtbot: Any) -> None:
    viewer, dock = make_dock(show=True)
    add_spots(viewer)
    seen(viewer, qtbot, 10)
    (markers, _), *_ = dock.quick._hooks.items()
    assert markers._method == "points"
    dock.close_session()
    assert markers._method == "instanced"
    assert seen(viewer, qtbot, 10).std() > 20
    assert markers._method == "instanced"
