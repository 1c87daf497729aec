"""The quadratic problem on the spots, and on ever larger groups of them.

Sweeps even out differences between neighbours at once and those across the tissue slowly. A difference
across the tissue is one between groups: so each cycle also moves whole groups, where every member can
move, by solving the same kind of problem with groups for spots (a Galerkin coarse problem; the method is
monotone multigrid, Kornhuber 1994). A move of groups never leaves ``X >= 0`` and never raises the objective.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from napari_spotmix.core import _kernels
from napari_spotmix.core._threads import Threads
from napari_spotmix.core.graph import color_classes
from napari_spotmix.core.statistics import Statistics

__all__ = ["Level"]

Array = NDArray[np.float64]

_BLOCK = 2048
#: An edge counts as strong, when groups are made, from this part of the spot's strongest on.
_STRENGTH = 0.6
#: No coarser level below this many spots, or where grouping would hardly lower their number.
_SMALLEST, _LEAST_GAIN = 32, 0.8
#: Cycles on each coarser level per cycle above it, and pairs of sweeps on the coarsest.
_CYCLES, _COARSEST_SWEEPS = 2, 10
#: Linear term that keeps a variable at its bound.
_BARRED = -1e100


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
        self._lambda_r, self._lambda_c = lambda_r, lambda_c
        self._threads, self._on_block = threads, on_block
        self._edges = (W.indptr, W.indices, W.data)
        self._data = (statistics.gram, statistics.archetype, statistics.scale)
        self._typical = statistics.typical_curvature()
        self._colors = color_classes(W) if lambda_c > 0 else [np.arange(W.shape[0])]
        self._coarser: _Coarser | None = None

    @property
    def is_separable(self) -> bool:
        """Whether spots do not depend on each other, so that one sweep solves the problem."""
        return len(self._colors) < 2

    def add_coarser_levels(self) -> None:
        """Prepare the problem on groups of spots, on groups of groups, and so on."""
        n_spots = self._W.shape[0]
        if self.is_separable or n_spots <= _SMALLEST:
            return
        group = np.empty(n_spots, np.int64)
        n_groups = _kernels.group_neighbors(*self._edges, _STRENGTH, group)
        if n_groups < _LEAST_GAIN * n_spots:
            self._coarser = _Coarser(self, group, n_groups)

    def improve(self, b: Array, X: Array, tolerance: float) -> int:
        """Run one cycle on `X` in place; return the number of sweeps over this level's spots."""
        self._sweep(b, X, tolerance, backward=False)
        if self.is_separable:
            return 1
        if self._coarser is not None:
            self._coarser.correct(b, X, tolerance)
        self._sweep(b, X, tolerance, backward=True)
        return 2

    def approximate(self, b: Array, X: Array, tolerance: float) -> None:
        """Bring `X` near the minimiser: by cycles, or by sweeps on the last level."""
        for _ in range(_CYCLES if self._coarser is not None else _COARSEST_SWEEPS):
            self.improve(b, X, tolerance)

    def _sweep(self, b: Array, X: Array, tolerance: float, *, backward: bool) -> None:
        order = -1 if backward else 1
        for spots in self._colors[::order]:
            self._sweep_color(spots, b, X, tolerance)

    def _sweep_color(self, spots: NDArray[np.int64], b: Array, X: Array, tolerance: float) -> None:
        def block(start: int, stop: int) -> None:
            _kernels.sweep(
                spots[start:stop],
                *self._edges,
                *self._data,
                b,
                self._lambda_r,
                self._lambda_c,
                self._typical,
                tolerance,
                X,
            )

        self._over_rows(block, len(spots))

    def hessian_times(self, X: Array) -> Array:
        """Return ``H X``."""
        HX = np.empty_like(X)

        def block(start: int, stop: int) -> None:
            _kernels.apply_hessian(
                start, stop, *self._edges, *self._data, self._lambda_r, self._lambda_c, X, HX
            )

        self._over_rows(block, len(X))
        return HX

    def solve_own_blocks(self, X: Array, R: Array) -> Array:
        """Return ``Z`` that solves each spot's own block of ``H Z = R`` on its entries with ``X > 0``."""
        Z = np.empty_like(R)
        indptr, _, weight = self._edges

        def block(start: int, stop: int) -> None:
            _kernels.solve_own_blocks(
                start, stop, indptr, weight, *self._data, self._lambda_r, self._lambda_c, X, R, Z
            )

        self._over_rows(block, len(X))
        return Z

    def violation(self, b: Array, X: Array, HX: Array) -> float:
        """Return the worst violation of the optimality conditions, in units of `X`."""
        indptr, _, weight = self._edges

        def block(start: int, stop: int) -> float:
            return float(
                _kernels.kkt_violation(
                    start,
                    stop,
                    indptr,
                    weight,
                    *self._data,
                    self._lambda_r,
                    self._lambda_c,
                    self._typical,
                    b,
                    X,
                    HX,
                )
            )

        return max(self._over_rows(block, len(X)), default=0.0)

    def _over_rows(self, block: Callable[[int, int], float | None], n_rows: int) -> list[float]:
        return self._threads.over_blocks(block, n_rows, block=_BLOCK, on_block=self._on_block)


