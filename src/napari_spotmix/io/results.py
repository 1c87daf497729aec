"""Keep a result: written aside first and then moved into place, so that a run leaves all or nothing.

A process can be killed between two moves. So ``recipe.toml`` is moved first and tells which
``proportions.csv`` belongs to it, by SHA-256; so does ``spatial.h5ad``: files of two runs are not taken for
one. What a killed process has left beside is removed by the next that writes there.
"""

from __future__ import annotations

import hashlib
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spotmix.base.errors import InputError, ReadError
from napari_spotmix.base.progress import Progress, ProgressCallback, silent
from napari_spotmix.io.hdf5_blocks import write_in_pieces
from napari_spotmix.io.on_disk import without_matrices, write_matrices
from napari_spotmix.io.problems import reported
from napari_spotmix.io.recipe import input_files, read_recipe, write_recipe
from napari_spotmix.io.safe_names import with_safe_names

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray
from napari_spotmix.io.atomic import aside, existing_parent, reason

__all__ = [
    "OUTPUTS",
    "REPORT",
    "check_whole",
    "check_writable",
    "output_problems",
    "report_problems",
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

#: Rows of a table that are written at once: a cancel is heard in between.
_BATCH = 20_000

#: Attribute of ``spatial.h5ad`` with the SHA-256 of the ``proportions.csv`` that was written with it.
_BELONGS_TO = "spotmix_proportions_sha256"


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
        existing = existing_parent(directory)
        if not existing.is_dir():
            return [
                f"`output`: cannot write to {directory}, since {existing} is a file. Choose another folder."
            ]
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        words = reason(error)
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


def _would_be_lost(directory: Path, inputs: Mapping[str, str | Path]) -> list[str]:
    targets = [directory / name for name in OUTPUTS if (directory / name).exists()]
    read = {file.resolve(): role for role in inputs for file in _files_or_none(role, inputs)}
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


def _files_or_none(role: str, inputs: Mapping[str, str | Path]) -> list[Path]:
    try:
        return input_files(role, inputs)
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
    nothing is left behind, not even an empty folder. Other files in `directory` are not touched. Where
    the process is killed between two moves, `check_whole` tells it.

    Parameters
    ----------
    directory : path
        Made if it does not exist.
    adata : AnnData
        ``Result.to_anndata()``. Not modified.
    proportions : DataFrame, shape (n_spots, n_cell_types)
        Written with the names of spots in the first column.
    recipe : mapping
        As `make_recipe` returns it; written with a table ``outputs`` more.
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
        with aside(directory) as stage:
            on_progress(Progress(_STAGE, 0, 3))
            mark = _write_proportions(
                proportions, stage / OUTPUTS[1], lambda: on_progress(Progress(_STAGE, 0, 3))
            )
            on_progress(Progress(_STAGE, 1, 3))
            write_h5ad(adata, stage / OUTPUTS[0], tell=lambda: on_progress(Progress(_STAGE, 1, 3)))
            _set_mark(stage / OUTPUTS[0], mark)
            on_progress(Progress(_STAGE, 2, 3))
            write_recipe({**recipe, "outputs": {"proportions_sha256": mark}}, stage / OUTPUTS[2])
            if report is not None:
                (stage / REPORT).write_text(report, encoding="utf-8", newline="\n")
            on_progress(Progress(_STAGE, 3, 3))
            return _move(stage, directory)
    except OSError as error:
        words = reason(error)
        raise InputError(f"`output`: writing to {directory} failed ({words}). Nothing was kept.") from error


def _write_proportions(proportions: pd.DataFrame, path: Path, tell: Callable[[], None]) -> str:
    """Write the table and return the SHA-256 of the file."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for text in _csv(proportions, tell):
            digest.update(text)
            file.write(text)
    return digest.hexdigest()


def _csv(proportions: pd.DataFrame, tell: Callable[[], None]) -> Iterator[bytes]:
    """Yield the table as CSV, names quoted where they need it, numbers with all their digits."""
    yield proportions.iloc[:0].to_csv(index_label="spot", lineterminator="\n").encode()
    for start in range(0, len(proportions), _BATCH):
        tell()
        rows = proportions.iloc[start : start + _BATCH]
        names, numbers = map(_quoted, rows.index.astype(str)), _numbers(rows.to_numpy(np.float64))
        yield "".join([f"{name},{line}\n" for name, line in zip(names, numbers, strict=True)]).encode()


def _numbers(rows: NDArray[np.float64]) -> list[str]:
    """Return each row as a line of CSV; a number that is not known is left out."""
    import pyarrow as pa
    from pyarrow import csv

    # Several times as quick as pandas or Python; but names would all be quoted.
    columns = [pa.array(column, from_pandas=True) for column in rows.T]
    text = pa.BufferOutputStream()
    table = pa.Table.from_arrays(columns, names=[str(at) for at in range(len(columns))])
    csv.write_csv(table, text, csv.WriteOptions(include_header=False))
    return str(text.getvalue().to_pybytes(), "ascii").splitlines()


def _quoted(name: str) -> str:
    needs_quotes = any(letter in name for letter in ',"\n\r')
    return '"' + name.replace('"', '""') + '"' if needs_quotes else name


def _set_mark(path: Path, mark: str) -> None:
    import h5py

    with h5py.File(path, "a") as file:
        file.attrs[_BELONGS_TO] = mark


def _mark_of(path: Path) -> str | None:
    """Return what a file says it belongs to; None where it says nothing, as when others have changed it."""
    import h5py

    with reported(path.parent, path.name), h5py.File(path, "r") as file:
        mark = file.attrs.get(_BELONGS_TO)
    return None if mark is None else str(mark)


def check_whole(directory: str | Path) -> None:
    """Refuse a folder in which a run was killed while it moved its files into place.

    A folder without ``recipe.toml``, as of an older version, is taken as it is; so is a ``spatial.h5ad`` that
    another program has written again.

    Raises
    ------
    ReadError
        If ``spatial.h5ad`` is missing or of another run than ``recipe.toml``.
    """
    directory = Path(directory)
    if not (directory / OUTPUTS[2]).is_file():
        return
    expected = read_recipe(directory).get("outputs", {}).get("proportions_sha256")
    file = directory / OUTPUTS[0]
    found = _mark_of(file) if file.is_file() else ""
    if expected is not None and found is not None and found != expected:
        state = "is missing" if found == "" else "is of another run than `recipe.toml`"
        raise ReadError(
            directory,
            f"`{OUTPUTS[0]}` {state}: a run was ended while it wrote its files. "
            "Make them again with `spotmix rerun`, and this folder as its output.",
        )


def write_h5ad(adata: AnnData, path: str | Path, *, tell: Callable[[], None] = lambda: None) -> None:
    """Write `adata`, not modified, with names made safe for the file; `read_spatial` restores them.

    Names that HDF5 cannot hold ("NK/T" as a column) get "_" for "/" in the file, with the true
    names in ``uns["spotmix_names"]``. Matrices that are on disk are copied from file to file. `tell` is
    called several times a second; what it raises ends the writing, and leaves an unfinished file. The same
    `adata` gives the same bytes.
    """
    import h5py

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # duplicate gene names are expected, and kept
        safe = with_safe_names(adata)
        # Chunks go to the file at once: kept in a cache they would go when Python happens to let go of their
        # dataset, which a profiler in another thread (as that of Dask) puts off, and lie in another order.
        with h5py.File(path, "w", rdcc_nbytes=0) as file:
            write_in_pieces(file, without_matrices(safe), tell)
            write_matrices(file, safe, tell)


def _move(stage: Path, directory: Path) -> list[Path]:
    """Move the recipe first: whatever happens then, the folder is known for ours, and what it lacks."""
    directory.mkdir(parents=True, exist_ok=True)
    # A report of other results is worse than none, whatever happens from here on.
    (directory / REPORT).unlink(missing_ok=True)
    names = [*reversed(OUTPUTS), *(name for name in (REPORT,) if (stage / name).exists())]
    moved = {name: (stage / name).replace(directory / name) for name in names}
    return [moved[name] for name in (*OUTPUTS, REPORT) if name in moved]
