"""Small results to show, and a viewer with the dock in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from napari.utils.notifications import notification_manager
from scipy.sparse import csr_array
from scipy.spatial import KDTree

from napari_spotmix.result import Result
from napari_spotmix.simulation.simulate import SimulatedTissue, simulate
from napari_spotmix.ui.demo import show_result
from napari_spotmix.ui.state.loaded import LoadedTissue

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
        parameters=parameters,
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


@pytest.fixture
def make_dock(make_napari_viewer: Any) -> Iterator[Callable[..., Any]]:
    """Return a function that opens a viewer with the dock, as the Plugins menu does."""

    docks = []

    def make(**settings: Any) -> tuple[Any, Any]:
        viewer = make_napari_viewer(**settings)
        _, widget = viewer.window.add_plugin_dock_widget("napari-spotmix", "Cell-type deconvolution")
        docks.append(widget)
        return viewer, widget

    yield make
    for dock in docks:
        dock.close_session()


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
def told() -> Iterator[list[str]]:
    """Messages of the notifications that napari shows from now on."""
    notification_manager.records.clear()
    messages: list[str] = []

    def keep(notification: Any) -> None:
        messages.append(notification.message)

    notification_manager.notification_ready.connect(keep)
    yield messages
    notification_manager.notification_ready.disconnect(keep)
