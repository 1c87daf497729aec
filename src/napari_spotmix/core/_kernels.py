"""Every compiled function of the project: small, serial, in place, on raw arrays.

All of them release the interpreter lock, so a thread pool runs several at once and a window stays
alive meanwhile. None uses ``parallel=True`` (it aborts the process when two Python threads enter it)
or ``fastmath`` (it breaks checks for NaN). Sums run in a fixed order, so results do not depend on how
the rows are shared out among threads.

What is compiled is kept on disk until this file changes. After a change of :mod:`napari_spotmix.core._lanes`
alone, touch this file too.

Symbols: n spots, G genes, K cell types, A archetypes; ``S`` signatures (K, G), ``ST`` its transpose,
``X`` abundances (n, K), ``M`` Gram matrices (A, K, K), ``W`` edge weights in CSR form; ``shift`` (n,) is what
the penalties add to each spot's diagonal, ``lambda_r + lambda_c sum_j W_ij``.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from napari_spotmix.core._lanes import (
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
    sum_of,
    transpose,
)

__all__ = [
    "COLUMNS",
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
    "find_near",
    "follow_groups",
    "group_groups",
    "group_neighbors",
    "group_spots",
    "grow_patches",
    "held_out_score",
    "kkt_violations",
    "link_groups",
    "mark_around",
    "place_members",
    "plane_sums",
    "proportion_errors",
    "quadratic_value",
    "reach_of_groups",
    "row_totals",
    "rows_in_order",
    "solve_own_blocks",
    "sort_rows",
    "squared_lengths",
    "step_in_plane",
    "sum_by_group",
    "sweep",
    "sweep_groups",
]

#: Columns that `filtered_projections` sums at once.
COLUMNS = 3 * WIDTH
#: An exact solution costs about as much as 2 to the power of this many rounds over the types of a batch.
_DOUBLINGS = 4


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
def _copy(numbers, to):
    for k in range(numbers.size):
        to[k] = numbers[k]


@_inlined
def _row(rows, p):
    return p if rows is None else rows[p]


@_inlined
def _thirds(k, size):
    """Return where the next three sets of lanes begin that go side by side over so many numbers, from `k` on.

    None goes beyond the end: rather they overlap, and are all read before any is written. So that there are
    numbers enough for that, less is done at once where else a few would be left.
    """
    last = k + WIDTH if 3 * WIDTH < size - k < 4 * WIDTH else size - WIDTH
    return k, min(k + WIDTH, last), min(k + 2 * WIDTH, last)


@_inlined
def _add_rows(A, rows, factors, start, stop, times, out):
    """Add ``times factors_p A[rows_p]`` to `out`, for p from `start` to `stop`; without `rows`, ``A[p]``.

    Sums stay in registers until they are done.
    """
    k = 0
    while WIDTH <= out.size > k:
        k, m, o = _thirds(k, out.size)
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


@_inlined
def _dot(A, row, x):
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


@_inlined
def _add_product(M, times, x, out):
    """Add ``times x M`` to `out`."""
    _add_rows(M, None, x, 0, x.size, times, out)


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
    """``b_i = scale_i * filter_a(i)' y_i`` for rows `start` to `stop`.

    `filters` has a column for each type, and as many more, of zeros, that `COLUMNS` goes into them.
    """
    sums = np.empty(filters.shape[2])
    for i in range(start, stop):
        of_genes = filters[archetype[i]]
        for k in range(0, sums.size, COLUMNS):
            first, second, third = broadcast(0.0), broadcast(0.0), broadcast(0.0)
            for p in range(indptr[i], indptr[i + 1]):
                g = gene_of_column[indices[p]]
                if g >= 0:
                    y = np.float64(data[p])
                    first = first + y * load(of_genes, g, k)
                    second = second + y * load(of_genes, g, k + WIDTH)
                    third = third + y * load(of_genes, g, k + 2 * WIDTH)
            store(first, sums, k)
            store(second, sums, k + WIDTH)
            store(third, sums, k + 2 * WIDTH)
        for k in range(b.shape[1]):
            b[i, k] = scale[i] * sums[k]


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
def sum_by_group(values, times, label, sums):
    """Add each row of `values`, so many times, to the `sums` of its group."""
    for i in range(label.size):
        a = label[i]
        for k in range(values.shape[1]):
            sums[a, k] += times[i] * values[i, k]


@_compiled
def find_near(start, stop, first_of_strip, strip, order, places, radius, free, indices):
    """Find all that is at most `radius` away from the spots of strips `start` to `stop`.

    `places` are sorted by strip, and by x within each; `order` says which spots they are. Each that is found
    moves the place in `free` of the spot on by one, and is written there if `indices` has any.
    """
    for s in range(start, stop):
        for t in range(max(s - 1, 0), min(s + 2, strip.size)):
            if abs(strip[t] - strip[s]) > 1.0:
                continue
            first = first_of_strip[t]
            for p in range(first_of_strip[s], first_of_strip[s + 1]):
                x, y, i = places[p, 0], places[p, 1], order[p]
                while first < first_of_strip[t + 1] and x - places[first, 0] > radius:
                    first += 1
                q = first
                while q < first_of_strip[t + 1] and places[q, 0] - x <= radius:
                    if q != p and (places[q, 0] - x) ** 2 + (places[q, 1] - y) ** 2 <= radius * radius:
                        if indices.size > 0:
                            indices[free[i]] = order[q]
                        free[i] += 1
                    q += 1


@_compiled
def sort_rows(indptr, indices, start, stop):
    """Put the columns of rows `start` to `stop` in order."""
    for i in range(start, stop):
        indices[indptr[i] : indptr[i + 1]].sort()


@_compiled
def squared_lengths(indptr, indices, places, start, stop, squared):
    """Write how far the ends of each edge of rows `start` to `stop` are apart, squared."""
    for i in range(start, stop):
        for p in range(indptr[i], indptr[i + 1]):
            j = indices[p]
            squared[p] = (places[i, 0] - places[j, 0]) ** 2 + (places[i, 1] - places[j, 1]) ** 2


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
def place_members(group, free, members):
    """List each group's nodes in order; `free` is where the next one goes. Nodes in group -1 are left out."""
    for i in range(group.size):
        a = group[i]
        if a >= 0:
            members[free[a]] = i
            free[a] += 1


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
    return smaller(own + shift, larger(own, typical))


