"""The whole fit on arrays: the stated objective, the Poisson likelihood, platform effects, invariances."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from napari_spotmix.base.errors import Cancelled
from napari_spotmix.base.progress import Progress
from napari_spotmix.base.threads import Threads
from napari_spotmix.model.counts import Counts
from napari_spotmix.model.fit import Fit, fit
from napari_spotmix.model.objective import violation
from napari_spotmix.params import Parameters
from tests.model.oracles import (
    dense_minimizer,
    dense_statistics,
    hexagonal_grid,
    poisson_maximum_likelihood,
    square_grid,
)


def run(
    counts: np.ndarray, S: np.ndarray, coordinates: np.ndarray, n_threads: int = 1, **options: Any
) -> Fit:
    sample, on_progress = options.pop("sample", None), options.pop("on_progress", lambda _: None)
    totals = counts.sum(axis=1).astype(np.float64)
    with Threads.of(n_threads) as threads:
        return fit(
            Counts(csr_array(counts), np.arange(S.shape[1])),
            S,
            totals,
            coordinates,
            Parameters(**options),
            sample=sample,
            threads=threads,
            on_progress=on_progress,
        )


def tissue(n_rows: int = 10, depth: float = 500.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts, signatures and proportions: two halves of unlike composition, and a gradient."""
    rng = np.random.default_rng(1)
    S = rng.dirichlet(np.full(60, 0.4), size=5) + 1e-4
    S /= S.sum(axis=1, keepdims=True)
    x = hexagonal_grid(n_rows, n_rows)[:, 0]
    left = x < x.mean()
    p = np.where(left[:, None], [6.0, 3.0, 0.0, 0.0, 1.0], [0.0, 1.0, 6.0, 3.0, 0.0])
    p[:, 1] += x / 3
    p /= p.sum(axis=1, keepdims=True)
    return rng.poisson(depth * rng.gamma(8.0, 1 / 8, size=(len(p), 1)) * (p @ S)).astype(float), S, p


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize(("lambda_r", "lambda_c"), [(0.0, 0.0), (0.01, 0.05), (0.5, 3.0)])
def test_plain_weights_minimize_the_stated_objective(
    lambda_r: float, lambda_c: float, attention: bool
) -> None:
    Y, S, _ = tissue(n_rows=6)
    found = run(
        Y,
        S,
        hexagonal_grid(6, 6),
        weights="none",
        normalize=False,
        lambda_r=lambda_r,
        lambda_c=lambda_c,
        attention=attention,
        tolerance=1e-12,
        max_sweeps=100_000,
    )
    n = len(Y)
    stated = dense_statistics(Y, S, np.ones((1, S.shape[1])), np.zeros(n, int), np.ones(n))
    expected = dense_minimizer(stated, found.weights, lambda_r, lambda_c)
    np.testing.assert_allclose(found.abundances, expected, atol=1e-8 * expected.max())
    assert found.precision_unit == 1.0


def test_edge_weights_are_those_of_the_formula() -> None:
    Y, S, _ = tissue(n_rows=6)
    found = run(Y, S, hexagonal_grid(6, 6), alpha=0.7, lambda_c=0.1)
    edges = found.graph.squared_distance
    np.testing.assert_allclose(found.weights.data, np.exp(-0.7 * edges.data) * found.attention.data)
    assert 0 < found.attention.data.min() < 0.9
    assert found.attention.data.max() <= 1


def test_shallow_counts_alone_are_smoothed_by_default() -> None:
    deep, shallow = tissue(depth=50_000.0), tissue(depth=20.0)
    strong = run(*shallow[:2], hexagonal_grid(10, 10)).lambda_c
    weak = run(*deep[:2], hexagonal_grid(10, 10)).lambda_c
    assert strong > 100 * weak
    assert strong > 0.5


def test_one_cluster_per_spot_ends_at_the_poisson_likelihoods_maximum() -> None:
    """At the maximum the score ``S (y / m - 1)`` is 0 where a type is present, and nowhere above 0."""
    rng = np.random.default_rng(2)
    S = rng.uniform(0.5, 2.0, size=(4, 30))
    S /= S.sum(axis=1, keepdims=True)
    p = rng.dirichlet(np.ones(4), size=12)
    p[:6, 2:] = 0
    counts = rng.poisson(3e4 * p / p.sum(axis=1, keepdims=True) @ S).astype(float)
    found = run(
        counts,
        S,
        square_grid(3, 4),
        n_clusters=12,
        n_outer_iterations=60,
        lambda_c=0.0,
        lambda_r=0.0,
        tolerance=1e-12,
    )
    totals = counts.sum(axis=1, keepdims=True)
    X = found.abundances * totals
    score = (counts / (X @ S) - 1) @ S.T
    assert (X == 0).any()
    assert score.max() < 1e-6
    assert np.abs(score[X > 0]).max() < 1e-6
    expected = np.array([poisson_maximum_likelihood(y, S) for y in counts])
    np.testing.assert_allclose(X / totals, expected / totals, atol=2e-3)
    np.testing.assert_allclose(X.sum(axis=1), totals[:, 0], rtol=1e-6)


