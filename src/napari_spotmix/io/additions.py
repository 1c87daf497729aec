"""What an analysis of a result writes: tables as CSV, and additions to the file of the result."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spotmix.base.errors import InputError, ReadError
from napari_spotmix.base.progress import Progress, ProgressCallback, silent
from napari_spotmix.io.atomic import name_problem, write_atomically
from napari_spotmix.io.keeping import is_one_of
from napari_spotmix.io.results import OUTPUTS

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["add_to_result", "result_file", "table_problems", "write_table"]

_STAGE = "Writing results"
#: Bytes that are copied at once: a cancel is noticed in between.
_CHUNK = 2**24


def result_file(path: str | Path) -> Path:
    """Return the file of a result that is given by its folder or by the file itself.

    Raises
    ------
    ReadError
        If it is not an HDF5 file, and cannot be added to.
    """
    import h5py

    path = Path(path)
    file = path / OUTPUTS[0] if path.is_dir() else path
    if file.is_dir() or not h5py.is_hdf5(file):
        raise ReadError(
            path, "can be read but not added to. Give a folder with `spatial.h5ad`, or an .h5ad file."
        )
    return file


def add_to_result(
    path: str | Path,
    *,
    obs: Mapping[str, pd.Series],
    uns: Mapping[str, Any],
    on_progress: ProgressCallback = silent,
) -> Path:
    """Add columns and tables to the file of a result, and leave all the rest of it as it is.

    A copy of the file is written and moved into place when it is whole. The checksum in it that says which
    ``proportions.csv`` belongs to it stays.

    Parameters
    ----------
    path : str or Path
        Folder of a run, or an ``.h5ad`` file.
    obs : mapping of str to Series of categories, shape (n_spots,)
        Columns by name; one of the same name is replaced.
    uns : mapping of str to DataFrame or str
        Entries by name; one of the same name is replaced, and None removes it.
    on_progress : callable, optional
        Called several times a second; it raises `Cancelled` to stop, and the file stays as it was.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    file = result_file(path)

    def write(copy: Path) -> None:
        _copy(file, copy, on_progress)
        _add(copy, obs, uns)

    return write_atomically(file, write)


def _copy(source: Path, target: Path, on_progress: ProgressCallback) -> None:
    total = max(source.stat().st_size // _CHUNK, 1)
    with source.open("rb") as given, target.open("wb") as copy:
        for step in range(total + 1):
            on_progress(Progress(_STAGE, step, total))
            copy.write(given.read(_CHUNK))


def _add(path: Path, obs: Mapping[str, pd.Series], uns: Mapping[str, Any]) -> None:
    import h5py
    from anndata.io import write_elem

    with h5py.File(path, "r+") as file:
        columns = file["obs"]
        for name, values in obs.items():
            columns.pop(name, None)
            write_elem(columns, name, values.array)
        known = [str(name) for name in columns.attrs["column-order"]]
        order = list(dict.fromkeys([*known, *obs]))
        columns.attrs["column-order"] = np.array(order, dtype=h5py.string_dtype())
        entries = file.require_group("uns")
        for name, value in uns.items():
            entries.pop(name, None)
            if value is not None:
                write_elem(entries, name, value)


def table_problems(path: Path, columns: Iterable[str], kept: Iterable[Path] = ()) -> list[str]:
    """Say why a table cannot be written to `path`; an empty list if it can.

    Parameters
    ----------
    path : Path
        A file there is replaced only if it is a table with these columns.
    columns : iterable of str
        Its first columns.
    kept : iterable of Path
        Files that are read, and must not be replaced.

    Examples
    --------
    >>> table_problems(Path("niches.csv"), ["spot", "niche"])
    []
    >>> table_problems(Path("niches.xlsx"), ["spot", "niche"])
    ['`output`: niches.xlsx must end in .csv.']
    """
    if path.suffix.lower() != ".csv":
        return [f"`output`: {path} must end in .csv."]
    if path.is_dir():
        return [f"`output`: {path} is a folder. Give the name of a file."]
    if not path.absolute().parent.is_dir():
        return [f"`output`: {path}: the folder {path.absolute().parent} does not exist. Create it first."]
    if problem := name_problem(path):
        return [f"`output`: {problem}"]
    if not os.path.lexists(path):
        return []
    if is_one_of(path, kept):
        return [f"`output`: {path} is an input and is not overwritten. Choose another name."]
    try:
        with path.open("rb") as file:
            is_ours = file.readline(4096).rstrip(b"\r\n").startswith(",".join(columns).encode())
    except OSError:
        is_ours = False
    return (
        []
        if is_ours
        else [f"`output`: {path} is not a table of this command and is not overwritten. Choose another name."]
    )


def write_table(path: Path, table: pd.DataFrame, kept: Iterable[Path] = ()) -> Path:
    """Write a table with its index as CSV, completely or not at all.

    Raises
    ------
    InputError
        If it cannot be written there (`table_problems`).
    """
    if problems := table_problems(path, table.reset_index().columns[:3], kept):
        raise InputError(problems)
    text = table.to_csv(lineterminator="\n")
    return write_atomically(path, lambda target: target.write_text(text, encoding="utf-8", newline=""))
