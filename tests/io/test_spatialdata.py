"""SpatialData and AnnData stores, written here by spatialdata itself as its readers lay them out."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from napari_spotmix import ReadError, read_spatial
from napari_spotmix.base.errors import Cancelled
from napari_spotmix.dataset.access import tissue_image
from napari_spotmix.dataset.geometry import bin_sides, microns_per_pixel, spot_diameter
from napari_spotmix.io import ReadOptions, bin_sizes, checksums, choices, is_large, reading_notes
from napari_spotmix.io.readers.detect import detect_format
from tests.clock import allowed
from tests.io.layouts import REAL_DATA

#: Pixels of the full-resolution image to one of the smaller one.
SCALE = 20.0
MUSCLE = REAL_DATA / "formats" / "spatialdata_zarr" / "muscle_visium.zarr"
needs_data = pytest.mark.skipif(
    not REAL_DATA.is_dir(), reason="needs real data at ../shared/data, not part of the repository"
)


@contextmanager
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # writing warns of versions to come; reading must not
        yield


def grid(n: int = 12) -> np.ndarray:
    """Places in full-resolution pixels, in an order of their own."""
    x, y = np.meshgrid(np.arange(4.0), np.arange(n / 4.0))
    return np.column_stack([200 + 100 * x.ravel(), 150 + 90 * y.ravel()])


def table(region: str, ids: np.ndarray, name: str = "spot_id") -> anndata.AnnData:
    from spatialdata.models import TableModel

    counts = np.random.default_rng(len(ids)).poisson(2.0, (len(ids), 6)).astype(np.float32)
    obs = pd.DataFrame(
        {"region": pd.Categorical([region] * len(ids)), name: ids}, index=[f"s{i}" for i in ids]
    )
    adata = anndata.AnnData(csr_matrix(counts), obs=obs)
    return TableModel.parse(adata, region=region, region_key="region", instance_key=name)


def image(height: int = 30, width: int = 40) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 255, (3, height, width), dtype=np.uint8)


def visium(region: str = "Vis1", system: str = "Vis1", matrix: Any = None) -> dict[str, Any]:
    """Elements as spatialdata-io's `visium` writes them: circles, and an image that is smaller."""
    from spatialdata.models import Image2DModel, ShapesModel
    from spatialdata.transformations import Identity, Scale

    xy, order = grid(), np.random.default_rng(0).permutation(12)
    smaller = matrix or Scale([SCALE, SCALE], axes=("x", "y"))
    to_image = Scale([1 / SCALE, 1 / SCALE], axes=("x", "y"))
    circles = ShapesModel.parse(
        xy,
        geometry=0,
        radius=30.0,
        index=pd.Index(np.arange(12), name="spot_id"),
        transformations={system: Identity(), f"{system}_downscaled_lowres": to_image},
    )
    lowres = Image2DModel.parse(
        image(),
        dims=("c", "y", "x"),
        c_coords=["r", "g", "b"],
        transformations={system: smaller, f"{system}_downscaled_lowres": Identity()},
    )
    return {region: circles, f"{region}_lowres_image": lowres, "table": table(region, order)}


def written(path: Path, elements: dict[str, Any]) -> Path:
    import spatialdata

    with quiet():
        spatialdata.SpatialData.init_from_elements(elements).write(path)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with quiet():
        elements = visium()
    return written(tmp_path / "vis.zarr", elements)


def test_visium_store_is_laid_out_like_its_folder(store):
    adata = read_spatial(store)
    assert detect_format(store).words == "a SpatialData store"
    assert np.array_equal(adata.obsm["spatial"], grid()[adata.obs["spot_id"]])
    assert spot_diameter(adata) == pytest.approx(60.0)
    pixels, per_pixel = tissue_image(adata)
    assert np.array_equal(pixels, np.moveaxis(image(), 0, -1))
    assert per_pixel == pytest.approx(SCALE)
    assert any("the coordinate system 'Vis1'" in note for note in reading_notes(adata))


