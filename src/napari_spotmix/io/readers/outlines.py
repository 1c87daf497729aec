"""Outlines of cells: read from GeoJSON or a table of vertices, and kept with the section.

References
----------
RFC 7946, "The GeoJSON Format"; 10x Genomics, "Segmented Outputs" (Space Ranger 4) and "Xenium Output Files"
(``cell_boundaries.parquet``).
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from napari_spotmix.base.keys import OUTLINES, SPATIAL
from napari_spotmix.base.progress import Progress, ProgressCallback, silent
from napari_spotmix.io.readers.table_parsing import open_text

__all__ = ["Outlines", "keep_outlines", "outlines_by_rows", "read_features", "read_geojson"]

#: Letters that are read at once; and the most in the head of a file, or in one feature.
_CHUNK, _MOST = 1 << 20, 1 << 22
_START = re.compile(r'"features"\s*:\s*\[')
_BETWEEN = re.compile(r"[\s,]*")
_STAGE = "Reading outlines"


@dataclass(frozen=True)
class Outlines:
    """A polygon for each cell.

    Attributes
    ----------
    vertices : ndarray of float64, shape (n_vertices, 2)
        (x, y) of all vertices, cell by cell.
    starts : ndarray of int64, length n_cells + 1
        The vertices of a cell are ``vertices[starts[cell] : starts[cell + 1]]``; none if it has no outline.
    """

    vertices: NDArray[np.float64]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, rings: Sequence[NDArray[np.float64]]) -> Outlines:
        """Return the outlines of rings, float64 (n, 2) each."""
        starts = np.concatenate([[0], np.cumsum([len(ring) for ring in rings])]).astype(np.int64)
        return cls(np.concatenate([np.empty((0, 2)), *rings]), starts)

    def rings(self) -> list[NDArray[np.float64]]:
        """Return the vertices of each cell, float64 (n, 2)."""
        return np.split(self.vertices, self.starts[1:-1])

    def taken(self, rows: NDArray[np.intp]) -> Outlines:
        """Return the outlines in another order; none for rows of -1."""
        lengths = np.where(rows >= 0, np.diff(self.starts)[rows], 0) if len(self.starts) > 1 else 0 * rows
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        first = np.where(rows >= 0, self.starts[rows], 0) - starts[:-1]
        return Outlines(self.vertices[np.arange(starts[-1]) + np.repeat(first, lengths)], starts)

    def centers(self) -> NDArray[np.float64]:
        """Return the centroid of each polygon, float64 (n_cells, 2); NaN for cells without an outline.

        Examples
        --------
        >>> square = np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 2.0], [0.0, 2.0]])
        >>> Outlines.of([square, square[:0]]).centers()
        array([[ 1.,  1.],
               [nan, nan]])
        """
        lengths = np.diff(self.starts)
        cell = np.repeat(np.arange(len(lengths)), lengths)
        following = np.arange(len(self.vertices)) + 1
        is_some = lengths > 0
        following[self.starts[1:][is_some] - 1] = self.starts[:-1][is_some]
        means = _sums(self.vertices, cell, lengths) / np.where(is_some, lengths, np.nan)[:, None]
        a = self.vertices - means[cell]  # from the cell itself, so that large coordinates lose no digits
        b = a[following] if len(a) else a
        cross = a[:, 0] * b[:, 1] - b[:, 0] * a[:, 1]
        area = np.bincount(cell, cross, len(lengths))[:, None]
        moments = _sums((a + b) * cross[:, None], cell, lengths)
        with np.errstate(divide="ignore", invalid="ignore"):
            return means + np.where(np.abs(area) > 0, moments / (3 * area), 0.0)


def _sums(
    values: NDArray[np.float64], cell: NDArray[np.intp], lengths: NDArray[np.int64]
) -> NDArray[np.float64]:
    return np.column_stack([np.bincount(cell, values[:, axis], len(lengths)) for axis in (0, 1)])


def keep_outlines(adata: AnnData, library: str, outlines: Outlines) -> None:
    """Keep the outlines of all cells in ``uns['spatial'][library]['outlines']``, in place."""
    kept = {"vertices": outlines.vertices, "starts": outlines.starts}
    adata.uns[SPATIAL][library][OUTLINES] = kept


def outlines_by_rows(names: Sequence[str], xy: NDArray[np.float64]) -> tuple[pd.Index[str], Outlines]:
    """Return the cells and outlines of a table with one vertex per row, the rows of a cell together."""
    values = np.asarray(names, dtype=object)
    is_first = np.concatenate([[True], values[1:] != values[:-1]]) if len(values) else np.zeros(0, bool)
    starts = np.append(np.flatnonzero(is_first), len(values)).astype(np.int64)
    return pd.Index(values[is_first], dtype=object), Outlines(xy, starts)


def read_geojson(path: Path, on_progress: ProgressCallback = silent) -> tuple[list[Any], Outlines]:
    """Return the ``cell_id`` and the outline of each polygon in a GeoJSON file.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is not a collection of polygons with a ``cell_id``.
    """
    names, rings = [], []
    for number, feature in enumerate(read_features(path, on_progress), start=1):
        try:
            names.append(feature["properties"]["cell_id"])
            rings.append(_ring(feature["geometry"]))
        except (KeyError, TypeError, ValueError, OverflowError):
            raise ValueError(f"feature {number:,} is not a polygon with a `cell_id`") from None
    return names, Outlines.of(rings)


def _ring(geometry: dict[str, Any]) -> NDArray[np.float64]:
    """Return the outer ring of a polygon, or of the longest of several."""
    polygons = {"Polygon": [geometry["coordinates"]], "MultiPolygon": geometry["coordinates"]}
    ring = np.asarray(max((polygon[0] for polygon in polygons[geometry["type"]]), key=len), dtype=np.float64)
    if ring.ndim != 2 or ring.shape[1] < 2 or len(ring) < 3 or not np.isfinite(ring).all():
        raise ValueError("not a ring")
    return ring[:, :2]


def read_features(path: Path, on_progress: ProgressCallback = silent) -> Iterator[Any]:
    """Yield the features of a GeoJSON file one by one, so that its size does not matter.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is not a collection of features, is truncated, or one feature is larger than 4 MB.
    """
    with open_text(path) as file:
        yield from _Features(file, path.stat().st_size, on_progress)


class _Features:
    """The features in a file of text, of which a few megabytes are in memory."""

    def __init__(self, file: BinaryIO, size: int, on_progress: ProgressCallback) -> None:
        self._file, self._size, self._on_progress = file, size, on_progress
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._text, self._at, self._n_read = "", 0, 0

    def _more(self) -> bool:
        """Read on; False at the end of the file."""
        if len(self._text) - self._at > _MOST:
            raise ValueError(f"more than {_MOST >> 20} MB without the end of a feature")
        self._on_progress(Progress(_STAGE, min(self._n_read, self._size), self._size))
        chunk = self._file.read(_CHUNK)
        self._n_read += len(chunk)
        self._text, self._at = self._text[self._at :] + self._decode(chunk), 0
        return bool(chunk)

    def __iter__(self) -> Iterator[Any]:
        while (start := _START.search(self._text)) is None:
            if not self._more():
                raise ValueError("no list of features")
        self._at = start.end()
        decoder = json.JSONDecoder()
        while True:
            self._at = _BETWEEN.match(self._text, self._at).end()  # type: ignore[union-attr]
            if self._text.startswith("]", self._at):
                return
            try:
                feature, self._at = decoder.raw_decode(self._text, self._at)
            except RecursionError:
                raise ValueError("lists within each other without end") from None
            except json.JSONDecodeError:
                if not self._more():
                    raise ValueError("it ends within its list of features, or this is not JSON") from None
            else:
                yield feature
