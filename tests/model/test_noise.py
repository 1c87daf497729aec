"""The filters of the data term against dense inverses of the covariance that they stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from napari_spotmix.base.errors import Cancelled
from napari_spotmix.base.threads import Threads
from napari_spotmix.model.composition_clusters import CompositionClusters, precision_weights
from napari_spotmix.model.noise import DataTerm
from napari_spotmix.model.variation import CellVariation

K, G, A = 5, 40, 6


def signatures() -> np.ndarray:
    return np.random.default_rng(1).dirichlet(np.full(G, 0.6), size=K) + 1e-4


def clusters(depths: np.ndarray | None = None) -> CompositionClusters:
    """Mixtures of which some lack types altogether."""
    rng = np.random.default_rng(2)
    composition = rng.dirichlet(np.ones(K), size=A) * (rng.random((A, K)) < 0.7) + 0.02 * np.eye(A, K)
    composition = np.where(composition < 0.015, 0, composition)
    depth = rng.gamma(2.0, 500.0, size=A) if depths is None else depths
    return CompositionClusters(composition / composition.sum(axis=1, keepdims=True), depth, np.zeros(1, int))


def variation() -> CellVariation:
    """Four directions for the first type, none for the last."""
    rng, S = np.random.default_rng(3), signatures()
    directions = tuple(0.4 * S[k][:, None] * rng.standard_normal((G, 4 - k)) for k in range(K))
    return CellVariation(directions, 0.1 * S**2 * rng.random((K, G)), np.array([3.0, 10.0, 30.0, 100.0, 0.0]))


def covariance(term: DataTerm, a: int, depth: float) -> np.ndarray:
    """``V`` of one cluster, written out."""
    groups = clusters()
    p = groups.composition[a]
    mean = np.maximum(p @ signatures(), 0.01 * signatures().mean(axis=0))
    V = np.diag(mean * (1 + term.overdispersion * depth * mean)) / depth
    assert term.variation is not None
    for k, (F, v) in enumerate(zip(term.variation.directions, term.variation.single, strict=True)):
        share = term.kappa * p[k] + p[k] ** 2 / max(term.variation.n_cells[k], 1)
        V = V + share * (F @ F.T + np.diag(v))
    return V


def filters(term: DataTerm, groups: CompositionClusters | None = None, **options: Any) -> np.ndarray:
    return term.filters(signatures(), groups or clusters(), Threads(1), **options)


@pytest.mark.parametrize("kappa", [0.01, 0.25, 10.0])
@pytest.mark.parametrize("overdispersion", [0.0, 0.3])
def test_filters_are_those_of_the_inverse_covariance(kappa: float, overdispersion: float) -> None:
    term = DataTerm(overdispersion, variation(), kappa)
    found, depth = filters(term), clusters().depth
    for a in range(A):
        expected = np.linalg.solve(covariance(term, a, depth[a]), signatures().T) / depth[a]
        np.testing.assert_allclose(found[a], expected, rtol=1e-8, atol=1e-10 * np.abs(expected).max())


def test_genes_that_are_not_used_are_as_if_they_were_not_there() -> None:
    used = np.random.default_rng(4).random(G) < 0.6
    term, depth = DataTerm(0.0, variation(), 0.2), clusters().depth
    found = filters(term, used=used)
    assert (found[:, ~used] == 0).all()
    for a in range(A):
        V = covariance(term, a, depth[a])[np.ix_(used, used)]
        expected = np.linalg.solve(V, signatures().T[used]) / depth[a]
        np.testing.assert_allclose(found[a][used], expected, rtol=1e-8, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize("term", [DataTerm(0.2), DataTerm(0.2, variation(), 0.0)], ids=["unknown", "off"])
def test_without_variation_of_cells_filters_are_weights(term: DataTerm) -> None:
    weights = precision_weights(signatures(), clusters(), 0.2)
    np.testing.assert_array_equal(filters(term), (weights[:, None, :] * signatures()).swapaxes(1, 2))


def test_where_hardly_anything_is_counted_counting_is_the_only_noise() -> None:
    plain, empty = filters(DataTerm()), clusters(np.zeros(A))
    np.testing.assert_array_equal(filters(DataTerm(0.0, variation(), 0.2), empty), plain)
    almost = filters(DataTerm(0.0, variation(), 0.2), clusters(np.full(A, 1e-7)))
    np.testing.assert_allclose(almost, plain, rtol=1e-5, atol=1e-9)


def test_beyond_some_depth_more_counts_tell_nothing_more() -> None:
    """All precision that is left is about cells: the Gram matrix times depth has a limit."""
    term = DataTerm(0.0, variation(), 0.2)
    deep, deeper = (depth * filters(term, clusters(np.full(A, depth))) for depth in (1e9, 1e10))
    np.testing.assert_allclose(deeper, deep, rtol=0.01, atol=1e-3 * np.abs(deep).max())
    poisson = [depth * filters(DataTerm(), clusters(np.full(A, depth))).max() for depth in (1e9, 1e10)]
    assert poisson[1] == pytest.approx(10 * poisson[0])


def test_precision_is_symmetric_positive_and_less_than_that_of_counting() -> None:
    S = signatures()
    counting, cells = (S @ filters(term) for term in (DataTerm(), DataTerm(0.0, variation(), 0.2)))
    np.testing.assert_allclose(cells, cells.swapaxes(1, 2), atol=1e-10 * cells.max())
    assert np.linalg.eigvalsh(cells).min() > 0
    assert np.linalg.eigvalsh(counting - cells).min() > -1e-10 * counting.max()
    assert (np.trace(cells, axis1=1, axis2=2) < 0.9 * np.trace(counting, axis1=1, axis2=2)).all()


def test_the_order_of_genes_does_not_matter() -> None:
    order = np.random.default_rng(5).permutation(G)
    whole = variation()
    moved = CellVariation(tuple(F[order] for F in whole.directions), whole.single[:, order], whole.n_cells)
    S = np.ascontiguousarray(signatures()[:, order])
    found = DataTerm(0.1, moved, 0.2).filters(S, clusters(), Threads(1))
    wanted = filters(DataTerm(0.1, whole, 0.2))[:, order]
    np.testing.assert_allclose(found, wanted, rtol=1e-8, atol=1e-12 * np.abs(wanted).max())


def test_the_order_of_types_does_not_matter() -> None:
    order, whole, groups = np.random.default_rng(6).permutation(K), variation(), clusters()
    moved = CellVariation(
        tuple(whole.directions[k] for k in order), whole.single[order], whole.n_cells[order]
    )
    mixed = CompositionClusters(
        np.ascontiguousarray(groups.composition[:, order]), groups.depth, groups.label
    )
    found = DataTerm(0.0, moved, 0.2).filters(signatures()[order], mixed, Threads(1))
    wanted = filters(DataTerm(0.0, whole, 0.2))[:, :, order]
    np.testing.assert_allclose(found, wanted, rtol=1e-8, atol=1e-12 * np.abs(wanted).max())


def test_platform_factors_act_on_the_variation_as_on_the_counts() -> None:
    factor = np.random.default_rng(7).lognormal(0, 0.5, size=G)
    seen = DataTerm(0.0, variation(), 0.2).scaled(factor).variation
    assert seen is not None
    for k in range(K):
        F, v = variation().directions[k], variation().single[k]
        expected = np.diag(factor) @ (F @ F.T + np.diag(v)) @ np.diag(factor)
        found = seen.directions[k] @ seen.directions[k].T + np.diag(seen.single[k])
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-18)


def test_any_number_of_threads_gives_the_same_bytes() -> None:
    term, found = DataTerm(0.0, variation(), 0.2), []
    for n_threads in (1, 3):
        with threadpool_limits(n_threads, "blas"), Threads.of(n_threads) as threads:
            found.append(term.filters(signatures(), clusters(), threads).tobytes())
    assert found[0] == found[1]


def test_a_cancel_between_clusters_is_noticed() -> None:
    def cancel(_: int) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        filters(DataTerm(0.0, variation(), 0.2), on_cluster=cancel)
