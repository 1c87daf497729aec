"""Counts in memory and on disk give the same result, to the last bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse import csc_matrix, csr_matrix

from napari_spotmix import Cancelled, InputError, ReadError, deconvolve, read_spatial, simulate
from napari_spotmix.base.progress import Progress
from napari_spotmix.dataset.matrix_blocks import row_blocks
from napari_spotmix.dataset.validation import check
from napari_spotmix.io import close_files, write_h5ad
from napari_spotmix.model import counts as core_counts
from napari_spotmix.simulation.simulate import SimulatedTissue

#: Every kind of pass over the counts, and nothing learned.
QUICK: dict[str, Any] = {
    "lambda_c": 1.0,
    "alpha": 0.3,
    "attention": False,
    "platform_effect": "on",
    "cell_variation": 0.0,
    "n_outer_iterations": 1,
}


@pytest.fixture(scope="module")
def tissue() -> SimulatedTissue:
    return simulate(n_spots=80, n_genes=150, n_cell_types=4, random_state=3, image=False)


@pytest.fixture
def spatial(tissue: SimulatedTissue) -> AnnData:
    return half_precise(tissue)


def half_precise(tissue: SimulatedTissue) -> AnnData:
    """Return the spots with whole numbers that half precision can hold."""
    spots = tissue.spatial.copy()
    spots.X = csr_matrix(np.minimum(spots.X.toarray(), 2048).astype(np.float32))
    return spots


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_counts, "_BYTES", 4096)


@pytest.fixture
def on_disk(tmp_path: Path) -> Iterator[Callable[[AnnData], AnnData]]:
    opened: list[AnnData] = []

    def write_and_open(adata: AnnData) -> AnnData:
        path = tmp_path / f"spots{len(opened)}.h5ad"
        adata.write_h5ad(path)
        opened.append(read_spatial(path, backed=True))
        return opened[-1]

    yield write_and_open
    for adata in opened:
        close_files(adata)


def shuffled(matrix: csr_matrix) -> csr_matrix:
    """Return the same counts with the columns of each row in reverse and one entry in two parts."""
    data, indices, indptr = [], [], [0]
    for row in matrix:
        values, columns = list(row.data[::-1]), list(row.indices[::-1])
        if values and values[0] > 1:
            values, columns = [*values[1:], 1.0, values[0] - 1], [*columns[1:], columns[0], columns[0]]
        data += values
        indices += columns
        indptr.append(len(data))
    return csr_matrix((np.array(data, np.float32), np.array(indices), np.array(indptr)), shape=matrix.shape)


STORED: dict[str, Callable[[csr_matrix], Any]] = {
    "sparse": lambda X: X,
    "float64": lambda X: X.astype(np.float64),
    "whole numbers": lambda X: X.astype(np.int32),
    "small whole numbers": lambda X: X.astype(np.uint16),
    "unsorted and repeated": shuffled,
    "by columns": csc_matrix,
    "dense": lambda X: X.toarray(),
    "dense by columns": lambda X: np.asfortranarray(X.toarray()),
    "dense half precision": lambda X: X.toarray().astype(np.float16),
}


@pytest.fixture(scope="module")
def expected(tissue: SimulatedTissue) -> pd.DataFrame:
    """What comes of the counts as they are, in memory and in small blocks: the same for all ways to store."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(core_counts, "_BYTES", 4096)
        return deconvolve(half_precise(tissue), tissue.reference, **QUICK).proportions


@pytest.mark.parametrize("stored", STORED.values(), ids=STORED)
def test_the_way_in_which_counts_are_stored_changes_no_bit(
    spatial: AnnData,
    tissue: SimulatedTissue,
    expected: pd.DataFrame,
    on_disk: Callable[[AnnData], AnnData],
    stored: Callable[..., Any],
) -> None:
    given = spatial.copy()
    given.X = stored(spatial.X)
    before = given.X.copy()
    for spots in (given, on_disk(given)):
        result = deconvolve(spots, tissue.reference, **QUICK)
        np.testing.assert_array_equal(result.proportions, expected)
    assert np.abs(given.X - before).sum() == 0
    assert getattr(given.X, "nnz", 0) == getattr(before, "nnz", 0)


