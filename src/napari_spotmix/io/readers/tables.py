"""Spots from plain tables: counts as CSV, TSV or parquet, and the places of the spots in another or the same.

Which side of the counts the spots are on is found out by matching names with the places. What is read so:

================================  ==========================================================================
original Spatial Transcriptomics  spots x genes, rows named ``XxY``; ``alignment_table`` with pixel_x, pixel_y
Slide-seq and other beads         genes x beads (``MappedDGEForR.csv``) and ``BeadLocationsForR.csv``
as for RCTD (spacexr)             ``counts.csv`` (genes x spots) and ``coords.csv``
plain                             spots x genes or genes x spots, with places beside, or in columns x and y
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
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import csr_matrix, vstack

from napari_spotmix.base.errors import ReadError
from napari_spotmix.base.keys import HIRES, IMAGES, METADATA, SCALE_FACTORS, SPATIAL, image_scale
from napari_spotmix.base.progress import ProgressCallback, silent
from napari_spotmix.base.text import agreeing, count
from napari_spotmix.io.notes import add_notes
from napari_spotmix.io.problems import Gatherer, listed, reported
from napari_spotmix.io.readers.delimited import Head, blocks, problem_of_names
from napari_spotmix.io.readers.images import read_pixels
from napari_spotmix.io.readers.reading import DEFAULT, Reading
from napari_spotmix.io.readers.table_files import ARRAY_NAME, IN_TISSUE, Section, Table, find_section

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["TableCounts", "read_counts", "read_tables", "table_files", "text_columns", "with_plain_ids"]

_ENSEMBL = re.compile(r"(ENS[A-Z]*G\d{11})\.\d+")
_STAGE = "Reading spots"
#: Counts and places whose names agree for fewer spots than this do not belong together.
_LEAST_IN_COMMON = 0.5


def table_files(path: Path, how: Reading = DEFAULT) -> list[Path]:
    """Return every file that reading the tables at `path` opens, in a fixed order; but for what was told.

    Raises
    ------
    ReadError
        If they cannot be chosen.
    """
    return [file for file in find_section(path, how).files if file != how.coordinates]


def read_tables(
    path: Path, how: Reading = DEFAULT, *, backed: bool = False, on_progress: ProgressCallback = silent
) -> AnnData:
    """Read spots from tables.

    Parameters
    ----------
    path : Path
        A table of counts, or a folder that holds one.
    how : Reading
        `coordinates` names the table of places, where it is not found beside.
    backed : bool, optional
        Tables cannot stay on disk; a note says so.
    on_progress : callable, optional
        Told of each block that is read.

    Returns
    -------
    AnnData
        As :func:`napari_spotmix.io.read_spatial` describes. Spots without a place are kept, with NaN.

    Raises
    ------
    ReadError
        All problems of both tables; how their names differ where they do not match.
    """
    section = find_section(path, how)
    gather = Gatherer(section.root)
    places = counts = None
    with gather:
        places = _read_places(section, on_progress)
    with gather:
        counts = read_counts(section.counts, on_progress)
    gather.raise_all()
    assert counts is not None
    adata = _assembled(section, counts, places)
    if backed:
        add_notes(adata, ["The counts were read into memory: tables cannot be read in parts."])
    return adata


# Places


@dataclass
class _Places:
    """Where spots lie, float64 (n, 2), and every list of names that they may have."""

    xy: NDArray[np.float64]
    names: list[pd.Index[str]]
    in_tissue: NDArray[np.bool_] | None
    words: str


def _read_places(section: Section, on_progress: ProgressCallback) -> _Places | None:
    """Read places from their table or from columns of the counts; None if names of spots tell them."""
    import pyarrow as pa

    table = section.places or section.counts
    if table.places is None:
        return None
    (x, y), selected = table.places, _in_tissue(table)
    by_array = _array_columns(table) if table.name is None else []
    numbers = [x, y, *(column for pair in by_array for column in pair), selected]
    kinds = {column: pa.float64() for column in numbers if column is not None}
    kinds |= {} if table.name is None else {table.name: pa.string()}
    read = _columns(table.head, kinds, on_progress)
    names = [read[table.name]] if table.name is not None else []
    names += [_array_names(read[a], read[b]) for a, b in by_array]
    if section.places is not None:
        _check_names(table, names)
    return _Places(
        np.column_stack([read[x], read[y]]),
        [pd.Index(one, dtype=object) for one in names],
        None if selected is None else read[selected] != 0,
        _place_words(table),
    )


def _in_tissue(table: Table) -> int | None:
    if table.head.has_header:
        return table.column(*IN_TISSUE)
    return 1 if len(table.head.columns) == 6 else None  # as in Space Ranger's positions


def _array_columns(table: Table) -> list[tuple[int, int]]:
    """Return the columns that name spots as original Spatial Transcriptomics does, also as later adjusted."""
    pairs = [(table.column(x), table.column(y)) for x, y in (("x", "y"), ("newx", "newy"))]
    return [(x, y) for x, y in pairs if x is not None and y is not None]


def _array_names(x: NDArray[np.float64], y: NDArray[np.float64]) -> list[str]:
    return [f"{a:.10g}x{b:.10g}" for a, b in zip(x, y, strict=True)]


def _check_names(table: Table, names: list[list[str]]) -> None:
    problem = problem_of_names(names[0], "names of spots") if names else "has no column with names of spots."
    if problem:
        raise ReadError(table.path.parent, f"`{table.path.name}` {problem}")


def _place_words(table: Table) -> str:
    assert table.places is not None
    x, y = (table.head.columns[column] for column in table.places)
    if not table.head.has_header:
        return f"`{table.path.name}` has no header: its columns {x} and {y} were taken for x and y."
    return f"The coordinates of spots are the columns {x!r} and {y!r} of `{table.path.name}`."


def _columns(head: Head, kinds: dict[int, pa.DataType], on_progress: ProgressCallback) -> dict[int, Any]:
    """Return whole columns: text as list of str, numbers as float64 with NaN where there is none."""
    parts: dict[int, list[Any]] = {column: [] for column in kinds}
    for block in blocks(head, kinds, _STAGE, on_progress):
        for part, values in zip(parts.values(), block.columns, strict=True):
            part.append(_values(values))
    return {column: _joined(part) for column, part in parts.items()}


def text_columns(head: Head, on_progress: ProgressCallback = silent) -> list[list[str]]:
    """Read all columns of a table as text, stripped; a missing cell is ``""``."""
    import pyarrow as pa

    read = _columns(head, {column: pa.string() for column in range(len(head.columns))}, on_progress)
    return list(read.values())


def _values(column: pa.Array) -> Any:
    if str(column.type) == "string":
        return [(value or "").strip() for value in column.to_pylist()]
    return column.to_numpy(zero_copy_only=False).astype(np.float64)


def _joined(parts: list[Any]) -> Any:
    if parts and isinstance(parts[0], list):
        return [value for part in parts for value in part]
    return np.concatenate(parts) if parts else np.empty(0)


# Counts


@dataclass
class TableCounts:
    """The numbers of a table, and the names of both of its sides."""

    matrix: csr_matrix
    rows: list[str]
    columns: list[str]

    def turned(self) -> TableCounts:
        """Return it with rows for columns."""
        return TableCounts(self.matrix.T.tocsr(), self.columns, self.rows)


def read_counts(table: Table, on_progress: ProgressCallback, stage: str = _STAGE) -> TableCounts:
    """Read the numbers of a table, and the names of its rows and columns.

    Raises
    ------
    ReadError
        If a cell holds no number; says where.
    """
    import pyarrow as pa

    kinds = dict.fromkeys(table.genes, pa.float32())
    if table.name is not None:
        kinds = {table.name: pa.string()} | kinds
    rows: list[str] = []
    parts: list[csr_matrix] = []
    for block in blocks(table.head, kinds, stage, on_progress):
        if table.name is not None:
            rows += _values(block.column(0))
        numbers = block.select(range(table.name is not None, block.num_columns))
        parts.append(_sparse(table, numbers.to_tensor(null_to_nan=True).to_numpy()))
    matrix = vstack(parts, format="csr")
    columns = [table.head.columns[column] for column in table.genes]
    return TableCounts(matrix, rows or [str(row) for row in range(1, matrix.shape[0] + 1)], columns)


def _sparse(table: Table, block: NDArray[np.float32]) -> csr_matrix:
    n_missing = int(np.isnan(block).sum())
    if n_missing:
        raise ReadError(
            table.path.parent,
            f"`{table.path.name}` has {n_missing:,} cells without a number among its counts. "
            "Write 0 where nothing was counted.",
        )
    return csr_matrix(block)


# Both


def _assembled(section: Section, counts: TableCounts, places: _Places | None) -> AnnData:
    notes: list[str] = []
    if places is None:
        counts, xy = _by_array_names(section, counts, notes)
    elif section.places is None:
        notes.append(f"{places.words} Its rows are spots.")
        counts, xy = _only(counts, places.xy, places.in_tissue, notes)
    else:
        counts, xy = _matched(section, counts, places, notes)
    problem = problem_of_names(counts.rows, "names of spots")
    if problem:
        raise ReadError(section.root, f"`{section.counts.path.name}` {problem}")
    notes += [*_columns_left_out(section.counts), *_without_place(xy)]
    adata = AnnData(counts.matrix)
    adata.obs_names = pd.Index(counts.rows, dtype=object)
    adata.var = with_plain_ids(counts.columns, notes)
    adata.obsm[SPATIAL] = xy
    _add_image(adata, section, notes)
    add_notes(adata, notes)
    return adata


def _by_array_names(
    section: Section, counts: TableCounts, notes: list[str]
) -> tuple[TableCounts, NDArray[np.float64]]:
    """Take places in the array from names such as ``10x12``, of rows or of columns."""
    counts = counts if all(map(ARRAY_NAME.fullmatch, counts.rows)) else counts.turned()
    found = [ARRAY_NAME.fullmatch(name) for name in counts.rows]
    if None in found:
        wrong = counts.rows[found.index(None)]
        raise ReadError(
            section.root,
            f"`{section.counts.path.name}`: spots are named by their place, as '10x12', but one {wrong!r}. "
            "Name a table of coordinates as `coordinates`.",
        )
    notes.append(
        "The coordinates of spots are their places in the array, from names such as "
        f"{counts.rows[0]!r}: no table of pixels was found beside `{section.counts.path.name}`."
    )
    return counts, np.array([match.groups() for match in found if match], dtype=np.float64)


def _matched(
    section: Section, counts: TableCounts, places: _Places, notes: list[str]
) -> tuple[TableCounts, NDArray[np.float64]]:
    """Find the spots of the counts among the places, be they its rows or its columns."""
    matches = list(_matches(counts, places))
    side, names, in_places = max(matches, key=lambda match: int((match[2] >= 0).sum()))
    is_found = in_places >= 0
    if is_found.mean() < _LEAST_IN_COMMON:
        raise ReadError(section.root, _no_match(section, counts, places))
    if side == "columns":
        counts = counts.turned()
    notes.append(f"{places.words} Spots are the {side} of `{section.counts.path.name}`{names}.")
    xy = np.where(is_found[:, None], places.xy[in_places], np.nan)
    under_tissue = np.ones(len(places.xy), bool) if places.in_tissue is None else places.in_tissue
    n_empty = int(under_tissue.sum()) - int(under_tissue[in_places[is_found]].sum())
    if n_empty:
        assert section.places is not None
        name = section.places.path.name
        notes.append(
            f"{count(n_empty, 'spot')} of `{name}` {agreeing(n_empty, 'have')} no counts, and "
            f"{agreeing(n_empty, 'were')} left out."
        )
    keep = None if places.in_tissue is None else is_found & under_tissue[in_places]
    return _only(counts, xy, keep, notes)


def _only(
    counts: TableCounts, xy: NDArray[np.float64], keep: NDArray[np.bool_] | None, notes: list[str]
) -> tuple[TableCounts, NDArray[np.float64]]:
    """Leave out what is not under tissue, where that is known."""
    if keep is None or keep.all():
        return counts, xy
    kept = np.flatnonzero(keep)
    n_out = len(keep) - len(kept)
    are, were = agreeing(n_out, "are"), agreeing(n_out, "were")
    notes.append(f"{n_out:,} of {len(keep):,} spots {are} not under tissue and {were} left out.")
    return TableCounts(counts.matrix[kept], [counts.rows[row] for row in kept], counts.columns), xy[kept]


def _matches(counts: TableCounts, places: _Places) -> Iterator[tuple[str, str, NDArray[np.intp]]]:
    """Yield each way to find spots: the side, how names were changed, and the place of each spot or -1."""
    for side, given in (("rows", counts.rows), ("columns", counts.columns)):
        for index in places.names:
            if index.is_unique:
                yield side, "", index.get_indexer(pd.Index(given, dtype=object))
            as_r = pd.Index([_as_r(name) for name in index], dtype=object)
            if as_r.is_unique:
                words = ", by names as R writes them (signs as dots)"
                yield side, words, as_r.get_indexer(pd.Index([_as_r(name) for name in given], dtype=object))


def _as_r(name: str) -> str:
    """Return a name as R's make.names does: signs become dots, X stands before a digit."""
    return re.sub(r"^X(?=\d)", "", re.sub(r"[^A-Za-z0-9.]", ".", name))


