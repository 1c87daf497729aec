"""``spotmix run``."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from napari_spotmix.base.errors import InputError, attempted
from napari_spotmix.base.keys import CELL_TYPE
from napari_spotmix.base.progress import ProgressCallback
from napari_spotmix.cli._cohort import run_sheet
from napari_spotmix.cli._options import (
    as_options,
    group,
    location_given,
    location_problems,
    locations_given,
    option,
    path_given,
    whole_given,
)
from napari_spotmix.cli._terminal import cancellable, say
from napari_spotmix.params import BIN_UM, GEM_BIN, Parameters, describe
from napari_spotmix.workflow.run import Finished
from napari_spotmix.workflow.run import run as run_spec
from napari_spotmix.workflow.spec import Location, RunSpec

__all__ = ["RUN_PARAMETERS", "finished_words", "is_sheet", "run_command", "section_problems"]

RUN_HELP = """Deconvolve one section or many: estimate the proportion of each cell type in each spot.

Writes into the folder OUTPUT: `spatial.h5ad` (everything, for scanpy and napari), `proportions.csv`
(spots x cell types, for a spreadsheet), `recipe.toml` (how the result was made) and `report.html` (a page
for the browser).

For example:

    spotmix run sample/outs cells.h5ad --cell-type-key cell_type --output results

