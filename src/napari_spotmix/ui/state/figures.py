"""Figures of what is shown, and the report, made and written in a thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_spotmix.base.errors import InputError
from napari_spotmix.base.progress import Progress
from napari_spotmix.io import checksums, run_cancellable, write_atomically
from napari_spotmix.io.keeping import check_replaceable
from napari_spotmix.ui.state.maps import COUNTS, DOMINANT, PIES, UNEXPLAINED, Column, Gene

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_spotmix.base.color_range import ColorRange
    from napari_spotmix.base.progress import ProgressCallback, Task
    from napari_spotmix.io import ReadOptions
    from napari_spotmix.result import Result
    from napari_spotmix.ui.state.maps import PanelMap, Shown

__all__ = ["as_in_figures", "figure_task", "report_task"]

_STAGE = "Drawing"

#: The maps that figures can draw, by their names there.
_IN_FIGURES: dict[Shown, str] = {
    DOMINANT: "dominant",
    PIES: "pies",
    UNEXPLAINED: "unexplained",
    COUNTS: "counts",
}


def as_in_figures(shown: Shown | tuple[PanelMap, ...] | None) -> str | list[str] | None:
    """Return what is shown as `figure.draw` takes it, or None if no figure of it can be drawn.

    Of a blend, each type is drawn in a panel of its own.
    """
    if isinstance(shown, Gene | Column):
        return None
    if isinstance(shown, tuple):
        names = [name for name in shown if isinstance(name, str)]
        return names if len(names) == len(shown) else None
    return shown if isinstance(shown, str) or shown is None else _IN_FIGURES.get(shown)


def figure_task(
    result: Result,
    shown: str | list[str],
    path: Path,
    opacity: float,
    color_range: ColorRange,
    inputs: Mapping[str, Path] | None = None,
) -> Task:
    """Return the task that draws a figure and writes it; never over a file of `inputs`."""

    def task(on_progress: ProgressCallback) -> Path:
        # Imported in the thread: matplotlib takes its time.
        from napari_spotmix.output import figure

        if problems := figure.save_problems(path):
            raise InputError(problems)
        check_replaceable(path, inputs or {})
        drawn = run_cancellable(
            lambda: figure.draw(result, shown, opacity=opacity, color_range=color_range),
            _STAGE,
            on_progress,
            0,
            2,
        )

        def save(aside: Path) -> None:
            # The temporary file has a folder of its own.
            folder = aside.parent
            run_cancellable(lambda: figure.save(drawn, aside), _STAGE, on_progress, 1, 2, writes_into=folder)
            on_progress(Progress(_STAGE, 2, 2))  # a figure that was cancelled meanwhile is not kept

        return write_atomically(path, save)

    return task


def report_task(result: Result, inputs: Mapping[str, Path], how: ReadOptions, title: str, path: Path) -> Task:
    """Return the task that writes the report of a result, made of these files."""

    def task(on_progress: ProgressCallback) -> Path:
        from napari_spotmix.output.report import make_report

        check_replaceable(path, inputs)
        sums = checksums(inputs, how, on_progress=on_progress)
        html = make_report(result, sums, title=title, on_progress=on_progress)
        return write_atomically(path, lambda aside: aside.write_text(html, encoding="utf-8", newline="\n"))

    return task
