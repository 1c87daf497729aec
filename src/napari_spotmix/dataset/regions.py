"""Regions that somebody has drawn on a tissue: which spots lie in them, and how they are kept."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_spotmix.base.errors import InputError

__all__ = ["Region", "from_geojson", "inside", "to_geojson"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Region:
    """A named outline.

    Attributes
    ----------
    name : str
    outline : ndarray of float64, shape (n_corners, 2)
        (x, y) in full-resolution pixels, at least three corners; the last is joined to the first.
    """

    name: str
    outline: Array


def inside(region: Region, coordinates: Array) -> NDArray[np.bool_]:
    """Return which spots are in a region.

    Parameters
    ----------
    region : Region
        If its outline crosses itself, what is enclosed twice is outside.
    coordinates : ndarray of float64, shape (n_spots, 2)
        (x, y) in full-resolution pixels; rows that are not finite are in no region.

    Returns
    -------
    ndarray of bool, shape (n_spots,)

    Notes
    -----
    Even-odd rule: a ray to the right of a point inside crosses the outline an odd number of times. The points
    are sorted by y, so that each edge is compared with the points at its height only.

    Examples
    --------
    >>> square = Region("square", np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 2.0], [0.0, 2.0]]))
    >>> inside(square, np.array([[1.0, 1.0], [3.0, 1.0], [np.nan, 1.0]]))
    array([ True, False, False])
    """
    known = np.flatnonzero(np.isfinite(coordinates).all(axis=1))
    order = known[np.argsort(coordinates[known, 1], kind="stable")]
    x, y = coordinates[order].T
    is_odd = np.zeros(len(order), np.bool_)
    for (x0, y0), (x1, y1) in zip(region.outline, np.roll(region.outline, -1, axis=0), strict=True):
        start, stop = np.searchsorted(y, sorted((y0, y1)), side="right")
        level = slice(start, stop)
        is_odd[level] ^= ((y1 - y[level]) * (x0 - x1) >= (x1 - x[level]) * (y0 - y1)) == (y1 > y0)
    found = np.zeros(len(coordinates), np.bool_)
    found[order] = is_odd
    return found


def to_geojson(regions: Iterable[Region]) -> str:
    """Return regions as a GeoJSON FeatureCollection of polygons in full-resolution pixels, y pointing down.

    QuPath opens it as annotations.

    Examples
    --------
    >>> text = to_geojson([Region("a", np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))])
    >>> [region.name for region in from_geojson(text)]
    ['a']
    """
    return json.dumps({"type": "FeatureCollection", "features": [_feature(region) for region in regions]})


def _feature(region: Region) -> dict[str, Any]:
    ring = np.vstack([region.outline, region.outline[:1]]).tolist()
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"name": region.name, "objectType": "annotation"},
    }


def from_geojson(text: str) -> tuple[Region, ...]:
    """Return the regions of a GeoJSON FeatureCollection of polygons; holes are not read.

    Raises
    ------
    InputError
        If it is none; names all features that are no polygons.
    """
    try:
        features = json.loads(text)["features"]
        assert isinstance(features, list)
    except (ValueError, TypeError, KeyError, AssertionError):
        raise InputError("The regions are no GeoJSON FeatureCollection.") from None
    found = [_region(at, feature) for at, feature in enumerate(features)]
    problems = [one for one in found if isinstance(one, str)]
    if problems:
        raise InputError(problems)
    return tuple(one for one in found if isinstance(one, Region))


def _region(at: int, feature: Any) -> Region | str:
    try:
        outline = np.asarray(feature["geometry"]["coordinates"][0], dtype=float)
        is_polygon = feature["geometry"]["type"] == "Polygon" and outline.ndim == 2 and len(outline) >= 4
        if not is_polygon or outline.shape[1] < 2 or not np.isfinite(outline).all():
            raise ValueError
    except (TypeError, KeyError, IndexError, ValueError):
        return f"Feature {at + 1} of the regions is no polygon with at least three corners."
    name = (feature.get("properties") or {}).get("name") or f"Region {at + 1}"
    return Region(str(name), outline[:-1, :2])
