"""Kernels of the multigrid cycle: strength of connection, aggregates, prolongation, coarse problems."""

from __future__ import annotations

import numpy as np

from napari_spotmix.model.kernels.jit import compiled, inlined
from napari_spotmix.model.kernels.linear_algebra import add_product, copy, thirds
from napari_spotmix.model.kernels.simd import (
    WIDTH,
    broadcast,
    load,
    prefetch,
    smaller,
    store,
)
from napari_spotmix.model.kernels.sweep import (
    AIM,
    GAP,
    SCALE,
    batch_size,
    improve_batch,
    make_scratch,
    pack_batch,
    solve_lane,
    spot_target,
    transpose_rows,
    unpack_batch,
)

__all__ = [
    "aggregate_neighbors",
    "coarsen_aggregates",
    "coarsen_spots",
    "find_baselines",
    "prolongate",
    "sweep_aggregates",
]


@compiled
def aggregate_neighbors(W, least, strength, aggregate):
    """Gather each node and its strong neighbors into aggregates; return the number of aggregates.

    A connection is strong if its weight is at least `strength` times the largest at either end. First, whole
    neighborhoods that are still free become aggregates; then each other node joins that of its strongest
    neighbor, also by way of others that joined. Edges below the `least` of either end do not count, and a
    node without any edge that counts is in no aggregate: -1.
    """
    indptr, indices, weight = W
    n_nodes = indptr.size - 1
    n_aggregates = 0
    largest = np.zeros(n_nodes)
    for i in range(n_nodes):
        aggregate[i] = -1
        for p in range(indptr[i], indptr[i + 1]):
            if weight[p] >= max(least[i], least[indices[p]]):
                largest[i] = max(largest[i], weight[p])
    for i in range(n_nodes):
        is_free = aggregate[i] < 0
        n_strong = 0
        for p in range(indptr[i], indptr[i + 1]):
            j = indices[p]
            if _is_strong(weight[p], least, largest, strength, i, j):
                n_strong += 1
                is_free = is_free and aggregate[j] < 0
        if is_free and n_strong > 0:
            aggregate[i] = n_aggregates
            for p in range(indptr[i], indptr[i + 1]):
                if _is_strong(weight[p], least, largest, strength, i, indices[p]):
                    aggregate[indices[p]] = n_aggregates
            n_aggregates += 1
    joined = 1
    while joined > 0:
        joined = 0
        before = aggregate.copy()
        for i in range(n_nodes):
            strongest = 0.0
            if before[i] < 0:
                for p in range(indptr[i], indptr[i + 1]):
                    j = indices[p]
                    counts = weight[p] >= max(least[i], least[j])
                    if counts and before[j] >= 0 and weight[p] > strongest:
                        aggregate[i], strongest = before[j], weight[p]
            joined += before[i] < 0 and aggregate[i] >= 0
    return n_aggregates


@compiled
def _is_strong(weight, least, largest, strength, i, j):
    return weight > 0.0 and weight >= max(least[i], least[j], strength * max(largest[i], largest[j]))


@compiled
def find_baselines(start, stop, aggregates, share, X, baseline):
    """For aggregates `start` to `stop`: `share` times the mean over the members that have a type."""
    start_of, members = aggregates.start_of, aggregates.members
    count = np.empty(X.shape[1])
    for a in range(start, stop):
        count[:] = 0.0
        baseline[a] = 0.0
        for r in range(start_of[a], start_of[a + 1]):
            i = members[r]
            for k in range(count.size):
                baseline[a, k] += X[i, k]
                count[k] += X[i, k] > 0.0
        for k in range(count.size):
            baseline[a, k] = share * baseline[a, k] / max(count[k], 1.0)


@inlined
def _weight(x, per_baseline):
    """Prolongation weight: how far a member with abundance `x` moves when its aggregate moves by 1."""
    return min(x * per_baseline, 1.0)


