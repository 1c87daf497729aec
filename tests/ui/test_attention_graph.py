"""The attention graph where attention is used, where it was left, and where it was not learned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.stats import spearmanr

from napari_spotmix import deconvolve
from napari_spotmix.result import Result, View, read_result
from napari_spotmix.simulation.simulate import simulate
from napari_spotmix.ui.canvas.legend import legend_of_edges
from napari_spotmix.ui.demo import show_result
from napari_spotmix.ui.state.edges import EdgeMap, about_edges, edge_limits, edge_values, offered_edges
from napari_spotmix.ui.state.maps import GRAPH

LEARNED = "learned but not used"


@pytest.fixture(scope="module")
def left() -> Result:
    """A result whose learning fitted an attention and chose the distance alone."""
    tissue = simulate(
        n_spots=150, n_genes=60, n_cell_types=3, counts_per_spot=60, image=False, random_state=2
    )
    return deconvolve(tissue.spatial, tissue.reference, cell_type_key="cell_type")


@pytest.fixture(scope="module")
def by_hand() -> Result:
    tissue = simulate(n_spots=80, n_genes=60, n_cell_types=3, image=False, random_state=1)
    return deconvolve(
        tissue.spatial, tissue.reference, cell_type_key="cell_type", lambda_c=0.1, alpha=0.3, attention=False
    )


def dissimilarity(result: Result, edges: csr_array) -> np.ndarray:
    """Return how much the true proportions of the spots at both ends of each edge differ."""
    truth = result.spatial.obsm["truth_rna"].to_numpy()
    first, second = edges.tocoo().coords
    return np.square(truth[first] - truth[second]).sum(axis=1)


def test_unused_attention_is_kept_and_is_low_across_borders(left: Result) -> None:
    assert left.provenance.learned.evidence.chosen == "laplacian"
    assert not left.uses_attention
    attention = left.unused_attention
    assert attention.nnz == left.weights.nnz
    assert abs(attention - attention.T).max() < 1e-12
    assert 0 <= attention.data.min() < attention.data.max() <= 1
    assert spearmanr(attention.data, dissimilarity(left, attention)).statistic < -0.5
    one_thread = replace(left).unused_attention
    assert one_thread.data.tobytes() == attention.data.tobytes()


def test_a_file_keeps_it(left: Result, tmp_path: Path) -> None:
    left.to_anndata().write_h5ad(tmp_path / "spatial.h5ad")
    again = read_result(tmp_path / "spatial.h5ad")
    np.testing.assert_allclose(again.unused_attention.data, left.unused_attention.data, rtol=1e-12)
    assert about_edges(again, EdgeMap.UNUSED) == about_edges(left, EdgeMap.UNUSED)


def test_solving_again_without_a_type_keeps_it_for_the_others(left: Result) -> None:
    fewer = left.refit(without=left.cell_types[:1])
    assert 0 <= fewer.unused_attention.data.min() < 1


def test_a_metric_of_the_types_is_used_if_it_fits(left: Result) -> None:
    learned = left.provenance.learned
    found = replace(learned.evidence.candidates["attention"], metric=(1.0, 0.0, 0.0), loss=-1.0)
    evidence = replace(learned.evidence, candidates={**learned.evidence.candidates, "attention": found})
    provenance = replace(left.provenance, learned=replace(learned, evidence=evidence))
    one_type = replace(left, provenance=provenance)
    assert not np.allclose(one_type.unused_attention.data, left.unused_attention.data)


def test_the_graph_shows_what_was_learned_and_says_why_it_was_not_used(
    qtbot: Any, make_dock: Any, left: Result
) -> None:
    _, dock = make_dock(show=True)
    show_result(dock, left, "Gut")
    assert not dock.explore.settings.edges.native.isVisible()
    dock.session.display.show(GRAPH)
    qtbot.wait(50)
    layer, explore = dock.scene.layer_of(GRAPH), dock.explore
    assert explore.settings.edges.native.isVisible()
    assert explore.settings.edges.choices == (EdgeMap.UNUSED, EdgeMap.WEIGHTS)
    assert dock.overlays.title.text == EdgeMap.UNUSED.value
    low, high = layer.edge_contrast_limits
    assert (low, high) == edge_limits(left, EdgeMap.UNUSED)
    assert dock.overlays.legend.entries[0] == ("Learned, not used", "")
    assert LEARNED in explore.about_edges.text()
    assert "than by distance alone" in explore.about_edges.text()
    darkest, brightest = np.argsort(layer.features["attention"].to_numpy())[[0, -1]]
    assert layer.edge_color[darkest, :3].sum() < layer.edge_color[brightest, :3].sum()
    explore.settings.edges.value = EdgeMap.WEIGHTS
    layer = dock.scene.layer_of(GRAPH)
    assert set(layer.features["weight"]) <= set(left.weights.data)
    assert dock.overlays.title.text == "Weights used"
    assert dock.overlays.legend.entries[0][0].startswith("Weight ")
    dock.session.display.show(left.cell_types[0])
    assert not explore.settings.edges.native.isVisible()
    assert dock.session.view.edges == "WEIGHTS"


def test_a_saved_view_shows_the_same_edges_again(make_dock: Any, left: Result) -> None:
    _, dock = make_dock()
    show_result(dock, replace(left, view=View(map="GRAPH", edges="WEIGHTS")), "Gut")
    assert dock.session.edges is EdgeMap.WEIGHTS
    show_result(dock, replace(left, view=View(map="GRAPH", edges="nonsense")), "Gut")
    assert dock.session.edges is EdgeMap.UNUSED


def test_without_learned_attention_the_panel_says_what_to_do(by_hand: Result) -> None:
    assert by_hand.unused_attention is None
    assert offered_edges(by_hand) == (EdgeMap.WEIGHTS,)
    words = about_edges(by_hand, EdgeMap.WEIGHTS)
    assert "was not learned" in words
    assert "run again with Attention on" in words


def test_attention_in_use_goes_from_0_to_1(result: Result) -> None:
    assert offered_edges(result) == (EdgeMap.ATTENTION, EdgeMap.WEIGHTS)
    assert edge_limits(result, EdgeMap.ATTENTION) == (0.0, 1.0)
    assert edge_values(result, EdgeMap.ATTENTION) is result.attention
    names = [name for name, _ in legend_of_edges(result, EdgeMap.ATTENTION)]
    assert names == ["Attention 1", "0.75", "0.5", "0.25", "0"]
