"""Results for other programs: each file is read back by software that is not ours."""

from __future__ import annotations

import csv
import json
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest

from napari_spotmix import Cancelled, InputError, Result, deconvolve, simulate
from napari_spotmix.base.progress import Progress
from napari_spotmix.dataset.regions import Region
from napari_spotmix.io import write_h5ad
from napari_spotmix.output.exporters import export, export_notes
from tests.cli.commands import fresh_process, spotmix_process
from tests.clock import allowed

#: Each breaks a format that does not escape it.
HOSTILE = ['=HYPERLINK("http://x")', 'NK/T, "odd"\nname </script>']
TRIANGLE = Region('in <b> "quotes"', np.array([[0.0, 0.0], [900.0, 0.0], [0.0, 900.0]]))


@pytest.fixture(scope="module")
def plain() -> Result:
    tissue = simulate(n_spots=60, n_genes=80, n_cell_types=3, n_cells_per_type=20)
    return deconvolve(tissue.spatial, tissue.reference, lambda_c=0.5, n_outer_iterations=0)


@pytest.fixture
def result(plain: Result) -> Result:
    """A result with hostile names, a spot that was not estimated, and one without a place."""
    names = [*HOSTILE, plain.cell_types[2]]
    abundances = plain.abundances.set_axis(names, axis=1)
    abundances.iloc[4] = np.nan
    spatial = plain.spatial.copy()
    spatial.obsm["spatial"] = spatial.obsm["spatial"].astype(float)
    spatial.obsm["spatial"][7] = np.nan
    errors = plain.standard_errors.set_axis(names, axis=1)
    changed = {"abundances": abundances, "standard_errors": errors, "spatial": spatial}
    return replace(plain, **changed, regions=(TRIANGLE,), problem=None)


def read_geojson(path: Path) -> Any:
    """Read it with GDAL, and take its units for pixels: GeoJSON's own would be degrees."""
    geopandas = pytest.importorskip("geopandas", reason="comes with the extra spatialdata")
    return geopandas.read_file(path).set_crs(None, allow_override=True)


