"""Run again what a recipe tells, once it is sure that its inputs are the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, cast

from napari_spotmix.base.errors import InputError, ReadError
from napari_spotmix.base.progress import ProgressCallback, silent
from napari_spotmix.result import Learned
from napari_spotmix.workflow.job import Finished, Job, changed_versions, job_of, run_job, sums_of

__all__ = ["Rerun", "plan_rerun"]


@dataclass(frozen=True)
class Rerun:
    """A job whose inputs have been found, and found unchanged.

    Attributes
    ----------
    job : Job
    warnings : tuple of str
        Why its result may differ from the first: other versions, changes made by hand.
    sums : mapping
        Checksums of its inputs.
    expected : str or None
        SHA-256 of the first ``proportions.csv``; None where the recipe does not hold it.
    """

    job: Job
    warnings: tuple[str, ...]
    sums: Mapping[str, Any]
    expected: str | None

    def run(self, *, on_progress: ProgressCallback = silent) -> Finished:
        """Do the job; as `run_job`."""
        return run_job(self.job, sums=self.sums, on_progress=on_progress)

    def is_identical(self) -> bool | None:
        """Tell whether ``proportions.csv`` is that of the first run, byte for byte; None if unknown."""
        from napari_spotmix.io import read_recipe

        found = read_recipe(self.job.output).get("outputs", {}).get("proportions_sha256")
        return None if self.expected is None else bool(found == self.expected)


def plan_rerun(
    path: str | Path,
    *,
    output: str | Path | None = None,
    inputs: str | Path | None = None,
    n_threads: int = 0,
    on_progress: ProgressCallback = silent,
) -> Rerun:
    """Read a recipe, find its inputs and check that every file of them is the same as it was.

    Parameters
    ----------
    path : path
        A ``recipe.toml``, or the folder of a run.
    output : path, optional
        Folder for the results; by default one beside the recipe's folder, with ``-rerun`` added to its name.
    inputs : path, optional
        Folder that the inputs have been moved to, with or without the folders that they were in.
    n_threads : int, optional
        0 uses every core. The result does not depend on it.
    on_progress : callable, optional
        Told while checksums are taken.

    Raises
    ------
    ReadError
        All that is wrong with the recipe, and each file that is missing or has changed.
    """
    from napari_spotmix.io import read_recipe

    path = Path(path)
    recipe = read_recipe(path)
    try:
        job = job_of(recipe, Path(output) if output is not None else _beside(path))
    except InputError as error:
        raise ReadError(path, error.problems) from error
    job = replace(_moved(job, inputs), parameters={**job.parameters, "n_threads": n_threads})
    sums = _unchanged(job, recipe["inputs"], on_progress)
    return Rerun(job, tuple(_warnings(recipe)), sums, recipe.get("outputs", {}).get("proportions_sha256"))


def _beside(path: Path) -> Path:
    folder = (path if path.is_dir() else path.parent).resolve()
    return folder.with_name(f"{folder.name}-rerun")


def _moved(job: Job, folder: str | Path | None) -> Job:
    if folder is None:
        return job
    return cast(Job, replace(_relocated(job, Path(folder)), output=job.output))


def _relocated(settings: Any, folder: Path) -> Any:
    """Return a dataclass with every path in it looked for in a folder, those of its dataclasses too."""
    changed: dict[str, Any] = {}
    for item in fields(settings):
        value = getattr(settings, item.name)
        if isinstance(value, Path):
            changed[item.name] = _found_in(folder, value)
        elif isinstance(value, tuple) and all(isinstance(one, Path) for one in value):
            changed[item.name] = tuple(_found_in(folder, one) for one in value)
        elif is_dataclass(value):
            changed[item.name] = _relocated(value, folder)
    return replace(settings, **changed)


def _found_in(folder: Path, path: Path) -> Path:
    """Return where an input lies in a folder, by as many of its last folders as it has there."""
    parts = path.parts[1:] if path.is_absolute() else path.parts
    places = [folder.joinpath(*parts[at:]) for at in range(len(parts))]
    return next((place for place in places if place.exists()), places[-1])


def _unchanged(
    job: Job, expected: Mapping[str, Any], on_progress: ProgressCallback
) -> dict[str, dict[str, Any]]:
    """Return the checksums of the inputs; refuse them where they are not those of the recipe."""
    missing = [
        f"`{role}`: {path} is missing, which the run has read. "
        "If it was moved, give the folder that it lies in now as `inputs`."
        for role, path in job.inputs.items()
        if isinstance(path, Path) and not path.exists()
    ]
    if missing:
        raise InputError(missing)
    sums = sums_of(job, on_progress=on_progress)
    problems = [
        problem
        for role in expected
        for problem in _changes(role, Path(sums[role]["path"]), expected[role], sums[role])
    ]
    if problems:
        raise InputError(problems)
    return sums


def _changes(role: str, path: Path, expected: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    """Say of each file of an input what has become of it."""
    before, now = (_by_name(path, table) for table in (expected, found))
    advice = "Restore what the run has read, or run anew with `spotmix run`."
    for name in sorted(before.keys() | now.keys()):
        place = path / name if path.is_dir() else path
        old, new = before.get(name), now.get(name)
        if old is None:
            yield f"`{role}`: {place} was not there at the run. {advice}"
        elif new is None:
            yield f"`{role}`: {place} is missing, which the run has read. {advice}"
        elif old != new:
            yield (
                f"`{role}`: {place} has changed since the run: "
                f"expected SHA-256 {old[:12]}…, found {new[:12]}…. {advice}"
            )


def _by_name(path: Path, table: Mapping[str, Any]) -> dict[str, str]:
    """Return the checksums by name; a file that stands alone may be called otherwise now."""
    files = table["files"]
    is_alone = path.is_file() and len(files) == 1
    return {"" if is_alone else file["name"]: file["sha256"] for file in files}


def _warnings(recipe: Mapping[str, Any]) -> Iterator[str]:
    others = [f"{name} {then} (now {now})" for name, (then, now) in changed_versions(recipe).items()]
    if others:
        yield f"Versions differ from those of the first run, so numbers may too: {', '.join(others)}."
    if Learned.from_dict(recipe.get("learned")).refit is not None:
        yield "The first result was adjusted in napari after its run; this is the run as it was before."