@inlined
def _weights(X, j, per_baseline, c, k):
    """As `_weight`, for a vector of types."""
    return smaller(load(X, j, k) * load(per_baseline, c, k), 1.0)


@inlined
def _add_coupling(times, own, X, j, per_baseline, c, coupling, q):
    """Add ``times own p_j`` to row `q` of `coupling`: an edge to member j of aggregate c."""
    k = 0
    while WIDTH <= own.size > k:
        k, m, o = thirds(k, own.size)
        first = load(coupling, q, k) + times * load(own, k) * _weights(X, j, per_baseline, c, k)
        second = load(coupling, q, m) + times * load(own, m) * _weights(X, j, per_baseline, c, m)
        third = load(coupling, q, o) + times * load(own, o) * _weights(X, j, per_baseline, c, o)
        store(first, coupling, q, k)
        store(second, coupling, q, m)
        store(third, coupling, q, o)
        k = o + WIDTH
    while k < own.size:
        coupling[q, k] += times * own[k] * _weight(X[j, k], per_baseline[c, k])
        k += 1


@inlined
def _edge_between(indptr, indices, a, c, last):
    """Return the number of the edge from aggregate `a` to `c`: mostly the last one again."""
    if indices[last] == c:
        return last
    q = indptr[a]
    while indices[q] != c:
        q += 1
    return q


@inlined
def _unpack(triangles, a, block):
    """Write the symmetric matrix of a packed lower triangle."""
    q = 0
    for k in range(block.shape[0]):
        for m in range(k + 1):
            block[k, m] = triangles[a, q + m]
        for m in range(k):
            block[m, k] = block[k, m]
        q += k + 1


@inlined
def _unpack_stack(triangles, stack):
    """As `_unpack`, for a stack of matrices: a vector for each entry."""
    q = 0
    for k in range(stack.shape[0]):
        for m in range(k + 1):
            entries = load(triangles, q, 0)
            store(entries, stack, k, m)
            store(entries, stack, m, k)
            q += 1


@inlined
def _pack(block, a, triangles):
    """Write the lower triangle of a matrix; its upper triangle is not read."""
    q = 0
    for k in range(block.shape[0]):
        for m in range(k + 1):
            triangles[a, q + m] = block[k, m]
        q += k + 1


@inlined
def _add_member(M, scale, own, block):
    """Add ``scale P M P`` to the lower triangle of `block`, P the member's prolongation weights `own`."""
    for m in range(own.size):
        _add_member_row(M, m, scale * own[m], own, block)


@inlined
def _add_member_row(M, m, times, own, block):
    """Add ``times own M_m`` to the lower triangle's row `m` of `block`."""
    k = 0
    while k <= m and k + WIDTH <= own.size:
        store(load(block, m, k) + times * load(own, k) * load(M, m, k), block, m, k)
        k += WIDTH
    while k <= m:
        block[m, k] += times * own[k] * M[m, k]
        k += 1


@inlined
def _add_coupled(times, indptr, indices, coupling, Y, a, out):
    """Add ``times sum_c coupling_ac y_c`` to `out`, type by type."""
    k = 0
    while WIDTH <= out.size > k:
        k, m, o = thirds(k, out.size)
        first, second, third = load(out, k), load(out, m), load(out, o)
        for p in range(indptr[a], indptr[a + 1]):
            first = first + times * load(coupling, p, k) * load(Y, indices[p], k)
            second = second + times * load(coupling, p, m) * load(Y, indices[p], m)
            third = third + times * load(coupling, p, o) * load(Y, indices[p], o)
        store(first, out, k)
        store(second, out, m)
        store(third, out, o)
        k = o + WIDTH
    while k < out.size:
        for p in range(indptr[a], indptr[a + 1]):
            out[k] += times * coupling[p, k] * Y[indices[p], k]
        k += 1


@inlined
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


