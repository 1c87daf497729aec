"""Every compiled function of the project: small, serial, in place, on raw arrays.

All of them release the interpreter lock, so a thread pool runs several at once and a window stays
alive meanwhile. None uses ``parallel=True`` (it aborts the process when two Python threads enter it)
or ``fastmath`` (it breaks checks for NaN). Sums run in a fixed order, so results do not depend on how
the rows are shared out among threads.

Symbols: n spots, G genes, K cell types, A archetypes; ``S`` signatures (K, G), ``ST`` its transpose,
``X`` abundances (n, K), ``M`` Gram matrices (A, K, K), ``W`` edge weights in CSR form.
"""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = [
    "add_gene_moments",
    "add_to_genes",
    "add_to_groups",
    "apply_hessian",
    "assign_to_centers",
    "color_greedily",
    "edge_attention",
    "edge_attention_slopes",
    "edge_differences",
    "embed_rows",
    "factor_own_blocks",
    "filtered_grams",
    "filtered_projections",
    "follow_groups",
    "group_groups",
    "group_neighbors",
    "group_spots",
    "grow_patches",
    "held_out_score",
    "kkt_violations",
    "link_both_ways",
    "link_groups",
    "mark_around",
    "plane_sums",
    "proportion_errors",
    "quadratic_value",
    "reach_of_groups",
    "row_totals",
    "rows_in_order",
    "solve_own_blocks",
    "step_in_plane",
    "sum_by_group",
    "sweep",
    "sweep_groups",
]

#: An exact solution costs about as much as this many rounds over the types.
_ROUNDS = 10


def _compiled(function):
    """Compile when first called, and keep the outcome on disk, wherever numba finds a place for it."""
    try:
        return njit(nogil=True, cache=True, error_model="numpy")(function)
    except RuntimeError:  # neither beside the package nor at home: a shared install, no home folder
        return njit(nogil=True, error_model="numpy")(function)


def _inlined(function):
    """Compile as part of each kernel that calls it: a call for every spot would cost as much as the work."""
    return njit(nogil=True, error_model="numpy", forceinline=True)(function)


@_inlined
def _add_rows(A, rows, factors, start, stop, times, out):
    """Add ``times factors_p A[rows_p]`` to `out`, for p from `start` to `stop`.

    Four at a time, since `out` goes through memory once for each time.
    """
    p = start
    while p + 4 <= stop:
        a, b, c, d = rows[p], rows[p + 1], rows[p + 2], rows[p + 3]
        of_a, of_b, of_c, of_d = factors[p], factors[p + 1], factors[p + 2], factors[p + 3]
        of_a, of_b, of_c, of_d = times * of_a, times * of_b, times * of_c, times * of_d
        for k in range(out.size):
            out[k] += of_a * A[a, k] + of_b * A[b, k] + of_c * A[c, k] + of_d * A[d, k]
        p += 4
    while p < stop:
        a, of_a = rows[p], times * factors[p]
        for k in range(out.size):
            out[k] += of_a * A[a, k]
        p += 1


@_inlined
def _add_product(M, times, x, out):
    """Add ``times x M`` to `out`, without the rows of `M` for which `x` is zero, four at a time."""
    m = 0
    while m + 4 <= x.size:
        a, b, c, d = times * x[m], times * x[m + 1], times * x[m + 2], times * x[m + 3]
        if a != 0.0 or b != 0.0 or c != 0.0 or d != 0.0:
            for k in range(out.size):
                out[k] += a * M[m, k] + b * M[m + 1, k] + c * M[m + 2, k] + d * M[m + 3, k]
        m += 4
    while m < x.size:
        a = times * x[m]
        if a != 0.0:
            for k in range(out.size):
                out[k] += a * M[m, k]
        m += 1


@_compiled
def rows_in_order(indptr, indices, start, stop):
    """Tell whether the columns of rows `start` to `stop` stand in order, and each once."""
    for i in range(start, stop):
        for p in range(indptr[i] + 1, indptr[i + 1]):
            if indices[p] <= indices[p - 1]:
                return False
    return True


@_compiled
def row_totals(indptr, indices, data, column_used, start, stop, totals):
    """Sum the used columns of rows `start` to `stop` into `totals`."""
    for i in range(start, stop):
        total = 0.0
        for p in range(indptr[i], indptr[i + 1]):
            if column_used[indices[p]]:
                total += data[p]
        totals[i] = total


@_compiled
def add_to_genes(indptr, indices, data, gene_of_column, start, stop, sums):
    """Add rows `start` to `stop` to the `sums` of genes."""
    for p in range(indptr[start], indptr[stop]):
        g = gene_of_column[indices[p]]
        if g >= 0:
            sums[g] += data[p]


@_compiled
def filtered_projections(indptr, indices, data, gene_of_column, filters, archetype, scale, start, stop, b):
    """``b_i = scale_i * filter_a(i)' y_i`` for rows `start` to `stop`; one pass over the non-zeros."""
    longest = 0
    for i in range(start, stop):
        longest = max(longest, indptr[i + 1] - indptr[i])
    genes, values = np.empty(longest, np.int64), np.empty(longest)
    for i in range(start, stop):
        size = 0
        for p in range(indptr[i], indptr[i + 1]):
            g = gene_of_column[indices[p]]
            if g >= 0:
                genes[size], values[size] = g, data[p]
                size += 1
        b[i] = 0.0
        _add_rows(filters[archetype[i]], genes, values, 0, size, scale[i], b[i])


