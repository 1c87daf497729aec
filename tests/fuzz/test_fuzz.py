"""A short campaign with fixed seeds, and that faults are seen; ``make fuzz`` makes thousands of mutants."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import pytest

from napari_spotmix import InputError
from napari_spotmix.base.text import LONGEST_MESSAGE
from tests.fuzz.campaign import Campaign, Worker
from tests.fuzz.doors import Fault, function
from tests.fuzz.kinds import KINDS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of memory as on Linux")


def test_mutants_of_each_kind_end_in_a_result_or_a_message(tmp_path: Path) -> None:
    found = list(Campaign(tmp_path).mutants((kind, 1) for kind in KINDS))
    assert [mutant for mutant in found if mutant.fault] == []
    assert {mutant.outcome for mutant in found} == {"result", "refused"}


@pytest.mark.parametrize(
    ("does", "fault"),
    [
        ("time.sleep(60)", "no answer in 1 s"),
        ("os.kill(os.getpid(), 11)", "the process ended, SIGSEGV"),
        ("sys.exit(3)", "the process ended, exit code 3"),
    ],
)
def test_a_process_that_ends_or_does_not_answer_is_a_fault(does: str, fault: str, tmp_path: Path) -> None:
    code = f"import os, sys, time; print('{{}}', flush=True); input(); {does}"
    worker = Worker(tmp_path, ("-c", code))
    try:
        assert fault in worker.answer({"kind": "csv", "seed": 1}, 1.0)["fault"]
        assert worker.is_ended
    finally:
        worker.end()


def _raise(error: Exception) -> None:
    raise error


def test_doors_tell_messages_from_faults() -> None:
    assert function("a", lambda: None)() == ""
    assert function("a", lambda: _raise(InputError("`a` is wrong.")))() == "`a` is wrong."
    long = InputError("x")
    long.problems = ("x" * (LONGEST_MESSAGE + 1),)
    with pytest.raises(Fault, match="601 letters"):
        function("a", lambda: _raise(long))()
    with pytest.raises(KeyError):
        function("a", lambda: _raise(KeyError("a")))()
    with pytest.raises(Fault, match="warns: RuntimeWarning: overflow"):
        function("a", lambda: warnings.warn("overflow", RuntimeWarning, stacklevel=1))()
