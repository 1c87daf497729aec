"""Sections in one file are recognized, so that their spots are never neighbors."""

from __future__ import annotations

import anndata
import pandas as pd
import pytest

from napari_spotmix import deconvolve
from napari_spotmix.dataset.diagnostics import diagnose
from napari_spotmix.simulation.simulate import SimulatedTissue, simulate


@pytest.fixture(scope="module")
def tissue() -> SimulatedTissue:
    return simulate(n_spots=60, n_genes=80, n_cell_types=3, n_cells_per_type=12, random_state=2, image=False)


@pytest.fixture
def both(tissue: SimulatedTissue) -> anndata.AnnData:
    """Two sections in the same coordinates."""
    parts = {"A": tissue.spatial, "B": tissue.spatial[::-1]}
    joined = anndata.concat(parts, label="slide", index_unique="-")
    joined.uns["spatial"] = {name: {"images": {}, "scalefactors": {}} for name in parts}
    return joined


def test_sections_are_recognized_by_the_names_of_their_libraries(tissue, both) -> None:
    result = deconvolve(both, tissue.reference)
    given = deconvolve(both, tissue.reference, library_key="slide")
    pd.testing.assert_frame_equal(result.proportions, given.proportions)
    is_a = (both.obs["slide"] == "A").to_numpy()
    first, second = result.edges.tocoo().coords
    assert len(first) > 0
    assert (is_a[first] == is_a[second]).all()
    assert any("distinguished by the column 'slide'" in note for note in result.notes)


def test_sections_that_cannot_be_distinguished_are_reported(tissue, both) -> None:
    both.obs["slide"] = both.obs["slide"].map({"A": "left", "B": "right"})
    found = {one.message: one.level for one in diagnose(both, tissue.reference)}
    text = next(text for text in found if "several sections ('A', 'B')" in text)
    assert found[text] == "warning"
    assert "`library_key`" in text
    named = diagnose(both, tissue.reference, library_key="slide")
    assert not any("('A', 'B')" in one.message for one in named)
