"""``spotmix check``."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from napari_spotmix.base.errors import InputError
from napari_spotmix.base.keys import CELL_TYPE
from napari_spotmix.base.progress import ProgressCallback
from napari_spotmix.base.text import count
from napari_spotmix.cli._options import as_options, location_problems, path_given
from napari_spotmix.cli._run import RUN_PARAMETERS, is_sheet, section_problems
from napari_spotmix.cli._terminal import WRONG_INPUT, cancellable, say
from napari_spotmix.workflow.spec import Location, RunSpec

if TYPE_CHECKING:
    from napari_spotmix.dataset.diagnostics import Finding

__all__ = ["check"]


def check(
    spatial: Annotated[Location, RUN_PARAMETERS["spatial"]],
    reference: Annotated[Location | None, RUN_PARAMETERS["reference"]] = None,
    *,
    cell_type_key: Annotated[str, RUN_PARAMETERS["cell_type_key"]] = CELL_TYPE,
    layer: Annotated[str | None, RUN_PARAMETERS["layer"]] = None,
    library_key: Annotated[str | None, RUN_PARAMETERS["library_key"]] = None,
    format: Annotated[str | None, RUN_PARAMETERS["format"]] = None,
    bin_um: Annotated[float | None, RUN_PARAMETERS["bin_um"]] = None,
    image: Annotated[Location | None, RUN_PARAMETERS["image"]] = None,
    coordinates: Annotated[Location | None, RUN_PARAMETERS["coordinates"]] = None,
    gem_bin: Annotated[int | None, RUN_PARAMETERS["gem_bin"]] = None,
    table: Annotated[str | None, RUN_PARAMETERS["table"]] = None,
    section: Annotated[str | None, RUN_PARAMETERS["section"]] = None,
    labels: Annotated[Location | None, RUN_PARAMETERS["labels"]] = None,
    more_references: Annotated[tuple[Location, ...], RUN_PARAMETERS["more_references"]] = (),
    fix: Annotated[Sequence[str], RUN_PARAMETERS["fix"]] = (),
    output: Annotated[Path | None, Parameter(name=["--output", "-o"], converter=path_given)] = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Check the input before a run: problems, warnings, and the expected time and memory. Changes no file.

    Takes the arguments of `spotmix run`, including a samplesheet. Exits with code 2 if there is a
    problem, and with 0 otherwise.

    For example:

        spotmix check sample/outs cells.h5ad --cell-type-key cell_type

    Parameters
    ----------
    output
        Folder for the results: also check that files can be written there.
    as_json
        Print the findings as a JSON list, each with its level, text and fixes.
    """
    given = dict(locals())
    del given["as_json"]
    if wrong := location_problems(given):
        raise InputError(wrong)
    sections = _sections(given | {"fix": tuple(fix)})
    found = cancellable(partial(_check_all, sections))
    say(_all_as_json(found) if as_json else _all_in_words(found))
    if any(one.level == "problem" for one in chain.from_iterable(found.values())):
        sys.exit(WRONG_INPUT)


def _sections(given: dict[str, Any]) -> dict[str, RunSpec]:
    """Return what is checked by the name of the section; a single one has no name.

    Raises
    ------
    InputError
        If there is no reference, or something is wrong with the samplesheet.
    """
    from napari_spotmix.workflow.cohort import read_samplesheet

    if is_sheet(given["spatial"], given["reference"]):
        sheet, output = given.pop("spatial"), given.pop("output")
        sections = read_samplesheet(sheet, output or Path("results"), defaults=given)
        return {one.sample: one.spec if output else replace(one.spec, output=None) for one in sections}
    if problems := section_problems(given["reference"], 0, None):
        raise InputError(problems)
    return {"": RunSpec(**given)}


def _check_all(sections: Mapping[str, RunSpec], on_progress: ProgressCallback) -> dict[str, list[Finding]]:
    """Check one section after the other."""
    return {sample: _check(spec, _of_section(sample, on_progress)) for sample, spec in sections.items()}


def _check(spec: RunSpec, on_progress: ProgressCallback) -> list[Finding]:
    from napari_spotmix.dataset.diagnostics import PROBLEM, Finding, diagnose_files
    from napari_spotmix.workflow.recipe import fetched_spec

    try:
        here = fetched_spec(spec, on_progress=on_progress)
    except InputError as error:
        return [Finding(PROBLEM, problem) for problem in error.problems]
    return diagnose_files(
        here.inputs["spatial"],
        here.references,
        reading=here.reading,
        labels=here.labels,
        fixes=here.fix,
        output=here.output,
        on_progress=on_progress,
        **here.settings,
    )


def _of_section(sample: str, on_progress: ProgressCallback) -> ProgressCallback:
    """Return a callback that names the section, if there are several."""
    if not sample:
        return on_progress
    return lambda progress: on_progress(replace(progress, stage=f"{sample}: {progress.stage}"))


def _all_as_json(found: Mapping[str, Sequence[Finding]]) -> str:
    """Return a list of findings, or for a samplesheet one for each section by its name."""
    rows = {sample: list(map(_as_row, some)) for sample, some in found.items()}
    return json.dumps(rows.get("", rows), indent=2)


def _as_row(one: Finding) -> dict[str, Any]:
    return {"level": one.level, "text": one.message, "fixes": list(map(str, one.fixes))}


def _all_in_words(found: Mapping[str, Sequence[Finding]]) -> str:
    return "\n\n".join(
        "\n".join([*([f"== {sample} =="] if sample else []), _by_level(some)])
        for sample, some in found.items()
    )


def _by_level(found: Sequence[Finding]) -> str:
    parts = []
    for level in ("problem", "warning", "note"):
        some = [one for one in found if one.level == level]
        if some:
            title = f"{count(len(some), level)}:"
            parts.append("\n".join([title, *map(_listed, some)]))
    if not any(one.level == "problem" for one in found):
        parts.append("No problems found.")
    return "\n\n".join(parts)


def _listed(one: Finding) -> str:
    lines = as_options(one.message).splitlines()
    if one.fixes:
        lines.append(f"To fix it: {' '.join(f'--fix {shlex.quote(str(fix))}' for fix in one.fixes)}")
    return "\n".join(("  - " if not number else "    ") + line for number, line in enumerate(lines))
