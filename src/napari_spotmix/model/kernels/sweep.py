"""Kernels of the Gauss-Seidel sweeps over spots."""

from __future__ import annotations

import numpy as np

from napari_spotmix.model.kernels.arguments import Support
from napari_spotmix.model.kernels.jit import compiled, inlined
from napari_spotmix.model.kernels.linear_algebra import (
    add_product,
    add_rows,
    copy,
    drop,
    factor_on,
    substitute,
)
from napari_spotmix.model.kernels.simd import (
    WIDTH,
    broadcast,
    count_above,
    entry,
    larger,
    largest_of,
    load,
    prefetch,
    smaller,
    store,
    transpose,
)

__all__ = [
    "AIM",
    "GAP",
    "SCALE",
    "apply_hessian",
    "batch_size",
    "factor_own_blocks",
    "improve_batch",
    "kkt_violations",
    "make_scratch",
    "pack_batch",
    "plane_sums",
    "quadratic_value",
    "solve_lane",
    "solve_own_blocks",
    "spot_target",
    "step_in_plane",
    "sweep",
    "transpose_rows",
    "unpack_batch",
]


#: An exact solution costs about as much as 2 to the power of this many rounds over the types of a batch.
_DOUBLINGS = 4


@inlined
def _gradient(M, scale, shift, target, x, gradient):
    """Gradient of half the spot's objective: ``(scale M + shift I) x - target``."""
    for k in range(x.size):
        gradient[k] = shift * x[k] - target[k]
    add_product(M, scale, x, gradient)


@inlined
def spot_target(indptr, indices, weight, X, b, lambda_c, i, target):
    """``b_i + lambda_c sum_j W_ij x_j`` into `target`."""
    for k in range(target.size):
        target[k] = b[i, k]
    if lambda_c > 0.0:
        add_rows(X, indices, weight, indptr[i], indptr[i + 1], lambda_c, target)


@inlined
def _curvature(own, shift, typical):
    """What a gradient is divided by to measure it in units of abundance.

    The spot's own curvature with that of the coupling (`shift`), but no more than that of the data: a whole
    region may be far off although each spot, held by its neighbors, could move alone by very little.
    """
    return smaller(own + shift, larger(own, typical))


@inlined
def _inverse(h):
    """One over `h`, which is not negative, and 0 where it is 0."""
    return smaller(1e300 * h, 1.0) / larger(h, 1e-300)


@inlined
def _spot_violation(diagonal, scale, shift, typical, x, gradient):
    """Largest ``|min(x_k, g_k / h_k)|``: distance to optimality in units of abundance."""
    k, worst_by_lane = 0, broadcast(0.0)
    while WIDTH <= x.size > k:
        k = min(k, x.size - WIDTH)
        h = _curvature(scale * load(diagonal, k), shift, load(typical, k))
        least = smaller(load(x, k), load(gradient, k) * _inverse(h))
        worst_by_lane = larger(worst_by_lane, larger(least, 0.0 - least))
        k += WIDTH
    worst = largest_of(worst_by_lane)
    while k < x.size:
        own = scale * diagonal[k]
        curvature = min(own + shift, max(own, typical[k]))
        step = gradient[k] / curvature if curvature > 0.0 else 0.0
        worst = max(worst, abs(min(x[k], step)))
        k += 1
    return worst


@compiled
def _minimize_on_support(M, scale, shift, target, x, support, size, L, solution):
    """Move `x` to the minimizer on its support, dropping types that reach zero; return the support's size."""
    while size > 0:
        singular = factor_on(support, size, M, scale, shift, L)
        if singular >= 0:
            x[support[singular]] = 0.0
            size = drop(support, size, singular)
            continue
        substitute(support, size, L, target, solution)
        step, blocking = 1.0, -1
        for r in range(size):
            if solution[r] <= 0.0:
                here = x[support[r]]
                reach = here / (here - solution[r]) if here > solution[r] else 0.0
                if reach < step or blocking < 0:
                    step, blocking = reach, r
        for r in range(size):
            k = support[r]
            x[k] += step * (solution[r] - x[k])
        if blocking < 0:
            return size
        x[support[blocking]] = 0.0
        size = drop(support, size, blocking)
    return size