@_compiled
def filtered_grams(ST, filters, start, stop, M):
    """``M_a = filter_a' S'`` for archetypes `start` to `stop`, symmetric but for rounding, and made so."""
    n_genes, n_types = ST.shape
    for a in range(start, stop):
        M[a] = 0.0
        for g in range(n_genes):
            for k in range(n_types):
                value = filters[a, g, k]
                if value != 0.0:
                    for m in range(k + 1):
                        M[a, k, m] += value * ST[g, m]
        for k in range(n_types):
            for m in range(k):
                M[a, m, k] = M[a, k, m]


@_compiled
def assign_to_centers(Z, centers, start, stop, label, distance):
    """Write the nearest center of rows `start` to `stop`, and the squared distance to it.

    `centers` has a column for each: sums over all of them go side by side.
    """
    n_centers = centers.shape[1]
    squared = np.empty(n_centers)
    for i in range(start, stop):
        squared[:] = 0.0
        for k in range(Z.shape[1]):
            z = Z[i, k]
            for a in range(n_centers):
                squared[a] += (z - centers[k, a]) ** 2
        label[i] = np.argmin(squared)
        distance[i] = squared[label[i]]


@_compiled
def sum_by_group(values, label, sums):
    """Add each row of `values` to the `sums` of its group."""
    for i in range(label.size):
        a = label[i]
        for k in range(values.shape[1]):
            sums[a, k] += values[i, k]


@_compiled
def link_both_ways(pairs, places, free, indices, squared):
    """Enter each pair in the rows of both its ends with its squared distance; `free` is a row's next."""
    for q in range(pairs.shape[0]):
        i, j = pairs[q, 0], pairs[q, 1]
        apart = (places[i, 0] - places[j, 0]) ** 2 + (places[i, 1] - places[j, 1]) ** 2
        indices[free[i]], squared[free[i]] = j, apart
        indices[free[j]], squared[free[j]] = i, apart
        free[i] += 1
        free[j] += 1


@_compiled
def color_greedily(indptr, indices, color):
    """Give each node the smallest colour that no neighbour has; return the number of colours."""
    n_colors = 0
    taken = np.full(indptr.size + 1, -1, np.int64)
    for i in range(indptr.size - 1):
        for p in range(indptr[i], indptr[i + 1]):
            j = indices[p]
            if j < i:
                taken[color[j]] = i
        c = 0
        while taken[c] == i:
            c += 1
        color[i] = c
        n_colors = max(n_colors, c + 1)
    return n_colors


@_compiled
def grow_patches(indptr, indices, size, patch):
    """Gather nodes, all in patch -1, into patches of at most `size` neighbours; return how many there are."""
    n_patches = 0
    found = np.empty(size, np.int64)
    for first in range(patch.size):
        if patch[first] >= 0:
            continue
        patch[first], found[0] = n_patches, first
        n_found, n_left = 1, 0
        while n_left < n_found < size:
            i = found[n_left]
            n_left += 1
            for p in range(indptr[i], indptr[i + 1]):
                j = indices[p]
                if patch[j] < 0 and n_found < size:
                    patch[j], found[n_found] = n_patches, j
                    n_found += 1
        n_patches += 1
    return n_patches


@_compiled
def embed_rows(indptr, indices, weight, X, one_over_total, start, stop, Z):
    """``sqrt((p_i + mean_j p_j) / 2)`` of rows `start` to `stop`, the mean over neighbours by `weight`."""
    n_types = X.shape[1]
    around = np.empty(n_types)
    for i in range(start, stop):
        degree = 0.0
        for k in range(n_types):
            around[k] = 0.0
        for p in range(indptr[i], indptr[i + 1]):
            j = indices[p]
            degree += weight[p]
            share = weight[p] * one_over_total[j]
            for k in range(n_types):
                around[k] += share * X[j, k]
        for k in range(n_types):
            own = X[i, k] * one_over_total[i]
            mean = around[k] / degree if degree > 0.0 else own
            Z[i, k] = np.sqrt((own + mean) / 2)


@_compiled
def edge_attention(indptr, indices, Z, sharpness, start, stop, attention):
    """Mean over heads h of ``exp(-1/2 sum_k sharpness_hk (z_ik - z_jk)^2)`` for the edges of some rows."""
    n_heads = sharpness.shape[0]
    for i in range(start, stop):
        for p in range(indptr[i], indptr[i + 1]):
            j = indices[p]
            total = 0.0
            for h in range(n_heads):
                exponent = 0.0
                for k in range(Z.shape[1]):
                    difference = Z[i, k] - Z[j, k]
                    exponent += sharpness[h, k] * difference * difference
                total += np.exp(-0.5 * exponent)
            attention[p] = total / n_heads


