"""Visium HD: any size of its bins, from any folder of the run, in register and in micrometers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_spotmix import Cancelled, ReadError, read_spatial
from napari_spotmix.base.progress import Progress
from napari_spotmix.dataset.geometry import bin_sides, microns_per_pixel, spot_diameter
from napari_spotmix.io import bin_sizes, checksums, files_read, is_on_disk, reading_notes
from napari_spotmix.io.readers.detect import detect_format
from napari_spotmix.io.readers.options import ReadOptions
from tests.io.layouts import bins, image, section, write_folder, write_h5, write_hd, write_parquet


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that no test changes; returns its ``outs``."""
    return write_hd(tmp_path_factory.mktemp("Brain") / "outs")


@pytest.fixture
def outs(tmp_path: Path) -> Path:
    return write_hd(tmp_path / "outs", sizes=(8, 16))


def square(outs: Path, um: int = 8) -> Path:
    return outs / "binned_outputs" / f"square_{um:03d}um"


def refusal(path: Path, **how: object) -> str:
    with pytest.raises(ReadError) as caught:
        read_spatial(path, **how)
    return str(caught.value)


@pytest.mark.parametrize("um", [2, 8, 16])
@pytest.mark.parametrize("place", ["..", ".", "binned_outputs"])
def test_a_size_is_read_from_any_folder_of_the_run(run, um, place):
    adata = read_spatial(run / place, bin_um=um)
    expected = bins(um)
    inside = expected.in_tissue == 1
    assert np.array_equal(adata.X.toarray(), expected.counts[inside])
    assert list(adata.obs_names) == list(np.array(expected.barcodes)[inside])
    np.testing.assert_array_equal(adata.obsm["spatial"], expected.xy[inside])
    assert adata.obs["array_row"].iloc[-1] == int(adata.obs_names[-1].split("_")[2])
    assert adata.obs["array_col"].iloc[-1] == int(adata.obs_names[-1].split("_")[3][:5])
    assert list(adata.uns["spatial"]) == ["section_1"]
    assert np.array_equal(adata.uns["spatial"]["section_1"]["images"]["hires"], image("hires"))


@pytest.mark.parametrize("um", [2, 8, 16])
def test_bins_are_squares_of_their_size(run, um):
    adata = read_spatial(run, bin_um=um)
    assert microns_per_pixel(adata) == 2.0
    assert spot_diameter(adata) * microns_per_pixel(adata) == um
    sides = bin_sides(adata) * microns_per_pixel(adata)
    np.testing.assert_allclose(np.linalg.norm(sides, axis=1), um)
    np.testing.assert_allclose(sides[0], [um, um * 0.01], rtol=1e-3)


def test_bins_of_8_um_are_the_default_with_a_note(run):
    adata = read_spatial(run)
    assert adata.n_obs == 18**2 - 3
    assert reading_notes(adata) == (
        "Bins of 8 µm were read; this run has 2, 8 and 16 µm. "
        "Choose another size with `bin_um` (in napari: Bin size).",
    )


def test_a_chosen_bin_size_is_not_noted(run):
    assert reading_notes(read_spatial(run, bin_um=16)) == ()
    assert reading_notes(read_spatial(square(run, 2))) == ()


@pytest.mark.parametrize(("sizes", "um"), [((2, 16), 16), ((2,), 2), ((2, 12, 48), 12)])
def test_without_8_um_the_nearest_size_is_read(tmp_path, sizes, um):
    adata = read_spatial(write_hd(tmp_path / "outs", sizes))
    assert adata.uns["spatial"]["section_1"]["scalefactors"]["bin_size_um"] == um


def test_bin_sizes_come_with_the_number_of_bins(run):
    assert [(size.um, size.n_bins) for size in bin_sizes(run)] == [(2, 5181), (8, 321), (16, 78)]
    assert [size.um for size in bin_sizes(square(run, 16))] == [16]


@pytest.mark.parametrize("matrix", ["h5", "mtx", "mtx.gz"])
@pytest.mark.parametrize("raw", [False, True])
def test_every_matrix_gives_the_same_bins(tmp_path, run, matrix, raw):
    outs = write_hd(tmp_path / "outs", (16,), matrix=matrix, raw=raw)
    found, expected = read_spatial(outs), read_spatial(run, bin_um=16)
    assert (found.X != expected.X).nnz == 0
    assert found.obs.equals(expected.obs)
    assert [size.n_bins for size in bin_sizes(outs)] == [81 if raw else 78]


def test_array_indices_come_from_barcodes_if_the_positions_lack_them(tmp_path, run):
    found = read_spatial(write_hd(tmp_path / "outs", (16,), array=False))
    assert found.obs.equals(read_spatial(run, bin_um=16).obs)


def test_barcodes_without_array_indices_are_refused(outs):
    made = bins(8)
    made.barcodes = [f"bin{number}" for number in range(len(made.barcodes))]
    write_h5(square(outs) / "filtered_feature_bc_matrix.h5", made, made.in_tissue == 1)
    write_parquet(square(outs) / "spatial" / "tissue_positions.parquet", made, array=False)
    assert "must have the columns 'array_row', 'array_col', or barcodes of Visium HD" in refusal(outs)


def test_counts_may_stay_in_their_file(run):
    on_disk, in_memory = read_spatial(run, backed=True), read_spatial(run)
    assert is_on_disk(on_disk.X)
    assert (on_disk.X.to_memory() != in_memory.X).nnz == 0
    assert on_disk.obs.equals(in_memory.obs)


def test_an_unknown_bin_size_is_refused_with_the_known_ones(run):
    assert "bins of 5 µm were not found; the run has 2, 8 and 16 µm." in refusal(run, bin_um=5)
    words = "the run has 16 µm. For other sizes choose the folder that holds"
    assert words in refusal(square(run, 16), bin_um=8)


