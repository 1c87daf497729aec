"""Choosing the data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from napari.settings import get_settings
from qtpy.QtCore import Qt

from napari_spotmix.io import IMAGE_SUFFIXES
from napari_spotmix.io.readers.options import ReadOptions
from napari_spotmix.simulation.simulate import SimulatedTissue
from napari_spotmix.ui.state.loaded import LoadedTissue
from tests.io.layouts import slide, write_hd, write_store

pytestmark = pytest.mark.viewer


@pytest.fixture(scope="module")
def files(tissue: SimulatedTissue, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("data")
    reference = tissue.reference.copy()
    reference.obs["donor"] = ["a", "b"] * (reference.n_obs // 2)
    reference.obs["depth"] = 1.0
    tissue.spatial.write_h5ad(folder / "gut.h5ad")
    reference.write_h5ad(folder / "cells.h5ad")
    return folder / "gut.h5ad", folder / "cells.h5ad"


def test_an_empty_dock_names_the_next_step(make_dock: Callable[..., Any]) -> None:
    _, dock = make_dock()
    assert not dock.run.run.enabled
    assert "h5ad" in dock.load.spots.spatial.line_edit.native.placeholderText()
    assert "Choose spatial data" in dock.run.state.text()
    assert "Choose spatial data" in dock.run.run.tooltip
    assert not dock.run.save.enabled
    assert "run first" in dock.run.save.tooltip
    assert not dock.load.cells.labels.enabled


def test_chosen_files_are_read(
    qtbot: Any, make_dock: Callable[..., Any], files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer, dock = make_dock()
    # The operating system's dialogs are out of reach of a test: they answer at once.
    monkeypatch.setattr(dock.load.spots.spatial, "_show_file_dialog", lambda *_, **__: str(files[0]))
    monkeypatch.setattr(dock.load.cells.reference, "_show_file_dialog", lambda *_, **__: str(files[1]))
    qtbot.mouseClick(dock.load.spots.spatial.choose_btn.native, Qt.MouseButton.LeftButton)
    qtbot.mouseClick(dock.load.cells.reference.choose_btn.native, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: dock.run.run.enabled, timeout=5000)
    assert [layer.name for layer in viewer.layers] == ["gut image", "gut spots"]
    assert dock.load.cells.labels.choices == ("cell_type", "donor") or set(
        dock.load.cells.labels.choices
    ) >= {
        "cell_type",
        "donor",
    }
    assert dock.load.cells.labels.value == "cell_type"
    assert dock.load.summary == "gut, 90 spots · reference 5 types"


def test_tables_are_offered_and_read_with_the_notes_of_the_reader(
    qtbot: Any, make_dock: Callable[..., Any], tissue: SimulatedTissue, tmp_path: Path
) -> None:
    spots = tissue.spatial
    pd.DataFrame(spots.X.toarray(), spots.obs_names, spots.var_names).T.to_csv(tmp_path / "counts.csv")
    pd.DataFrame(spots.obsm["spatial"], spots.obs_names, ["x", "y"]).to_csv(tmp_path / "coords.csv")
    _, dock = make_dock()
    assert {"*.csv", "*.tsv.gz", "*.parquet", "*.gem.gz"} <= set(dock.load.spots.spatial.filter[:-1].split())
    dock.load.spots.spatial.value = tmp_path / "counts.csv"
    qtbot.waitUntil(lambda: dock.session.data.tissue is not None, timeout=5000)
    assert "Spots are the columns of `counts.csv`" in dock.load.state.text()
    dock.load.spots.spatial.value = tmp_path / "coords.csv"
    qtbot.waitUntil(
        lambda: "holds the coordinates of spots, but no counts" in dock.load.state.text(), timeout=5000
    )


def test_another_label_column_can_be_chosen(
    qtbot: Any, make_dock: Callable[..., Any], files: tuple[Path, Path]
) -> None:
    _, dock = make_dock()
    dock.load.cells.reference.value = files[1]
    qtbot.waitUntil(lambda: dock.session.data.reference is not None, timeout=5000)
    assert "depth" not in dock.load.cells.labels.choices
    dock.load.cells.labels.value = "donor"
    assert dock.session.data.cell_type_key == "donor"
    assert "2 types" in dock.load.summary


def test_a_reference_without_labels_asks_for_their_table(
    qtbot: Any, make_dock: Callable[..., Any], tissue: SimulatedTissue, tmp_path: Path, messages: list[str]
) -> None:
    _, dock = make_dock(show=True)
    cells = tissue.reference
    names = [f"{n}_ACGTACGTACGT" for n in range(cells.n_obs)]
    table = pd.DataFrame(cells.X.toarray().T, index=cells.var_names, columns=names)
    table.to_csv(tmp_path / "counts.csv")
    assert not dock.load.cells.label_table.native.isVisible()
    dock.load.cells.reference.value = tmp_path / "counts.csv"
    qtbot.waitUntil(lambda: len(messages) == 1, timeout=5000)
    assert "Give a table of cells and their types" in messages[0]
    qtbot.waitUntil(dock.load.cells.label_table.native.isVisible, timeout=3000)
    labels = pd.DataFrame({"cell": table.columns, "kind": cells.obs["cell_type"].to_numpy()})
    labels.to_csv(tmp_path / "mine.csv", index=False)
    dock.load.cells.label_table.value = tmp_path / "mine.csv"
    qtbot.waitUntil(lambda: dock.session.data.reference is not None, timeout=5000)
    assert dock.load.cells.labels.value == "cell_type"
    assert "5 types" in dock.load.summary
    assert "have a label" in dock.load.state.text()
    assert dock.session.data.files == {"reference": tmp_path / "counts.csv", "labels": tmp_path / "mine.csv"}


def test_further_references_are_joined(
    qtbot: Any,
    make_dock: Callable[..., Any],
    files: tuple[Path, Path],
    tissue: SimulatedTissue,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, dock = make_dock(show=True)
    assert not dock.load.cells.add.native.isVisible()
    dock.load.cells.reference.value = files[1]
    qtbot.waitUntil(lambda: dock.session.data.reference is not None, timeout=5000)
    assert dock.load.cells.add.native.isVisible()
    tissue.reference[:40].write_h5ad(tmp_path / "more.h5ad")
    chosen = ([str(tmp_path / "more.h5ad")], "")
    monkeypatch.setattr("napari_spotmix.ui.panels.load_cells.QFileDialog.getOpenFileNames", lambda *_: chosen)
    qtbot.mouseClick(dock.load.cells.add.native, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: dock.session.data.reference.more != (), timeout=5000)
    assert dock.session.data.reference.adata.n_obs == tissue.reference.n_obs + 40
    assert dock.session.data.files == {"reference": files[1], "reference_2": tmp_path / "more.h5ad"}
    assert "2 references were joined" in dock.load.state.text()
    assert "more.h5ad" in dock.load.cells.add.tooltip


def test_signatures_are_a_reference_too(
    qtbot: Any, make_dock: Callable[..., Any], tissue: SimulatedTissue, tmp_path: Path
) -> None:
    _, dock = make_dock()
    cells = tissue.reference
    means = (
        pd.DataFrame(cells.X.toarray(), columns=cells.var_names)
        .groupby(cells.obs["cell_type"].to_numpy())
        .mean()
    )
    means.T.to_csv(tmp_path / "signatures.csv")
    dock.load.cells.reference.value = tmp_path / "signatures.csv"
    qtbot.waitUntil(lambda: dock.session.data.reference is not None, timeout=5000)
    assert dock.session.data.cell_type_key == "cell_type"
    assert "5 types" in dock.load.summary


def test_a_path_is_not_read_before_it_is_complete(
    qtbot: Any, make_dock: Callable[..., Any], files: tuple[Path, Path], messages: list[str]
) -> None:
    _, dock = make_dock()
    line = dock.load.spots.spatial.line_edit.native
    qtbot.keyClicks(line, str(files[0]))
    assert not dock.load.is_busy
    qtbot.keyClick(line, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: dock.session.data.tissue is not None, timeout=5000)
    assert messages == []


def test_wrong_input_is_reported_and_can_be_tried_again(
    qtbot: Any, make_dock: Callable[..., Any], tmp_path: Path, messages: list[str], tissue: SimulatedTissue
) -> None:
    viewer, dock = make_dock()
    dock.load.spots.spatial.value = tmp_path
    qtbot.waitUntil(lambda: len(messages) == 1, timeout=3000)
    assert "Space Ranger" in messages[0]
    assert dock.load.state.text().startswith("Failed: "), "a notification goes, the words stay"
    assert not dock.load.is_busy
    assert dock.load.spots.spatial.enabled
    assert len(viewer.layers) == 0
    tissue.spatial.write_h5ad(tmp_path / "gut.h5ad")
    dock.load.spots.spatial.value = tmp_path / "gut.h5ad"
    qtbot.waitUntil(lambda: dock.session.data.tissue is not None, timeout=5000)
    assert dock.load.state.text() == dock.load.summary


@pytest.mark.parametrize("field", ["spatial", "reference"])
def test_run_waits_while_the_form_shows_what_could_not_be_read(
    qtbot: Any,
    make_dock: Callable[..., Any],
    files: tuple[Path, Path],
    tmp_path: Path,
    messages: list[str],
    field: str,
) -> None:
    _, dock = make_dock()
    dock.load.spots.spatial.value, dock.load.cells.reference.value = files
    qtbot.waitUntil(lambda: dock.run.run.enabled, timeout=10_000)
    chosen = dock.load.spots.spatial if field == "spatial" else dock.load.cells.reference
    used = chosen.path
    chosen.value = tmp_path / "missing.h5ad"
    assert not dock.run.run.enabled
    assert "Reading" in dock.run.run.tooltip
    qtbot.waitUntil(lambda: len(messages) == 1, timeout=5000)
    assert not dock.run.run.enabled
    name = "gut" if field == "spatial" else "cells"
    assert f"'missing.h5ad' was not read: {name} is still loaded." in dock.run.state.text()
    dock.run.start()
    assert not dock.run.is_running
    chosen.line_edit.native.clear()
    qtbot.keyClick(chosen.line_edit.native, Qt.Key.Key_Return)
    assert chosen.path == used, "an emptied field returns to what is loaded"
    assert dock.run.run.enabled
    assert dock.load.state.text() == dock.load.summary


def test_hostile_paths_are_reported_literally(
    qtbot: Any, make_dock: Callable[..., Any], tmp_path: Path, messages: list[str]
) -> None:
    _, dock = make_dock()
    folder = tmp_path / "<b>&lt;img src=x>"
    folder.mkdir()
    dock.load.spots.spatial.value = folder
    qtbot.waitUntil(lambda: len(messages) == 1, timeout=3000)
    assert not Qt.mightBeRichText(messages[0])
    assert folder.name in messages[0].replace("\u2060", "")


def test_the_tab_key_goes_from_top_to_bottom(qtbot: Any, make_dock: Callable[..., Any]) -> None:
    _, dock = make_dock(show=True)
    qtbot.waitUntil(dock.isVisible, timeout=3000)
    order = [
        widget for section in dock.sections.values() for widget in section.in_tab_order if widget.isVisible()
    ]
    heights = [widget.mapTo(dock, widget.rect().center()).y() for widget in order]
    assert heights == sorted(heights)
    assert dock.load.spots.spatial.line_edit.native in order
    following = order[0].nextInFocusChain()
    while following not in order:
        following = following.nextInFocusChain()
    assert following is order[1]


def test_notes_of_the_reader_are_shown(make_dock: Callable[..., Any], tissue: SimulatedTissue) -> None:
    _, dock = make_dock()
    spatial = tissue.spatial.copy()
    spatial.uns["spotmix_notes"] = ["No <hires> image was found."]
    dock.session.open_in_memory(LoadedTissue(spatial, "Gut"), None)
    assert "• No <hires> image was found." in dock.load.state.text()
    assert dock.load.state.textFormat() == Qt.TextFormat.PlainText


def test_sample_button_needs_no_files(qtbot: Any, make_dock: Callable[..., Any]) -> None:
    viewer, dock = make_dock()
    qtbot.mouseClick(dock.load.sample.native, Qt.MouseButton.LeftButton)
    assert dock.load.is_busy
    qtbot.waitUntil(lambda: dock.run.run.enabled, timeout=20000)
    assert len(viewer.layers) == 2


def test_sample_of_the_file_menu_is_taken_with_its_reference(make_dock: Callable[..., Any]) -> None:
    viewer, dock = make_dock()
    viewer.open_sample("napari-spotmix", "simulated_tissue")
    assert dock.run.run.enabled
    assert dock.session.data.cell_type_key == "cell_type"
    assert len(viewer.layers) == 2, "what is open already is not opened again"


def test_opened_file_is_taken(qtbot: Any, make_dock: Callable[..., Any], files: tuple[Path, Path]) -> None:
    viewer, dock = make_dock()
    viewer.open(files[0], plugin="napari-spotmix")
    assert dock.session.data.tissue.path == files[0]
    assert len(viewer.layers) == 2


def test_a_second_open_layer_can_be_chosen(
    make_dock: Callable[..., Any], files: tuple[Path, Path], loaded: Any
) -> None:
    viewer, dock = loaded
    viewer.open(files[0], plugin="napari-spotmix")
    assert dock.session.data.tissue.name == "Gut", "the current data stay until another layer is chosen"
    dock.load.open_layer.box.value = "gut spots"
    assert dock.session.data.tissue.path == files[0]
    assert dock.load.spots.spatial.value == files[0], "the field shows what is in use"


def test_another_image_is_below_the_spots(qtbot: Any, loaded: Any, tmp_path: Path) -> None:
    import imagecodecs

    viewer, dock = loaded
    hires = dock.session.data.tissue.adata.uns["spatial"]["simulated"]["images"]["hires"]
    (tmp_path / "other.png").write_bytes(imagecodecs.png_encode(hires[::2, ::2].copy()))
    dock.load.spots.image.value = tmp_path / "other.png"
    qtbot.waitUntil(lambda: len(viewer.layers) == 3, timeout=3000)
    assert [layer.name for layer in viewer.layers] == ["Gut image", "other", "Gut spots"]


def test_two_viewers_have_separate_sessions(make_dock: Callable[..., Any], loaded: Any) -> None:
    _, first = loaded
    _, second = make_dock()
    assert second.session is not first.session
    assert second.session.data.tissue is None


@pytest.fixture
def bins_of_a_run(tmp_path: Path) -> Path:
    return write_hd(tmp_path / "Brain" / "outs")


def test_a_size_of_bins_is_offered_and_read_when_it_is_chosen(
    qtbot: Any, make_dock: Callable[..., Any], bins_of_a_run: Path
) -> None:
    viewer, dock = make_dock(show=True)
    assert not dock.load.spots.bin_size.native.isVisible()
    dock.load.spots.spatial.value = bins_of_a_run
    qtbot.waitUntil(lambda: dock.session.data.tissue is not None, timeout=5000)
    combo = dock.load.spots.bin_size
    assert combo.native.isVisible()
    shown = [combo.native.itemText(row) for row in range(combo.native.count())]
    assert shown == ["2 µm · 5,181 bins", "8 µm · 321 bins", "16 µm · 78 bins"]
    assert combo.value == 8
    assert "this run has 2, 8 and 16 µm" in dock.load.state.text()
    combo.value = 16
    qtbot.waitUntil(lambda: dock.session.data.tissue.adata.n_obs == 78, timeout=5000)
    assert combo.value == 16
    assert dock.session.data.tissue.reading == ReadOptions(bin_um=16)
    assert dock.load.summary == "Brain, 78 spots"
    assert [layer.name for layer in viewer.layers] == ["Brain image", "Brain spots"]


def test_a_size_of_bins_that_is_damaged_leaves_the_one_that_is_loaded(
    qtbot: Any, make_dock: Callable[..., Any], bins_of_a_run: Path, messages: list[str]
) -> None:
    _, dock = make_dock()
    dock.load.spots.spatial.value = bins_of_a_run
    qtbot.waitUntil(lambda: dock.session.data.tissue is not None, timeout=5000)
    square = bins_of_a_run / "binned_outputs" / "square_016um"
    (square / "spatial" / "tissue_positions.parquet").write_bytes(b"PAR1")
    dock.load.spots.bin_size.value = 16
    qtbot.waitUntil(lambda: len(messages) == 1, timeout=5000)
    assert "tissue_positions.parquet" in messages[0]
    assert dock.load.spots.bin_size.value == 8
    assert dock.session.data.tissue.adata.n_obs == 321


def test_another_size_of_bins_keeps_the_image_that_was_chosen(
    qtbot: Any, make_dock: Callable[..., Any], bins_of_a_run: Path, tmp_path: Path
) -> None:
    viewer, dock = make_dock()
    dock.load.spots.spatial.value = bins_of_a_run
    qtbot.waitUntil(lambda: dock.session.data.tissue is not None, timeout=5000)
    slide(tmp_path / "whole.svs", np.full((256, 320, 3), 200, np.uint8))
    dock.load.spots.image.value = tmp_path / "whole.svs"
    qtbot.waitUntil(lambda: dock.session.data.image is not None, timeout=5000)
    dock.load.spots.bin_size.value = 2
    qtbot.waitUntil(lambda: dock.session.data.tissue.adata.n_obs == 5181, timeout=5000)
    assert dock.session.data.image is not None
    assert "whole" in [layer.name for layer in viewer.layers]
    dock.session.data.image.close()


def test_a_run_that_was_dropped_on_the_window_offers_its_sizes_too(
    qtbot: Any, make_dock: Callable[..., Any], bins_of_a_run: Path
) -> None:
    viewer, dock = make_dock()
    viewer.open(bins_of_a_run, plugin="napari-spotmix")
    assert dock.session.data.tissue is not None
    assert dock.load.spots.bin_size.value == 8
    dock.load.spots.bin_size.value = 16
    qtbot.waitUntil(lambda: dock.session.data.tissue.adata.n_obs == 78, timeout=5000)


def test_every_image_that_can_be_read_can_be_chosen(make_dock: Callable[..., Any]) -> None:
    _, dock = make_dock()
    for suffix in IMAGE_SUFFIXES:
        assert f"*{suffix} " in dock.load.spots.image.filter
        assert f"*{suffix.upper()}" in dock.load.spots.image.filter


def test_a_table_of_coordinates_is_asked_for_if_counts_lack_one(
    qtbot: Any, make_dock: Callable[..., Any], tissue: SimulatedTissue, tmp_path: Path, messages: list[str]
) -> None:
    _, dock = make_dock(show=True)
    spots, field = tissue.spatial, dock.load.spots.coordinates
    table = tmp_path / "elsewhere" / "coordinates.csv"
    table.parent.mkdir()
    pd.DataFrame(spots.X.toarray(), spots.obs_names, spots.var_names).to_csv(tmp_path / "counts.csv")
    pd.DataFrame(spots.obsm["spatial"], spots.obs_names, ["x", "y"]).to_csv(table)
    assert not field.native.isVisible()
    dock.load.spots.spatial.value = tmp_path / "counts.csv"
    qtbot.waitUntil(lambda: len(messages) == 1, timeout=5000)
    assert "name it as `coordinates`" in messages[0]
    assert field.native.isVisible()
    field.value = tmp_path / "counts.csv"
    qtbot.waitUntil(lambda: len(messages) == 2, timeout=5000)
    assert "must have columns of x and y" in messages[1]
    field.value = table
    qtbot.waitUntil(lambda: dock.session.data.tissue is not None, timeout=5000)
    np.testing.assert_allclose(dock.session.data.tissue.adata.obsm["spatial"], spots.obsm["spatial"])
    assert dock.session.data.tissue.reading == ReadOptions(coordinates=table)
    assert dock.session.data.files == {"spatial": tmp_path / "counts.csv", "coordinates": table}
    assert field.value == table, "what was read is shown"
    spots.write_h5ad(tmp_path / "gut.h5ad")
    dock.load.spots.spatial.value = tmp_path / "gut.h5ad"
    qtbot.waitUntil(lambda: dock.session.data.tissue.path == tmp_path / "gut.h5ad", timeout=5000)
    assert not field.native.isVisible(), "an .h5ad file holds its own"
    bare = AnnData(spots.X, pd.DataFrame(index=spots.obs_names), pd.DataFrame(index=spots.var_names))
    bare.write_h5ad(tmp_path / "bare.h5ad")
    dock.load.spots.spatial.value = tmp_path / "bare.h5ad"
    qtbot.waitUntil(lambda: len(messages) == 3, timeout=5000)
    assert field.native.isVisible(), "this one does not"
    assert dock.session.data.tissue.reading == ReadOptions()


def test_tables_of_a_store_are_offered_and_read_when_they_are_chosen(
    qtbot: Any, make_dock: Callable[..., Any], tmp_path: Path
) -> None:
    pytest.importorskip("spatialdata", reason="needs the extra spatialdata")
    store = write_store(tmp_path / "brain.zarr", {"left": 12, "right": 15})
    viewer, dock = make_dock(show=True)
    assert not dock.load.spots.table.native.isVisible()
    dock.load.spots.spatial.value = store
    qtbot.waitUntil(lambda: dock.session.data.tissue is not None, timeout=20000)
    box = dock.load.spots.table
    assert box.native.isVisible()
    assert box.choices == ("table_left: left", "table_right: right")
    assert (box.value, dock.session.data.tissue.adata.n_obs) == ("table_left: left", 12)
    box.value = "table_right: right"
    qtbot.waitUntil(lambda: dock.session.data.tissue.adata.n_obs == 15, timeout=20000)
    assert box.value == "table_right: right"
    assert dock.session.data.tissue.reading == ReadOptions(table="table_right: right")
    assert not dock.load.spots.bin_size.native.isVisible()
    viewer.layers.clear()
    viewer.open(store, plugin="napari-spotmix")
    assert dock.load.spots.table.native.isVisible(), "a dropped store offers its tables too"


def test_large_letters_widen_the_dock_and_a_long_name_is_shortened(
    qtbot: Any, make_dock: Callable[..., Any], tissue: SimulatedTissue
) -> None:
    _, dock = make_dock(show=True)
    settings = get_settings().appearance
    usual = settings.font_size
    name = "Visium_FFPE_Human_Prostate_Acinar_Cell_Carcinoma_section_02"
    bar = dock.area.horizontalScrollBar()
    try:
        dock.session.open_in_memory(LoadedTissue(tissue.spatial, name), tissue.reference)
        assert dock.load.summary.startswith("Visium_FFPE_Hum…noma_section_02, 90 spots")
        assert name not in dock.load.state.text()
        assert dock.load.state.toolTip() == name
        assert dock.sections["Data"]._summary.toolTip().startswith(f"{name}\n")
        settings.font_size = 15
        qtbot.waitUntil(lambda: dock.area.widget().minimumSizeHint().width() > 430, timeout=5000)
        qtbot.waitUntil(lambda: bar.maximum() == 0, timeout=5000)
        title, label = dock.sections["Data"]._title, dock.load.state
        assert title.fontMetrics().height() >= label.fontMetrics().height(), "titles are no smaller than text"
    finally:
        settings.font_size = usual
