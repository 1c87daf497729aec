"""Simulated tissue as AnnData: slots, register with the picture, seeds, bad arguments, cancelling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
from scipy.spatial import KDTree

from napari_spotmix.base.errors import Cancelled, InputError
from napari_spotmix.base.progress import Progress
from napari_spotmix.simulation.simulate import SimulatedTissue, simulate

SMALL: dict[str, Any] = {"n_spots": 60, "n_genes": 120, "n_cell_types": 4, "random_state": 1}


@pytest.fixture(scope="module")
def small() -> SimulatedTissue:
    return simulate(**SMALL)


@pytest.fixture(scope="module")
def default() -> SimulatedTissue:
    return simulate()


def section(tissue: SimulatedTissue) -> dict[str, Any]:
    return tissue.spatial.uns["spatial"]["simulated"]


def as_bytes(tissue: SimulatedTissue) -> bytes:
    """Everything that was drawn, as one string of bytes."""
    parts = [adata.X for adata in (tissue.spatial, tissue.reference)]
    arrays = [array for matrix in parts for array in (matrix.data, matrix.indices, matrix.indptr)]
    arrays += [tissue.spatial.obsm["spatial"], tissue.spatial.obsm["truth"].to_numpy()]
    arrays += [tissue.spatial.obsm["truth_rna"].to_numpy(), *section(tissue)["images"].values()]
    return b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)


def test_small_tissue_has_the_sizes_asked_for(small: SimulatedTissue) -> None:
    assert small.spatial.shape == (60, 120)
    assert small.spatial.obsm["spatial"].shape == (60, 2)
    assert small.spatial.obsm["truth"].shape == small.spatial.obsm["truth_rna"].shape == (60, 4)
    assert small.reference.shape == (400, 120)
    assert small.reference.obs["cell_type"].value_counts().tolist() == [100] * 4
    assert list(small.reference.obs["cell_type"].cat.categories) == list(small.spatial.obsm["truth"].columns)


def test_counts_are_sparse_whole_numbers(small: SimulatedTissue) -> None:
    for adata in (small.spatial, small.reference):
        assert adata.X.format == "csr"
        assert adata.X.dtype == np.float32
        assert (adata.X.data == np.rint(adata.X.data)).all()
        assert adata.X.data.min() >= 1


def test_names_are_unique_and_shared(default: SimulatedTissue) -> None:
    for adata in (default.spatial, default.reference):
        assert adata.obs_names.is_unique
        assert adata.var_names.is_unique
    assert list(default.spatial.var_names) == list(default.reference.var_names)
    assert default.spatial.obs_names.str.fullmatch(r"[ACGT]{16}-1").all()


def test_truth_rows_sum_to_one(default: SimulatedTissue) -> None:
    for key in ("truth", "truth_rna"):
        np.testing.assert_allclose(default.spatial.obsm[key].sum(axis=1), 1)
    assert 0.005 < default.spatial.obsm["truth"]["Neuroendocrine"].mean() < 0.03


def test_every_region_of_the_default_tissue_has_spots(default: SimulatedTissue) -> None:
    counts = default.spatial.obs["region"].value_counts()
    assert set(counts.index) == {"Mucosa", "Submucosa", "Muscle", "Follicle", "Infiltrate"}
    assert counts.min() >= 20
    truth = default.spatial.obsm["truth"].groupby(default.spatial.obs["region"], observed=True).mean()
    assert truth["Epithelial"].idxmax() == "Mucosa"
    assert truth["Smooth muscle"].idxmax() == "Muscle"
    assert truth["B cell"].idxmax() == "Follicle"
    assert truth["Macrophage"].idxmax() == "Infiltrate"


def test_picture_and_spots_are_in_register(default: SimulatedTissue) -> None:
    """Spots with many or dense nuclei are bluer than spots of muscle, and only at their own positions."""
    picture = section(default)["images"]["hires"]
    factors = section(default)["scalefactors"]
    xy = default.spatial.obsm["spatial"] * factors["tissue_hires_scalef"]
    radius = factors["spot_diameter_fullres"] * factors["tissue_hires_scalef"] / 2
    truth = default.spatial.obsm["truth"]
    dense = truth["B cell"] + truth["T cell"] + truth["Epithelial"] - truth["Smooth muscle"]
    height, width = picture.shape[:2]

    def similarity(x: np.ndarray, y: np.ndarray) -> float:
        return float(np.corrcoef(blueness(picture, x, y, radius), dense)[0, 1])

    x, y = xy.T
    registered = similarity(x, y)
    assert registered > 0.6
    for moved in (
        similarity(width - x, y),
        similarity(x, height - y),
        similarity(y, x),
        similarity(x + 3 * radius, y),
        similarity(x, y + 3 * radius),
    ):
        assert moved < registered - 0.05


def blueness(picture: np.ndarray, x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """Mean of blue minus red under each spot, clipped to the picture."""
    height, width = picture.shape[:2]
    offsets = np.indices((9, 9)).reshape(2, -1) / 4 - 1
    offsets = offsets[:, np.hypot(*offsets) <= 1] * radius
    rows = np.clip(np.rint(y[:, None] + offsets[0]).astype(int), 0, height - 1)
    columns = np.clip(np.rint(x[:, None] + offsets[1]).astype(int), 0, width - 1)
    seen = picture[rows, columns].astype(float)
    return (seen[..., 2] - seen[..., 0]).mean(axis=1)


def test_scale_factors_are_those_of_the_pictures(default: SimulatedTissue) -> None:
    images, factors = section(default)["images"], section(default)["scalefactors"]
    assert max(images["hires"].shape) == 2000
    assert images["hires"].shape[0] / images["lowres"].shape[0] == pytest.approx(3, rel=0.01)
    assert factors["tissue_hires_scalef"] / factors["tissue_lowres_scalef"] == pytest.approx(3)
    nearest = KDTree(default.spatial.obsm["spatial"]).query(default.spatial.obsm["spatial"], k=2)[0][:, 1]
    assert factors["spot_diameter_fullres"] / nearest == pytest.approx(0.55)
    in_picture = default.spatial.obsm["spatial"] * factors["tissue_hires_scalef"]
    assert (in_picture > 0).all()
    assert (in_picture < np.array(images["hires"].shape[1::-1])).all()
    difference = images["lowres"].astype(float) - images["hires"][::3, ::3]
    assert abs(difference.mean()) < 1.5
    assert np.abs(difference).mean() < 13


def test_bins_have_their_place_in_their_name() -> None:
    spatial = simulate(200, 60, 5, layout="square", pitch_um=2).spatial
    assert spatial.obs_names.str.fullmatch(r"s_002um_\d{5}_\d{5}-1").all()
    row, column = spatial.obs_names[17].split("_")[2:]
    assert int(row) == spatial.obs["array_row"].iloc[17]
    assert int(column.removesuffix("-1")) == spatial.obs["array_col"].iloc[17]
    assert section(SimulatedTissue(spatial, spatial))["scalefactors"]["spot_diameter_fullres"] == 4


@pytest.mark.parametrize("layout", ["hexagonal", "square"])
def test_same_seed_gives_the_same_bytes(layout: Any) -> None:
    first, again = (simulate(**SMALL, layout=layout) for _ in range(2))
    assert as_bytes(first) == as_bytes(again)
    other = simulate(**(SMALL | {"random_state": 2}), layout=layout)
    assert as_bytes(other) != as_bytes(first)


def test_leaving_out_the_picture_changes_nothing_else(small: SimulatedTissue) -> None:
    plain = simulate(**SMALL, image=False)
    assert section(plain)["images"] == {}
    assert section(plain)["scalefactors"] == section(small)["scalefactors"]
    assert (plain.spatial.X != small.spatial.X).nnz == 0
    assert (plain.reference.X != small.reference.X).nnz == 0


def test_platform_effect_sets_tissue_apart_from_reference() -> None:
    def distance(effect: float) -> float:
        tissue = simulate(n_spots=200, n_genes=300, n_cell_types=3, platform_effect=effect, image=False)
        truth = tissue.spatial.obsm["truth_rna"].to_numpy()
        mean = np.stack([np.asarray(part.X.mean(axis=0)).ravel() for part in split(tissue)])
        expected = truth @ (mean / mean.sum(axis=1, keepdims=True))
        depth = np.asarray(tissue.spatial.X.sum(axis=1))
        observed = np.asarray(tissue.spatial.X.sum(axis=0)).ravel()
        return float(np.log(observed.clip(1) / (depth * expected).sum(axis=0).clip(1)).std())

    assert distance(0.0) < 0.2
    assert distance(1.0) > 0.7


def test_signatures_kept_with_the_tissue_explain_its_counts() -> None:
    spatial = simulate(n_spots=200, n_genes=100, n_cell_types=3, platform_effect=1.0, image=False).spatial
    depth = np.asarray(spatial.X.sum(axis=1))
    expected = (depth * (spatial.obsm["truth_rna"].to_numpy() @ spatial.varm["signatures"].to_numpy().T)).sum(
        axis=0
    )
    observed = np.asarray(spatial.X.sum(axis=0)).ravel()
    assert ((observed - expected) ** 2 / expected).mean() < 2


def split(tissue: SimulatedTissue) -> list[anndata.AnnData]:
    labels = tissue.reference.obs["cell_type"]
    return [tissue.reference[labels == name] for name in labels.cat.categories]


def test_counts_per_spot_is_the_mean_depth() -> None:
    for layout, given, mean in (("hexagonal", None, 1000), ("square", None, 30), ("square", 300, 300)):
        spatial = simulate(500, 200, 5, layout=layout, counts_per_spot=given, image=False).spatial  # type: ignore[arg-type]
        assert spatial.X.sum(axis=1).mean() == pytest.approx(mean, rel=0.03)


def test_tissue_survives_a_file(small: SimulatedTissue, tmp_path: Path) -> None:
    for name, adata in (("spatial", small.spatial), ("reference", small.reference)):
        adata.write_h5ad(tmp_path / f"{name}.h5ad")
        read = anndata.read_h5ad(tmp_path / f"{name}.h5ad")
        assert (read.X != adata.X).nnz == 0
        assert list(read.obs.columns) == list(adata.obs.columns)
    read = anndata.read_h5ad(tmp_path / "spatial.h5ad")
    np.testing.assert_array_equal(
        read.uns["spatial"]["simulated"]["images"]["hires"], section(small)["images"]["hires"]
    )
    np.testing.assert_array_equal(read.obsm["truth"], small.spatial.obsm["truth"])


def test_all_bad_arguments_are_reported_at_once() -> None:
    bad: dict[str, Any] = {
        "n_spots": 3,
        "n_genes": 2.5,
        "n_cell_types": 31,
        "layout": "round",
        "counts_per_spot": -1.0,
        "n_cells_per_type": 0,
        "pitch_um": float("nan"),
        "cell_diameter_um": "12",
        "platform_effect": -0.1,
        "random_state": -1,
        "image": "yes",
    }
    with pytest.raises(InputError) as error:
        simulate(**bad)
    assert len(error.value.problems) == len(bad)
    for name, value in bad.items():
        assert any(f"`{name}` must be" in text and repr(value) in text for text in error.value.problems)


def test_too_few_genes_for_the_types_are_reported() -> None:
    with pytest.raises(
        InputError, match="`n_genes` must be at least two per cell type, 40 for 20 types, found 30"
    ):
        simulate(n_genes=30, n_cell_types=20)


def test_progress_is_reported_by_stage_and_reaches_its_end() -> None:
    seen: list[Progress] = []
    simulate(2000, 200, 5, layout="square", on_progress=seen.append)
    stages = list(dict.fromkeys(progress.stage for progress in seen))
    assert stages == ["Placing cells", "Overlaying bins and cells", "Drawing counts", "Staining"]
    for stage in stages:
        fractions = [progress.fraction for progress in seen if progress.stage == stage]
        assert fractions == sorted(fractions)
        assert fractions[-1] == 1


@pytest.mark.parametrize(
    "stage", ["Placing cells", "Overlaying bins and cells", "Drawing counts", "Staining"]
)
def test_cancelling_stops_at_any_stage(stage: str) -> None:
    def stop(progress: Progress) -> None:
        seen.append(progress.stage)
        if progress.stage == stage:
            raise Cancelled

    seen: list[str] = []
    with pytest.raises(Cancelled):
        simulate(200, 50, 4, layout="square", on_progress=stop)
    assert seen.count(stage) == 1
    assert seen[-1] == stage
