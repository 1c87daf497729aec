"""Join several references: the shared genes, with the cells and cell types of all."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import csr_matrix

from napari_spotmix.base.errors import ReadError
from napari_spotmix.base.keys import RAW
from napari_spotmix.io.notes import add_notes, reading_notes
from napari_spotmix.io.on_disk import assembled
from napari_spotmix.io.problems import listed
from napari_spotmix.io.readers.signatures import is_signatures

__all__ = ["REFERENCE", "join_references"]

#: Column of ``obs`` with the name of the reference of each cell.
REFERENCE = "reference"


def join_references(
    references: Sequence[AnnData], paths: Sequence[Path], cell_type_key: str | None
) -> AnnData:
    """Return the cells of all references, with the genes, columns and layers that all references share.

    Parameters
    ----------
    references : sequence of AnnData
        Not modified. Counts of duplicated genes are summed. `raw` becomes a layer of that name if all
        references have it, and is dropped otherwise.
    paths : sequence of Path
        The files of the references, which name them.
    cell_type_key : str, optional
        Column whose cell type names are compared.

    Returns
    -------
    AnnData
        ``obs['reference']`` holds the name of the reference, which is also appended to the cell names.

    Raises
    ------
    ReadError
        If one reference is a table of signatures, or the references share no gene.
    """
    names = _names(paths)
    _check(references, names, paths)
    parts = {name: _plain(adata) for name, adata in zip(names, references, strict=True)}
    adata = anndata.concat(parts, join="inner", label=REFERENCE, index_unique="-")
    if not adata.n_vars:
        shown = "; ".join(f"{name} has {listed(list(part.var_names[:2]))}" for name, part in parts.items())
        raise ReadError(
            paths[0],
            f"The references must share gene names, found none in common: {shown}. "
            "Use the same kind of identifiers, of the same species.",
        )
    notes = [
        f"{name}: {note}" for name, one in zip(names, references, strict=True) for note in reading_notes(one)
    ]
    cells = ", ".join(f"{name} ({part.n_obs:,} cells, {part.n_vars:,} genes)" for name, part in parts.items())
    note = f"{len(parts)} references were joined over their {adata.n_vars:,} shared genes: {cells}."
    add_notes(adata, [*notes, note, *_similar_names(adata, cell_type_key)])
    return adata


def _names(paths: Sequence[Path]) -> list[str]:
    """Return a name for each path: that of the file, with a number if it is not unique."""
    stems = [path.name.split(".")[0] or path.name for path in paths]
    return [
        stem if stems.count(stem) == 1 else f"{stem} {number}" for number, stem in enumerate(stems, start=1)
    ]


def _check(references: Sequence[AnnData], names: Sequence[str], paths: Sequence[Path]) -> None:
    without_cells = [name for name, one in zip(names, references, strict=True) if is_signatures(one)]
    if without_cells:
        raise ReadError(
            paths[0],
            f"Only references with single cells can be joined, found signatures in {listed(without_cells)}. "
            "Choose references with cells, or the signatures alone.",
        )


def _plain(adata: AnnData) -> AnnData:
    """Return counts, layers and ``obs``, with unique genes."""
    genes = pd.Index(adata.var_names.astype(str))
    plain = assembled({"X": _summed(adata.X, genes), "obs": adata.obs.copy()})
    plain.var_names = genes.unique()
    for name, layer in adata.layers.items():
        plain.layers[name] = _summed(layer, genes)
    if adata.raw is not None and RAW not in adata.layers and genes.isin(adata.raw.var_names).all():
        raw = pd.Index(adata.raw.var_names.astype(str))
        counts = csr_matrix(_summed(adata.raw.X, raw))
        plain.layers[RAW] = counts[:, raw.unique().get_indexer(plain.var_names)]
    return plain


def _summed(matrix: Any, genes: pd.Index[str]) -> Any:
    """Return a matrix with one column per name; columns of the same name are summed."""
    if matrix is None or genes.is_unique:
        return matrix
    codes, unique = pd.factorize(genes)
    indicator = (np.ones(len(codes), np.float32), (np.arange(len(codes)), codes))
    return csr_matrix(matrix) @ csr_matrix(indicator, shape=(len(codes), len(unique)))


def _similar_names(adata: AnnData, cell_type_key: str | None) -> list[str]:
    """Return a note on cell type names that differ only in case, spaces or punctuation, if there are any."""
    if cell_type_key is None or cell_type_key not in adata.obs:
        return []
    by_plain_name = defaultdict(list)
    for name in pd.unique(adata.obs[cell_type_key].dropna().astype(str)):
        by_plain_name[re.sub(r"[\W_]", "", name).lower()].append(name)
    similar = [" and ".join(map(repr, names)) for names in by_plain_name.values() if len(names) > 1]
    if not similar:
        return []
    return [
        "Cell type names that differ only in case, spaces or punctuation are different types: "
        f"{'; '.join(similar)}. Rename them if they are the same type."
    ]
