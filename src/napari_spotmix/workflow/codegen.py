"""A job as others would type it: as a command, and as Python."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from napari_spotmix.params import Parameters, option_name
from napari_spotmix.workflow.job import Job, default_of

__all__ = ["as_command", "as_python"]

#: Fields of a job that every command names.
_ALWAYS = ("spatial", "reference", "output")


def as_command(job: Job) -> str:
    """Return the `spotmix run` that does a job, quoted for the shell.

    What is at its default is left out, so what is learned from the data is learned again.

    Examples
    --------
    >>> job = Job(Path("/my data/outs"), Path("/cells.h5ad"), Path("/out"), parameters={"lambda_c": 0.3})
    >>> print(as_command(job))
    spotmix run '/my data/outs' /cells.h5ad --output /out --lambda-c 0.3
    """
    words = ["spotmix", "run", *map(_absolute, (job.spatial, job.reference))]
    words += _option("output", str(job.output))
    for name, value in (_given(job) | _chosen(job.parameters)).items():
        words += _option(name, value)
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def _absolute(place: Path | str) -> str:
    """Return a path as it is found from anywhere; a URL is found already."""
    return str(place.absolute()) if isinstance(place, Path) else place


def as_python(job: Job) -> str:
    """Return Python that does a job, but for writing; `result` holds what comes out.

    Examples
    --------
    >>> print(as_python(Job(Path("/outs"), Path("/cells.h5ad"), Path("/out"), parameters={"lambda_c": 0.3})))
    from napari_spotmix import deconvolve, read_reference, read_spatial
    <BLANKLINE>
    spatial = read_spatial('/outs')
    reference = read_reference('/cells.h5ad', cell_type_key='cell_type')
    result = deconvolve(spatial, reference, cell_type_key='cell_type', lambda_c=0.3)
    print(result.proportions.mean())
    """
    labels, fixes = {"cell_type_key": job.cell_type_key}, {"fixes": list(job.fix)}
    extra = {name: value for name, value in _own(job).items() if isinstance(value, Path)}
    settings = {name: value for name, value in job.settings.items() if value is not None}
    lines = [
        "from napari_spotmix import deconvolve, read_reference, read_spatial",
        *(["from napari_spotmix.dataset.fixes import apply_fixes"] if job.fix else []),
        "",
        f"spatial = {_call('read_spatial', job.spatial, **_reading(job), **_backed(job.spatial))}",
        f"reference = {_call('read_reference', job.references, **labels, **extra)}",
        *(
            [f"spatial, reference = apply_fixes(spatial, reference, {_keywords(fixes | labels)})"]
            if job.fix
            else []
        ),
        f"result = deconvolve(spatial, reference, {_keywords(settings | _chosen(job.parameters))})",
        "print(result.proportions.mean())",
    ]
    return "\n".join(lines)


def _own(job: Job) -> dict[str, Any]:
    """Return the fields of a job that are not at their defaults, but for those that every job has."""
    return {
        item.name: getattr(job, item.name)
        for item in fields(job)
        if item.name not in (*_ALWAYS, "parameters") and getattr(job, item.name) != default_of(item)
    }


def _reading(job: Job) -> dict[str, Any]:
    """Return how the spots are read, where it was told: the fields of dataclasses in a job."""
    told = [_changed(value) for value in _own(job).values() if is_dataclass(value)]
    return {name: value for table in told for name, value in table.items()}


def _given(job: Job) -> dict[str, Any]:
    return {name: value for name, value in _own(job).items() if not is_dataclass(value)} | _reading(job)


def _changed(value: Any) -> dict[str, Any]:
    return {
        item.name: getattr(value, item.name)
        for item in fields(value)
        if getattr(value, item.name) != default_of(item)
    }


def _chosen(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that differ from their defaults."""
    return _changed(Parameters(**parameters))


def _option(name: str, value: Any) -> Iterator[str]:
    option = option_name(name)
    if isinstance(value, bool):
        yield option if value else option.replace("--", "--no-", 1)
        return
    values = [_word(item) for item in (value if isinstance(value, (tuple, list)) else [value])]
    if len(values) == 1:
        # A value may begin with "-", which would be taken for an option.
        yield from [f"{option}={values[0]}"] if values[0].startswith("-") else [option, *values]
    else:
        yield from [option, *values]


def _word(value: Any) -> str:
    return str(value.absolute()) if isinstance(value, Path) else str(value)


def _backed(place: Path | str) -> dict[str, bool]:
    from napari_spotmix.io import is_large

    return {"backed": True} if isinstance(place, Path) and place.exists() and is_large(place) else {}


def _call(function: str, place: Path | str | list[Path | str], **keywords: Any) -> str:
    told = f", {_keywords(keywords)}" if keywords else ""
    places = [_absolute(one) for one in ([place] if isinstance(place, (Path, str)) else place)]
    return f"{function}({(places[0] if len(places) == 1 else places)!r}{told})"


def _keywords(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={_literal(value)}" for name, value in values.items())


def _literal(value: Any) -> str:
    return repr(str(value.absolute()) if isinstance(value, Path) else value)
