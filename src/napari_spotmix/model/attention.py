"""Edge weights ``W_ij = exp(-alpha d_ij^2) Attn_ij``: close and similar neighbors weigh most.

``Attn_ij`` is the mean over heads h of ``exp(-1/2 sum_k beta_hk (z_ik - z_jk)^2)``: scaled dot-product
attention with shared queries and keys of normalized embeddings, hence symmetric, and at most 1. The
embedding ``z`` is the square root of the proportions, smoothed once over the graph so that the noise of
a single spot does not cut its edges.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from napari_spotmix.base.threads import Threads
from napari_spotmix.model.kernels import attention as attention_kernels
from napari_spotmix.model.kernels.arguments import CSR, Edges

__all__ = [
    "attention_between",
    "attention_slopes",
    "attention_weights",
    "distance_weights",
    "embed",
    "product",
]

Array = NDArray[np.float64]
OnBlock = Callable[[int], None]

_BLOCK = 16384


def distance_weights(squared_distance: csr_array, alpha: float, out: Array | None = None) -> csr_array:
    """Return ``exp(-alpha d^2)`` on the same edges, in `out` if given.

    Examples
    --------
    >>> distance_weights(csr_array([[0.0, 1.0], [1.0, 0.0]]), 0.0).toarray()
    array([[0., 1.],
           [1., 0.]])
    """
    exponent = np.multiply(squared_distance.data, -alpha, out=out)
    return _with_data(squared_distance, np.exp(exponent, out=exponent))


def embed(abundances: Array, W: csr_array, threads: Threads, on_block: OnBlock = lambda _: None) -> Array:
    """Return ``z``: square roots of proportions, each averaged with its neighborhood's mean.

    Parameters
    ----------
    abundances : ndarray of float64, shape (n_spots, n_cell_types)
    W : csr_array, shape (n_spots, n_spots)
        Weights of the mean over neighbors.
    threads : Threads
    on_block : callable, optional
        Called between blocks of spots; what it raises stops the work.

    Returns
    -------
    ndarray of float64, shape (n_spots, n_cell_types)
        Rows of norm at most 1; zero for a spot without abundances and neighbors.
    """
    total = abundances.sum(axis=1)
    one_over_total = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
    embedding = np.empty_like(abundances)

    edges = CSR.of(W)

    def block(start: int, stop: int) -> None:
        attention_kernels.embed_rows(edges, abundances, one_over_total, start, stop, embedding)

    threads.over_blocks(block, len(abundances), block=_BLOCK, on_block=on_block)
    return embedding


def attention_weights(
    edges: csr_array,
    embedding: Array,
    sharpness: Array,
    threads: Threads,
    on_block: OnBlock = lambda _: None,
    out: Array | None = None,
) -> csr_array:
    """Return ``Attn`` on the given edges, in `out` if given.

    Parameters
    ----------
    edges : csr_array, shape (n_spots, n_spots)
        Its pattern gives the pairs; its values are not read.
    embedding : ndarray of float64, shape (n_spots, n_features)
        ``z``.
    sharpness : ndarray of float64, shape (n_heads, n_features)
        ``beta >= 0``; 0 gives attention 1 everywhere, the plain Laplacian.
    threads : Threads
    on_block : callable, optional
        Called between blocks of spots; what it raises stops the work.
    """
    attention = np.empty(edges.nnz) if out is None else out
    pattern = Edges(edges.indptr, edges.indices)

    def block(start: int, stop: int) -> None:
        attention_kernels.edge_attention(pattern, embedding, sharpness, start, stop, attention)

    threads.over_blocks(block, edges.shape[0], block=_BLOCK, on_block=on_block)
    return _with_data(edges, attention)


def attention_between(abundances: Array, W: csr_array, sharpness: Array, threads: Threads) -> csr_array:
    """Return ``Attn`` on the edges of `W`, computed from these abundances.

    Parameters
    ----------
    abundances : ndarray of float64, shape (n_spots, n_cell_types)
        Zero in spots without an estimate.
    W : csr_array, shape (n_spots, n_spots)
        The edges, and the weights with which abundances are averaged before they are compared.
    sharpness : ndarray of float64, shape (n_heads, n_cell_types)
        ``beta``.
    threads : Threads

    Examples
    --------
    >>> W = csr_array([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    >>> with Threads.of(1) as threads:
    ...     attention = attention_between(np.eye(3, 2), W, np.ones((1, 2)), threads)
    >>> bool(attention[0, 1] < 1)
    True
    """
    return attention_weights(W, embed(abundances, W, threads), sharpness, threads)


def attention_slopes(edges: csr_array, embedding: Array, sharpness: Array, slope: Array) -> Array:
    """Return the derivative of a score by the sharpness of each head and feature.

    Parameters
    ----------
    edges, embedding, sharpness
        As for `attention_weights`.
    slope : ndarray of float64, shape (n_edges,)
        Derivative of the score by the attention of each edge, in the order of ``edges.data``.

    Returns
    -------
    ndarray of float64, shape (n_heads, n_features)
    """
    slopes = np.zeros_like(sharpness)
    # In one thread, since sums must have one order; it is quick.
    pattern = Edges(edges.indptr, edges.indices)
    attention_kernels.edge_attention_slopes(pattern, embedding, sharpness, slope, slopes)
    return slopes


def product(near: csr_array, similar: csr_array) -> csr_array:
    """Return the product of two sets of weights on the same edges, keeping edges of weight 0."""
    return _with_data(near, near.data * similar.data)


def _with_data(edges: csr_array, data: Array) -> csr_array:
    return csr_array((data, edges.indices, edges.indptr), shape=edges.shape)
