"""The order of spots and cells, which must not be that of their rows."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from napari_spotmix.model.canonical import (
    cells_by_content,
    curve_position,
    row_fingerprints,
    spots_along_a_curve,
)
from napari_spotmix.model.counts import Counts


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("with_samples", [False, True])
def test_the_curve_visits_the_same_points_in_the_same_order(
    rng: np.random.Generator, with_samples: bool
) -> None:
    points = rng.normal(size=(300, 2)) * 1e4
    points[50:60] = points[50]
    sample = rng.integers(3, size=300) if with_samples else None
    content = rng.permutation(300)
    rows = rng.permutation(300)
    plain = spots_along_a_curve(points, sample, lambda tied: content[tied])
    moved = spots_along_a_curve(
        points[rows], None if sample is None else sample[rows], lambda tied: content[rows][tied]
    )
    np.testing.assert_array_equal(rows[moved], plain)
    assert sorted(plain) == list(range(300))
    if sample is not None:
        assert (np.diff(sample[plain]) >= 0).all()


def test_what_follows_on_the_curve_is_near_in_space(rng: np.random.Generator) -> None:
    """On a lattice of 2^6 x 2^6 every step of a Morton curve is as that of the bits."""
    lattice = np.argwhere(np.ones((64, 64)))[rng.permutation(64 * 64)]
    order = spots_along_a_curve(lattice.astype(float))
    steps = np.abs(np.diff(lattice[order], axis=0)).sum(axis=1)
    assert np.median(steps) == 1
    quadrant = (lattice[order] >= 32) @ [1, 2]
    assert (np.diff(quadrant) >= 0).all()


@pytest.mark.parametrize(
    "points", [np.zeros((0, 2)), np.ones((3, 2)), np.array([[1e300, 0.0], [0.0, 1e300]])]
)
def test_few_points_and_extreme_ones_have_positions(points: np.ndarray) -> None:
    assert len(curve_position(points)) == len(points)
    assert sorted(spots_along_a_curve(points)) == list(range(len(points)))


def test_positions_interleave_the_bits_of_both_axes() -> None:
    ends = np.array([[0.0, 0.0], [2**31 - 1, 2**31 - 1]])
    for x, y in [(1, 0), (0, 1), (0b1011, 0b0110), (2**30, 3)]:
        expected = sum(((x >> b) & 1) << (2 * b) | ((y >> b) & 1) << (2 * b + 1) for b in range(31))
        assert int(curve_position(np.vstack([ends, [x, y]]))[2]) == expected


def test_fingerprints_tell_rows_apart_but_not_their_storage(rng: np.random.Generator) -> None:
    Y = csr_array(rng.poisson(0.7, (500, 30)))
    plain = row_fingerprints(Counts(Y, np.arange(30)))
    assert len(np.unique(plain)) == len(np.unique(Y.toarray(), axis=0))
    columns = rng.permutation(30)
    moved = csr_array(Y[:, columns].astype(np.float32))
    np.testing.assert_array_equal(row_fingerprints(Counts(moved, columns)), plain)
    twice = csr_array(
        (np.append(Y.data, [0]), np.append(Y.indices, [4]), np.append(Y.indptr[:-1], Y.nnz + 1))
    )
    np.testing.assert_array_equal(row_fingerprints(Counts(twice, np.arange(30))), plain)


def test_cells_of_a_type_follow_their_content(rng: np.random.Generator) -> None:
    label, totals = rng.integers(-1, 4, 100), rng.integers(0, 3, 100).astype(float)
    prints, rows = rng.integers(0, 2**63, 100).astype(np.uint64), rng.permutation(100)
    plain = cells_by_content(label, totals, prints, 5)
    moved = cells_by_content(label[rows], totals[rows], prints[rows], 5)
    assert len(plain) == 5
    for k, (one, other) in enumerate(zip(plain, moved, strict=True)):
        np.testing.assert_array_equal(one, rows[other])
        assert sorted(one) == np.flatnonzero((label == k) & (totals > 0)).tolist()
