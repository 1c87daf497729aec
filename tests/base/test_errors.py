"""Messages of errors: all problems at once, with the path where there is one."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_spotmix.base.errors import Cancelled, ConvergenceWarning, InputError, ReadError


def test_one_problem_is_the_whole_message() -> None:
    error = InputError("`alpha` must be at least 0, found -1.")
    assert str(error) == "`alpha` must be at least 0, found -1."
    assert error.problems == ("`alpha` must be at least 0, found -1.",)


def test_several_problems_are_numbered_in_their_order() -> None:
    error = InputError(text for text in ["First.", "Second."])
    assert str(error).splitlines() == ["2 problems:", "  1. First.", "  2. Second."]
    assert error.problems == ("First.", "Second.")


def test_a_read_error_begins_with_the_path() -> None:
    error = ReadError("folder/counts.h5", ["First.", "Second."])
    assert error.path == Path("folder/counts.h5")
    assert str(error).startswith(f"{Path('folder/counts.h5')}: 2 problems:")


def test_a_read_error_is_caught_as_an_input_error_and_as_a_value_error() -> None:
    with pytest.raises(InputError):
        raise ReadError("a", "No such file.")
    with pytest.raises(ValueError, match=r"No such file\."):
        raise ReadError("a", "No such file.")


def test_cancelling_is_not_taken_for_bad_input() -> None:
    assert not issubclass(Cancelled, ValueError)
    assert issubclass(ConvergenceWarning, UserWarning)