@inlined
def _finish_aggregate(a, coarse, baseline, inner, block, target):
    """Subtract the coupling inside an aggregate from its block, store this, and add ``H baseline``.

    The coarse problem is one in baseline plus step: `target` must match `coarse` as it is stored, in single
    precision.
    """
    indptr, indices, coupling, blocks = coarse
    for k in range(inner.size):
        # Where the coupling cancels, rounding may leave less than nothing.
        block[k, k] = max(block[k, k] - inner[0, k], 0.0)
    _pack(block, a, blocks)
    _add_packed_product(blocks[a], baseline[a], target[a])
    _add_coupled(-1.0, indptr, indices, coupling, baseline, a, target[a])


@compiled
def coarsen_spots(start, stop, aggregates, prolongation, H, b, X, coarse, target):
    """Write the problem of moving aggregates of spots, for aggregates `start` to `stop`.

    With the prolongation ``p_ik = min(x_ik / baseline_ak, 1)``, `coarse` is ``P' H P`` and `target` is
    ``P' (b - H X) + (P' H P) baseline``.
    """
    start_of, members, aggregate = aggregates
    baseline, per_baseline = prolongation
    indptr, indices, weight = H.W
    M, cluster, scale, shift, lambda_c = H.M, H.cluster, H.scale, H.shift, H.lambda_c
    coarse_indptr, coarse_indices, coupling = coarse.indptr, coarse.indices, coarse.coupling
    n_types = X.shape[1]
    own, residual, inner = np.empty(n_types), np.empty(n_types), np.empty((1, n_types))
    block = np.empty((n_types, n_types))
    for a in range(start, stop):
        block[:] = 0.0
        inner[:] = 0.0
        target[a] = 0.0
        for q in range(coarse_indptr[a], coarse_indptr[a + 1]):
            coupling[q] = 0.0
        q = coarse_indptr[a]
        for r in range(start_of[a], start_of[a + 1]):
            i = members[r]
            spot_target(indptr, indices, weight, X, b, lambda_c, i, residual)
            add_product(M[cluster[i]], -scale[i], X[i], residual)
            for k in range(n_types):
                own[k] = _weight(X[i, k], per_baseline[a, k])
            for k in range(n_types):
                target[a, k] += own[k] * (residual[k] - shift[i] * X[i, k])
            for k in range(n_types):
                inner[0, k] -= shift[i] * own[k] * own[k]
            _add_member(M[cluster[i]], scale[i], own, block)
            for p in range(indptr[i], indptr[i + 1]):
                j = indices[p]
                c, value = aggregate[j], lambda_c * weight[p]
                if c == a:
                    _add_coupling(value, own, X, j, per_baseline, a, inner, 0)
                elif c >= 0:
                    q = _edge_between(coarse_indptr, coarse_indices, a, c, q)
                    _add_coupling(value, own, X, j, per_baseline, c, coupling, q)
        _finish_aggregate(a, coarse, baseline, inner, block, target)