@_compiled
def edge_attention_slopes(indptr, indices, Z, sharpness, slope, slopes):
    """Add to ``slopes_hk`` the sum over edges of ``slope_ij d attention_ij / d sharpness_hk``."""
    n_heads, n_features = sharpness.shape
    for i in range(indptr.size - 1):
        for p in range(indptr[i], indptr[i + 1]):
            j = indices[p]
            for h in range(n_heads):
                exponent = 0.0
                for k in range(n_features):
                    difference = Z[i, k] - Z[j, k]
                    exponent += sharpness[h, k] * difference * difference
                factor = -0.5 * slope[p] * np.exp(-0.5 * exponent) / n_heads
                for k in range(n_features):
                    difference = Z[i, k] - Z[j, k]
                    slopes[h, k] += factor * difference * difference


@_inlined
def _gradient(M, scale, shift, target, x, gradient):
    """Gradient of half the spot's objective: ``(scale M + shift I) x - target``."""
    for k in range(x.size):
        gradient[k] = shift * x[k] - target[k]
    _add_product(M, scale, x, gradient)


@_inlined
def _degree(indptr, weight, i):
    degree = 0.0
    for p in range(indptr[i], indptr[i + 1]):
        degree += weight[p]
    return degree


@_inlined
def _spot_target(indptr, indices, weight, X, b, lambda_c, i, target):
    """``b_i + lambda_c sum_j W_ij x_j`` into `target`."""
    for k in range(target.size):
        target[k] = b[i, k]
    if lambda_c > 0.0:
        _add_rows(X, indices, weight, indptr[i], indptr[i + 1], lambda_c, target)


@_inlined
def _curvature(own, shift, typical):
    """What a gradient is divided by to measure it in units of abundance.

    The spot's own curvature with its ties to neighbours (`shift`), but no more than that of the data: a whole
    region may be far off although each spot, tied to its neighbours, could move alone by very little.
    """
    return min(own + shift, max(own, typical))


@_inlined
def _find_steps(diagonal, scale, shift, typical, steps, units):
    """Write by what a gradient is multiplied, for each type: to be minimised, and to be measured."""
    for k in range(diagonal.size):
        own = scale * diagonal[k]
        curvature = _curvature(own, shift, typical[k])
        steps[k] = 1.0 / (own + shift) if own + shift > 0.0 else 0.0
        units[k] = 1.0 / curvature if curvature > 0.0 else 0.0


@_inlined
def _spot_violation(units, x, gradient):
    """Largest ``|min(x_k, g_k / h_k)|``: distance to optimality in units of abundance."""
    worst = 0.0
    for k in range(x.size):
        worst = max(worst, abs(min(x[k], gradient[k] * units[k])))
    return worst


@_inlined
def _move(x, gradient, steps, k):
    """How far type `k` moves to its minimum, or to zero."""
    return max(-gradient * steps[k], -x[k])


@_inlined
def _descend(M, scale, shift, steps, x, gradient):
    """Minimise over one type after the other, in place, with the `gradient` kept up to date.

    Four moves are found before the gradient learns of them, each with what those before it change.
    """
    k = 0
    while k + 4 <= x.size:
        to_a = _move(x, gradient[k], steps, k)
        a = scale * to_a
        to_b = _move(x, gradient[k + 1] + a * M[k, k + 1], steps, k + 1)
        b = scale * to_b
        to_c = _move(x, gradient[k + 2] + a * M[k, k + 2] + b * M[k + 1, k + 2], steps, k + 2)
        c = scale * to_c
        ahead = gradient[k + 3] + a * M[k, k + 3] + b * M[k + 1, k + 3] + c * M[k + 2, k + 3]
        to_d = _move(x, ahead, steps, k + 3)
        d = scale * to_d
        if to_a != 0.0 or to_b != 0.0 or to_c != 0.0 or to_d != 0.0:
            for m in range(x.size):
                gradient[m] += a * M[k, m] + b * M[k + 1, m] + c * M[k + 2, m] + d * M[k + 3, m]
            _move_type(x, gradient, shift, k, to_a)
            _move_type(x, gradient, shift, k + 1, to_b)
            _move_type(x, gradient, shift, k + 2, to_c)
            _move_type(x, gradient, shift, k + 3, to_d)
        k += 4
    while k < x.size:
        to_a = _move(x, gradient[k], steps, k)
        if to_a != 0.0:
            a = scale * to_a
            for m in range(x.size):
                gradient[m] += a * M[k, m]
            _move_type(x, gradient, shift, k, to_a)
        k += 1


@_inlined
def _move_type(x, gradient, shift, k, by):
    x[k] += by
    gradient[k] += shift * by


@_compiled
def _factor_on(support, size, M, scale, shift, L):
    """Write the Cholesky factor of ``scale M + shift I`` on `support`.

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
                L[r, c] = total / L[c, c]
            elif total <= 1e-12 * full:
                return r
            else:
                L[r, r] = np.sqrt(total)
    return -1


@_compiled
def _substitute(support, size, L, target, solution):
    """Solve ``L L' z = target`` on `support`."""
    for r in range(size):
        total = target[support[r]]
        for q in range(r):
            total -= L[r, q] * solution[q]
        solution[r] = total / L[r, r]
    for r in range(size - 1, -1, -1):
        total = solution[r]
        for q in range(r + 1, size):
            total -= L[q, r] * solution[q]
        solution[r] = total / L[r, r]


