"""Coordinates -> which spots are neighbors, how far apart in pitches, and in which color classes.

The pitch is the usual distance from a spot to its nearest neighbor; measured in pitches, a distance
means the same on every platform.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.spatial import cKDTree

from napari_spotmix.base.threads import Threads
from napari_spotmix.model.kernels import graph as graph_kernels
from napari_spotmix.model.kernels.arguments import Edges, Strips

__all__ = [
    "SpatialGraph",
    "build_graph",
    "color_classes",
    "detect_layout",
    "detect_pitch",
    "knn_edges",
    "radius_edges",
]

#: In a larger tissue, pitch and layout are measured on this many spots around its middle.
_PATCH = 50_000

#: Rows, and strips of spots, that a thread takes at a time.
_BLOCK, _STRIPS = 16384, 8

OnBlock = Callable[[int], None]

#: Neighbors are at most this far apart, in pitches: a hexagonal lattice has six at 1 and the next at 1.73,
#: a square lattice eight at 1 and 1.41 and the next at 2.
_RADIUS = {"hexagonal": 1.3, "square": 1.6}


@dataclass(frozen=True)
class SpatialGraph:
    """A symmetric graph of neighboring spots.

    Attributes
    ----------
    squared_distance : csr_array of float64, shape (n_spots, n_spots)
        One entry per edge and direction, in squared pitches; 0 is stored.
    layout : str
        "hexagonal", "square" or "knn".
    pitch : float
        In the units of the coordinates; 1 if there are fewer than two different coordinates.
    """

    squared_distance: csr_array
    layout: str
    pitch: float

    @property
    def n_edges(self) -> int:
        return self.squared_distance.nnz // 2


def detect_pitch(coordinates: NDArray[np.float64]) -> float:
    """Return the median distance to the nearest spot with other coordinates; 1.0 if there is none.

    Parameters
    ----------
    coordinates : ndarray of float64, shape (n_spots, 2)

    Examples
    --------
    >>> detect_pitch(np.array([[0.0, 0.0], [100.0, 0.0], [200.0, 0.0], [200.0, 0.0]]))
    100.0
    """
    different = np.unique(coordinates, axis=0)
    if len(different) < 2:
        return 1.0
    distance, _ = cKDTree(different).query(different, k=[2])
    return float(np.median(np.asarray(distance)))


def detect_layout(coordinates: NDArray[np.float64], pitch: float) -> str:
    """Return "hexagonal", "square" or "knn" by the angles between neighbors at about one pitch.

    In a square lattice the angle between two such neighbors is a multiple of 90 degrees, in a
    hexagonal one of 60; if neither fits nine pairs in ten, the layout is not a grid.
    """
    indptr, other = radius_edges(coordinates, 1.15 * pitch)
    spot = np.repeat(np.arange(len(coordinates)), np.diff(indptr))
    if len(spot) < 4:
        return "knn"
    step = (coordinates[other] - coordinates[spot])[spot < other]
    # A multiple of 1/fold turn away from the first edge becomes angle 0 when multiplied by fold.
    angle = np.arctan2(step[:, 1], step[:, 0])
    if not _is_regular(step, pitch):
        return "knn"
    for layout, fold in (("square", 4), ("hexagonal", 6)):
        alignment = np.exp(1j * fold * angle)
        if abs(alignment.mean()) > 0.8:
            return layout
    return "knn"


def _is_regular(step: NDArray[np.float64], pitch: float) -> bool:
    """Return whether nearly all steps between nearest spots have the length of the pitch."""
    length = np.hypot(step[:, 0], step[:, 1]) / pitch
    return bool((np.abs(length - 1) < 0.1).mean() > 0.9)


def radius_edges(
    coordinates: NDArray[np.float64],
    radius: float,
    threads: Threads | None = None,
    on_block: OnBlock = lambda _: None,
) -> Edges:
    """Return the other spots at most `radius` away from each spot, each row sorted.

    Spots are sorted into strips as wide as the radius, and by x within each: the neighbors of a spot are in
    its own strip or a neighboring one, in a window that moves along with the spot.

    Parameters
    ----------
    coordinates : ndarray of float64, shape (n_spots, 2)
    radius : float
        In the units of the coordinates.
    threads : Threads, optional
        One by default.
    on_block : callable, optional
        Called between blocks of the work; what it raises stops it.

    Examples
    --------
    >>> indptr, indices = radius_edges(np.array([[0.0, 0.0], [5.0, 0.0], [1.0, 1.0]]), radius=2.0)
    >>> indptr.tolist(), indices.tolist()
    ([0, 1, 1, 2], [2, 0])
    """
    threads = threads or Threads(1)
    n_spots = len(coordinates)
    x, strip = coordinates[:, 0], np.floor(coordinates[:, 1] / radius)
    order = np.lexsort((x, strip))
    on_block(0)
    sorted_coordinates, sorted_strip = coordinates[order], strip[order]
    first = np.flatnonzero(np.diff(sorted_strip, prepend=np.nan) != 0)
    strips = Strips(np.append(first, n_spots), sorted_strip[first], order, sorted_coordinates)

    def find(free: NDArray[np.int64], indices: NDArray[np.integer]) -> None:
        def some(start: int, stop: int) -> None:
            graph_kernels.find_near(start, stop, strips, radius, free, indices)

        threads.over_blocks(some, len(first), block=_STRIPS, on_block=on_block)

    n_near = np.zeros(n_spots, np.int64)
    find(n_near, np.empty(0, np.int32))
    indptr = np.concatenate([[0], np.cumsum(n_near)])
    indices = np.empty(indptr[-1], _kind(max(indptr[-1], n_spots)))
    find(indptr[:-1].copy(), indices)
    return _sorted(Edges(indptr, indices), threads, on_block)


def knn_edges(
    coordinates: NDArray[np.float64],
    n_neighbors: int,
    threads: Threads | None = None,
    on_block: OnBlock = lambda _: None,
) -> Edges:
    """Return the spots of which either is among the `n_neighbors` nearest of the other, each row sorted.

    Parameters
    ----------
    coordinates : ndarray of float64, shape (n_spots, 2)
    n_neighbors : int
    threads, on_block
        As for `radius_edges`.

    Examples
    --------
    >>> indptr, indices = knn_edges(np.array([[0.0, 0.0], [1.0, 0.0], [3.0, 0.0]]), n_neighbors=1)
    >>> indptr.tolist(), indices.tolist()
    ([0, 1, 3, 4], [1, 0, 2, 1])
    """
    threads = threads or Threads(1)
    n_spots = len(coordinates)
    k = min(n_neighbors, n_spots - 1)
    if k < 1:
        return Edges(np.zeros(n_spots + 1, np.int32), np.empty(0, np.int32))
    tree = cKDTree(coordinates)
    on_block(0)
    nearest = np.empty((n_spots, k + 1), _kind(2 * n_spots * (k + 1)))

    def some(start: int, stop: int) -> None:
        # In the order of the tree, so that what is near in space is near in memory.
        spots = tree.indices[start:stop]
        nearest[spots] = tree.query(coordinates[spots], k=k + 1)[1]

    threads.over_blocks(some, n_spots, block=_BLOCK, on_block=on_block)
    # Among spots that share coordinates a spot need not be its own nearest: drop it wherever it is.
    others = nearest != np.arange(n_spots)[:, None]
    indptr = np.append(0, np.cumsum(others.sum(axis=1))).astype(nearest.dtype)
    one_way = csr_array((np.ones(indptr[-1], np.int8), nearest[others], indptr), shape=(n_spots, n_spots))
    on_block(0)
    both_ways = one_way + one_way.T.tocsr()
    on_block(0)
    return _sorted(Edges(both_ways.indptr, both_ways.indices), threads, on_block)


def _kind(largest: int) -> type[np.int32] | type[np.int64]:
    """Return the smallest type for numbers up to the `largest`: sweeps read them from memory."""
    return np.int32 if largest <= np.iinfo(np.int32).max else np.int64


def _sorted(edges: Edges, threads: Threads, on_block: OnBlock) -> Edges:
    indptr, indices = edges

    def some(start: int, stop: int) -> None:
        graph_kernels.sort_rows(edges, start, stop)

    threads.over_blocks(some, len(indptr) - 1, block=_BLOCK, on_block=on_block)
    return Edges(indptr.astype(indices.dtype), indices)


def build_graph(
    coordinates: NDArray[np.float64],
    *,
    layout: str = "auto",
    n_neighbors: int = 6,
    sample: NDArray[np.integer] | None = None,
    threads: Threads | None = None,
    on_block: OnBlock = lambda _: None,
) -> SpatialGraph:
    """Connect neighboring spots, both ways, never across samples.

    Parameters
    ----------
    coordinates : ndarray of float64, shape (n_spots, 2)
        Any unit; (x, y) or (y, x).
    layout : {"auto", "hexagonal", "square", "knn"}, optional
        Six neighbors at one pitch, eight within 1.6 pitches, or the nearest `n_neighbors`.
    n_neighbors : int, optional
        For "knn".
    sample : ndarray of int, shape (n_spots,), optional
        Spots of different samples are not connected.
    threads : Threads, optional
        One by default.
    on_block : callable, optional
        Called between blocks of the work; what it raises stops it.

    Examples
    --------
    >>> square = np.array([[0.0, 0.0], [0.0, 2.0], [2.0, 0.0], [2.0, 2.0], [0.0, 4.0], [2.0, 4.0]])
    >>> graph = build_graph(square)
    >>> graph.layout, graph.pitch, graph.n_edges
    ('square', 2.0, 11)
    """
    threads = threads or Threads(1)
    groups = _groups(sample, len(coordinates))
    patches = [_patch(coordinates[group]) for group in groups]
    pitch = float(np.median([detect_pitch(patch) for patch in patches])) if patches else 1.0
    on_block(0)
    if layout == "auto":
        layout = detect_layout(max(patches, key=len, default=coordinates), pitch)
    on_block(0)

    def connect(group: NDArray[np.int64]) -> Edges:
        own = coordinates if len(group) == len(coordinates) else coordinates[group]
        if layout == "knn":
            return knn_edges(own, n_neighbors, threads, on_block)
        return radius_edges(own, _RADIUS[layout] * pitch, threads, on_block)

    edges = _joined([connect(group) for group in groups], groups, len(coordinates))
    return SpatialGraph(_measured(edges, coordinates / pitch, threads, on_block), layout, pitch)


def _patch(coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the coordinates around the middle of a large tissue: enough to measure pitch and layout."""
    if len(coordinates) <= _PATCH:
        return coordinates
    from_middle = ((coordinates - np.median(coordinates, axis=0)) ** 2).sum(axis=1)
    return coordinates[np.sort(np.argpartition(from_middle, _PATCH)[:_PATCH])]


