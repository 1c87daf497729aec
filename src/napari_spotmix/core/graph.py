"""Coordinates -> which spots are neighbours, how far apart in pitches, and in which colour classes.

The pitch is the usual distance from a spot to its nearest neighbour; measured in pitches, a distance
means the same on every platform.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.spatial import cKDTree

from napari_spotmix.core import _kernels

__all__ = [
    "SpatialGraph",
    "build_graph",
    "color_classes",
    "detect_layout",
    "detect_pitch",
    "knn_pairs",
    "radius_pairs",
]

#: Pitch and layout of a larger tissue are told by this many of its spots.
_PATCH = 50_000

Pairs = NDArray[np.int64]

#: Neighbours up to this distance in pitches: a hexagonal lattice has its six at 1 and the next at 1.73,
#: a square lattice its eight at 1 and 1.41 and the next at 2.
_REACH = {"hexagonal": 1.3, "square": 1.6}


@dataclass(frozen=True)
class SpatialGraph:
    """A symmetric graph of neighbouring spots.

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
    """Return "hexagonal", "square" or "knn" by the angles between neighbours at about one pitch.

    In a square lattice the angle between two such neighbours is a multiple of 90 degrees, in a
    hexagonal one of 60; where neither fits nine pairs in ten, the layout is no grid.
    """
    pairs = radius_pairs(coordinates, 1.15 * pitch)
    if len(pairs) < 2:
        return "knn"
    step = coordinates[pairs[:, 1]] - coordinates[pairs[:, 0]]
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


def radius_pairs(
    coordinates: NDArray[np.float64], radius: float, on_step: Callable[[int], None] = lambda _: None
) -> Pairs:
    """Return each pair (i, j), i < j, of spots at most `radius` apart, int64 (n_pairs, 2)."""
    tree = cKDTree(coordinates)
    on_step(0)
    pairs = tree.query_pairs(radius, output_type="ndarray")
    return pairs.astype(np.int64, copy=False).reshape(-1, 2)


def knn_pairs(coordinates: NDArray[np.float64], n_neighbors: int) -> Pairs:
    """Return each pair (i, j), i < j, of which one is among the `n_neighbors` nearest of the other."""
    n_spots = len(coordinates)
    k = min(n_neighbors, n_spots - 1)
    if k < 1:
        return np.empty((0, 2), np.int64)
    _, nearest = cKDTree(coordinates).query(coordinates, k=k + 1)
    ends = np.column_stack([np.repeat(np.arange(n_spots), k + 1), nearest.ravel()])
    # Among spots at one place a spot need not be its own nearest: drop it wherever it stands.
    ends = np.sort(ends[ends[:, 0] != ends[:, 1]], axis=1)
    return np.unique(ends, axis=0)


def build_graph(
    coordinates: NDArray[np.float64],
    *,
    layout: str = "auto",
    n_neighbors: int = 6,
    sample: NDArray[np.integer] | None = None,
    on_step: Callable[[int], None] = lambda _: None,
) -> SpatialGraph:
    """Link neighbouring spots, both ways, never across samples.

    Parameters
    ----------
    coordinates : ndarray of float64, shape (n_spots, 2)
        Any unit; (x, y) or (y, x).
    layout : {"auto", "hexagonal", "square", "knn"}, optional
        Six neighbours at one pitch, eight within 1.6 pitches, or the nearest `n_neighbors`.
    n_neighbors : int, optional
        For "knn".
    sample : ndarray of int, shape (n_spots,), optional
        Spots of different samples are not linked.
    on_step : callable, optional
        Called between steps of the work; what it raises stops it.

    Examples
    --------
    >>> square = np.array([[0.0, 0.0], [0.0, 2.0], [2.0, 0.0], [2.0, 2.0], [0.0, 4.0], [2.0, 4.0]])
    >>> graph = build_graph(square)
    >>> graph.layout, graph.pitch, graph.n_edges
    ('square', 2.0, 11)
    """
    groups = _groups(sample, len(coordinates))
    patches = [_patch(coordinates[group]) for group in groups]
    pitch = float(np.median([detect_pitch(patch) for patch in patches])) if patches else 1.0
    on_step(0)
    if layout == "auto":
        layout = detect_layout(max(patches, key=len, default=coordinates), pitch)
    link: Callable[[NDArray[np.float64]], Pairs]
    if layout == "knn":
        link = lambda places: knn_pairs(places, n_neighbors)  # noqa: E731
    else:
        link = lambda places: radius_pairs(places, _REACH[layout] * pitch, on_step)  # noqa: E731
    linked: list[Pairs] = []
    for group in groups:
        on_step(len(linked))
        pairs = link(coordinates[group]) if len(group) > 1 else np.empty((0, 2), np.int64)
        # Not copied where there is one sample: pairs of a million spots take longer to copy than to find.
        linked.append(pairs if len(groups) == 1 else group[pairs])
    on_step(len(linked))
    pairs = linked[0] if len(linked) == 1 else np.concatenate([*linked, np.empty((0, 2), np.int64)])
    return SpatialGraph(_symmetric(pairs, coordinates / pitch, on_step), layout, pitch)


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


def _symmetric(pairs: Pairs, places: NDArray[np.float64], on_step: Callable[[int], None]) -> csr_array:
    n_places = len(places)
    indptr = np.zeros(n_places + 1, np.int64)
    np.cumsum(np.bincount(pairs.ravel(), minlength=n_places), out=indptr[1:])
    on_step(0)
    # Small numbers where they do: the solver reads them in every sweep.
    kind = np.int32 if max(indptr[-1], n_places) <= np.iinfo(np.int32).max else np.int64
    indices, squared = np.empty(indptr[-1], kind), np.empty(indptr[-1])
    on_step(0)
    _kernels.link_both_ways(pairs, places, indptr[:-1].copy(), indices, squared)
    on_step(0)
    # A pair stands once in each direction, and a distance of 0 is kept: nothing is summed, nothing dropped.
    edges = csr_array((squared, indices, indptr.astype(kind)), shape=(n_places, n_places))
    on_step(0)
    edges.sort_indices()
    return edges


def color_classes(indptr: NDArray[np.integer], indices: NDArray[np.integer]) -> list[NDArray[np.int64]]:
    """Split the nodes of a graph, given in CSR form, into classes without an edge inside.

    The colouring is greedy, in the given order.

    Examples
    --------
    >>> path = csr_array(np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]]))
    >>> [spots.tolist() for spots in color_classes(path.indptr, path.indices)]
    [[0, 2], [1]]
    """
    color = np.zeros(len(indptr) - 1, np.int64)
    n_colors = _kernels.color_greedily(indptr, indices, color)
    return [np.flatnonzero(color == c) for c in range(n_colors)]
