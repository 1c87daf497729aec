"""A run as others would type it: as a command, and as Python."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from napari_spotmix.base.errors import InputError
from napari_spotmix.params import option_name
from napari_spotmix.workflow.spec import Location, RunSpec, changed

__all__ = ["as_command", "as_python"]

#: Fields of a run that stand at fixed positions in what is typed.
_APART = ("spatial", "reference", "output", "parameters")
#: Folder for the results of a command, for a run without one.
_OUTPUT = Path("spotmix-results")


def as_command(spec: RunSpec) -> str:
    """Return the `spotmix run` of a run, quoted for the shell.

    What is at its default is left out, so what is learned from the data is learned again.

    Raises
    ------
    InputError
        If the data are not files.

    Examples
    --------
    >>> from napari_spotmix import Parameters
    >>> files = Path("/my data/outs"), Path("/cells.h5ad"), Path("/out")
    >>> print(as_command(RunSpec(*files, parameters=Parameters(lambda_c=0.3))))
    spotmix run '/my data/outs' /cells.h5ad --output /out --lambda-c 0.3
    """
    words = ["spotmix", "run", *map(_text, _files(spec))]
    words += _option("output", str(spec.output or _OUTPUT))
    for name, value in (_own(spec) | changed(spec.parameters)).items():
        words += _option(name, value)
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def as_python(spec: RunSpec) -> str:
    """Return Python that does a run, except for writing; `result` holds what comes out.

    Raises
    ------
    InputError
        If the data are not files.

    Examples
    --------
    >>> from napari_spotmix import Parameters
    >>> spec = RunSpec(Path("/outs"), Path("/cells.h5ad"), parameters=Parameters(lambda_c=0.3))
    >>> print(as_python(spec))
    from napari_spotmix import deconvolve, read_reference, read_spatial
    <BLANKLINE>
    spatial = read_spatial('/outs')
    reference = read_reference('/cells.h5ad', cell_type_key='cell_type')
    result = deconvolve(spatial, reference, cell_type_key='cell_type', lambda_c=0.3)
    print(result.proportions.mean())
    """
    spatial, _ = _files(spec)
    key = {"cell_type_key": spec.cell_type_key}
    labels = {} if spec.labels is None else {"labels": spec.labels}
    settings = {name: value for name, value in spec.settings.items() if value is not None}
    fixing = _keywords({"fixes": list(spec.fix), **key})
    lines = [
        "from napari_spotmix import deconvolve, read_reference, read_spatial",
        *(["from napari_spotmix.dataset.fixes import apply_fixes"] if spec.fix else []),
        "",
        f"spatial = {_call('read_spatial', [spatial], **_reading(spec), **_backed(spatial))}",
        f"reference = {_call('read_reference', spec.references, **key, **labels)}",
        *([f"spatial, reference = apply_fixes(spatial, reference, {fixing})"] if spec.fix else []),
        f"result = deconvolve(spatial, reference, {_keywords(settings | changed(spec.parameters))})",
        "print(result.proportions.mean())",
    ]
    return "\n".join(lines)


def _files(spec: RunSpec) -> tuple[Location, Location]:
    if spec.spatial is None or spec.reference is None:
        data = "The spots were" if spec.spatial is None else "The reference was"
        raise InputError(
            f"{data} simulated or given in memory, so no command can read them. "
            "Write them to files, open those, and run again."
        )
    return spec.spatial, spec.reference


def _own(spec: RunSpec) -> dict[str, Any]:
    """Return the fields of a run that are not at their defaults, except those that every command names."""
    return {name: value for name, value in changed(spec).items() if name not in _APART}


def _reading(spec: RunSpec) -> dict[str, Any]:
    names = {item.name for item in fields(spec.reading)}
    return {name: value for name, value in _own(spec).items() if name in names}


def _backed(path: Location) -> dict[str, bool]:
    from napari_spotmix.io import is_large

    return {"backed": True} if isinstance(path, Path) and path.exists() and is_large(path) else {}


def _option(name: str, value: Any) -> Iterator[str]:
    option = option_name(name)
    if isinstance(value, bool):
        yield option if value else option.replace("--", "--no-", 1)
        return
    values = list(map(_text, value if isinstance(value, tuple) else [value]))
    # A value may begin with "-", which would be taken for an option.
    yield from (
        [f"{option}={values[0]}"] if len(values) == 1 and values[0].startswith("-") else [option, *values]
    )


def _text(value: Any) -> str:
    """Return a value as it is typed; a path as it is found from anywhere."""
    return str(value.absolute() if isinstance(value, Path) else value)


def _call(function: str, files: Sequence[Location], **keywords: Any) -> str:
    paths = list(map(_text, files))
    given = f", {_keywords(keywords)}" if keywords else ""
    return f"{function}({(paths[0] if len(paths) == 1 else paths)!r}{given})"


def _keywords(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={_literal(value)}" for name, value in values.items())


def _literal(value: Any) -> str:
    return repr(_text(value) if isinstance(value, Path) else value)
