"""Residuals on a logarithmic scale: consistent, bounded, and used if the reference is wrong."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.stats import poisson

from napari_spotmix.base.threads import Threads
from napari_spotmix.model.composition_clusters import one_composition_cluster
from napari_spotmix.model.counts import Counts
from napari_spotmix.model.fit import Fit, fit
from napari_spotmix.model.learning.heldout import HeldOutGenes, Smoothing
from napari_spotmix.model.log_residuals import LogResiduals, pseudo_counts
from napari_spotmix.model.noise import DataTerm
from napari_spotmix.model.sufficient_statistics import Statistics, sufficient_statistics
from napari_spotmix.params import Parameters
from tests.model.oracles import hexagonal_grid, no_edges

N_SPOTS, N_GENES, N_TYPES, SIDE = 196, 300, 5, 14


@pytest.mark.parametrize("mean", [1e-3, 0.05, 0.7, 3.0, 20.0, 300.0])
def test_counts_that_follow_the_model_keep_their_mean(mean: float) -> None:
    y = np.arange(0.0, mean + 15 * np.sqrt(mean) + 30)
    expected = (poisson.pmf(y, mean) * pseudo_counts(y, np.full_like(y, mean))).sum()
    assert expected == pytest.approx(mean, rel=1e-4)


def test_deep_counts_near_the_model_are_as_they_are() -> None:
    mean = np.full(5, 1e6)
    counts = mean * [0.998, 0.999, 1.0, 1.001, 1.002]
    np.testing.assert_allclose(pseudo_counts(counts, mean) - mean, counts - mean, rtol=2e-3, atol=1.0)


def test_an_excess_counts_by_its_logarithm() -> None:
    at = pseudo_counts(100.0 * np.array([1.0, 10.0, 100.0, 1000.0]), np.full(4, 100.0))
    steps = np.diff(at)
    np.testing.assert_allclose(steps, 100.5 * np.log(10), rtol=0.01)


def test_without_weight_counts_are_fitted() -> None:
    counts = np.array([0.0, 3.0, 50.0])
    np.testing.assert_array_equal(pseudo_counts(counts, np.ones(3), weight=0.0), counts)


def reduced(
    counts: csr_array, column: np.ndarray, S: np.ndarray, residuals: LogResiduals | None
) -> Statistics:
    rng = np.random.default_rng(4)
    n = counts.shape[0]
    cluster, scale = rng.integers(0, 2, n), rng.uniform(1, 2, n)
    filters = rng.uniform(0, 1, (2, S.shape[1], len(S)))
    divisor = np.full(n, 30.0)
    return sufficient_statistics(
        Counts(counts, column),
        S,
        divisor,
        filters=filters,
        cluster=cluster,
        scale=scale,
        threads=Threads(1),
        log_residuals=residuals,
    )


@pytest.mark.parametrize("depth", [5.0, 3000.0])
def test_projections_are_those_of_dense_pseudo_counts(depth: float) -> None:
    rng = np.random.default_rng(3)
    S = rng.dirichlet(np.full(40, 0.5), size=N_TYPES)
    X = rng.dirichlet(np.full(N_TYPES, 0.4), size=25) * (rng.random((25, N_TYPES)) < 0.7)
    per_share = rng.uniform(0.5, 2, 25) * depth
    mean = per_share[:, None] * np.maximum(X @ S, 1e-3 * S.mean(axis=0))
    Y = rng.poisson(3 * mean).astype(float)
    # A gene in two columns, and a column that is not used.
    columns = np.concatenate([np.arange(40), [7, -1]])
    apart = np.column_stack([Y, np.floor(Y[:, 7] / 2), rng.poisson(9, 25)])
    apart[:, 7] -= apart[:, 40]
    expected = pseudo_counts(Y, mean, 0.6)
    found = reduced(csr_array(apart), columns, S, LogResiduals(X, per_share, 0.6)).projection
    dense = reduced(csr_array(expected), np.arange(40), S, None).projection
    np.testing.assert_allclose(found, dense, rtol=2e-6, atol=1e-6 * np.abs(dense).max())


def section(wrong: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts, signatures and proportions; some genes of some types are several-fold wrong in signatures."""
    rng = np.random.default_rng(seed)
    S = rng.dirichlet(np.full(N_GENES, 0.4), size=N_TYPES) + 1e-4
    true = S * rng.lognormal(0, 1.5, size=S.shape) ** (wrong * (rng.random(S.shape) < 0.25))
    S, true = (one / one.sum(axis=1, keepdims=True) for one in (S, true))
    p = rng.dirichlet(np.full(N_TYPES, 0.5), size=N_SPOTS)
    return rng.poisson(3000 * (p @ true)).astype(float), S, p


