"""Each kernel compiled and as plain Python, against NumPy; and a whole fit both ways."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from napari_spotmix.base.threads import Threads
from napari_spotmix.model.counts import Counts
from napari_spotmix.model.fit import Fit, fit
from napari_spotmix.model.kernels import (
    aggregation,
    attention,
    clustering,
    counts,
    graph,
    linear_algebra,
    sweep,
    uncertainty,
)
from napari_spotmix.model.kernels.arguments import (
    CSR,
    Aggregates,
    CoarseHessian,
    Edges,
    ErrorTerms,
    GeneCounts,
    Hessian,
    Prolongation,
    SpotErrorTerms,
)
from napari_spotmix.model.kernels.simd import WIDTH
from napari_spotmix.model.objective import violation
from napari_spotmix.model.solver.solve import solve
from napari_spotmix.params import Parameters
from tests.model.oracles import random_graph, random_statistics, square_grid

MODULES = (aggregation, attention, clustering, counts, graph, linear_algebra, sweep, uncertainty)
#: Every compiled function by its name.
COMPILED = {
    name: value for module in MODULES for name, value in vars(module).items() if hasattr(value, "py_func")
}


def interpret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the plain function in place of every compiled one, also where kernels call each other."""
    for module in MODULES:
        for name in COMPILED.keys() & vars(module).keys():
            monkeypatch.setattr(module, name, COMPILED[name].py_func)


@pytest.fixture(params=["compiled", "interpreted"])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    if request.param == "interpreted":
        interpret(monkeypatch)
        return SimpleNamespace(**{name: kernel.py_func for name, kernel in COMPILED.items()})
    return SimpleNamespace(**COMPILED)


def rows(rng: np.random.Generator, n_rows: int = 12, n_columns: int = 9) -> csr_array:
    return csr_array(rng.poisson(0.6, size=(n_rows, n_columns)).astype(np.float64))


def test_vectors_cover_rows_of_any_length() -> None:
    for size in range(WIDTH, 10 * WIDTH):
        done, k = np.zeros(size, int), 0
        while k < size:
            thirds = linear_algebra.thirds.py_func(k, size)
            here = np.zeros(size, int)
            for first in thirds:
                assert 0 <= first <= size - WIDTH
                here[first : first + WIDTH] = 1
            done += here
            k = thirds[-1] + WIDTH
        assert (done == 1).all()  # no number twice, since sums are added to what is there


def test_row_totals_touch_only_their_rows(kernels: SimpleNamespace) -> None:
    rng = np.random.default_rng(1)
    Y, used = rows(rng), rng.random(9) < 0.6
    totals, spot = np.full(12, -1.0), rng.permutation(12)
    kernels.row_totals(GeneCounts.of_rows(Y, used.astype(np.int64) - 1, spot, 3, 8), totals)
    np.testing.assert_array_equal(totals[spot[3:8]], Y.toarray()[3:8, used].sum(axis=1))
    assert (np.delete(totals, spot[3:8]) == -1).all()


def test_fingerprints_are_sums_modulo_two_to_the_64(kernels: SimpleNamespace) -> None:
    rng = np.random.default_rng(1)
    Y, gene, spot = rows(rng), np.arange(9) % 4 - 1, rng.permutation(12)
    Y.data += rng.random(Y.nnz)
    keys, found = rng.integers(0, 2**64, 3, np.uint64), np.zeros(12, np.uint64)
    with np.errstate(over="ignore"):  # for the interpreted one
        kernels.fingerprints(GeneCounts.of_rows(Y, gene, spot, 3, 8), keys, found)
    for i in range(3, 8):
        steps = [(int(y * 65536), g) for y, g in zip(Y.toarray()[i], gene, strict=True) if g >= 0]
        assert int(found[spot[i]]) == sum(n * int(keys[g]) for n, g in steps) % 2**64
    assert not np.delete(found, spot[3:8]).any()


