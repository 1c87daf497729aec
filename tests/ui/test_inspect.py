"""Clicking spots."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from qtpy.QtCore import QPoint, Qt

from napari_spotmix.base.colors import cell_type_colors
from napari_spotmix.result import Result
from napari_spotmix.ui.demo import show_result, spot_at_a_border
from napari_spotmix.ui.panels.inspect import composition_of, describe_spot

pytestmark = pytest.mark.viewer


@pytest.fixture
def shown(qtbot: Any, make_dock: Callable[..., Any], result: Result) -> tuple[Any, Any]:
    """A visible window, so that there is something to click at."""
    viewer, dock = make_dock(show=True)
    viewer.window.resize(1200, 800)
    show_result(dock, result, "Gut")
    qtbot.wait(100)
    return viewer, dock


def canvas_of(viewer: Any) -> Any:
    return viewer.window._qt_viewer.canvas.native


def on_screen(viewer: Any, xy: np.ndarray) -> QPoint:
    """Return where a point of the tissue is on the canvas."""
    canvas = canvas_of(viewer)
    center = np.array(viewer.scene.camera.center)[-2:]
    y, x = (xy[::-1] - center) * viewer.scene.camera.zoom
    return QPoint(round(canvas.width() / 2 + x), round(canvas.height() / 2 + y))


def click_at(qtbot: Any, viewer: Any, point: QPoint) -> None:
    qtbot.mouseMove(canvas_of(viewer), point)
    qtbot.mouseClick(canvas_of(viewer), Qt.MouseButton.LeftButton, pos=point)


def test_a_click_inspects_the_spot_under_it(qtbot: Any, shown: Any) -> None:
    viewer, dock = shown
    for spot in (12, 60):
        click_at(qtbot, viewer, on_screen(viewer, dock.session.result.coordinates[spot]))
        assert dock.session.pointer.spot == spot
        assert dock.session.result.abundances.index[spot] in dock.inspect.text.text()
    edges = viewer.layers["Neighborhood"]
    row = dock.session.result.weights[[60]].tocoo()
    drawn = edges.features.groupby("neighbor", sort=False).first()
    np.testing.assert_allclose(drawn["weight"], row.data)
    np.testing.assert_allclose(drawn["attention"], dock.session.result.attention[[60]].tocoo().data)
    assert viewer.layers.selection.active.name == "Dominant type", "clicking leaves the active layer"


def test_a_click_outside_all_spots_clears_the_selection(qtbot: Any, shown: Any) -> None:
    viewer, dock = shown
    dock.session.pointer.pick(3)
    click_at(qtbot, viewer, on_screen(viewer, dock.session.result.coordinates.min(axis=0) - 300))
    assert dock.session.pointer.spot is None
    assert not viewer.layers["Neighborhood"].visible
    assert not viewer.layers["Selected spot"].visible
    assert "Click a spot" in dock.inspect.text.text()


def test_a_drag_is_no_click(qtbot: Any, shown: Any) -> None:
    viewer, dock = shown
    canvas = canvas_of(viewer)
    start = on_screen(viewer, dock.session.result.coordinates[12])
    qtbot.mousePress(canvas, Qt.MouseButton.LeftButton, pos=start)
    for step in range(1, 6):
        drag_to(canvas, start + QPoint(8 * step, 4 * step))
    qtbot.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=start + QPoint(40, 20))
    assert dock.session.pointer.spot is None


def drag_to(canvas: Any, point: QPoint) -> None:
    """Move with the button held, which qtbot cannot."""
    from qtpy.QtCore import QEvent, QPointF
    from qtpy.QtGui import QMouseEvent
    from qtpy.QtWidgets import QApplication

    position = QPointF(point)
    left = Qt.MouseButton.LeftButton
    event = QMouseEvent(
        QEvent.Type.MouseMove,
        position,
        QPointF(canvas.mapToGlobal(point)),
        left,
        left,
        Qt.KeyboardModifier.NoModifier,
    )
    QApplication.sendEvent(canvas, event)


def test_a_click_that_draws_picks_nothing(qtbot: Any, shown: Any) -> None:
    viewer, dock = shown
    points = viewer.add_points(ndim=2)
    points.mode = "add"
    click_at(qtbot, viewer, on_screen(viewer, dock.session.result.coordinates[12]))
    assert len(points.data) == 1
    assert dock.session.pointer.spot is None


def test_escape_and_the_button_clear_the_selection(qtbot: Any, shown: Any) -> None:
    viewer, dock = shown
    dock.session.pointer.pick(3)
    qtbot.keyClick(canvas_of(viewer), Qt.Key.Key_Escape)
    assert dock.session.pointer.spot is None
    dock.session.pointer.pick(3)
    qtbot.mouseClick(dock.inspect.clear.native, Qt.MouseButton.LeftButton)
    assert dock.session.pointer.spot is None


def test_bars_are_the_proportions(result: Result) -> None:
    spot = 20
    bars = composition_of(result, spot)
    colors = cell_type_colors(result.cell_types)
    row = result.weights[[spot]].tocoo()
    around = result.proportions.iloc[row.col].to_numpy()
    known = ~np.isnan(around).any(axis=1)
    mean = row.data[known] @ around[known] / row.data[known].sum()
    for bar in bars:
        assert bar.spot == pytest.approx(result.proportions.iloc[spot][bar.name])
        assert bar.neighborhood == pytest.approx(mean[result.cell_types.index(bar.name)])
        assert bar.color == colors[bar.name]
    assert [bar.spot for bar in bars] == sorted((bar.spot for bar in bars), reverse=True)


def test_spot_without_estimate_says_why(result: Result) -> None:
    assert "Not estimated: no counts" in describe_spot(result, 4)
    assert all(np.isnan(bar.spot) for bar in composition_of(result, 4))


def test_description_names_counts_and_what_is_unexplained(result: Result) -> None:
    text = describe_spot(result, 7)
    assert result.abundances.index[7] in text
    assert f"{result.counts.iloc[7]:,.0f} counts" in text
    assert "10% unexplained" in text


def test_deleted_marks_come_back_at_the_next_click(explored: Any) -> None:
    viewer, dock = explored
    dock.session.pointer.pick(8)
    viewer.layers.remove("Neighborhood")
    viewer.layers.remove("Selected spot")
    dock.session.pointer.pick(9)
    assert "Neighborhood" in viewer.layers
    dock.session.display.show(dock.session.result.cell_types[0])
    assert [layer.name for layer in viewer.layers][-2:] == ["Neighborhood", "Selected spot"]


def test_marks_follow_from_spot_to_spot(explored: Any) -> None:
    viewer, dock = explored
    result = dock.session.result
    degree = np.diff(result.weights.indptr)
    inner, outer = int(np.argmax(degree)), int(np.argmin(degree))
    for spot in (outer, inner, outer):
        dock.session.pointer.pick(spot)
        edges, marks = viewer.layers["Neighborhood"], viewer.layers["Selected spot"]
        row = result.weights[[spot]].tocoo()
        drawn = edges.features.groupby("neighbor", sort=False).first()
        np.testing.assert_allclose(drawn["weight"], row.data)
        assert len(edges.data) == len(edges.features) >= len(row.data)
        expected = edges.edge_colormap.map(edges.features["attention"].to_numpy())
        np.testing.assert_allclose(edges.edge_color, expected, atol=1e-5)
        np.testing.assert_allclose(marks.data[-1], result.coordinates[spot, ::-1])
        assert len(marks.data) == len(marks.size) == degree[spot] + 2
        assert (marks.face_color[:, 3] == 0).all()


def test_border_spot_has_neighbors_on_both_sides(result: Result) -> None:
    spot = spot_at_a_border(result)
    attention = result.attention[[spot]].tocoo().data
    assert np.ptp(attention) >= np.median(
        [
            np.ptp(result.attention[[other]].tocoo().data)
            for other in range(90)
            if result.attention[[other]].nnz
        ]
    )


def test_supporting_genes_are_shown_if_the_signatures_are_known(
    qtbot: Any, shown: Any, result: Result
) -> None:
    _, dock = shown
    dock.session.pointer.pick(12)
    assert dock.inspect.genes.isHidden()
    genes = result.spatial.var_names
    rng = np.random.default_rng(5)
    signatures = pd.DataFrame(
        rng.dirichlet(np.full(len(genes), 0.1), size=5), index=result.cell_types, columns=genes
    )
    known = replace(result, signatures=signatures)
    dock.session.replay(known)
    dock.session.pointer.pick(13)
    largest = dock.inspect.bars.bars[0].name
    assert f"{largest}: {', '.join(known.supporting_genes(13)[largest])}" in dock.inspect.genes.text()
    dock.session.pointer.pick(4)
    assert dock.inspect.genes.isHidden(), "nothing was estimated there"
