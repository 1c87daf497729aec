"""Small results to show, and a viewer with the dock in it."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import napari
import numpy as np
import pandas as pd
import pytest
from napari.settings import get_settings
from napari.utils.notifications import notification_manager
from qtpy.QtWidgets import QWidget
from scipy.sparse import csr_array
from scipy.spatial import KDTree

from napari_spotmix.result import Provenance, Result
from napari_spotmix.simulation.simulate import SimulatedTissue, simulate
from napari_spotmix.ui.demo import show_result
from napari_spotmix.ui.dock import DeconvolutionWidget
from napari_spotmix.ui.state.loaded import LoadedTissue
from napari_spotmix.ui.state.session import _sessions

HOSTILE = 'T/NK "cells" <b>'


@pytest.fixture(scope="session")
def tissue() -> SimulatedTissue:
    return simulate(n_spots=90, n_genes=150, n_cell_types=5, n_cells_per_type=20, random_state=3)


@pytest.fixture
def result(tissue: SimulatedTissue) -> Result:
    """A result of known numbers; spot 4 was not estimated, and one type's name is hostile."""
    spatial = tissue.spatial.copy()
    truth = spatial.obsm["truth"]
    names = [HOSTILE, *truth.columns[1:]]
    abundances = pd.DataFrame(truth.to_numpy() * 0.9, index=spatial.obs_names, columns=names)
    reasons = pd.Series("", index=spatial.obs_names)
    abundances.iloc[4] = np.nan
    reasons.iloc[4] = "no counts"
    weights, attention = nearest_neighbors(spatial.obsm["spatial"], abundances.fillna(0).to_numpy())
    counts = pd.Series(np.asarray(spatial.X.sum(axis=1)).ravel(), index=spatial.obs_names, dtype=float)
    signatures = pd.DataFrame(index=names)
    parameters = {"given": {"normalize": True}, "summary": "5 cell types in 90 spots"}
    notes = ("1 spot without counts was left out.", "Type 'T <i>' has 3 cells.")
    return Result(
        abundances,
        counts,
        reasons,
        signatures,
        weights,
        attention,
        spatial,
        provenance=Provenance.from_dict(parameters),
        notes=notes,
    )


def nearest_neighbors(xy: np.ndarray, shares: np.ndarray) -> tuple[csr_array, csr_array]:
    """Return weights and attention of a symmetric graph of the spots one pitch apart."""
    tree = KDTree(xy)
    pitch = tree.query(xy, k=2)[0][:, 1].min()
    first, second = tree.query_pairs(1.1 * pitch, output_type="ndarray").T
    rows, columns = np.concatenate([first, second]), np.concatenate([second, first])
    attention = np.exp(-2 * np.square(shares[rows] - shares[columns]).sum(axis=1))
    shape = (len(xy), len(xy))
    weights = csr_array((attention * np.exp(-0.3), (rows, columns)), shape=shape)
    return weights, csr_array((attention, (rows, columns)), shape=shape)


@pytest.fixture(scope="session")
def windows(qapp: Any) -> Iterator[list[napari.Viewer]]:
    """The viewers of all tests: opening one takes seconds, so the tests share them."""
    with pytest.MonkeyPatch.context() as patch:
        # A console and a thread for the status bar would slow down each window.
        patch.setattr("napari._qt.threads.status_checker.StatusChecker.start", lambda _: None)
        patch.setattr("napari._qt.qt_viewer.QtViewer._get_console", lambda *_: _NoConsole())
        patch.setattr("napari._qt.qt_main_window._QtMainWindow._save_current_window_settings", lambda _: None)
        viewers: list[napari.Viewer] = []
        # Each layer that is removed has napari collect garbage: not through all that has been imported.
        gc.freeze()
        yield viewers
        for viewer in viewers:
            viewer.close()
        viewers.clear()
        qapp.processEvents()


class _NoConsole(QWidget):
    def _update_theme(self, *_: Any) -> None:
        """Have no colors."""


