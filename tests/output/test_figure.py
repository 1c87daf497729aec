"""Figures: what is where on the page, in which color, and what is written."""

from __future__ import annotations

import re
import threading
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text
from scipy.sparse import csr_array

from napari_spotmix import InputError, Result
from napari_spotmix.base.color_range import ColorRange, RangeMode
from napari_spotmix.dataset import bin_grid
from napari_spotmix.dataset.regions import Region
from napari_spotmix.output import figure_page as module
from napari_spotmix.output.figure import colormap_of, draw, draw_maps, save
from napari_spotmix.output.figure_maps import values_map
from napari_spotmix.result import Provenance, View

HOSTILE = 'T/NK "cells" <b> $x_1$'
TYPES = [HOSTILE, "Macrophage", "_hidden", "B & co"]
STEP = 10  # full-resolution pixels per pixel of the image
DIAMETER = 60.0
DPI = 200
#: An estimate of each kind; the last spot has none.
SHARES = np.array([[0.0, 1, 0, 0], [0.5, 0.5, 0, 0], [0, 0.25, 0.75, 0], [0.6, 0.2, 0.2, 0], [np.nan] * 4])


def a_result(xy: Any, shares: Any, image: np.ndarray | None = None, **factors: float) -> Result:
    """Return a result whose proportions are as given, at given places."""
    index = pd.Index([f"spot {at}" for at in range(len(xy))])
    spatial = AnnData(np.ones((len(xy), 1), np.float32), obs=pd.DataFrame(index=index))
    spatial.obsm["spatial"] = np.array(xy, float)
    images = {} if image is None else {"hires": image}
    factors = {"spot_diameter_fullres": DIAMETER, "tissue_hires_scalef": 1 / STEP, **factors}
    spatial.uns["spatial"] = {"made": {"images": images, "scalefactors": factors}}
    abundances = pd.DataFrame(shares, index=index, columns=TYPES) * 0.8
    none = csr_array((len(xy), len(xy)))
    reasons = pd.Series(np.where(np.isnan(abundances.iloc[:, 0]), "no counts", ""), index)
    counts = pd.Series(np.arange(1.0, len(xy) + 1), index)
    return Result(abundances, counts, reasons, abundances.iloc[:0].T, none, none, spatial)


XY = np.array([[200.0, 100], [400, 100], [200, 300], [500, 350], [700, 100]])


@pytest.fixture
def result() -> Result:
    return a_result(XY, SHARES)


@pytest.fixture
def over_tissue() -> Result:
    """Spots each in the middle of a black square of a light image."""
    image = np.full((50, 90, 3), 240, np.uint8)
    for x, y in (XY / STEP).astype(int):
        image[y - 6 : y + 6, x - 6 : x + 6] = 0
    # Middles lie between pixels: an even number of them, from x * STEP - 0.5.
    return a_result(XY - 0.5, SHARES, image)


def pixels(figure: Figure, path: Path) -> np.ndarray:
    return imread(save(figure, path / "a.png", dpi=DPI))[..., :3]


def panels(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_label() == "map"]


def pixel_at(figure: Figure, xy: Any, panel: int = 0) -> tuple[int, int]:
    """Return row and column of a point of the tissue, worked out from the place of its panel on the page."""
    axes = panels(figure)[panel]
    width, height = figure.get_size_inches() * DPI
    box = axes.get_position()
    left, right = axes.get_xlim()
    bottom, top = axes.get_ylim()
    across = box.x0 + box.width * (xy[0] - left) / (right - left)
    up = box.y0 + box.height * (xy[1] - bottom) / (top - bottom)
    return int((1 - up) * height), int(across * width)


def color_at(figure: Figure, shown: np.ndarray, xy: Any, panel: int = 0) -> np.ndarray:
    return shown[pixel_at(figure, xy, panel)]


