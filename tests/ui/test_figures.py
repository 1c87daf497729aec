"""Figures hold what is on the screen: each map in its colors, threshold, range, zoom and regions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from napari.utils.colormaps import ensure_colormap
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog

from napari_spotmix.base.color_range import ColorRange
from napari_spotmix.base.colors import niche_colors
from napari_spotmix.output import figure as module
from napari_spotmix.result import Result
from napari_spotmix.ui.demo import show_result
from napari_spotmix.ui.panels.explore import ON_SCREEN, WHOLE_SECTION
from napari_spotmix.ui.state.loaded import LoadedTissue
from napari_spotmix.ui.state.maps import COUNTS, DOMINANT, ERRORS, GRAPH, NICHES, PIES, Column, Gene

pytestmark = pytest.mark.viewer


class Saver:
    """Presses *Save figure…*, and keeps the figure that was written."""

    def __init__(self, dock: Any, qtbot: Any, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.dock, self.qtbot, self.path = dock, qtbot, path
        self.drawn: list[Any] = []
        save = module.save

        def kept(figure: Any, path: Path, *rest: Any) -> Path:
            self.drawn.append(figure)
            return save(figure, path, *rest)

        monkeypatch.setattr(module, "save", kept)
        monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))

    def figure(self, area: str = WHOLE_SECTION) -> Any:
        explore = self.dock.explore
        explore.area.value = area
        assert explore.figure.native.isVisibleTo(explore)
        with self.qtbot.waitSignal(explore.figure.runner.finished, timeout=20_000):
            self.qtbot.mouseClick(explore.figure.native, Qt.MouseButton.LeftButton)
        assert self.path.read_bytes()[:4] == b"\x89PNG"
        return self.drawn[-1]

    def colors(self, area: str = WHOLE_SECTION) -> np.ndarray:
        return np.asarray(labeled(self.figure(area).axes[0], "spots")[0].get_facecolor())


def labeled(axes: Any, label: str) -> list[Any]:
    return [one for one in axes.get_children() if one.get_label() == label]


@pytest.fixture
def with_errors(result: Result) -> Result:
    errors = pd.DataFrame(
        np.linspace(0.01, 0.2, result.abundances.size).reshape(result.abundances.shape),
        index=result.abundances.index,
        columns=result.abundances.columns,
    )
    result.spatial.obs["cluster"] = np.where(
        result.coordinates[:, 0] < np.median(result.coordinates[:, 0]), "a <b>", "c"
    )
    result.spatial.obs["score"] = np.linspace(-1, 2, len(errors))
    return replace(result, standard_errors=errors)


@pytest.fixture
def saver(
    make_dock: Any, with_errors: Result, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Saver:
    _, dock = make_dock(show=True)
    show_result(dock, with_errors, "Gut")
    qtbot.waitUntil(lambda: dock.session.contents is not None, timeout=5000)
    return Saver(dock, qtbot, tmp_path / "figure.png", monkeypatch)


def on_screen(saver: Saver, shown: Any) -> np.ndarray:
    """Return the colors of the spots in napari's layer, of those that were estimated."""
    layer = saver.dock.scene.layer_of(shown)
    assert layer.visible
    is_known = [one.value != "x" for one in layer.symbol]
    return np.asarray(layer.face_color[is_known])


@pytest.mark.parametrize("threshold", [0.0, 0.3])
def test_spots_have_the_colors_that_they_have_on_the_screen(saver: Saver, threshold: float) -> None:
    dock = saver.dock
    names = dock.session.result.cell_types
    dock.session.display.set_threshold(threshold)
    dock.session.display.set_color_range(ColorRange(chosen={names[1]: 0.4}))
    for shown in (DOMINANT, names[1], (names[1], names[2]), COUNTS, ERRORS):
        dock.session.display.show(shown)
        np.testing.assert_allclose(saver.colors(), on_screen(saver, shown), atol=0.02, err_msg=str(shown))


def test_a_blend_is_one_map_with_the_end_of_each_type(saver: Saver) -> None:
    names = saver.dock.session.result.cell_types
    saver.dock.session.display.show((names[1], names[2]))
    drawn = saver.figure()
    assert [axes.get_label() for axes in drawn.axes] == ["map"]
    (legend,) = drawn.legends
    assert [text.get_text().split(":")[0] for text in legend.get_texts()] == names[1:3]


def test_niches_have_their_colors_and_names(saver: Saver) -> None:
    tissue = saver.dock.tissue
    tissue.search.native.click()
    saver.qtbot.waitUntil(lambda: tissue.pairs is not None, timeout=20_000)
    assert saver.dock.session.display.shown is NICHES
    np.testing.assert_allclose(saver.colors(), on_screen(saver, NICHES), atol=1e-6)
    entries = saver.drawn[-1].legends[0].get_texts()
    assert len(entries) == len(niche_colors(saver.dock.session.niches.names))
    assert entries[0].get_text().startswith("1: ")


def test_the_graph_has_every_edge_in_its_color(saver: Saver) -> None:
    saver.dock.session.display.show(GRAPH)
    drawn = saver.figure()
    (edges,) = labeled(drawn.axes[0], "edges")
    layer = saver.dock.scene.layer_of(GRAPH)
    assert len(edges.get_segments()) == len(layer.data)
    assert not labeled(drawn.axes[0], "spots")
    expected = ensure_colormap("plasma").map(layer.features.iloc[:, 0].to_numpy())
    np.testing.assert_allclose(edges.get_colors(), expected, atol=0.03)
    start = np.array(edges.get_segments())[:, 0]
    np.testing.assert_allclose(start[:, ::-1], layer.data[:, 0])


