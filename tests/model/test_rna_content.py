"""How far the totals of a reference are believed as RNA content."""

from __future__ import annotations

import numpy as np

from napari_spotmix.model.rna_content import Content, rna_content

SPREAD = np.array([0.6, 0.8, 1.0, 1.25, 1.7])


def flat(n_types: int, n_genes: int = 200) -> np.ndarray:
    return np.full((n_types, n_genes), 1.0 / n_genes)


def content(means: np.ndarray, n_cells: int = 100, noise: float = 0.3) -> Content:
    """Of a reference with these mean totals."""
    label = np.repeat(np.arange(len(means)), n_cells)
    scatter = np.tile(np.linspace(1 - noise, 1 + noise, n_cells), len(means))
    return rna_content(1000.0 * means[label] * scatter, label, flat(len(means)))


def test_types_of_equal_totals_need_no_correction() -> None:
    np.testing.assert_allclose(content(np.ones(5)).ratio, 1, rtol=1e-12)


def test_the_order_is_kept_and_the_distances_shrink() -> None:
    log = np.log(content(SPREAD).ratio)
    assert (np.diff(log) > 0).all()
    kept = np.diff(log) / np.diff(np.log(SPREAD))
    np.testing.assert_allclose(kept, kept[0], rtol=1e-6)
    assert 0.6 < kept[0] < 0.8


def test_the_unit_of_the_totals_does_not_matter() -> None:
    np.testing.assert_allclose(content(SPREAD).ratio, content(50 * SPREAD).ratio, rtol=1e-9)


def test_totals_more_different_than_rna_content_is_are_believed_less() -> None:
    wild = content(SPREAD**4)
    assert wild.fold > 60
    assert (wild.trust < 0.15).all()
    assert wild.ratio.max() / wild.ratio.min() < 3


def test_a_type_of_few_cells_is_believed_less() -> None:
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1, 2], [200, 200, 3])
    totals = 1000 * np.array([1.0, 1.5, 0.7])[label] * rng.lognormal(0, 0.8, len(label))
    trust = rna_content(totals, label, flat(3)).trust
    assert trust[2] < trust[:2].min() - 0.05


def test_a_type_whose_counts_sit_on_few_genes_is_believed_less() -> None:
    S = flat(4)
    S[3] = 0.2 / 200
    S[3, 0] += 0.8
    trust = rna_content(1000 * np.array([1.0, 1.2, 0.9, 1.1]), np.arange(4), S).trust
    assert trust[3] < 0.5 * trust[:3].min()


def test_cells_without_label_or_counts_do_not_count() -> None:
    totals, label = np.array([900.0, 1100.0, 2000.0, 0.0, 5.0]), np.array([0, 0, 1, 1, -1])
    assert rna_content(totals, label, flat(2)).fold == 2.0


def test_one_type_has_the_content_of_itself() -> None:
    assert rna_content(np.array([10.0, 20.0]), np.zeros(2, int), flat(1)).ratio.tolist() == [1.0]
