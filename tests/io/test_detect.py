"""What a path is, and what is said about one that cannot be opened."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pytest

from napari_spotmix import ReadError, read_reference, read_spatial
from napari_spotmix.io.readers.detect import detect_format
from tests.io.layouts import section, write_folder, write_h5


def refusal(path: Path) -> str:
    with pytest.raises(ReadError) as caught:
        read_spatial(path)
    return str(caught.value)


def test_missing_path(tmp_path):
    assert detect_format(tmp_path / "nowhere").kind == "missing"
    assert "does not exist" in refusal(tmp_path / "nowhere")


def test_space_ranger_folder_is_found_from_itself_and_its_parent(tmp_path):
    outs = write_folder(tmp_path / "outs", section())
    assert detect_format(outs).path == detect_format(tmp_path).path == outs
    assert detect_format(outs).is_spatial


def test_h5ad_is_detected_by_its_content(tmp_path):
    path = tmp_path / "a.h5ad"
    anndata.AnnData(np.ones((2, 2))).write_h5ad(path)
    assert detect_format(str(path)).kind == "h5ad"
    path.write_text("PK not an h5ad")
    assert "is named .h5ad but is not an HDF5 file: it begins with b'PK not a'" in refusal(path)
    path.write_bytes(b"")
    assert "it is empty" in refusal(path)


def test_an_image_is_detected(tmp_path):
    (tmp_path / "tissue.png").write_bytes(b"\x89PNG")
    assert detect_format(tmp_path / "tissue.png").kind == "image"
    assert "is an image" in refusal(tmp_path / "tissue.png")


def test_empty_folder_says_what_was_expected(tmp_path):
    message = refusal(tmp_path)
    assert "is not a Space Ranger output" in message
    assert "found nothing" in message


def test_folder_of_something_else_says_what_is_there(tmp_path):
    (tmp_path / "holiday.jpg").touch()
    assert "found 'holiday.jpg'" in refusal(tmp_path)


def test_an_empty_table_is_named(tmp_path):
    (tmp_path / "counts.csv").touch()
    assert "holds tables ('counts.csv'), but none of counts (`counts.csv` is empty" in refusal(tmp_path)


def test_cell_ranger_output_has_no_positions(tmp_path):
    write_h5(tmp_path / "filtered_feature_bc_matrix.h5", section(), np.ones(12, bool))
    assert "no `spatial` folder: it looks like Cell Ranger" in refusal(tmp_path)


def test_spatial_folder_without_a_matrix(tmp_path):
    (tmp_path / "outs" / "spatial").mkdir(parents=True)
    assert "holds a `spatial` folder in `outs` but no count matrix: expected" in refusal(tmp_path)


def test_matrix_of_probes_is_refused(tmp_path):
    (tmp_path / "raw_probe_bc_matrix.h5").touch()
    assert "Counts of genes are needed" in refusal(tmp_path)
    assert "counts probes" in refusal(tmp_path / "raw_probe_bc_matrix.h5")


def test_zarr_store_of_neither_kind_is_reported(tmp_path):
    (tmp_path / "zarr.json").write_text('{"attributes": {"ome": {}}}')
    assert "is a Zarr store, but its root is neither of SpatialData nor of AnnData" in refusal(tmp_path)


def test_zarr_store_that_is_damaged_is_reported(tmp_path):
    (tmp_path / "zarr.json").write_text("{")
    assert "is damaged" in refusal(tmp_path)


def test_matrix_alone_points_to_its_folder(tmp_path):
    outs = write_folder(tmp_path / "outs", section())
    assert "Choose the folder that holds it" in refusal(outs / "filtered_feature_bc_matrix.h5")


def test_other_file(tmp_path):
    (tmp_path / "counts.xlsx").write_text("x")
    assert "neither a Space Ranger folder, an .h5ad file nor a table of counts" in refusal(
        tmp_path / "counts.xlsx"
    )


def test_missing_reference_is_reported(tmp_path):
    with pytest.raises(ReadError, match="does not exist"):
        read_reference(tmp_path / "cells.h5ad")