def test_yes_and_no_are_counts_of_one_and_none(
    spatial: AnnData, tissue: SimulatedTissue, on_disk: Callable[[AnnData], AnnData]
) -> None:
    seen = spatial.X > 0
    spatial.X = seen.astype(np.float32)
    expected = deconvolve(spatial, tissue.reference, **QUICK).proportions
    for values in (seen, seen.toarray()):
        spatial.X = values
        for spots in (spatial, on_disk(spatial)):
            np.testing.assert_array_equal(deconvolve(spots, tissue.reference, **QUICK).proportions, expected)


def test_layers_stay_on_disk_and_serve(
    spatial: AnnData,
    tissue: SimulatedTissue,
    expected: pd.DataFrame,
    on_disk: Callable[[AnnData], AnnData],
) -> None:
    spatial.layers["counts"] = spatial.X.copy()
    spatial.X.data = np.log1p(spatial.X.data)
    spots = on_disk(spatial)
    with pytest.raises(InputError, match="The layer 'counts' holds whole numbers"):
        deconvolve(spots, tissue.reference, **QUICK)
    result = deconvolve(spots, tissue.reference, layer="counts", **QUICK)
    np.testing.assert_array_equal(result.proportions, expected)
    assert not isinstance(spots.layers["counts"], csr_matrix)


def test_spots_left_out_are_left_out_on_disk_too(
    spatial: AnnData, tissue: SimulatedTissue, on_disk: Callable[[AnnData], AnnData]
) -> None:
    spatial.obsm["spatial"][[0, 17, 79]] = np.nan
    spatial.X = csr_matrix(spatial.X.multiply(np.arange(80)[:, None] != 5))
    expected = deconvolve(spatial, tissue.reference, **QUICK)
    result = deconvolve(on_disk(spatial), tissue.reference, **QUICK)
    np.testing.assert_array_equal(result.proportions, expected.proportions)
    assert result.proportions.isna().all(axis=1).sum() == 4


def test_what_anndata_opens_itself_serves_too_and_so_does_a_view_of_it(
    spatial: AnnData, tissue: SimulatedTissue, tmp_path: Path
) -> None:
    spatial.write_h5ad(tmp_path / "spots.h5ad")
    tissue.reference.write_h5ad(tmp_path / "cells.h5ad")
    spots, cells = (anndata.read_h5ad(tmp_path / name, backed="r") for name in ("spots.h5ad", "cells.h5ad"))
    try:
        result = deconvolve(spots, cells)
        np.testing.assert_array_equal(result.proportions, deconvolve(spatial, tissue.reference).proportions)
        part = deconvolve(spots[10:40], cells)
        expected = deconvolve(spatial[10:40].copy(), tissue.reference)
        np.testing.assert_array_equal(part.proportions, expected.proportions)
        assert part.to_anndata().shape == (30, 150)
    finally:
        spots.file.close()
        cells.file.close()


def test_counts_by_column_on_disk_are_noted(
    spatial: AnnData, tissue: SimulatedTissue, on_disk: Callable[[AnnData], AnnData]
) -> None:
    spatial.X = csc_matrix(spatial.X)
    notes = deconvolve(on_disk(spatial), tissue.reference, **QUICK).notes
    assert any("column by column" in note and "CSR" in note for note in notes)
    assert not any("CSR" in note for note in deconvolve(spatial, tissue.reference, **QUICK).notes)


def test_a_result_of_counts_on_disk_can_be_kept_without_reading_them(
    spatial: AnnData, tissue: SimulatedTissue, on_disk: Callable[[AnnData], AnnData], tmp_path: Path
) -> None:
    spatial.layers["dense"] = spatial.X.toarray()
    spatial.raw = spatial
    spots = on_disk(spatial)
    kept = deconvolve(spots, tissue.reference, **QUICK).to_anndata()
    assert "spotmix" not in spots.obsm
    assert kept.X is spots.X
    write_h5ad(kept, tmp_path / "result.h5ad")
    again = anndata.read_h5ad(tmp_path / "result.h5ad")
    assert isinstance(again.X, csr_matrix)
    for found in (again.X, again.layers["dense"], again.raw.X):
        np.testing.assert_array_equal(csr_matrix(found).toarray(), spatial.X.toarray())
    assert list(again.raw.var_names) == list(spatial.var_names)
    np.testing.assert_array_equal(again.obsm["spotmix"], kept.obsm["spotmix"])


