"""One factor per gene between the technologies of tissue and reference."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_spotmix.model.clustering import Array

__all__ = [
    "platform_factors",
]


def platform_factors(
    observed: Array, expected: Array, signatures: Array, bound: float = 8.0
) -> NDArray[np.float64]:
    """Return one factor per gene for the difference between two technologies.

    ``gamma_g = observed_g / expected_g``, shrunk to 1 by its own sampling error, bounded, and centered so
    that each type's markers keep their mean: factors are only known up to a scale per type, since raising all
    markers of a type is the same as lowering its share.

    Parameters
    ----------
    observed, expected : ndarray of float64, shape (n_genes,)
        Total counts of each gene over the tissue, and what the model expects with factors of 1.
    signatures : ndarray of float64, shape (n_cell_types, n_genes)
    bound : float, optional
        Factors stay within ``1 / bound`` and ``bound``.

    Returns
    -------
    ndarray of float64, shape (n_genes,)

    Examples
    --------
    >>> S = np.array([[0.5, 0.5]])
    >>> platform_factors(np.array([1e6, 1e6]), np.array([1e6, 1e6]), S)
    array([1., 1.])
    """
    log_ratio = np.log((observed + 0.5) / (expected + 0.5))
    # Variance of a log count, against the spread between genes that is left when it is taken off.
    noise = 1.0 / (observed + 0.5) + 1.0 / (expected + 0.5)
    spread = max(float(np.var(log_ratio) - np.median(noise)), 0.0)
    shrunk = log_ratio * spread / (spread + noise) if spread > 0 else np.zeros_like(log_ratio)
    limit = np.log(bound)
    shrunk = np.clip(shrunk, -limit, limit)
    centered = shrunk - _type_component(shrunk, signatures)
    return np.asarray(np.exp(np.clip(centered, -limit, limit)))


def _type_component(values: Array, signatures: Array) -> Array:
    """Return the part of a value per gene that is a mean over types, weighted by who expresses the gene."""
    total = signatures.sum(axis=0)
    share = np.divide(signatures, total, out=np.zeros_like(signatures), where=total > 0)
    gram = np.einsum("kg,mg->km", share, share)
    target = np.einsum("kg,g->k", share, values)
    level = np.linalg.lstsq(gram, target, rcond=None)[0]
    return np.asarray(level @ share)
