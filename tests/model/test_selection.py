"""Learning the smoothing: exact gradients, fair choices, fixed parameters left alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array

from napari_spotmix.base.threads import Threads
from napari_spotmix.model.composition_clusters import find_composition_clusters, precision_weights
from napari_spotmix.model.counts import Counts
from napari_spotmix.model.fit import Fit, fit
from napari_spotmix.model.graph import build_graph
from napari_spotmix.model.learning.heldout import HeldOutGenes, Smoothing
from napari_spotmix.model.learning.selection import Candidate, choose_smoothing, contiguous_patches
from napari_spotmix.model.noise import DataTerm
from napari_spotmix.params import Parameters

SIDE, N_GENES, N_TYPES = 24, 80, 4


def signatures() -> np.ndarray:
    rng = np.random.default_rng(5)
    raw = rng.gamma(0.4, size=(N_TYPES, N_GENES)) + 0.02
    return raw / raw.sum(axis=1, keepdims=True)


def tissue(depth: float, *, is_smooth: bool) -> tuple[csr_array, np.ndarray, np.ndarray]:
    """Return counts, coordinates and true proportions: two broad bands, or types drawn anew per spot."""
    rng = np.random.default_rng(6)
    coordinates = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), axis=-1).reshape(-1, 2) * 10.0
    if is_smooth:
        truth = np.where(coordinates[:, :1] < SIDE * 5, [[0.7, 0.3, 0.0, 0.0]], [[0.0, 0.1, 0.5, 0.4]])
    else:
        truth = rng.dirichlet(np.full(N_TYPES, 0.3), len(coordinates))
    counts = rng.poisson(depth * truth @ signatures())
    return csr_array(counts.astype(float)), coordinates, truth


def held_out(counts: csr_array, coordinates: np.ndarray, truth: np.ndarray, tolerance: float) -> HeldOutGenes:
    totals = np.asarray(counts.sum(axis=1)).ravel()
    threads = Threads(1)
    return HeldOutGenes(
        Counts(counts, np.arange(N_GENES)),
        signatures(),
        totals,
        find_composition_clusters(truth, totals, 4, threads=threads),
        build_graph(coordinates).squared_distance,
        data_term=DataTerm(),
        lambda_r=1e-6,
        n_folds=4,
        n_gradient_folds=4,
        random_state=0,
        tolerance=tolerance,
        threads=threads,
    )


def fitted(
    depth: float, *, is_smooth: bool, n_threads: int = 1, **parameters: object
) -> tuple[Fit, np.ndarray]:
    counts, coordinates, truth = tissue(depth, is_smooth=is_smooth)
    totals = np.asarray(counts.sum(axis=1)).ravel()
    with Threads.of(n_threads) as threads:
        result = fit(
            Counts(counts, np.arange(N_GENES)),
            signatures(),
            totals,
            coordinates,
            Parameters(**parameters),
            threads=threads,
        )
    return result, truth


def error(result: Fit, truth: np.ndarray) -> float:
    proportions = result.abundances / result.abundances.sum(axis=1, keepdims=True)
    return float(np.sqrt(((proportions - truth) ** 2).mean()))


PLAIN = Smoothing(smoothness=40.0, alpha=0.4, sharpness=0.0, ridge=3.0)


@pytest.mark.parametrize(
    "at",
    [
        PLAIN,
        replace(PLAIN, sharpness=6.0),
        replace(PLAIN, sharpness=20.0, spread=2.0, metric=(0.5, 1.0, 2.0, 3.0)),
    ],
    ids=["by distance", "one head", "two heads and a metric"],
)
def test_gradient_equals_finite_differences(at: Smoothing) -> None:
    genes = held_out(*tissue(60.0, is_smooth=True), tolerance=1e-11)
    genes.update_attention(PLAIN)
    _, gradient = genes.loss_and_gradient(at)
    names = (
        ["smoothness", "alpha", "ridge"] + ["sharpness"] * (at.sharpness > 0) + ["spread"] * (at.spread > 1)
    )
    for name in names:
        value = getattr(at, name)
        slope = difference(genes, at, name, value, 1e-4 * value)
        assert gradient[name][0] == pytest.approx(slope, rel=1e-3)
    for k, value in enumerate(at.metric):
        step = np.zeros(N_TYPES)
        step[k] = 1e-4 * value
        slope = difference(genes, at, "metric", np.array(at.metric), step)
        assert gradient["metric"][k] == pytest.approx(slope, rel=1e-3)


def difference(genes: HeldOutGenes, at: Smoothing, name: str, value: np.ndarray, step: np.ndarray) -> float:
    """Return the central difference of the mean loss by one parameter, or by one of its entries."""

    def loss(moved: np.ndarray) -> float:
        plain = tuple(moved.tolist()) if np.ndim(moved) else float(moved)
        return float(genes.few_losses(replace(at, **{name: plain})).mean())

    return (loss(value + step) - loss(value - step)) / (2 * float(np.max(step)))


def test_loss_is_the_multinomial_log_likelihood_of_held_out_genes() -> None:
    counts, coordinates, truth = tissue(60.0, is_smooth=False)
    genes = held_out(counts, coordinates, truth, tolerance=1e-9)
    smoothing = Smoothing(smoothness=5.0, alpha=0.3, sharpness=0.0)
    losses = genes.losses(smoothing).reshape(len(genes.folds), -1)
    S = 0.99 * signatures() + 0.01 * signatures().mean(axis=0)
    for fold, loss in zip(genes.folds, losses, strict=True):
        chosen = np.isin(np.arange(N_GENES), fold.held_out.gene_of_column)
        mean = fold.abundances @ S[:, chosen]
        expected = -(counts.toarray()[:, chosen] * np.log(mean / mean.sum(axis=1, keepdims=True))).sum(axis=1)
        np.testing.assert_allclose(loss, expected, rtol=1e-10)


def test_folds_hold_out_every_gene_once_in_each_way_to_split_few_genes() -> None:
    genes = held_out(*tissue(60.0, is_smooth=True), tolerance=1e-3)
    held = np.stack([np.isin(np.arange(N_GENES), fold.held_out.gene_of_column) for fold in genes.folds])
    held = held.reshape(-1, genes.n_folds, N_GENES)
    assert (held.sum(axis=1) == 1).all()
    assert len(held) == 3
    assert len(np.unique(held[:, 0], axis=0)) == 3


def test_smoothing_is_learned_where_neighbors_help() -> None:
    learned, truth = fitted(15.0, is_smooth=True)
    plain, _ = fitted(15.0, is_smooth=True, lambda_c=0.0)
    assert learned.choice is not None
    assert learned.choice.chosen.name != "none"
    assert error(learned, truth) < 0.6 * error(plain, truth)


def test_smoothing_is_switched_off_where_neighbors_do_not_help() -> None:
    learned, truth = fitted(400.0, is_smooth=False)
    plain, _ = fitted(400.0, is_smooth=False, lambda_c=0.0)
    assert learned.choice is not None
    assert learned.choice.chosen.smoothing.smoothness == 0
    assert "switched off" in learned.choice.reason
    assert learned.lambda_c == 0
    assert error(learned, truth) <= 1.01 * error(plain, truth)


def test_what_is_learned_comes_near_the_best_of_a_grid() -> None:
    learned, truth = fitted(15.0, is_smooth=True)
    grid = [
        error(fitted(15.0, is_smooth=True, lambda_c=lambda_c, alpha=0.3, attention=False)[0], truth)
        for lambda_c in (0.1, 1.0, 10.0, 100.0)
    ]
    assert error(learned, truth) <= 1.1 * min(grid)


def test_given_parameters_are_kept() -> None:
    genes = held_out(*tissue(15.0, is_smooth=True), tolerance=1e-3)
    choice = choose_smoothing(
        genes, smoothness=30.0, alpha=None, sharpness=2.0, ridge=0.0, with_attention=True
    )
    assert {candidate.name.split(",")[0] for candidate in choice.candidates} == {"attention"}
    assert choice.chosen.smoothing.smoothness == 30.0
    assert choice.chosen.smoothing.sharpness == 2.0
    alone, _ = fitted(15.0, is_smooth=True, lambda_c=0.7, lambda_r=1e-6, alpha=0.2, attention_sharpness=3.0)
    assert alone.choice is None
    assert (alone.lambda_c, alone.smoothing.alpha, alone.smoothing.sharpness) == (0.7, 0.2, 3.0)


def test_a_given_lambda_c_is_what_the_solver_gets_while_the_rest_is_learned() -> None:
    result, _ = fitted(15.0, is_smooth=True, lambda_c=0.7)
    assert result.choice is not None
    assert result.lambda_c == 0.7


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"lambda_c": 0.0}, ["none", "ridge"]),
        ({"lambda_c": 0.7, "alpha": 0.2, "attention": False}, ["laplacian", "ridge"]),
        (
            {"lambda_c": 0.7, "alpha": 0.2, "attention_sharpness": 3.0},
            ["attention", "attention, second look", "ridge"],
        ),
    ],
)
def test_the_ridge_is_learned_whatever_else_is_given(given: dict[str, float], names: list[str]) -> None:
    result, _ = fitted(15.0, is_smooth=True, **given)
    assert result.choice is not None
    tried = [candidate.name for candidate in result.choice.candidates]
    assert tried == [name for name in names if name in tried]
    assert tried[-1] == "ridge"
    assert result.lambda_c == given["lambda_c"]
    assert "ridge" in result.choice.reason or result.choice.chosen.smoothing.ridge == 0


@pytest.mark.parametrize("smoothness", [0.0, 0.1])
def test_a_ridge_is_found_where_all_spots_hold_all_types(smoothness: float) -> None:
    """A pull to zero makes abundances more even, which is right there, and wrong where few types are."""

    def chosen(truth: np.ndarray) -> Candidate:
        counts = np.random.default_rng(7).poisson(20.0 * truth @ signatures())
        genes = held_out(csr_array(counts.astype(float)), coordinates, truth, tolerance=1e-3)
        given = {"smoothness": smoothness, "alpha": 0.3, "sharpness": 0.0}
        return choose_smoothing(genes, **given, ridge=None, with_attention=False).chosen

    _, coordinates, one_type = tissue(1.0, is_smooth=False)
    assert chosen(np.full_like(one_type, 1 / N_TYPES)).smoothing.ridge > 0.5
    assert chosen(np.eye(N_TYPES)[one_type.argmax(axis=1)]).smoothing.ridge == 0


def test_a_given_lambda_c_means_the_same_in_the_folds_as_in_the_fit() -> None:
    """The unit from folds of three quarters of the genes each is that of all genes, counting alone."""
    counts, coordinates, truth = tissue(60.0, is_smooth=True)
    totals = np.asarray(counts.sum(axis=1)).ravel()
    groups = find_composition_clusters(truth, totals, 4, threads=Threads(1))
    precision = np.einsum(
        "kg,ag,kg->ak", signatures(), precision_weights(signatures(), groups, 0.0), signatures()
    )
    whole = (totals * precision.mean(axis=1)[groups.label]).mean()
    assert held_out(counts, coordinates, truth, tolerance=1e-3).precision_unit == pytest.approx(whole)


def test_without_attention_it_is_no_candidate() -> None:
    result, _ = fitted(15.0, is_smooth=True, attention=False)
    assert result.choice is not None
    assert [candidate.name for candidate in result.choice.candidates] == ["none", "ridge", "laplacian"]
    assert (result.attention.data == 1).all()


def test_learning_is_the_same_for_any_number_of_threads() -> None:
    one, _ = fitted(15.0, is_smooth=True, n_threads=1)
    three, _ = fitted(15.0, is_smooth=True, n_threads=3)
    assert one.abundances.tobytes() == three.abundances.tobytes()
    assert one.choice == three.choice


def test_patches_are_contiguous_and_of_the_size_asked_for() -> None:
    coordinates = np.stack(np.meshgrid(np.arange(40), np.arange(40)), axis=-1).reshape(-1, 2).astype(float)
    edges = build_graph(coordinates).squared_distance
    spots = contiguous_patches(edges, 400, 100)
    assert len(spots) == 400
    assert len(np.unique(spots)) == 400
    inside = csr_array(edges[spots][:, spots])
    assert np.diff(inside.indptr).mean() > 6
    np.testing.assert_array_equal(spots, contiguous_patches(edges, 400, 100))
