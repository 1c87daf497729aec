"""Parameters: their bounds, their descriptions, and messages that name every problem."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import numpy as np
import pytest

from napari_spotmix.base.errors import InputError
from napari_spotmix.params import ParameterInfo, Parameters, describe

INFOS = tuple(describe())
BOUNDED_BELOW = [info for info in INFOS if info.minimum is not None]
BOUNDED_ABOVE = [info for info in INFOS if info.maximum is not None]


def named(info: ParameterInfo) -> str:
    return info.name


def just_outside(info: ParameterInfo, bound: float, step: int) -> float:
    return info.kind(bound) + step if info.kind is int else bound + step * max(abs(bound), 1.0)


@pytest.mark.parametrize("info", BOUNDED_BELOW, ids=named)
def test_the_least_value_is_allowed_and_less_is_refused(info: ParameterInfo) -> None:
    assert info.minimum is not None
    assert getattr(Parameters(**{info.name: info.kind(info.minimum)}), info.name) == info.minimum
    with pytest.raises(InputError, match=rf"`{info.name}` must be at least"):
        Parameters(**{info.name: just_outside(info, info.minimum, -1)})


@pytest.mark.parametrize("info", BOUNDED_ABOVE, ids=named)
def test_the_greatest_value_is_allowed_and_more_is_refused(info: ParameterInfo) -> None:
    assert info.maximum is not None
    assert getattr(Parameters(**{info.name: info.kind(info.maximum)}), info.name) == info.maximum
    with pytest.raises(InputError, match=rf"`{info.name}` must be at most"):
        Parameters(**{info.name: just_outside(info, info.maximum, 1)})


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("n_outer_iterations", 1.5, "a whole number"),
        ("n_outer_iterations", True, "a whole number"),
        ("n_outer_iterations", "3", "a whole number"),
        ("alpha", float("nan"), "a finite number"),
        ("alpha", float("inf"), "a finite number"),
        ("tolerance", None, "a finite number"),
        ("attention", 1, "True or False"),
        ("weights", "Poisson", "one of 'poisson'"),
        ("weights", None, "one of 'poisson'"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_and_shown(name: str, value: Any, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        Parameters(**{name: value})
    assert len(caught.value.problems) == 1
    assert f"`{name}` must be {expected}" in str(caught.value)
    assert repr(value) in str(caught.value)


def test_all_problems_are_listed_at_once() -> None:
    with pytest.raises(InputError) as caught:
        Parameters(lambda_c=-1.0, weights="loud", n_outer_iterations=-2, tolerance=0.0)  # type: ignore[arg-type]
    words = [problem.split("`")[1] for problem in caught.value.problems]
    assert sorted(words) == ["lambda_c", "n_outer_iterations", "tolerance", "weights"]


def test_a_changed_copy_is_checked_too() -> None:
    with pytest.raises(InputError, match="`alpha`"):
        replace(Parameters(), alpha=-1.0)


def test_parameters_cannot_be_changed_in_place() -> None:
    with pytest.raises(FrozenInstanceError):
        Parameters().alpha = 1.0  # type: ignore[misc]


def test_every_field_is_described_in_order_with_its_default() -> None:
    assert [info.name for info in INFOS] == [field.name for field in fields(Parameters)]
    assert {info.name: info.default for info in INFOS} == Parameters().as_dict()


@pytest.mark.parametrize("info", INFOS, ids=named)
def test_a_description_can_be_shown_to_a_newcomer(info: ParameterInfo) -> None:
    assert info.label
    assert info.group
    assert info.help.endswith(".")
    assert info.kind in (bool, int, float, str)
    assert info.problem(info.default) is None
    assert info.optional or info.default is not None
    assert all(isinstance(choice, str) for choice in info.choices)


def test_only_an_optional_parameter_may_be_left_empty() -> None:
    optional = {info.name for info in INFOS if info.optional}
    assert {info.name for info in INFOS if info.problem(None) is None} == optional


def test_whole_numbers_that_fit_into_no_file_are_refused() -> None:
    with pytest.raises(InputError, match="`random_state` must be at most 9223372036854775807"):
        Parameters(random_state=2**63)
    assert Parameters(random_state=2**63 - 1).random_state == 2**63 - 1


@pytest.mark.parametrize("value", [1, np.float32(1), np.int64(1)])
def test_whole_numbers_and_those_of_numpy_are_kept_as_plain_ones(value: Any) -> None:
    parameters = Parameters(lambda_c=value, lambda_r=value)
    assert [type(number) for number in (parameters.lambda_c, parameters.lambda_r)] == [float, float]
    assert type(Parameters(n_outer_iterations=np.int64(2)).n_outer_iterations) is int


@pytest.mark.parametrize("value", [1e200, 10**400])
def test_numbers_whose_squares_are_infinite_are_refused(value: float) -> None:
    with pytest.raises(InputError, match="`lambda_c` must be at most"):
        Parameters(lambda_c=value)
