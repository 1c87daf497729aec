"""The demonstration, as `spotmix demo` runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest

from napari_spotmix.base.colors import PALETTE
from napari_spotmix.io.results import write_h5ad
from napari_spotmix.result import Result
from napari_spotmix.ui.demo import read_result, show_result

pytestmark = pytest.mark.viewer


def test_demo_writes_a_picture_of_the_whole_window(tmp_path: Path) -> None:
    path = tmp_path / "demo.png"
    command = [sys.executable, "-c", "from napari_spotmix.cli import main; main()", "demo"]
    done = subprocess.run(
        [*command, "--screenshot", str(path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    picture = imagecodecs.png_decode(path.read_bytes())
    assert picture.shape[0] >= 700
    assert picture.shape[1] >= 1100
    canvas = picture[100:-100, 350:-450, :3].astype(int)
    red, green, blue = canvas[..., 0], canvas[..., 1], canvas[..., 2]
    assert np.mean((red > green + 30) & (blue > green)) > 0.05, "stained tissue is seen"
    colors = [list(bytes.fromhex(color[1:])) for color in PALETTE[:8]]
    shares = [np.mean((np.abs(canvas - color) < 12).all(axis=2)) for color in colors]
    assert max(shares) > 0.01, "spots of the commonest type are seen"
    legend = picture[-250:-40, 300:500, :3].astype(int)
    assert np.mean(legend.min(axis=2) > 200) > 0.005, "names are read in the legend"


def test_a_finished_run_opens_as_after_the_run(make_dock: Any, result: Result, tmp_path: Path) -> None:
    write_h5ad(result.to_anndata(), tmp_path / "spatial.h5ad")
    viewer, dock = make_dock()
    show_result(dock, read_result(tmp_path), "out")
    assert [layer.name for layer in viewer.layers] == ["out image", "out spots", "Dominant type"]
    dock.session.pointer.pick(12)
    assert result.abundances.index[12] in dock.inspect.text.text()
    assert dock.run.notes.title == "2 notes"
    assert [row.key for row in dock.explore.list.rows.rows if isinstance(row.key, str)] == list(
        result.proportions.mean().sort_values(ascending=False).index
    )
