"""Arguments of kernels that belong together, in tuples that numba knows.

A kernel unpacks them once; in compiled code they cost nothing.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

__all__ = [
    "CSR",
    "Aggregates",
    "CoarseHessian",
    "Edges",
    "ErrorTerms",
    "GeneCounts",
    "Hessian",
    "LogTerm",
    "Prolongation",
    "SpotErrorTerms",
    "Strips",
    "Support",
]

Array = NDArray[np.float64]
Integers = NDArray[np.integer]


class Edges(NamedTuple):
    """The pattern of a CSR matrix: the neighbors of node i are ``indices[indptr[i]:indptr[i + 1]]``.

    Attributes
    ----------
    indptr : ndarray of int, shape (n_nodes + 1,)
    indices : ndarray of int, shape (n_edges,)
        Every edge in both directions.
    """

    indptr: Integers
    indices: Integers


class CSR(NamedTuple):
    """A CSR matrix.

    Attributes
    ----------
    indptr : ndarray of int, shape (n_rows + 1,)
    indices : ndarray of int, shape (n_entries,)
    data : ndarray, shape (n_entries,)
    """

    indptr: Integers
    indices: Integers
    data: NDArray[Any]

    @classmethod
    def of(cls, matrix: csr_array) -> CSR:
        """Return the three arrays of a SciPy matrix, not copied."""
        return cls(matrix.indptr, matrix.indices, matrix.data)


#: What numba takes for one and the same type.
_PLAIN: tuple[Literal["C", "W"], ...] = ("C", "W")


class GeneCounts(NamedTuple):
    """Counts of a few spots or cells as a CSR matrix, and the gene of each column.

    Attributes
    ----------
    indptr : ndarray of int64, shape (n_rows + 1,)
    indices : ndarray of int32, shape (n_entries,)
    data : ndarray of float64, shape (n_entries,)
    gene_of_column : ndarray of int64, shape (n_columns,)
        -1 for a column that is not used.
    spot : ndarray of int64, shape (n_rows,)
        Number of each row's spot or cell.
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    data: Array
    gene_of_column: NDArray[np.int64]
    spot: NDArray[np.int64]

    @classmethod
    def of_rows(
        cls,
        matrix: csr_array,
        gene_of_column: NDArray[np.int64],
        spot_of_row: NDArray[np.int64],
        start: int,
        stop: int,
    ) -> GeneCounts:
        """Return some rows of a matrix.

        Files have counts of many types. Rows are converted a few at a time, where they stay in the cache, so
        that kernels are compiled for one type only.
        """
        first, last = matrix.indptr[start], matrix.indptr[stop]
        return cls(
            matrix.indptr[start : stop + 1].astype(np.int64) - first,
            np.require(matrix.indices[first:last], np.int32, _PLAIN),
            np.require(matrix.data[first:last], np.float64, _PLAIN),
            gene_of_column,
            spot_of_row[start:stop],
        )


class Hessian(NamedTuple):
    """``H X = (scale M + shift) X - lambda_c W X``, the Hessian of half the objective.

    Attributes
    ----------
    M : ndarray of float64, shape (n_clusters, n_cell_types, n_cell_types)
        Gram matrix of each composition cluster.
    cluster : ndarray of int64, shape (n_spots,)
    scale, shift : ndarray of float64, shape (n_spots,)
        ``c``, and ``lambda_r + lambda_c D``.
    W : CSR
        Edge weights, float64.
    lambda_c : float
    """

    M: Array
    cluster: NDArray[np.int64]
    scale: Array
    shift: Array
    W: CSR
    lambda_c: float


class LogTerm(NamedTuple):
    """What pseudo-counts of logarithmic residuals are computed from.

    Attributes
    ----------
    S : ndarray of float64, shape (n_cell_types, n_genes)
    floor : ndarray of float64, shape (n_genes,)
        Least ``X S``.
    X : ndarray of float64, shape (n_spots, n_cell_types)
    depth : ndarray of float64, shape (n_spots,)
        By which ``X S`` becomes a mean count.
    bias : ndarray of float64, shape (n_cells + 1,)
        Mean of the residual over that of the count, ``m``, at equal steps of ``m / (m + 1)``.
    of_zero : ndarray of float64, shape (n_cells + 1,)
        Pseudo-count of a count of 0 over ``m``, at the same steps, up to where it is used.
    shift, weight : float
    """

    S: Array
    floor: Array
    X: Array
    depth: Array
    bias: Array
    of_zero: Array
    shift: float
    weight: float


