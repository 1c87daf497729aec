"""Read spots from tables: counts as CSV, TSV or parquet, with coordinates in the same table or another one.

Whether spots are the rows or the columns of the counts is found by matching their names with those of the
coordinates. These layouts are read:

================================  ==========================================================================
original Spatial Transcriptomics  spots x genes, rows named ``XxY``; ``alignment_table`` with pixel_x, pixel_y
Slide-seq and other beads         genes x beads (``MappedDGEForR.csv``) and ``BeadLocationsForR.csv``
as for RCTD (spacexr)             ``counts.csv`` (genes x spots) and ``coords.csv``
plain                             spots x genes or genes x spots, coordinates in a table or in columns x and y
================================  ==========================================================================

References
----------
Stahl et al. 2016 (Science 353:78), with the alignment tables of STUtility; Rodriques et al. 2019 (Science
363:1463), with the releases of Slide-seq; Cable et al. 2022 (Nat Biotechnol 40:517), ``read.SpatialRNA``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData

from napari_spotmix.base.errors import ReadError
from napari_spotmix.base.keys import HIRES, IMAGES, METADATA, SCALE_FACTORS, SPATIAL, image_scale
from napari_spotmix.base.progress import ProgressCallback, silent
from napari_spotmix.base.text import agreeing, count, quoted
from napari_spotmix.io.notes import add_notes
from napari_spotmix.io.problems import Gatherer, as_read_error, listed
from napari_spotmix.io.readers.images import read_pixels
from napari_spotmix.io.readers.options import DEFAULT, ReadOptions
from napari_spotmix.io.readers.table_columns import ARRAY_NAME, IN_TISSUE, Table
from napari_spotmix.io.readers.table_counts import TableCounts, genes_table, read_columns, read_counts
from napari_spotmix.io.readers.table_parsing import names_problem
from napari_spotmix.io.readers.table_sections import SectionTables, find_section

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["read_tables", "table_files"]

#: Counts and coordinates belong together if at least this share of the spots have coordinates.
_LEAST_IN_COMMON = 0.5


def table_files(path: Path, options: ReadOptions = DEFAULT) -> list[Path]:
    """Return every file that is read for the tables at `path`, in a fixed order, except `coordinates`.

    Raises
    ------
    ReadError
        If the tables are missing or ambiguous.
    """
    return [file for file in find_section(path, options).files if file != options.coordinates]


def read_tables(
    path: Path,
    options: ReadOptions = DEFAULT,
    *,
    backed: bool = False,
    on_progress: ProgressCallback = silent,
) -> AnnData:
    """Read spots from tables.

    Parameters
    ----------
    path : Path
        A table of counts, or a folder that holds one.
    options : ReadOptions
        `coordinates` names the table of coordinates, if it is not in the same folder.
    backed : bool, optional
        Tables cannot stay on disk; a note is added.
    on_progress : callable, optional
        Called for each block that is read; raises `Cancelled` to stop.

    Returns
    -------
    AnnData
        As :func:`napari_spotmix.io.read_spatial` describes. Spots without coordinates are kept, with NaN.

    Raises
    ------
    ReadError
        With all problems of both tables, or if their names do not match.
    """
    section = find_section(path, options)
    gather = Gatherer(section.root)
    coordinates = counts = None
    with gather:
        coordinates = _read_coordinates(section, on_progress)
    with gather:
        counts = read_counts(section.counts, on_progress)
    if gather.problems or counts is None:
        raise gather.error()
    adata = _assembled(section, counts, coordinates)
    if backed:
        add_notes(adata, ["The counts were read into memory: tables cannot be read in blocks."])
    return adata


# Coordinates


@dataclass
class _Coordinates:
    """Coordinates of spots, float64 (n, 2), with all lists of names that the spots may have."""

    file: str
    xy: NDArray[np.float64]
    names: list[pd.Index[str]]
    in_tissue: NDArray[np.bool_] | None
    words: str


def _read_coordinates(section: SectionTables, on_progress: ProgressCallback) -> _Coordinates | None:
    """Read coordinates from their table or from the counts; None if the names of spots hold them."""
    import pyarrow as pa

    table = section.coordinates or section.counts
    if table.coordinates is None:
        return None
    (x, y), selected = table.coordinates, _in_tissue(table)
    by_array = _array_columns(table) if table.name is None else []
    numbers = [x, y, *(column for pair in by_array for column in pair), selected]
    kinds = {column: pa.float64() for column in numbers if column is not None}
    kinds |= {} if table.name is None else {table.name: pa.string()}
    read = read_columns(table.head, kinds, on_progress)
    names = [read[table.name]] if table.name is not None else []
    names += [_array_names(read[a], read[b]) for a, b in by_array]
    if section.coordinates is not None:
        _check_names(table, names)
    return _Coordinates(
        table.path.name,
        np.column_stack([read[x], read[y]]),
        [pd.Index(one, dtype=object) for one in names],
        None if selected is None else read[selected] != 0,
        _describe(table, x, y),
    )


def _in_tissue(table: Table) -> int | None:
    if table.head.has_header:
        return table.column(*IN_TISSUE)
    return 1 if len(table.head.columns) == 6 else None  # as in Space Ranger's positions


def _array_columns(table: Table) -> list[tuple[int, int]]:
    """Return the columns that form the names of spots in original Spatial Transcriptomics."""
    pairs = [(table.column(x), table.column(y)) for x, y in (("x", "y"), ("newx", "newy"))]
    return [(x, y) for x, y in pairs if x is not None and y is not None]


def _array_names(x: NDArray[np.float64], y: NDArray[np.float64]) -> list[str]:
    return [f"{a:.10g}x{b:.10g}" for a, b in zip(x, y, strict=True)]


def _check_names(table: Table, names: list[list[str]]) -> None:
    missing = "must have a column with the names of spots, found none. Add it."
    problem = names_problem(names[0], "names of spots") if names else missing
    if problem:
        raise ReadError(table.path.parent, f"`{table.path.name}` {problem}")


def _describe(table: Table, x: int, y: int) -> str:
    names = [table.head.columns[column] for column in (x, y)]
    if not table.head.has_header:
        return (
            f"`{table.path.name}` has no header: its columns {names[0]} and {names[1]} were read as x and y."
        )
    return f"The coordinates of spots are the columns {names[0]!r} and {names[1]!r} of `{table.path.name}`."


# Matching


def _assembled(section: SectionTables, counts: TableCounts, coordinates: _Coordinates | None) -> AnnData:
    notes: list[str] = []
    if coordinates is None:
        counts, xy = _by_array_names(section, counts, notes)
    elif section.coordinates is None:
        notes.append(f"{coordinates.words} Its rows are spots.")
        counts, xy = _only(counts, coordinates.xy, coordinates.in_tissue, notes)
    else:
        counts, xy = _matched(section, counts, coordinates, notes)
    problem = names_problem(counts.rows, "names of spots")
    if problem:
        raise ReadError(section.root, f"`{section.counts.path.name}` {problem}")
    notes += [*_dropped_columns(section.counts), *_without_coordinates(xy)]
    adata = AnnData(counts.matrix)
    adata.obs_names = pd.Index(counts.rows, dtype=object)
    adata.var = genes_table(counts.columns, notes)
    adata.obsm[SPATIAL] = xy
    _add_image(adata, section, notes)
    add_notes(adata, notes)
    return adata


def _by_array_names(
    section: SectionTables, counts: TableCounts, notes: list[str]
) -> tuple[TableCounts, NDArray[np.float64]]:
    """Return the positions in the array from names of rows or columns such as ``10x12``."""
    counts = counts if all(map(ARRAY_NAME.fullmatch, counts.rows)) else counts.transposed()
    found = [ARRAY_NAME.fullmatch(name) for name in counts.rows]
    if None in found:
        wrong = counts.rows[found.index(None)]
        raise ReadError(
            section.root,
            f"`{section.counts.path.name}`: spots must have names such as '10x12', found {quoted(wrong)}. "
            "Name a table of coordinates as `coordinates`.",
        )
    notes.append(
        "The coordinates of spots are their positions in the array, from names such as "
        f"{quoted(counts.rows[0])}: no table of pixels is in the folder of `{section.counts.path.name}`."
    )
    return counts, np.array([match.groups() for match in found if match], dtype=np.float64)


def _matched(
    section: SectionTables, counts: TableCounts, coordinates: _Coordinates, notes: list[str]
) -> tuple[TableCounts, NDArray[np.float64]]:
    """Match the spots, which are the rows or the columns of the counts, with their coordinates."""
    matches = list(_matches(counts, coordinates))
    side, names, indices = max(matches, key=lambda match: int((match[2] >= 0).sum()))
    is_found = indices >= 0
    if is_found.mean() < _LEAST_IN_COMMON:
        raise ReadError(section.root, _no_match(section, counts, coordinates))
    if side == "columns":
        counts = counts.transposed()
    notes.append(f"{coordinates.words} Spots are the {side} of `{section.counts.path.name}`{names}.")
    xy = np.where(is_found[:, None], coordinates.xy[indices], np.nan)
    under_tissue = (
        np.ones(len(coordinates.xy), bool) if coordinates.in_tissue is None else coordinates.in_tissue
    )
    n_empty = int(under_tissue.sum()) - int(under_tissue[indices[is_found]].sum())
    if n_empty:
        notes.append(
            f"{count(n_empty, 'spot')} of `{coordinates.file}` {agreeing(n_empty, 'have')} no counts, and "
            f"{agreeing(n_empty, 'were')} dropped."
        )
    keep = None if coordinates.in_tissue is None else is_found & under_tissue[indices]
    return _only(counts, xy, keep, notes)


def _only(
    counts: TableCounts, xy: NDArray[np.float64], keep: NDArray[np.bool_] | None, notes: list[str]
) -> tuple[TableCounts, NDArray[np.float64]]:
    """Drop spots that are not under tissue, if that is known."""
    if keep is None or keep.all():
        return counts, xy
    kept = np.flatnonzero(keep)
    n_out = len(keep) - len(kept)
    are, were = agreeing(n_out, "are"), agreeing(n_out, "were")
    notes.append(f"{n_out:,} of {len(keep):,} spots {are} not under tissue and {were} dropped.")
    return TableCounts(counts.matrix[kept], [counts.rows[row] for row in kept], counts.columns), xy[kept]


def _matches(counts: TableCounts, coordinates: _Coordinates) -> Iterator[tuple[str, str, NDArray[np.intp]]]:
    """Yield each way to match names: the side, how names were changed, and the row of each spot or -1."""
    for side, given in (("rows", counts.rows), ("columns", counts.columns)):
        for index in coordinates.names:
            if index.is_unique:
                yield side, "", index.get_indexer(pd.Index(given, dtype=object))
            as_r = pd.Index([_as_r(name) for name in index], dtype=object)
            if as_r.is_unique:
                words = ", by names as R writes them (punctuation as dots)"
                yield side, words, as_r.get_indexer(pd.Index([_as_r(name) for name in given], dtype=object))


def _as_r(name: str) -> str:
    """Return a name as R's make.names does (punctuation becomes dots), without the X before a digit."""
    return re.sub(r"^X(?=\d)", "", re.sub(r"[^A-Za-z0-9.]", ".", name))


