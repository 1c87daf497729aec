"""The counts of a gene, however the matrix is stored, and the names that genes are found by."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse import csc_matrix, csr_matrix

from napari_spotmix.base.color_range import largest_present
from napari_spotmix.base.errors import Cancelled, InputError, ReadError
from napari_spotmix.base.progress import Progress
from napari_spotmix.dataset import gene_counts as module
from napari_spotmix.dataset.gene_counts import gene_counts
from napari_spotmix.dataset.gene_index import gene_index
from napari_spotmix.io import close_files, is_on_disk, read_spatial

COUNTS = np.random.default_rng(4).poisson(0.6, (40, 7))
KINDS = {"csr": csr_matrix, "csc": csc_matrix, "dense": np.asarray}


def spots(kind: str, counts: Any = COUNTS) -> AnnData:
    n_spots, n_genes = counts.shape
    adata = AnnData(
        KINDS[kind](counts.astype(np.float32)),
        obs=pd.DataFrame(index=[f"spot{at}" for at in range(n_spots)]),
        var=pd.DataFrame(index=[f"Gene{at}" for at in range(n_genes)]),
    )
    adata.obsm["spatial"] = np.random.default_rng(5).uniform(0, 100, (n_spots, 2))
    return adata


def backed(folder: Path, adata: AnnData) -> AnnData:
    path = folder / "spots.h5ad"
    adata.write_h5ad(path)
    return read_spatial(path, backed=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_backed", [False, True])
def test_counts_and_depths_are_those_of_the_matrix_however_it_is_stored(
    tmp_path: Path, kind: str, is_backed: bool
) -> None:
    adata = backed(tmp_path, spots(kind)) if is_backed else spots(kind)
    assert is_on_disk(adata.X) == is_backed
    for gene in (0, 3, 6):
        found = gene_counts(adata, None, gene, with_depths=gene > 0)
        assert found.counts.tolist() == COUNTS[:, gene].tolist()
        assert (found.depths is None) == (gene == 0)
        if found.depths is not None:
            assert found.depths.tolist() == COUNTS.sum(axis=1).tolist()


def test_the_layer_of_the_run_is_read_and_x_where_there_is_no_such_layer() -> None:
    adata = spots("csr")
    adata.layers["counts"] = csr_matrix(2 * COUNTS)
    assert gene_counts(adata, "counts", 1).counts.tolist() == (2 * COUNTS[:, 1]).tolist()
    assert gene_counts(adata, "other", 1).counts.tolist() == COUNTS[:, 1].tolist()


def test_of_a_file_by_columns_no_other_gene_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adata = backed(tmp_path, spots("csc"))
    read: list[int] = []
    whole = module._entries

    def watched(data: Any, indices: Any, n_spots: int, first: int, last: int) -> Any:
        read.append(last - first)
        return whole(data, indices, n_spots, first, last)

    monkeypatch.setattr(module, "_entries", watched)
    gene_counts(adata, None, 2)
    assert sum(read) == (COUNTS[:, 2] > 0).sum()


def test_sums_of_spots_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    adata = spots("csr")
    first = gene_counts(adata, None, 1, with_depths=True).depths
    monkeypatch.setattr(module.np, "repeat", None)  # what sums spots
    assert gene_counts(adata, None, 2, with_depths=True).depths is first


@pytest.mark.parametrize("kind", ["csr", "csc"])
def test_a_damaged_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "spots.h5ad"
    spots(kind).write_h5ad(path)
    with h5py.File(path, "r+") as file:
        file["X/indices"][:] = 10**6
    adata = read_spatial(path, backed=True)
    with pytest.raises((InputError, ValueError), match="index is 1,000,000"):
        gene_counts(adata, None, 2)


def test_a_file_that_was_closed_is_reported(tmp_path: Path) -> None:
    adata = backed(tmp_path, spots("csr"))
    close_files(adata)
    with pytest.raises(InputError, match="has been closed"):
        gene_counts(adata, None, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_chunk_that_cannot_be_read_is_reported_with_its_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "spots.h5ad"
    spots(kind).write_h5ad(path, compression="gzip")
    with h5py.File(path) as file:
        stored = file["X"] if kind == "dense" else file["X/data"]
        where, length = stored.id.get_chunk_info(0).byte_offset, stored.id.get_chunk_info(0).size
    raw = bytearray(path.read_bytes())
    raw[where : where + length] = b"\xff" * length
    path.write_bytes(raw)
    with pytest.raises(ReadError, match="is damaged"):
        gene_counts(read_spatial(path, backed=True), None, 2)


def test_a_matrix_in_memory_that_was_damaged_is_refused() -> None:
    adata = spots("csr")
    adata.X.indices[3] = 99
    with pytest.raises(InputError, match="column index is 99"):
        gene_counts(adata, None, 2)


def test_spots_without_counts_and_unknown_genes_are_refused() -> None:
    with pytest.raises(InputError, match="holds no counts"):
        gene_counts(AnnData(shape=(3, 2)), None, 0)
    with pytest.raises(InputError, match="Gene 7 is unknown"):
        gene_counts(spots("csr"), None, 7)
    with pytest.raises(InputError, match="must hold numbers"):
        gene_counts(AnnData(COUNTS.astype(complex)), None, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_reading_is_cancelled(kind: str) -> None:
    def cancel(_: Progress) -> None:
        raise Cancelled("Cancelled.")

    with pytest.raises(Cancelled):
        gene_counts(spots(kind), None, 1, with_depths=True, on_progress=cancel)


# ------------------------------------------------------------------------------------------- names of genes


def named(names: list[str], **columns: Any) -> AnnData:
    var = pd.DataFrame(columns, index=pd.Index(names, dtype=object))
    return AnnData(np.zeros((2, len(names)), np.float32), var=var)


def test_genes_are_found_by_any_of_their_names_without_case() -> None:
    adata = named(
        ["Ckm", "ckmt2", "B2m", "Xckm"],
        gene_ids=["ENSMUSG0004", "ENSMUSG0003", "ENSMUSG0002", "ENSMUSG0001"],
        feature_types=["Gene Expression"] * 4,
    )
    index = gene_index(adata)
    assert list(index.names) == ["B2m", "Ckm", "ckmt2", "Xckm"]
    assert [index.names[at] for at in index.matching(" CKM ")] == ["Ckm", "ckmt2", "Xckm"]
    assert [index.names[at] for at in index.matching("ensmusg0002")] == ["B2m"]
    assert next(index.others[at] for at in index.matching("Ckm")) == "ENSMUSG0004"
    assert index.matching("gene expression") == []
    assert [index.columns[at] for at in index.matching("")] == [2, 0, 1, 3]
    assert index.at("Ckm") == 1
    assert index.at("CKM") is None


def test_an_equal_name_comes_first() -> None:
    index = gene_index(named(["ATP5F1", "F1", "F10"]))
    assert [index.names[at] for at in index.matching("f1")] == ["F1", "F10", "ATP5F1"]


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_genes_of_the_same_name_are_numbered() -> None:
    index = gene_index(named(["B", "A", "B"], gene_ids=["ENSG1", "ENSG2", "ENSG3"]))
    assert list(zip(index.names, index.others, index.columns, strict=True)) == [
        ("A", "ENSG2", 1),
        ("B", "ENSG1, 1 of 2 with this name", 0),
        ("B", "ENSG3, 2 of 2 with this name", 2),
    ]
    assert index.matching("with this name") == []


def test_a_gene_is_known_by_its_name_in_raw() -> None:
    adata = named(["A", "B"])
    adata.raw = named(["A", "B", "C"])
    assert list(gene_index(adata, "raw").names) == ["A", "B", "C"]
    assert list(gene_index(adata, None).names) == ["A", "B"]


def test_thirty_thousand_genes_are_searched_in_an_instant() -> None:
    names = [f"Gene{at}" for at in range(30_000)]
    index = gene_index(named(names, gene_ids=[f"ENSG{at:011}" for at in range(30_000)]))
    for text in ("g", "ensg0000002", "nothing like it"):
        start = time.process_time()
        index.matching(text)
        assert time.process_time() - start < 0.05


def test_the_end_of_a_gene_is_that_of_spots_that_have_it() -> None:
    values = np.zeros(10_000)
    values[:400] = np.linspace(1, 7, 400)
    assert largest_present(values) == 8.0
