"""Where penalties that the user left open are chosen.

The shallower the counts of a spot, the more its neighbours can tell about it. The data term's mean precision
(curvature of the log-likelihood per spot and type, in counts) measures how much the spot itself tells: about
100 in bins of two dozen counts, thousands in spots of some thousand counts.
"""

from __future__ import annotations

__all__ = ["prior_smoothness"]

#: At this mean precision `lambda_c` is `_SMOOTHNESS`; both were chosen on the accuracy sets of the benchmark.
_PRECISION, _SMOOTHNESS = 100.0, 0.3
_LARGEST = 10.0


def prior_smoothness(mean_precision: float) -> float:
    """Return ``lambda_c`` for a data term of the given mean precision, in units of that precision.

    It falls with the square of the precision: deep spots of several cells are hardly smoothed, bins smaller
    than a cell are.

    Examples
    --------
    >>> prior_smoothness(100.0), prior_smoothness(10_000.0)
    (0.3, 3e-05)
    """
    if mean_precision <= 0:
        return 0.0
    return min(round(_SMOOTHNESS * (_PRECISION / mean_precision) ** 2, 12), _LARGEST)
