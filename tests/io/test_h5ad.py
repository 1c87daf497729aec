"""``.h5ad`` in: spots in scanpy's layout, references with labels, and files that are neither."""

from __future__ import annotations

import warnings
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from napari_spotmix import ReadError, read_reference, read_spatial
from napari_spotmix.io import close_files, is_on_disk, label_columns, reading_notes, write_h5ad
from tests.io.layouts import section, write_folder


@pytest.fixture
def spots(tmp_path: Path) -> anndata.AnnData:
    return read_spatial(write_folder(tmp_path / "outs", section()))


@pytest.fixture
def cells() -> anndata.AnnData:
    obs = pd.DataFrame(
        {
            "donor": ["x", "y", "x", "y"],
            "cell_type": pd.Categorical(["B", "T", "T", "NK"]),
            "depth": [1.0, 2.0, 3.0, 4.0],
        },
        index=list("abcd"),
    )
    return anndata.AnnData(csr_matrix(np.eye(4, 3, dtype=np.float32)), obs=obs)


def test_section_survives_being_written_and_read(tmp_path, spots):
    path = tmp_path / "spots.h5ad"
    write_h5ad(spots, path)
    again = read_spatial(path)
    assert (again.X != spots.X).nnz == 0
    assert np.array_equal(again.obsm["spatial"], spots.obsm["spatial"])
    assert list(again.var_names) == list(spots.var_names)
    library, before = again.uns["spatial"]["section_1"], spots.uns["spatial"]["section_1"]
    assert np.array_equal(library["images"]["hires"], before["images"]["hires"])
    assert library["scalefactors"] == before["scalefactors"]


def test_integer_coordinates_become_floats(tmp_path, cells):
    cells.obsm["spatial"] = np.arange(8).reshape(4, 2)
    cells.write_h5ad(tmp_path / "a.h5ad")
    assert read_spatial(tmp_path / "a.h5ad").obsm["spatial"].dtype == np.float64


def test_coordinates_in_a_table_are_taken(tmp_path, cells):
    cells.obsm["spatial"] = pd.DataFrame({"x": [1, 2, 3, 4], "y": [5, 6, 7, 8]}, index=cells.obs_names)
    cells.write_h5ad(tmp_path / "a.h5ad")
    assert read_spatial(tmp_path / "a.h5ad").obsm["spatial"].tolist() == [[1, 5], [2, 6], [3, 7], [4, 8]]


def test_missing_coordinates_are_reported_with_what_was_found(tmp_path, cells):
    cells.obsm["X_umap"] = np.zeros((4, 2))
    cells.write_h5ad(tmp_path / "a.h5ad")
    with pytest.raises(ReadError) as caught:
        read_spatial(tmp_path / "a.h5ad")
    (problem,) = caught.value.problems
    assert "`obsm['spatial']` must hold (x, y) of each spot" in problem
    assert "'X_umap'" in problem
    assert "'donor'" in problem


@pytest.mark.parametrize("key", ["X_spatial", "spatial_loc", "coords", "Spatial"])
def test_coordinates_under_another_key_are_used_and_noted(tmp_path, cells, key):
    cells.obsm[key] = np.arange(8.0).reshape(4, 2)
    cells.write_h5ad(tmp_path / "a.h5ad")
    adata = read_spatial(tmp_path / "a.h5ad", backed=True)
    assert adata.obsm["spatial"].tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert f"the coordinates of spots are `obsm['{key}']`" in reading_notes(adata)[0]
    close_files(adata)


@pytest.mark.parametrize(
    "names",
    [
        ("x", "y"),
        ("pxl_col_in_fullres", "pxl_row_in_fullres"),
        ("imagecol", "imagerow"),
        ("X_centroid", "Y_centroid"),
    ],
)
def test_coordinates_in_columns_are_used_and_noted(tmp_path, cells, names):
    cells.obs["array_row"] = cells.obs["array_col"] = 0
    for name, values in zip(names, ([1, 2, 3, 4], [5, 6, 7, 8]), strict=True):
        cells.obs[name] = values
    cells.write_h5ad(tmp_path / "a.h5ad")
    adata = read_spatial(tmp_path / "a.h5ad")
    assert adata.obsm["spatial"].tolist() == [[1, 5], [2, 6], [3, 7], [4, 8]]
    assert f"the columns '{names[0]}' and '{names[1]}' of `obs`" in reading_notes(adata)[0]