def color_of(
    part: float, *, ground: float = 1.0, over_tissue: bool = False, opacity: float = 1.0
) -> np.ndarray:
    """Return the color of a part of the range on a ground of one gray."""
    *rgb, alpha = colormap_of("viridis", over_tissue=over_tissue)(part)
    return np.array(rgb) * alpha * opacity + ground * (1 - alpha * opacity)


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def test_a_spot_has_its_color_at_its_position_and_no_further(result: Result, tmp_path: Path) -> None:
    figure = draw(result, "Macrophage")
    shown = pixels(figure, tmp_path)
    for xy, share in zip(XY[:4], SHARES[:4, 1], strict=True):
        expected = color_of(share)
        np.testing.assert_allclose(color_at(figure, shown, xy), expected, atol=0.01)
        for way in ([1, 0], [-1, 0], [0, 1], [0, -1]):
            inside, outside = xy + np.array(way) * 0.44 * DIAMETER, xy + np.array(way) * 0.56 * DIAMETER
            np.testing.assert_allclose(color_at(figure, shown, inside), expected, atol=0.01)
            np.testing.assert_allclose(color_at(figure, shown, outside), 1)
        corner = xy + 0.44 * DIAMETER
        np.testing.assert_allclose(color_at(figure, shown, corner), 1, err_msg="a disc has no corners")


def test_bins_are_squares(tmp_path: Path) -> None:
    figure = draw(a_result(XY, SHARES, bin_size_um=8.0), "dominant")
    shown = pixels(figure, tmp_path)
    expected = to_rgb(a_result(XY, SHARES).colors["Macrophage"])
    np.testing.assert_allclose(color_at(figure, shown, XY[0] + 0.46 * DIAMETER), expected, atol=0.01)
    np.testing.assert_allclose(color_at(figure, shown, XY[0] + 0.54 * DIAMETER), 1)


def test_the_image_is_in_register_with_the_spots(over_tissue: Result, tmp_path: Path) -> None:
    xy = over_tissue.coordinates
    figure = draw(over_tissue, "Macrophage", opacity=0)
    shown = pixels(figure, tmp_path)
    for middle in xy:
        for way in ([1, 0], [-1, 0], [0, 1], [0, -1]):
            inside, outside = (middle + np.array(way) * reach for reach in (57.0, 63.0))
            np.testing.assert_allclose(color_at(figure, shown, inside), 0, atol=0.01)
            np.testing.assert_allclose(color_at(figure, shown, outside), 240 / 255, atol=0.01)


def test_tissue_shows_through_if_a_type_is_rare(over_tissue: Result, tmp_path: Path) -> None:
    figure = draw(over_tissue, "Macrophage", opacity=0.5)
    shown = pixels(figure, tmp_path)
    for xy, share in zip(over_tissue.coordinates[:4], SHARES[:4, 1], strict=True):
        expected = color_of(share, ground=0.0, over_tissue=True, opacity=0.5)
        np.testing.assert_allclose(color_at(figure, shown, xy), expected, atol=0.015)


def test_the_image_may_be_left_out(over_tissue: Result, tmp_path: Path) -> None:
    figure = draw(over_tissue, "Macrophage", image=False)
    shown = pixels(figure, tmp_path)
    np.testing.assert_allclose(color_at(figure, shown, over_tissue.coordinates[0] + 50), 1)


@pytest.mark.parametrize("shape", [(50, 90), (50, 90, 1), (50, 90, 4)])
def test_images_of_other_kinds_are_drawn(shape: tuple[int, ...], tmp_path: Path) -> None:
    image = np.full(shape, 65535, np.uint16)
    image[:5, :5] = 0
    image[..., 3:] = 65535
    figure = draw(a_result(XY, SHARES, image), "dominant", region=(-100, -100, 900, 500))
    shown = pixels(figure, tmp_path)
    np.testing.assert_allclose(color_at(figure, shown, (25, 25)), 0, atol=0.02)


