"""Overdispersion: found by moments where it was put, and used where held-out genes ask for it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from napari_spotmix.base.threads import Threads
from napari_spotmix.model.composition_clusters import find_composition_clusters
from napari_spotmix.model.counts import Counts
from napari_spotmix.model.fit import Fit, fit
from napari_spotmix.model.noise import DataTerm
from napari_spotmix.model.overdispersion import estimate_overdispersion
from napari_spotmix.model.variation import CellVariation
from napari_spotmix.params import Parameters

N_SPOTS, N_GENES, N_TYPES, DEPTH = 600, 150, 4, 4000.0
RNG = np.random.default_rng(11)
S = RNG.dirichlet(np.full(N_GENES, 0.5), size=N_TYPES)
X = RNG.dirichlet(np.full(N_TYPES, 0.7), size=N_SPOTS)
VARIED = CellVariation(
    tuple(0.3 * S[k][:, None] * RNG.standard_normal((N_GENES, 2)) for k in range(N_TYPES)),
    0.1 * S**2,
    np.full(N_TYPES, 1e6),
)


def counted(phi: float, shares: np.ndarray | None = None) -> csr_array:
    """Draw counts of negative binomials (gamma, then Poisson)."""
    rng = np.random.default_rng(12)
    mean = DEPTH * (X @ S if shares is None else shares)
    rate = rng.gamma(1 / phi, phi * mean) if phi else mean
    return csr_array(rng.poisson(rate).astype(float))


def estimate(counts: csr_array, data_term: DataTerm | None = None) -> float:
    totals, threads = np.full(N_SPOTS, DEPTH), Threads(1)
    groups = find_composition_clusters(X, totals, 8, threads=threads)
    return estimate_overdispersion(
        Counts(counts, np.arange(N_GENES)), totals, X, S, groups, data_term or DataTerm(), threads=threads
    )


def fitted(phi: float, n_threads: int = 1, **parameters: object) -> Fit:
    counts = counted(phi)
    totals = np.asarray(counts.sum(axis=1)).ravel()
    coordinates = np.random.default_rng(13).permutation(N_SPOTS)[:, None] * np.array([[10.0, 0.0]])
    with Threads.of(n_threads) as threads:
        return fit(
            Counts(counts, np.arange(N_GENES)),
            S,
            totals,
            coordinates,
            Parameters(platform_effect="off", lambda_c=0.0, lambda_r=1e-6, **parameters),
            threads=threads,
        )


@pytest.mark.parametrize("phi", [0.03, 0.1, 0.4])
def test_moments_find_what_was_put_in(phi: float) -> None:
    assert estimate(counted(phi)) == pytest.approx(phi, rel=0.1)


def test_counts_of_poisson_have_none() -> None:
    assert estimate(counted(0.0)) < 2e-3


def test_genes_that_a_platform_catches_differently_are_no_scatter() -> None:
    factor = np.random.default_rng(14).lognormal(0, 0.5, N_GENES)
    assert estimate(counted(0.0, (X @ S) * factor)) < 2e-3


def test_what_cells_vary_by_is_not_counted_again() -> None:
    rng = np.random.default_rng(15)
    kappa = 0.25
    programs = [
        np.sqrt(kappa * X[:, k, None]) * rng.standard_normal((N_SPOTS, 2)) @ VARIED.directions[k].T
        for k in range(N_TYPES)
    ]
    alone = np.sqrt(kappa * X @ VARIED.single) * rng.standard_normal((N_SPOTS, N_GENES))
    counts = counted(0.0, np.maximum(X @ S + sum(programs) + alone, 0))
    without, known = estimate(counts), estimate(counts, DataTerm(0.0, VARIED, kappa))
    assert without > 0.02
    assert known < 0.25 * without


def test_held_out_genes_ask_for_it_where_it_is_and_not_where_it_is_not() -> None:
    dispersed, plain = fitted(0.4), fitted(0.0)
    assert dispersed.overdispersion_evidence is not None
    assert dispersed.overdispersion_evidence.used
    assert dispersed.data_term.overdispersion == dispersed.overdispersion_evidence.estimate
    assert dispersed.data_term.overdispersion == pytest.approx(0.4, rel=0.2)
    assert plain.data_term.overdispersion < 5e-3


def test_a_given_overdispersion_is_kept() -> None:
    given = fitted(0.4, overdispersion=0.0)
    assert given.overdispersion_evidence is None
    assert given.data_term.overdispersion == 0


def test_learning_it_is_the_same_for_any_number_of_threads() -> None:
    one, three = fitted(0.4), fitted(0.4, n_threads=3)
    assert one.abundances.tobytes() == three.abundances.tobytes()
    assert one.overdispersion_evidence == three.overdispersion_evidence
