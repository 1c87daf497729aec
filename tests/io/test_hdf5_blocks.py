"""Files written in blocks: the same as anndata writes, and cancellable between two blocks."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse import csr_matrix

from napari_spotmix.base.errors import Cancelled
from napari_spotmix.base.progress import Progress
from napari_spotmix.io import hdf5_blocks, read_spatial, write_h5ad, write_outputs
from napari_spotmix.io.on_disk import write_matrices


@pytest.fixture
def adata(monkeypatch: pytest.MonkeyPatch) -> AnnData:
    """Spots that need many blocks of everything."""
    monkeypatch.setattr(hdf5_blocks, "_BYTES", 1000)
    monkeypatch.setattr(hdf5_blocks, "_NAMES", 50)
    monkeypatch.setattr(hdf5_blocks, "_CHUNKED", 100)
    monkeypatch.setattr(hdf5_blocks, "_AT_ONCE", 2)
    random = np.random.default_rng(0)
    names = [f"spot µ{i}" for i in range(333)]
    shares = pd.DataFrame(random.random((333, 3)), names, ["B", "T", "a cell"])
    counts = csr_matrix(random.poisson(0.3, (333, 40)).astype(np.float32))
    obs = pd.DataFrame({"why": random.choice(["a", "b"], 333), "n": np.arange(333)}, names)
    obs["kind"] = pd.Categorical(random.choice(["x", "y"], 333))
    xy = random.random((333, 2))
    return AnnData(
        counts, obs=obs, obsm={"spatial": xy, "shares": shares}, layers={"dense": counts.toarray()}
    )


def held(path: Path) -> dict[str, object]:
    """Return every array, its layout and its attributes."""
    found: dict[str, object] = {}

    def note(name: str, item: h5py.Group | h5py.Dataset) -> None:
        found.update({f"{name}@{key}": np.asarray(value).tolist() for key, value in item.attrs.items()})
        if isinstance(item, h5py.Dataset):
            found[name] = (item.dtype, item.maxshape, item.compression, np.asarray(item[()]).tolist())

    with h5py.File(path) as file:
        note("/", file)
        file.visititems(note)
    return found


def test_blocks_make_the_file_that_anndata_writes(adata: AnnData, tmp_path: Path) -> None:
    anndata.io.write_h5ad(
        tmp_path / "theirs.h5ad", adata, convert_strings_to_categoricals=False, compression="gzip"
    )
    write_h5ad(adata, tmp_path / "ours.h5ad")
    assert held(tmp_path / "ours.h5ad") == held(tmp_path / "theirs.h5ad")


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_counts_on_disk_are_copied_as_they_are(
    adata: AnnData, tmp_path: Path, compression: str | None
) -> None:
    anndata.io.write_h5ad(tmp_path / "spots.h5ad", adata, compression=compression)
    spots = read_spatial(tmp_path / "spots.h5ad", backed=True)
    with h5py.File(tmp_path / "copy.h5", "w") as file:
        write_matrices(file, spots, lambda: None)
    copy, first = held(tmp_path / "copy.h5"), held(tmp_path / "spots.h5ad")
    assert {"X/data", "X/indices", "X/indptr", "layers/dense"} <= copy.keys()
    for name in ("X/data", "X/indices", "X/indptr", "layers/dense"):
        assert copy[name] == first[name]


def test_a_cancel_is_noticed_before_every_block(adata: AnnData, tmp_path: Path) -> None:
    reported: list[Progress] = []

    def tell(progress: Progress) -> None:
        reported.append(progress)
        if len(reported) > 30:
            raise Cancelled

    recipe: dict[str, dict[str, str]] = {"versions": {}}
    with pytest.raises(Cancelled):
        write_outputs(
            tmp_path / "out", adata=adata, proportions=adata.obsm["shares"], recipe=recipe, on_progress=tell
        )
    assert reported[-1].step == 1, "while the file was written"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", ["f8", "f4", ">f8", "i8", "u2", "i1"])
@pytest.mark.parametrize(("shape", "chunks"), [((1000,), (64,)), ((10, 7), (4, 3)), ((5,), (5,))])
def test_chunks_hold_every_number_whatever_the_edges(
    tmp_path: Path, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: str
) -> None:
    numbers = np.random.default_rng(0).normal(0, 50, shape).astype(dtype)
    if np.dtype(dtype).kind == "f":
        numbers.ravel()[::7] = np.nan
    with h5py.File(tmp_path / "a.h5", "w") as file, ThreadPoolExecutor(2) as pool:
        kwargs = {"chunks": chunks, "compression": "gzip"}
        hdf5_blocks._write_array(file, "numbers", np.asfortranarray(numbers), lambda: None, pool, **kwargs)
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["numbers"][()], numbers)
        assert file["numbers"].dtype == numbers.dtype


def test_numbers_below_a_mask_are_kept(tmp_path: Path) -> None:
    numbers = np.arange(100.0)
    with h5py.File(tmp_path / "a.h5", "w") as file, ThreadPoolExecutor(1) as pool:
        masked = np.ma.masked_greater(numbers, 10)
        hdf5_blocks._write_array(
            file, "numbers", masked, lambda: None, pool, chunks=(30,), compression="gzip"
        )
        file.create_dataset("by h5py", data=masked)
        np.testing.assert_array_equal(file["numbers"][()], numbers)
        np.testing.assert_array_equal(file["by h5py"][()], numbers)


def test_any_number_of_cores_writes_the_same_bytes(
    adata: AnnData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n_cores in (1, 2, 5):
        monkeypatch.setattr(hdf5_blocks, "available_cores", lambda n=n_cores: n)
        write_h5ad(adata, tmp_path / f"{n_cores}.h5ad")
    first, *others = ((tmp_path / f"{n_cores}.h5ad").read_bytes() for n_cores in (1, 2, 5))
    assert all(other == first for other in others)


def test_what_stops_the_writing_leaves_no_thread(adata: AnnData, tmp_path: Path) -> None:
    before, reported = threading.active_count(), []

    def tell() -> None:
        reported.append(1)
        if len(reported) > 20:
            raise Cancelled

    with pytest.raises(Cancelled):
        write_h5ad(adata, tmp_path / "a.h5ad", check_cancelled=tell)
    assert threading.active_count() == before
