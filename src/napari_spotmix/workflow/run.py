"""One run, the same for the command line, a samplesheet, a recipe and the window in napari."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_spotmix.base.errors import InputError, attempted
from napari_spotmix.base.progress import ProgressCallback, silent
from napari_spotmix.model.compilation import begin_to_compile
from napari_spotmix.workflow.recipe import checksums_of, fetched_spec, recipe_of
from napari_spotmix.workflow.spec import RunSpec

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_spotmix.result import Result

__all__ = ["Data", "Finished", "run", "save"]


@dataclass(frozen=True)
class Data:
    """The spots and the reference of a run, in memory, with the fixes of its `RunSpec` applied."""

    spatial: AnnData
    reference: AnnData


@dataclass(frozen=True)
class Finished:
    """A result, whose counts may have been closed, and the files that it was written to."""

    result: Result
    written: list[Path]


def run(
    spec: RunSpec,
    data: Data | None = None,
    *,
    problems: Sequence[str] = (),
    sums: Mapping[str, Any] | None = None,
    on_progress: ProgressCallback = silent,
) -> Finished:
    """Read, fix, deconvolve and write.

    Parameters
    ----------
    spec : RunSpec
        Without an output, nothing is written.
    data : Data, optional
        What `spec` names, read and fixed already; then nothing is read.
    problems : sequence of str, optional
        What is known to be wrong already, to be reported with what is wrong with the files.
    sums : mapping, optional
        What `checksums_of` returns, if it is known already.
    on_progress : callable, optional
        As for `deconvolve`.

    Raises
    ------
    InputError
        Everything that is wrong with the parameters, the files and the output folder.
    Cancelled
        If `on_progress` raised it; nothing is left behind.
    """
    begin_to_compile()  # while files are read
    with _data(spec, data, list(problems), on_progress) as ready:
        from napari_spotmix.workflow.deconvolve import deconvolve  # compiles: only for input that can be used
        from napari_spotmix.workflow.provenance import with_fixes

        if spec.output is not None and sums is None:
            sums = checksums_of(spec, on_progress=on_progress)
        result = deconvolve(
            ready.spatial, ready.reference, params=spec.parameters, on_progress=on_progress, **spec.settings
        )
        result = with_fixes(result, spec.fix)
        if spec.output is None:
            return Finished(result, [])
        return Finished(result, save(result, spec, spec.output, sums=sums, on_progress=on_progress))


def save(
    result: Result,
    spec: RunSpec,
    folder: Path,
    *,
    sums: Mapping[str, Any] | None = None,
    on_progress: ProgressCallback = silent,
) -> list[Path]:
    """Write a result with the recipe of its run, and the report if the run has one.

    Parameters
    ----------
    result : Result
    spec : RunSpec
        The run that has made it; inputs that were in memory are not in the recipe.
    folder : Path
        Made if it does not exist; files of an earlier run are replaced.
    sums : mapping, optional
        What `checksums_of` returns, if it is known already.
    on_progress : callable, optional
        Raises `Cancelled` to stop; then nothing is left behind.

    Returns
    -------
    list of Path
        The files written.
    """
    from napari_spotmix.io import run_cancellable, write_outputs

    if sums is None:
        sums = checksums_of(spec, on_progress=on_progress)
    return write_outputs(
        folder,
        adata=run_cancellable(result.to_anndata, "Gathering results", on_progress),
        proportions=result.proportions,
        recipe=recipe_of(spec, sums, result.parameters),
        report=_report(result, sums, on_progress) if spec.report else None,
        on_progress=on_progress,
    )


def _report(result: Result, sums: Mapping[str, Any], on_progress: ProgressCallback) -> str:
    from napari_spotmix.output.report import make_report

    return make_report(result, sums, on_progress=on_progress)


@contextmanager
def _data(
    spec: RunSpec, data: Data | None, problems: list[str], on_progress: ProgressCallback
) -> Iterator[Data]:
    """Give the data of a run, read unless they are given; close their files in the end."""
    if data is not None:
        if problems:
            raise InputError(problems)
        yield data
        return
    from napari_spotmix.io import close_files

    read: list[AnnData] = []
    try:
        yield _read(fetched_spec(spec, on_progress=on_progress), problems, read, on_progress)
    finally:
        for one in read:
            close_files(one)


def _read(spec: RunSpec, problems: list[str], read: list[AnnData], on_progress: ProgressCallback) -> Data:
    """Read and fix both inputs; report all that is wrong before the long run, with `problems`.

    What has been read is added to `read`, also if something is wrong.
    """
    from napari_spotmix.dataset.fixes import apply_fixes, parse_fixes
    from napari_spotmix.io import output_problems

    if spec.output is not None:
        problems += output_problems(spec.output, spec.inputs, spec.reading)
    fixes = attempted(problems, lambda: parse_fixes(spec.fix))
    spatial = attempted(problems, lambda: _spots(spec, on_progress))
    read += [] if spatial is None else [spatial]
    reference = attempted(problems, lambda: _cells(spec, on_progress))
    read += [] if reference is None else [reference]
    both = None if spatial is None or reference is None else (spatial, reference)
    if both is not None and fixes:
        given, key = both, spec.cell_type_key
        both = attempted(problems, lambda: apply_fixes(*given, fixes, cell_type_key=key)) or given
    if problems:
        raise InputError([*problems, *(_problems_inside(*both, spec) if both else [])])
    if both is None:
        raise RuntimeError("Both inputs are read, or a problem is reported.")
    return Data(*both)


def _spots(spec: RunSpec, on_progress: ProgressCallback) -> AnnData:
    from napari_spotmix.io import is_large, read_spatial

    if spec.spatial is None:
        raise InputError("`spatial` is missing: give a file or folder with spots.")
    backed = is_large(spec.spatial, spec.reading)
    return read_spatial(spec.spatial, **asdict(spec.reading), backed=backed, on_progress=on_progress)


def _cells(spec: RunSpec, on_progress: ProgressCallback) -> AnnData:
    from napari_spotmix.io import is_large, read_reference

    if spec.reference is None:
        raise InputError("`reference` is missing: give a file of single cells with known types.")
    return read_reference(
        spec.references,
        cell_type_key=spec.cell_type_key,
        labels=spec.labels,
        backed=is_large(spec.reference),
        on_progress=on_progress,
    )


def _problems_inside(spatial: AnnData, reference: AnnData, spec: RunSpec) -> list[str]:
    """Return what else is wrong with files that could be read; `deconvolve` reports it if nothing else is."""
    from napari_spotmix.dataset.finding import messages_with_fixes
    from napari_spotmix.dataset.validation import check

    return messages_with_fixes(check(spatial, reference, **spec.settings))
