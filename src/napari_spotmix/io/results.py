"""Write the files of a result atomically: all of them, or none.

A process can be killed between two moves. Therefore ``recipe.toml`` is moved first and holds the checksum
(SHA-256) of its ``proportions.csv``, as does ``spatial.h5ad``, so that files of different runs are noticed.
Files left by a killed process are removed by the next one that writes to the same folder.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spotmix.base.errors import InputError, ReadError
from napari_spotmix.base.progress import Progress, ProgressCallback, silent
from napari_spotmix.io.atomic import (
    existing_parent,
    failures_reported,
    name_problem,
    only_writer,
    staging_folder,
    why_not_written,
)
from napari_spotmix.io.hdf5_blocks import write_in_blocks
from napari_spotmix.io.keeping import files_of_inputs, is_marked, is_one_of
from napari_spotmix.io.on_disk import without_matrices, write_matrices
from napari_spotmix.io.problems import as_read_error
from napari_spotmix.io.readers.options import DEFAULT, ReadOptions
from napari_spotmix.io.readers.safety import check_hdf5
from napari_spotmix.io.recipe import read_recipe, write_recipe
from napari_spotmix.io.safe_names import with_safe_names

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

__all__ = [
    "OUTPUTS",
    "REPORT",
    "check_complete",
    "check_writable",
    "output_problems",
    "report_problems",
    "write_h5ad",
    "write_outputs",
]


#: The files of a finished run.
OUTPUTS = ("spatial.h5ad", "proportions.csv", "recipe.toml")

#: An optional page for the browser in the same folder.
REPORT = "report.html"

_STAGE = "Writing results"

#: Rows of a table that are written at once; a cancel is noticed in between.
_BATCH = 20_000

#: Attribute of ``spatial.h5ad`` with the SHA-256 of the ``proportions.csv`` that was written with it.
_CHECKSUM = "spotmix_proportions_sha256"


def output_problems(
    directory: str | Path,
    inputs: Mapping[str, str | Path] | None = None,
    options: ReadOptions = DEFAULT,
) -> list[str]:
    """Return why results cannot be written to `directory`; an empty list if they can.

    Parameters
    ----------
    directory : path
        It need not exist. Only results of an earlier run are replaced.
    inputs : mapping of str to path, optional
        The inputs by role, which must not be replaced.
    options : ReadOptions
        How ``spatial`` is read.

    Examples
    --------
    >>> output_problems(Path(__file__) / "results")[0].startswith("`output`: cannot write to")
    True
    """
    directory = Path(directory)
    if problem := name_problem(directory):
        return [f"`output`: {problem}"]
    try:
        existing = existing_parent(directory)
        if not existing.is_dir():
            return [
                f"`output`: cannot write to {directory}, because {existing} is a file. Choose another folder."
            ]
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        words = why_not_written(error)
        return [f"`output`: cannot write to {directory} ({words}). Choose a folder that you can write to."]
    read = files_of_inputs(inputs or {}, options)
    with only_writer(directory):
        return [*_would_be_lost(directory, read), *report_problems(directory / REPORT)]


def report_problems(path: Path) -> list[str]:
    """Return why a report cannot be written to `path`: it is not a report of spotmix, and is not overwritten.

    Examples
    --------
    >>> report_problems(Path(__file__).with_name("report.html"))
    []
    """
    if not os.path.lexists(path) or is_marked(path):
        return []
    return [f"`output`: {path} is not a report of spotmix and is not overwritten. Choose another folder."]


def check_writable(directory: str | Path, inputs: Mapping[str, str | Path] | None = None) -> None:
    """Raise InputError if results cannot be written to `directory`; see `output_problems`."""
    if problems := output_problems(directory, inputs):
        raise InputError(problems)


def _would_be_lost(directory: Path, read: Mapping[Path, str]) -> list[str]:
    targets = [directory / name for name in OUTPUTS if os.path.lexists(directory / name)]
    problems = [
        f"`output`: {target} is the input `{role}` and is not overwritten. Choose another folder."
        for target in targets
        for role in dict.fromkeys(role for file, role in read.items() if is_one_of(target, [file]))
    ]
    if not problems and targets:
        problems = _not_ours(directory, targets)
    return problems


def _not_ours(directory: Path, targets: list[Path]) -> list[str]:
    """Return why the files in a folder are not all of a run of spotmix, unchanged since."""
    try:
        recipe = read_recipe(directory)
    except ReadError:
        recipe = {}
    expected = recipe.get("outputs", {}).get("proportions_sha256")
    table, spots = directory / OUTPUTS[1], directory / OUTPUTS[0]
    marked = _mark_of(spots)
    is_recipe_ours = expected is not None and ("napari-spotmix" in recipe["versions"] or marked == expected)
    if not is_recipe_ours or any(not target.is_file() for target in targets):
        found = ", ".join(target.name for target in targets)
        words = f"holds {found}, not made by an earlier run (no recipe.toml of spotmix was found)"
    elif spots.exists() and marked is None:
        words = f"holds {OUTPUTS[0]}, which another program has written"
    elif table.exists() and _sha256(table) not in (expected, marked):
        words = f"holds {OUTPUTS[1]}, which has changed since the run"
    else:
        return []
    return [f"`output`: {directory} {words}. Choose another folder."]


def _mark_of(spots: Path) -> str | None:
    """Return the checksum in a ``spatial.h5ad``; None if it is not there or another program wrote it."""
    try:
        return _stored_checksum(spots) if spots.is_file() else None
    except ReadError:
        return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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

    All of them are written to a staging folder first and then moved, so that after an error or `Cancelled`
    no file is left, nor an empty folder. Other files in `directory` are not modified. If the process is
    killed between two moves, `check_complete` reports it.

    Parameters
    ----------
    directory : path
        Created if it does not exist.
    adata : AnnData
        ``Result.to_anndata()``. Not modified.
    proportions : DataFrame, shape (n_spots, n_cell_types)
        Written with the names of spots in the first column.
    recipe : mapping
        As `make_recipe` returns it; the table ``outputs`` is added.
    report : str, optional
        HTML, written as ``report.html``. Without it, the report of an earlier run is removed.
    on_progress : callable, optional
        Called for each file; raises `Cancelled` to stop.

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
    with failures_reported(f"`output`: writing to {directory}"), staging_folder(directory) as stage:
        on_progress(Progress(_STAGE, 0, 3))
        checksum = _write_proportions(
            proportions, stage / OUTPUTS[1], lambda: on_progress(Progress(_STAGE, 0, 3))
        )
        on_progress(Progress(_STAGE, 1, 3))
        write_h5ad(adata, stage / OUTPUTS[0], check_cancelled=lambda: on_progress(Progress(_STAGE, 1, 3)))
        _set_checksum(stage / OUTPUTS[0], checksum)
        on_progress(Progress(_STAGE, 2, 3))
        write_recipe({**recipe, "outputs": {"proportions_sha256": checksum}}, stage / OUTPUTS[2])
        if report is not None:
            (stage / REPORT).write_text(report, encoding="utf-8", newline="\n")
        on_progress(Progress(_STAGE, 3, 3))
        return _move_into_place(stage, directory)


def _write_proportions(proportions: pd.DataFrame, path: Path, check_cancelled: Callable[[], None]) -> str:
    """Write the table and return the SHA-256 of the file."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for text in _csv(proportions, check_cancelled):
            digest.update(text)
            file.write(text)
    return digest.hexdigest()


