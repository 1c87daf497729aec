"""Options for reading a path that can be read in more than one way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["DEFAULT", "BinSize", "Choices", "ReadOptions"]


@dataclass(frozen=True)
class BinSize:
    """A bin size that can be chosen.

    Attributes
    ----------
    um : float
        Side of a bin in micrometers.
    n_bins : int or None
        Number of bins; None if unknown.
    """

    um: float
    n_bins: int | None


@dataclass(frozen=True)
class ReadOptions:
    """The options of `read_spatial`; None leaves the choice to the reader.

    Attributes
    ----------
    format : str, optional
        Name of a format, if the path could have several.
    bin_um : float, optional
        Side of the bins in micrometers, if a run has several bin sizes.
    image : Path, optional
        The full-resolution image that the coordinates refer to, if stored elsewhere.
    coordinates : Path, optional
        Table with the coordinates of spots, if not in the same folder as the table of counts.
    gem_bin : int, optional
        Side of the square bins in which counts of Stereo-seq are summed, in DNBs (0.5 um). Default:
        ``params.GEM_BIN``. For other tables with one count per row, in the unit of their coordinates; by
        default each position is a spot.
    table : str, optional
        Name of a table of a SpatialData store, or of a region that it annotates, if there are several.
    section : str, optional
        Name of a section to read alone, if a file holds several: a library of ``uns['spatial']`` that a
        column of ``obs`` names.
    """

    format: str | None = None
    bin_um: float | None = None
    image: Path | None = None
    coordinates: Path | None = None
    gem_bin: int | None = None
    table: str | None = None
    section: str | None = None


#: The reader chooses everything.
DEFAULT = ReadOptions()


@dataclass(frozen=True)
class Choices:
    """The options of `read_spatial` that apply to a path, with their values.

    Attributes
    ----------
    bin_sizes : tuple of BinSize
        Values of `ReadOptions.bin_um`, the smallest first; empty if the data have no bins.
    tables : tuple of str
        Values of `ReadOptions.table`, the default first; empty unless the path is a SpatialData store.
    coordinates : bool
        Whether `ReadOptions.coordinates` can name a table of coordinates.
    own_coordinates : bool
        Whether data of this kind usually hold their own, so that such a table is rarely needed.
    sections : tuple of str
        Values of `ReadOptions.section`; empty unless the data were read, and hold several.
    """

    bin_sizes: tuple[BinSize, ...] = ()
    tables: tuple[str, ...] = ()
    coordinates: bool = False
    own_coordinates: bool = False
    sections: tuple[str, ...] = ()
