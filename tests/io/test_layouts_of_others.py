"""Each layout that instruments, programs and archives write gives the counts, names and positions in it."""

from __future__ import annotations

import gzip
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse import csr_matrix

from napari_spotmix import ReadError, read_reference, read_spatial
from napari_spotmix.io import choices, close_files, files_read, reading_notes
from napari_spotmix.io.readers.coordinate_columns import choose_columns
from napari_spotmix.io.readers.outlines import Outlines
from tests.io.layouts import Section, section, write_hd, write_positions
from tests.io.layouts_of_others import (
    CORNERS,
    cosmx,
    curio,
    geo,
    geo_matrix,
    merscope,
    row_names_of_r,
    segmented,
    small,
    write_table,
    xenium,
)


def assert_is(adata: AnnData, made: Section) -> None:
    """Check counts, names and positions, in any order of spots."""
    assert sorted(adata.obs_names) == sorted(made.barcodes)
    assert list(adata.var_names) == made.symbols
    rows = [made.barcodes.index(name) for name in adata.obs_names]
    counts = adata.X.toarray() if hasattr(adata.X, "toarray") else np.asarray(adata.X)
    np.testing.assert_array_equal(counts, made.counts[rows])
    np.testing.assert_allclose(adata.obsm["spatial"], made.xy[rows])


def notes_of(adata: AnnData) -> str:
    return " ".join(reading_notes(adata))


def test_row_names_that_r_calls_x_are_names(tmp_path: Path) -> None:
    made = small()
    adata = read_spatial(row_names_of_r(tmp_path / "r", made))
    assert_is(adata, made)
    assert "'x' and 'y' (not 'X')" in notes_of(adata)


@pytest.mark.parametrize("name", ["object_id", "label", "bin_id", "Unnamed: 0", "X", "my_key", "nr"])
@pytest.mark.parametrize("as_numbers", [True, False])
def test_names_are_the_column_whose_values_match(tmp_path: Path, name: str, as_numbers: bool) -> None:
    made = small()
    folder = row_names_of_r(tmp_path / "r", made)
    if as_numbers:
        made.barcodes = [str(900 + 3 * n) for n in range(len(made.barcodes))]
    write_table(folder / "counts.csv", ["", *made.barcodes], zip(made.symbols, *made.counts, strict=True))
    rows = zip(range(1, 13), "abcdefghijkl", made.barcodes, *made.xy.T, strict=True)
    write_table(folder / "coords.csv", ["fov", "sample", name, "x", "y"], rows)
    adata = read_spatial(folder)
    assert_is(adata, made)
    assert f"Their names are the column {name!r}." in notes_of(adata)


def test_the_names_of_counts_are_the_column_that_matches_the_coordinates(tmp_path: Path) -> None:
    made = small()
    folder = row_names_of_r(tmp_path / "r", made)
    rows = zip(range(1, 13), "abcdefghijkl", made.barcodes, *made.counts.T, strict=True)
    write_table(folder / "counts.csv", ["X", "well", "beadname", *made.symbols], rows)
    assert_is(read_spatial(folder), made)


def test_two_spots_never_share_a_row_because_of_their_suffix(tmp_path: Path) -> None:
    made = small()
    folder = row_names_of_r(tmp_path / "r", made)
    plain = [name.removesuffix("-1") for name in made.barcodes]
    write_table(folder / "coords.csv", ["barcode", "x", "y"], zip(plain, *made.xy.T, strict=True))
    assert_is(read_spatial(folder), made)
    twice = [*made.barcodes[:6], *(name.replace("-1", "-2") for name in made.barcodes[:6])]
    write_table(folder / "counts.csv", ["", *twice], zip(made.symbols, *made.counts, strict=True))
    with pytest.raises(ReadError, match="neither the rows"):
        read_spatial(folder)


@pytest.mark.parametrize("header", ["EntityID", "", "id"])
def test_merscope_is_read_whatever_its_first_column_is_called(tmp_path: Path, header: str) -> None:
    made = small()
    adata = read_spatial(merscope(tmp_path / "merscope", made, header=header))
    assert_is(adata, made)
    assert "1 control (negative controls and blanks, such as 'Blank-1') was dropped." in notes_of(adata)


