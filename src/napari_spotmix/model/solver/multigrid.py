"""The quadratic problem on the spots, and on ever larger groups of them.

Sweeps even out differences between neighbors at once and those across the tissue slowly. A difference
across the tissue is one between groups: so each cycle also moves whole groups, every member as far as it
can, by solving the same kind of problem with groups for spots (a Galerkin coarse problem; monotone
multigrid after Kornhuber 1994, with what is at its bound truncated smoothly). A move of groups never leaves
``X >= 0`` and, but for rounding, never raises the objective.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from napari_spotmix.base.threads import Threads
from napari_spotmix.model.graph import Links
from napari_spotmix.model.kernels import aggregation as aggregation_kernels
from napari_spotmix.model.kernels import graph as graph_kernels
from napari_spotmix.model.kernels import sweep as sweep_kernels
from napari_spotmix.model.solver.ordering import Turns, links_between, members_of
from napari_spotmix.model.sufficient_statistics import Statistics

__all__ = ["Level"]

Array = NDArray[np.float64]
Spots = NDArray[np.int64]
#: The types in each spot's block, their number, and its Cholesky factor.
OwnBlocks = tuple[NDArray[np.int64], NDArray[np.int64], Array]

#: Rows that a thread takes at a time: so few that two threads share a color of a section of 5,000 spots.
_BLOCK = 512
#: An edge counts as strong, when groups are made, from this part of the spot's strongest on.
_STRENGTH = 0.1
#: And only from this part of what holds either spot on: spots that the data hold follow their own sweeps.
_LEAST = 0.05
#: A sweep leaves this part of a spot's violation: its neighbors will move too, if they are tied to it.
_ENOUGH = 0.5
#: A group may fall by this share of its mean in one move.
_SHARE = 0.5
#: Single spots are settled as long as those visited are at most this part of all.
_FEW = 0.5
#: No coarser level where grouping would hardly lower the number of spots: levels cost little once they are
#: small, and the last one is a single group, since ties that are strong hold a few spots as well as many.
_LEAST_GAIN = 0.8
#: Cycles on groups of groups per cycle above them, where ties are stronger than usual by far, for a first
#: guess, and pairs of sweeps on the largest.
_CYCLES, _MORE_CYCLES, _FIRST_CYCLES, _COARSEST_SWEEPS = 1, 2, 4, 10
#: Groups are solved to this part of the spots' tolerance: ties between groups are stiff, so a move that is
#: small for a group may leave much for its spots.
_PRECISION = 1e-3
#: Groups are worth their cost from the start where ties are at least this part of the data's curvature; so
#: is combining cycles from the second, and more cycles on groups of groups from the third on.
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
        self._statistics, self._W = statistics, W
        # Whole numbers too, for which kernels are not compiled.
        self._lambda_r, self._lambda_c = float(lambda_r), float(lambda_c)
        degree = W.sum(axis=1)
        # What the penalties add to the diagonal.
        self._shift = self._lambda_r + self._lambda_c * degree
        self._threads, self._on_block = threads, on_block
        self._links: Links = (W.indptr, W.indices)
        self._edges = (*self._links, W.data)
        self._data = (statistics.gram, statistics.cluster, statistics.scale)
        self._diagonal = np.ascontiguousarray(np.einsum("akk->ak", statistics.gram))
        self._typical = statistics.typical_curvature()
        self._all = np.arange(W.shape[0])
        self._kind = self._kinds()
        self._turns = None if self.is_separable else Turns(self._links, self._kind)
        # How firmly a spot is held on average by its neighbors, and by the data.
        self._ties = lambda_c * float(degree.sum()) / max(W.shape[0], 1)
        self._hold = float(self._typical.mean())
        self._enough = _ENOUGH * (self._ties / self._hold if self._ties < self._hold else 1.0)
        self._groups: _Groups | None = None
        self.n_cycles = _CYCLES

    @property
    def is_separable(self) -> bool:
        """Whether spots do not depend on each other, so that one sweep solves the problem."""
        return self._lambda_c == 0 or self._W.nnz == 0

    def _kinds(self) -> Spots:
        """Return a number for each spot that those share which may be swept at once: cluster and color."""
        cluster = self._statistics.cluster
        if self.is_separable:
            return cluster
        return _colors(self._links) * len(self._statistics.gram) + cluster

    def group_spots(self) -> None:
        """Prepare to move groups of spots, groups of groups, and so on; groups once made are kept."""
        n_spots = self._W.shape[0]
        if self._groups is None and not self.is_separable and n_spots > 1:
            self.n_cycles = _MORE_CYCLES if self._ties >= _STIFFEST * self._hold else _CYCLES
            self._groups = _grouped(self, self._W.data, self._held(), self._statistics.n_cell_types)

    def is_stiff(self) -> bool:
        """Tell whether ties are so strong that groups are needed from the start."""
        return self._ties >= _STIFF * self._hold

    def is_very_stiff(self) -> bool:
        """Tell whether ties are so strong that cycles need to be combined."""
        return self._ties >= _VERY_STIFF * self._hold

    def _held(self) -> Array:
        """Return how firmly the data hold each spot, in units of edge weights."""
        trace = np.einsum("akk->a", self._statistics.gram) / self._statistics.n_cell_types
        own = self._statistics.scale * trace[self._statistics.cluster]
        return np.asarray((own + self._lambda_r) / self._lambda_c)

    def guess(self, b: Array) -> Array:
        """Return where to begin: zero, or the minimizer for groups that move as one, where there are any.

        A type that the data do not speak of is nowhere: ties alone would leave it wherever it begins.
        """
        if self._groups is None:
            return np.zeros(b.shape)
        return self._groups.spread(self._groups.begin(self, b)) * (self._typical > 0)

    def improve(self, b: Array, X: Array, tolerance: float) -> int:
        """Run one cycle on `X` in place; return the number of sweeps over this level's spots."""
        self._sweep(b, X, tolerance, backward=False)
        if self.is_separable:
            return 1
        if self._groups is not None:
            self._groups.correct(self, b, X, _PRECISION * tolerance)
        self._sweep(b, X, tolerance, backward=True)
        return 2

    def settle(self, b: Array, X: Array, violations: Array, most: float, aim: float) -> float:
        """Sweep over those spots alone that are off by more than `most`, and over those that this puts off.

        Where few spots are left, one cycle after the other over all of them would be wasted on the rest. What
        is left of it after a good try needs whole cycles.

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
            graph_kernels.mark_around(off, *self._links, marked)
            self.find_violations(b, X, violations, np.flatnonzero(marked))
            n_visited += len(off)
            backward = not backward

    def gather(self, groups: _Groups, b: Array, X: Array, reach: Array, per_reach: Array) -> None:
        """Write the problem of moving `groups` of spots."""

        def block(start: int, stop: int) -> None:
            aggregation_kernels.group_spots(
                start,
                stop,
                *groups.layout,
                reach,
                per_reach,
                *self._edges,
                *self._data,
                self._shift,
                self._lambda_c,
                b,
                X,
                *groups.problem,
            )

        self._over_rows(block, groups._n)

    def _sweep(
        self, b: Array, X: Array, tolerance: float, *, backward: bool, spots: Spots | None = None
    ) -> None:
        def visit(some: Spots) -> None:
            sweep_kernels.sweep(some, self._kind, *self._problem(b), tolerance, self._enough, X)

        if self._turns is None:
            rows = self._all if spots is None else spots
            rows = rows[np.argsort(self._kind[rows], kind="stable")]
            self._over_rows(lambda start, stop: visit(rows[start:stop]), len(rows))
        else:
            self._turns.visit(visit, self._threads, nodes=spots, backward=backward, on_block=self._on_block)

    def hessian_times(self, X: Array, out: Array | None = None) -> Array:
        """Return ``H X``, in `out` where given."""
        HX = np.empty_like(X) if out is None else out

        def block(start: int, stop: int) -> None:
            sweep_kernels.apply_hessian(
                start, stop, *self._edges, *self._data, self._shift, self._lambda_c, X, HX
            )

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
            sweep_kernels.factor_own_blocks(start, stop, *self._data, self._shift, X, support, size, factor)

        self._over_rows(block, n_spots)
        return support, size, factor

    def solve_own_blocks(self, blocks: OwnBlocks, R: Array) -> Array:
        """Return ``Z`` that solves each of the `blocks` of ``H Z = R``; 0 on entries that are in none."""
        Z = np.empty_like(R)

        def block(start: int, stop: int) -> None:
            sweep_kernels.solve_own_blocks(start, stop, *blocks, R, Z)

        self._over_rows(block, len(R))
        return Z

    def unit(self, X: Array) -> float:
        """Return the largest abundance, what violations are measured against."""
        largest = self._over_rows(lambda start, stop: X[start:stop].max(initial=0.0), len(X))
        return float(max(largest, default=0.0)) or 1.0

    def find_violations(self, b: Array, X: Array, violations: Array, spots: Spots | None = None) -> None:
        """Write each spot's worst violation of the optimality conditions, in units of `X`."""
        rows = self._all if spots is None else spots

        def block(start: int, stop: int) -> None:
            sweep_kernels.kkt_violations(rows[start:stop], *self._problem(b), self._diagonal, X, violations)

        self._over_rows(block, len(rows))

    def _problem(self, b: Array) -> tuple[Any, ...]:
        """Return what the violations of spots depend on."""
        return (
            *self._edges,
            *self._data,
            b,
            self._shift,
            self._lambda_c,
            self._typical,
        )

    def _over_rows(self, block: Callable[[int, int], Any], n_rows: int) -> list[Any]:
        return self._threads.over_blocks(block, n_rows, block=_BLOCK, on_block=self._on_block)