def test_a_spot_without_an_estimate_is_a_cross_that_is_explained(result: Result, tmp_path: Path) -> None:
    for name in ("Macrophage", "dominant", "counts", "unexplained", "pies"):
        figure = draw(result, name)
        middle = color_at(figure, pixels(figure, tmp_path), XY[4])
        assert np.ptp(middle) < 0.02
        assert 0.3 < middle.mean() < 0.8
        assert "× not estimated" in words(figure)
    assert words(draw(result, TYPES)).count("× not estimated") == 1
    known = draw(result, "dominant", region=(0, 0, 600, 500))
    assert "× not estimated" not in words(known)


def test_types_have_the_colors_of_the_result(result: Result, tmp_path: Path) -> None:
    result = replace(result, chosen_colors={"Macrophage": "#123456"})
    figure = draw(result, "dominant")
    shown = pixels(figure, tmp_path)
    for xy, name in zip(XY[:4], ["Macrophage", HOSTILE, "_hidden", HOSTILE], strict=True):
        np.testing.assert_allclose(color_at(figure, shown, xy), to_rgb(result.colors[name]), atol=0.01)


def test_legend_names_the_most_frequent_first_and_only_what_is_there(result: Result) -> None:
    (legend,) = draw(result, "dominant").legends
    assert [text.get_text() for text in legend.get_texts()] == [HOSTILE, "Macrophage", "_hidden"]


def test_legend_counts_the_types_that_it_has_no_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_NAMED", 1)
    (legend,) = draw(a_result(XY, SHARES), "dominant").legends
    assert [text.get_text() for text in legend.get_texts()] == [HOSTILE, "and 2 more"]


def test_legend_is_at_the_right_of_the_map_and_on_the_page(result: Result) -> None:
    low = draw(result, "dominant", region=(100, 60, 900, 120))  # lower than its legend
    for figure in (draw(result, "dominant"), draw(result, "pies"), low):
        figure.canvas.draw()
        (legend,) = figure.legends
        box = legend.get_window_extent()
        right = panels(figure)[0].get_window_extent().x1
        width, height = figure.get_size_inches() * figure.dpi
        assert right < box.x0 < box.x1 <= width
        assert 0 <= box.y0 < box.y1 <= height


def test_pies_show_shares_clockwise_from_the_top(tmp_path: Path) -> None:
    shares = [[0.25, 0.5, 0, 0.25], [0, 1, 0, 0], [0, 0, 0, 1]]
    result = a_result(XY[:3], shares)
    figure = draw(result, "pies")
    shown = pixels(figure, tmp_path)
    reach = 0.25 * DIAMETER
    for way, name in zip([[1, -1], [1, 1], [-1, 1], [-1, -1]], np.array(TYPES)[[0, 1, 1, 3]], strict=True):
        place = XY[0] + reach * np.array(way)
        np.testing.assert_allclose(color_at(figure, shown, place), to_rgb(result.colors[name]), atol=0.01)
    np.testing.assert_allclose(color_at(figure, shown, XY[1]), to_rgb(result.colors["Macrophage"]), atol=0.01)


