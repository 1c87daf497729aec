"""The kinds of files: what a mutant is made of, how it is changed, and the doors that it is put through."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz import doors
from tests.fuzz.doors import Door
from tests.fuzz.mutators import Mutator
from tests.fuzz.mutators.hdf5 import HDF5, SPARSE
from tests.fuzz.mutators.images import PNG, TIFF
from tests.fuzz.mutators.parquet import PARQUET
from tests.fuzz.mutators.text import JSON, TABLE, TOML
from tests.fuzz.mutators.zarr import ZARR

__all__ = ["KINDS", "Kind"]

Doors = Callable[[Path, Path, random.Random], Iterator[Door]]


@dataclass(frozen=True)
class Kind:
    """One kind of file.

    Attributes
    ----------
    part : str
        What is copied from the sources.
    files : tuple of str
        Patterns of the files in it that may be changed; "" for the part itself.
    mutators : sequence of functions
    doors : callable
        Takes the mutant, the folder of the sources and a source of randomness.
    """

    part: str
    files: tuple[str, ...]
    mutators: Sequence[Mutator]
    doors: Doors


KINDS: dict[str, tuple[Kind, ...]] = {
    "h5ad": (
        Kind("spots.h5ad", ("",), HDF5, doors.of_spots),
        Kind("plain.h5ad", ("",), HDF5, doors.of_spots),
        Kind("cells.h5ad", ("",), HDF5, doors.of_reference),
    ),
    "csr": (
        Kind("spots.h5ad", ("",), SPARSE, doors.of_spots),
        Kind("cells.h5ad", ("",), SPARSE, doors.of_reference),
        Kind("outs", ("*.h5",), SPARSE, doors.of_spots),
        Kind("result", ("spatial.h5ad",), SPARSE, doors.of_result),
    ),
    "h5": (
        Kind("outs", ("*.h5",), HDF5, doors.of_spots),
        Kind("square_008um", ("*.h5",), HDF5, doors.of_spots),
    ),
    "gef": (
        Kind("spots.gef", ("",), HDF5, doors.of_spots),
        Kind("cells.cellbin.gef", ("",), HDF5, doors.of_spots),
    ),
    "zarr": (
        Kind("spots.zarr", ("",), ZARR, doors.of_spots),
        Kind("store.zarr", ("",), ZARR, doors.of_spots),
    ),
    "mtx": (
        Kind("outs_mtx", ("filtered_feature_bc_matrix/*",), TABLE, doors.of_spots),
        Kind("outs_plain", ("filtered_feature_bc_matrix/*",), TABLE, doors.of_spots),
    ),
    "csv": (
        Kind("tables", ("*.csv",), TABLE, doors.of_spots),
        Kind("outs", ("spatial/*.csv",), TABLE, doors.of_spots),
        Kind("outs_plain", ("spatial/*.csv",), TABLE, doors.of_spots),
        Kind("cells", ("*.csv",), TABLE, doors.of_reference),
        Kind("signatures.csv", ("",), TABLE, doors.of_reference),
        Kind("spots.gem.gz", ("",), TABLE, doors.of_spots),
    ),
    "json": (
        Kind("outs", ("spatial/*.json",), JSON, doors.of_spots),
        Kind("square_008um", ("spatial/*.json",), JSON, doors.of_spots),
    ),
    "png": (Kind("outs", ("spatial/*.png",), PNG, doors.of_spots),),
    "tiff": (Kind("slide.tif", ("",), TIFF, doors.of_image),),
    "parquet": (
        Kind("square_008um", ("spatial/*.parquet",), PARQUET, doors.of_spots),
        Kind("tables_parquet", ("*.parquet",), PARQUET, doors.of_spots),
    ),
    "geojson": (Kind("regions.geojson", ("",), JSON, doors.of_regions),),
    "recipe": (Kind("result", ("recipe.toml",), TOML, doors.of_recipe),),
    "sheet": (Kind("sheet.csv", ("",), TABLE, doors.of_sheet),),
    "result": (
        Kind("result", ("spatial.h5ad",), HDF5, doors.of_result),
        Kind("result", ("spatial.h5ad",), HDF5, doors.of_result),
        Kind("result", ("proportions.csv",), TABLE, doors.of_result),
        Kind("result", ("recipe.toml",), TOML, doors.of_result),
    ),
}