@_inlined
def _inverse(h):
    """One over `h`, which is not negative, and 0 where it is 0."""
    return smaller(1e300 * h, 1.0) / larger(h, 1e-300)


@_inlined
def _spot_violation(diagonal, scale, shift, typical, x, gradient):
    """Largest ``|min(x_k, g_k / h_k)|``: distance to optimality in units of abundance."""
    k, worst_of_lanes = 0, broadcast(0.0)
    while WIDTH <= x.size > k:
        k = min(k, x.size - WIDTH)
        h = _curvature(scale * load(diagonal, k), shift, load(typical, k))
        least = smaller(load(x, k), load(gradient, k) * _inverse(h))
        worst_of_lanes = larger(worst_of_lanes, larger(least, 0.0 - least))
        k += WIDTH
    worst = largest_of(worst_of_lanes)
    while k < x.size:
        own = scale * diagonal[k]
        curvature = min(own + shift, max(own, typical[k]))
        step = gradient[k] / curvature if curvature > 0.0 else 0.0
        worst = max(worst, abs(min(x[k], step)))
        k += 1
    return worst


@_compiled
def _factor_on(support, size, M, scale, shift, L):
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


@_compiled
def _substitute(support, size, L, target, solution):
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


#: Rows of what each spot of a batch has once.
_SCALE, _SHIFT, _GAP, _AIM = range(4)


