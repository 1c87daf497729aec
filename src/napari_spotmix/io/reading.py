"""How a path is to be read, where it could be read in more than one way."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DEFAULT", "Reading"]


@dataclass(frozen=True)
class Reading:
    """What `read_spatial` is told beside the path; None is left to be found out.

    Attributes
    ----------
    format : str, optional
        Name of a format, where the path could be several.
    """

    format: str | None = None


#: Everything is found out.
DEFAULT = Reading()