def test_columns_are_chosen_by_numbers_and_spelling() -> None:
    def chosen(names: list[str], numeric: set[int]) -> list[str]:
        pair = choose_columns(names, numeric)
        return [] if pair is None else [names[pair.x], names[pair.y]]

    assert chosen(["X", "x", "y"], {0, 1, 2}) == ["x", "y"]
    assert chosen(["x", "X", "Y"], {1, 2}) == ["X", "Y"]
    assert chosen(["X", "y", "x_centroid", "y_centroid"], {0, 1, 2, 3}) == ["x_centroid", "y_centroid"]
    assert chosen(["Pixel_X", "Pixel_Y", "x", "y"], {0, 1, 2, 3}) == ["Pixel_X", "Pixel_Y"]
    assert chosen(["X", "y"], {0, 1}) == ["X", "y"]
    assert chosen(["x", "n"], {0, 1}) == []


def test_row_numbers_in_obs_are_not_taken_for_x(tmp_path: Path) -> None:
    made = small()
    obs = pd.DataFrame({"X": np.arange(1, 13), "x": made.xy[:, 0], "y": made.xy[:, 1]}, index=made.barcodes)
    adata = AnnData(made.counts.astype(np.float32), obs=obs, var=pd.DataFrame(index=made.symbols))
    adata.write_h5ad(tmp_path / "section.h5ad")
    read = read_spatial(tmp_path / "section.h5ad")
    assert_is(read, made)
    assert "'x' and 'y' of `obs` (not 'X')" in notes_of(read)


def whole_slide(path: Path, made: Section, in_tissue: object) -> Path:
    obs = pd.DataFrame({"in_tissue": in_tissue}, index=made.barcodes)
    adata = AnnData(csr_matrix(made.counts, dtype=np.float32), obs=obs, var=pd.DataFrame(index=made.symbols))
    adata.obsm["spatial"] = made.xy
    adata.layers["counts"] = adata.X.copy()
    adata.raw = adata
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of formats to come
        getattr(adata, "write_zarr" if path.suffix == ".zarr" else "write_h5ad")(path)
    return path


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
@pytest.mark.parametrize("backed", [False, True])
@pytest.mark.parametrize("values", [(0, 1), (False, True), ("0", "1")])
def test_spots_off_the_tissue_are_left_out_of_anndata_too(
    tmp_path: Path, suffix: str, backed: bool, values: tuple[object, object]
) -> None:
    made = small()
    is_inside = np.arange(12) % 3 > 0
    column = np.array([values[inside] for inside in is_inside.astype(int)])
    adata = read_spatial(whole_slide(tmp_path / f"a.{suffix}", made, column), backed=backed)
    made.counts, made.barcodes = made.counts[is_inside], list(np.array(made.barcodes)[is_inside])
    made.rows_px, made.columns_px = made.rows_px[is_inside], made.columns_px[is_inside]
    assert_is(adata, made)
    assert "4 of 12 spots are not under tissue" in notes_of(adata)
    assert np.array_equal(adata.raw.X.toarray(), adata.X.toarray())
    assert np.array_equal(adata.layers["counts"].toarray(), adata.X.toarray())
    assert ("read into memory" in notes_of(adata)) == backed
    close_files(adata)


def test_all_spots_are_kept_if_none_is_under_tissue(tmp_path: Path) -> None:
    adata = read_spatial(whole_slide(tmp_path / "a.h5ad", small(), 0))
    assert adata.n_obs == 12
    assert "All spots were kept" in notes_of(adata)


@pytest.mark.parametrize("matrix", ["h5", "mtx"])
@pytest.mark.parametrize("spatial", ["", "spatial"])
def test_a_sample_of_geo_is_read_as_it_was_downloaded(tmp_path: Path, matrix: str, spatial: str) -> None:
    made = small()
    geo(tmp_path / "geo", made, "GSM1_A1", matrix=matrix, spatial=spatial)
    adata = read_spatial(tmp_path / "geo")
    assert_is(adata, made)
    (library,) = adata.uns["spatial"].values()
    assert set(library["images"]) == {"hires", "lowres"}
    assert library["scalefactors"]["spot_diameter_fullres"] == 89.4
    assert all(path.exists() for path in files_read(tmp_path / "geo"))
    assert len(files_read(tmp_path / "geo")) == {"h5": 5, "mtx": 7}[matrix]


