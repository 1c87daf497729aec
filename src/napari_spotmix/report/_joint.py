"""The report of several sections side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from napari_spotmix.progress import ProgressCallback, silent

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
        What went wrong, by sample, where there is no result.
    title : str, optional
        Heading of the page.
    home : path, optional
        Folder that the page will stand in, for links to the report of each sample.
    on_progress : callable, optional
        Told before each sample; raises `Cancelled` to stop.

    Returns
    -------
    str
        HTML.

    Raises
    ------
    ReadError
        If a result cannot be read.
    """
    raise NotImplementedError
