"""The solver against SciPy, dense algebra, limits and invariances."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import lsq_linear, nnls
from scipy.sparse import block_diag, csr_array

from napari_spotmix.base.errors import Cancelled, ConvergenceWarning
from napari_spotmix.base.progress import Progress
from napari_spotmix.base.threads import Threads
from napari_spotmix.model.graph import build_graph
from napari_spotmix.model.objective import objective, violation
from napari_spotmix.model.solver.solve import Solution, solve
from napari_spotmix.model.sufficient_statistics import Statistics
from tests.model.oracles import (
    dense_minimizer,
    dense_objective,
    dense_statistics,
    hessian,
    hexagonal_grid,
    no_edges,
    path_graph,
    random_graph,
    random_statistics,
    square_grid,
)


def run(statistics: Statistics, W: csr_array | None = None, n_threads: int = 1, **options: Any) -> Solution:
    """Solve tightly, without edges and penalties unless they are given."""
    defaults = {"lambda_r": 0.0, "lambda_c": 0.0, "tolerance": 1e-12, "max_sweeps": 20_000}
    with Threads.of(n_threads) as threads:
        edges = no_edges(statistics.n_spots) if W is None else W
        return solve(statistics, edges, threads=threads, **defaults | options)


def nnls_per_spot(
    Y: np.ndarray, S: np.ndarray, weights: np.ndarray, scale: np.ndarray, lambda_r: float
) -> np.ndarray:
    """Each spot alone, on the data themselves: the ridge as K further rows of the system."""
    rows = []
    for y, w, c in zip(Y, weights, scale, strict=True):
        root = np.sqrt(c * w)
        system = np.vstack([(S * root).T, np.sqrt(lambda_r) * np.eye(len(S))])
        rows.append(nnls(system, np.concatenate([y * root, np.zeros(len(S))]))[0])
    return np.array(rows)


@pytest.mark.parametrize("lambda_r", [0.0, 1e-3, 0.7, 50.0])
@pytest.mark.parametrize("n_clusters", [1, 4])
def test_without_smoothing_each_spot_is_nnls(lambda_r: float, n_clusters: int) -> None:
    rng = np.random.default_rng(1)
    S = rng.gamma(0.5, size=(8, 60))
    Y = rng.gamma(0.4, size=(50, 8)) @ S + 0.5 * rng.standard_normal((50, 60))
    weights, cluster = (
        rng.gamma(2.0, size=(n_clusters, 60)),
        np.arange(50) % n_clusters,
    )
    scale = rng.gamma(2.0, size=50)
    solution = run(dense_statistics(Y, S, weights, cluster, scale), lambda_r=lambda_r)
    expected = nnls_per_spot(Y, S, weights[cluster], scale, lambda_r)
    assert (expected == 0).any()
    np.testing.assert_allclose(solution.abundances, expected, rtol=0, atol=1e-8)


def test_more_types_than_genes_need_only_a_ridge() -> None:
    rng = np.random.default_rng(2)
    S, Y = rng.random((12, 5)), rng.random((20, 5))
    ones = np.ones(20)
    solution = run(dense_statistics(Y, S, np.ones((1, 5)), np.zeros(20, int), ones), lambda_r=0.01)
    expected = nnls_per_spot(Y, S, np.ones((20, 5)), ones, 0.01)
    np.testing.assert_allclose(solution.abundances, expected, rtol=0, atol=1e-8)


def test_more_types_than_genes_without_a_ridge_still_fit_as_well_as_nnls() -> None:
    rng = np.random.default_rng(3)
    S, Y = rng.random((12, 5)), rng.random((20, 5))
    statistics = dense_statistics(Y, S, np.ones((1, 5)), np.zeros(20, int), np.ones(20))
    solution = run(statistics, tolerance=1e-9)
    best = sum(nnls(S.T, y)[1] ** 2 for y in Y)
    assert ((Y - solution.abundances @ S) ** 2).sum() == pytest.approx(best, rel=1e-8, abs=1e-12)


def test_nearly_collinear_signatures_fit_as_well_as_nnls() -> None:
    rng = np.random.default_rng(4)
    S = rng.random((6, 30))
    S[1] = S[0] + 1e-4 * rng.random(30)
    S[4] = 0.5 * (S[2] + S[3]) + 1e-4 * rng.random(30)
    Y = rng.random((30, 6)) @ S + 0.01 * rng.standard_normal((30, 30))
    statistics = dense_statistics(Y, S, np.ones((1, 30)), np.zeros(30, int), np.ones(30))
    solution = run(statistics, tolerance=1e-9)
    assert solution.converged
    best = np.array([nnls(S.T, y)[1] ** 2 for y in Y])
    np.testing.assert_allclose(((Y - solution.abundances @ S) ** 2).sum(axis=1), best, rtol=1e-6)


def test_exactly_duplicated_signatures_share_what_one_of_them_would_get() -> None:
    rng = np.random.default_rng(5)
    S = rng.gamma(0.5, size=(4, 40))
    Y = rng.random((25, 4)) @ S + 0.1 * rng.standard_normal((25, 40))

    def fitted(signatures: np.ndarray) -> np.ndarray:
        statistics = dense_statistics(Y, signatures, np.ones((1, 40)), np.zeros(25, int), np.ones(25))
        return run(statistics, tolerance=1e-10).abundances

    single, duplicated = fitted(S), fitted(np.vstack([S, S[1], S[1]]))
    merged = duplicated[:, :4].copy()
    merged[:, 1] += duplicated[:, 4:].sum(axis=1)
    np.testing.assert_allclose(merged, single, atol=1e-7)


def test_exactly_duplicated_signatures_with_smoothing_reach_the_lowest_objective() -> None:
    rng = np.random.default_rng(5)
    S = rng.gamma(0.5, size=(4, 40))[[0, 1, 2, 3, 1]]
    Y = rng.random((25, 5)) @ S + 0.1 * rng.standard_normal((25, 40))
    statistics = dense_statistics(Y, S, np.ones((1, 40)), np.zeros(25, int), np.ones(25))
    W = random_graph(rng, 25)
    X = run(statistics, W, lambda_r=1e-6, lambda_c=0.5, tolerance=1e-7).abundances
    best = dense_objective(dense_minimizer(statistics, W, 1e-6, 0.5), statistics, W, 1e-6, 0.5)
    assert dense_objective(X, statistics, W, 1e-6, 0.5) == pytest.approx(best, rel=1e-9)


@pytest.mark.parametrize(("lambda_r", "lambda_c"), [(0.0, 0.1), (0.01, 3.0), (0.5, 300.0)])
@pytest.mark.parametrize("n_clusters", [1, 3])
def test_with_smoothing_it_equals_a_dense_solver(lambda_r: float, lambda_c: float, n_clusters: int) -> None:
    rng = np.random.default_rng(6)
    statistics, W = random_statistics(rng, 40, 5, n_clusters), random_graph(rng, 40)
    statistics.projection[:, 0] -= 50.0  # absent even where every spot is like the others
    expected = dense_minimizer(statistics, W, lambda_r, lambda_c)
    assert (expected == 0).any()
    assert (expected > 0).any()
    solution = run(statistics, W, lambda_r=lambda_r, lambda_c=lambda_c)
    np.testing.assert_allclose(solution.abundances, expected, atol=1e-8)


def test_two_dense_solvers_agree_with_it() -> None:
    """NNLS and the bounded trust-region solver of SciPy have nothing in common but the problem."""
    rng = np.random.default_rng(7)
    statistics, W = random_statistics(rng, 12, 4), random_graph(rng, 12, 0.4)
    lower = np.linalg.cholesky(hessian(statistics, W, 0.1, 2.0))
    target = np.linalg.solve(lower, statistics.projection.ravel())
    bounded = lsq_linear(lower.T, target, bounds=(0, np.inf), method="bvls", tol=1e-14)
    solution = run(statistics, W, lambda_r=0.1, lambda_c=2.0)
    np.testing.assert_allclose(solution.abundances.ravel(), bounded.x, atol=1e-8)


def test_without_active_bounds_it_solves_the_sylvester_equation() -> None:
    rng = np.random.default_rng(8)
    S, W = rng.random((3, 30)), path_graph(15)
    Y = (1 + rng.random((15, 3))) @ S
    statistics = dense_statistics(Y, S, np.ones((1, 30)), np.zeros(15, int), np.ones(15))
    X = run(statistics, W, lambda_r=0.01, lambda_c=0.4).abundances
    assert X.min() > 0
    L = np.diag(W.toarray().sum(axis=1)) - W.toarray()
    np.testing.assert_allclose(X @ (S @ S.T + 0.01 * np.eye(3)) + 0.4 * L @ X, Y @ S.T, atol=1e-9)


@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-8, 1e-12])
@pytest.mark.parametrize("lambda_c", [0.0, 0.3, 30.0])
def test_violation_ends_below_the_tolerance_and_is_reported(tolerance: float, lambda_c: float) -> None:
    rng = np.random.default_rng(9)
    statistics, W = random_statistics(rng, 80, 6, 3), random_graph(rng, 80, 0.06)
    solution = run(statistics, W, lambda_r=0.01, lambda_c=lambda_c, tolerance=tolerance)
    measured = violation(solution.abundances, statistics, W, 0.01, lambda_c) / solution.abundances.max()
    assert solution.converged
    assert solution.violation <= tolerance
    assert measured <= tolerance * (1 + 1e-6) + 1e-15
    assert solution.abundances.min() >= 0
    assert solution.history[-1] == solution.violation
    # A cycle has two sweeps, and local relaxation then visits less than all spots again.
    per_cycle = solution.n_sweeps / len(solution.history)
    assert 2 <= per_cycle <= 3 if lambda_c else per_cycle == 1


@pytest.mark.parametrize("lambda_c", [0.2, 20.0, 2000.0])
def test_objective_never_rises(lambda_c: float) -> None:
    rng = np.random.default_rng(10)
    statistics, W = random_statistics(rng, 100, 5, 4), path_graph(100)
    start = rng.gamma(1.0, size=(100, 5))
    values = [objective(start, statistics, W, 0.01, lambda_c)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for n_sweeps in range(1, 26):
            X = run(
                statistics, W, lambda_r=0.01, lambda_c=lambda_c, start=start, max_sweeps=n_sweeps
            ).abundances
            values.append(objective(X, statistics, W, 0.01, lambda_c))
    steps = np.diff(values)
    assert steps[0] < 0
    assert steps.max() <= 1e-12 * abs(values[-1])


def test_the_order_of_spots_does_not_matter() -> None:
    rng = np.random.default_rng(11)
    statistics, W = random_statistics(rng, 60, 5, 3), random_graph(rng, 60)
    order = rng.permutation(60)
    shuffled = Statistics(
        statistics.gram, statistics.cluster[order], statistics.scale[order], statistics.projection[order]
    )
    straight = run(statistics, W, lambda_r=0.01, lambda_c=1.0).abundances
    permuted = run(shuffled, csr_array(W[order][:, order]), lambda_r=0.01, lambda_c=1.0).abundances
    np.testing.assert_allclose(permuted, straight[order], atol=1e-10)


def test_the_order_of_cell_types_does_not_matter() -> None:
    rng = np.random.default_rng(12)
    statistics, W = random_statistics(rng, 60, 6, 3), random_graph(rng, 60)
    order = rng.permutation(6)
    shuffled = Statistics(
        np.ascontiguousarray(statistics.gram[:, order][:, :, order]),
        statistics.cluster,
        statistics.scale,
        np.ascontiguousarray(statistics.projection[:, order]),
    )
    straight = run(statistics, W, lambda_r=0.01, lambda_c=1.0).abundances
    permuted = run(shuffled, W, lambda_r=0.01, lambda_c=1.0).abundances
    np.testing.assert_allclose(permuted, straight[:, order], atol=1e-10)


def test_the_minimizer_scales_with_the_counts() -> None:
    rng = np.random.default_rng(13)
    statistics, W = random_statistics(rng, 30, 4), random_graph(rng, 30)
    larger = Statistics(statistics.gram, statistics.cluster, statistics.scale, 1e6 * statistics.projection)
    small = run(statistics, W, lambda_r=0.01, lambda_c=1.0).abundances
    np.testing.assert_allclose(run(larger, W, lambda_r=0.01, lambda_c=1.0).abundances, 1e6 * small, atol=1e-4)


def large_solution(n_threads: int) -> Solution:
    """Enough spots per color for several blocks of work."""
    rng = np.random.default_rng(14)
    n_spots = 6000
    statistics = random_statistics(rng, n_spots, 4, 5)
    return run(statistics, path_graph_of(n_spots), n_threads, lambda_r=0.01, lambda_c=2.0, tolerance=1e-5)


def path_graph_of(n_spots: int) -> csr_array:
    """Return a path, with 32-bit indices as graphs of sections: kernels are compiled for each kind."""
    ends = np.arange(n_spots - 1, dtype=np.int32)
    data, row = np.ones(2 * len(ends)), np.concatenate([ends, ends + 1])
    return csr_array((data, (row, np.concatenate([ends + 1, ends]))), shape=(n_spots, n_spots))


def digest(solution: Solution) -> str:
    return hashlib.sha256(solution.abundances.tobytes()).hexdigest()


def test_any_number_of_threads_gives_the_same_bits() -> None:
    one = large_solution(1)
    for n_threads in (2, 3, 4):
        other = large_solution(n_threads)
        assert digest(other) == digest(one)
        assert other.history == one.history


def test_another_process_gives_the_same_bits() -> None:
    code = "from tests.model import test_solver as it; print(it.digest(it.large_solution(3)))"
    here = Path(__file__).parents[2]
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=here, capture_output=True, text=True, timeout=120, check=True
    )
    assert answer.stdout.strip() == digest(large_solution(1))


def test_two_solves_at_once_do_not_disturb_each_other() -> None:
    alone = digest(large_solution(2))
    found: list[str] = []
    workers = [threading.Thread(target=lambda: found.append(digest(large_solution(2)))) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=120)
    assert found == [alone, alone]


@pytest.mark.parametrize("kind", ["zero", "random", "huge", "solution"])
def test_every_start_leads_to_the_same_minimizer(kind: str) -> None:
    rng = np.random.default_rng(15)
    statistics, W = random_statistics(rng, 40, 5, 2), random_graph(rng, 40)
    expected = dense_minimizer(statistics, W, 0.01, 1.0)
    starts = {
        "zero": np.zeros((40, 5)),
        "random": rng.gamma(1.0, size=(40, 5)),
        "huge": np.full((40, 5), 1e6),
        "solution": expected,
    }
    start = starts[kind].copy()
    solution = run(statistics, W, lambda_r=0.01, lambda_c=1.0, start=start)
    np.testing.assert_allclose(solution.abundances, expected, atol=1e-8)
    np.testing.assert_array_equal(start, starts[kind])


def test_a_warm_start_saves_sweeps() -> None:
    rng = np.random.default_rng(16)
    statistics, W = random_statistics(rng, 200, 5), path_graph(200)
    cold = run(statistics, W, lambda_r=0.01, lambda_c=5.0, tolerance=1e-6)
    nearby = run(statistics, W, lambda_r=0.01, lambda_c=5.01, tolerance=1e-6, start=cold.abundances)
    assert nearby.n_sweeps < cold.n_sweeps


@pytest.mark.parametrize(("lambda_r", "lambda_c"), [(0.0, 160.0), (1e-3, 1.0), (1e-6, 1e4)])
@pytest.mark.parametrize("n_cell_types", [1, 3])
def test_a_type_without_a_signature_is_zero_everywhere(
    n_cell_types: int, lambda_r: float, lambda_c: float
) -> None:
    rng = np.random.default_rng(39)
    S = rng.gamma(0.5, size=(n_cell_types, 40))
    S[0] = 0.0
    Y = rng.gamma(0.3, size=(222, n_cell_types)) @ S
    statistics = dense_statistics(Y, S, np.ones((1, 40)), np.zeros(222, int), np.ones(222))
    W = csr_array(build_graph(rng.random((222, 2))).squared_distance)
    solution = run(statistics, W, lambda_r=lambda_r, lambda_c=lambda_c, tolerance=1e-4)
    assert solution.converged
    assert (solution.abundances[:, 0] == 0).all()
    assert (solution.abundances[:, 1:].max(axis=0) > 0).all()


def test_too_few_sweeps_warn_with_what_is_left() -> None:
    rng = np.random.default_rng(17)
    statistics, W = random_statistics(rng, 100, 4), path_graph(100)
    with pytest.warns(ConvergenceWarning, match=r"After 2 sweeps .*tolerance 1\.0e-12.*`max_sweeps`"):
        solution = run(statistics, W, lambda_c=50.0, max_sweeps=2)
    assert not solution.converged
    assert solution.n_sweeps == 2
    assert solution.violation > 1e-12
    measured = violation(solution.abundances, statistics, W, 0.0, 50.0) / solution.abundances.max()
    assert measured > 1e-12


@pytest.mark.parametrize("max_sweeps", [2, 6, 20])
def test_the_violation_reported_is_that_of_the_abundances_returned(max_sweeps: int) -> None:
    rng = np.random.default_rng(37)
    statistics, W = random_statistics(rng, 100, 4), path_graph(100)
    with pytest.warns(ConvergenceWarning):
        solution = run(statistics, W, lambda_c=500.0, tolerance=1e-15, max_sweeps=max_sweeps)
    measured = violation(solution.abundances, statistics, W, 0.0, 500.0) / solution.abundances.max()
    assert solution.violation == pytest.approx(measured, rel=1e-3)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_cancelling_passes_through_and_stops_the_threads(n_threads: int) -> None:
    rng = np.random.default_rng(18)
    statistics, W = random_statistics(rng, 300, 4), path_graph(300)
    before = set(threading.enumerate())
    calls: list[Progress] = []

    def cancel(progress: Progress) -> None:
        calls.append(progress)
        if len(calls) == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        run(statistics, W, n_threads, lambda_c=10.0, on_progress=cancel)
    assert len(calls) == 3
    assert set(threading.enumerate()) == before


def test_progress_reports_cycles_and_violation() -> None:
    rng = np.random.default_rng(19)
    calls: list[Progress] = []
    solution = run(
        random_statistics(rng, 200, 4), path_graph(200), lambda_r=0.1, lambda_c=10.0, on_progress=calls.append
    )
    assert {call.stage for call in calls} == {"Solving"}
    steps = [call.step for call in calls]
    assert steps == sorted(steps)
    assert steps[-1] == len(solution.history)
    assert calls[-1].violation == solution.violation
    assert calls[-1].fraction == 1.0
    assert all(0 <= call.fraction <= 1 for call in calls)


@pytest.mark.parametrize(("lambda_c", "tolerance"), [(1.0, 1e-6), (30.0, 1e-6), (1e3, 1e-6), (1e5, 1e-5)])
@pytest.mark.parametrize("layout", ["hexagonal", "square"])
def test_sweeps_stay_in_the_tens_however_strong_the_smoothing(
    layout: str, lambda_c: float, tolerance: float
) -> None:
    rng = np.random.default_rng(30)
    coordinates = {"hexagonal": hexagonal_grid(30, 30), "square": square_grid(30, 30)}[layout]
    statistics, edges = random_statistics(rng, 900, 5, 4), build_graph(coordinates).squared_distance
    W = csr_array((np.exp(-0.3 * edges.data), edges.indices, edges.indptr), shape=edges.shape)
    solution = run(statistics, W, lambda_r=1e-6, lambda_c=lambda_c, tolerance=tolerance, max_sweeps=200)
    assert solution.n_sweeps < 100
    left = violation(solution.abundances, statistics, W, 1e-6, lambda_c)
    assert left <= 1.001 * tolerance * solution.abundances.max()


@pytest.mark.parametrize("n_spots", [2, 7, 24, 33, 120])
def test_few_spots_need_no_more_sweeps_than_many(n_spots: int) -> None:
    rng = np.random.default_rng(38)
    statistics = random_statistics(rng, n_spots, 30, 8, n_genes=200, n_present=8)
    edges = build_graph(rng.random((n_spots, 2))).squared_distance
    W = csr_array((np.exp(-edges.data), edges.indices, edges.indptr), shape=edges.shape)
    statistics.divide_by(statistics.mean_precision())
    solution = run(statistics, W, lambda_r=1e-6, lambda_c=300.0, max_sweeps=60, tolerance=1e-4)
    left = violation(solution.abundances, statistics, W, 1e-6, 300.0)
    assert left <= 1.001e-4 * solution.abundances.max()


def patchy_tissue(side: int) -> tuple[Statistics, csr_array]:
    """Spots in patches of like composition; weights fall by orders of magnitude at the patches' borders."""
    rng = np.random.default_rng(31)
    coordinates = square_grid(side, side)
    patch = (coordinates // (side / 5) @ np.array([1.0, 5.0])).astype(int)
    S = rng.dirichlet(np.full(40, 0.3), size=8)
    shares = rng.dirichlet(np.full(8, 0.3), size=patch.max() + 1)[patch]
    y = rng.poisson(30 * shares @ S) / 30
    gram = (S / S.mean(axis=0)) @ S.T
    projection = y @ (S / S.mean(axis=0)).T
    statistics = Statistics(gram[None], np.zeros(len(y), np.int64), np.ones(len(y)), projection)
    edges = build_graph(coordinates).squared_distance
    row = np.repeat(np.arange(len(y)), np.diff(edges.indptr))
    apart = ((shares[row] - shares[edges.indices]) ** 2).sum(axis=1)
    weights = np.exp(-0.5 * edges.data - 16 * apart)
    statistics.divide_by(statistics.mean_precision())
    return statistics, csr_array((weights, edges.indices, edges.indptr), shape=edges.shape)


@pytest.mark.parametrize("lambda_c", [1e-4, 1e-2, 1.0, 10.0, 100.0, 1e3])
def test_fewer_than_sixty_sweeps_for_any_smoothing_also_across_sharp_borders(lambda_c: float) -> None:
    statistics, W = patchy_tissue(60)
    assert W.data.max() > 1e4 * W.data.min()
    solution = run(statistics, W, lambda_r=1e-6, lambda_c=lambda_c, max_sweeps=60, tolerance=1e-4)
    assert (
        violation(solution.abundances, statistics, W, 1e-6, lambda_c) <= 1.001e-4 * solution.abundances.max()
    )
    nearby = run(
        statistics, W, lambda_r=1e-6, lambda_c=1.2 * lambda_c, start=solution.abundances, tolerance=1e-4
    )
    assert nearby.n_sweeps <= max(solution.n_sweeps, 10)


def pooled_minimizer(statistics: Statistics, part: slice, lambda_r: float) -> np.ndarray:
    """The abundances that all spots of a part would share."""
    grams = statistics.scale[part, None, None] * statistics.gram[statistics.cluster[part]]
    lower = np.linalg.cholesky(grams.sum(axis=0) + lambda_r * len(grams) * np.eye(grams.shape[1]))
    return nnls(lower.T, np.linalg.solve(lower, statistics.projection[part].sum(axis=0)))[0]


def test_endless_smoothing_pools_each_connected_part() -> None:
    rng = np.random.default_rng(20)
    statistics = random_statistics(rng, 14, 4, 2)
    W = csr_array(block_diag([path_graph(9), path_graph(5)]))
    pooled = np.empty((14, 4))
    for part in (slice(0, 9), slice(9, 14)):
        pooled[part] = pooled_minimizer(statistics, part, 0.01)
    assert np.abs(pooled[0] - pooled[-1]).max() > 0.1

    def distance(lambda_c: float) -> float:
        X = run(statistics, W, lambda_r=0.01, lambda_c=lambda_c, tolerance=1e-7).abundances
        return float(np.abs(X - pooled).max())

    far, near = distance(1000.0), distance(10_000.0)
    assert near < 0.1
    assert near == pytest.approx(far / 10, rel=0.3)  # the distance falls as 1 / lambda_c


def test_isolated_spots_are_solved_alone() -> None:
    rng = np.random.default_rng(21)
    statistics = random_statistics(rng, 10, 4)
    W = csr_array(block_diag([path_graph(8), np.zeros((2, 2))]))
    smooth, alone = run(statistics, W, lambda_c=3.0).abundances, run(statistics).abundances
    np.testing.assert_allclose(smooth[8:], alone[8:], atol=1e-10)
    assert np.abs(smooth[:8] - alone[:8]).max() > 1e-3


def test_a_graph_without_edges_is_no_smoothing() -> None:
    statistics = random_statistics(np.random.default_rng(22), 20, 4)
    np.testing.assert_array_equal(
        run(statistics, no_edges(20), lambda_c=5.0).abundances, run(statistics).abundances
    )


def test_edges_of_weight_zero_are_no_edges() -> None:
    statistics = random_statistics(np.random.default_rng(23), 20, 4)
    W = path_graph(20)
    W.data[:] = 0.0
    np.testing.assert_allclose(run(statistics, W, lambda_c=5.0).abundances, run(statistics).abundances)


def test_penalties_may_be_whole_numbers() -> None:
    rng = np.random.default_rng(43)
    statistics, W = random_statistics(rng, 60, 10), random_graph(rng, 60)
    whole, same = (run(statistics, W, lambda_r=kind(1), lambda_c=kind(200)) for kind in (int, float))
    np.testing.assert_array_equal(whole.abundances, same.abundances)


def test_one_spot() -> None:
    statistics = random_statistics(np.random.default_rng(24), 1, 4)
    np.testing.assert_allclose(
        run(statistics, lambda_c=1.0).abundances, dense_minimizer(statistics, no_edges(1), 0, 0), atol=1e-10
    )


def test_no_spots() -> None:
    statistics = Statistics(np.ones((1, 2, 2)), np.zeros(0, np.int64), np.zeros(0), np.zeros((0, 2)))
    solution = run(statistics, lambda_c=1.0)
    assert solution.abundances.shape == (0, 2)
    assert solution.converged


@pytest.mark.parametrize("lambda_c", [0.0, 2.0])
def test_one_cell_type_has_a_closed_form(lambda_c: float) -> None:
    rng = np.random.default_rng(25)
    statistics, W = random_statistics(rng, 20, 1), path_graph(20)
    H = hessian(statistics, W, 0.1, lambda_c)
    expected = np.linalg.solve(H, statistics.projection.ravel())
    assert expected.min() > 0
    solution = run(statistics, W, lambda_r=0.1, lambda_c=lambda_c)
    np.testing.assert_allclose(solution.abundances.ravel(), expected, atol=1e-9)


def test_spots_without_information_take_after_their_neighbors() -> None:
    rng = np.random.default_rng(26)
    full = random_statistics(rng, 3, 3)
    scale, projection = full.scale.copy(), full.projection.copy()
    scale[1], projection[1] = 0.0, 0.0
    statistics = Statistics(full.gram, full.cluster, scale, projection)
    X = run(statistics, path_graph(3), lambda_c=1.0).abundances
    np.testing.assert_allclose(X[1], (X[0] + X[2]) / 2, atol=1e-9)
    assert (run(statistics).abundances[1] == 0).all()


def test_a_negative_projection_everywhere_gives_zero() -> None:
    full = random_statistics(np.random.default_rng(27), 12, 3)
    statistics = Statistics(full.gram, full.cluster, full.scale, -full.projection)
    solution = run(statistics, path_graph(12), lambda_c=1.0)
    assert (solution.abundances == 0).all()
    assert solution.converged


def test_its_minimum_is_no_higher_than_any_point_nearby() -> None:
    rng = np.random.default_rng(28)
    statistics, W = random_statistics(rng, 10, 3), random_graph(rng, 10, 0.4)
    X = run(statistics, W, lambda_r=0.01, lambda_c=0.5).abundances
    lowest = dense_objective(X, statistics, W, 0.01, 0.5)
    for size in (1e-3, 1e-1, 10.0):
        for _ in range(20):
            other = np.maximum(X + size * rng.standard_normal(X.shape), 0)
            assert dense_objective(other, statistics, W, 0.01, 0.5) >= lowest


def test_inputs_are_not_modified() -> None:
    rng = np.random.default_rng(29)
    statistics, W = random_statistics(rng, 30, 4, 2), random_graph(rng, 30)
    arrays = [statistics.gram, statistics.cluster, statistics.scale, statistics.projection, W.data]
    copies = [array.copy() for array in arrays]
    run(statistics, W, lambda_c=1.0)
    for array, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("lambda_c", [1.0, 100.0, 1e4, 1e6])
def test_the_tolerance_bounds_the_error_also_if_the_coupling_is_strong(lambda_c: float) -> None:
    """A region as a whole may be far off while each of its spots can hardly move alone."""
    rng = np.random.default_rng(31)
    statistics, edges = random_statistics(rng, 400, 5, 4), build_graph(square_grid(20, 20)).squared_distance
    W = csr_array((np.exp(-0.3 * edges.data), edges.indices, edges.indptr), shape=edges.shape)
    loose = run(statistics, W, lambda_r=1e-6, lambda_c=lambda_c, tolerance=1e-4)
    tight = run(statistics, W, lambda_r=1e-6, lambda_c=lambda_c, tolerance=1e-9)
    assert loose.converged
    assert tight.abundances.max() > 0
    apart = np.abs(loose.abundances - tight.abundances).max()
    assert apart <= 1e-3 * tight.abundances.max()
