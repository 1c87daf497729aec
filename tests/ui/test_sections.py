"""A file that holds several sections: one is shown, on its own image, and another one can be chosen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_spotmix import deconvolve
from napari_spotmix.io import read_recipe, write_h5ad
from napari_spotmix.simulation.simulate import simulate
from napari_spotmix.ui import demo
from napari_spotmix.ui._reader import read_tissue

pytestmark = pytest.mark.viewer


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sections")
    one, two = (simulate(n_spots=n, n_genes=120, n_cell_types=3, random_state=n) for n in (80, 90))
    both = anndata.concat({"left": one.spatial, "right": two.spatial}, label="slide", index_unique="-")
    libraries = [library for tissue in (one, two) for library in tissue.spatial.uns["spatial"].values()]
    both.uns["spatial"] = dict(zip(("left", "right"), libraries, strict=True))
    both.write_h5ad(folder / "both.h5ad")
    one.reference.write_h5ad(folder / "cells.h5ad")
    result = deconvolve(both, one.reference, lambda_c=0.1)
    (folder / "result").mkdir()
    write_h5ad(result.to_anndata(), folder / "result" / "spatial.h5ad")
    return folder


def n_shown(viewer: Any) -> set[int]:
    return {len(layer.data) for layer in viewer.layers if hasattr(layer, "symbol")}


def choose(qtbot: Any, dock: Any, name: str) -> None:
    dock.load.spots.section.value = name
    qtbot.waitUntil(lambda: not dock.load.is_busy, timeout=20000)


def test_sections_are_shown_one_at_a_time_each_on_its_image(
    qtbot: Any, make_dock: Callable[..., Any], files: Path
) -> None:
    viewer, dock = make_dock()
    dock.load.spots.spatial.value = files / "both.h5ad"
    qtbot.waitUntil(lambda: dock.session.data.tissue is not None, timeout=20000)
    section = dock.load.spots.section
    assert not section.native.isHidden()
    assert section.choices == ("left", "right")
    assert section.value == "left"
    assert [layer.name for layer in viewer.layers] == ["both, left image", "both, left spots"]
    assert n_shown(viewer) == {80}
    first = np.asarray(viewer.layers[0].data).copy()
    choose(qtbot, dock, "right")
    assert [layer.name for layer in viewer.layers] == ["both, right image", "both, right spots"]
    assert n_shown(viewer) == {90}
    assert not np.array_equal(first, viewer.layers[0].data)
    assert "90 spots" in dock.load.summary


def test_a_run_of_a_section_can_be_repeated_from_its_recipe(
    qtbot: Any, make_dock: Callable[..., Any], files: Path, tmp_path: Path
) -> None:
    _, dock = make_dock()
    dock.load.spots.spatial.value = files / "both.h5ad"
    dock.load.cells.reference.value = files / "cells.h5ad"
    qtbot.waitUntil(lambda: dock.run.run.enabled, timeout=20000)
    choose(qtbot, dock, "right")
    qtbot.mouseClick(dock.run.run.native, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: dock.session.result is not None, timeout=60000)
    assert dock.session.result.proportions.index.str.endswith("-right").all()
    dock.run.save_to(tmp_path / "out")
    qtbot.waitUntil(lambda: (tmp_path / "out" / "recipe.toml").exists(), timeout=20000)
    assert read_recipe(tmp_path / "out")["reading"]["section"] == "right"


def test_a_result_of_several_sections_is_viewed_by_section(
    qtbot: Any, windows: Any, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    opened = demo.open_dock
    monkeypatch.setattr(demo, "open_dock", lambda title: seen.append(opened(title)) or seen[0])
    monkeypatch.setattr(demo, "_stay_or_shoot", lambda *_: None)
    demo.view(files / "result")
    viewer, dock = seen[0]
    assert len(dock.session.result.proportions) == 80
    choose(qtbot, dock, "right")
    assert len(dock.session.result.proportions) == 90
    dock.close_session()
    viewer.close()


def test_file_open_shows_one_section(files: Path) -> None:
    layers = read_tissue(str(files / "both.h5ad"))
    assert [options["name"] for _, options, _ in layers] == ["both, left image", "both, left spots"]
    assert len(layers[1][0]) == 80


def test_the_form_takes_the_folder_of_a_result(
    qtbot: Any, explored: Any, make_dock: Any, tmp_path: Path
) -> None:
    _, dock = explored
    dock.run.save_to(tmp_path / "of Monday")
    qtbot.waitUntil(lambda: (tmp_path / "of Monday" / "recipe.toml").exists(), timeout=20000)
    qtbot.waitUntil(lambda: not dock.run.is_running, timeout=20000)
    _, other = make_dock()
    other.load.spots.spatial.value = tmp_path / "of Monday"
    qtbot.waitUntil(lambda: other.session.result is not None, timeout=20000)
    assert other.load.summary.startswith("of Monday, 90 spots")
    assert other.session.is_saved
