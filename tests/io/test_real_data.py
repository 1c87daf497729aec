"""Real folders of many makes, where they are at hand."""

from __future__ import annotations

import h5py
import numpy as np
import pandas as pd
import pytest

from napari_spotmix import ReadError, read_reference, read_spatial
from napari_spotmix.dataset.geometry import bin_sides, microns_per_pixel, spot_diameter
from napari_spotmix.io import label_columns, reading_notes
from tests.io.layouts import REAL_DATA

pytestmark = pytest.mark.skipif(
    not REAL_DATA.is_dir(), reason="needs real data at ../shared/data, not part of the repository"
)

HD = "formats/seurat_visium_and_hd/visium_hd"
VISIUM = {
    "demo/mouse_muscle_injury_visium": (982, 33217),
    "demo/mouse_muscle_injury_visium/outs": (982, 33217),
    "formats/visium_v1_mouse_muscle_Vis7B_5dpi": (1011, 33217),
    "formats/visium_v2_mouse_embryo_full": (2898, 19465),
    "formats/se_v1_section1": (22, 49),
    "formats/sfe_v2_sample01": (12, 5),
    "formats/sfe_v2_sample01/outs": (12, 5),
    "formats/scanpy_visium_v1/1.0.0": (100, 100),
    "formats/seurat_visium_and_hd/visium": (2695, 100),
}


@pytest.mark.parametrize(("folder", "shape"), VISIUM.items())
def test_every_visium_folder_opens(folder, shape):
    adata = read_spatial(REAL_DATA / folder)
    assert adata.shape == shape
    assert adata.X.min() >= 0
    assert adata.X.nnz > 0
    (library,) = adata.uns["spatial"].values()
    assert library["images"]
    assert library["scalefactors"]["spot_diameter_fullres"] > 0
    # The images of this one are cut-outs, which do not lie under its spots; all others are in register.
    is_off = any("outside of" in note for note in reading_notes(adata))
    assert is_off == folder.startswith("formats/sfe_v2")


@pytest.mark.parametrize("place", ["", "/binned_outputs", "/binned_outputs/square_008um"])
def test_visium_hd_opens_from_any_of_its_folders(place):
    adata = read_spatial(REAL_DATA / (HD + place))
    assert adata.shape == (2695, 100)
    assert microns_per_pixel(adata) == pytest.approx(0.27376, rel=1e-4)
    assert np.linalg.norm(bin_sides(adata), axis=1) == pytest.approx(29.22, rel=1e-3)


@pytest.mark.parametrize("place", ["", "/binned_outputs", "/binned_outputs/square_002um"])
def test_bins_of_2_um_open_with_the_array_indices_of_their_barcodes(place):
    adata = read_spatial(REAL_DATA / ("formats/visiumhd_mini_002um" + place))
    assert adata.shape == (10, 10)
    reported = adata.obs_names.str.extract(r"s_002um_(\d+)_(\d+)-1").astype(int).to_numpy()
    assert np.array_equal(adata.obs[["array_row", "array_col"]], reported)
    assert spot_diameter(adata) * microns_per_pixel(adata) == pytest.approx(2)


def test_tissue_under_spots_is_darker_than_the_glass():
    """In register: a flip or an exchange of x and y would put many spots on empty glass."""
    adata = read_spatial(REAL_DATA / "formats/visium_v1_mouse_muscle_Vis7B_5dpi")
    (library,) = adata.uns["spatial"].values()
    gray = library["images"]["lowres"].mean(axis=2)
    xy = (adata.obsm["spatial"] * library["scalefactors"]["tissue_lowres_scalef"]).round().astype(int)
    in_place = gray[xy[:, 1], xy[:, 0]].mean()
    flipped = gray[:, ::-1][xy[:, 1], xy[:, 0]].mean()
    exchanged = gray.T[xy[:, 1].clip(max=gray.shape[1] - 1), xy[:, 0].clip(max=gray.shape[0] - 1)].mean()
    assert in_place < min(flipped, exchanged) - 5


def test_folder_and_its_own_matrix_agree():
    root = REAL_DATA / "demo/mouse_muscle_injury_visium/outs"
    adata = read_spatial(root)
    with h5py.File(root / "filtered_feature_bc_matrix.h5") as file:
        assert adata.X.sum(dtype=np.float64) == file["matrix/data"][:].sum()
        assert adata.obs_names[0] == file["matrix/barcodes"][0].decode()
    assert adata.var_names.has_duplicates


