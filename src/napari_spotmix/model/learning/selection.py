"""Choosing the parameters that are not given, by how well held-out genes are predicted.

Three candidates, from simple to rich: no smoothing, smoothing by distance alone (the Laplacian), and
smoothing by distance and similarity (attention). Each one's open parameters are fitted to the held-out genes
with the exact gradient; chosen is the simplest candidate within one standard error of the best.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_array

from napari_spotmix.model.canonical import visits
from napari_spotmix.model.learning.heldout import HeldOutGenes, Smoothing

__all__ = [
    "START",
    "Candidate",
    "Choice",
    "choose_smoothing",
    "contiguous_patches",
    "prior_smoothness",
    "standard_error",
]

Array = NDArray[np.float64]

#: The start of learning.
START = Smoothing(smoothness=50.0, alpha=0.3, sharpness=4.0)
#: What is learned stays within these bounds; stronger coupling makes no difference that matters.
_BOUNDS = {
    "smoothness": (0.1, 1e3),
    "alpha": (0.01, 3.0),
    "sharpness": (0.1, 1e3),
    "ridge": (1e-2, 10.0),
    "spread": (1.01, 10.0),
    "metric": (0.05, 20.0),
}
#: An attention is searched from the best of these multiples of the smoothness, and these sharpnesses.
_STARTS, _SHARPNESSES = (1, 5, 25), (8.0, 64.0)
#: The starts of the searches for a ridge and for two heads.
_RIDGE, _SPREAD = 1.0, 2.0
_MOST_STEPS = 8
#: A search ends when a step gains less than this, in nats per spot.
_SMALLEST_GAIN = 1e-2
#: Factor by which the smoothness is lowered in search of the least that is as good.
_STEP_DOWN = 2.0

#: At this mean precision the first fit has this `lambda_c`; deeper spots are smoothed less.
_PRECISION, _SMOOTHNESS, _LARGEST = 100.0, 0.3, 10.0


@dataclass(frozen=True)
class Candidate:
    """One way to smooth, with its best parameters.

    Attributes
    ----------
    name : str
        "none", "ridge", "laplacian", "attention", "attention, second look" or "attention, two heads".
    path : tuple of Smoothing
        To be used one after the other: attention compares what the smoothing before it has found.
    loss : float
        Minus the log-likelihood of held-out genes per spot, in nats; smaller is better.
    gain, error : float
        How much smaller than that of the first candidate, and the standard error of the difference.
    """

    name: str
    path: tuple[Smoothing, ...]
    loss: float
    gain: float
    error: float

    @property
    def smoothing(self) -> Smoothing:
        """The last of the path."""
        return self.path[-1]


@dataclass(frozen=True)
class Choice:
    """The candidate that was chosen, all that were tried, and why, in a sentence."""

    chosen: Candidate
    candidates: tuple[Candidate, ...]
    reason: str


def prior_smoothness(mean_precision: float) -> float:
    """Return ``lambda_c`` for a first fit to a data term of the given mean precision, in units of it.

    The shallower the counts of a spot, the more its neighbors add to them.

    Examples
    --------
    >>> prior_smoothness(100.0), prior_smoothness(10_000.0)
    (0.3, 3e-05)
    """
    if mean_precision <= 0:
        return 0.0
    return min(round(_SMOOTHNESS * (_PRECISION / mean_precision) ** 2, 12), _LARGEST)


def choose_smoothing(
    genes: HeldOutGenes,
    *,
    smoothness: float | None,
    alpha: float | None,
    sharpness: float | None,
    ridge: float | None,
    with_attention: bool,
    on_step: Callable[[str], None] = lambda _: None,
) -> Choice:
    """Learn the parameters that are None, and choose among the candidates that the others leave.

    Parameters
    ----------
    genes : HeldOutGenes
    smoothness, alpha, sharpness, ridge : float or None
        A value is kept as it is; a given smoothness rules out "none", one of 0 all but "none" and "ridge".
    with_attention : bool
        Whether "attention" is a candidate.
    on_step : callable, optional
        Called with the candidate's name before each evaluation.
    """
    given = {"smoothness": smoothness, "alpha": alpha, "sharpness": sharpness, "ridge": ridge}
    search = _Search(genes, given, on_step)
    if not smoothness:
        search.without_smoothing()
    if smoothness != 0:
        search.with_smoothing(with_attention)
    if smoothness and ridge is None:
        search.by_ridge()
    candidates = tuple(_judged(*one, reference=search.tried[0][2]) for one in search.tried)
    return Choice(candidates[search.simplest], candidates, _reason(candidates, search.simplest, smoothness))


class _Search:
    """Candidates one after the other, each starting at the end of the simpler one."""

    def __init__(
        self, genes: HeldOutGenes, given: dict[str, float | None], on_step: Callable[[str], None]
    ) -> None:
        self._genes, self._given, self._on_step = genes, given, on_step
        known: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        self._last = replace(START, **known | {"sharpness": 0.0})
        self._path: tuple[Smoothing, ...] = ()
        self.tried: list[tuple[str, tuple[Smoothing, ...], Array]] = []

    @property
    def simplest(self) -> int:
        """Number of the simplest candidate within one standard error of the best."""
        return _simplest_near_best([losses for _, _, losses in self.tried])

    @property
    def is_last_best(self) -> bool:
        return self.simplest == len(self.tried) - 1

    def without_smoothing(self) -> None:
        nothing = replace(self._last, smoothness=0.0)
        self.tried.append(("none", (nothing,), self._genes.losses(nothing)))
        if self._given["ridge"] is None:
            self._add("ridge", replace(nothing, ridge=_RIDGE), ["ridge"], mildest="ridge")
            # A ridge that predicts better by itself stays in what follows.
            ridge = self._last.ridge if self.is_last_best else 0.0
            self._last, self._path = replace(self._last, smoothness=START.smoothness, ridge=ridge), ()

    def with_smoothing(self, with_attention: bool) -> None:
        sharpness = self._given["sharpness"]
        if not with_attention or sharpness in (None, 0.0):
            self.by_distance()
        if with_attention and sharpness != 0.0:
            self.by_similarity("attention")
            if self.is_last_best:
                self.by_similarity("attention, second look")
            if self.tried[self.simplest][1][-1].sharpness > 0 and sharpness is None:
                self.by_heads("attention, two heads")

    def by_distance(self) -> None:
        self._add("laplacian", self._last, self._open("smoothness", "alpha"))

    def by_similarity(self, name: str) -> None:
        """Let attention compare what the last candidate found."""
        before = self._path[-1] if self._path else self._last
        self._path = self._path or (before,)
        self._genes.update_attention(before)
        open_ = self._open("smoothness", "alpha", "sharpness")
        tick = partial(self._on_step, name)
        given = self._given["sharpness"]
        start = replace(before, sharpness=before.sharpness if given is None else given)
        if before.sharpness == 0:
            start = _best_start(self._genes, start, open_, tick)
        self._add(name, start, open_)

    def by_heads(self, name: str) -> None:
        """Let two heads and a metric of cell types take the place of the best attention so far."""
        best = self._go_back_to_best()
        metric = (1.0,) * self._genes.n_cell_types
        start = replace(best, spread=_SPREAD, metric=metric)
        self._add(name, start, [*self._open("smoothness"), "sharpness", "spread", "metric"])

    def by_ridge(self) -> None:
        """Add a ridge to the best so far, if the smoothness was given."""
        self._add("ridge", replace(self._go_back_to_best(), ridge=_RIDGE), ["ridge"], mildest="ridge")

    def _go_back_to_best(self) -> Smoothing:
        """Return the last smoothing of the best so far; attention compares what it compared then."""
        path = self.tried[self.simplest][1]
        if path is not self._path and len(path) > 1:
            self._genes.update_attention(path[-2])
        self._path = path[:-1]
        return path[-1]

    def _open(self, *names: str) -> list[str]:
        return [name for name in names if self._given[name] is None]

    def _add(self, name: str, start: Smoothing, free: list[str], mildest: str = "smoothness") -> None:
        """Fit the parameters named in `free`; of what beats all before, take the mildest that is as good."""
        before, tick = self._path, partial(self._on_step, name)
        self._last = _fitted(self._genes, start, free, tick)
        self._path = (*before, self._last)
        self.tried.append((name, self._path, self._genes.losses(self._last)))
        if mildest in free and self.is_last_best:
            self._last, losses = _mildest(self._genes, self._last, self.tried[-1][2], mildest, tick)
            self._path = (*before, self._last)
            self.tried[-1] = (name, self._path, losses)


def _best_start(genes: HeldOutGenes, base: Smoothing, free: list[str], tick: Callable[[], None]) -> Smoothing:
    """Return the best of a few ways to begin: a search from one may stick where edges are all weak."""
    is_open = {name: name in free for name in ("smoothness", "sharpness")}
    smoothnesses = [base.smoothness * factor for factor in (_STARTS if is_open["smoothness"] else (1,))]
    sharpnesses = _SHARPNESSES if is_open["sharpness"] else (base.sharpness,)
    starts = [replace(base, smoothness=s, sharpness=b) for s in smoothnesses for b in sharpnesses]
    losses = []
    for start in starts:
        tick()
        losses.append(genes.few_losses(start).mean())
    return starts[int(np.argmin(losses))]


def _mildest(
    genes: HeldOutGenes, best: Smoothing, losses: Array, name: str, tick: Callable[[], None]
) -> tuple[Smoothing, Array]:
    """Return the smoothing with the parameter `name` as low as one standard error from the best allows."""
    mildest, its_losses = best, losses
    while (value := getattr(mildest, name) / _STEP_DOWN) >= _BOUNDS[name][0]:
        tick()
        milder = replace(mildest, **{name: value})
        found = genes.losses(milder)
        worse_by = found - losses
        if worse_by.mean() > standard_error(worse_by):
            break
        mildest, its_losses = milder, found
    return mildest, its_losses


def _fitted(genes: HeldOutGenes, base: Smoothing, free: list[str], tick: Callable[[], None]) -> Smoothing:
    """Return `base` with the parameters named in `free` at a minimum of the loss."""
    if not free:
        return base
    start = {name: np.log(np.atleast_1d(getattr(base, name))) for name in free}
    ends = np.cumsum([len(values) for values in start.values()])
    low, high = np.concatenate(
        [np.tile(np.log(_BOUNDS[name]), (len(values), 1)) for name, values in start.items()]
    ).T

    def at(logs: Array) -> Smoothing:
        values = dict(zip(free, np.split(np.exp(logs), ends[:-1]), strict=True))
        plain: dict[str, Any] = {name: _plain(name, value) for name, value in values.items()}
        return replace(base, **plain)

    # On logarithms, so that steps are by factors and parameters stay positive.
    def loss(logs: Array) -> tuple[float, Array]:
        tick()
        smoothing = at(logs)
        value, gradient = genes.loss_and_gradient(smoothing)
        slope = np.concatenate([gradient[name] * np.atleast_1d(getattr(smoothing, name)) for name in free])
        penalty, its_slope = _prior(smoothing, free)
        return value + penalty / genes.n_spots, slope + its_slope / genes.n_spots

    begin = np.clip(np.concatenate(list(start.values())), low, high)
    return at(_descend(loss, begin, low, high))


def _descend(loss: Callable[[Array], tuple[float, Array]], start: Array, low: Array, high: Array) -> Array:
    """Return a minimum between bounds, by steps that begin with about one unit of `start`."""
    first, slope = loss(start)
    scale = 1.0 / max(float(np.linalg.norm(slope)), _SMALLEST_GAIN)

    # Relative to the loss at the start: the search ends by differences, which are small relative to the loss.
    def scaled(x: Array) -> tuple[float, Array]:
        value, gradient = (first, slope) if np.array_equal(x, start) else loss(x)
        return (value - first) * scale, gradient * scale

    found = minimize(
        scaled,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=list(zip(low, high, strict=True)),
        options={"maxiter": _MOST_STEPS, "ftol": min(_SMALLEST_GAIN * scale, 0.1)},
    )
    return np.asarray(found.x)


def _plain(name: str, value: Array) -> float | tuple[float, ...]:
    return tuple(value.tolist()) if name == "metric" else float(value[0])


def _prior(smoothing: Smoothing, free: list[str]) -> tuple[float, Array]:
    """Return minus the log of a standard normal prior on the metric's logarithms, and its derivative."""
    logs = [np.log(np.atleast_1d(getattr(smoothing, name))) * (name == "metric") for name in free]
    both = np.concatenate(logs)
    return float(both @ both) / 2, both


