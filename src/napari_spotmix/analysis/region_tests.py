"""Mean composition of regions, and whether two regions differ, judged as what neighboring spots can tell.

Neighboring spots are alike, so n of them tell less than n independent ones would: taken as independent,
a region's mean looks far too certain. Here the proportions of a type are a level for each region plus a
Gaussian field, of which a share is each spot's own and the rest correlated over some reach, roughly or
smoothly. The likelihood of each of a set of such models, with the levels projected out (restricted
likelihood), weighs the variance that it gives to a mean. How far this is off by chance, above all since the
reach is not known, is seen in *surrogates*: fields drawn from the likeliest model, and judged in the same
way. Large regions are pooled into patches.
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

__all__ = ["Comparison", "Composition", "compare_regions", "holm", "region_composition"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Spots = NDArray[np.int64]

#: All regions together are pooled into at most this many patches: the cost grows with its cube.
_PATCHES = 256
#: A patch is known by the places of this many of its spots.
_PLACES = 4
#: Where a region is sampled, so many patches lie side by side.
_NEIGHBORING = 4
#: Reaches from half a pitch to the extent of the regions; shares of the variance that are the spots' own.
_REACHES, _NUGGETS = 9, (0.02, 0.2, 0.5, 0.8)
#: Of each reach a rough and a smooth one, and one without any.
_N_FAMILIES = 2 * _REACHES + 1
_LEVEL = 0.95
_ROUNDING = 1e-12
#: Least variance: a type may be the same in all spots.
_TINY = 1e-30


@dataclass(frozen=True)
class Composition:
    """Mean proportions of a region.

    Attributes
    ----------
    mean, lower, upper : ndarray of float64, shape (n_cell_types,)
        Mean proportion of each type and its 95 % confidence interval, cut to 0 to 1; NaN where there are
        too few spots to tell.
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
        Chance of a difference at least as clear if both regions were of one kind, at least
        ``1 / (n_surrogates + 1)``; NaN where there are too few spots to tell.
    adjusted : ndarray of float64, shape (n_cell_types,)
        The same, adjusted for the number of types (Holm).
    """

    difference: Array
    p_value: Array
    adjusted: Array


def region_composition(
    proportions: Array,
    inside: Mask,
    coordinates: Array,
    *,
    sample: NDArray[np.integer] | None = None,
    n_surrogates: int = 999,
    random_state: int = 0,
    on_progress: ProgressCallback = silent,
) -> Composition:
    """Return the mean proportion of each type in a region, and how far it can be trusted.

    Parameters
    ----------
    proportions : ndarray of float64, shape (n_spots, n_cell_types)
        Rows of NaN, where nothing was estimated, are left out.
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
    >>> places = np.argwhere(np.ones((10, 10))).astype(float)
    >>> found = region_composition(proportions, np.ones(100, bool), places)
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
        half_width = judged.error * np.quantile(judged.surrogates, _LEVEL, axis=1)
    lower, upper = np.clip([mean - half_width, mean + half_width], 0.0, 1.0)
    return Composition(mean, lower, upper, len(spots))


