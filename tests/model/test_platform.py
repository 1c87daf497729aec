"""Whether platform factors are used: where unseen genes speak for them, and cell types keep the counts."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
from scipy.sparse import csr_array

from napari_spotmix.base.threads import Threads
from napari_spotmix.model.counts import Counts
from napari_spotmix.model.fit import Fit, fit
from napari_spotmix.model.learning.heldout import HeldOutGenes, Smoothing
from napari_spotmix.model.learning.selection import PlatformEvidence, judge_platform
from napari_spotmix.params import Parameters
from tests.model.oracles import hexagonal_grid

N_SPOTS, N_GENES, SIDE = 196, 400, 14


class Judged:
    """Stands for fits whose losses and explained share are known."""

    def __init__(self, losses: np.ndarray, explained: float = 1.0) -> None:
        self._losses, self._explained = losses, explained

    def losses(self, _: Smoothing) -> np.ndarray:
        return self._losses[None]  # one way to split genes

    def mean_explained(self) -> float:
        return self._explained


def judged(gain: np.ndarray, explained: float = 1.0) -> PlatformEvidence:
    before = np.random.default_rng(1).normal(50, 5, size=gain.shape)
    plain, adapted = Judged(before), Judged(before - gain, explained)
    smoothing = Smoothing(0.0, 0.3, 0.0)
    return judge_platform(cast(HeldOutGenes, plain), cast(HeldOutGenes, adapted), smoothing)


def gains(mean: float) -> np.ndarray:
    return mean + np.random.default_rng(2).normal(0, 1, size=(4, 500))


def test_a_clear_gain_is_believed_and_a_loss_is_not() -> None:
    assert judged(gains(0.5)).used
    assert not judged(gains(-0.5)).used
    assert judged(gains(0.5)).gain == pytest.approx(gains(0.5).mean())


def test_a_gain_that_hangs_on_one_fold_of_genes_is_not_believed() -> None:
    one_fold = gains(0.0) + np.array([[4.0], [-1.0], [-1.0], [-1.0]])
    found = judged(one_fold)
    assert found.gain > 0 - 0.1
    assert found.error > 1
    assert not found.used


@pytest.mark.parametrize(
    ("explained", "used"), [(0.85, False), (0.89, True), (1.0, True), (1.13, True), (1.17, False)]
)
def test_factors_that_take_counts_from_cell_types_are_refused(explained: float, used: bool) -> None:
    assert judged(gains(0.5), explained).used == used


def section(factor: np.ndarray | float, seed: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts, signatures and proportions of spots whose genes are caught by some factor."""
    rng = np.random.default_rng(seed)
    S = rng.dirichlet(np.full(N_GENES, 0.4), size=5) + 1e-4
    S /= S.sum(axis=1, keepdims=True)
    p = rng.dirichlet(np.full(5, 0.5), size=N_SPOTS)
    return rng.poisson(1500 * (p @ S) * factor).astype(float), S, p


def fitted(counts: np.ndarray, S: np.ndarray, effect: str = "auto") -> Fit:
    params = Parameters(lambda_c=0.0, platform_effect=effect)  # type: ignore[arg-type]
    of_counts = Counts(csr_array(counts), np.arange(N_GENES))
    coordinates = hexagonal_grid(SIDE, SIDE)
    return fit(of_counts, S, counts.sum(axis=1), coordinates, params, threads=Threads(1))


def error(found: Fit, p: np.ndarray) -> float:
    estimated = found.abundances / found.abundances.sum(axis=1, keepdims=True)
    return float(np.sqrt(((estimated - p) ** 2).mean()))


def test_planted_factors_are_used_and_mostly_bring_proportions_nearer_to_the_truth() -> None:
    ratios = []
    for seed in range(6):
        factor = np.random.default_rng(100 + seed).lognormal(0, 0.5, size=N_GENES)
        counts, S, p = section(factor, seed)
        learned = fitted(counts, S)
        assert learned.platform_evidence is not None
        assert learned.platform_evidence.used == bool((learned.platform != 1).any())
        ratios.append(error(learned, p) / error(fitted(counts, S, "off"), p))
    assert np.exp(np.log(ratios).mean()) < 0.95
    assert np.mean(np.array(ratios) < 1) > 0.5


@pytest.mark.parametrize("seed", range(3))
def test_where_technologies_agree_no_factors_are_used(seed: int) -> None:
    counts, S, _ = section(1.0, seed)
    learned = fitted(counts, S)
    assert learned.platform_evidence is not None
    assert not learned.platform_evidence.used
    assert (learned.platform == 1).all()
    np.testing.assert_array_equal(learned.abundances, fitted(counts, S, "off").abundances)


def test_factors_that_nobody_asked_for_are_refused_without_a_word() -> None:
    """A gene that is most of the reference and hardly in the tissue: its factor would raise all shares."""
    _, S, p = section(1.0)
    S = np.column_stack([np.full(5, 1.5), S[:, 1:]])
    S /= S.sum(axis=1, keepdims=True)
    expected = 1500 * (p @ S)
    expected[:, 0] /= 8
    learned = fitted(np.random.default_rng(5).poisson(expected).astype(float), S)
    assert learned.platform_evidence is not None
    assert learned.platform_evidence.explained > 1.15
    assert (learned.platform == 1).all()
    assert learned.notes == ()