@pytest.fixture
def make_dock(qtbot: Any, windows: list[napari.Viewer]) -> Iterator[Callable[..., Any]]:
    """Return a function that adds a new dock to a viewer without layers, as the Plugins menu does.

    Each call gives another viewer, as it was when it was opened.
    """
    get_settings().reset()
    used: list[tuple[napari.Viewer, Any]] = []

    def make(show: bool = False) -> tuple[napari.Viewer, Any]:
        if len(used) == len(windows):
            windows.append(napari.Viewer(show=False, show_welcome_screen=False))
        viewer = windows[len(used)]
        window = viewer.window._qt_window
        window.resize(1280, 800)  # on any screen
        window.setVisible(show)
        if show:
            for other in windows[len(used) + 1 :]:
                other.window._qt_window.hide()  # what an earlier test has shown would cover it
            window.raise_()
            qtbot.wait_exposed(window, timeout=5000)
        _, dock = viewer.window.add_plugin_dock_widget("napari-spotmix", "Cell-type deconvolution")
        used.append((viewer, dock))
        return viewer, dock

    yield make
    for viewer, dock in used:
        dock.close_session()
        if hasattr(viewer.window, "_qt_window"):
            _reset(viewer)
        else:  # a test has closed it
            windows.remove(viewer)
    get_settings().reset()


def wait_for_rest(qtbot: Any, viewer: napari.Viewer) -> None:
    """Wait until a window has its final layout: a shown one takes a while, and that moves the tissue."""
    before: object = None
    for _ in range(100):
        qtbot.wait(50)
        camera, canvas = viewer.scene.camera, viewer.canvas
        now = (tuple(canvas.size), tuple(camera.center), camera.zoom)
        if now == before:
            return
        before = now


@pytest.fixture
def make_napari_viewer(qtbot: Any, windows: list[napari.Viewer]) -> Iterator[Callable[..., napari.Viewer]]:
    """Return a function that opens a viewer of its own: napari's own fixture allows no shared ones."""
    viewers: list[napari.Viewer] = []

    def make(show: bool = False) -> napari.Viewer:
        viewers.append(napari.Viewer(show=show, show_welcome_screen=False))
        return viewers[-1]

    yield make
    for viewer in viewers:
        if hasattr(viewer.window, "_qt_window"):
            viewer.close()


def _reset(viewer: napari.Viewer) -> None:
    """Take every dock of the plugin, and all that a test has left, from a viewer."""
    for dock in list(viewer.window.dock_widgets.values()):
        if isinstance(dock, DeconvolutionWidget):
            dock.close_session()
            viewer.window.remove_dock_widget(dock)
            dock.deleteLater()
    viewer.layers.clear()
    viewer.dims.ndisplay = 2
    viewer.canvas.overlays.scale_bar.visible = False
    viewer.reset_view()
    _sessions.pop(viewer, None)


@pytest.fixture
def loaded(make_dock: Callable[..., Any], tissue: SimulatedTissue) -> tuple[Any, Any]:
    """A viewer and its dock with simulated data in it, ready to run."""
    viewer, dock = make_dock()
    dock.session.open_in_memory(LoadedTissue(tissue.spatial, "Gut"), tissue.reference)
    return viewer, dock


@pytest.fixture
def explored(make_dock: Callable[..., Any], result: Result) -> tuple[Any, Any]:
    """A viewer and its dock with a result in it."""
    viewer, dock = make_dock()
    show_result(dock, result, "Gut")
    return viewer, dock


@pytest.fixture
def messages() -> Iterator[list[str]]:
    """Messages of the notifications that napari shows from now on."""
    notification_manager.records.clear()
    found: list[str] = []

    def keep(notification: Any) -> None:
        found.append(notification.message)

    notification_manager.notification_ready.connect(keep)
    yield found
    notification_manager.notification_ready.disconnect(keep)
