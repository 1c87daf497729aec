"""A job as a command and as Python: what they say is what the job says."""

from __future__ import annotations

import shlex
from dataclasses import fields, replace
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

from napari_spotmix.cli import _check, _run
from napari_spotmix.cli import main as run_main
from napari_spotmix.io import ReadOptions
from napari_spotmix.params import ParameterInfo, Parameters, describe
from napari_spotmix.workflow.codegen import as_command, as_python
from napari_spotmix.workflow.job import Job, tables_of

HOSTILE = '/my data/it\'s; rm -rf $HOME `x`\n"odd"'


def another(info: ParameterInfo) -> Any:
    """Return a value that is allowed and not the default."""
    if info.kind is bool:
        return not info.default
    if info.choices:
        return next(choice for choice in info.choices if choice != info.default)
    return info.kind(1 if info.default != 1 else 2)


def typed(command: str, monkeypatch: pytest.MonkeyPatch) -> Job:
    """Return the job that the command line makes of a command."""
    taken: list[Job] = []
    monkeypatch.setattr(_run, "run_and_tell", taken.append)
    words = shlex.split(command)
    assert words[:2] == ["spotmix", "run"]
    run_main(words[1:])
    return taken[0]


@pytest.mark.parametrize(
    "job",
    [
        Job(Path("/outs"), Path("/cells.h5ad"), Path("results")),
        Job(
            Path(HOSTILE),
            Path("/cells.h5ad"),
            Path("-results"),
            cell_type_key="-Inf; #",
            layer=HOSTILE,
            library_key="a b",
            parameters={info.name: another(info) for info in describe()},
            reading=ReadOptions("tables", 16, Path(HOSTILE), Path("/places.csv"), 5, "-a table"),
            report=False,
            labels=Path(HOSTILE),
            more_references=(Path("/b.h5ad"), "https://example.org/c.h5ad"),
            fix=("spatial:layer=counts", "reference:drop-types=20"),
        ),
    ],
    ids=["plain", "everything"],
)
def test_the_command_line_takes_the_command_for_the_same_job(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = typed(as_command(job), monkeypatch)
    assert replace(found, parameters={}) == replace(job, parameters={})
    assert Parameters(**found.parameters) == Parameters(**job.parameters)


def test_everything_that_can_be_told_is_told_by_the_commands_and_kept_by_the_recipe() -> None:
    """A field that is new must be an option of `run` and `check`, and in what a recipe keeps."""
    told = {item.name for item in fields(Job)} - {"parameters", "reading"}
    told |= {item.name for item in fields(ReadOptions)}
    run = set(signature(_run.run_command()).parameters) - {info.name for info in describe()}
    assert run == told | {"at_once", "dask"}
    assert set(signature(_check.check).parameters) == told - {"report"} | {"as_json"}
    job = Job(Path("/outs"), Path("/cells.h5ad"), Path("/out"))
    kept = tables_of(job)
    assert kept["parameters"].keys() | kept["reading"].keys() | set(job.inputs) >= told - {
        *("output", "report", "labels", "more_references", "fix")
    }, "all but where it is written, and what a job without labels, fixes and others has not"


def test_only_what_differs_from_the_defaults_is_said() -> None:
    given = Parameters(lambda_c=0.25, random_state=7).as_dict()
    command = as_command(Job(Path("/outs"), Path("/cells.h5ad"), Path("out"), parameters=given))
    assert command == "spotmix run /outs /cells.h5ad --output out --lambda-c 0.25 --seed 7"


def test_python_says_the_same_whatever_the_names(monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job(
        Path(HOSTILE),
        Path("/cells.h5ad"),
        Path("out"),
        cell_type_key="it's",
        layer=HOSTILE,
        parameters={"lambda_c": 0.25, "attention": False},
        reading=ReadOptions(bin_um=16),
    )
    calls: dict[str, Any] = {}

    def noted(name: str) -> Any:
        return lambda *args, **keywords: calls.__setitem__(name, (args, keywords))

    _, *lines = as_python(job).splitlines()
    code = "\n".join(lines).removesuffix("print(result.proportions.mean())")
    exec(code, {name: noted(name) for name in ("read_spatial", "read_reference", "deconvolve")})
    assert calls["read_spatial"] == ((HOSTILE,), {"bin_um": 16})
    assert calls["read_reference"] == (("/cells.h5ad",), {"cell_type_key": "it's"})
    assert calls["deconvolve"][1] == {
        "cell_type_key": "it's",
        "layer": HOSTILE,
        "lambda_c": 0.25,
        "attention": False,
    }
