"""The oracle of the solver's tests, itself against dense algebra and finite differences."""

from __future__ import annotations

import numpy as np
import pytest

from napari_spotmix.model.objective import curvature, gradient, objective, violation
from tests.model.oracles import (
    dense_minimizer,
    dense_objective,
    dense_statistics,
    hessian,
    laplacian,
    random_graph,
    random_statistics,
)

PENALTIES = [(0.0, 0.0), (0.3, 0.0), (0.0, 2.0), (0.3, 2.0)]


@pytest.mark.parametrize(("lambda_r", "lambda_c"), PENALTIES)
def test_objective_is_the_stated_one_up_to_the_constant(lambda_r: float, lambda_c: float) -> None:
    rng = np.random.default_rng(1)
    S, X, Y, W = rng.random((4, 20)), rng.random((9, 4)), rng.random((9, 20)), random_graph(rng, 9, 0.5)
    statistics = dense_statistics(Y, S, np.ones((1, 20)), np.zeros(9, int), np.ones(9))
    roughness = np.trace(X.T @ laplacian(W) @ X)
    stated = ((Y - X @ S) ** 2).sum() + lambda_r * (X**2).sum() + lambda_c * roughness
    value = objective(X, statistics, W, lambda_r, lambda_c) + (Y**2).sum()
    assert value == pytest.approx(stated, rel=1e-12)


def test_roughness_is_the_weighted_sum_of_squared_differences() -> None:
    rng = np.random.default_rng(2)
    X, W = rng.random((8, 3)), random_graph(rng, 8, 0.5)
    statistics = random_statistics(rng, 8, 3)
    smooth = objective(X, statistics, W, 0.0, 1.0) - objective(X, statistics, W, 0.0, 0.0)
    dense = W.toarray()
    pairs = sum(dense[i, j] * ((X[i] - X[j]) ** 2).sum() for i in range(8) for j in range(i))
    assert smooth == pytest.approx(pairs, rel=1e-10)


@pytest.mark.parametrize(("lambda_r", "lambda_c"), PENALTIES)
def test_objective_agrees_with_the_dense_quadratic(lambda_r: float, lambda_c: float) -> None:
    rng = np.random.default_rng(3)
    statistics, W, X = random_statistics(rng, 12, 4, 3), random_graph(rng, 12, 0.4), rng.random((12, 4))
    expected = dense_objective(X, statistics, W, lambda_r, lambda_c)
    assert objective(X, statistics, W, lambda_r, lambda_c) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("lambda_r", "lambda_c"), PENALTIES)
def test_gradient_agrees_with_finite_differences(lambda_r: float, lambda_c: float) -> None:
    rng = np.random.default_rng(4)
    statistics, W, X = random_statistics(rng, 7, 3, 2), random_graph(rng, 7, 0.5), rng.random((7, 3))
    step, numeric = 1e-4, np.empty_like(X)
    for index in np.ndindex(*X.shape):
        up, down = X.copy(), X.copy()
        up[index] += step
        down[index] -= step
        rise = objective(up, statistics, W, lambda_r, lambda_c)
        rise -= objective(down, statistics, W, lambda_r, lambda_c)
        numeric[index] = rise / (2 * step)
    # `gradient` is half the gradient; central differences of a quadratic have no truncation error.
    np.testing.assert_allclose(2 * gradient(X, statistics, W, lambda_r, lambda_c), numeric, rtol=1e-6)


def test_curvature_is_the_diagonal_of_the_hessian_but_no_more_than_that_of_the_data() -> None:
    rng = np.random.default_rng(5)
    statistics, W = random_statistics(rng, 12, 4, 3), random_graph(rng, 12, 0.4)
    data = np.diag(hessian(statistics, W, 0.0, 0.0)).reshape(12, 4)
    weak = np.diag(hessian(statistics, W, 1e-9, 1e-9)).reshape(12, 4)
    most = np.maximum(data, data.mean(axis=0))
    np.testing.assert_allclose(curvature(statistics, W, 1e-9, 1e-9), np.minimum(weak, most), rtol=1e-12)
    np.testing.assert_allclose(curvature(statistics, W, 0.0, 1e9)[W.sum(axis=1) > 0], most[W.sum(axis=1) > 0])


def test_violation_vanishes_at_the_minimizer_and_nowhere_near_it() -> None:
    rng = np.random.default_rng(6)
    statistics, W = random_statistics(rng, 20, 4, 2), random_graph(rng, 20)
    X = dense_minimizer(statistics, W, 0.1, 1.0)
    assert violation(X, statistics, W, 0.1, 1.0) < 1e-9
    for index in [(0, 0), (3, 2), (19, 3)]:
        moved = X.copy()
        moved[index] += 0.01
        assert violation(moved, statistics, W, 0.1, 1.0) > 1e-3


def test_violation_sees_a_negative_abundance() -> None:
    rng = np.random.default_rng(7)
    statistics, W = random_statistics(rng, 5, 3), random_graph(rng, 5)
    unconstrained = np.linalg.solve(
        hessian(statistics, W, 0.0, 0.5), statistics.projection.ravel() - 3.0
    ).reshape(5, 3)
    assert unconstrained.min() < 0
    assert violation(unconstrained, statistics, W, 0.0, 0.5) >= -unconstrained.min() * (1 - 1e-12)