def test_pies_of_many_spots_are_refused(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_PIES", 4)
    with pytest.raises(InputError, match="at most 4 spots can be drawn as pies, found 5"):
        draw(result, "pies")
    draw(result, "pies", region=(0, 0, 600, 500))


def scale_bar(figure: Figure) -> tuple[float, str]:
    """Return the length of the bar in full-resolution pixels, by its ends on the page, and its words."""
    figure.canvas.draw()
    (bar,) = [line for line in figure.findobj(mpl.lines.Line2D) if line.get_gid() == "scale-bar"]
    ends = bar.get_transform().transform(bar.get_xydata())[:, 0]
    axes = panels(figure)[0]
    right, left = axes.get_xlim()[::-1]
    (label,) = [text for text in words(figure) if re.fullmatch(r"[\d.]+ (µm|mm|px)", text)]
    return float(np.ptp(ends) / axes.get_window_extent().width * (right - left)), label


@pytest.mark.parametrize("microns", [0.25, 0.5, 3.0, 40.0])
@pytest.mark.parametrize("shown", ["Macrophage", TYPES[:3]])
def test_the_scale_bar_is_as_long_as_it_says(microns: float, shown: Any) -> None:
    figure = draw(a_result(XY, SHARES, microns_per_pixel=microns), shown)
    length, label = scale_bar(figure)
    number, unit = label.split()
    assert length * microns == pytest.approx(float(number) * {"µm": 1, "mm": 1000}[unit])
    left, right = panels(figure)[0].get_xlim()
    assert 0.05 <= length / (right - left) <= 0.25


def test_the_scale_bar_counts_pixels_if_micrometers_are_unknown(result: Result) -> None:
    assert scale_bar(draw(result, "Macrophage")) == (pytest.approx(100), "100 px")


def test_a_region_is_drawn_to_its_edges(result: Result, tmp_path: Path) -> None:
    figure = draw(result, "Macrophage", region=(350, 50, 550, 400))
    (axes,) = panels(figure)
    assert axes.get_xlim() == (350, 550)
    assert axes.get_ylim() == (400, 50)
    expected = color_of(SHARES[3, 1])
    np.testing.assert_allclose(color_at(figure, pixels(figure, tmp_path), XY[3]), expected, atol=0.01)


def test_lengths_are_the_same_along_both_axes(result: Result) -> None:
    for shown in ("Macrophage", "dominant", TYPES, "counts"):
        figure = draw(result, shown)
        figure.canvas.draw()
        for axes in panels(figure):
            box = axes.get_window_extent()
            along_x = box.width / np.ptp(axes.get_xlim())
            assert box.height / np.ptp(axes.get_ylim()) == pytest.approx(along_x, rel=1e-6)


@pytest.mark.parametrize(
    ("color_range", "ends"),
    [("own", (0.6, 1, 0.8, 0.01)), ("same", (1, 1, 1, 1)), (0.7, (0.7, 0.7, 0.7, 0.7))],
)
def test_each_map_ends_where_it_says(
    result: Result, tmp_path: Path, color_range: Any, ends: tuple[float, ...]
) -> None:
    figure = draw(result, TYPES, color_range=color_range)
    is_common = len(set(ends)) == 1
    titles = [name if is_common else f"{name}  0–{end:g}" for name, end in zip(TYPES, ends, strict=True)]
    assert [axes.get_title() for axes in panels(figure)] == titles
    (bar,) = [axes for axes in figure.axes if axes.get_label() == "color bar"]
    assert bar.get_yticklabels()[-1].get_text().rstrip("0.") == (
        f"{ends[0]:g}" if is_common else "end of\neach map"
    )
    shown = pixels(figure, tmp_path)
    for panel, end in enumerate(ends):
        expected = color_of(min(SHARES[3, panel] / end, 1.0))
        np.testing.assert_allclose(color_at(figure, shown, XY[3], panel), expected, atol=0.01)


def test_a_figure_has_the_range_that_was_saved_unless_another_is_given(result: Result) -> None:
    saved = replace(result, view=View(color_range=ColorRange(RangeMode.OWN, chosen={"Macrophage": 0.3})))
    ends = [draw(saved, "Macrophage", color_range=one).axes[-1].get_ylim()[1] for one in (None, "full")]
    assert ends == [0.3, 1.0]


def test_the_color_bar_says_what_it_measures(result: Result) -> None:
    for shown, label in (
        ("Macrophage", "Proportion of Macrophage"),
        (HOSTILE, f"Proportion of {HOSTILE}"),
        (TYPES[:2], "Proportion"),
        ("counts", "Counts per spot"),
        ("unexplained", "Share of counts not explained"),
    ):
        bar = draw(result, shown).axes[-1]
        assert bar.get_ylabel() == label
        is_proportion = label.startswith("Proportion")
        assert bar.get_ylim()[0] == 0
        assert (bar.get_ylim()[1] <= 1) == is_proportion or shown == "unexplained"


@pytest.mark.parametrize("region", [None, (100, 60, 1900, 140), (100, 0, 300, 4000)])
def test_nothing_leaves_the_page(region: Any) -> None:
    """Whatever the shape of the map, and however long the names."""
    result = a_result(XY, SHARES)
    names = [f"{name} {'of the lamina propria ' * 4}" for name in TYPES]
    result = replace(result, abundances=result.abundances.set_axis(names, axis=1))
    for shown in ("dominant", "counts", "pies", names[0], names):
        figure = draw(result, shown, region=region)
        figure.canvas.draw()
        page = figure.bbox
        for text in drawn_texts(figure):
            box = text.get_window_extent()
            assert page.x0 <= box.x0 < box.x1 <= page.x1, text
            assert page.y0 <= box.y0 < box.y1 <= page.y1, text


def drawn_texts(figure: Figure) -> list[Text]:
    """Return all texts but those of the axes of maps, which are switched off."""
    found = [text for legend in figure.legends for text in legend.get_texts()]
    for axes in figure.axes:
        is_map = axes.get_label() == "map"
        found += [*axes.texts, axes.title] if is_map else [axes.yaxis.label, *axes.get_yticklabels()]
    return [text for text in found if text.get_text()]


def test_dark_figures_are_light_on_dark(result: Result, tmp_path: Path) -> None:
    shown = pixels(draw(result, "dominant", dark=True), tmp_path)
    assert shown[0, 0].max() < 0.1
    assert shown.max() > 0.8


def test_spots_below_the_threshold_are_faded(result: Result) -> None:
    (spots, *_) = panels(draw(result, TYPES[0], threshold=0.55))[0].collections
    np.testing.assert_array_equal(spots.get_facecolor()[:, 3] > 0.1, [False, False, False, True])
    (spots, *_) = panels(draw(result, "dominant", threshold=0.9))[0].collections
    np.testing.assert_array_equal(spots.get_facecolor()[:, 3] > 0.1, [True, False, False, False])


def test_a_blend_mixes_the_colors_of_types(over_tissue: Result, tmp_path: Path) -> None:
    figure = draw(over_tissue, TYPES[:2], blend=True, color_range="full")
    own = [np.array(to_rgb(over_tissue.colors[name])) for name in TYPES[:2]]
    at = color_at(figure, pixels(figure, tmp_path), XY[1])
    np.testing.assert_allclose(at, (own[0] + own[1]) / 2, atol=0.02)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        f"{TYPES[0]}: 0 – 1",
        "Macrophage: 0 – 1",
    ]
    for wrong in (TYPES[:1], TYPES[:4] * 2, "dominant"):
        with pytest.raises(InputError):
            draw(over_tissue, wrong, blend=True)