def test_one_of_several_samples_of_geo_is_chosen_by_its_matrix(tmp_path: Path) -> None:
    first, second = small(), small()
    second.counts = second.counts + 1
    second.rows_px = second.rows_px + 7
    paths = [geo(tmp_path, made, name) for name, made in (("GSM1_A1", first), ("GSM2_B1", second))]
    assert_is(read_spatial(paths[0]), first)
    assert_is(read_spatial(paths[1]), second)
    with pytest.raises(ReadError, match=r"found several: .*GSM1_A1.*choose the matrix of one"):
        read_spatial(tmp_path)


def test_a_reference_of_geo_is_read_with_the_labels_of_its_sample(tmp_path: Path) -> None:
    made, other = small(), small()
    for name, one in (("GSM1", made), ("GSM2", other)):
        geo_matrix(tmp_path, one, name)
        types = [f"{name}_{number % 3}" for number in range(12)]
        rows = zip(one.barcodes, types, strict=True)
        write_table(tmp_path / f"{name}_cell_annotations.csv", ["", "cell_type"], rows)
    adata = read_reference(tmp_path / "GSM2_matrix.mtx.gz")
    np.testing.assert_array_equal(adata.X.toarray(), other.counts)
    assert adata.obs["cell_type"].tolist() == [f"GSM2_{number % 3}" for number in range(12)]
    with pytest.raises(ReadError, match="Expected the matrix of one sample, found several"):
        read_reference(tmp_path)
    (tmp_path / "GSM1_matrix.mtx.gz").unlink()
    assert read_reference(tmp_path).obs["cell_type"].tolist() == adata.obs["cell_type"].tolist()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("scalefactors_json.json.gz", "at most 8 MB when it is unpacked"),
        ("tissue_positions_list.csv.gz", "compress"),
    ],
)
def test_a_small_file_that_unpacks_to_gigabytes_is_refused(tmp_path: Path, name: str, words: str) -> None:
    geo(tmp_path / "geo", small(), "GSM1")
    (tmp_path / "geo" / f"GSM1_{name}").write_bytes(gzip.compress(b" " * (90 << 20)))
    with pytest.raises(ReadError, match=words):
        read_spatial(tmp_path / "geo")


def rings_of(adata: AnnData) -> list[np.ndarray]:
    (library,) = adata.uns["spatial"].values()
    return Outlines(library["outlines"]["vertices"], library["outlines"]["starts"]).rings()


@pytest.mark.parametrize("matrix", ["h5", "mtx"])
@pytest.mark.parametrize("cells", ["parquet", "csv.gz"])
def test_a_xenium_bundle_gives_its_cells_with_outlines(tmp_path: Path, matrix: str, cells: str) -> None:
    made = small()
    folder = xenium(tmp_path / "output-XETG", made, matrix=matrix, cells=cells)
    adata = read_spatial(folder)
    assert_is(adata, made)
    assert "2 features other than genes" in notes_of(adata)
    np.testing.assert_allclose(rings_of(adata), adata.obsm["spatial"][:, None] + CORNERS)
    assert_is(read_spatial(folder / "experiment.xenium"), made)
    assert adata.obs["cell_area"].eq(32).all()
    assert folder / "experiment.xenium" in files_read(folder)


def test_what_is_missing_from_a_xenium_bundle_is_named(tmp_path: Path) -> None:
    folder = xenium(tmp_path / "bundle", small())
    (folder / "cells.parquet").unlink()
    with pytest.raises(ReadError, match="Xenium bundle without its table of cells"):
        read_spatial(folder)


def test_a_cell_without_a_position_is_reported(tmp_path: Path) -> None:
    folder = xenium(tmp_path / "bundle", small())
    table = pd.read_parquet(folder / "cells.parquet")
    table[1:].to_parquet(folder / "cells.parquet")
    with pytest.raises(ReadError, match="1 of 12 cells with counts is missing from"):
        read_spatial(folder)