def _csv(proportions: pd.DataFrame, check_cancelled: Callable[[], None]) -> Iterator[bytes]:
    """Yield the table as CSV, with names quoted if necessary and numbers at full precision."""
    yield proportions.iloc[:0].to_csv(index_label="spot", lineterminator="\n").encode()
    for start in range(0, len(proportions), _BATCH):
        check_cancelled()
        rows = proportions.iloc[start : start + _BATCH]
        names, numbers = map(_quoted, rows.index.astype(str)), _numbers(rows.to_numpy(np.float64))
        yield "".join([f"{name},{line}\n" for name, line in zip(names, numbers, strict=True)]).encode()


def _numbers(rows: NDArray[np.float64]) -> list[str]:
    """Return each row as a line of CSV; missing numbers are empty cells."""
    import pyarrow as pa
    from pyarrow import csv

    # pyarrow is several times faster than pandas, but would quote all names.
    columns = [pa.array(column, from_pandas=True) for column in rows.T]
    text = pa.BufferOutputStream()
    table = pa.Table.from_arrays(columns, names=[str(at) for at in range(len(columns))])
    csv.write_csv(table, text, csv.WriteOptions(include_header=False))
    return str(text.getvalue().to_pybytes(), "ascii").splitlines()


def _quoted(name: str) -> str:
    needs_quotes = any(letter in name for letter in ',"\n\r')
    return '"' + name.replace('"', '""') + '"' if needs_quotes else name


