"""The values of edges that the attention graph shows: used by the run, or learned but not used."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from napari_spotmix.result import Result

__all__ = [
    "MOST_EDGES",
    "EdgeMap",
    "about_edges",
    "edge_limits",
    "edge_values",
    "offered_edges",
    "scale_words",
]

#: More edges than these, counted both ways, would be a carpet that takes seconds to draw.
MOST_EDGES = 400_000
#: The colors of unused attention span these quantiles: most of it is similar.
_USUAL = (0.02, 0.98)
_CHOSEN = {"none": "without smoothing", "ridge": "without smoothing", "laplacian": "by distance alone"}
_ASK = "To learn it, run again with Attention on and Smoothness and Attention sharpness left empty."


class EdgeMap(Enum):
    """The values of edges; each with its name on the screen."""

    ATTENTION = "Attention"
    UNUSED = "Attention, learned but not used"
    WEIGHTS = "Weights used"


def offered_edges(result: Result) -> tuple[EdgeMap, ...]:
    """Return the values that a result has, first those that say most about borders."""
    if result.uses_attention:
        return EdgeMap.ATTENTION, EdgeMap.WEIGHTS
    return (EdgeMap.WEIGHTS,) if result.tried_attention is None else (EdgeMap.UNUSED, EdgeMap.WEIGHTS)


def edge_values(result: Result, edges: EdgeMap) -> csr_array:
    """Return the value of each edge, symmetric, (n_spots, n_spots)."""
    unused = result.unused_attention if edges is EdgeMap.UNUSED else None
    return result.weights if edges is EdgeMap.WEIGHTS else result.attention if unused is None else unused


def edge_limits(result: Result, edges: EdgeMap) -> tuple[float, float]:
    """Return the values at the ends of the colors.

    Attention in use spans 0 to 1, weights 0 to their largest. Unused attention is mostly similar: its colors
    are stretched over the usual values.
    """
    if edges is EdgeMap.ATTENTION:
        return 0.0, 1.0
    values = edge_values(result, edges).data
    low, high = np.quantile(values, _USUAL) if edges is EdgeMap.UNUSED else (0.0, values.max())
    return (float(low), float(high)) if high > low else (0.0, 1.0)


def scale_words(limits: tuple[float, float]) -> list[str]:
    """Return five values from the upper limit to the lower, with as many digits as distinguish them.

    Examples
    --------
    >>> scale_words((0.0, 1.0)), scale_words((0.9975, 0.9999))[::2]
    (['1', '0.75', '0.5', '0.25', '0'], ['0.9999', '0.9987', '0.9975'])
    """
    low, high = limits
    digits = 1 + max(0, int(np.ceil(-np.log10((high - low) / 4))))
    return [f"{round(value, digits):.10g}" for value in np.linspace(high, low, 5)]


def about_edges(result: Result, edges: EdgeMap) -> str:
    """Say what the colors show, and why attention was not used if it was not."""
    if result.uses_attention:
        return "Neighbors are weighted by distance and similarity: dark edges are borders."
    tried = result.tried_attention
    if tried is None:
        return f"Attention was not learned in this run. {_ASK}"
    seen = "Dark edges connect dissimilar spots; colors are stretched. " if edges is EdgeMap.UNUSED else ""
    return f"{seen}Attention was learned but not used: with it, {_verdict(result, tried.loss)}"


def _verdict(result: Result, loss: float) -> str:
    """Compare the score of unused attention with that of what was chosen."""
    evidence = result.provenance.learned.evidence
    better_by = evidence.candidates[evidence.chosen].loss - loss
    other = _CHOSEN.get(evidence.chosen, evidence.chosen)
    held_out = "held-out genes were predicted"
    if better_by > 0:
        return (
            f"{held_out} only {better_by:.2g} nats per spot better than {other}, which is within the error."
        )
    return f"{held_out} {-better_by:.2g} nats per spot worse than {other}."
