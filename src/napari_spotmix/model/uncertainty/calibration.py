"""From pseudo-spots to errors: how far a share like this one was from the truth.

Two shares are alike if they are as large and the formula gives them the same standard error. The errors of
the pseudo-spots' shares that are most alike give the standard error (root mean square) and the ends of the
90% interval (quantiles), which need not be as far away on both sides. Both are kept as small tables between
which is interpolated.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from napari_spotmix.base.progress import Progress, ProgressCallback
from napari_spotmix.base.threads import Threads

__all__ = ["Z90", "Calibration", "IntervalTable", "Lookup", "calibrate", "proportions"]

Array = NDArray[np.float64]

#: Quantile of the normal distribution that bounds a two-sided interval of 90%.
Z90 = 1.6449
#: Nodes of the tables: square roots of shares, logarithms of errors.
_SHARES, _ERRORS = 33, 17
#: Errors below this are alike.
_LEAST_ERROR = 1e-3
#: What the same distance is in the square root of a share, and in the logarithm of its error.
_UNITS = np.array([2.0, 0.35])
#: Shares that are compared: at most so many, and at most this part of all.
_ALIKE, _PART = 200, 0.1
#: The formula counts as much as so many of them.
_PRIOR = 1.0
#: Ends of the 90% interval.
_ENDS = (0.05, 0.95)
_BLOCK = 4096


@dataclass(frozen=True)
class Lookup:
    """Values between nodes that are evenly spaced in the root of shares and the logarithm of errors.

    Attributes
    ----------
    least, largest : float
        Errors of the first and last node.
    values : ndarray of float64, shape (n_shares, n_errors)

    Examples
    --------
    >>> table = Lookup(0.1, 1.0, np.array([[0.0, 1.0], [2.0, 3.0]]))
    >>> table.at(np.array([0.0, 1.0, 0.25]), np.array([0.1, 1.0, 5.0]))
    array([0., 3., 2.])
    """

    least: float
    largest: float
    values: Array

    def at(self, shares: Array, errors: Array) -> Array:
        """Return the values for shares and their errors, of the same shape."""
        n_shares, n_errors = self.values.shape
        row, down = _place(np.sqrt(shares.clip(0.0, 1.0)), n_shares)
        span = np.log(self.largest / self.least)
        column, right = _place(np.log(errors.clip(self.least, self.largest) / self.least) / span, n_errors)
        upper = (1 - right) * self.values[row, column] + right * self.values[row, column + 1]
        lower = (1 - right) * self.values[row + 1, column] + right * self.values[row + 1, column + 1]
        return np.asarray((1 - down) * upper + down * lower)


def _place(position: Array, n_nodes: int) -> tuple[NDArray[np.int64], Array]:
    """Return the node before each position between 0 and 1, and how far it is from there to the next."""
    at = position * (n_nodes - 1)
    node = np.minimum(at.astype(np.int64), n_nodes - 2)
    return node, at - node


@dataclass(frozen=True)
class IntervalTable:
    """How far the ends of the 90% interval are from a share with a standard error.

    Attributes
    ----------
    below, above : Lookup
        Distances, at least 0.
    """

    below: Lookup
    above: Lookup

    def columns(self) -> dict[str, Array]:
        """Return a column for the shares and errors of the nodes, and one for each distance."""
        root, error = np.meshgrid(np.linspace(0, 1, _SHARES), _errors_at(self.below), indexing="ij")
        return {
            "proportion": root.ravel() ** 2,
            "standard_error": error.ravel(),
            "below": self.below.values.ravel(),
            "above": self.above.values.ravel(),
        }

    def stretched(self, factor: float) -> IntervalTable:
        """Return the table for errors and distances that are `factor` times as large."""
        return IntervalTable(
            *(
                Lookup(factor * table.least, factor * table.largest, factor * table.values)
                for table in (self.below, self.above)
            )
        )

    @classmethod
    def of_columns(cls, standard_error: Any, below: Any, above: Any) -> IntervalTable:
        """Return the table whose columns these are.

        Raises
        ------
        ValueError
            If they are of no such table.
        """
        error, below, above = (
            np.asarray(column, dtype=np.float64) for column in (standard_error, below, above)
        )
        if not len(error) == len(below) == len(above) == _SHARES * _ERRORS:
            raise ValueError(f"expected {_SHARES * _ERRORS} rows, found {len(error)}")
        if not np.isfinite([error, below, above]).all() or not 0 < error.min() < error.max():
            raise ValueError("expected finite numbers, and several standard errors above 0")
        if min(below.min(), above.min()) < 0:
            raise ValueError("expected distances of at least 0")
        least, largest = float(error[0]), float(error[_ERRORS - 1])
        if not least < largest:
            raise ValueError("expected standard errors that increase")
        return cls(*(Lookup(least, largest, _as_table(values)) for values in (below, above)))

    def ends(self, shares: Array, errors: Array) -> tuple[Array, Array]:
        """Return both ends, within 0 to 1, NaN for shares that are NaN."""
        known = np.isfinite(shares) & np.isfinite(errors)
        low, high = np.full_like(shares, np.nan), np.full_like(shares, np.nan)
        share, error = shares[known], errors[known]
        low[known] = (share - self.below.at(share, error)).clip(0.0, 1.0)
        high[known] = (share + self.above.at(share, error)).clip(0.0, 1.0)
        return low, high


@dataclass(frozen=True)
class Calibration:
    """What pseudo-spots say about the errors of shares.

    Attributes
    ----------
    errors : Lookup
        Standard error of a share, by the error that the formula gives.
    intervals : IntervalTable
        By the standard error.
    """

    errors: Lookup
    intervals: IntervalTable

    def standard_errors(
        self,
        abundances: Array,
        content: Array,
        errors: NDArray[np.float32],
        unexplained: float,
        threads: Threads,
        on_progress: ProgressCallback,
    ) -> IntervalTable:
        """Replace the errors of the formula by standard errors, at most 1; return intervals by these.

        Parameters
        ----------
        abundances : ndarray of float64, shape (n_spots, n_cell_types)
        content : ndarray of float64, shape (n_cell_types,)
            By which abundances are divided to get proportions.
        errors : ndarray of float32, shape (n_spots, n_cell_types)
            Of the formula; overwritten, since it may be large.
        unexplained : float
            Part, 0 to 1, of the section's scatter that known shares lack. The formula has it, so the root
            mean square of the standard errors is at least this part of the formula's. All grow alike:
            known shares tell their order better.
        threads : Threads
        on_progress : callable
        """
        squares = np.zeros((len(errors), 2)) if unexplained else None

        def block(start: int, stop: int) -> None:
            some = errors[start:stop]
            shares, given = proportions(abundances[start:stop], content), some.astype(np.float64)
            known = np.isfinite(given)
            some[known] = self.errors.at(shares[known], given[known])
            if squares is not None:
                squares[start:stop, 0] = np.nansum(given**2, axis=1)
                squares[start:stop, 1] = np.nansum(some.astype(np.float64) ** 2, axis=1)

        def report(n_done: int) -> None:
            on_progress(Progress("Calibrating errors", n_done, len(errors)))

        threads.over_blocks(block, len(errors), block=_BLOCK, on_block=report)
        stretch = 1.0
        if squares is not None:
            of_formula, calibrated = np.sqrt(squares.sum(axis=0))
            stretch = max(unexplained * of_formula / calibrated, 1.0) if calibrated else 1.0
        errors *= np.float32(stretch)
        np.minimum(errors, 1.0, out=errors)
        return self.intervals.stretched(stretch)


def proportions(abundances: Array, content: Array) -> Array:
    """Return rows over `content`, divided by their sums; a row of zeros becomes flat."""
    shares = abundances / content
    total = shares.sum(axis=1, keepdims=True)
    flat = np.full_like(shares, 1.0 / shares.shape[1])
    return np.asarray(np.divide(shares, total, out=flat, where=total > 0))


def calibrate(shares: Array, errors: Array, truth: Array) -> Calibration:
    """Learn from shares whose truth is known.

    Parameters
    ----------
    shares, errors, truth : ndarray of float64, shape (n_known,)
        Fitted shares, the standard errors that the formula gives them, and the true shares.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.random(5000)
    >>> shares = (truth + 0.1 * rng.normal(size=5000)).clip(0, 1)
    >>> found = calibrate(shares, np.full(5000, 0.3), truth)
    >>> found.errors.at(np.array([0.5]), np.array([0.3])).round(1)
    array([0.1])
    """
    deviation = truth - shares
    given = _nodes(errors)
    alike = _most_alike(shares, errors, given)
    squares = (deviation**2)[alike].sum(axis=1) + _PRIOR * np.tile(_errors_at(given) ** 2, _SHARES)
    by_formula = replace(given, values=_as_table(np.sqrt(squares / (alike.shape[1] + _PRIOR))))
    # Intervals belong to the standard error that a user sees.
    final = by_formula.at(shares, errors)
    of_final = _nodes(final)
    low, high = np.quantile(deviation[_most_alike(shares, final, of_final)], _ENDS, axis=1)
    below, above = (replace(of_final, values=_as_table(values).clip(0.0)) for values in (-low, high))
    return Calibration(by_formula, IntervalTable(below, above))


def _nodes(errors: Array) -> Lookup:
    """Return an empty table that reaches from the least to the largest error."""
    least = max(float(errors.min(initial=1.0)), _LEAST_ERROR)
    largest = max(float(errors.max(initial=0.0)), 1.01 * least)
    return Lookup(least, largest, np.zeros((_SHARES, _ERRORS)))


def _errors_at(table: Lookup) -> Array:
    return np.geomspace(table.least, table.largest, _ERRORS)


def _as_table(values: Array) -> Array:
    return values.reshape(_SHARES, _ERRORS)


def _most_alike(shares: Array, errors: Array, nodes: Lookup) -> NDArray[np.int64]:
    """Return which known shares are most like each node, int64 (n_nodes, n_alike)."""
    known = np.column_stack([np.sqrt(shares.clip(0, 1)), np.log(errors.clip(_LEAST_ERROR))]) * _UNITS
    grid = np.meshgrid(np.linspace(0, 1, _SHARES), np.log(_errors_at(nodes)), indexing="ij")
    n_alike = int(np.clip(_PART * len(shares), 1, _ALIKE))
    found = KDTree(known).query(np.stack(grid, axis=-1).reshape(-1, 2) * _UNITS, k=n_alike)[1]
    return np.asarray(found).reshape(_SHARES * _ERRORS, n_alike)