@compiled
def _solve_spot(M, scale, shift, units, target, tolerance, x, scratch):
    """Minimize the spot's objective over ``x >= 0``: an active-set method that starts from `x`.

    Every step lowers the objective and ends at the minimizer on a support, so it ends after finitely
    many supports (Lawson and Hanson 1974, chapter 23; warm start after Bro and de Jong 1997).
    """
    support, L, solution, gradient, barred = scratch
    n_types = x.size
    size = 0
    for k in range(n_types):
        barred[k] = False
        if x[k] > 0.0:
            support[size] = k
            size += 1
    size = _minimize_on_support(M, scale, shift, target, x, support, size, L, solution)
    for _ in range(3 * n_types):
        _gradient(M, scale, shift, target, x, gradient)
        entering, steepest = -1, tolerance
        for k in range(n_types):
            if x[k] == 0.0 and not barred[k]:
                descent = -gradient[k] * units[k]
                if descent > steepest:
                    entering, steepest = k, descent
        if entering < 0:
            return
        support[size] = entering
        size = _minimize_on_support(M, scale, shift, target, x, support, size + 1, L, solution)
        # A type that leaves as it enters is implied by the others: do not try it again.
        barred[entering] = x[entering] == 0.0


#: Rows of the numbers that each spot of a batch has once.
SCALE, _SHIFT, GAP, AIM = range(4)


