"""Niches and colocalization of a result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_spotmix.analysis.neighborhoods import Colocalization, Niches, colocalization, niches
from napari_spotmix.base.progress import Progress
from napari_spotmix.base.threads import Threads

if TYPE_CHECKING:
    from napari_spotmix.base.progress import ProgressCallback, Task
    from napari_spotmix.result import Result

__all__ = [
    "Whole",
    "tissue_task",
]


@dataclass(frozen=True)
class Whole:
    """What was found of a result as a whole."""

    colocalization: Colocalization
    niches: Niches


def tissue_task(result: Result, n_niches: int) -> Task:
    """Return the task that looks at the whole tissue."""

    def task(on_progress: ProgressCallback) -> Whole:
        values = result.proportions.to_numpy()
        edges = result.links
        seed = result.provenance.random_state
        together = colocalization(
            values, edges, on_block=lambda _: on_progress(Progress("Comparing neighbors", 0, 2))
        )
        with Threads.of(0) as threads:
            found = niches(
                values,
                edges,
                n_niches,
                random_state=int(seed),
                threads=threads,
                on_block=lambda _: on_progress(Progress("Finding niches", 1, 2)),
            )
        return Whole(together, found)

    return task
