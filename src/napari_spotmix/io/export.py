"""Keep a result: written aside first and then moved into place, so that a run leaves all or nothing."""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_spotmix.errors import InputError, ReadError
from napari_spotmix.io._names import with_safe_names
from napari_spotmix.io.on_disk import without_matrices, write_matrices
from napari_spotmix.io.recipe import files_read, read_recipe, write_recipe
from napari_spotmix.progress import Progress, ProgressCallback, silent

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = [
    "OUTPUTS",
    "REPORT",
    "check_writable",
    "discard_unfinished",
    "output_problems",
    "report_problems",
    "write_aside",
    "write_h5ad",
    "write_outputs",
]

#: What a finished run consists of.
OUTPUTS = ("spatial.h5ad", "proportions.csv", "recipe.toml")
#: What may stand beside it: a page to look at.
REPORT = "report.html"
#: By which our pages are known.
_GENERATOR = b'<meta name="generator" content="napari-spotmix">'
_STAGE = "Writing results"
_unfinished: set[Path] = set()


def output_problems(directory: str | Path, inputs: Mapping[str, str | Path] | None = None) -> list[str]:
    """Say why results cannot be written to `directory`; an empty list if they can.

    Parameters
    ----------
    directory : path
        It need not exist. Results of an earlier run in it may be replaced, nothing else.
    inputs : mapping of str to path, optional
        What is read, by role; none of it may be replaced.

    Examples
    --------
    >>> output_problems(Path(__file__) / "results")[0].startswith("`output`: cannot write to")
    True
    """
    directory = Path(directory)
    try:
        existing = _existing(directory)
        if not existing.is_dir():
            return [
                f"`output`: cannot write to {directory}, since {existing} is a file. Choose another folder."
            ]
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        words = error.strerror or str(error)
        return [f"`output`: cannot write to {directory} ({words}). Choose a folder that you may write to."]
    return [*_would_be_lost(directory, inputs or {}), *report_problems(directory / REPORT)]


def report_problems(path: Path) -> list[str]:
    """Say whether a page that is no report of ours stands where one would be written.

    Examples
    --------
    >>> report_problems(Path(__file__).with_name("report.html"))
    []
    """
    try:
        with path.open("rb") as file:
            is_ours = _GENERATOR in file.read(400)
    except FileNotFoundError:
        return []
    except OSError:
        is_ours = False
    return [] if is_ours else [f"`output`: {path} is no report of spotmix and is kept. Choose another place."]


def check_writable(directory: str | Path, inputs: Mapping[str, str | Path] | None = None) -> None:
    """Raise InputError if results cannot be written to `directory`; see `output_problems`."""
    if problems := output_problems(directory, inputs):
        raise InputError(problems)


def _existing(directory: Path) -> Path:
    """Return `directory` or the nearest folder above it that exists."""
    return next(path for path in (directory, *directory.absolute().parents) if os.path.lexists(path))


def _would_be_lost(directory: Path, inputs: Mapping[str, str | Path]) -> list[str]:
    targets = [directory / name for name in OUTPUTS if (directory / name).exists()]
    read = {file.resolve(): role for role, path in inputs.items() for file in _files_or_none(path)}
    problems = [
        f"`output`: {target} is the input `{read[target.resolve()]}` and is kept. Choose another folder."
        for target in targets
        if target.resolve() in read
    ]
    if not problems and targets and not _is_finished_run(directory):
        found = ", ".join(target.name for target in targets)
        problems = [
            f"`output`: {directory} holds {found}, not made by an earlier run "
            "(there is no recipe.toml of spotmix). Choose another folder."
        ]
    return problems


def _files_or_none(path: str | Path) -> list[Path]:
    try:
        return files_read(path)
    except ReadError:
        return []


def _is_finished_run(directory: Path) -> bool:
    try:
        read_recipe(directory)
    except ReadError:
        return False
    return not any((directory / name).is_dir() for name in OUTPUTS)


