"""In which order the nodes of a graph are visited, so that many threads find what one would.

A node's visit reads its neighbors, so two that are linked must not be visited at once. Nodes are gathered
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
from napari_spotmix.model.graph import Links, color_classes
from napari_spotmix.model.kernels import graph as graph_kernels

__all__ = ["Turns", "links_between", "members_of"]

Nodes = NDArray[np.int64]

#: Most nodes of a patch, so that it stays in the cache, and how many patches a graph of more than one has, so
#: that there is work for all threads; of nodes with kinds a patch should hold several of each.
_PARTS, _PARTS_OF_KINDS = (512, 64), (2048, 16)
#: Least nodes that are worth a thread's while.
_SMALLEST = 32


class Turns:
    """The patches of a graph and their colors.

    Parameters
    ----------
    links : Links
    kind : ndarray of int64, shape (n_nodes,), optional
        Nodes of one kind follow each other within a patch, not as they come.

    Examples
    --------
    >>> path = Turns((np.array([0, 1, 3, 4]), np.array([1, 0, 2, 1])))
    >>> with Threads.of(1) as threads:
    ...     path.visit(lambda nodes: print(nodes), threads)
    [0 1 2]
    """

    def __init__(self, links: Links, kind: Nodes | None = None) -> None:
        n_nodes = len(links[0]) - 1
        self._largest, self._n_parts = _PARTS if kind is None else _PARTS_OF_KINDS
        size = n_nodes if n_nodes <= self._largest else self._part_of(n_nodes)
        patch = np.full(n_nodes, -1, np.int64)
        n_patches = graph_kernels.grow_patches(*links, size, patch)
        classes = color_classes(*links_between(*members_of(patch, n_patches), patch, links, n_patches))
        # Patches are numbered in the order of their turns, those of one color one after the other.
        turn_of_patch = np.empty(n_patches, np.int64)
        turn_of_patch[np.concatenate([*classes, np.empty(0, np.int64)])] = np.arange(n_patches)
        self._turn = turn_of_patch[patch]
        self._first_turns = np.cumsum([0, *map(len, classes)])[:-1]
        n_kinds = 1 if kind is None else int(kind.max(initial=0)) + 1
        # What nodes are sorted by: first by their turn.
        self._key = self._turn if kind is None else self._turn * n_kinds + kind
        self._all = list(self._tasks(members_of(self._key, n_patches * n_kinds)[1]))

    def visit(
        self,
        kernel: Callable[[Nodes], object],
        threads: Threads,
        *,
        nodes: Nodes | None = None,
        backward: bool = False,
        on_block: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Call the kernel on all nodes, or on some, in order of their turns or the other way round.

        Parameters
        ----------
        kernel : callable
            Given some nodes, visits them one after the other.
        threads : Threads
        nodes : ndarray of int64, optional
            In ascending order.
        backward : bool, optional
        on_block : callable, optional
            Called between parts of the work; what it raises stops it.
        """
        tasks = self._all if nodes is None else list(self._tasks(self._in_order(nodes)))
        for order, cuts in tasks[:: -1 if backward else 1]:

            def some(start: int, stop: int, order: Nodes = order, cuts: Nodes = cuts) -> None:
                mine = order[cuts[start] : cuts[stop]]
                kernel(mine[::-1].copy() if backward else mine)

            threads.over_blocks(some, len(cuts) - 1, block=1, on_block=on_block)

    def _part_of(self, n_nodes: int) -> int:
        return min(max(n_nodes // self._n_parts, _SMALLEST), self._largest)

    def _in_order(self, nodes: Nodes) -> Nodes:
        return nodes[np.argsort(self._key[nodes], kind="stable")]

    def _tasks(self, nodes: Nodes) -> Iterator[tuple[Nodes, Nodes]]:
        """Yield, for each color, its nodes and where to cut them into parts that share no edge."""
        turn = self._turn[nodes]
        least = self._part_of(len(nodes))
        bounds = [*np.searchsorted(turn, self._first_turns), len(nodes)]
        for first, last in pairwise(bounds):
            if first < last:
                starts = np.flatnonzero(np.diff(turn[first:last], prepend=-1))
                cuts = starts[np.diff(starts // least, prepend=-1) > 0]
                yield nodes[first:last], np.append(cuts, last - first)


def members_of(group: NDArray[np.int64], n_groups: int) -> tuple[Nodes, Nodes]:
    """Return where each group's members start, and the members; nodes in group -1 are in none.

    Examples
    --------
    >>> start_of, members = members_of(np.array([1, 0, -1, 1]), 2)
    >>> [members[a:b].tolist() for a, b in zip(start_of[:-1], start_of[1:])]
    [[1], [0, 3]]
    """
    start_of = np.zeros(n_groups + 1, np.int64)
    np.cumsum(np.bincount(group + 1, minlength=n_groups + 1)[1:], out=start_of[1:])
    members = np.empty(start_of[-1], np.int64)
    graph_kernels.place_members(group, start_of[:-1].copy(), members)
    return start_of, members


def links_between(
    start_of: Nodes, members: Nodes, group: NDArray[np.int64], links: Links, n_groups: int
) -> Links:
    """Return which groups are linked, given their members and the links between those."""
    group_indptr, found = np.empty(n_groups + 1, np.int64), np.empty(len(links[1]), np.int64)
    n_links = graph_kernels.link_groups(start_of, members, group, *links, group_indptr, found)
    return group_indptr, found[:n_links].copy()
