"""Outlines of a GeoJSON file, as QuPath writes it, are drawn on the result, by drop or by button."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog

pytestmark = pytest.mark.viewer


def geojson(*names: str, low: tuple[float, float], high: tuple[float, float]) -> str:
    """Return a rectangle for each name, next to each other, from left to right."""
    edges = np.linspace(low[0], high[0], len(names) + 1)
    features = [
        {
            "type": "Feature",
            "geometry": {
                "type": "Polygon",
                "coordinates": [
                    [[left, low[1]], [right, low[1]], [right, high[1]], [left, high[1]], [left, low[1]]]
                ],
            },
            "properties": {"objectType": "annotation", "classification": {"name": name}},
        }
        for name, left, right in zip(names, edges[:-1], edges[1:], strict=True)
    ]
    return json.dumps({"type": "FeatureCollection", "features": features})


@pytest.fixture
def outlines(explored: Any, tmp_path: Path) -> Path:
    xy = explored[1].session.result.coordinates
    path = tmp_path / "from QuPath.geojson"
    low, high = xy.min(axis=0) - 1, xy.max(axis=0) + 1
    path.write_text(geojson("Tumor", "Stroma", "Tumor", low=tuple(low), high=tuple(high)))
    return path


def test_classes_of_qupath_become_regions_and_can_be_undone(
    qtbot: Any, explored: Any, outlines: Path, messages: list[str]
) -> None:
    viewer, dock = explored
    dock.open_file(outlines)
    qtbot.waitUntil(lambda: bool(dock.session.regions), timeout=10_000)
    assert [region.name for region in dock.session.regions] == ["Tumor", "Stroma", "Tumor"]
    assert "3 regions" in messages[-1]
    assert "Regions" in [layer.name for layer in viewer.layers]
    assert list(dock.regions.first.choices) == ["Tumor", "Stroma"]
    dock.regions.drawing.step_back()
    assert dock.session.regions == ()


def test_the_button_opens_what_the_other_one_has_saved(
    qtbot: Any, explored: Any, outlines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, dock = explored
    # The operating system's dialogs are out of reach of a test: they answer at once.
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(outlines), ""))
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "ours.geojson"), ""))
    qtbot.mouseClick(dock.regions.open_outlines.native, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: bool(dock.session.regions), timeout=10_000)
    first = dock.session.regions
    qtbot.mouseClick(dock.regions.save_outlines.native, Qt.MouseButton.LeftButton)
    dock.regions.drawing.step_back()
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(tmp_path / "ours.geojson"), ""))
    qtbot.mouseClick(dock.regions.open_outlines.native, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: bool(dock.session.regions), timeout=10_000)
    for one, other in zip(first, dock.session.regions, strict=True):
        assert one.name == other.name
        np.testing.assert_allclose(one.outline, other.outline)


def test_regions_without_a_result_say_what_to_do(
    qtbot: Any, make_dock: Callable[..., Any], tmp_path: Path, messages: list[str]
) -> None:
    _, dock = make_dock()
    (tmp_path / "one.geojson").write_text(geojson("A", low=(0, 0), high=(9, 9)))
    dock.open_file(tmp_path / "one.geojson")
    qtbot.waitUntil(lambda: bool(messages), timeout=10_000)
    assert "Run first" in messages[-1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (geojson("A", low=(1e7, 1e7), high=(2e7, 2e7)), "No spot is inside"),
        ("[" * 100_000, "must be a GeoJSON FeatureCollection"),
        ('{"type": "FeatureCollection", "features": [{"geometry": {"type": "Point"}}]}', "is not a polygon"),
        (geojson(*map(str, range(300)), low=(0, 0), high=(9, 9)), "Export annotations, not cells"),
        ("x" * 21_000_000, "too much for regions"),
    ],
    ids=["elsewhere", "nested", "points", "cells", "large"],
)
def test_what_cannot_be_drawn_is_refused_in_one_message(
    qtbot: Any, explored: Any, tmp_path: Path, messages: list[str], text: str, words: str
) -> None:
    _, dock = explored
    (tmp_path / "odd.geojson").write_text(text)
    dock.open_file(tmp_path / "odd.geojson")
    qtbot.waitUntil(lambda: bool(messages), timeout=10_000)
    assert words in messages[-1]
    assert len(messages[-1]) < 600
    assert dock.session.regions == ()
