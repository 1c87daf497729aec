"""From shares of RNA to shares of cells: how much RNA a cell of each type brings.

What is fitted is a share of counts. A type whose cells hold twice the RNA has twice the share, cell for cell,
so shares of cells are shares of counts divided by RNA content. The totals of the reference measure the
content, but with errors: dissociation damages cells, and another technology captures each gene differently.
The logarithm of a total is therefore shrunk towards the types' common value, the more the less it can be
trusted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Content", "rna_content", "unknown_content"]

Array = NDArray[np.float64]

#: Spread of the logarithm of RNA content between cell types of a tissue: two differ by a factor of about 1.6.
_BIOLOGY = 0.35
#: Error of the logarithm of every total: handling, and capture that depends on the type.
_HANDLING = 0.2
#: Rounds in which the common value and the weights of the types in it converge.
_ROUNDS = 20


@dataclass(frozen=True)
class Content:
    """RNA content of a cell of each type, and how much the reference was trusted.

    Attributes
    ----------
    ratio : ndarray of float64, shape (n_cell_types,)
        Content relative to a typical type.
    trust : ndarray of float64, shape (n_cell_types,)
        What is kept of the logarithm of the reference's ratio: 0 nothing, 1 all.
    variance : ndarray of float64, shape (n_cell_types,)
        Of the logarithm of `ratio`.
    fold : float
        Largest over smallest mean total of the reference's types.
    """

    ratio: Array
    trust: Array
    variance: Array
    fold: float


def rna_content(totals: Array, label: NDArray[np.integer], signatures: Array) -> Content:
    """Estimate the RNA content of each type's cells from the totals of the reference's cells.

    Parameters
    ----------
    totals : ndarray of float64, shape (n_cells,)
        Counts of each cell over the genes that shares are shares of.
    label : ndarray of int, shape (n_cells,)
        Type of each cell; a negative label leaves the cell out. Every type has a cell with counts.
    signatures : ndarray of float64, shape (n_cell_types, n_genes)
        Share of each gene in the counts of each type.

    Notes
    -----
    With ``l_k`` the logarithm of a type's mean total, ``tau^2`` its variance between types in tissue and
    ``e_k^2`` its error variance, the best linear estimate keeps ``tau^2 / (tau^2 + e_k^2)`` of the distance
    to the common value. The error has a part for handling, one for the few cells, and one for genes that
    another technology catches by factors with a log-variance of about 1, ``sum_g (S_kg - mean_k S_kg)^2``:
    large if a type's counts are concentrated on few genes. If the totals vary more than all of this
    allows, the excess counts as error too.

    Examples
    --------
    >>> totals = np.array([1000.0, 1000.0, 2000.0, 2000.0])
    >>> flat = np.full((2, 100), 0.01)
    >>> rna_content(totals, np.array([0, 0, 1, 1]), flat).ratio.round(2)
    array([0.84, 1.19])
    """
    used = (label >= 0) & (totals > 0)
    n_types = len(signatures)
    number = np.bincount(label[used], minlength=n_types)
    mean = np.bincount(label[used], totals[used], n_types) / number
    square = np.bincount(label[used], totals[used] ** 2, n_types) / number
    log = np.log(mean)
    error = _HANDLING**2 + (square / mean**2 - 1.0).clip(0) / number + _gene_error(signatures)
    trust, common = _shrinkage(log, error)
    ratio, variance = np.exp(trust * (log - common)), _BIOLOGY**2 * (1.0 - trust)
    return Content(ratio, trust, variance, float(mean.max() / mean.min()))


def unknown_content(n_cell_types: int) -> Content:
    """Return the same content for each type, with the full spread: what is known without totals of cells.

    Examples
    --------
    >>> unknown_content(2).ratio, unknown_content(2).trust
    (array([1., 1.]), array([0., 0.]))
    """
    none = np.zeros(n_cell_types)
    return Content(none + 1.0, none, none + _BIOLOGY**2, 1.0)


def _gene_error(signatures: Array) -> Array:
    return np.asarray(((signatures - signatures.mean(axis=0)) ** 2).sum(axis=1))


def _shrinkage(log: Array, error: Array) -> tuple[Array, float]:
    """Return what to keep of each logarithm's distance to the common value, and that value."""
    trust = _BIOLOGY**2 / (_BIOLOGY**2 + error)
    common = float(np.average(log, weights=trust))
    for _ in range(_ROUNDS):
        variance = ((log - common) ** 2).sum() / max(len(log) - 1, 1)
        excess = max(float(variance - _BIOLOGY**2 - error.mean()), 0.0)
        trust = _BIOLOGY**2 / (_BIOLOGY**2 + error + excess)
        common = float(np.average(log, weights=trust))
    return trust, common