@_compiled
def _drop(support, size, r):
    for q in range(r, size - 1):
        support[q] = support[q + 1]
    return size - 1


@_compiled
def _minimise_on_support(M, scale, shift, target, x, support, size, L, solution):
    """Move `x` to the minimiser on its support, dropping types that reach zero; return the support's size."""
    while size > 0:
        singular = _factor_on(support, size, M, scale, shift, L)
        if singular >= 0:
            x[support[singular]] = 0.0
            size = _drop(support, size, singular)
            continue
        _substitute(support, size, L, target, solution)
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
        size = _drop(support, size, blocking)
    return size


@_compiled
def _improve_spot(
    M, scale, shift, steps, units, target, gap, tolerance, x, gradient, support, L, solution, barred
):
    """Minimise the spot's objective over ``x >= 0``, from its `gradient` and violation `gap`.

    One type after the other where this is quicker, as when neighbours hold the spot; else exactly.
    """
    while gap > tolerance:
        before = gap
        _descend(M, scale, shift, steps, x, gradient)
        gap = _spot_violation(units, x, gradient)
        if gap * (gap / before) ** _ROUNDS > tolerance:
            _solve_spot(M, scale, shift, units, target, tolerance, x, gradient, support, L, solution, barred)
            return


@_compiled
def _solve_spot(M, scale, shift, units, target, tolerance, x, gradient, support, L, solution, barred):
    """Minimise the spot's objective over ``x >= 0``: an active-set method that starts from `x`.

    Every step lowers the objective and ends at the minimiser on a support, so it ends after finitely
    many supports (Lawson and Hanson 1974, chapter 23; warm start after Bro and de Jong 1997).
    """
    n_types = x.size
    size = 0
    for k in range(n_types):
        barred[k] = False
        if x[k] > 0.0:
            support[size] = k
            size += 1
    size = _minimise_on_support(M, scale, shift, target, x, support, size, L, solution)
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
        size = _minimise_on_support(M, scale, shift, target, x, support, size + 1, L, solution)
        # A type that leaves as it enters is implied by the others: do not try it again.
        barred[entering] = x[entering] == 0.0


@_compiled
def sweep(
    spots,
    indptr,
    indices,
    weight,
    M,
    archetype,
    scale,
    diagonal,
    b,
    lambda_r,
    lambda_c,
    typical,
    tolerance,
    enough,
    X,
):
    """Minimise over each of `spots` in turn, the others fixed.

    What is left of a spot's violation is at most `tolerance`, or the part `enough` of it. `diagonal` is that
    of each matrix of `M`, side by side.
    """
    n_types = X.shape[1]
    target, gradient = np.empty(n_types), np.empty(n_types)
    steps, units = np.empty(n_types), np.empty(n_types)
    support = np.empty(n_types, np.int64)
    L = np.empty((n_types, n_types))
    solution = np.empty(n_types)
    barred = np.empty(n_types, np.bool_)
    for i in spots:
        _spot_target(indptr, indices, weight, X, b, lambda_c, i, target)
        shift, c = lambda_r + lambda_c * _degree(indptr, weight, i), scale[i]
        gram, x = M[archetype[i]], X[i]
        _gradient(gram, c, shift, target, x, gradient)
        _find_steps(diagonal[archetype[i]], c, shift, typical, steps, units)
        gap = _spot_violation(units, x, gradient)
        if gap > tolerance:
            aim = max(tolerance, enough * gap)
            _improve_spot(
                gram, c, shift, steps, units, target, gap, aim, x, gradient, support, L, solution, barred
            )


@_compiled
def apply_hessian(start, stop, indptr, indices, weight, M, archetype, scale, lambda_r, lambda_c, X, HX):
    """``HX = (c M + lambda_r) X + lambda_c (D - W) X`` for rows `start` to `stop`."""
    for i in range(start, stop):
        shift, image = lambda_r + lambda_c * _degree(indptr, weight, i), HX[i]
        for k in range(image.size):
            image[k] = shift * X[i, k]
        _add_product(M[archetype[i]], scale[i], X[i], image)
        if lambda_c > 0.0:
            _add_rows(X, indices, weight, indptr[i], indptr[i + 1], -lambda_c, image)


@_compiled
def kkt_violations(
    spots,
    indptr,
    indices,
    weight,
    M,
    archetype,
    scale,
    diagonal,
    b,
    lambda_r,
    lambda_c,
    typical,
    X,
    violations,
):
    """Write the largest ``|min(x_k, g_k / h_k)|`` of each of `spots`, with ``g = H X - b``."""
    target, gradient = np.empty(X.shape[1]), np.empty(X.shape[1])
    steps, units = np.empty(X.shape[1]), np.empty(X.shape[1])
    for i in spots:
        _spot_target(indptr, indices, weight, X, b, lambda_c, i, target)
        shift = lambda_r + lambda_c * _degree(indptr, weight, i)
        _gradient(M[archetype[i]], scale[i], shift, target, X[i], gradient)
        _find_steps(diagonal[archetype[i]], scale[i], shift, typical, steps, units)
        violations[i] = _spot_violation(units, X[i], gradient)


