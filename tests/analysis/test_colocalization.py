"""Co-localization against brute force over permutations, and niches that were planted."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array

from napari_spotmix.analysis import colocalization as module
from napari_spotmix.analysis.colocalization import Colocalization, bivariate_moran
from napari_spotmix.analysis.niches import group_spots
from napari_spotmix.base.threads import Threads
from napari_spotmix.model.graph import build_graph
from tests.model.oracles import no_edges, path_graph, random_graph

POSITIONS = np.argwhere(np.ones((20, 20))).astype(float)
GRID = build_graph(POSITIONS).squared_distance
GRID.data[:] = 1.0


def shares(rng: np.random.Generator, n_spots: int, n_types: int = 3) -> np.ndarray:
    return rng.dirichlet(np.full(n_types, 0.5), size=n_spots)


def moran(p: np.ndarray, W: np.ndarray) -> np.ndarray:
    """Bivariate Moran's I of each pair of columns, one product after the other."""
    Z = (p - p.mean(axis=0)) / p.std(axis=0)
    return np.array([[z @ W @ y for y in Z.T] for z in Z.T]) / W.sum()


def test_observed_is_the_bivariate_moran_statistic() -> None:
    rng = np.random.default_rng(0)
    p, W = shares(rng, 40, 5), random_graph(rng, 40)
    found = bivariate_moran(p, W).observed
    np.testing.assert_allclose(found, moran(p, W.toarray()), atol=1e-12)
    np.testing.assert_array_equal(found, found.T)


