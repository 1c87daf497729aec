"""The rule for the ends of colors."""

from __future__ import annotations

import numpy as np
import pytest

from napari_spotmix.base.color_range import (
    LEAST_PRESENT,
    ColorRange,
    RangeMode,
    largest_proportion,
    largest_usual,
    rounded_up,
)


def test_a_rounded_maximum_is_round_and_at_most_twice_as_large() -> None:
    values = np.random.default_rng(1).lognormal(0, 4, 2000)
    ends = np.array([rounded_up(value) for value in values])
    assert (ends >= values * (1 - 1e-9)).all()
    assert (ends < 1.6 * values).all()
    assert all(rounded_up(end) == end for end in ends), "a round number stays"


def test_the_maximum_of_a_rare_type_is_that_of_the_spots_that_have_it() -> None:
    absent = np.zeros(100_000)
    rare = np.concatenate([absent, np.full(30, 0.07), [0.18], [np.nan]])
    assert largest_proportion(rare) == 0.2
    extreme = np.concatenate([np.full(10_000, 0.18), np.ones(10)])
    assert largest_proportion(extreme) == 0.2, "a few extreme spots do not hide all others"
    for nothing in (absent, np.full(3, np.nan), np.full(9, 0.001)):
        assert largest_proportion(nothing) == LEAST_PRESENT
    assert largest_usual(np.zeros(3)) == largest_usual(np.array([np.nan])) == 1


def test_a_rule_is_read_as_it_was_written() -> None:
    rule = ColorRange(chosen={"T": 0.2}, of_maps={"counts": 5000.0})
    assert ColorRange.from_dict(rule.as_dict()) == rule
    same = rule.in_mode(RangeMode.FULL).with_ends({"T": 0.31234, "B": 0.2})
    assert (same.mode, same.same) == (RangeMode.SAME, 0.31), "the fixed range is left for one for all"
    assert ColorRange.from_dict(same.as_dict()) == same


@pytest.mark.parametrize("given", ["much", "-1", "2", "nan", ""])
def test_other_names_of_rules_are_refused(given: str) -> None:
    with pytest.raises(ValueError, match="must be own, full, same"):
        ColorRange.of(given)