@_inlined
def _room(n_types):
    """Return tables for a batch: what each spot has once, rows that become lanes, and lanes by type."""
    padded = -(-n_types // WIDTH) * WIDTH
    return np.zeros((4, WIDTH)), np.zeros((2, WIDTH, padded)), np.zeros((6, padded, WIDTH))


@_inlined
def _tables(room, n_types):
    """Return the lanes by type: target, abundances, these times the scale, gradient, steps and units."""
    of, n = room[2], n_types
    return of[0][:n], of[1][:n], of[2][:n], of[3][:n], of[4][:n], of[5][:n]


@_inlined
def _fill_lanes(size, room):
    """Put the rows of a batch, targets and abundances, into lanes; those left over do what the first does."""
    per_spot, rows, tables = room
    for lane in range(size, WIDTH):
        per_spot[_SCALE, lane], per_spot[_SHIFT, lane] = per_spot[_SCALE, 0], per_spot[_SHIFT, 0]
        _copy(rows[0, 0], rows[0, lane])
        _copy(rows[1, 0], rows[1, lane])
    _side_by_side(rows[0], tables[0])
    _side_by_side(rows[1], tables[1])


@_inlined
def _side_by_side(rows, lanes):
    for k in range(0, lanes.shape[0], WIDTH):
        transpose(rows, 0, k, lanes, k, 0)


@_inlined
def _empty_lanes(room):
    """Put the abundances of a batch back into rows."""
    rows, tables = room[1], room[2]
    for k in range(0, rows.shape[2], WIDTH):
        transpose(tables[1], k, 0, rows[1], 0, k)


@_inlined
def _batch_size(spots, first, kind):
    """Return how many spots from the `first` on are of its kind, as many as there are lanes at the most."""
    stop = min(first + WIDTH, spots.size)
    q = first + 1
    while q < stop and kind[spots[q]] == kind[spots[first]]:
        q += 1
    return q - first


@_compiled
def _solve_lane(M, room, lane, x):
    """Minimise over one spot exactly, from where its batch left it: rare, so its own room is made anew."""
    n_types = x.size
    per_spot, target = room[0], room[1][0, lane][:n_types]
    units = _tables(room, n_types)[5][:, lane].copy()
    scale, shift, aim = per_spot[_SCALE, lane], per_spot[_SHIFT, lane], per_spot[_AIM, lane]
    gradient, solution, L = np.empty(n_types), np.empty(n_types), np.empty((n_types, n_types))
    support, barred = np.empty(n_types, np.int64), np.empty(n_types, np.bool_)
    _solve_spot(M, scale, shift, units, target, aim, x, gradient, support, L, solution, barred)


@_inlined
def _batch_gradient(M, per_spot, target, x, scaled, gradient):
    """Gradients of a batch: ``(scale M + shift I) x - target``, four types at a time."""
    scale, shift = load(per_spot, _SCALE, 0), load(per_spot, _SHIFT, 0)
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


@_inlined
def _batch_steps(M, per_spot, typical, steps, units):
    """Write by what gradients are multiplied: to be minimised, and to be measured (see `_curvature`)."""
    scale, shift = load(per_spot, _SCALE, 0), load(per_spot, _SHIFT, 0)
    for k in range(steps.shape[0]):
        own = scale * entry(M, k, k)
        full, measure = own + shift, _curvature(own, shift, typical[k])
        # One division for both: it takes longer than all else here.
        safe = larger(measure, 1e-50 * full)
        both = _inverse(full * safe)
        store(both * safe, steps, k, 0)
        store(both * full * smaller(1e300 * measure, 1.0), units, k, 0)


@_inlined
def _batch_violation(units, x, gradient):
    """As `_spot_violation`, for a batch."""
    worst = broadcast(0.0)
    for k in range(x.shape[0]):
        least = smaller(load(x, k, 0), load(gradient, k, 0) * load(units, k, 0))
        worst = larger(worst, larger(least, 0.0 - least))
    return worst


@_inlined
def _batch_move(x, gradient, steps, k):
    """As `_move`, for a batch."""
    return larger(0.0 - gradient * load(steps, k, 0), 0.0 - load(x, k, 0))


@_inlined
def _batch_move_type(x, gradient, shift, k, by):
    store(load(x, k, 0) + by, x, k, 0)
    store(load(gradient, k, 0) + shift * by, gradient, k, 0)


@_inlined
def _batch_descend(M, per_spot, steps, x, gradient):
    """As `_descend`, for a batch."""
    scale, shift = load(per_spot, _SCALE, 0), load(per_spot, _SHIFT, 0)
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


@_inlined
def _improve_batch(M, typical, tolerance, enough, room):
    """Minimise over one type after the other as long as this soon brings any spot of the batch to its aim.

    What is left of the violations is written. Return how many rounds spots needed, all together.
    """
    per_spot = room[0]
    target, x, scaled, gradient, steps, units = _tables(room, typical.size)
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
    store(gap, per_spot, _GAP, 0)
    store(aim, per_spot, _AIM, 0)
    return n_rounds


@_inlined
def _prefetch_batch(spots, first, indptr, indices, weight, X, b):
    """Have near what the next batches read, which lies here and there."""
    for q in range(min(first + WIDTH, spots.size), min(first + 2 * WIDTH, spots.size)):
        i = spots[q]
        prefetch(b, i)
        prefetch(indices, indptr[i])
        prefetch(weight, indptr[i])
    for i in spots[first : first + WIDTH]:
        for p in range(indptr[i], indptr[i + 1]):
            prefetch(X, indices[p])


@_compiled
def sweep(
    spots,
    kind,
    indptr,
    indices,
    weight,
    M,
    archetype,
    scale,
    b,
    shift,
    lambda_c,
    typical,
    tolerance,
    enough,
    X,
):
    """Minimise over each of `spots` in turn, the others fixed.

    What is left of a spot's violation is at most `tolerance`, or the part `enough` of it. Spots of one `kind`
    share an archetype and no edge: those that follow each other are done at once, in batches. Return how many
    rounds over the types were needed, of all spots together.
    """
    n_types, room = X.shape[1], _room(X.shape[1])
    per_spot, rows = room[0], room[1]
    first, n_rounds = 0, 0
    while first < spots.size:
        size = _batch_size(spots, first, kind)
        _prefetch_batch(spots, first + WIDTH, indptr, indices, weight, X, b)
        for lane in range(size):
            i = spots[first + lane]
            _spot_target(indptr, indices, weight, X, b, lambda_c, i, rows[0, lane][:n_types])
            per_spot[_SCALE, lane] = scale[i]
            per_spot[_SHIFT, lane] = shift[i]
            _copy(X[i], rows[1, lane])
        _fill_lanes(size, room)
        gram = M[archetype[spots[first]]]
        n_needed = _improve_batch(gram, typical, tolerance, enough, room)
        n_rounds += n_needed
        if n_needed > 0:
            _empty_lanes(room)
            for lane in range(size):
                i = spots[first + lane]
                _copy(rows[1, lane][:n_types], X[i])
                if per_spot[_GAP, lane] > per_spot[_AIM, lane]:
                    _solve_lane(gram, room, lane, X[i])
        first += size
    return n_rounds


@_compiled
def apply_hessian(start, stop, indptr, indices, weight, M, archetype, scale, shift, lambda_c, X, HX):
    """``HX = (c M + shift) X - lambda_c W X`` for rows `start` to `stop`."""
    for i in range(start, stop):
        image = HX[i]
        for k in range(image.size):
            image[k] = shift[i] * X[i, k]
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
    b,
    shift,
    lambda_c,
    typical,
    diagonal,
    X,
    violations,
):
    """Write the largest ``|min(x_k, g_k / h_k)|`` of each of `spots`, with ``g = H X - b``."""
    target, gradient = np.empty(X.shape[1]), np.empty(X.shape[1])
    for i in spots:
        _spot_target(indptr, indices, weight, X, b, lambda_c, i, target)
        _gradient(M[archetype[i]], scale[i], shift[i], target, X[i], gradient)
        own = diagonal[archetype[i]]
        violations[i] = _spot_violation(own, scale[i], shift[i], typical, X[i], gradient)


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
def _add_tie(times, own, X, j, per_reach, c, ties, q):
    """Add to a row of `ties` so many times what binds a member that follows by `own` to `j` of group `c`."""
    k = 0
    while WIDTH <= own.size > k:
        k, m, o = _thirds(k, own.size)
        first = load(ties, q, k) + times * load(own, k) * _parts(X, j, per_reach, c, k)
        second = load(ties, q, m) + times * load(own, m) * _parts(X, j, per_reach, c, m)
        third = load(ties, q, o) + times * load(own, o) * _parts(X, j, per_reach, c, o)
        store(first, ties, q, k)
        store(second, ties, q, m)
        store(third, ties, q, o)
        k = o + WIDTH
    while k < own.size:
        ties[q, k] += times * own[k] * _part(X[j, k], per_reach[c, k])
        k += 1


