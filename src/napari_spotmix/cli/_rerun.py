"""``spotmix rerun``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from napari_spotmix.base.progress import ProgressCallback
from napari_spotmix.cli._options import path_given, whole_given
from napari_spotmix.cli._run import finished_words
from napari_spotmix.cli._terminal import cancellable, say

__all__ = ["rerun"]


def rerun(
    recipe: Annotated[Path, Parameter(converter=path_given)],
    *,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"], converter=path_given)] = None,
    inputs: Annotated[Path | None, Parameter(converter=path_given)] = None,
    threads: Annotated[int, Parameter(converter=whole_given)] = 0,
) -> None:
    """Run again from a recipe.toml: the same files, the same parameters.

    Nothing runs if an input file has changed. With the same versions the results are identical, byte
    for byte; the last line reports this.

    For example:

        spotmix rerun results

    Parameters
    ----------
    recipe
        A `recipe.toml`, or the folder of a run that holds one.
    output
        Folder for the results. By default, a folder next to that of the recipe, with `-rerun` added to its
        name.
    inputs
        Folder that the inputs were moved to, with or without their parent folders.
    threads
        Number of threads; 0 uses every core. The result does not depend on it.
    """

    def work(on_progress: ProgressCallback) -> str:
        from napari_spotmix.workflow.rerun import plan_rerun

        plan = plan_rerun(recipe, output=output, inputs=inputs, n_threads=threads, on_progress=on_progress)
        for warning in plan.warnings:
            say(f"Warning: {warning}", sys.stderr)
        words = finished_words(plan.run(on_progress=on_progress), plan.output)
        return "\n".join([words, "", _COMPARED[plan.is_identical()]])

    say(cancellable(work))


_COMPARED = {
    True: "Proportions are identical to those of the first run, byte for byte.",
    False: "Proportions differ from those of the first run.",
    None: "The recipe holds no checksum of the first proportions, so they were not compared.",
}
