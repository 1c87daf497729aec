"""The report of one section."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_spotmix.progress import ProgressCallback, silent

if TYPE_CHECKING:
    from napari_spotmix.result import Result

__all__ = ["make_report", "write_report"]


def make_report(
    result: Result,
    inputs: Mapping[str, Any] | None = None,
    *,
    title: str = "",
    on_progress: ProgressCallback = silent,
) -> str:
    """Return the report of a result as HTML; `inputs` as `io.checksums` returns them."""
    raise NotImplementedError


def write_report(path: Path, output: Path | None = None, *, on_progress: ProgressCallback = silent) -> Path:
    """Write the report of a finished run's folder beside its results, or to `output`."""
    raise NotImplementedError
