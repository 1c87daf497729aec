"""A result is a property of the data: the order of spots, genes, cells and types does not matter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData, concat
from numpy.random import Generator

from napari_spotmix import (
    Result,
    compare_regions,
    deconvolve,
    find_niches,
    read_reference,
    read_spatial,
    simulate,
)
from napari_spotmix.simulation import SimulatedTissue
from tests.test_real_sections import BENCH

Change = Callable[[AnnData, AnnData, Generator], tuple[AnnData, AnnData]]


@pytest.fixture
def rng() -> Generator:
    return np.random.default_rng(5)


@pytest.fixture(scope="module")
def tissue() -> SimulatedTissue:
    """A section with a spot without counts, and two of the same coordinates."""
    made = simulate(n_spots=150, n_genes=150, n_cell_types=5, random_state=3, image=False)
    counts = made.spatial.X.tolil()
    counts[7] = 0
    made.spatial.X = counts.tocsr()
    made.spatial.obsm["spatial"][20:23] = made.spatial.obsm["spatial"][20]
    return made


@pytest.fixture(scope="module")
def result(tissue: SimulatedTissue) -> Result:
    return deconvolve(tissue.spatial, tissue.reference)


def spots(spatial: AnnData, reference: AnnData, rng: Generator) -> tuple[AnnData, AnnData]:
    return spatial[rng.permutation(spatial.n_obs)].copy(), reference


def genes(spatial: AnnData, reference: AnnData, rng: Generator) -> tuple[AnnData, AnnData]:
    spatial = spatial[:, rng.permutation(spatial.n_vars)].copy()
    return spatial, reference[:, rng.permutation(reference.n_vars)].copy()


def cells(spatial: AnnData, reference: AnnData, rng: Generator) -> tuple[AnnData, AnnData]:
    return spatial, reference[rng.permutation(reference.n_obs)].copy()


def types(spatial: AnnData, reference: AnnData, rng: Generator) -> tuple[AnnData, AnnData]:
    given = reference.obs["cell_type"].astype(str)
    names = rng.permutation(given.unique())
    reference = reference.copy()
    reference.obs["cell_type"] = pd.Categorical(given, categories=names)
    return spatial, reference


def everything(spatial: AnnData, reference: AnnData, rng: Generator) -> tuple[AnnData, AnnData]:
    for change in (spots, genes, cells, types):
        spatial, reference = change(spatial, reference, rng)
    return spatial, reference


def assert_same(found: Result, expected: Result) -> None:
    """Compare what is shown of each spot, by name."""
    assert list(found.cell_types) == list(expected.cell_types)
    names = expected.abundances.index
    for attribute in ("proportions", "abundances", "standard_errors", "misfit"):
        one, other = getattr(found, attribute).loc[names], getattr(expected, attribute)
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6, err_msg=attribute)
    assert (found.reasons.loc[names] == expected.reasons).all()
    row = found.abundances.index.get_indexer(names)
    for attribute in ("weights", "attention"):
        moved, given = getattr(found, attribute)[row][:, row], getattr(expected, attribute)
        assert abs(moved - given).max() < 1e-6
        assert moved.nnz == given.nnz
    genes = expected.residual_genes.index
    np.testing.assert_allclose(found.residual_genes.loc[genes], expected.residual_genes, rtol=1e-6, atol=1e-6)
    assert found.notes == expected.notes


@pytest.mark.parametrize("change", [spots, genes, cells, types, everything])
def test_the_order_of_rows_and_columns_does_not_matter(
    change: Change, tissue: SimulatedTissue, result: Result, rng: Generator
) -> None:
    assert_same(deconvolve(*change(tissue.spatial, tissue.reference, rng)), result)


def test_niches_and_comparisons_of_regions_do_not_depend_on_the_order_of_spots(
    tissue: SimulatedTissue, result: Result, rng: Generator
) -> None:
    moved = deconvolve(*spots(tissue.spatial, tissue.reference, rng))
    names = result.abundances.index
    one, other = find_niches(moved, 4), find_niches(result, 4)
    assert list(one.labels.loc[names]) == list(other.labels)
    tables = [
        compare_regions(each, each.coordinates[:, 0] < np.median(result.coordinates[:, 0]), n_surrogates=99)
        for each in (moved, result)
    ]
    pd.testing.assert_frame_equal(*tables, rtol=0, atol=1e-6)


def test_sections_and_some_fractions_in_any_order_give_the_same(
    tissue: SimulatedTissue, rng: Generator
) -> None:
    """Sums of fractions are rounded; sections that share coordinates are never connected."""
    first, second = tissue.spatial[:80].copy(), tissue.spatial[70:].copy()
    both = concat({"b": first, "a": second}, label="section", index_unique="-")
    reference = tissue.reference.copy()
    for data in (both, reference):
        data.X = data.X.astype(float)
        data.X.data[::100] -= 0.3
    expected = deconvolve(both, reference, library_key="section")
    assert_same(deconvolve(*everything(both, reference, rng), library_key="section"), expected)


def test_a_file_read_in_blocks_gives_the_same_as_one_in_memory(
    tissue: SimulatedTissue, result: Result, rng: Generator, tmp_path: Path
) -> None:
    moved, reference = everything(tissue.spatial, tissue.reference, rng)
    moved.write_h5ad(tmp_path / "moved.h5ad")
    read = read_spatial(tmp_path / "moved.h5ad")
    assert_same(deconvolve(read, reference), result)


def test_a_refit_knows_which_spot_is_which(tissue: SimulatedTissue, result: Result, rng: Generator) -> None:
    moved = deconvolve(*everything(tissue.spatial, tissue.reference, rng))
    without = result.cell_types[0]
    one, other = (each.refit(lambda_c=0.5, without=without).proportions for each in (moved, result))
    np.testing.assert_allclose(one.loc[other.index], other, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["spotless_gold_cortex", "cosmx_nsclc"])
def test_real_sections_do_not_depend_on_order(name: str, rng: Generator) -> None:
    folder = BENCH / name
    if not folder.exists():
        pytest.skip(f"there is no ../shared/data/bench/{name}")
    spatial, reference = read_spatial(folder / "spatial.h5ad"), read_reference(folder / "reference.h5ad")
    expected = deconvolve(spatial, reference)
    assert_same(deconvolve(*everything(spatial, reference, rng)), expected)
