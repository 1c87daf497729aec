"""Regions of a result compared: how their composition differs, and how certain that is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_spotmix.analysis.neighborhood import estimated_in_order, estimated_spots
from napari_spotmix.analysis.region_statistics import Comparison, Composition, compare_means, mean_composition
from napari_spotmix.base.errors import InputError, ReadError
from napari_spotmix.base.progress import ProgressCallback, silent
from napari_spotmix.base.text import count
from napari_spotmix.dataset.regions import Region, from_geojson, inside
from napari_spotmix.params import INTERVAL_LEVEL, N_SURROGATES, Parameters

if TYPE_CHECKING:
    from napari_spotmix.result import Result

__all__ = ["REST", "RegionLike", "compare_regions", "covers_all", "read_regions", "region_of_spots"]

#: Name of all spots outside of a region.
REST = "Rest of the tissue"

#: A region by its name, its outline, or one bool for each spot.
RegionLike: TypeAlias = str | Region | NDArray[np.bool_]

Mask = NDArray[np.bool_]

#: What stands between the names if a spot is in several regions.
_BETWEEN_NAMES = " | "


def compare_regions(
    result: Result,
    first: RegionLike,
    second: RegionLike | None = None,
    *,
    regions: Iterable[Region] | None = None,
    shared: Literal["refuse", "first"] = "refuse",
    n_surrogates: int = N_SURROGATES,
    random_state: int = Parameters.random_state,
    on_progress: ProgressCallback = silent,
) -> pd.DataFrame:
    r"""Compare the mean proportions of two regions, with the similarity of neighboring spots accounted for.

    The proportion of a type in spot i of region r is modeled as

    .. math::

        p_i = \mu_r + f_i, \qquad
        \operatorname{Cov}(f_i, f_j) =
        \sigma^2 \bigl( (1 - \nu)\, \rho(d_{ij} / \ell) + \nu\, \delta_{ij} \bigr)

    with the correlation :math:`\rho` exponential or Matérn 5/2, over ranges :math:`\ell` and nuggets
    :math:`\nu` that are weighed by their restricted likelihood. The p value is the share of fields drawn from
    the likeliest model, without a difference between the regions, in which
    :math:`|\bar p_1 - \bar p_2|` over its estimated error is at least as large as in the data.

    Parameters
    ----------
    result : Result
        Not modified. Spots that were not estimated are left out.
    first : str, Region or ndarray of bool, shape (n_spots,)
        The name of one of `regions`, an outline, or the spots themselves. Outlines of the same name are one
        region.
    second : str, Region or ndarray of bool, shape (n_spots,), optional
        What `first` is compared with; all spots outside of it if not given.
    regions : iterable of Region, optional
        Where names are looked up; ``result.regions`` if not given.
    shared : {"refuse", "first"}, optional
        What becomes of spots in both regions: an error, or they count for `first` alone.
    n_surrogates : int, optional
        Fields to draw; the least p value is ``1 / (n_surrogates + 1)``.
    random_state : int, optional
        Seed.
    on_progress : callable, optional
        Called several times a second with a `Progress`; it raises `Cancelled` to stop.

    Returns
    -------
    DataFrame, shape (n_cell_types, 15)
        Index ``cell_type``, in the order of the evidence: the smallest p value first, of equal ones the
        largest difference. Columns:

        ==========================================  =======  ============================================
        ``first``, ``second``                       str      names of the regions
        ``n_spots_first``, ``n_spots_second``       int      their spots that were estimated
        ``mean_first``, ``mean_second``             float    mean proportion, 0 to 1
        ``lower_first``, ``upper_first``            float    confidence interval of it, 0 to 1
        ``lower_second``, ``upper_second``          float    the same of the second region
        ``difference``                              float    ``mean_first - mean_second``, -1 to 1
        ``p_value``                                 float    of no difference, for this type alone
        ``p_adjusted``                              float    adjusted for the number of types by Benjamini
                                                             and Hochberg: bounds the share of false
                                                             findings
        ``p_holm``                                  float    adjusted by Holm: bounds the chance of any
                                                             false finding
        ``level``                                   float    level of the intervals: 0.9
        ==========================================  =======  ============================================

        Intervals and p values are NaN for regions of too few spots.

    Raises
    ------
    InputError
        If a name is unknown, a mask has the wrong shape, a region has no spot, or both share spots; lists all
        problems.

    Notes
    -----
    The interval is for the mean over more tissue of this kind, not only over these spots. With a range that
    is a good part of the region it is too narrow. Differences between sections are not modeled: compare
    regions of one section. Cost: a few seconds, independent of the number of spots.

    References
    ----------
    .. [1] Patterson and Thompson, Recovery of inter-block information when block sizes are unequal,
       Biometrika 58, 1971 (restricted likelihood).
    .. [2] Benjamini and Hochberg, Controlling the false discovery rate, J. R. Stat. Soc. B 57, 1995.
    .. [3] Holm, A simple sequentially rejective multiple test procedure, Scand. J. Stat. 6, 1979.

    Examples
    --------
    >>> from napari_spotmix import compare_regions, deconvolve, simulate
    >>> tissue = simulate(n_spots=60, n_genes=120, n_cell_types=4, image=False)
    >>> result = deconvolve(tissue.spatial, tissue.reference, lambda_c=0.1)
    >>> left = result.coordinates[:, 0] < result.coordinates[:, 0].mean()
    >>> table = compare_regions(result, left)
    >>> table.shape, bool(table["p_value"].is_monotonic_increasing)
    ((4, 15), True)
    """
    values, coordinates = result.proportions.to_numpy(), result.coordinates
    one, other = _chosen(result, first, second, regions, shared)
    order = estimated_in_order(result)
    values, coordinates = values[order], coordinates[order]
    of_each = [
        mean_composition(
            values,
            part.spots[order],
            coordinates,
            n_surrogates=n_surrogates,
            random_state=random_state,
            on_progress=on_progress,
        )
        for part in (one, other)
    ]
    comparison = compare_means(
        values,
        one.spots[order],
        other.spots[order],
        coordinates,
        n_surrogates=n_surrogates,
        random_state=random_state,
        on_progress=on_progress,
    )
    return _table(result.cell_types, (one.name, other.name), of_each, comparison)


def region_of_spots(result: Result, regions: Iterable[Region] | None = None) -> pd.Series:
    """Return the region that each spot is in.

    Parameters
    ----------
    result : Result
        Not modified.
    regions : iterable of Region, optional
        ``result.regions`` if not given.

    Returns
    -------
    Series of categories, shape (n_spots,)
        Names of regions, NaN for a spot in none; for a spot in several "one | other". The categories are in
        the order of the regions.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_spotmix import deconvolve, simulate
    >>> tissue = simulate(n_spots=60, n_genes=120, n_cell_types=4, image=False)
    >>> result = deconvolve(tissue.spatial, tissue.reference, lambda_c=0.1)
    >>> everywhere = Region("all", np.array([[-1e5, -1e5], [1e5, -1e5], [1e5, 1e5], [-1e5, 1e5]]))
    >>> region_of_spots(result, [everywhere]).value_counts()["all"].item()
    60
    """
    given = tuple(result.regions if regions is None else regions)
    names = list(dict.fromkeys(region.name for region in given))
    label = np.full(len(result.abundances), "", dtype=object)
    for name in names:
        spots = _spots_of(name, given, result.coordinates)
        label[spots] = [f"{text}{_BETWEEN_NAMES}{name}" if text else name for text in label[spots]]
    known = [text for text in dict.fromkeys(label) if text]
    several = sorted(text for text in known if text not in names)
    label[label == ""] = None
    categories = pd.Categorical(label, categories=[*(name for name in names if name in known), *several])
    return pd.Series(categories, index=result.abundances.index, name="region")


def read_regions(path: str | Path) -> tuple[Region, ...]:
    """Read outlines from a GeoJSON file: of napari-spotmix, of QuPath, or of any other program.

    Parameters
    ----------
    path : str or Path
        A FeatureCollection, a list of features or a single one. Polygons and MultiPolygons, holes too, in
        (x, y) of full-resolution pixels. A region is called by the ``name`` of its feature or, as QuPath
        writes it, by the name of its ``classification``.

    Returns
    -------
    tuple of Region

    Raises
    ------
    ReadError
        If the file cannot be read, or is not GeoJSON of polygons; lists all features that are not.

    Examples
    --------
    >>> from napari_spotmix import read_regions
    >>> read_regions("missing.geojson")
    Traceback (most recent call last):
    napari_spotmix.base.errors.ReadError: missing.geojson: cannot be read (No such file or directory). ...
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        reason = error.strerror or str(error)
        raise ReadError(path, f"cannot be read ({reason}). Give a GeoJSON file with regions.") from error
    except UnicodeDecodeError as error:
        raise ReadError(path, "is not text. Give a GeoJSON file with regions.") from error
    try:
        return from_geojson(text)
    except InputError as error:
        raise ReadError(path, error.problems) from error


