"""Columns of `obs` over the tissue, before a run and after it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from napari.utils.colormaps.standardize_color import transform_color
from qtpy.QtCore import Qt

from napari_spotmix.analysis.regions import REST
from napari_spotmix.base.color_range import end_words, largest_present
from napari_spotmix.dataset.annotations import labels_of
from napari_spotmix.result import Result
from napari_spotmix.ui.demo import show_result
from napari_spotmix.ui.panels.explore import _COLUMNS
from napari_spotmix.ui.panels.regions import DRAWN
from napari_spotmix.ui.state.loaded import LoadedTissue
from napari_spotmix.ui.state.maps import Column
from tests.ui.test_genes import click_tab, gene_layer, read

pytestmark = pytest.mark.viewer

HOSTILE = "<b>1\u202e</b>"


def annotated(result: Result) -> Any:
    """Return the spots of a result with columns of every kind."""
    adata = result.spatial.copy()
    rng = np.random.default_rng(3)
    adata.obs["cluster"] = pd.Categorical(rng.choice(["2", "10", HOSTILE], adata.n_obs))
    adata.obs.iloc[5, adata.obs.columns.get_loc("cluster")] = np.nan
    adata.obs["depth"] = rng.integers(100, 9000, adata.n_obs)
    adata.obs["score"] = rng.normal(0, 2, adata.n_obs)
    return adata


@pytest.fixture
def with_columns(qtbot: Any, make_dock: Any, result: Result) -> tuple[Any, Any]:
    viewer, dock = make_dock(show=True)
    dock.session.open_in_memory(LoadedTissue(annotated(result), "Gut"), None)
    read(qtbot, dock)
    click_tab(qtbot, dock, _COLUMNS)
    return viewer, dock


def click_column(qtbot: Any, dock: Any, name: str) -> None:
    columns = dock.explore.columns
    rows = [columns.list.names.index(at) for at in range(columns.list.names.rowCount())]
    (row,) = [row for row in rows if row.data() == name]
    columns.list.scrollTo(row)
    middle = columns.list.visualRect(row).center()
    qtbot.mouseClick(columns.list.viewport(), Qt.MouseButton.LeftButton, pos=middle)
    qtbot.waitUntil(lambda: not columns.is_busy, timeout=10_000)


def test_labels_are_shown_in_their_colors_with_a_legend(qtbot: Any, with_columns: Any) -> None:
    viewer, dock = with_columns
    adata = dock.session.spatial
    click_column(qtbot, dock, "cluster")
    labels, layer = labels_of(adata, "cluster"), gene_layer(viewer)
    expected = transform_color([*labels.colors, "#00000000"])[labels.codes]
    assert layer.face_color == pytest.approx(expected)
    assert dock.overlays.legend.entries == [
        ("<b>1\\u202e</b>", labels.colors[0]),
        ("2", labels.colors[1]),
        ("10", labels.colors[2]),
    ]
    assert dock.overlays.color_bar.isHidden()
    assert dock.overlays.title.text == "cluster"
    assert layer.features["value"].iloc[5] is None, "without a label"
    assert "<b>" not in "".join(map(str, layer.features["value"]))
    assert not layer.editable
    x, y = adata.obsm["spatial"][7]
    dock.session.pointer.hover_at(y, x)
    name = labels.names[labels.codes[7]]
    assert dock.overlays.hover.readings == [("cluster", name.replace("\u202e", "\\u202e"))]


def test_another_column_of_labels_takes_its_place(qtbot: Any, with_columns: Any) -> None:
    viewer, dock = with_columns
    click_column(qtbot, dock, "cluster")
    layer = gene_layer(viewer)
    click_column(qtbot, dock, "region")
    labels = labels_of(dock.session.spatial, "region")
    assert gene_layer(viewer) is layer
    assert layer.name == "region"
    assert layer.face_color == pytest.approx(transform_color(labels.colors)[labels.codes])
    assert list(layer.features["value"]) == [labels.names[code] for code in labels.codes]
    assert [name for name, _ in dock.overlays.legend.entries] == list(labels.names)
    assert (layer.border_width == 0).all()


def test_numbers_keep_to_the_rule_of_ranges(qtbot: Any, with_columns: Any) -> None:
    viewer, dock = with_columns
    click_column(qtbot, dock, "depth")
    end = largest_present(dock.session.spatial.obs["depth"].to_numpy(float))
    assert gene_layer(viewer).face_contrast_limits == (0.0, end)
    assert dock.overlays.color_bar.bar.end.text() == end_words(end)
    assert dock.overlays.color_bar.bar.zero.text() == "0"
    assert dock.overlays.legend.entries == []


def test_numbers_of_both_signs_are_blue_below_zero_and_orange_above(qtbot: Any, with_columns: Any) -> None:
    viewer, dock = with_columns
    click_column(qtbot, dock, "score")
    layer, score = gene_layer(viewer), dock.session.spatial.obs["score"].to_numpy()
    end = largest_present(np.abs(score))
    assert layer.face_contrast_limits == (-end, end)
    strong = np.abs(score) > end / 2
    red, _, blue, alpha = layer.face_color.T
    assert (red > blue)[strong & (score > 0)].all()
    assert (blue > red)[strong & (score < 0)].all()
    assert alpha[strong].min() == 1
    assert alpha[np.abs(score).argmin()] < 0.2
    bar = dock.overlays.color_bar.bar
    assert bar.zero.text() == f"−{end_words(end)}"
    bar.end.setText("4")
    qtbot.keyClick(bar.end, Qt.Key.Key_Return)
    assert layer.face_contrast_limits == (-4.0, 4.0)
    click_column(qtbot, dock, "depth")
    assert bar.zero.text() == "0"
    assert gene_layer(viewer) is layer, "numbers share a layer"
    assert layer.face_contrast_limits[0] == 0


def test_the_tab_says_what_each_column_holds(with_columns: Any) -> None:
    _, dock = with_columns
    columns = dock.explore.columns
    rows = {columns._row(at).name: columns._row(at).note for at in columns.list.names.numbers}
    assert rows["cluster"] == "3 labels"
    assert rows["depth"] == rows["score"] == "numbers"


def test_a_column_is_shown_after_a_run_and_its_tab_follows(
    qtbot: Any, make_dock: Any, result: Result
) -> None:
    viewer, dock = make_dock()
    result.spatial.obs["cluster"] = pd.Categorical(np.repeat(["a", "b"], 45))
    show_result(dock, result, "Gut")
    read(qtbot, dock)
    click_tab(qtbot, dock, _COLUMNS)
    click_column(qtbot, dock, "cluster")
    assert gene_layer(viewer).name == "cluster"
    dock.session.display.show(result.cell_types[0])
    assert dock.explore.columns.list.selectedIndexes() == []
    assert dock.explore.tabs.currentIndex() == 0
    dock.session.pointer.pick(3)
    click_tab(qtbot, dock, _COLUMNS)
    click_column(qtbot, dock, "cluster")
    assert dock.explore.summary == "cluster"
    dock.session.display.show_panels(result.cell_types[:2])
    click_column(qtbot, dock, "cluster")
    assert dock.session.display.panels == (), "it would be covered"
    assert dock.scene.layer_of(Column("cluster")).visible


@pytest.fixture
def with_labels(qtbot: Any, make_dock: Any, result: Result) -> tuple[Any, Any]:
    """A result whose spots have labels, one of them hostile, one only where nothing was estimated."""
    viewer, dock = make_dock(show=True)
    labels = np.repeat(["left", HOSTILE], 45).astype(object)
    labels[4] = "alone"
    result.spatial.obs["site"] = pd.Categorical(labels)
    show_result(dock, result, "Gut")
    read(qtbot, dock)
    return viewer, dock


def test_labels_are_compared_as_regions(qtbot: Any, with_labels: Any, result: Result) -> None:
    _, dock = with_labels
    click_tab(qtbot, dock, _COLUMNS)
    click_column(qtbot, dock, "site")
    regions = dock.regions
    assert not dock.sections["Regions"].is_open
    qtbot.mouseClick(dock.explore.columns.compare.native, Qt.MouseButton.LeftButton)
    assert dock.sections["Regions"].is_open
    qtbot.waitUntil(lambda: regions.labels is not None, timeout=10_000)
    assert list(regions.first.choices) == [HOSTILE, "left"], "none without estimated spots"
    assert regions.first.native.itemText(0) == "<b>1\\u202e</b>"
    assert regions.drawing.isHidden()
    regions.first.value, regions.second.value = "left", HOSTILE
    qtbot.mouseClick(regions.compare.native, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: regions.compared is not None, timeout=60_000)
    table = regions.compared
    assert set(table["first"]) == {"left"}
    assert set(table["second"]) == {HOSTILE}
    assert set(table["n_spots_first"]) == {44}
    means = result.proportions.iloc[:45].drop(index=result.proportions.index[4]).mean()
    for name, row in table.iterrows():
        assert row["mean_first"] == pytest.approx(means[name])
    assert regions.comparison.sizes.text().startswith("left: 44 spots; ")
    assert not regions.comparison.save.native.isHidden()
    regions.second.value = REST
    qtbot.mouseClick(regions.compare.native, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: set(regions.compared["second"]) == {REST}, timeout=60_000)


def test_outlines_are_offered_again_after_labels(qtbot: Any, with_labels: Any) -> None:
    _, dock = with_labels
    regions = dock.regions
    dock.sections["Regions"].set_open(True)
    assert [regions.source.native.itemText(at) for at in range(3)] == [DRAWN, "region", "site"]
    regions.source.value = Column("site")
    qtbot.waitUntil(lambda: regions.labels is not None, timeout=10_000)
    assert dock.session.display.shown == Column("site"), "where they are is seen"
    regions.source.value = DRAWN
    assert regions.labels is None
    assert not regions.drawing.isHidden()
    assert regions.state.text() == "Draw a region to see its composition."
    dock.session.open_in_memory(LoadedTissue(dock.session.spatial[:, :5].copy(), "Other"), None)
    assert regions._source.isHidden()


def test_without_columns_the_tab_says_so(qtbot: Any, make_dock: Any, result: Result) -> None:
    _, dock = make_dock()
    assert dock.explore.columns.hint.text() == "Choose spatial data first."
    adata = result.spatial.copy()
    adata.obs = adata.obs.iloc[:, :0]
    dock.session.open_in_memory(LoadedTissue(adata, "Gut"), None)
    read(qtbot, dock)
    assert dock.explore.columns.hint.text().startswith("`obs` has no column")
