"""Which cell types are near each other: bivariate Moran's I across the edges between spots."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.cluster.hierarchy import average, leaves_list, optimal_leaf_ordering
from scipy.sparse import csr_array

from napari_spotmix.analysis.neighborhood import edges_between, estimated_spots
from napari_spotmix.base.progress import Progress, ProgressCallback, silent

if TYPE_CHECKING:
    from napari_spotmix.result import Result

__all__ = ["BY_CHANCE", "Colocalization", "Moran", "bivariate_moran", "colocalization"]

Array = NDArray[np.float64]
OnBlock = Callable[[int], None]

#: Pairs with an absolute z below this are no more than chance.
BY_CHANCE = 3.0

_BLOCK = 65_536
#: A standard deviation of a proportion below it is rounding.
_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Colocalization:
    """Which cell types are near each other in a result.

    Attributes
    ----------
    observed, expected, deviation : DataFrame of float64, shape (n_cell_types, n_cell_types)
        Bivariate Moran's I of each pair of types, without unit; its mean and its standard deviation if whole
        spots are put in random order. Symmetric; the diagonal of `observed` is Moran's I.
    z : DataFrame of float64, shape (n_cell_types, n_cell_types)
        ``(observed - expected) / deviation``. Below 3 in size (`BY_CHANCE`) it is no more than chance.
    """

    observed: pd.DataFrame
    expected: pd.DataFrame
    deviation: pd.DataFrame
    z: pd.DataFrame

    @property
    def similar_order(self) -> list[str]:
        """The types so that those near each other follow each other; those without an estimate come last.

        The leaves of a hierarchical clustering (average linkage, optimal order of leaves) by ``observed``.
        """
        values = self.observed.to_numpy()
        known = np.flatnonzero(np.isfinite(np.diagonal(values)))
        unknown = [at for at in range(len(values)) if at not in set(known)]
        order = known
        if len(known) > 2:
            apart = -np.nan_to_num(values[np.ix_(known, known)])
            apart -= apart.min()
            upper = apart[np.triu_indices(len(known), k=1)]
            order = known[leaves_list(optimal_leaf_ordering(average(upper), upper))]
        return [str(self.observed.index[at]) for at in (*order, *unknown)]

    @property
    def pairs(self) -> pd.DataFrame:
        """One row for each pair of different types, the clearest first.

        Columns: ``first`` and ``second`` (str, names of the types), ``observed``, ``expected``, ``deviation``
        and ``z`` (float64, as in the attributes).
        """
        rows, columns = np.triu_indices(len(self.z), k=1)
        names = self.z.index.to_numpy()
        values = {
            name: getattr(self, name).to_numpy()[rows, columns]
            for name in ("observed", "expected", "deviation", "z")
        }
        table = pd.DataFrame({"first": names[rows], "second": names[columns], **values})
        order = np.argsort(-np.abs(table["z"].to_numpy()), kind="stable")  # NaN last
        return table.iloc[order].reset_index(drop=True)


def colocalization(result: Result, *, on_progress: ProgressCallback = silent) -> Colocalization:
    r"""Return which cell types are near each other, beyond their mixing inside of spots.

    .. math::

        I_{kl} = \frac{\sum_{ij} w_{ij} z_{ik} z_{jl}}{\sum_{ij} w_{ij}}

    where :math:`z_{ik}` is the proportion of type k in spot i, standardized over the spots, and
    :math:`w_{ij}` is 1 for neighbors and 0 otherwise.

    Parameters
    ----------
    result : Result
        Not modified. Spots that were not estimated are left out with their edges.
    on_progress : callable, optional
        Called several times a second with a `Progress`; it raises `Cancelled` to stop.

    Returns
    -------
    Colocalization
        NaN for a type with the same proportion in all spots, and for a result of fewer than four spots or
        without neighbors.

    Notes
    -----
    Mean and variance are exact under random order of the spots [1]_, for two variables [2]_. Edges have
    weight 1: the weights of the fit hold attention, which is made from the proportions. A fit that draws
    neighbors together makes every type similar to itself nearby: compare pairs of types by z, and do not
    read the diagonal as evidence of structure. Cost: proportional to edges times types squared.

    References
    ----------
    .. [1] Cliff and Ord, Spatial Processes: Models and Applications, 1981.
    .. [2] Czaplewski and Reich, Expected value and variance of Moran's bivariate spatial autocorrelation
       statistic under permutation, USDA Forest Service, 1993.

    Examples
    --------
    >>> from napari_spotmix import colocalization, deconvolve, simulate
    >>> tissue = simulate(n_spots=60, n_genes=120, n_cell_types=4, image=False)
    >>> result = deconvolve(tissue.spatial, tissue.reference, lambda_c=0.1)
    >>> found = colocalization(result)
    >>> found.z.shape, list(found.pairs.columns[:3])
    ((4, 4), ['first', 'second', 'observed'])
    """
    found = bivariate_moran(
        result.proportions.to_numpy(),
        result.edges,
        on_block=lambda _: on_progress(Progress("Comparing neighbors", 0, 1)),
    )
    types = result.cell_types
    return Colocalization(
        *(
            pd.DataFrame(values, index=types, columns=types)
            for values in (found.observed, found.expected, found.deviation, found.z)
        )
    )


@dataclass(frozen=True)
class Moran:
    """Bivariate Moran's I of each pair of types, and what is expected by chance.

    Attributes
    ----------
    observed : ndarray of float64, shape (n_cell_types, n_cell_types)
        Bivariate Moran's I: mean over edges, by their weight, of the product of the standardized proportion
        of one type at one end and of another at the other end. Symmetric; the diagonal is Moran's I.
    expected, deviation : ndarray of float64, shape (n_cell_types, n_cell_types)
        Mean and standard deviation of `observed` if whole spots are put in random order.
    z : ndarray of float64, shape (n_cell_types, n_cell_types)
        ``(observed - expected) / deviation``: positive for types that are near each other more than mixing
        inside of spots explains, negative for types that avoid each other. NaN if `deviation` is 0.
    """

    observed: Array
    expected: Array
    deviation: Array

    @property
    def z(self) -> Array:
        return np.divide(
            self.observed - self.expected,
            self.deviation,
            out=np.full_like(self.observed, np.nan),
            where=self.deviation > 0,
        )


def bivariate_moran(proportions: Array, W: csr_array, on_block: OnBlock = lambda _: None) -> Moran:
    """Compare proportions across edges, by moments that are exact for random order of the spots.

    Parameters
    ----------
    proportions : ndarray of float64, shape (n_spots, n_cell_types)
        Rows of NaN (not estimated) are left out with their edges.
    W : csr_array, shape (n_spots, n_spots)
        Symmetric weights of edges, none from a spot to itself. They must not be made from the proportions,
        as attention is: edges between similar spots would count most, and all types would seem to be near
        themselves.
    on_block : callable, optional
        Called between parts of the work; what it raises stops it.

    Returns
    -------
    Moran
        NaN for a type that is the same in all spots; all NaN for fewer than four spots or without edges.

    Notes
    -----
    The formula and its references are those of `colocalization`. No permutations are drawn.

    Examples
    --------
    >>> first = np.array([1.0, 0.9, 0.1, 0.0])
    >>> path = csr_array(np.eye(4, k=1) + np.eye(4, k=-1))
    >>> found = bivariate_moran(np.column_stack([first, 1 - first]), path)
    >>> np.sign(found.z)
    array([[ 1., -1.],
           [-1.,  1.]])
    """
    known = estimated_spots(proportions)
    on_block(0)
    edges = edges_between(W, known)
    on_block(0)
    n_types, total = proportions.shape[1], float(edges.sum())
    if len(known) < 4 or total <= 0:
        unknown = np.full((n_types, n_types), np.nan)
        return Moran(unknown, unknown, unknown)
    Z = _standardized(proportions[known], on_block)
    observed = _across_edges(edges, Z, on_block) / total
    expected, variance = _moments(edges, Z, on_block)
    return Moran(observed, expected / total, np.sqrt(np.maximum(variance, 0.0)) / total)


def _standardized(values: Array, on_block: OnBlock) -> Array:
    """Return columns of mean 0 and mean square 1; NaN for one that does not vary."""
    on_block(0)
    Z = values - values.mean(axis=0)
    on_block(0)
    deviation = np.sqrt(np.mean(Z**2, axis=0))
    on_block(0)
    return np.asarray(Z / np.where(deviation > _ROUNDING, deviation, np.nan))


def _across_edges(W: csr_array, Z: Array, on_block: OnBlock) -> Array:
    """Return ``Z' W Z``, made symmetric, since rounding differs between its halves."""
    product = np.zeros((Z.shape[1], Z.shape[1]))
    for rows in _blocks(len(Z)):
        product += _products(Z[rows], W[rows] @ Z)
        on_block(rows.stop)
    return (product + product.T) / 2


