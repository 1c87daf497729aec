"""Niches: groups of spots with similar neighborhoods."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array

from napari_spotmix.analysis.neighborhood import edges_between, estimated_in_order, estimated_spots
from napari_spotmix.base.errors import InputError
from napari_spotmix.base.progress import Progress, ProgressCallback, silent
from napari_spotmix.base.threads import Threads
from napari_spotmix.model.attention import embed
from napari_spotmix.model.clustering import cluster_points, group_means
from napari_spotmix.params import MOST_NICHES, N_NICHES, Parameters, describe

if TYPE_CHECKING:
    from napari_spotmix.result import Result

__all__ = ["Grouping", "Niches", "find_niches", "group_spots", "stored_niches"]

Array = NDArray[np.float64]
OnBlock = Callable[[int], None]

#: Rounds of k-means from other centers, of which the tightest is kept.
_STARTS = 4


@dataclass(frozen=True, eq=False)
class Niches:
    """Spots in groups of similar neighborhoods, the largest first.

    Attributes
    ----------
    labels : Series of categories, shape (n_spots,)
        Niche of each spot, "1", "2", and so on; NaN for spots that were not estimated. The index is that of
        the proportions.
    composition : DataFrame of float64, shape (n_niches, n_cell_types)
        Mean proportions of the spots of each niche, 0 to 1; rows sum to 1.
    """

    labels: pd.Series
    composition: pd.DataFrame

    @cached_property
    def codes(self) -> NDArray[np.int64]:
        """Number of each spot's niche from 0, -1 for spots that were not estimated."""
        return np.asarray(self.labels.cat.codes, np.int64)

    @property
    def names(self) -> list[str]:
        """Names of the niches, in the order of their codes."""
        return [str(name) for name in self.composition.index]

    @property
    def n_spots(self) -> pd.Series:
        """Number of spots in each niche, int64, shape (n_niches,)."""
        return pd.Series(
            np.bincount(self.codes[self.codes >= 0], minlength=len(self.composition)),
            index=self.composition.index,
            name="n_spots",
        )


def find_niches(
    result: Result,
    n_niches: int = N_NICHES,
    *,
    random_state: int | None = None,
    n_threads: int = Parameters.n_threads,
    on_progress: ProgressCallback = silent,
) -> Niches:
    r"""Group spots by which cell types are in and around them.

    Each spot i is described by

    .. math::

        z_i = \sqrt{ \frac12 \Bigl( p_i + \frac{1}{|N(i)|} \sum_{j \in N(i)} p_j \Bigr) }

    with its proportions :math:`p_i` (the root is taken of each) and its neighbors :math:`N(i)`. Groups are
    those of k-means on :math:`z`.

    Parameters
    ----------
    result : Result
        Not modified. Spots that were not estimated are in no niche.
    n_niches : int, optional
        At most this many, 2 to 20; fewer if no more neighborhoods differ.
    random_state : int, optional
        Seed; that of the result if not given.
    n_threads : int, optional
        0 uses every core. The niches do not depend on it.
    on_progress : callable, optional
        Called several times a second with a `Progress`; it raises `Cancelled` to stop.

    Returns
    -------
    Niches
        Labels of the spots, and a table of compositions.

    Raises
    ------
    InputError
        If an argument is out of bounds or no spot was estimated; lists all problems.

    Notes
    -----
    Distances between square roots of proportions are Hellinger distances. Of four starts the tightest
    grouping is taken. Compositions change gradually in a tissue, and criteria for the number of groups do
    not settle then: choose it by what the map shows. Cost: proportional to spots times niches times types.

    References
    ----------
    .. [1] Rao, A review of canonical coordinates and an alternative to correspondence analysis using
       Hellinger distance, Questiio 19, 1995.

    Examples
    --------
    >>> from napari_spotmix import deconvolve, find_niches, simulate
    >>> tissue = simulate(n_spots=60, n_genes=120, n_cell_types=4, image=False)
    >>> result = deconvolve(tissue.spatial, tissue.reference, lambda_c=0.1)
    >>> niches = find_niches(result, 3)
    >>> niches.composition.shape, int(niches.n_spots.sum())
    ((3, 4), 60)
    """
    given = result.parameters.get("given", {}).get("random_state", Parameters.random_state)
    seed = given if random_state is None else random_state
    values = result.proportions.to_numpy()
    if problems := _problems(values, n_niches, seed, n_threads):
        raise InputError(problems)
    with Threads.of(n_threads) as threads:
        found = group_spots(
            values,
            result.edges,
            int(n_niches),
            random_state=int(seed),
            threads=threads,
            order=estimated_in_order(result),
            on_block=lambda _: on_progress(Progress("Finding niches", 0, 1)),
        )
    names = pd.Index([str(number) for number in range(1, len(found.composition) + 1)], name="niche")
    labels = pd.Categorical.from_codes(found.label, categories=names)
    return Niches(
        pd.Series(labels, index=result.abundances.index, name="niche"),
        pd.DataFrame(found.composition, index=names, columns=result.cell_types),
    )


