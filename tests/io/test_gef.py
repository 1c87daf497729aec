"""GEF files of Stereo-seq, written from the published layout, give their bins and cells."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from napari_spotmix import ReadError, read_reference, read_spatial
from napari_spotmix.base.errors import InputError
from napari_spotmix.io import choices, reading_notes
from tests.io.layouts_of_others import CORNERS, cell_gef, gef, small


@pytest.mark.parametrize("version", [2, 4])
@pytest.mark.parametrize("side", [1, 10, 50])
def test_counts_of_square_bins_are_those_of_their_dnbs(tmp_path: Path, version: int, side: int) -> None:
    made = small()
    path = gef(tmp_path / "SN.tissue.gef", made, version=version)
    adata = read_spatial(path, gem_bin=side)
    with h5py.File(path) as file:
        x, y = (file["geneExp/bin1/expression"][axis] // side for axis in ("x", "y"))
        genes = np.repeat(np.arange(len(made.symbols)), file["geneExp/bin1/gene"]["count"])
    expected: dict[tuple[int, int, int], int] = {}
    for key in zip(x.tolist(), y.tolist(), genes.tolist(), strict=True):
        expected[key] = expected.get(key, 0) + 1
    rows, columns = adata.X.nonzero()
    column, row = adata.obs["array_col"].to_numpy(), adata.obs["array_row"].to_numpy()
    found = {
        (int(column[spot]), int(row[spot]), int(gene)): int(adata.X[spot, gene])
        for spot, gene in zip(rows, columns, strict=True)
    }
    assert found == expected
    assert list(adata.var_names) == made.symbols
    assert ("gene_ids" in adata.var) == (version == 4)
    np.testing.assert_allclose(adata.obsm["spatial"], np.c_[column, row] * side + (side - 1) / 2)
    (library,) = adata.uns["spatial"].values()
    assert library["scalefactors"]["bin_size_um"] == side / 2


def test_bin_sizes_are_offered_for_square_bins_only(tmp_path: Path) -> None:
    assert [size.um for size in choices(gef(tmp_path / "a.gef", small())).bin_sizes] == [10, 25, 50, 100]
    cells = cell_gef(tmp_path / "b.gef", small())
    assert choices(cells).bin_sizes == ()
    with pytest.raises((InputError, ReadError), match="cells, not bins"):
        read_spatial(cells, gem_bin=10)


@pytest.mark.parametrize("version", [2, 4])
def test_cells_have_their_counts_centers_and_outlines(tmp_path: Path, version: int) -> None:
    made = small()
    adata = read_spatial(cell_gef(tmp_path / "SN.cellbin.gef", made, version=version), backed=True)
    assert list(adata.obs_names) == made.barcodes
    assert list(adata.var_names) == made.symbols
    np.testing.assert_array_equal(adata.X.toarray(), made.counts)
    np.testing.assert_array_equal(adata.obsm["spatial"], made.xy)
    library = adata.uns["spatial"]["SN"]
    assert library["scalefactors"] == {"microns_per_pixel": 0.5}
    outlines = library["outlines"]
    expected = (made.xy[:, None] + CORNERS).reshape(-1, 2)
    np.testing.assert_array_equal(outlines["vertices"], expected)
    np.testing.assert_array_equal(outlines["starts"], np.arange(13) * 4)
    assert "read into memory" in " ".join(reading_notes(adata))


def test_cells_are_a_reference_with_labels(tmp_path: Path) -> None:
    made = small()
    path = cell_gef(tmp_path / "cells.gef", made)
    rows = [f"{name},{'AB'[number % 2]}" for number, name in enumerate(made.barcodes)]
    (tmp_path / "labels.csv").write_text("\n".join(["cell,cell_type", *rows]))
    cells = read_reference(path, labels=tmp_path / "labels.csv")
    assert list(cells.obs["cell_type"]) == ["A", "B"] * 6


def _with(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[h5py.File], None]:
    def damage(file: h5py.File) -> None:
        changed = change(file[name][:])
        del file[name]
        file[name] = changed

    return damage


def _set(field: str, value: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(records: np.ndarray) -> np.ndarray:
        records[field][1] = value
        return records

    return change


def _as_real(records: np.ndarray) -> np.ndarray:
    kinds = [
        (name, "<f8" if kind.kind in "iu" else kind) for name, (kind, *_) in records.dtype.fields.items()
    ]
    return records.astype(kinds)


def _elsewhere(file: h5py.File) -> None:
    del file["geneExp/bin1/expression"]
    file["geneExp/bin1/expression"] = h5py.ExternalLink("other.h5", "/x")


def _huge(file: h5py.File) -> None:
    kind = file["geneExp/bin1/expression"].dtype
    del file["geneExp/bin1/expression"]
    file.create_dataset("geneExp/bin1/expression", (1 << 40,), kind, chunks=(1 << 16,))


def _other_bins(file: h5py.File) -> None:
    file.move("geneExp/bin1", "geneExp/bin50")


def _other_pitch(file: h5py.File) -> None:
    file.attrs["resolution"] = 715


BINS, CELLS = "geneExp/bin1/", "cellBin/"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_elsewhere, "link to another file"),
        (_huge, "claims too much memory"),
        (_other_bins, "must hold single DNBs"),
        (_other_pitch, "`resolution` must be 500 nm"),
        (_with(BINS + "expression", _set("x", -5)), "x must be between 0"),
        (_with(BINS + "expression", _set("x", 2**31 - 1)), "x must be between 0"),
        (_with(BINS + "expression", _as_real), "integers called `x`"),
        (_with(BINS + "expression", lambda records: records["x"]), "must be a list of records"),
        (_with(BINS + "expression", lambda records: records[:-1]), "offsets in `gene`"),
        (_with(BINS + "gene", _set("offset", 2**32 - 1)), "offsets in `gene`"),
        (_with(BINS + "gene", _set("count", 2**32 - 1)), "numbers of records"),
        (_with(BINS + "expression", lambda records: records[:0]), "numbers of records"),
        (_with(BINS + "gene", _as_real), "integers called `offset`"),
    ],
)
def test_damaged_bins_are_refused(tmp_path: Path, damage: Callable[[h5py.File], None], words: str) -> None:
    path = gef(tmp_path / "a.gef", small())
    with h5py.File(path, "a") as file:
        damage(file)
    with pytest.raises(ReadError, match=words):
        read_spatial(path, gem_bin=10)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_with(CELLS + "cellExp", _set("geneID", 7)), "names the gene"),
        (_with(CELLS + "cell", _set("offset", 0)), "offsets in `cell`"),
        (_with(CELLS + "cell", _set("id", 100)), "list each cell once"),
        (_with(CELLS + "cellBorder", lambda borders: borders[1:]), "`cellBorder` must be"),
        (_with(CELLS + "cellBorder", lambda borders: borders.astype(float)), "`cellBorder` must be"),
        (_with(CELLS + "gene", lambda genes: genes["geneID"]), "must be a list of records"),
    ],
)
def test_damaged_cells_are_refused(tmp_path: Path, damage: Callable[[h5py.File], None], words: str) -> None:
    path = cell_gef(tmp_path / "a.gef", small())
    with h5py.File(path, "a") as file:
        damage(file)
    with pytest.raises(ReadError, match=words):
        read_spatial(path)


def test_a_gef_that_is_no_hdf5_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.gef").write_bytes(b"nothing")
    with pytest.raises(ReadError, match="is not an HDF5 file"):
        read_spatial(tmp_path / "a.gef")
