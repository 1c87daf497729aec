"""Kernels of the graph of spots: neighbors, coloring, patches."""

from __future__ import annotations

import numpy as np

from napari_spotmix.model.kernels.jit import compiled, inlined

__all__ = [
    "color_greedily",
    "couple_aggregates",
    "find_near",
    "grow_patches",
    "list_members",
    "mark_around",
    "sort_rows",
    "squared_lengths",
]


@compiled
def find_near(start, stop, strips, radius, free, indices):
    """Find all spots at most `radius` away from the spots of strips `start` to `stop`.

    A neighbor of spot i is written to ``indices[free[i]]``, if `indices` is not empty, and ``free[i]`` moves
    on by one.
    """
    first_of_strip, strip, order, coordinates = strips
    for s in range(start, stop):
        for t in range(max(s - 1, 0), min(s + 2, strip.size)):
            if abs(strip[t] - strip[s]) > 1.0:
                continue
            first = first_of_strip[t]
            for p in range(first_of_strip[s], first_of_strip[s + 1]):
                x, y, i = coordinates[p, 0], coordinates[p, 1], order[p]
                while first < first_of_strip[t + 1] and x - coordinates[first, 0] > radius:
                    first += 1
                q = first
                while q < first_of_strip[t + 1] and coordinates[q, 0] - x <= radius:
                    dx, dy = coordinates[q, 0] - x, coordinates[q, 1] - y
                    if q != p and dx**2 + dy**2 <= radius * radius:
                        if indices.size > 0:
                            indices[free[i]] = order[q]
                        free[i] += 1
                    q += 1


@compiled
def sort_rows(edges, start, stop):
    """Sort the neighbors of rows `start` to `stop`, in place."""
    indptr, indices = edges
    for i in range(start, stop):
        _sort(indices[indptr[i] : indptr[i + 1]])


@inlined
def _sort(numbers):
    """Sort in place by Shell's method: numba's own sort takes more than a second to compile."""
    gap = 1
    while 3 * gap < numbers.size:
        gap = 3 * gap + 1
    while gap > 0:
        for r in range(gap, numbers.size):
            number, q = numbers[r], r
            while q >= gap and numbers[q - gap] > number:
                numbers[q] = numbers[q - gap]
                q -= gap
            numbers[q] = number
        gap //= 3


@compiled
def squared_lengths(edges, coordinates, start, stop, squared):
    """Write the squared length of each edge of rows `start` to `stop`."""
    indptr, indices = edges
    for i in range(start, stop):
        for p in range(indptr[i], indptr[i + 1]):
            j = indices[p]
            dx, dy = coordinates[i, 0] - coordinates[j, 0], coordinates[i, 1] - coordinates[j, 1]
            squared[p] = dx**2 + dy**2


@compiled
def color_greedily(edges, color):
    """Give each node the smallest color that no neighbor has; return the number of colors."""
    indptr, indices = edges
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


@compiled
def list_members(group, free, members):
    """List each group's nodes in order, without those of group -1.

    ``free[a]`` is where the next node of group a is written; it moves on.
    """
    for i in range(group.size):
        a = group[i]
        if a >= 0:
            members[free[a]] = i
            free[a] += 1


@compiled
def grow_patches(edges, size, patch):
    """Gather nodes into connected patches of at most `size`; return the number of patches.

    `patch` is -1 for all nodes before.
    """
    indptr, indices = edges
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


@compiled
def mark_around(spots, edges, marked):
    """Mark `spots` and their neighbors."""
    indptr, indices = edges
    for i in spots:
        marked[i] = True
        for p in range(indptr[i], indptr[i + 1]):
            marked[indices[p]] = True


@compiled
def couple_aggregates(aggregates, edges, coarse_indptr, coarse_indices):
    """List the other aggregates that the members of each have edges to; return the number of coarse edges.

    Aggregates are listed in the order in which the members meet them, each once.
    """
    start_of, members, aggregate = aggregates
    indptr, indices = edges
    n_aggregates = start_of.size - 1
    met = np.full(n_aggregates, -1, np.int64)
    n_edges = 0
    coarse_indptr[0] = 0
    for a in range(n_aggregates):
        for r in range(start_of[a], start_of[a + 1]):
            i = members[r]
            for p in range(indptr[i], indptr[i + 1]):
                c = aggregate[indices[p]]
                if c >= 0 and c != a and met[c] != a:
                    met[c] = a
                    coarse_indices[n_edges] = c
                    n_edges += 1
        coarse_indptr[a + 1] = n_edges
    return n_edges
