"""Kernels that read counts: totals, projections, Gram matrices, held-out scores."""

from __future__ import annotations

import numpy as np

from napari_spotmix.model.kernels.jit import compiled
from napari_spotmix.model.kernels.linear_algebra import add_rows, dot
from napari_spotmix.model.kernels.simd import (
    WIDTH,
    broadcast,
    load,
    store,
)

__all__ = [
    "COLUMNS",
    "add_gene_moments",
    "add_to_genes",
    "add_to_groups",
    "filtered_grams",
    "filtered_projections",
    "fingerprints",
    "held_out_score",
    "row_totals",
    "rows_in_order",
]


#: Columns that `filtered_projections` sums at once.
COLUMNS = 3 * WIDTH


@compiled
def rows_in_order(indptr, indices, start, stop):
    """Return whether the columns of rows `start` to `stop` are sorted, without duplicates."""
    for i in range(start, stop):
        for p in range(indptr[i] + 1, indptr[i + 1]):
            if indices[p] <= indices[p - 1]:
                return False
    return True


@compiled
def row_totals(counts, totals):
    """Sum the used columns of each row into the `totals` of spots."""
    indptr, indices, data, gene_of_column, spot = counts
    for i in range(spot.size):
        total = 0.0
        for p in range(indptr[i], indptr[i + 1]):
            if gene_of_column[indices[p]] >= 0:
                total += data[p]
        totals[spot[i]] = total


@compiled
def fingerprints(counts, keys, found):
    """Add each count times the key of its gene, modulo 2^64.

    Fractions count in steps of 2^-16. Sums of integers do not depend on the order of entries.
    """
    indptr, indices, data, gene_of_column, spot = counts
    for i in range(spot.size):
        total = np.uint64(0)
        for p in range(indptr[i], indptr[i + 1]):
            g = gene_of_column[indices[p]]
            if g >= 0:
                steps = min(max(np.float64(data[p]) * 65536.0, 0.0), 9e18)
                total += np.uint64(np.int64(steps)) * keys[g]
        found[spot[i]] = total


@compiled
def add_to_genes(counts, sums):
    """Add all rows to the `sums` of genes."""
    indptr, indices, data, gene_of_column, _ = counts
    for p in range(indptr[0], indptr[-1]):
        g = gene_of_column[indices[p]]
        if g >= 0:
            sums[g] += data[p]


@compiled
def filtered_projections(counts, filters, cluster, scale, b):
    """``b_n = scale_n * filter_a(n)' y_n`` of the spot n of each row.

    `filters` has a column for each type, padded with zeros to a multiple of `COLUMNS`.
    """
    indptr, indices, data, gene_of_column, spot = counts
    sums = np.empty(filters.shape[2])
    for i in range(spot.size):
        n = spot[i]
        of_genes = filters[cluster[n]]
        for k in range(0, sums.size, COLUMNS):
            first, second, third = broadcast(0.0), broadcast(0.0), broadcast(0.0)
            for p in range(indptr[i], indptr[i + 1]):
                g = gene_of_column[indices[p]]
                if g >= 0:
                    y = np.float64(data[p])
                    first = first + y * load(of_genes, g, k)
                    second = second + y * load(of_genes, g, k + WIDTH)
                    third = third + y * load(of_genes, g, k + 2 * WIDTH)
            store(first, sums, k)
            store(second, sums, k + WIDTH)
            store(third, sums, k + 2 * WIDTH)
        for k in range(b.shape[1]):
            b[n, k] = scale[n] * sums[k]


@compiled
def filtered_grams(ST, filters, start, stop, M):
    """``M_a = filter_a' S'`` for clusters `start` to `stop`, symmetric except for rounding, and made so."""
    n_genes, n_types = ST.shape
    for a in range(start, stop):
        M[a] = 0.0
        for g in range(n_genes):
            for k in range(n_types):
                value = filters[a, g, k]
                if value != 0.0:
                    for m in range(k + 1):
                        M[a, k, m] += value * ST[g, m]
        for k in range(n_types):
            for m in range(k):
                M[a, m, k] = M[a, k, m]


@compiled
def held_out_score(counts, ST, total_signature, X, score, C):
    """Multinomial log-likelihood per spot of held-out genes given their total, and minus its derivative.

    With ``m_g = x . S_g`` and ``t = x . sum_g S_g``: ``score = sum_g Y_g log(m_g / t)`` and
    ``C = -sum_g Y_g (S_g / m_g - sum_g S_g / t)``.
    """
    indptr, indices, data, gene_of_column, spot = counts
    longest = 0
    for i in range(spot.size):
        longest = max(longest, indptr[i + 1] - indptr[i])
    genes, factors = np.empty(longest, np.int64), np.empty(longest)
    for i in range(spot.size):
        n = spot[i]
        score[n] = 0.0
        C[n] = 0.0
        total = 0.0
        for k in range(ST.shape[1]):
            total += X[n, k] * total_signature[k]
        if total <= 0.0:
            continue
        n_counts, size = 0.0, 0
        for p in range(indptr[i], indptr[i + 1]):
            g = gene_of_column[indices[p]]
            if g >= 0:
                mean = dot(ST, g, X[n])
                score[n] += data[p] * np.log(mean)
                n_counts += data[p]
                genes[size], factors[size] = g, data[p] / mean
                size += 1
        score[n] -= n_counts * np.log(total)
        add_rows(ST, genes, factors, 0, size, -1.0, C[n])
        for k in range(ST.shape[1]):
            C[n, k] += n_counts * total_signature[k] / total


@compiled
def _gather_genes(counts, i, count, genes):
    """Sum row `i` by gene into `count`, list its genes in `genes` and return how many there are."""
    indptr, indices, data, gene_of_column, _ = counts
    size = 0
    for p in range(indptr[i], indptr[i + 1]):
        g = gene_of_column[indices[p]]
        if g >= 0 and data[p] != 0:
            if count[g] == 0.0:
                genes[size] = g
                size += 1
            count[g] += data[p]
    return size


@compiled
def add_gene_moments(counts, ST, X, scale, count, genes, moments):
    """Add ``sum Y``, ``sum Y^2`` and ``sum Y mu`` of all rows to each gene's `moments`.

    ``mu_i = scale_i x_i S``; `count` is zero before and after, `genes` is overwritten.
    """
    for i in range(counts.spot.size):
        n = counts.spot[i]
        for q in range(_gather_genes(counts, i, count, genes)):
            g = genes[q]
            y, mean = count[g], 0.0
            count[g] = 0.0
            for k in range(X.shape[1]):
                mean += X[n, k] * ST[g, k]
            moments[0, g] += y
            moments[1, g] += y * y
            moments[2, g] += y * scale[n] * mean


@compiled
def add_to_groups(counts, group, times, sums):
    """Add ``times_n`` times spot n by gene to the `sums` of its group.

    A spot of group -1 is left out.
    """
    indptr, indices, data, gene_of_column, spot = counts
    for i in range(spot.size):
        n = spot[i]
        if group[n] < 0:
            continue
        for p in range(indptr[i], indptr[i + 1]):
            g = gene_of_column[indices[p]]
            if g >= 0:
                sums[group[n], g] += times[n] * data[p]