def _problems(values: Array, n_niches: Any, seed: int, n_threads: int) -> list[str]:
    """Return all that is wrong with the arguments of `find_niches`."""
    problems = []
    is_whole = isinstance(n_niches, Integral) and not isinstance(n_niches, bool)
    if not is_whole or not 2 <= n_niches <= MOST_NICHES:
        problems.append(f"`n_niches` must be a whole number from 2 to {MOST_NICHES}, found {n_niches!r}.")
    given = {"random_state": seed, "n_threads": n_threads}
    problems += [
        wrong for info in describe() if info.name in given and (wrong := info.problem(given[info.name]))
    ]
    if not len(estimated_spots(values)):
        problems.append(
            "No spot of the result was estimated, so there are no niches. See `result.reasons` for why."
        )
    return problems


def stored_niches(result: Result) -> Niches | None:
    """Return the niches that are stored with a result (``result.niches``), or None."""
    if result.niches is None:
        return None
    labels = result.niches.astype("category").cat.remove_unused_categories()
    composition = result.proportions.groupby(labels, observed=True).mean()
    return Niches(labels, composition.rename_axis(index="niche"))


@dataclass(frozen=True)
class Grouping:
    """Spots in groups of similar neighborhoods, the largest first.

    Attributes
    ----------
    label : ndarray of int64, shape (n_spots,)
        From 0; -1 for spots that were not estimated.
    composition : ndarray of float64, shape (n_niches, n_cell_types)
        Mean proportions of the spots of each group.
    """

    label: NDArray[np.int64]
    composition: Array


def group_spots(
    proportions: Array,
    W: csr_array,
    n_niches: int = N_NICHES,
    *,
    random_state: int,
    threads: Threads,
    order: NDArray[np.int64] | None = None,
    on_block: OnBlock = lambda _: None,
) -> Grouping:
    """Group spots by what is in and around them.

    Parameters
    ----------
    proportions : ndarray of float64, shape (n_spots, n_cell_types)
        Rows of NaN (not estimated) are left out.
    W : csr_array, shape (n_spots, n_spots)
        Symmetric weights of edges.
    n_niches : int, optional
        At most this many; fewer if no more differ.
    random_state : int
    threads : Threads
        The result does not depend on how many.
    order : ndarray of int64, shape (n_estimated,), optional
        Spots that were estimated, in the order in which starts are drawn from them; that of their rows if
        not given.
    on_block : callable, optional
        Called between blocks of spots; what it raises stops the work.

    Returns
    -------
    Grouping

    Notes
    -----
    The method is described in `find_niches`.

    Examples
    --------
    >>> proportions = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    >>> path = csr_array(np.diag([1.0, 1.0, 0.0, 1.0], 1) + np.diag([1.0, 1.0, 0.0, 1.0], -1))
    >>> group_spots(proportions, path, 2, random_state=0, threads=Threads(1)).label
    array([0, 0, 0, 1, 1])
    """
    known = estimated_spots(proportions) if order is None else order
    label = np.full(len(proportions), -1)
    if not len(known):
        return Grouping(label, np.empty((0, proportions.shape[1])))
    estimated = proportions[known]
    around = embed(estimated, edges_between(W, known), threads, on_block)
    found = min(
        (
            cluster_points(around, n_niches, random_state=seed, threads=threads, on_block=on_block)
            for seed in np.random.default_rng(random_state).integers(2**32, size=_STARTS).tolist()
        ),
        key=lambda clustered: float(clustered[1].sum()),
    )[0]
    label[known] = _largest_first(found)
    return Grouping(label, group_means(estimated, label[known], int(found.max()) + 1))


def _largest_first(label: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number groups by their size; of two of the same size, the one with the first spot comes first."""
    _, first, size = np.unique(label, return_index=True, return_counts=True)
    rank = np.empty(len(size), np.int64)
    rank[np.lexsort((first, -size))] = np.arange(len(size))
    return rank[label]