def test_spots_under_tissue_are_read_from_a_raw_matrix_with_a_note():
    adata = read_spatial(REAL_DATA / "formats/se_v1_section1")
    assert adata.obs["in_tissue"].eq(1).all()
    assert any("raw" in note for note in reading_notes(adata))


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        (f"{HD}/binned_outputs/square_016um", "2,053 of 2,695 barcodes .* the same run and bin size"),
        ("formats/cellranger/3.0.0", "Cell Ranger"),
        ("formats/scanpy_visium_v1/2.1.0", "Counts of genes are needed"),
        ("formats/scanpy_visium_v1/2.1.0/raw_probe_bc_matrix.h5", "counts probes"),
        (
            "formats/st_v1_mob",
            r"Expected one table of counts, found several: 'MOB1\.tsv\.gz', 'MOB2\.tsv\.gz'",
        ),
        ("formats/st_v1_mob/alignment_table_MOB1.tsv", "holds the coordinates of spots, but no counts"),
        ("formats/slideseq_spacexr", "is not a Space Ranger output"),
        ("formats/slideseq_spacexr/Reference/Vignette", r"holds counts \('dge\.csv'\) but no table of coord"),
        ("formats/slideseq_spacexr/Reference/Vignette/dge.csv", "is a table of counts, but"),
        ("formats/slideseq_spacexr/Reference/Vignette/meta_data.csv", "is a table, but not one of counts"),
        ("formats/slideseq_spacexr/Reference/Merfish_Ref", "choose them as the reference"),
        ("formats/slideseq_spacexr/Reference/Visium_Ref", "choose them as the reference"),
        ("formats/slideseq_spacexr/SpatialRNA/VisiumVignette/nUMI.csv", "is a table, but not one of counts"),
    ],
)
def test_what_is_not_supported_is_named(folder, words):
    with pytest.raises(ReadError, match=words):
        read_spatial(REAL_DATA / folder)


TABLES = {
    "formats/st_v1_mob/MOB1.tsv.gz": (379, 1000),
    "formats/st_v1_mob/MOB2.tsv.gz": (407, 1000),
    "formats/slideseq_spacexr/SpatialRNA/Vignette": (100, 378),
    "formats/slideseq_spacexr/SpatialRNA/Vignette/MappedDGEForR.csv": (100, 378),
    "formats/slideseq_spacexr/SpatialRNA/VisiumVignette": (313, 276),
    "formats/slideseq_spacexr/SpatialRNA/MerfishVignette/counts.csv": (750, 134),
}


@pytest.mark.parametrize(("path", "shape"), TABLES.items())
def test_every_table_of_counts_opens(path, shape):
    adata = read_spatial(REAL_DATA / path)
    assert adata.shape == shape
    assert adata.X.sum(axis=1).min() > 0
    assert np.isfinite(adata.obsm["spatial"]).all()
    assert adata.obs_names.is_unique


@pytest.mark.parametrize("name", ["MOB1", "MOB2"])
def test_spots_of_original_spatial_transcriptomics_are_on_tissue(name):
    """In register: a flip or an exchange of x and y would put many spots on empty glass."""
    adata = read_spatial(REAL_DATA / f"formats/st_v1_mob/{name}.tsv.gz")
    gray = adata.uns["spatial"][name]["images"]["hires"].mean(axis=2)
    x, y = adata.obsm["spatial"].round().astype(int).T
    in_place, flipped, exchanged = (image[y, x].mean() for image in (gray, gray[:, ::-1], gray.T))
    assert in_place < min(flipped, exchanged) - 5


def test_counts_of_a_table_are_those_of_the_file():
    folder = REAL_DATA / "formats/slideseq_spacexr/SpatialRNA/Vignette"
    counts = pd.read_csv(folder / "MappedDGEForR.csv", index_col=0)
    places = pd.read_csv(folder / "BeadLocationsForR.csv", index_col=0)
    adata = read_spatial(folder)
    np.testing.assert_array_equal(adata.to_df().T.to_numpy(), counts.to_numpy())
    np.testing.assert_array_equal(adata.obsm["spatial"], places.loc[adata.obs_names].to_numpy())


@pytest.mark.parametrize("sample", ["mouse_muscle_injury_visium", "pdac_st_moncada"])
def test_demo_sections_and_references_open(sample):
    spatial = read_spatial(REAL_DATA / "demo" / sample / "spatial.h5ad")
    reference = read_reference(REAL_DATA / "demo" / sample / "reference.h5ad", cell_type_key="cell_type")
    assert spatial.obsm["spatial"].shape == (spatial.n_obs, 2)
    assert label_columns(reference)[0] == "cell_type"
    assert len(spatial.var_names.intersection(reference.var_names)) > 1000
