"""A viewer with something to see: the demonstration, and finished runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import napari
import numpy as np
from qtpy.QtCore import QEventLoop, QTimer

from napari_spotmix.base.progress import silent
from napari_spotmix.io import OUTPUTS, Choices, section_names
from napari_spotmix.io.readers.options import DEFAULT
from napari_spotmix.result import Result, read_result
from napari_spotmix.ui.state.loaded import LoadedTissue
from napari_spotmix.ui.state.opening import tissue_task

if TYPE_CHECKING:
    from napari_spotmix.ui.dock import DeconvolutionWidget

__all__ = ["open_dock", "read_result", "run_demo", "spot_at_a_border", "view"]

_SIZE = (1600, 1000)
_SETTLE_MS = 1000


def run_demo(screenshot: Path | None = None) -> None:
    """Open the simulated tissue, already run, with the overview shown and a spot picked.

    Parameters
    ----------
    screenshot : Path, optional
        Write the whole window into this PNG file and close it, in place of staying open.
    """
    viewer, dock = open_dock("Spotmix demo")
    result = _load_and_run(dock)
    if result is None:
        return  # the window was closed meanwhile
    spot = spot_at_a_border(result)
    dock.session.pointer.pick(spot)
    _look_closer(viewer, result, spot)
    _stay_or_shoot(viewer, screenshot)


def _look_closer(viewer: napari.Viewer, result: Result, spot: int) -> None:
    """Zoom in until single edges are visible, but not past the regions around them."""
    middle = np.nanmean(result.coordinates, axis=0)
    x, y = (middle + result.coordinates[spot]) / 2
    viewer.scene.camera.center = (0.0, y, x)
    viewer.scene.camera.zoom *= 1.4


def view(directory: Path) -> None:
    """Open the folder of a finished run, as `spotmix run` or Save has written it.

    Parameters
    ----------
    directory : Path
        The folder, or its ``spatial.h5ad``.

    Raises
    ------
    ReadError
        If there is no result in it.
    """
    result = read_result(directory)
    viewer, dock = open_dock(f"Spotmix: {Path(directory).name}")
    if section_names(result.spatial):
        file = Path(directory) / OUTPUTS[0] if Path(directory).is_dir() else Path(directory)
        dock.session.open(tissue_task(file, DEFAULT, Choices())(silent))
    else:
        show_result(dock, result, Path(directory).name)
    dock.session.mark_saved(dock.session.made)
    _stay_or_shoot(viewer, None)


def show_result(dock: DeconvolutionWidget, result: Result, name: str) -> None:
    """Show a finished result in a dock, as after a run."""
    dock.session.data.set_tissue(LoadedTissue(result.spatial, name))
    dock.session.set_result(result)


def open_dock(title: str) -> tuple[napari.Viewer, DeconvolutionWidget]:
    """Open a viewer with the dock at its right."""
    viewer = napari.Viewer(title=title)
    _, dock = viewer.window.add_plugin_dock_widget("napari-spotmix", "Cell-type deconvolution")
    viewer.window.resize(*_SIZE)
    return viewer, dock


def spot_at_a_border(result: Result) -> int:
    """Return a spot at a border between regions.

    It is in the interior, has more than one cell type, and its attention to its neighbors varies most: some
    are on its side of a border, some beyond.
    """
    attention = result.attention
    n_neighbors = np.diff(attention.indptr)
    complete = np.flatnonzero(n_neighbors == n_neighbors.max())
    spread = np.array(
        [np.ptp(attention.data[attention.indptr[spot] : attention.indptr[spot + 1]]) for spot in complete]
    )
    mixed = 1 - np.nan_to_num(result.proportions.to_numpy(), nan=1.0).max(axis=1)[complete]
    return int(complete[np.argmax(spread + mixed / 4)])


def _load_and_run(dock: DeconvolutionWidget) -> Result | None:
    """Press the buttons that a user would press, and wait for the result."""
    steps = (
        (dock.load.sample, lambda: dock.load.is_busy),
        (dock.run.run, lambda: dock.run.is_running),
    )
    for button, is_busy in steps:
        button.native.click()
        _wait_while(is_busy)
        if dock.is_closed:
            return None
    if dock.session.result is None:
        raise RuntimeError(f"The demonstration did not run: {dock.run.state.text()}")
    return dock.session.result


def _wait_while(is_busy: Callable[[], bool]) -> None:
    loop = QEventLoop()
    timer = QTimer()
    timer.timeout.connect(lambda: None if is_busy() else loop.quit())
    timer.start(20)
    loop.exec()


def _stay_or_shoot(viewer: napari.Viewer, screenshot: Path | None) -> None:
    if screenshot is None:
        napari.run()
        return
    loop = QEventLoop()
    QTimer.singleShot(_SETTLE_MS, loop.quit)
    loop.exec()
    Path(screenshot).parent.mkdir(parents=True, exist_ok=True)
    viewer.screenshot(str(screenshot), canvas_only=False, flash=False)
    viewer.close()
