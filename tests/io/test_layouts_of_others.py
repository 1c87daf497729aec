"""Each layout that instruments, programs and archives write gives the counts, names and positions in it."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse import csr_matrix

from napari_spotmix import ReadError, read_spatial
from napari_spotmix.io import close_files, reading_notes
from napari_spotmix.io.readers.coordinate_columns import choose_columns
from tests.io.layouts import Section
from tests.io.layouts_of_others import merscope, row_names_of_r, small, write_table


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
