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
from napari_spotmix.cli._options import as_options, path_given
from napari_spotmix.cli._run import RUN_PARAMETERS, alone_problems, is_many
from napari_spotmix.cli._terminal import WRONG_INPUT, cancellable, say

if TYPE_CHECKING:
    from napari_spotmix.dataset.diagnostics import Finding
    from napari_spotmix.workflow.job import Job

__all__ = ["check"]


def check(
    spatial: Annotated[Path | str, RUN_PARAMETERS["spatial"]],
    reference: Annotated[Path | str | None, RUN_PARAMETERS["reference"]] = None,
    *,
    cell_type_key: Annotated[str, RUN_PARAMETERS["cell_type_key"]] = CELL_TYPE,
    layer: Annotated[str | None, RUN_PARAMETERS["layer"]] = None,
    library_key: Annotated[str | None, RUN_PARAMETERS["library_key"]] = None,
    format: Annotated[str | None, RUN_PARAMETERS["format"]] = None,
    bin_um: Annotated[float | None, RUN_PARAMETERS["bin_um"]] = None,
    image: Annotated[Path | str | None, RUN_PARAMETERS["image"]] = None,
    coordinates: Annotated[Path | str | None, RUN_PARAMETERS["coordinates"]] = None,
    gem_bin: Annotated[int | None, RUN_PARAMETERS["gem_bin"]] = None,
    table: Annotated[str | None, RUN_PARAMETERS["table"]] = None,
    labels: Annotated[Path | str | None, RUN_PARAMETERS["labels"]] = None,
    more_references: Annotated[tuple[Path | str, ...], RUN_PARAMETERS["more_references"]] = (),
    fix: Annotated[Sequence[str], RUN_PARAMETERS["fix"]] = (),
    output: Annotated[Path | None, Parameter(name=["--output", "-o"], converter=path_given)] = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Look at the files before a run: what is wrong, what is doubtful, what it will take. Changes nothing.

    Takes the arguments of `spotmix run`, a samplesheet too. Leaves with exit code 2 where something keeps
    the data from being used, and 0 otherwise.

    For example:

        spotmix check sample/outs cells.h5ad --cell-type-key cell_type

    Parameters
    ----------
    output
        Folder that results are to be written to: told if that cannot be.
    as_json
        Print the findings as a list in JSON: level, text and fixes of each.
    """
    reading = {
        "format": format,
        "bin_um": bin_um,
        "image": image,
        "coordinates": coordinates,
        "gem_bin": gem_bin,
        "table": table,
    }
    settings = {"cell_type_key": cell_type_key, "layer": layer, "library_key": library_key, "labels": labels}
    more = {"more_references": more_references, "fix": tuple(fix)}
    given: dict[str, Any] = {"reference": reference, **reading, **settings, **more}
    sections = _sections(spatial, output, given)
    found = cancellable(partial(_looked, sections, is_told_output=output is not None))
    say(_all_as_json(found) if as_json else _all_in_words(found))
    if any(one.level == "problem" for one in chain.from_iterable(found.values())):
        sys.exit(WRONG_INPUT)


def _sections(spatial: Path | str, output: Path | None, given: Mapping[str, Any]) -> dict[str, Job]:
    """Return what is to be looked at by the name of the section; one that is alone has none.

    Raises
    ------
    InputError
        If there is no reference, or something is wrong with the samplesheet.
    """
    from napari_spotmix.workflow.cohort import read_samplesheet
    from napari_spotmix.workflow.cohort.sheet import job_of_values

    folder = output or Path("results")
    if is_many(spatial, given["reference"]):
        return {section.sample: section.job for section in read_samplesheet(spatial, folder, defaults=given)}
    if problems := alone_problems(given["reference"], 0, None):
        raise InputError(problems)
    return {"": job_of_values({"spatial": spatial, **given}, folder)}


def _looked(
    sections: Mapping[str, Job], on_progress: ProgressCallback, *, is_told_output: bool
) -> dict[str, list[Finding]]:
    """Look at one section after the other."""
    return {
        sample: _look_at(job, is_told_output, _of_section(sample, on_progress))
        for sample, job in sections.items()
    }


def _look_at(job: Job, is_told_output: bool, on_progress: ProgressCallback) -> list[Finding]:
    from napari_spotmix.dataset.diagnostics import PROBLEM, Finding, diagnose_files
    from napari_spotmix.workflow.job import fetched_job

    try:
        here = fetched_job(job, on_progress=on_progress)
    except InputError as error:
        return [Finding(PROBLEM, problem) for problem in error.problems]
    return diagnose_files(
        here.spatial,
        here.references,
        reading=here.reading,
        labels=here.labels,
        fixes=here.fix,
        output=here.output if is_told_output else None,
        on_progress=on_progress,
        **here.settings,
    )


def _of_section(sample: str, on_progress: ProgressCallback) -> ProgressCallback:
    """Return a callback that names the section, where there are several."""
    if not sample:
        return on_progress
    return lambda told: on_progress(replace(told, stage=f"{sample}: {told.stage}"))


def _all_as_json(found: Mapping[str, Sequence[Finding]]) -> str:
    """Return a list of findings, or for a samplesheet one for each section by its name."""
    rows = {sample: list(map(_as_row, some)) for sample, some in found.items()}
    return json.dumps(rows.get("", rows), indent=2)


def _as_row(one: Finding) -> dict[str, Any]:
    return {"level": one.level, "text": one.message, "fixes": list(map(str, one.fixes))}


def _all_in_words(found: Mapping[str, Sequence[Finding]]) -> str:
    return "\n\n".join(
        "\n".join([*([f"== {sample} =="] if sample else []), _in_groups(some)])
        for sample, some in found.items()
    )


def _in_groups(found: Sequence[Finding]) -> str:
    groups = []
    for level in ("problem", "warning", "note"):
        some = [one for one in found if one.level == level]
        if some:
            title = f"{count(len(some), level)}:"
            groups.append("\n".join([title, *map(_listed, some)]))
    if not any(one.level == "problem" for one in found):
        groups.append("No problems found.")
    return "\n\n".join(groups)


def _listed(one: Finding) -> str:
    lines = as_options(one.message).splitlines()
    if one.fixes:
        lines.append(f"To fix it: {' '.join(f'--fix {shlex.quote(str(fix))}' for fix in one.fixes)}")
    return "\n".join(("  - " if not number else "    ") + line for number, line in enumerate(lines))