def test_shared_clusters_are_near_the_poisson_likelihoods_maximum() -> None:
    Y, S, _ = tissue(depth=3000.0)
    found = run(Y, S, hexagonal_grid(10, 10), n_clusters=16, lambda_c=0.0)
    expected = np.array([poisson_maximum_likelihood(y, S, 2000) for y in Y])
    expected /= expected.sum(axis=1, keepdims=True)
    p = found.abundances / found.abundances.sum(axis=1, keepdims=True)
    assert np.sqrt(((p - expected) ** 2).mean()) < 0.01


def test_abundances_sum_to_about_one() -> None:
    Y, S, _ = tissue()
    total = run(Y, S, hexagonal_grid(10, 10)).abundances.sum(axis=1)
    assert total.mean() == pytest.approx(1, abs=0.02)
    assert np.abs(total - 1).max() < 0.15


def test_unnormalized_abundances_sum_to_about_the_counts() -> None:
    Y, S, _ = tissue()
    options: dict[str, Any] = {"lambda_c": 0.0, "lambda_r": 0.0, "tolerance": 1e-10}
    options |= {"overdispersion": 0.0, "platform_effect": "off"}
    raw = run(Y, S, hexagonal_grid(10, 10), normalize=False, **options)
    shares = run(Y, S, hexagonal_grid(10, 10), **options)
    np.testing.assert_allclose(raw.abundances, shares.abundances * Y.sum(axis=1, keepdims=True), rtol=1e-5)


def test_proportions_are_recovered() -> None:
    Y, S, p = tissue(depth=3000.0)
    X = run(Y, S, hexagonal_grid(10, 10)).abundances
    # Poisson counts of 3000 over well-separated signatures: Fisher information gives about 0.02.
    assert np.sqrt(((X / X.sum(axis=1, keepdims=True) - p) ** 2).mean()) < 0.03


def test_smoothing_helps_shallow_counts_and_attention_keeps_the_border() -> None:
    Y, S, p = tissue(n_rows=16, depth=25.0)

    def error(**options: Any) -> float:
        X = run(Y, S, hexagonal_grid(16, 16), **options).abundances
        return float(np.sqrt(((X / X.sum(axis=1, keepdims=True) - p) ** 2).mean()))

    none, plain, sharp = error(lambda_c=0.0), error(attention=False, lambda_c=0.5), error(lambda_c=0.5)
    assert plain < 0.8 * none
    assert sharp < plain


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.int64])
def test_every_type_of_counts_gives_the_same_bits(dtype: type) -> None:
    Y, S, _ = tissue()
    wanted = run(Y, S, hexagonal_grid(10, 10)).abundances
    np.testing.assert_array_equal(run(Y.astype(dtype), S, hexagonal_grid(10, 10)).abundances, wanted)


def test_any_number_of_threads_gives_the_same_bits() -> None:
    Y, S, _ = tissue()
    one, three = (run(Y, S, hexagonal_grid(10, 10), n, lambda_c=0.3) for n in (1, 3))
    np.testing.assert_array_equal(one.abundances, three.abundances)
    np.testing.assert_array_equal(one.weights.data, three.weights.data)


def test_the_unit_of_the_coordinates_does_not_matter() -> None:
    Y, S, _ = tissue()
    options: dict[str, Any] = {"lambda_c": 0.5, "alpha": 0.3, "attention_sharpness": 4.0, "tolerance": 1e-9}
    # Learning would magnify the last bits of distances.
    options |= {"residuals": "counts", "platform_effect": "off"}
    um, px = (run(Y, S, hexagonal_grid(10, 10) * scale, **options) for scale in (100.0, 237.0))
    np.testing.assert_allclose(px.abundances, um.abundances, atol=1e-7)
    assert (um.graph.pitch, px.graph.pitch) == pytest.approx((100, 237))


def test_samples_do_not_touch_each_other() -> None:
    """With one cluster, and alone in its sample, a spot does not see the other sample's composition."""
    Y, S, _ = tissue()
    coordinates = np.vstack([hexagonal_grid(10, 10)] * 2)
    options: dict[str, Any] = {"weights": "none", "lambda_c": 0.05, "tolerance": 1e-10}
    both = run(np.vstack([Y, Y[::-1]]), S, coordinates, sample=np.repeat([0, 1], 100), **options)
    alone = run(Y, S, hexagonal_grid(10, 10), **options)
    np.testing.assert_allclose(both.abundances[:100], alone.abundances, atol=1e-7)
    assert both.weights[:100][:, 100:].nnz == 0


