"""Edge weights against their formula, and the bounds that hold for any embedding."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from scipy.sparse import csr_array

from napari_spotmix.base.threads import Threads
from napari_spotmix.model.attention import attention_weights, distance_weights, embed, product
from napari_spotmix.model.graph import build_graph
from tests.model.oracles import random_graph, square_grid


@pytest.fixture(scope="module")
def threads() -> Iterator[Threads]:
    with Threads.of(2) as pool:
        yield pool


def edges_and_embedding(n_spots: int = 40, n_features: int = 5) -> tuple[csr_array, np.ndarray]:
    rng = np.random.default_rng(1)
    return random_graph(rng, n_spots), np.sqrt(rng.dirichlet(np.full(n_features, 0.3), size=n_spots))


@pytest.mark.parametrize("n_heads", [1, 3])
def test_attention_is_the_mean_over_heads_of_gaussians(n_heads: int, threads: Threads) -> None:
    edges, z = edges_and_embedding()
    beta = np.random.default_rng(2).gamma(2.0, size=(n_heads, 5))
    found = attention_weights(edges, z, beta, threads).toarray()
    squared = (z[:, None] - z[None]) ** 2
    dense = np.exp(-0.5 * np.einsum("hk,ijk->hij", beta, squared)).mean(axis=0)
    np.testing.assert_allclose(found, np.where(edges.toarray() > 0, dense, 0), rtol=1e-12)


def test_it_is_scaled_dot_product_attention_of_normalized_embeddings(threads: Threads) -> None:
    edges, z = edges_and_embedding()
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    found = attention_weights(edges, z, np.full((1, 5), 3.0), threads)
    row = np.repeat(np.arange(len(z)), np.diff(edges.indptr))
    dot = np.einsum("ek,ek->e", z[row], z[edges.indices])
    np.testing.assert_allclose(found.data, np.exp(3.0 * (dot - 1)), rtol=1e-12)


@pytest.mark.parametrize("sharpness", [0.0, 0.5, 4.0, 100.0])
def test_it_is_symmetric_and_within_zero_and_one(sharpness: float, threads: Threads) -> None:
    edges, z = edges_and_embedding()
    attention = attention_weights(edges, z, np.full((1, 5), sharpness), threads)
    dense = attention.toarray()
    np.testing.assert_array_equal(dense, dense.T)
    assert attention.nnz == edges.nnz
    assert attention.data.min() > 0
    assert attention.data.max() <= 1


def test_without_sharpness_it_is_one(threads: Threads) -> None:
    edges, z = edges_and_embedding()
    assert (attention_weights(edges, z, np.zeros((2, 5)), threads).data == 1).all()


def test_alike_spots_attend_fully_and_unlike_ones_less(threads: Threads) -> None:
    edges = csr_array(np.ones((3, 3)) - np.eye(3))
    z = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    attention = attention_weights(edges, z, np.full((1, 2), 4.0), threads)
    assert attention[0, 1] == 1.0
    assert attention[0, 2] == pytest.approx(np.exp(-4.0))


def test_distance_weights_fall_with_squared_distance() -> None:
    squared = build_graph(square_grid(4, 4)).squared_distance
    weights = distance_weights(squared, 0.3)
    assert set(np.round(weights.data, 12)) == {round(np.exp(-0.3), 12), round(np.exp(-0.6), 12)}
    assert (distance_weights(squared, 0.0).data == 1).all()
    assert squared.data.max() == pytest.approx(2.0)  # not modified


def test_edges_between_spots_at_one_place_are_kept() -> None:
    squared = build_graph(np.zeros((3, 2))).squared_distance
    weights = distance_weights(squared, 1.0)
    assert weights.nnz == 6
    assert (weights.data == 1).all()


def test_products_keep_edges_of_weight_zero() -> None:
    edges = csr_array(np.ones((2, 2)) - np.eye(2))
    silent = csr_array((np.zeros(2), edges.indices, edges.indptr), shape=(2, 2))
    assert product(edges, silent).nnz == 2


def test_embedding_is_the_root_of_proportions_half_of_them_from_around() -> None:
    rng = np.random.default_rng(3)
    X, W = rng.gamma(1.0, size=(20, 4)), random_graph(rng, 20, 0.4)
    p = X / X.sum(axis=1, keepdims=True)
    dense = W.toarray()
    assert dense.sum(axis=1).min() > 0
    around = dense @ p / dense.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(embed(X, W, Threads(1)) ** 2, (p + around) / 2, rtol=1e-12)


def test_embedding_does_not_depend_on_a_spots_depth() -> None:
    rng = np.random.default_rng(4)
    X, W = rng.gamma(1.0, size=(20, 4)), random_graph(rng, 20)
    deeper = X * rng.gamma(2.0, size=(20, 1))
    np.testing.assert_allclose(embed(deeper, W, Threads(1)), embed(X, W, Threads(1)), rtol=1e-12)


def test_embedding_of_a_lonely_spot_is_its_own_and_of_an_empty_one_zero() -> None:
    W = csr_array((2, 2), dtype=np.float64)
    z = embed(np.array([[1.0, 3.0], [0.0, 0.0]]), W, Threads(1))
    np.testing.assert_allclose(z, [[0.5, np.sqrt(0.75)], [0, 0]])
