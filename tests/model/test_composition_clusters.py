"""CompositionClusters, precision weights and platform factors: formulas, limits, planted effects."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from napari_spotmix.base.threads import Threads
from napari_spotmix.model.composition_clusters import (
    CompositionClusters,
    find_composition_clusters,
    one_composition_cluster,
    precision_weights,
)
from napari_spotmix.model.platform import platform_factors


@pytest.fixture(scope="module")
def threads() -> Iterator[Threads]:
    with Threads.of(2) as pool:
        yield pool


def signatures(n_types: int = 4, n_genes: int = 300, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(n_genes, 0.5), size=n_types) + 1e-6


def type_means(log_factors: np.ndarray, S: np.ndarray) -> np.ndarray:
    """The part of a log factor per gene that levels of the types explain, by least squares."""
    share = (S / S.sum(axis=0)).T
    return share @ np.linalg.lstsq(share, log_factors, rcond=None)[0]


def test_weights_are_one_over_the_variance_of_a_count() -> None:
    S = signatures()
    rng = np.random.default_rng(2)
    composition, depth = rng.dirichlet(np.ones(4), size=5), rng.gamma(2.0, 100.0, size=5)
    clusters = CompositionClusters(composition, depth, np.zeros(1, int))
    mean = clusters.composition @ S
    assert (mean > 0.01 * S.mean(axis=0)).all()
    for phi in (0.0, 0.1, 3.0):
        depth = clusters.depth[:, None]
        variance = (depth * mean + phi * (depth * mean) ** 2) / depth  # of a share, times the depth
        np.testing.assert_allclose(precision_weights(S, clusters, phi), 1 / variance, rtol=1e-10)


def test_deep_counts_are_limited_by_overdispersion_alone() -> None:
    S = signatures()
    clusters = one_composition_cluster(np.full(3, 1e15), 4)
    scaled = clusters.depth[0] * precision_weights(S, clusters, 0.5)
    np.testing.assert_allclose(scaled, 1 / (0.5 * S.mean(axis=0)[None] ** 2), rtol=1e-6)


def test_a_gene_that_the_model_calls_silent_does_not_outweigh_all_others() -> None:
    S = np.array([[1.0, 0.0], [0.0, 1.0]])
    pure = CompositionClusters(np.array([[1.0, 0.0]]), np.array([100.0]), np.zeros(1, int))
    assert precision_weights(S, pure, 0.0)[0] == pytest.approx([1.0, 200.0])


def test_the_first_cluster_is_flat_and_holds_all_spots() -> None:
    first = one_composition_cluster(np.array([10.0, 30.0]), 4)
    assert first.composition.tolist() == [[0.25] * 4]
    assert first.depth.tolist() == [20.0]
    assert first.label.tolist() == [0, 0]


def test_clusters_are_means_of_their_spots(threads: Threads) -> None:
    rng = np.random.default_rng(3)
    p, totals = rng.dirichlet(np.full(5, 0.4), size=400), rng.gamma(2.0, 100.0, size=400)
    found = find_composition_clusters(p, totals, 12, threads=threads)
    assert found.composition.shape == (12, 5)
    assert set(found.label) == set(range(12))
    for a in range(12):
        np.testing.assert_allclose(found.composition[a], p[found.label == a].mean(axis=0))
        assert found.depth[a] == pytest.approx(totals[found.label == a].mean())


def test_clear_groups_are_found(threads: Threads) -> None:
    rng = np.random.default_rng(4)
    truth = rng.integers(6, size=300)
    p = 0.97 * np.eye(6)[truth] + 0.03 * rng.dirichlet(np.ones(6), size=300)
    label = find_composition_clusters(p, np.ones(300), 6, threads=threads).label
    pairs = set(zip(truth.tolist(), label.tolist(), strict=True))
    assert len(pairs) == 6


def test_as_many_clusters_as_spots_give_each_its_own(threads: Threads) -> None:
    p = np.random.default_rng(5).dirichlet(np.ones(4), size=30)
    found = find_composition_clusters(p, np.ones(30), 1000, threads=threads)
    assert len(set(found.label)) == 30
    np.testing.assert_allclose(found.composition[found.label], p)


def test_equal_spots_share_one_composition_cluster(threads: Threads) -> None:
    p = np.tile([0.2, 0.8], (50, 1))
    found = find_composition_clusters(p, np.ones(50), 8, threads=threads)
    assert len(found.composition) == 1
    np.testing.assert_allclose(found.composition, [[0.2, 0.8]])


def test_a_seed_gives_the_same_clusters_for_any_number_of_threads() -> None:
    rng = np.random.default_rng(6)
    p, totals = rng.dirichlet(np.full(5, 0.4), size=20_000), rng.gamma(2.0, 100.0, size=20_000)
    found = []
    for n_threads in (1, 3):
        with Threads.of(n_threads) as pool:
            found.append(find_composition_clusters(p, totals, 16, threads=pool))
    np.testing.assert_array_equal(found[0].label, found[1].label)
    np.testing.assert_array_equal(found[0].composition, found[1].composition)


def test_planted_platform_factors_are_recovered_but_for_a_level_per_type() -> None:
    rng = np.random.default_rng(7)
    S = signatures()
    planted = rng.normal(0, 0.4, size=300)
    expected = 1e7 * S.mean(axis=0)
    observed = rng.poisson(expected * np.exp(planted)).astype(float)
    found = np.log(platform_factors(observed, expected, S))
    wanted = planted - type_means(planted, S)
    well_seen = observed > 1e4
    np.testing.assert_allclose(found[well_seen], wanted[well_seen], atol=0.05)


def test_factors_are_centered_over_the_markers_of_each_type() -> None:
    rng = np.random.default_rng(8)
    S = signatures()
    expected = 1e7 * S.mean(axis=0)
    found = np.log(platform_factors(expected * np.exp(rng.normal(0, 0.4, size=300)), expected, S))
    assert np.abs(type_means(found, S)).max() < 1e-8


def test_more_of_one_type_is_no_platform_effect() -> None:
    """Raising all markers of a type is raising its share: the factors must not take it over."""
    S = np.kron(np.eye(3), np.full((1, 20), 0.05))
    more = np.exp(np.repeat([0.8, 0.0, -0.5], 20))
    expected = 1e6 * S.sum(axis=0)
    np.testing.assert_allclose(platform_factors(expected * more, expected, S), 1, atol=1e-4)


def test_sampling_noise_alone_gives_factors_near_one() -> None:
    S = signatures()
    expected = 20 / S.shape[1] * np.ones(S.shape[1]) * 10
    observed = np.random.default_rng(9).poisson(expected).astype(float)
    assert np.abs(np.log(observed / expected + 1e-9)).std() > 0.3
    assert np.abs(np.log(platform_factors(observed, expected, S))).max() < 0.5


@pytest.mark.parametrize("seed", range(5))
def test_factors_stay_within_the_bound(seed: int) -> None:
    rng = np.random.default_rng(seed)
    S = np.kron(np.eye(3), np.full((1, 20), 0.05))
    log_ratio = rng.choice([-6.0, 6.0], p=[0.1, 0.9], size=60)
    expected = np.full(60, 1e5)
    factors = platform_factors(expected * np.exp(log_ratio), expected, S, bound=8.0)
    assert factors.max() <= 8.0
    assert factors.min() >= 1 / 8.0


def test_genes_that_were_never_counted_get_finite_factors() -> None:
    S = signatures()
    expected = 1e5 * S.mean(axis=0)
    observed = expected.copy()
    observed[:10] = 0
    factors = platform_factors(observed, expected, S)
    assert np.isfinite(factors).all()
    assert factors[:10].max() < 1 < factors[10:].mean() * 1.1