def test_genes_and_columns_have_figures(saver: Saver) -> None:
    dock = saver.dock
    dock.session.gene_wanted.emit(dock.session.contents.genes.names[0])
    saver.qtbot.waitUntil(lambda: isinstance(dock.session.display.shown, Gene), timeout=5000)
    shown = dock.session.display.shown
    np.testing.assert_allclose(saver.colors(), on_screen(saver, shown), atol=0.02)
    assert saver.drawn[-1].axes[-1].get_ylabel() == f"{shown.name}: counts"
    for name, is_legend in (("cluster", True), ("score", False)):
        numbers = [one.name for one in dock.session.contents.columns].index(name)
        dock.explore.tabs.setCurrentIndex(2)
        dock.explore.columns.list.setCurrentIndex(dock.explore.columns.list.names.index(numbers))
        saver.qtbot.waitUntil(lambda name=name: dock.session.display.shown == Column(name), timeout=5000)
        np.testing.assert_allclose(saver.colors(), on_screen(saver, Column(name)), atol=0.02)
        drawn = saver.drawn[-1]
        if is_legend:
            assert [text.get_text() for text in drawn.legends[0].get_texts()] == ["a <b>", "c"]
        else:
            assert drawn.axes[-1].get_ylabel() == "score"
            assert drawn.axes[-1].get_ylim()[0] < 0, "values of both signs"


def test_a_gene_has_a_figure_before_a_run(
    make_dock: Any, result: Result, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, dock = make_dock(show=True)
    dock.session.data.set_tissue(LoadedTissue(result.spatial, "Gut"))
    qtbot.waitUntil(lambda: dock.session.contents is not None, timeout=5000)
    saver = Saver(dock, qtbot, tmp_path / "figure.png", monkeypatch)
    dock.session.gene_wanted.emit(dock.session.contents.genes.names[0])
    qtbot.waitUntil(lambda: isinstance(dock.session.display.shown, Gene), timeout=5000)
    assert len(saver.colors()) == result.spatial.n_obs


def test_a_type_next_to_a_gene_has_a_bar_each(saver: Saver) -> None:
    dock = saver.dock
    dock.session.gene_wanted.emit(dock.session.contents.genes.names[0])
    saver.qtbot.waitUntil(lambda: isinstance(dock.session.display.shown, Gene), timeout=5000)
    dock.explore.genes.beside.value = dock.session.result.cell_types[1]
    saver.qtbot.waitUntil(lambda: len(dock.session.display.panels) == 2)
    drawn = saver.figure()
    assert [axes.get_label() for axes in drawn.axes] == ["map", "map", "color bar", "color bar"]
    left, right = (axes.get_position() for axes in drawn.axes[-2:])
    assert left.x1 < right.x0


def test_what_the_window_shows_is_drawn_or_all_of_the_section(saver: Saver) -> None:
    dock, viewer = saver.dock, saver.dock.scene._viewer
    result = dock.session.result
    dock.session.display.show(PIES)
    whole = saver.figure(WHOLE_SECTION).axes[0]
    viewer.scene.camera.zoom *= 4
    saver.qtbot.wait(50)
    height, width = viewer.canvas.size
    y, x = viewer.scene.camera.center[-2:]
    half = np.array([width, height]) / viewer.scene.camera.zoom / 2
    shown = saver.figure(ON_SCREEN).axes[0]
    np.testing.assert_allclose(sorted(shown.get_xlim()), [x - half[0], x + half[0]])
    np.testing.assert_allclose(sorted(shown.get_ylim()), [y - half[1], y + half[1]])
    again = saver.figure(WHOLE_SECTION).axes[0]
    assert again.get_xlim() == whole.get_xlim()
    assert whole.get_xlim()[0] < np.nanmin(result.coordinates[:, 0])
    viewer.scene.camera.center = (0.0, -1e6, -1e6)
    dock.explore.area.value = ON_SCREEN
    with saver.qtbot.waitSignal(dock.explore.figure.runner.failed, timeout=20_000):
        dock.explore.figure.native.click()
    assert "No spot is on the screen" in dock.explore.state.text()


def test_panels_are_drawn_as_far_as_they_show(saver: Saver) -> None:
    dock = saver.dock
    dock.session.display.show_panels(dock.session.result.cell_types[1:3])
    side = dock.overlays.side_by_side
    saver.qtbot.waitUntil(lambda: bool(side.panels) and not side.is_busy, timeout=10_000)
    low, high = side._extent
    side.look_at((*(low + (high - low) / 4), *((high - low) / 4)))
    saver.qtbot.wait(100)
    left, top, right, bottom = side.area
    drawn = saver.figure(ON_SCREEN)
    assert [axes.get_label() for axes in drawn.axes][:2] == ["map", "map"]
    np.testing.assert_allclose(sorted(drawn.axes[0].get_xlim()), [left, right])
    np.testing.assert_allclose(sorted(drawn.axes[1].get_ylim()), [top, bottom])


def test_visible_regions_and_tissue_are_drawn(saver: Saver) -> None:
    dock, viewer = saver.dock, saver.dock.scene._viewer
    dock.regions.drawing.polygon.native.click()
    corners = dock.session.result.coordinates[[0, 30, 60]][:, ::-1]
    viewer.layers["Regions"].add(corners, shape_type="polygon")
    axes = saver.figure().axes[0]
    (outline,) = labeled(axes, "region")
    np.testing.assert_allclose(outline.get_xy()[:3], corners[:, ::-1])
    assert "Region 1" in [text.get_text() for text in axes.texts]
    assert labeled(axes, "tissue")
    viewer.layers["Regions"].visible = False
    viewer.layers["Gut image"].visible = False
    axes = saver.figure().axes[0]
    assert not labeled(axes, "region")
    assert not labeled(axes, "tissue")