Many sections are given as a samplesheet, a CSV file with the columns `sample`, `spatial`, `reference` and
`condition`. Each gets a folder in OUTPUT; finished sections are not run again:

    spotmix run samplesheet.csv --output results"""


def run_command() -> Callable[..., None]:
    """Return the command ``run``, with one option per field of `Parameters`."""

    def run(
        spatial: Location,
        reference: Location | None = None,
        *,
        output: Path,
        cell_type_key: str = CELL_TYPE,
        layer: str | None = None,
        library_key: str | None = None,
        format: str | None = None,
        bin_um: float | None = None,
        image: Location | None = None,
        coordinates: Location | None = None,
        gem_bin: int | None = None,
        table: str | None = None,
        section: str | None = None,
        labels: Location | None = None,
        more_references: tuple[Location, ...] = (),
        report: bool = True,
        at_once: int = 0,
        dask: str | None = None,
        fix: Sequence[str] = (),
        **values: Any,
    ) -> None:
        given = dict(locals())
        for name in ("values", "at_once", "dask"):
            del given[name]
        _run(given | {"fix": tuple(fix)}, values, at_once, dask)

    signature = inspect.signature(run, eval_str=True)
    fixed = [parameter for name, parameter in signature.parameters.items() if name != "values"]
    fixed = [item.replace(annotation=Annotated[item.annotation, RUN_PARAMETERS[item.name]]) for item in fixed]
    options = [option(info) for info in describe()]
    run.__signature__ = signature.replace(parameters=[*fixed, *options])  # type: ignore[attr-defined]
    run.__annotations__ = {item.name: item.annotation for item in (*fixed, *options)} | {"return": None}
    run.__doc__ = RUN_HELP
    return run


def _run(given: dict[str, Any], values: dict[str, Any], at_once: int, dask: str | None) -> None:
    """Run one section or many.

    Parameters
    ----------
    given : dict
        Fields of `RunSpec`, including those without a value.
    values : dict
        Fields of `Parameters`, which may be wrong.
    at_once, dask
        As `run_cohort` takes them.
    """
    problems: list[str] = []
    parameters = attempted(problems, lambda: Parameters(**values)) or Parameters()
    if wrong := location_problems(given):
        raise InputError([*problems, *wrong])
    if is_sheet(given["spatial"], given["reference"]):
        sheet, output = Path(given.pop("spatial")), given.pop("output")
        defaults = given | parameters.as_dict()
        run_sheet(sheet, output, defaults, problems=problems, at_once=at_once, dask=dask)
        return
    if missing := section_problems(given["reference"], at_once, dask):
        raise InputError([*problems, *missing])
    run_and_report(RunSpec(**given, parameters=parameters), problems)


RUN_PARAMETERS = {
    "spatial": Parameter(
        converter=location_given,
        help="The tissue: a Space Ranger output folder (often called `outs`; Visium HD too), an .h5ad file "
        "with `obsm['spatial']`, or a table of counts (CSV, TSV, parquet, GEM). Raw counts. A URL works "
        "too. For many sections, a samplesheet.",
    ),
    "reference": Parameter(
        converter=location_given,
        help="Single cells with known types: an .h5ad or loom file; a 10x matrix or a table of counts, with "
        "a table of labels. Raw counts. Or a table of signatures (genes x cell types). A URL works too. "
        "Leave it out if a samplesheet names the references.",
    ),
    "output": Parameter(
        name=["--output", "-o"],
        converter=path_given,
        help="Folder for the results. It is made if it does not exist; other files in it are kept.",
        group=group("Files", 1),
    ),
    "cell_type_key": Parameter(
        help="Column of the reference's `obs` that holds the cell types.", group=group("Files", 1)
    ),
    "layer": Parameter(
        help="Layer that holds the raw counts, in both files (`raw` for the counts of `raw`); without it "
        "counts are taken from `X`.",
        group=group("Files", 1),
    ),
    "library_key": Parameter(
        help="Column of the tissue's `obs` with the section of each spot; spots of different sections are "
        "never neighbors.",
        group=group("Files", 1),
    ),
    "format": Parameter(
        help="Format of the tissue, if it could be read in more than one way: `visium_hd`, `space_ranger`, "
        "`h5ad`, `spatialdata`, `anndata_zarr`, `gem` or `tables`; without it the format is detected.",
        group=group("Files", 1),
    ),
    "bin_um": Parameter(
        help="Side of the bins of Visium HD, in micrometers; without it "
        f"{BIN_UM:g}, or the nearest size in the folder.",
        group=group("Files", 1),
    ),
    "image": Parameter(
        converter=location_given,
        help="The full-resolution image that was given to Space Ranger, if stored elsewhere: TIFF "
        "(OME-TIFF, BTF, SVS), PNG or JPEG.",
        group=group("Files", 1),
    ),
    "coordinates": Parameter(
        converter=location_given,
        help="The table with the coordinates of spots, for a table of counts in another folder or an .h5ad "
        "file without coordinates.",
        group=group("Files", 1),
    ),
    "gem_bin": Parameter(
        converter=whole_given,
        help="For a table of one count in each row: side of the bins, for Stereo-seq in DNBs of 0.5 um; "
        f"without it {GEM_BIN} for Stereo-seq, and for other tables each position is a spot.",
        group=group("Files", 1),
    ),
    "report": Parameter(
        help="Write `report.html` too: the result as a page for the browser.", group=group("Files", 1)
    ),
    "table": Parameter(
        help="For a SpatialData store: name of the table to read, or of the region that it annotates, "
        "if there are several.",
        group=group("Files", 1),
    ),
    "section": Parameter(
        help="For a file that holds several sections: the name of the one to use. Without it, all of them "
        "are estimated together, never as neighbors.",
        group=group("Files", 1),
    ),
    "labels": Parameter(
        converter=location_given,
        help="Table of cells and their types (CSV or TSV), if the reference has no labels and there is no "
        "`cell_types.csv` in the same folder.",
        group=group("Files", 1),
    ),
    "more_references": Parameter(
        converter=locations_given,
        consume_multiple=True,
        negative=(),
        show_default=False,
        help="Further references, joined with the first over the genes that all of them share.",
        group=group("Files", 1),
    ),
    "at_once": Parameter(
        converter=whole_given,
        help="Number of sections of a samplesheet to run at once; 0 chooses by cores and memory.",
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
        help="A fix to apply to the data after reading, as `spotmix check` suggests it. Repeat for each fix. "
        "The files are not changed.",
        group=group("Files", 1),
    ),
}


def is_sheet(spatial: Location, reference: Location | None) -> bool:
    """Whether a samplesheet is given: by its header, or as a table without a reference."""
    from napari_spotmix.workflow.cohort import is_samplesheet

    if not isinstance(spatial, Path):
        return False
    is_table = spatial.suffix.lower() in (".csv", ".tsv", ".txt")
    return is_samplesheet(spatial) or (reference is None and is_table)


def section_problems(reference: Location | None, at_once: int, dask: str | None) -> list[str]:
    """Return what one section lacks, or has that is for many."""
    words = "is for a samplesheet. Leave it out for one section."
    problems = [f"`{name}` {words}" for name, given in (("at_once", at_once), ("dask", dask)) if given]
    if reference is None:
        problems.append(
            "`reference` is missing: give a file of single cells with known types after the tissue. "
            "For many sections give a samplesheet instead, a CSV file."
        )
    return problems


def run_and_report(spec: RunSpec, problems: Sequence[str] = ()) -> None:
    """Run one section and print the outcome.

    Raises
    ------
    InputError
        `problems`, and everything that is wrong with the files and the output folder.
    """

    def work(on_progress: ProgressCallback) -> str:
        return finished_words(run_spec(spec, problems=problems, on_progress=on_progress), spec.output)

    say(cancellable(work))


def finished_words(done: Finished, output: Path | None) -> str:
    """Return the report of a run that has finished."""
    return _report(done.result.provenance.summary, list(done.result.notes), done.written, output or Path())


def _report(summary: str, notes: Sequence[str], written: Sequence[Path], output: Path) -> str:
    lines = [summary]
    lines += ["", "Notes:", *(f"  - {as_options(note)}" for note in notes)] if notes else []
    lines += ["", "Written:", *(f"  {path}" for path in written)]
    lines += ["", f"See it in napari: spotmix view {shlex.quote(str(output))}"]
    return "\n".join(lines)