@_compiled
def mark_around(spots, indptr, indices, marked):
    """Mark `spots` and their neighbours."""
    for i in spots:
        marked[i] = True
        for p in range(indptr[i], indptr[i + 1]):
            marked[indices[p]] = True


@_compiled
def group_neighbors(indptr, indices, weight, least, strength, group):
    """Gather each spot and its strong neighbours into groups; return the number of groups.

    An edge is strong if its weight is at least `strength` times the largest at either end. First whole
    neighbourhoods that are still free become groups, then the rest joins its strongest neighbour's, also by
    way of others that joined. Edges below the `least` of either end do not count, and a spot without any
    that does is in no group: -1.
    """
    n_spots = indptr.size - 1
    n_groups = 0
    largest = np.zeros(n_spots)
    for i in range(n_spots):
        group[i] = -1
        for p in range(indptr[i], indptr[i + 1]):
            if weight[p] >= max(least[i], least[indices[p]]):
                largest[i] = max(largest[i], weight[p])
    for i in range(n_spots):
        is_free = group[i] < 0
        n_strong = 0
        for p in range(indptr[i], indptr[i + 1]):
            j = indices[p]
            if _is_strong(weight[p], least, largest, strength, i, j):
                n_strong += 1
                is_free = is_free and group[j] < 0
        if is_free and n_strong > 0:
            group[i] = n_groups
            for p in range(indptr[i], indptr[i + 1]):
                if _is_strong(weight[p], least, largest, strength, i, indices[p]):
                    group[indices[p]] = n_groups
            n_groups += 1
    joined = 1
    while joined > 0:
        joined = 0
        before = group.copy()
        for i in range(n_spots):
            strongest = 0.0
            if before[i] < 0:
                for p in range(indptr[i], indptr[i + 1]):
                    j = indices[p]
                    counts = weight[p] >= max(least[i], least[j])
                    if counts and before[j] >= 0 and weight[p] > strongest:
                        group[i], strongest = before[j], weight[p]
            joined += before[i] < 0 and group[i] >= 0
    return n_groups


@_compiled
def _is_strong(weight, least, largest, strength, i, j):
    return weight > 0.0 and weight >= max(least[i], least[j], strength * max(largest[i], largest[j]))


@_compiled
def link_groups(start_of, members, group, indptr, indices, group_indptr, group_indices):
    """List the other groups that each group's members are linked to; return the number of links.

    Groups come in the order in which the members meet them, each once.
    """
    n_groups = start_of.size - 1
    met = np.full(n_groups, -1, np.int64)
    n_links = 0
    group_indptr[0] = 0
    for a in range(n_groups):
        for r in range(start_of[a], start_of[a + 1]):
            i = members[r]
            for p in range(indptr[i], indptr[i + 1]):
                c = group[indices[p]]
                if c >= 0 and c != a and met[c] != a:
                    met[c] = a
                    group_indices[n_links] = c
                    n_links += 1
        group_indptr[a + 1] = n_links
    return n_links


@_compiled
def reach_of_groups(start, stop, start_of, members, share, X, reach):
    """For the groups `start` to `stop`: `share` times the mean over the members that have a type."""
    count = np.empty(X.shape[1])
    for a in range(start, stop):
        count[:] = 0.0
        reach[a] = 0.0
        for r in range(start_of[a], start_of[a + 1]):
            i = members[r]
            for k in range(count.size):
                reach[a, k] += X[i, k]
                count[k] += X[i, k] > 0.0
        for k in range(count.size):
            reach[a, k] = share * reach[a, k] / max(count[k], 1.0)


@_inlined
def _part(x, per_reach):
    """How far a member with abundance `x` moves when its group moves by 1: less where it would pass zero."""
    return min(x * per_reach, 1.0)


@_inlined
def _link(group_indptr, group_indices, a, c):
    q = group_indptr[a]
    while group_indices[q] != c:
        q += 1
    return q


@_inlined
def _diagonal(k):
    """Where a packed lower triangle, row after row, holds its entry (k, k)."""
    return k * (k + 3) // 2


@_inlined
def _unpack(triangles, a, block):
    """Write the symmetric matrix of a packed lower triangle."""
    q = 0
    for k in range(block.shape[0]):
        for m in range(k + 1):
            block[k, m] = triangles[a, q + m]
        for m in range(k):
            block[m, k] = block[k, m]
        q += k + 1


@_inlined
def _pack(block, a, triangles):
    """Write the lower triangle of a matrix, of which nothing else is read."""
    q = 0
    for k in range(block.shape[0]):
        for m in range(k + 1):
            triangles[a, q + m] = block[k, m]
        q += k + 1


@_inlined
def _add_follower(M, scale, own, block):
    """Add ``scale P M P`` to the lower triangle of `block`; P says how far a member follows."""
    for m in range(own.size):
        if own[m] > 0.0:
            value = scale * own[m]
            for k in range(m + 1):
                block[m, k] += value * M[m, k] * own[k]


