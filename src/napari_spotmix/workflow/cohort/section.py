"""One section, wherever it is run: from an order to an outcome, both of them plain enough for JSON."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from napari_spotmix.base.errors import Cancelled, InputError
from napari_spotmix.base.progress import ProgressCallback, silent
from napari_spotmix.params import Parameters
from napari_spotmix.workflow.cohort.sheet import Section, job_of_values
from napari_spotmix.workflow.job import Job, changed_versions, run_job, sums_of, tables_of

__all__ = [
    "DONE",
    "FAILED",
    "UNCHANGED",
    "Order",
    "Outcome",
    "do_order",
    "is_up_to_date",
    "job_of_order",
    "order_of",
]

DONE, UNCHANGED, FAILED = "done", "unchanged", "failed"

#: What a worker is told: ``sample``, ``values``, those of a `Job` by name, and ``output``.
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
    return {"sample": section.sample, "values": _plain(values), "output": str(job.output)}


def _plain(value: Any) -> Any:
    """Return a value as JSON holds it; a path is told from a URL, which is a text."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return {"path": str(value)} if isinstance(value, Path) else value


def _restored(value: Any) -> Any:
    if isinstance(value, dict):
        return Path(value["path"])
    return tuple(map(_restored, value)) if isinstance(value, list) else value


def job_of_order(order: Order) -> Job:
    """Return the job that `order_of` was given, with its number of threads."""
    values = {name: _restored(value) for name, value in order["values"].items()}
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
        state, message = _done(job_of_order(order), on_progress)
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
    if is_up_to_date(job, on_progress=on_progress):
        return UNCHANGED, ""
    learned = run_job(job, on_progress=on_progress).result.provenance.learned
    return DONE, _not_converged(learned.violation or 0.0, Parameters(**job.parameters))


def _not_converged(violation: float, params: Parameters) -> str:
    """Say what the warning says, which is told where the section was run."""
    if violation <= params.tolerance:
        return ""
    return f"The solver stopped at {params.max_sweeps} sweeps, before it was done. Raise `max_sweeps`."


def is_up_to_date(job: Job, *, on_progress: ProgressCallback = silent) -> bool:
    """Tell whether a folder holds what the job would give: the same inputs, parameters and versions."""
    from napari_spotmix.io import OUTPUTS, check_whole, make_recipe, read_recipe

    if not all((job.output / name).is_file() for name in OUTPUTS):
        return False
    try:
        check_whole(job.output)
        recipe = read_recipe(job.output)
    except InputError:
        return False
    given = {"given": job.settings | Parameters(**job.parameters).as_dict()}
    wanted = make_recipe({}, given, tables_of(job))
    return (
        all(_settings(recipe, name) == _settings(wanted, name) for name in ("parameters", "reading"))
        and not changed_versions(recipe)
        and _files(recipe.get("inputs", {})) == _files(sums_of(job, on_progress=on_progress))
    )


def _settings(recipe: Mapping[str, Any], table: str) -> dict[str, Any]:
    """Return what a recipe holds in a table; the files in it are told by their checksums."""
    apart = {"n_threads", "image", "coordinates", "labels"}
    return {name: value for name, value in recipe.get(table, {}).items() if name not in apart}


def _files(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was read for each input, wherever it was."""
    return {role: entry["files"] for role, entry in inputs.items()}
