"""How a path is to be read, where it could be read in more than one way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["DEFAULT", "Reading"]


@dataclass(frozen=True)
class Reading:
    """What `read_spatial` is told beside the path; None is left to be found out.

    Attributes
    ----------
    format : str, optional
        Name of a format, where the path could be several.
    bin_um : float, optional
        Side of the bins in micrometres, where a run has bins of several sizes.
    image : Path, optional
        The full-resolution image that the coordinates refer to, which lies elsewhere.
    """

    format: str | None = None
    bin_um: float | None = None
    image: Path | None = None


#: Everything is found out.
DEFAULT = Reading()
