"""Written piece by piece: the same as anndata writes, and a cancel is heard between two pieces."""

from __future__ import annotations

from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse import csr_matrix

from napari_spotmix.errors import Cancelled
from napari_spotmix.io import _pieces, read_spatial, write_h5ad, write_outputs
from napari_spotmix.io.on_disk import write_matrices
from napari_spotmix.progress import Progress


@pytest.fixture
def adata(monkeypatch: pytest.MonkeyPatch) -> AnnData:
    """Spots that take many pieces of everything."""
    monkeypatch.setattr(_pieces, "_BYTES", 1000)
    monkeypatch.setattr(_pieces, "_NAMES", 50)
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


def test_pieces_make_the_file_that_anndata_writes(adata: AnnData, tmp_path: Path) -> None:
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


def test_a_cancel_is_heard_before_every_piece(adata: AnnData, tmp_path: Path) -> None:
    told: list[Progress] = []

    def tell(progress: Progress) -> None:
        told.append(progress)
        if len(told) > 30:
            raise Cancelled

    recipe: dict[str, dict[str, str]] = {"versions": {}}
    with pytest.raises(Cancelled):
        write_outputs(
            tmp_path / "out", adata=adata, proportions=adata.obsm["shares"], recipe=recipe, on_progress=tell
        )
    assert told[-1].step == 1, "while the file was written"
    assert not list(tmp_path.iterdir())