@compiled
def coarsen_aggregates(start, stop, aggregates, prolongation, finer, b, X, coarse, target):
    """Write the problem of moving aggregates of aggregates, as `coarsen_spots` does for those of spots.

    `finer` is the Hessian of the level whose nodes are aggregated.
    """
    start_of, members, aggregate = aggregates
    baseline, per_baseline = prolongation
    indptr, indices, finer_coupling, finer_blocks = finer
    coarse_indptr, coarse_indices, coupling = coarse.indptr, coarse.indices, coarse.coupling
    n_types = X.shape[1]
    own, coupled, residual = np.empty(n_types), np.empty(n_types), np.empty(n_types)
    inner = np.empty((1, n_types))
    block, finer_block = np.empty((n_types, n_types)), np.empty((n_types, n_types))
    for a in range(start, stop):
        block[:] = 0.0
        inner[:] = 0.0
        target[a] = 0.0
        for q in range(coarse_indptr[a], coarse_indptr[a + 1]):
            coupling[q] = 0.0
        q = coarse_indptr[a]
        for r in range(start_of[a], start_of[a + 1]):
            i = members[r]
            for k in range(n_types):
                residual[k] = b[i, k]
            _add_coupled(1.0, indptr, indices, finer_coupling, X, i, residual)
            _unpack(finer_blocks, i, finer_block)
            add_product(finer_block, -1.0, X[i], residual)
            for k in range(n_types):
                own[k] = _weight(X[i, k], per_baseline[a, k])
            for k in range(n_types):
                target[a, k] += own[k] * residual[k]
            _add_member(finer_block, 1.0, own, block)
            for p in range(indptr[i], indptr[i + 1]):
                j = indices[p]
                c = aggregate[j]
                for k in range(n_types):
                    coupled[k] = finer_coupling[p, k] * own[k]
                if c == a:
                    _add_coupling(1.0, coupled, X, j, per_baseline, a, inner, 0)
                elif c >= 0:
                    q = _edge_between(coarse_indptr, coarse_indices, a, c, q)
                    _add_coupling(1.0, coupled, X, j, per_baseline, c, coupling, q)
        _finish_aggregate(a, coarse, baseline, inner, block, target)


@compiled
def sweep_aggregates(order, kind, coarse, target, tolerance, enough, Y):
    """Minimize over each aggregate in `order`, the others held fixed, as `sweep` does over spots."""
    indptr, indices, coupling, blocks = coarse
    n_types, scratch = Y.shape[1], make_scratch(Y.shape[1])
    per_aggregate, rows = scratch[0], scratch[1]
    store(broadcast(1.0), per_aggregate, SCALE, 0)
    stack, block, none = np.empty((n_types, n_types, WIDTH)), np.empty((n_types, n_types)), np.zeros(n_types)
    n_packed = -(-blocks.shape[1] // WIDTH) * WIDTH
    packed, packed_vectors = np.zeros((WIDTH, n_packed)), np.empty((n_packed, WIDTH))
    first, n_rounds = 0, 0
    while first < order.size:
        size = batch_size(order, first, kind)
        for q in range(min(first + WIDTH, order.size), min(first + 2 * WIDTH, order.size)):
            prefetch(blocks, order[q])
            prefetch(target, order[q])
            for p in range(indptr[order[q]], indptr[order[q] + 1]):
                prefetch(coupling, p)
        for lane in range(WIDTH):
            # Unused lanes do what the first one does.
            a = order[first + lane] if lane < size else order[first]
            copy(blocks[a], packed[lane])
            if lane < size:
                copy(target[a], rows[0, lane])
                copy(Y[a], rows[1, lane])
                _add_coupled(1.0, indptr, indices, coupling, Y, a, rows[0, lane][:n_types])
        pack_batch(size, scratch)
        transpose_rows(packed, packed_vectors)
        _unpack_stack(packed_vectors, stack)
        n_needed = improve_batch(stack, none, tolerance, enough, scratch)
        n_rounds += n_needed
        if n_needed > 0:
            unpack_batch(scratch)
            for lane in range(size):
                a = order[first + lane]
                copy(rows[1, lane][:n_types], Y[a])
                if per_aggregate[GAP, lane] > per_aggregate[AIM, lane]:
                    _unpack(blocks, a, block)
                    solve_lane(block, scratch, lane, Y[a])
        first += size
    return n_rounds


@compiled
def prolongate(start, stop, aggregate, prolongation, Y, X):
    """Move nodes `start` to `stop` by the steps ``Y - baseline`` of their aggregates, each by its weight."""
    baseline, per_baseline = prolongation
    for i in range(start, stop):
        a = aggregate[i]
        if a >= 0:
            for k in range(X.shape[1]):
                step = _weight(X[i, k], per_baseline[a, k]) * (Y[a, k] - baseline[a, k])
                X[i, k] = max(X[i, k] + step, 0.0)
