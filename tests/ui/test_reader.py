"""What napari's File > Open is offered, and what it gets."""

from __future__ import annotations

from fnmatch import fnmatch
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from anndata import AnnData
from napari.layers import Layer
from npe2 import PluginManifest

from napari_spotmix.base.errors import ReadError
from napari_spotmix.result import Result
from napari_spotmix.simulation.simulate import SimulatedTissue
from napari_spotmix.ui._reader import get_reader
from napari_spotmix.ui._sample_data import simulated_tissue
from tests.io.layouts import write_hd

pytestmark = pytest.mark.viewer

DATA = Path(__file__).parents[3] / "shared" / "data"
MUSCLE = "demo/mouse_muscle_injury_visium/outs"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is not there")


@pytest.fixture(scope="module")
def spatial_file(tissue: SimulatedTissue, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "gut.h5ad"
    tissue.spatial.write_h5ad(path)
    return path


def test_spots_in_h5ad_open_as_image_and_points(spatial_file: Path) -> None:
    reader = get_reader(str(spatial_file))
    assert reader is not None
    image, spots = (Layer.create(*data) for data in reader(str(spatial_file)))
    assert image.rgb
    assert spots.name == "gut spots"
    assert isinstance(spots.metadata["spotmix"].adata, AnnData)
    assert spots.metadata["spotmix"].path == spatial_file
    assert "region" in spots.features


def test_h5ad_of_single_cells_is_left_to_others(tissue: SimulatedTissue, tmp_path: Path) -> None:
    path = tmp_path / "reference.h5ad"
    tissue.reference.write_h5ad(path)
    assert get_reader(str(path)) is None


def test_other_files_and_folders_are_left_to_others(tmp_path: Path) -> None:
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
    (tmp_path / "image.tif").write_bytes(b"II*\0")
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.h5ad").write_text("no HDF5")
    for path in [*tmp_path.iterdir(), tmp_path / "not there.h5ad"]:
        assert get_reader(str(path)) is None, path.name
    assert get_reader([str(tmp_path), str(tmp_path)]) is None


def test_tables_of_a_section_open_from_their_folder_and_gem_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "counts.csv").write_text("spot,A,B,C\na,1,2,3\nb,4,5,6\n")
    (tmp_path / "coords.csv").write_text("spot,x,y\na,1,2\nb,3,4\n")
    (tmp_path / "chip").mkdir()
    gem = tmp_path / "chip" / "SS2.gem"
    gem.write_text("#BinSize=1\ngeneID\tx\ty\tMIDCount\nA\t1\t2\t3\nB\t70\t2\t3\n")
    for path in (tmp_path, gem):
        reader = get_reader(str(path))
        assert reader is not None
        (spots,) = (Layer.create(*data) for data in reader(str(path)))
        assert len(spots.data) == 2


@pytest.mark.parametrize(
    ("name", "is_claimed"), [("a.h5ad", True), ("a.gem.gz", True), ("a.csv", False), ("a.parquet", False)]
)
def test_names_that_napari_asks_us_for(name: str, is_claimed: bool) -> None:
    manifest = PluginManifest.from_file(files("napari_spotmix") / "napari.yaml")
    (reader,) = manifest.contributions.readers
    assert any(fnmatch(name, pattern) for pattern in reader.filename_patterns) == is_claimed


def test_a_truncated_h5ad_reports_what_is_wrong(spatial_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.h5ad"
    path.write_bytes(spatial_file.read_bytes()[:4000])
    reader = get_reader(str(path))
    assert reader is not None
    with pytest.raises(ReadError, match=r"cut\.h5ad"):
        reader(str(path))


@pytest.mark.parametrize("folder", ["..", ".", "binned_outputs", "binned_outputs/square_016um"])
def test_every_folder_of_a_visium_hd_run_opens(tmp_path: Path, folder: str) -> None:
    path = str(write_hd(tmp_path / "outs", (8, 16)) / folder)
    reader = get_reader(path)
    assert reader is not None
    image, spots = (Layer.create(*data) for data in reader(path))
    assert len(spots.data) == (78 if "016" in folder else 321)
    low, high = image.extent.world
    assert ((spots.data > low) & (spots.data < high)).all(), "bins lie on the image"


def test_folders_of_a_visium_hd_run_without_bins_are_left_to_others(tmp_path: Path) -> None:
    outs = write_hd(tmp_path / "outs", (8,), segmented=True)
    square = outs / "binned_outputs" / "square_008um"
    for path in (outs / "spatial", square / "spatial", outs / "feature_slice.h5"):
        assert get_reader(str(path)) is None, path.name
    for path in (square / "spatial").iterdir():
        assert get_reader(str(path)) is None, path.name


@needs_data
@pytest.mark.parametrize("folder", ["formats/se_v1_section1", "formats/seurat_visium_and_hd/visium", MUSCLE])
def test_space_ranger_folders_open_in_register(folder: str) -> None:
    path = DATA / folder
    reader = get_reader(str(path))
    assert reader is not None
    image, spots = (Layer.create(*data) for data in reader(str(path)))
    assert len(spots.data) == spots.metadata["spotmix"].adata.n_obs
    low, high = image.extent.world
    assert ((spots.data > low) & (spots.data < high)).all(), "spots lie on the image"


def test_sample_data_come_with_their_reference() -> None:
    image, spots = simulated_tissue()
    assert image[2] == "image"
    kept = spots[1]["metadata"]["spotmix"]
    assert "cell_type" in kept.reference.obs
    assert len(spots[0]) == kept.adata.n_obs


def test_result_survives_the_file(result: Result, tmp_path: Path) -> None:
    from napari_spotmix.io.results import write_h5ad
    from napari_spotmix.ui.demo import read_result

    write_h5ad(result.to_anndata(), tmp_path / "spatial.h5ad")
    again = read_result(tmp_path)
    assert again.cell_types == result.cell_types
    np.testing.assert_array_equal(again.proportions, result.proportions)
    np.testing.assert_array_equal(again.weights.toarray(), result.weights.toarray())
    np.testing.assert_array_equal(again.attention.toarray(), result.attention.toarray())
    assert list(again.reasons) == list(result.reasons)
    assert again.notes == result.notes
    assert again.provenance.summary == result.provenance.summary


def test_folder_without_result_says_so(tissue: SimulatedTissue, tmp_path: Path) -> None:
    from napari_spotmix.base.errors import InputError
    from napari_spotmix.ui.demo import read_result

    with pytest.raises(ReadError, match=r"spatial\.h5ad"):
        read_result(tmp_path)
    tissue.spatial.write_h5ad(tmp_path / "spatial.h5ad")
    with pytest.raises(InputError, match="no result of a run"):
        read_result(tmp_path)