@_inlined
def _parts(X, j, per_reach, c, k):
    """As `_part`, for some types."""
    return smaller(load(X, j, k) * load(per_reach, c, k), 1.0)


@_inlined
def _link(group_indptr, group_indices, a, c, last):
    """Return where group `a` is linked to `c`: mostly where it was last."""
    if group_indices[last] == c:
        return last
    q = group_indptr[a]
    while group_indices[q] != c:
        q += 1
    return q


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
def _unpack_lanes(triangles, stack):
    """As `_unpack`, for several matrices side by side."""
    q = 0
    for k in range(stack.shape[0]):
        for m in range(k + 1):
            entries = load(triangles, q, 0)
            store(entries, stack, k, m)
            store(entries, stack, m, k)
            q += 1


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
        _add_parts(M, m, scale * own[m], own, block)


@_inlined
def _add_parts(M, m, times, own, block):
    """Add a row of `M` to that of `block`, of each type so many times its part, as far as it counts."""
    k = 0
    while k <= m and k + WIDTH <= own.size:
        store(load(block, m, k) + times * load(own, k) * load(M, m, k), block, m, k)
        k += WIDTH
    while k <= m:
        block[m, k] += times * own[k] * M[m, k]
        k += 1


@_inlined
def _add_ties(times, indptr, indices, ties, Y, a, out):
    """Add ``times sum_c ties_ac y_c`` to `out`, type by type."""
    k = 0
    while WIDTH <= out.size > k:
        k, m, o = _thirds(k, out.size)
        first, second, third = load(out, k), load(out, m), load(out, o)
        for p in range(indptr[a], indptr[a + 1]):
            first = first + times * load(ties, p, k) * load(Y, indices[p], k)
            second = second + times * load(ties, p, m) * load(Y, indices[p], m)
            third = third + times * load(ties, p, o) * load(Y, indices[p], o)
        store(first, out, k)
        store(second, out, m)
        store(third, out, o)
        k = o + WIDTH
    while k < out.size:
        for p in range(indptr[a], indptr[a + 1]):
            out[k] += times * ties[p, k] * Y[indices[p], k]
        k += 1