@pytest.mark.parametrize("zipped", [False, True])
def test_flat_files_of_cosmx_give_cells_without_cell_0_and_controls(tmp_path: Path, zipped: bool) -> None:
    made = small()
    adata = read_spatial(cosmx(tmp_path / "cosmx", made, zipped=zipped))
    assert_is(adata, made)
    assert "2 rows of counts outside of cells (cell 0) were dropped" in notes_of(adata)
    assert "2 controls (negative controls and blanks, such as 'Negative1'" in notes_of(adata)
    assert adata.obs["fov"].value_counts().to_dict() == {"1": 6, "2": 6}


def test_a_folder_of_curio_seeker_gives_its_raw_counts(tmp_path: Path) -> None:
    made = small()
    folder = curio(tmp_path / "curio", made)
    assert_is(read_spatial(folder), made)
    next(folder.glob("*_genes.tsv")).unlink()
    with pytest.raises(ReadError, match=r"output of Curio Seeker without `\*_genes.tsv`"):
        read_spatial(folder)


@pytest.mark.parametrize("matrix", ["h5", "mtx.gz"])
def test_cells_of_space_ranger_4_are_at_the_centers_of_their_outlines(tmp_path: Path, matrix: str) -> None:
    made = small()
    folder = segmented(tmp_path / "run", made, matrix=matrix)
    for path in (folder, folder.parent):
        adata = read_spatial(path)
        assert_is(adata, made)
        np.testing.assert_allclose(
            [ring[:4] for ring in rings_of(adata)], adata.obsm["spatial"][:, None] + CORNERS
        )
    (library,) = adata.uns["spatial"].values()
    assert set(library["images"]) == {"hires", "lowres"}
    adata.write_h5ad(tmp_path / "cells.h5ad")
    np.testing.assert_allclose(rings_of(read_spatial(tmp_path / "cells.h5ad")), rings_of(adata))


def test_of_a_run_with_bins_and_cells_both_can_be_read(tmp_path: Path) -> None:
    made = small()
    outs = write_hd(tmp_path / "outs", (8,))
    segmented(outs, made)
    bins = read_spatial(outs)
    assert bins.n_obs == 321
    assert "`segmented_outputs`) were not read" in notes_of(bins)
    assert_is(read_spatial(outs / "segmented_outputs"), made)
    assert_is(read_spatial(outs, format="segmented_cells"), made)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text[:-200], "ends within its list of features"),
        (lambda text: text.replace('"cell_id": 3', '"cell_id": 4'), "one outline for each cell"),
        (lambda text: text.replace("Polygon", "Point"), "not a polygon"),
        (lambda text: text.replace('"features"', '"cells"'), "no list of features"),
        (
            lambda text: text.replace('"properties"', '"a": ' + "[" * 100_000 + ', "properties"'),
            "without end",
        ),
        (lambda text: '{"features": [' + " {" + '"a": "' + "b" * (6 << 20), "more than 4 MB"),
        (lambda text: text.replace("320", "1e999"), "not a polygon"),
    ],
)
def test_outlines_that_cannot_be_read_are_refused(
    tmp_path: Path, change: Callable[[str], str], words: str
) -> None:
    made = small()
    made.columns_px = made.columns_px + 240  # the first vertex is at 276, the third cell at 320 or so
    folder = segmented(tmp_path / "run", made)
    path = folder / "cell_segmentations.geojson"
    text = path.read_text().replace(str(made.xy[2][0] + 4), "320")
    path.write_text(change(text))
    with pytest.raises(ReadError, match=words):
        read_spatial(folder)


def test_a_table_of_the_single_cell_portal_has_a_line_of_types(tmp_path: Path) -> None:
    made = small()
    folder = row_names_of_r(tmp_path / "portal", made)
    rows = [["TYPE", "numeric", "numeric", "group"]]
    rows += [[name, x, y, "a"] for name, (x, y) in zip(made.barcodes, made.xy.tolist(), strict=True)]
    write_table(folder / "coords.csv", ["NAME", "X", "Y", "cluster"], rows)
    assert_is(read_spatial(folder), made)


def seurat(path: Path, made: Section) -> Path:
    """Write an object of Seurat as SeuratDisk does: logarithms in `X`, counts in `raw`, no coordinates."""
    adata = AnnData(csr_matrix(made.counts, dtype=np.float32))
    adata.obs_names, adata.var_names = made.barcodes, made.symbols
    adata.raw = adata
    adata.X = adata.X.log1p()
    adata.write_h5ad(path)
    return path


