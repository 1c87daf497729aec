"""How functions are compiled, and the small ones that all others are made of."""

from __future__ import annotations

import numpy as np
from numba import njit

from napari_spotmix.model.kernels.simd import (
    WIDTH,
    load,
    store,
    sum_of,
)

__all__ = [
    "add_product",
    "add_rows",
    "compiled",
    "copy",
    "dot",
    "drop",
    "factor_on",
    "inlined",
    "substitute",
    "thirds",
]


def compiled(function):
    """Compile when first called, and keep the outcome on disk, wherever numba finds a place for it."""
    try:
        return njit(nogil=True, cache=True, error_model="numpy")(function)
    except RuntimeError:  # neither beside the package nor at home: a shared install, no home folder
        return njit(nogil=True, error_model="numpy")(function)


def inlined(function):
    """Compile as part of each kernel that calls it: a call for every spot would cost as much as the work."""
    return njit(nogil=True, error_model="numpy", forceinline=True)(function)


@inlined
def copy(numbers, to):
    for k in range(numbers.size):
        to[k] = numbers[k]


@inlined
def _row(rows, p):
    return p if rows is None else rows[p]


@inlined
def thirds(k, size):
    """Return where the next three sets of lanes begin that go side by side over so many numbers, from `k` on.

    None goes beyond the end: rather they overlap, and are all read before any is written. So that there are
    numbers enough for that, less is done at once where else a few would be left.
    """
    last = k + WIDTH if 3 * WIDTH < size - k < 4 * WIDTH else size - WIDTH
    return k, min(k + WIDTH, last), min(k + 2 * WIDTH, last)


@inlined
def add_rows(A, rows, factors, start, stop, times, out):
    """Add ``times factors_p A[rows_p]`` to `out`, for p from `start` to `stop`; without `rows`, ``A[p]``.

    Sums stay in registers until they are done.
    """
    k = 0
    while WIDTH <= out.size > k:
        k, m, o = thirds(k, out.size)
        a, b, c = load(out, k), load(out, m), load(out, o)
        for p in range(start, stop):
            factor, row = times * factors[p], _row(rows, p)
            a = a + factor * load(A, row, k)
            b = b + factor * load(A, row, m)
            c = c + factor * load(A, row, o)
        store(a, out, k)
        store(b, out, m)
        store(c, out, o)
        k = o + WIDTH
    while k < out.size:
        for p in range(start, stop):
            out[k] += times * factors[p] * A[_row(rows, p), k]
        k += 1


@inlined
def dot(A, row, x):
    """Return the sum of products of a row of `A` with `x`."""
    k, total = 0, 0.0
    if x.size >= WIDTH:
        products = load(A, row, 0) * load(x, 0)
        k = WIDTH
        while k + WIDTH <= x.size:
            products = products + load(A, row, k) * load(x, k)
            k += WIDTH
        total = sum_of(products)
    while k < x.size:
        total += A[row, k] * x[k]
        k += 1
    return total


@inlined
def add_product(M, times, x, out):
    """Add ``times x M`` to `out`."""
    add_rows(M, None, x, 0, x.size, times, out)


@compiled
def factor_on(support, size, M, scale, shift, L):
    """Write the Cholesky factor of ``scale M + shift I`` on `support`, with one over each of its pivots.

    Return -1, or the position in `support` whose pivot vanishes (a type that the others imply).
    """
    for r in range(size):
        k = support[r]
        for c in range(r + 1):
            total = scale * M[k, support[c]]
            if c == r:
                total += shift
            full = total
            for q in range(c):
                total -= L[r, q] * L[c, q]
            if c < r:
                L[r, c] = total * L[c, c]
            elif total <= 1e-12 * full:
                return r
            else:
                L[r, r] = 1.0 / np.sqrt(total)
    return -1


@compiled
def substitute(support, size, L, target, solution):
    """Solve ``L L' z = target`` on `support`."""
    for r in range(size):
        total = target[support[r]]
        for q in range(r):
            total -= L[r, q] * solution[q]
        solution[r] = total * L[r, r]
    for r in range(size - 1, -1, -1):
        total = solution[r]
        for q in range(r + 1, size):
            total -= L[q, r] * solution[q]
        solution[r] = total * L[r, r]


@compiled
def drop(support, size, r):
    for q in range(r, size - 1):
        support[q] = support[q + 1]
    return size - 1
