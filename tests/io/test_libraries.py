"""Files that hold several sections: all of them, or one alone."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pytest
from anndata import AnnData

from napari_spotmix import ReadError, deconvolve, read_spatial, simulate
from napari_spotmix.cli import main
from napari_spotmix.io import reading_notes
from napari_spotmix.io.libraries import section_names
from napari_spotmix.result import read_result


def two_sections() -> tuple[AnnData, AnnData]:
    """Return two sections in one AnnData, at the same coordinates, and their reference."""
    tissue = simulate(n_spots=80, n_genes=120, n_cell_types=3, n_cells_per_type=20, random_state=4)
    other = simulate(n_spots=80, n_genes=120, n_cell_types=3, n_cells_per_type=20, random_state=5)
    both = anndata.concat({"A": tissue.spatial, "B/2": other.spatial}, label="slide", index_unique="-")
    (one,) = tissue.spatial.uns["spatial"].values()
    (two,) = other.spatial.uns["spatial"].values()
    both.uns["spatial"] = {"A": one, "B/2": two}
    return both, tissue.reference


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sections")
    both, reference = two_sections()
    both.uns["spatial"]["B_2"] = both.uns["spatial"].pop("B/2")  # a slash is no key of HDF5
    both.obs["slide"] = both.obs["slide"].cat.rename_categories({"B/2": "B_2"})
    both.write_h5ad(folder / "both.h5ad")
    reference.write_h5ad(folder / "cells.h5ad")
    return folder


@pytest.mark.parametrize("backed", [False, True])
def test_one_section_is_read_with_its_own_image(files: Path, backed: bool) -> None:
    whole = read_spatial(files / "both.h5ad")
    assert section_names(whole) == ("A", "B_2")
    one = read_spatial(files / "both.h5ad", section="B_2", backed=backed)
    own = whole.obs["slide"] == "B_2"
    assert list(one.obs_names) == list(whole.obs_names[own])
    np.testing.assert_array_equal(one.X.toarray(), whole.X[own.to_numpy()].toarray())
    assert list(one.uns["spatial"]) == ["B_2"]
    image = one.uns["spatial"]["B_2"]["images"]["hires"]
    np.testing.assert_array_equal(image, whole.uns["spatial"]["B_2"]["images"]["hires"])
    assert "Section 'B_2': 80 of the file's 160 spots." in reading_notes(one)
    assert section_names(one) == ()


def test_a_name_that_no_section_has_is_refused_with_those_that_are_there(files: Path) -> None:
    with pytest.raises(ReadError, match="`section`: 'C' was not found; the file has 'A', 'B_2'"):
        read_spatial(files / "both.h5ad", section="C")


def test_a_file_with_one_section_has_none_to_choose(files: Path, tmp_path: Path) -> None:
    read_spatial(files / "both.h5ad", section="A").write_h5ad(tmp_path / "one.h5ad")
    with pytest.raises(ReadError, match="holds one section: leave it out"):
        read_spatial(tmp_path / "one.h5ad", section="A")


def test_a_run_of_one_section_is_that_of_its_spots_alone_and_can_be_repeated(
    files: Path, tmp_path: Path
) -> None:
    inputs = [str(files / "both.h5ad"), str(files / "cells.h5ad")]
    main(["run", *inputs, "--section", "B_2", "--output", str(tmp_path / "out"), "--no-report"])
    found = read_result(tmp_path / "out")
    spatial, reference = read_spatial(files / "both.h5ad", section="B_2"), anndata.read_h5ad(inputs[1])
    expected = deconvolve(spatial, reference)
    np.testing.assert_allclose(found.proportions, expected.proportions, atol=1e-12)
    main(["rerun", str(tmp_path / "out"), "--output", str(tmp_path / "again")])
    first, second = ((tmp_path / name / "proportions.csv").read_bytes() for name in ("out", "again"))
    assert first == second