class _Coarser:
    """The problem of moving groups, below the level whose spots they group."""

    def __init__(self, finer: Level, group: NDArray[np.int64], n_groups: int) -> None:
        self._finer, self._group, self._n_groups = finer, group, n_groups
        # Rows of group a: members[member_start[a]:member_start[a + 1]].
        self._members = np.argsort(group, kind="stable")
        self._member_start = np.concatenate([[0], np.cumsum(np.bincount(group, minlength=n_groups))])
        self._level = Level(
            self._grouped_statistics(),
            _grouped_edges(finer._W, group, n_groups),
            0.0,
            finer._lambda_c,
            finer._threads,
            finer._on_block,
        )
        self._level.add_coarser_levels()

    def _grouped_statistics(self) -> Statistics:
        n_types = self._finer._statistics.gram.shape[1]
        gram = np.empty((self._n_groups, n_types, n_types))

        def block(start: int, stop: int) -> None:
            _kernels.sum_grams(
                start,
                stop,
                self._member_start,
                self._members,
                *self._finer._data,
                self._finer._lambda_r,
                gram,
            )

        self._finer._over_rows(block, self._n_groups)
        ones = np.ones(self._n_groups)
        return Statistics(gram, np.arange(self._n_groups), ones, np.empty((0, n_types)))

    def correct(self, b: Array, X: Array, tolerance: float) -> None:
        """Move whole groups towards the minimiser, in place.

        With ``u`` the room that a group has above zero and ``y = u + step``, the step's problem is one over
        ``y >= 0`` again; groups without room in a type stay as they are in it.
        """
        finer = self._finer
        HX = finer.hessian_times(X)
        room = np.empty((self._n_groups, X.shape[1]))
        residual = np.empty_like(room)

        def restrict(start: int, stop: int) -> None:
            _kernels.restrict_to_groups(
                start, stop, self._member_start, self._members, X, HX, b, room, residual
            )

        finer._over_rows(restrict, self._n_groups)
        target = residual + self._level.hessian_times(room)
        target[room <= 0.0] = _BARRED
        step = room.copy()
        self._level.approximate(target, step, tolerance)
        step -= room

        def prolong(start: int, stop: int) -> None:
            _kernels.add_group_step(start, stop, self._group, step, X)

        finer._over_rows(prolong, len(X))


def _grouped_edges(W: csr_array, group: NDArray[np.int64], n_groups: int) -> csr_array:
    """Sum the weights between groups; edges within a group vanish from the Laplacian."""
    row = np.repeat(group, np.diff(W.indptr))
    column = group[W.indices]
    between = row != column
    edges = (W.data[between], (row[between], column[between]))
    summed = csr_array(edges, shape=(n_groups, n_groups))
    summed.sum_duplicates()
    return summed