def test_spots_have_no_size_to_choose(tmp_path):
    words = refusal(write_folder(tmp_path / "outs", section()), bin_um=8)
    assert "`bin_um` needs data with several bin sizes, found a Space Ranger folder. Leave it out." in words


def test_a_size_without_its_matrix_is_not_offered(outs):
    (square(outs, 16) / "filtered_feature_bc_matrix.h5").unlink()
    assert [size.um for size in bin_sizes(outs)] == [8]
    (square(outs, 8) / "filtered_feature_bc_matrix.h5").unlink()
    for place in (outs.parent, outs, outs / "binned_outputs", square(outs)):
        assert "is Visium HD output without a count matrix" in refusal(place)


def test_a_renamed_folder_of_bins_is_known_by_its_positions(outs):
    folder = square(outs, 16).rename(outs.parent / "GSM7_bins")
    assert detect_format(folder).kind == "visium_hd"
    assert [size.um for size in bin_sizes(folder)] == [16]
    assert microns_per_pixel(read_spatial(folder)) == 2.0


@pytest.mark.parametrize("value", ["-8", "0", "NaN", '"eight"', "null"])
def test_an_invalid_bin_size_is_reported_like_any_other_damage(outs, value):
    folder = square(outs, 16).rename(outs.parent / "GSM7_bins")
    path = folder / "spatial" / "scalefactors_json.json"
    path.write_text(path.read_text().replace('"bin_size_um": 16.0', f'"bin_size_um": {value}'))
    assert bin_sizes(folder) == []
    assert "every factor must be a number above 0" in refusal(folder)


def test_the_bin_size_comes_from_the_folder_if_the_scale_factors_lack_it(outs):
    path = square(outs) / "spatial" / "scalefactors_json.json"
    factors = json.loads(path.read_text())
    del factors["bin_size_um"], factors["microns_per_pixel"]
    path.write_text(json.dumps(factors))
    assert microns_per_pixel(read_spatial(outs)) == 2.0


def test_the_images_of_the_run_serve_a_size_that_lacks_them(outs):
    for path in square(outs).glob("spatial/*.png"):
        path.rename(outs / "spatial" / path.name)
    (square(outs) / "spatial" / "tissue_hires_image.png").symlink_to("gone.png")
    (library,) = read_spatial(outs).uns["spatial"].values()
    assert set(library["images"]) == {"hires", "lowres"}


def test_cells_of_version_4_are_noted_and_their_bins_read(tmp_path):
    outs = write_hd(tmp_path / "outs", (8,), segmented=True)
    assert any("`segmented_outputs`) were not read" in note for note in reading_notes(read_spatial(outs)))
    assert "filtered_feature_cell_matrix.h5" in refusal(outs / "segmented_outputs")
    shutil.rmtree(outs / "binned_outputs")
    assert "filtered_feature_cell_matrix.h5" in refusal(outs)


def test_barcodes_of_another_size_are_refused(outs):
    shutil.copy(square(outs, 16) / "spatial" / "tissue_positions.parquet", square(outs, 8) / "spatial")
    words = refusal(outs)
    assert "321 of 321 barcodes of `filtered_feature_bc_matrix.h5` are missing from" in words
    assert "the same run and bin size" in words


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("in_tissue", 7, "in_tissue must be 0 or 1"),
        (
            "pxl_row_in_fullres",
            np.nan,
            "pxl_row_in_fullres must be a number in every row, found none for 's_",
        ),
        ("pxl_col_in_fullres", "left", "is damaged"),
        (
            "barcode",
            "s_008um_00000_00000-1",
            "must list each barcode once, found 1 more than once: 's_008um_00000_00000-1'",
        ),
    ],
)
def test_damaged_positions_are_reported(outs, column, values, words):
    write_parquet(square(outs) / "spatial" / "tissue_positions.parquet", bins(8), **{column: values})
    assert words in refusal(outs)


def test_positions_that_lack_a_column_are_reported(outs):
    path = square(outs) / "spatial" / "tissue_positions.parquet"
    pd.read_parquet(path).drop(columns="in_tissue").to_parquet(path)
    assert "must have the columns 'in_tissue'; found 'barcode', 'array_row'" in refusal(outs)


def test_truncated_positions_are_reported(outs):
    path = square(outs) / "spatial" / "tissue_positions.parquet"
    path.write_bytes(path.read_bytes()[:-300])
    assert "binned_outputs/square_008um/spatial/tissue_positions.parquet` is damaged" in refusal(outs)


def test_positions_as_a_table_are_read_too(outs, run):
    path = square(outs) / "spatial" / "tissue_positions.parquet"
    pd.read_parquet(path).to_csv(path.with_suffix(".csv"), index=False)
    path.unlink()
    assert read_spatial(outs).obs.equals(read_spatial(run).obs)


def test_only_files_of_the_chosen_size_are_kept_track_of(run):
    names = [path.relative_to(run).as_posix() for path in files_read(run, ReadOptions(bin_um=16))]
    assert names[:2] == [
        "binned_outputs/square_016um/filtered_feature_bc_matrix.h5",
        "binned_outputs/square_016um/spatial/tissue_positions.parquet",
    ]
    entry = checksums({"spatial": run}, ReadOptions(bin_um=16))["spatial"]
    assert "format" not in entry
    assert [file["name"] for file in entry["files"]] == names


@pytest.mark.parametrize("stage", ["Reading counts", "Reading positions", "Finding positions"])
def test_reading_can_be_stopped_within_its_parts(run, stage):
    def stop(progress: Progress) -> None:
        if progress.stage == stage:
            raise Cancelled

    with pytest.raises(Cancelled):
        read_spatial(run, on_progress=stop)