def _judged(name: str, path: tuple[Smoothing, ...], losses: Array, *, reference: Array) -> Candidate:
    gain = reference - losses
    return Candidate(name, path, float(losses.mean()), float(gain.mean()), standard_error(gain))


def standard_error(values: Array) -> float:
    """Return the standard error of the mean over folds and spots, both of which are samples.

    Parameters
    ----------
    values : ndarray of float64, shape (n_partitions, n_folds, n_spots)
        Splitting the same genes again does not make more of them: folds count as those of one partition.
    """
    n_folds, n_spots = values.shape[1:]
    of_folds, of_spots = values.mean(axis=2), values.mean(axis=(0, 1))
    variance = float(of_folds.var(axis=1, ddof=1).mean()) / n_folds if n_folds > 1 else 0.0
    if n_spots > 1:
        variance += float(of_spots.var(ddof=1)) / n_spots
    return float(np.sqrt(variance))


def _simplest_near_best(losses: list[Array]) -> int:
    best = int(np.argmin([values.mean() for values in losses]))
    for index in range(best):
        worse_by = losses[index] - losses[best]
        if worse_by.mean() <= standard_error(worse_by):
            return index
    return best


def _reason(candidates: tuple[Candidate, ...], chosen: int, smoothness: float | None) -> str:
    best = candidates[chosen].smoothing
    if smoothness == 0:
        return _RIDGE_HELPED if best.ridge > 0 else _RIDGE_DID_NOT_HELP
    about = _about_neighbors(candidates, best)
    return f"{about} {_RIDGE_HELPED}" if best.ridge > 0 else about


