"""``spotmix run`` with a samplesheet."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_spotmix.base.errors import InputError, attempted
from napari_spotmix.base.progress import Progress, ProgressCallback, silent
from napari_spotmix.base.text import agreeing, count
from napari_spotmix.cli._terminal import cancellable, harmless, say

if TYPE_CHECKING:
    from napari_spotmix.workflow.cohort import Cohort, Outcome, Section

__all__ = ["run_sheet"]

SOME_FAILED = 1
_WORDS = {"done": "done", "unchanged": "unchanged, not run again", "failed": "failed"}
#: Prints a line.
Say = Callable[[str], None]


def run_sheet(
    sheet: Path,
    output: Path,
    defaults: Mapping[str, Any],
    *,
    problems: Sequence[str] = (),
    at_once: int = 0,
    dask: str | None = None,
) -> None:
    """Run every section of a samplesheet and print the outcomes; exit with code 1 if one has failed.

    Raises
    ------
    InputError
        `problems`, and everything that is wrong with the sheet or the output folder.
    """
    from napari_spotmix.workflow.cohort import read_samplesheet
    from napari_spotmix.workflow.cohort.joint import cohort_problems

    found = list(problems)
    if at_once < 0:
        found.append(f"`at_once` must be at least 0, found {at_once}.")
    if found:
        attempted(found, lambda: read_samplesheet(sheet, output, defaults=defaults))
        raise InputError(found)
    sections = read_samplesheet(sheet, output, defaults=defaults)
    if found := cohort_problems(output, sheet, sections):
        raise InputError(found)
    shown = _Sections(sections)

    def work(on_progress: ProgressCallback) -> Cohort:
        from napari_spotmix.workflow.cohort import run_cohort

        return run_cohort(
            sections, output, at_once=at_once, dask=dask, on_section=shown.show, on_progress=on_progress
        )

    cohort = cancellable(work, shown.display(), shown.cancelled)
    say(_report(cohort, output))
    if failed := cohort.of_state("failed"):
        say(f"Error: {len(failed)} of {len(sections)} sections failed: {_names(failed)}.", sys.stderr)
        sys.exit(SOME_FAILED)


# ------------------------------------------------------------------------------------ while it runs


class _Sections:
    """Shows the progress of the sections on stderr: a line each, with bars on a terminal."""

    def __init__(self, sections: Sequence[Section]) -> None:
        self._width = min(max(len(harmless(section.sample)) for section in sections), 30)
        self._n, self._ended = len(sections), 0
        self._say: Say = lambda text: say(text, sys.stderr)
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}
        self._begun: set[str] = set()

    def cancelled(self) -> str:
        ended = f"{self._ended} of {self._n} sections {agreeing(self._ended, 'have')} ended"
        return f"Cancelled. {ended}; their results are kept. Run the same command again for the others."

    def show(self, sample: str, news: Progress | Outcome) -> None:
        """Show the progress of a section, or its outcome."""
        if not isinstance(news, Progress):
            self._end(sample, news)
        elif self._bars is not None:
            self._advance(sample, news)
        elif sample not in self._begun:
            self._begun.add(sample)
            self._say(f"{self._name(sample)}  started")

    def _name(self, sample: str) -> str:
        name = harmless(sample)
        return (name if len(name) <= self._width else f"{name[: self._width - 1]}…").ljust(self._width)

    def _advance(self, sample: str, progress: Progress) -> None:
        if sample not in self._tasks:
            self._tasks[sample] = self._bars.add_task(self._name(sample), total=None, stage="")
        self._bars.update(
            self._tasks[sample],
            completed=progress.step,
            total=progress.total or None,
            stage=harmless(progress.stage),
        )

    def _end(self, sample: str, outcome: Outcome) -> None:
        self._ended += 1
        if self._bars is not None and sample in self._tasks:
            self._bars.remove_task(self._tasks.pop(sample))
        took = "" if outcome.state == "unchanged" else f" in {_duration(outcome.seconds)}"
        counted = f"[{self._ended}/{self._n}]"
        self._say(f"{self._name(sample)}  {counted} {_WORDS[outcome.state]}{took}")

    def display(self) -> AbstractContextManager[ProgressCallback]:
        return self._on_a_terminal() if sys.stderr.isatty() else self._as_lines()

    @contextmanager
    def _as_lines(self) -> Iterator[ProgressCallback]:
        yield silent

    @contextmanager
    def _on_a_terminal(self) -> Iterator[ProgressCallback]:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[stage]:<28}", markup=False),
            TimeElapsedColumn(),
        )
        console = Console(stderr=True)
        with Bars(*columns, console=console, transient=True) as self._bars:
            self._say = lambda text: console.print(text, markup=False, highlight=False)
            whole = self._bars.add_task("all".ljust(self._width), total=self._n, stage="")

            def show(progress: Progress) -> None:
                total = progress.total or None
                self._bars.update(whole, completed=progress.step, total=total, stage=progress.stage)

            yield show


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


# ----------------------------------------------------------------------------------------- afterwards


def _report(cohort: Cohort, output: Path) -> str:
    counts = {state: len(cohort.of_state(state)) for state in _WORDS}
    parts = [f"{n} {_WORDS[state]}" for state, n in counts.items() if n]
    lines = [f"{count(len(cohort.outcomes), 'section')}: {', '.join(parts)}."]
    failed = cohort.of_state("failed")
    warned = [one for one in cohort.outcomes if one.message and one not in failed]
    for title, some in (("Failed:", failed), ("Notes:", warned)):
        lines += ["", title, *(_indented(one) for one in some)] if some else []
    lines += ["", "Written:", *(f"  {path}" for path in cohort.written)]
    if some := [one for one in cohort.outcomes if one not in failed]:
        lines += [f"  a folder for each section in {output}"]
        folder = shlex.quote(str(output / some[0].folder.name))
        lines += ["", f"See one in napari: spotmix view {folder}"]
    if failed:
        lines += [
            "",
            "Fix the problems above and run the same command again: finished sections are not run again.",
        ]
    return "\n".join(lines)


def _indented(outcome: Outcome) -> str:
    words = outcome.message.replace("\n", "\n    ")
    return f"  {outcome.sample}: {words}"


def _names(outcomes: Sequence[Outcome]) -> str:
    return ", ".join(outcome.sample for outcome in outcomes)
