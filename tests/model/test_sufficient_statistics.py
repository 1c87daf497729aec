"""Sufficient statistics against dense products."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from napari_spotmix.base.errors import Cancelled
from napari_spotmix.base.progress import Progress
from napari_spotmix.base.threads import Threads
from napari_spotmix.model.counts import Counts
from napari_spotmix.model.sufficient_statistics import Statistics, sufficient_statistics, total_counts
from tests.model.oracles import dense_statistics


@pytest.fixture(scope="module")
def threads() -> Iterator[Threads]:
    with Threads.of(2) as pool:
        yield pool


#: Projections read filters in single precision: positive ones, so that sums are off by half of its last bit.
SINGLE = 2.0**-24


def problem(rng: np.random.Generator, n_spots: int = 30) -> dict[str, Any]:
    signatures, weights = rng.random((4, 25)), rng.gamma(2.0, size=(3, 25))
    return {
        "counts": Counts(csr_array(rng.poisson(0.7, size=(n_spots, 25)).astype(np.float64)), np.arange(25)),
        "signatures": signatures,
        "divisor": rng.integers(5, 50, size=n_spots).astype(np.float64),
        "filters": weights[:, :, None] * signatures.T,
        "cluster": rng.integers(3, size=n_spots),
        "scale": rng.gamma(2.0, size=n_spots),
    }


def dense(parts: dict[str, Any]) -> np.ndarray:
    return np.asarray(parts["counts"].rows.toarray(), dtype=np.float64)


def with_counts(parts: dict[str, Any], rows: Any) -> dict[str, Any]:
    return parts | {"counts": Counts(csr_array(rows), np.arange(25))}


def expected(parts: dict[str, Any]) -> Statistics:
    Y = dense(parts) / parts["divisor"][:, None]
    weights = parts["filters"][:, :, 0] / parts["signatures"][0]
    return dense_statistics(Y, parts["signatures"], weights, parts["cluster"], parts["scale"])


def assert_same(found: Statistics, wanted: Statistics, rtol: float) -> None:
    for name in ("gram", "cluster", "scale"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), rtol=rtol)
    np.testing.assert_allclose(found.projection, wanted.projection, rtol=SINGLE)


def test_statistics_equal_dense_products(threads: Threads) -> None:
    parts = problem(np.random.default_rng(1))
    found = sufficient_statistics(**parts, threads=threads)
    assert_same(found, expected(parts), rtol=1e-12)
    assert (found.n_spots, found.n_cell_types) == (30, 4)


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.int64, np.uint16])
def test_every_type_of_counts_gives_the_same_bits(dtype: type, threads: Threads) -> None:
    parts = problem(np.random.default_rng(2))
    typed = with_counts(parts, parts["counts"].rows.astype(dtype))
    found = sufficient_statistics(**typed, threads=threads)
    np.testing.assert_array_equal(
        found.projection, sufficient_statistics(**parts, threads=threads).projection
    )


def test_columns_of_one_gene_are_summed_and_unused_ones_skipped(threads: Threads) -> None:
    parts = problem(np.random.default_rng(3))
    counts = dense(parts)
    split = np.floor(counts / 2)
    junk = np.full((30, 1), 1000.0)
    columns = np.concatenate([np.arange(25), [-1], np.arange(25)])
    spread = Counts(csr_array(np.hstack([split, junk, counts - split])), columns)
    found = sufficient_statistics(**parts | {"counts": spread}, threads=threads)
    assert_same(found, expected(parts), rtol=1e-12)
    np.testing.assert_array_equal(total_counts(spread, threads), counts.sum(axis=1))
    np.testing.assert_array_equal(spread.gene_sums(25), counts.sum(axis=0))


def test_unsorted_and_repeated_entries_of_a_row_are_summed(threads: Threads) -> None:
    parts = problem(np.random.default_rng(4), n_spots=2)
    odd = csr_array((np.array([2.0, 1.0, 3.0, 4.0]), np.array([7, 2, 7, 0]), np.array([0, 3, 4])), (2, 25))
    parts = with_counts(parts, odd)
    assert odd.toarray()[0, 7] == 5.0
    np.testing.assert_array_equal(parts["counts"].gene_sums(25), odd.toarray().sum(axis=0))
    assert_same(sufficient_statistics(**parts, threads=threads), expected(parts), rtol=1e-12)


def test_spots_without_counts_have_no_projection(threads: Threads) -> None:
    parts = problem(np.random.default_rng(5))
    counts = dense(parts)
    counts[[4, 9]] = 0
    divisor = parts["divisor"].copy()
    divisor[[4, 9]] = 0
    parts = with_counts(parts, counts) | {"divisor": divisor}
    found = sufficient_statistics(**parts, threads=threads)
    assert (found.projection[[4, 9]] == 0).all()
    assert np.isfinite(found.projection).all()


def test_many_blocks_and_threads_give_the_same_bits() -> None:
    parts = problem(np.random.default_rng(6), n_spots=10_000)
    with Threads.of(1) as one, Threads.of(3) as three:
        first, second = (sufficient_statistics(**parts, threads=pool) for pool in (one, three))
        totals = [total_counts(parts["counts"], pool) for pool in (one, three)]
    np.testing.assert_array_equal(first.projection, second.projection)
    np.testing.assert_array_equal(first.gram, second.gram)
    np.testing.assert_array_equal(*totals)
    assert_same(first, expected(parts), rtol=1e-11)


def test_gram_matrices_are_symmetric_to_the_last_bit(threads: Threads) -> None:
    gram = sufficient_statistics(**problem(np.random.default_rng(7)), threads=threads).gram
    np.testing.assert_array_equal(gram, gram.transpose(0, 2, 1))
    assert np.linalg.eigvalsh(gram).min() > 0


def test_mean_precision_is_the_mean_diagonal_and_units_cancel(threads: Threads) -> None:
    statistics = sufficient_statistics(**problem(np.random.default_rng(8)), threads=threads)
    grams = statistics.scale[:, None, None] * statistics.gram[statistics.cluster]
    wanted = np.mean([np.trace(gram) / 4 for gram in grams])
    assert statistics.mean_precision() == pytest.approx(wanted)
    statistics.divide_by(statistics.mean_precision())
    assert statistics.mean_precision() == pytest.approx(1)


def cancel_halfway(progress: Progress) -> None:
    if progress.step:
        raise Cancelled


def test_cancelling_passes_through() -> None:
    parts = problem(np.random.default_rng(9), n_spots=20_000)
    with Threads.of(2) as pool:
        with pytest.raises(Cancelled):
            total_counts(parts["counts"], pool, cancel_halfway)
        with pytest.raises(Cancelled):
            sufficient_statistics(**parts, threads=pool, on_progress=cancel_halfway)


def test_counts_are_not_modified(threads: Threads) -> None:
    parts = problem(np.random.default_rng(10))
    copy = parts["counts"].rows.copy()
    sufficient_statistics(**parts, threads=threads)
    assert (parts["counts"].rows != copy).nnz == 0
