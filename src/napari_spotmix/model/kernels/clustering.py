"""Kernels of k-means."""

from __future__ import annotations

import numpy as np

from napari_spotmix.model.kernels.jit import compiled

__all__ = [
    "assign_to_centers",
    "sum_by_group",
]


@compiled
def assign_to_centers(Z, centers, start, stop, label, distance):
    """Write the nearest center of rows `start` to `stop`, and the squared distance to it.

    `centers` has a column for each center, so that a compiler vectorizes over them.
    """
    n_centers = centers.shape[1]
    squared = np.empty(n_centers)
    for i in range(start, stop):
        squared[:] = 0.0
        for k in range(Z.shape[1]):
            z = Z[i, k]
            for a in range(n_centers):
                squared[a] += (z - centers[k, a]) ** 2
        label[i] = np.argmin(squared)
        distance[i] = squared[label[i]]


@compiled
def sum_by_group(values, times, label, sums):
    """Add ``times_i`` times row i of `values` to the `sums` of its group."""
    for i in range(label.size):
        a = label[i]
        for k in range(values.shape[1]):
            sums[a, k] += times[i] * values[i, k]