def fitted(counts: np.ndarray, S: np.ndarray, residuals: str = "auto", n_threads: int = 1) -> Fit:
    params = Parameters(lambda_c=0.0, platform_effect="off", residuals=residuals)  # type: ignore[arg-type]
    totals, coordinates = counts.sum(axis=1), hexagonal_grid(SIDE, SIDE)
    with Threads.of(n_threads) as threads:
        return fit(
            Counts(csr_array(counts), np.arange(N_GENES)), S, totals, coordinates, params, threads=threads
        )


def error(found: Fit, p: np.ndarray) -> float:
    estimated = found.abundances / found.abundances.sum(axis=1, keepdims=True)
    return float(np.sqrt(((estimated - p) ** 2).mean()))


def test_logarithms_are_used_if_signatures_are_wrong_and_bring_proportions_nearer_to_the_truth() -> None:
    ratios, weights = [], []
    for seed in range(4):
        counts, S, p = section(1.0, seed)
        learned = fitted(counts, S)
        assert learned.residual_evidence is not None
        assert learned.log_weight == learned.residual_evidence.weight
        weights.append(learned.log_weight)
        ratios.append(error(learned, p) / error(fitted(counts, S, "counts"), p))
    assert np.mean(weights) > 0.5
    assert np.exp(np.log(ratios).mean()) < 0.95


@pytest.mark.parametrize("seed", range(3))
def test_where_the_reference_is_right_counts_are_fitted(seed: int) -> None:
    counts, S, _ = section(0.0, seed)
    learned = fitted(counts, S)
    assert learned.log_weight == 0.0
    np.testing.assert_array_equal(learned.abundances, fitted(counts, S, "counts").abundances)


def test_logarithms_that_are_asked_for_are_used_without_a_test_and_on_any_number_of_threads() -> None:
    counts, S, p = section(0.0, 1)
    one, three = (fitted(counts, S, "log", n_threads) for n_threads in (1, 3))
    assert one.residual_evidence is None
    assert one.log_weight == 1.0
    np.testing.assert_array_equal(one.abundances, three.abundances)
    assert error(one, p) < 1.2 * error(fitted(counts, S, "counts"), p)


def test_scores_of_held_out_genes_do_not_depend_on_how_often_a_technology_captures_a_gene() -> None:
    counts, S, _ = section(0.0, 2)
    factor = np.random.default_rng(8).lognormal(0, 1, N_GENES)
    plain, other = (scores(counts, S, predicting) for predicting in (S, S * factor))
    differences = plain - other
    assert np.abs(differences.sum()) < 0.02 * np.abs(plain - scores(counts, S, S[::-1])).sum()


def scores(counts: np.ndarray, S: np.ndarray, predicting: np.ndarray) -> np.ndarray:
    totals = counts.sum(axis=1)
    genes = HeldOutGenes(
        Counts(csr_array(counts), np.arange(N_GENES)),
        S,
        totals,
        one_composition_cluster(totals, N_TYPES),
        no_edges(N_SPOTS),
        data_term=DataTerm(),
        lambda_r=1e-6,
        n_folds=2,
        n_gradient_folds=1,
        n_partitions=2,
        random_state=0,
        tolerance=1e-4,
        threads=Threads(1),
        predicting=predicting,
    )
    return genes.gene_scores(Smoothing(0.0, 0.3, 0.0))
