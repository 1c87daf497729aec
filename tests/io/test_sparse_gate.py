"""Damaged sparse matrices are refused, whichever slot, file or program they come from, before code uses them.

What would end the process runs in a process of its own, with limits of time and memory.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from anndata import AnnData
from scipy.sparse import csc_matrix, csr_array, csr_matrix

from napari_spotmix import InputError, ReadError, deconvolve, read_result, read_spatial
from napari_spotmix.dataset.matrix_blocks import row_blocks
from napari_spotmix.dataset.validation import check
from napari_spotmix.io import close_files, sparse_damage, sparse_problem
from napari_spotmix.simulation.simulate import SimulatedTissue, simulate
from tests.cli.commands import spotmix_process
from tests.io.layouts import section, write_folder

#: Longest message, in letters.
LONGEST = 600


@pytest.fixture(scope="module")
def tissue() -> SimulatedTissue:
    return simulate(n_spots=60, n_genes=80, n_cell_types=4, random_state=3, image=False)


def first_pointer(parts: dict[str, Any]) -> None:
    parts["indptr"][0] = 1


def decreasing(parts: dict[str, Any]) -> None:
    parts["indptr"][5] = parts["indptr"][7] + 9


def negative_pointer(parts: dict[str, Any]) -> None:
    parts["indptr"][5] = -9


def few_pointers(parts: dict[str, Any]) -> None:
    parts["indptr"] = parts["indptr"][:-3]


def huge_pointers(parts: dict[str, Any]) -> None:
    parts["indptr"] = parts["indptr"].astype(np.int64)
    parts["indptr"][5:] = 1 << 40


def last_pointer(parts: dict[str, Any]) -> None:
    parts["indptr"][-1] += 500


def few_values(parts: dict[str, Any]) -> None:
    parts["data"] = parts["data"][:-7]


def two_dimensions(parts: dict[str, Any]) -> None:
    parts["data"] = parts["data"].reshape(1, -1)


def large_index(parts: dict[str, Any]) -> None:
    parts["indices"][10] = 10**6


def huge_index(parts: dict[str, Any]) -> None:
    parts["indices"] = parts["indices"].astype(np.int64)
    parts["indices"][10] = 1 << 62


def negative_index(parts: dict[str, Any]) -> None:
    parts["indices"][10] = -5


def wrapped_indices(parts: dict[str, Any]) -> None:
    parts["indices"] = parts["indices"].astype(np.int64) + (1 << 32)


def fractions(parts: dict[str, Any]) -> None:
    parts["indices"] = parts["indices"] + 0.5


def text(parts: dict[str, Any]) -> None:
    parts["indices"] = parts["indices"].astype("S")


DAMAGE = {
    first_pointer: "first pointer is 1",
    decreasing: "pointers decrease",
    negative_pointer: "pointers decrease",
    few_pointers: "pointers, expected",
    huge_pointers: "last pointer is 1,099,511,627,776",
    last_pointer: "the number of entries",
    few_values: "values but",
    two_dimensions: "one dimension",
    large_index: "1,000,000",
    huge_index: "4,611,686,018,427,387,904",
    negative_index: "index is -5",
    wrapped_indices: "index is 4,294,967,",
    fractions: "`indices` must be integers",
    text: "`indices` must be integers, found text",
}


def damaged(matrix: Any, damage: Callable[[dict[str, Any]], None]) -> Any:
    """Return a damaged copy, of which SciPy has seen nothing."""
    parts = {name: getattr(matrix, name).copy() for name in ("data", "indices", "indptr")}
    damage(parts)
    changed = type(matrix)(matrix.shape, dtype=matrix.dtype)
    for name, part in parts.items():
        setattr(changed, name, part)
    return changed


def damage_file(path: Path, slot: str, damage: Callable[[dict[str, Any]], None]) -> Path:
    with h5py.File(path, "a") as file:
        group = file[slot]
        before = {name: group[name][()] for name in ("data", "indices", "indptr")}
        parts = {name: values.copy() for name, values in before.items()}
        damage(parts)
        for name, values in parts.items():
            del group[name]
            group[name] = values
    return path


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("kind", [csr_matrix, csc_matrix])
def test_every_damage_is_named(damage: Callable[..., None], kind: Any, tissue: SimulatedTissue) -> None:
    matrix = kind(tissue.spatial.X)
    assert sparse_problem(matrix) == ""
    assert DAMAGE[damage] in sparse_problem(damaged(matrix, damage))


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("backed", [False, True])
def test_damaged_counts_of_a_file_are_refused(
    damage: Callable[..., None], backed: bool, tissue: SimulatedTissue, tmp_path: Path
) -> None:
    tissue.spatial.write_h5ad(tmp_path / "spots.h5ad")
    path = damage_file(tmp_path / "spots.h5ad", "X", damage)
    with pytest.raises(ReadError) as caught:
        deconvolve(read_spatial(path, backed=backed), tissue.reference)
    assert caught.value.path == path
    assert "X" in str(caught.value)
    assert DAMAGE[damage] in str(caught.value)
    assert len(str(caught.value)) <= LONGEST + len(str(path))


SLOTS = ("layers/counts", "raw/X", "obsm/near", "obsp/graph", "varp/pairs", "uns/deep/graph")


def with_slots(tissue: SimulatedTissue, kind: Any) -> AnnData:
    adata = tissue.spatial.copy()
    square, genes = kind(csr_matrix(np.eye(adata.n_obs))), kind(csr_matrix(np.eye(adata.n_vars)))
    adata.layers["counts"] = kind(adata.X)
    adata.raw = AnnData(kind(adata.X), var=adata.var)
    adata.obsm["near"], adata.obsp["graph"], adata.varp["pairs"] = square, square, genes
    adata.uns["deep"] = {"graph": square}
    return adata


@pytest.mark.parametrize("slot", SLOTS)
@pytest.mark.parametrize("kind", [csr_matrix, csc_matrix])
@pytest.mark.parametrize("backed", [False, True])
def test_every_slot_passes_the_gate(
    slot: str, kind: Any, backed: bool, tissue: SimulatedTissue, tmp_path: Path
) -> None:
    path = tmp_path / "spots.h5ad"
    with_slots(tissue, kind).write_h5ad(path)
    close_files(read_spatial(path, backed=backed))
    damage_file(path, slot, decreasing)
    name = slot.split("/")[-1]
    with pytest.raises(ReadError, match=f"{name}.*pointers decrease"):
        read_spatial(path, backed=backed)


def test_a_store_passes_the_gate(tissue: SimulatedTissue, tmp_path: Path) -> None:
    adata = with_slots(tissue, csr_matrix)
    adata.obsp["graph"] = damaged(adata.obsp["graph"], large_index)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about formats of Zarr
        adata.write_zarr(tmp_path / "spots.zarr")
    with pytest.raises(ReadError, match=r"obsp\['graph'\].*1,000,000"):
        read_spatial(tmp_path / "spots.zarr")


def read_all(adata: AnnData) -> None:
    """Read the counts as the model does; those in memory were read with the file."""
    counts = row_blocks(adata.X)
    if not isinstance(counts, csr_array):
        counts.read(0, int(counts.bounds[-1]))


@pytest.mark.parametrize("damage", [decreasing, few_values, huge_index, negative_index, fractions])
@pytest.mark.parametrize("backed", [False, True])
def test_counts_of_space_ranger_pass_the_gate(
    damage: Callable[..., None], backed: bool, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "outs", section())
    damage_file(folder / "filtered_feature_bc_matrix.h5", "matrix", damage)
    with pytest.raises(ReadError, match=r"filtered_feature_bc_matrix\.h5"):
        read_all(read_spatial(folder, backed=backed))


@pytest.mark.skipif(os.name != "posix", reason="limits of memory are those of POSIX")
@pytest.mark.parametrize(
    ("slot", "kind", "damage"),
    [
        ("X", csr_matrix, large_index),
        ("X", csr_matrix, huge_index),
        ("X", csc_matrix, large_index),
        ("obsp/graph", csr_matrix, large_index),
    ],
)
def test_a_run_ends_with_one_sentence(
    slot: str, kind: Any, damage: Callable[..., None], tissue: SimulatedTissue, tmp_path: Path
) -> None:
    adata = with_slots(tissue, kind)
    adata.X = kind(adata.X)
    adata.write_h5ad(tmp_path / "spots.h5ad")
    tissue.reference.write_h5ad(tmp_path / "cells.h5ad")
    damage_file(tmp_path / "spots.h5ad", slot, damage)
    # In a process of its own: without the gate it would end by a signal, or not at all.
    files, limits = ("spots.h5ad", "cells.h5ad"), {"RLIMIT_DATA": 2 << 30}
    done = spotmix_process("run", *files, "--output", "out", cwd=tmp_path, limits=limits)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "index is" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("damage", DAMAGE)
def test_matrices_of_other_programs_pass_the_gate(
    damage: Callable[..., None], tissue: SimulatedTissue
) -> None:
    spots = tissue.spatial.copy()
    spots.X = damaged(spots.X, damage)
    (problem,) = check(spots, tissue.reference)
    assert DAMAGE[damage] in problem.message
    with pytest.raises(InputError, match="`spatial`: `X` is damaged"):
        deconvolve(spots, tissue.reference)
    with pytest.raises(InputError, match="`spatial`: `X` is damaged"):
        deconvolve(spots[:20], tissue.reference)


def test_a_damaged_graph_of_a_result_is_refused(tissue: SimulatedTissue, tmp_path: Path) -> None:
    result = deconvolve(tissue.spatial, tissue.reference, lambda_c=1.0, alpha=0.3, attention=False)
    result.to_anndata().write_h5ad(tmp_path / "spatial.h5ad")
    assert read_result(tmp_path / "spatial.h5ad").cell_types == result.cell_types
    damage_file(tmp_path / "spatial.h5ad", "obsp/spotmix_connectivities", large_index)
    with pytest.raises(ReadError, match=r"obsp\['spotmix_connectivities'\].*1,000,000"):
        read_result(tmp_path / "spatial.h5ad")


def test_what_is_valid_passes(tissue: SimulatedTissue) -> None:
    unsorted = csr_matrix((np.ones(3), np.array([2, 0, 2]), np.array([0, 3, 3])), shape=(2, 3))
    mixed = csr_matrix(tissue.spatial.X)
    mixed.indptr = mixed.indptr.astype(np.int64)
    big_endian = csr_matrix(tissue.spatial.X)
    big_endian.indices = big_endian.indices.astype(">i4")
    unsigned = csr_matrix(tissue.spatial.X)
    unsigned.indices = unsigned.indices.astype(np.uint32)
    valid = (
        unsorted,
        mixed,
        big_endian,
        unsigned,
        csr_array((0, 5)),
        csc_matrix((5, 0)),
        csr_matrix((3, 4), dtype=bool),
        tissue.spatial.X.astype(np.float64),
        np.eye(3),
        None,
    )
    assert [sparse_problem(matrix) for matrix in valid] == [""] * len(valid)


def test_one_message_names_all_and_stays_short(tissue: SimulatedTissue) -> None:
    adata = tissue.spatial.copy()
    for number in range(30):
        adata.layers[f"layer {number} {'x' * 1000}"] = damaged(adata.X, large_index)
    found = sparse_damage(adata)
    assert "So are 29 more of its matrices." in found
    assert len(found) <= LONGEST