def test_planted_platform_factors_are_found_and_help() -> None:
    rng = np.random.default_rng(3)
    _, S, p = tissue(n_rows=14, depth=3000.0)
    planted = np.exp(rng.normal(0, 0.5, size=S.shape[1]))
    observed = rng.poisson(3000 * (p @ S) * planted).astype(float)
    coordinates = hexagonal_grid(14, 14)

    def error(found: Fit) -> float:
        X = found.abundances
        return float(np.sqrt(((X / X.sum(axis=1, keepdims=True) - p) ** 2).mean()))

    plain, corrected = (run(observed, S, coordinates, platform_effect=effect) for effect in ("off", "on"))
    assert corrected.notes == ()
    assert (plain.platform == 1).all()
    assert np.corrcoef(np.log(corrected.platform), np.log(planted))[0, 1] > 0.7
    assert error(corrected) < error(plain)


@pytest.mark.parametrize("normalize", [True, False])
def test_platform_factors_are_kept_whether_or_not_counts_are_normalized(normalize: bool) -> None:
    rng = np.random.default_rng(4)
    _, S, p = tissue(depth=2000.0)
    observed = rng.poisson(2000 * (p @ S) * np.exp(rng.normal(0, 0.4, size=S.shape[1]))).astype(float)
    found = run(observed, S, hexagonal_grid(10, 10), platform_effect="on", normalize=normalize)
    assert found.notes == ()
    assert found.platform.std() > 0.1


def test_implausible_platform_factors_are_refused_with_a_note() -> None:
    """A gene that is most of the reference and hardly in the tissue: its factor would double all shares."""
    _, S, p = tissue()
    S = np.column_stack([np.full(5, 1.5), S])
    S /= S.sum(axis=1, keepdims=True)
    expected = 500 * (p @ S)
    expected[:, 0] /= 8
    observed = np.random.default_rng(5).poisson(expected).astype(float)
    found = run(observed, S, hexagonal_grid(10, 10), platform_effect="on")
    plain = run(observed, S, hexagonal_grid(10, 10))
    assert len(found.notes) == 1
    assert found.notes[0].startswith("The platform effect was not used: with it, cell types explained")
    assert (found.platform == 1).all()
    np.testing.assert_array_equal(found.abundances, plain.abundances)


def test_a_platform_effect_without_poisson_weights_is_left_out_with_a_note() -> None:
    Y, S, _ = tissue()
    found = run(Y, S, hexagonal_grid(10, 10), platform_effect="on", weights="none")
    assert found.notes == ("The platform effect was not used: it needs `weights` 'poisson', not 'none'.",)


def test_what_it_returns_solves_its_own_problem() -> None:
    Y, S, _ = tissue()
    found = run(Y, S, hexagonal_grid(10, 10), lambda_c=0.4, tolerance=1e-6)
    left = violation(found.abundances, found.statistics, found.weights, 1e-6, found.lambda_c)
    assert left <= 1.01e-6 * found.abundances.max()
    assert found.statistics.mean_precision() == pytest.approx(1)


@pytest.mark.parametrize("options", [{"n_outer_iterations": 0}, {"n_clusters": 1}, {"attention": False}])
def test_each_part_can_be_left_out(options: dict[str, Any]) -> None:
    Y, S, p = tissue(depth=3000.0)
    found = run(Y, S, hexagonal_grid(10, 10), **options)
    X = found.abundances / found.abundances.sum(axis=1, keepdims=True)
    assert np.sqrt(((X - p) ** 2).mean()) < 0.05
    if options in ({"n_outer_iterations": 0}, {"attention": False}):
        assert (found.attention.data == 1).all()


@pytest.mark.parametrize("n_spots", [1, 2])
def test_hardly_any_spots(n_spots: int) -> None:
    Y, S, p = tissue(depth=3000.0)
    X = run(Y[:n_spots], S, hexagonal_grid(1, n_spots)).abundances
    np.testing.assert_allclose(X / X.sum(axis=1, keepdims=True), p[:n_spots], atol=0.1)


@pytest.mark.parametrize("stage", ["Linking", "Reducing", "Solving", "Comparing"])
def test_cancelling_at_any_stage_passes_through_and_stops_the_threads(stage: str) -> None:
    Y, S, _ = tissue()
    before = set(threading.enumerate())

    def cancel(progress: Progress) -> None:
        if progress.stage.startswith(stage):
            raise Cancelled

    with pytest.raises(Cancelled):
        run(Y, S, hexagonal_grid(10, 10), 3, on_progress=cancel)
    assert set(threading.enumerate()) == before
