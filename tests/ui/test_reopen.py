"""A result that was saved from napari is shown again as it was, whatever its file says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_spotmix.base.color_range import ColorRange
from napari_spotmix.io.results import write_h5ad
from napari_spotmix.result import Result, View
from napari_spotmix.ui.demo import read_result, show_result
from napari_spotmix.ui.state.maps import DOMINANT, NICHES, PIES

pytestmark = pytest.mark.viewer


def test_what_was_shown_is_shown_again(qtbot: Any, make_dock: Any, result: Result, tmp_path: Path) -> None:
    _, dock = make_dock()
    show_result(dock, result, "Gut")
    names = tuple(result.cell_types[:2])
    dock.session.display.show(names)
    dock.session.pointer.pick(12)
    dock.explore.settings.threshold.value = 0.2
    dock.explore.settings.opacity.value = 0.6
    rule = ColorRange(chosen={names[0]: 0.15})
    dock.session.display.set_color_range(rule)
    dock.run.save_to(tmp_path / "out")
    qtbot.waitUntil(lambda: not dock.run.is_running, timeout=10_000)
    _, again = make_dock()
    show_result(again, read_result(tmp_path / "out"), "Gut")
    session = again.session
    assert (
        session.display.shown,
        session.pointer.spot,
        session.display.threshold,
        session.display.opacity,
    ) == (names, 12, 0.2, 0.6)
    assert session.display.color_range == rule
    assert again.overlays.legend.entries[0][0].endswith("0 – 0.15")
    assert again.explore.settings.threshold.value == 0.2
    assert again.explore.settings.opacity.value == 0.6
    assert again.scene.layer_of(names).opacity == 0.6


def test_niches_panels_and_the_camera_are_restored(
    qtbot: Any, make_dock: Any, result: Result, tmp_path: Path
) -> None:
    viewer, dock = make_dock()
    show_result(dock, result, "Gut")
    dock.tissue.n_niches.value = 3
    dock.tissue.search.native.click()
    qtbot.waitUntil(lambda: dock.session.niches is not None, timeout=20_000)
    dock.session.display.show_panels(result.cell_types[:2])
    camera = viewer.scene.camera
    camera.center, camera.zoom = (700.0, 450.0), 2.5 * camera.zoom
    dock.run.save_to(tmp_path / "out")
    qtbot.waitUntil(lambda: not dock.run.is_running, timeout=10_000)
    other, again = make_dock()
    show_result(again, read_result(tmp_path / "out"), "Gut")
    assert tuple(other.scene.camera.center[-2:]) == (700.0, 450.0)
    assert other.scene.camera.zoom == pytest.approx(camera.zoom)
    assert again.session.display.panels == tuple(result.cell_types[:2])
    qtbot.waitUntil(lambda: again.session.niches is not None, timeout=20_000)
    np.testing.assert_array_equal(again.session.niches.codes, dock.session.niches.codes)
    assert again.session.display.shown is NICHES
    assert again.tissue.n_niches.value == 3
    assert NICHES in [row.key for row in again.explore.list.rows.rows]


def test_niches_that_were_found_but_not_shown_stay_in_the_list(
    qtbot: Any, make_dock: Any, result: Result
) -> None:
    _, dock = make_dock()
    show_result(dock, replace(result, view=View(map="PIES", niches=4)), "Gut")
    qtbot.waitUntil(lambda: dock.session.niches is not None, timeout=20_000)
    assert dock.session.display.shown is PIES
    assert len(dock.session.niches.composition) == 4


def test_a_file_with_a_result_is_opened_with_it(
    qtbot: Any, make_dock: Any, result: Result, tmp_path: Path
) -> None:
    shown = replace(result, view=View(map="PIES"))
    write_h5ad(shown.to_anndata(), tmp_path / "spatial.h5ad")
    _, dock = make_dock()
    dock.load.spots.spatial.value = tmp_path / "spatial.h5ad"
    qtbot.waitUntil(lambda: dock.session.result is not None, timeout=10_000)
    assert dock.session.display.shown is PIES
    np.testing.assert_allclose(dock.session.result.abundances, result.abundances)
    write_h5ad(result.spatial, tmp_path / "plain.h5ad")
    dock.load.spots.spatial.value = tmp_path / "plain.h5ad"
    qtbot.waitUntil(lambda: dock.session.result is None, timeout=10_000)


@pytest.mark.parametrize(
    "view",
    [
        {"types": ["no such type"], "threshold": "much", "opacity": -1, "spot": 10**9},
        {"types": 3, "map": ["PIES"], "threshold": None, "spot": True},
        {"map": "NICHES", "opacity": 1e300},
        {"types": [None, {}], "map": "__class__"},
        {"niches": 10**9, "camera": [1.0, float("inf"), 1.0], "side by side": [[], "no such type"]},
        {"color range": {"mode": ["own"], "chosen": [1], "same": -1, "maps": {"counts": "many"}}},
        {"color range": "same"},
        {"niches": "3", "camera": [1.0, 2.0, -1.0], "side by side": "Gut"},
    ],
)
def test_nonsense_in_a_file_is_ignored(make_dock: Any, result: Result, view: dict[str, Any]) -> None:
    _, dock = make_dock()
    show_result(dock, replace(result, view=View.from_dict(view)), "Gut")
    assert dock.session.display.shown is DOMINANT
    assert (dock.session.pointer.spot, dock.session.display.threshold, dock.session.display.opacity) == (
        None,
        0.0,
        1.0,
    )
    assert dock.session.display.panels == ()
    assert dock.session.display.color_range == ColorRange()
    assert not dock.tissue.search.runner.is_running


@pytest.mark.parametrize("text", ["", "[1]", "{", 3])
def test_a_view_that_is_no_json_object_is_empty(result: Result, text: Any) -> None:
    adata = result.to_anndata()
    adata.uns["spotmix_view"] = text
    assert Result.from_anndata(adata).view == View()
