"""Small dense linear algebra inside kernels: sums of rows, products, Cholesky factors."""

from __future__ import annotations

import numpy as np

from napari_spotmix.model.kernels.jit import compiled, inlined
from napari_spotmix.model.kernels.simd import WIDTH, load, store, sum_of

__all__ = [
    "add_product",
    "add_rows",
    "copy",
    "dot",
    "drop",
    "factor_on",
    "substitute",
    "thirds",
]


@inlined
def copy(numbers, to):
    """Copy numbers to the beginning of another array."""
    for k in range(numbers.size):
        to[k] = numbers[k]


@inlined
def _row(rows, p):
    return p if rows is None else rows[p]


@inlined
def thirds(k, size):
    """Return where the next three vectors begin, over `size` numbers from `k` on.

    None goes beyond the end: instead they overlap, and all are read before any is written. If a few numbers
    would be left over, fewer are done at once, so that enough are left for the last vectors.
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
    """Remove entry `r` from the first `size` of `support`; return how many are left."""
    for q in range(r, size - 1):
        support[q] = support[q + 1]
    return size - 1
