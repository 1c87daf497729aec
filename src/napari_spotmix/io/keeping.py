"""What may be replaced: never a file that was read, and otherwise only what spotmix is known to have written.

Most files carry a mark: a report its generator, a figure its creator, GeoJSON a member, parquet metadata. A
CSV file cannot carry one, so an existing one is kept unless replacing it was asked for. The files of a run
are known by their checksums (`io.results`).
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from napari_spotmix.base.errors import InputError, ReadError
from napari_spotmix.base.urls import is_url
from napari_spotmix.io.atomic import name_problem
from napari_spotmix.io.readers.options import DEFAULT, ReadOptions
from napari_spotmix.io.recipe import input_files, read_recipe

__all__ = [
    "MARK",
    "check_replaceable",
    "files_behind",
    "files_of_inputs",
    "is_marked",
    "is_one_of",
    "replace_problems",
]

#: Who has made a file, as its metadata say.
MARK = "napari-spotmix"

#: The bytes of the mark by suffix, and in how much of the beginning they are; None for anywhere.
_MARKS: Mapping[str, tuple[bytes, int | None]] = {
    ".html": (b'<meta name="generator" content="napari-spotmix">', 400),
    ".htm": (b'<meta name="generator" content="napari-spotmix">', 400),
    ".png": (b"Creator\0napari-spotmix", 4096),
    ".svg": (b"<dc:title>napari-spotmix</dc:title>", 8192),
    ".pdf": (b"/Creator (napari-spotmix)", None),
    ".geojson": (b'"generator": "napari-spotmix"', 200),
}


def replace_problems(
    path: Path, read: Iterable[Path] = (), *, overwrite: bool = False, name: str = "output"
) -> list[str]:
    """Return why a file must not be written to `path`; an empty list if it may.

    Parameters
    ----------
    path : Path
        The file to write.
    read : iterable of Path
        Files that are read, or that a result was made of; they are never replaced, by whatever path or link.
    overwrite : bool, optional
        Whether to replace a file that is not known to be ours.
    name : str, optional
        Of the argument with the path.

    Examples
    --------
    >>> replace_problems(Path("new.csv"))
    []
    >>> replace_problems(Path(__file__), overwrite=True)
    []
    >>> len(replace_problems(Path(__file__), [Path(__file__).parent / ".." / "io" / "keeping.py"]))
    1
    """
    if problem := name_problem(path):
        return [f"`{name}`: {problem}"]
    if not os.path.lexists(path) or path.is_dir():  # the folder is refused when it is written to
        return []
    if is_one_of(path, read):
        return [f"`{name}`: {path} was read, or holds the result, and is kept. Choose another name."]
    if path.exists() and not path.is_file():
        return [f"`{name}`: {path} is not a regular file and is kept. Choose another name."]
    if overwrite or is_marked(path):
        return []
    return [
        f"`{name}`: {path} exists and is not known to be written by spotmix, and is kept. Choose another "
        "name, or replace it with `overwrite`."
    ]


def check_replaceable(path: Path, inputs: Mapping[str, Path], name: str = "output") -> None:
    """Raise InputError if `path` is a file of one of the inputs; for a file that was chosen in a dialog.

    The dialog has asked whether to replace any other file.
    """
    read = files_of_inputs(inputs)
    if problems := replace_problems(path, read, overwrite=True, name=name):
        raise InputError(problems)


def is_one_of(path: Path, files: Iterable[Path]) -> bool:
    """Return whether a file is one of others: by another spelling, a symbolic or a hard link too."""
    try:
        own = path.stat()
    except (OSError, ValueError):
        return False
    return any(_has(other, own) for other in files)


def _has(path: Path, stat: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.stat(), stat)
    except (OSError, ValueError):
        return False


def is_marked(path: Path) -> bool:
    """Return whether a file carries the mark of spotmix; False if it cannot be read."""
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            return _is_marked_parquet(path)
        if suffix not in _MARKS or not path.stat().st_size:
            return False
        mark, within = _MARKS[suffix]
        with path.open("rb") as file:
            if within is not None:
                return mark in file.read(within)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return content.find(mark) >= 0
    except (OSError, ValueError):
        return False


def _is_marked_parquet(path: Path) -> bool:
    from pyarrow import parquet

    with path.open("rb") as file:
        metadata = parquet.read_schema(file).metadata or {}
    return bool(metadata.get(b"generator") == MARK.encode())


def files_behind(result: Path) -> list[Path]:
    """Return the files of a result, and those that its run has read as its recipe names them.

    Parameters
    ----------
    result : Path
        Folder of a run, or an ``.h5ad`` file.
    """
    folder = result if result.is_dir() else result.parent
    files = [result, *(folder / name for name in ("spatial.h5ad", "proportions.csv", "recipe.toml"))]
    try:
        inputs = read_recipe(folder).get("inputs", {})
    except ReadError:
        return files
    for entry in inputs.values():
        if not is_url(entry["path"]):
            given = Path(entry["path"])
            # Labels that were found automatically may be in the parent folder.
            names = [one["name"] for one in entry["files"]]
            files += [given, *(home / name for home in (given, given.parent) for name in names)]
    return files


def files_of_inputs(inputs: Mapping[str, str | Path], options: ReadOptions = DEFAULT) -> dict[Path, str]:
    """Return the files that are read for the inputs of a run, each with its role."""
    found: dict[Path, str] = {}
    for role, given in inputs.items():
        if is_url(given):
            continue
        try:
            files = input_files(role, inputs, options if role == "spatial" else DEFAULT)
        except ReadError:  # reported where it is read
            files = []
        found |= dict.fromkeys((Path(given), *files), role)
    return found
