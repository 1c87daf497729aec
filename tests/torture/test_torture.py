"""A few trials with fixed moments; ``make torture`` makes hundreds."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.torture.sample import write_sample
from tests.torture.trials import SIGNALS, Bench

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals as on Linux and macOS")


class ShortBench(Bench):
    """Only two tasks, so that it takes seconds."""

    TASKS = ("run", "export")


def test_commands_that_are_stopped_at_random_moments_leave_the_old_or_the_new_result(tmp_path: Path) -> None:
    bench, moments = ShortBench(write_sample(tmp_path), tmp_path), random.Random(7)
    for task in bench.tasks:
        for name in SIGNALS:
            trial = bench.trial(task, name, moments)
            assert trial.problems == (), trial


def test_full_disks_and_two_writers_leave_one_whole_result_or_none(tmp_path: Path) -> None:
    bench, moments = ShortBench(write_sample(tmp_path), tmp_path), random.Random(7)
    for trial in (
        bench.full_disk("run", moments),
        bench.full_disk("export", moments),
        bench.two_writers(moments),
    ):
        assert trial.problems == (), trial
