"""Genes over the tissue: found by name, read in a thread, before a run and after it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from napari.layers import Image, Points
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QApplication
from scipy.sparse import csr_array, csr_matrix

from napari_spotmix.base.color_range import end_words, largest_present
from napari_spotmix.base.progress import Progress
from napari_spotmix.dataset import bin_grid as bins
from napari_spotmix.io import read_spatial
from napari_spotmix.result import Provenance, Result, read_result
from napari_spotmix.ui.canvas.layer_info import ValuesInfo, info_of
from napari_spotmix.ui.demo import show_result
from napari_spotmix.ui.dock import DeconvolutionWidget
from napari_spotmix.ui.panels.explore import _GENES, _TYPES
from napari_spotmix.ui.panels.gene_links import GeneLinks
from napari_spotmix.ui.panels.genes import ALONE
from napari_spotmix.ui.state import spot_values
from napari_spotmix.ui.state.loaded import LoadedTissue
from napari_spotmix.ui.state.maps import DOMINANT, Gene, Measure

pytestmark = pytest.mark.viewer

HOSTILE = "Gene<b>\u202e&lt;"


def click_tab(qtbot: Any, dock: Any, tab: int) -> None:
    tabs = dock.explore.tabs
    qtbot.mouseClick(tabs, Qt.MouseButton.LeftButton, pos=tabs.tabRect(tab).center())
    assert tabs.currentIndex() == tab


def read(qtbot: Any, dock: Any) -> None:
    qtbot.waitUntil(lambda: not dock.explore.genes.is_busy, timeout=10_000)


def find(qtbot: Any, dock: Any, text: str) -> None:
    """Type a name and press Enter."""
    read(qtbot, dock)
    field = dock.explore.genes.search
    field.clear()
    qtbot.keyClicks(field, text)
    qtbot.keyClick(field, Qt.Key.Key_Return)
    read(qtbot, dock)


def gene_layer(viewer: Any) -> Any:
    """Return the only layer of values that is visible."""
    (found,) = [layer for layer in viewer.layers if info_of(layer, ValuesInfo) and layer.visible]
    return found


def click_gene(qtbot: Any, links: Any, gene: str) -> None:
    middle = links.area_of(links.genes.index(gene)).center()
    qtbot.mouseClick(links, Qt.MouseButton.LeftButton, pos=middle)


def small_section(names: list[str]) -> AnnData:
    counts = np.random.default_rng(8).poisson(2.0, (30, len(names))).astype(np.float32)
    var = pd.DataFrame({"gene_ids": [f"ENSG{at:05}" for at in range(len(names))]}, index=names)
    adata = AnnData(csr_matrix(counts), obs=pd.DataFrame(index=[f"s{at}" for at in range(30)]), var=var)
    adata.obsm["spatial"] = np.argwhere(np.ones((5, 6))) * 100.0
    return adata


@pytest.fixture
def with_genes(qtbot: Any, loaded: Any) -> tuple[Any, Any]:
    """Data without a result, the tab of genes open."""
    viewer, dock = loaded
    click_tab(qtbot, dock, _GENES)
    read(qtbot, dock)
    return viewer, dock


def test_a_gene_is_found_by_typing_and_shown_before_a_run(qtbot: Any, with_genes: Any) -> None:
    viewer, dock = with_genes
    adata = dock.session.spatial
    name = str(adata.var_names[17])
    before = adata.copy()
    find(qtbot, dock, name.upper())
    layer, counts = gene_layer(viewer), np.asarray(adata[:, name].X.todense()).ravel()
    assert layer.name == name
    assert layer.features["value"].tolist() == counts.tolist()
    assert layer.face_contrast_limits == (0.0, largest_present(counts))
    assert np.ptp(layer.face_color[counts == 0][:, 3]) == 0, "where there is none"
    assert layer.face_color[counts == 0][0, 3] == 0
    assert not layer.editable
    assert not viewer.layers["Gut spots"].visible
    assert dock.overlays.title.text == f"{name}: counts"
    assert dock.overlays.color_bar.bar.end.text() == end_words(largest_present(counts))
    assert dock.overlays.color_bar.bar.rule.isHidden(), "it is for cell types"
    pd.testing.assert_frame_equal(adata.obs, before.obs)
    assert (adata.X != before.X).nnz == 0
    dock.session.step_back()  # Escape
    assert viewer.layers["Gut spots"].visible
    assert not layer.visible


def test_the_list_shows_what_matches_and_arrow_keys_walk_through_it(qtbot: Any, make_dock: Any) -> None:
    viewer, dock = make_dock()
    dock.session.open_in_memory(
        LoadedTissue(small_section(["Ckm", "Acta1", "ckmt2", "Myh7"]), "Muscle"), None
    )
    click_tab(qtbot, dock, _GENES)
    read(qtbot, dock)
    genes = dock.explore.genes
    assert genes.n_genes.text() == "4 genes"
    qtbot.keyClicks(genes.search, "cKM")
    listed = genes.list
    assert [listed.names.index(at).data() for at in range(listed.names.rowCount())] == ["Ckm", "ckmt2"]
    assert genes.n_genes.text() == "2 of 4 genes"
    qtbot.keyClick(genes.search, Qt.Key.Key_Down)
    read(qtbot, dock)
    assert gene_layer(viewer).name == "Ckm"
    qtbot.keyClick(listed, Qt.Key.Key_Down)
    read(qtbot, dock)
    assert gene_layer(viewer).name == "ckmt2"
    assert len([layer for layer in viewer.layers if info_of(layer, ValuesInfo)]) == 1, "genes share a layer"
    genes.search.clear()
    qtbot.keyClicks(genes.search, "ensg00003")
    middle = listed.visualRect(listed.names.index(0)).center()
    qtbot.mouseClick(listed.viewport(), Qt.MouseButton.LeftButton, pos=middle)
    read(qtbot, dock)
    assert gene_layer(viewer).name == "Myh7"


def test_counts_are_shown_per_depth_and_as_a_logarithm(qtbot: Any, with_genes: Any) -> None:
    viewer, dock = with_genes
    adata = dock.session.spatial
    find(qtbot, dock, str(adata.var_names[3]))
    counts = np.asarray(adata.X.todense())
    share = 1e4 * counts[:, 3] / counts.sum(axis=1)
    dock.explore.genes.measure.value = Measure.PER_DEPTH
    read(qtbot, dock)
    assert gene_layer(viewer).features["value"].to_numpy() == pytest.approx(share, rel=1e-6)
    assert dock.overlays.title.text.endswith(": counts per 10,000")
    dock.explore.genes.measure.value = Measure.LOG
    read(qtbot, dock)
    assert gene_layer(viewer).features["value"].to_numpy() == pytest.approx(np.log1p(share), rel=1e-6)
    assert gene_layer(viewer).face_contrast_limits[1] == largest_present(np.log1p(share))


def test_the_mouse_shows_the_value_without_a_result_and_with_one(
    qtbot: Any, make_dock: Any, result: Result
) -> None:
    _, dock = make_dock(show=True)
    dock.session.open_in_memory(LoadedTissue(result.spatial, "Gut"), None)
    x, y = result.coordinates[7]
    dock.session.pointer.hover_at(y, x)
    assert dock.overlays.hover.isHidden(), "nothing is known of it"
    name = str(result.spatial.var_names[2])
    find(qtbot, dock, name)
    dock.session.pointer.hover_at(y, x)
    value = f"{result.spatial.X[7, 2]:.0f}"
    assert dock.overlays.hover.readings == [(name, value)]
    assert dock.overlays.hover.entries == []
    assert dock.overlays.hover.isVisible()
    dock.session.set_result(result)
    find(qtbot, dock, name)
    dock.session.pointer.hover_at(y, x)
    assert dock.overlays.hover.readings == [(name, value)]
    assert dock.overlays.hover.entries[0][0] == result.dominant.iloc[7]
    dock.session.display.show(DOMINANT)
    dock.session.pointer.hover_at(y, x)
    assert dock.overlays.hover.readings == []


def test_the_end_of_the_colors_is_typed_and_dragged(qtbot: Any, with_genes: Any) -> None:
    viewer, dock = with_genes
    find(qtbot, dock, str(dock.session.spatial.var_names[5]))
    bar = dock.overlays.color_bar.bar
    bar.end.clear()
    qtbot.keyClicks(bar.end, "20")
    qtbot.keyClick(bar.end, Qt.Key.Key_Return)
    layer = gene_layer(viewer)
    assert layer.face_contrast_limits == (0.0, 20.0)
    middle = QPoint(bar.gradient.end, 12)
    qtbot.mousePress(bar.gradient, Qt.MouseButton.LeftButton, pos=middle)
    bar.gradient.dragged.emit(0.5)
    qtbot.mouseRelease(bar.gradient, Qt.MouseButton.LeftButton, pos=middle)
    assert layer.face_contrast_limits == (0.0, 10.0)
    bar.gradient.dropped.emit()
    (_, found) = dock.session.shown_values
    assert layer.face_contrast_limits == (0.0, found.end)


def test_a_backed_file_is_read_in_a_thread_that_can_be_cancelled(
    qtbot: Any, make_dock: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "section.h5ad"
    small_section(["A1", "B1", "C1"]).write_h5ad(path)
    viewer, dock = make_dock()
    dock.session.open_in_memory(LoadedTissue(read_spatial(path, backed=True), "Disk", path), None)
    click_tab(qtbot, dock, _GENES)
    find(qtbot, dock, "B1")
    assert gene_layer(viewer).name == "B1"
    assert not isinstance(dock.session.spatial.X, csr_matrix), "it stays on disk"

    def endless(*_: Any, on_progress: Callable[[Progress], None], **__: Any) -> None:
        while True:
            on_progress(Progress("Reading C1", 1, 4))
            time.sleep(0.01)

    monkeypatch.setattr(spot_values, "gene_counts", endless)
    genes = dock.explore.genes
    genes.search.setText("C1")
    qtbot.keyClick(genes.search, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: genes.state.text() == "Reading C1… 25%", timeout=5000)
    assert not genes.cancel.native.isHidden()
    qtbot.mouseClick(genes.cancel.native, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: genes.state.text() == "Cancelled.", timeout=5000)
    assert genes.cancel.native.isHidden()
    assert gene_layer(viewer).name == "B1"


def test_a_damaged_file_is_reported(qtbot: Any, make_dock: Any, messages: list[str]) -> None:
    adata = small_section(["A1", "B1"])
    adata.X.indices[0] = 77
    _, dock = make_dock()
    dock.session.open_in_memory(LoadedTissue(adata, "Broken"), None)
    find(qtbot, dock, "A1")
    assert "column index is 77" in dock.explore.genes.state.text()
    assert any("column index is 77" in message for message in messages)
    assert dock.session.display.shown is None


def test_names_are_shown_as_text(qtbot: Any, make_dock: Any) -> None:
    viewer, dock = make_dock()
    dock.session.open_in_memory(LoadedTissue(small_section([HOSTILE, "B1"]), "Gut"), None)
    find(qtbot, dock, "gene<b>")
    assert dock.overlays.title.text == "Gene<b>\\u202e&lt;: counts"
    row = dock.explore.genes.list.names.index(0)
    assert row.data() == "Gene<b>\\u202e&lt;"
    assert "<b>" not in row.data(Qt.ItemDataRole.ToolTipRole)
    assert "\u202e" not in gene_layer(viewer).name
    assert "<b>" not in gene_layer(viewer).name


def test_counts_that_are_not_whole_are_pointed_out(qtbot: Any, make_dock: Any) -> None:
    adata = small_section(["A1", "B1"])
    adata.X.data += 0.25
    _, dock = make_dock()
    dock.session.open_in_memory(LoadedTissue(adata, "Gut"), None)
    find(qtbot, dock, "A1")
    assert "not whole numbers" in dock.explore.genes.state.text()


def test_bins_are_drawn_as_an_image(qtbot: Any, make_dock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bins, "MOST_POINTS", 1000)
    monkeypatch.setattr(bins, "_PATCH", 500)
    row, column = np.divmod(np.arange(3500), 50)
    counts = np.random.default_rng(2).poisson(1.0, (3500, 2)).astype(np.float32)
    names = [f"bin{at}" for at in range(3500)]
    obs = pd.DataFrame({"array_row": row, "array_col": column}, index=names)
    adata = AnnData(csr_array(counts), obs=obs, var=pd.DataFrame(index=["A1", "B1"]))
    adata.obsm["spatial"] = np.column_stack([column, row]) * 8.0
    viewer, dock = make_dock()
    dock.session.open_in_memory(LoadedTissue(adata, "Bins"), None)
    find(qtbot, dock, "B1")
    layer = gene_layer(viewer)
    assert isinstance(layer, Image)
    assert np.asarray(layer.data)[row, column].tolist() == counts[:, 1].tolist()
    assert list(layer.contrast_limits) == [0.0, largest_present(counts[:, 1])]
    find(qtbot, dock, "A1")
    assert gene_layer(viewer) is layer
    assert np.asarray(layer.data)[row, column].tolist() == counts[:, 0].tolist()


def test_a_deleted_layer_comes_back_and_a_new_dock_takes_it_over(qtbot: Any, with_genes: Any) -> None:
    viewer, dock = with_genes
    name = str(dock.session.spatial.var_names[9])
    find(qtbot, dock, name)
    viewer.layers.remove(name)
    find(qtbot, dock, name)
    layer = gene_layer(viewer)
    dock.close_session()
    again = DeconvolutionWidget(viewer)
    qtbot.addWidget(again)
    assert again.scene.layer_of(dock.session.display.shown) is layer
    assert again.explore.genes.n_genes.text() == "150 genes", "they are known already"
    again.close_session()


def test_other_data_have_other_genes(qtbot: Any, with_genes: Any) -> None:
    viewer, dock = with_genes
    find(qtbot, dock, str(dock.session.spatial.var_names[9]))
    dock.session.open_in_memory(LoadedTissue(small_section(["A1", "B1"]), "Other"), None)
    read(qtbot, dock)
    assert dock.explore.genes.n_genes.text() == "0 of 2 genes", "the text stays"
    assert dock.session.known_values == {}
    assert not any(info_of(layer, ValuesInfo) for layer in viewer.layers)
    assert dock.overlays.title.text == ""


def test_a_gene_and_a_type_take_turns_after_a_run(qtbot: Any, explored: Any, result: Result) -> None:
    viewer, dock = explored
    name = str(result.spatial.var_names[1])
    click_tab(qtbot, dock, _GENES)
    find(qtbot, dock, name)
    assert [layer.name for layer in viewer.layers if layer.visible and isinstance(layer, Points)] == [name]
    assert dock.explore.settings.threshold.native.isHidden(), "it is a proportion"
    dock.session.display.show(result.cell_types[1])
    assert dock.explore.tabs.currentIndex() == _TYPES
    assert not dock.scene.layer_of(Gene(name, 1)).visible
    assert not dock.explore.settings.threshold.native.isHidden()
    assert "counts" not in dock.overlays.title.text
    dock.session.display.set_opacity(0.4)
    find(qtbot, dock, name)
    assert dock.explore.tabs.currentIndex() == _GENES
    assert gene_layer(viewer).opacity == 0.4
    assert not dock.explore.figure.native.isHidden()


def test_residual_genes_are_a_click_from_their_map(qtbot: Any, make_dock: Any, result: Result) -> None:
    names = [str(name) for name in result.spatial.var_names[[4, 8, 15]]]
    table = pd.DataFrame({"z": [9.0, -7.0, 5.0]}, index=names)
    viewer, dock = make_dock()
    show_result(dock, replace(result, residual_genes=table), "Gut")
    click_tab(qtbot, dock, _GENES)
    read(qtbot, dock)
    links = dock.explore.genes.residual
    assert list(links.rows) == [
        ("More than expected", [names[0], names[2]]),
        ("Fewer than expected", [names[1]]),
    ]
    click_gene(qtbot, links, names[1])
    read(qtbot, dock)
    assert gene_layer(viewer).name == names[1]
    links.setFocus()
    qtbot.keyClick(links, Qt.Key.Key_Left)
    qtbot.keyClick(links, Qt.Key.Key_Return)
    read(qtbot, dock)
    assert gene_layer(viewer).name == names[2]


def test_supporting_genes_of_a_spot_are_a_click_from_their_map(
    qtbot: Any, make_dock: Any, result: Result
) -> None:
    genes = result.spatial.var_names
    shares = np.random.default_rng(5).dirichlet(np.full(len(genes), 0.1), size=5)
    viewer, dock = make_dock(show=True)
    known = replace(result, signatures=pd.DataFrame(shares, index=result.cell_types, columns=genes))
    show_result(dock, known, "Gut")
    dock.session.pointer.pick(13)
    links = dock.inspect.genes
    cell_type, supporting = links.rows[0]
    assert supporting == known.supporting_genes(13)[cell_type]
    assert links.text().startswith(f"Supporting genes:\n{cell_type}: {supporting[0]}")
    click_gene(qtbot, links, supporting[1])
    read(qtbot, dock)
    assert gene_layer(viewer).name == supporting[1]
    assert dock.explore.tabs.currentIndex() == _GENES
    assert dock.session.pointer.spot == 13, "the spot stays picked"
    assert dock.explore.genes.list.currentIndex().data() == supporting[1]
    dock.session.display.show(DOMINANT)
    qtbot.wait(50)
    bar = dock.area.verticalScrollBar()
    bar.setValue(bar.maximum())
    qtbot.wait(50)
    top = links.mapToGlobal(links.area_of(0).topLeft()).y()
    click_gene(qtbot, links, supporting[0])
    read(qtbot, dock)
    qtbot.wait(50)
    assert abs(links.mapToGlobal(links.area_of(0).topLeft()).y() - top) <= 2, "it stays under the mouse"
    links.asked.emit("unknown gene")
    assert dock.explore.genes.state.text() == "unknown gene is not among the genes of these spots."
    assert not dock.explore.genes.state.isHidden()


def test_rows_of_genes_wrap_and_stay_inside(qtbot: Any) -> None:
    links = GeneLinks("")
    qtbot.addWidget(links)
    links.resize(200, 10)
    links.show_rows("Genes", [("A long name of a cell type, cut", ["G" * 8] * 6), ("B", ["W" * 300])])
    areas = [links.area_of(at) for at in range(7)]
    assert all(area.left() >= 0 and area.right() <= 200 for area in areas)
    assert not any(one.intersects(other) for one, other in combinations(areas, 2))
    assert links.height() > areas[-1].bottom()
    assert links.accessibleDescription().splitlines()[0] == "Genes:"


def test_a_gene_is_shown_next_to_a_type(qtbot: Any, make_dock: Any, result: Result) -> None:
    viewer, dock = make_dock(show=True)
    show_result(dock, result, "Gut")
    click_tab(qtbot, dock, _GENES)
    name, other = (str(one) for one in result.spatial.var_names[[1, 6]])
    find(qtbot, dock, name)
    beside, cell_type = dock.explore.genes.beside, str(result.mean_proportions.idxmax())
    qtbot.keyClick(beside.native, Qt.Key.Key_Down)
    assert beside.value == cell_type, "the largest first, as in the list of types"
    panels = dock.overlays.side_by_side

    def drawn() -> None:
        qtbot.waitUntil(lambda: not panels.is_busy, timeout=10_000)
        qtbot.wait(50)

    drawn()
    assert [panel.name for panel in panels.panels] == [cell_type, Gene(name, 1)]
    counts = np.asarray(result.spatial.X[:, [1]].todense()).ravel()
    assert panels.panels[1].title.range_text == f"0 – {end_words(largest_present(counts))}"
    colors = panels.panels[1]._spots._data["a_bg_color"]
    assert (colors[counts == 0][:, 3] == 0).all()
    assert (colors[counts > 0][:, 3] > 0).all()
    panels.panels[0].view.camera.zoom(0.5, (100.0, 100.0))
    assert panels.panels[1].view.camera.rect == panels.panels[0].view.camera.rect
    find(qtbot, dock, other)
    drawn()
    assert [panel.name for panel in panels.panels] == [cell_type, Gene(other, 6)]
    panels.canvas.native.setFocus()
    qtbot.keyClick(panels.canvas.native, Qt.Key.Key_Escape)
    QApplication.processEvents()
    assert dock.session.display.panels == ()
    assert beside.value == ALONE
    assert gene_layer(viewer).name == other


def test_saved_results_have_genes_too_and_open_after_a_gene_was_shown(
    qtbot: Any, make_dock: Any, result: Result, tmp_path: Path
) -> None:
    _, dock = make_dock(show=True)
    show_result(dock, result, "Gut")
    name = str(result.spatial.var_names[1])
    click_tab(qtbot, dock, _GENES)
    find(qtbot, dock, name)
    dock.explore.genes.beside.value = result.cell_types[2]
    dock.run.save_to(tmp_path / "out")
    qtbot.waitUntil(lambda: not dock.run.is_running, timeout=10_000)
    viewer, again = make_dock()
    show_result(again, read_result(tmp_path / "out"), "Gut")
    assert again.session.display.shown is DOMINANT
    assert again.session.display.panels == ()
    find(qtbot, again, name)
    counts = np.asarray(result.spatial.X[:, [1]].todense()).ravel()
    assert gene_layer(viewer).features["value"].tolist() == counts.tolist()


def test_a_run_of_another_layer_has_the_genes_and_counts_of_that_layer(
    qtbot: Any, make_dock: Any, result: Result
) -> None:
    adata = result.spatial
    adata.raw = adata.copy()
    adata = adata[:, :10].copy()
    adata.obsm["spatial"] = result.spatial.obsm["spatial"]
    given = Provenance.from_dict({"given": {"layer": "raw"}, "summary": ""})
    viewer, dock = make_dock()
    dock.session.open_in_memory(LoadedTissue(adata, "Gut"), None)
    read(qtbot, dock)
    assert dock.explore.genes.n_genes.text() == "10 genes"
    dock.session.set_result(replace(result, spatial=adata, provenance=given))
    read(qtbot, dock)
    assert dock.explore.genes.n_genes.text() == "150 genes"
    name = str(adata.raw.var_names[120])
    find(qtbot, dock, name)
    expected = np.asarray(adata.raw.X[:, [120]].todense()).ravel()
    assert gene_layer(viewer).features["value"].tolist() == expected.tolist()
    dock.session.set_result(None)
    read(qtbot, dock)
    assert dock.explore.genes.n_genes.text() == "0 of 10 genes"


def test_the_result_that_is_solved_again_keeps_the_gene(qtbot: Any, explored: Any, result: Result) -> None:
    viewer, dock = explored
    name = str(result.spatial.var_names[1])
    click_tab(qtbot, dock, _GENES)
    find(qtbot, dock, name)
    dock.session.replay(replace(result, notes=()))
    assert gene_layer(viewer).name == name
    assert dock.explore.tabs.currentIndex() == _GENES
