"""Matching the genes of tissue and reference, and choosing the informative ones."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["GeneMatch", "informative_genes", "is_housekeeping", "match_genes"]

# Rplp0 and Rpsa are ribosomal proteins; Rps6ka1 and its like are kinases.
_HOUSEKEEPING = re.compile(r"mt-|m?rp[sl]p?\d(?!\d*k)|rpsa$", re.IGNORECASE)


@dataclass(frozen=True)
class GeneMatch:
    """Which columns of two count matrices hold the same gene.

    Columns that share a name hold the same gene: they point to the same number, so whatever is
    summed over columns sums duplicates by itself.

    Attributes
    ----------
    names : list of str, length n_shared
        The shared genes, sorted, so that nothing depends on the order of columns.
    spatial, reference : ndarray of int64
        For each column, the number of its gene in `names`, or -1.
    n_duplicated : tuple of int
        How many shared genes have more than one column, in the spatial data and in the reference.
    """

    names: list[str]
    spatial: NDArray[np.int64]
    reference: NDArray[np.int64]
    n_duplicated: tuple[int, int]

    def select(self, chosen: NDArray[np.int64]) -> GeneMatch:
        """Return the match with only the shared genes numbered in `chosen`."""
        number = np.full(len(self.names) + 1, -1)
        number[chosen] = np.arange(len(chosen))
        return GeneMatch(
            [self.names[g] for g in chosen], number[self.spatial], number[self.reference], self.n_duplicated
        )


def match_genes(spatial: Sequence[str], reference: Sequence[str]) -> GeneMatch:
    """Match columns by exact name.

    Parameters
    ----------
    spatial, reference : sequence of str
        Gene names of the columns; duplicates allowed.

    Examples
    --------
    >>> match = match_genes(["Actb", "Ckm", "Ckm", "Xist"], ["Ckm", "Actb"])
    >>> match.names, match.spatial.tolist(), match.reference.tolist(), match.n_duplicated
    (['Actb', 'Ckm'], [0, 1, 1, -1], [1, 0], (1, 0))
    """
    names = sorted(set(spatial) & set(reference))
    number = {name: g for g, name in enumerate(names)}

    def numbered(columns: Sequence[str]) -> NDArray[np.int64]:
        return np.array([number.get(name, -1) for name in columns], dtype=np.int64)

    columns = numbered(spatial), numbered(reference)
    duplicated = [int((np.bincount(column[column >= 0]) > 1).sum()) for column in columns]
    return GeneMatch(names, *columns, n_duplicated=(duplicated[0], duplicated[1]))


def informative_genes(signatures: NDArray[np.float64], n_genes: int) -> NDArray[np.int64]:
    """Return the genes that are most informative about cell types, in their given order.

    The score of gene g is ``sum_k (S_kg - s_g)^2 / s_g`` with ``s_g = mean_k S_kg``: the chi-square
    distance of the types per count, that is, the information in the Poisson counts of gene g.

    Parameters
    ----------
    signatures : ndarray of float64, shape (n_cell_types, n_genes_in)
    n_genes : int
        How many to keep at most; 0 keeps all.

    Returns
    -------
    ndarray of int64
        Sorted indices. Genes without counts in the reference are left out.

    Examples
    --------
    >>> informative_genes(np.array([[0.5, 0.1, 0.4, 0.0], [0.5, 0.4, 0.1, 0.0]]), 2)
    array([1, 2])
    """
    mean = signatures.mean(axis=0)
    expressed = np.flatnonzero(mean > 0)
    if n_genes == 0 or n_genes >= len(expressed):
        return expressed
    shown = signatures[:, expressed]
    score = ((shown - mean[expressed]) ** 2).sum(axis=0) / mean[expressed]
    best = np.argsort(-score, kind="stable")[:n_genes]
    return np.sort(expressed[best])


def is_housekeeping(name: str) -> bool:
    """Return whether a symbol is of a mitochondrial or ribosomal-protein gene, of human or mouse.

    Examples
    --------
    >>> names = ["mt-Co1", "MT-ND1", "Rps27a", "RPL3", "Mrps5", "Rpp14", "Mtor"]
    >>> [name for name in names if is_housekeeping(name)]
    ['mt-Co1', 'MT-ND1', 'Rps27a', 'RPL3', 'Mrps5']
    """
    return _HOUSEKEEPING.match(name) is not None
