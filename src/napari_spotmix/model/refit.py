"""Solving again from what a fit has stored: another smoothness, or fewer cell types, without the counts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from napari_spotmix.base.progress import ProgressCallback, silent
from napari_spotmix.base.threads import Threads
from napari_spotmix.model.solver.solve import Solution, solve
from napari_spotmix.model.sufficient_statistics import Statistics

__all__ = ["RefitProblem"]


@dataclass(frozen=True, eq=False)
class RefitProblem:
    """A solved problem, ready to be solved again nearby.

    Attributes
    ----------
    statistics : Statistics
    weights : csr_array of float64, shape (n_spots, n_spots)
        ``W``.
    lambda_r, lambda_c : float
        Penalties, in the units of the statistics.
    abundances : ndarray of float64, shape (n_spots, n_cell_types)
        Its minimizer, where the next solve starts.
    spots : ndarray of int64, shape (n_spots,)
        Which of the spots that were given each one is.
    """

    statistics: Statistics
    weights: csr_array
    lambda_r: float
    lambda_c: float
    abundances: NDArray[np.float64]
    spots: NDArray[np.int64]

    def only(self, cell_types: NDArray[np.int64]) -> RefitProblem:
        """Return the problem with only the cell types of these numbers; the others are held at zero."""
        statistics = self.statistics
        return replace(
            self,
            statistics=replace(
                statistics,
                gram=np.ascontiguousarray(statistics.gram[:, cell_types][:, :, cell_types]),
                projection=np.ascontiguousarray(statistics.projection[:, cell_types]),
            ),
            abundances=np.ascontiguousarray(self.abundances[:, cell_types]),
        )

    def solved(
        self,
        *,
        tolerance: float,
        max_sweeps: int,
        threads: Threads,
        on_progress: ProgressCallback = silent,
    ) -> tuple[RefitProblem, Solution]:
        """Return the problem with its minimizer, and how that was reached.

        Examples
        --------
        >>> statistics = Statistics(
        ...     np.eye(2)[None], np.zeros(2, int), np.ones(2), np.array([[1.0, 0.0], [0.0, 1.0]])
        ... )
        >>> W = csr_array([[0.0, 1.0], [1.0, 0.0]])
        >>> separate = RefitProblem(statistics, W, 0.0, 0.0, np.zeros((2, 2)), np.arange(2))
        >>> with Threads.of(1) as threads:
        ...     smooth, _ = replace(separate, lambda_c=1.0).solved(
        ...         tolerance=1e-9, max_sweeps=99, threads=threads
        ...     )
        >>> smooth.abundances.round(6)
        array([[0.666667, 0.333333],
               [0.333333, 0.666667]])
        """
        solution = solve(
            self.statistics,
            self.weights,
            lambda_r=self.lambda_r,
            lambda_c=self.lambda_c,
            start=self.abundances,
            tolerance=tolerance,
            max_sweeps=max_sweeps,
            threads=threads,
            on_progress=on_progress,
        )
        return replace(self, abundances=solution.abundances), solution
