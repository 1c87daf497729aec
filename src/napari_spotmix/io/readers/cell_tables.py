"""Put the counts of cells and a table of their coordinates together, for the bundles of imaging assays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from napari_spotmix.base.errors import ReadError
from napari_spotmix.base.keys import IMAGES, METADATA, SCALE_FACTORS, SPATIAL
from napari_spotmix.base.progress import ProgressCallback
from napari_spotmix.base.text import agreeing
from napari_spotmix.io.notes import add_notes
from napari_spotmix.io.problems import listed
from napari_spotmix.io.readers.controls import are_controls, controls_note
from napari_spotmix.io.readers.table_columns import open_table
from napari_spotmix.io.readers.table_counts import read_columns

__all__ = ["cells_at", "first_of", "library_of", "read_named"]


def first_of(folder: Path, *patterns: str) -> Path | None:
    """Return the only file that matches the first pattern that any does; None if there is none.

    Raises
    ------
    ReadError
        If a pattern matches several files.
    """
    for pattern in patterns:
        found = [path for path in sorted(folder.glob(pattern)) if not path.name.startswith(".")]
        if len(found) > 1:
            names = listed([path.name for path in found])
            raise ReadError(
                folder,
                f"Expected the files of one section, found several: {names}. Move those of other sections to "
                "another folder.",
            )
        if found:
            return found[0]
    return None


def cells_at(
    root: Path,
    counts: Any,
    names: pd.Index[str],
    genes: pd.DataFrame,
    positions: pd.DataFrame,
    table: str,
) -> AnnData:
    """Return cells with counts and coordinates, controls left out.

    Parameters
    ----------
    root : Path
        What errors are about.
    counts : csr_matrix, shape (n_cells, n_features)
    names : Index of str, length n_cells
    genes : DataFrame, indexed by the names of features
    positions : DataFrame with columns x and y, indexed by names of cells
        Other columns are kept in ``obs``.
    table : str
        The name of the file of `positions`.

    Raises
    ------
    ReadError
        If cells are listed twice, or have no position.
    """
    if positions.index.has_duplicates:
        twice = list(positions.index[positions.index.duplicated()].unique())
        raise ReadError(
            root,
            f"`{table}` must list each cell once, found {len(twice):,} more than once: "
            f"{listed(twice, most=3)}. Copy it again.",
        )
    rows = positions.index.get_indexer(names)
    lost = names[rows < 0]
    if len(lost):
        raise ReadError(
            root,
            f"{len(lost):,} of {len(names):,} cells with counts {agreeing(len(lost), 'are')} missing from "
            f"`{table}`: {listed(list(lost), most=3)}. Take both from the same run.",
        )
    is_control = are_controls(map(str, genes.index))
    found = positions.iloc[rows]
    adata = AnnData(counts[:, ~is_control], obs=found.drop(columns=["x", "y"]).set_axis(names))
    adata.var = genes[~is_control]
    adata.obsm[SPATIAL] = found[["x", "y"]].to_numpy(dtype=np.float64)
    if is_control.any():
        add_notes(adata, [controls_note(list(genes.index[is_control]))])
    return adata


def library_of(name: str, scale_factors: Mapping[str, float], **metadata: str) -> dict[str, Any]:
    """Return ``uns['spatial']`` of a section without images."""
    return {name: {IMAGES: {}, SCALE_FACTORS: dict(scale_factors), METADATA: metadata}}


def read_named(
    path: Path,
    texts: Sequence[str],
    numbers: Sequence[str],
    on_progress: ProgressCallback,
    optional: Sequence[str] = (),
) -> dict[str, Any]:
    """Read columns of a table by their names: text as list of str, numbers as float64 with NaN if missing.

    Raises
    ------
    ReadError
        If the file is not a table, or a column that is not optional is missing.
    """
    import pyarrow as pa

    head = open_table(path).head
    missing = [name for name in (*texts, *numbers) if name not in head.columns]
    if missing:
        raise ReadError(
            path.parent,
            f"`{path.name}` must have the columns {listed(missing)}; found {listed(head.columns)}. "
            "Copy it again from the run.",
        )
    kinds = dict.fromkeys(texts, pa.string()) | dict.fromkeys(
        [*numbers, *(name for name in optional if name in head.columns)], pa.float64()
    )
    read = read_columns(head, {head.columns.index(name): kind for name, kind in kinds.items()}, on_progress)
    return {name: read[head.columns.index(name)] for name in kinds}
