"""Patches and their colors: every node once, no two with an edge at the same time, any number of threads."""

from __future__ import annotations

from threading import Lock

import numpy as np
import pytest
from scipy.sparse import csr_array

from napari_spotmix.base.threads import Threads
from napari_spotmix.model.graph import build_graph
from napari_spotmix.model.kernels.arguments import Edges
from napari_spotmix.model.solver.ordering import ColoringOrder, aggregates_of, edges_between
from tests.model.oracles import random_graph, square_grid


def grid(side: int) -> csr_array:
    return build_graph(square_grid(side, side)).squared_distance


def shuffled(edges: csr_array, seed: int) -> csr_array:
    order = np.random.default_rng(seed).permutation(edges.shape[0])
    return csr_array(edges[order][:, order])


GRAPHS = {
    "grid": grid(50),
    "shuffled grid": shuffled(grid(50), 1),
    "random": random_graph(np.random.default_rng(2), 700, 0.004),
    "one patch": grid(5),
    "no edges": csr_array((600, 600)),
    "nothing": csr_array((0, 0)),
}


def order_of(edges: csr_array) -> ColoringOrder:
    return ColoringOrder(Edges(edges.indptr, edges.indices))


def visits(order: ColoringOrder, n_threads: int, **options: object) -> list[np.ndarray]:
    """Return the parts in which nodes are visited, in the order in which they are begun."""
    parts: list[np.ndarray] = []
    lock = Lock()

    def note(nodes: np.ndarray) -> None:
        with lock:
            parts.append(nodes.copy())

    with Threads.of(n_threads) as threads:
        order.visit(note, threads, **options)  # type: ignore[arg-type]
    return parts


@pytest.mark.parametrize("name", GRAPHS)
def test_every_node_is_visited_once(name: str) -> None:
    edges = GRAPHS[name]
    visited = np.concatenate([*visits(order_of(edges), 2), np.empty(0, int)])
    np.testing.assert_array_equal(np.sort(visited), np.arange(edges.shape[0]))


@pytest.mark.parametrize("name", GRAPHS)
def test_backward_is_the_reverse_and_some_nodes_are_visited_in_the_order_of_all(name: str) -> None:
    edges = GRAPHS[name]
    order = order_of(edges)
    forward = np.concatenate([*visits(order, 1), np.empty(0, int)])
    backward = np.concatenate([*visits(order, 1, backward=True), np.empty(0, int)])
    position = np.empty(len(forward), int)
    position[forward] = np.arange(len(forward))
    first, second = csr_array(edges).tocoo().coords
    reverse_position = np.empty(len(backward), int)
    reverse_position[backward] = np.arange(len(backward))
    np.testing.assert_array_equal(
        position[first] < position[second], reverse_position[first] > reverse_position[second]
    )
    some = np.arange(0, edges.shape[0], 3)
    visited = np.concatenate([*visits(order, 1, nodes=some), np.empty(0, int)])
    np.testing.assert_array_equal(visited, forward[np.isin(forward, some)])


@pytest.mark.parametrize("name", GRAPHS)
def test_a_sum_that_depends_on_the_order_is_the_same_for_any_number_of_threads(name: str) -> None:
    edges = GRAPHS[name]
    order, n_nodes = order_of(edges), edges.shape[0]

    def swept(n_threads: int) -> np.ndarray:
        x = np.random.default_rng(3).random(n_nodes)

        def visit(nodes: np.ndarray) -> None:
            for i in nodes:
                around = edges.indices[edges.indptr[i] : edges.indptr[i + 1]]
                x[i] = np.sin(3 * x[i] + x[around].sum())

        with Threads.of(n_threads) as threads:
            order.visit(visit, threads)
            order.visit(visit, threads, backward=True)
        return x

    np.testing.assert_array_equal(swept(1), swept(4))


def test_a_section_is_shared_among_threads_also_if_spots_come_in_any_order() -> None:
    """A chain of single parts, one after the other, would use one core."""
    for edges in (GRAPHS["grid"], GRAPHS["shuffled grid"]):
        order = order_of(edges)
        assert len(order._all) <= 9
        assert max(len(cuts) - 1 for _, cuts in order._all) >= 4


def test_what_is_raised_between_parts_stops_the_rest() -> None:
    def stop(_: int) -> None:
        raise InterruptedError

    edges, seen = GRAPHS["grid"], []
    with Threads.of(1) as threads, pytest.raises(InterruptedError):
        order_of(edges).visit(seen.append, threads, on_block=stop)
    assert len(seen) == 1


def test_members_of_aggregates_and_edges_between_them() -> None:
    edges = random_graph(np.random.default_rng(4), 40, 0.1)
    group = np.random.default_rng(5).integers(-1, 6, size=40)
    aggregates = aggregates_of(group, 6)
    start_of, members, _ = aggregates
    for a in range(6):
        np.testing.assert_array_equal(members[start_of[a] : start_of[a + 1]], np.flatnonzero(group == a))
    indptr, indices = edges_between(aggregates, Edges(edges.indptr, edges.indices))
    first, second = edges.tocoo().coords
    expected = {(a, c) for a, c in zip(group[first], group[second], strict=True) if a != c and min(a, c) >= 0}
    found = {(a, c) for a in range(6) for c in indices[indptr[a] : indptr[a + 1]].tolist()}
    assert found == expected