def _no_match(section: Section, counts: TableCounts, places: _Places) -> str:
    assert section.places is not None
    return (
        f"The names of spots in `{section.places.path.name}` ({listed(list(places.names[0][:2]))}) are "
        f"neither the rows ({listed(counts.rows[:2])}) nor the columns ({listed(counts.columns[:2])}) of "
        f"`{section.counts.path.name}`. Take both from the same section, or make the names alike."
    )


def _columns_left_out(table: Table) -> list[str]:
    used = {*table.genes, *(table.places or ()), table.name}
    others = [name for column, name in enumerate(table.head.columns) if column not in used]
    return [f"Columns that hold no counts were left out: {listed(others)}."] if others else []


def _without_place(xy: NDArray[np.float64]) -> list[str]:
    n_lost = int((~np.isfinite(xy).all(axis=1)).sum())
    return (
        [
            f"{n_lost:,} of {len(xy):,} spots {agreeing(n_lost, 'have')} no coordinates, and "
            f"{agreeing(n_lost, 'are')} kept, but not estimated."
        ]
        if n_lost
        else []
    )


def with_plain_ids(names: list[str], notes: list[str]) -> pd.DataFrame:
    """Return the table of genes: Ensembl ids without their version, which is kept in ``gene_ids``.

    Examples
    --------
    >>> notes = []
    >>> with_plain_ids(["ENSMUSG00000064339.1", "ENSMUSG00000064337.2"], notes).index.tolist()
    ['ENSMUSG00000064339', 'ENSMUSG00000064337']
    >>> with_plain_ids(["Actb", "Nkx2.1"], notes).index.tolist()
    ['Actb', 'Nkx2.1']
    """
    found = [_ENSEMBL.fullmatch(name) for name in names]
    if not any(found):
        return pd.DataFrame(index=pd.Index(names, dtype=object))
    plain = [match[1] if match else name for match, name in zip(found, names, strict=True)]
    notes.append(
        f"Genes have Ensembl ids with a version ({next(match[0] for match in found if match)}): "
        "they are named without it; `var['gene_ids']` holds the full ones."
    )
    return pd.DataFrame({"gene_ids": names}, index=pd.Index(plain, dtype=object))


def _add_image(adata: AnnData, section: Section, notes: list[str]) -> None:
    """Add the image that the places are pixels of, unless they lie outside of it."""
    if section.image is None:
        return
    name = section.image.name
    with reported(section.root, name):
        pixels = read_pixels(section.image)
    xy = adata.obsm[SPATIAL]
    if ((xy < 0) | (xy > pixels.shape[1::-1])).any():
        notes.append(f"`{name}` was left out: spots lie outside of it, so it is not their image.")
        return
    notes.append(f"`{name}` was taken for the image that the coordinates are pixels of.")
    library = {IMAGES: {HIRES: pixels}, SCALE_FACTORS: {image_scale(HIRES): 1.0}, METADATA: {}}
    adata.uns[SPATIAL] = {section.image.stem: library}