def test_sums_of_genes_grow_by_the_given_rows(kernels: SimpleNamespace) -> None:
    rng = np.random.default_rng(11)
    Y, gene = csr_array(rng.poisson(0.7, size=(12, 6))), np.array([1, -1, 0, 2, 0, 1])
    sums = np.full(3, 5.0)
    kernels.add_to_genes(GeneCounts.of_rows(Y, gene, np.arange(12), 3, 8), sums)
    by_column = Y.toarray()[3:8].sum(axis=0)
    np.testing.assert_array_equal(sums, [5 + by_column[gene == g].sum() for g in range(3)])


def test_sums_of_groups_grow_by_multiples_of_the_given_rows(kernels: SimpleNamespace) -> None:
    rng = np.random.default_rng(12)
    Y, gene = csr_array(rng.poisson(0.7, size=(12, 4))), np.array([1, -1, 0, 1])
    group, sums = rng.integers(-1, 2, size=12), np.full((2, 2), 5.0)
    times = rng.integers(4, size=12).astype(float)
    kernels.add_to_groups(GeneCounts.of_rows(Y, gene, np.arange(12), 3, 8), group, times, sums)
    dense = Y.toarray() * times[:, None]
    by_gene = np.stack([dense[:, 2], dense[:, 0] + dense[:, 3]], axis=1)
    rows = np.arange(3, 8)
    np.testing.assert_array_equal(sums, [5 + by_gene[rows[group[rows] == a]].sum(axis=0) for a in range(2)])


def test_moments_of_genes_sum_columns_of_a_gene_first(kernels: SimpleNamespace) -> None:
    rng = np.random.default_rng(13)
    Y, gene = csr_array(rng.poisson(0.9, size=(12, 4))), np.array([1, -1, 0, 1])
    ST, X, scale = rng.random((2, 3)), rng.random((12, 3)), rng.random(12)
    moments, count, genes = np.full((3, 2), 5.0), np.zeros(2), np.empty(2, np.int64)
    kernels.add_gene_moments(
        GeneCounts.of_rows(Y, gene, np.arange(12), 3, 8), ST, X, scale, count, genes, moments
    )
    dense = Y.toarray()
    y = np.stack([dense[:, 2], dense[:, 0] + dense[:, 3]], axis=1)[3:8]
    mean = (scale[:, None] * (X @ ST.T))[3:8]
    expected = 5 + np.stack([y.sum(axis=0), (y**2).sum(axis=0), (y * mean).sum(axis=0)])
    np.testing.assert_allclose(moments, expected)
    assert (count == 0).all()


def test_errors_of_proportions(kernels: SimpleNamespace) -> None:
    rng = np.random.default_rng(14)
    statistics = random_statistics(rng, 5, 3, 2)
    curvature, basis = np.linalg.eigh(statistics.gram)
    own = np.stack([np.diag(values) for values in curvature])  # noise of the data alone
    trace = np.stack([curvature.sum(axis=1), curvature.sum(axis=1), np.zeros(2)], axis=1)
    X, coupling, content = rng.random((5, 3)), rng.random(5), rng.uniform(0.5, 2, 3)
    label, scale, zero, errors = statistics.cluster, statistics.scale, np.zeros(5), np.full((5, 3), -1.0)
    noise, tilted = (1e-3 * scale, zero), (basis / content[:, None]).transpose(0, 2, 1).copy()
    terms = ErrorTerms(tilted, tilted.sum(axis=2), curvature, own, 0 * own, trace)
    of_spots = SpotErrorTerms(label, scale, coupling, *noise)
    kernels.proportion_errors(terms, of_spots, content, zero[:3], X, 1, 4, errors)
    for i in range(1, 4):
        z = X[i] / content
        by_x = (np.eye(3) - z[:, None] / z.sum()) / z.sum() / content
        H = scale[i] * statistics.gram[label[i]] + coupling[i] * np.eye(3)
        expected = np.sqrt(np.diag(by_x @ (1e-3 * np.linalg.inv(H)) @ by_x.T))
        np.testing.assert_allclose(errors[i], np.minimum(expected, 1))
    assert (errors[[0, 4]] == -1).all()


