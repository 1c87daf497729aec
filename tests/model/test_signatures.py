"""Signatures against a plain loop over the cells."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from napari_spotmix.model.counts import Counts, InMemory
from napari_spotmix.model.signatures import mean_signatures


def averaged(counts: np.ndarray, label: np.ndarray, n_types: int) -> np.ndarray:
    n_genes = counts.shape[1]
    found, totals, _ = mean_signatures(Counts(csr_array(counts), np.arange(n_genes)), label, n_types, n_genes)
    np.testing.assert_array_equal(totals, counts.sum(axis=1))
    return found


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
def test_they_are_means_of_shares_weighted_by_the_root_of_depth(dtype: type) -> None:
    rng = np.random.default_rng(1)
    counts = rng.poisson(1.0, size=(40, 12)).astype(dtype)
    label, totals = rng.integers(-1, 3, size=40), counts.sum(axis=1).astype(float)
    expected = np.zeros((3, 12))
    for k in range(3):
        cells = [i for i in range(40) if label[i] == k and totals[i] > 0]
        # In steps of 2^-28, which is the root of the depth to seven digits.
        weight = {i: np.ceil(2**28 / np.sqrt(totals[i])) / 2**28 for i in cells}
        whole = sum(weight[i] * totals[i] for i in cells)
        for i in cells:
            assert weight[i] == pytest.approx(1 / np.sqrt(totals[i]), rel=1e-7)
            expected[k] += weight[i] * counts[i] / whole
    found = averaged(counts, label, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-6 if dtype is np.float32 else 1e-12)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)


def test_empty_cells_change_nothing() -> None:
    counts = np.array([[1.0, 3.0], [0.0, 0.0], [2.0, 2.0]])
    label = np.zeros(3, int)
    with_empty = averaged(counts, label, 1)
    without = averaged(counts[[0, 2]], label[:2], 1)
    np.testing.assert_allclose(with_empty, without)


def test_a_type_without_cells_has_a_row_of_zeros() -> None:
    signatures = averaged(np.array([[1.0, 1.0]]), np.array([2]), 4)
    np.testing.assert_allclose(signatures, [[0, 0], [0, 0], [0.5, 0.5], [0, 0]])


def test_the_order_of_cells_does_not_matter() -> None:
    rng = np.random.default_rng(2)
    counts, label = rng.poisson(1.0, size=(50, 8)).astype(float), rng.integers(3, size=50)
    order = rng.permutation(50)
    plain = averaged(counts, label, 3)
    shuffled = averaged(counts[order], label[order], 3)
    # To the last bit: rounded sums would be magnified by what is learned from them.
    np.testing.assert_array_equal(shuffled, plain)


def test_they_approach_what_the_cells_were_drawn_from() -> None:
    rng = np.random.default_rng(3)
    truth = rng.dirichlet(np.ones(20), size=2)
    label = np.repeat([0, 1], 400)
    depth = rng.integers(100, 2000, size=800)
    counts = np.array([rng.multinomial(n, truth[k]) for n, k in zip(depth, label, strict=True)], float)
    found = averaged(counts, label, 2)
    standard_error = np.sqrt(truth / depth.sum() * 2)
    assert (np.abs(found - truth) < 5 * standard_error).all()


def test_they_are_the_same_from_blocks_of_rows_and_over_some_of_the_columns() -> None:
    rng = np.random.default_rng(4)
    counts, label = csr_array(rng.poisson(0.5, size=(300, 9)).astype(float)), rng.integers(-1, 3, size=300)
    genes = np.array([0, -1, 1, 1, 2, -1, 3, 4, 5])

    class Blocks(InMemory):
        bounds = np.array([0, 7, 120, 300])

    whole, totals, prints = mean_signatures(Counts(counts, genes), label, 3, 6)
    parts, its_totals, its_prints = mean_signatures(Counts(Blocks(counts), genes), label, 3, 6)
    np.testing.assert_array_equal(prints, its_prints)
    assert whole.tobytes() == parts.tobytes()
    assert totals.tobytes() == its_totals.tobytes()
    np.testing.assert_array_equal(totals, counts.toarray()[:, genes >= 0].sum(axis=1))
