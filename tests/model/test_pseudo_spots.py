"""Pseudo-spots against what they imitate, and the tables learned from them against plain quantiles."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from napari_spotmix.base.errors import Cancelled
from napari_spotmix.base.progress import Progress
from napari_spotmix.base.threads import Threads
from napari_spotmix.model.counts import Counts
from napari_spotmix.model.fit import Fit, fit
from napari_spotmix.model.rna_content import Content
from napari_spotmix.model.uncertainty.assessment import Assessment, assess
from napari_spotmix.model.uncertainty.calibration import IntervalTable, Lookup, calibrate
from napari_spotmix.model.uncertainty.errors import ReferenceCells, scatter_of_cells
from napari_spotmix.model.uncertainty.pseudo_spots import Ingredients, draw_pseudo_spots
from napari_spotmix.model.uncertainty.residuals import GeneResiduals, gene_residuals
from napari_spotmix.model.variation import CellVariation
from napari_spotmix.params import Parameters

N_SPOTS, N_TYPES, N_GENES, N_CELLS = 160, 4, 80, 40
DEPTH = 600.0


def content() -> Content:
    none = np.zeros(N_TYPES)
    return Content(none + 1, none + 1, none, 1.0)


class Tissue:
    """Spots of `n_cells` cells each that have just the signature of their type."""

    def __init__(self, seed: int = 0, n_cells: int = 5) -> None:
        rng = np.random.default_rng(seed)
        self.signatures = rng.dirichlet(0.3 * np.ones(N_GENES), N_TYPES) + 1e-4
        self.signatures /= self.signatures.sum(axis=1, keepdims=True)
        side = int(np.ceil(np.sqrt(N_SPOTS)))
        self.xy = np.argwhere(np.ones((side, side)))[:N_SPOTS].astype(float)
        self.truth = rng.multinomial(n_cells, rng.dirichlet(np.ones(N_TYPES), N_SPOTS)) / n_cells
        counts = rng.poisson(DEPTH * self.truth @ self.signatures).astype(np.float32)
        self.counts = Counts(csr_array(counts), np.arange(N_GENES))
        self.totals = np.asarray(counts.sum(axis=1), dtype=float)
        label = np.repeat(np.arange(N_TYPES), N_CELLS)
        of_cells = rng.poisson(400 * self.signatures[label]).astype(np.float32)
        self.cells = ReferenceCells(
            csr_array(of_cells), of_cells.sum(axis=1).astype(float), label, np.full(N_TYPES, 1 / N_CELLS)
        )

    def fitted(self, params: Parameters) -> Fit:
        with Threads.of(1) as threads:
            return fit(self.counts, self.signatures, self.totals, self.xy, params, threads=threads)

    def assessed(self, fitted: Fit, params: Parameters, threads: int = 1, **options: object) -> Assessment:
        with Threads.of(threads) as pool:
            return assess(
                fitted,
                self.counts,
                self.signatures,
                self.totals,
                self.xy,
                self.cells,
                content(),
                params,
                threads=pool,
                **options,
            )

    def section(self, fitted: Fit) -> Ingredients:
        residuals = gene_residuals(self.counts, self.signatures, fitted.abundances, self.totals)
        return Ingredients(
            fitted.abundances,
            self.totals,
            self.signatures,
            residuals,
            self.cells,
            content(),
            0.0,
            of_cells=True,
        )


PLAIN = Parameters(lambda_c=0.0, lambda_r=0.0, n_outer_iterations=2, n_threads=1)


@pytest.fixture(scope="module")
def tissue() -> Tissue:
    return Tissue()


@pytest.fixture(scope="module")
def fitted(tissue: Tissue) -> Fit:
    return tissue.fitted(PLAIN)


def test_pseudo_spots_have_depths_whole_cells_and_genes_of_the_section(tissue: Tissue, fitted: Fit) -> None:
    section = tissue.section(fitted)
    with Threads.of(1) as threads:
        drawn = draw_pseudo_spots(section, fitted, threads, lambda _: None)
    counts = np.concatenate([one.counts.toarray() for one in drawn])
    truth, spots = (np.concatenate([getattr(one, name) for one in drawn]) for name in ("truth", "spots"))
    np.testing.assert_allclose(truth.sum(axis=1), 1)
    # Sampling is the only noise, so no number of cells is small enough to explain it.
    assert section.n_cells == 20
    np.testing.assert_allclose(truth * 20, np.rint(truth * 20), atol=1e-9)
    depth = counts.sum(axis=1)
    z = (depth - tissue.totals[spots]) / np.sqrt(tissue.totals[spots])
    assert abs(z.mean()) < 0.3
    assert 0.7 < z.std() < 1.5
    expected = (tissue.totals[spots][:, None] * (truth @ tissue.signatures)).sum(axis=0)
    clear = expected > 2000
    np.testing.assert_allclose(counts.sum(axis=0)[clear], expected[clear], rtol=0.25)


def test_the_number_of_cells_follows_the_scatter_of_spots() -> None:
    rng = np.random.default_rng(3)
    label = np.repeat(np.arange(N_TYPES), N_CELLS)
    base = rng.dirichlet(np.ones(N_GENES), N_TYPES)
    profiles = base[label] * np.exp(0.8 * rng.normal(size=(len(label), N_GENES)))
    profiles /= profiles.sum(axis=1, keepdims=True)
    depth_of_cell = 5000
    counts = rng.poisson(depth_of_cell * profiles).astype(np.float32)
    cells = ReferenceCells(csr_array(counts), counts.sum(axis=1).astype(float), label, np.zeros(N_TYPES))
    signatures = np.stack([profiles[label == k].mean(axis=0) for k in range(N_TYPES)])
    for n_cells in (2, 8):
        kind = rng.integers(N_TYPES, size=600)
        own = np.stack([profiles[rng.choice(np.flatnonzero(label == k), n_cells)].mean(axis=0) for k in kind])
        spots = Counts(csr_array(rng.poisson(5000 * own).astype(np.float32)), np.arange(N_GENES))
        residuals = gene_residuals(spots, signatures, np.eye(N_TYPES)[kind], np.full(600, 5000.0))
        share, _ = scatter_of_cells(residuals, cells, N_TYPES)
        assert 0.75 * n_cells < 1 / share < 1.3 * n_cells


def test_errors_match_those_of_a_known_tissue(tissue: Tissue, fitted: Fit) -> None:
    found = tissue.assessed(fitted, PLAIN)
    shares = fitted.abundances / fitted.abundances.sum(axis=1, keepdims=True)
    low, high = found.intervals.ends(shares, found.errors.astype(float))
    held = (low - 1e-9 <= tissue.truth) & (tissue.truth <= high + 1e-9)
    assert 0.87 < held.mean() < 0.99
    assert held[tissue.truth > 0].mean() > 0.8
    ratio = np.sqrt((found.errors**2).mean() / ((shares - tissue.truth) ** 2).mean())
    assert 0.75 < ratio < 1.3


def test_smoothed_fits_are_repeated_with_their_neighbors(tissue: Tissue) -> None:
    params = Parameters(lambda_c=5.0, lambda_r=0.0, n_outer_iterations=2, n_threads=1)
    fitted = tissue.fitted(params)
    found = tissue.assessed(fitted, params)
    shares = fitted.abundances / fitted.abundances.sum(axis=1, keepdims=True)
    blurred = np.sqrt(((shares - tissue.truth) ** 2).mean())
    # The formula counts neighbors as information; here they are blur.
    assert np.sqrt((found.errors**2).mean()) > 0.5 * blurred


def test_errors_do_not_depend_on_the_number_of_threads(tissue: Tissue, fitted: Fit) -> None:
    one, two = (tissue.assessed(fitted, PLAIN, threads) for threads in (1, 2))
    np.testing.assert_array_equal(one.errors, two.errors)
    np.testing.assert_array_equal(one.intervals.above.values, two.intervals.above.values)


@pytest.mark.parametrize("stage", ["Drawing pseudo-spots", "Fitting pseudo-spots", "Calibrating errors"])
def test_a_cancel_is_let_through(tissue: Tissue, fitted: Fit, stage: str) -> None:
    def cancel(progress: Progress) -> None:
        if progress.stage == stage:
            raise Cancelled

    with pytest.raises(Cancelled):
        tissue.assessed(fitted, PLAIN, on_progress=cancel)


def test_cells_are_not_changed(tissue: Tissue, fitted: Fit) -> None:
    before = tissue.cells.counts.toarray()
    reversed_rows = tissue.cells.counts.copy()
    for row in range(reversed_rows.shape[0]):  # stored in another order
        here = slice(reversed_rows.indptr[row], reversed_rows.indptr[row + 1])
        reversed_rows.indices[here] = reversed_rows.indices[here][::-1].copy()
        reversed_rows.data[here] = reversed_rows.data[here][::-1].copy()
    reversed_rows.has_sorted_indices = False
    cells = ReferenceCells(reversed_rows, tissue.cells.totals, tissue.cells.label, tissue.cells.lost)
    first = scatter_of_cells(tissue.section(fitted).residuals, cells, N_TYPES)[0]
    again = scatter_of_cells(tissue.section(fitted).residuals, cells, N_TYPES)[0]
    assert first == again
    np.testing.assert_array_equal(cells.counts.toarray(), before)


def test_a_reference_of_signatures_stands_for_its_cells(tissue: Tissue, fitted: Fit) -> None:
    none = np.zeros(0)
    section = tissue.section(fitted)
    bare = ReferenceCells(csr_array((0, N_GENES)), none, none.astype(np.int64), np.zeros(N_TYPES))
    other = Ingredients(
        section.abundances,
        section.totals,
        section.signatures,
        section.residuals,
        bare,
        content(),
        0.0,
        of_cells=True,
    )
    with Threads.of(1) as threads:
        drawn = draw_pseudo_spots(other, fitted, threads, lambda _: None)
    total = np.concatenate([one.counts.sum(axis=1) for one in drawn])
    wanted = np.concatenate([tissue.totals[one.spots] for one in drawn])
    np.testing.assert_allclose(total.sum(), wanted.sum(), rtol=0.05)


def test_deviations_of_genes_are_what_cells_leave_over() -> None:
    ones = np.ones(N_GENES)
    residuals = GeneResiduals(100 * ones, 100 * ones, 0.5 * ones, 0.2 * ones, 100 * ones, np.ones(N_TYPES))
    none = np.zeros(0)
    bare = ReferenceCells(csr_array((0, N_GENES)), none, none.astype(np.int64), np.zeros(N_TYPES))
    S = np.full((N_TYPES, N_GENES), 1 / N_GENES)
    X = np.full((3, N_TYPES), 0.25)
    section = Ingredients(X, np.full(3, DEPTH), S, residuals, bare, content(), 0.0, of_cells=True)
    together, each = section.deviations
    np.testing.assert_allclose(together, np.sqrt(np.log(1.3)))
    np.testing.assert_allclose(each, np.sqrt(np.log(1.2)))


def test_what_cells_cannot_explain_moves_types_along_the_programs_of_their_cells() -> None:
    rng = np.random.default_rng(4)
    S = rng.dirichlet(np.ones(N_GENES), N_TYPES)
    program = rng.normal(size=(N_TYPES, N_GENES, 1)) * 0.1 * S[:, :, None]
    variation = CellVariation(tuple(program), np.zeros_like(S), np.full(N_TYPES, 100.0))
    ones, none = np.ones(N_GENES), np.zeros(0)
    residuals = GeneResiduals(100 * ones, 100 * ones, 0 * ones, 0 * ones, 100 * ones, np.ones(N_TYPES))
    bare = ReferenceCells(csr_array((0, N_GENES)), none, none.astype(np.int64), np.zeros(N_TYPES))
    X = np.full((3, N_TYPES), 0.25)
    given = (X, np.full(3, DEPTH), S, residuals, bare, content(), 0.0, True)
    few = Ingredients(*given, 1 / 20, variation)
    np.testing.assert_array_equal(few.programs_off(rng), 0)
    many = Ingredients(*given, 4.0 + 1 / 20, variation)
    drawn = np.array([many.programs_off(rng) for _ in range(400)])
    above = 0.011 * S.mean(axis=0) < S
    expected = 2 * np.abs(program[:, :, 0] / S)
    np.testing.assert_allclose(drawn.std(axis=0)[above], expected[above], rtol=0.15)
    # One program moves all genes of a type together.
    assert abs(np.corrcoef(drawn[:, 0, 0], drawn[:, 0, 1])[0, 1]) > 0.999


def test_calibrated_errors_are_those_of_shares_that_are_alike() -> None:
    rng = np.random.default_rng(0)
    shares = rng.random(40_000)
    errors = np.where(rng.random(40_000) < 0.5, 0.05, 0.4)
    truth = shares + np.where(errors < 0.1, 0.02, 0.1) * rng.normal(size=40_000)
    found = calibrate(shares, errors, truth)
    stated = found.errors.at(np.array([0.5, 0.5]), np.array([0.05, 0.4]))
    np.testing.assert_allclose(stated, [0.02, 0.1], rtol=0.2)
    low, high = found.intervals.ends(np.array([0.5, 0.5]), stated)
    np.testing.assert_allclose(0.5 - low, 1.645 * np.array([0.02, 0.1]), rtol=0.3)
    np.testing.assert_allclose(high - 0.5, 1.645 * np.array([0.02, 0.1]), rtol=0.3)


def test_a_share_that_is_always_right_has_an_interval_without_width() -> None:
    ones = np.ones(50)
    found = calibrate(ones, 0 * ones, ones)
    assert (found.errors.at(ones, 0 * ones) < 1e-3).all()
    np.testing.assert_array_equal(found.intervals.ends(ones, 0 * ones), [ones, ones])


def test_intervals_at_zero_reach_upwards_only() -> None:
    rng = np.random.default_rng(1)
    truth = np.where(rng.random(20_000) < 0.3, 0.1, 0.0)
    found = calibrate(np.zeros(20_000), np.full(20_000, 0.2), truth)
    stated = found.errors.at(np.zeros(1), np.array([0.2]))
    low, high = found.intervals.ends(np.zeros(1), stated)
    assert low == 0
    assert high == pytest.approx(0.1)


@pytest.mark.parametrize("unexplained", [0.0, 0.1, 0.8, 1.0])
def test_errors_keep_the_part_of_the_formula_that_pseudo_spots_lack(unexplained: float) -> None:
    rng = np.random.default_rng(4)
    shares, errors = rng.random((300, 2)), np.full((300, 2), 0.2, dtype=np.float32)
    shares /= shares.sum(axis=1, keepdims=True)
    errors[3] = np.nan
    known = np.repeat(shares.ravel(), 40)
    truth = known + 0.05 * rng.normal(size=len(known))
    found = calibrate(known, np.full(len(known), 0.2), truth)
    table = found.standard_errors(shares, np.ones(2), errors, unexplained, Threads(1), lambda _: None)
    assert np.isnan(errors[3]).all()
    rest = np.delete(np.arange(300), 3)
    expected = max(0.05, 0.2 * unexplained)
    np.testing.assert_allclose(np.sqrt(np.mean(errors[rest] ** 2)), expected, rtol=0.05)
    low, high = table.ends(shares[rest], errors[rest].astype(float))
    inside = (low > 0) & (high < 1)
    width = 2 * 1.645 * expected
    np.testing.assert_allclose((high - low)[inside].mean(), width, rtol=0.1)


def test_a_table_of_intervals_comes_back_from_its_columns() -> None:
    rng = np.random.default_rng(2)
    values = rng.random((2, 33, 17))
    table = IntervalTable(*(Lookup(0.01, 0.5, some) for some in values))
    columns = table.columns()
    again = IntervalTable.of_columns(*(columns[name] for name in ("standard_error", "below", "above")))
    shares, errors = rng.random(50), 0.6 * rng.random(50)
    np.testing.assert_allclose(table.ends(shares, errors), again.ends(shares, errors))
    for spoiled in (columns["below"][:-1], -columns["below"], np.nan * columns["below"]):
        with pytest.raises(ValueError, match="expected"):
            IntervalTable.of_columns(columns["standard_error"], spoiled, columns["above"])
