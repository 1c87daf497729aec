"""The pool: every row once, results in order, nothing left running."""

from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest

from napari_spotmix.base.errors import Cancelled
from napari_spotmix.base.threads import Threads


@pytest.mark.parametrize("n_threads", [1, 2, 5])
@pytest.mark.parametrize(("n_rows", "block"), [(0, 3), (1, 3), (9, 3), (10, 3), (10, 100)])
def test_every_row_is_done_once_and_results_keep_their_order(n_threads: int, n_rows: int, block: int) -> None:
    touched, reported = np.zeros(n_rows, int), []

    def kernel(start: int, stop: int) -> tuple[int, int]:
        touched[start:stop] += 1
        return start, stop

    with Threads.of(n_threads) as threads:
        found = threads.over_blocks(kernel, n_rows, block=block, on_block=reported.append)
    assert (touched == 1).all()
    assert found == sorted(found)
    assert [start for start, _ in found] == list(range(0, n_rows, block))
    assert reported == sorted(reported)
    assert not n_rows or reported[-1] == n_rows


def test_zero_means_every_core_of_this_process() -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = Threads(0)
    threads.close()
    assert threads.n_threads == cores


def test_blocks_run_at_the_same_time() -> None:
    meeting = threading.Barrier(2, timeout=30)
    with Threads.of(2) as threads:
        threads.over_blocks(lambda start, stop: meeting.wait(), 2, block=1)


def test_the_caller_hears_in_its_own_thread() -> None:
    callers: list[threading.Thread] = []
    with Threads.of(3) as threads:
        threads.over_blocks(
            lambda a, b: None, 9, block=1, on_block=lambda _: callers.append(threading.current_thread())
        )
    assert set(callers) == {threading.current_thread()}


@pytest.mark.parametrize("n_threads", [1, 3])
def test_cancelling_stops_what_has_not_begun_and_waits_for_the_rest(n_threads: int) -> None:
    before, running, begun = set(threading.enumerate()), set(), []

    def kernel(start: int, stop: int) -> None:
        running.add(start)
        begun.append(start)
        time.sleep(0.002)
        running.remove(start)

    def cancel(_: int) -> None:
        raise Cancelled

    with Threads.of(n_threads) as threads:
        with pytest.raises(Cancelled):
            threads.over_blocks(kernel, 500, block=1, on_block=cancel)
        assert not running
        assert len(begun) < 500
        n_begun = len(begun)
        assert threads.over_blocks(lambda a, b: a, 4, block=2) == [0, 2]  # still of use
        assert len(begun) == n_begun
    assert set(threading.enumerate()) == before


@pytest.mark.parametrize("n_threads", [1, 3])
def test_an_error_in_a_block_is_raised(n_threads: int) -> None:
    def kernel(start: int, stop: int) -> None:
        if start == 4:
            raise ZeroDivisionError

    before = set(threading.enumerate())
    with Threads.of(n_threads) as threads, pytest.raises(ZeroDivisionError):
        threads.over_blocks(kernel, 10, block=1)
    assert set(threading.enumerate()) == before
