"""Kernels of the attention: embeddings of spots, weights of edges, their slopes."""

from __future__ import annotations

import numpy as np

from napari_spotmix.model.kernels.jit import compiled

__all__ = [
    "edge_attention",
    "edge_attention_slopes",
    "edge_differences",
    "embed_rows",
]


@compiled
def embed_rows(W, X, one_over_total, start, stop, Z):
    """``sqrt((p_i + mean_j p_j) / 2)`` of rows `start` to `stop`, the mean over neighbors weighted by `W`."""
    indptr, indices, weight = W
    n_types = X.shape[1]
    around = np.empty(n_types)
    for i in range(start, stop):
        degree = 0.0
        for k in range(n_types):
            around[k] = 0.0
        for p in range(indptr[i], indptr[i + 1]):
            j = indices[p]
            degree += weight[p]
            share = weight[p] * one_over_total[j]
            for k in range(n_types):
                around[k] += share * X[j, k]
        for k in range(n_types):
            own = X[i, k] * one_over_total[i]
            mean = around[k] / degree if degree > 0.0 else own
            Z[i, k] = np.sqrt((own + mean) / 2)


@compiled
def edge_attention(edges, Z, sharpness, start, stop, attention):
    """Mean over heads h of ``exp(-1/2 sum_k sharpness_hk (z_ik - z_jk)^2)`` for the edges of some rows."""
    indptr, indices = edges
    n_heads = sharpness.shape[0]
    for i in range(start, stop):
        for p in range(indptr[i], indptr[i + 1]):
            j = indices[p]
            total = 0.0
            for h in range(n_heads):
                exponent = 0.0
                for k in range(Z.shape[1]):
                    difference = Z[i, k] - Z[j, k]
                    exponent += sharpness[h, k] * difference * difference
                total += np.exp(-0.5 * exponent)
            attention[p] = total / n_heads


@compiled
def edge_attention_slopes(edges, Z, sharpness, slope, slopes):
    """Add to ``slopes_hk`` the sum over edges of ``slope_ij d attention_ij / d sharpness_hk``."""
    indptr, indices = edges
    n_heads, n_features = sharpness.shape
    for i in range(indptr.size - 1):
        for p in range(indptr[i], indptr[i + 1]):
            j = indices[p]
            for h in range(n_heads):
                exponent = 0.0
                for k in range(n_features):
                    difference = Z[i, k] - Z[j, k]
                    exponent += sharpness[h, k] * difference * difference
                factor = -0.5 * slope[p] * np.exp(-0.5 * exponent) / n_heads
                for k in range(n_features):
                    difference = Z[i, k] - Z[j, k]
                    slopes[h, k] += factor * difference * difference


@compiled
def edge_differences(edges, A, X, start, stop, out):
    """``(a_i - a_j) . (x_i - x_j)`` for the edges of rows `start` to `stop`."""
    indptr, indices = edges
    for i in range(start, stop):
        for p in range(indptr[i], indptr[i + 1]):
            j = indices[p]
            total = 0.0
            for k in range(X.shape[1]):
                total += (A[i, k] - A[j, k]) * (X[i, k] - X[j, k])
            out[p] = total
