"""``spotmix run``."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from napari_spotmix.base.errors import InputError
from napari_spotmix.base.keys import CELL_TYPE
from napari_spotmix.base.progress import ProgressCallback
from napari_spotmix.cli._cohort import run_sheet
from napari_spotmix.cli._options import (
    as_options,
    group,
    option,
    path_given,
    place_given,
    places_given,
    whole_given,
)
from napari_spotmix.cli._terminal import cancellable, say
from napari_spotmix.params import BIN_UM, GEM_BIN, describe
from napari_spotmix.workflow.job import Finished, Job, run_job

__all__ = ["RUN_PARAMETERS", "finished_words", "run_command"]

RUN_HELP = """Deconvolve a section, or many: find the proportion of each cell type in each spot.

Writes into the folder OUTPUT: `spatial.h5ad` (everything, for scanpy and napari), `proportions.csv`
(spots x cell types, for a spreadsheet), `recipe.toml` (how it was made) and `report.html` (to look at).

For example:

    spotmix run sample/outs cells.h5ad --cell-type-key cell_type --output results

Many sections are given as a samplesheet, a CSV file with the columns `sample`, `spatial`, `reference` and
`condition`. Each gets a folder in OUTPUT; a section that is done already is not run again:

    spotmix run samplesheet.csv --output results"""


def run_command() -> Callable[..., None]:
    """Return the command ``run``, with one option per field of `Parameters`."""

    def run(
        spatial: Path | str,
        reference: Path | str | None = None,
        *,
        output: Path,
        cell_type_key: str = CELL_TYPE,
        layer: str | None = None,
        library_key: str | None = None,
        format: str | None = None,
        bin_um: float | None = None,
        image: Path | str | None = None,
        coordinates: Path | str | None = None,
        gem_bin: int | None = None,
        table: str | None = None,
        labels: Path | str | None = None,
        more_references: tuple[Path | str, ...] = (),
        report: bool = True,
        at_once: int = 0,
        dask: str | None = None,
        fix: Sequence[str] = (),
        **values: Any,
    ) -> None:
        from napari_spotmix.io import Reading

        reading = {
            "format": format,
            "bin_um": bin_um,
            "image": image,
            "coordinates": coordinates,
            "gem_bin": gem_bin,
            "table": table,
        }
        settings = {
            "cell_type_key": cell_type_key,
            "layer": layer,
            "library_key": library_key,
            "report": report,
        }
        more = {"labels": labels, "more_references": more_references, "fix": tuple(fix)}
        if is_many(spatial, reference):
            given = {"reference": reference, **settings, **more, **reading, **values}
            run_sheet(Path(spatial), output, given, at_once=at_once, dask=dask)
            return
        if problems := alone_problems(reference, at_once, dask):
            raise InputError(problems)
        job = Job(spatial, reference or "", output, parameters=values, reading=Reading(**reading), **settings)
        run_and_tell(replace(job, **more))

    signature = inspect.signature(run, eval_str=True)
    fixed = [parameter for name, parameter in signature.parameters.items() if name != "values"]
    fixed = [item.replace(annotation=Annotated[item.annotation, RUN_PARAMETERS[item.name]]) for item in fixed]
    options = [option(info) for info in describe()]
    run.__signature__ = signature.replace(parameters=[*fixed, *options])  # type: ignore[attr-defined]
    run.__annotations__ = {item.name: item.annotation for item in (*fixed, *options)} | {"return": None}
    run.__doc__ = RUN_HELP
    return run


RUN_PARAMETERS = {
    "spatial": Parameter(
        converter=place_given,
        help="The tissue: a Space Ranger output folder (often called `outs`; Visium HD too), an .h5ad file "
        "with `obsm['spatial']`, or a table of counts (CSV, TSV, parquet, GEM). Raw counts. "
        "Or a URL of it; or a samplesheet.",
    ),
    "reference": Parameter(
        converter=place_given,
        help="Single cells with known types: an .h5ad or loom file; a 10x matrix or a table of counts, with "
        "a table of labels. Raw counts. Or a table of signatures (genes x cell types). Or a URL of it. "
        "A samplesheet may name one for each section instead.",
    ),
    "output": Parameter(
        name=["--output", "-o"],
        converter=path_given,
        help="Folder for the results. It is made if it does not exist; other files in it are left alone.",
        group=group("Files", 1),
    ),
    "cell_type_key": Parameter(
        help="Column of the reference's `obs` that holds the cell types.", group=group("Files", 1)
    ),
    "layer": Parameter(
        help="Layer that holds the raw counts, in both files (`raw` for those of `raw`); without it they are "
        "taken from `X`.",
        group=group("Files", 1),
    ),
    "library_key": Parameter(
        help="Column of the tissue's `obs` that tells its sections apart; spots of different sections are "
        "never linked.",
        group=group("Files", 1),
    ),
    "format": Parameter(
        help="How the tissue is read, where it could be in more than one way: `visium_hd`, `space_ranger`, "
        "`h5ad`, `spatialdata`, `anndata_zarr`, `gem` or `tables`; without it that is found out.",
        group=group("Files", 1),
    ),
    "bin_um": Parameter(
        help="Side of the bins of Visium HD, in micrometers; without it "
        f"{BIN_UM:g}, or the nearest to it that there is.",
        group=group("Files", 1),
    ),
    "image": Parameter(
        converter=place_given,
        help="The full-resolution image that was given to Space Ranger, where it lies elsewhere: TIFF "
        "(OME-TIFF, BTF, SVS), PNG or JPEG.",
        group=group("Files", 1),
    ),
    "coordinates": Parameter(
        converter=place_given,
        help="For a table of counts: that with the coordinates of its spots, where it does not lie beside.",
        group=group("Files", 1),
    ),
    "gem_bin": Parameter(
        converter=whole_given,
        help="For a table of one count in each row: side of the bins, for Stereo-seq in DNBs of 0.5 um; "
        f"without it {GEM_BIN} for Stereo-seq, and each place a spot for another.",
        group=group("Files", 1),
    ),
    "report": Parameter(
        help="Write `report.html` too: the result as a page for the browser.", group=group("Files", 1)
    ),
    "table": Parameter(
        help="For a SpatialData store: name of a table, or of a region that one describes, where there are "
        "several.",
        group=group("Files", 1),
    ),
    "labels": Parameter(
        converter=place_given,
        help="Table of cells and their types (CSV or TSV), where the reference holds none and it does not "
        "lie beside, named `cell_types.csv`.",
        group=group("Files", 1),
    ),
    "more_references": Parameter(
        converter=places_given,
        consume_multiple=True,
        negative=(),
        show_default=False,
        help="Further references, to be joined with the first over the genes that all have.",
        group=group("Files", 1),
    ),
    "at_once": Parameter(
        converter=whole_given,
        help="Sections of a samplesheet that run at once; 0 chooses by cores and memory.",
        group=group("Many sections", 1),
    ),
    "dask": Parameter(
        help="Address of a Dask scheduler, like tcp://host:8786, whose workers run the sections of a "
        "samplesheet.",
        group=group("Many sections", 1),
    ),
    "fix": Parameter(
        negative="",
        consume_multiple=True,
        help="Something to fix in the data once they are read, as `spotmix check` offers it. Give it "
        "once for each. The files are not changed.",
        group=group("Files", 1),
    ),
}


def is_many(spatial: Path | str, reference: Path | str | None) -> bool:
    """Tell whether a samplesheet is given: by its header, or as a table that nothing else goes with."""
    from napari_spotmix.workflow.cohort import is_samplesheet

    if not isinstance(spatial, Path):
        return False
    is_table = spatial.suffix.lower() in (".csv", ".tsv", ".txt")
    return is_samplesheet(spatial) or (reference is None and is_table)


def alone_problems(reference: Path | str | None, at_once: int, dask: str | None) -> list[str]:
    """Say what one section lacks, or has that is for many."""
    words = "is for a samplesheet. Leave it out for one section."
    problems = [f"`{name}` {words}" for name, given in (("at_once", at_once), ("dask", dask)) if given]
    if reference is None:
        problems.append(
            "`reference` is missing: give a file of single cells with known types after the tissue. "
            "For many sections give a samplesheet instead, a CSV file."
        )
    return problems


def run_and_tell(job: Job) -> None:
    """Run a job and say what came out.

    Raises
    ------
    InputError
        Everything that is wrong with the parameters, the files and the output folder.
    """

    def work(on_progress: ProgressCallback) -> str:
        return finished_words(run_job(job, on_progress=on_progress), job)

    say(cancellable(work))


def finished_words(done: Finished, job: Job) -> str:
    """Return what is said of a run that has finished."""
    return _report(done.result.provenance.summary, list(done.result.notes), done.written, job.output)


def _report(summary: str, notes: Sequence[str], written: Sequence[Path], output: Path) -> str:
    lines = [summary]
    lines += ["", "Notes:", *(f"  - {as_options(note)}" for note in notes)] if notes else []
    lines += ["", "Written:", *(f"  {path}" for path in written)]
    lines += ["", f"Look at it in napari: spotmix view {shlex.quote(str(output))}"]
    return "\n".join(lines)
