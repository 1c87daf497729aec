"""Coordinates of spots in an AnnData: in ``obsm['spatial']``, or wherever else programs have put them.

References
----------
scanpy and squidpy (``obsm['spatial']``); scanpy before 1.5 and stereopy (``X_spatial``); Seurat through
SeuratDisk (``obs`` imagerow, imagecol); Space Ranger (``obs`` pxl_row_in_fullres, array_row).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from napari_spotmix.base.errors import ReadError
from napari_spotmix.base.keys import SPATIAL
from napari_spotmix.io.notes import add_notes
from napari_spotmix.io.problems import listed
from napari_spotmix.io.readers.table_files import PLACES, plain_name

__all__ = ["set_coordinates"]

#: Keys of ``obsm``, without case and signs.
_ARRAYS = (
    "spatial",
    "xspatial",
    "spatialloc",
    "spatialcoords",
    "spatialcoordinates",
    "coordinates",
    "coords",
    "xy",
    "locations",
    "xcoords",
)
_IN_ARRAY = ("arraycol", "arrayrow")
#: Height of a row of Visium's array in distances between spots, and width of one of its columns.
_ROW, _COLUMN = 3**0.5 / 2, 0.5


def set_coordinates(adata: AnnData, path: Path) -> None:
    """Set ``obsm['spatial']``, float64 (n_spots, 2 or more), in place, and note where else it was found.

    Raises
    ------
    ReadError
        If there are no coordinates, or they are no two columns of numbers; says what there is.
    """
    found, words = _found(adata)
    if found is None:
        raise ReadError(path, _nothing(adata))
    adata.obsm[SPATIAL] = _checked(path, found, words)
    if words != f"`obsm['{SPATIAL}']`":
        add_notes(adata, [f"`obsm['{SPATIAL}']` is missing: the coordinates of spots are {words}."])


def _found(adata: AnnData) -> tuple[object, str]:
    """Return the coordinates and where they are; None if there are none."""
    if (key := _first(adata.obsm, _ARRAYS)) is not None:
        return adata.obsm[key], f"`obsm[{key!r}]`"
    for pair in PLACES:
        x, y = (_first(adata.obs, (name,)) for name in pair)
        if x is not None and y is not None and all(map(_is_numeric, (adata.obs[x], adata.obs[y]))):
            return adata.obs[[x, y]].to_numpy(dtype=np.float64), f"the columns {x!r} and {y!r} of `obs`"
    x, y = (_first(adata.obs, (name,)) for name in _IN_ARRAY)
    if x is not None and y is not None:
        words = f"places in the array, the columns {x!r} and {y!r} of `obs`, so no image lies under them"
        return _in_array(adata.obs[[x, y]].to_numpy(dtype=np.float64)), words
    return None, ""


def _first(names: Iterable[object], wanted: tuple[str, ...]) -> str | None:
    known = {plain_name(name): name for name in reversed([str(name) for name in names])}
    return next((known[name] for name in wanted if name in known), None)


def _is_numeric(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column.dtype)


def _in_array(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return places in the unit of the pitch; rows of Visium's array alternate, others are square."""
    alternate = len(places) > 1 and bool(((places.sum(axis=1) % 2) == 0).all())
    return places * (_COLUMN, _ROW) if alternate else places


def _nothing(adata: AnnData) -> str:
    return (
        "`obsm['spatial']` is missing, which holds (x, y) of each spot in full-resolution pixels. "
        f"Found {listed(sorted(adata.obsm))} in `obsm` and {listed(list(adata.obs))} in `obs`. "
        "Add it with `adata.obsm['spatial'] = ...`; or choose the file of the tissue."
    )


def _checked(path: Path, values: object, words: str) -> NDArray[np.float64]:
    try:
        xy = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ReadError(path, f"{words} must hold numbers ({error}).") from error
    if xy.ndim != 2 or xy.shape[1] < 2:
        raise ReadError(path, f"{words} must have two columns, x and y; found shape {xy.shape}.")
    return xy