def test_the_graph_and_standard_errors_are_drawn(result: Result) -> None:
    with pytest.raises(InputError, match="no standard errors"):
        draw(result, "errors")
    errors = pd.DataFrame(np.full(SHARES.shape, 0.03), result.abundances.index, TYPES)
    (spots, *_) = panels(draw(replace(result, standard_errors=errors), "errors"))[0].collections
    assert len(spots.get_offsets()) == 4
    weights = np.zeros((5, 5))
    weights[0, 1] = weights[1, 0] = 0.5
    weights[2, 3] = weights[3, 2] = 0.25
    drawn = draw(replace(result, weights=csr_array(weights), attention=csr_array(weights)), "graph")
    (edges,) = panels(drawn)[0].collections
    np.testing.assert_array_equal(edges.get_segments(), XY[[[0, 1], [2, 3]]])
    assert not np.allclose(*edges.get_colors())
    part = draw(replace(result, weights=csr_array(weights)), "graph", region=(100, 50, 500, 200))
    assert len(panels(part)[0].collections[0].get_segments()) == 1


def test_many_spots_on_a_grid_are_bins_that_touch_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bin_grid, "MOST_POINTS", 50)
    monkeypatch.setattr(bin_grid, "_PATCH", 50)
    turn = np.array([[np.cos(0.3), np.sin(0.3)], [-np.sin(0.3), np.cos(0.3)]])
    cells = np.argwhere(np.ones((10, 12)))
    xy = cells * 40.0 @ turn + 400
    result = a_result(xy, np.tile([0.0, 1, 0, 0], (len(xy), 1)), spot_diameter_fullres=20.0)
    result.spatial.obs["array_col"], result.spatial.obs["array_row"] = cells.T
    figure = draw(result, "dominant")
    shown = pixels(figure, tmp_path)
    own = to_rgb(result.colors["Macrophage"])
    between = [xy[0] + share * (xy[13] - xy[0]) for share in (0.0, 0.3, 0.5, 0.8)]
    for place in between:
        np.testing.assert_allclose(color_at(figure, shown, place), own, atol=0.01)
    outside = xy[0] - 0.6 * (xy[13] - xy[0])
    np.testing.assert_allclose(color_at(figure, shown, outside), 1.0, atol=0.01)


