"""Micrometers per pixel and the shape of spots, of all that is read or simulated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from napari_spotmix import read_spatial, simulate
from napari_spotmix.dataset.access import tissue_image
from napari_spotmix.dataset.geometry import (
    bin_sides,
    microns_per_pixel,
    placed_spots,
    spot_diameter,
)
from tests.io.layouts import HEADER, REAL_DATA, SCALE_FACTORS, Section, write_folder

PX_PER_UM = 1.7


def section(
    layout: str = "hexagonal", *, degrees: float = 0.0, mirrored: bool = False, **factors: Any
) -> AnnData:
    """Return 12 x 12 spots, 100 um apart, at 1.7 pixels per um."""
    rows, columns = (grid.ravel() for grid in np.mgrid[:12, :12])
    um = np.stack([columns, rows], axis=1) * 100.0
    if layout == "hexagonal":
        columns = 2 * columns + rows % 2
        um = np.stack([columns * 50.0, rows * 50.0 * np.sqrt(3)], axis=1)
    angle = np.deg2rad(degrees)
    turned = um @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    obs = pd.DataFrame({"array_row": rows, "array_col": columns}, index=[f"s{at}" for at in range(144)])
    adata = AnnData(np.ones((144, 1), np.float32), obs=obs)
    adata.obsm["spatial"] = turned * ([-PX_PER_UM, PX_PER_UM] if mirrored else PX_PER_UM) + 900
    adata.uns["spatial"] = {"made": {"images": {}, "scalefactors": factors}}
    return adata


@pytest.mark.parametrize("diameter_um", [55.0, 65.0])
@pytest.mark.parametrize(("degrees", "mirrored"), [(0, False), (3, True), (90, False), (211, False)])
def test_the_scale_of_visium_follows_from_its_array_whatever_the_given_diameter(
    diameter_um: float, degrees: float, mirrored: bool
) -> None:
    adata = section(degrees=degrees, mirrored=mirrored, spot_diameter_fullres=diameter_um * PX_PER_UM)
    assert microns_per_pixel(adata) == pytest.approx(1 / PX_PER_UM)
    few = adata[[0, 14, 30, 91, 140]].copy()  # no two of which are neighbors
    assert microns_per_pixel(few) == pytest.approx(1 / PX_PER_UM)


def test_what_the_file_says_comes_first() -> None:
    adata = section(spot_diameter_fullres=65 * PX_PER_UM, microns_per_pixel=0.25)
    assert microns_per_pixel(adata) == 0.25
    adata = section("square", spot_diameter_fullres=32.0, bin_size_um=8.0)
    assert microns_per_pixel(adata) == 0.25


def test_a_diameter_alone_gives_no_scale() -> None:
    given = {"spot_diameter_fullres": 65 * PX_PER_UM}
    assert microns_per_pixel(section("square", **given)) is None, "no rows that alternate"
    assert microns_per_pixel(section(spot_diameter_fullres=99 * PX_PER_UM)) is None, "spots too large"
    assert microns_per_pixel(section()) is None
    no_array = section(**given)
    no_array.obs = no_array.obs.drop(columns="array_row")
    assert microns_per_pixel(no_array) is None
    askew = section(**given)
    askew.obsm["spatial"] = askew.obsm["spatial"] * [1.0, 1.2]
    assert microns_per_pixel(askew) is None
    no_factors = section(**given)
    del no_factors.uns["spatial"]
    assert microns_per_pixel(no_factors) is None


def test_a_spot_without_coordinates_changes_nothing() -> None:
    adata = section(spot_diameter_fullres=65 * PX_PER_UM)
    adata.obsm["spatial"][7] = np.nan
    assert microns_per_pixel(adata) == pytest.approx(1 / PX_PER_UM)
    assert len(placed_spots(adata)) == 143


@pytest.mark.parametrize("layout", ["hexagonal", "square"])
def test_simulated_tissue_has_its_scale(layout: str) -> None:
    adata = simulate(n_spots=80, n_genes=120, n_cell_types=4, layout=layout, image=False).spatial
    pitch = {"hexagonal": 100.0, "square": 4.0}[layout]
    xy = adata.obsm["spatial"]
    nearest = np.sort(np.linalg.norm(xy[:, None] - xy[None], axis=2), axis=1)[:, 1].min()
    assert nearest * microns_per_pixel(adata) == pytest.approx(pitch)


def test_space_ranger_output_has_its_scale(tmp_path: Path) -> None:
    made = section()
    xy, names = made.obsm["spatial"], list(made.obs_names)
    counts = np.ones((144, 1), int)
    write_folder(
        tmp_path, Section(counts, names, ["g"], ["g"], ["Gene Expression"], np.ones(144, int), *xy.T[::-1])
    )
    table = made.obs.assign(in_tissue=1, y=xy[:, 1], x=xy[:, 0])[
        ["in_tissue", "array_row", "array_col", "y", "x"]
    ]
    table.to_csv(
        tmp_path / "spatial" / "tissue_positions.csv", header=HEADER.split(",")[1:], index_label="barcode"
    )
    factors = tmp_path / "spatial" / "scalefactors_json.json"
    factors.write_text(json.dumps(SCALE_FACTORS | {"spot_diameter_fullres": 65 * PX_PER_UM}))
    assert microns_per_pixel(read_spatial(tmp_path)) == pytest.approx(1 / PX_PER_UM)


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="needs real data at ../shared/data")
@pytest.mark.parametrize("folder", ["demo/mouse_muscle_injury_visium", "formats/seurat_visium_and_hd/visium"])
def test_real_spots_are_65_um_by_their_scale_factors(folder: str) -> None:
    """Neighbors are 100 um apart, so that lengths by a diameter taken for 55 um would be 15% too short."""
    adata = read_spatial(REAL_DATA / folder)
    assert spot_diameter(adata) * microns_per_pixel(adata) == pytest.approx(65, rel=0.01)


def test_bins_are_squares_along_their_array() -> None:
    adata = section("square", degrees=30, spot_diameter_fullres=100 * PX_PER_UM)
    sides = bin_sides(adata)
    assert sides is not None
    np.testing.assert_allclose(sides[0], adata.obsm["spatial"][1] - adata.obsm["spatial"][0])
    np.testing.assert_allclose(sides[1], adata.obsm["spatial"][12] - adata.obsm["spatial"][0])
    assert bin_sides(section("square", spot_diameter_fullres=50 * PX_PER_UM)) is None
    assert bin_sides(section(spot_diameter_fullres=65 * PX_PER_UM)) is None
    no_array = section(spot_diameter_fullres=30.0, bin_size_um=8.0)
    no_array.obs = no_array.obs[[]]
    np.testing.assert_array_equal(bin_sides(no_array), 30.0 * np.eye(2))


def test_the_diameter_is_half_the_distance_if_not_given() -> None:
    assert spot_diameter(section()) == pytest.approx(50 * PX_PER_UM)
    assert spot_diameter(section(spot_diameter_fullres=0.0)) == pytest.approx(50 * PX_PER_UM)


def test_the_finest_image_with_a_scale_factor_is_used() -> None:
    adata = section(tissue_lowres_scalef=0.1)
    images = {"hires": np.zeros((20, 10, 3), np.uint8), "lowres": np.zeros((4, 2, 3), np.uint8)}
    adata.uns["spatial"]["made"]["images"] = images
    pixels, step = tissue_image(adata)
    assert pixels.shape == (4, 2, 3)
    assert step == 10.0