def test_files_of_the_table_its_region_and_images_are_listed(store):
    (sums,) = checksums({"spatial": store}).values()
    names = [one["name"] for one in sums["files"]]
    assert {name.split("/")[0] for name in names} == {"zarr.json", "tables", "shapes", "images"}
    assert len(names) == len(set(names))
    assert not is_large(store)


def test_image_that_is_moved_gives_its_own_pixels(tmp_path):
    from spatialdata.transformations import Affine

    moved = Affine(
        [[0, SCALE, 30], [SCALE, 0, -40], [0, 0, 1]], input_axes=("x", "y"), output_axes=("x", "y")
    )
    with quiet():
        elements = visium(matrix=moved)
    adata = read_spatial(written(tmp_path / "a.zarr", elements))
    x, y = grid()[adata.obs["spot_id"]].T
    assert np.allclose(adata.obsm["spatial"], np.column_stack([(y + 40) / SCALE, (x - 30) / SCALE]))
    assert tissue_image(adata)[1] == pytest.approx(1.0)
    assert spot_diameter(adata) == pytest.approx(60.0 / SCALE)


def test_square_bins_of_visium_hd(tmp_path):
    from geopandas import GeoDataFrame
    from shapely.geometry import box
    from spatialdata.models import Image2DModel, ShapesModel
    from spatialdata.transformations import Identity

    elements: dict[str, Any] = {}
    with quiet():
        for um, side in ((2, 8.0), (8, 32.0), (16, 64.0)):
            places = np.arange(4) * side
            squares = [box(x, 0, x + side, side) for x in places]
            frame = GeoDataFrame(geometry=squares, index=pd.Index(np.arange(4), name="location_id"))
            region = f"hd_square_{um:03}um"
            elements[region] = ShapesModel.parse(frame, transformations={"hd": Identity()})
            elements[f"square_{um:03}um"] = table(region, np.array([2, 0, 3, 1]), "location_id")
        full = np.random.default_rng(0).integers(0, 255, (3, 200, 4100), dtype=np.uint8)
        elements["hd_full_image"] = Image2DModel.parse(
            full, dims=("c", "y", "x"), scale_factors=[2], transformations={"hd": Identity()}
        )
    store = written(tmp_path / "hd.zarr", elements)
    assert [size.um for size in bin_sizes(store)] == [2, 8, 16]
    adata = read_spatial(store)
    assert np.array_equal(adata.obsm["spatial"], [[80, 16], [16, 16], [112, 16], [48, 16]])
    assert microns_per_pixel(adata) == pytest.approx(0.25)
    assert bin_sides(adata) is not None
    pixels, per_pixel = tissue_image(adata)
    assert pixels.shape == (100, 2050, 3), "the finest level that is not too large"
    assert per_pixel == pytest.approx(2.0)
    assert "choose others with `table`: 'square_016um" in reading_notes(adata)[0]
    assert spot_diameter(read_spatial(store, bin_um=16)) == pytest.approx(64.0)
    assert spot_diameter(read_spatial(store, table="square_002um")) == pytest.approx(8.0)
    with pytest.raises(
        ReadError, match=r"`bin_um`: bins of 5 µm were not found; the store has '2', '8', '16'"
    ):
        read_spatial(store, bin_um=5)
    with pytest.raises(ReadError, match=r"`table`: 'x' was not found; the store has 'square_008um"):
        read_spatial(store, table="x")
    offered = choices(store, ReadOptions(bin_um=16))
    assert [size.um for size in offered.bin_sizes] == [2, 8, 16]
    assert offered.tables == ("square_016um: hd_square_016um",), "those of other bins are other sizes"


