"""Projected Gauss-Seidel sweeps over the spots, to a stated violation of the optimality conditions.

A sweep minimizes the objective over one spot's abundances after the other, exactly, the neighbors held
fixed. Spots of one color share no edge, so they may be done in any order or at once: the result is the
same to the last bit for any number of threads. If neighbors are coupled so strongly that sweeps alone
would be slow, aggregates of spots move together (:mod:`~napari_spotmix.model.solver.multigrid`); each step
is combined with the one before as conjugate gradients do.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from napari_spotmix.base.errors import ConvergenceWarning
from napari_spotmix.base.progress import Progress, ProgressCallback, silent
from napari_spotmix.base.threads import Threads
from napari_spotmix.model.solver.multigrid import Level
from napari_spotmix.model.sufficient_statistics import Statistics

__all__ = ["Solution", "solve"]

Array = NDArray[np.float64]

#: Cycles of plain sweeps before coarse levels are made if the coupling is weak: most sections need no more.
_PLAIN_CYCLES = 2
#: Cycles before steps are combined, which takes the memory of four times the abundances: most sections need
#: no more, unless the coupling is strong.
_CYCLES_WITHOUT_MEMORY = 6
#: A visit of a spot ends at this part of the tolerance; local relaxation visits those above the second part,
#: less than all of it, since the largest abundance may fall meanwhile.
_BEYOND, _RELAXED = 0.05, 0.9


@dataclass(frozen=True)
class Solution:
    """Minimizer of the objective, and how it was reached.

    Attributes
    ----------
    abundances : ndarray of float64, shape (n_spots, n_cell_types)
        ``X >= 0``.
    n_sweeps : int
        Over all spots; a sweep over a part of them counts as that part.
    violation : float
        Largest violation of the optimality conditions left, relative to the largest abundance.
    history : tuple of float
        The violation left after each cycle.
    converged : bool
    """

    abundances: NDArray[np.float64]
    n_sweeps: int
    violation: float
    history: tuple[float, ...]
    converged: bool


def solve(
    statistics: Statistics,
    W: csr_array,
    *,
    lambda_r: float,
    lambda_c: float,
    start: NDArray[np.float64] | None = None,
    overwrite_start: bool = False,
    tolerance: float = 1e-4,
    max_sweeps: int = 1000,
    threads: Threads,
    on_progress: ProgressCallback = silent,
) -> Solution:
    """Minimize ``f`` of :mod:`napari_spotmix.model.objective` over ``X >= 0``.

    Parameters
    ----------
    statistics : Statistics
    W : csr_array of float64, shape (n_spots, n_spots)
        Symmetric, non-negative edge weights without a diagonal.
    lambda_r, lambda_c : float
        Penalties, in the units of the statistics.
    start : ndarray of float64, shape (n_spots, n_cell_types), optional
        The start, e.g. the minimizer for a nearby penalty.
    overwrite_start : bool, optional
        Write the minimizer to `start`, which saves its memory; else `start` is not modified.
    tolerance : float, optional
        Bound on the violation, relative to the largest abundance.
    max_sweeps : int, optional
    threads : Threads
    on_progress : callable, optional

    Returns
    -------
    Solution

    Warns
    -----
    ConvergenceWarning
        If `max_sweeps` sweeps were not enough.
    """
    history: list[float] = []
    n_sweeps = 0.0

    def report(_: int = 0) -> None:
        expected = _expected_cycles(history, tolerance)
        on_progress(Progress("Solving", len(history), expected, history[-1] if history else None))

    b = statistics.projection
    report()
    level = Level(statistics, W, lambda_r, lambda_c, threads, report)
    report()
    if level.is_stiff():
        level.coarsen()
    X = (
        level.guess(b)
        if start is None
        else np.array(start, dtype=np.float64, copy=not overwrite_start or None)
    )
    memory: _Memory | None = None
    violations, unit = np.zeros(len(X)), level.unit(X)
    while True:
        # Each spot is solved beyond the aim, so that its neighbors' moves fit in the rest.
        n_sweeps += level.improve(b, X, _BEYOND * tolerance * unit)
        aim = tolerance * level.unit(X)
        level.find_violations(b, X, violations)
        n_sweeps += level.relax_locally(b, X, violations, _RELAXED * aim, _BEYOND * aim)
        unit = level.unit(X)
        history.append(float(violations.max(initial=0.0)) / unit)
        report()
        if history[-1] <= tolerance or n_sweeps >= max_sweeps:
            break
        if len(history) == _PLAIN_CYCLES:
            level.coarsen()
        if memory is not None:
            memory.combine(level, b, X)
        elif level.is_very_stiff() or len(history) >= _CYCLES_WITHOUT_MEMORY:
            memory = _Memory(level, X)
    n_whole = int(np.ceil(n_sweeps))
    converged = history[-1] <= tolerance
    if not converged:
        warnings.warn(
            f"After {n_whole} sweeps the optimality conditions are violated by {history[-1]:.1e}, "
            f"more than the tolerance {tolerance:.1e}. Raise `max_sweeps`, or lower `lambda_c`.",
            ConvergenceWarning,
            stacklevel=2,
        )
    return Solution(X, n_whole, history[-1], tuple(history), converged)


class _Memory:
    """The ends of the last two cycles, each point with its product with ``H``.

    The best combination of the new step and the last one makes cycles converge as conjugate gradients do
    (locally optimal preconditioned conjugate gradients, Knyazev 2001, with the cycle as preconditioner).
    """

    def __init__(self, level: Level, X: Array) -> None:
        self._last = (X.copy(), level.hessian_times(X))
        self._before = (X.copy(), self._last[1].copy())

    def combine(self, level: Level, b: Array, X: Array) -> None:
        """Move `X` to the best point of its plane with the last two points, if that is better."""
        HX = level.hessian_times(X)
        sums = level.plane_sums(X, HX, *self._last, *self._before, b)
        nn, ns, ss, nr, sr, value = sums.tolist()
        weights = np.linalg.lstsq(np.array([[nn, ns], [ns, ss]]), np.array([nr, sr]), rcond=1e-10)[0]
        candidate, H_candidate = self._before
        level.step_in_plane(X, self._last[0], candidate, *weights.tolist())
        level.hessian_times(candidate, H_candidate)
        if level.value(b, candidate, H_candidate) > value:
            candidate[:], H_candidate[:] = X, HX
        else:
            X[:] = candidate
        self._last, self._before = self._before, self._last


def _expected_cycles(history: list[float], tolerance: float) -> int:
    """Guess the cycles needed from the mean decay so far: the violation falls about geometrically."""
    done = len(history)
    if not history:
        return 0
    if history[-1] <= tolerance:
        return done
    decay = np.log(history[0] / history[-1]) / max(done - 1, 1)
    if decay <= 0:
        return 2 * done + 1
    return done + int(np.ceil(np.log(history[-1] / tolerance) / decay))