@dataclass(frozen=True)
class _Part:
    """Some spots by name. `where` says, for a message, which coordinates they cover."""

    name: str
    spots: Mask
    where: str = ""


def _chosen(
    result: Result,
    first: RegionLike,
    second: RegionLike | None,
    regions: Iterable[Region] | None,
    shared: Literal["refuse", "first"],
) -> tuple[_Part, _Part]:
    """Return the spots to compare.

    Raises
    ------
    InputError
        Lists all problems.
    """
    known = tuple(result.regions if regions is None else regions)
    problems: list[str] = []
    one = _part("first", first, known, result, problems)
    if second is None:
        other = None if one is None else _Part(REST, ~one.spots)
    else:
        other = _part("second", second, known, result, problems)
    parts = [part for part in (one, other) if part is not None]
    if one is not None and other is not None and (one.spots & other.spots).any():
        if shared == "first":
            other = _Part(other.name, other.spots & ~one.spots)
            parts = [one, other]
        else:
            problems.append(_shared_problem(one, other))
    problems += _empty_problems(parts, estimated_spots(result.proportions.to_numpy()))
    if problems or one is None or other is None:
        raise InputError(problems)
    return one, other


def _empty_problems(parts: list[_Part], estimated: NDArray[np.int64]) -> list[str]:
    """Say which parts have no spot with proportions."""
    empty = [part for part in parts if not part.spots[estimated].any()]
    if empty and empty[-1].name == REST and len(empty) < len(parts):
        return [
            f"{parts[0].name} covers all spots with proportions, so there is no rest of the tissue to "
            "compare it with. "
            "Choose another region with `second`."
        ]
    return [
        f"{part.name}: no spot with proportions is in this region alone. Draw it over the tissue.{part.where}"
        for part in empty
    ]


