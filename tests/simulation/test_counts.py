"""Simulated tissue: the truth it tells is the truth of its counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist

from napari_spotmix.simulation.anatomy import CELL_TYPES, cell_type_table
from napari_spotmix.simulation.counts import (
    SimulatedCounts,
    draw_counts,
    draw_signatures,
    simulate_reference,
    simulate_tissue,
)


def make(**changed: Any) -> SimulatedCounts:
    settings: dict[str, Any] = {
        "n_spots": 400,
        "n_genes": 300,
        "n_cell_types": 10,
        "layout": "hexagonal",
        "counts_per_spot": 2000.0,
        "pitch_um": 100.0,
        "cell_diameter_um": 12.0,
        "platform_effect": 0.0,
        "random_state": 3,
    }
    return simulate_tissue(**(settings | changed))


@pytest.fixture(scope="module")
def spots() -> SimulatedCounts:
    return make()


@pytest.fixture(scope="module")
def bins() -> SimulatedCounts:
    return make(n_spots=6000, layout="square", pitch_um=4.0, counts_per_spot=30.0, platform_effect=0.5)


@pytest.mark.parametrize("name", ["spots", "bins"])
def test_rows_of_both_truths_sum_to_one(name: str, request: pytest.FixtureRequest) -> None:
    tissue = request.getfixturevalue(name)
    for truth in (tissue.truth, tissue.truth_rna):
        np.testing.assert_allclose(truth.sum(axis=1), 1, rtol=1e-12)
        assert truth.data.min() > 0


def test_truth_of_a_spot_counts_the_cells_inside_it(spots: SimulatedCounts) -> None:
    inside = cdist(spots.spots.xy_um, spots.cells.xy_um) < spots.spots.diameter_um / 2
    counted = np.stack([inside[:, spots.cells.types == k].sum(axis=1) for k in range(10)], axis=1)
    occupied = counted.sum(axis=1) > 0
    assert occupied.mean() > 0.98
    np.testing.assert_array_equal(spots.cells_in_spots.toarray()[occupied], counted[occupied])
    assert 4 < counted.sum(axis=1).mean() < 25


def test_truth_of_a_bin_is_the_area_its_cells_cover(bins: SimulatedCounts) -> None:
    steps = ((np.arange(15) + 0.5) / 15 - 0.5) * bins.spots.pitch_um
    fine = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    for index in range(0, 6000, 97):
        nearest = cdist(bins.spots.xy_um[index] + fine, bins.cells.xy_um).argmin(axis=1)
        area = np.bincount(bins.cells.types[nearest], minlength=10) / len(fine)
        assert np.abs(area - bins.truth[[index]].toarray()[0]).max() < 0.25


def test_bins_smaller_than_a_cell_mostly_hold_one_type(bins: SimulatedCounts, spots: SimulatedCounts) -> None:
    assert (bins.truth.max(axis=1).toarray() > 0.99).mean() > 0.6
    assert (spots.truth.max(axis=1).toarray() > 0.99).mean() < 0.1


def test_bins_in_a_cavity_hold_little_rna(bins: SimulatedCounts) -> None:
    far = cdist(bins.spots.xy_um, bins.cells.xy_um).min(axis=1) > 20
    assert far.sum() >= 10
    assert bins.expected_counts[far].mean() < 0.4 * bins.expected_counts[~far].mean()


def test_rna_truth_weighs_cells_by_their_rna(spots: SimulatedCounts) -> None:
    weighted = spots.truth.toarray() * [kind.rna for kind in spots.cell_types]
    np.testing.assert_allclose(spots.truth_rna.toarray(), weighted / weighted.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("name", ["spots", "bins"])
def test_counts_are_poisson_around_what_the_truth_expects(name: str, request: pytest.FixtureRequest) -> None:
    tissue = request.getfixturevalue(name)
    expected = tissue.expected_counts[:, None] * (tissue.truth_rna.toarray() @ tissue.tissue_signatures)
    for axis in (0, 1):
        mean = expected.sum(axis=axis)
        z = (np.asarray(tissue.counts.sum(axis=axis)).ravel() - mean) / np.sqrt(mean)
        assert abs(z.mean()) < 5 / np.sqrt(len(z))
        assert abs((z**2).mean() - 1) < 5 * np.sqrt(3 / len(z))
    # Swapping two types in the truth must be noticed by the same measure.
    swapped = tissue.truth_rna.toarray()[:, [1, 0, *range(2, 10)]] @ tissue.tissue_signatures
    mean = (tissue.expected_counts[:, None] * swapped).sum(axis=0)
    assert (((np.asarray(tissue.counts.sum(axis=0)).ravel() - mean) ** 2 / mean).mean()) > 3


def test_every_drawn_count_varies_as_poisson() -> None:
    signatures = np.array([[0.7, 0.2, 0.1, 0.0], [0.0, 0.1, 0.2, 0.7]])
    rates = csr_array(np.tile([6.0, 2.0], (20_000, 1)))
    counts = draw_counts(rates, signatures, np.random.default_rng(0)).toarray()
    mean = np.array([6.0, 2.0]) @ signatures
    np.testing.assert_allclose(counts.mean(axis=0), mean, rtol=0.02)
    np.testing.assert_allclose(counts.var(axis=0), mean, rtol=0.05)
    assert abs(np.corrcoef(counts.T) - np.eye(4)).max() < 0.03


def test_a_gene_without_expression_is_never_drawn() -> None:
    rates = csr_array(np.full((50, 1), 1000.0))
    counts = draw_counts(rates, np.array([[0.0, 0.5, 0.0, 0.5, 0.0]]), np.random.default_rng(0))
    assert set(np.unique(counts.indices)) == {1, 3}


def test_counts_are_a_tidy_sparse_matrix(spots: SimulatedCounts) -> None:
    assert spots.counts.dtype == np.float32
    assert spots.counts.has_canonical_format
    assert spots.counts.data.min() >= 1
    assert spots.counts.sum(axis=1).mean() == pytest.approx(2000, rel=0.01)


def test_spots_are_on_their_grid(spots: SimulatedCounts, bins: SimulatedCounts) -> None:
    for tissue, step_x, step_y in ((spots, 50.0, 100 * np.sqrt(0.75)), (bins, 4.0, 4.0)):
        grid = tissue.spots
        expected = np.column_stack([grid.columns * step_x, grid.rows * step_y])
        np.testing.assert_allclose(np.ptp(grid.xy_um - expected, axis=0), 0, atol=1e-8)
        assert grid.rows.min() >= 0
        assert grid.columns.min() >= 0
    assert ((spots.spots.rows + spots.spots.columns) % 2 == 0).all()
    between = cdist(spots.spots.xy_um, spots.spots.xy_um)
    assert np.sort(between, axis=1)[:, 1] == pytest.approx(100)


def test_tissue_is_no_rectangle(spots: SimulatedCounts) -> None:
    xy = spots.spots.xy_um - spots.spots.xy_um.min(axis=0)
    corner = np.abs(xy / xy.max(axis=0) - 0.5).min(axis=1) > 0.42
    assert not corner.any()


def test_rare_type_is_rare_and_lives_together() -> None:
    tissue = make(n_spots=900)
    rare = tissue.cells.types == 9
    assert 0.01 < rare.mean() < 0.02
    neighbors = np.sort(cdist(tissue.cells.xy_um[rare], tissue.cells.xy_um[rare]), axis=1)[:, 1]
    assert (neighbors < 30).mean() > 0.7
    assert 0.005 < tissue.truth.toarray()[:, 9].mean() < 0.03


def test_layers_end_sharply_and_the_infiltrate_fades_out() -> None:
    tissue = make(n_spots=1500)
    truth = tissue.truth.toarray()
    below_border = (tissue.anatomy.depth(tissue.spots.xy_um) + 0.22) * tissue.anatomy.radius_um
    assert truth[(below_border < -80) & (below_border > -400), 0].mean() > 0.2
    assert truth[below_border > 80, 0].mean() < 0.005
    infiltration = tissue.anatomy.infiltration(tissue.spots.xy_um)
    muscle = tissue.anatomy.depth(tissue.spots.xy_um) > 0.22
    steps = np.digitize(infiltration, [0.1, 0.3, 0.5, 0.7])
    macrophages = [truth[muscle & (steps == step), 2].mean() for step in range(5)]
    assert (np.diff(macrophages) > 0).all()
    assert macrophages[0] < 0.1
    assert 0.1 < macrophages[2] < 0.35


def test_types_of_a_lineage_are_alike_and_markers_mark_their_type() -> None:
    table = cell_type_table(10)
    names = [kind.name for kind in table]
    signatures, markers = draw_signatures(table, 2000, np.random.default_rng(0))
    np.testing.assert_allclose(signatures.sum(axis=1), 1)
    similarity = np.corrcoef(np.log(signatures))
    assert (
        similarity[names.index("T cell"), names.index("B cell")] > similarity[names.index("T cell"), 0] + 0.05
    )
    marked = markers >= 0
    assert (signatures.argmax(axis=0)[marked] == markers[marked]).mean() > 0.9
    assert set(markers[marked]) == set(range(10))


def test_platform_effect_changes_genes_and_nothing_else(spots: SimulatedCounts) -> None:
    other = make(platform_effect=0.8)
    np.testing.assert_allclose(spots.tissue_signatures, spots.signatures, rtol=1e-12)
    np.testing.assert_array_equal(other.signatures, spots.signatures)
    np.testing.assert_array_equal(other.truth.toarray(), spots.truth.toarray())
    factors = np.log(other.tissue_signatures / other.signatures)
    factors -= factors[:, :1]
    assert np.ptp(factors, axis=0).max() < 1e-9
    assert factors[0].std() == pytest.approx(0.8, rel=0.15)


def test_reference_cells_have_the_signature_of_their_type_and_more_than_poisson_noise(
    spots: SimulatedCounts,
) -> None:
    settings = {"n_cells_per_type": 300, "counts_per_cell": 4000.0, "random_state": 0}
    reference = simulate_reference(spots, overdispersion=0.3, **settings)
    counts = reference.counts.toarray()
    depth = counts.sum(axis=1)
    assert np.std(np.log(depth[reference.types == 0])) == pytest.approx(0.4, abs=0.1)
    for index, kind in enumerate(spots.cell_types):
        of_type = reference.types == index
        mean = counts[of_type].sum(axis=0) / depth[of_type].sum()
        assert np.abs(mean - spots.signatures[index]).sum() < 0.08
        assert np.median(depth[of_type]) == pytest.approx(4000 * kind.rna, rel=0.12)
    expected = depth[:, None] * spots.signatures[reference.types]
    plenty = expected.mean(axis=0) > 5
    excess = ((counts - expected) ** 2 - expected)[:, plenty].mean(axis=0) / (expected**2)[:, plenty].mean(
        axis=0
    )
    assert 0.2 < np.median(excess) < 0.45


@pytest.mark.parametrize("n_cell_types", [2, 3, 4, 11, len(CELL_TYPES)])
def test_any_number_of_types_makes_a_tissue(n_cell_types: int) -> None:
    tissue = make(n_cell_types=n_cell_types, n_spots=150)
    assert tissue.truth.shape == (150, n_cell_types)
    assert len({kind.name for kind in tissue.cell_types}) == n_cell_types
    assert (tissue.truth.toarray().max(axis=0) > 0).mean() > 0.8
    assert (tissue.cell_types[-1].name == "Neuroendocrine") == (n_cell_types >= 4)
