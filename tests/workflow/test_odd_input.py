"""The smallest and oddest sections that are still sections: each is fitted, and says what it is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from anndata import AnnData
from scipy.sparse import csr_matrix

from napari_spotmix import deconvolve, simulate
from napari_spotmix.simulation.simulate import SimulatedTissue


@pytest.fixture(scope="module")
def tissue() -> SimulatedTissue:
    return simulate(n_spots=100, n_genes=150, n_cell_types=4, image=False)


def moved(spatial: AnnData, move: Callable[[np.ndarray], None]) -> AnnData:
    """Return the section with its coordinates changed in place by `move`."""
    section = spatial.copy()
    places = section.obsm["spatial"].copy()
    move(places)
    section.obsm["spatial"] = places
    return section


def to_one_place(places: np.ndarray) -> None:
    places[:] = places[0]


def pairwise_to_one_place(places: np.ndarray) -> None:
    places[:50] = places[50:]


def one_far_away(places: np.ndarray) -> None:
    places[5] += 1e6


SECTIONS: dict[str, Callable[[AnnData], AnnData]] = {
    "one spot": lambda section: section[:1].copy(),
    "two spots": lambda section: section[:2].copy(),
    "one gene": lambda section: section[:, [int(np.argmax(section.X.sum(axis=0)))]].copy(),
    "fewer genes than types": lambda section: section[:, :3].copy(),
    "a spot far from all others": lambda section: moved(section, one_far_away),
    "two spots at each place": lambda section: moved(section, pairwise_to_one_place),
    "all spots at one place": lambda section: moved(section, to_one_place),
}


@pytest.mark.parametrize("section", SECTIONS.values(), ids=SECTIONS.keys())
def test_every_spot_is_estimated(tissue: SimulatedTissue, section: Callable[[AnnData], AnnData]) -> None:
    found = deconvolve(section(tissue.spatial), tissue.reference)
    assert (found.reasons == "").all()
    np.testing.assert_allclose(found.proportions.sum(axis=1), 1.0)
    assert (found.proportions.to_numpy() >= 0).all()
    assert np.isfinite(found.standard_errors.to_numpy()).all()


def test_two_types_are_enough(tissue: SimulatedTissue) -> None:
    names = sorted(tissue.reference.obs["cell_type"].unique())[:2]
    reference = tissue.reference[tissue.reference.obs["cell_type"].isin(names)].copy()
    found = deconvolve(tissue.spatial, reference)
    assert found.cell_types == names
    np.testing.assert_allclose(found.proportions.sum(axis=1), 1.0)


def test_one_cell_of_each_type_is_enough(tissue: SimulatedTissue) -> None:
    first = ~tissue.reference.obs["cell_type"].duplicated()
    found = deconvolve(tissue.spatial, tissue.reference[first.to_numpy()].copy())
    np.testing.assert_allclose(found.proportions.sum(axis=1), 1.0)
    assert any("fewer than 10 reference cells" in note for note in found.notes)


def test_an_empty_spot_is_missing_and_the_others_are_as_without_it(tissue: SimulatedTissue) -> None:
    counts = tissue.spatial.X.tolil()
    counts[3] = 0
    section = tissue.spatial.copy()
    section.X = csr_matrix(counts)
    found = deconvolve(section, tissue.reference)
    assert found.proportions.iloc[3].isna().all()
    assert found.reasons.iloc[3] == "no counts of the shared genes"
    others = np.delete(np.arange(100), 3)
    alone = deconvolve(section[others].copy(), tissue.reference)
    np.testing.assert_array_equal(found.proportions.iloc[others], alone.proportions)


@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.int64, np.uint16])
def test_the_type_of_the_counts_changes_nothing(tissue: SimulatedTissue, dtype: type) -> None:
    section = tissue.spatial.copy()
    section.X = section.X.astype(dtype)
    found, expected = (deconvolve(spatial, tissue.reference) for spatial in (section, tissue.spatial))
    assert found.proportions.to_numpy().tobytes() == expected.proportions.to_numpy().tobytes()