def test_coordinates_come_from_labels_too(tmp_path):
    from spatialdata.models import Labels2DModel

    marks = np.zeros((20, 30), dtype=np.int32)
    marks[2:6, 10:14], marks[10:14, 20:24] = 5, 9
    with quiet():
        elements = {
            "cells": Labels2DModel.parse(marks, dims=("y", "x")),
            "table": table("cells", np.array([9, 5])),
        }
    adata = read_spatial(written(tmp_path / "a.zarr", elements))
    assert np.array_equal(adata.obsm["spatial"], [[22, 12], [12, 4]])
    assert any("No image" in note for note in reading_notes(adata))


def test_sections_of_one_table_are_read_one_by_one(tmp_path):
    from spatialdata.models import TableModel

    with quiet():
        first, second = visium("A", "A"), visium("B", "B")
        both = anndata.concat([first.pop("table"), second.pop("table")], index_unique="-", keys=["a", "b"])
        both.obs["region"] = both.obs["region"].astype("category")
        both = TableModel.parse(both, region=["A", "B"], region_key="region", instance_key="spot_id")
    store = written(tmp_path / "a.zarr", first | second | {"table": both})
    assert set(read_spatial(store).obs["region"]) == {"A"}
    adata = read_spatial(store, table="B")
    assert set(adata.obs["region"]) == {"B"}
    assert list(adata.uns["spatial"]) == ["B"]


def test_spots_without_a_shape_are_reported(tmp_path):
    with quiet():
        elements = visium() | {"table": table("Vis1", np.arange(5, 15))}
    with pytest.raises(ReadError, match="3 of 10 spots of the table 'table' have no shape in 'Vis1'"):
        read_spatial(written(tmp_path / "a.zarr", elements))


def test_store_without_a_table_is_reported(tmp_path):
    with quiet():
        elements = visium()
        del elements["table"]
    with pytest.raises(ReadError, match="without a table"):
        read_spatial(written(tmp_path / "a.zarr", elements))


def test_damaged_store_is_reported(store):
    next((store / "shapes").rglob("shapes.parquet")).write_bytes(b"PAR1 and no more")
    with pytest.raises(ReadError, match="is damaged"):
        read_spatial(store)


def test_a_cancel_is_noticed_while_a_library_reads(store, monkeypatch):
    import spatialdata

    monkeypatch.setattr(spatialdata, "read_zarr", lambda *_, **__: time.sleep(2))
    started = time.monotonic()

    def cancel(_):
        if time.monotonic() - started > 0.2:
            raise Cancelled

    with pytest.raises(Cancelled):
        read_spatial(store, on_progress=cancel)
    assert time.monotonic() - started < allowed(1.0)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_anndata_store_of_spots(tmp_path, zarr_format):
    adata = anndata.AnnData(csr_matrix(np.ones((12, 3), np.float32)), obsm={"spatial": grid()})
    with quiet(), anndata.settings.override(zarr_write_format=zarr_format):
        adata.write_zarr(tmp_path / "a.zarr")
    again = read_spatial(tmp_path / "a.zarr", backed=True)
    assert np.array_equal(again.obsm["spatial"], grid())
    assert "Zarr stores cannot be read in blocks" in reading_notes(again)[0]
    assert all(one["sha256"] for one in checksums({"spatial": tmp_path / "a.zarr"})["spatial"]["files"])


@needs_data
def test_real_store_agrees_with_the_folder_it_was_made_of():
    adata = read_spatial(MUSCLE)
    outs = read_spatial(REAL_DATA / "demo/mouse_muscle_injury_visium/outs")
    assert np.array_equal(adata.obsm["spatial"], outs[adata.obs_names].obsm["spatial"])
    (theirs,), (ours,) = (one.uns["spatial"].values() for one in (outs, adata))
    assert np.array_equal(theirs["images"]["lowres"], ours["images"]["lowres"])
    for factor in ("tissue_lowres_scalef", "spot_diameter_fullres"):
        assert ours["scalefactors"][factor] == pytest.approx(theirs["scalefactors"][factor], rel=1e-4)
    assert microns_per_pixel(adata) == pytest.approx(microns_per_pixel(outs))
