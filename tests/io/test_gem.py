"""Spots from Stereo-seq's GEM, written as its layout is published, and other tables of one count a row."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_spotmix import Cancelled, InputError, ReadError, read_spatial
from napari_spotmix.base.progress import Progress
from napari_spotmix.dataset.geometry import bin_sides, microns_per_pixel
from napari_spotmix.io import bin_sizes, files_read, reading_notes
from napari_spotmix.io.readers.detect import detect_format
from napari_spotmix.params import GEM_BIN

ABOVE = """#FileFormat=GEMv0.1
#SortedBy=None
#BinType=Bin
#BinSize=1
#Omics=Transcriptomics
#Stereo-seqChip=SS200000135TL_D1
#OffsetX=0
#OffsetY=0
"""


def dnbs(n_rows: int = 5000, n_genes: int = 30, side: int = 400) -> pd.DataFrame:
    generator = np.random.default_rng(11)
    return pd.DataFrame(
        {
            "geneID": [f"Gene{number}" for number in generator.integers(0, n_genes, n_rows)],
            "x": generator.integers(1000, 1000 + side, n_rows),
            "y": generator.integers(2000, 2000 + side, n_rows),
            "MIDCount": generator.geometric(0.7, n_rows),
        }
    )


def as_gem(table: pd.DataFrame, above: str = ABOVE) -> bytes:
    return (above + table.to_csv(sep="\t", index=False)).encode()


def write(folder: Path, table: pd.DataFrame, above: str = ABOVE) -> Path:
    path = folder / "SS200000135TL_D1.tissue.gem.gz"
    path.write_bytes(gzip.compress(as_gem(table, above)))
    return path


def expected(table: pd.DataFrame, side: int) -> pd.DataFrame:
    """Return bins x genes, by pandas: bins named by their first DNB."""
    columns, rows = table["x"] // side * side, table["y"] // side * side
    named = table.assign(spot=columns.astype(str) + "_" + rows.astype(str))
    return named.pivot_table("MIDCount", "spot", "geneID", aggfunc="sum", fill_value=0)


def refusal(path: Path, **how: object) -> str:
    with pytest.raises(ReadError) as caught:
        read_spatial(path, **how)
    return str(caught.value)


@pytest.mark.parametrize("side", [1, 20, 50, 1000])
def test_counts_are_summed_in_bins_of_the_chosen_size(tmp_path, side):
    table = dnbs()
    adata = read_spatial(write(tmp_path, table), gem_bin=side)
    bins = expected(table, side).loc[adata.obs_names, adata.var_names]
    np.testing.assert_array_equal(adata.X.toarray(), bins.to_numpy())
    assert adata.n_obs == len(expected(table, side))
    assert adata.X.dtype == np.float32
    first = np.array([name.split("_") for name in adata.obs_names], dtype=float)
    np.testing.assert_array_equal(adata.obsm["spatial"], first + (side - 1) / 2)
    np.testing.assert_array_equal(adata.obs[["array_col", "array_row"]].to_numpy(), first // side)


def test_bins_without_a_size_have_that_of_the_parameters_and_their_scale_is_known(tmp_path):
    path = write(tmp_path, dnbs())
    adata = read_spatial(path)
    assert detect_format(path).kind == "gem"
    assert files_read(path) == [path]
    np.testing.assert_array_equal(adata.X.toarray(), read_spatial(path, gem_bin=GEM_BIN).X.toarray())
    assert microns_per_pixel(adata) == 0.5
    np.testing.assert_allclose(bin_sides(adata), np.eye(2) * GEM_BIN, atol=1e-9)
    assert "64 bins of 50 x 50 DNBs (25 µm); `gem_bin` sets another size." in reading_notes(adata)[0]


def test_the_folder_of_one_file_opens_and_that_of_two_asks(tmp_path):
    write(tmp_path, dnbs())
    assert read_spatial(tmp_path).n_obs == 64
    (tmp_path / "second.gem").write_bytes(as_gem(dnbs(9)))
    assert (
        "Expected one table of counts, found several: 'SS200000135TL_D1.tissue.gem.gz', 'second"
        in refusal(tmp_path)
    )


def test_other_columns_of_gem(tmp_path):
    table = dnbs()
    table.insert(1, "geneName", table["geneID"].str.upper())
    table["ExonCount"], table["CellID"] = 0, 7
    adata = read_spatial(write(tmp_path, table, ABOVE.replace("v0.1", "v0.2")))
    assert adata.var_names[0] == adata.var["gene_ids"].iloc[0].upper()
    assert adata.X.sum() == table["MIDCount"].sum()
    assert "The column 'CellID' assigns counts to cells; it was not used." in reading_notes(adata)


@pytest.mark.parametrize("name", ["MIDCounts", "UMICount"])
def test_names_of_the_counts_in_older_files(tmp_path, name):
    table = dnbs()
    adata = read_spatial(write(tmp_path, table.rename(columns={"MIDCount": name}), "#BinSize=1\n"))
    assert adata.X.sum() == table["MIDCount"].sum()


def test_order_of_rows_and_size_of_blocks_change_nothing_but_the_order_of_genes(tmp_path, monkeypatch):
    table = dnbs()
    path = write(tmp_path, table)
    whole = read_spatial(path).to_df()
    monkeypatch.setattr("napari_spotmix.io.readers.table_parsing._BLOCK", 4000)
    monkeypatch.setattr("napari_spotmix.io.readers.gem._PENDING", 300)
    monkeypatch.setattr("napari_spotmix.io.readers.gem._RANGE", 1 << 10)
    pd.testing.assert_frame_equal(read_spatial(path).to_df(), whole)
    shuffled = read_spatial(write(tmp_path, table.sample(frac=1, random_state=0)))
    pd.testing.assert_frame_equal(shuffled.to_df()[whole.columns], whole)


def test_each_position_of_another_table_is_a_spot(tmp_path):
    path = tmp_path / "bins.csv"
    path.write_text("gene,x,y,count\nActb,0.5,1,3\nGapdh,0.5,1,3\nActb,-2,7,1\nActb,0.5,1,2\n")
    adata = read_spatial(path)
    assert list(adata.obs_names) == ["0.5_1", "-2_7"]
    assert adata.to_df().to_dict() == {"Actb": {"0.5_1": 5, "-2_7": 1}, "Gapdh": {"0.5_1": 3, "-2_7": 0}}
    assert adata.obsm["spatial"].tolist() == [[0.5, 1], [-2, 7]]
    assert "Each of the 2 positions in the table is a spot" in reading_notes(adata)[0]


def test_another_table_is_gathered_if_asked_for(tmp_path):
    table = dnbs().rename(columns={"geneID": "gene", "MIDCount": "count"})
    table.to_parquet(tmp_path / "bins.parquet", index=False)
    adata = read_spatial(tmp_path / "bins.parquet", gem_bin=100)
    assert adata.n_obs == 16
    assert microns_per_pixel(adata) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("x", "here"), "must hold numbers in the column 'x', found 'here' in line 20"),
        (("MIDCount", ""), "must have numbers in the column 'MIDCount', found rows without one"),
        (("y", "-3"), "y must be between 0 and"),
        (("x", "1e15"), "x must be between 0 and"),
    ],
)
def test_a_wrong_cell_is_reported(tmp_path, change, words):
    table = dnbs(50).astype(object)
    table.loc[10, change[0]] = change[1]
    assert words in refusal(write(tmp_path, table))


def test_binned_gem_is_refused(tmp_path):
    path = write(tmp_path, dnbs(), ABOVE.replace("BinSize=1", "BinSize=50"))
    assert "found bins of 50." in refusal(path)


@pytest.mark.parametrize("side", [0, -5, 2.5])
def test_a_size_that_is_none(tmp_path, side):
    with pytest.raises(InputError, match="`gem_bin` must be a whole number of at least 1"):
        read_spatial(write(tmp_path, dnbs()), gem_bin=side)


def test_the_bin_size_can_be_given_in_micrometers_and_usual_sizes_are_offered(tmp_path):
    path = write(tmp_path, dnbs())
    assert 25.0 in [size.um for size in bin_sizes(path)]
    np.testing.assert_array_equal(
        read_spatial(path, bin_um=10).X.toarray(), read_spatial(path, gem_bin=20).X.toarray()
    )
    with pytest.raises(InputError, match=r"`bin_um` must be a multiple of 0\.5"):
        read_spatial(path, bin_um=0.7)
    with pytest.raises(InputError, match="`bin_um` must be left out"):
        read_spatial(path, bin_um=10, gem_bin=20)


def test_a_truncated_gef_is_refused(tmp_path):
    (tmp_path / "a.gef").write_bytes(b"\x89HDF\r\n\x1a\n")
    assert "`a.gef` is damaged" in refusal(tmp_path / "a.gef")


def test_reading_is_cancelled_in_every_stage(tmp_path):
    path = write(tmp_path, dnbs())
    stages = []
    read_spatial(path, on_progress=lambda progress: stages.append(progress.stage))
    assert {"Reading spots", "Merging counts"} == set(stages)

    def cancel(progress: Progress) -> None:
        if progress.stage == "Merging counts":
            raise Cancelled

    with pytest.raises(Cancelled):
        read_spatial(path, on_progress=cancel)


MEASURED = """
import sys
from napari_spotmix import read_spatial

def megabytes(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name)) / 1024

read_spatial(sys.argv[1])
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
before = megabytes("VmRSS")
assert read_spatial(sys.argv[2]).X.sum() > 0
print(megabytes("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory by /proc")
def test_memory_is_that_of_the_bins_and_not_of_the_file(tmp_path):
    small = write(tmp_path, dnbs())
    large = tmp_path / "large.gem"
    rows = as_gem(dnbs(50_000), "").split(b"\n", 1)[1]
    with large.open("wb") as file:
        file.write(as_gem(dnbs(10)))
        for _ in range(240):
            file.write(rows)
    size = large.stat().st_size / 2**20
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, small, large], capture_output=True, text=True, check=True
    )
    assert size > 200
    assert float(done.stdout) < size / 2
