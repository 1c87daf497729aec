"""The panel that checks the data, and fixes them with a button."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_spotmix.dataset.diagnostics import Finding
from napari_spotmix.dataset.fixes import Fix
from napari_spotmix.simulation.simulate import SimulatedTissue
from napari_spotmix.ui.state.loaded import LoadedTissue

pytestmark = pytest.mark.viewer


def checked(qtbot: Any, dock: Any) -> None:
    qtbot.waitUntil(lambda: not dock.check.is_busy, timeout=20_000)


def load(dock: Any, tissue: SimulatedTissue, change: Callable[[Any, Any], None]) -> None:
    spatial, reference = tissue.spatial.copy(), tissue.reference.copy()
    change(spatial, reference)
    dock.session.open_in_memory(LoadedTissue(spatial, "Gut"), reference)


def log(spatial: Any, _: Any) -> None:
    spatial.layers["counts"] = spatial.X.copy()
    spatial.X = spatial.X.log1p()


def test_good_data_are_summed_up_in_a_line(qtbot: Any, loaded: tuple[Any, Any]) -> None:
    _, dock = loaded
    checked(qtbot, dock)
    assert not dock.sections["Check"].is_open
    assert dock.sections["Check"].summary == "No problems, 2 notes"
    assert dock.check.state.text() == "No problems found."


def test_a_problem_opens_the_section_and_its_button_fixes_it(
    qtbot: Any, make_dock: Callable[..., Any], tissue: SimulatedTissue
) -> None:
    _, dock = make_dock()
    load(dock, tissue, log)
    checked(qtbot, dock)
    assert dock.sections["Check"].is_open
    (row,) = (row for row in dock.check.rows if row.text.text().startswith("Problem"))
    assert row.button.text() == "Use layer counts"
    before = dock.session.data.tissue.adata
    qtbot.mouseClick(row.button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: dock.session.data.fixes == ("spatial:layer=counts",), timeout=5000)
    checked(qtbot, dock)
    assert not [one for one in dock.check.findings if one.level != "note"]
    assert dock.session.data.tissue.adata.X.max() > before.X.max()
    dock.check.undo.click()
    assert dock.session.data.tissue.adata is before
    assert dock.session.data.fixes == ()
    checked(qtbot, dock)
    assert dock.check.findings[0].level == "problem"


def test_a_problem_holds_the_run_back_and_a_warning_does_not(
    qtbot: Any, make_dock: Callable[..., Any], tissue: SimulatedTissue
) -> None:
    _, dock = make_dock()
    load(dock, tissue, log)
    checked(qtbot, dock)
    words = "Check found 1 problem. Fix it above, or choose other data."
    assert not dock.run.run.enabled
    assert dock.run.run.tooltip == dock.run.state.text() == words
    dock.run.start()
    assert not dock.run.is_running, "not by a shortcut either"
    dock.check.rows[0].button.click()
    qtbot.waitUntil(lambda: bool(dock.session.data.fixes), timeout=5000)
    checked(qtbot, dock)
    assert dock.run.run.enabled
    assert dock.run.state.text() == "Ready to run."
    dock.check.found.emit([Finding("warning", "Few cells."), Finding("note", "All is well.")])
    assert dock.run.run.enabled


def test_a_run_of_fixed_data_names_the_fixes(
    qtbot: Any, make_dock: Callable[..., Any], tissue: SimulatedTissue
) -> None:
    _, dock = make_dock()
    load(dock, tissue, log)
    checked(qtbot, dock)
    dock.check.rows[0].button.click()
    qtbot.waitUntil(lambda: bool(dock.session.data.fixes), timeout=5000)
    checked(qtbot, dock)
    dock.run.start()
    qtbot.waitUntil(lambda: dock.session.result is not None, timeout=60_000)
    assert dock.session.result.provenance.given["fix"] == ["spatial:layer=counts"]
    assert not dock.sections["Check"].is_open


def test_labels_stay_chosen_when_the_reference_is_fixed(
    qtbot: Any, make_dock: Callable[..., Any], tissue: SimulatedTissue
) -> None:
    _, dock = make_dock()

    def rare(_: Any, reference: Any) -> None:
        labels = reference.obs["cell_type"].astype(str).to_numpy()
        labels[:2] = "Rare"
        reference.obs["annotation"] = labels

    load(dock, tissue, rare)
    dock.session.data.set_cell_type_key("annotation")
    checked(qtbot, dock)
    (row,) = (row for row in dock.check.rows if "fewer than 10 reference cells" in row.text.text())
    row.button.click()
    qtbot.waitUntil(lambda: bool(dock.session.data.fixes), timeout=5000)
    checked(qtbot, dock)
    assert dock.session.data.cell_type_key == "annotation"
    assert not [one for one in dock.check.findings if one.level != "note"]


def test_other_data_are_checked_again_and_fixes_are_forgotten(
    qtbot: Any, make_dock: Callable[..., Any], tissue: SimulatedTissue
) -> None:
    _, dock = make_dock()
    load(dock, tissue, log)
    checked(qtbot, dock)
    dock.check.rows[0].button.click()
    qtbot.waitUntil(lambda: bool(dock.session.data.fixes), timeout=5000)
    dock.session.data.set_tissue(LoadedTissue(tissue.spatial, "Other"))
    assert dock.session.data.fixes == ()
    checked(qtbot, dock)
    assert {one.level for one in dock.check.findings} == {"note"}


def test_checking_can_be_stopped(
    qtbot: Any, make_dock: Callable[..., Any], tissue: SimulatedTissue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(*_: Any, on_progress: Any, **__: Any) -> list[Finding]:
        from napari_spotmix.base.progress import Progress

        while True:
            on_progress(Progress("Summing the counts", 0, 0))

    monkeypatch.setattr("napari_spotmix.dataset.diagnostics.diagnose", endless)
    _, dock = make_dock()
    load(dock, tissue, lambda *_: None)
    qtbot.waitUntil(lambda: dock.check.state.text() == "Summing the counts…", timeout=5000)
    dock.check.stop.click()
    qtbot.waitUntil(lambda: not dock.check.is_busy, timeout=500)
    assert dock.check.state.text().startswith("Not checked.")


def test_names_from_files_are_plain_text(make_dock: Callable[..., Any]) -> None:
    _, dock = make_dock()
    hostile = '<img src="x"> & <b>T</b>'
    fix = Fix("reference", "merge", f"{hostile}+B")
    dock.check._show([Finding("warning", f"The type {hostile}.", (fix,))])
    (row,) = dock.check.rows
    assert row.text.textFormat() == Qt.TextFormat.PlainText
    assert hostile in row.text.text()
    assert not Qt.mightBeRichText(row.button.toolTip())
    assert "&&" in row.button.text() or "&" not in row.button.text()


def test_many_findings_are_folded(make_dock: Callable[..., Any]) -> None:
    _, dock = make_dock()
    found = [Finding("warning", f"Warning number {n}.") for n in range(12)]
    dock.check._show([*found, *[Finding("note", f"Note {n}.") for n in range(3)]])
    assert len(dock.check.rows) == 15
    assert sum(row.isVisibleTo(dock.check) for row in dock.check.rows) == 4
    assert dock.check.summary == "No problems, 12 warnings, 3 notes"
    dock.check._show([])
    assert not dock.check.rows


def test_an_image_of_its_own_stays_with_fixed_spots(
    qtbot: Any, make_dock: Callable[..., Any], tissue: SimulatedTissue
) -> None:
    from napari_spotmix.io import TissueImage

    viewer, dock = make_dock()
    load(dock, tissue, log)
    dock.session.data.set_image(TissueImage([np.zeros((50, 50, 3), np.uint8)], True, "scan"))
    checked(qtbot, dock)
    n_layers = len(viewer.layers)
    dock.check.rows[0].button.click()
    qtbot.waitUntil(lambda: bool(dock.session.data.fixes), timeout=5000)
    assert dock.session.data.image is not None
    assert len(viewer.layers) == n_layers