def compare_regions(
    proportions: Array,
    inside_a: Mask,
    inside_b: Mask,
    coordinates: Array,
    *,
    sample: NDArray[np.integer] | None = None,
    n_surrogates: int = 999,
    random_state: int = 0,
    on_progress: ProgressCallback = silent,
) -> Comparison:
    """Tell for each type whether its mean proportion differs between two regions.

    Parameters
    ----------
    proportions : ndarray of float64, shape (n_spots, n_cell_types)
        Rows of NaN, where nothing was estimated, are left out.
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
    enough. Differences between samples as such, of whichever cause, are not among what is compared with:
    regions of two samples may differ for no other reason than that samples do.

    Raises
    ------
    InputError
        If the regions share spots.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> places = np.argwhere(np.ones((10, 10))).astype(float)
    >>> left = places[:, 0] < 5
    >>> first = np.where(left, 0.7, 0.4) + rng.normal(0, 0.05, size=100)
    >>> found = compare_regions(np.column_stack([first, 1 - first]), left, ~left, places)
    >>> found.difference.round(1), found.p_value
    (array([ 0.3, -0.3]), array([0.001, 0.001]))
    """
    if (inside_a & inside_b).any():
        raise InputError(f"The regions share {(inside_a & inside_b).sum():,} spots; they must share none.")
    on_progress(Progress("Pooling spots", 0, _PATCHES))
    regions = [_estimated(proportions, inside) for inside in (inside_a, inside_b)]
    difference = _mean(proportions, regions[0]) - _mean(proportions, regions[1])
    patches = _pooled(proportions, regions, coordinates, sample, on_progress)
    if not patches.enough:
        unknown = np.full(len(difference), np.nan)
        return Comparison(difference, unknown, unknown)
    with Threads.of(1):
        judged = _Judge(patches, np.array([1.0, -1.0]), n_surrogates, random_state, on_progress)
    # What rounding alone makes of equal means is no difference.
    clear = np.maximum(np.abs(judged.contrast) - _ROUNDING, 0.0)[:, None]
    n_clearer = (judged.surrogates * judged.error[:, None] >= clear).sum(axis=1)
    p_value = (1.0 + n_clearer) / (1.0 + n_surrogates)
    return Comparison(difference, p_value, holm(p_value))


def _estimated(proportions: Array, inside: Mask) -> Spots:
    return np.flatnonzero(inside & ~np.isnan(proportions).any(axis=1))


def _mean(proportions: Array, spots: Spots) -> Array:
    return proportions[spots].mean(axis=0) if len(spots) else np.full(proportions.shape[1], np.nan)