class _Groups:
    """The problem of moving groups, below the problem whose variables they gather.

    When a group moves by ``e`` in a type, a member moves by ``p e`` with ``p = min(x / reach, 1)``, where
    `reach` is a share of the mean abundance in the group: most members move alike, those with less than
    `reach` in proportion, and those without the type stay. So a group may fall by all of its reach, and in
    ``y = reach + e`` its problem is one over ``y >= 0`` again.
    """

    def __init__(self, finer: Level | _Groups, group: NDArray[np.int64], n_groups: int, n_types: int) -> None:
        self._group, self._n = group, n_groups
        self._threads: Threads = finer._threads
        self._on_block: Callable[[int], None] = finer._on_block
        self.n_cycles: int = finer.n_cycles
        # Members of group a: members[start_of[a]:start_of[a + 1]].
        self._start_of, self._members = members_of(group, n_groups)
        self._links: Links = links_between(self._start_of, self._members, group, finer._links, n_groups)
        self._blocks = np.empty((n_groups, n_types * (n_types + 1) // 2), np.float32)
        self._ties = np.empty((len(self._links[1]), n_types), np.float32)
        self._target = np.empty((n_groups, n_types))
        # How far groups reach, one over it, and where they move to: kept, since new memory is slow.
        self._room = tuple(np.empty((n_groups, n_types)) for _ in range(3))
        self._kind = _colors(self._links)
        self._turns = Turns(self._links, self._kind)
        self._coarser: _Groups | None = None
        self._is_last = n_groups == 1

    def begin(self, finer: Level | _Groups, b: Array) -> Array:
        """Return a first guess, found from the largest groups down to these, every member moving alike."""
        flat = np.ones_like(b)
        reach = np.ones_like(self._target)
        finer.gather(self, b, flat, reach, reach)
        coarser = self._next()
        Y = np.ones_like(reach) if coarser is None else coarser.spread(coarser.begin(self, self._target))
        for _ in range(_FIRST_CYCLES):
            self._cycle(Y, 0.0)
        return Y

    def spread(self, Y: Array) -> Array:
        """Return what each group has for each of its members; 0 for those in no group."""
        return np.where(self._group[:, None] >= 0, Y[self._group], 0.0)

    def correct(self, finer: Level | _Groups, b: Array, X: Array, tolerance: float) -> None:
        """Move whole groups towards the minimizer, in place."""
        reach, per_reach, Y = self._room

        def find(start: int, stop: int) -> None:
            aggregation_kernels.reach_of_groups(start, stop, self._start_of, self._members, _SHARE, X, reach)
            here = slice(start, stop)
            Y[here], per_reach[here] = reach[here], 0.0
            np.divide(1.0, reach[here], out=per_reach[here], where=reach[here] > 0)

        def follow(start: int, stop: int) -> None:
            aggregation_kernels.follow_groups(start, stop, self._group, reach, per_reach, Y, X)

        self._over_rows(find, self._n)
        finer.gather(self, b, X, reach, per_reach)
        self._approximate(Y, tolerance)
        self._over_rows(follow, len(X))

    def gather(self, groups: _Groups, b: Array, X: Array, reach: Array, per_reach: Array) -> None:
        """Write the problem of moving `groups` of these groups."""

        def block(start: int, stop: int) -> None:
            aggregation_kernels.group_groups(
                start,
                stop,
                *groups.layout,
                reach,
                per_reach,
                *self._links,
                self._ties,
                self._blocks,
                b,
                X,
                *groups.problem,
            )

        self._over_rows(block, groups._n)

    @property
    def layout(self) -> tuple[NDArray[np.integer], ...]:
        """Which members the groups have, and which groups are linked."""
        return (self._start_of, self._members, self._group, *self._links)

    @property
    def problem(self) -> tuple[NDArray[np.floating], ...]:
        """Where the problem of moving them is written to."""
        return (self._blocks, self._ties, self._target)

    def _next(self) -> _Groups | None:
        if self._coarser is None and not self._is_last:
            ties = np.asarray(self._ties.sum(axis=1))
            self._coarser = _grouped(self, ties, self._held(ties), self._target.shape[1])
            self._is_last = self._coarser is None
        return self._coarser

    def _held(self, ties: Array) -> Array:
        """Return how firmly the groups are held by all but each other, in units of `ties`."""
        tied = np.add.reduceat(np.append(ties, 0.0), self._links[0][:-1]) * (np.diff(self._links[0]) > 0)
        k = np.arange(self._target.shape[1])
        trace = self._blocks[:, k * (k + 3) // 2].sum(axis=1)
        return np.asarray(np.maximum(trace - tied, 0.0))

    def _approximate(self, Y: Array, tolerance: float) -> None:
        for _ in range(_COARSEST_SWEEPS if self._next() is None else self.n_cycles):
            self._cycle(Y, tolerance)

    def _cycle(self, Y: Array, tolerance: float) -> None:
        self._sweep(Y, tolerance, backward=False)
        if self._coarser is not None:
            self._coarser.correct(self, self._target, Y, tolerance)
        self._sweep(Y, tolerance, backward=True)

    def _sweep(self, Y: Array, tolerance: float, *, backward: bool) -> None:
        def visit(groups: NDArray[np.int64]) -> None:
            aggregation_kernels.sweep_groups(
                groups,
                self._kind,
                *self._links,
                self._ties,
                self._blocks,
                self._target,
                tolerance,
                _ENOUGH,
                Y,
            )

        self._turns.visit(visit, self._threads, backward=backward, on_block=self._on_block)

    def _over_rows(self, block: Callable[[int, int], None], n_rows: int) -> None:
        self._threads.over_blocks(block, n_rows, block=_BLOCK, on_block=self._on_block)


def _grouped(
    finer: Level | _Groups, weight: NDArray[np.floating], held: NDArray[np.floating], n_types: int
) -> _Groups | None:
    """Return groups along the strongest edges, or None where they would hardly be fewer."""
    n_members = len(finer._links[0]) - 1
    group = np.empty(n_members, np.int64)
    n_groups = aggregation_kernels.group_neighbors(*finer._links, weight, _LEAST * held, _STRENGTH, group)
    finer._on_block(0)
    is_worth_it = 0 < n_groups < _LEAST_GAIN * n_members
    return _Groups(finer, group, n_groups, n_types) if is_worth_it else None


def _colors(links: Links) -> NDArray[np.int64]:
    """Return a color for each node that no neighbor has."""
    color = np.empty(len(links[0]) - 1, np.int64)
    graph_kernels.color_greedily(*links, color)
    return color
