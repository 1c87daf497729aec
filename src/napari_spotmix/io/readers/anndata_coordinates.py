"""Find the coordinates of spots in an AnnData: ``obsm['spatial']``, or where other programs store them.

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
from napari_spotmix.io.readers.table_columns import COORDINATE_COLUMNS, plain_name

__all__ = ["set_coordinates"]

#: Keys of ``obsm``, in lower case without punctuation.
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
#: Height of a row and width of a column of Visium's array, in units of the distance between spots.
_ROW, _COLUMN = 3**0.5 / 2, 0.5


def set_coordinates(adata: AnnData, path: Path) -> None:
    """Set ``obsm['spatial']``, float64 (n_spots, 2 or more), in place; note where the coordinates were found.

    Raises
    ------
    ReadError
        If there are no coordinates, or they are not two columns of numbers.
    """
    found, words = _found(adata)
    if found is None:
        raise ReadError(path, _no_coordinates(adata))
    adata.obsm[SPATIAL] = _checked(path, found, words)
    if words != f"`obsm['{SPATIAL}']`":
        add_notes(adata, [f"`obsm['{SPATIAL}']` is missing: the coordinates of spots are {words}."])


def _found(adata: AnnData) -> tuple[object, str]:
    """Return the coordinates and a description of their source; None if there are none."""
    if (key := _first(adata.obsm, _ARRAYS)) is not None:
        return adata.obsm[key], f"`obsm[{key!r}]`"
    for pair in COORDINATE_COLUMNS:
        x, y = (_first(adata.obs, (name,)) for name in pair)
        if x is not None and y is not None and all(map(_is_numeric, (adata.obs[x], adata.obs[y]))):
            return adata.obs[[x, y]].to_numpy(dtype=np.float64), f"the columns {x!r} and {y!r} of `obs`"
    x, y = (_first(adata.obs, (name,)) for name in _IN_ARRAY)
    if x is not None and y is not None:
        words = f"array indices, the columns {x!r} and {y!r} of `obs`, which cannot be aligned with an image"
        return _in_array(adata.obs[[x, y]].to_numpy(dtype=np.float64)), words
    return None, ""


def _first(names: Iterable[object], wanted: tuple[str, ...]) -> str | None:
    known = {plain_name(name): name for name in reversed([str(name) for name in names])}
    return next((known[name] for name in wanted if name in known), None)


def _is_numeric(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column.dtype)


def _in_array(indices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return array indices in units of the pitch; rows of Visium's array are staggered, others are square."""
    is_staggered = len(indices) > 1 and bool(((indices.sum(axis=1) % 2) == 0).all())
    return indices * (_COLUMN, _ROW) if is_staggered else indices


def _no_coordinates(adata: AnnData) -> str:
    return (
        "`obsm['spatial']` must hold (x, y) of each spot in full-resolution pixels, and is missing; "
        f"found {listed(sorted(adata.obsm))} in `obsm` and {listed(list(adata.obs))} in `obs`. "
        "Add it with `adata.obsm['spatial'] = ...`, or choose the file of the spatial data."
    )


def _checked(path: Path, values: object, words: str) -> NDArray[np.float64]:
    try:
        xy = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ReadError(
            path, f"{words} must hold numbers, found other values ({error}). Correct them in the file."
        ) from error
    if xy.ndim != 2 or xy.shape[1] < 2:
        raise ReadError(
            path,
            f"{words} must have two columns, x and y; found shape {xy.shape}. Correct it in the file.",
        )
    return xy
