"""Many sections, each a run of its own, and what they have in common.

A samplesheet names the files of each section; several sections run at once, here or on a Dask cluster. Each
has a folder of its own, next to one table and one page of all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_spotmix.base.cores import available_cores
from napari_spotmix.base.progress import Progress, ProgressCallback, silent
from napari_spotmix.model.compilation import compiled
from napari_spotmix.workflow.cohort.section import DONE, FAILED, UNCHANGED, Outcome, order_of
from napari_spotmix.workflow.cohort.sheet import COLUMNS, Section, is_samplesheet, read_samplesheet

__all__ = [
    "COLUMNS",
    "DONE",
    "FAILED",
    "UNCHANGED",
    "Cohort",
    "Outcome",
    "Section",
    "is_samplesheet",
    "read_samplesheet",
    "run_cohort",
]

#: Called with the sample, and its progress or its outcome.
SectionCallback = Callable[[str, Progress | Outcome], None]


@dataclass(frozen=True)
class Cohort:
    """The outcomes of the sections, and the files of all of them together."""

    outcomes: list[Outcome]
    written: list[Path]

    def of_state(self, state: str) -> list[Outcome]:
        """Return the outcomes of one state, in the order of the samplesheet."""
        return [outcome for outcome in self.outcomes if outcome.state == state]


def _say_nothing(_: str, __: Progress | Outcome) -> None:
    pass


def run_cohort(
    sections: Sequence[Section],
    output: str | Path,
    *,
    at_once: int = 0,
    dask: str | None = None,
    on_section: SectionCallback = _say_nothing,
    on_progress: ProgressCallback = silent,
) -> Cohort:
    """Run every section whose folder does not hold the same run already, and join what is finished.

    Parameters
    ----------
    sections : sequence of Section
        As `read_samplesheet` returns them. Spots of different sections are never linked, and each section
        has its own platform effect.
    output : path
        Folder for the tables and the page of all sections.
    at_once : int, optional
        Sections at once on this machine; 0 chooses by cores and memory. Results do not depend on it.
    dask : str, optional
        Address of a Dask scheduler, whose workers run the sections instead.
    on_section : callable, optional
        Called with the sample and its `Progress`, and in the end its `Outcome`.
    on_progress : callable, optional
        Called several times a second; cancels all sections by raising `Cancelled`. What is finished stays.

    Returns
    -------
    Cohort
        A section that failed is an outcome too, and does not stop the others.

    Raises
    ------
    InputError
        If no cluster answers, or `output` cannot be written to.
    Cancelled
        If `on_progress` raised it.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run_cohort([], folder).outcomes
    []
    """
    from napari_spotmix.io import check_writable
    from napari_spotmix.workflow.cohort.joint import write_joint

    output = Path(output)
    check_writable(output)
    outcomes: dict[str, Outcome] = {}
    by_sample = {section.sample: section for section in sections}

    def listen(sample: str, message: Mapping[str, Any]) -> None:
        if (outcome := message.get("outcome")) is not None:
            outcomes[sample] = _seen_here(_outcome(by_sample[sample], outcome))
            on_section(sample, outcomes[sample])
        else:
            on_section(sample, Progress(*message["progress"]))

    def tick() -> None:
        on_progress(Progress("Running sections", len(outcomes), len(sections)))

    _run(sections, listen, tick, at_once=at_once, dask=dask)
    in_order = [outcomes[section.sample] for section in sections]
    return Cohort(in_order, write_joint(in_order, output, on_progress=on_progress))


def _run(
    sections: Sequence[Section], listen: Any, tick: Callable[[], None], *, at_once: int, dask: str | None
) -> None:
    if dask is not None:
        from napari_spotmix.workflow.cohort.cluster import run_on_cluster

        # A worker gets as many sections at once as it has threads.
        run_on_cluster(dask, [order_of(section, 1) for section in sections], listen, tick)
        return
    from napari_spotmix.workflow.cohort.local import how_many_at_once, run_here

    compiled(lambda _: tick())  # once, not by each process
    at_once = at_once or how_many_at_once([order_of(section, 1) for section in sections])
    n_threads = max(1, available_cores() // max(1, min(at_once, len(sections))))
    run_here([order_of(section, n_threads) for section in sections], listen, tick, at_once=at_once)


def _outcome(section: Section, values: Mapping[str, Any]) -> Outcome:
    return Outcome(section.sample, section.condition, section.folder, **values)


def _seen_here(outcome: Outcome) -> Outcome:
    """Return the outcome, failed if a worker has written to a folder that this machine does not have."""
    if outcome.state == FAILED or (outcome.folder / "recipe.toml").is_file():
        return outcome
    words = (
        f"the worker has written to {outcome.folder}, which is not found on this machine. "
        "Give an output folder that all workers share."
    )
    return Outcome(outcome.sample, outcome.condition, outcome.folder, FAILED, outcome.seconds, words)
