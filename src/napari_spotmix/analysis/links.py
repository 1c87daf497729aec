"""The neighbors of a spot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from napari_spotmix.result import Result

__all__ = [
    "neighbors_of",
]


def neighbors_of(result: Result, spot: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the neighbors of a spot, the weight W of each edge, and the attention in it, 0 to 1."""
    neighbors, weights = _row(result.weights, spot)
    attended, values = _row(result.attention, spot)
    attention = pd.Series(values, index=attended).reindex(neighbors, fill_value=0.0)
    return neighbors, weights, attention.to_numpy()


def _row(matrix: Any, row: int) -> tuple[np.ndarray, np.ndarray]:
    span = slice(matrix.indptr[row], matrix.indptr[row + 1])
    return matrix.indices[span], matrix.data[span]
