"""Independent solutions to compare the model with: dense matrices, SciPy and textbook formulas only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.sparse import csr_array

from napari_spotmix.model.sufficient_statistics import Statistics

Array = NDArray[np.float64]


def random_statistics(
    rng: np.random.Generator,
    n_spots: int,
    n_cell_types: int,
    n_clusters: int = 1,
    n_genes: int = 40,
    n_present: int = 2,
) -> Statistics:
    """Statistics of noisy mixtures of `n_present` types each, so that many abundances are exactly 0."""
    S = rng.gamma(0.5, size=(n_cell_types, n_genes)) + 0.02
    X = np.zeros((n_spots, n_cell_types))
    for row in X:
        row[rng.choice(n_cell_types, min(n_present, n_cell_types), replace=False)] = rng.gamma(3.0)
    Y = np.maximum(X @ S + 0.3 * rng.standard_normal((n_spots, n_genes)), 0)
    weights = rng.gamma(4.0, 0.25, size=(n_clusters, n_genes))
    cluster = np.arange(n_spots) % n_clusters
    return dense_statistics(Y, S, weights, cluster, rng.gamma(4.0, 0.25, size=n_spots))


def dense_statistics(
    Y: Array, S: Array, weights: Array, cluster: NDArray[np.int64], scale: Array
) -> Statistics:
    """``M_a = S diag(w_a) S'`` and ``b_i = c_i S diag(w_a(i)) y_i`` by dense products."""
    gram = np.stack([(S * w) @ S.T for w in weights])
    projection = scale[:, None] * ((Y * weights[cluster]) @ S.T)
    return Statistics(gram, cluster.astype(np.int64), scale, projection)


def random_graph(rng: np.random.Generator, n_spots: int, density: float = 0.2) -> csr_array:
    """A symmetric graph with random weights; some spots may have no neighbor."""
    upper = np.triu(rng.random((n_spots, n_spots)) < density, k=1) * rng.random((n_spots, n_spots))
    return csr_array(upper + upper.T)


def path_graph(n_spots: int) -> csr_array:
    """A row of spots, each connected to the next with weight 1."""
    return csr_array(np.eye(n_spots, k=1) + np.eye(n_spots, k=-1))


def no_edges(n_spots: int) -> csr_array:
    return csr_array((n_spots, n_spots), dtype=np.float64)


def laplacian(W: csr_array) -> Array:
    dense = W.toarray()
    return np.diag(dense.sum(axis=1)) - dense


def hessian(statistics: Statistics, W: csr_array, lambda_r: float, lambda_c: float) -> Array:
    """Half the Hessian of the objective over all abundances at once, (n K, n K)."""
    n, K = statistics.projection.shape
    H = lambda_r * np.eye(n * K) + lambda_c * np.kron(laplacian(W), np.eye(K))
    for i in range(n):
        block = slice(i * K, (i + 1) * K)
        H[block, block] += statistics.scale[i] * statistics.gram[statistics.cluster[i]]
    return H


def dense_objective(
    X: Array, statistics: Statistics, W: csr_array, lambda_r: float, lambda_c: float
) -> float:
    x, b = X.ravel(), statistics.projection.ravel()
    return float(x @ hessian(statistics, W, lambda_r, lambda_c) @ x - 2 * b @ x)


def dense_minimizer(statistics: Statistics, W: csr_array, lambda_r: float, lambda_c: float) -> Array:
    """Solve the whole problem at once: ``x'Hx - 2b'x = ||Rx - R'^-1 b||^2`` with ``R'R = H``, by NNLS."""
    lower = np.linalg.cholesky(hessian(statistics, W, lambda_r, lambda_c))
    target = np.linalg.solve(lower, statistics.projection.ravel())
    x, _ = nnls(lower.T, target, maxiter=50 * target.size)
    return np.asarray(x.reshape(statistics.projection.shape))


def poisson_maximum_likelihood(y: Array, S: Array, n_rounds: int = 20_000) -> Array:
    """Abundances that make counts `y` likeliest, by EM (Richardson-Lucy)."""
    x = np.full(len(S), y.sum() / len(S))
    for _ in range(n_rounds):
        x = x * (S @ (y / (x @ S))) / S.sum(axis=1)
    return x


def square_grid(n_rows: int, n_columns: int, pitch: float = 1.0) -> Array:
    y, x = np.mgrid[:n_rows, :n_columns] * pitch
    return np.column_stack([x.ravel(), y.ravel()]).astype(np.float64)


def hexagonal_grid(n_rows: int, n_columns: int, pitch: float = 1.0) -> Array:
    row, column = np.mgrid[:n_rows, :n_columns]
    x = (column + 0.5 * (row % 2)) * pitch
    return np.column_stack([x.ravel(), (row * np.sqrt(0.75) * pitch).ravel()])
