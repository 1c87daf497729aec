"""The report: what is on the page, what is in its pictures, and where it is written."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.sparse import csr_array

from napari_spotmix import Cancelled, InputError, ReadError
from napari_spotmix.base.progress import Progress, silent
from napari_spotmix.dataset.geometry import bin_sides
from napari_spotmix.io import make_recipe, write_outputs
from napari_spotmix.output.report import joint_report, make_report, write_report
from napari_spotmix.output.report.content import content_of, facts_of
from napari_spotmix.output.report.maps import painted, rasterize, tissue_picture
from napari_spotmix.output.scene import scene_of
from napari_spotmix.result import Provenance, Result
from tests.output.report.sections import HOSTILE, a_section

PLAIN = ("Macrophage", "Fibroblast", "B cell")


@pytest.fixture(scope="module")
def section() -> Result:
    return a_section()


def written(folder: Path, result: Result) -> Path:
    recipe = make_recipe({"spatial": {"path": "liver/outs", "files": []}}, result.parameters)
    write_outputs(folder, adata=result.to_anndata(), proportions=result.proportions, recipe=recipe)
    return folder


def picture_of(uri: str) -> np.ndarray:
    data = base64.b64decode(uri.split(",", 1)[1])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))


# ------------------------------------------------------------------------------------------------ the page


def test_the_same_result_gives_the_same_bytes(section: Result) -> None:
    assert make_report(section, title="Gut") == make_report(a_section(), title="Gut")


def test_texts_of_files_stay_texts(section: Result) -> None:
    inputs = {"spatial": {"path": "<u>outs", "files": [{"name": "<s>", "bytes": 1, "sha256": "<q>"}]}}
    html = make_report(section, inputs, title="<em>Gut")
    assert not re.search(r"<(script|img|em|u|q|i>counts|i>')\b", html)
    assert "&lt;script&gt;document.title" in html
    assert "{{ 7 * 7 }} &amp; {% include" in html
    assert "B\\u202ellec" in html
    assert "\u202e" not in html


def test_everything_that_was_given_is_shown(section: Result) -> None:
    files = [{"name": "matrix.h5", "bytes": 1234, "sha256": "ab" * 32}]
    html = make_report(section, {"spatial": {"path": "liver/outs", "files": files, "bin_um": 16.0}})
    told = (
        "<code>bin_um</code> 16",
        "<bdi>liver</bdi></h1>",
        "matrix.h5",
        "1,234",
        "ab" * 32,
        "4,359.29",
        "33.26 ± 3.78",
        "learned",
    )
    assert [words for words in told if words not in html] == []
    assert "held-out genes best." in html
    assert "Type &#39;T &lt;i&gt;&#39; has 3 cells." in html


def test_the_page_may_load_nothing(section: Result) -> None:
    html = make_report(section)
    assert "default-src 'none'; img-src data:" in html
    sources = re.findall(r'(?:src|href)="([^"]{5})', html)
    assert len(sources) > 10
    assert all(source.startswith(("data:", "#")) for source in sources)


def test_a_result_without_parameters_is_reported(section: Result) -> None:
    none = csr_array(section.weights.shape)
    bare = replace(section, provenance=Provenance(), notes=(), weights=none, standard_errors=pd.DataFrame())
    html = make_report(bare)
    assert "Which types are near each other" not in html
    assert "The smoothing was given" in html
    assert "What to know" not in html


def test_a_recipe_that_was_edited_is_shown_without_what_is_wrong(section: Result) -> None:
    files = [{"name": "a.h5"}, {"name": "b.h5", "bytes": 1, "sha256": "0a"}]
    html = make_report(
        section, {"spatial": {"files": files}, "reference": "cells.h5ad", "more": {"path": "x"}}
    )
    assert "b.h5" in html
    assert "a.h5" not in html


def test_counts_that_were_not_normalized_have_no_unexplained_share(section: Result) -> None:
    html = make_report(replace(section, provenance=Provenance({"normalize": False})))
    assert "The unexplained share is not defined" in html


def test_facts_are_those_of_the_estimated_spots(section: Result) -> None:
    facts = {fact.name: (fact.value, fact.hint) for fact in facts_of(section)}
    assert facts["Spots estimated"] == ("143", "of 144")
    assert facts["Median counts per spot"][0] == "72"
    assert facts["Median unexplained share"][0] == "10%"
    assert facts["Median standard error"][0] == "± 5.0%"


def test_types_come_with_their_numbers_the_most_abundant_first() -> None:
    result = a_section(names=PLAIN)
    content = content_of(result, {}, "", silent)
    means = result.mean_proportions.sort_values(ascending=False)
    assert [one["name"] for one in content["types"]] == list(means.index)
    first = content["types"][0]
    assert first["mean"] == pytest.approx(means.iloc[0])
    assert first["high"] == pytest.approx(result.proportions[first["name"]].quantile(0.9))
    assert sum(number for _, _, number in content["legend"]) == 143


def test_the_description_of_a_map_says_where_a_type_is() -> None:
    types = content_of(a_section(names=PLAIN), {}, "", silent)["types"]
    words = {one["name"]: one["map"].words for one in types}
    assert re.search("most of it in the (upper|middle|lower)? ?left", words["Macrophage"])
    assert re.search("most of it in the (upper|middle|lower)? ?right", words["Fibroblast"])


def test_pairs_that_avoid_each_other_are_named() -> None:
    pairs = content_of(a_section(names=PLAIN), {}, "", silent)["pairs"]
    assert pairs["apart"][0][:2] == ("Macrophage", "Fibroblast")
    assert pairs["rows"][0][0]["color"] == "", "the diagonal is no evidence"
    assert int(pairs["rows"][0][1]["color"][5:], 16) > int(pairs["rows"][0][1]["color"][1:3], 16), "blue"


def test_the_memory_layout_of_a_table_changes_nothing(section: Result) -> None:
    table = section.abundances.ffill()
    values = table.to_numpy()
    layouts = [np.ascontiguousarray(values), np.asfortranarray(values)]
    found = [
        content_of(replace(section, abundances=pd.DataFrame(one, table.index, table.columns)), {}, "", silent)
        for one in layouts
    ]
    assert [one["mean"] for one in found[0]["types"]] == [one["mean"] for one in found[1]["types"]]


def test_a_report_is_cancelled_between_any_two_maps(section: Result) -> None:
    told: list[Progress] = []
    make_report(section, on_progress=told.append)
    assert len(told) > len(section.cell_types)

    def stop(progress: Progress) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        make_report(section, on_progress=stop)


# -------------------------------------------------------------------------------------------- its pictures


def test_a_map_has_the_color_of_each_spot_at_its_position(section: Result) -> None:
    scene = scene_of(section)
    raster = rasterize(scene, None, 700, "", silent)
    codes = np.arange(len(scene.spots)) % 2
    colors = np.array([[1.0, 0, 0, 1], [0, 0, 1.0, 0.5]])
    pixels = picture_of(painted(raster, codes, colors))
    left, top, right, _ = scene.region
    x, y = np.floor((scene.xy - (left, top)) * 700 / (right - left)).astype(int).T
    assert (pixels[y, x] == np.rint(255 * colors[codes])).all()
    assert pixels[0, 0, 3] == 0, "between spots the tissue shows"
    area = (raster.cover > 0).sum() / 700**2 * (right - left) ** 2
    assert area == pytest.approx(len(scene.spots) * np.pi * 30**2, rel=0.12)


def test_bins_leave_no_gap_and_no_overlap_even_askew() -> None:
    result = a_section(30, image=False)
    turn = np.array([[np.cos(0.3), np.sin(0.3)], [-np.sin(0.3), np.cos(0.3)]])
    result.spatial.obsm["spatial"] = result.spatial.obsm["spatial"] @ turn
    result.spatial.obs["array_row"], result.spatial.obs["array_col"] = np.divmod(np.arange(900), 30)
    result.spatial.uns["spatial"]["made"]["scalefactors"] |= {
        "spot_diameter_fullres": 100.0,
        "bin_size_um": 8,
    }
    sides = bin_sides(result.spatial)
    raster = rasterize(scene_of(result), sides, 400, "", silent)
    inside = raster.spot >= 0
    filled = inside.sum() * (scene_of(result).region[2] - scene_of(result).region[0]) ** 2 / 400**2
    assert filled == pytest.approx(900 * 100**2, rel=0.03)
    row = np.flatnonzero(inside[200])
    assert len(row) == row[-1] - row[0] + 1


def test_spots_smaller_than_a_pixel_are_seen() -> None:
    result = a_section(40, image=False)
    result.spatial.uns["spatial"]["made"]["scalefactors"]["spot_diameter_fullres"] = 5.0
    raster = rasterize(scene_of(result), None, 200, "", silent)
    assert len(np.unique(raster.spot)) == 1600 + 1


def test_the_tissue_is_at_its_position(section: Result) -> None:
    box = tissue_picture(scene_of(section))
    assert box is not None
    left, _, right, _ = scene_of(section).region
    assert box.left <= max(left, 0)
    assert box.left + box.width >= min(right, 1199)
    assert picture_of(box.uri)[50, 50, :3] == pytest.approx((230, 190, 210), abs=4)
    assert tissue_picture(scene_of(a_section(image=False))) is None


@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_images_of_other_kinds_are_shown(section: Result, kind: type) -> None:
    scale = 65535 if kind is np.uint16 else 1.0
    scene = scene_of(section)
    assert scene.image is not None
    gray = np.full(scene.image[0].shape[:2], 0.5 * scale).astype(kind)
    box = tissue_picture(replace(scene, image=(gray, scene.image[1])))
    assert box is not None
    assert picture_of(box.uri)[20, 20, :3] == pytest.approx(128, abs=2)


def test_more_colors_than_a_palette_holds_are_drawn() -> None:
    result = a_section(names=tuple(f"type {at}" for at in range(80)), image=False)
    abundances = result.abundances.copy()
    abundances.iloc[:80] += np.eye(80)
    result = replace(result, abundances=abundances)
    pixels = picture_of(content_of(result, {}, "", silent)["dominant"].uri)
    drawn = {"#" + bytes(color[:3].tolist()).hex() for color in pixels[pixels[..., 3] == 255]}
    assert drawn >= set(result.colors.values()), "each of 80 types has its own color"


# ------------------------------------------------------------------------------------------ where it stands


def test_a_finished_run_is_reported_in_its_folder(section: Result, tmp_path: Path) -> None:
    folder = written(tmp_path / "run", section)
    page = write_report(folder)
    assert page == folder / "report.html"
    html = page.read_text(encoding="utf-8")
    assert "<bdi>liver</bdi></h1>" in html
    assert html == make_report(section, {"spatial": {"path": "liver/outs", "files": []}})
    assert write_report(folder).read_text(encoding="utf-8") == html, "an older report is replaced"


def test_a_page_of_somebody_else_is_kept(section: Result, tmp_path: Path) -> None:
    folder = written(tmp_path, section)
    (folder / "report.html").write_text("mine")
    with pytest.raises(InputError, match="is not a report of spotmix and is not overwritten"):
        write_report(folder)
    with pytest.raises(InputError, match="is not a report of spotmix and is not overwritten"):
        written(folder, section)
    assert (folder / "report.html").read_text() == "mine"
    assert write_report(folder, tmp_path / "other.html").exists()


def test_a_wrong_name_of_the_page_replaces_no_other_file(section: Result, tmp_path: Path) -> None:
    folder = written(tmp_path, section)
    before = (folder / "spatial.h5ad").read_bytes()
    with pytest.raises(InputError, match=r"must end with .html, found 'spatial.h5ad'"):
        write_report(folder, folder / "spatial.h5ad")
    assert (folder / "spatial.h5ad").read_bytes() == before


def test_a_report_of_other_results_does_not_stay(section: Result, tmp_path: Path) -> None:
    write_report(written(tmp_path, section))
    written(tmp_path, section)
    assert not (tmp_path / "report.html").exists()


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="holds no"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------ together


def test_sections_stand_side_by_side(tmp_path: Path) -> None:
    write_report(written(tmp_path / "a", a_section(names=PLAIN)))
    written(tmp_path / "b", a_section(names=("Macrophage", "Hepatocyte")))
    runs = {"liver <1>": tmp_path / "a", "liver 2": tmp_path / "b"}
    html = joint_report(runs, {"liver 3": "There are <no> spots."}, home=tmp_path)
    assert "2 sections, and 1 that failed." in html
    assert "There are &lt;no&gt; spots." in html
    assert '<a href="./a/report.html"><bdi>liver &lt;1&gt;</bdi></a>' in html
    assert "b/report.html" not in html, "there is none"
    assert html.count("<rect") == 5
    found = re.findall(r'background-color: (#\w{6})"></span><bdi>([\w ]+)</bdi></li>', html)
    colors = {name: color for color, name in found}
    assert len(set(colors.values())) == len(colors) == 4, "each type has a color of its own"
    own = a_section(names=PLAIN).colors
    other = a_section(names=("Macrophage", "Hepatocyte")).colors
    alone = [name for name in colors if (name in own) != (name in other)]
    assert any(colors[name] == (own | other)[name] for name in alone), "that of its report, where it can"
    assert html == joint_report(runs, {"liver 3": "There are <no> spots."}, home=tmp_path)


def test_pieces_of_a_bar_fill_it(tmp_path: Path) -> None:
    html = joint_report({"one": written(tmp_path, a_section(names=PLAIN))})
    widths = [float(width) for width in re.findall(r'<rect x="[\d.]+" y="0" width="([\d.]+)"', html)]
    assert len(widths) == 3
    assert sum(widths) == pytest.approx(100, abs=0.01)


def test_hostile_names_do_nothing_in_a_joint_report(tmp_path: Path) -> None:
    html = joint_report({HOSTILE[2]: written(tmp_path, a_section())}, {HOSTILE[1]: HOSTILE[2]})
    assert not re.search(r"<(script|img)", html)
