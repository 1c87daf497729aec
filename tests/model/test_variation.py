"""How cells vary: planted covariances are found, none is invented, and kappa is recovered."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

from napari_spotmix.base.errors import Cancelled
from napari_spotmix.base.threads import Threads
from napari_spotmix.model.composition_clusters import find_composition_clusters
from napari_spotmix.model.counts import Counts
from napari_spotmix.model.fit import Fit, fit
from napari_spotmix.model.variation import CellVariation, VariationEvidence, learn_kappa
from napari_spotmix.params import Parameters
from tests.model.oracles import hexagonal_grid
from tests.model.varied_cells import VariedCells, dense, estimated, variation_of

DEPTH = 3000.0


def relative_error(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def noise(cells: VariedCells, k: int) -> float:
    """Variance that counting alone gives to the genes of a cell, all together."""
    return float(cells.signatures[k].sum() / DEPTH)


@pytest.mark.parametrize(("n_genes", "n_cells", "off_by"), [(20, 200, 0.3), (120, 200, 0.3), (200, 60, 0.5)])
def test_a_planted_covariance_is_recovered(n_genes: int, n_cells: int, off_by: float) -> None:
    """Also where there are fewer cells than genes, at the price of being drawn to the other types."""
    rng = np.random.default_rng(1)
    cells = VariedCells.of(rng, n_genes=n_genes)
    found = estimated(cells, n_cells, DEPTH, rng)
    for k in range(4):
        assert relative_error(dense(found, k), cells.covariance(k)) < off_by
        assert np.trace(dense(found, k)) == pytest.approx(np.trace(cells.covariance(k)), rel=off_by)
        other = cells.covariance((k + 1) % 4)
        assert relative_error(dense(found, k), cells.covariance(k)) < 0.5 * relative_error(
            dense(found, k), other
        )


def test_genes_that_vary_by_themselves_have_no_common_direction() -> None:
    """Gamma-Poisson counts, gene by gene: the diagonal is ``phi s^2``."""
    rng, phi = np.random.default_rng(2), 0.5
    S = VariedCells.of(rng).signatures
    label = np.repeat(np.arange(4), 200)
    counts = rng.poisson(DEPTH * S[label] * rng.gamma(1 / phi, phi, size=(800, S.shape[1]))).astype(float)
    found = variation_of(csr_array(counts), label, np.full(800, DEPTH), S)
    for k in range(4):
        total = np.trace(dense(found, k))
        assert total == pytest.approx(phi * (S[k] ** 2).sum(), rel=0.2)
        assert (found.directions[k] ** 2).sum(axis=0).max(initial=0) < 0.2 * total
        large = S[k] > 2 / S.shape[1]
        np.testing.assert_allclose(np.diag(dense(found, k))[large], phi * S[k][large] ** 2, rtol=0.5)


@pytest.mark.parametrize(("n_genes", "n_cells"), [(20, 200), (120, 200), (200, 40)])
@pytest.mark.parametrize("counting", ["poisson", "multinomial"])
def test_counting_alone_is_no_variation(n_genes: int, n_cells: int, counting: str) -> None:
    rng = np.random.default_rng(3)
    cells = VariedCells.of(rng, n_genes=n_genes)
    label = np.repeat(np.arange(4), n_cells)
    mean = cells.signatures[label]
    counts = rng.poisson(DEPTH * mean) if counting == "poisson" else rng.multinomial(int(DEPTH), mean)
    found = variation_of(csr_array(counts.astype(float)), label, np.full(len(label), DEPTH), cells.signatures)
    for k in range(4):
        assert (found.directions[k] ** 2).sum() < 0.02 * noise(cells, k)
        # A sample variance below its expectation counts as 0, one above it is kept.
        assert found.single[k].sum() < np.sqrt(2 / n_cells) * noise(cells, k)
        assert np.trace(cells.covariance(k)) > noise(cells, k)  # what is planted elsewhere is more


def test_the_fewer_cells_a_type_has_the_more_it_is_like_the_others() -> None:
    rng = np.random.default_rng(4)
    cells = VariedCells.of(rng)
    n_cells = np.array([150, 150, 1, 2])
    counts, label, totals = cells.reference(n_cells, DEPTH, rng)
    found = variation_of(counts, label, totals, cells.signatures)
    assert found.n_cells.tolist() == n_cells.tolist()
    # In units in which counting gives every gene the same variance.
    one, two, *few = (np.diag(dense(found, k)) / cells.signatures[k] for k in range(4))
    for values, n in zip(few, (1, 2), strict=True):
        np.testing.assert_allclose(values, (one + two) / 2 * 50 / (n + 50), rtol=0.1)


@pytest.mark.parametrize("n_cells", [0, 1, 2])
def test_a_reference_of_hardly_any_cells_shows_no_variation(n_cells: int) -> None:
    rng = np.random.default_rng(5)
    cells = VariedCells.of(rng)
    found = estimated(cells, n_cells, DEPTH, rng)
    assert all((dense(found, k) == 0).all() for k in range(4))
    F, v = found.of_mixture(np.full(4, 0.25), 1.0)
    assert F.shape == (120, 0)
    assert (v == 0).all()


def test_cells_without_a_label_or_counts_are_left_out() -> None:
    rng = np.random.default_rng(6)
    cells = VariedCells.of(rng)
    counts, label, totals = cells.reference(np.full(4, 50), DEPTH, rng)
    wanted = variation_of(counts, label, totals, cells.signatures)
    more = csr_array(np.vstack([counts.toarray(), np.zeros(120), np.full(120, 7.0)]))
    found = variation_of(more, np.append(label, [0, -1]), np.append(totals, [0.0, 840.0]), cells.signatures)
    assert found.n_cells.tolist() == [50] * 4
    for k in range(4):
        np.testing.assert_array_equal(dense(found, k), dense(wanted, k))


def test_the_order_of_cells_and_of_genes_does_not_matter() -> None:
    rng = np.random.default_rng(7)
    cells = VariedCells.of(rng)
    counts, label, totals = cells.reference(np.full(4, 60), DEPTH, rng)
    wanted = variation_of(counts, label, totals, cells.signatures)
    order, genes = rng.permutation(240), rng.permutation(120)
    found = variation_of(
        csr_array(counts[order][:, genes]), label[order], totals[order], cells.signatures[:, genes]
    )
    for k in range(4):
        expected = dense(wanted, k)[np.ix_(genes, genes)]
        np.testing.assert_allclose(dense(found, k), expected, atol=1e-9 * expected.max())


def test_the_unit_of_shares_does_not_matter() -> None:
    """Shares in percent of half the counts: a covariance in the square of that unit."""
    rng = np.random.default_rng(8)
    cells = VariedCells.of(rng)
    counts, label, totals = cells.reference(np.full(4, 60), DEPTH, rng)
    wanted = variation_of(counts, label, totals, cells.signatures)
    found = variation_of(counts, label, totals / 50, cells.signatures * 50)
    for k in range(4):
        expected = 2500 * dense(wanted, k)
        np.testing.assert_allclose(dense(found, k), expected, atol=1e-9 * expected.max())


def test_any_number_of_threads_gives_the_same_bytes() -> None:
    found = []
    for n_threads in (1, 2):
        rng = np.random.default_rng(9)
        with threadpool_limits(n_threads, "blas"), Threads.of(n_threads):
            variation = estimated(VariedCells.of(rng, n_genes=300), 250, DEPTH, rng)
            evidence = Section.of(8).learned()
        found.append((variation.single.tobytes(), [F.tobytes() for F in variation.directions], evidence))
    assert found[0] == found[1]


def test_what_a_mixture_varies_by_is_the_sum_over_its_types() -> None:
    rng = np.random.default_rng(10)
    variation = estimated(VariedCells.of(rng), 60, DEPTH, rng)
    p = np.array([0.6, 0.3, 0.1, 0.0])
    F, v = variation.of_mixture(p, 0.2)
    expected = sum((0.2 * p[k] + p[k] ** 2 / 60) * dense(variation, k) for k in range(4))
    np.testing.assert_allclose(F @ F.T + np.diag(v), expected, atol=1e-12 * np.max(expected))


@dataclass(frozen=True)
class Section:
    """Spots of cells that vary, and what is known of them."""

    counts: np.ndarray
    truth: np.ndarray
    signatures: np.ndarray
    variation: CellVariation

    @classmethod
    def of(cls, n_cells: int | None, *, seed: int = 0, factors: float = 0.0) -> Section:
        """Draw spots of `n_cells` cells each, or of the mean cell of each type; genes may have factors."""
        rng = np.random.default_rng(seed)
        cells = VariedCells.of(rng)
        variation = estimated(cells, 200, DEPTH, rng)
        factor = np.exp(factors * rng.standard_normal(cells.signatures.shape[1]))
        depth = 2000.0 * rng.lognormal(0, 0.5, size=(300, 1)) * factor
        counts, truth = cells.spots(300, n_cells or 8, depth, rng)
        if n_cells is None:
            counts = rng.poisson(depth * (truth @ cells.signatures)).astype(float)
        return cls(counts, truth, cells.signatures, variation)

    def learned(self, **options: Any) -> VariationEvidence:
        totals = self.counts.sum(axis=1)
        clusters = find_composition_clusters(self.truth, totals, 32, threads=Threads(1))
        counts = Counts(csr_array(self.counts), np.arange(self.counts.shape[1]))
        given = counts, totals, self.truth, self.signatures, clusters, self.variation
        return learn_kappa(*given, threads=Threads(1), **options)

    def fit(self, **options: Any) -> Fit:
        params = Parameters(lambda_c=0.0, platform_effect="off", **options)
        counts = Counts(csr_array(self.counts), np.arange(self.counts.shape[1]))
        coordinates, totals = hexagonal_grid(15, 20), self.counts.sum(axis=1)
        return fit(
            counts, self.signatures, totals, coordinates, params, variation=self.variation, threads=Threads(1)
        )

    def error(self, found: Fit) -> float:
        p = found.abundances / found.abundances.sum(axis=1, keepdims=True)
        return float(np.sqrt(((p - self.truth) ** 2).mean()))


@pytest.mark.parametrize("n_cells", [5, 8, 16, 40])
@pytest.mark.parametrize("factors", [0.0, 0.3])
def test_kappa_is_one_over_the_number_of_cells(n_cells: int, factors: float) -> None:
    """Whether or not the tissue shows some genes more than the reference throughout."""
    found = Section.of(n_cells, factors=factors).learned()
    assert 0.65 / n_cells < found.kappa < 1.3 / n_cells
    assert found.gain > 5 * found.error > 0


def test_kappa_does_not_exceed_that_of_four_cells() -> None:
    assert Section.of(1).learned().kappa == pytest.approx(0.25)


@pytest.mark.parametrize("seed", range(4))
def test_spots_that_only_counting_sets_apart_have_none(seed: int) -> None:
    found = Section.of(None, seed=seed).learned()
    assert found.kappa == 0
    assert found.gain <= found.error


def test_what_types_there_are_is_no_variation_of_cells() -> None:
    """Shares of types differ from those of the cluster: mixtures are left out of what is compared."""
    section = Section.of(None)
    few = replace(section, truth=np.tile(section.truth.mean(axis=0), (300, 1)))
    assert few.learned().kappa == 0


def test_a_single_spot_cannot_tell() -> None:
    section = Section.of(5)
    one = replace(section, counts=section.counts[:1], truth=section.truth[:1])
    assert one.learned().kappa == 0


def test_a_cancel_between_clusters_is_noticed() -> None:
    def cancel(_: int) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        Section.of(5).learned(on_step=cancel)


@pytest.mark.parametrize("n_cells", [1, 5])
def test_where_cells_vary_proportions_come_nearer_to_the_truth(n_cells: int) -> None:
    section = Section.of(n_cells)
    poisson, learned = section.fit(cell_variation=0.0), section.fit()
    assert poisson.data_term.kappa == 0
    assert learned.data_term.kappa > 0.1
    assert section.error(learned) < 0.85 * section.error(poisson)


@pytest.mark.parametrize("seed", range(2))
def test_where_they_do_not_nothing_changes(seed: int) -> None:
    section = Section.of(None, seed=seed)
    poisson, learned = section.fit(cell_variation=0.0), section.fit()
    assert learned.variation_evidence is not None
    np.testing.assert_array_equal(learned.abundances, poisson.abundances)


def test_a_kappa_set_by_hand_is_kept() -> None:
    found = Section.of(5).fit(cell_variation=0.07)
    assert found.data_term.kappa == 0.07
    assert found.variation_evidence is None


def test_a_fit_explains_all_counts_with_the_variation_too() -> None:
    share = Section.of(5).fit().abundances.sum(axis=1)
    assert share.mean() == pytest.approx(1, abs=0.05)
