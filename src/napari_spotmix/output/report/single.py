"""The report of one section."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_spotmix.base.errors import InputError, ReadError
from napari_spotmix.base.progress import ProgressCallback, silent
from napari_spotmix.base.text import quoted
from napari_spotmix.io import close_files, is_large, read_recipe, write_atomically
from napari_spotmix.io.keeping import files_behind, replace_problems
from napari_spotmix.io.readers.detect import display_name
from napari_spotmix.io.results import REPORT, report_problems
from napari_spotmix.output.report.content import content_of
from napari_spotmix.output.report.page import page
from napari_spotmix.result import read_result

if TYPE_CHECKING:
    from napari_spotmix.result import Result

__all__ = ["make_report", "write_report"]


#: Suffixes of pages.
_PAGES = (".html", ".htm")


def make_report(
    result: Result,
    inputs: Mapping[str, Any] | None = None,
    *,
    title: str = "",
    on_progress: ProgressCallback = silent,
) -> str:
    """Return the report of a result as one self-contained HTML page.

    Parameters
    ----------
    result : Result
        Its counts are not read.
    inputs : mapping, optional
        The files that were read, as `io.checksums` returns them.
    title : str, optional
        Name of the section; by default the name of its file or folder.
    on_progress : callable, optional
        Called after each map and block of spots; raises `Cancelled` to stop.

    Returns
    -------
    str
        HTML, the same for the same result.

    Raises
    ------
    InputError
        If no spot has coordinates.

    Notes
    -----
    Time and size grow with the number of types times that of spots, until spots are smaller than a pixel. The
    tissue image is in the page once.

    Examples
    --------
    >>> from napari_spotmix import deconvolve, simulate
    >>> tissue = simulate(n_spots=60, n_genes=120, n_cell_types=4)
    >>> result = deconvolve(tissue.spatial, tissue.reference, lambda_c=0.1)
    >>> html = make_report(result, title="Gut")
    >>> "<h1><bdi>Gut</bdi></h1>" in html, "<script" in html
    (True, False)
    """
    inputs = inputs or {}
    return page("section.html", **content_of(result, inputs, title or _name_of(inputs), on_progress))


def _name_of(inputs: Mapping[str, Any]) -> str:
    spatial = inputs.get("spatial")
    path = str(spatial.get("path", "")) if isinstance(spatial, Mapping) else ""
    return display_name(Path(path)) if path else "Cell types of a section"


def write_report(
    path: str | Path,
    output: str | Path | None = None,
    *,
    overwrite: bool = False,
    on_progress: ProgressCallback = silent,
) -> Path:
    """Write the report of a finished run.

    Parameters
    ----------
    path : path
        Folder of the run, or an ``.h5ad`` file with a result.
    output : path, optional
        The page; by default ``report.html`` in the folder of the result. An older report is replaced.
    overwrite : bool, optional
        Whether to replace another file too; never one that the run has read.
    on_progress : callable, optional
        As for `make_report`.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    ReadError
        If there is no result, or it is damaged.
    InputError
        If the page does not end with ".html", would replace another file, or cannot be written.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    file = folder / REPORT if output is None else Path(output)
    if file.suffix.lower() not in _PAGES:  # a mistake would replace a file of another kind
        raise InputError(f"`output` must end with .html, found {quoted(file.name)}.")
    problems = replace_problems(file, files_behind(path), overwrite=overwrite)
    if problems and output is None and not overwrite:
        problems = report_problems(file)
    if problems:
        raise InputError(problems)
    result = read_result(path, backed=_is_large(path), on_progress=on_progress)
    try:
        html = make_report(result, _inputs_of(path), on_progress=on_progress)
    finally:
        close_files(result.spatial)
    return write_atomically(file, lambda aside: aside.write_text(html, encoding="utf-8", newline="\n"))


def _is_large(path: Path) -> bool:
    file = path / "spatial.h5ad" if path.is_dir() else path
    return file.is_file() and is_large(file)


def _inputs_of(path: Path) -> Mapping[str, Any]:
    """Return the input files in the recipe of a run; empty without a recipe."""
    try:
        inputs = read_recipe(path if path.is_dir() else path.parent).get("inputs", {})
    except ReadError:
        return {}
    return inputs if isinstance(inputs, Mapping) else {}
