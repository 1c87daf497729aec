"""``spotmix report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from napari_spotmix.base.progress import ProgressCallback
from napari_spotmix.cli._options import path_given
from napari_spotmix.cli._terminal import cancellable, say

__all__ = ["report"]


def report(
    result: Annotated[Path, Parameter(converter=path_given)],
    *,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"], converter=path_given)] = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Write a result as one self-contained page for the browser.

    For example:

        spotmix report results

    Parameters
    ----------
    result
        The folder that was the `--output` of `spotmix run`, or an .h5ad file with a result.
    output
        HTML file to write. Without it, `report.html` next to the result. An earlier report is replaced, any
        other file is kept.
    overwrite
        Replace an existing file, whatever it is; never one that the run has read.
    """

    def work(on_progress: ProgressCallback) -> str:
        from napari_spotmix.output.report import write_report

        written = write_report(result, output, overwrite=overwrite, on_progress=on_progress)
        return f"Written:\n  {written}"

    say(cancellable(work))
