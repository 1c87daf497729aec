"""Long calls in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from napari_spotmix.base.errors import InputError
from napari_spotmix.base.progress import Progress, ProgressCallback
from napari_spotmix.ui.state.worker import Runner

pytestmark = pytest.mark.viewer


@pytest.fixture
def runner(qtbot: Any) -> Iterator[Runner]:
    runner = Runner()
    yield runner
    runner.close()
    runner.deleteLater()


def counting(on_progress: ProgressCallback, seconds: float = 20.0) -> str:
    """Report a hundred times a second, as a long task does."""
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        on_progress(Progress("Counting", int(10 * (time.monotonic() - start)), int(10 * seconds)))
        time.sleep(0.01)
    return "done"


def test_value_comes_back_in_the_gui_thread(qtbot: Any, runner: Runner) -> None:
    threads = []
    runner.finished.connect(lambda _: threads.append(threading.current_thread()))
    with qtbot.waitSignal(runner.finished, timeout=3000) as finished:
        runner.start(lambda _: threads.append(threading.current_thread()) or 42)
    assert finished.args == [42]
    assert threads[0] is not threads[1]
    assert threads[1] is threading.main_thread()
    assert not runner.is_running


def test_progress_is_reported_and_throttled(qtbot: Any, runner: Runner) -> None:
    reported: list[Progress] = []
    runner.progressed.connect(reported.append)
    with qtbot.waitSignal(runner.finished, timeout=5000):
        runner.start(lambda on_progress: counting(on_progress, 1.0))
    assert 3 <= len(reported) <= 40
    assert [progress.step for progress in reported] == sorted(progress.step for progress in reported)
    assert reported[0].stage == "Counting"


def test_cancel_ends_the_call_within_half_a_second(qtbot: Any, runner: Runner) -> None:
    runner.start(counting)
    qtbot.wait(100)
    start = time.monotonic()
    with qtbot.waitSignal(runner.cancelled, timeout=2000):
        runner.cancel()
    assert time.monotonic() - start < 0.5
    assert not runner.is_running


def test_a_call_that_ignores_a_cancel_is_left_behind(qtbot: Any, runner: Runner) -> None:
    release = threading.Event()
    finished: list[Any] = []
    runner.finished.connect(finished.append)
    runner.start(lambda _: release.wait(10) and "late")
    start = time.monotonic()
    with qtbot.waitSignal(runner.cancelled, timeout=2000):
        runner.cancel()
    assert time.monotonic() - start < 0.5
    release.set()
    qtbot.wait(150)
    assert finished == []


def test_a_new_call_replaces_the_old_one(qtbot: Any, runner: Runner) -> None:
    finished: list[Any] = []
    runner.finished.connect(finished.append)
    before = threading.active_count()
    first = runner.start(lambda on_progress: counting(on_progress, 0.3))
    with qtbot.waitSignal(runner.finished, timeout=3000):
        second = runner.start(lambda _: "second")
    qtbot.waitUntil(lambda: threading.active_count() == before, timeout=3000)
    qtbot.wait(100)  # several polls after the first one has ended
    assert finished == ["second"]
    assert second != first


@pytest.mark.parametrize(
    "error", [InputError("`alpha` is wrong."), ValueError("?"), SystemExit(3), MemoryError()]
)
def test_no_error_leaves_the_thread(qtbot: Any, runner: Runner, error: BaseException) -> None:
    def fail(_: ProgressCallback) -> None:
        raise error

    with qtbot.waitSignal(runner.failed, timeout=3000) as failed:
        runner.start(fail)
    assert failed.args == [error]
    with qtbot.waitSignal(runner.finished, timeout=3000):
        runner.start(lambda _: None)


def test_close_leaves_no_thread(qtbot: Any, runner: Runner) -> None:
    before = threading.active_count()
    runner.start(counting)
    assert threading.active_count() == before + 1
    runner.close()
    assert threading.active_count() == before


def test_a_runner_that_is_deleted_stops_its_call(qtbot: Any) -> None:
    runner = Runner()
    before = threading.active_count()
    runner.start(counting)
    runner.deleteLater()
    qtbot.waitUntil(lambda: threading.active_count() == before, timeout=2000)
