"""Mean composition of regions, and whether two regions differ, with spatial correlation taken into account.

Neighboring spots are similar, so n of them carry less information than n independent ones: taken as
independent, the mean of a region looks far too certain. Here the proportions of a type are a level for each
region plus a Gaussian field. A share of its variance is each spot's own (the nugget); the rest is correlated
over some range, roughly or smoothly. The restricted likelihood of each of a set of such models weighs the
variance that the model gives to a mean. How far this is off by chance, above all since the range is unknown,
is seen in *surrogates*: fields drawn from the likeliest model and judged in the same way. Large regions are
pooled into patches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from napari_spotmix.base.errors import InputError
from napari_spotmix.base.progress import Progress, ProgressCallback, silent
from napari_spotmix.base.threads import Threads
from napari_spotmix.model.clustering import group_means
from napari_spotmix.model.graph import detect_pitch
from napari_spotmix.params import INTERVAL_LEVEL, N_SURROGATES, Parameters

__all__ = ["Comparison", "Composition", "benjamini_hochberg", "compare_means", "holm", "mean_composition"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Spots = NDArray[np.int64]

#: All regions together are pooled into at most this many patches: the cost grows with its cube.
_PATCHES = 256
#: A patch is represented by the coordinates of this many of its spots.
_POSITIONS = 4
#: If a region is sampled, so many patches are side by side.
_NEIGHBORING = 4
#: Ranges from half a pitch to the extent of the regions; shares of the variance that are the spots' own.
_RANGES, _NUGGETS = 9, (0.02, 0.2, 0.5, 0.8)
#: For each range a rough and a smooth one, and one without correlation.
_N_FAMILIES = 2 * _RANGES + 1
_ROUNDING = 1e-12
#: Least variance: a type may be the same in all spots.
_TINY = 1e-30


@dataclass(frozen=True)
class Composition:
    """Mean proportions of a region.

    Attributes
    ----------
    mean, lower, upper : ndarray of float64, shape (n_cell_types,)
        Mean proportion of each type and its 90% confidence interval (`INTERVAL_LEVEL`), cut to 0 to 1; NaN
        for too few spots.
    n_spots : int
        Spots of the region that were estimated.
    """

    mean: Array
    lower: Array
    upper: Array
    n_spots: int


@dataclass(frozen=True)
class Comparison:
    """How the mean proportions of two regions differ.

    Attributes
    ----------
    difference : ndarray of float64, shape (n_cell_types,)
        Mean proportion in the first region minus that in the second.
    p_value : ndarray of float64, shape (n_cell_types,)
        Chance of a difference at least as clear if both regions have the same mean, at least
        ``1 / (n_surrogates + 1)``; NaN for too few spots.
    adjusted : ndarray of float64, shape (n_cell_types,)
        The same, adjusted for the number of types by `benjamini_hochberg`.
    holm : ndarray of float64, shape (n_cell_types,)
        The same, adjusted for the number of types by `holm`.
    """

    difference: Array
    p_value: Array
    adjusted: Array
    holm: Array


def mean_composition(
    proportions: Array,
    inside: Mask,
    coordinates: Array,
    *,
    sample: NDArray[np.integer] | None = None,
    n_surrogates: int = N_SURROGATES,
    random_state: int = Parameters.random_state,
    on_progress: ProgressCallback = silent,
) -> Composition:
    """Return the mean proportion of each type in a region, with its confidence interval.

    Parameters
    ----------
    proportions : ndarray of float64, shape (n_spots, n_cell_types)
        Rows of NaN (not estimated) are left out.
    inside : ndarray of bool, shape (n_spots,)
        Spots of the region.
    coordinates : ndarray of float64, shape (n_spots, 2)
        In any unit.
    sample : ndarray of int, shape (n_spots,), optional
        Spots of different samples are taken as independent.
    n_surrogates : int, optional
        Fields drawn to find how wide the interval must be.
    random_state : int, optional
    on_progress : callable, optional
        What it raises stops the work.

    Returns
    -------
    Composition
        The interval is for the mean over more tissue of this kind, not only over these spots.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> first = np.clip(rng.normal(0.6, 0.05, size=100), 0, 1)
    >>> proportions = np.column_stack([first, 1 - first])
    >>> coordinates = np.argwhere(np.ones((10, 10))).astype(float)
    >>> found = mean_composition(proportions, np.ones(100, bool), coordinates)
    >>> found.n_spots, bool(found.lower[0] < 0.6 < found.upper[0])
    (100, True)
    """
    on_progress(Progress("Pooling spots", 0, _PATCHES))
    spots = _estimated(proportions, inside)
    mean = _mean(proportions, spots)
    patches = _pooled(proportions, [spots], coordinates, sample, on_progress)
    if not patches.enough:
        unknown = np.full(len(mean), np.nan)
        return Composition(mean, unknown, unknown, len(spots))
    with Threads.of(1):
        judged = _Judge(patches, np.array([1.0]), n_surrogates, random_state, on_progress)
        half_width = judged.error * np.quantile(judged.surrogates, INTERVAL_LEVEL, axis=1)
    lower, upper = np.clip([mean - half_width, mean + half_width], 0.0, 1.0)
    return Composition(mean, lower, upper, len(spots))


def compare_means(
    proportions: Array,
    inside_a: Mask,
    inside_b: Mask,
    coordinates: Array,
    *,
    sample: NDArray[np.integer] | None = None,
    n_surrogates: int = N_SURROGATES,
    random_state: int = Parameters.random_state,
    on_progress: ProgressCallback = silent,
) -> Comparison:
    """Test for each type whether its mean proportion differs between two regions.

    Parameters
    ----------
    proportions : ndarray of float64, shape (n_spots, n_cell_types)
        Rows of NaN (not estimated) are left out.
    inside_a, inside_b : ndarray of bool, shape (n_spots,)
        Spots of the regions, which share none.
    coordinates : ndarray of float64, shape (n_spots, 2)
        In any unit.
    sample : ndarray of int, shape (n_spots,), optional
        Spots of different samples are taken as independent.
    n_surrogates : int, optional
        Fields without a difference to compare with.
    random_state : int, optional
    on_progress : callable, optional
        What it raises stops the work.

    Returns
    -------
    Comparison

    Notes
    -----
    A region with many more spots than the other is sampled for the p value, since its mean is known well
    enough. The models have no variance between samples: regions of two samples may differ for no other
    reason than that samples differ.

    Raises
    ------
    InputError
        If the regions share spots.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> coordinates = np.argwhere(np.ones((10, 10))).astype(float)
    >>> left = coordinates[:, 0] < 5
    >>> first = np.where(left, 0.7, 0.4) + rng.normal(0, 0.05, size=100)
    >>> found = compare_means(np.column_stack([first, 1 - first]), left, ~left, coordinates)
    >>> found.difference.round(1), found.p_value
    (array([ 0.3, -0.3]), array([0.001, 0.001]))
    """
    if (inside_a & inside_b).any():
        raise InputError(
            f"The regions overlap: they share {(inside_a & inside_b).sum():,} spots. Draw them apart."
        )
    on_progress(Progress("Pooling spots", 0, _PATCHES))
    regions = [_estimated(proportions, inside) for inside in (inside_a, inside_b)]
    difference = _mean(proportions, regions[0]) - _mean(proportions, regions[1])
    patches = _pooled(proportions, regions, coordinates, sample, on_progress)
    if not patches.enough:
        unknown = np.full(len(difference), np.nan)
        return Comparison(difference, unknown, unknown, unknown)
    with Threads.of(1):
        judged = _Judge(patches, np.array([1.0, -1.0]), n_surrogates, random_state, on_progress)
    # A difference that rounding alone makes of equal means does not count.
    clear = np.maximum(np.abs(judged.contrast) - _ROUNDING, 0.0)[:, None]
    n_clearer = (judged.surrogates * judged.error[:, None] >= clear).sum(axis=1)
    p_value = (1.0 + n_clearer) / (1.0 + n_surrogates)
    return Comparison(difference, p_value, benjamini_hochberg(p_value), holm(p_value))


def _estimated(proportions: Array, inside: Mask) -> Spots:
    return np.flatnonzero(inside & ~np.isnan(proportions).any(axis=1))


def _mean(proportions: Array, spots: Spots) -> Array:
    return proportions[spots].mean(axis=0) if len(spots) else np.full(proportions.shape[1], np.nan)


def holm(p_value: Array) -> Array:
    """Return p values adjusted to bound the chance of any false finding (Holm 1979).

    Examples
    --------
    >>> holm(np.array([0.01, 0.04, 0.03]))
    array([0.03, 0.06, 0.06])
    """
    order = np.argsort(p_value, kind="stable")
    stepped = np.maximum.accumulate(p_value[order] * np.arange(len(p_value), 0, -1))
    adjusted = np.empty_like(p_value)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def benjamini_hochberg(p_value: Array) -> Array:
    """Return p values adjusted to bound the share of false findings (Benjamini and Hochberg 1995).

    Examples
    --------
    >>> benjamini_hochberg(np.array([0.01, 0.04, 0.03]))
    array([0.03, 0.04, 0.04])
    """
    n = len(p_value)
    order = np.argsort(p_value, kind="stable")[::-1]  # the largest first
    adjusted = np.empty_like(p_value)
    adjusted[order] = np.minimum.accumulate(p_value[order] * n / np.arange(n, 0, -1))
    return adjusted


@dataclass(frozen=True)
class _Patches:
    """Regions in patches of about equally many spots each within a region.

    `values` (n_patches, n_cell_types) are means over spots, `size` their number, `region` the patch's
    region of `n_regions`, `positions` (n_patches, _POSITIONS, 2) the coordinates of some of its spots.
    """

    values: Array
    size: Array
    region: NDArray[np.int64]
    sample: NDArray[np.int64]
    positions: Array
    n_regions: int

    @cached_property
    def levels(self) -> Array:
        """One column for each region, 1 in its patches."""
        return np.asarray(self.region[:, None] == np.arange(self.n_regions), dtype=float)

    @property
    def enough(self) -> bool:
        """Whether each region has spots, and enough patches to estimate how they scatter."""
        return bool(self.levels.any(axis=0).all()) and len(self.values) > self.n_regions + 1

    def contrast(self, sides: Array) -> Array:
        """Return the weight of each patch in the sum over regions of their means times `sides`."""
        n_spots = np.bincount(self.region, self.size, self.n_regions)
        return np.asarray(sides[self.region] * self.size / n_spots[self.region])


def _pooled(
    proportions: Array,
    regions: list[Spots],
    coordinates: Array,
    sample: NDArray[np.integer] | None,
    on_progress: ProgressCallback,
) -> _Patches:
    given = np.zeros(len(proportions), np.int64) if sample is None else sample
    section = np.asarray(np.unique(given, return_inverse=True)[1], np.int64)

    def on_step() -> None:
        on_progress(Progress("Pooling spots", len(members), _PATCHES))

    members: list[Spots] = []
    region_of: list[int] = []
    n_most = _PATCHES // len(regions)
    size = max(min(-(-len(spots) // n_most) for spots in regions), 1)
    for r, spots in enumerate(regions):
        for s in np.unique(section[spots]):
            part = spots[section[spots] == s]
            # Rounded up, so that a region that is not sampled has room for all of its spots.
            n_patches = min(-(-n_most * len(part) // len(spots)), len(part))
            patches = list(_patches_of(part, coordinates, n_patches, size, on_step))
            members += patches
            region_of += [r] * len(patches)
    return _gathered(proportions, coordinates, section, members, region_of, len(regions))


def _patches_of(
    spots: Spots, coordinates: Array, n_patches: int, size: int, on_step: Callable[[], None]
) -> Iterator[Spots]:
    """Yield a part of a region in patches of about `size` spots: all of it, or where it has more, a sample.

    Patches of both regions must be about equally large, since the scatter of one is compared with that of
    the other. A sample has a few neighboring patches at each of many positions, to see how similar they are.
    """
    if len(spots) <= n_patches * size:
        yield from _cut(spots, coordinates, n_patches, on_step)
        return
    n_here = min(_NEIGHBORING, n_patches)
    for cell in _cut(spots, coordinates, n_patches // n_here, on_step):
        yield from _cut(_middle(cell, coordinates, n_here * size), coordinates, n_here, on_step)


def _middle(spots: Spots, coordinates: Array, n_spots: int) -> Spots:
    """Return the spots nearest to the middle."""
    if len(spots) <= n_spots:
        return spots
    from_middle = ((coordinates[spots] - np.median(coordinates[spots], axis=0)) ** 2).sum(axis=1)
    return spots[np.sort(np.argsort(from_middle, kind="stable")[:n_spots])]


def _cut(spots: Spots, coordinates: Array, n_patches: int, on_step: Callable[[], None]) -> Iterator[Spots]:
    """Cut across the longer side, again and again, into patches of about equally many spots."""
    on_step()
    if n_patches == 1:
        yield spots
        return
    positions = coordinates[spots]
    axis = int(np.argmax(np.ptp(positions, axis=0)))
    along = spots[np.argsort(positions[:, axis], kind="stable")]
    first = n_patches // 2
    middle = len(spots) * first // n_patches
    yield from _cut(along[:middle], coordinates, first, on_step)
    yield from _cut(along[middle:], coordinates, n_patches - first, on_step)


def _gathered(
    proportions: Array,
    coordinates: Array,
    sample: NDArray[np.int64],
    members: list[Spots],
    region: list[int],
    n_regions: int,
) -> _Patches:
    size = np.array([len(patch) for patch in members], np.int64)
    spots = np.concatenate([*members, np.empty(0, np.int64)])
    values = group_means(proportions[spots], np.repeat(np.arange(len(size)), size), len(size))
    start = np.cumsum(size) - size
    some = spots[start[:, None] + (2 * np.arange(_POSITIONS) + 1) * size[:, None] // (2 * _POSITIONS)]
    return _Patches(
        values,
        size.astype(float),
        np.array(region, np.int64),
        sample[some[:, 0]],
        coordinates[some],
        n_regions,
    )


@dataclass(frozen=True)
class _Family:
    """Covariances ``(1 - nugget) shared + nugget diag(own)`` of the patches, for some nuggets.

    The rows of `contrasts` (n_freedom, n_patches) are combinations of patches that no level changes, and that
    are independent under each of the covariances, with variances `spectra` (n_nuggets, n_freedom).
    """

    shared: Array
    own: Array
    nuggets: Array
    contrasts: Array
    spectra: Array

    def covariance(self, nugget: float) -> Array:
        return (1.0 - nugget) * self.shared + nugget * np.diag(self.own)

    def contrast_variances(self, weights: Array) -> list[float]:
        """Return the variance of a sum of patches by `weights` for each nugget."""
        return [float(weights @ self.covariance(nugget) @ weights) for nugget in self.nuggets]

    def misfits(self, fields: Array) -> Array:
        """Return ``z' P z`` of fields z (columns) for each nugget, with the levels projected out."""
        return np.asarray((1.0 / self.spectra) @ (self.contrasts @ fields) ** 2)


