"""Cells whose types vary in a known way, and spots that hold a few of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from napari_spotmix.model.canonical import cells_by_content
from napari_spotmix.model.variation import CellVariation, cell_variation, cells_to_compare

Array = NDArray[np.float64]


@dataclass(frozen=True)
class VariedCells:
    """Each cell of a type has the type's signature times ``1 + program`` or ``1 - program``.

    Attributes
    ----------
    signatures : ndarray of float64, shape (n_cell_types, n_genes)
    program : ndarray of float64, shape (n_cell_types, n_genes)
        Moves RNA between genes, never adds any; all 0 where cells do not vary.
    """

    signatures: Array
    program: Array

    @classmethod
    def of(
        cls, rng: np.random.Generator, n_types: int = 4, n_genes: int = 120, size: float = 0.5
    ) -> VariedCells:
        S = rng.dirichlet(np.full(n_genes, 1.0), size=n_types) + 0.1 / n_genes
        S /= S.sum(axis=1, keepdims=True)
        program = size * np.where(rng.random(S.shape) < 0.5, -1.0, 1.0)
        return cls(S, program - (program * S).sum(axis=1, keepdims=True))

    def covariance(self, k: int) -> Array:
        """Covariance of the shares of genes between cells of type k."""
        direction = self.signatures[k] * self.program[k]
        return np.outer(direction, direction)

    def shares(self, types: NDArray[np.int64], rng: np.random.Generator) -> Array:
        """Shares of genes in one cell after the other, float64 (n_cells, n_genes)."""
        sign = rng.choice([-1.0, 1.0], size=(len(types), 1))
        return self.signatures[types] * (1 + sign * self.program[types])

    def reference(
        self, n_cells: NDArray[np.int64], depth: float, rng: np.random.Generator
    ) -> tuple[csr_array, NDArray[np.int64], Array]:
        """Counts, types and totals of single cells."""
        label = np.repeat(np.arange(len(n_cells)), n_cells)
        counts = rng.poisson(depth * self.shares(label, rng)).astype(np.float64)
        return csr_array(counts), label, counts.sum(axis=1)

    def spots(
        self, n_spots: int, n_cells: int, depth: float | Array, rng: np.random.Generator
    ) -> tuple[Array, Array]:
        """Counts of spots with `n_cells` cells each, and the proportions of their types."""
        usual = rng.dirichlet(np.full(len(self.signatures), 0.5), size=n_spots)
        types = np.stack([rng.choice(len(self.signatures), n_cells, p=p) for p in usual])
        truth = np.stack([np.bincount(row, minlength=len(self.signatures)) for row in types]) / n_cells
        mean = self.shares(types.ravel(), rng).reshape(n_spots, n_cells, -1).mean(axis=1)
        return rng.poisson(depth * mean).astype(np.float64), truth


def estimated(cells: VariedCells, n_cells: int, depth: float, rng: np.random.Generator) -> CellVariation:
    """What a reference of `n_cells` cells of each type tells of their variation."""
    counts, label, totals = cells.reference(np.full(len(cells.signatures), n_cells), depth, rng)
    return variation_of(counts, label, totals, cells.signatures)


def members_of(label: np.ndarray, totals: Array, n_types: int) -> list[NDArray[np.int64]]:
    """Cells of each type in their order."""
    return cells_by_content(label, totals, np.arange(len(label), dtype=np.uint64), n_types)


def variation_of(counts: csr_array, label: np.ndarray, totals: Array, signatures: Array) -> CellVariation:
    """What the cells of a whole reference tell, of which some are chosen."""
    chosen = cells_to_compare(members_of(label, totals, len(signatures)))
    n_cells = np.bincount(label[(label >= 0) & (totals > 0)], minlength=len(signatures)).astype(float)
    return cell_variation(csr_array(counts[chosen]), label[chosen], totals[chosen], signatures, n_cells)


def dense(variation: CellVariation, k: int) -> Array:
    """``F_k F_k' + diag(v_k)``."""
    F = variation.directions[k]
    return np.asarray(F @ F.T + np.diag(variation.single[k]))
