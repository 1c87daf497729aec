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

__all__ = [
    "Links",
    "SpatialGraph",
    "build_graph",
    "color_classes",
    "detect_layout",
    "detect_pitch",
    "knn_links",
    "radius_links",
]

#: Pitch and layout of a larger tissue are told by this many of its spots.
_PATCH = 50_000

#: Rows, and strips of spots, that a thread takes at a time.
_BLOCK, _STRIPS = 16384, 8

#: Start of each node's neighbors, and the neighbors: the first two arrays of a CSR matrix.
Links = tuple[NDArray[np.integer], NDArray[np.integer]]
OnBlock = Callable[[int], None]

#: Neighbors up to this distance in pitches: a hexagonal lattice has its six at 1 and the next at 1.73,
#: a square lattice its eight at 1 and 1.41 and the next at 2.
_REACH = {"hexagonal": 1.3, "square": 1.6}


@dataclass(frozen=True)
class SpatialGraph:
    """A symmetric graph of neighboring spots.

    Attributes
    ----------
    squared_distance : csr_array of float64, shape (n_spots, n_spots)
        One entry per edge and direction, in squared pitches; spots at one place have an explicit 0.
    layout : str
        "hexagonal", "square" or "knn".
    pitch : float
        In the units of the coordinates; 1 where it cannot be told.
    """

    squared_distance: csr_array
    layout: str
    pitch: float

    @property
    def n_edges(self) -> int:
        return self.squared_distance.nnz // 2


def detect_pitch(coordinates: NDArray[np.float64]) -> float:
    """Return the median distance to the nearest spot at another place; 1.0 for fewer than two places.

    Examples
    --------
    >>> detect_pitch(np.array([[0.0, 0.0], [100.0, 0.0], [200.0, 0.0], [200.0, 0.0]]))
    100.0
    """
    places = np.unique(coordinates, axis=0)
    if len(places) < 2:
        return 1.0
    distance, _ = cKDTree(places).query(places, k=[2])
    return float(np.median(np.asarray(distance)))


def detect_layout(coordinates: NDArray[np.float64], pitch: float) -> str:
    """Return "hexagonal", "square" or "knn" by the angles between neighbors at about one pitch.

    In a square lattice the angle between two such neighbors is a multiple of 90 degrees, in a
    hexagonal one of 60; where neither fits nine pairs in ten, the layout is no grid.
    """
    indptr, other = radius_links(coordinates, 1.15 * pitch)
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
    """Tell whether nearly all steps between nearest spots have the length of the pitch."""
    length = np.hypot(step[:, 0], step[:, 1]) / pitch
    return bool((np.abs(length - 1) < 0.1).mean() > 0.9)


def radius_links(
    coordinates: NDArray[np.float64],
    radius: float,
    threads: Threads | None = None,
    on_block: OnBlock = lambda _: None,
) -> Links:
    """Return the other spots at most `radius` away from each spot, each row in order.

    Spots are sorted into strips as wide as the radius, and along them: whoever is near lies in a spot's own
    strip or in one beside it, in a piece that moves on with the spot.

    Examples
    --------
    >>> indptr, indices = radius_links(np.array([[0.0, 0.0], [5.0, 0.0], [1.0, 1.0]]), radius=2.0)
    >>> indptr.tolist(), indices.tolist()
    ([0, 1, 1, 2], [2, 0])
    """
    threads = threads or Threads(1)
    n_spots = len(coordinates)
    x, strip = coordinates[:, 0], np.floor(coordinates[:, 1] / radius)
    order = np.lexsort((x, strip))
    on_block(0)
    sorted_places, sorted_strip = coordinates[order], strip[order]
    first = np.flatnonzero(np.diff(sorted_strip, prepend=np.nan) != 0)
    strips = (np.append(first, n_spots), sorted_strip[first], order, sorted_places)

    def find(free: NDArray[np.int64], indices: NDArray[np.integer]) -> None:
        def some(start: int, stop: int) -> None:
            graph_kernels.find_near(start, stop, *strips, radius, free, indices)

        threads.over_blocks(some, len(first), block=_STRIPS, on_block=on_block)

    n_near = np.zeros(n_spots, np.int64)
    find(n_near, np.empty(0, np.int32))
    indptr = np.concatenate([[0], np.cumsum(n_near)])
    indices = np.empty(indptr[-1], _kind(max(indptr[-1], n_spots)))
    find(indptr[:-1].copy(), indices)
    return _in_order(indptr, indices, threads, on_block)


def knn_links(
    coordinates: NDArray[np.float64],
    n_neighbors: int,
    threads: Threads | None = None,
    on_block: OnBlock = lambda _: None,
) -> Links:
    """Return the spots of which either is among the `n_neighbors` nearest of the other, each row in order.

    Examples
    --------
    >>> indptr, indices = knn_links(np.array([[0.0, 0.0], [1.0, 0.0], [3.0, 0.0]]), n_neighbors=1)
    >>> indptr.tolist(), indices.tolist()
    ([0, 1, 3, 4], [1, 0, 2, 1])
    """
    threads = threads or Threads(1)
    n_spots = len(coordinates)
    k = min(n_neighbors, n_spots - 1)
    if k < 1:
        return np.zeros(n_spots + 1, np.int32), np.empty(0, np.int32)
    tree = cKDTree(coordinates)
    on_block(0)
    nearest = np.empty((n_spots, k + 1), _kind(2 * n_spots * (k + 1)))

    def some(start: int, stop: int) -> None:
        # In the order of the tree, so that what is near in space is near in memory.
        spots = tree.indices[start:stop]
        nearest[spots] = tree.query(coordinates[spots], k=k + 1)[1]

    threads.over_blocks(some, n_spots, block=_BLOCK, on_block=on_block)
    # Among spots at one place a spot need not be its own nearest: leave it out wherever it stands.
    others = nearest != np.arange(n_spots)[:, None]
    indptr = np.append(0, np.cumsum(others.sum(axis=1))).astype(nearest.dtype)
    one_way = csr_array((np.ones(indptr[-1], np.int8), nearest[others], indptr), shape=(n_spots, n_spots))
    on_block(0)
    both_ways = one_way + one_way.T.tocsr()
    on_block(0)
    return _in_order(both_ways.indptr, both_ways.indices, threads, on_block)