_RIDGE_HELPED = "A ridge penalty helped to predict held-out genes: abundances are shrunk toward zero."
_RIDGE_DID_NOT_HELP = "No ridge penalty is used: it did not clearly help to predict held-out genes."


def _about_neighbors(candidates: tuple[Candidate, ...], best: Smoothing) -> str:
    if len(candidates) == 1:
        return "The smoothing parameters left empty were learned: these values predicted held-out genes best."
    if best.smoothness == 0:
        return "Smoothing was switched off: neighboring spots did not clearly help to predict held-out genes."
    if best.sharpness > 0:
        return "Neighbors are weighted by distance and similarity: this predicted held-out genes best."
    if any(candidate.smoothing.sharpness > 0 for candidate in candidates):
        return (
            "Neighbors are weighted by distance alone: attention did not clearly help to predict "
            "held-out genes."
        )
    return "Neighbors are weighted by distance alone."


def contiguous_patches(
    edges: csr_array, n_spots: int, patch_size: int, offset: float = 0.0
) -> NDArray[np.int64]:
    """Return about `n_spots` spots in contiguous patches, sorted; all spots if there are no more.

    The first patch grows from the spot at the part `offset` of all, between 0 and 1.

    Many small patches, spread evenly, represent the tissue better than a few large ones, and inside a
    patch every spot has its neighbors.

    Examples
    --------
    >>> ring = csr_array(np.roll(np.eye(8), 1, axis=1) + np.roll(np.eye(8), -1, axis=1))
    >>> len(contiguous_patches(ring, 6, 3))
    6
    """
    if edges.shape[0] <= n_spots:
        return np.arange(edges.shape[0])
    taken = np.zeros(edges.shape[0], bool)
    seeds = visits(edges.shape[0], offset)
    while (n_left := n_spots - int(taken.sum())) > 0:
        if not taken[seed := next(seeds)]:
            _grow(edges, seed, min(patch_size, n_left), taken)
    return np.flatnonzero(taken)


def _grow(edges: csr_array, seed: int, size: int, taken: NDArray[np.bool_]) -> None:
    """Mark up to `size` spots around `seed` that are not yet taken, nearest in steps first."""
    front = [seed]
    taken[seed] = True
    for spot in front:
        for neighbor in edges.indices[edges.indptr[spot] : edges.indptr[spot + 1]]:
            if len(front) >= size:
                return
            if not taken[neighbor]:
                taken[neighbor] = True
                front.append(int(neighbor))
