"""Niches, colocalization and neighborhoods of a result."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from napari_spotmix import colocalization, find_niches, neighborhood
from napari_spotmix.analysis.colocalization import bivariate_moran
from napari_spotmix.analysis.neighborhood import estimated_in_order
from napari_spotmix.analysis.niches import group_spots, stored_niches
from napari_spotmix.base.errors import Cancelled, InputError
from napari_spotmix.base.threads import Threads
from napari_spotmix.result import Result


def test_niches_are_those_of_the_groups_with_the_seed_of_the_run(result: Result) -> None:
    found = find_niches(result, 2)
    values, order = result.proportions.to_numpy(), estimated_in_order(result)
    expected = group_spots(values, result.edges, 2, random_state=3, threads=Threads(1), order=order)
    np.testing.assert_array_equal(found.codes, expected.label)
    np.testing.assert_array_equal(found.composition, expected.composition)
    assert list(found.composition.index) == ["1", "2"]
    assert list(found.composition.columns) == result.cell_types
    assert found.labels.index.equals(result.proportions.index)
    assert found.labels.isna().to_numpy().nonzero()[0].tolist() == [5]
    assert found.n_spots.tolist() == np.bincount(expected.label[expected.label >= 0]).tolist()
    assert found.composition.loc["1"].idxmax() == "T/NK", "the larger part of the tissue"


def test_all_that_is_wrong_with_the_arguments_is_reported_at_once(result: Result) -> None:
    empty = replace(result, abundances=result.abundances * np.nan)
    with pytest.raises(InputError) as raised:
        find_niches(empty, 1, random_state=-1)
    niches, seed, spots = raised.value.problems
    assert niches == "`n_niches` must be a whole number from 2 to 20, found 1."
    assert seed == "`random_state` must be at least 0, found -1."
    assert spots.startswith("No spot of the result was estimated")
    with pytest.raises(InputError, match=r"found 2\.5"):
        find_niches(result, 2.5)  # type: ignore[arg-type]


def test_niches_that_are_stored_come_back_with_their_composition(result: Result) -> None:
    found = find_niches(result, 2)
    stored = stored_niches(replace(result, niches=found.labels))
    assert stored is not None
    np.testing.assert_array_equal(stored.codes, found.codes)
    np.testing.assert_allclose(stored.composition, found.composition, rtol=1e-12)
    assert stored_niches(result) is None


def test_colocalization_has_names_and_the_clearest_pair_first(result: Result) -> None:
    found = colocalization(result)
    expected = bivariate_moran(result.proportions.to_numpy(), result.edges)
    np.testing.assert_array_equal(found.observed, expected.observed)
    np.testing.assert_array_equal(found.z, expected.z)
    assert list(found.z.index) == list(found.z.columns) == result.cell_types
    assert len(found.pairs) == 3
    first = found.pairs.iloc[0]
    assert {first["first"], first["second"]} == {"T/NK", "Stroma"}
    assert first["z"] == found.z.loc["T/NK", "Stroma"] < -3, "they avoid each other"
    assert found.pairs["z"].abs().is_monotonic_decreasing


@pytest.mark.parametrize("call", [colocalization, find_niches])
def test_both_can_be_cancelled(call: Any, result: Result) -> None:
    def stop(_: Any) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        call(result, on_progress=stop)


def test_the_neighborhood_of_a_spot_is_a_table(result: Result) -> None:
    table = neighborhood(result, "s17")
    assert table.equals(neighborhood(result, 17))
    assert sorted(table["position"]) == [0, 1, 2, 16, 18, 32, 33, 34]
    assert list(table.index) == [f"s{at}" for at in table["position"]]
    straight = table.loc[["s1", "s16", "s18", "s33"]]
    np.testing.assert_allclose(straight["distance"], 100.0)
    assert (table["weight"] == 0.5).all()
    assert (table["attention"] == 1.0).all()


@pytest.mark.parametrize("spot", ["nope", -1, 256, 1.5, True])
def test_an_unknown_spot_is_refused(result: Result, spot: Any) -> None:
    with pytest.raises(InputError, match="`spot`"):
        neighborhood(result, spot)


def test_a_name_of_several_spots_is_refused(result: Result) -> None:
    names = ["twin", "twin", *result.abundances.index[2:]]
    twins = replace(result, abundances=result.abundances.set_axis(names))
    with pytest.raises(InputError, match="2 spots have the name 'twin'"):
        neighborhood(twins, "twin")


def test_edges_have_weight_one_and_their_former_name(result: Result) -> None:
    assert set(result.edges.data) == {1.0}
    with pytest.warns(DeprecationWarning, match="now called Result.edges"):
        former = result.links
    assert (former != result.edges).nnz == 0
