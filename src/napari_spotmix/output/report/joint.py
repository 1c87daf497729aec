"""The report of several sections."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from napari_spotmix.base.colors import cell_type_colors
from napari_spotmix.base.progress import Progress, ProgressCallback, silent
from napari_spotmix.io import close_files
from napari_spotmix.io.results import REPORT
from napari_spotmix.output.report.content import facts_of
from napari_spotmix.output.report.page import page
from napari_spotmix.result import read_result

if TYPE_CHECKING:
    from napari_spotmix.result import Result

__all__ = ["joint_report"]


def joint_report(
    results: Mapping[str, Path],
    failed: Mapping[str, str] | None = None,
    *,
    title: str = "Sections",
    home: Path | None = None,
    on_progress: ProgressCallback = silent,
) -> str:
    """Return the report of several finished runs as one HTML page.

    Parameters
    ----------
    results : mapping of str to path
        Folder of the finished run of each sample, in the order in which they are shown.
    failed : mapping of str to str, optional
        What went wrong, by sample, for samples without a result.
    title : str, optional
        Heading of the page.
    home : path, optional
        Folder in which the page will be stored, for links to the report of each sample.
    on_progress : callable, optional
        Called before each sample; raises `Cancelled` to stop.

    Returns
    -------
    str
        HTML, the same for the same results.

    Raises
    ------
    ReadError
        If a result cannot be read.

    Notes
    -----
    One result is in memory at a time, without its counts.

    Examples
    --------
    >>> html = joint_report({}, {"liver": "There are no spots."}, title="Two livers")
    >>> "<h1><bdi>Two livers</bdi></h1>" in html, "There are no spots." in html
    (True, True)
    """
    samples = []
    for done, (name, folder) in enumerate(results.items()):
        on_progress(Progress("Reporting sections", done, len(results)))
        samples.append(_sample(name, Path(folder), home))
    names, colors = _types(samples)
    return page(
        "joint.html",
        title=title,
        samples=samples,
        failed=failed or {},
        types=[(name, colors[name]) for name in names],
        stacks=[_stack(sample["means"], names, colors) for sample in samples],
    )


def _sample(name: str, folder: Path, home: Path | None) -> dict[str, Any]:
    """Return the content of a sample."""
    result = read_result(folder, backed=True)
    try:
        return {
            "name": name,
            "link": _link(folder / REPORT, home),
            "facts": facts_of(result),
            "notes": result.notes,
            "means": {name: float(mean) for name, mean in result.mean_proportions.items()},
            "colors": _spelled(result),
        }
    finally:
        close_files(result.spatial)


def _spelled(result: Result) -> dict[str, str]:
    return {name: color.lower() for name, color in result.colors.items()}


def _link(report: Path, home: Path | None) -> str:
    """Return the link from the page to a sample's report, or "" without one."""
    if home is None or not report.is_file():
        return ""
    try:
        path = os.path.relpath(report.resolve(), Path(home).resolve())
    except ValueError:  # on another drive
        return ""
    # A first part with a colon would be read as a protocol.
    return quote(f"./{Path(path).as_posix()}")


def _types(samples: Sequence[Mapping[str, Any]]) -> tuple[list[str], dict[str, str]]:
    """Return all types, the most abundant first, and their colors: their own where all samples agree."""
    total: dict[str, float] = {}
    own: dict[str, set[str]] = {}
    for sample in samples:
        for name, mean in sample["means"].items():
            total[name] = total.get(name, 0.0) + (mean if mean == mean else 0.0)
            own.setdefault(name, set()).add(sample["colors"][name])
    order = sorted(total, key=lambda name: -total[name])
    agreed = {next(iter(own[name])): name for name in reversed(order) if len(own[name]) == 1}
    return order, cell_type_colors(order, kept={name: color for color, name in agreed.items()})


def _stack(
    means: Mapping[str, float], names: Sequence[str], colors: Mapping[str, str]
) -> list[tuple[str, float, float, str]]:
    """Return name, start and length in percent, and color of each piece of a sample's bar."""
    pieces, end = [], 0.0
    for name in names:
        share = 100 * means.get(name, 0.0)
        if share > 0:
            pieces.append((name, round(end, 3), round(share, 3), colors[name]))
            end += share
    return pieces
