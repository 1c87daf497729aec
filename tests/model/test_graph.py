"""Neighbors: known lattices, invariances, samples and odd layouts."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

from napari_spotmix.base.threads import Threads
from napari_spotmix.model.graph import (
    build_graph,
    color_classes,
    detect_layout,
    detect_pitch,
    knn_edges,
    radius_edges,
)
from napari_spotmix.model.kernels.arguments import Edges
from tests.model.oracles import hexagonal_grid, random_graph, square_grid

LAYOUTS = {"hexagonal": hexagonal_grid(14, 15), "square": square_grid(13, 14)}


def scattered(n_spots: int = 150) -> np.ndarray:
    return np.random.default_rng(1).random((n_spots, 2)) * 1000


def rotated(coordinates: np.ndarray, degrees: float) -> np.ndarray:
    angle = np.deg2rad(degrees)
    return coordinates @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def neighbors(edges: csr_array) -> np.ndarray:
    return np.diff(edges.indptr)


def edge_set(edges: csr_array) -> set[tuple[int, int]]:
    row = np.repeat(np.arange(edges.shape[0]), np.diff(edges.indptr))
    return set(zip(row.tolist(), edges.indices.tolist(), strict=True))


def pairs_of(edges: Edges) -> set[tuple[int, int]]:
    indptr, indices = edges
    row = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    assert all((np.diff(indices[a:b]) > 0).all() for a, b in pairwise(indptr))
    return set(zip(row.tolist(), indices.tolist(), strict=True))


def inner(coordinates: np.ndarray, margin: float) -> np.ndarray:
    low, high = coordinates.min(axis=0) + margin, coordinates.max(axis=0) - margin
    return ((coordinates > low) & (coordinates < high)).all(axis=1)


@pytest.mark.parametrize(("layout", "n_neighbors"), [("hexagonal", 6), ("square", 8)])
def test_inner_spots_of_a_lattice_have_the_neighbors_around_them(layout: str, n_neighbors: int) -> None:
    coordinates = LAYOUTS[layout] * 37.5
    graph = build_graph(coordinates)
    assert graph.layout == layout
    assert graph.pitch == pytest.approx(37.5)
    counted = neighbors(graph.squared_distance)
    assert set(counted[inner(coordinates, 37.5)]) == {n_neighbors}
    assert counted.max() == n_neighbors


@pytest.mark.parametrize("layout", ["hexagonal", "square", "knn"])
def test_edges_are_symmetric_without_loops_and_as_far_as_the_places(layout: str) -> None:
    coordinates = LAYOUTS.get(layout, scattered())
    graph = build_graph(coordinates, layout=layout)
    edges = graph.squared_distance
    pairs = edge_set(edges)
    assert pairs == {(j, i) for i, j in pairs}
    assert not any(i == j for i, j in pairs)
    row = np.repeat(np.arange(len(coordinates)), np.diff(edges.indptr))
    true = cdist(coordinates, coordinates)[row, edges.indices] / graph.pitch
    np.testing.assert_allclose(edges.data, true**2, rtol=1e-9)
    assert (edges.toarray() == edges.toarray().T).all()
    assert graph.n_edges == len(pairs) / 2


@pytest.mark.parametrize("name", ["hexagonal", "square", "scattered"])
@pytest.mark.parametrize("degrees", [0.0, 7.0, 30.0, 45.0, 123.4])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 4.2e4])
def test_turning_scaling_and_moving_change_nothing_in_pitches(
    name: str, degrees: float, scale: float
) -> None:
    coordinates = LAYOUTS.get(name, scattered())
    moved = rotated(coordinates, degrees) * scale + np.array([3e3, -1e4]) * scale
    plain, other = build_graph(coordinates), build_graph(moved)
    assert other.layout == plain.layout == ("knn" if name == "scattered" else name)
    assert other.pitch == pytest.approx(plain.pitch * scale)
    assert edge_set(other.squared_distance) == edge_set(plain.squared_distance)
    np.testing.assert_allclose(other.squared_distance.data, plain.squared_distance.data, rtol=1e-7)


@pytest.mark.parametrize("name", ["hexagonal", "square"])
def test_swapping_x_and_y_changes_nothing(name: str) -> None:
    coordinates = LAYOUTS[name]
    swapped = build_graph(coordinates[:, ::-1])
    assert swapped.layout == name
    assert edge_set(swapped.squared_distance) == edge_set(build_graph(coordinates).squared_distance)


@pytest.mark.parametrize("name", ["hexagonal", "square"])
@pytest.mark.parametrize("share", [0.1, 0.3])
def test_missing_spots_leave_layout_and_pitch(name: str, share: float) -> None:
    coordinates = LAYOUTS[name]
    kept = np.random.default_rng(2).random(len(coordinates)) > share
    graph = build_graph(coordinates[kept])
    assert graph.layout == name
    assert graph.pitch == pytest.approx(1.0)
    whole = build_graph(coordinates).squared_distance
    assert graph.squared_distance.nnz == csr_array(whole[kept][:, kept]).nnz


@pytest.mark.parametrize("name", ["hexagonal", "square"])
def test_rounded_pixels_are_still_a_lattice(name: str) -> None:
    coordinates = np.rint(rotated(LAYOUTS[name] * 100.0, 11.0))
    graph = build_graph(coordinates)
    assert graph.layout == name
    assert edge_set(graph.squared_distance) == edge_set(build_graph(LAYOUTS[name]).squared_distance)


def test_scattered_places_are_no_lattice() -> None:
    assert detect_layout(scattered(), detect_pitch(scattered())) == "knn"


@pytest.mark.parametrize("n_neighbors", [1, 4, 6])
def test_nearest_neighbors_are_those_of_the_distance_matrix(n_neighbors: int) -> None:
    coordinates = scattered(80)
    distance = cdist(coordinates, coordinates)
    np.fill_diagonal(distance, np.inf)
    nearest = np.argsort(distance, axis=1)[:, :n_neighbors]
    one_way = {(i, j) for i in range(80) for j in nearest[i].tolist()}
    assert pairs_of(knn_edges(coordinates, n_neighbors)) == one_way | {(j, i) for i, j in one_way}
    assert neighbors(build_graph(coordinates, n_neighbors=n_neighbors).squared_distance).min() >= n_neighbors


def test_more_neighbors_than_spots_link_all_pairs() -> None:
    assert len(pairs_of(knn_edges(scattered(5), 64))) == 5 * 4


@pytest.mark.parametrize("radius", [1.0, 40.0, 150.0, 5e3])
@pytest.mark.parametrize("kind", ["scattered", "on a line", "in heaps", "far apart", "rounded"])
def test_links_within_a_radius_are_those_of_the_distance_matrix(kind: str, radius: float) -> None:
    coordinates = scattered()
    if kind == "on a line":
        coordinates[:, 1] = 3.0
    elif kind == "in heaps":
        coordinates = coordinates[np.random.default_rng(2).integers(0, 20, len(coordinates))]
    elif kind == "far apart":
        coordinates[::5] *= 1e12
    elif kind == "rounded":
        coordinates = np.rint(coordinates / 10) * 10  # many are exactly as far apart as the radius
    near = np.hypot(*(coordinates[:, None] - coordinates).transpose(2, 0, 1)) <= radius
    np.fill_diagonal(near, False)
    assert pairs_of(radius_edges(coordinates, radius)) == set(
        zip(*map(np.ndarray.tolist, np.nonzero(near)), strict=True)
    )


@pytest.mark.parametrize("name", ["hexagonal", "square", "scattered"])
def test_any_number_of_threads_finds_the_same_graph(name: str) -> None:
    coordinates = np.vstack([LAYOUTS.get(name, scattered()) + np.array([100, 1000]) * k for k in range(40)])
    alone = build_graph(coordinates).squared_distance
    with Threads.of(3) as threads:
        together = build_graph(coordinates, threads=threads).squared_distance
    for of_one, of_three in zip(
        (alone.indptr, alone.indices, alone.data),
        (together.indptr, together.indices, together.data),
        strict=True,
    ):
        np.testing.assert_array_equal(of_one, of_three)


@pytest.mark.parametrize("layout", ["auto", "hexagonal", "square", "knn"])
def test_samples_are_never_connected(layout: str) -> None:
    one = (
        scattered() if layout == "knn" else LAYOUTS["hexagonal"]
    )  # in a lattice several neighbors are equally near
    coordinates = np.vstack([one, one + 0.3, one])  # on top of each other
    sample = np.repeat([7, -1, 3], len(one))
    edges = build_graph(coordinates, layout=layout, sample=sample).squared_distance
    row = np.repeat(np.arange(len(coordinates)), np.diff(edges.indptr))
    assert (sample[row] == sample[edges.indices]).all()
    alone = build_graph(one, layout=layout).squared_distance
    assert edges.nnz == 3 * alone.nnz


def test_the_order_of_spots_does_not_matter() -> None:
    coordinates = LAYOUTS["hexagonal"]
    order = np.random.default_rng(3).permutation(len(coordinates))
    shuffled = build_graph(coordinates[order]).squared_distance.toarray()
    np.testing.assert_allclose(shuffled, build_graph(coordinates).squared_distance.toarray()[order][:, order])


@pytest.mark.parametrize("layout", ["auto", "hexagonal", "square", "knn"])
def test_spots_that_share_coordinates_are_connected_at_distance_zero(layout: str) -> None:
    coordinates = np.vstack([LAYOUTS["square"], LAYOUTS["square"][:1]])
    graph = build_graph(coordinates, layout=layout)
    last = len(coordinates) - 1
    assert graph.pitch == 1.0
    assert (0, last) in edge_set(graph.squared_distance)
    assert graph.squared_distance[0, last] == 0.0


def test_all_spots_at_one_place() -> None:
    graph = build_graph(np.ones((8, 2)), n_neighbors=3)
    assert graph.pitch == 1.0
    assert np.isfinite(graph.squared_distance.data).all()
    pairs = edge_set(graph.squared_distance)
    assert pairs == {(j, i) for i, j in pairs}


@pytest.mark.parametrize("n_spots", [0, 1, 2])
@pytest.mark.parametrize("layout", ["auto", "hexagonal", "square", "knn"])
def test_hardly_any_spots(n_spots: int, layout: str) -> None:
    graph = build_graph(np.arange(2.0 * n_spots).reshape(n_spots, 2), layout=layout)
    assert graph.squared_distance.shape == (n_spots, n_spots)
    assert graph.n_edges == (1 if n_spots == 2 else 0)


def test_a_far_spot_is_isolated_on_a_lattice() -> None:
    coordinates = np.vstack([LAYOUTS["hexagonal"], [[500.0, 500.0]]])
    edges = build_graph(coordinates).squared_distance
    assert neighbors(edges)[-1] == 0
    assert connected_components(edges)[0] == 2


@pytest.mark.parametrize("name", ["hexagonal", "square", "scattered", "random"])
def test_no_edge_is_inside_a_color_class(name: str) -> None:
    rng = np.random.default_rng(4)
    edges = (
        random_graph(rng, 100)
        if name == "random"
        else build_graph(LAYOUTS.get(name, scattered())).squared_distance
    )
    classes = color_classes(Edges(edges.indptr, edges.indices))
    np.testing.assert_array_equal(np.sort(np.concatenate(classes)), np.arange(edges.shape[0]))
    for spots in classes:
        assert csr_array(edges[spots][:, spots]).nnz == 0
    assert len(classes) <= neighbors(edges).max() + 1


def test_lattices_need_few_colors() -> None:
    n_colors = {
        name: len(color_classes(Edges(edges.indptr, edges.indices)))
        for name, coordinates in LAYOUTS.items()
        for edges in [build_graph(coordinates).squared_distance]
    }
    assert n_colors["hexagonal"] <= 4
    assert n_colors["square"] <= 5
