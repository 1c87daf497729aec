"""Compiled functions of the multigrid cycle: strength of connection, aggregates, coarse matrices."""

from __future__ import annotations

import numpy as np

from napari_spotmix.model.kernels.jit import add_product, compiled, copy, inlined, thirds
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
    empty_lanes,
    fill_lanes,
    improve_batch,
    make_room,
    side_by_side,
    solve_lane,
    spot_target,
)

__all__ = [
    "follow_groups",
    "group_groups",
    "group_neighbors",
    "group_spots",
    "reach_of_groups",
    "sweep_groups",
]


@compiled
def group_neighbors(indptr, indices, weight, least, strength, group):
    """Gather each spot and its strong neighbors into groups; return the number of groups.

    An edge is strong if its weight is at least `strength` times the largest at either end. First whole
    neighborhoods that are still free become groups, then the rest joins its strongest neighbor's, also by
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


@compiled
def _is_strong(weight, least, largest, strength, i, j):
    return weight > 0.0 and weight >= max(least[i], least[j], strength * max(largest[i], largest[j]))


@compiled
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


@inlined
def _part(x, per_reach):
    """How far a member with abundance `x` moves when its group moves by 1: less where it would pass zero."""
    return min(x * per_reach, 1.0)


@inlined
def _add_tie(times, own, X, j, per_reach, c, ties, q):
    """Add to a row of `ties` so many times what binds a member that follows by `own` to `j` of group `c`."""
    k = 0
    while WIDTH <= own.size > k:
        k, m, o = thirds(k, own.size)
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


@inlined
def _parts(X, j, per_reach, c, k):
    """As `_part`, for some types."""
    return smaller(load(X, j, k) * load(per_reach, c, k), 1.0)


@inlined
def _link(group_indptr, group_indices, a, c, last):
    """Return where group `a` is linked to `c`: mostly where it was last."""
    if group_indices[last] == c:
        return last
    q = group_indptr[a]
    while group_indices[q] != c:
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
def _unpack_lanes(triangles, stack):
    """As `_unpack`, for several matrices side by side."""
    q = 0
    for k in range(stack.shape[0]):
        for m in range(k + 1):
            entries = load(triangles, q, 0)
            store(entries, stack, k, m)
            store(entries, stack, m, k)
            q += 1


@inlined
def _pack(block, a, triangles):
    """Write the lower triangle of a matrix, of which nothing else is read."""
    q = 0
    for k in range(block.shape[0]):
        for m in range(k + 1):
            triangles[a, q + m] = block[k, m]
        q += k + 1


@inlined
def _add_follower(M, scale, own, block):
    """Add ``scale P M P`` to the lower triangle of `block`; P says how far a member follows."""
    for m in range(own.size):
        _add_parts(M, m, scale * own[m], own, block)


@inlined
def _add_parts(M, m, times, own, block):
    """Add a row of `M` to that of `block`, of each type so many times its part, as far as it counts."""
    k = 0
    while k <= m and k + WIDTH <= own.size:
        store(load(block, m, k) + times * load(own, k) * load(M, m, k), block, m, k)
        k += WIDTH
    while k <= m:
        block[m, k] += times * own[k] * M[m, k]
        k += 1


@inlined
def _add_ties(times, indptr, indices, ties, Y, a, out):
    """Add ``times sum_c ties_ac y_c`` to `out`, type by type."""
    k = 0
    while WIDTH <= out.size > k:
        k, m, o = thirds(k, out.size)
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


@compiled
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
    cluster,
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
            spot_target(indptr, indices, weight, X, b, lambda_c, i, residual)
            add_product(M[cluster[i]], -scale[i], X[i], residual)
            for k in range(n_types):
                own[k] = _part(X[i, k], per_reach[a, k])
            for k in range(n_types):
                target[a, k] += own[k] * (residual[k] - shift[i] * X[i, k])
            for k in range(n_types):
                inner[0, k] -= shift[i] * own[k] * own[k]
            _add_follower(M[cluster[i]], scale[i], own, block)
            for p in range(indptr[i], indptr[i + 1]):
                j = indices[p]
                c, value = group[j], lambda_c * weight[p]
                if c == a:
                    _add_tie(value, own, X, j, per_reach, a, inner, 0)
                elif c >= 0:
                    q = _link(group_indptr, group_indices, a, c, q)
                    _add_tie(value, own, X, j, per_reach, c, ties, q)
        _close_group(a, group_indptr, group_indices, reach, inner, block, ties, blocks, target)


@compiled
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
            add_product(finer, -1.0, X[i], residual)
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


@compiled
def sweep_groups(groups, kind, indptr, indices, ties, blocks, target, tolerance, enough, Y):
    """Minimize over each of `groups` in turn, the others fixed, as `sweep` does over spots."""
    n_types, room = Y.shape[1], make_room(Y.shape[1])
    per_group, rows = room[0], room[1]
    store(broadcast(1.0), per_group, SCALE, 0)
    stack, block, none = np.empty((n_types, n_types, WIDTH)), np.empty((n_types, n_types)), np.zeros(n_types)
    n_packed = -(-blocks.shape[1] // WIDTH) * WIDTH
    packed, packed_lanes = np.zeros((WIDTH, n_packed)), np.empty((n_packed, WIDTH))
    first, n_rounds = 0, 0
    while first < groups.size:
        size = batch_size(groups, first, kind)
        for q in range(min(first + WIDTH, groups.size), min(first + 2 * WIDTH, groups.size)):
            prefetch(blocks, groups[q])
            prefetch(target, groups[q])
            for p in range(indptr[groups[q]], indptr[groups[q] + 1]):
                prefetch(ties, p)
        for lane in range(WIDTH):
            # Lanes that are left over do what the first one does.
            a = groups[first + lane] if lane < size else groups[first]
            copy(blocks[a], packed[lane])
            if lane < size:
                copy(target[a], rows[0, lane])
                copy(Y[a], rows[1, lane])
                _add_ties(1.0, indptr, indices, ties, Y, a, rows[0, lane][:n_types])
        fill_lanes(size, room)
        side_by_side(packed, packed_lanes)
        _unpack_lanes(packed_lanes, stack)
        n_needed = improve_batch(stack, none, tolerance, enough, room)
        n_rounds += n_needed
        if n_needed > 0:
            empty_lanes(room)
            for lane in range(size):
                a = groups[first + lane]
                copy(rows[1, lane][:n_types], Y[a])
                if per_group[GAP, lane] > per_group[AIM, lane]:
                    _unpack(blocks, a, block)
                    solve_lane(block, room, lane, Y[a])
        first += size
    return n_rounds


@compiled
def follow_groups(start, stop, group, reach, per_reach, Y, X):
    """Move the members `start` to `stop` by their groups' steps ``Y - reach``, each by its part of it."""
    for i in range(start, stop):
        a = group[i]
        if a >= 0:
            for k in range(X.shape[1]):
                step = _part(X[i, k], per_reach[a, k]) * (Y[a, k] - reach[a, k])
                X[i, k] = max(X[i, k] + step, 0.0)