def test_filtered_projections(kernels: SimpleNamespace) -> None:
    rng = np.random.default_rng(2)
    Y, filters = rows(rng), np.zeros((2, 6, counts.COLUMNS))
    filters[:, :, :3] = rng.random((2, 6, 3))
    gene = np.array([0, -1, 1, 2, 2, -1, 3, 4, 5])
    cluster, scale, b = rng.integers(2, size=12), rng.random(12), np.full((12, 3), -1.0)
    spot = rng.permutation(12)
    kernels.filtered_projections(GeneCounts.of_rows(Y, gene, spot, 2, 12), filters, cluster, scale, b)
    summed = np.stack([Y.toarray()[:, gene == g].sum(axis=1) for g in range(6)], axis=1)
    own = filters[cluster[spot], :, :3]
    expected = scale[spot, None] * np.einsum("ng,ngk->nk", summed, own)
    np.testing.assert_allclose(b[spot[2:]], expected[2:], rtol=1e-12)
    assert (b[spot[:2]] == -1).all()


def test_filtered_grams(kernels: SimpleNamespace) -> None:
    rng = np.random.default_rng(3)
    S = rng.random((4, 7)) * (rng.random((4, 7)) < 0.7)
    root = rng.random((3, 7, 7))
    precision = root @ root.transpose(0, 2, 1)
    M = np.full((3, 4, 4), -1.0)
    kernels.filtered_grams(np.ascontiguousarray(S.T), precision @ S.T, 1, 3, M)
    np.testing.assert_allclose(M[1:], [S @ P @ S.T for P in precision[1:]], rtol=1e-12)
    assert (M[0] == -1).all()


def test_assign_to_centers(kernels: SimpleNamespace) -> None:
    rng = np.random.default_rng(4)
    Z, centers = rng.random((15, 3)), rng.random((4, 3))
    label, distance = np.zeros(15, np.int64), np.zeros(15)
    kernels.assign_to_centers(Z, np.ascontiguousarray(centers.T), 0, 15, label, distance)
    squared = ((Z[:, None] - centers[None]) ** 2).sum(axis=2)
    np.testing.assert_array_equal(label, squared.argmin(axis=1))
    np.testing.assert_allclose(distance, squared.min(axis=1), rtol=1e-12)


def test_ties_go_to_the_first_center(kernels: SimpleNamespace) -> None:
    label, distance = np.full(1, -1), np.zeros(1)
    kernels.assign_to_centers(np.zeros((1, 1)), np.array([[1.0, -1.0]]), 0, 1, label, distance)
    assert label.tolist() == [0]


def test_color_greedily(kernels: SimpleNamespace) -> None:
    edges = random_graph(np.random.default_rng(5), 30, 0.3)
    color = np.zeros(30, np.int64)
    n_colors = kernels.color_greedily(Edges(edges.indptr, edges.indices), color)
    dense = edges.toarray() > 0
    for i in range(30):
        before = {int(color[j]) for j in range(i) if dense[i, j]}
        assert color[i] == min(set(range(31)) - before)
    assert n_colors == color.max() + 1


@pytest.mark.parametrize("size", [1, 4, 100])
def test_patches_hold_neighbors_and_every_node_once(kernels: SimpleNamespace, size: int) -> None:
    edges, patch = random_graph(np.random.default_rng(15), 30, 0.08), np.full(30, -1)
    n_patches = kernels.grow_patches(Edges(edges.indptr, edges.indices), size, patch)
    assert sorted(set(patch.tolist())) == list(range(n_patches))
    for a in range(n_patches):
        members = np.flatnonzero(patch == a)
        assert len(members) <= size
        inside = csr_array(edges[members][:, members])
        assert connected_components(inside)[0] == 1
    if size == 100:
        assert n_patches == connected_components(edges)[0]


@pytest.mark.parametrize("size", [0, 1, 2, 5, 14, 300])
def test_rows_of_neighbors_are_sorted(kernels: SimpleNamespace, size: int) -> None:
    rng = np.random.default_rng(18)
    indices = rng.integers(-50, 50, size=2 * size + 3)
    wanted = indices.copy()
    wanted[size : 2 * size].sort()
    kernels.sort_rows(Edges(np.array([0, size, 2 * size, 2 * size + 3]), indices), 1, 2)
    np.testing.assert_array_equal(indices, wanted)


