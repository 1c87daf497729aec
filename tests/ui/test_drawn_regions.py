"""Drawing, naming, comparing and keeping regions in a real window."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from qtpy.QtWidgets import QFileDialog

from napari_spotmix.analysis.region_statistics import compare_means, mean_composition
from napari_spotmix.analysis.regions import REST, compare_regions
from napari_spotmix.base.errors import Cancelled
from napari_spotmix.base.progress import Progress
from napari_spotmix.dataset.regions import Region, inside
from napari_spotmix.io.results import write_h5ad
from napari_spotmix.result import Result
from napari_spotmix.ui.canvas.regions_layer import outline_of
from napari_spotmix.ui.demo import read_result, show_result
from napari_spotmix.ui.panels.regions import comparison_task
from napari_spotmix.ui.state.loaded import LoadedTissue

pytestmark = pytest.mark.viewer


@pytest.fixture
def drawn(make_dock: Any, result: Result) -> tuple[Any, Any]:
    """A polygon over the left half of the tissue, drawn by hand as it were."""
    viewer, dock = make_dock()
    show_result(dock, result, "Gut")
    dock.regions.drawing.polygon.native.click()
    viewer.layers["Regions"].add(left_half(result)[:, ::-1], shape_type="polygon")
    return viewer, dock


def left_half(result: Result) -> np.ndarray:
    low, high = np.nanmin(result.coordinates, axis=0) - 1, np.nanmax(result.coordinates, axis=0) + 1
    middle = float(np.median(result.coordinates[:, 0])) + 0.5
    return np.array([[low[0], low[1]], [middle, low[1]], [middle, high[1]], [low[0], high[1]]])


def test_before_a_run_there_is_nothing_to_draw_on(make_dock: Any) -> None:
    _, dock = make_dock()
    assert dock.regions.compare.native.isHidden()
    assert "After a run" in dock.regions.state.text()


def test_a_shape_becomes_a_named_region(drawn: Any) -> None:
    viewer, dock = drawn
    (region,) = dock.session.regions
    assert region.name == "Region 1"
    np.testing.assert_allclose(region.outline, left_half(dock.session.result))
    assert viewer.layers["Regions"].mode == "add_polygon"
    viewer.layers["Regions"].add(np.array([[0, 0], [0, 900], [900, 900.0]]), shape_type="polygon")
    assert [region.name for region in dock.session.regions] == ["Region 1", "Region 2"]
    dock.regions.drawing.names.item(1).setText("injury")
    assert [region.name for region in dock.session.regions] == ["Region 1", "injury"]
    assert list(viewer.layers["Regions"].features["name"]) == ["Region 1", "injury"]
    dock.regions.drawing.names.item(1).setText("Region 1")
    assert dock.regions.drawing.names.item(1).text() == "injury", "two regions must not have one name"
    viewer.layers["Regions"].selected_data = {0}
    viewer.layers["Regions"].remove_selected()
    assert [region.name for region in dock.session.regions] == ["injury"]
    viewer.layers.remove("Regions")
    assert dock.session.regions == ()
    assert dock.regions.drawing.names.count() == 0


@pytest.mark.parametrize("kind", ["ellipse", "rectangle"])
def test_other_shapes_become_outlines(kind: str) -> None:
    corners = np.array([[10.0, 20.0], [10.0, 60.0], [30.0, 60.0], [30.0, 20.0]])
    outline = outline_of(corners, kind)
    np.testing.assert_allclose(outline.mean(axis=0), [40, 20])
    x, y = outline.T
    if kind == "ellipse":
        np.testing.assert_allclose(((x - 40) / 20) ** 2 + ((y - 20) / 10) ** 2, 1.0)
    else:
        np.testing.assert_array_equal(outline, corners[:, ::-1])


def test_a_comparison_shows_means_and_differences(qtbot: Any, drawn: Any) -> None:
    _, dock = drawn
    panel, result = dock.regions, dock.session.result
    assert panel.second.value == REST
    panel.compare.native.click()
    qtbot.waitUntil(lambda: panel.compared is not None, timeout=20_000)
    mask = inside(dock.session.regions[0], result.coordinates)
    values = result.proportions.to_numpy()
    expected = np.nanmean(values[mask], axis=0) - np.nanmean(values[~mask], axis=0)
    table = panel.compared
    np.testing.assert_allclose(
        table["difference"], expected[[result.cell_types.index(name) for name in table.index]]
    )
    assert table["p_value"].is_monotonic_increasing, "the clearest first"
    of_region = mean_composition(values, mask, result.coordinates)
    difference = compare_means(values, mask, ~mask, result.coordinates)
    clearest = result.cell_types.index(table.index[0])
    bar = panel.comparison.bars.bars[0]
    assert (bar.spot, bar.low, bar.high) == pytest.approx(
        (of_region.mean[clearest], of_region.lower[clearest], of_region.upper[clearest])
    )
    assert table["p_holm"].iloc[0] == pytest.approx(difference.holm[clearest])
    n_known = int((~np.isnan(values).any(axis=1) & mask).sum())
    assert f"Region 1: {n_known} spots" in panel.comparison.sizes.text()
    dock.session.replay(replace(result, notes=()))
    assert panel.compared is None, "other numbers need another comparison"
    assert panel.comparison.isHidden()


def test_a_comparison_can_be_cancelled(result: Result) -> None:
    def stop(_: Any) -> None:
        raise Cancelled("Cancelled.")

    with pytest.raises(Cancelled):
        comparison_task(result, (Region("left", left_half(result)),), "left", None)(stop)


def test_regions_are_kept_with_the_result_and_restored(
    make_dock: Any, result: Result, tmp_path: Path
) -> None:
    region = Region('T/NK "cells" <b>', left_half(result))
    write_h5ad(replace(result, regions=(region,)).to_anndata(), tmp_path / "spatial.h5ad")
    viewer, dock = make_dock()
    show_result(dock, read_result(tmp_path), "out")
    (kept,) = dock.session.regions
    assert kept.name == region.name
    np.testing.assert_array_equal(kept.outline, region.outline)
    layer = viewer.layers["Regions"]
    np.testing.assert_allclose(layer.data[0], region.outline[:, ::-1])
    assert dock.regions.drawing.names.item(0).text() == region.name
    layer.add(np.array([[0, 0], [0, 900], [900, 900.0]]), shape_type="polygon")
    assert len(dock.session.regions) == 2
    dock.session.set_result(None)
    assert "Regions" not in viewer.layers
    assert dock.session.regions == ()


def test_the_saved_run_holds_what_was_drawn(qtbot: Any, drawn: Any, tmp_path: Path) -> None:
    _, dock = drawn
    dock.run.save_to(tmp_path / "out")
    qtbot.waitUntil(lambda: not dock.run.is_running, timeout=10_000)
    (kept,) = read_result(tmp_path / "out").regions
    np.testing.assert_array_equal(kept.outline, dock.session.regions[0].outline)


def test_a_comparison_that_is_stored_with_a_result_is_shown(make_dock: Any, result: Result) -> None:
    region = Region("left", left_half(result))
    table = compare_regions(result, region, n_surrogates=19)
    _, dock = make_dock()
    show_result(dock, replace(result, regions=(region,), region_comparison=table), "out")
    assert not dock.regions.comparison.isHidden()
    assert [bar.name for bar in dock.regions.comparison.bars.bars] == list(table.index)
    assert "left: " in dock.regions.comparison.sizes.text()
    dock.session.set_result(replace(result, regions=(region,)))
    assert dock.regions.comparison.isHidden(), "another result has none"


def test_tables_and_outlines_are_written(
    qtbot: Any, drawn: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, dock = drawn
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "out.geojson"), ""))
    dock.regions.save_outlines.native.click()
    (feature,) = json.loads((tmp_path / "out.geojson").read_text())["features"]
    assert feature["properties"]["name"] == "Region 1"
    dock.regions.compare.native.click()
    qtbot.waitUntil(lambda: dock.regions.compared is not None, timeout=20_000)
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "out.csv"), ""))
    dock.regions.comparison.save.native.click()
    table = pd.read_csv(tmp_path / "out.csv", index_col=0)
    assert set(table.index) == set(dock.session.result.cell_types)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv", "out.geojson"]


def test_closing_the_dock_disconnects_the_drawing(drawn: Any) -> None:
    viewer, dock = drawn
    dock.close_session()
    viewer.layers["Regions"].add(np.array([[0, 0], [0, 900], [900, 900.0]]), shape_type="polygon")
    assert len(dock.session.regions) == 1


def test_another_run_keeps_what_was_drawn_and_another_tissue_does_not(drawn: Any) -> None:
    viewer, dock = drawn
    (region,) = dock.session.regions
    layer, result = viewer.layers["Regions"], dock.session.result
    dock.session.set_result(replace(result, notes=()))
    assert dock.session.regions == (region,)
    assert viewer.layers["Regions"] is layer
    assert dock.regions.drawing.names.item(0).text() == "Region 1"
    layer.add(np.array([[0, 0], [0, 900], [900, 900.0]]), shape_type="polygon")
    assert [one.name for one in dock.session.regions] == ["Region 1", "Region 2"]
    kept = Region("of the file", left_half(result))
    dock.session.set_result(replace(result, regions=(kept,)))
    assert list(viewer.layers["Regions"].features["name"]) == ["of the file"]
    assert dock.session.regions == (kept,)
    dock.session.data.set_tissue(LoadedTissue(result.spatial.copy(), "other"))
    assert "Regions" not in viewer.layers
    assert dock.session.regions == ()


def test_a_dock_that_is_opened_again_goes_on_with_the_drawing(drawn: Any) -> None:
    viewer, dock = drawn
    viewer.window.remove_dock_widget(dock)
    assert dock.is_closed
    _, again = viewer.window.add_plugin_dock_widget("napari-spotmix", "Cell-type deconvolution")
    assert again.session is dock.session
    viewer.layers["Regions"].add(np.array([[0, 0], [0, 900], [900, 900.0]]), shape_type="polygon")
    assert again.regions.drawing.names.count() == 2
    again.close_session()


def test_a_region_outside_the_tissue_reports_what_to_do(qtbot: Any, drawn: Any, messages: list[str]) -> None:
    viewer, dock = drawn
    far = np.array([[-900, -900], [-900, -500], [-500, -500.0]])
    viewer.layers["Regions"].add(far, shape_type="polygon")
    dock.regions.first.value = "Region 2"
    with qtbot.waitSignal(dock.regions.compare.runner.failed, timeout=10_000):
        dock.regions.compare.native.click()
    assert len(messages) == 1
    assert messages[0].startswith(
        "Region 2: no spot with proportions is in this region alone. Draw it over the tissue. Its outline"
    )
    assert messages[0] in dock.regions.state.text()
    assert dock.regions.compare.text == "Compare"


def test_a_comparison_on_its_way_is_cancelled_by_the_same_button(
    qtbot: Any, drawn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, dock = drawn

    def endless(*_: Any, on_progress: Any, **__: Any) -> None:
        while True:
            on_progress(Progress("Judging", 0, 1))
            time.sleep(0.01)

    monkeypatch.setattr("napari_spotmix.ui.panels.regions.compare_regions", endless)
    dock.regions.compare.native.click()
    qtbot.waitUntil(lambda: dock.regions.state.text() == "Judging…", timeout=20_000)
    with qtbot.waitSignal(dock.regions.compare.runner.cancelled, timeout=2000):
        dock.regions.compare.native.click()
    assert dock.regions.compared is None
    assert dock.regions.state.text() == "Cancelled."