def _products(A: Array, B: Array) -> Array:
    """Return ``A' B``; not through BLAS, whose sums may depend on its number of threads."""
    return np.asarray(np.einsum("ik,il->kl", A, B))


def _blocks(n_rows: int) -> list[slice]:
    return [slice(start, min(start + _BLOCK, n_rows)) for start in range(0, n_rows, _BLOCK)]


def _moments(W: csr_array, Z: Array, on_block: OnBlock) -> tuple[Array, Array]:
    """Return mean and variance of ``Z' W Z`` over all orders of the rows of Z.

    A product of two edges is one of two spots (the same edge, twice), of three or of four; of each kind
    follow the sum of weights, and the mean of the product over all choices of so many different rows. With
    columns of mean 0 the latter needs only ``r = mean z_k z_l`` and ``q = mean z_k^2 z_l^2``.
    """
    n = float(len(Z))
    r, q = np.zeros((Z.shape[1], Z.shape[1])), np.zeros((Z.shape[1], Z.shape[1]))
    for rows in _blocks(len(Z)):
        r += _products(Z[rows], Z[rows]) / n
        q += _products(Z[rows] ** 2, Z[rows] ** 2) / n
        on_block(rows.stop)
    total, twice = float(W.sum()), float((W.data**2).sum())
    on_block(len(Z))
    degree = W.sum(axis=1)
    thrice = float((degree**2).sum()) - twice
    of_two = (n * (1.0 + r**2) - 2.0 * q) / (n - 1.0)
    of_three = 2.0 * (4.0 * q - n * (1.0 + r**2)) / ((n - 1.0) * (n - 2.0))
    of_four = (n * (1.0 + 2.0 * r**2) - 6.0 * q) / ((n - 1.0) * (n - 2.0) * (n - 3.0))
    mean = -total * r / (n - 1.0)
    square = twice * of_two + thrice * of_three + (total**2 - 2.0 * twice - 4.0 * thrice) * of_four
    return mean, square - mean**2
