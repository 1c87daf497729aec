"""``recipe.toml``: everything that is needed to reproduce a result, with checksums of its inputs.

========================  ====================================================================
table                     content
========================  ====================================================================
``[inputs.<name>]``       ``path``, absolute, and ``files``: name, bytes and SHA-256 of each file read
``[parameters]``          label column, layer and every parameter that was given
``[reading]``, ...        the other settings of the job that were given, one table each
``[learned]``             what was learned from the data
``[versions]``            of Python, this package and those that compute
``[outputs]``             SHA-256 of the ``proportions.csv`` that was written with it
========================  ====================================================================

The seed is ``parameters.random_state``. The recipe holds no date: the same run writes the same bytes.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from napari_spotmix.base.errors import ReadError
from napari_spotmix.base.progress import Progress, ProgressCallback, silent
from napari_spotmix.base.text import quoted
from napari_spotmix.io.problems import as_read_error, check_is_file
from napari_spotmix.io.readers.detect import detect_with
from napari_spotmix.io.readers.labels import label_files
from napari_spotmix.io.readers.options import DEFAULT, ReadOptions
from napari_spotmix.io.readers.references import reference_files
from napari_spotmix.io.readers.registry import format_of
from napari_spotmix.params import LARGE_FILE

__all__ = ["checksums", "files_read", "input_files", "is_large", "make_recipe", "read_recipe", "write_recipe"]

_CHUNK = 1 << 22


def files_read(path: str | Path, options: ReadOptions = DEFAULT) -> list[Path]:
    """Return every file that `read_spatial` opens for `path`, in a fixed order.

    Raises
    ------
    ReadError
        If the files in a folder are ambiguous or incomplete.
    """
    found = detect_with(path, options)
    entry = format_of(found.kind)
    return [Path(path)] if entry is None else entry.files(found.path, options)


def input_files(role: str, inputs: Mapping[str, str | Path], options: ReadOptions = DEFAULT) -> list[Path]:
    """Return every file that is opened for one of the inputs of a run, in a fixed order.

    Parameters
    ----------
    role : str
        ``labels`` is a table of labels; names that begin with ``reference`` are references; all others are
        spatial data.
    inputs : mapping of str to path
        The paths by role.
    options : ReadOptions
        How spatial data are read.

    Raises
    ------
    ReadError
        As `files_read`.
    """
    path = Path(inputs[role])
    if role == "labels":
        return label_files(path)
    if role.startswith("reference"):
        labels = inputs.get("labels")
        return reference_files(path, None if labels is None else Path(labels))
    return files_read(path, options)


def is_large(path: str | Path, options: ReadOptions = DEFAULT) -> bool:
    """Return whether a file of the counts at `path` is larger than `params.LARGE_FILE`, so best left on disk.

    False if the path cannot be read; `read_spatial` reports why.
    """
    try:
        return any(_size(file) > LARGE_FILE for file in files_read(path, options))
    except ReadError:
        return False


def checksums(
    inputs: Mapping[str, str | Path],
    options: ReadOptions = DEFAULT,
    *,
    on_progress: ProgressCallback = silent,
) -> dict[str, dict[str, Any]]:
    """Return the SHA-256 checksum of every file read for each input.

    Parameters
    ----------
    inputs : mapping of str to path
        The paths by role: ``{"spatial": "outs", "reference": "cells.h5ad"}``; further references are
        ``reference_2`` and so on, a table of labels is ``labels``.
    options : ReadOptions
        How ``spatial`` was read.
    on_progress : callable, optional
        Called after every 4 MB; raises `Cancelled` to stop.

    Returns
    -------
    dict
        For each role ``path``, absolute, and ``files``, a list of ``name`` (inside a folder), ``bytes``,
        ``sha256``.

    Raises
    ------
    ReadError
        If a file cannot be read.
    """
    files = {role: input_files(role, inputs, options if role == "spatial" else DEFAULT) for role in inputs}
    total = sum(_size(file) for chosen in files.values() for file in chosen)
    done = 0

    def advance(size: int) -> None:
        nonlocal done
        done += size
        on_progress(Progress("Computing checksums", done, total))

    return {
        role: {
            # Absolute, so that the run can be repeated from any folder.
            "path": str(Path(inputs[role]).absolute()),
            "files": [_entry(file, Path(inputs[role]), advance) for file in chosen],
        }
        for role, chosen in files.items()
    }


def _size(file: Path) -> int:
    with as_read_error(file, file.name):
        return file.stat().st_size


def _entry(file: Path, given: Path, advance: Any) -> dict[str, Any]:
    digest = hashlib.sha256()
    with as_read_error(given, file.name), file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            advance(len(chunk))
    # Labels that were found automatically may be in the parent folder.
    is_inside = given.is_dir() and file.is_relative_to(given)
    name = file.relative_to(given).as_posix() if is_inside else file.name
    return {"name": name, "bytes": _size(file), "sha256": digest.hexdigest()}


def make_recipe(
    inputs: Mapping[str, Any],
    parameters: Mapping[str, Any],
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Return the content of ``recipe.toml``.

    Parameters
    ----------
    inputs : mapping
        As `checksums` returns it.
    parameters : mapping
        ``Result.parameters``; its ``given``, ``learned`` and ``versions`` are written.
    settings : mapping of str to mapping, optional
        Other settings, by the name of their table. Those of the table ``parameters`` are overridden by
        `parameters`.

    Examples
    --------
    >>> make_recipe({}, {"given": {"alpha": 0.3, "lambda_c": None}})["parameters"]
    {'alpha': 0.3}
    """
    others = {name: _plain(table) for name, table in (settings or {}).items()}
    tables = {
        "inputs": inputs,
        "parameters": others.pop("parameters", {}) | _plain(parameters.get("given", {})),
        **{name: table for name, table in others.items() if table},
        "learned": parameters.get("learned", {}),
        "versions": parameters.get("versions", {}),
    }
    return {name: _plain(table) for name, table in tables.items()}


