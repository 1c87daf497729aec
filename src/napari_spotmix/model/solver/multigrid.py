"""The quadratic problem on the spots, and coarse problems on ever larger aggregates of them.

Sweeps even out differences between neighbors at once, and differences across the tissue slowly. Multigrid
moves whole aggregates of spots as well: each cycle solves a coarse problem of the same kind with aggregates
for spots (Galerkin, ``P' H P`` with the prolongation P), and between the sweeps of the spots, the smoother,
every member follows its aggregate. Members at the bound zero do not move (monotone multigrid; entries near
the bound are truncated smoothly). A coarse correction never leaves ``X >= 0`` and, except for rounding, never
raises the objective.

References
----------
Kornhuber, *Monotone multigrid methods for elliptic variational inequalities I*, Numerische Mathematik 1994.
Vanek, Mandel and Brezina, *Algebraic multigrid by smoothed aggregation*, Computing 1996 (strength of
connection, aggregates).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from napari_spotmix.base.threads import Threads
from napari_spotmix.model.kernels import aggregation as aggregation_kernels
from napari_spotmix.model.kernels import graph as graph_kernels
from napari_spotmix.model.kernels import sweep as sweep_kernels
from napari_spotmix.model.kernels.arguments import (
    CSR,
    Aggregates,
    CoarseHessian,
    Edges,
    Hessian,
    Prolongation,
)
from napari_spotmix.model.solver.ordering import ColoringOrder, aggregates_of, edges_between
from napari_spotmix.model.sufficient_statistics import Statistics

__all__ = ["Level"]

Array = NDArray[np.float64]
Spots = NDArray[np.int64]
#: The types in each spot's block, their number, and its Cholesky factor.
OwnBlocks = tuple[NDArray[np.int64], NDArray[np.int64], Array]

#: Rows that a thread takes at a time: so few that two threads share a color of a section of 5,000 spots.
_BLOCK = 512
#: A connection is strong if its weight is at least this part of the strongest at either end.
_STRENGTH_OF_CONNECTION = 0.1
#: And at least this part of the data's curvature at either end: sweeps alone find spots that the data hold.
_LEAST_COUPLING = 0.05
#: A sweep leaves this part of a spot's violation: its neighbors will move too, if they are coupled to it.
_ENOUGH = 0.5
#: An aggregate may fall by this share of its mean in one step.
_SHARE = 0.5
#: Local relaxation goes on as long as the spots visited are at most this part of all.
_FEW = 0.5
#: A coarser level must have less than this part of the nodes: levels cost little once they are small, and the
#: last one is a single aggregate, since strong coupling holds a few nodes as well as many.
_COARSENING = 0.8
#: Coarse cycles per cycle of the level above: usually, if the coupling is far stronger than usual, for a
#: first guess; and pairs of sweeps on the coarsest level.
_CYCLES, _MORE_CYCLES, _FIRST_CYCLES, _COARSEST_SWEEPS = 1, 2, 4, 10
#: Coarse problems are solved to this part of the spots' tolerance: coupling between aggregates is stiff, so a
#: step that is small for an aggregate may leave much for its spots.
_PRECISION = 1e-3
#: Coarse levels are worth their cost from the start if the coupling is at least this part of the data's
#: curvature; so is combining cycles from the second, and more coarse cycles from the third on.
_STIFF, _VERY_STIFF, _STIFFEST = 0.3, 10.0, 100.0


class Level:
    """A problem ``min 1/2 <X, H X> - <b, X>`` over ``X >= 0``, for any linear term ``b``.

    Parameters
    ----------
    statistics : Statistics
        Gives the data term of ``H``; its projection is not used.
    W : csr_array, shape (n_spots, n_spots)
        Symmetric edge weights.
    lambda_r, lambda_c : float
    threads : Threads
    on_block : callable
        Called between blocks of rows; what it raises stops the work.
    """

    def __init__(
        self,
        statistics: Statistics,
        W: csr_array,
        lambda_r: float,
        lambda_c: float,
        threads: Threads,
        on_block: Callable[[int], None],
    ) -> None:
        self._statistics, self.n_spots = statistics, W.shape[0]
        # Whole numbers too, for which kernels are not compiled.
        self._lambda_r, self._lambda_c = float(lambda_r), float(lambda_c)
        degree = np.asarray(W.sum(axis=1), dtype=np.float64)
        # What the penalties add to the diagonal.
        shift: Array = self._lambda_r + self._lambda_c * degree
        self._threads, self._on_block = threads, on_block
        self._edges = Edges(W.indptr, W.indices)
        data = (statistics.gram, statistics.cluster, statistics.scale)
        self._H = Hessian(*data, shift, CSR.of(W), self._lambda_c)
        self._diagonal = np.ascontiguousarray(np.einsum("akk->ak", statistics.gram))
        self._typical = statistics.typical_curvature()
        self._all = np.arange(self.n_spots)
        self._kind = self._kinds()
        self._order = None if self.is_separable else ColoringOrder(self._edges, self._kind)
        # Mean curvature of a spot by its coupling, and by the data.
        self._coupling = lambda_c * float(degree.sum()) / max(self.n_spots, 1)
        self._data = float(self._typical.mean())
        self._enough = _ENOUGH * (self._coupling / self._data if self._coupling < self._data else 1.0)
        self._coarse: _CoarseLevel | None = None
        self.n_cycles = _CYCLES

    @property
    def is_separable(self) -> bool:
        """Whether spots do not depend on each other, so that one sweep solves the problem."""
        return self._lambda_c == 0 or len(self._edges.indices) == 0

    def _kinds(self) -> Spots:
        """Return a number for each spot; spots that share it may be swept at once: cluster and color."""
        cluster = self._statistics.cluster
        if self.is_separable:
            return cluster
        return _colors(self._edges) * len(self._statistics.gram) + cluster

    def coarsen(self) -> None:
        """Prepare the coarse levels; once prepared, they are kept."""
        if self._coarse is None and not self.is_separable and self.n_spots > 1:
            is_stiffest = self._coupling >= _STIFFEST * self._data
            self.n_cycles = _MORE_CYCLES if is_stiffest else _CYCLES
            self._coarse = _coarsened(
                self, self._H.W.data, self._data_curvature(), self._statistics.n_cell_types
            )

    def is_stiff(self) -> bool:
        """Return whether the coupling is so strong that coarse levels are needed from the start."""
        return self._coupling >= _STIFF * self._data

    def is_very_stiff(self) -> bool:
        """Return whether the coupling is so strong that cycles need to be combined."""
        return self._coupling >= _VERY_STIFF * self._data

    def _data_curvature(self) -> Array:
        """Return the mean curvature of each spot by the data, in units of edge weights."""
        trace = np.einsum("akk->a", self._statistics.gram) / self._statistics.n_cell_types
        own = self._statistics.scale * trace[self._statistics.cluster]
        return np.asarray((own + self._lambda_r) / self._lambda_c)

    def guess(self, b: Array) -> Array:
        """Return a start: the minimizer of the coarse problem, if there is one, else zero.

        A type without curvature in the data is zero everywhere: coupling alone would leave it as it starts.
        """
        if self._coarse is None:
            return np.zeros(b.shape)
        return self._coarse.spread(self._coarse.guess(self, b)) * (self._typical > 0)

    def improve(self, b: Array, X: Array, tolerance: float) -> int:
        """Run one cycle on `X` in place; return the number of sweeps over this level's spots."""
        self._sweep(b, X, tolerance, backward=False)
        if self.is_separable:
            return 1
        if self._coarse is not None:
            self._coarse.correct(self, b, X, _PRECISION * tolerance)
        self._sweep(b, X, tolerance, backward=True)
        return 2

    def relax_locally(self, b: Array, X: Array, violations: Array, most: float, aim: float) -> float:
        """Sweep only over spots whose violation is above `most`, and over those that this disturbs.

        If few spots are left, whole cycles would be wasted on the rest. If this does not end soon, whole
        cycles are needed.

        Parameters
        ----------
        b, X : ndarray of float64, shape (n_spots, n_cell_types)
            `X` is improved in place.
        violations : ndarray of float64, shape (n_spots,)
            Updated in place.
        most, aim : float
            Violation above which a spot is visited, and that at which its visit ends.

        Returns
        -------
        float
            Number of spots visited, as a part of all.
        """
        n_visited, n_spots = 0, len(X)
        backward = False
        while True:
            off = np.flatnonzero(violations > most)
            if len(off) == 0 or n_visited + len(off) > _FEW * n_spots:
                return n_visited / max(n_spots, 1)
            self._sweep(b, X, aim, backward=backward, spots=off)
            marked = np.zeros(n_spots, np.bool_)
            graph_kernels.mark_around(off, self._edges, marked)
            self.find_violations(b, X, violations, np.flatnonzero(marked))
            n_visited += len(off)
            backward = not backward

    def write_coarse(self, coarse: _CoarseLevel, prolongation: Prolongation, b: Array, X: Array) -> None:
        """Write the problem of moving aggregates of spots to `coarse`."""
        written = (coarse.H, coarse.target)

        def block(start: int, stop: int) -> None:
            aggregation_kernels.coarsen_spots(
                start, stop, coarse.aggregates, prolongation, self._H, b, X, *written
            )

        self._over_rows(block, coarse.n_aggregates)

    def _sweep(
        self, b: Array, X: Array, tolerance: float, *, backward: bool, spots: Spots | None = None
    ) -> None:
        def visit(some: Spots) -> None:
            sweep_kernels.sweep(some, self._kind, self._H, b, self._typical, tolerance, self._enough, X)

        if self._order is None:
            rows = self._all if spots is None else spots
            rows = rows[np.argsort(self._kind[rows], kind="stable")]
            self._over_rows(lambda start, stop: visit(rows[start:stop]), len(rows))
        else:
            self._order.visit(visit, self._threads, nodes=spots, backward=backward, on_block=self._on_block)

    def hessian_times(self, X: Array, out: Array | None = None) -> Array:
        """Return ``H X``, in `out` if given."""
        HX = np.empty_like(X) if out is None else out

        def block(start: int, stop: int) -> None:
            sweep_kernels.apply_hessian(start, stop, self._H, X, HX)

        self._over_rows(block, len(X))
        return HX

    def plane_sums(
        self, X: Array, HX: Array, last: Array, H_last: Array, before: Array, H_before: Array, b: Array
    ) -> Array:
        """Return the sums of `sweep_kernels.plane_sums`, the same for any number of threads."""

        def block(start: int, stop: int) -> Array:
            sums = np.empty(6)
            sweep_kernels.plane_sums(start, stop, X, HX, last, H_last, before, H_before, b, sums)
            return sums

        return np.asarray(np.sum(self._over_rows(block, len(X)), axis=0))

    def step_in_plane(self, X: Array, last: Array, before: Array, along_new: float, along_old: float) -> None:
        """Overwrite `before` with ``X + along_new (X - last) + along_old (last - before)``, at least 0."""

        def block(start: int, stop: int) -> None:
            sweep_kernels.step_in_plane(start, stop, X, last, before, along_new, along_old)

        self._over_rows(block, len(X))

    def value(self, b: Array, X: Array, HX: Array) -> float:
        """Return ``1/2 <X, H X> - <b, X>``."""

        def block(start: int, stop: int) -> float:
            return float(sweep_kernels.quadratic_value(start, stop, X, HX, b))

        return float(np.sum(self._over_rows(block, len(X))))

    def own_blocks(self, X: Array) -> OwnBlocks:
        """Factor each spot's own block of ``H`` on its entries with ``X > 0``."""
        n_spots, n_types = X.shape
        support, size = np.zeros(X.shape, np.int64), np.zeros(n_spots, np.int64)
        factor = np.zeros((n_spots, n_types, n_types))

        def block(start: int, stop: int) -> None:
            sweep_kernels.factor_own_blocks(start, stop, self._H, X, support, size, factor)

        self._over_rows(block, n_spots)
        return support, size, factor

    def solve_own_blocks(self, blocks: OwnBlocks, R: Array) -> Array:
        """Return ``Z`` that solves each of the `blocks` of ``H Z = R``; 0 on entries outside of them."""
        Z = np.empty_like(R)

        def block(start: int, stop: int) -> None:
            sweep_kernels.solve_own_blocks(start, stop, *blocks, R, Z)

        self._over_rows(block, len(R))
        return Z

    def unit(self, X: Array) -> float:
        """Return the largest abundance: violations are relative to it."""
        largest = self._over_rows(lambda start, stop: X[start:stop].max(initial=0.0), len(X))
        return float(max(largest, default=0.0)) or 1.0

    def find_violations(self, b: Array, X: Array, violations: Array, spots: Spots | None = None) -> None:
        """Write each spot's worst violation of the optimality conditions, in units of `X`."""
        rows = self._all if spots is None else spots

        def block(start: int, stop: int) -> None:
            spots, given = rows[start:stop], (self._H, b, self._typical, self._diagonal)
            sweep_kernels.kkt_violations(spots, *given, X, violations)

        self._over_rows(block, len(rows))

    def _over_rows(self, block: Callable[[int, int], Any], n_rows: int) -> list[Any]:
        return self._threads.over_blocks(block, n_rows, block=_BLOCK, on_block=self._on_block)