def _family(shared: Array, own: Array, levels: Array, nuggets: tuple[float, ...]) -> _Family:
    scale = 1.0 / np.sqrt(own)
    complete = np.linalg.qr(scale[:, None] * levels, mode="complete")[0]
    contrasts = complete[:, levels.shape[1] :].T * scale
    variances, axes = np.linalg.eigh(contrasts @ shared @ contrasts.T)
    nugget = np.array(nuggets)
    spectra = (1.0 - nugget[:, None]) * np.maximum(variances, 0.0) + nugget[:, None]
    return _Family(shared, own, nugget, axes.T @ contrasts, spectra)


def _families(patches: _Patches) -> Iterator[_Family]:
    """Yield the covariances to compare: of patches correlated over a range, and of independent ones."""
    own = 1.0 / patches.size / np.mean(1.0 / patches.size)
    for range_ in _ranges(patches):
        for shared in _mean_correlations(patches, range_):
            yield _family(shared, own, patches.levels, _NUGGETS)
    yield _family(np.diag(own), own, patches.levels, (1.0,))


def _ranges(patches: _Patches) -> Array:
    positions = patches.positions[:, 0]
    pitch = detect_pitch(positions)
    extents = [np.ptp(positions[patches.sample == s], axis=0).max() for s in np.unique(patches.sample)]
    return np.geomspace(pitch / 2, max(pitch, *(float(extent) for extent in extents)), _RANGES)


