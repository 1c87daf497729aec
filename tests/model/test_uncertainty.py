"""Standard errors against dense algebra and repeated draws, and pairs of types that are too similar."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from napari_spotmix.base.threads import Threads
from napari_spotmix.model.counts import Counts
from napari_spotmix.model.sufficient_statistics import Statistics
from napari_spotmix.model.uncertainty.errors import (
    Noise,
    ReferenceCells,
    cells_for_noise,
    confusable_pairs,
    lost_to_depth,
    measure_noise,
    standard_errors,
)
from napari_spotmix.model.uncertainty.residuals import gene_residuals
from tests.model.oracles import random_statistics
from tests.model.varied_cells import members_of

ONE = Threads(1)
N_SPOTS, N_TYPES, N_GENES = 7, 4, 60


def noise_of(linear: np.ndarray, square: np.ndarray) -> Noise:
    return Noise(linear, square, 0.0, np.zeros((linear.shape[1], 1)))


def positive(rng: np.random.Generator, n: int, size: int) -> np.ndarray:
    A = rng.normal(size=(n, size, size))
    return np.einsum("akm,aqm->akq", A, A)


def errors_of(
    statistics: Statistics,
    X: np.ndarray,
    noise: Noise,
    factor: np.ndarray,
    totals: np.ndarray,
    coupling: np.ndarray,
    content: np.ndarray,
    variance: np.ndarray,
) -> np.ndarray:
    return standard_errors(
        statistics,
        X,
        noise,
        factor=factor,
        totals=totals,
        coupling=coupling,
        content=content,
        content_variance=variance,
        threads=ONE,
    )


def gradient_of_proportions(x: np.ndarray, content: np.ndarray) -> np.ndarray:
    """By central differences, shape (n_types, n_types)."""
    step = 1e-6 * np.eye(len(x))

    def shares(x: np.ndarray) -> np.ndarray:
        z = x / content
        return z / z.sum()

    return np.stack([(shares(x + h) - shares(x - h)) / 2e-6 for h in step], axis=1)


def test_errors_are_those_of_the_sandwich_and_the_delta_method() -> None:
    rng = np.random.default_rng(0)
    statistics = random_statistics(rng, N_SPOTS, N_TYPES, 3)
    X = rng.random((N_SPOTS, N_TYPES)) * (rng.random((N_SPOTS, N_TYPES)) < 0.7) + 0.05
    X[0, 1:] = 0.0
    noise = noise_of(positive(rng, 3, N_TYPES), positive(rng, 3, N_TYPES))
    factor, totals, coupling = 1e-3 * rng.random(N_SPOTS), 20 * rng.random(N_SPOTS), rng.random(N_SPOTS)
    content, variance = rng.uniform(0.5, 2, N_TYPES), 0.01 * rng.random(N_TYPES)
    errors = errors_of(statistics, X, noise, factor, totals, coupling, content, variance)
    for i, a in enumerate(statistics.cluster):
        data = statistics.scale[i] * statistics.gram[a]
        J = factor[i] ** 2 * (totals[i] * noise.linear[a] + totals[i] ** 2 * noise.square[a])
        prior = np.trace(J) / np.trace(data) * coupling[i] * np.eye(N_TYPES)
        inverse = np.linalg.inv(data + coupling[i] * np.eye(N_TYPES))
        by_x = gradient_of_proportions(X[i], content)
        by_content = by_x * X[i]  # a content raised by a percent lowers its x / content by one
        expected = by_x @ inverse @ (J + prior) @ inverse @ by_x.T + (by_content * variance) @ by_content.T
        np.testing.assert_allclose(errors[i], np.minimum(np.sqrt(np.diag(expected)), 1), rtol=1e-4)


def test_estimates_of_repeated_draws_scatter_by_the_error() -> None:
    rng = np.random.default_rng(1)
    S = rng.dirichlet(0.3 * np.ones(N_GENES), N_TYPES)
    x, n_draws, depth = np.array([0.4, 0.3, 0.2, 0.1]), 4000, 3000.0
    w = 1.0 / (x @ S)
    M = (S * w) @ S.T
    estimates = rng.poisson(depth * x @ S, (n_draws, N_GENES)) / depth * w @ S.T @ np.linalg.inv(M)
    proportions = estimates / estimates.sum(axis=1, keepdims=True)
    one = np.ones(1)
    statistics = Statistics(M[None], np.zeros(1, np.int64), np.array([depth]), np.zeros((1, N_TYPES)))
    noise = noise_of(M[None], np.zeros_like(M)[None])
    content = np.ones(N_TYPES)
    errors = errors_of(statistics, x[None], noise, one, depth * one, 0 * one, content, 0 * content)
    np.testing.assert_allclose(errors[0], proportions.std(axis=0), rtol=0.05)


def test_twins_have_no_error_that_means_anything() -> None:
    M = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])[None]
    statistics = Statistics(M, np.zeros(1, np.int64), np.ones(1), np.zeros((1, 3)))
    noise, one, content = noise_of(M, 0 * M), np.ones(1), np.ones(3)
    X = np.array([[0.3, 0.3, 0.4]])
    errors = errors_of(statistics, X, noise, 0.01 * one, one, 1e-9 * one, content, 0 * content)
    np.testing.assert_allclose(errors[0, :2], 1.0)
    assert errors[0, 2] < 0.1


def test_a_spot_without_abundances_has_no_error() -> None:
    statistics = random_statistics(np.random.default_rng(2), 2, 3)
    X = np.array([[0.0, 0.0, 0.0], [0.2, 0.0, 0.8]])
    M, one, content = statistics.gram, np.ones(2), np.ones(3)
    errors = errors_of(statistics, X, noise_of(M, M), one, one, one, content, 0 * content)
    assert np.isnan(errors[0]).all()
    assert np.isfinite(errors[1]).all()


@pytest.fixture(scope="module")
def reference() -> tuple[np.ndarray, ReferenceCells]:
    """Signatures, and cells that differ along one program of genes that leads from a type to the next."""
    rng = np.random.default_rng(3)
    S = rng.dirichlet(np.ones(N_GENES), N_TYPES)
    label = np.repeat(np.arange(N_TYPES), 200)
    away = 0.4 * rng.normal(size=len(label))
    profiles = S[label] + away[:, None] * (S[(label + 1) % N_TYPES] - S[label]) * 0.5
    counts = csr_array(rng.poisson(3000 * profiles.clip(0)).astype(float))
    totals = np.asarray(counts.sum(axis=1))
    chosen = cells_for_noise(members_of(label, totals, N_TYPES))
    lost = lost_to_depth(label, totals, N_TYPES)
    return S, ReferenceCells(csr_array(counts[chosen]), totals[chosen], label[chosen], lost)


def residuals_of(S: np.ndarray, X: np.ndarray, profiles: np.ndarray, rng: np.random.Generator):
    counts = Counts(csr_array(rng.poisson(2000 * profiles.clip(0))), np.arange(N_GENES))
    return gene_residuals(counts, S, X, np.full(len(X), 2000.0))


def test_cells_are_chosen_from_every_type_and_labeled(reference: tuple[np.ndarray, ReferenceCells]) -> None:
    _, cells = reference
    assert np.bincount(cells.label).tolist() == [64] * N_TYPES
    np.testing.assert_allclose(cells.totals, np.asarray(cells.counts.sum(axis=1)))


def test_spots_that_scatter_by_sampling_show_no_differences_of_cells(
    reference: tuple[np.ndarray, ReferenceCells],
) -> None:
    S, cells = reference
    rng = np.random.default_rng(4)
    X = rng.dirichlet(np.ones(N_TYPES), 500)
    noise = measure_noise(residuals_of(S, X, X @ S, rng), S, S.T[None], X.mean(axis=0)[None], cells)
    assert noise.cell_share < 0.1


def test_spots_of_single_cells_show_all_of_their_differences(
    reference: tuple[np.ndarray, ReferenceCells],
) -> None:
    S, cells = reference
    rng = np.random.default_rng(5)
    label = rng.integers(N_TYPES, size=2000)
    X = np.eye(N_TYPES)[label]
    program = 0.5 * (S[(label + 1) % N_TYPES] - S[label])
    profiles = X @ S + 0.4 * rng.normal(size=(len(X), 1)) * program
    noise = measure_noise(residuals_of(S, X, profiles, rng), S, S.T[None], X.mean(axis=0)[None], cells)
    assert 0.7 < noise.cell_share < 1.4
    # Along the program S w Y scatters far more than independent genes would make it.
    scores = (profiles - X @ S) @ S.T
    largest = np.linalg.eigvalsh(np.cov(scores.T, bias=True))[-1]
    assert 0.5 < np.linalg.eigvalsh(noise.square[0])[-1] / largest < 2


@pytest.mark.parametrize("seed", range(3))
def test_pairs_are_distinguished_from_the_depth_of_the_formula_on(seed: int) -> None:
    rng = np.random.default_rng(seed)
    S = rng.dirichlet(np.ones(N_GENES), 2)
    distance = (2 * (S[0] - S[1]) ** 2 / (S[0] + S[1])).sum()
    enough = (2 * 1.6449) ** 2 / distance
    assert confusable_pairs(S, 0 * S, np.zeros(N_GENES), 0.99 * enough) == [(0, 1)]
    assert confusable_pairs(S, 0 * S, np.zeros(N_GENES), 1.01 * enough) == []
    assert confusable_pairs(S, 0 * S, np.full(N_GENES, 50.0), 10 * enough) == [(0, 1)]


def test_the_worst_pair_comes_first_and_twins_are_found_at_any_depth() -> None:
    rng = np.random.default_rng(6)
    S = rng.dirichlet(np.ones(N_GENES), 4)
    S[3] = S[1]
    S[2] = 0.97 * S[0] + 0.03 * S[2]
    assert confusable_pairs(S, 0 * S, np.zeros(N_GENES), 1e9) == [(1, 3)]
    assert confusable_pairs(S, 0 * S, np.zeros(N_GENES), 1000.0)[:2] == [(1, 3), (0, 2)]


def test_chance_differences_of_signatures_do_not_tell_twins_apart() -> None:
    rng = np.random.default_rng(7)
    mean = rng.dirichlet(np.ones(N_GENES))
    variance = np.tile(mean / 5000, (2, 1))
    S = mean + np.sqrt(variance) * rng.normal(size=(2, N_GENES))
    assert confusable_pairs(S, 0 * S, np.zeros(N_GENES), 5000.0) == []
    assert confusable_pairs(S, variance, np.zeros(N_GENES), 5000.0) == [(0, 1)]


def test_what_neighbors_say_makes_an_estimate_surer() -> None:
    rng = np.random.default_rng(8)
    statistics = random_statistics(rng, 5, N_TYPES)
    X, one, content = rng.random((5, N_TYPES)), np.ones(5), np.ones(N_TYPES)
    noise = noise_of(1e-4 * statistics.gram, 0 * statistics.gram)
    alone, smoothed = (
        errors_of(statistics, X, noise, one, statistics.scale, t * one, content, 0 * content)
        for t in (0.0, 3.0)
    )
    assert (smoothed < alone).all()
