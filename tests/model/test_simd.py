"""SIMD vectors: compiled functions do what the same functions do to NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numba import njit

from napari_spotmix.model.kernels.simd import (
    WIDTH,
    broadcast,
    count_above,
    entry,
    larger,
    largest_of,
    load,
    smaller,
    store,
    sum_of,
    transpose,
)


def arithmetic(a: Any, b: Any, out: Any) -> None:
    x, y = load(a, 1, 2), load(b, 3)
    store(x + y, out, 0, 0)
    store(x - 2.0 * y, out, 1, 0)
    store(x * y / 4.0, out, 2, 0)
    store(1.0 / (0.5 + x), out, 3, 0)
    store(larger(x, y), out, 4, 0)
    store(smaller(x, 0.25), out, 5, 0)
    store(broadcast(3.0), out, 6, 1)
    store(load(a, 2, 1) * load(b, 2) + broadcast(7.0), out, 7, 2)


def facts(a: Any, b: Any, out: Any) -> None:
    x, y = load(a, 0, 0), load(b, 0)
    out[0, 0] = count_above(x, y)
    out[0, 1] = count_above(x, x)
    out[0, 2] = count_above(x, largest_of(x) - 1e-3)
    out[0, 3] = count_above(x, largest_of(x))
    out[0, 4] = largest_of(y)
    out[0, 5] = sum_of(x * 2.0)


def moves(a: Any, b: Any, out: Any) -> None:
    transpose(a, 2, 1, out, 1, 2)
    store(load(a, 0, 0), b, 1)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("function", [arithmetic, facts, moves])
def test_compiled_vectors_are_as_numpy_arrays(function: Callable[..., None], dtype: type) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((WIDTH + 4, WIDTH + 3)).astype(dtype), rng.random(2 * WIDTH).astype(dtype)
    plain, compiled = np.zeros((WIDTH + 2, WIDTH + 2)), np.zeros((WIDTH + 2, WIDTH + 2))
    plain_b, compiled_b = b.copy(), b.copy()
    function(a, plain_b, plain)
    njit(function)(a, compiled_b, compiled)
    # Single numbers are double ones to compiled functions, and a product and a sum may be rounded once.
    np.testing.assert_allclose(compiled, plain, rtol=1e-15 if dtype is np.float64 else 1e-6)
    np.testing.assert_array_equal(compiled_b, plain_b)
    assert plain.any()


def test_numbers_turn_into_columns_and_back() -> None:
    rows = np.random.default_rng(1).random((WIDTH, WIDTH))
    columns, again = np.zeros_like(rows), np.zeros_like(rows)
    compiled = njit(lambda a, b: transpose(a, 0, 0, b, 0, 0))
    compiled(rows, columns)
    compiled(columns, again)
    np.testing.assert_array_equal(columns, rows.T)
    np.testing.assert_array_equal(again, rows)


def test_single_numbers_are_written_as_such() -> None:
    table, wanted = np.zeros((2, WIDTH + 3), np.float32), np.float32(1 / 3)
    njit(lambda t: store(broadcast(1 / 3), t, 1, 3))(table)
    assert (table[1, 3:] == wanted).all()
    assert not table[0].any()
    assert not table[1, :3].any()


def test_entries_come_from_one_matrix_or_from_several_side_by_side() -> None:
    matrix, stack = np.arange(6.0).reshape(2, 3), np.arange(6.0 * WIDTH).reshape(2, 3, WIDTH)
    found = np.zeros((2, WIDTH))

    def write(matrix: Any, stack: Any, found: Any) -> None:
        store(broadcast(entry(matrix, 1, 2)), found, 0, 0)
        store(entry(stack, 1, 2), found, 1, 0)
        store(broadcast(-1.0), stack, 0, 1)

    njit(write)(matrix, stack, found)
    assert (found[0] == 5.0).all()
    np.testing.assert_array_equal(found[1], stack[1, 2])
    assert (stack[0, 1] == -1.0).all()


def test_arrays_that_are_not_contiguous_are_refused() -> None:
    with pytest.raises(TypeError, match="C-contiguous"):
        njit(lambda table: largest_of(load(table, 0, 0)))(np.zeros((WIDTH, WIDTH)).T)
