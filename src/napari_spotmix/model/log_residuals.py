"""Residuals on a logarithmic scale, for genes that the reference has several-fold wrong.

Least squares is dragged by a gene that exceeds the model many times, however wrong its signature. On a
logarithmic scale such a gene counts little more than one that exceeds it twice. The quadratic form of the
solver stays: counts ``y`` are replaced by pseudo-counts at the current mean ``m``,

    y* = m + (m + 1/2) log((y + 1/2) / (m + 1/2)) - a(m)

and fitted again until both agree. ``a(m)`` is the mean of the middle term if y is Poisson with mean m: so
counts that follow the model give the same abundances on both scales (Fisher consistency), deep or shallow.
With a weight ``w`` between 0 and 1, what is fitted is ``(1 - w) y + w y*``.

References
----------
Cantoni and Ronchetti, *Robust inference for generalized linear models*, Journal of the American Statistical
Association 2001 (bounded residuals, made consistent by their mean).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from napari_spotmix.model.kernels.arguments import LogTerm
from napari_spotmix.model.kernels.residuals import LARGEST_OF_TABLE

__all__ = ["LogResiduals", "pseudo_counts"]

Array = NDArray[np.float64]

#: Added to counts and means before their logarithms are taken.
_SHIFT = 0.5
#: Cells of the table of the mean of residuals.
_CELLS = 1024
#: A mean is at least this part of that of a spot in which all types have the same share.
_FLOOR = 1e-3


@dataclass(frozen=True)
class LogResiduals:
    """Where pseudo-counts are taken, and how much they count.

    Attributes
    ----------
    abundances : ndarray of float64, shape (n_spots, n_cell_types)
        Of the current fit.
    per_share : ndarray of float64, shape (n_spots,)
        By which ``X S`` becomes a mean count: the spot's total, or 1.
    weight : float
        ``w``, from 0 for counts as they are to 1 for logarithms alone.
    """

    abundances: Array
    per_share: Array
    weight: float

    def of_spots(self, spots: NDArray[np.int64]) -> LogResiduals:
        """Return those of some spots."""
        return replace(self, abundances=self.abundances[spots], per_share=self.per_share[spots])

    def term(self, signatures: Array) -> LogTerm:
        """Return all of it as kernels read it."""
        floor = _FLOOR * signatures.mean(axis=0)
        S, X = np.ascontiguousarray(signatures), self.abundances
        return LogTerm(S, floor, X, self.per_share, bias_table(), _zero_table(), _SHIFT, self.weight)


def pseudo_counts(counts: Array, mean: Array, weight: float = 1.0) -> Array:
    """Return what is fitted instead of counts, at their current mean.

    Parameters
    ----------
    counts : ndarray of float64
    mean : ndarray of float64, the same shape
        Above 0.
    weight : float, optional
        ``w``.

    Examples
    --------
    A gene that exceeds the model a hundredfold counts as one that exceeds it sixfold:

    >>> pseudo_counts(np.array([1000.0]), np.array([10.0])).round(0)
    array([58.])
    """
    place = mean / (mean + 1.0) * _CELLS
    bias = mean * np.interp(place, np.arange(_CELLS + 1), bias_table())
    logarithmic = mean + (mean + _SHIFT) * np.log((counts + _SHIFT) / (mean + _SHIFT)) - bias
    return np.asarray((1.0 - weight) * counts + weight * logarithmic)


@cache
def bias_table() -> Array:
    """Return ``a(m) / m`` where ``m / (m + 1)`` is 0, 1/1024, ..., 1, float64 (1025,)."""
    table = np.zeros(_CELLS + 1)
    table[0] = _SHIFT * np.log((1 + _SHIFT) / _SHIFT) - 1.0  # the limit
    u = np.arange(1, _CELLS) / _CELLS
    for cell, mean in enumerate(u / (1.0 - u), start=1):
        wide = 12.0 * np.sqrt(mean) + 40.0
        y = np.arange(max(0.0, np.floor(mean - wide)), mean + wide)
        probability = np.exp(y * np.log(mean) - mean - gammaln(y + 1.0))
        residual = (mean + _SHIFT) * np.log((y + _SHIFT) / (mean + _SHIFT))
        table[cell] = (probability * residual).sum() / mean
    return table  # the last is 0, the limit


@cache
def _zero_table() -> Array:
    """Return what becomes of a count of 0 over its mean, float64 (1025,); 0 above what is used."""
    table = np.zeros(_CELLS + 1)
    u = np.arange(1, _CELLS) / _CELLS
    mean = u / (1.0 - u)
    used = mean < 2 * LARGEST_OF_TABLE
    table[1:-1][used] = pseudo_counts(np.zeros(used.sum()), mean[used]) / mean[used]
    table[0] = -bias_table()[0]  # the limit
    return table
