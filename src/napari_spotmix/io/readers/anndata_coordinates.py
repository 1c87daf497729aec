"""Find the coordinates of spots in an AnnData: ``obsm['spatial']``, or where other programs store them.

References
----------
scanpy and squidpy (``obsm['spatial']``); scanpy before 1.5 and stereopy (``X_spatial``); Seurat through
SeuratDisk (``obs`` imagerow, imagecol); Space Ranger (``obs`` pxl_row_in_fullres, array_row).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from napari_spotmix.base.errors import ReadError
from napari_spotmix.base.keys import IN_TISSUE, SPATIAL
from napari_spotmix.base.progress import ProgressCallback
from napari_spotmix.base.text import agreeing
from napari_spotmix.io.notes import add_notes
from napari_spotmix.io.problems import listed
from napari_spotmix.io.readers.coordinate_columns import COORDINATE_COLUMNS, choose_columns, first_named
from napari_spotmix.io.readers.coordinate_tables import read_coordinates
from napari_spotmix.io.readers.table_columns import open_table

__all__ = ["MissingCoordinates", "join_coordinates", "set_coordinates"]

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


class MissingCoordinates(ReadError):
    """A file without coordinates of spots; it may hold single cells."""


def set_coordinates(adata: AnnData, path: Path) -> None:
    """Set ``obsm['spatial']``, float64 (n_spots, 2 or more), in place; note where the coordinates were found.

    Raises
    ------
    ReadError
        If there are no coordinates, or they are not two columns of numbers.
    """
    found, words = _found(adata)
    if found is None:
        raise MissingCoordinates(path, _no_coordinates(adata))
    adata.obsm[SPATIAL] = _checked(path, found, words)
    if words != f"`obsm['{SPATIAL}']`":
        add_notes(adata, [f"`obsm['{SPATIAL}']` is missing: the coordinates of spots are {words}."])


def join_coordinates(adata: AnnData, given: Path, path: Path, on_progress: ProgressCallback) -> None:
    """Set ``obsm['spatial']`` from a table, in place; spots are matched by their names, and this is noted.

    Raises
    ------
    ReadError
        If the table has no coordinates, or names other spots.
    """
    found = read_coordinates(open_table(given), on_progress)
    if found is None:
        raise ReadError(given.parent, f"`{given.name}` must have columns of x and y. Choose another table.")
    spots = {"spots": [str(name) for name in adata.obs_names]}
    found = found.named_as(spots)
    match = found.matched(spots)
    if not match.is_enough:
        shown = listed(list(next(iter(found.names.values()))[:2]))
        raise ReadError(
            path,
            f"The names of spots in `{given.name}` ({shown}) are not those of the counts "
            f"({listed(spots['spots'][:2])}). Use files of the same section, or use the same names in both.",
        )
    n_lost = len(match.rows) - match.n_found
    notes = [f"{found.words} Spots were matched by their names{match.words}."]
    if n_lost:
        notes.append(
            f"{n_lost:,} of {len(match.rows):,} spots {agreeing(n_lost, 'have')} no coordinates, and "
            f"{agreeing(n_lost, 'are')} kept, but not fitted."
        )
    adata.obsm[SPATIAL] = found.at(match)
    if found.in_tissue is not None:
        adata.obs[IN_TISSUE] = np.where(match.rows >= 0, found.in_tissue[match.rows], True).astype(np.int64)
    add_notes(adata, notes)


def _found(adata: AnnData) -> tuple[object, str]:
    """Return the coordinates and a description of their source; None if there are none."""
    if (key := first_named(list(adata.obsm), _ARRAYS)) is not None:
        return adata.obsm[key], f"`obsm[{key!r}]`"
    for pairs in (COORDINATE_COLUMNS, (_IN_ARRAY,)):
        if (found := _columns(adata.obs, pairs)) is not None:
            xy, words = found
            if pairs is COORDINATE_COLUMNS:
                return xy, words
            words = f"array indices, {words}, which cannot be aligned with an image"
            return _in_array(xy), words
    return None, ""


def _columns(obs: pd.DataFrame, pairs: Sequence[tuple[str, str]]) -> tuple[NDArray[np.float64], str] | None:
    """Return two columns of numbers, and their description with the columns that were not chosen."""
    numeric = {column for column in range(obs.shape[1]) if _is_numeric(obs.iloc[:, column])}
    names = [str(name) for name in obs]
    pair = choose_columns(names, numeric, pairs)
    if pair is None or not {pair.x, pair.y} <= numeric:
        return None
    words = f"the columns {names[pair.x]!r} and {names[pair.y]!r} of `obs`"
    if pair.others:
        words += f" (not {listed([names[column] for column in pair.others])})"
    return obs.iloc[:, [pair.x, pair.y]].to_numpy(dtype=np.float64), words


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
        "Give a table of coordinates as `coordinates`, add it with `adata.obsm['spatial'] = ...`, or choose "
        "the file of the spatial data."
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