def test_sums_by_group(kernels: SimpleNamespace) -> None:
    rng = np.random.default_rng(16)
    values, label, sums = rng.random((9, 3)), rng.integers(4, size=9), np.zeros((4, 3))
    times = rng.random(9)
    kernels.sum_by_group(values, times, label, sums)
    np.testing.assert_allclose(sums, np.eye(4)[label].T @ (times[:, None] * values))


@pytest.mark.parametrize("n_rows", [0, 3, 4, 9])
def test_rows_are_added_four_at_a_time_and_the_rest_alone(kernels: SimpleNamespace, n_rows: int) -> None:
    rng = np.random.default_rng(17)
    A, rows, factors, out = rng.random((7, 5)), rng.integers(7, size=12), rng.random(12), np.ones(5)
    kernels.add_rows(A, rows, factors, 2, 2 + n_rows, -0.5, out)
    mine = slice(2, 2 + n_rows)
    np.testing.assert_allclose(out, 1 - 0.5 * factors[mine] @ A[rows[mine]])
    x, out = np.where(np.arange(n_rows) % 3 == 1, 0.0, rng.random(n_rows)), np.ones(5)
    B = rng.random((n_rows, 5))
    kernels.add_product(B, 3.0, x, out)
    np.testing.assert_allclose(out, 1 + 3 * x @ B)


def test_edge_attention(kernels: SimpleNamespace) -> None:
    rng = np.random.default_rng(6)
    edges, Z, beta = random_graph(rng, 10, 0.5), rng.random((10, 3)), rng.gamma(2.0, size=(2, 3))
    attention = np.full(edges.nnz, -1.0)
    kernels.edge_attention(Edges(edges.indptr, edges.indices), Z, beta, 0, 10, attention)
    row = np.repeat(np.arange(10), np.diff(edges.indptr))
    squared = (Z[row] - Z[edges.indices]) ** 2
    np.testing.assert_allclose(attention, np.exp(-0.5 * squared @ beta.T).mean(axis=1), rtol=1e-12)


def test_the_solver_converges(kernels: SimpleNamespace) -> None:
    rng = np.random.default_rng(7)
    statistics, W = random_statistics(rng, 15, 3, 2), random_graph(rng, 15, 0.3)
    with Threads.of(1) as threads:
        X = solve(statistics, W, lambda_r=0.01, lambda_c=0.5, tolerance=1e-8, threads=threads).abundances
    assert violation(X, statistics, W, 0.01, 0.5) <= 1e-7 * X.max()