@_inlined
def _add_packed_product(triangle, x, out):
    """Add the product of a packed symmetric matrix with `x` to `out`."""
    q = 0
    for k in range(x.size):
        total = 0.0
        for m in range(k):
            total += triangle[q + m] * x[m]
            out[m] += triangle[q + m] * x[k]
        out[k] += total + triangle[q + k] * x[k]
        q += k + 1


@_inlined
def _close_group(a, group_indptr, group_indices, reach, inner, block, ties, blocks, target):
    """Take what binds the group's members to each other from its block, write it, and add ``H reach``.

    So the problem is one in reach plus step: what is added must be what is written, in single precision.
    """
    for k in range(inner.size):
        # Of what ties cancel, rounding may leave less than nothing.
        block[k, k] = max(block[k, k] - inner[0, k], 0.0)
    _pack(block, a, blocks)
    _add_packed_product(blocks[a], reach[a], target[a])
    _add_ties(-1.0, group_indptr, group_indices, ties, reach, a, target[a])


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
    shift,
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
    own, residual, inner = np.empty(n_types), np.empty(n_types), np.empty((1, n_types))
    block = np.empty((n_types, n_types))
    for a in range(start, stop):
        block[:] = 0.0
        inner[:] = 0.0
        target[a] = 0.0
        for q in range(group_indptr[a], group_indptr[a + 1]):
            ties[q] = 0.0
        q = group_indptr[a]
        for r in range(start_of[a], start_of[a + 1]):
            i = members[r]
            _spot_target(indptr, indices, weight, X, b, lambda_c, i, residual)
            _add_product(M[archetype[i]], -scale[i], X[i], residual)
            for k in range(n_types):
                own[k] = _part(X[i, k], per_reach[a, k])
            for k in range(n_types):
                target[a, k] += own[k] * (residual[k] - shift[i] * X[i, k])
            for k in range(n_types):
                inner[0, k] -= shift[i] * own[k] * own[k]
            _add_follower(M[archetype[i]], scale[i], own, block)
            for p in range(indptr[i], indptr[i + 1]):
                j = indices[p]
                c, value = group[j], lambda_c * weight[p]
                if c == a:
                    _add_tie(value, own, X, j, per_reach, a, inner, 0)
                elif c >= 0:
                    q = _link(group_indptr, group_indices, a, c, q)
                    _add_tie(value, own, X, j, per_reach, c, ties, q)
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
    own, tied, residual = np.empty(n_types), np.empty(n_types), np.empty(n_types)
    inner = np.empty((1, n_types))
    block, finer = np.empty((n_types, n_types)), np.empty((n_types, n_types))
    for a in range(start, stop):
        block[:] = 0.0
        inner[:] = 0.0
        target[a] = 0.0
        for q in range(group_indptr[a], group_indptr[a + 1]):
            ties[q] = 0.0
        q = group_indptr[a]
        for r in range(start_of[a], start_of[a + 1]):
            i = members[r]
            for k in range(n_types):
                residual[k] = b[i, k]
            _add_ties(1.0, indptr, indices, finer_ties, X, i, residual)
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
                for k in range(n_types):
                    tied[k] = finer_ties[p, k] * own[k]
                if c == a:
                    _add_tie(1.0, tied, X, j, per_reach, a, inner, 0)
                elif c >= 0:
                    q = _link(group_indptr, group_indices, a, c, q)
                    _add_tie(1.0, tied, X, j, per_reach, c, ties, q)
        _close_group(a, group_indptr, group_indices, reach, inner, block, ties, blocks, target)