@_inlined
def _close_group(a, group_indptr, group_indices, reach, inner, block, ties, blocks, target):
    """Take what binds the group's members to each other from its block, write it, and add ``H reach``.

    So the problem is one in reach plus step: what is added must be what is written, in single precision.
    """
    for k in range(inner.size):
        block[k, k] -= inner[k]
    _pack(block, a, blocks)
    _unpack(blocks, a, block)
    _add_product(block, 1.0, reach[a], target[a])
    for q in range(group_indptr[a], group_indptr[a + 1]):
        c = group_indices[q]
        for k in range(inner.size):
            target[a, k] -= ties[q, k] * reach[c, k]


@_compiled
def group_spots(
    start,
    stop,
    start_of,
    members,
    group,
    group_indptr,
    group_indices,
    reach,
    per_reach,
    indptr,
    indices,
    weight,
    M,
    archetype,
    scale,
    lambda_r,
    lambda_c,
    b,
    X,
    blocks,
    ties,
    target,
):
    """Write the problem of moving groups of spots, for the groups `start` to `stop`.

    With ``p_ik = min(x_ik / reach_ak, 1)``, how far member i follows its group a: ``blocks = P' H P`` within
    a group (its lower triangle), ``-ties`` between groups, and ``target = P' (b - H X) + (P' H P) reach``.
    """
    n_types = X.shape[1]
    own, residual, inner = np.empty(n_types), np.empty(n_types), np.empty(n_types)
    block = np.empty((n_types, n_types))
    for a in range(start, stop):
        block[:] = 0.0
        inner[:] = 0.0
        target[a] = 0.0
        for q in range(group_indptr[a], group_indptr[a + 1]):
            ties[q] = 0.0
        for r in range(start_of[a], start_of[a + 1]):
            i = members[r]
            shift = lambda_r + lambda_c * _degree(indptr, weight, i)
            _spot_target(indptr, indices, weight, X, b, lambda_c, i, residual)
            _add_product(M[archetype[i]], -scale[i], X[i], residual)
            for k in range(n_types):
                own[k] = _part(X[i, k], per_reach[a, k])
            for k in range(n_types):
                target[a, k] += own[k] * (residual[k] - shift * X[i, k])
            for k in range(n_types):
                inner[k] -= shift * own[k] * own[k]
            _add_follower(M[archetype[i]], scale[i], own, block)
            for p in range(indptr[i], indptr[i + 1]):
                j = indices[p]
                c, value = group[j], lambda_c * weight[p]
                if c == a:
                    for k in range(n_types):
                        inner[k] += value * own[k] * _part(X[j, k], per_reach[a, k])
                elif c >= 0:
                    q = _link(group_indptr, group_indices, a, c)
                    for k in range(n_types):
                        ties[q, k] += value * own[k] * _part(X[j, k], per_reach[c, k])
        _close_group(a, group_indptr, group_indices, reach, inner, block, ties, blocks, target)


@_compiled
def group_groups(
    start,
    stop,
    start_of,
    members,
    group,
    group_indptr,
    group_indices,
    reach,
    per_reach,
    indptr,
    indices,
    finer_ties,
    finer_blocks,
    b,
    X,
    blocks,
    ties,
    target,
):
    """Write the problem of moving groups of groups, as `group_spots` does for groups of spots."""
    n_types = X.shape[1]
    own, residual, inner = np.empty(n_types), np.empty(n_types), np.empty(n_types)
    block, finer = np.empty((n_types, n_types)), np.empty((n_types, n_types))
    for a in range(start, stop):
        block[:] = 0.0
        inner[:] = 0.0
        target[a] = 0.0
        for q in range(group_indptr[a], group_indptr[a + 1]):
            ties[q] = 0.0
        for r in range(start_of[a], start_of[a + 1]):
            i = members[r]
            for k in range(n_types):
                residual[k] = b[i, k]
            _add_ties(indptr, indices, finer_ties, X, i, residual)
            _unpack(finer_blocks, i, finer)
            _add_product(finer, -1.0, X[i], residual)
            for k in range(n_types):
                own[k] = _part(X[i, k], per_reach[a, k])
            for k in range(n_types):
                target[a, k] += own[k] * residual[k]
            _add_follower(finer, 1.0, own, block)
            for p in range(indptr[i], indptr[i + 1]):
                j = indices[p]
                c = group[j]
                if c == a:
                    for k in range(n_types):
                        inner[k] += finer_ties[p, k] * own[k] * _part(X[j, k], per_reach[a, k])
                elif c >= 0:
                    q = _link(group_indptr, group_indices, a, c)
                    for k in range(n_types):
                        ties[q, k] += finer_ties[p, k] * own[k] * _part(X[j, k], per_reach[c, k])
        _close_group(a, group_indptr, group_indices, reach, inner, block, ties, blocks, target)


@_inlined
def _add_ties(indptr, indices, ties, Y, a, out):
    """Add ``sum_c ties_ac y_c`` to `out`, type by type."""
    p, stop = indptr[a], indptr[a + 1]
    while p + 2 <= stop:
        c, d = indices[p], indices[p + 1]
        for k in range(out.size):
            out[k] += ties[p, k] * Y[c, k] + ties[p + 1, k] * Y[d, k]
        p += 2
    if p < stop:
        c = indices[p]
        for k in range(out.size):
            out[k] += ties[p, k] * Y[c, k]


