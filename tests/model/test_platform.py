"""Whether platform factors are used: where unseen genes speak for them, and cell types keep the counts."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
from scipy.sparse import csr_array

from napari_spotmix.base.threads import Threads
from napari_spotmix.model.counts import Counts
from napari_spotmix.model.fit import Fit, fit
from napari_spotmix.model.learning.data_term import (
    PlatformEvidence,
    ResidualEvidence,
    is_clear,
    judge_parts,
    try_parts,
)
from napari_spotmix.model.learning.heldout import HeldOutGenes, Smoothing
from napari_spotmix.params import Parameters
from tests.model.oracles import hexagonal_grid

N_SPOTS, N_GENES, SIDE = 196, 400, 14


STATES = [(False, False), (False, True), (True, False), (True, True)]
SMOOTHING = Smoothing(0.0, 0.3, 0.0)


class Judged:
    """Stands for fits whose scores and explained share are known."""

    def __init__(self, scores: np.ndarray, explained: float = 1.0) -> None:
        self._scores, self._explained = scores, explained

    def gene_scores(self, _: Smoothing) -> np.ndarray:
        return self._scores

    def mean_explained(self) -> float:
        return self._explained


def judge(states: dict[tuple[bool, bool], Judged]) -> tuple[ResidualEvidence | None, PlatformEvidence | None]:
    return judge_parts([try_parts(cast(dict[tuple[bool, bool], HeldOutGenes], states), SMOOTHING)])


def judged(gain: np.ndarray, explained: float = 1.0) -> PlatformEvidence:
    """Judge factors with this gain for each gene, next to counts and to logarithmic residuals."""
    plain = np.random.default_rng(1).normal(50, 5, size=gain.shape)
    _, found = judge(
        {(log, factors): Judged(plain - log + factors * gain, explained) for log, factors in STATES}
    )
    assert found is not None
    return found


def gains(errors: float) -> np.ndarray:
    """Gains of genes whose sum is so many standard errors."""
    noise = np.random.default_rng(2).normal(0, 1, size=400)
    noise = (noise - noise.mean()) / noise.std()
    return noise + errors / np.sqrt(len(noise))


def test_a_clear_gain_is_believed_and_a_loss_is_not() -> None:
    assert judged(gains(6.0)).weight > 0.99
    assert not judged(gains(-6.0)).used
    assert judged(gains(6.0)).gain == pytest.approx(gains(6.0).sum())
    assert judged(gains(6.0)).gain / judged(gains(6.0)).error == pytest.approx(6.0)


def test_the_weight_grows_with_the_gain_and_never_jumps() -> None:
    weights = np.array([judged(gains(errors)).weight for errors in np.arange(-1.0, 6.0, 0.1)])
    assert (np.diff(weights) >= 0).all()
    assert np.diff(weights).max() < 0.06
    assert weights[0] == 0.0
    assert 0.3 < judged(gains(2.0)).weight < 0.5


def test_a_gain_that_hangs_on_one_gene_is_not_believed() -> None:
    one_gene = np.zeros(400)
    one_gene[7] = 100.0
    found = judged(one_gene)
    assert found.gain == pytest.approx(100)
    assert found.error == pytest.approx(100, rel=0.01)
    assert found.weight < 0.01


@pytest.mark.parametrize(
    ("explained", "used"), [(0.85, False), (0.89, True), (1.0, True), (1.13, True), (1.17, False)]
)
def test_factors_that_take_counts_from_cell_types_are_refused(explained: float, used: bool) -> None:
    assert judged(gains(6.0), explained).used == used


def test_the_gain_of_a_part_is_its_mean_over_the_states_of_the_other() -> None:
    gain, plain = gains(8.0), np.zeros(400)
    # Next to logarithmic residuals, factors lose what they gain next to counts.
    scores = {(False, False): plain, (False, True): gain, (True, False): plain, (True, True): -gain}
    residuals, factors = judge({state: Judged(found) for state, found in scores.items()})
    assert residuals is not None
    assert factors is not None
    assert factors.gain == pytest.approx(0.0)
    assert residuals.gain == pytest.approx(-gain.sum())


def test_a_doubt_is_what_another_split_of_the_genes_may_settle() -> None:
    assert [is_clear(judged(gains(errors)), None) for errors in (-3.0, 0.5, 2.0, 6.0)] == [
        True,
        True,
        False,
        True,
    ]


def test_a_part_that_is_given_is_not_judged() -> None:
    residuals, factors = judge({(False, False): Judged(gains(0.0)), (False, True): Judged(gains(5.0))})
    assert residuals is None
    assert factors is not None


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


def test_planted_factors_are_used_and_bring_proportions_nearer_to_the_truth() -> None:
    ratios = []
    for seed in range(6):
        factor = np.random.default_rng(100 + seed).lognormal(0, 0.5, size=N_GENES)
        counts, S, p = section(factor, seed)
        learned = fitted(counts, S)
        assert learned.platform_evidence is not None
        assert learned.platform_evidence.used == bool((learned.platform != 1).any())
        ratios.append(error(learned, p) / error(fitted(counts, S, "off"), p))
    assert np.exp(np.log(ratios).mean()) < 0.97
    assert max(ratios) < 1


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
