"""Regions of a result: which spots are in them, what is compared, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_spotmix import compare_regions, read_regions
from napari_spotmix.analysis.neighborhood import estimated_in_order
from napari_spotmix.analysis.region_statistics import compare_means, mean_composition
from napari_spotmix.analysis.regions import REST, region_of_spots
from napari_spotmix.base.errors import Cancelled, InputError, ReadError
from napari_spotmix.base.progress import Progress
from napari_spotmix.dataset.regions import Region, inside
from napari_spotmix.result import Result


def rectangle(name: str, left: float, right: float, top: float = -50, bottom: float = 1600) -> Region:
    return Region(name, np.array([[left, top], [right, top], [right, bottom], [left, bottom]], float))


LEFT, RIGHT = rectangle("left", -50, 750), rectangle("right", 950, 1600)


def test_the_table_is_that_of_the_statistics_the_clearest_type_first(result: Result) -> None:
    with_regions = replace(result, regions=(LEFT, RIGHT))
    table = compare_regions(with_regions, "left", "right", n_surrogates=99)
    spots = estimated_in_order(result)
    values, xy = result.proportions.to_numpy()[spots], result.coordinates[spots]
    masks = [inside(region, xy) for region in (LEFT, RIGHT)]
    expected = compare_means(values, *masks, xy, n_surrogates=99)
    order = [result.cell_types.index(name) for name in table.index]
    np.testing.assert_array_equal(table["difference"], expected.difference[order])
    np.testing.assert_array_equal(table["p_value"], expected.p_value[order])
    np.testing.assert_array_equal(table["p_adjusted"], expected.adjusted[order])
    np.testing.assert_array_equal(table["p_holm"], expected.holm[order])
    for mask, side in zip(masks, ("first", "second"), strict=True):
        of_side = mean_composition(values, mask, xy, n_surrogates=99)
        np.testing.assert_array_equal(table[f"mean_{side}"], of_side.mean[order])
        np.testing.assert_array_equal(table[f"lower_{side}"], of_side.lower[order])
        np.testing.assert_array_equal(table[f"upper_{side}"], of_side.upper[order])
        assert (table[f"n_spots_{side}"] == of_side.n_spots).all()
    assert (table["first"] == "left").all()
    assert (table["second"] == "right").all()
    assert table["p_value"].is_monotonic_increasing
    assert table.index[-1] == "B cell", "it is equally frequent in both"


def test_a_name_an_outline_and_a_mask_give_the_same_numbers(result: Result) -> None:
    by_name = compare_regions(result, "left", regions=[LEFT, RIGHT], n_surrogates=19)
    by_outline = compare_regions(result, LEFT, n_surrogates=19)
    by_mask = compare_regions(result, inside(LEFT, result.coordinates), n_surrogates=19)
    assert (by_name["second"] == REST).all()
    pd.testing.assert_frame_equal(by_name, by_outline)
    pd.testing.assert_frame_equal(by_name.drop(columns="first"), by_mask.drop(columns="first"))


def test_outlines_of_one_name_are_one_region(result: Result) -> None:
    top, bottom = rectangle("left", -50, 750, bottom=750), rectangle("left", -50, 750, top=750)
    table = compare_regions(result, "left", regions=[top, bottom, RIGHT], n_surrogates=19)
    expected = compare_regions(result, LEFT, n_surrogates=19)
    pd.testing.assert_frame_equal(table, expected)


def test_spots_in_both_regions_are_refused_or_count_for_the_first(result: Result) -> None:
    wide = rectangle("wide", 550, 1600)
    with pytest.raises(InputError, match="'left' and 'wide' overlap: they share 32 spots"):
        compare_regions(result, LEFT, wide)
    table = compare_regions(result, LEFT, wide, shared="first", n_surrogates=19)
    assert table["n_spots_first"].iloc[0] == 8 * 16 - 1, "spot 5 was not estimated"
    assert table["n_spots_second"].iloc[0] == 8 * 16


def test_all_that_is_wrong_is_reported_at_once(result: Result) -> None:
    with pytest.raises(InputError) as raised:
        compare_regions(result, "rihgt", np.ones(3, bool), regions=[LEFT, RIGHT])
    first, second = raised.value.problems
    assert first == "`first`: 'rihgt' is unknown. The regions are 'left', 'right'."
    assert second.startswith("`second` must be the name of a region, a Region, or a boolean array")
    with pytest.raises(InputError, match="there are no regions"):
        compare_regions(result, "left")
    with pytest.raises(InputError, match="must be a different region than `first`"):
        compare_regions(result, LEFT, LEFT)


def test_a_region_without_spots_says_where_it_is_and_where_the_spots_are(result: Result) -> None:
    in_micrometers = rectangle("left", 2000, 3000)
    with pytest.raises(InputError) as raised:
        compare_regions(result, in_micrometers)
    (problem,) = raised.value.problems
    assert problem.startswith("left: no spot with proportions is in this region")
    assert "x 2,000 to 3,000" in problem
    assert "x 0 to 1,500" in problem


def test_a_comparison_reports_progress_and_can_be_cancelled(result: Result) -> None:
    def stop(progress: Progress) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        compare_regions(result, LEFT, on_progress=stop)


def test_each_spot_gets_the_names_of_its_regions(result: Result) -> None:
    wide = rectangle("wide", 550, 1600)
    found = region_of_spots(result, [LEFT, wide])
    x = result.coordinates[:, 0]
    assert list(found.cat.categories) == ["left", "wide", "left | wide"]
    np.testing.assert_array_equal(found == "left", x < 550)
    np.testing.assert_array_equal(found == "left | wide", (x > 550) & (x < 750))
    np.testing.assert_array_equal(found == "wide", x > 750)
    assert region_of_spots(result, [rectangle("far", 9000, 9001)]).isna().all()


def test_regions_of_qupath_are_called_by_their_class(tmp_path: Path) -> None:
    ring = [[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]
    feature = {
        "type": "Feature",
        "id": "a1b2",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {
            "objectType": "annotation",
            "classification": {"name": "Tumor", "color": [200, 0, 0]},
        },
    }
    path = tmp_path / "regions.geojson"
    for text in (json.dumps([feature]), json.dumps(feature), json.dumps({"features": [feature]})):
        path.write_text(text, encoding="utf-8")
        (region,) = read_regions(path)
        assert region.name == "Tumor"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{", "must be a GeoJSON FeatureCollection"),
        (b"\x89HDF\xff", "is not text"),
        (b'{"features": [{"geometry": {"type": "Point", "coordinates": [1, 2]}}]}', "Feature 1"),
    ],
)
def test_a_file_without_regions_is_named(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "regions.geojson"
    path.write_bytes(content)
    with pytest.raises(ReadError, match=problem) as raised:
        read_regions(path)
    assert str(raised.value).startswith(str(path))
