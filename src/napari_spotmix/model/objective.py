"""The objective, its gradient and its optimality conditions in plain NumPy: the oracle of the tests.

Up to the constant ``||Y||^2``::

    f(X) = sum_i [ c_i x_i' M_a(i) x_i - 2 b_i' x_i ]  +  lr ||X||^2  +  lc Tr(X' L X),    L = D - W
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from napari_spotmix.model.sufficient_statistics import Statistics

__all__ = ["curvature", "gradient", "objective", "violation"]

Array = NDArray[np.float64]


def _data_product(X: Array, statistics: Statistics) -> Array:
    products = np.einsum("nkm,nm->nk", statistics.gram[statistics.cluster], X)
    return np.asarray(statistics.scale[:, None] * products)


def _laplacian_product(X: Array, W: csr_array) -> Array:
    return np.asarray(W.sum(axis=1)[:, None] * X - W @ X)


def objective(X: Array, statistics: Statistics, W: csr_array, lambda_r: float, lambda_c: float) -> float:
    """Return ``f(X)``, which a sweep never raises."""
    data = (X * (_data_product(X, statistics) - 2 * statistics.projection)).sum()
    return float(data + lambda_r * (X**2).sum() + lambda_c * (X * _laplacian_product(X, W)).sum())


def gradient(X: Array, statistics: Statistics, W: csr_array, lambda_r: float, lambda_c: float) -> Array:
    """Return half the gradient of ``f``, float64 (n_spots, n_cell_types)."""
    data = _data_product(X, statistics) - statistics.projection
    return data + lambda_r * X + lambda_c * _laplacian_product(X, W)


def curvature(statistics: Statistics, W: csr_array, lambda_r: float, lambda_c: float) -> Array:
    """Return what gradients are measured against, float64 (n_spots, n_cell_types).

    Half the diagonal of the Hessian, but no more than the data term has in the spot or in the mean over
    spots: strong coupling makes a single spot stiff, yet a whole region may still be far from its minimum.
    """
    diagonal = np.einsum("akk->ak", statistics.gram)[statistics.cluster]
    own = statistics.scale[:, None] * diagonal
    degree = np.asarray(W.sum(axis=1))[:, None]
    stiff = own + lambda_r + lambda_c * degree
    return np.asarray(np.minimum(stiff, np.maximum(own, statistics.typical_curvature())))


def violation(X: Array, statistics: Statistics, W: csr_array, lambda_r: float, lambda_c: float) -> float:
    """Return ``max |min(X, g / h)|`` with ``h`` the `curvature`.

    It is 0 exactly where ``X >= 0``, ``g >= 0`` and ``X g = 0``.
    """
    g = gradient(X, statistics, W, lambda_r, lambda_c)
    h = curvature(statistics, W, lambda_r, lambda_c)
    gap = np.minimum(X, np.divide(g, h, out=np.zeros_like(g), where=h > 0))
    return float(np.abs(np.where(h > 0, gap, 0.0)).max(initial=0.0))