def covers_all(result: Result, name: str, regions: Iterable[Region]) -> bool:
    """Return whether a region has all spots with proportions, so that there is no rest of the tissue."""
    estimated = estimated_spots(result.proportions.to_numpy())
    return bool(_spots_of(name, regions, result.coordinates)[estimated].all())


def _shared_problem(one: _Part, other: _Part) -> str:
    n_shared = count(int((one.spots & other.spots).sum()), "spot")
    if one.name == other.name:
        return f"`second` must be a different region than `first`, found {one.name!r} twice."
    return (
        f"{one.name!r} and {other.name!r} overlap: they share {n_shared}. Draw them apart, or compare each "
        "with the rest of the tissue."
    )


def _part(
    argument: str, given: Any, regions: tuple[Region, ...], result: Result, problems: list[str]
) -> _Part | None:
    """Return the spots that are asked for; None with a problem added if that is not possible."""
    n_spots = len(result.abundances)
    if isinstance(given, Region):
        return _Part(given.name, inside(given, result.coordinates), _extents([given], result))
    if isinstance(given, str):
        found = [region for region in regions if region.name == given]
        if found:
            return _Part(given, _spots_of(given, regions, result.coordinates), _extents(found, result))
        problems.append(_unknown_problem(argument, given, regions))
        return None
    mask = np.asarray(given)
    if mask.dtype == np.bool_ and mask.shape == (n_spots,):
        return _Part(argument, mask)
    problems.append(
        f"`{argument}` must be the name of a region, a Region, or a boolean array with one value for each "
        f"of the {n_spots:,} spots, found {type(given).__name__} of shape {mask.shape} and type {mask.dtype}."
    )
    return None


def _unknown_problem(argument: str, name: str, regions: tuple[Region, ...]) -> str:
    names = ", ".join(repr(known) for known in dict.fromkeys(region.name for region in regions))
    if not names:
        return f"`{argument}`: {name!r} is unknown: there are no regions. Draw them, or give `regions`."
    return f"`{argument}`: {name!r} is unknown. The regions are {names}."


def _spots_of(name: str, regions: Iterable[Region], coordinates: NDArray[np.float64]) -> Mask:
    """Return the spots in any outline of this name."""
    found = np.zeros(len(coordinates), np.bool_)
    for region in regions:
        if region.name == name:
            found |= inside(region, coordinates)
    return found


def _extents(regions: list[Region], result: Result) -> str:
    """Say where outlines and spots are, which shows that their units differ."""
    outline, spots = _extent(np.concatenate([one.outline for one in regions])), _extent(result.coordinates)
    return f" Its outline is at {outline}, the spots at {spots}, in full-resolution pixels."


def _extent(coordinates: NDArray[np.float64]) -> str:
    low, high = np.nanmin(coordinates, axis=0), np.nanmax(coordinates, axis=0)
    return " and ".join(f"{axis} {low[k]:,.0f} to {high[k]:,.0f}" for k, axis in enumerate("xy"))


def _table(
    cell_types: list[str], names: tuple[str, str], of_each: list[Composition], comparison: Comparison
) -> pd.DataFrame:
    one, other = of_each
    table = pd.DataFrame(
        {
            "first": names[0],
            "second": names[1],
            "n_spots_first": one.n_spots,
            "n_spots_second": other.n_spots,
            "mean_first": one.mean,
            "lower_first": one.lower,
            "upper_first": one.upper,
            "mean_second": other.mean,
            "lower_second": other.lower,
            "upper_second": other.upper,
            "difference": comparison.difference,
            "p_value": comparison.p_value,
            "p_adjusted": comparison.adjusted,
            "p_holm": comparison.holm,
            "level": INTERVAL_LEVEL,
        },
        index=pd.Index(cell_types, name="cell_type"),
    )
    # The last key sorts first; NaN come last.
    return table.iloc[np.lexsort((-np.abs(comparison.difference), comparison.p_value))]