def _kind(largest: int) -> type[np.int32] | type[np.int64]:
    """Return the type for numbers up to the `largest`: small ones where they do, since sweeps read them."""
    return np.int32 if largest <= np.iinfo(np.int32).max else np.int64


def _in_order(
    indptr: NDArray[np.integer], indices: NDArray[np.integer], threads: Threads, on_block: OnBlock
) -> Links:
    def some(start: int, stop: int) -> None:
        graph_kernels.sort_rows(indptr, indices, start, stop)

    threads.over_blocks(some, len(indptr) - 1, block=_BLOCK, on_block=on_block)
    return indptr.astype(indices.dtype), indices


def build_graph(
    coordinates: NDArray[np.float64],
    *,
    layout: str = "auto",
    n_neighbors: int = 6,
    sample: NDArray[np.integer] | None = None,
    threads: Threads | None = None,
    on_block: OnBlock = lambda _: None,
) -> SpatialGraph:
    """Link neighboring spots, both ways, never across samples.

    Parameters
    ----------
    coordinates : ndarray of float64, shape (n_spots, 2)
        Any unit; (x, y) or (y, x).
    layout : {"auto", "hexagonal", "square", "knn"}, optional
        Six neighbors at one pitch, eight within 1.6 pitches, or the nearest `n_neighbors`.
    n_neighbors : int, optional
        For "knn".
    sample : ndarray of int, shape (n_spots,), optional
        Spots of different samples are not linked.
    threads : Threads, optional
        One where none are given.
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

    def link(group: NDArray[np.int64]) -> Links:
        places = coordinates if len(group) == len(coordinates) else coordinates[group]
        if layout == "knn":
            return knn_links(places, n_neighbors, threads, on_block)
        return radius_links(places, _REACH[layout] * pitch, threads, on_block)

    links = _joined([link(group) for group in groups], groups, len(coordinates))
    return SpatialGraph(_measured(links, coordinates / pitch, threads, on_block), layout, pitch)


def _patch(coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the places around the middle of a large tissue: enough to tell its pitch and layout by."""
    if len(coordinates) <= _PATCH:
        return coordinates
    from_middle = ((coordinates - np.median(coordinates, axis=0)) ** 2).sum(axis=1)
    return coordinates[np.sort(np.argpartition(from_middle, _PATCH)[:_PATCH])]


def _groups(sample: NDArray[np.integer] | None, n_spots: int) -> list[NDArray[np.int64]]:
    if sample is None:
        return [np.arange(n_spots)] if n_spots else []
    return [np.flatnonzero(sample == value) for value in np.unique(sample)]


def _joined(found: list[Links], groups: list[NDArray[np.int64]], n_spots: int) -> Links:
    """Return the links of all samples, given those within each, in the numbers of all spots."""
    if len(found) == 1:
        return found[0]
    n_links = np.zeros(n_spots, np.int64)
    for (indptr, _), group in zip(found, groups, strict=True):
        n_links[group] = np.diff(indptr)
    indptr = np.append(0, np.cumsum(n_links))
    indices = np.empty(indptr[-1], _kind(max(indptr[-1], n_spots)))
    for (starts, others), group in zip(found, groups, strict=True):
        # A group's spots are in order: so are their neighbors in the numbers of all.
        moved = np.repeat(indptr[group] - starts[:-1], np.diff(starts))
        indices[moved + np.arange(len(others))] = group[others]
    return indptr.astype(indices.dtype), indices


def _measured(links: Links, places: NDArray[np.float64], threads: Threads, on_block: OnBlock) -> csr_array:
    """Return the squared length of each link; a length of 0 is kept."""
    indptr, indices = links
    squared = np.empty(len(indices))

    def some(start: int, stop: int) -> None:
        graph_kernels.squared_lengths(indptr, indices, places, start, stop, squared)

    threads.over_blocks(some, len(places), block=_BLOCK, on_block=on_block)
    return csr_array((squared, indices, indptr), shape=(len(places), len(places)))


def color_classes(indptr: NDArray[np.integer], indices: NDArray[np.integer]) -> list[NDArray[np.int64]]:
    """Split the nodes of a graph, given in CSR form, into classes without an edge inside.

    The coloring is greedy, in the given order.

    Examples
    --------
    >>> path = csr_array(np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]]))
    >>> [spots.tolist() for spots in color_classes(path.indptr, path.indices)]
    [[0, 2], [1]]
    """
    color = np.zeros(len(indptr) - 1, np.int64)
    n_colors = graph_kernels.color_greedily(indptr, indices, color)
    return [np.flatnonzero(color == c) for c in range(n_colors)]
