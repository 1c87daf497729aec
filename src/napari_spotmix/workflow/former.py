"""Runs as scripts of earlier versions describe them: ``napari_spotmix.job``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from napari_spotmix.base.progress import ProgressCallback, silent
from napari_spotmix.params import Parameters, current_names
from napari_spotmix.workflow.run import Finished, run
from napari_spotmix.workflow.spec import Location, RunSpec

__all__ = ["Finished", "Job", "run_job"]


def Job(
    spatial: Location,
    reference: Location,
    output: Path,
    *,
    parameters: Mapping[str, Any] | None = None,
    reading: Any = None,
    mend: Sequence[str] = (),
    **settings: Any,
) -> RunSpec:
    """Return the run that an earlier version called a job.

    Parameters
    ----------
    spatial, reference : Path or str
    output : Path
        Folder for the results.
    parameters : mapping, optional
        Fields of `Parameters` that differ from their defaults, by names of today or before.
    reading : ReadOptions, optional
        How the spots are read.
    mend : sequence of str, optional
        Fixes.
    **settings
        Other fields of `RunSpec`, by names of today or before.

    Examples
    --------
    >>> files = Path("outs"), Path("cells.h5ad"), Path("out")
    >>> job = Job(*files, parameters={"n_epochs": 2}, sample_key="slice")
    >>> job.parameters.n_outer_iterations, job.library_key
    (2, 'slice')
    """
    options = {} if reading is None else vars(reading)
    fix = tuple(mend) or tuple(settings.pop("fix", ()))
    return RunSpec(
        spatial,
        reference,
        output,
        parameters=Parameters(**current_names(parameters or {})),
        fix=fix,
        **options,
        **current_names(settings),
    )


def run_job(job: RunSpec, *, on_progress: ProgressCallback = silent) -> Finished:
    """Run what `Job` describes, as `workflow.run.run`."""
    return run(job, on_progress=on_progress)