@_compiled
def sweep_groups(groups, indptr, indices, ties, blocks, target, tolerance, enough, Y):
    """Minimise over each of `groups` in turn, the others fixed, as `sweep` does over spots."""
    n_types = Y.shape[1]
    own, gradient, diagonal = np.empty(n_types), np.empty(n_types), np.empty(n_types)
    steps, units = np.empty(n_types), np.empty(n_types)
    block = np.empty((n_types, n_types))
    support = np.empty(n_types, np.int64)
    L = np.empty((n_types, n_types))
    solution = np.empty(n_types)
    barred = np.empty(n_types, np.bool_)
    for a in groups:
        for k in range(n_types):
            own[k] = target[a, k]
            diagonal[k] = blocks[a, _diagonal(k)]
        _add_ties(indptr, indices, ties, Y, a, own)
        _unpack(blocks, a, block)
        y = Y[a]
        _gradient(block, 1.0, 0.0, own, y, gradient)
        _find_steps(diagonal, 1.0, 0.0, diagonal, steps, units)
        gap = _spot_violation(units, y, gradient)
        aim = max(tolerance, enough * gap)
        _improve_spot(block, 1.0, 0.0, steps, units, own, gap, aim, y, gradient, support, L, solution, barred)


@_compiled
def follow_groups(start, stop, group, reach, per_reach, Y, X):
    """Move the members `start` to `stop` by their groups' steps ``Y - reach``, each by its part of it."""
    for i in range(start, stop):
        a = group[i]
        if a >= 0:
            for k in range(X.shape[1]):
                step = _part(X[i, k], per_reach[a, k]) * (Y[a, k] - reach[a, k])
                X[i, k] = max(X[i, k] + step, 0.0)


@_compiled
def plane_sums(start, stop, X, HX, last, H_last, before, H_before, b, sums):
    """Sums over rows `start` to `stop` that say where the best point of a plane lies.

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


@_compiled
def quadratic_value(start, stop, X, HX, b):
    """``1/2 <X, H X> - <b, X>`` over rows `start` to `stop`."""
    value = 0.0
    for i in range(start, stop):
        for k in range(X.shape[1]):
            # Summed as in `plane_sums`, so that equal points have equal values.
            value -= 0.5 * X[i, k] * (b[i, k] - HX[i, k] + b[i, k])
    return value


@_compiled
def step_in_plane(start, stop, X, last, before, along_new, along_old):
    """Overwrite `before` with the point of the plane at the given weights, cut off at zero."""
    for i in range(start, stop):
        for k in range(X.shape[1]):
            step = along_new * (X[i, k] - last[i, k]) + along_old * (last[i, k] - before[i, k])
            before[i, k] = max(X[i, k] + step, 0.0)


@_compiled
def factor_own_blocks(
    start, stop, indptr, weight, M, archetype, scale, lambda_r, lambda_c, X, support, size, L
):
    """Write the Cholesky factor of each spot's own block of ``H`` on the types it has (``X > 0``)."""
    for i in range(start, stop):
        shift = lambda_r
        for p in range(indptr[i], indptr[i + 1]):
            shift += lambda_c * weight[p]
        size[i] = 0
        for k in range(X.shape[1]):
            if X[i, k] > 0.0:
                support[i, size[i]] = k
                size[i] += 1
        singular = 0
        while singular >= 0:
            singular = _factor_on(support[i], size[i], M[archetype[i]], scale[i], shift, L[i])
            if singular >= 0:
                size[i] = _drop(support[i], size[i], singular)


@_compiled
def solve_own_blocks(start, stop, support, size, L, R, Z):
    """Solve each spot's own block of ``H Z = R`` from its factor; 0 on types that are not in it."""
    solution = np.empty(R.shape[1])
    for i in range(start, stop):
        _substitute(support[i], size[i], L[i], R[i], solution)
        for k in range(R.shape[1]):
            Z[i, k] = 0.0
        for r in range(size[i]):
            Z[i, support[i, r]] = solution[r]


@_compiled
def held_out_score(indptr, indices, data, gene_of_column, ST, total_signature, start, stop, X, score, C):
    """Multinomial log-likelihood per spot of held-out genes given their total, and minus its derivative.

    With ``m_g = x . S_g`` and ``t = x . sum_g S_g``: ``score = sum_g Y_g log(m_g / t)`` and
    ``C = -sum_g Y_g (S_g / m_g - sum_g S_g / t)``.
    """
    n_types = ST.shape[1]
    for i in range(start, stop):
        score[i] = 0.0
        for k in range(n_types):
            C[i, k] = 0.0
        total = 0.0
        for k in range(n_types):
            total += X[i, k] * total_signature[k]
        if total <= 0.0:
            continue
        n_counts = 0.0
        for p in range(indptr[i], indptr[i + 1]):
            g = gene_of_column[indices[p]]
            if g >= 0:
                mean = 0.0
                for k in range(n_types):
                    mean += X[i, k] * ST[g, k]
                score[i] += data[p] * np.log(mean / total)
                n_counts += data[p]
                for k in range(n_types):
                    C[i, k] -= data[p] * ST[g, k] / mean
        for k in range(n_types):
            C[i, k] += n_counts * total_signature[k] / total


