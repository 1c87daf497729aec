"""Compiled functions of the graph of spots: neighbors, coloring, patches."""

from __future__ import annotations

import numpy as np

from napari_spotmix.model.kernels.jit import compiled

__all__ = [
    "color_greedily",
    "find_near",
    "grow_patches",
    "link_groups",
    "mark_around",
    "place_members",
    "sort_rows",
    "squared_lengths",
]


@compiled
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


@compiled
def sort_rows(indptr, indices, start, stop):
    """Put the columns of rows `start` to `stop` in order."""
    for i in range(start, stop):
        indices[indptr[i] : indptr[i + 1]].sort()


@compiled
def squared_lengths(indptr, indices, places, start, stop, squared):
    """Write how far the ends of each edge of rows `start` to `stop` are apart, squared."""
    for i in range(start, stop):
        for p in range(indptr[i], indptr[i + 1]):
            j = indices[p]
            squared[p] = (places[i, 0] - places[j, 0]) ** 2 + (places[i, 1] - places[j, 1]) ** 2


@compiled
def color_greedily(indptr, indices, color):
    """Give each node the smallest color that no neighbor has; return the number of colors."""
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
def place_members(group, free, members):
    """List each group's nodes in order; `free` is where the next one goes. Nodes in group -1 are left out."""
    for i in range(group.size):
        a = group[i]
        if a >= 0:
            members[free[a]] = i
            free[a] += 1


@compiled
def grow_patches(indptr, indices, size, patch):
    """Gather nodes, all in patch -1, into patches of at most `size` neighbors; return how many there are."""
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
def mark_around(spots, indptr, indices, marked):
    """Mark `spots` and their neighbors."""
    for i in spots:
        marked[i] = True
        for p in range(indptr[i], indptr[i + 1]):
            marked[indices[p]] = True


@compiled
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
