"""Counts read block by block against the same counts in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest
from scipy.sparse import csr_array

from napari_spotmix.base.errors import Cancelled
from napari_spotmix.base.threads import Threads
from napari_spotmix.model.counts import Counts, InMemory, block_bounds, is_in_order
from napari_spotmix.model.sufficient_statistics import total_counts


def matrix(n_rows: int = 50, n_columns: int = 12) -> csr_array:
    return csr_array(np.random.default_rng(1).poisson(0.8, (n_rows, n_columns)).astype(np.float64))


@dataclass
class Noted:
    """Blocks of seven rows, with a note of what is read."""

    values: csr_array
    read_so_far: list[tuple[int, int]] = field(default_factory=list)

    @property
    def bounds(self) -> np.ndarray:
        return np.append(np.arange(0, self.values.shape[0], 7), self.values.shape[0])

    def read(self, start: int, stop: int) -> csr_array:
        self.read_so_far.append((start, stop))
        return self.values[start:stop]


def genes(n_columns: int = 12) -> np.ndarray:
    return np.arange(n_columns) % 5 - 1


def whole(counts: Counts) -> np.ndarray:
    blocks = list(counts.blocks())
    assert [spots.start for spots, _ in blocks] == [0, *(spots.stop for spots, _ in blocks[:-1])]
    assert blocks[-1][0].stop == counts.n_spots
    return np.vstack([values.toarray() for _, values in blocks])


def test_blocks_are_all_rows_in_order_and_each_is_read_once() -> None:
    source = Noted(matrix())
    np.testing.assert_array_equal(whole(Counts(source, genes())), source.values.toarray())
    assert source.read_so_far == [(start, min(start + 7, 50)) for start in range(0, 50, 7)]


def test_sums_from_blocks_are_those_from_memory_to_the_last_bit() -> None:
    values = matrix()
    values.data *= 0.1
    in_memory, in_blocks = Counts(values, genes()), Counts(Noted(values), genes())
    np.testing.assert_array_equal(in_blocks.gene_sums(4), in_memory.gene_sums(4))
    with Threads.of(2) as threads:
        np.testing.assert_array_equal(total_counts(in_blocks, threads), total_counts(in_memory, threads))
    dense = values.toarray()
    np.testing.assert_allclose(in_memory.gene_sums(4), [dense[:, genes() == g].sum() for g in range(4)])


@pytest.mark.parametrize("chosen", [[3], [0, 49], [6, 7, 8, 20], list(range(1, 50, 2)), list(range(50))])
def test_chosen_spots_are_read_from_the_blocks_that_hold_them(chosen: list[int]) -> None:
    source, spots = Noted(matrix()), np.array(chosen)
    counts = Counts(source, genes()).only(spots)
    assert (counts.n_spots, source.read_so_far) == (len(chosen), [])
    np.testing.assert_array_equal(whole(counts), source.values.toarray()[spots])
    assert {start // 7 for start, _ in source.read_so_far} == {spot // 7 for spot in chosen}
    loaded = Counts(source, genes()).of_spots(spots)
    assert isinstance(loaded.rows, csr_array)
    np.testing.assert_array_equal(loaded.rows.toarray(), source.values.toarray()[spots])


@pytest.mark.parametrize("chosen", [[3], [0, 49], [6, 7, 8, 20], list(range(50))])
def test_spots_may_be_numbered_in_another_order_than_their_rows(chosen: list[int]) -> None:
    rng, values, spots = np.random.default_rng(2), matrix(), np.array(chosen)
    first, second = rng.permutation(50), rng.permutation(50)
    for rows in (values, Noted(values)):
        counts = Counts(rows, genes()).numbered(first).numbered(second)
        some, expected = counts.only(spots), values.toarray()[first[second]][spots]
        with Threads.of(2) as threads:
            totals = total_counts(some, threads)
        np.testing.assert_array_equal(totals, expected[:, genes() >= 0].sum(axis=1))
        np.testing.assert_array_equal(counts.of_spots(spots).in_memory().toarray(), expected)
        with pytest.raises(TypeError, match="in the order of the spots"):
            counts.in_memory()


def test_what_is_in_memory_is_not_copied() -> None:
    values = matrix()
    counts = Counts(values, genes())
    assert next(iter(counts.blocks()))[1] is values
    assert counts.of_spots(np.arange(50)) is counts
    np.testing.assert_array_equal(InMemory(values).read(10, 20).toarray(), values.toarray()[10:20])


def test_an_error_of_reading_passes_through() -> None:
    @dataclass
    class Broken(Noted):
        def read(self, start: int, stop: int) -> csr_array:
            if start > 20:
                raise OSError("the disk is gone")
            return super().read(start, stop)

    with pytest.raises(OSError, match="gone"):
        Counts(Broken(matrix()), genes()).gene_sums(4)


def test_a_cancel_between_blocks_ends_the_reading() -> None:
    source = Noted(matrix())

    def cancel(n_done: int) -> None:
        if n_done >= 14:
            raise Cancelled

    with pytest.raises(Cancelled):
        Counts(source, genes()).gene_sums(4, cancel)
    assert len(source.read_so_far) <= 4


def test_blocks_hold_a_bounded_number_of_bytes_or_one_row() -> None:
    n_entries = np.array([0, 5, 3, 9, 0, 0, 2, 1, 40, 1, 0])
    indptr = np.append(0, np.cumsum(n_entries))
    bounds = block_bounds(indptr, bytes_per_entry=2**24 // 10)  # ten entries fit
    assert bounds[0] == 0
    assert bounds[-1] == len(n_entries)
    for start, stop in pairwise(bounds):
        assert stop > start
        assert indptr[stop] - indptr[start] <= 10 or stop == start + 1
    assert len(bounds) == 6
    assert block_bounds(np.array([0]), 8).tolist() == [0]


@pytest.mark.parametrize(
    ("columns", "expected"), [([0, 2, 1, 3], True), ([2, 0, 1, 3], False), ([0, 0, 1, 3], False)]
)
def test_order_is_asked_for_within_rows_only(columns: list[int], expected: bool) -> None:
    rows = csr_array((np.ones(4), np.array(columns), np.array([0, 2, 4])), shape=(2, 4))
    assert is_in_order(rows) is expected


def test_some_columns_alone_keep_their_genes() -> None:
    rows = csr_array(np.array([[1, 2, 9, 0], [0, 3, 9, 4]]))
    some = Counts(rows, np.array([0, 1, -1, 1])).of_columns(np.array([1, 3]))
    assert some.rows.toarray().tolist() == [[2, 0], [3, 4]]
    assert some.gene_sums(2).tolist() == [0.0, 9.0]
