"""What is added to the file of a result, and tables that replace only tables."""

from __future__ import annotations

from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from napari_spotmix.base.errors import Cancelled, InputError, ReadError
from napari_spotmix.base.progress import Progress
from napari_spotmix.io.additions import add_to_result, result_file, table_problems, write_table

TABLE = pd.DataFrame({"niche": ["1", "2"]}, index=pd.Index(["a", "b"], name="spot"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    adata = AnnData(np.eye(3, dtype=np.float32), uns={"other": {"kept": 1}})
    adata.obs["before"] = [1.0, 2.0, 3.0]
    adata.write_h5ad(tmp_path / "spatial.h5ad")
    with h5py.File(tmp_path / "spatial.h5ad", "a") as opened:
        opened.attrs["spotmix_proportions_sha256"] = "abc"
    return tmp_path / "spatial.h5ad"


def labels(*values: str | None) -> pd.Series:
    return pd.Series(pd.Categorical(values))


def test_columns_and_tables_are_added_and_the_rest_stays(file: Path) -> None:
    before = anndata.read_h5ad(file)
    table = pd.DataFrame({"p": [0.5]}, index=["0"])
    add_to_result(file.parent, obs={"niche": labels("1", None, "2")}, uns={"table": table, "text": "a"})
    found = anndata.read_h5ad(file)
    assert list(found.obs) == ["before", "niche"]
    assert found.obs["niche"].astype(object).where(found.obs["niche"].notna(), None).tolist() == [
        *("1", None, "2")
    ]
    pd.testing.assert_frame_equal(found.uns["table"], table)
    assert found.uns["text"] == "a"
    assert found.uns["other"] == before.uns["other"]
    np.testing.assert_array_equal(found.X, before.X)
    with h5py.File(file) as opened:
        assert opened.attrs["spotmix_proportions_sha256"] == "abc"
    assert [path.name for path in file.parent.iterdir()] == ["spatial.h5ad"]


def test_what_was_added_before_is_replaced_or_removed(file: Path) -> None:
    add_to_result(file, obs={"niche": labels("1", "1", "2")}, uns={"text": "a", "gone": "b"})
    add_to_result(file, obs={"niche": labels("2", "2", "2")}, uns={"text": "c", "gone": None})
    found = anndata.read_h5ad(file)
    assert list(found.obs) == ["before", "niche"]
    assert found.obs["niche"].tolist() == ["2", "2", "2"]
    assert found.uns["text"] == "c"
    assert "gone" not in found.uns


def test_a_cancel_leaves_the_file_as_it_was(file: Path) -> None:
    before = file.read_bytes()

    def stop(_: Progress) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        add_to_result(file, obs={"niche": labels("1", "1", "2")}, uns={}, on_progress=stop)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ["spatial.h5ad"]


def test_only_files_of_hdf5_are_added_to(tmp_path: Path) -> None:
    (tmp_path / "store.zarr").mkdir()
    (tmp_path / "a.csv").write_text("a")
    for name in ("store.zarr", "a.csv"):
        with pytest.raises(ReadError, match="not added to"):
            result_file(tmp_path / name)


def test_a_table_replaces_a_table_of_its_kind_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "niches.csv"
    write_table(path, TABLE)
    write_table(path, TABLE.iloc[:1])
    assert path.read_text() == "spot,niche\na,1\n"
    other = tmp_path / "mine.csv"
    other.write_text("my,notes\n")
    with pytest.raises(InputError, match="is not overwritten"):
        write_table(other, TABLE)
    assert other.read_text() == "my,notes\n"
    with pytest.raises(InputError, match="is an input"):
        write_table(path, TABLE, [path])


def test_a_table_that_cannot_be_written_is_refused_beforehand(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    for name, problem in (
        ("niches.xlsx", "must end in .csv"),
        ("folder.csv", "is a folder"),
        ("no/niches.csv", "does not exist. Create it first."),
    ):
        (found,) = table_problems(tmp_path / name, ["spot"])
        assert problem in found
