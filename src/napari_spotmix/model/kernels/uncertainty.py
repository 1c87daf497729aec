"""The kernel of the standard errors."""

from __future__ import annotations

import numpy as np

from napari_spotmix.model.kernels.jit import compiled
from napari_spotmix.model.kernels.linear_algebra import add_product

__all__ = [
    "proportion_errors",
]


@compiled
def proportion_errors(terms, of_spots, content, content_variance, X, start, stop, errors):
    """Standard errors of the proportions of rows `start` to `stop`, at most 1.

    With every type free, a spot's Hessian is ``P = scale M + coupling`` and its right-hand side has the
    covariance ``J = once linear + twice square``; the neighbors add ``coupling`` times the ratio of the
    traces of noise and data. `terms` are in the eigenvectors of their cluster's ``M``. Proportions are
    ``z / sum z``, ``z = x / content``: with `g` the gradient of one of them and ``P a = g``, the variance is
    ``a' J a``, plus what the variance of the contents adds.
    """
    tilted, level, curvature, linear, square, trace = terms
    cluster, scale, coupling, once, twice = of_spots
    n_types = X.shape[1]
    inverse, share = np.empty(n_types), np.empty(n_types)
    # Column k of `a` belongs to type k, so that sums over types are vectorized.
    a, noisy, variance = np.empty((n_types, n_types)), np.empty(n_types), np.empty(n_types)
    noise = np.empty(n_types)
    for i in range(start, stop):
        c = cluster[i]
        total = 0.0
        for k in range(n_types):
            total += X[i, k] / content[k]
        if total <= 0.0:
            errors[i] = np.nan
            continue
        lent = coupling[i] * (once[i] * trace[c, 1] + twice[i] * trace[c, 2]) / (scale[i] * trace[c, 0])
        common = 0.0
        for k in range(n_types):
            share[k] = X[i, k] / content[k] / total
            common += share[k] * share[k] * content_variance[k]
        for q in range(n_types):
            inverse[q] = 1.0 / (max(scale[i] * curvature[c, q] + coupling[i], 1e-300) * total)
        for k in range(n_types):
            variance[k] = share[k] * share[k] * ((1.0 - 2.0 * share[k]) * content_variance[k] + common)
        for q in range(n_types):
            for k in range(n_types):
                a[q, k] = (tilted[c, q, k] - share[k] * level[c, q]) * inverse[q]
        for q in range(n_types):
            for r in range(q):
                noise[r] = 2.0 * (once[i] * linear[c, q, r] + twice[i] * square[c, q, r])
            noise[q] = once[i] * linear[c, q, q] + twice[i] * square[c, q, q] + lent
            noisy[:] = 0.0
            add_product(a, 1.0, noise[: q + 1], noisy)
            for k in range(n_types):
                variance[k] += a[q, k] * noisy[k]
        for k in range(n_types):
            errors[i, k] = min(np.sqrt(max(variance[k], 0.0)), 1.0)