@_compiled
def sweep_groups(groups, kind, indptr, indices, ties, blocks, target, tolerance, enough, Y):
    """Minimise over each of `groups` in turn, the others fixed, as `sweep` does over spots."""
    n_types, room = Y.shape[1], _room(Y.shape[1])
    per_group, rows = room[0], room[1]
    store(broadcast(1.0), per_group, _SCALE, 0)
    stack, block, none = np.empty((n_types, n_types, WIDTH)), np.empty((n_types, n_types)), np.zeros(n_types)
    n_packed = -(-blocks.shape[1] // WIDTH) * WIDTH
    packed, packed_lanes = np.zeros((WIDTH, n_packed)), np.empty((n_packed, WIDTH))
    first, n_rounds = 0, 0
    while first < groups.size:
        size = _batch_size(groups, first, kind)
        for q in range(min(first + WIDTH, groups.size), min(first + 2 * WIDTH, groups.size)):
            prefetch(blocks, groups[q])
            prefetch(target, groups[q])
            for p in range(indptr[groups[q]], indptr[groups[q] + 1]):
                prefetch(ties, p)
        for lane in range(WIDTH):
            # Lanes that are left over do what the first one does.
            a = groups[first + lane] if lane < size else groups[first]
            _copy(blocks[a], packed[lane])
            if lane < size:
                _copy(target[a], rows[0, lane])
                _copy(Y[a], rows[1, lane])
                _add_ties(1.0, indptr, indices, ties, Y, a, rows[0, lane][:n_types])
        _fill_lanes(size, room)
        _side_by_side(packed, packed_lanes)
        _unpack_lanes(packed_lanes, stack)
        n_needed = _improve_batch(stack, none, tolerance, enough, room)
        n_rounds += n_needed
        if n_needed > 0:
            _empty_lanes(room)
            for lane in range(size):
                a = groups[first + lane]
                _copy(rows[1, lane][:n_types], Y[a])
                if per_group[_GAP, lane] > per_group[_AIM, lane]:
                    _unpack(blocks, a, block)
                    _solve_lane(block, room, lane, Y[a])
        first += size
    return n_rounds


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
def factor_own_blocks(start, stop, M, archetype, scale, shift, X, support, size, L):
    """Write the Cholesky factor of each spot's own block of ``H`` on the types it has (``X > 0``)."""
    for i in range(start, stop):
        size[i] = 0
        for k in range(X.shape[1]):
            if X[i, k] > 0.0:
                support[i, size[i]] = k
                size[i] += 1
        singular = 0
        while singular >= 0:
            singular = _factor_on(support[i], size[i], M[archetype[i]], scale[i], shift[i], L[i])
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
    longest = 0
    for i in range(start, stop):
        longest = max(longest, indptr[i + 1] - indptr[i])
    genes, factors = np.empty(longest, np.int64), np.empty(longest)
    for i in range(start, stop):
        score[i] = 0.0
        C[i] = 0.0
        total = 0.0
        for k in range(ST.shape[1]):
            total += X[i, k] * total_signature[k]
        if total <= 0.0:
            continue
        n_counts, size = 0.0, 0
        for p in range(indptr[i], indptr[i + 1]):
            g = gene_of_column[indices[p]]
            if g >= 0:
                mean = _dot(ST, g, X[i])
                score[i] += data[p] * np.log(mean)
                n_counts += data[p]
                genes[size], factors[size] = g, data[p] / mean
                size += 1
        score[i] -= n_counts * np.log(total)
        _add_rows(ST, genes, factors, 0, size, -1.0, C[i])
        for k in range(ST.shape[1]):
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
