"""The kernel that projects counts whose residuals are partly logarithmic."""

from __future__ import annotations

import numpy as np

from napari_spotmix.model.kernels.counts import COLUMNS
from napari_spotmix.model.kernels.jit import compiled, inlined
from napari_spotmix.model.kernels.simd import WIDTH, broadcast, load, store

__all__ = ["LARGEST_OF_TABLE", "log_projections"]

#: Up to this mean, what becomes of a count of 0 is read from a table: a logarithm costs more than the rest.
LARGEST_OF_TABLE = 4.0


@compiled
def log_projections(counts, term, filters, cluster, scale, b):
    """``b_n = scale_n * filter_a(n)' y*_n`` of the spot n of each row.

    ``y*`` is :func:`napari_spotmix.model.log_residuals.pseudo_counts` at the mean of the spot. `filters` has
    a column for each type, padded with zeros to a multiple of `COLUMNS`.
    """
    S, floor, X, depth, bias, of_zero, shift, weight = term
    indptr, indices, data, gene_of_column, spot = counts
    count, values, sums = np.zeros(floor.size), np.empty(floor.size), np.empty(filters.shape[2])
    for i in range(spot.size):
        n = spot[i]
        for p in range(indptr[i], indptr[i + 1]):
            g = gene_of_column[indices[p]]
            if g >= 0:
                count[g] += data[p]
        values[:] = 0.0
        for k in range(X.shape[1]):
            if X[n, k] > 0.0:
                for g in range(floor.size):
                    values[g] += X[n, k] * S[k, g]
        for g in range(floor.size):
            mean = depth[n] * max(values[g], floor[g])
            values[g] = _pseudo_count(count[g], mean, bias, of_zero, shift, weight)
        _sums_of_all(filters[cluster[n]], values, sums)
        for k in range(b.shape[1]):
            b[n, k] = scale[n] * sums[k]
        for p in range(indptr[i], indptr[i + 1]):
            g = gene_of_column[indices[p]]
            if g >= 0:
                count[g] = 0.0


@inlined
def _pseudo_count(y, mean, bias, of_zero, shift, weight):
    place = mean / (mean + 1.0) * (bias.size - 1)
    below = min(int(place), bias.size - 2)
    part = place - below
    if y == 0.0 and mean < LARGEST_OF_TABLE:
        logarithmic = mean * (of_zero[below] + part * (of_zero[below + 1] - of_zero[below]))
    else:
        here = bias[below] + part * (bias[below + 1] - bias[below])
        logarithmic = mean + (mean + shift) * np.log((y + shift) / (mean + shift)) - mean * here
    return y + weight * (logarithmic - y)


@inlined
def _sums_of_all(of_genes, values, sums):
    for k in range(0, sums.size, COLUMNS):
        first, second, third = broadcast(0.0), broadcast(0.0), broadcast(0.0)
        for g in range(values.size):
            first = first + values[g] * load(of_genes, g, k)
            second = second + values[g] * load(of_genes, g, k + WIDTH)
            third = third + values[g] * load(of_genes, g, k + 2 * WIDTH)
        store(first, sums, k)
        store(second, sums, k + WIDTH)
        store(third, sums, k + 2 * WIDTH)
