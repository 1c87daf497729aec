"""One section, wherever it is run: from an order to an outcome, both of them plain enough for JSON."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from napari_spotmix.cohort.sheet import Section, job_of_values
from napari_spotmix.errors import Cancelled, InputError
from napari_spotmix.job import Job, checksums_of, fetched_job, run_job
from napari_spotmix.params import Parameters, describe
from napari_spotmix.progress import ProgressCallback, silent

__all__ = ["DONE", "FAILED", "UNCHANGED", "Order", "Outcome", "do_order", "is_up_to_date", "order_of"]

DONE, UNCHANGED, FAILED = "done", "unchanged", "failed"

#: What a worker is told: ``sample``, and ``job``, the values of a `Job` by name with paths as texts.
Order = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What became of a section.

    Attributes
    ----------
    sample, condition : str
    folder : Path
        Where its results are.
    state : str
        ``"done"``, ``"unchanged"`` (the same run was there already) or ``"failed"``.
    seconds : float
        That it took.
    message : str
        What went wrong, or what to be aware of; empty where there is nothing to say.
    """

    sample: str
    condition: str
    folder: Path
    state: str
    seconds: float
    message: str


def order_of(section: Section, n_threads: int) -> Order:
    """Return what a worker needs to know of a section.

    Parameters
    ----------
    section : Section
    n_threads : int
        For a section that does not say it itself.
    """
    job = section.job
    values: dict[str, Any] = {"n_threads": n_threads}
    values |= {name: value for name, value in job.parameters.items() if name != "n_threads" or value}
    for item in fields(Job):
        if item.name not in ("output", "parameters"):
            value = getattr(job, item.name)
            values |= (
                asdict(value) if is_dataclass(value) and not isinstance(value, type) else {item.name: value}
            )
    paths = sorted(name for name, value in values.items() if isinstance(value, Path))
    plain = {name: str(value) if name in paths else value for name, value in values.items()}
    return {"sample": section.sample, "values": plain, "paths": paths, "output": str(job.output)}


def _job_of(order: Order) -> Job:
    values = {
        name: Path(value) if name in order["paths"] else value for name, value in order["values"].items()
    }
    return job_of_values(values, Path(order["output"]))


def do_order(order: Order, *, on_progress: ProgressCallback = silent) -> dict[str, Any]:
    """Run a section, unless its folder holds the same run already; errors are an outcome too.

    Returns
    -------
    dict
        ``state``, ``seconds`` and ``message``, as in `Outcome`.

    Raises
    ------
    Cancelled
        If `on_progress` raised it.
    """
    start = time.perf_counter()
    try:
        state, message = _done(_job_of(order), on_progress)
    except Cancelled:
        raise
    except InputError as error:
        state, message = FAILED, str(error)
    except Exception as error:  # one section must not end the others
        state, message = FAILED, _unexpected(error)
    return {"state": state, "seconds": round(time.perf_counter() - start, 3), "message": message}


def _unexpected(error: Exception) -> str:
    words = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {words}. This was not expected. Run the section alone to see where."


def _done(job: Job, on_progress: ProgressCallback) -> tuple[str, str]:
    here = fetched_job(job, on_progress=on_progress)
    if is_up_to_date(job, here, on_progress=on_progress):
        return UNCHANGED, ""
    learned = run_job(job, on_progress=on_progress).result.parameters["learned"]
    return DONE, _not_converged(learned["violation"], Parameters(**job.parameters))


def _not_converged(violation: float, params: Parameters) -> str:
    """Say what the warning says, which is told where the section was run."""
    if violation <= params.tolerance:
        return ""
    return f"The solver stopped at {params.max_sweeps} sweeps, before it was done. Raise `max_sweeps`."


def is_up_to_date(job: Job, here: Job, *, on_progress: ProgressCallback = silent) -> bool:
    """Tell whether a folder holds what the job would give: the same inputs, parameters and versions.

    Parameters
    ----------
    job, here : Job
        The job, and the same with files of this machine (see `fetched_job`).
    """
    from napari_spotmix.io import OUTPUTS, read_recipe

    if not all((job.output / name).is_file() for name in OUTPUTS):
        return False
    try:
        recipe = read_recipe(job.output)
    except InputError:
        return False
    return (
        _parameters_of(recipe) == _wanted(job)
        and _is_read_alike(recipe, job)
        and all(_installed(name) == then for name, then in recipe["versions"].items())
        and _files(recipe.get("inputs", {})) == _files(checksums_of(job, here, on_progress=on_progress))
    )


def _is_read_alike(recipe: Mapping[str, Any], job: Job) -> bool:
    """Tell whether a recipe that says how files were read says the same; an image is told by its checksum."""
    told = {name: value for name, value in recipe.get("reading", {}).items() if name != "image"}
    return all(getattr(job.reading, name, None) == value for name, value in told.items())


def _wanted(job: Job) -> dict[str, Any]:
    """Return every parameter that a recipe of this job would hold."""
    values = job.settings | Parameters(**job.parameters).as_dict()
    return {name: value for name, value in values.items() if value is not None and name != "n_threads"}


def _parameters_of(recipe: Mapping[str, Any]) -> dict[str, Any]:
    known = {"cell_type_key", "layer", "sample_key", *(info.name for info in describe())}
    return {name: value for name, value in recipe.get("parameters", {}).items() if name in known}


def _files(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was read for each input, wherever it was."""
    return {role: entry["files"] for role, entry in inputs.items()}


def _installed(name: str) -> str:
    try:
        return platform.python_version() if name == "python" else version(name)
    except PackageNotFoundError:
        return ""