@_compiled
def edge_differences(indptr, indices, A, X, start, stop, out):
    """``(a_i - a_j) . (x_i - x_j)`` for the edges of rows `start` to `stop`."""
    for i in range(start, stop):
        for p in range(indptr[i], indptr[i + 1]):
            j = indices[p]
            total = 0.0
            for k in range(X.shape[1]):
                total += (A[i, k] - A[j, k]) * (X[i, k] - X[j, k])
            out[p] = total


@_compiled
def _gather_genes(indptr, indices, data, gene_of_column, i, count, genes):
    """Sum row `i` by gene into `count`, list its genes in `genes` and return how many there are."""
    size = 0
    for p in range(indptr[i], indptr[i + 1]):
        g = gene_of_column[indices[p]]
        if g >= 0 and data[p] != 0:
            if count[g] == 0.0:
                genes[size] = g
                size += 1
            count[g] += data[p]
    return size


@_compiled
def add_gene_moments(indptr, indices, data, gene_of_column, ST, X, scale, start, stop, count, genes, moments):
    """Add ``sum Y``, ``sum Y^2`` and ``sum Y mu`` of rows `start` to `stop` to each gene's `moments`.

    ``mu_i = scale_i x_i S``; `count` is zero before and after.
    """
    for i in range(start, stop):
        for q in range(_gather_genes(indptr, indices, data, gene_of_column, i, count, genes)):
            g = genes[q]
            y, mean = count[g], 0.0
            count[g] = 0.0
            for k in range(X.shape[1]):
                mean += X[i, k] * ST[g, k]
            moments[0, g] += y
            moments[1, g] += y * y
            moments[2, g] += y * scale[i] * mean


@_compiled
def add_to_groups(indptr, indices, data, gene_of_column, group, times, start, stop, sums):
    """Add rows `start` to `stop` by gene, each so many times, to the `sums` of their groups; -1 is none."""
    for i in range(start, stop):
        if group[i] < 0:
            continue
        for p in range(indptr[i], indptr[i + 1]):
            g = gene_of_column[indices[p]]
            if g >= 0:
                sums[group[i], g] += times[i] * data[p]


@_compiled
def proportion_errors(
    tilted,
    level,
    curvature,
    linear,
    square,
    trace,
    archetype,
    scale,
    tie,
    once,
    twice,
    content,
    content_variance,
    X,
    start,
    stop,
    errors,
):
    """Standard errors of the proportions of rows `start` to `stop`, at most 1.

    With every type free, a spot's Hessian is ``P = scale M + tie`` and its right-hand side has the covariance
    ``J = once linear + twice square``; what the neighbours say brings ``tie`` times the ratio of the traces
    of noise and data. All are given in the eigenvectors of their archetype's ``M``. Proportions are
    ``z / sum z``, ``z = x / content``: with `g` the gradient of one of them and ``P a = g``, the variance is
    ``a' J a``, and what the contents bring. `tilted` holds the eigenvectors as rows, divided by the contents,
    and `level` the sums of its rows.
    """
    n_types = X.shape[1]
    inverse, share = np.empty(n_types), np.empty(n_types)
    # Column k of `a` is what belongs to type k, so that sums over them go side by side.
    a, noisy, variance = np.empty((n_types, n_types)), np.empty(n_types), np.empty(n_types)
    noise = np.empty(n_types)
    for i in range(start, stop):
        c = archetype[i]
        total = 0.0
        for k in range(n_types):
            total += X[i, k] / content[k]
        if total <= 0.0:
            errors[i] = np.nan
            continue
        tied = tie[i] * (once[i] * trace[c, 1] + twice[i] * trace[c, 2]) / (scale[i] * trace[c, 0])
        common = 0.0
        for k in range(n_types):
            share[k] = X[i, k] / content[k] / total
            common += share[k] * share[k] * content_variance[k]
        for q in range(n_types):
            inverse[q] = 1.0 / (max(scale[i] * curvature[c, q] + tie[i], 1e-300) * total)
        for k in range(n_types):
            variance[k] = share[k] * share[k] * ((1.0 - 2.0 * share[k]) * content_variance[k] + common)
        for q in range(n_types):
            for k in range(n_types):
                a[q, k] = (tilted[c, q, k] - share[k] * level[c, q]) * inverse[q]
        for q in range(n_types):
            for r in range(q):
                noise[r] = 2.0 * (once[i] * linear[c, q, r] + twice[i] * square[c, q, r])
            noise[q] = once[i] * linear[c, q, q] + twice[i] * square[c, q, q] + tied
            noisy[:] = 0.0
            _add_product(a, 1.0, noise[: q + 1], noisy)
            for k in range(n_types):
                variance[k] += a[q, k] * noisy[k]
        for k in range(n_types):
            errors[i, k] = min(np.sqrt(max(variance[k], 0.0)), 1.0)
