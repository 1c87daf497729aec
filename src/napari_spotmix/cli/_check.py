"""``spotmix check``."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from napari_spotmix.cli._options import as_options, path_given
from napari_spotmix.cli._run import RUN_PARAMETERS
from napari_spotmix.cli._terminal import WRONG_INPUT, cancellable, say
from napari_spotmix.keys import CELL_TYPE
from napari_spotmix.progress import ProgressCallback
from napari_spotmix.words import count

if TYPE_CHECKING:
    from napari_spotmix.findings import Finding

__all__ = ["check"]


def check(
    spatial: Annotated[Path, RUN_PARAMETERS["spatial"]],
    reference: Annotated[Path, RUN_PARAMETERS["reference"]],
    *,
    cell_type_key: Annotated[str, RUN_PARAMETERS["cell_type_key"]] = CELL_TYPE,
    layer: Annotated[str | None, RUN_PARAMETERS["layer"]] = None,
    sample_key: Annotated[str | None, RUN_PARAMETERS["sample_key"]] = None,
    bin_um: Annotated[float | None, RUN_PARAMETERS["bin_um"]] = None,
    image: Annotated[Path | None, RUN_PARAMETERS["image"]] = None,
    coordinates: Annotated[Path | None, RUN_PARAMETERS["coordinates"]] = None,
    gem_bin: Annotated[int | None, RUN_PARAMETERS["gem_bin"]] = None,
    table: Annotated[str | None, RUN_PARAMETERS["table"]] = None,
    labels: Annotated[Path | None, RUN_PARAMETERS["labels"]] = None,
    more_references: Annotated[tuple[Path, ...], RUN_PARAMETERS["more_references"]] = (),
    mend: Annotated[Sequence[str], RUN_PARAMETERS["mend"]] = (),
    output: Annotated[Path | None, Parameter(name=["--output", "-o"], converter=path_given)] = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Look at the files before a run: what is wrong, what is doubtful, what it will take. Changes nothing.

    Takes the arguments of `spotmix run`. Leaves with exit code 2 where something keeps the data from being
    used, and 0 otherwise.

    For example:

        spotmix check sample/outs cells.h5ad --cell-type-key cell_type

    Parameters
    ----------
    output
        Folder that results are to be written to: told if that cannot be.
    as_json
        Print the findings as a list in JSON: level, text and mends of each.
    """

    def work(on_progress: ProgressCallback) -> list[Finding]:
        from napari_spotmix.findings import look_at_files
        from napari_spotmix.io import Reading

        return look_at_files(
            spatial,
            [reference, *more_references],
            reading=Reading(
                bin_um=bin_um, image=image, coordinates=coordinates, gem_bin=gem_bin, table=table
            ),
            labels=labels,
            cell_type_key=cell_type_key,
            layer=layer,
            sample_key=sample_key,
            mends=mend,
            output=output,
            on_progress=on_progress,
        )

    found = cancellable(work)
    say(_as_json(found) if as_json else _in_groups(found))
    if any(one.level == "problem" for one in found):
        sys.exit(WRONG_INPUT)


def _as_json(found: Sequence[Finding]) -> str:
    rows = [{"level": one.level, "text": one.text, "mends": list(map(str, one.mends))} for one in found]
    return json.dumps(rows, indent=2)


def _in_groups(found: Sequence[Finding]) -> str:
    groups = []
    for level in ("problem", "warning", "note"):
        some = [one for one in found if one.level == level]
        if some:
            title = f"{count(len(some), level)}:"
            groups.append("\n".join([title, *map(_listed, some)]))
    if not any(one.level == "problem" for one in found):
        groups.append("Nothing keeps these data from being used.")
    return "\n\n".join(groups)


def _listed(one: Finding) -> str:
    lines = as_options(one.text).splitlines()
    if one.mends:
        lines.append(f"To mend it: {' '.join(f'--mend {shlex.quote(str(mend))}' for mend in one.mends)}")
    return "\n".join(("  - " if not number else "    ") + line for number, line in enumerate(lines))
