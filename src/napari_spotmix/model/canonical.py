"""The order in which spots and cells are numbered: by what they hold, never by their rows in a file.

Whatever is drawn, sampled, grown or visited follows the numbers of spots, genes, cell types and cells. If
these came from the file, the same data in another order would give another result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_spotmix.base.threads import Threads
from napari_spotmix.model.counts import Counts
from napari_spotmix.model.kernels import counts as counts_kernels
from napari_spotmix.model.kernels.arguments import GeneCounts

__all__ = [
    "cells_by_content",
    "curve_position",
    "gene_keys",
    "row_fingerprints",
    "spots_along_a_curve",
    "spread_out",
    "visits",
]

#: Cells along a side of the square that the curve fills: two keys of 31 bits make one of 62.
_SIDE = 2**31 - 1
#: Multiples of it, modulo 1, are spread evenly, however many there are.
_GOLDEN = (5**0.5 - 1) / 2
#: Steps of spreading 31 bits over 62, each by a shift and a mask.
_SPREADING = [
    (16, 0x0000FFFF0000FFFF),
    (8, 0x00FF00FF00FF00FF),
    (4, 0x0F0F0F0F0F0F0F0F),
    (2, 0x3333333333333333),
    (1, 0x5555555555555555),
]


def spots_along_a_curve(
    coordinates: NDArray[np.float64],
    sample: NDArray[np.integer] | None = None,
    content: Callable[[NDArray[np.int64]], NDArray[Any]] | None = None,
) -> NDArray[np.int64]:
    """Return spots in an order that does not depend on the order in which they are given.

    Spots of a sample follow each other, along a curve that fills the plane, so that what is near in space is
    near in memory.

    Parameters
    ----------
    coordinates : ndarray of float64, shape (n_spots, 2)
        Finite.
    sample : ndarray of int, shape (n_spots,), optional
        Numbers that do not depend on the order of the spots.
    content : callable, optional
        Given sorted numbers of spots that share coordinates, returns what each holds, to sort them by.
        Without it, such spots keep their order.

    Returns
    -------
    ndarray of int64, shape (n_spots,)

    References
    ----------
    Morton, A computer oriented geodetic data base and a new technique in file sequencing, IBM, 1966.

    Examples
    --------
    >>> corners = np.array([[1.0, 1.0], [0.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    >>> spots_along_a_curve(corners).tolist()
    [1, 3, 2, 0]
    """
    key = curve_position(coordinates)
    of_sample = np.zeros(len(key), np.int64) if sample is None else sample
    order = np.argsort(key, kind="stable") if sample is None else np.lexsort((key, of_sample))
    same = (np.diff(key[order]) == 0) & (np.diff(of_sample[order]) == 0)
    if same.any():
        at = np.flatnonzero(np.append(same, False) | np.append(False, same))
        tied = np.sort(order[at])
        x, y = coordinates[tied].T
        held = np.zeros(len(tied)) if content is None else content(tied)
        order[at] = tied[np.lexsort((held, y, x, key[tied], of_sample[tied]))]
    return order


def curve_position(coordinates: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Return how far along a Morton curve through their bounding square points are, uint64 (n_points,).

    Examples
    --------
    >>> keys = curve_position(np.array([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0], [9.0, 9.0]]))
    >>> np.argsort(keys).tolist()
    [0, 1, 2, 3]
    """
    if not len(coordinates):
        return np.zeros(0, np.uint64)
    away = coordinates - coordinates.min(axis=0)
    extent = float(away.max())
    cells = (away * (_SIDE / extent if extent > 0 else 0.0)).astype(np.uint64)
    for shift, mask in _SPREADING:
        cells = (cells | (cells << np.uint64(shift))) & np.uint64(mask)
    return np.asarray(cells[:, 0] | (cells[:, 1] << np.uint64(1)))


def cells_by_content(
    label: NDArray[np.integer],
    totals: NDArray[np.float64],
    fingerprints: NDArray[np.uint64],
    n_cell_types: int,
) -> list[NDArray[np.int64]]:
    """Return the cells of each type that have counts, in an order that does not depend on their rows.

    Parameters
    ----------
    label : ndarray of int, shape (n_cells,)
        Type of each cell, or a negative number.
    totals : ndarray of float64, shape (n_cells,)
    fingerprints : ndarray of uint64, shape (n_cells,)
        As `row_fingerprints` gives them: the order looks random.
    n_cell_types : int

    Examples
    --------
    >>> label, totals = np.array([0, -1, 0, 1, 0]), np.array([5.0, 5.0, 0.0, 5.0, 2.0])
    >>> [cells.tolist() for cells in cells_by_content(label, totals, np.arange(5, 0, -1, np.uint64), 2)]
    [[4, 0], [3]]
    """
    order = np.lexsort((fingerprints, label))
    order = order[(label[order] >= 0) & (totals[order] > 0)]
    return np.split(order, np.searchsorted(label[order], np.arange(1, n_cell_types)))


def visits(n: int, offset: float = 0.0) -> Iterator[int]:
    """Yield numbers below `n` so that those up to any moment are spread evenly; each comes again and again.

    The multiples of the golden ratio, beginning at the part `offset` of all. Spots are numbered along a
    curve, so the first ones represent the tissue better than as many that are drawn at random.

    Examples
    --------
    >>> from itertools import islice
    >>> list(islice(visits(100), 5))
    [0, 61, 23, 85, 47]
    """
    for step in count():
        yield int((offset + step * _GOLDEN) % 1.0 * n)


def spread_out(n: int, n_chosen: int, offset: float = 0.5) -> NDArray[np.int64]:
    """Return at most `n_chosen` numbers below `n`, spread evenly, sorted.

    The first one is `offset` steps from 0, between 0 and 1.

    Examples
    --------
    >>> spread_out(10, 3), spread_out(3, 5)
    (array([1, 5, 8]), array([0, 1, 2]))
    """
    if n <= n_chosen:
        return np.arange(n)
    return ((np.arange(n_chosen) + offset) * (n / n_chosen)).astype(np.int64)


def gene_keys(n_genes: int) -> NDArray[np.uint64]:
    """Return a random-looking number for each gene, always the same, uint64 (n_genes,)."""
    return np.random.default_rng(0).integers(0, 2**64, n_genes, np.uint64)


def row_fingerprints(counts: Counts) -> NDArray[np.uint64]:
    """Return a number for each spot that depends on its counts alone, uint64 (n_spots,).

    It is the same for any order of the genes' columns, and however the counts are stored.

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> one = row_fingerprints(Counts(csr_array([[1.0, 2.0]]), np.array([0, 1])))
    >>> other = row_fingerprints(Counts(csr_array([[2, 1, 0]]), np.array([1, 0, 2])))
    >>> bool(one[0] == other[0])
    True
    """
    keys = gene_keys(int(counts.gene_of_column.max(initial=-1)) + 1)
    found = np.zeros(counts.n_spots, np.uint64)

    def add(values: GeneCounts) -> None:
        counts_kernels.fingerprints(values, keys, found)

    counts.over_rows(add, Threads(1))
    return found