def _mean_correlations(patches: _Patches, range_: float) -> Iterator[Array]:
    """Yield correlations of a rough and of a smooth field, in the mean over positions of either patch.

    Over one range, both fall to about ``1 / e``.
    """
    n_patches = len(patches.positions)
    positions = patches.positions.reshape(-1, 2) / range_
    apart = np.hypot(*(positions[:, None, axis] - positions[None, :, axis] for axis in range(2)))
    for pairs in (np.exp(-apart), _matern(3.0 * apart)):
        mean = pairs.reshape(n_patches, _POSITIONS, n_patches, _POSITIONS).mean(axis=(1, 3))
        yield mean * (patches.sample[:, None] == patches.sample)


def _matern(x: Array) -> Array:
    """Return Matérn's correlation of smoothness 5/2."""
    return np.asarray((1.0 + x + x**2 / 3.0) * np.exp(-x))


class _Judge:
    """How far a contrast between regions may be off by chance.

    Attributes
    ----------
    contrast : ndarray of float64, shape (n_cell_types,)
        Contrast of the patches.
    error : ndarray of float64, shape (n_cell_types,)
        Standard error of the contrast, its square the mean over models by their likelihood.
    surrogates : ndarray of float64, shape (n_cell_types, n_surrogates)
        Absolute contrast over its error, both estimated from fields of the likeliest model.
    """

    def __init__(
        self,
        patches: _Patches,
        sides: Array,
        n_surrogates: int,
        random_state: int,
        on_progress: ProgressCallback,
    ) -> None:
        self._weights = patches.contrast(sides)
        self.contrast = self._weights @ patches.values
        self._freedom = len(patches.values) - patches.n_regions
        self._families: list[_Family] = []
        for family in _families(patches):
            on_progress(Progress("Comparing neighbors", len(self._families), _N_FAMILIES))
            self._families.append(family)
        self._variances = np.concatenate([f.contrast_variances(self._weights) for f in self._families])
        self._logarithms = np.concatenate([-0.5 * np.log(f.spectra).sum(axis=1) for f in self._families])
        self.error, likeliest = self._errors(patches.values, lambda _: None)
        noise = np.random.default_rng(random_state).standard_normal((len(patches.values), n_surrogates))
        used = np.unique(likeliest).tolist()

        def reporting(n_done: int) -> Callable[[int], None]:
            n_all = len(used) * _N_FAMILIES
            return lambda k: on_progress(Progress("Drawing surrogates", n_done * _N_FAMILIES + k, n_all))

        # The distribution of a contrast over its error is the same for all types of one model.
        drawn = {m: self._scatter(self._covariance(m), noise, reporting(n)) for n, m in enumerate(used)}
        self.surrogates = np.array([drawn[m] for m in likeliest.tolist()])

    def _covariance(self, model: int) -> Array:
        models = [(family, nugget) for family in self._families for nugget in family.nuggets]
        family, nugget = models[model]
        return family.covariance(nugget)

    def _scatter(self, covariance: Array, noise: Array, on_family: Callable[[int], None]) -> Array:
        fields = np.linalg.cholesky(covariance) @ noise
        error, _ = self._errors(fields, on_family)
        return np.asarray(np.abs(self._weights @ fields) / error)

    def _errors(self, fields: Array, on_family: Callable[[int], None]) -> tuple[Array, NDArray[np.int64]]:
        """Return for each column the error of its contrast, and which model is the likeliest."""
        misfits = []
        for k, family in enumerate(self._families):
            on_family(k)
            misfits.append(family.misfits(fields))
        scale = np.maximum(np.concatenate(misfits) / self._freedom, _TINY)
        # Each model is scaled by its maximum-likelihood variance.
        logarithm = self._logarithms[:, None] - self._freedom / 2 * np.log(scale)
        likelihood = np.exp(logarithm - logarithm.max(axis=0))
        variance = (likelihood * scale * self._variances[:, None]).sum(axis=0) / likelihood.sum(axis=0)
        return np.sqrt(variance), logarithm.argmax(axis=0)
