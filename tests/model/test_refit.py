"""Solving again from a result: the same minimizer as from the start, and clear refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_spotmix import InputError, Result, deconvolve, simulate
from napari_spotmix.model.objective import violation


@pytest.fixture(scope="module")
def result() -> Result:
    tissue = simulate(n_spots=150, n_genes=200, n_cell_types=5, random_state=3, image=False)
    return deconvolve(tissue.spatial, tissue.reference, lambda_c=0.5, tolerance=1e-8)


@pytest.mark.parametrize("lambda_c", [0.0, 0.6, 50.0])
def test_it_minimizes_the_objective_at_the_new_smoothness(result: Result, lambda_c: float) -> None:
    again = result.refit(lambda_c=lambda_c)
    assert again.problem is not None
    solved = again.problem
    left = violation(solved.abundances, solved.statistics, solved.weights, 1e-6, lambda_c)
    assert left <= 1.01e-8 * solved.abundances.max()
    np.testing.assert_array_equal(again.abundances.to_numpy()[solved.spots], solved.abundances)
    assert again.parameters["learned"]["refit"] == {"lambda_c": lambda_c, "without": []}
    assert f"lambda_c {lambda_c:.3g}" in again.notes[-1]


def test_there_and_back_again(result: Result) -> None:
    back = result.refit(lambda_c=20.0).refit(lambda_c=0.5)
    np.testing.assert_allclose(back.abundances, result.abundances, atol=1e-6)


def test_a_type_left_out_is_held_at_zero(result: Result) -> None:
    """The minimizer among abundances without the type: the types left meet their conditions."""
    gone = result.cell_types[1]
    again = result.refit(without=[gone])
    assert again.problem is not None
    assert again.cell_types == [name for name in result.cell_types if name != gone]
    assert list(again.signatures.index) == again.cell_types == list(again.rna_content.index)
    np.testing.assert_allclose(again.proportions.sum(axis=1), 1)
    kept = [k for k, name in enumerate(result.cell_types) if name != gone]
    assert result.problem is not None
    whole = np.zeros(result.abundances.shape)
    whole[:, kept] = again.problem.abundances
    statistics, W = again.problem.statistics, again.problem.weights
    assert violation(whole[:, kept], statistics, W, 1e-6, 0.5) <= 1.01e-8 * whole.max()
    np.testing.assert_array_equal(statistics.projection, result.problem.statistics.projection[:, kept])
    assert again.refit(without=[again.cell_types[0]]).parameters["learned"]["refit"]["without"] == [
        gone,
        again.cell_types[0],
    ]


def test_the_other_types_keep_their_colors(result: Result) -> None:
    gone = result.cell_types[0]
    left = result.refit(without=[gone])
    assert left.colors == {name: color for name, color in result.colors.items() if name != gone}
    assert left.refit(lambda_c=1.0).colors == left.colors
    again = Result.from_anndata(left.to_anndata())
    assert again.colors == left.colors


def test_the_first_result_stays_as_it_was(result: Result) -> None:
    before = result.abundances.copy()
    result.refit(lambda_c=3.0, without=[result.cell_types[0]])
    assert result.abundances.equals(before)
    assert result.provenance.learned.refit is None


def test_any_number_of_threads_gives_the_same_bits(result: Result) -> None:
    one, two = (result.refit(lambda_c=2.0, n_threads=n).abundances.to_numpy() for n in (1, 2))
    assert one.tobytes() == two.tobytes()


def test_spots_without_counts_stay_out() -> None:
    tissue = simulate(n_spots=60, n_genes=120, n_cell_types=4, image=False)
    counts = tissue.spatial.X.tolil()
    counts[7] = 0
    tissue.spatial.X = counts.tocsr()
    result = deconvolve(tissue.spatial, tissue.reference, lambda_c=0.1)
    again = result.refit(lambda_c=1.0)
    assert again.abundances.iloc[7].isna().all()
    assert again.abundances.drop(index=again.abundances.index[7]).notna().all(axis=None)
    assert again.reasons.equals(result.reasons)


def test_a_result_from_a_file_cannot_be_solved_again(result: Result) -> None:
    with pytest.raises(InputError, match="read from a file"):
        Result.from_anndata(result.to_anndata()).refit(lambda_c=1.0)


def test_all_problems_are_reported_at_once(result: Result) -> None:
    with pytest.raises(InputError) as caught:
        result.refit(lambda_c=-1.0, without=["Nobody"])
    assert len(caught.value.problems) == 2
    with pytest.raises(InputError, match="at least one"):
        result.refit(without=result.cell_types)


@pytest.mark.parametrize("n_threads", [-1, 2.5, 5000, True])
def test_a_number_of_threads_out_of_bounds_is_refused_with_all_else(result: Result, n_threads: Any) -> None:
    with pytest.raises(InputError) as caught:
        result.refit(lambda_c=-1.0, n_threads=n_threads)
    assert [problem.split("`")[1] for problem in caught.value.problems] == ["lambda_c", "n_threads"]
    assert caught.value.problems[1].endswith(f"found {n_threads!r}.")


def test_a_single_name_is_one_cell_type(result: Result) -> None:
    name = result.cell_types[0]
    assert result.refit(without=name).cell_types == [one for one in result.cell_types if one != name]


def test_what_was_solved_again_can_be_kept_with_the_spots(result: Result) -> None:
    again = result.refit(lambda_c=2.0, without=[result.cell_types[0]])
    back = Result.from_anndata(again.to_anndata())
    np.testing.assert_array_equal(back.abundances, again.abundances)
    assert back.parameters["learned"]["refit"]["without"] == [result.cell_types[0]]
    assert again.standard_errors.empty