@pytest.mark.parametrize("backed", [False, True])
def test_coordinates_are_joined_to_an_h5ad_by_barcode(tmp_path: Path, backed: bool) -> None:
    made = small()
    path = seurat(tmp_path / "seurat.h5ad", made)
    with pytest.raises(ReadError, match="Give a table of coordinates as `coordinates`"):
        read_spatial(path)
    write_positions(tmp_path / "tissue_positions.csv", made, header=True)
    adata = read_spatial(path, coordinates=tmp_path / "tissue_positions.csv", backed=backed)
    assert list(adata.obs_names) == made.barcodes
    np.testing.assert_array_equal(adata.obsm["spatial"], made.xy)
    np.testing.assert_array_equal(adata.raw.X[:].toarray(), made.counts)
    close_files(adata)
    assert choices(path).coordinates
    assert files_read(path) == [path]


def test_coordinates_of_other_spots_are_refused(tmp_path: Path) -> None:
    path = seurat(tmp_path / "seurat.h5ad", small())
    write_table(tmp_path / "xy.csv", ["barcode", "x", "y"], [["other-1", 1, 2], ["other-2", 3, 4]])
    with pytest.raises(ReadError, match="are not those of the counts"):
        read_spatial(path, coordinates=tmp_path / "xy.csv")


def test_a_joined_table_says_which_spots_are_off_the_tissue(tmp_path: Path) -> None:
    made = section(12, n_genes=7, n_outside=3)
    made.symbols = small().symbols
    path = seurat(tmp_path / "seurat.h5ad", made)
    write_positions(tmp_path / "positions.csv", made, header=False)
    adata = read_spatial(path, coordinates=tmp_path / "positions.csv")
    assert list(adata.obs_names) == made.barcodes[:9]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (
            "cells.h5ad.gz",
            gzip.compress(b"cells"),
            "Unpack it first (`gunzip -k cells.h5ad.gz`), and choose 'cells.h5ad'",
        ),
        ("GSE1_RAW.tar", b"a" * 600, "is an archive. Unpack it first (`tar -xf GSE1_RAW.tar`)"),
        ("outs.tar.gz", gzip.compress(b"outs"), "is an archive. Unpack it first (`tar -xzf outs.tar.gz`)"),
        ("section.zarr.zip", b"PK\x03\x04zarr", "is an archive. Unpack it first (`unzip section.zarr.zip`)"),
    ],
)
@pytest.mark.parametrize("read", [read_spatial, read_reference])
def test_what_must_be_unpacked_is_named(
    tmp_path: Path, read: Callable[[Path], AnnData], name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ReadError, match=re.escape(words)):
        read(tmp_path / name)


def as_r_writes(
    path: Path, change: Callable[[str, np.ndarray], np.ndarray] = lambda _, values: values
) -> None:
    """Write the integers of a matrix of 10x again as real numbers, as DropletUtils does from R."""
    with h5py.File(path, "a") as file:
        for name in ("data", "indices", "indptr", "shape"):
            values = file["matrix"][name][:].astype(np.float64)
            del file["matrix"][name]
            file["matrix"][name] = change(name, values)


@pytest.mark.parametrize("backed", [False, True])
def test_integers_that_r_wrote_as_real_numbers_are_read(tmp_path: Path, backed: bool) -> None:
    made = small()
    folder = xenium(tmp_path / "x", made)
    as_r_writes(folder / "cell_feature_matrix.h5")
    assert_is(read_spatial(folder, backed=backed), made)


@pytest.mark.parametrize("name", ["indices", "indptr", "shape"])
@pytest.mark.parametrize("wrong", [0.5, np.nan, np.inf, 1e300, -1.0])
def test_real_numbers_that_are_no_integers_are_refused(tmp_path: Path, name: str, wrong: float) -> None:
    folder = xenium(tmp_path / "x", small())
    as_r_writes(
        folder / "cell_feature_matrix.h5",
        lambda which, values: np.r_[wrong, values[1:]] if which == name else values,
    )
    with pytest.raises(ReadError, match="cell_feature_matrix"):
        read_spatial(folder)