def _plain(value: Any) -> Any:
    """Return `value` in the types of TOML: tables without None, no NumPy objects, no tuples or paths."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return str(value) if isinstance(value, Path) else value


def write_recipe(recipe: Mapping[str, Any], path: Path) -> None:
    """Write a recipe as TOML, UTF-8, with the same bytes for the same content."""
    path.write_bytes(tomli_w.dumps(dict(recipe)).encode())


def read_recipe(path: str | Path) -> dict[str, Any]:
    """Read a recipe, from its file or the folder of a finished run.

    Raises
    ------
    ReadError
        If the file is missing, is not TOML, or is not structured as a recipe.
    """
    path = Path(path)
    if not path.exists():
        raise ReadError(path, "does not exist. Check the spelling of the path.")
    path = path / "recipe.toml" if path.is_dir() else path
    check_is_file(path)
    with as_read_error(path.parent, path.name):
        recipe = tomllib.loads(path.read_text(encoding="utf-8"))
    if "versions" not in recipe:
        raise ReadError(
            path,
            "is a TOML file but not a recipe of spotmix: the table [versions] is missing. "
            "Choose the recipe.toml of a finished run.",
        )
    if problems := list(_layout_problems(recipe)):
        raise ReadError(path, problems)
    return recipe


def _layout_problems(recipe: Mapping[str, Any]) -> Iterator[str]:
    """Yield the differences in structure between an edited recipe and one of `make_recipe`."""
    advice = "Correct it, or use the recipe as the run wrote it."
    for name in ("inputs", "parameters", "reading", "learned", "versions", "outputs"):
        if not isinstance(recipe.get(name, {}), Mapping):
            yield f"[{name}] must be a table, found {quoted(recipe[name])}. {advice}"
    inputs = recipe.get("inputs", {})
    for name, entry in inputs.items() if isinstance(inputs, Mapping) else ():
        path = entry.get("path") if isinstance(entry, Mapping) else None
        if not isinstance(path, str) or not path:
            yield f"[inputs.{name}] must name a file or folder as `path`, found {quoted(path)}. {advice}"
        elif not _are_files(entry.get("files")):
            yield f"[inputs.{name}] must list its `files`, each with `name` and `sha256`. {advice}"


def _are_files(files: Any) -> bool:
    return isinstance(files, list) and all(
        isinstance(file, Mapping) and all(isinstance(file.get(key), str) for key in ("name", "sha256"))
        for file in files
    )
