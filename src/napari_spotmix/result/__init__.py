"""What a deconvolution returns: light to import, so that commands start fast.

``data`` holds a result and what is derived from it, ``file`` stores it, ``refit`` solves it again. The last
two load AnnData and the compiler, and are imported when they are used.
"""

from __future__ import annotations

from pathlib import Path

from napari_spotmix.base.progress import ProgressCallback, silent
from napari_spotmix.result.data import Result, over_all_spots
from napari_spotmix.result.provenance import (
    Change,
    Evidence,
    Learned,
    PartEvidence,
    Provenance,
    TriedSmoothing,
)
from napari_spotmix.result.view import View

__all__ = [
    "TriedSmoothing",
    "Change",
    "Evidence",
    "Learned",
    "PartEvidence",
    "Provenance",
    "Result",
    "View",
    "over_all_spots",
    "read_result",
]


def read_result(path: str | Path, *, backed: bool = False, on_progress: ProgressCallback = silent) -> Result:
    """Read the result in the folder of a finished run, or in its ``spatial.h5ad``.

    Parameters
    ----------
    path : path
    backed : bool, optional
        As for `read_spatial`: whether to leave the counts in their file.
    on_progress : callable, optional
        As for `read_spatial`.

    Returns
    -------
    Result

    Raises
    ------
    ReadError
        If ``spatial.h5ad`` is missing, damaged, of another run than ``recipe.toml``, or holds no result.

    Examples
    --------
    >>> read_result("no/such/run")
    Traceback (most recent call last):
    napari_spotmix.base.errors.ReadError: no/such/run: holds no `spatial.h5ad`. Choose the folder that
    `spotmix run` has written.
    """
    from napari_spotmix.result.file import read_result as read

    return read(Path(path), backed=backed, on_progress=on_progress)
