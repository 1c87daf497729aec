"""The covariance of a spot's counts under the model, and the precision that the fit gives to genes.

``V = diag(m (1 + phi N m)) / N`` for counting with overdispersion ``phi``, and the within-type variability on
top (:mod:`napari_spotmix.model.variation`). One ``V`` per cluster; the statistics need its filters
``V^-1 S' / N``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_spotmix.base.threads import Threads
from napari_spotmix.model.composition_clusters import CompositionClusters, precision_weights
from napari_spotmix.model.variation import CellVariation

__all__ = ["DataTerm"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class DataTerm:
    """The noise of counts around the mixture of signatures.

    Attributes
    ----------
    overdispersion : float
        ``phi``, variance beyond Poisson as a multiple of the squared mean.
    variation : CellVariation or None
        How cells of each type vary; None to leave that out.
    kappa : float
        The inverse of an effective number of cells in a spot; 0 leaves the variation out.
    """

    overdispersion: float = 0.0
    variation: CellVariation | None = None
    kappa: float = 0.0

    def scaled(self, platform: Array) -> DataTerm:
        """Return the data term with the within-type variability multiplied by a factor per gene."""
        return self if self.variation is None else replace(self, variation=self.variation.scaled(platform))

    def diagonal(self, composition: Array) -> Array:
        """Return the variance that cells give to the share of each gene in a spot with these proportions."""
        if self.variation is None or self.kappa == 0:
            return np.zeros(1)
        F, v = self.variation.of_mixture(composition, self.kappa)
        return np.asarray((F**2).sum(axis=1) + v)

    def filters(
        self,
        signatures: Array,
        clusters: CompositionClusters,
        threads: Threads,
        *,
        used: NDArray[np.bool_] | None = None,
        on_cluster: Callable[[int], None] = lambda _: None,
    ) -> Array:
        """Return ``V_a^-1 S' / N_a`` of each cluster, float64 (n_clusters, n_genes, n_cell_types).

        Parameters
        ----------
        signatures : ndarray of float64, shape (n_cell_types, n_genes)
        clusters : CompositionClusters
        threads : Threads
        used : ndarray of bool, shape (n_genes,), optional
            Genes that are fitted; the filters of others are 0.
        on_cluster : callable, optional
            Called between clusters; what it raises stops the work.

        Examples
        --------
        >>> from napari_spotmix.model.composition_clusters import one_composition_cluster
        >>> S = np.array([[0.8, 0.2], [0.2, 0.8]])
        >>> DataTerm().filters(S, one_composition_cluster(np.array([10.0]), 2), Threads(1))
        array([[[1.6, 0.4],
                [0.4, 1.6]]])
        """
        if used is not None:
            found = np.zeros((len(clusters.depth), *signatures.T.shape))
            chosen = np.ascontiguousarray(signatures[:, used])
            found[:, used] = self._of_genes(used).filters(chosen, clusters, threads, on_cluster=on_cluster)
            return found
        weights = precision_weights(signatures, clusters, self.overdispersion)
        found = np.empty((len(weights), *signatures.T.shape))

        def one(start: int, stop: int) -> None:
            for a in range(start, stop):
                found[a] = self._filter(signatures, weights[a], clusters.composition[a], clusters.depth[a])

        threads.over_blocks(one, len(weights), block=1, on_block=on_cluster)
        return found

    def _of_genes(self, used: NDArray[np.bool_]) -> DataTerm:
        return self if self.variation is None else replace(self, variation=self.variation.of_genes(used))

    def _filter(self, S: Array, w: Array, composition: Array, depth: float) -> Array:
        """Return ``(diag(1/w) + N diag(v) + N F F')^-1 S'`` (Woodbury)."""
        if self.variation is None or self.kappa == 0 or depth == 0:
            return (S * w).T
        F, v = self.variation.of_mixture(composition, self.kappa)
        w = w / (1.0 + depth * w * v)
        WS, WF = (S * w).T, F * w[:, None]
        inner = np.eye(F.shape[1]) / depth + F.T @ WF
        return np.asarray(WS - WF @ np.linalg.solve(inner, F.T @ WS))