def test_long_names_of_columns_stay_on_the_page(result: Result) -> None:
    for name in ("score " * 40, "two" + chr(10) + "lines" + chr(10), "$x$"):
        shown = values_map(result.spatial, name, np.linspace(-1, 1, 5), 1.0, name, is_signed=True)
        figure = draw_maps(result.spatial, [shown])
        figure.canvas.draw()
        box = figure.axes[-1].yaxis.label.get_window_extent()
        assert 0 <= box.y0 < box.y1 <= figure.bbox.y1
        assert figure.axes[-1].get_ylim() == (-1.0, 1.0)


def test_stored_regions_are_drawn_with_their_names(result: Result) -> None:
    region = Region("$tumor$", np.array([[150.0, 50], [450, 50], [300, 350]]))
    axes = panels(draw(replace(result, regions=(region,)), "dominant", outlines=True))[0]
    (outline,) = axes.patches
    np.testing.assert_array_equal(outline.get_xy()[:-1], region.outline)
    assert "$tumor$" in [text.get_text() for text in axes.texts]
    assert not panels(draw(replace(result, regions=(region,)), "dominant"))[0].patches


def test_a_type_may_have_the_name_of_a_map(result: Result) -> None:
    result = replace(result, abundances=result.abundances.rename(columns={"Macrophage": "counts"}))
    assert draw(result, "counts").axes[-1].get_ylabel() == "Proportion of counts"


def test_a_name_of_several_lines_is_written_on_one(result: Result) -> None:
    name = "a" + chr(10) + "b" + chr(10) + "c"
    result = replace(result, abundances=result.abundances.rename(columns={"Macrophage": name}))
    assert draw(result, name).axes[-1].get_ylabel() == "Proportion of a\\nb\\nc"