@pytest.mark.parametrize("n_spots", [4, 5, 6])
def test_moments_are_those_over_all_orders_of_the_spots(n_spots: int) -> None:
    rng = np.random.default_rng(n_spots)
    p, W = shares(rng, n_spots), random_graph(rng, n_spots, 0.7)
    found = bivariate_moran(p, W)
    everything = np.array([moran(p[list(order)], W.toarray()) for order in permutations(range(n_spots))])
    np.testing.assert_allclose(found.expected, everything.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(found.deviation, everything.std(axis=0), atol=1e-12)


def test_scores_of_spots_in_random_order_scatter_as_expected() -> None:
    rng = np.random.default_rng(1)
    p = shares(rng, 400, 4)
    z = np.array([bivariate_moran(rng.permutation(p), GRID).z for _ in range(300)])
    # Four standard errors of a mean and of a standard deviation over 300 draws.
    assert np.abs(z.mean(axis=0)).max() < 4 / np.sqrt(300)
    assert np.abs(z.std(axis=0) - 1).max() < 4 / np.sqrt(600)


def test_types_side_by_side_attract_and_types_apart_avoid_each_other() -> None:
    """The first two alternate from row to row on the left, the third has the right."""
    left, odd = POSITIONS[:, 1] < 10, POSITIONS[:, 0] % 2 == 1
    p = np.column_stack([left & odd, left & ~odd, ~left]).astype(float)
    z = bivariate_moran(p, GRID).z
    assert z[0, 1] > 5
    assert z[0, 2] < -5
    assert z[2, 2] > 5


def test_mixing_inside_of_spots_is_not_taken_for_neighborhood() -> None:
    """Two types always come together, but in spots at random positions."""
    rng = np.random.default_rng(2)
    both = rng.random(400)
    z = bivariate_moran(np.column_stack([both / 2, both / 2, 1 - both]), GRID).z
    assert np.abs(z).max() < 4


def test_neither_units_of_weights_nor_order_of_spots_matter() -> None:
    rng = np.random.default_rng(3)
    p, W = shares(rng, 60), random_graph(rng, 60)
    order = rng.permutation(60)
    expected = bivariate_moran(p, W).z
    np.testing.assert_allclose(bivariate_moran(p, csr_array(3.0 * W)).z, expected, rtol=1e-9)
    np.testing.assert_allclose(
        bivariate_moran(p[order], csr_array(W[order][:, order])).z, expected, rtol=1e-9
    )


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    p, W = shares(rng, 60), random_graph(rng, 60)
    expected = bivariate_moran(p, W)
    monkeypatch.setattr(module, "_BLOCK", 7)
    np.testing.assert_allclose(bivariate_moran(p, W).observed, expected.observed, atol=1e-14)
    np.testing.assert_allclose(bivariate_moran(p, W).deviation, expected.deviation, atol=1e-14)


def test_spots_not_estimated_are_as_if_absent() -> None:
    rng = np.random.default_rng(5)
    p, W = shares(rng, 30), random_graph(rng, 30)
    gone = np.arange(30) % 5 == 0
    with_gaps = np.where(gone[:, None], np.nan, p)
    only = csr_array(W[~gone][:, ~gone])
    np.testing.assert_array_equal(bivariate_moran(with_gaps, W).z, bivariate_moran(p[~gone], only).z)
    with Threads.of(1) as threads:
        label = group_spots(with_gaps, W, 3, random_state=0, threads=threads).label
        expected = group_spots(p[~gone], only, 3, random_state=0, threads=threads).label
    assert (label[gone] == -1).all()
    np.testing.assert_array_equal(label[~gone], expected)


def test_a_type_without_variance_is_nan() -> None:
    p = shares(np.random.default_rng(6), 10)
    p[:, 0] = 0.0
    z = bivariate_moran(p, path_graph(10)).z
    assert np.isnan(z[0]).all()
    assert np.isnan(z[:, 0]).all()
    assert np.isfinite(z[1:, 1:]).all()
    assert np.isnan(bivariate_moran(p, no_edges(10)).z).all()
    assert np.isnan(bivariate_moran(p[:3], path_graph(3)).z).all()


def planted(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Bands of 10, 6 and 4 rows of the grid, of different composition, with noise in each spot."""
    band = np.digitize(POSITIONS[:, 0], [10, 16])
    centers = np.array([[8.0, 1.0, 1.0], [1.0, 8.0, 1.0], [1.0, 1.0, 8.0]])
    return np.array([rng.dirichlet(0.5 * centers[b]) for b in band]), band


def test_niches_are_the_planted_bands_the_largest_first() -> None:
    p, band = planted(np.random.default_rng(7))
    found = group_spots(p, GRID, 3, random_state=0, threads=Threads(1))
    assert (found.label == band).mean() > 0.9
    assert (np.diff(np.bincount(found.label)) <= 0).all()
    # Better than spots by themselves, since neighbors are of a kind.
    assert (found.label == band).mean() > (p.argmax(axis=1) == band).mean()
    for a, composition in enumerate(found.composition):
        np.testing.assert_allclose(composition, p[found.label == a].mean(axis=0), rtol=1e-12)


def test_niches_do_not_depend_on_threads() -> None:
    rng = np.random.default_rng(8)
    positions = rng.random((20_000, 2))
    p, W = shares(rng, len(positions), 4), build_graph(positions).squared_distance
    with Threads.of(1) as one, Threads.of(3) as three:
        expected = group_spots(p, W, random_state=1, threads=one)
        found = group_spots(p, W, random_state=1, threads=three)
    np.testing.assert_array_equal(found.label, expected.label)
    np.testing.assert_array_equal(found.composition, expected.composition)


def test_there_are_no_more_niches_than_spots_differ() -> None:
    p = np.eye(2)[[0, 0, 1, 1, 1]]
    found = group_spots(p, no_edges(5), 6, random_state=0, threads=Threads(1))
    np.testing.assert_array_equal(found.label, [1, 1, 0, 0, 0])
    nothing = group_spots(np.full((4, 2), np.nan), path_graph(4), 6, random_state=0, threads=Threads(1))
    np.testing.assert_array_equal(nothing.label, np.full(4, -1))
    assert nothing.composition.shape == (0, 2)


def test_what_is_raised_between_blocks_stops_the_work() -> None:
    def stop(_: int) -> None:
        raise InterruptedError

    p = shares(np.random.default_rng(9), 400)
    with pytest.raises(InterruptedError):
        bivariate_moran(p, GRID, stop)
    with pytest.raises(InterruptedError):
        group_spots(p, GRID, random_state=0, threads=Threads(1), on_block=stop)


def test_clustered_types_follow_each_other_and_unknown_ones_come_last() -> None:
    names = list("abcde")
    observed = np.full((5, 5), -0.2) + 1.2 * np.eye(5)
    for one, other in ((0, 3), (1, 4)):  # a is near d, b near e; c is the same in all spots
        observed[one, other] = observed[other, one] = 0.6
    observed[2], observed[:, 2] = np.nan, np.nan
    table = pd.DataFrame(observed, names, names)
    order = Colocalization(table, table, table, table).similar_order
    assert order[-1] == "c"
    assert {frozenset(order[:2]), frozenset(order[2:4])} == {frozenset("ad"), frozenset("be")}
