"""Run again what a recipe describes, after a check that its inputs are the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from napari_spotmix.base.errors import InputError, ReadError
from napari_spotmix.base.progress import ProgressCallback, silent
from napari_spotmix.base.text import shortened
from napari_spotmix.result import Learned
from napari_spotmix.workflow.recipe import changed_versions, checksums_of, spec_of_recipe
from napari_spotmix.workflow.run import Finished, run
from napari_spotmix.workflow.spec import Location, RunSpec

__all__ = ["Rerun", "plan_rerun"]

#: Letters of a version that are quoted.
_VERSION = 40


@dataclass(frozen=True)
class Rerun:
    """A run whose inputs have been found, unchanged.

    Attributes
    ----------
    spec : RunSpec
    output : Path
        Folder for its results.
    warnings : tuple of str
        Why its result may differ from the first: other versions, changes made by hand.
    sums : mapping
        Checksums of its inputs.
    expected : str or None
        SHA-256 of the first ``proportions.csv``; None if the recipe does not hold it.
    """

    spec: RunSpec
    output: Path
    warnings: tuple[str, ...]
    sums: Mapping[str, Any]
    expected: str | None

    def run(self, *, on_progress: ProgressCallback = silent) -> Finished:
        """Do the run; as `workflow.run.run`."""
        return run(self.spec, sums=self.sums, on_progress=on_progress)

    def is_identical(self) -> bool | None:
        """Whether ``proportions.csv`` is that of the first run, byte for byte; None if unknown."""
        from napari_spotmix.io import read_recipe

        found = read_recipe(self.output).get("outputs", {}).get("proportions_sha256")
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
        Folder for the results; by default one next to the recipe's folder, with ``-rerun`` added to its name.
    inputs : path, optional
        Folder that the inputs have been moved to, with or without the folders that they were in.
    n_threads : int, optional
        0 uses every core. The result does not depend on it.
    on_progress : callable, optional
        Called while checksums are computed.

    Raises
    ------
    ReadError
        Everything that is wrong with the recipe, and each file that is missing or has changed.
    """
    from napari_spotmix.io import read_recipe

    path = Path(path)
    recipe = read_recipe(path)
    folder = Path(output) if output is not None else _next_to(path)
    try:
        spec = spec_of_recipe(recipe, folder)
    except InputError as error:
        raise ReadError(path, error.problems) from error
    if inputs is not None:
        spec = spec.with_inputs({role: _found_in(Path(inputs), given) for role, given in spec.inputs.items()})
    spec = replace(spec, parameters=replace(spec.parameters, n_threads=n_threads))
    sums = _unchanged(spec, recipe["inputs"], on_progress)
    expected = recipe.get("outputs", {}).get("proportions_sha256")
    return Rerun(spec, folder, tuple(_warnings(recipe)), sums, expected)


def _next_to(path: Path) -> Path:
    folder = (path if path.is_dir() else path.parent).resolve()
    return folder.with_name(f"{folder.name}-rerun")


def _found_in(folder: Path, given: Location) -> Location:
    """Return an input as it is in a folder, with as many of its last folders as are there; a URL as it is."""
    if not isinstance(given, Path):
        return given
    parts = given.parts[1:] if given.is_absolute() else given.parts
    paths = [folder.joinpath(*parts[at:]) for at in range(len(parts))]
    return next((path for path in paths if path.exists()), paths[-1])


def _unchanged(
    spec: RunSpec, expected: Mapping[str, Any], on_progress: ProgressCallback
) -> dict[str, dict[str, Any]]:
    """Return the checksums of the inputs; refuse them if they are not those of the recipe."""
    missing = [
        f"`{role}`: the run read {path}, which is missing. If it was moved, give its present folder as "
        "`inputs`."
        for role, path in spec.inputs.items()
        if isinstance(path, Path) and not path.exists()
    ]
    if missing:
        raise InputError(missing)
    sums = checksums_of(spec, on_progress=on_progress)
    problems = [
        problem
        for role in expected
        for problem in _changes(role, Path(sums[role]["path"]), expected[role], sums[role])
    ]
    if problems:
        raise InputError(problems)
    return sums


def _changes(role: str, path: Path, expected: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    """Say which files of an input have changed, and how."""
    before, now = (_by_name(path, table) for table in (expected, found))
    advice = "Restore the files of the run, or run again with `spotmix run`."
    for name in sorted(before.keys() | now.keys()):
        file = path / name if path.is_dir() else path
        old, new = before.get(name), now.get(name)
        if old is None:
            yield f"`{role}`: {file} did not exist at the time of the run. {advice}"
        elif new is None:
            yield f"`{role}`: the run read {file}, which is missing. {advice}"
        elif old != new:
            yield (
                f"`{role}`: {file} has changed since the run: "
                f"expected SHA-256 {old[:12]}…, found {new[:12]}…. {advice}"
            )


def _by_name(path: Path, table: Mapping[str, Any]) -> dict[str, str]:
    """Return the checksums by name; a file that is alone may have another name now."""
    files = table["files"]
    is_alone = path.is_file() and len(files) == 1
    return {"" if is_alone else one["name"]: one["sha256"] for one in files}


def _warnings(recipe: Mapping[str, Any]) -> Iterator[str]:
    changed = changed_versions(recipe).items()
    known = ((name, shortened(str(then), _VERSION), now) for name, (then, now) in changed)
    others = ", ".join(f"{name} {then} (now {now})" for name, then, now in known)
    if others:
        yield shortened(f"Versions differ from those of the first run, so numbers may too: {others}.")
    if Learned.from_dict(recipe.get("learned")).refit is not None:
        yield "The first result was adjusted in napari after its run; this is the run before the adjustment."
