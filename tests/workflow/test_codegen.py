"""A run as a command and as Python: what they say is what the run says."""

from __future__ import annotations

import shlex
from dataclasses import fields
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

from napari_spotmix.base.errors import InputError
from napari_spotmix.cli import _check, _run
from napari_spotmix.cli import main as run_main
from napari_spotmix.io import ReadOptions
from napari_spotmix.params import ParameterInfo, Parameters, describe
from napari_spotmix.workflow.codegen import as_command, as_python
from napari_spotmix.workflow.convert import as_json, from_json
from napari_spotmix.workflow.recipe import recipe_of
from napari_spotmix.workflow.spec import RunSpec

HOSTILE = '/my data/it\'s; rm -rf $HOME `x`\n"odd"'


def another(info: ParameterInfo) -> Any:
    """Return a value that is allowed and not the default."""
    if info.kind is bool:
        return not info.default
    if info.choices:
        return next(choice for choice in info.choices if choice != info.default)
    return info.kind(1 if info.default != 1 else 2)


PLAIN = RunSpec(Path("/outs"), Path("/cells.h5ad"), Path("results"))
EVERYTHING = RunSpec(
    Path(HOSTILE),
    Path("/cells.h5ad"),
    Path("-results"),
    cell_type_key="-Inf; #",
    layer=HOSTILE,
    library_key="a b",
    format="tables",
    bin_um=16,
    image=Path(HOSTILE),
    coordinates=Path("/xy.csv"),
    gem_bin=5,
    table="-a table",
    section="--of two",
    report=False,
    labels=Path(HOSTILE),
    more_references=(Path("/b.h5ad"), "https://example.org/c.h5ad"),
    fix=("spatial:layer=counts", "reference:drop-below=20"),
    parameters=Parameters(**{info.name: another(info) for info in describe()}),
)
SPECS = pytest.mark.parametrize("spec", [PLAIN, EVERYTHING], ids=["plain", "everything"])


def typed(command: str, monkeypatch: pytest.MonkeyPatch) -> RunSpec:
    """Return the run that the command line makes of a command."""
    taken: list[RunSpec] = []
    monkeypatch.setattr(_run, "run_and_report", lambda spec, _: taken.append(spec))
    words = shlex.split(command)
    assert words[:2] == ["spotmix", "run"]
    run_main(words[1:])
    return taken[0]


@SPECS
def test_the_command_line_takes_the_command_for_the_same_run(
    spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert typed(as_command(spec), monkeypatch) == spec


@SPECS
def test_json_stands_for_the_same_run(spec: RunSpec) -> None:
    assert from_json(as_json(spec)) == spec


def test_the_whole_of_a_run_is_an_option_of_the_commands_and_kept_by_the_recipe() -> None:
    """A field that is new must be an option of `run` and `check`, and in what a recipe keeps."""
    given = {item.name for item in fields(RunSpec)} - {"parameters"}
    assert {item.name for item in fields(ReadOptions)} < given
    run = set(signature(_run.run_command()).parameters) - {info.name for info in describe()}
    assert run == given | {"at_once", "dask"}
    assert set(signature(_check.check).parameters) == given - {"report"} | {"as_json"}
    recipe = recipe_of(EVERYTHING, {}, {})
    kept = recipe["parameters"].keys() | recipe["reading"].keys() | EVERYTHING.inputs.keys()
    assert kept >= given - {"output", "report", "more_references"}
    assert "reference_3" in kept


def test_only_what_differs_from_the_defaults_is_said() -> None:
    parameters = Parameters(lambda_c=0.25, random_state=7)
    command = as_command(RunSpec(Path("/outs"), Path("/cells.h5ad"), Path("out"), parameters=parameters))
    assert command == "spotmix run /outs /cells.h5ad --output out --lambda-c 0.25 --seed 7"


def test_data_in_memory_have_no_command() -> None:
    with pytest.raises(InputError, match="The reference was simulated or given in memory"):
        as_command(RunSpec(Path("/outs")))
    with pytest.raises(InputError, match="The spots were simulated or given in memory"):
        as_python(RunSpec())


def test_python_says_the_same_whatever_the_names() -> None:
    spec = RunSpec(
        Path(HOSTILE),
        Path("/cells.h5ad"),
        cell_type_key="it's",
        layer=HOSTILE,
        bin_um=16,
        parameters=Parameters(lambda_c=0.25, attention=False),
    )
    calls: dict[str, Any] = {}

    def noted(name: str) -> Any:
        return lambda *args, **keywords: calls.__setitem__(name, (args, keywords))

    _, *lines = as_python(spec).splitlines()
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