def damaged(path: Path, change: Callable[[h5py.File], None]) -> AnnData:
    with h5py.File(path, "a") as file:
        change(file)
    return read_spatial(path, backed=True)


def cut_short(file: h5py.File) -> None:
    for name in ("data", "indices"):
        values = file[f"X/{name}"][:-100]
        del file[f"X/{name}"]
        file[f"X/{name}"] = values


def column_far_off(file: h5py.File) -> None:
    file["X/indices"][-1] = 1_000_000_000


def rows_backwards(file: h5py.File) -> None:
    file["X/indptr"][40] = 0


@pytest.mark.parametrize(
    ("change", "words"),
    [(cut_short, "last pointer"), (column_far_off, "column index"), (rows_backwards, "pointers decrease")],
)
def test_damaged_counts_are_reported_once_by_file_and_dataset(
    spatial: AnnData, tissue: SimulatedTissue, tmp_path: Path, change: Callable[..., None], words: str
) -> None:
    path = tmp_path / "spots.h5ad"
    spatial.write_h5ad(path)
    with pytest.raises(ReadError) as caught:
        deconvolve(damaged(path, change), tissue.reference, **QUICK)
    (problem,) = caught.value.problems
    assert caught.value.path == path
    assert words in problem
    assert "X" in problem


def test_a_closed_file_is_reported(
    spatial: AnnData, tissue: SimulatedTissue, on_disk: Callable[[AnnData], AnnData]
) -> None:
    for values in (spatial.X, spatial.X.toarray()):
        spatial.X = values
        spots = on_disk(spatial)
        close_files(spots)
        with pytest.raises(InputError, match=r"The spatial data \(`X`\) is in a file that has been closed"):
            deconvolve(spots, tissue.reference, **QUICK)


def test_chunks_that_cannot_be_unpacked_are_reported(
    spatial: AnnData, tissue: SimulatedTissue, tmp_path: Path
) -> None:
    path = tmp_path / "spots.h5ad"
    spatial.write_h5ad(path, compression="gzip")
    with h5py.File(path, "r") as file:
        chunk = file["X/data"].id.get_chunk_info(0)
    with path.open("r+b") as raw:
        raw.seek(chunk.byte_offset)
        raw.write(bytes(chunk.size))
    spots = read_spatial(path, backed=True)
    with pytest.raises(ReadError, match=r"spots\.h5ad: `/X/data` is damaged"):
        deconvolve(spots, tissue.reference, **QUICK)
    close_files(spots)


def test_every_pass_over_the_blocks_can_be_cancelled(
    spatial: AnnData, tissue: SimulatedTissue, on_disk: Callable[[AnnData], AnnData]
) -> None:
    spots = on_disk(spatial)
    stages: list[str] = []

    def note(progress: Progress) -> None:
        stages.append(progress.stage)

    deconvolve(spots, tissue.reference, on_progress=note, **QUICK)
    passes = {
        stage for stage in stages if stage.startswith(("Checking", "Counting", "Reducing", "Comparing with"))
    }
    assert len(passes) >= 5
    for stage in passes:

        def cancel(progress: Progress, at: str = stage) -> None:
            if progress.stage == at:
                raise Cancelled

        with pytest.raises(Cancelled):
            deconvolve(spots, tissue.reference, on_progress=cancel, **QUICK)


def test_checks_look_at_what_is_on_disk(
    spatial: AnnData, tissue: SimulatedTissue, on_disk: Callable[[AnnData], AnnData]
) -> None:
    for values, words in ((spatial.X * -1, "negative"), ((spatial.X * 0).toarray(), "no counts at all")):
        spatial.X = values
        (problem,) = check(on_disk(spatial), tissue.reference)
        assert words in problem.message


def test_a_matrix_in_memory_that_is_not_in_order_is_left_as_it_is() -> None:
    X = shuffled(csr_matrix(np.random.default_rng(0).poisson(2.0, (400, 60)).astype(np.float32)))
    rows = row_blocks(X)
    assert len(rows.bounds) > 10
    read = [rows.read(start, stop) for start, stop in pairwise(rows.bounds)]
    np.testing.assert_array_equal(np.vstack([block.toarray() for block in read]), X.toarray())
    assert not X.has_sorted_indices