class Aggregates(NamedTuple):
    """Which nodes belong to which aggregate: ``members[start_of[a]:start_of[a + 1]]``.

    Attributes
    ----------
    start_of : ndarray of int64, shape (n_aggregates + 1,)
    members : ndarray of int64, shape (n_members,)
    aggregate : ndarray of int64, shape (n_nodes,)
        Of each node; -1 for a node that is in none.
    """

    start_of: NDArray[np.int64]
    members: NDArray[np.int64]
    aggregate: NDArray[np.int64]


class Prolongation(NamedTuple):
    """How members follow their aggregate: by ``min(x / baseline, 1)`` of its step.

    Attributes
    ----------
    baseline : ndarray of float64, shape (n_aggregates, n_cell_types)
    per_baseline : ndarray of float64, shape (n_aggregates, n_cell_types)
        One over it; 0 where it is 0.
    """

    baseline: Array
    per_baseline: Array


class CoarseHessian(NamedTuple):
    """The Hessian of a coarse problem, single precision.

    Attributes
    ----------
    indptr, indices
        Edges between aggregates, as in `Edges`.
    coupling : ndarray of float32, shape (n_edges, n_cell_types)
        Minus its entries between aggregates: one number for each type.
    blocks : ndarray of float32, shape (n_aggregates, n_cell_types * (n_cell_types + 1) // 2)
        Its entries within an aggregate, the lower triangle row by row.
    """

    indptr: Integers
    indices: Integers
    coupling: NDArray[np.floating]
    blocks: NDArray[np.floating]


class Strips(NamedTuple):
    """Spots sorted into horizontal strips, and by x within each.

    Attributes
    ----------
    first : ndarray of int64, shape (n_strips + 1,)
        Where each strip starts in `order`.
    number : ndarray of float64, shape (n_strips,)
        Neighboring strips differ by 1.
    order : ndarray of int64, shape (n_spots,)
        Spots as they are sorted.
    coordinates : ndarray of float64, shape (n_spots, 2)
        (x, y) in this order.
    """

    first: NDArray[np.int64]
    number: Array
    order: NDArray[np.int64]
    coordinates: Array


class Support(NamedTuple):
    """Scratch arrays of the active-set method, each overwritten.

    Attributes
    ----------
    types : ndarray of int64, shape (n_cell_types,)
        The types that are free.
    L : ndarray of float64, shape (n_cell_types, n_cell_types)
        Cholesky factor on them.
    solution, gradient : ndarray of float64, shape (n_cell_types,)
    barred : ndarray of bool, shape (n_cell_types,)
        Types that are not tried again.
    """

    types: NDArray[np.int64]
    L: Array
    solution: Array
    gradient: Array
    barred: NDArray[np.bool_]


class ErrorTerms(NamedTuple):
    """What standard errors depend on by composition cluster, in the eigenvectors of its ``M``.

    Attributes
    ----------
    tilted : ndarray of float64, shape (n_clusters, n_cell_types, n_cell_types)
        Eigenvectors as rows, divided by the RNA contents.
    level : ndarray of float64, shape (n_clusters, n_cell_types)
        Sums of these rows.
    curvature : ndarray of float64, shape (n_clusters, n_cell_types)
        Eigenvalues.
    linear, square : ndarray of float64, shape (n_clusters, n_cell_types, n_cell_types)
        Noise that grows with a spot's total, and with its square.
    trace : ndarray of float64, shape (n_clusters, 3)
        Of ``M``, `linear` and `square`.
    """

    tilted: Array
    level: Array
    curvature: Array
    linear: Array
    square: Array
    trace: Array


class SpotErrorTerms(NamedTuple):
    """What standard errors depend on by spot.

    Attributes
    ----------
    cluster : ndarray of int64, shape (n_spots,)
    scale : ndarray of float64, shape (n_spots,)
        ``c``.
    coupling : ndarray of float64, shape (n_spots,)
        ``lambda_r + lambda_c D``.
    once, twice : ndarray of float64, shape (n_spots,)
        What `linear` and `square` of `ErrorTerms` are multiplied by.
    """

    cluster: NDArray[np.int64]
    scale: Array
    coupling: Array
    once: Array
    twice: Array
