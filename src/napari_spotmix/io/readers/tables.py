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

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData

from napari_spotmix.base.errors import ReadError
from napari_spotmix.base.keys import HIRES, IMAGES, METADATA, SCALE_FACTORS, SPATIAL, image_scale
from napari_spotmix.base.progress import ProgressCallback, silent
from napari_spotmix.base.text import agreeing, quoted
from napari_spotmix.io.notes import add_notes
from napari_spotmix.io.problems import Gatherer, as_read_error, listed
from napari_spotmix.io.readers.controls import are_controls, controls_note
from napari_spotmix.io.readers.coordinate_tables import Coordinates, read_coordinates
from napari_spotmix.io.readers.images import read_pixels
from napari_spotmix.io.readers.options import DEFAULT, ReadOptions
from napari_spotmix.io.readers.table_columns import ARRAY_NAME, Table
from napari_spotmix.io.readers.table_counts import TableCounts, genes_table, read_columns, read_counts
from napari_spotmix.io.readers.table_parsing import names_problem
from napari_spotmix.io.readers.table_sections import SectionTables, find_section

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["read_tables", "table_files"]


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
        coordinates = read_coordinates(section.coordinates or section.counts, on_progress)
    with gather:
        counts = read_counts(_with_names(section, coordinates, on_progress), on_progress)
    if gather.problems or counts is None:
        raise gather.error()
    adata = _assembled(section, counts, coordinates)
    if backed:
        add_notes(adata, ["The counts were read into memory: tables cannot be read in blocks."])
    return adata


# Matching


def _without_controls(counts: TableCounts, notes: list[str]) -> TableCounts:
    control = are_controls(counts.columns)
    if not control.any():
        return counts
    notes.append(controls_note([counts.columns[column] for column in np.flatnonzero(control)]))
    kept = np.flatnonzero(~control)
    return TableCounts(counts.matrix[:, kept], counts.rows, [counts.columns[column] for column in kept])


def _with_names(
    section: SectionTables, coordinates: Coordinates | None, on_progress: ProgressCallback
) -> Table:
    """Return the table of counts with the column of names that matches the coordinates, or is unique."""
    import pyarrow as pa

    table = section.counts
    if len(table.names) < 2:
        return table
    names = read_columns(table.head, dict.fromkeys(table.names, pa.string()), on_progress)
    known = set()
    if section.coordinates is not None and coordinates is not None:
        known = set().union(*coordinates.names.values())

    def evidence(column: int) -> tuple[int, bool]:
        values = names[column]
        return sum(value in known for value in values), len(set(values)) == len(values)

    return Table(table.head, named=max(table.names, key=evidence))


def _assembled(section: SectionTables, counts: TableCounts, coordinates: Coordinates | None) -> AnnData:
    notes: list[str] = []
    if coordinates is None:
        counts, xy = _by_array_names(section, counts, notes)
    elif section.coordinates is None:
        notes.append(f"{coordinates.words} Its rows are spots.")
        counts, xy = _only(counts, coordinates.xy, coordinates.in_tissue, notes)
    else:
        counts, xy = _matched(section, counts, coordinates, notes)
    counts = _without_controls(counts, notes)
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
    section: SectionTables, counts: TableCounts, coordinates: Coordinates, notes: list[str]
) -> tuple[TableCounts, NDArray[np.float64]]:
    """Match the spots, which are the rows or the columns of the counts, with their coordinates."""
    sides = {"rows": counts.rows, "columns": counts.columns}
    coordinates = coordinates.named_as(sides)
    match = coordinates.matched(sides)
    if not match.is_enough:
        raise ReadError(section.root, _no_match(section, counts, coordinates))
    if match.side == "columns":
        counts = counts.transposed()
    notes.append(
        f"{coordinates.words} Spots are the {match.side} of `{section.counts.path.name}`{match.words}."
    )
    notes += coordinates.without_counts(match)
    return _only(counts, coordinates.at(match), coordinates.under_tissue(match), notes)


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


def _no_match(section: SectionTables, counts: TableCounts, coordinates: Coordinates) -> str:
    shown = list(next(iter(coordinates.names.values()))[:2])
    return (
        f"The names of spots in `{coordinates.path.name}` ({listed(shown)}) are "
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
