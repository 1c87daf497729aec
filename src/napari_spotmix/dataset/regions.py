"""Regions drawn on a tissue: which spots are inside, and how regions are written and read."""

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
    """Return the regions of GeoJSON: a FeatureCollection, a list of features, or one feature.

    Polygons and MultiPolygons are read, with their holes. A region is called by the ``name`` of its feature
    or, as QuPath writes it, by the name of its ``classification``; else "Region" and its number.

    Raises
    ------
    InputError
        If it is not GeoJSON; lists all features that are not polygons.

    Examples
    --------
    >>> square = [[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]]
    >>> feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [square]}}
    >>> feature["properties"] = {"objectType": "annotation", "classification": {"name": "Tumor"}}
    >>> [region.name for region in from_geojson(json.dumps([feature]))]
    ['Tumor']
    """
    found = [_region(at, feature) for at, feature in enumerate(_features(text))]
    problems = [one for one in found if isinstance(one, str)]
    if problems:
        raise InputError(problems)
    return tuple(one for one in found if isinstance(one, Region))


def _features(text: str) -> list[Any]:
    """Return the features of GeoJSON in any of the ways that programs write them."""
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):  # nested more deeply than any outline
        given = None
    if isinstance(given, dict) and given.get("type") == "Feature":
        return [given]
    features = given.get("features") if isinstance(given, dict) else given or None
    if not isinstance(features, list):
        raise InputError("The regions must be a GeoJSON FeatureCollection. Export them again.")
    return features


def _region(at: int, feature: Any) -> Region | str:
    try:
        geometry = feature["geometry"]
        polygons = {"Polygon": lambda found: [found], "MultiPolygon": list}[geometry["type"]](
            geometry["coordinates"]
        )
        outline = _joined([_ring(ring) for polygon in polygons for ring in polygon])
        name = _name(feature.get("properties"))
    except (AttributeError, TypeError, LookupError, ArithmeticError, ValueError, RecursionError):
        return f"Feature {at + 1} of the regions is not a polygon with at least three corners."
    return Region(name or f"Region {at + 1}", outline)


def _name(properties: Any) -> str:
    """Return the name that a feature has by itself, or by its class in QuPath; "" without any."""
    given = properties if isinstance(properties, dict) else {}
    classification = given.get("classification")
    if isinstance(classification, dict):
        parts = classification.get("names")
        # QuPath shows a class that is derived from others so.
        joined = ": ".join(map(str, parts)) if isinstance(parts, list) else ""
        classification = classification.get("name") or joined
    return str(given.get("name") or classification or "")


def _ring(ring: Any) -> Array:
    """Return the corners of a closed ring, the last one of which repeats the first."""
    corners = np.asarray(ring, dtype=float)
    if corners.ndim != 2 or len(corners) < 4 or corners.shape[1] < 2 or not np.isfinite(corners).all():
        raise ValueError
    return corners[:-1, :2]


def _joined(rings: list[Array]) -> Array:
    """Return several rings as one outline, joined by lines that are walked there and back.

    What is enclosed twice is outside (see `inside`): so a ring in another one is a hole.
    """
    start = rings[0][:1]
    rest = [part for ring in rings[1:] for part in (ring, ring[:1], start)]
    return np.concatenate([rings[0], start, *rest]) if rest else rings[0]
