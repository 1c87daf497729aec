"""``spotmix export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from napari_spotmix.base.errors import InputError
from napari_spotmix.base.progress import ProgressCallback
from napari_spotmix.cli._options import path_given
from napari_spotmix.cli._result import opened
from napari_spotmix.cli._terminal import cancellable, say

__all__ = ["export"]


def export(
    result: Annotated[Path, Parameter(converter=path_given)],
    *,
    to: Annotated[Path, Parameter(converter=path_given)],
    kind: Annotated[str | None, Parameter(name="--as")] = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Write a result for another program: a table, QuPath, Loupe Browser, SpatialData. Opens no window.

    For example:

        spotmix export results --to spots.geojson

    Parameters
    ----------
    result
        The folder that was the `--output` of `spotmix run`, or an .h5ad file with a result.
    to
        File to write: .csv or .parquet (proportions), .geojson (spots for QuPath), or .zarr (a SpatialData
        store, which must not exist). An earlier export is replaced, except a CSV file, which cannot be
        recognized; any other file is kept.
    kind
        What to write, if the file extension allows several. For .csv and .parquet: proportions or long (a row
        for each spot and type); for .csv also loupe (categories for Loupe Browser).
        For .geojson: spots or regions.
    overwrite
        Replace an existing file, whatever it is; never one that the run has read.
    """

    def work(on_progress: ProgressCallback) -> str:
        from napari_spotmix.io.keeping import files_behind, replace_problems
        from napari_spotmix.output import exporters as exchange

        exchange.target_of(to, kind)  # reports what is wrong before anything is read
        if problems := replace_problems(to, files_behind(result), overwrite=overwrite, name="to"):
            raise InputError(problems)
        with opened(result, on_progress) as found:
            written = exchange.export(found, to, kind, on_progress=on_progress)
            notes = exchange.export_notes(found, to, kind)
        lines = [*(["Notes:", *(f"  - {note}" for note in notes), ""] if notes else []), "Written:"]
        return "\n".join([*lines, f"  {written}"])

    say(cancellable(work))
