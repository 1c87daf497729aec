"""The formats of spatial data, in the order in which they are tried.

To add a format, write a module for it and add an entry to `FORMATS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from napari_spotmix.base.progress import ProgressCallback
from napari_spotmix.io.readers.anndata_zarr import find_anndata_store, read_spatial_anndata_store, store_files
from napari_spotmix.io.readers.cosmx import cosmx_files, find_cosmx, read_cosmx
from napari_spotmix.io.readers.curio import curio_files, find_curio, read_curio
from napari_spotmix.io.readers.gef import find_gef, gef_bins, read_gef
from napari_spotmix.io.readers.gem import find_gem, gem_bins, gem_files, read_gem
from napari_spotmix.io.readers.h5ad import find_h5ad, read_spatial_h5ad
from napari_spotmix.io.readers.options import BinSize, ReadOptions
from napari_spotmix.io.readers.segmented_cells import cell_files, find_cells, read_cells
from napari_spotmix.io.readers.space_ranger import find_run_files, find_space_ranger, read_space_ranger
from napari_spotmix.io.readers.spatialdata import (
    bins_in_store,
    find_spatialdata,
    read_spatialdata,
    spatialdata_files,
    tables_in_store,
)
from napari_spotmix.io.readers.table_sections import find_tables
from napari_spotmix.io.readers.tables import read_tables, table_files
from napari_spotmix.io.readers.visium_hd import (
    bins_in,
    find_bin_files,
    find_visium_hd,
    read_visium_hd,
)
from napari_spotmix.io.readers.xenium import find_xenium, read_xenium, xenium_files

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["FORMATS", "JOINED", "TABLES", "Format", "SpatialReader", "format_of"]

#: The format that may need a separate table of coordinates.
TABLES = "tables"
#: Formats with names of spots, to which a table of coordinates can be joined.
JOINED = ("h5ad", "anndata_zarr")


class SpatialReader(Protocol):
    """Reads spots; as :func:`napari_spotmix.io.read_spatial`."""

    def __call__(
        self, path: Path, options: ReadOptions, /, *, backed: bool, on_progress: ProgressCallback
    ) -> AnnData: ...


@dataclass(frozen=True)
class Format:
    """One kind of file or folder.

    Attributes
    ----------
    name : str
        Value of the argument `format` of `read_spatial`.
    words : str
        Description for the user: "a Space Ranger folder".
    find : callable
        Takes an existing path and returns the path of the data, which is the same or a folder in it, or None
        if they have another format. Reads names and first bytes only.
    files : callable
        Returns every file that is read, in a fixed order.
    read_spatial : callable
        Reads the data.
    bins_in : callable, optional
        Returns the bin sizes at a path, for `ReadOptions.bin_um`; None for formats without bins.
    tables_in : callable, optional
        Returns the names of tables at a path, for `ReadOptions.table`, the default first.
    """

    name: str
    words: str
    find: Callable[[Path], Path | None]
    files: Callable[[Path, ReadOptions], list[Path]]
    read_spatial: SpatialReader
    bins_in: Callable[[Path], list[BinSize]] | None = None
    tables_in: Callable[[Path, ReadOptions], list[str]] | None = None


FORMATS: tuple[Format, ...] = (
    Format(
        "visium_hd",
        "a Visium HD folder of Space Ranger",
        find=find_visium_hd,
        files=lambda path, options: find_bin_files(path, options).files,
        read_spatial=read_visium_hd,
        bins_in=bins_in,
    ),
    Format(
        "segmented_cells",
        "cells segmented by Space Ranger",
        find=find_cells,
        files=lambda path, _: cell_files(path).files,
        read_spatial=read_cells,
    ),
    Format(
        "xenium",
        "a Xenium bundle",
        find=find_xenium,
        files=xenium_files,
        read_spatial=read_xenium,
    ),
    Format(
        "cosmx",
        "flat files of CosMx",
        find=find_cosmx,
        files=cosmx_files,
        read_spatial=read_cosmx,
    ),
    Format(
        "curio",
        "output of Curio Seeker",
        find=find_curio,
        files=curio_files,
        read_spatial=read_curio,
    ),
    Format(
        "space_ranger",
        "a Space Ranger folder",
        find=find_space_ranger,
        files=lambda path, _: find_run_files(path).files,
        read_spatial=read_space_ranger,
    ),
    Format(
        "h5ad",
        "an .h5ad file",
        find=find_h5ad,
        files=lambda path, _: [path],
        read_spatial=read_spatial_h5ad,
    ),
    Format(
        "spatialdata",
        "a SpatialData store",
        find=find_spatialdata,
        files=spatialdata_files,
        read_spatial=read_spatialdata,
        bins_in=bins_in_store,
        tables_in=tables_in_store,
    ),
    Format(
        "anndata_zarr",
        "a Zarr store of AnnData",
        find=find_anndata_store,
        files=lambda path, _: store_files(path),
        read_spatial=read_spatial_anndata_store,
    ),
    Format(
        "gef",
        "a GEF file of Stereo-seq",
        find=find_gef,
        files=lambda path, _: [path],
        read_spatial=read_gef,
        bins_in=gef_bins,
    ),
    Format(
        "gem",
        "a table with one count per row (GEM)",
        find=find_gem,
        files=gem_files,
        read_spatial=read_gem,
        bins_in=gem_bins,
    ),
    Format(
        TABLES,
        "tables of counts and coordinates",
        find=find_tables,
        files=table_files,
        read_spatial=read_tables,
    ),
)


def format_of(name: str) -> Format | None:
    """Return the format of that name, or None."""
    return next((entry for entry in FORMATS if entry.name == name), None)