def test_array_indices_are_used_if_there_are_no_coordinates(tmp_path, cells):
    cells.obs["array_row"], cells.obs["array_col"] = [0, 0, 1, 1], [0, 2, 1, 3]
    cells.write_h5ad(tmp_path / "a.h5ad")
    xy = read_spatial(tmp_path / "a.h5ad").obsm["spatial"]
    assert np.allclose(np.linalg.norm(xy - xy[0], axis=1)[:3], [0, 1, 1]), "neighbors are one pitch apart"
    cells.obs["array_col"] = [0, 1, 0, 1]
    cells.write_h5ad(tmp_path / "b.h5ad")
    assert read_spatial(tmp_path / "b.h5ad").obsm["spatial"].tolist() == [[0, 0], [1, 0], [0, 1], [1, 1]]


def test_columns_of_text_are_not_coordinates(tmp_path, cells):
    cells.obs["x"] = cells.obs["y"] = list("abcd")
    cells.write_h5ad(tmp_path / "a.h5ad")
    with pytest.raises(ReadError, match="is missing"):
        read_spatial(tmp_path / "a.h5ad")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros((4, 1)), r"found shape \(4, 1\)"),
        (np.array([["a", "b"]] * 4, dtype=object), "must hold numbers"),
    ],
)
def test_coordinates_of_the_wrong_kind_are_reported(tmp_path, cells, values, words):
    cells.obsm["spatial"] = values
    cells.write_h5ad(tmp_path / "a.h5ad")
    with pytest.raises(ReadError, match=words):
        read_spatial(tmp_path / "a.h5ad")


