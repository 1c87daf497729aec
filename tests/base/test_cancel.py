"""A long call of a library: its result, a cancel at once, and the removal of its files."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from napari_spotmix.base.cancel import run_cancellable
from napari_spotmix.base.errors import Cancelled
from napari_spotmix.base.progress import Progress
from tests.clock import allowed


def test_what_the_work_raises_is_raised() -> None:
    def work() -> None:
        raise ValueError("no such table")

    with pytest.raises(ValueError, match="no such table"):
        run_cancellable(work, "Reading", lambda _: None)


def test_a_cancel_before_the_work_leaves_it_undone() -> None:
    done = []

    def cancel(_: Progress) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        run_cancellable(lambda: done.append(1), "Reading", cancel)
    assert not done


def test_a_cancel_is_noticed_at_once_and_later_files_are_removed(tmp_path: Path) -> None:
    folder, goes_on, calls = tmp_path / "stage", threading.Event(), []
    folder.mkdir()

    def work() -> None:
        assert goes_on.wait(10)
        (folder / "store").mkdir(parents=True)
        (folder / "store" / "chunk").write_bytes(b"1")

    def cancel(progress: Progress) -> None:
        calls.append(progress)
        if len(calls) > 2:
            raise Cancelled

    start = time.monotonic()
    with pytest.raises(Cancelled):
        run_cancellable(work, "Writing", cancel, writes_into=folder)
    assert time.monotonic() - start < allowed(0.5)
    folder.rmdir()  # as whoever has made it does
    goes_on.set()
    for thread in threading.enumerate():
        if thread.name.startswith("spotmix-cancellable"):
            thread.join(10)
    assert not folder.exists()