@pytest.fixture
def spatialdata() -> Iterator[Any]:
    """The library, which warns of its own and its libraries' housekeeping."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield pytest.importorskip("spatialdata", reason="needs the extra spatialdata")


# -------------------------------------------------------------------------------------------- tables


def test_csv_and_parquet_hold_every_name_and_digit(result: Result, tmp_path: Path) -> None:
    with export(result, tmp_path / "wide.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["spot", *result.cell_types]
    assert [row[0] for row in rows] == list(result.abundances.index)
    assert rows[4][1:] == ["", "", ""]
    assert [float(cell) for cell in rows[0][1:]] == result.proportions.iloc[0].tolist()
    table = pyarrow.parquet.read_table(export(result, tmp_path / "wide.parquet"))
    assert table.column_names == header
    np.testing.assert_array_equal(table.to_pandas().iloc[:, 1:], result.proportions)


def test_the_long_table_has_a_row_for_each_spot_and_type(result: Result, tmp_path: Path) -> None:
    for name in ("long.csv", "long.parquet"):
        path = export(result, tmp_path / name, "long")
        is_csv = path.suffix == ".csv"
        table = pd.read_csv(path, float_precision="round_trip") if is_csv else pd.read_parquet(path)
        wide = table.pivot_table(index="spot", columns="cell_type", values="proportion", sort=False)
        known = result.proportions.dropna()
        assert len(table) == result.proportions.size
        np.testing.assert_allclose(wide.loc[known.index, known.columns], known, rtol=0)
        assert table["x_px"].tolist()[:3] == [result.coordinates[0, 0]] * 3
        assert table["standard_error"].notna().any()
        lower, upper = result.intervals()
        np.testing.assert_allclose(table["lower"], lower.to_numpy().ravel())
        np.testing.assert_allclose(table["upper"], upper.to_numpy().ravel())


def test_loupe_gets_a_category_for_each_barcode_that_has_one(result: Result, tmp_path: Path) -> None:
    with export(result, tmp_path / "types.csv", "loupe").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["Barcode", "Dominant type"]
    assert [tuple(row) for row in rows] == list(result.dominant.dropna().items())
    assert len(rows) == 59


def test_names_that_a_spreadsheet_may_run_are_kept_and_reported(result: Result, tmp_path: Path) -> None:
    (note,) = (note for note in export_notes(result, tmp_path / "a.csv") if "formula" in note)
    assert HOSTILE[0] in note
    assert not [note for note in export_notes(result, tmp_path / "a.geojson") if "formula" in note]


# ------------------------------------------------------------------------------------------- GeoJSON


def test_spots_are_polygons_of_the_size_and_position_of_spots(result: Result, tmp_path: Path) -> None:
    frame = read_geojson(export(result, tmp_path / "spots.geojson"))
    placed = np.delete(np.arange(60), 7)
    assert frame["name"].tolist() == result.abundances.index[placed].tolist()
    assert frame.geometry.is_valid.all()
    assert (frame.geometry.geom_type == "Polygon").all()
    centers = np.column_stack([frame.geometry.centroid.x, frame.geometry.centroid.y])
    np.testing.assert_allclose(centers, result.coordinates[placed], atol=0.01)
    (library,) = result.spatial.uns["spatial"].values()
    circle = np.pi * (library["scalefactors"]["spot_diameter_fullres"] / 2) ** 2
    np.testing.assert_allclose(frame.geometry.area, circle, rtol=0.03)


def test_spots_are_what_qupath_calls_detections(result: Result, tmp_path: Path) -> None:
    collection = json.loads(export(result, tmp_path / "spots.geojson").read_text(encoding="utf-8"))
    assert collection["type"] == "FeatureCollection"
    for spot, feature in zip(np.delete(np.arange(60), 7), collection["features"], strict=True):
        properties = feature["properties"]
        assert properties["objectType"] == "detection"
        dominant = result.dominant.iloc[spot]
        measured = properties["measurements"]
        assert all(isinstance(value, float) for value in measured.values())
        if spot == 4:
            assert "classification" not in properties
            assert not any(key.startswith("Proportion") for key in measured)
        else:
            color = [int(result.colors[dominant][at : at + 2], 16) for at in (1, 3, 5)]
            assert properties["classification"] == {"name": dominant, "color": color}
            assert measured[f"Proportion: {dominant}"] == result.proportions[dominant].iloc[spot]
            assert measured["Counts"] == result.counts.iloc[spot]


def test_bins_are_squares(plain: Result, tmp_path: Path) -> None:
    spatial = plain.spatial.copy()
    (library,) = spatial.uns["spatial"].values()
    library["scalefactors"] = {**library["scalefactors"], "bin_size_um": 8.0}
    side = library["scalefactors"]["spot_diameter_fullres"]
    frame = read_geojson(export(replace(plain, spatial=spatial), tmp_path / "bins.geojson"))
    np.testing.assert_allclose(frame.geometry.area, side**2, rtol=1e-3)
    assert frame.geometry.count_coordinates().eq(5).all()


def test_regions_are_annotations(result: Result, tmp_path: Path) -> None:
    frame = read_geojson(export(result, tmp_path / "regions.geojson", "regions"))
    assert frame["name"].tolist() == [TRIANGLE.name]
    assert frame["objectType"].tolist() == ["annotation"]
    assert frame.geometry.area.tolist() == [900.0**2 / 2]
    with pytest.raises(InputError, match="This result has no regions"):
        export(replace(result, regions=()), tmp_path / "none.geojson", "regions")


# --------------------------------------------------------------------------------------- SpatialData


def test_a_spatialdata_store_has_image_spots_and_table_in_one_coordinate_system(
    spatialdata: Any, result: Result, tmp_path: Path
) -> None:
    store = spatialdata.read_zarr(export(result, tmp_path / "store.zarr"))
    placed = np.delete(np.arange(60), 7)
    of_types = spatialdata.match_element_to_table(store, "spots", "cell_types")[1]
    np.testing.assert_array_equal(of_types.X, result.proportions.loc[of_types.obs["spotmix_spot"]])
    shapes, matched = spatialdata.match_element_to_table(store, "spots", "table")
    assert matched.obs_names.tolist() == result.abundances.index[placed].tolist()
    spots = shapes["spots"]
    (library,) = result.spatial.uns["spatial"].values()
    assert set(spots["radius"]) == {library["scalefactors"]["spot_diameter_fullres"] / 2}
    np.testing.assert_array_equal(
        np.column_stack([spots.geometry.x, spots.geometry.y]), result.coordinates[placed]
    )
    np.testing.assert_array_equal(store["table"].obsm["spotmix"], result.proportions.iloc[placed])
    assert (result.spatial.X[placed] != store["table"].X).nnz == 0
    # The image, in its own smaller pixels, lies under the same place as in full-resolution pixels.
    height, width = library["images"]["hires"].shape[:2]
    factor = library["scalefactors"]["tissue_hires_scalef"]
    extent = spatialdata.get_extent(store["hires_image"], coordinate_system="global")
    np.testing.assert_allclose([extent["x"][1], extent["y"][1]], [width / factor, height / factor])
    again = Result.from_anndata(store["table"])
    assert again.cell_types == result.cell_types


def test_bins_are_squares_in_spatialdata_and_odd_names_are_no_hindrance(
    spatialdata: Any, plain: Result, tmp_path: Path
) -> None:
    spatial = plain.spatial.copy()
    (library,) = spatial.uns["spatial"].values()
    library["scalefactors"] = {**library["scalefactors"], "bin_size_um": 8.0}
    library["images"] = {}
    spatial.obs["n genes (all)"] = 1
    store = spatialdata.read_zarr(export(replace(plain, spatial=spatial), tmp_path / "store.zarr"))
    assert (store["spots"].geometry.geom_type == "Polygon").all()
    assert not store.images
    assert len(store["table"]) == 60


def test_a_file_of_cellxgene_is_exported_with_its_image(
    spatialdata: Any, plain: Result, tmp_path: Path
) -> None:
    """Next to the library, its `uns['spatial']` holds `is_single`, which is no library."""
    spatial = plain.spatial.copy()
    spatial.uns["spatial"] = {"is_single": True, **spatial.uns["spatial"]}
    store = spatialdata.read_zarr(export(replace(plain, spatial=spatial), tmp_path / "store.zarr"))
    assert set(store.images) == {"hires_image", "lowres_image"}


def test_a_type_with_the_name_of_the_folder_above_is_kept_in_spatialdata(
    spatialdata: Any, plain: Result, tmp_path: Path
) -> None:
    names = ["..", *plain.cell_types[1:]]
    errors = plain.standard_errors.set_axis(names, axis=1)
    named = replace(plain, abundances=plain.abundances.set_axis(names, axis=1), standard_errors=errors)
    store = spatialdata.read_zarr(export(named, tmp_path / "store.zarr"))
    assert list(Result.from_anndata(store["table"]).cell_types) == names


def test_spots_of_one_name_are_refused_since_no_store_can_hold_them(plain: Result, tmp_path: Path) -> None:
    pytest.importorskip("spatialdata")
    spatial = plain.spatial.copy()
    spatial.obs_names = ["twice", "twice", *spatial.obs_names[2:]]
    tables = ("abundances", "standard_errors")
    named = {name: getattr(plain, name).set_axis(spatial.obs_names, axis=0) for name in tables}
    with pytest.raises(InputError, match="some spots share a name: 'twice'"):
        export(replace(plain, spatial=spatial, **named), tmp_path / "store.zarr")
    assert not list(tmp_path.iterdir())


def test_a_store_is_never_replaced(result: Result, tmp_path: Path) -> None:
    (tmp_path / "store.zarr").mkdir()
    (tmp_path / "store.zarr" / "mine").touch()
    with pytest.raises(InputError, match="already exists and is not overwritten"):
        export(result, tmp_path / "store.zarr")
    assert [path.name for path in tmp_path.rglob("*")] == ["store.zarr", "mine"]


def test_without_spatialdata_it_is_said_how_to_install_it(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "spatialdata", None)
    with pytest.raises(InputError, match=r"napari-spotmix\[spatialdata\]"):
        export(result, tmp_path / "store.zarr")
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------ whichever


FILES = [("a.csv", None), ("a.parquet", None), ("a.csv", "loupe"), ("a.geojson", None)]


@pytest.mark.parametrize(("name", "kind"), FILES)
def test_an_export_gives_the_same_bytes_each_time(
    result: Result, tmp_path: Path, name: str, kind: str | None
) -> None:
    first = export(result, tmp_path / name, kind).read_bytes()
    assert export(result, tmp_path / name, kind).read_bytes() == first


@pytest.mark.parametrize("name", ["a.csv", "a.geojson", "a.zarr"])
@pytest.mark.parametrize("when", [0.0, 1.0])
@pytest.mark.filterwarnings("ignore")  # spatialdata's own
def test_a_cancelled_export_leaves_nothing_behind(
    result: Result, tmp_path: Path, name: str, when: float
) -> None:
    def cancel(progress: Progress) -> None:
        if progress.fraction >= when:
            raise Cancelled

    with pytest.raises(Cancelled):
        export(result, tmp_path / name, on_progress=cancel)
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore")  # spatialdata's own
def test_a_store_that_is_cancelled_while_it_is_written_is_given_up_at_once(
    result: Result, tmp_path: Path
) -> None:
    told: list[float] = []

    def cancel(progress: Progress) -> None:
        if progress.fraction >= 0.75:
            told.append(time.monotonic())
            if len(told) > 1:  # it is being written
                raise Cancelled

    with pytest.raises(Cancelled):
        export(result, tmp_path / "a.zarr", on_progress=cancel)
    assert time.monotonic() - told[-1] < allowed(0.5)
    for thread in threading.enumerate():
        if thread.name.startswith("spotmix-cancellable"):
            thread.join(30)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("a.txt", None, "must end with one of .csv, .parquet, .geojson, .zarr; found 'a.txt'"),
        ("a.csv", "spots", "must end with .geojson for kind 'spots'; found 'a.csv'"),
        ("a.csv", "excel", "must be one of proportions, long, loupe, spots, regions, spatialdata"),
        ("no/folder/a.csv", None, "does not exist. Create it first"),
    ],
)
def test_what_cannot_be_exported_is_refused(
    result: Result, tmp_path: Path, name: str, kind: str | None, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        export(result, tmp_path / name, kind)


def test_the_command_exports_a_finished_run(result: Result, tmp_path: Path) -> None:
    write_h5ad(result.to_anndata(), tmp_path / "spatial.h5ad")
    done = fresh_process("export", tmp_path, "--to", "types.csv", "--as", "loupe", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Spots that were not estimated have no category and were skipped: 1." in done.stdout
    assert len((tmp_path / "types.csv").read_text(encoding="utf-8").splitlines()) >= 60
    wrong = spotmix_process("export", tmp_path / "none", "--to", "types.xlsx", "--as", "loupe", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "--to must end with .csv for kind 'loupe'" in wrong.stderr