def _groups(sample: NDArray[np.integer] | None, n_spots: int) -> list[NDArray[np.int64]]:
    if sample is None:
        return [np.arange(n_spots)] if n_spots else []
    return [np.flatnonzero(sample == value) for value in np.unique(sample)]


def _joined(found: list[Edges], groups: list[NDArray[np.int64]], n_spots: int) -> Edges:
    """Return the edges of all samples, given those within each, in the numbers of all spots."""
    if len(found) == 1:
        return found[0]
    n_edges = np.zeros(n_spots, np.int64)
    for (indptr, _), group in zip(found, groups, strict=True):
        n_edges[group] = np.diff(indptr)
    indptr = np.append(0, np.cumsum(n_edges))
    indices = np.empty(indptr[-1], _kind(max(indptr[-1], n_spots)))
    for (starts, others), group in zip(found, groups, strict=True):
        # A group's spots are sorted: so are their neighbors in the numbers of all.
        moved = np.repeat(indptr[group] - starts[:-1], np.diff(starts))
        indices[moved + np.arange(len(others))] = group[others]
    return Edges(indptr.astype(indices.dtype), indices)


def _measured(
    edges: Edges, coordinates: NDArray[np.float64], threads: Threads, on_block: OnBlock
) -> csr_array:
    """Return the squared length of each edge; a length of 0 is kept."""
    squared, n_spots = np.empty(len(edges.indices)), len(coordinates)

    def some(start: int, stop: int) -> None:
        graph_kernels.squared_lengths(edges, coordinates, start, stop, squared)

    threads.over_blocks(some, n_spots, block=_BLOCK, on_block=on_block)
    return csr_array((squared, edges.indices, edges.indptr), shape=(n_spots, n_spots))


def color_classes(edges: Edges) -> list[NDArray[np.int64]]:
    """Split the nodes of a graph into classes without an edge inside.

    The coloring is greedy, in the given order.

    Examples
    --------
    >>> path = csr_array(np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]]))
    >>> [nodes.tolist() for nodes in color_classes(Edges(path.indptr, path.indices))]
    [[0, 2], [1]]
    """
    color = np.zeros(len(edges.indptr) - 1, np.int64)
    n_colors = graph_kernels.color_greedily(edges, color)
    return [np.flatnonzero(color == c) for c in range(n_colors)]
