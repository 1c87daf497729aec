"""How a path is to be read, where it could be read in more than one way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_spotmix.io.readers.visium_hd import BinSize

__all__ = ["DEFAULT", "Choices", "Reading"]


@dataclass(frozen=True)
class ReadOptions:
    """What `read_spatial` is told beside the path; None is left to be found out.

    Attributes
    ----------
    format : str, optional
        Name of a format, where the path could be several.
    bin_um : float, optional
        Side of the bins in micrometers, where a run has bins of several sizes.
    image : Path, optional
        The full-resolution image that the coordinates refer to, which lies elsewhere.
    coordinates : Path, optional
        Table with the coordinates of spots, where it does not lie beside a table of counts.
    gem_bin : int, optional
        Side of the square bins that counts of Stereo-seq are gathered in, in DNBs (0.5 um); without it
        ``params.GEM_BIN``. For another table with one count in each row, in its own unit; without it each
        place is a spot.
    table : str, optional
        Name of a table of a SpatialData store, or of a region that one describes, where there are several.
    """

    format: str | None = None
    bin_um: float | None = None
    image: Path | None = None
    coordinates: Path | None = None
    gem_bin: int | None = None
    table: str | None = None


#: Everything is found out.
DEFAULT = ReadOptions()


@dataclass(frozen=True)
class Choices:
    """What `read_spatial` can be told of a path beside it.

    Attributes
    ----------
    bin_sizes : tuple of BinSize
        Values of `ReadOptions.bin_um`, the smallest first; empty where there are no bins.
    tables : tuple of str
        Values of `ReadOptions.table`, the one that is read without it first; empty but for a SpatialData store.
    coordinates : bool
        Whether a table of coordinates can be named as `ReadOptions.coordinates`.
    """

    bin_sizes: tuple[BinSize, ...] = ()
    tables: tuple[str, ...] = ()
    coordinates: bool = False