def _set_checksum(path: Path, checksum: str) -> None:
    import h5py

    with h5py.File(path, "a") as file:
        file.attrs[_CHECKSUM] = checksum


def _stored_checksum(path: Path) -> str | None:
    """Return the checksum of the ``proportions.csv`` of a file; None if another program wrote the file."""
    import h5py

    check_hdf5(path, path.parent)
    with as_read_error(path.parent, path.name), h5py.File(path, "r") as file:
        checksum = file.attrs.get(_CHECKSUM)
    return None if checksum is None else str(checksum)


def check_complete(directory: str | Path) -> None:
    """Check that the files in a folder are from one run, which was not killed while it moved them there.

    Folders without ``recipe.toml``, from older versions, are accepted; so is a ``spatial.h5ad`` that another
    program has written.

    Raises
    ------
    ReadError
        If ``spatial.h5ad`` is missing or from another run than ``recipe.toml``.
    """
    directory = Path(directory)
    if not (directory / OUTPUTS[2]).is_file():
        return
    expected = read_recipe(directory).get("outputs", {}).get("proportions_sha256")
    file = directory / OUTPUTS[0]
    found = _stored_checksum(file) if file.is_file() else ""
    if expected is not None and found is not None and found != expected:
        state = "is missing" if found == "" else "is from another run than `recipe.toml`"
        raise ReadError(
            directory,
            f"`{OUTPUTS[0]}` {state}: a run was killed while it wrote its files. "
            "Write them again with `spotmix rerun`, with this folder as its output.",
        )


def write_h5ad(
    adata: AnnData, path: str | Path, *, check_cancelled: Callable[[], None] = lambda: None
) -> None:
    """Write an AnnData; the same `adata` gives the same bytes.

    Matrices that are on disk are copied from file to file.

    Parameters
    ----------
    adata : AnnData
        Not modified. Names that HDF5 cannot store ("NK/T" as a column) are written with "_" for "/", and
        their original names in ``uns["spotmix_names"]``; `read_spatial` restores them.
    path : str or Path
        Replaced if it exists.
    check_cancelled : callable, optional
        Called several times a second; raises `Cancelled` to stop, which leaves an unfinished file.
    """
    import h5py

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # duplicate gene names are expected
        safe = with_safe_names(adata)
        # Without a cache, chunks are written at once. With one they are written when Python releases their
        # dataset, which a profiler in another thread (Dask's) delays, and so are stored in another order.
        with _nul_reported(), h5py.File(path, "w", rdcc_nbytes=0) as file:
            write_in_blocks(file, without_matrices(safe), check_cancelled)
            write_matrices(file, safe, check_cancelled)


@contextmanager
def _nul_reported() -> Iterator[None]:
    """Say what HDF5 cannot store: text of other formats and programs may hold any character."""
    try:
        yield
    except ValueError as error:
        if "embedded NUL" not in str(error):
            raise
        raise InputError(
            "A name or another text of the tissue holds a NUL character, which a result cannot store. "
            "Remove it from the data."
        ) from error


def _move_into_place(stage: Path, directory: Path) -> list[Path]:
    """Move the recipe first: if the process is killed then, the folder is known as ours, and incomplete."""
    directory.mkdir(parents=True, exist_ok=True)
    names = [*reversed(OUTPUTS), *(name for name in (REPORT,) if (stage / name).exists())]
    with only_writer(directory):
        # An outdated report is worse than none, if the process is killed from here on.
        (directory / REPORT).unlink(missing_ok=True)
        moved = {name: (stage / name).replace(directory / name) for name in names}
    return [moved[name] for name in (*OUTPUTS, REPORT) if name in moved]
