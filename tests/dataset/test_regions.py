"""Regions: which spots are inside, and how they are written and read."""

from __future__ import annotations

import json

import numpy as np
import pytest
from matplotlib.path import Path

from napari_spotmix.base.errors import InputError
from napari_spotmix.dataset.regions import Region, from_geojson, inside, to_geojson

TRIANGLE = Region('T/NK "cells" <b>', np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]]))


def test_spots_inside_are_those_on_the_right_side_of_every_edge() -> None:
    points = np.random.default_rng(1).uniform(-5, 15, (500, 2))
    x, y = points.T
    np.testing.assert_array_equal(inside(TRIANGLE, points), (x > 0) & (y > 0) & (x + y < 10))
    assert not inside(TRIANGLE, np.array([[np.nan, 1.0]])).any()


@pytest.mark.parametrize("seed", range(8))
def test_spots_inside_are_those_that_matplotlib_finds(seed: int) -> None:
    """Outlines that cross themselves, and spots on corners and at the height of corners."""
    rng = np.random.default_rng(seed)
    outline = rng.uniform(0, 10, (3 + 5 * seed, 2))
    if seed % 2:
        outline = np.round(outline)
    grid = np.stack(np.meshgrid(np.arange(11.0), np.arange(11.0)), axis=-1).reshape(-1, 2)
    xy = np.vstack([rng.uniform(-1, 11, (5000, 2)), grid, outline])
    expected = Path(np.vstack([outline, outline[:1]])).contains_points(xy)
    np.testing.assert_array_equal(inside(Region("", outline), xy), expected)
    assert expected.any()


def test_outlines_come_back_from_geojson_with_their_names() -> None:
    other = Region("", np.random.default_rng(2).random((7, 2)) * 1e4)
    text = to_geojson([TRIANGLE, other])
    ring = json.loads(text)["features"][0]["geometry"]["coordinates"][0]
    assert ring[0] == ring[-1], "a ring of GeoJSON is closed"
    first, second = from_geojson(text)
    assert first.name == TRIANGLE.name
    assert second.name == "Region 2"
    np.testing.assert_array_equal(first.outline, TRIANGLE.outline)
    np.testing.assert_array_equal(second.outline, other.outline)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"features": 3}', "null"])
def test_what_is_no_collection_is_said(text: str) -> None:
    with pytest.raises(InputError, match="must be a GeoJSON FeatureCollection"):
        from_geojson(text)


def test_every_feature_that_is_no_polygon_is_named() -> None:
    good = json.loads(to_geojson([TRIANGLE]))["features"][0]
    point = {"geometry": {"type": "Point", "coordinates": [1, 2]}, "properties": {}}
    broken = {"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, "x"], [2, 2], [0, 0]]]}}
    with pytest.raises(InputError) as raised:
        from_geojson(json.dumps({"features": [good, point, None, broken]}))
    assert [problem[:9] for problem in raised.value.problems] == ["Feature 2", "Feature 3", "Feature 4"]


def test_holes_and_parts_of_a_multipolygon_are_outside_and_inside() -> None:
    def square(low: float, high: float) -> list[list[float]]:
        return [[low, low], [high, low], [high, high], [low, high], [low, low]]

    geometry = {"type": "MultiPolygon", "coordinates": [[square(0, 10), square(4, 6)], [square(20, 30)]]}
    (region,) = from_geojson(json.dumps({"type": "Feature", "geometry": geometry, "properties": None}))
    assert region.name == "Region 1"
    positions = np.random.default_rng(3).uniform(-5, 35, (4000, 2))
    x, y = positions.T
    in_square = [(x > low) & (x < high) & (y > low) & (y < high) for low, high in ((0, 10), (4, 6), (20, 30))]
    np.testing.assert_array_equal(inside(region, positions), (in_square[0] & ~in_square[1]) | in_square[2])
    (again,) = from_geojson(to_geojson([region]))
    np.testing.assert_array_equal(inside(again, positions), inside(region, positions))


@pytest.mark.parametrize(
    ("properties", "name"),
    [
        ({"name": "core", "classification": {"name": "Tumor"}}, "core"),
        ({"classification": {"name": "Tumor"}}, "Tumor"),
        ({"classification": "Tumor"}, "Tumor"),
        ({"classification": {"names": ["Immune", "CD8"]}}, "Immune: CD8"),
        ({"classification": {"color": [200, 0, 0]}}, "Region 1"),
    ],
)
def test_a_region_is_called_by_its_name_or_by_its_class_in_qupath(properties: object, name: str) -> None:
    feature = json.loads(to_geojson([TRIANGLE]))["features"][0]
    (region,) = from_geojson(json.dumps([feature | {"properties": properties}]))
    assert region.name == name