def _no_match(section: SectionTables, counts: TableCounts, coordinates: _Coordinates) -> str:
    return (
        f"The names of spots in `{coordinates.file}` ({listed(list(coordinates.names[0][:2]))}) are "
        f"neither the rows ({listed(counts.rows[:2])}) nor the columns ({listed(counts.columns[:2])}) of "
        f"`{section.counts.path.name}`. Use files of the same section, or use the same names in both."
    )


def _dropped_columns(table: Table) -> list[str]:
    used = {*table.genes, *(table.coordinates or ()), table.name}
    others = [name for column, name in enumerate(table.head.columns) if column not in used]
    return [f"Columns without counts were dropped: {listed(others)}."] if others else []


def _without_coordinates(xy: NDArray[np.float64]) -> list[str]:
    n_lost = int((~np.isfinite(xy).all(axis=1)).sum())
    return (
        [
            f"{n_lost:,} of {len(xy):,} spots {agreeing(n_lost, 'have')} no coordinates, and "
            f"{agreeing(n_lost, 'are')} kept, but not fitted."
        ]
        if n_lost
        else []
    )


def _add_image(adata: AnnData, section: SectionTables, notes: list[str]) -> None:
    """Add the image of the section, unless spots are outside of it."""
    if section.image is None:
        return
    name = section.image.name
    with as_read_error(section.root, name):
        pixels = read_pixels(section.image)
    xy = adata.obsm[SPATIAL]
    if ((xy < 0) | (xy > pixels.shape[1::-1])).any():
        notes.append(f"`{name}` was dropped: some spots are outside of it, so it shows something else.")
        return
    notes.append(f"`{name}` was read as the image that the coordinates refer to.")
    library = {IMAGES: {HIRES: pixels}, SCALE_FACTORS: {image_scale(HIRES): 1.0}, METADATA: {}}
    adata.uns[SPATIAL] = {section.image.stem: library}
