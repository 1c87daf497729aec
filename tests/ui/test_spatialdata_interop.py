"""What napari's status bar shows of bins, and what napari-spatialdata finds in our layers."""

from __future__ import annotations

import gc
import warnings
import weakref
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse import csr_array

from napari_spotmix.dataset import bin_grid as bins
from napari_spotmix.result import Result
from napari_spotmix.ui.canvas import spatialdata_interop as handover
from napari_spotmix.ui.demo import show_result
from napari_spotmix.ui.state.maps import DOMINANT
from napari_spotmix.ui.text import plain

pytestmark = pytest.mark.viewer


def test_a_layer_of_spots_holds_what_napari_spatialdata_reads(explored: Any) -> None:
    _, dock = explored
    result = dock.session.result
    dock.session.display.show(result.cell_types[1])
    layer = dock.scene.layer_of(result.cell_types[1])
    kept = layer.metadata
    adata, attrs = kept["adata"], kept["adata"].uns["spatialdata_attrs"]
    assert isinstance(adata, AnnData)
    assert len(kept["indices"]) == adata.n_obs == len(layer.data)
    assert attrs["region_key"] == kept["region_key"]
    assert attrs["instance_key"] == kept["instance_key"]
    assert list(adata.obs[kept["instance_key"]]) == kept["indices"]
    assert set(adata.obs[kept["region_key"]].cat.categories) == set(attrs["region"])
    np.testing.assert_allclose(adata.obsm["spatial"][:, ::-1], layer.data)
    np.testing.assert_allclose(adata.obsm["spotmix"], result.proportions)
    assert adata.X is result.spatial.X or np.shares_memory(adata.X.data, result.spatial.X.data)
    assert "name" not in kept, "napari-spatialdata takes layers with one for its own, and raises when they go"
    # One spot was not estimated: without a category of its own it would have no color.
    assert adata.uns["spotmix_dominant_colors"].tolist() == [*result.colors.values(), "#808080"]
    assert list(adata.obs["spotmix_dominant"].cat.categories) == [*result.cell_types, "not estimated"]
    assert adata.obs["spotmix_dominant"].iloc[4] == "not estimated"
    assert dock.scene.layer_of(DOMINANT).metadata["adata"] is adata, "made once"


def test_a_new_layer_has_all_metadata_that_other_plugins_read(explored: Any) -> None:
    viewer, dock = explored
    met: list[bool] = []
    viewer.layers.events.inserted.connect(lambda event: met.append("adata" in event.value.metadata))
    dock.session.display.show(dock.session.result.cell_types[1])
    assert met == [True]


@pytest.mark.parametrize("shown", [DOMINANT, "first"])
def test_spots_that_another_plugin_has_colored_are_ours_again_at_a_click(explored: Any, shown: Any) -> None:
    _, dock = explored
    shown = dock.session.result.cell_types[0] if shown == "first" else shown
    dock.session.display.show(shown)
    layer = dock.scene.layer_of(shown)
    before = layer.face_color.copy()
    layer.face_color = "red"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of napari: the feature that gave the colors is gone
        layer.features = pd.DataFrame({"spotmix_counts": np.arange(len(layer.data))})
    dock.session.display.show(shown)
    np.testing.assert_array_equal(layer.face_color, before)
    assert "dominant" in layer.features


def test_metadata_for_other_plugins_is_freed_with_the_result(result: Result) -> None:
    other = replace(result)
    made = weakref.ref(handover.for_spatialdata(other)["adata"])
    assert handover.for_spatialdata(other)["adata"] is made()
    del other
    gc.collect()
    assert made() is None


def test_the_status_bar_describes_bins(monkeypatch: pytest.MonkeyPatch, make_dock: Any) -> None:
    monkeypatch.setattr(bins, "MOST_POINTS", 100)
    monkeypatch.setattr(bins, "_PATCH", 50)
    row, column = np.divmod(np.arange(400), 20)
    adata = AnnData(csr_array(np.ones((400, 2))), obs=pd.DataFrame(index=[f"bin{i}" for i in range(400)]))
    adata.obsm["spatial"] = np.column_stack([column, row]) * 12.0
    shares = pd.DataFrame(np.tile([0.25, 0.75], (400, 1)), index=adata.obs_names, columns=["B", "<b>T"])
    reasons = pd.Series("", index=adata.obs_names)
    shares.iloc[7], reasons.iloc[7] = np.nan, "no counts"
    none = csr_array((400, 400))
    counts = pd.Series(np.arange(400.0), index=adata.obs_names)
    result = Result(shares, counts, reasons, pd.DataFrame(index=["B", "<b>T"]), none, none, adata)
    viewer, dock = make_dock()
    show_result(dock, result, "bins")
    dock.session.display.show("<b>T")
    layer = dock.scene.layer_of("<b>T")
    assert layer._type_string == "image"
    status = layer.get_status((24.0, 60.0), dims_displayed=[0, 1], world=True)["coordinates"]
    assert "0.75" in status
    assert f"spot: bin45, dominant: {plain('<b>T')}, counts: 45, unexplained: " in status
    assert viewer.layers.selection.active is layer
    viewer.mouse_over_canvas = True
    viewer.cursor.position = (24.0, 60.0)
    status = viewer._calc_status_from_cursor()
    assert "spot: bin45" in str(status)
    assert "not estimated: no counts" in layer.get_status((0.0, 84.0), world=True)["value"]
    assert "spot" not in layer.get_status((-500.0, 0.0), world=True)["value"]