def write_outputs(
    directory: str | Path,
    *,
    adata: AnnData,
    proportions: pd.DataFrame,
    recipe: Mapping[str, Any],
    report: str | None = None,
    on_progress: ProgressCallback = silent,
) -> list[Path]:
    """Write ``spatial.h5ad``, ``proportions.csv`` and ``recipe.toml`` into `directory`.

    All of them are written beside their place and then moved, so that on an error or `Cancelled`
    nothing is left behind, not even an empty folder. Other files in `directory` are not touched.

    Parameters
    ----------
    directory : path
        Made if it does not exist.
    adata : AnnData
        ``Result.to_anndata()``. Not modified.
    proportions : DataFrame, shape (n_spots, n_cell_types)
        Written with the names of spots in the first column.
    recipe : mapping
        As `make_recipe` returns it.
    report : str, optional
        HTML, written as ``report.html``. Without it that of an earlier run, which tells of other results,
        is removed.
    on_progress : callable, optional
        Told before each file; raises `Cancelled` to stop.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    InputError
        If the folder cannot be written to, or the disk is full.
    """
    directory = Path(directory)
    check_writable(directory)
    try:
        with _aside(directory) as stage:
            on_progress(Progress(_STAGE, 0, 3))
            write_h5ad(adata, stage / OUTPUTS[0])
            on_progress(Progress(_STAGE, 1, 3))
            proportions.to_csv(stage / OUTPUTS[1], index_label="spot", lineterminator="\n", encoding="utf-8")
            on_progress(Progress(_STAGE, 2, 3))
            write_recipe(recipe, stage / OUTPUTS[2])
            if report is not None:
                (stage / REPORT).write_text(report, encoding="utf-8", newline="\n")
            on_progress(Progress(_STAGE, 3, 3))
            return _move(stage, directory)
    except OSError as error:
        words = error.strerror or str(error)
        raise InputError(f"`output`: writing to {directory} failed ({words}). Nothing was kept.") from error


def write_h5ad(adata: AnnData, path: str | Path) -> None:
    """Write `adata`, not modified, with names made safe for the file; `read_spatial` restores them.

    Names that HDF5 cannot hold ("NK/T" as a column) get "_" for "/" in the file, with the true
    names in ``uns["spotmix_names"]``. Matrices that are on disk are copied from file to file.
    """
    import anndata
    import h5py

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # duplicate gene names are expected, and kept
        safe = with_safe_names(adata)
        tables = without_matrices(safe)
        anndata.io.write_h5ad(path, tables, convert_strings_to_categoricals=False, compression="gzip")
    if tables is not safe:
        with h5py.File(path, "a") as file:
            write_matrices(file, safe)


def write_aside(path: str | Path, write: Callable[[Path], Any]) -> Path:
    """Have one file written beside its place and move it there, so that there is all of it or nothing.

    Parameters
    ----------
    path : path
        The file; it is replaced if it exists. Its folder must exist.
    write : callable
        Given the path to write to, which has the same name.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    InputError
        If it cannot be written there.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder. Give the name of a file.")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.absolute().parent}. Make it first.")
    try:
        with _aside(path.absolute().parent) as stage:
            write(stage / path.name)
            return (stage / path.name).replace(path)
    except OSError as error:
        words = error.strerror or str(error)
        raise InputError(f"Writing {path} failed ({words}). Nothing was kept.") from error


def discard_unfinished() -> None:
    """Remove what is being written just now; only for a process that is about to end."""
    for stage in list(_unfinished):
        shutil.rmtree(stage, ignore_errors=True)


@contextmanager
def _aside(directory: Path) -> Iterator[Path]:
    """Give a folder to write into, on the same file system as `directory`; remove it in the end."""
    stage = Path(tempfile.mkdtemp(prefix=".spotmix-", dir=_existing(directory)))
    _unfinished.add(stage)
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        _unfinished.discard(stage)


def _move(stage: Path, directory: Path) -> list[Path]:
    directory.mkdir(parents=True, exist_ok=True)
    # A report of other results is worse than none, whatever happens from here on.
    (directory / REPORT).unlink(missing_ok=True)
    names = [*OUTPUTS, *(name for name in (REPORT,) if (stage / name).exists())]
    return [(stage / name).replace(directory / name) for name in names]