def test_truncated_h5ad_is_reported(tmp_path, spots):
    path = tmp_path / "spots.h5ad"
    write_h5ad(spots, path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(ReadError, match=r"`spots\.h5ad` is truncated"):
        read_spatial(path)
    with pytest.raises(ReadError, match=r"`spots\.h5ad` is truncated"):
        read_reference(path)


def test_hdf5_that_is_not_anndata_is_reported(tmp_path):
    path = tmp_path / "other.h5ad"
    with h5py.File(path, "w") as file:
        file["numbers"] = [1, 2, 3]
    with pytest.raises(ReadError):
        read_spatial(path)


def test_h5ad_damaged_inside_is_reported(tmp_path, spots):
    path = tmp_path / "spots.h5ad"
    write_h5ad(spots, path)
    with h5py.File(path, "a") as file:
        del file["X/indptr"]
    with pytest.raises(ReadError, match="is damaged"):
        read_spatial(path)


def test_old_layout_opens(tmp_path):
    """Before anndata 0.7 tables were compound datasets, and sparse matrices had other attributes."""
    path = tmp_path / "old.h5ad"
    table = np.array([(b"a", 1), (b"b", 1)], dtype=[("index", "S1"), ("in_tissue", "i8")])
    with h5py.File(path, "w") as file:
        file["X"] = np.ones((2, 2), np.float32)
        file["obs"] = table
        file["var"] = np.array([(b"g",), (b"h",)], dtype=[("index", "S1")])
        file["obsm"] = np.array([([1.0, 2.0],), ([3.0, 4.0],)], dtype=[("spatial", "f8", (2,))])
    adata = read_spatial(path)
    assert list(adata.obs_names) == ["a", "b"]
    assert adata.obsm["spatial"].tolist() == [[1, 2], [3, 4]]


def test_reference_of_2019_opens_with_its_labels(tmp_path):
    """anndata 0.6: codes in a compound table, names of categories in `uns`."""
    path = tmp_path / "old.h5ad"
    with h5py.File(path, "w") as file:
        file["X"] = np.ones((3, 2), np.float32)
        file["obs"] = np.array(
            [(b"a", 1), (b"b", 0), (b"c", 1)], dtype=[("index", "S1"), ("cell_type", "i1")]
        )
        file["var"] = np.array([(b"g",), (b"h",)], dtype=[("index", "S1")])
        file["uns/cell_type_categories"] = np.array([b"B", b"T"])
    assert list(read_reference(path, cell_type_key="cell_type").obs["cell_type"]) == ["T", "B", "T"]


def test_reference_of_2020_opens_with_its_labels(tmp_path):
    """anndata 0.7: columns as datasets, with their categories in `__categories`."""
    path = tmp_path / "old.h5ad"
    with h5py.File(path, "w") as file:
        file["X"] = np.ones((3, 2), np.float32)
        for name, index, columns in (("obs", [b"a", b"b", b"c"], ["cell_type"]), ("var", [b"g", b"h"], [])):
            group = file.create_group(name)
            group["_index"] = np.array(index)
            group.attrs.update(
                {"_index": "_index", "encoding-type": "dataframe", "encoding-version": "0.1.0"}
            )
            group.attrs["column-order"] = np.array(columns, dtype=h5py.string_dtype())
        file["obs/__categories/cell_type"] = np.array([b"B", b"T"])
        file["obs/cell_type"] = np.array([1, 0, 1], dtype=np.int8)
        file["obs/cell_type"].attrs["categories"] = file["obs/__categories/cell_type"].ref
    assert list(read_reference(path, cell_type_key="cell_type").obs["cell_type"]) == ["T", "B", "T"]


def test_reference_opens_and_lists_its_label_columns(tmp_path, cells):
    cells.write_h5ad(tmp_path / "cells.h5ad")
    reference = read_reference(tmp_path / "cells.h5ad", cell_type_key="cell_type")
    assert reference.shape == (4, 3)
    assert label_columns(reference) == ["cell_type", "donor"]


def test_missing_label_column_names_the_likely_ones(tmp_path, cells):
    cells.write_h5ad(tmp_path / "cells.h5ad")
    with pytest.raises(ReadError) as caught:
        read_reference(tmp_path / "cells.h5ad", cell_type_key="celltype")
    (problem,) = caught.value.problems
    assert "`cell_type_key`" in problem
    assert "'celltype' was not found" in problem
    assert "Likely columns: 'cell_type', 'donor'" in problem


# --------------------------------------------------------------------------- names that HDF5 cannot hold


def test_slashes_in_names_survive_the_file(tmp_path, spots):
    types = ["NK/T", "NK", "NK_T", "a/b/c", "."]
    table = pd.DataFrame(np.random.default_rng(0).random((9, 5)), index=spots.obs_names, columns=types)
    spots.obsm["spotmix"] = table
    spots.obs["score NK/T"] = 1.0
    spots.uns["spotmix"] = {"learned": {"cells": {"NK/T": 5, "NK_T": 6}}}
    write_h5ad(spots, tmp_path / "a.h5ad")
    again = read_spatial(tmp_path / "a.h5ad")
    pd.testing.assert_frame_equal(again.obsm["spotmix"], table, check_index_type=False)
    assert again.obs["score NK/T"].eq(1).all()
    assert again.uns["spotmix"] == {"learned": {"cells": {"NK/T": 5, "NK_T": 6}}}
    assert "spotmix_names" not in again.uns


def test_file_with_slashes_opens_in_plain_anndata(tmp_path, spots):
    spots.obsm["spotmix"] = pd.DataFrame({"NK/T": 1.0, "B": 2.0}, index=spots.obs_names)
    write_h5ad(spots, tmp_path / "a.h5ad")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # duplicate gene names
        plain = anndata.read_h5ad(tmp_path / "a.h5ad")
    assert list(plain.obsm["spotmix"]) == ["NK_T", "B"]
    assert plain.uns["spotmix_names"] == {"NK_T": "NK/T"}


def test_writing_leaves_the_object_as_it_was(tmp_path, spots):
    spots.obsm["spotmix"] = pd.DataFrame({"NK/T": 1.0}, index=spots.obs_names)
    spots.obs["region"] = ["a", "b", "a"] * 3
    write_h5ad(spots, tmp_path / "a.h5ad")
    assert list(spots.obsm["spotmix"]) == ["NK/T"]
    assert "spotmix_names" not in spots.uns
    assert not isinstance(spots.obs["region"].dtype, pd.CategoricalDtype)


def test_everything_but_the_matrices_is_in_memory_if_counts_stay_on_disk(tmp_path, spots):
    path = tmp_path / "spots.h5ad"
    spots.obsm["shares"] = pd.DataFrame({"B/T": np.arange(spots.n_obs)}, index=spots.obs_names)
    spots.layers["more"] = spots.X.copy()
    write_h5ad(spots, path)
    before = path.read_bytes()
    on_disk = read_spatial(path, backed=True)
    assert is_on_disk(on_disk.X)
    assert is_on_disk(on_disk.layers["more"])
    close_files(on_disk)
    assert list(on_disk.obsm["shares"]) == ["B/T"]
    assert np.array_equal(on_disk.obsm["spatial"], spots.obsm["spatial"])
    assert np.array_equal(
        on_disk.uns["spatial"]["section_1"]["images"]["hires"],
        spots.uns["spatial"]["section_1"]["images"]["hires"],
    )
    assert path.read_bytes() == before


def test_files_of_old_versions_are_read_into_memory_with_a_note(tmp_path, spots):
    path = tmp_path / "spots.h5ad"
    write_h5ad(spots, path)
    with h5py.File(path, "a") as file:
        del file.attrs["encoding-type"], file.attrs["encoding-version"]
    old = read_spatial(path, backed=True)
    assert (old.X != spots.X).nnz == 0
    assert any("old version" in note for note in reading_notes(old))


def test_a_file_without_coordinates_is_closed_again(tmp_path, cells):
    path = tmp_path / "cells.h5ad"
    cells.write_h5ad(path)
    with pytest.raises(ReadError, match="spatial"):
        read_spatial(path, backed=True)
    h5py.File(path, "a").close()  # HDF5 refuses to write to a file that is open for reading