def coarse_problem(
    kernels: SimpleNamespace, aggregates: Aggregates, edges: Edges, n_types: int
) -> tuple[CoarseHessian, np.ndarray]:
    """Room for a coarse Hessian, double precision, and for its target."""
    n = len(aggregates.start_of) - 1
    indptr, indices = np.empty(n + 1, np.int64), np.empty(len(edges.indices), np.int64)
    n_edges = kernels.couple_aggregates(aggregates, edges, indptr, indices)
    coupling, blocks = np.empty((n_edges, n_types)), np.empty((n, n_types * (n_types + 1) // 2))
    return CoarseHessian(indptr, indices[:n_edges], coupling, blocks), np.empty((n, n_types))


@pytest.mark.parametrize("K", [3, 11, 27])
def test_the_coarse_problem_is_that_of_the_spots_seen_through_the_prolongation(
    kernels: SimpleNamespace, K: int
) -> None:
    """Blocks, coupling and target against dense algebra; a coarse step is one of all members."""
    rng = np.random.default_rng(9)
    n, lambda_r, lambda_c = 12, 0.1, 0.7
    statistics, W = random_statistics(rng, n, K, 2), random_graph(rng, n, 0.4)
    X = rng.random((n, K)) * (rng.random((n, K)) < 0.7)
    aggregate = np.repeat(np.arange(4), 3)
    aggregates = Aggregates(np.arange(0, n + 1, 3), np.arange(n), aggregate)
    coarse, target = coarse_problem(kernels, aggregates, Edges(W.indptr, W.indices), K)
    baseline = np.empty((4, K))
    kernels.find_baselines(0, 4, aggregates, 0.5, X, baseline)
    members = X.reshape(4, 3, K)
    half_mean = 0.5 * members.sum(axis=1) / np.maximum((members > 0).sum(axis=1), 1)
    np.testing.assert_allclose(baseline, half_mean)
    per_baseline = np.divide(1.0, baseline, out=np.zeros_like(baseline), where=baseline > 0)
    prolongation = Prolongation(baseline, per_baseline)
    shift = lambda_r + lambda_c * W.sum(axis=1)
    data = (statistics.gram, statistics.cluster, statistics.scale)
    fine = Hessian(*data, shift, CSR.of(W), lambda_c)
    kernels.coarsen_spots(0, 4, aggregates, prolongation, fine, statistics.projection, X, coarse, target)

    laplacian = np.diag(W.sum(axis=1)) - W.toarray()
    H = np.einsum("ij,km->ikjm", lambda_c * laplacian + lambda_r * np.eye(n), np.eye(K))
    H[range(n), :, range(n)] += statistics.scale[:, None, None] * statistics.gram[statistics.cluster]
    divisor = np.where(baseline > 0, baseline, 1.0)[aggregate]
    P = np.einsum("ia,ik,km->ikam", np.eye(4)[aggregate], np.minimum(X / divisor, 1.0), np.eye(K))
    H_coarse = np.einsum("ikam,ikjl,jlbn->ambn", P, H, P, optimize=True)
    lower = np.tril_indices(K)
    np.testing.assert_allclose(coarse.blocks, H_coarse[range(4), :, range(4)][:, *lower], atol=1e-12)
    for a in range(4):
        for q in range(coarse.indptr[a], coarse.indptr[a + 1]):
            between = H_coarse[a, :, coarse.indices[q]]
            np.testing.assert_allclose(np.diag(-coarse.coupling[q]), between, atol=1e-12)
    residual = statistics.projection - np.einsum("ikjl,jl->ik", H, X)
    expected = np.einsum("ikam,ik->am", P, residual) + np.einsum("ambn,bn->am", H_coarse, baseline)
    np.testing.assert_allclose(target, expected, atol=1e-12)

    Y, moved = rng.random((4, K)) * 2 * baseline, X.copy()
    kernels.prolongate(0, n, aggregate, prolongation, Y, moved)
    np.testing.assert_allclose(moved, X + np.einsum("ikam,am->ik", P, Y - baseline), atol=1e-12)
    assert moved.min() >= 0


@pytest.mark.parametrize("K", [3, 11])
def test_aggregates_of_aggregates_are_as_aggregates_of_spots(kernels: SimpleNamespace, K: int) -> None:
    """Spots of which each is an aggregate, aggregated again, give the problem of aggregating the spots."""
    rng = np.random.default_rng(10)
    n = 9
    statistics, W = random_statistics(rng, n, K, 1), random_graph(rng, n, 0.4)
    X, b = rng.random((n, K)), statistics.projection
    data = (statistics.gram, statistics.cluster, statistics.scale)
    fine = Hessian(*data, 0.1 + 0.7 * W.sum(axis=1), CSR.of(W), 0.7)
    alone = Aggregates(np.arange(n + 1), np.arange(n), np.arange(n))
    # A baseline of all of X: every weight of the prolongation is 1.
    whole = Prolongation(X.copy(), 1 / X)
    # Integers as in `coarse_problem`: a kernel is compiled for each type, which takes long.
    edges = Edges(W.indptr.astype(np.int64), W.indices.astype(np.int64))
    middle = CoarseHessian(*edges, np.empty((W.nnz, K)), np.empty((n, K * (K + 1) // 2)))
    target_of_middle = np.empty((n, K))
    kernels.coarsen_spots(0, n, alone, whole, fine, b, X, middle, target_of_middle)
    aggregates = Aggregates(np.arange(0, n + 1, 3), np.arange(n), np.repeat(np.arange(3), 3))
    baseline = np.empty((3, K))
    kernels.find_baselines(0, 3, aggregates, 0.5, X, baseline)
    prolongation = Prolongation(baseline, 1 / baseline)
    twice, once = (coarse_problem(kernels, aggregates, edges, K) for _ in range(2))
    kernels.coarsen_aggregates(0, 3, aggregates, prolongation, middle, target_of_middle, X, *twice)
    kernels.coarsen_spots(0, 3, aggregates, prolongation, fine, b, X, *once)
    np.testing.assert_allclose(twice[1], once[1], atol=1e-12)
    for one, other in zip(twice[0], once[0], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


def small_fit(**parameters: Any) -> Fit:
    rng = np.random.default_rng(8)
    S = rng.dirichlet(np.ones(20), size=3)
    counts = csr_array(rng.poisson(200 * rng.dirichlet(np.ones(3), size=20) @ S).astype(np.float32))
    totals = np.asarray(counts.sum(axis=1), dtype=float)
    params = Parameters(n_clusters=4, n_outer_iterations=2, **parameters)
    with Threads.of(2) as threads:
        return fit(Counts(counts, np.arange(20)), S, totals, square_grid(4, 5), params, threads=threads)


@pytest.mark.parametrize(
    "parameters", [{"lambda_c": 0.5}, {"weights": "none", "lambda_c": 0.01}, {"platform_effect": "on"}]
)
def test_a_whole_fit_is_the_same_compiled_and_interpreted(
    parameters: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = small_fit(**parameters)
    interpret(monkeypatch)
    interpreted = small_fit(**parameters)
    np.testing.assert_allclose(interpreted.abundances, compiled.abundances, rtol=0, atol=1e-9)
    np.testing.assert_allclose(interpreted.weights.toarray(), compiled.weights.toarray(), rtol=1e-9)


def test_kernels_may_be_kept_on_disk_and_release_the_interpreter() -> None:
    """Without its cache the plugin would compile for half a minute at every start."""
    compiled = COMPILED.values()
    if os.environ.get("NUMBA_DISABLE_JIT", "0") != "0":
        pytest.skip("NUMBA_DISABLE_JIT is set: nothing is compiled")
    assert len(compiled) >= 38
    for kernel in compiled:
        assert kernel.targetoptions["nogil"]
        assert "parallel" not in kernel.targetoptions
        assert "fastmath" not in kernel.targetoptions
        is_part_of_others = kernel.targetoptions.get("forceinline", False)
        assert (type(kernel._cache).__name__ == "FunctionCache") or is_part_of_others


def test_a_change_in_any_kernel_module_discards_stored_code(tmp_path: Path) -> None:
    """Code of a kernel holds the functions that it calls, also those of other files."""
    package = tmp_path / "src" / "napari_spotmix"
    ours = Path(aggregation.__file__).parents[2]
    shutil.copytree(ours, package, ignore=shutil.ignore_patterns("__pycache__", "ui", "cli", "output"))
    code = """
        import numpy as np
        from napari_spotmix.model.kernels.attention import edge_differences as kernel
        from napari_spotmix.model.kernels.arguments import Edges
        edges = Edges(np.array([0, 1, 2]), np.array([1, 0]))
        kernel(edges, np.eye(2), np.eye(2), 0, 2, np.empty(2))
        print(sum(kernel.stats.cache_hits.values()), sum(kernel.stats.cache_misses.values()))
    """
    environment = os.environ | {
        "PYTHONPATH": str(package.parent),
        "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
        "NUMBA_DISABLE_JIT": "0",
    }

    def hits_and_misses() -> list[str]:
        run = subprocess.run(
            [sys.executable, "-c", dedent(code)], capture_output=True, text=True, check=True, env=environment
        )
        return run.stdout.split()

    assert hits_and_misses() == ["0", "1"]
    assert hits_and_misses() == ["1", "0"]
    with (package / "model" / "kernels" / "linear_algebra.py").open("a") as file:
        file.write("# changed\n")
    assert hits_and_misses() == ["0", "1"]


def test_kernels_run_if_no_folder_for_their_cache_can_be_written() -> None:
    """A shared install that only others may write to, used by someone without a home folder."""
    code = """
        from numba.core import caching
        folders = getattr(caching, "CacheImpl", None) or caching._CacheImpl  # as numba's version has it
        folders._locator_classes = []
        import numpy as np
        from napari_spotmix.model.kernels.arguments import GeneCounts
        from napari_spotmix.model.kernels.counts import row_totals
        totals = np.zeros(1)
        zero = np.array([0])
        row_totals(GeneCounts(np.array([0, 1]), zero.astype(np.int32), np.array([7.0]), zero, zero), totals)
        assert totals[0] == 7.0, totals
    """
    done = subprocess.run([sys.executable, "-c", dedent(code)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("least", "wanted"), [(0.0, [0, 0, 0, 0]), (0.05, [-1, 0, 0, -1])])
def test_aggregates_form_along_strong_connections_and_leave_out_spots_that_the_data_hold(
    kernels: SimpleNamespace, least: float, wanted: list[int]
) -> None:
    path = csr_array(
        [[0.0, 0.01, 0.0, 0.0], [0.01, 0.0, 5.0, 0.0], [0.0, 5.0, 0.0, 0.01], [0.0, 0.0, 0.01, 0.0]]
    )
    aggregate = np.empty(4, np.int64)
    assert kernels.aggregate_neighbors(CSR.of(path), np.full(4, least), 0.1, aggregate) == 1
    assert aggregate.tolist() == wanted


def test_a_weakly_coupled_spot_does_not_split_a_pair(kernels: SimpleNamespace) -> None:
    """Spot 0 comes first and its only edge goes to 1, but 1 and 2 are coupled far more strongly."""
    W = csr_array([[0.0, 1.0, 0.0], [1.0, 0.0, 50.0], [0.0, 50.0, 0.0]])
    aggregate = np.empty(3, np.int64)
    kernels.aggregate_neighbors(CSR.of(W), np.full(3, 2.0), 0.1, aggregate)
    assert aggregate[1] == aggregate[2] >= 0
    assert aggregate[0] == -1


def test_every_coupled_spot_is_in_an_aggregate_also_by_way_of_others(kernels: SimpleNamespace) -> None:
    """A tail of ever weaker edges hangs on a pair: each of its spots joins by way of the one before."""
    tail = np.diag([100.0, 5.0, 0.3, 0.02, 0.001], k=1)
    chain = csr_array(tail + tail.T)
    aggregate = np.empty(6, np.int64)
    assert kernels.aggregate_neighbors(CSR.of(chain), np.zeros(6), 0.1, aggregate) == 1
    assert aggregate.tolist() == [0] * 6


@pytest.mark.parametrize("as_stack", [False, True])
@pytest.mark.parametrize("n_types", [1, 4, 11])
@pytest.mark.parametrize("shift", [0.0, 30.0])
def test_rounds_over_types_lower_each_objective_and_keep_the_gradients(
    kernels: SimpleNamespace, shift: float, n_types: int, as_stack: bool
) -> None:
    rng = np.random.default_rng(41)
    S = rng.gamma(1.0, size=(WIDTH, n_types, 29))
    M = S @ S.transpose(0, 2, 1) if as_stack else np.repeat((S[0] @ S[0].T)[None], WIDTH, axis=0)
    target, x = rng.normal(size=(n_types, WIDTH)), rng.gamma(1.0, size=(n_types, WIDTH))
    scale = rng.uniform(1.0, 3.0, size=WIDTH)
    H = scale[:, None, None] * M + shift * np.eye(n_types)
    gradient = np.ascontiguousarray(np.einsum("lkm,ml->kl", H, x) - target)
    per_spot = np.stack([scale, np.full(WIDTH, shift)])
    steps = np.ascontiguousarray(1.0 / np.einsum("lkk->kl", H))
    given = np.ascontiguousarray(M.transpose(1, 2, 0)) if as_stack else M[0].copy()

    def value() -> np.ndarray:
        return np.asarray(0.5 * np.einsum("kl,lkm,ml->l", x, H, x) - (target * x).sum(axis=0))

    one_by_one = x.copy()
    for _ in range(5):
        before = value()
        kernels._batch_descend(given, per_spot, steps, x, gradient)
        for k in range(n_types):
            slope = np.einsum("lm,ml->l", H[:, k], one_by_one) - target[k]
            one_by_one[k] = np.maximum(one_by_one[k] - slope * steps[k], 0.0)
        np.testing.assert_allclose(x, one_by_one, atol=1e-10)
        assert (value() <= before + 1e-10).all()
        assert (x >= 0).all()
        np.testing.assert_allclose(gradient, np.einsum("lkm,ml->kl", H, x) - target, atol=1e-10)
