"""Open the result that a command is about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from napari_spotmix.base.progress import ProgressCallback

if TYPE_CHECKING:
    from napari_spotmix.result import Result

__all__ = ["opened", "result_problems"]


def result_problems(path: Path) -> list[str]:
    """Say whether there is nothing at `path`, so that it is reported with all else that is wrong.

    Examples
    --------
    >>> result_problems(Path("missing"))
    ['missing: not found. Give the folder that was the `output` of `spotmix run`, or an .h5ad file.']
    """
    if path.exists():
        return []
    return [f"{path}: not found. Give the folder that was the `output` of `spotmix run`, or an .h5ad file."]


@contextmanager
def opened(path: Path, on_progress: ProgressCallback) -> Iterator[Result]:
    """Read the result in a folder or file, with large counts left on disk, and close it in the end."""
    from napari_spotmix.io import close_files, is_large
    from napari_spotmix.result import read_result

    file = path / "spatial.h5ad" if path.is_dir() else path
    result = read_result(path, backed=file.is_file() and is_large(file), on_progress=on_progress)
    try:
        yield result
    finally:
        close_files(result.spatial)
