"""One section, wherever it is run: from an order to an outcome, both of them plain enough for JSON."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from napari_spotmix.base.errors import Cancelled, InputError
from napari_spotmix.base.progress import ProgressCallback, silent
from napari_spotmix.params import Parameters
from napari_spotmix.workflow.cohort.sheet import Section
from napari_spotmix.workflow.recipe import changed_versions, checksums_of, recipe_of
from napari_spotmix.workflow.run import run
from napari_spotmix.workflow.spec import RunSpec

__all__ = [
    "DONE",
    "FAILED",
    "UNCHANGED",
    "Order",
    "Outcome",
    "do_order",
    "is_up_to_date",
    "order_of",
    "spec_of_order",
]

DONE, UNCHANGED, FAILED = "done", "unchanged", "failed"

#: What a worker gets: ``sample``, and ``spec``, a `RunSpec` as JSON.
Order = dict[str, str]


@dataclass(frozen=True)
class Outcome:
    """What became of a section.

    Attributes
    ----------
    sample, condition : str
    folder : Path
        Where its results are.
    state : str
        ``"done"``, ``"unchanged"`` (the same run is done already) or ``"failed"``.
    seconds : float
        That it took.
    message : str
        What went wrong, or what to be aware of; empty if there is nothing to say.
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
        For a section that leaves it open.
    """
    from napari_spotmix.workflow.convert import as_json

    parameters = section.spec.parameters
    parameters = replace(parameters, n_threads=parameters.n_threads or n_threads)
    return {"sample": section.sample, "spec": as_json(replace(section.spec, parameters=parameters))}


def spec_of_order(order: Order) -> RunSpec:
    """Return the run of the section that `order_of` was given, with its number of threads."""
    from napari_spotmix.workflow.convert import from_json

    return from_json(order["spec"])


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
        state, message = _done(spec_of_order(order), on_progress)
    except Cancelled:
        raise
    except InputError as error:
        state, message = FAILED, str(error)
    except Exception as error:  # one section must not end the others
        state, message = FAILED, _unexpected(error)
    return {"state": state, "seconds": round(time.perf_counter() - start, 3), "message": message}


def _unexpected(error: Exception) -> str:
    words = " ".join(str(error).split())[:300]
    return (
        f"{type(error).__name__}: {words}. This is unexpected. Run the section alone to see where it happens."
    )


def _done(spec: RunSpec, on_progress: ProgressCallback) -> tuple[str, str]:
    if is_up_to_date(spec, on_progress=on_progress):
        return UNCHANGED, ""
    learned = run(spec, on_progress=on_progress).result.provenance.learned
    return DONE, _not_converged(learned.violation or 0.0, spec.parameters)


def _not_converged(violation: float, params: Parameters) -> str:
    """Return what the warning says, which is shown only where the section was run."""
    if violation <= params.tolerance:
        return ""
    return f"The solver stopped at {params.max_sweeps} sweeps, before it converged. Raise `max_sweeps`."


def is_up_to_date(spec: RunSpec, *, on_progress: ProgressCallback = silent) -> bool:
    """Whether the output folder holds what the run would give: same inputs, parameters and versions."""
    from napari_spotmix.io import OUTPUTS, check_complete, read_recipe

    folder = spec.output
    if folder is None or not all((folder / name).is_file() for name in OUTPUTS):
        return False
    try:
        check_complete(folder)
        recipe = read_recipe(folder)
    except InputError:
        return False
    wanted = recipe_of(spec, {}, {"given": spec.settings | spec.parameters.as_dict()})
    return (
        all(_settings(recipe, name) == _settings(wanted, name) for name in ("parameters", "reading"))
        and not changed_versions(recipe)
        and _files(recipe.get("inputs", {})) == _files(checksums_of(spec, on_progress=on_progress))
    )


def _settings(recipe: Mapping[str, Any], table: str) -> dict[str, Any]:
    """Return what a recipe holds in a table, except files, which are compared by their checksums."""
    apart = {"n_threads", "image", "coordinates", "labels"}
    return {name: value for name, value in recipe.get(table, {}).items() if name not in apart}


def _files(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was read for each input, wherever it was."""
    return {role: entry["files"] for role, entry in inputs.items()}