def holm(p_value: Array) -> Array:
    """Return p values adjusted for their number, so that the chance of any false finding is kept (Holm 1979).

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


@dataclass(frozen=True)
class _Patches:
    """Regions in patches of about equally many spots each within a region.

    `values` (n_patches, n_cell_types) are means over spots, `size` their number, `region` the patch's
    region of `n_regions`, `places` (n_patches, _PLACES, 2) where some of its spots lie.
    """

    values: Array
    size: Array
    region: NDArray[np.int64]
    sample: NDArray[np.int64]
    places: Array
    n_regions: int

    @cached_property
    def levels(self) -> Array:
        """One column for each region, 1 in its patches."""
        return np.asarray(self.region[:, None] == np.arange(self.n_regions), dtype=float)

    @property
    def enough(self) -> bool:
        """Whether each region has spots, and some more to tell how they scatter."""
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

    Were patches of one region much larger than those of another, what they scatter would not tell how the
    others should. A sample has a few neighboring patches at each of many places, to see how alike they are.
    """
    if len(spots) <= n_patches * size:
        yield from _cut(spots, coordinates, n_patches, on_step)
        return
    n_here = min(_NEIGHBORING, n_patches)
    for cell in _cut(spots, coordinates, n_patches // n_here, on_step):
        yield from _cut(_middle(cell, coordinates, n_here * size), coordinates, n_here, on_step)


def _middle(spots: Spots, coordinates: Array, n_spots: int) -> Spots:
    """Return those nearest to the middle."""
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
    places = coordinates[spots]
    axis = int(np.argmax(np.ptp(places, axis=0)))
    along = spots[np.argsort(places[:, axis], kind="stable")]
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
    some = spots[start[:, None] + (2 * np.arange(_PLACES) + 1) * size[:, None] // (2 * _PLACES)]
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

    The rows of `beside` (n_freedom, n_patches) are combinations of patches that no level changes, and that
    are independent under each of the covariances, with variances `spectra` (n_nuggets, n_freedom).
    """

    shared: Array
    own: Array
    nuggets: Array
    beside: Array
    spectra: Array

    def covariance(self, nugget: float) -> Array:
        return (1.0 - nugget) * self.shared + nugget * np.diag(self.own)

    def contrast_variances(self, weights: Array) -> list[float]:
        """Return the variance of a sum of patches by `weights` for each nugget."""
        return [float(weights @ self.covariance(nugget) @ weights) for nugget in self.nuggets]

    def misfits(self, fields: Array) -> Array:
        """Return ``z' P z`` of fields z (columns) for each nugget: their square with the levels taken out."""
        return np.asarray((1.0 / self.spectra) @ (self.beside @ fields) ** 2)


def _family(shared: Array, own: Array, levels: Array, nuggets: tuple[float, ...]) -> _Family:
    scale = 1.0 / np.sqrt(own)
    complete = np.linalg.qr(scale[:, None] * levels, mode="complete")[0]
    beside = complete[:, levels.shape[1] :].T * scale
    variances, axes = np.linalg.eigh(beside @ shared @ beside.T)
    nugget = np.array(nuggets)
    spectra = (1.0 - nugget[:, None]) * np.maximum(variances, 0.0) + nugget[:, None]
    return _Family(shared, own, nugget, axes.T @ beside, spectra)


def _families(patches: _Patches) -> Iterator[_Family]:
    """Yield the covariances that are compared: of patches that are alike within a reach, and of none."""
    own = 1.0 / patches.size / np.mean(1.0 / patches.size)
    for reach in _reaches(patches):
        for shared in _mean_correlations(patches, reach):
            yield _family(shared, own, patches.levels, _NUGGETS)
    yield _family(np.diag(own), own, patches.levels, (1.0,))


def _reaches(patches: _Patches) -> Array:
    places = patches.places[:, 0]
    pitch = detect_pitch(places)
    extents = [np.ptp(places[patches.sample == s], axis=0).max() for s in np.unique(patches.sample)]
    return np.geomspace(pitch / 2, max(pitch, *(float(extent) for extent in extents)), _REACHES)


def _mean_correlations(patches: _Patches, reach: float) -> Iterator[Array]:
    """Yield correlations of a rough and of a smooth field, in the mean over places of either patch.

    Over one reach, both fall to about ``1 / e``.
    """
    n_patches = len(patches.places)
    places = patches.places.reshape(-1, 2) / reach
    apart = np.hypot(*(places[:, None, axis] - places[None, :, axis] for axis in range(2)))
    for pairs in (np.exp(-apart), _matern(3.0 * apart)):
        mean = pairs.reshape(n_patches, _PLACES, n_patches, _PLACES).mean(axis=(1, 3))
        yield mean * (patches.sample[:, None] == patches.sample)


def _matern(x: Array) -> Array:
    """Return Matérn's correlation of smoothness 5/2."""
    return np.asarray((1.0 + x + x**2 / 3.0) * np.exp(-x))


class _Judge:
    """How far a contrast between regions may be off by chance.

    Attributes
    ----------
    contrast : ndarray of float64, shape (n_cell_types,)
        As it is in the patches.
    error : ndarray of float64, shape (n_cell_types,)
        Standard error of the contrast, its square the mean over models by their likelihood.
    surrogates : ndarray of float64, shape (n_cell_types, n_surrogates)
        Absolute contrast over its error, both as they are found in fields of the likeliest model.
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

        def telling(n_done: int) -> Callable[[int], None]:
            n_all = len(used) * _N_FAMILIES
            return lambda k: on_progress(Progress("Drawing surrogates", n_done * _N_FAMILIES + k, n_all))

        # What chance does to a contrast over its error is the same for all types of one model.
        drawn = {m: self._scatter(self._covariance(m), noise, telling(n)) for n, m in enumerate(used)}
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
        # Each model with the factor that suits it best.
        logarithm = self._logarithms[:, None] - self._freedom / 2 * np.log(scale)
        likelihood = np.exp(logarithm - logarithm.max(axis=0))
        variance = (likelihood * scale * self._variances[:, None]).sum(axis=0) / likelihood.sum(axis=0)
        return np.sqrt(variance), logarithm.argmax(axis=0)