@inlined
def make_scratch(n_types):
    """Return tables for a batch: numbers by spot, rows (targets, abundances), and vectors by type."""
    padded = -(-n_types // WIDTH) * WIDTH
    return np.zeros((4, WIDTH)), np.zeros((2, WIDTH, padded)), np.zeros((6, padded, WIDTH))


@inlined
def _tables(scratch, n_types):
    """Return the vectors by type: target, abundances, these times the scale, gradient, steps and units."""
    of, n = scratch[2], n_types
    return of[0][:n], of[1][:n], of[2][:n], of[3][:n], of[4][:n], of[5][:n]


@inlined
def pack_batch(size, scratch):
    """Transpose the rows of a batch, targets and abundances, to vectors; unused lanes copy the first."""
    per_spot, rows, tables = scratch
    for lane in range(size, WIDTH):
        per_spot[SCALE, lane], per_spot[_SHIFT, lane] = per_spot[SCALE, 0], per_spot[_SHIFT, 0]
        copy(rows[0, 0], rows[0, lane])
        copy(rows[1, 0], rows[1, lane])
    transpose_rows(rows[0], tables[0])
    transpose_rows(rows[1], tables[1])


@inlined
def transpose_rows(rows, vectors):
    """Write rows, one for each lane, as vectors: one for each column."""
    for k in range(0, vectors.shape[0], WIDTH):
        transpose(rows, 0, k, vectors, k, 0)


@inlined
def unpack_batch(scratch):
    """Transpose the abundances of a batch back to rows."""
    rows, tables = scratch[1], scratch[2]
    for k in range(0, rows.shape[2], WIDTH):
        transpose(tables[1], k, 0, rows[1], 0, k)


@inlined
def batch_size(spots, first, kind):
    """Return how many spots from the `first` on are of its kind, at most one for each lane."""
    stop = min(first + WIDTH, spots.size)
    q = first + 1
    while q < stop and kind[spots[q]] == kind[spots[first]]:
        q += 1
    return q - first


@compiled
def solve_lane(M, scratch, lane, x):
    """Minimize over one spot exactly, from where its batch left it; rare, so it allocates its own scratch."""
    n_types = x.size
    per_spot, target = scratch[0], scratch[1][0, lane][:n_types]
    units = _tables(scratch, n_types)[5][:, lane].copy()
    scale, shift, aim = per_spot[SCALE, lane], per_spot[_SHIFT, lane], per_spot[AIM, lane]
    gradient, solution, L = np.empty(n_types), np.empty(n_types), np.empty((n_types, n_types))
    support, barred = np.empty(n_types, np.int64), np.empty(n_types, np.bool_)
    own = Support(support, L, solution, gradient, barred)
    _solve_spot(M, scale, shift, units, target, aim, x, own)


@inlined
def _batch_gradient(M, per_spot, target, x, scaled, gradient):
    """Gradients of a batch: ``(scale M + shift I) x - target``, four types at a time."""
    scale, shift = load(per_spot, SCALE, 0), load(per_spot, _SHIFT, 0)
    n_types = x.shape[0]
    for m in range(n_types):
        store(scale * load(x, m, 0), scaled, m, 0)
    k = 0
    while k + 4 <= n_types:
        a = shift * load(x, k, 0) - load(target, k, 0)
        b = shift * load(x, k + 1, 0) - load(target, k + 1, 0)
        c = shift * load(x, k + 2, 0) - load(target, k + 2, 0)
        d = shift * load(x, k + 3, 0) - load(target, k + 3, 0)
        for m in range(n_types):
            of_m = load(scaled, m, 0)
            a, b = a + of_m * entry(M, m, k), b + of_m * entry(M, m, k + 1)
            c, d = c + of_m * entry(M, m, k + 2), d + of_m * entry(M, m, k + 3)
        store(a, gradient, k, 0)
        store(b, gradient, k + 1, 0)
        store(c, gradient, k + 2, 0)
        store(d, gradient, k + 3, 0)
        k += 4
    while k < n_types:
        a = shift * load(x, k, 0) - load(target, k, 0)
        for m in range(n_types):
            a = a + load(scaled, m, 0) * entry(M, m, k)
        store(a, gradient, k, 0)
        k += 1


@inlined
def _batch_steps(M, per_spot, typical, steps, units):
    """Write the factors of gradients: for a step, and for the violation (see `_curvature`)."""
    scale, shift = load(per_spot, SCALE, 0), load(per_spot, _SHIFT, 0)
    for k in range(steps.shape[0]):
        own = scale * entry(M, k, k)
        full, measure = own + shift, _curvature(own, shift, typical[k])
        # One division for both: it takes longer than everything else here.
        safe = larger(measure, 1e-50 * full)
        both = _inverse(full * safe)
        store(both * safe, steps, k, 0)
        store(both * full * smaller(1e300 * measure, 1.0), units, k, 0)


@inlined
def _batch_violation(units, x, gradient):
    """As `_spot_violation`, for a batch."""
    worst = broadcast(0.0)
    for k in range(x.shape[0]):
        least = smaller(load(x, k, 0), load(gradient, k, 0) * load(units, k, 0))
        worst = larger(worst, larger(least, 0.0 - least))
    return worst


@inlined
def _batch_move(x, gradient, steps, k):
    """As `_move`, for a batch."""
    return larger(0.0 - gradient * load(steps, k, 0), 0.0 - load(x, k, 0))


@inlined
def _batch_move_type(x, gradient, shift, k, by):
    """Add a step to type `k`, and what it changes in the gradient of this type."""
    store(load(x, k, 0) + by, x, k, 0)
    store(load(gradient, k, 0) + shift * by, gradient, k, 0)


@inlined
def _batch_descend(M, per_spot, steps, x, gradient):
    """As `_descend`, for a batch."""
    scale, shift = load(per_spot, SCALE, 0), load(per_spot, _SHIFT, 0)
    n_types = x.shape[0]
    k = 0
    while k + 4 <= n_types:
        to_a = _batch_move(x, load(gradient, k, 0), steps, k)
        a = scale * to_a
        to_b = _batch_move(x, load(gradient, k + 1, 0) + a * entry(M, k, k + 1), steps, k + 1)
        b = scale * to_b
        ahead = load(gradient, k + 2, 0) + a * entry(M, k, k + 2) + b * entry(M, k + 1, k + 2)
        to_c = _batch_move(x, ahead, steps, k + 2)
        c = scale * to_c
        ahead = (
            load(gradient, k + 3, 0)
            + a * entry(M, k, k + 3)
            + b * entry(M, k + 1, k + 3)
            + c * entry(M, k + 2, k + 3)
        )
        to_d = _batch_move(x, ahead, steps, k + 3)
        d = scale * to_d
        if count_above(to_a * to_a + to_b * to_b + to_c * to_c + to_d * to_d, 0.0) > 0:
            for m in range(n_types):
                ahead = load(gradient, m, 0) + a * entry(M, k, m) + b * entry(M, k + 1, m)
                store(ahead + c * entry(M, k + 2, m) + d * entry(M, k + 3, m), gradient, m, 0)
            _batch_move_type(x, gradient, shift, k, to_a)
            _batch_move_type(x, gradient, shift, k + 1, to_b)
            _batch_move_type(x, gradient, shift, k + 2, to_c)
            _batch_move_type(x, gradient, shift, k + 3, to_d)
        k += 4
    while k < n_types:
        to_a = _batch_move(x, load(gradient, k, 0), steps, k)
        a = scale * to_a
        for m in range(n_types):
            store(load(gradient, m, 0) + a * entry(M, k, m), gradient, m, 0)
        _batch_move_type(x, gradient, shift, k, to_a)
        k += 1


@inlined
def improve_batch(M, typical, tolerance, enough, scratch):
    """Minimize over one type after the other while this brings any spot of the batch to its aim soon.

    The violations left and the aims are written to `scratch`. Return the rounds needed, summed over spots.
    """
    per_spot = scratch[0]
    target, x, scaled, gradient, steps, units = _tables(scratch, typical.size)
    _batch_gradient(M, per_spot, target, x, scaled, gradient)
    _batch_steps(M, per_spot, typical, steps, units)
    gap = _batch_violation(units, x, gradient)
    aim = larger(enough * gap, tolerance)
    n_rounds, n_near = 0, count_above(gap, aim)
    while n_near > 0:
        before = gap
        n_rounds += n_near
        _batch_descend(M, per_spot, steps, x, gradient)
        gap = _batch_violation(units, x, gradient)
        falls = gap / larger(before, 1e-300)
        for _ in range(_DOUBLINGS):
            falls = falls * falls
        n_near = count_above(smaller(gap - aim, aim - gap * falls), 0.0)
    store(gap, per_spot, GAP, 0)
    store(aim, per_spot, AIM, 0)
    return n_rounds


@inlined
def _prefetch_batch(spots, first, indptr, indices, weight, X, b):
    """Prefetch what the next batches read: it is scattered in memory."""
    for q in range(min(first + WIDTH, spots.size), min(first + 2 * WIDTH, spots.size)):
        i = spots[q]
        prefetch(b, i)
        prefetch(indices, indptr[i])
        prefetch(weight, indptr[i])
    for i in spots[first : first + WIDTH]:
        for p in range(indptr[i], indptr[i + 1]):
            prefetch(X, indices[p])


@compiled
def sweep(spots, kind, H, b, typical, tolerance, enough, X):
    """Minimize over each of `spots` in turn, the others held fixed.

    A spot's violation is reduced to at most `tolerance`, or to the part `enough` of what it was. Spots of
    one `kind` share a cluster and no edge: consecutive ones are done at once, in batches. Return how many
    rounds over the types were needed, summed over spots.
    """
    indptr, indices, weight = H.W
    M, cluster, scale, shift, lambda_c = H.M, H.cluster, H.scale, H.shift, H.lambda_c
    n_types, scratch = X.shape[1], make_scratch(X.shape[1])
    per_spot, rows = scratch[0], scratch[1]
    first, n_rounds = 0, 0
    while first < spots.size:
        size = batch_size(spots, first, kind)
        _prefetch_batch(spots, first + WIDTH, indptr, indices, weight, X, b)
        for lane in range(size):
            i = spots[first + lane]
            spot_target(indptr, indices, weight, X, b, lambda_c, i, rows[0, lane][:n_types])
            per_spot[SCALE, lane] = scale[i]
            per_spot[_SHIFT, lane] = shift[i]
            copy(X[i], rows[1, lane])
        pack_batch(size, scratch)
        gram = M[cluster[spots[first]]]
        n_needed = improve_batch(gram, typical, tolerance, enough, scratch)
        n_rounds += n_needed
        if n_needed > 0:
            unpack_batch(scratch)
            for lane in range(size):
                i = spots[first + lane]
                copy(rows[1, lane][:n_types], X[i])
                if per_spot[GAP, lane] > per_spot[AIM, lane]:
                    solve_lane(gram, scratch, lane, X[i])
        first += size
    return n_rounds


@compiled
def apply_hessian(start, stop, H, X, HX):
    """``HX = (c M + shift) X - lambda_c W X`` for rows `start` to `stop`."""
    indptr, indices, weight = H.W
    M, cluster, scale, shift, lambda_c = H.M, H.cluster, H.scale, H.shift, H.lambda_c
    for i in range(start, stop):
        image = HX[i]
        for k in range(image.size):
            image[k] = shift[i] * X[i, k]
        add_product(M[cluster[i]], scale[i], X[i], image)
        if lambda_c > 0.0:
            add_rows(X, indices, weight, indptr[i], indptr[i + 1], -lambda_c, image)


@compiled
def kkt_violations(spots, H, b, typical, diagonal, X, violations):
    """Write the largest ``|min(x_k, g_k / h_k)|`` of each of `spots`, with ``g = H X - b``.

    `diagonal` holds that of each cluster's ``M``.
    """
    indptr, indices, weight = H.W
    M, cluster, scale, shift, lambda_c = H.M, H.cluster, H.scale, H.shift, H.lambda_c
    target, gradient = np.empty(X.shape[1]), np.empty(X.shape[1])
    for i in spots:
        spot_target(indptr, indices, weight, X, b, lambda_c, i, target)
        _gradient(M[cluster[i]], scale[i], shift[i], target, X[i], gradient)
        own = diagonal[cluster[i]]
        violations[i] = _spot_violation(own, scale[i], shift[i], typical, X[i], gradient)


@compiled
def plane_sums(start, stop, X, HX, last, H_last, before, H_before, b, sums):
    """Sums over rows `start` to `stop` that give the best point of a plane.

    The plane is that through `X`, `last` and `before`, its directions ``n = X - last`` and
    ``s = last - before``: ``<n,Hn>, <n,Hs>, <s,Hs>, <n,r>, <s,r>`` with ``r = b - HX``, and the objective.
    """
    nn, ns, ss, nr, sr, value = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(start, stop):
        for k in range(X.shape[1]):
            r = b[i, k] - HX[i, k]
            n, s = X[i, k] - last[i, k], last[i, k] - before[i, k]
            Hs = H_last[i, k] - H_before[i, k]
            nn += n * (HX[i, k] - H_last[i, k])
            ns += n * Hs
            ss += s * Hs
            nr += n * r
            sr += s * r
            value -= 0.5 * X[i, k] * (r + b[i, k])
    sums[0], sums[1], sums[2], sums[3], sums[4], sums[5] = nn, ns, ss, nr, sr, value


@compiled
def quadratic_value(start, stop, X, HX, b):
    """``1/2 <X, H X> - <b, X>`` over rows `start` to `stop`."""
    value = 0.0
    for i in range(start, stop):
        for k in range(X.shape[1]):
            # Summed as in `plane_sums`, so that equal points have equal values.
            value -= 0.5 * X[i, k] * (b[i, k] - HX[i, k] + b[i, k])
    return value


@compiled
def step_in_plane(start, stop, X, last, before, along_new, along_old):
    """Overwrite `before` with the point of the plane at the given weights, cut off at zero."""
    for i in range(start, stop):
        for k in range(X.shape[1]):
            step = along_new * (X[i, k] - last[i, k]) + along_old * (last[i, k] - before[i, k])
            before[i, k] = max(X[i, k] + step, 0.0)


@compiled
def factor_own_blocks(start, stop, H, X, support, size, L):
    """Write the Cholesky factor of each spot's own block of ``H`` on the types it has (``X > 0``)."""
    M, cluster, scale, shift = H.M, H.cluster, H.scale, H.shift
    for i in range(start, stop):
        size[i] = 0
        for k in range(X.shape[1]):
            if X[i, k] > 0.0:
                support[i, size[i]] = k
                size[i] += 1
        singular = 0
        while singular >= 0:
            singular = factor_on(support[i], size[i], M[cluster[i]], scale[i], shift[i], L[i])
            if singular >= 0:
                size[i] = drop(support[i], size[i], singular)


@compiled
def solve_own_blocks(start, stop, support, size, L, R, Z):
    """Solve each spot's own block of ``H Z = R`` with its factor; 0 on types that are not in it."""
    solution = np.empty(R.shape[1])
    for i in range(start, stop):
        substitute(support[i], size[i], L[i], R[i], solution)
        for k in range(R.shape[1]):
            Z[i, k] = 0.0
        for r in range(size[i]):
            Z[i, support[i, r]] = solution[r]
