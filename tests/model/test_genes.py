"""Matching and choosing genes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2_contingency

from napari_spotmix.model.genes import informative_genes, is_housekeeping, match_genes


def test_columns_point_to_their_gene() -> None:
    spatial, reference = ["c", "x", "a", "c", "b"], ["a", "y", "b", "c", "a"]
    match = match_genes(spatial, reference)
    assert match.names == ["a", "b", "c"]
    for columns, names in ((match.spatial, spatial), (match.reference, reference)):
        for gene, name in zip(columns, names, strict=True):
            assert (match.names[gene] == name) if gene >= 0 else (name not in match.names)
    assert match.n_duplicated == (1, 1)


def test_case_matters() -> None:
    assert match_genes(["Actb"], ["ACTB"]).names == []


def test_choosing_keeps_names_and_columns_together() -> None:
    match = match_genes(["a", "b", "c", "b", "z"], ["c", "b", "a", "q"])
    chosen = match.select(np.array([1, 2]))
    assert chosen.names == ["b", "c"]
    assert chosen.spatial.tolist() == [-1, 0, 1, 0, -1]
    assert chosen.reference.tolist() == [1, 0, -1, -1]


def test_choosing_nothing_leaves_nothing() -> None:
    match = match_genes(["a"], ["a"]).select(np.array([], dtype=np.int64))
    assert match.names == []
    assert match.spatial.tolist() == [-1]


def test_the_score_ranks_genes_like_the_chi_square_of_the_types() -> None:
    """Pearson's statistic of a table of types by genes is the sum of the scores, gene by gene."""
    rng = np.random.default_rng(1)
    S = rng.dirichlet(np.full(40, 0.5), size=5) + 1e-4
    S /= S.sum(axis=1, keepdims=True)
    expected = chi2_contingency(S).expected_freq
    per_gene = ((S - expected) ** 2 / expected).sum(axis=0)
    wanted = np.sort(np.argsort(-per_gene)[:10])
    np.testing.assert_array_equal(informative_genes(S, 10), wanted)


def test_markers_go_before_genes_that_all_types_share() -> None:
    S = np.full((3, 9), 0.1)
    S[0, 4], S[1, 7], S[2, 2] = 0.2, 0.3, 0.4
    assert informative_genes(S, 3).tolist() == [2, 4, 7]


@pytest.mark.parametrize("n_genes", [0, 6, 100])
def test_genes_that_no_type_shows_are_left_out(n_genes: int) -> None:
    S = np.random.default_rng(2).random((3, 8))
    S[:, [1, 5]] = 0
    assert informative_genes(S, n_genes).tolist() == [0, 2, 3, 4, 6, 7]


@pytest.mark.parametrize("name", ["mt-Nd1", "MT-CO2", "Rpl13a", "RPS6", "mt-Rnr1", "Mrpl15", "RPLP0", "Rpsa"])
def test_housekeeping_genes_are_recognized(name: str) -> None:
    assert is_housekeeping(name)


@pytest.mark.parametrize("name", ["Mtor", "MT1A", "Mt2", "Rpgr", "RPE65", "Rptor", "", "Ubrps1", "RPS6KA1"])
def test_other_genes_are_not_taken_for_housekeeping(name: str) -> None:
    assert not is_housekeeping(name)