class _CoarseLevel:
    """The problem of moving aggregates, below the problem whose nodes they gather.

    When an aggregate moves by ``e`` in a type, a member moves by ``p e`` with the prolongation
    ``p = min(x / baseline, 1)``, where `baseline` is a share of the mean abundance in the aggregate: most
    members move by the same, those below the `baseline` in proportion, and those without the type stay. So
    an aggregate may fall by all of its baseline, and in ``y = baseline + e`` the coarse problem is one over
    ``y >= 0`` again.
    """

    def __init__(self, finer: Level | _CoarseLevel, aggregates: Aggregates, n_types: int) -> None:
        self.aggregates = aggregates
        self.n_aggregates = n = len(aggregates.start_of) - 1
        self._threads: Threads = finer._threads
        self._on_block: Callable[[int], None] = finer._on_block
        self.n_cycles: int = finer.n_cycles
        self._edges: Edges = edges_between(aggregates, finer._edges)
        coupling = np.empty((len(self._edges.indices), n_types), np.float32)
        self.H = CoarseHessian(
            *self._edges, coupling, np.empty((n, n_types * (n_types + 1) // 2), np.float32)
        )
        self.target = np.empty((n, n_types))
        # Kept, since new memory is slow.
        self._prolongation = Prolongation(np.empty((n, n_types)), np.empty((n, n_types)))
        self._Y = np.empty((n, n_types))
        self._kind = _colors(self._edges)
        self._order = ColoringOrder(self._edges, self._kind)
        self._coarse: _CoarseLevel | None = None
        self._is_coarsest = n == 1

    def guess(self, finer: Level | _CoarseLevel, b: Array) -> Array:
        """Return a first guess, from the coarsest level up to this one; all members move by the same."""
        flat = np.ones_like(b)
        baseline = np.ones_like(self.target)
        finer.write_coarse(self, Prolongation(baseline, baseline), b, flat)
        coarse = self._next()
        Y = np.ones_like(baseline) if coarse is None else coarse.spread(coarse.guess(self, self.target))
        for _ in range(_FIRST_CYCLES):
            self._cycle(Y, 0.0)
        return Y

    def spread(self, Y: Array) -> Array:
        """Return for each node what its aggregate has; 0 for nodes that are in none."""
        aggregate = self.aggregates.aggregate
        return np.where(aggregate[:, None] >= 0, Y[aggregate], 0.0)

    def correct(self, finer: Level | _CoarseLevel, b: Array, X: Array, tolerance: float) -> None:
        """Move whole aggregates towards the minimizer, in place."""
        (baseline, per_baseline), Y = self._prolongation, self._Y

        def find(start: int, stop: int) -> None:
            aggregation_kernels.find_baselines(start, stop, self.aggregates, _SHARE, X, baseline)
            here = slice(start, stop)
            Y[here], per_baseline[here] = baseline[here], 0.0
            np.divide(1.0, baseline[here], out=per_baseline[here], where=baseline[here] > 0)

        def follow(start: int, stop: int) -> None:
            aggregate = self.aggregates.aggregate
            aggregation_kernels.prolongate(start, stop, aggregate, self._prolongation, Y, X)

        self._over_rows(find, self.n_aggregates)
        finer.write_coarse(self, self._prolongation, b, X)
        self._approximate(Y, tolerance)
        self._over_rows(follow, len(X))

    def write_coarse(self, coarse: _CoarseLevel, prolongation: Prolongation, b: Array, X: Array) -> None:
        """Write the problem of moving aggregates of these aggregates to `coarse`."""
        written = (coarse.H, coarse.target)

        def block(start: int, stop: int) -> None:
            aggregation_kernels.coarsen_aggregates(
                start, stop, coarse.aggregates, prolongation, self.H, b, X, *written
            )

        self._over_rows(block, coarse.n_aggregates)

    def _next(self) -> _CoarseLevel | None:
        if self._coarse is None and not self._is_coarsest:
            coupling = np.asarray(self.H.coupling.sum(axis=1))
            self._coarse = _coarsened(self, coupling, self._own_curvature(coupling), self.target.shape[1])
            self._is_coarsest = self._coarse is None
        return self._coarse

    def _own_curvature(self, coupling: NDArray[np.floating]) -> Array:
        """Return the curvature of each aggregate by all but its coupling, in units of `coupling`."""
        indptr = self._edges.indptr
        coupled = np.add.reduceat(np.append(coupling, 0.0), indptr[:-1]) * (np.diff(indptr) > 0)
        k = np.arange(self.target.shape[1])
        trace = self.H.blocks[:, k * (k + 3) // 2].sum(axis=1)
        return np.asarray(np.maximum(trace - coupled, 0.0))

    def _approximate(self, Y: Array, tolerance: float) -> None:
        for _ in range(_COARSEST_SWEEPS if self._next() is None else self.n_cycles):
            self._cycle(Y, tolerance)

    def _cycle(self, Y: Array, tolerance: float) -> None:
        self._sweep(Y, tolerance, backward=False)
        if self._coarse is not None:
            self._coarse.correct(self, self.target, Y, tolerance)
        self._sweep(Y, tolerance, backward=True)

    def _sweep(self, Y: Array, tolerance: float, *, backward: bool) -> None:
        def visit(order: NDArray[np.int64]) -> None:
            given = (self._kind, self.H, self.target, tolerance, _ENOUGH)
            aggregation_kernels.sweep_aggregates(order, *given, Y)

        self._order.visit(visit, self._threads, backward=backward, on_block=self._on_block)

    def _over_rows(self, block: Callable[[int, int], None], n_rows: int) -> None:
        self._threads.over_blocks(block, n_rows, block=_BLOCK, on_block=self._on_block)


def _coarsened(
    finer: Level | _CoarseLevel,
    weight: NDArray[np.floating],
    curvature: NDArray[np.floating],
    n_types: int,
) -> _CoarseLevel | None:
    """Return a level of aggregates along the strongest connections, or None if they are hardly fewer."""
    n_nodes = len(finer._edges.indptr) - 1
    aggregate = np.empty(n_nodes, np.int64)
    W = CSR(*finer._edges, weight)
    n_aggregates = aggregation_kernels.aggregate_neighbors(
        W, _LEAST_COUPLING * curvature, _STRENGTH_OF_CONNECTION, aggregate
    )
    finer._on_block(0)
    is_worth_it = 0 < n_aggregates < _COARSENING * n_nodes
    return _CoarseLevel(finer, aggregates_of(aggregate, n_aggregates), n_types) if is_worth_it else None


def _colors(edges: Edges) -> NDArray[np.int64]:
    """Return a color for each node that no neighbor has."""
    color = np.empty(len(edges.indptr) - 1, np.int64)
    graph_kernels.color_greedily(edges, color)
    return color
