"""``recipe.toml`` and the run that it describes."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import fields
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from napari_spotmix.base.errors import InputError, attempted
from napari_spotmix.base.progress import ProgressCallback, silent
from napari_spotmix.base.urls import url_problem
from napari_spotmix.params import current_names
from napari_spotmix.workflow.spec import RunSpec, is_further_reference, location_of

__all__ = ["changed_versions", "checksums_of", "fetched_spec", "recipe_of", "spec_of_recipe"]

#: Fields that are in the table [parameters] of a recipe; those of the model are there too.
_SETTINGS = ("cell_type_key", "layer", "library_key", "fix")
#: Roles that a recipe may hold.
_ROLES = ("spatial", "reference", "image", "coordinates", "labels")


def fetched_spec(spec: RunSpec, *, on_progress: ProgressCallback = silent) -> RunSpec:
    """Return the same run with every URL replaced by a copy on this machine.

    Raises
    ------
    InputError
        All that keeps files from being fetched, and results from being written.
    """
    from napari_spotmix.io import fetched, is_url, output_problems

    urls = {role: str(given) for role, given in spec.inputs.items() if is_url(given)}
    if not urls:
        return spec
    # Before the long wait.
    problems = [] if spec.output is None else list(output_problems(spec.output))
    problems += [f"`{role}`: {problem}" for role, url in urls.items() if (problem := url_problem(url))]
    if problems:
        raise InputError(problems)
    fetch = partial(fetched, on_progress=on_progress)
    copies = {role: attempted(problems, partial(fetch, url)) for role, url in urls.items()}
    if problems:
        raise InputError(problems)
    return spec.with_inputs({role: copy for role, copy in copies.items() if copy is not None})


def checksums_of(spec: RunSpec, *, on_progress: ProgressCallback = silent) -> dict[str, dict[str, Any]]:
    """Return the checksums of every file that a run reads, as `io.checksums`; of copies, by their URLs."""
    from napari_spotmix.io import checksums, is_url, shown_url

    here = fetched_spec(spec, on_progress=on_progress)
    paths = {role: Path(path) for role, path in here.inputs.items()}
    sums = checksums(paths, here.reading, on_progress=on_progress)
    for role, given in spec.inputs.items():
        if is_url(given):
            sums[role]["path"] = shown_url(str(given))
    return sums


def recipe_of(spec: RunSpec, sums: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recipe of a run; `spec_of_recipe` reads it.

    Parameters
    ----------
    spec : RunSpec
    sums : mapping
        As `checksums_of` returns it.
    parameters : mapping
        ``Result.parameters``.

    Examples
    --------
    >>> recipe_of(RunSpec(layer="raw"), {}, {"given": {"lambda_c": 0.3}})["parameters"]
    {'cell_type_key': 'cell_type', 'layer': 'raw', 'lambda_c': 0.3}
    """
    from napari_spotmix.io import make_recipe

    names = [name for name in _SETTINGS if getattr(spec, name) != ()]
    reading = {item.name: _absolute(getattr(spec, item.name)) for item in fields(spec.reading)}
    return make_recipe(
        sums, parameters, {"parameters": {name: getattr(spec, name) for name in names}, "reading": reading}
    )


def _absolute(value: Any) -> Any:
    """Return a path as it is found from anywhere, and a URL without its password."""
    from napari_spotmix.io import is_url, shown_url

    if is_url(value):
        return shown_url(value)
    return value.absolute() if isinstance(value, Path) else value


def spec_of_recipe(recipe: Mapping[str, Any], output: Path | None) -> RunSpec:
    """Return the run that a recipe was made of, with another output.

    Parameters
    ----------
    recipe : mapping
        As `read_recipe` returns it; those of before, with other names, too.
    output : Path or None
        Folder for the results.

    Raises
    ------
    InputError
        If an input was not a file, a value does not fit its field, or the recipe holds what this version does
        not know; all of it.

    Examples
    --------
    >>> inputs = {"spatial": {"path": "/data/outs"}, "reference": {"path": "/data/cells.h5ad"}}
    >>> spec = spec_of_recipe({"inputs": inputs, "parameters": {"layer": "raw", "n_epochs": 2}}, None)
    >>> spec.layer, spec.parameters.n_outer_iterations
    ('raw', 2)
    """
    from napari_spotmix.workflow.convert import structured, tables_converter

    inputs, reading = recipe.get("inputs", {}), recipe.get("reading", {})
    given = current_names(recipe.get("parameters", {}))
    model = {name: value for name, value in given.items() if name not in _SETTINGS}
    own = {name: value for name, value in given.items() if name in _SETTINGS}
    spec, misfits = structured(tables_converter(), {**own, **reading, "parameters": model})
    options = {item.name for item in fields(spec.reading)}
    unknown = [name for name in reading if name not in options]
    unknown += [role for role in inputs if role not in _ROLES and not is_further_reference(role)]
    unknown += [misfit.name for misfit in misfits if not misfit.text and misfit.name not in unknown]
    problems = [
        f"The recipe names no file for `{role}`: it was simulated or in memory, and cannot be read again."
        for role in ("spatial", "reference")
        if role not in inputs
    ]
    for misfit in misfits:
        if misfit.text:
            table = "reading" if misfit.name in reading else "parameters"
            problems.append(f"In [{table}], `{misfit.name}` {misfit.text}")
    problems += [
        f"The recipe holds `{name}`, which this version does not know. Update with "
        "`pip install --upgrade napari-spotmix`."
        for name in sorted(unknown)
    ]
    if problems:
        raise InputError(problems)
    known = {role: location_of(entry["path"]) for role, entry in inputs.items()}
    return RunSpec(**{**vars(spec), "output": output}).with_inputs(known)


def changed_versions(recipe: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return what has another version now than in a recipe: the version then, and the one now.

    Examples
    --------
    >>> list(changed_versions({"versions": {"numpy": "0.1"}}))
    ['numpy']
    """
    now = {name: _version_of(name) for name in recipe["versions"]}
    return {name: (then, now[name]) for name, then in recipe["versions"].items() if now[name] != then}


def _version_of(name: str) -> str:
    try:
        return platform.python_version() if name == "python" else version(name)
    except PackageNotFoundError:
        return "not installed"
