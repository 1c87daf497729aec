"""One button that starts a task, cancels it, and says how it went."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from napari_spotmix.base.errors import InputError
from napari_spotmix.base.progress import Progress, ProgressCallback
from napari_spotmix.ui.panels.task_button import TaskButton
from napari_spotmix.ui.state.worker import Task

pytestmark = pytest.mark.viewer


@pytest.fixture
def make(qtbot: Any) -> Iterator[Callable[[Task | None], tuple[TaskButton, list[str]]]]:
    made: list[TaskButton] = []

    def button(task: Task | None) -> tuple[TaskButton, list[str]]:
        said: list[str] = []
        made.append(TaskButton(lambda: task, said.append, text="Go", tooltip="Start it"))
        return made[-1], said

    yield button
    for one in made:
        one.runner.close()
        one.close()


def waiting(on_progress: ProgressCallback) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        on_progress(Progress("Waiting", 0, 1))
        time.sleep(0.01)


def test_a_second_press_cancels_within_half_a_second(qtbot: Any, make: Any) -> None:
    button, said = make(waiting)
    button.native.click()
    assert button.text == "Cancel"
    qtbot.waitUntil(lambda: "Waiting…" in said)
    start = time.monotonic()
    with qtbot.waitSignal(button.runner.cancelled, timeout=3000):
        button.native.click()
    assert time.monotonic() - start < 0.5
    assert said[-2:] == ["Cancelling…", "Cancelled."]
    assert button.text == "Go"
    button.native.click()
    assert button.text == "Cancel", "it can be started again"


def test_the_value_is_received_and_the_line_is_empty(qtbot: Any, make: Any) -> None:
    button, said = make(lambda _: 42)
    with qtbot.waitSignal(button.runner.finished, timeout=3000) as finished:
        button.native.click()
    assert finished.args == [42]
    assert (button.text, said[-1]) == ("Go", "")


def test_an_error_is_reported(qtbot: Any, make: Any, messages: list[str]) -> None:
    def wrong(_: ProgressCallback) -> None:
        raise InputError("the file is no file")

    button, said = make(wrong)
    with qtbot.waitSignal(button.runner.failed, timeout=3000):
        button.native.click()
    assert (button.text, said[-1]) == ("Go", "Failed: the file is no file")
    assert messages == ["the file is no file"]


def test_nothing_to_do_starts_nothing(make: Any) -> None:
    button, said = make(None)
    button.native.click()
    assert not button.runner.is_running
    assert (button.text, said) == ("Go", [])