@pytest.mark.parametrize(
    ("shown", "options", "said"),
    [
        ("Macrophag", {}, "unknown cell type or map 'Macrophag'. Did you mean 'Macrophage'"),
        ([], {}, "1 to 12 different cell types"),
        (["Macrophage", "Macrophage"], {}, "1 to 12 different cell types"),
        (["Macrophage", "dominant"], {}, "'dominant' can only be shown alone"),
        ("Macrophage", {"color_range": "log"}, "`color_range` must be own, full, same, or the end"),
        ("Macrophage", {"threshold": -0.1}, "`threshold` must be from 0 to 1"),
        ("Macrophage", {"opacity": 1.5}, "`opacity` must be from 0 to 1"),
        ("Macrophage", {"opacity": float("nan")}, "`opacity` must be from 0 to 1"),
        ("Macrophage", {"region": (5, 0, 1, 9)}, "`region` must be left, top, right and bottom"),
        ("Macrophage", {"region": (5, 0, 9)}, "`region` must be left, top, right and bottom"),
        ("Macrophage", {"region": (5e6, 0, 6e6, 9)}, "`region` contains no spots"),
    ],
)
def test_what_cannot_be_drawn_is_refused(result: Result, shown: Any, options: Any, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        draw(result, shown, **options)


def test_what_is_unknown_is_not_drawn(result: Result) -> None:
    unnormalized = replace(result, provenance=Provenance({"normalize": False}))
    with pytest.raises(InputError, match="not defined without normalized counts"):
        draw(unnormalized, "unexplained")
    result.spatial.obsm["spatial"][:] = np.nan
    with pytest.raises(InputError, match="No spot has coordinates"):
        draw(result, "dominant")


# ------------------------------------------------------------------------------------------ what is written


def test_names_are_literal_text_in_svg(result: Result, tmp_path: Path) -> None:
    for shown in ("dominant", "pies", HOSTILE, TYPES[:2]):
        root = ElementTree.parse(save(draw(result, shown), tmp_path / "a.svg")).getroot()
        texts = ["".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")]
        assert any(HOSTILE in text for text in texts), shown
        assert not list(root.iter("{http://www.w3.org/2000/svg}b"))


def test_names_that_no_file_can_hold_break_none(tmp_path: Path) -> None:
    result = a_result(XY, SHARES)
    names = ["a\x00b", "\x1b[31m", "two\nlines", "\ud800"]
    result = replace(result, abundances=result.abundances.set_axis(names, axis=1))
    for suffix in (".svg", ".pdf", ".png"):
        for shown in ("dominant", names):
            save(draw(result, shown), tmp_path / f"a{suffix}")
    text = save(draw(result, "dominant"), tmp_path / "a.svg").read_text(encoding="utf-8")
    assert r"a\x00b" in text
    ElementTree.fromstring(text)


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf", ".PDF"])
def test_the_same_result_gives_the_same_bytes(
    over_tissue: Result, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    for name, moment in (("a", "1"), ("b", "999999999")):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", moment)
        paths = [
            save(draw(over_tissue, shown), tmp_path / f"{name}-{shown}{suffix}")
            for shown in ("pies", "Macrophage")
        ]
        written += [path.read_bytes() for path in paths]
    assert written[:2] == written[2:]
    assert written[0] != written[1]


def test_many_spots_are_a_picture_inside_of_vectors(tmp_path: Path) -> None:
    xy = np.random.default_rng(1).uniform(0, 1e5, (6000, 2))
    many = save(draw(a_result(xy, np.full((6000, 4), 0.25)), "dominant"), tmp_path / "a.svg")
    few = save(draw(a_result(xy[:4000], np.full((4000, 4), 0.25)), "dominant"), tmp_path / "b.svg")
    assert "<image" in many.read_text(encoding="utf-8")
    assert "<image" not in few.read_text(encoding="utf-8")


def test_other_suffixes_are_refused(result: Result, tmp_path: Path) -> None:
    for name in ("a.jpg", "a", "png"):
        with pytest.raises(InputError, match=r"must end with .png, .svg or .pdf"):
            save(draw(result, "dominant"), tmp_path / name)
    with pytest.raises(InputError, match="`dpi` must be"):
        save(draw(result, "dominant"), tmp_path / "a.png", dpi=0)
    with pytest.raises(InputError, match="does not exist"):
        save(draw(result, "dominant"), tmp_path / "no" / "a.png")
    (tmp_path / "a.png").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        save(draw(result, "dominant"), tmp_path / "a.png")


def test_a_figure_is_written_completely_or_not_at_all(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is at its place stays whole while it is written, and when that fails half way."""
    path = tmp_path / "a.png"
    path.write_bytes(b"before")

    def fail(aside: Path, _: bytes) -> int:
        assert aside.name == path.name
        aside.write_text("half")
        assert path.read_text() == "before"
        raise OSError("disk full")

    figure = draw(result, "dominant")
    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(InputError, match="disk full"):
        save(figure, path)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_figures_are_drawn_in_threads_and_settings_are_left_alone(result: Result, tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    expected = save(draw(result, TYPES), tmp_path / "a.svg").read_bytes()

    def work(number: int) -> None:
        save(draw(result, TYPES), tmp_path / f"{number}.svg")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((tmp_path / f"{number}.svg").read_bytes() == expected for number in range(4))
    assert dict(mpl.rcParams) == before
