"""Which layer, counts and library of an AnnData are used: the same for a run, its check and its result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from anndata import AnnData

from napari_spotmix import Result, deconvolve
from napari_spotmix.dataset.access import (
    images,
    library,
    placed_images,
    scale_factors,
    spot_counts,
    tissue_image,
)
from napari_spotmix.dataset.diagnostics import diagnose
from napari_spotmix.dataset.registration import better_moves
from napari_spotmix.dataset.validation import check
from napari_spotmix.io import close_files, read_spatial
from napari_spotmix.result import read_result
from napari_spotmix.simulation.simulate import SimulatedTissue, simulate

QUICK = {"lambda_c": 0.1, "n_outer_iterations": 1}


@pytest.fixture(scope="module")
def tissue() -> SimulatedTissue:
    return simulate(n_spots=60, n_genes=80, n_cell_types=4, n_cells_per_type=30, random_state=3, image=False)


@pytest.fixture(scope="module")
def plain(tissue: SimulatedTissue) -> Result:
    return deconvolve(tissue.spatial, tissue.reference, **QUICK)


def to_layer(adata: AnnData, name: str = "counts") -> None:
    adata.layers[name], adata.X = adata.X.copy(), adata.X.log1p()


def to_raw(adata: AnnData) -> None:
    adata.raw = adata.copy()
    adata.X = adata.X.log1p()


def in_spatial(spatial: AnnData, _: AnnData) -> str:
    to_layer(spatial)
    return "counts"


def in_reference(_: AnnData, reference: AnnData) -> str:
    to_layer(reference)
    return "counts"


def in_raw_of_both(spatial: AnnData, reference: AnnData) -> str:
    to_raw(spatial)
    to_raw(reference)
    return "raw"


def in_raw_of_spatial(spatial: AnnData, _: AnnData) -> str:
    to_raw(spatial)
    return "raw"


def in_raw_of_reference(_: AnnData, reference: AnnData) -> str:
    to_raw(reference)
    return "raw"


def in_a_layer_named_raw(spatial: AnnData, reference: AnnData) -> str:
    to_layer(spatial, "raw")
    to_raw(reference)
    return "raw"


HOLDERS = [
    in_spatial,
    in_reference,
    in_raw_of_both,
    in_raw_of_spatial,
    in_raw_of_reference,
    in_a_layer_named_raw,
]


@pytest.mark.parametrize("move", HOLDERS, ids=lambda move: move.__name__)
def test_counts_are_the_same_wherever_they_are_stored(
    tissue: SimulatedTissue, plain: Result, tmp_path: Path, move: Callable[[AnnData, AnnData], str]
) -> None:
    spatial, reference = tissue.spatial.copy(), tissue.reference.copy()
    layer = move(spatial, reference)
    assert check(spatial, reference, layer=layer) == []
    found = diagnose(spatial, reference, layer=layer)
    assert {one.level for one in found} == {"note"}
    result = deconvolve(spatial, reference, layer=layer, **QUICK)
    assert np.array_equal(result.proportions, plain.proportions)
    for one in found:
        if "has no layer" in one.message:
            assert one.message in result.notes
    genes = plain.supporting_genes(5)
    assert genes
    assert result.supporting_genes(5) == genes
    assert spot_counts(result.spatial, layer, 5).equals(spot_counts(tissue.spatial, None, 5))
    again = Result.from_anndata(result.to_anndata())
    assert spot_counts(again.spatial, layer, 5).equals(spot_counts(tissue.spatial, None, 5))
    assert again.supporting_genes(5) == {}, "a file does not hold the signatures"
    result.to_anndata().write_h5ad(tmp_path / "spatial.h5ad")
    on_disk = read_result(tmp_path / "spatial.h5ad", backed=True)
    assert spot_counts(on_disk.spatial, layer, 5).equals(spot_counts(tissue.spatial, None, 5))
    assert on_disk.supporting_genes(5) == {}
    close_files(on_disk.spatial)


def test_a_layer_that_neither_has_is_a_problem(tissue: SimulatedTissue) -> None:
    (problem,) = check(tissue.spatial, tissue.reference, layer="counts")
    assert problem.message.startswith("`layer`: the spatial data has no layer 'counts'.")


def test_counts_by_column_on_disk_are_not_read_for_one_spot(tissue: SimulatedTissue, tmp_path: Path) -> None:
    spots = tissue.spatial.copy()
    spots.X = spots.X.tocsc()
    spots.write_h5ad(tmp_path / "spots.h5ad")
    opened = read_spatial(tmp_path / "spots.h5ad", backed=True)
    assert spot_counts(opened, None, 5).empty
    close_files(opened)
    assert len(spot_counts(spots, None, 5))


def with_image(**others: object) -> AnnData:
    """Return spots with one library, and other values next to it."""
    spots = AnnData(np.ones((12, 1), np.float32))
    spots.obsm["spatial"] = np.arange(24.0).reshape(12, 2)
    pixels = {"hires": np.zeros((20, 10, 3), np.uint8)}
    one = {"images": pixels, "scalefactors": {"tissue_hires_scalef": 0.5, "spot_diameter_fullres": 3.0}}
    spots.uns["spatial"] = {**others, "A1": one}
    return spots


def test_a_file_of_cellxgene_has_one_library() -> None:
    """Next to the library there is `is_single`, which is none."""
    spots = with_image(is_single=True)
    assert library(spots) is spots.uns["spatial"]["A1"]
    assert scale_factors(spots)["spot_diameter_fullres"] == 3.0
    assert list(images(spots)) == ["hires"]
    assert tissue_image(spots)[1] == 2.0
    assert better_moves(spots) == ()


@pytest.mark.parametrize("given", [None, "A1", {}, {"is_single": False}, {"A1": {"images": None}}])
def test_without_a_library_there_is_no_image(given: object) -> None:
    spots = with_image()
    spots.uns["spatial"] = given
    assert not images(spots)
    assert not scale_factors(spots)
    assert placed_images(spots) == []
    assert tissue_image(spots) is None


def test_an_image_without_a_usable_scale_factor_is_not_placed() -> None:
    spots = with_image()
    for factor in ("?", 0, -1.0, np.nan, None):
        spots.uns["spatial"]["A1"]["scalefactors"]["tissue_hires_scalef"] = factor
        assert tissue_image(spots) is None
    assert list(images(spots)) == ["hires"]
