"""The order in which the nodes of a graph are visited, so that any number of threads finds the same result.

A node's visit reads its neighbors, so two that share an edge must not be visited at once. Nodes are gathered
into patches of neighbors, and patches that share no edge have the same color: those of one color may be
done at once, each from its first node to its last. Single nodes could be colored as well, but then every
color would read all of the tissue, and most of the time would go to waiting for memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from napari_spotmix.base.threads import Threads
from napari_spotmix.model.graph import color_classes
from napari_spotmix.model.kernels import graph as graph_kernels
from napari_spotmix.model.kernels.arguments import Aggregates, Edges

__all__ = ["ColoringOrder", "aggregates_of", "edges_between"]

Nodes = NDArray[np.int64]

#: Most nodes of a patch, so that it stays in the cache, and how many patches a graph of more than one has, so
#: that there is work for all threads; a patch of nodes with kinds should hold several of each.
_PATCHES, _PATCHES_OF_KINDS = (512, 64), (2048, 16)
#: Least nodes that are worth a thread's while.
_SMALLEST = 32


class ColoringOrder:
    """The patches of a graph and their colors.

    Parameters
    ----------
    edges : Edges
    kind : ndarray of int64, shape (n_nodes,), optional
        Nodes of one kind follow each other within a patch; without kinds, nodes keep their order.

    Examples
    --------
    >>> path = ColoringOrder(Edges(np.array([0, 1, 3, 4]), np.array([1, 0, 2, 1])))
    >>> with Threads.of(1) as threads:
    ...     path.visit(lambda nodes: print(nodes), threads)
    [0 1 2]
    """

    def __init__(self, edges: Edges, kind: Nodes | None = None) -> None:
        n_nodes = len(edges.indptr) - 1
        self._largest, self._n_patches = _PATCHES if kind is None else _PATCHES_OF_KINDS
        size = n_nodes if n_nodes <= self._largest else self._patch_size(n_nodes)
        patch = np.full(n_nodes, -1, np.int64)
        n_patches = graph_kernels.grow_patches(edges, size, patch)
        classes = color_classes(edges_between(aggregates_of(patch, n_patches), edges))
        # Patches are numbered in the order in which they are visited, those of one color in a row.
        rank_of_patch = np.empty(n_patches, np.int64)
        rank_of_patch[np.concatenate([*classes, np.empty(0, np.int64)])] = np.arange(n_patches)
        self._rank = rank_of_patch[patch]
        self._first_ranks = np.cumsum([0, *map(len, classes)])[:-1]
        n_kinds = 1 if kind is None else int(kind.max(initial=0)) + 1
        # Nodes are sorted by this: first by the rank of their patch.
        self._key = self._rank if kind is None else self._rank * n_kinds + kind
        self._all = list(self._tasks(aggregates_of(self._key, n_patches * n_kinds).members))

    def visit(
        self,
        kernel: Callable[[Nodes], object],
        threads: Threads,
        *,
        nodes: Nodes | None = None,
        backward: bool = False,
        on_block: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Call the kernel on all nodes, or on some, in this order or the reverse one.

        Parameters
        ----------
        kernel : callable
            Given some nodes, visits them one after the other.
        threads : Threads
        nodes : ndarray of int64, optional
            Sorted.
        backward : bool, optional
        on_block : callable, optional
            Called between parts of the work; what it raises stops it.
        """
        tasks = self._all if nodes is None else list(self._tasks(self._sorted(nodes)))
        for order, cuts in tasks[:: -1 if backward else 1]:

            def some(start: int, stop: int, order: Nodes = order, cuts: Nodes = cuts) -> None:
                mine = order[cuts[start] : cuts[stop]]
                kernel(mine[::-1].copy() if backward else mine)

            threads.over_blocks(some, len(cuts) - 1, block=1, on_block=on_block)

    def _patch_size(self, n_nodes: int) -> int:
        return min(max(n_nodes // self._n_patches, _SMALLEST), self._largest)

    def _sorted(self, nodes: Nodes) -> Nodes:
        return nodes[np.argsort(self._key[nodes], kind="stable")]

    def _tasks(self, nodes: Nodes) -> Iterator[tuple[Nodes, Nodes]]:
        """Yield, for each color, its nodes and where to cut them into parts that share no edge."""
        rank = self._rank[nodes]
        least = self._patch_size(len(nodes))
        bounds = [*np.searchsorted(rank, self._first_ranks), len(nodes)]
        for first, last in pairwise(bounds):
            if first < last:
                starts = np.flatnonzero(np.diff(rank[first:last], prepend=-1))
                cuts = starts[np.diff(starts // least, prepend=-1) > 0]
                yield nodes[first:last], np.append(cuts, last - first)


def aggregates_of(group: NDArray[np.int64], n_groups: int) -> Aggregates:
    """Return the members of each group in order; nodes of group -1 are in none.

    Parameters
    ----------
    group : ndarray of int64, shape (n_nodes,)
    n_groups : int

    Examples
    --------
    >>> start_of, members, _ = aggregates_of(np.array([1, 0, -1, 1]), 2)
    >>> [members[a:b].tolist() for a, b in zip(start_of[:-1], start_of[1:])]
    [[1], [0, 3]]
    """
    start_of = np.zeros(n_groups + 1, np.int64)
    np.cumsum(np.bincount(group + 1, minlength=n_groups + 1)[1:], out=start_of[1:])
    members = np.empty(start_of[-1], np.int64)
    graph_kernels.list_members(group, start_of[:-1].copy(), members)
    return Aggregates(start_of, members, group)


def edges_between(aggregates: Aggregates, edges: Edges) -> Edges:
    """Return the edges between aggregates, given those between their members."""
    indptr, found = np.empty(len(aggregates.start_of), np.int64), np.empty(len(edges.indices), np.int64)
    n_edges = graph_kernels.couple_aggregates(aggregates, edges, indptr, found)
    return Edges(indptr, found[:n_edges].copy())
