"""Space Ranger folders: every published layout opens as the same data, and every damage is reported."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from napari_spotmix import Cancelled, ReadError, read_spatial
from napari_spotmix.base.progress import Progress
from napari_spotmix.io import close_files, copied, files_read, is_on_disk, reading_notes, write_h5ad
from tests.io.layouts import HEADER, SCALE_FACTORS, Section, image, section, write_folder, write_h5


@pytest.fixture
def tissue() -> Section:
    return section()


@pytest.fixture
def outs(tmp_path: Path, tissue: Section) -> Path:
    return write_folder(tmp_path / "sample" / "outs", tissue)


def problems_of(path: Path) -> tuple[str, ...]:
    with pytest.raises(ReadError) as caught:
        read_spatial(path)
    return caught.value.problems


@pytest.mark.parametrize("matrix", ["h5", "h5-v2", "mtx", "mtx.gz", "mtx-v2"])
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("positions", ["tissue_positions.csv", "tissue_positions_list.csv"])
def test_every_layout_gives_the_same_spots(tmp_path, tissue, matrix, header, positions):
    root = write_folder(tmp_path / "run", tissue, matrix=matrix, header=header, positions=positions)
    adata = read_spatial(root)
    inside = tissue.in_tissue == 1
    assert np.array_equal(adata.X.toarray(), tissue.counts[inside])
    assert adata.X.dtype == np.float32
    assert adata.X.format == "csr"
    assert list(adata.obs_names) == [name for name, keep in zip(tissue.barcodes, inside, strict=True) if keep]
    assert list(adata.var_names) == tissue.symbols
    assert list(adata.var["gene_ids"]) == tissue.gene_ids
    assert np.array_equal(adata.obsm["spatial"], tissue.xy[inside])
    assert adata.obsm["spatial"].dtype == np.float64
    assert list(adata.obs.columns) == ["in_tissue", "array_row", "array_col"]
    assert adata.obs["array_col"].tolist() == [index % 4 for index in np.flatnonzero(inside)]


def test_folder_and_its_parent_open_as_the_same_data(outs):
    inner, outer = read_spatial(outs), read_spatial(outs.parent)
    assert (inner.X != outer.X).nnz == 0
    assert list(inner.uns["spatial"]) == list(outer.uns["spatial"]) == ["section_1"]


def test_images_scale_factors_and_metadata_are_where_scanpy_puts_them(outs):
    library = read_spatial(outs).uns["spatial"]["section_1"]
    assert np.array_equal(library["images"]["hires"], image("hires"))
    assert np.array_equal(library["images"]["lowres"], image("lowres"))
    assert library["scalefactors"] == SCALE_FACTORS
    assert library["metadata"] == {
        "chemistry_description": "Visium V1",
        "software_version": "spaceranger-2.0.1",
    }


def test_library_is_named_after_the_sample_by_default(tmp_path, tissue):
    root = write_folder(tmp_path / "sample_7" / "outs", tissue, matrix="mtx")
    assert list(read_spatial(root).uns["spatial"]) == ["sample_7"]


def test_agrees_with_scanpy(outs):
    scanpy = pytest.importorskip("scanpy")
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = scanpy.read_visium(outs)
    ours = read_spatial(outs)
    assert (ours.X != theirs.X).nnz == 0
    assert list(ours.obs_names) == list(theirs.obs_names)
    assert list(ours.var_names) == list(theirs.var_names)
    assert np.array_equal(ours.obsm["spatial"], theirs.obsm["spatial"].astype(float))
    for column in ("in_tissue", "array_row", "array_col"):
        assert ours.obs[column].tolist() == theirs.obs[column].tolist()
    for column in ("gene_ids", "feature_types", "genome"):
        assert ours.var[column].tolist() == theirs.var[column].tolist()
    (name, library), (their_name, their_library) = (
        *ours.uns["spatial"].items(),
        *theirs.uns["spatial"].items(),
    )
    assert name == their_name
    assert library["scalefactors"] == their_library["scalefactors"]
    assert np.allclose(library["images"]["hires"] / 255, their_library["images"]["hires"])


def test_antibodies_are_dropped_with_a_note(tmp_path):
    tissue = section(n_antibodies=2)
    adata = read_spatial(write_folder(tmp_path / "run", tissue))
    assert adata.n_vars == 7
    assert any("2 features of other types than gene expression" in note for note in reading_notes(adata))


def test_only_antibodies_is_refused(tmp_path):
    tissue = section(n_genes=1, n_antibodies=2)
    tissue.types = ["Antibody Capture"] * 3
    assert "found only 'Antibody Capture'" in problems_of(write_folder(tmp_path / "run", tissue))[0]


@pytest.mark.parametrize("matrix", ["h5", "mtx"])
def test_raw_matrix_is_a_fallback_of_which_only_spots_under_tissue_are_kept(tmp_path, tissue, matrix):
    adata = read_spatial(write_folder(tmp_path / "run", tissue, raw=True, matrix=matrix))
    assert adata.n_obs == tissue.in_tissue.sum()
    assert adata.obs["in_tissue"].eq(1).all()
    assert np.array_equal(adata.X.toarray(), tissue.counts[tissue.in_tissue == 1])
    assert any("raw" in note for note in reading_notes(adata))


def test_filtered_matrix_is_preferred_to_raw(outs, tissue):
    other = section(n_genes=3)
    write_h5(outs / "raw_feature_bc_matrix.h5", other, np.ones(12, bool))
    assert read_spatial(outs).n_vars == 7


def test_prefixed_files_open(tmp_path, tissue):
    root = write_folder(tmp_path / "geo", tissue, prefix="GSM123_A1_")
    library = next(iter(read_spatial(root).uns["spatial"].values()))
    assert set(library["images"]) == {"hires", "lowres"}


def test_several_samples_in_one_folder_are_refused(tmp_path, tissue):
    root = write_folder(tmp_path / "geo", tissue, prefix="A1_")
    shutil.copy(root / "A1_filtered_feature_bc_matrix.h5", root / "B1_filtered_feature_bc_matrix.h5")
    assert "Expected the files of one section, found several" in problems_of(root)[0]


@pytest.mark.parametrize("present", [("hires",), ("lowres",)])
def test_one_image_is_enough(tmp_path, tissue, present):
    adata = read_spatial(write_folder(tmp_path / "run", tissue, images=present))
    assert set(adata.uns["spatial"]["section_1"]["images"]) == set(present)
    assert reading_notes(adata) == ()


def test_missing_images_and_scale_factors_are_noted_and_not_fatal(tmp_path, tissue):
    root = write_folder(tmp_path / "run", tissue, images=())
    (root / "spatial" / "scalefactors_json.json").unlink()
    adata = read_spatial(root)
    assert adata.uns["spatial"]["section_1"]["images"] == {}
    notes = " ".join(reading_notes(adata))
    assert "No image of the tissue" in notes
    assert "scalefactors_json.json` is missing" in notes


def test_image_without_its_scale_factor_is_dropped_with_a_note(outs):
    factors = {key: value for key, value in SCALE_FACTORS.items() if key != "tissue_hires_scalef"}
    (outs / "spatial" / "scalefactors_json.json").write_text(json.dumps(factors))
    adata = read_spatial(outs)
    assert set(adata.uns["spatial"]["section_1"]["images"]) == {"lowres"}
    assert any("hires image was dropped" in note for note in reading_notes(adata))


def test_spots_outside_of_the_image_are_noted(tmp_path, tissue):
    tissue.columns_px[0] += 10_000
    adata = read_spatial(write_folder(tmp_path / "run", tissue, images=("hires",)))
    (note,) = reading_notes(adata)
    assert "1 of 9 spots is outside of the hires image" in note


def test_progress_can_cancel(outs):
    def cancel(_: Progress) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        read_spatial(outs, on_progress=cancel)


def test_files_read_names_each_file_once(outs):
    names = [path.name for path in files_read(outs.parent)]
    assert names == [
        "filtered_feature_bc_matrix.h5",
        "tissue_positions.csv",
        "scalefactors_json.json",
        "tissue_hires_image.png",
        "tissue_lowres_image.png",
    ]


def test_reading_changes_no_file(outs):
    before = {path: path.read_bytes() for path in files_read(outs)}
    read_spatial(outs)
    assert {path: path.read_bytes() for path in files_read(outs)} == before


# ----------------------------------------------------------------------------------------- bad folders


def test_all_problems_of_a_folder_are_reported_at_once(outs):
    matrix = outs / "filtered_feature_bc_matrix.h5"
    matrix.write_bytes(matrix.read_bytes()[:1500])
    (outs / "spatial" / "tissue_positions.csv").write_text("a,b\n")
    (outs / "spatial" / "scalefactors_json.json").write_text("{")
    (outs / "spatial" / "tissue_hires_image.png").write_bytes(b"\x89PNG nothing")
    problems = problems_of(outs)
    assert len(problems) == 4
    for name, text in zip(
        ("matrix.h5", "positions.csv", "json.json", "hires_image.png"), problems, strict=True
    ):
        assert f"{name}`" in text


def test_read_error_keeps_its_cause_and_begins_with_the_path(outs):
    (outs / "filtered_feature_bc_matrix.h5").write_bytes(b"no h5 at all")
    with pytest.raises(ReadError) as caught:
        read_spatial(outs)
    assert str(caught.value).startswith(str(outs))
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_truncated_h5_is_reported(outs, share):
    matrix = outs / "filtered_feature_bc_matrix.h5"
    content = matrix.read_bytes()
    matrix.write_bytes(content[: int(len(content) * share)])
    (problem,) = problems_of(outs)
    assert "filtered_feature_bc_matrix.h5` is truncated" in problem


def test_empty_h5_is_reported(outs):
    (outs / "filtered_feature_bc_matrix.h5").write_bytes(b"")
    assert "filtered_feature_bc_matrix.h5`" in problems_of(outs)[0]


def test_h5_without_a_matrix_is_reported(outs):
    with h5py.File(outs / "filtered_feature_bc_matrix.h5", "w") as file:
        file["pictures"] = [1]
    (problem,) = problems_of(outs)
    assert "expected one group 'matrix', found 'pictures'" in problem


def test_h5_that_lacks_a_part_is_reported(outs):
    with h5py.File(outs / "filtered_feature_bc_matrix.h5", "a") as file:
        del file["matrix/indptr"]
    assert "must hold 'indptr'" in problems_of(outs)[0]


def test_h5_whose_parts_disagree_is_reported(outs):
    with h5py.File(outs / "filtered_feature_bc_matrix.h5", "a") as file:
        file["matrix/shape"][...] = [7, 400]
    (problem,) = problems_of(outs)
    assert "expected a matrix of 7 x 9, found 7 x 400" in problem


def test_h5_with_indices_out_of_range_is_reported(outs):
    with h5py.File(outs / "filtered_feature_bc_matrix.h5", "a") as file:
        file["matrix/indices"][0] = 10**6
    assert "filtered_feature_bc_matrix.h5` is damaged" in problems_of(outs)[0]


def mtx_folder(tmp_path: Path, tissue: Section, matrix: str = "mtx.gz") -> Path:
    return write_folder(tmp_path / "run", tissue, matrix=matrix)


def test_truncated_gz_is_reported(tmp_path, tissue):
    root = mtx_folder(tmp_path, tissue)
    path = root / "filtered_feature_bc_matrix" / "matrix.mtx.gz"
    path.write_bytes(path.read_bytes()[:-20])
    (problem,) = problems_of(root)
    assert "matrix.mtx.gz` is truncated" in problem


def test_truncated_list_is_reported(tmp_path, tissue):
    root = mtx_folder(tmp_path, tissue)
    path = root / "filtered_feature_bc_matrix" / "features.tsv.gz"
    path.write_bytes(path.read_bytes()[:-20])
    assert "features.tsv.gz` is truncated" in problems_of(root)[0]


@pytest.mark.parametrize(
    "start",
    [
        "%%MatrixMarket matrix array real general\n",
        "hello\n",
        "",
        "%%MatrixMarket matrix coordinate integer general\nx y z\n",
    ],
)
def test_mtx_with_a_wrong_header_is_reported(tmp_path, tissue, start):
    root = mtx_folder(tmp_path, tissue, "mtx")
    path = root / "filtered_feature_bc_matrix" / "matrix.mtx"
    path.write_text(start + "".join(path.read_text().splitlines(keepends=True)[2:]))
    assert "filtered_feature_bc_matrix/matrix.mtx`" in problems_of(root)[0]


def test_mtx_that_claims_a_huge_matrix_is_refused_before_it_is_read(tmp_path, tissue):
    root = mtx_folder(tmp_path, tissue, "mtx")
    path = root / "filtered_feature_bc_matrix" / "matrix.mtx"
    path.write_text("%%MatrixMarket matrix coordinate integer general\n900000000000 900000000000 1\n1 1 1\n")
    assert "does not match its lists of features and barcodes" in problems_of(root)[0]


def test_mtx_with_garbage_among_its_entries_is_reported(tmp_path, tissue):
    root = mtx_folder(tmp_path, tissue, "mtx")
    path = root / "filtered_feature_bc_matrix" / "matrix.mtx"
    lines = path.read_text().splitlines()
    lines[6] = "1 one 1"
    path.write_text("\n".join(lines))
    assert "matrix.mtx` is damaged" in problems_of(root)[0]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("8 1 1", "row is not between 1 and 7"),
        ("1 0 1", "column is not between 1"),
        ("1 1e308 1", ""),
        ("1 1 1e308", ""),
        ("1 1", ""),
        ("1 1 1 1", ""),
    ],
)
def test_mtx_with_an_entry_out_of_range_is_reported(tmp_path, tissue, entry, words):
    root = mtx_folder(tmp_path, tissue, "mtx")
    path = root / "filtered_feature_bc_matrix" / "matrix.mtx"
    lines = path.read_text().splitlines()
    lines[6] = entry
    path.write_text("\n".join(lines))
    (problem,) = problems_of(root)
    assert "matrix.mtx` is damaged" in problem
    assert words in problem


def test_mtx_that_ends_too_early_is_reported(tmp_path, tissue):
    root = mtx_folder(tmp_path, tissue, "mtx")
    path = root / "filtered_feature_bc_matrix" / "matrix.mtx"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-4]))
    assert "matrix.mtx` is truncated" in problems_of(root)[0]


def test_mtx_without_any_count_opens(tmp_path, tissue):
    tissue.counts[:] = 0
    assert read_spatial(mtx_folder(tmp_path, tissue)).X.nnz == 0


def test_missing_parts_of_an_mtx_folder_are_all_reported(tmp_path, tissue):
    root = mtx_folder(tmp_path, tissue, "mtx")
    for name in ("matrix.mtx", "barcodes.tsv", "features.tsv"):
        (root / "filtered_feature_bc_matrix" / name).unlink()
    problems = problems_of(root)
    assert len(problems) == 3
    assert all("is missing" in text for text in problems)


def test_probes_under_the_name_of_genes_are_refused(outs):
    with h5py.File(outs / "filtered_feature_bc_matrix.h5", "a") as file:
        file["matrix/features/probe_region"] = np.array([b"spliced"] * 7)
    assert "filtered_feature_bc_matrix.h5` must count genes, but counts probes" in problems_of(outs)[0]


def test_other_files_of_versions_2_to_4_are_ignored(outs):
    (outs / "raw_probe_bc_matrix.h5").touch()
    (outs / "probe_set.csv").touch()
    for name in ("cytassist_image.tiff", "aligned_tissue_image.jpg", "spatial_enrichment.csv"):
        (outs / "spatial" / name).touch()
    assert reading_notes(read_spatial(outs)) == ()


def test_a_missing_image_is_noted_and_not_replaced_by_that_of_the_cytassist(tmp_path, tissue):
    root = write_folder(tmp_path / "run", tissue, images=())
    (note,) = reading_notes(read_spatial(root))
    assert note.startswith("No image of the tissue was found")
    assert "CytAssist" not in note
    (root / "spatial" / "cytassist_image.tiff").touch()
    (note,) = reading_notes(read_spatial(root))
    assert "The CytAssist image was not used" in note


def test_a_link_to_what_was_not_copied_is_as_good_as_nothing(tmp_path, tissue):
    root = write_folder(tmp_path / "run", tissue, images=("lowres",))
    (root / "spatial" / "tissue_hires_image.png").symlink_to("gone.png")
    (library,) = read_spatial(root).uns["spatial"].values()
    assert set(library["images"]) == {"lowres"}


def test_gene_called_na_stays_a_gene(tmp_path, tissue):
    tissue.symbols[1], tissue.symbols[2] = "NA", 'a"quote'
    root = mtx_folder(tmp_path, tissue)
    assert list(read_spatial(root).var_names) == tissue.symbols


def test_barcodes_without_a_position_are_counted(outs, tissue):
    path = outs / "spatial" / "tissue_positions.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:6]) + "\n")
    (problem,) = problems_of(outs)
    assert problem.startswith("7 of 9 barcodes of `filtered_feature_bc_matrix.h5` are missing from")
    assert tissue.barcodes[0] in problem


def rewrite_positions(outs: Path, text: str) -> str:
    (outs / "spatial" / "tissue_positions.csv").write_text(text)
    return problems_of(outs)[0]


def test_positions_that_are_not_numbers_are_reported_with_their_row(outs):
    path = outs / "spatial" / "tissue_positions.csv"
    lines = path.read_text().splitlines()
    cells = lines[3].split(",")
    lines[3] = ",".join([*cells[:4], "left", cells[5]])
    problem = rewrite_positions(outs, "\n".join(lines))
    assert "pxl_row_in_fullres must be a number in every row, found 'left' in row 4." in problem


def test_positions_with_empty_or_infinite_cells_are_reported(outs):
    path = outs / "spatial" / "tissue_positions.csv"
    lines = path.read_text().splitlines()
    for row, word in ((1, ""), (2, "inf")):
        lines[row] = ",".join([*lines[row].split(",")[:5], word])
    problem = rewrite_positions(outs, "\n".join(lines))
    assert "found '' in row 2, and 1 others" in problem


def test_positions_with_a_wrong_number_of_columns_are_reported(outs):
    assert "must have 6 columns" in rewrite_positions(outs, "AAA-1,1,0\nAAC-1,1,1\n")


def test_positions_that_lack_a_named_column_are_reported(outs):
    problem = rewrite_positions(outs, HEADER.replace(",in_tissue", "") + "\nAAA-1,0,0,1,1\n")
    assert "must have the columns 'in_tissue'" in problem


def test_positions_with_a_duplicated_barcode_are_reported(outs):
    path = outs / "spatial" / "tissue_positions.csv"
    text = path.read_text()
    assert "must list each barcode once, found 1 more than once" in rewrite_positions(
        outs, text + text.splitlines()[-1] + "\n"
    )


def test_positions_with_another_value_for_tissue_are_reported(outs):
    path = outs / "spatial" / "tissue_positions.csv"
    lines = path.read_text().splitlines()
    cells = lines[1].split(",")
    lines[1] = ",".join([cells[0], "7", *cells[2:]])
    assert "in_tissue must be 0 or 1" in rewrite_positions(outs, "\n".join(lines))


def test_empty_positions_are_reported(outs):
    assert "tissue_positions.csv` is damaged" in rewrite_positions(outs, "")


def test_ragged_positions_are_reported(outs):
    assert "tissue_positions.csv`" in rewrite_positions(outs, HEADER + "\nAAA-1,1,0,0,1,1,5,5,5\n")


def test_binary_positions_are_reported(outs):
    (outs / "spatial" / "tissue_positions.csv").write_bytes(os.urandom(4000))
    assert "tissue_positions.csv`" in problems_of(outs)[0]


def test_missing_positions_say_what_is_there(outs):
    (outs / "spatial" / "tissue_positions.csv").rename(outs / "spatial" / "places.csv")
    (problem,) = problems_of(outs)
    assert "No positions of spots" in problem
    assert "'places.csv'" in problem


@pytest.mark.parametrize(
    "content", ["[1, 2]", '{"tissue_hires_scalef": "big"}', '{"tissue_hires_scalef": 0}']
)
def test_scale_factors_of_the_wrong_kind_are_reported(outs, content):
    (outs / "spatial" / "scalefactors_json.json").write_text(content)
    assert "scalefactors_json.json`" in problems_of(outs)[0]


def test_truncated_image_is_reported(outs):
    path = outs / "spatial" / "tissue_hires_image.png"
    path.write_bytes(path.read_bytes()[:300])
    assert "tissue_hires_image.png`" in problems_of(outs)[0]


def test_image_bomb_is_refused_by_its_header(outs):
    path = outs / "spatial" / "tissue_hires_image.png"
    content = bytearray(path.read_bytes())
    content[16:24] = (200_000).to_bytes(4, "big") * 2
    path.write_bytes(bytes(content))
    assert "found 200,000 x 200,000" in problems_of(outs)[0]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions do not bind root")
def test_unreadable_file_is_reported(outs):
    path = outs / "filtered_feature_bc_matrix.h5"
    path.chmod(0)
    assert "permission denied" in problems_of(outs)[0]


def test_gzipped_positions_open(outs):
    path = outs / "spatial" / "tissue_positions.csv"
    path.with_name("tissue_positions.csv.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    assert read_spatial(outs).n_obs == 9


@pytest.mark.parametrize("matrix", ["h5", "h5-v2"])
def test_counts_may_stay_in_their_file(tmp_path, tissue, matrix):
    outs = write_folder(tmp_path / "outs", tissue, matrix=matrix)
    before = {path: path.read_bytes() for path in outs.rglob("*") if path.is_file()}
    in_memory, on_disk = read_spatial(outs), read_spatial(outs, backed=True)
    assert is_on_disk(on_disk.X)
    assert on_disk.X.shape == in_memory.shape
    assert (on_disk.X.to_memory() != in_memory.X).nnz == 0
    assert on_disk.obs.equals(in_memory.obs)
    assert on_disk.var.equals(in_memory.var)
    assert reading_notes(on_disk) == ()
    write_h5ad(copied(on_disk), tmp_path / "written.h5ad")
    close_files(on_disk)
    assert (read_spatial(tmp_path / "written.h5ad").X != in_memory.X).nnz == 0
    assert before == {path: path.read_bytes() for path in outs.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("options", "n_antibodies", "words"),
    [
        ({"matrix": "mtx"}, 0, "Matrix Market files"),
        ({"raw": True}, 0, "features or spots of their file were dropped"),
        ({}, 2, "features or spots of their file were dropped"),
    ],
)
def test_counts_that_cannot_stay_on_disk_are_read_with_a_note(tmp_path, options, n_antibodies, words):
    outs = write_folder(tmp_path / "outs", section(n_antibodies=n_antibodies), **options)
    on_disk = read_spatial(outs, backed=True)
    assert (on_disk.X != read_spatial(outs).X).nnz == 0
    assert any(note.startswith("The counts were read into memory") for note in reading_notes(on_disk))
    assert any(words in note for note in reading_notes(on_disk))


def test_a_file_of_counts_is_closed_if_the_rest_of_the_folder_is_damaged(outs):
    positions = outs / "spatial" / "tissue_positions.csv"
    positions.write_text("what is this\n")
    with pytest.raises(ReadError):
        read_spatial(outs, backed=True)
    # HDF5 refuses to write to a file that is open for reading.
    h5py.File(outs / "filtered_feature_bc_matrix.h5", "a").close()
