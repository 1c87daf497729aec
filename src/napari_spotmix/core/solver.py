"""Projected Gauss-Seidel sweeps over the spots, to a stated violation of the optimality conditions.

A sweep minimises the objective over one spot's abundances after the other, exactly, the neighbours held
fixed. Spots of one colour share no edge, so they may be done in any order or at once: the result is the
same to the last bit for any number of threads.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from napari_spotmix.core import _kernels
from napari_spotmix.core._threads import Threads
from napari_spotmix.core.graph import color_classes
from napari_spotmix.core.statistics import Statistics
from napari_spotmix.errors import ConvergenceWarning
from napari_spotmix.progress import Progress, ProgressCallback, silent

__all__ = ["Solution", "solve"]

_BLOCK = 2048


@dataclass(frozen=True)
class Solution:
    """Minimiser of the objective, and how it was reached.

    Attributes
    ----------
    abundances : ndarray of float64, shape (n_spots, n_cell_types)
        ``X >= 0``.
    n_sweeps : int
    violation : float
        Largest violation of the optimality conditions left, relative to the largest abundance.
    history : tuple of float
        The violation met in each sweep.
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
    tolerance: float = 1e-4,
    max_sweeps: int = 1000,
    threads: Threads,
    on_progress: ProgressCallback = silent,
) -> Solution:
    """Minimise ``f`` of :mod:`napari_spotmix.core.objective` over ``X >= 0``.

    Parameters
    ----------
    statistics : Statistics
    W : csr_array of float64, shape (n_spots, n_spots)
        Symmetric, non-negative edge weights without a diagonal.
    lambda_r, lambda_c : float
        Penalties, in the units of the statistics.
    start : ndarray of float64, shape (n_spots, n_cell_types), optional
        Where to begin, e.g. the minimiser for a nearby penalty; not modified.
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
    problem = _Problem(statistics, W, lambda_r, lambda_c, threads)
    X = np.zeros_like(statistics.projection) if start is None else np.array(start, dtype=np.float64)
    history: list[float] = []
    violation = np.inf

    def report(_: int = 0) -> None:
        step, total = len(history), _expected_sweeps(history, tolerance)
        on_progress(Progress("Solving", step, total, violation if history else None))

    while violation > tolerance and len(history) < max_sweeps:
        # Each spot is solved a little beyond the aim, so that its neighbours' moves fit in the rest.
        met = problem.sweep(X, 0.1 * tolerance * _unit(X), report) / _unit(X)
        # What a sweep meets lags behind what it leaves: look anew once the end may be near.
        near_end = met <= 10 * tolerance or not history
        violation = problem.violation(X, report) / _unit(X) if near_end else met
        history.append(violation)
        report()
    if violation > tolerance:
        warnings.warn(
            f"After {max_sweeps} sweeps the optimality conditions are violated by {violation:.1e}, "
            f"more than the tolerance {tolerance:.1e}. Raise `max_sweeps`, or lower `lambda_c`.",
            ConvergenceWarning,
            stacklevel=2,
        )
    return Solution(X, len(history), violation, tuple(history), violation <= tolerance)


def _unit(X: NDArray[np.float64]) -> float:
    """Return the largest abundance, what violations are measured against."""
    return float(X.max(initial=0.0)) or 1.0


class _Problem:
    """One problem's arrays in the order that the kernels take them, and its spots by colour."""

    def __init__(
        self, statistics: Statistics, W: csr_array, lambda_r: float, lambda_c: float, threads: Threads
    ) -> None:
        self._arrays = (
            W.indptr,
            W.indices,
            W.data,
            statistics.gram,
            statistics.archetype,
            statistics.scale,
            statistics.projection,
            lambda_r,
            lambda_c,
        )
        self._n_spots = statistics.n_spots
        self._threads = threads
        self._colors = color_classes(W) if lambda_c > 0 else [np.arange(self._n_spots)]

    def sweep(self, X: NDArray[np.float64], tolerance: float, on_block: Callable[[int], None]) -> float:
        """Minimise over every spot in turn, in place; return the worst violation met on arrival."""
        return max((self._sweep_color(X, spots, tolerance, on_block) for spots in self._colors), default=0.0)

    def _sweep_color(
        self,
        X: NDArray[np.float64],
        spots: NDArray[np.int64],
        tolerance: float,
        on_block: Callable[[int], None],
    ) -> float:
        def block(start: int, stop: int) -> float:
            return float(_kernels.sweep(spots[start:stop], *self._arrays, tolerance, X))

        met = self._threads.over_blocks(block, len(spots), block=_BLOCK, on_block=on_block)
        return max(met, default=0.0)

    def violation(self, X: NDArray[np.float64], on_block: Callable[[int], None]) -> float:
        """Return the worst violation of the optimality conditions at `X`."""

        def block(start: int, stop: int) -> float:
            return float(_kernels.kkt_violation(start, stop, *self._arrays, X))

        found = self._threads.over_blocks(block, self._n_spots, block=_BLOCK, on_block=on_block)
        return max(found, default=0.0)


def _expected_sweeps(history: list[float], tolerance: float) -> int:
    """Guess the sweeps needed from the mean decay so far: the violation falls about geometrically."""
    done = len(history)
    if not history:
        return 0
    if history[-1] <= tolerance:
        return done
    decay = np.log(history[0] / history[-1]) / max(done - 1, 1)
    if decay <= 0:
        return 2 * done + 1
    return done + int(np.ceil(np.log(history[-1] / tolerance) / decay))
