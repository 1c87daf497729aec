"""The neighbors of a spot, and the edges between spots that were estimated."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array

from napari_spotmix.base.errors import InputError
from napari_spotmix.base.text import count
from napari_spotmix.model.canonical import spots_along_a_curve

if TYPE_CHECKING:
    from napari_spotmix.result import Result

__all__ = ["edges_between", "estimated_in_order", "estimated_spots", "neighborhood", "neighbors_of"]


def neighborhood(result: Result, spot: int | str) -> pd.DataFrame:
    """Return the neighbors of a spot, the one with the largest weight first.

    Parameters
    ----------
    result : Result
        Not modified.
    spot : int or str
        Position in the tables of the result, from 0, or name of the spot.

    Returns
    -------
    DataFrame, shape (n_neighbors, 4)
        Index ``spot``: the names of the neighbors. Columns:

        ==============  =======  ============================================================
        ``position``    int64    position of the neighbor in the tables of the result
        ``distance``    float64  between the centers, in full-resolution pixels
        ``weight``      float64  ``W = exp(-alpha d^2) Attn`` of the edge, ``d`` in pitches
        ``attention``   float64  ``Attn`` of the edge, 0 to 1
        ==============  =======  ============================================================

        Without rows for a spot that has no neighbors.

    Raises
    ------
    InputError
        If there is no such spot, or several spots have this name.

    Examples
    --------
    >>> from napari_spotmix import deconvolve, neighborhood, simulate
    >>> tissue = simulate(n_spots=60, n_genes=120, n_cell_types=4, image=False)
    >>> result = deconvolve(tissue.spatial, tissue.reference, lambda_c=0.1)
    >>> around = neighborhood(result, 0)
    >>> list(around.columns), bool((around["weight"] <= 1).all())
    (['position', 'distance', 'weight', 'attention'], True)
    """
    at = _position(result.abundances.index, spot)
    neighbors, weights, attention = neighbors_of(result, at)
    coordinates = result.coordinates
    table = pd.DataFrame(
        {
            "position": neighbors.astype(np.int64),
            "distance": np.hypot(*(coordinates[neighbors] - coordinates[at]).T),
            "weight": weights,
            "attention": attention,
        },
        index=pd.Index(result.abundances.index[neighbors], name="spot"),
    )
    return table.sort_values("weight", ascending=False, kind="stable")


def _position(names: pd.Index, spot: Any) -> int:
    """Return the position of a spot that is given by its position or its name."""
    if isinstance(spot, str):
        found = np.flatnonzero(names == spot)
        if len(found) == 1:
            return int(found[0])
        if not len(found):
            raise InputError(
                f"`spot`: {spot!r} is unknown. The names are those of `result.proportions.index`."
            )
        raise InputError(
            f"`spot`: {count(len(found), 'spot')} have the name {spot!r}. Give a position, "
            f"from {found[0]} to {found[-1]}."
        )
    is_whole = isinstance(spot, Integral) and not isinstance(spot, bool)
    if not is_whole or not 0 <= int(spot) < len(names):
        raise InputError(f"`spot` must be a name, or a position from 0 to {len(names) - 1}, found {spot!r}.")
    return int(spot)


def neighbors_of(result: Result, spot: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the positions of a spot's neighbors, the weight W of each edge, and its attention, 0 to 1.

    Cheap enough to be called while the mouse moves; `neighborhood` returns the same as a table.
    """
    neighbors, weights = _row(result.weights, spot)
    attended, values = _row(result.attention, spot)
    attention = pd.Series(values, index=attended).reindex(neighbors, fill_value=0.0)
    return neighbors, weights, attention.to_numpy()


def _row(matrix: Any, row: int) -> tuple[np.ndarray, np.ndarray]:
    span = slice(matrix.indptr[row], matrix.indptr[row + 1])
    return matrix.indices[span], matrix.data[span]


def estimated_spots(proportions: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the positions of the spots that were estimated: rows without NaN."""
    return np.flatnonzero(~np.isnan(proportions).any(axis=1))


def estimated_in_order(result: Result) -> NDArray[np.int64]:
    """Return the positions of the spots that were estimated, in an order that is not that of their rows."""
    known = estimated_spots(result.abundances.to_numpy())
    names = result.abundances.index[known]

    def by_name(tied: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.unique(names[tied].to_numpy(str), return_inverse=True)[1]

    return known[spots_along_a_curve(result.coordinates[known], content=by_name)]


def edges_between(W: csr_array, spots: NDArray[np.int64]) -> csr_array:
    """Return the edges of a graph that join two of these spots, numbered as they are given."""
    return W if np.array_equal(spots, np.arange(W.shape[0])) else csr_array(W[spots][:, spots])
