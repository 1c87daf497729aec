"""What the fit leaves over: moments of genes against dense algebra, and patches of unmodeled counts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from napari_spotmix.base.threads import Threads
from napari_spotmix.model.counts import Counts
from napari_spotmix.model.uncertainty.residuals import GeneResiduals, find_misfit, gene_residuals

N_TYPES, N_GENES = 4, 80


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def residuals(Y: np.ndarray, S: np.ndarray, X: np.ndarray, depth: np.ndarray) -> GeneResiduals:
    return gene_residuals(Counts(csr_array(Y), np.arange(Y.shape[1])), S, X, depth)


def tissue(rng: np.random.Generator, n_spots: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    S, X = rng.dirichlet(np.ones(N_GENES), N_TYPES), rng.dirichlet(np.ones(N_TYPES), n_spots)
    return S, X, rng.uniform(500, 3000, n_spots)


def test_moments_are_those_of_dense_residuals(rng: np.random.Generator) -> None:
    S, X, depth = tissue(rng, 300)
    mean = depth[:, None] * (X @ S)
    Y = rng.negative_binomial(2.0, 2.0 / (2.0 + mean))
    found = residuals(Y, S, X, depth)
    free = 1 - N_TYPES / N_GENES
    excess = (((Y - mean) ** 2).sum(axis=0) / free - Y.sum(axis=0)) / (mean**2).sum(axis=0)
    np.testing.assert_allclose(found.observed, Y.sum(axis=0))
    np.testing.assert_allclose(found.expected, mean.sum(axis=0))
    np.testing.assert_allclose(found.excess, excess.clip(0))
    level = mean * found.factor
    pattern = (((Y - level) ** 2).sum(axis=0) / free - Y.sum(axis=0)) / (level**2).sum(axis=0)
    np.testing.assert_allclose(found.pattern, pattern.clip(0))
    assert 0.4 < np.median(found.excess) < 0.6


def test_columns_of_one_gene_count_together(rng: np.random.Generator) -> None:
    S, X, depth = tissue(rng, 50)
    Y = rng.poisson(depth[:, None] * (X @ S))
    part = rng.binomial(Y, 0.4)
    split = Counts(csr_array(np.hstack([part, Y - part])), np.tile(np.arange(N_GENES), 2))
    found, whole = gene_residuals(split, S, X, depth), residuals(Y, S, X, depth)
    np.testing.assert_allclose(found.excess, whole.excess)
    np.testing.assert_allclose(found.pattern, whole.pattern)


def test_sampling_alone_leaves_no_scatter_and_no_surprise(rng: np.random.Generator) -> None:
    S, X, depth = tissue(rng, 1000)
    found = residuals(rng.poisson(depth[:, None] * (X @ S)), S, X, depth)
    assert np.median(found.excess) < 0.01
    assert np.abs(found.surprise).max() < 4


def test_a_gene_caught_better_by_the_tissue_is_a_surprise_without_scatter(rng: np.random.Generator) -> None:
    S, X, depth = tissue(rng, 1000)
    caught = np.ones(N_GENES)
    caught[[7, 9]] = 4.0, 0.2
    found = residuals(rng.poisson(depth[:, None] * (X @ S) * caught), S, X, depth)
    assert np.argmax(found.surprise) == 7
    assert np.argmin(found.surprise) == 9
    assert found.excess[7] > 5
    assert found.pattern[7] < 0.05


def grid(side: int) -> np.ndarray:
    return np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2).astype(float)


def misfit_of(seed: int, unmodeled_share: float, scatter: float = 0.0):
    """Of a tissue with a disc of a type that the fit does not know, its counts given to the others."""
    rng = np.random.default_rng(seed)
    xy = grid(30)
    S, X, depth = tissue(rng, len(xy))
    unmodeled = rng.dirichlet(0.5 * np.ones(N_GENES))
    inside = ((xy - [8, 20]) ** 2).sum(axis=1) < 25
    u = unmodeled_share * inside[:, None]
    mean = depth[:, None] * ((1 - u) * (X @ S) + u * unmodeled)
    if scatter:
        mean = mean * rng.gamma(1 / scatter, scatter, mean.shape)
    counts = Counts(csr_array(rng.poisson(mean)), np.arange(N_GENES))
    return find_misfit(counts, S, X, depth, xy, Threads(2)), inside, unmodeled, S


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("scatter", [0.0, 0.3])
def test_a_complete_reference_leaves_no_unmodeled_patch(seed: int, scatter: float) -> None:
    assert not misfit_of(seed, 0.0, scatter)[0].is_unmodeled.any()


@pytest.mark.parametrize("seed", range(3))
def test_a_missing_type_is_found_where_it_is_with_its_genes(seed: int) -> None:
    misfit, inside, unmodeled, S = misfit_of(seed, 0.6)
    flagged = misfit.is_unmodeled[misfit.patch]
    assert flagged.any()
    assert inside[flagged].mean() > 0.5
    assert (unmodeled[misfit.genes] > S[:, misfit.genes].mean(axis=0)).all()


def test_the_share_grows_with_that_of_the_missing_type() -> None:
    little, much = (misfit_of(0, share)[0].share.max() for share in (0.3, 0.8))
    assert 1.5 < much / little < 4


@pytest.mark.parametrize("n_spots", [1, 2, 7])
def test_few_spots_are_one_patch_without_a_warning(rng: np.random.Generator, n_spots: int) -> None:
    S, X, depth = tissue(rng, n_spots)
    counts = Counts(csr_array(rng.poisson(depth[:, None] * (X @ S))), np.arange(N_GENES))
    misfit = find_misfit(counts, S, X, depth, np.zeros((n_spots, 2)), Threads(2))
    assert misfit.patch.tolist() == [0] * n_spots
    assert not misfit.is_unmodeled.any()


def test_a_row_of_spots_is_cut_along_it(rng: np.random.Generator) -> None:
    S, X, depth = tissue(rng, 90)
    counts = Counts(csr_array(rng.poisson(depth[:, None] * (X @ S))), np.arange(N_GENES))
    xy = np.column_stack([np.arange(90.0), np.zeros(90)])
    patch = find_misfit(counts, S, X, depth, xy, Threads(2)).patch
    assert (np.diff(patch) >= 0).all()
    assert 5 <= patch.max() + 1 <= 12
