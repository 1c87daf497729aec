"""Means and comparisons of regions, held against simulated fields of which the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import false_discovery_control, multivariate_normal, norm, ttest_ind
from threadpoolctl import threadpool_limits

from napari_spotmix.analysis import region_statistics as regions
from napari_spotmix.analysis.region_statistics import (
    benjamini_hochberg,
    compare_means,
    holm,
    mean_composition,
)
from napari_spotmix.base.errors import Cancelled, InputError
from napari_spotmix.base.progress import Progress
from napari_spotmix.model.uncertainty.calibration import Z90
from napari_spotmix.params import INTERVAL_LEVEL

SIDE = 24
POSITIONS = np.argwhere(np.ones((SIDE, SIDE))).astype(float)
LEFT = POSITIONS[:, 1] < SIDE // 2
EVERYWHERE = np.ones(len(POSITIONS), bool)
#: Half the width of an interval of independent values, in standard errors.
Z = float(norm.ppf((1 + INTERVAL_LEVEL) / 2))


def fields(
    range_: float, n_fields: int, *, nugget: float = 0.3, positions: np.ndarray = POSITIONS
) -> np.ndarray:
    """Columns of mean 0.5, deviation 0.05 and exponential correlation, by a dense Cholesky factor."""
    apart = np.hypot(*(positions[:, None] - positions).T)
    covariance = (1 - nugget) * np.exp(-apart / range_) + nugget * np.eye(len(positions))
    noise = np.random.default_rng(7).standard_normal((len(positions), n_fields))
    return 0.5 + 0.05 * np.linalg.cholesky(covariance) @ noise


def test_one_level_of_intervals_holds_for_regions_and_for_spots() -> None:
    assert pytest.approx(Z, abs=1e-4) == Z90


@pytest.mark.parametrize("range_", [1.0, 3.0])
def test_intervals_hold_the_truth_where_those_of_independent_spots_do_not(range_: float) -> None:
    p = fields(range_, 200)
    found = mean_composition(p, EVERYWHERE, POSITIONS, n_surrogates=99)
    covered = ((found.lower < 0.5) & (found.upper > 0.5)).mean()
    naive = (np.abs(p.mean(axis=0) - 0.5) < Z * p.std(axis=0) / np.sqrt(len(p))).mean()
    assert covered > 0.8
    assert naive < 0.65


def test_intervals_of_independent_spots_are_little_wider_than_the_textbook_ones() -> None:
    """Wider, since independence is not known beforehand."""
    p = fields(1.0, 50, nugget=1.0)
    found = mean_composition(p, EVERYWHERE, POSITIONS, n_surrogates=199)
    textbook = Z * p.std(axis=0) / np.sqrt(len(p))
    assert 0.9 < np.median((found.upper - found.lower) / 2 / textbook) < 1.4


@pytest.mark.parametrize("region", ["left", "disc", "bands"])
def test_regions_of_one_field_are_distinguished_no_more_often_than_allowed(region: str) -> None:
    inside = {
        "left": LEFT,
        "disc": np.hypot(*(POSITIONS - SIDE / 2).T) < SIDE / 4,
        "bands": POSITIONS[:, 0] // 4 % 2 == 0,
    }[region]
    p = fields(2.0, 400)
    found = compare_means(p, inside, ~inside, POSITIONS, n_surrogates=99)
    false_positives = (found.p_value <= 0.05).mean()
    # Three standard errors of a rate of 0.05 among 400.
    assert false_positives < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)
    assert (ttest_ind(p[inside], p[~inside]).pvalue <= 0.05).mean() > 0.25


def test_a_small_region_in_a_large_one_is_judged_by_patches_of_its_size() -> None:
    positions = np.argwhere(np.ones((40, 40))).astype(float)
    inside = np.hypot(*(positions - 20).T) < 4
    found = compare_means(fields(1.5, 300, positions=positions), inside, ~inside, positions, n_surrogates=99)
    assert (found.p_value <= 0.05).mean() < 0.1


def test_clear_differences_have_about_the_least_p_value() -> None:
    p = fields(1.5, 4)
    p[LEFT] += 0.1
    found = compare_means(p, LEFT, ~LEFT, POSITIONS)
    assert np.median(found.p_value) == 0.001
    assert found.p_value.max() < 0.01
    np.testing.assert_allclose(found.difference, p[LEFT].mean(axis=0) - p[~LEFT].mean(axis=0), atol=1e-14)


def test_the_likelihood_is_that_of_what_no_level_can_change() -> None:
    """Restricted likelihood, against the density of the data with the levels projected out."""
    rng = np.random.default_rng(0)
    A = rng.standard_normal((12, 12))
    shared, own, X = A @ A.T, rng.gamma(4.0, size=12), np.repeat(np.eye(2), 6, axis=0)
    z, weights = rng.standard_normal((12, 1)), np.repeat([1 / 6, -1 / 6], 6)
    family = regions._family(shared, own, X, (0.1, 0.6, 1.0))
    found = -(np.log(family.spectra).sum(axis=1) + family.misfits(z)[:, 0]) / 2
    contrasts = np.linalg.svd(X.T)[2][2:]
    covariances = [(1 - nugget) * shared + nugget * np.diag(own) for nugget in (0.1, 0.6, 1.0)]
    density = [
        multivariate_normal(np.zeros(10), contrasts @ V @ contrasts.T).logpdf(contrasts @ z[:, 0])
        for V in covariances
    ]
    np.testing.assert_allclose(np.diff(found), np.diff(density), rtol=1e-9)
    np.testing.assert_allclose(
        family.contrast_variances(weights), [weights @ V @ weights for V in covariances]
    )


def test_patches_hold_every_spot_once_and_are_of_about_one_size() -> None:
    rng = np.random.default_rng(1)
    positions, spots = rng.random((1000, 2)), np.sort(rng.permutation(1000)[:777])
    patches = list(regions._cut(spots, positions, 100, lambda: None))
    np.testing.assert_array_equal(np.sort(np.concatenate(patches)), spots)
    assert {len(patch) for patch in patches} <= {6, 7, 8, 9}
    extent = np.median([np.ptp(positions[patch], axis=0).max() for patch in patches])
    assert extent < 0.15  # about a tenth of the side, as squares of a hundredth of the area have


def test_units_and_origin_of_coordinates_do_not_matter() -> None:
    p = fields(2.0, 2)
    expected = compare_means(p, LEFT, ~LEFT, POSITIONS, n_surrogates=199)
    found = compare_means(p, LEFT, ~LEFT, 64.0 * POSITIONS + [1e4, -300.0], n_surrogates=199)
    np.testing.assert_array_equal(found.difference, expected.difference)
    np.testing.assert_array_equal(found.p_value, expected.p_value)


def test_exchanging_the_regions_changes_the_sign_only() -> None:
    p = fields(2.0, 3)
    one, other = (compare_means(p, a, ~a, POSITIONS, n_surrogates=299) for a in (LEFT, ~LEFT))
    np.testing.assert_array_equal(one.difference, -other.difference)
    # Surrogates are others: four standard errors of the difference of two shares of 299.
    assert np.abs(one.p_value - other.p_value).max() < 4 * np.sqrt(2 * 0.25 / 299)


def test_spots_not_estimated_are_as_if_absent() -> None:
    p, gone = fields(2.0, 2), np.arange(len(POSITIONS)) % 7 == 0
    with_gaps = np.where(gone[:, None], np.nan, p)
    found = mean_composition(with_gaps, LEFT, POSITIONS, n_surrogates=99)
    expected = mean_composition(p[~gone], LEFT[~gone], POSITIONS[~gone], n_surrogates=99)
    assert found.n_spots == (LEFT & ~gone).sum()
    np.testing.assert_array_equal(found.mean, expected.mean)
    np.testing.assert_array_equal(found.upper, expected.upper)


def test_a_second_sample_like_the_first_halves_the_variance() -> None:
    """Laid over each other, as coordinates of samples may be."""
    positions = POSITIONS[LEFT & (POSITIONS[:, 0] < 10)]
    p = fields(2.0, 60, positions=np.concatenate([positions, positions + 1000.0]))
    sample, both = np.repeat([0, 1], len(positions)), np.concatenate([positions, positions])
    width = [
        np.mean(found.upper - found.lower)
        for found in (
            mean_composition(p, sample == 0, both, n_surrogates=299),
            mean_composition(p, sample >= 0, both, sample=sample, n_surrogates=299),
        )
    ]
    assert 0.5 < width[1] / width[0] < 0.8


def test_a_type_that_is_the_same_everywhere_does_not_differ() -> None:
    p = np.column_stack([np.full(len(POSITIONS), 0.3), np.zeros(len(POSITIONS)), fields(1.0, 1)])
    found = compare_means(p, LEFT, ~LEFT, POSITIONS, n_surrogates=99)
    assert found.p_value[:2].tolist() == [1.0, 1.0]
    composition = mean_composition(p, LEFT, POSITIONS, n_surrogates=99)
    np.testing.assert_allclose(composition.lower[:2], [0.3, 0.0], atol=1e-12)
    np.testing.assert_allclose(composition.upper[:2], [0.3, 0.0], atol=1e-12)


def test_too_few_spots_leave_the_interval_open() -> None:
    p = fields(1.0, 3)
    for n_spots in range(3):
        found = mean_composition(p, np.arange(len(p)) < n_spots, POSITIONS)
        assert np.isnan(found.lower).all()
        assert np.isnan(found.mean).all() == (n_spots == 0)
    assert np.isnan(compare_means(p, LEFT, ~EVERYWHERE, POSITIONS).p_value).all()
    assert np.isnan(compare_means(p, LEFT, ~EVERYWHERE, POSITIONS).adjusted).all()


def test_regions_that_share_spots_are_refused() -> None:
    with pytest.raises(InputError, match="share 288 spots"):
        compare_means(fields(1.0, 2), LEFT, EVERYWHERE, POSITIONS)


def test_adjusted_p_values_are_those_of_benjamini_and_hochberg() -> None:
    p = np.random.default_rng(3).random(11) ** 3
    np.testing.assert_allclose(benjamini_hochberg(p), false_discovery_control(p))
    found = compare_means(fields(1.0, 5), LEFT, ~LEFT, POSITIONS, n_surrogates=99)
    np.testing.assert_allclose(found.adjusted, false_discovery_control(found.p_value))
    np.testing.assert_array_equal(found.holm, holm(found.p_value))


def test_adjusted_p_values_are_holms() -> None:
    p = np.random.default_rng(2).random(9) ** 3
    smallest_first = np.sort(p)
    by_definition = [
        min(1.0, max((len(p) - j) * smallest_first[j] for j in range(i + 1))) for i in range(len(p))
    ]
    np.testing.assert_allclose(np.sort(holm(p)), by_definition)
    np.testing.assert_array_equal(np.argsort(holm(p), kind="stable")[:2], np.argsort(p)[:2])


@pytest.mark.parametrize("stage", ["Pooling spots", "Comparing neighbors", "Drawing surrogates"])
def test_it_can_be_cancelled_in_every_stage(stage: str) -> None:
    def cancel(progress: Progress) -> None:
        assert progress.step <= progress.total
        if progress.stage == stage:
            raise Cancelled

    p = fields(1.0, 2)
    with pytest.raises(Cancelled):
        mean_composition(p, LEFT, POSITIONS, on_progress=cancel)
    with pytest.raises(Cancelled):
        compare_means(p, LEFT, ~LEFT, POSITIONS, on_progress=cancel)


def test_it_is_the_same_for_a_seed() -> None:
    p = fields(2.0, 1)
    first, again, other = (
        compare_means(p, LEFT, ~LEFT, POSITIONS, n_surrogates=199, random_state=s).p_value for s in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert first != other


def test_it_does_not_depend_on_the_threads_of_blas() -> None:
    p, found = fields(2.0, 3), []
    for n_threads in (1, 2):
        with threadpool_limits(n_threads, user_api="blas"):
            found.append(mean_composition(p, EVERYWHERE, POSITIONS, n_surrogates=99))
    np.testing.assert_array_equal(found[0].upper, found[1].upper)
