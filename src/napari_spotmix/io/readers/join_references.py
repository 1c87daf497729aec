"""Several references as one: the genes that all have, the cells and the cell types of each."""

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
from napari_spotmix.io.problems import listed
from napari_spotmix.io.readers.signatures import is_signatures

__all__ = ["REFERENCE", "joined"]

#: Column of ``obs`` that tells which of several references a cell is of.
REFERENCE = "reference"


def joined(references: Sequence[AnnData], paths: Sequence[Path], cell_type_key: str | None) -> AnnData:
    """Return all cells over the genes, and with the columns and layers, that all references have.

    Parameters
    ----------
    references : sequence of AnnData
        Not modified. Counts of genes that stand in several columns are summed. What one holds in `raw` is
        left out unless all do; it becomes a layer of that name.
    paths : sequence of Path
        Where they come from, to name them.
    cell_type_key : str, optional
        Column whose names of types are compared.

    Returns
    -------
    AnnData
        ``obs['reference']`` tells which one a cell is of; its name is added to the name of the cell.

    Raises
    ------
    ReadError
        If one is a table of signatures, or they have no gene in common.
    """
    names = _names(paths)
    _check(references, names, paths)
    parts = {name: _plain(adata) for name, adata in zip(names, references, strict=True)}
    adata = anndata.concat(parts, join="inner", label=REFERENCE, index_unique="-")
    if not adata.n_vars:
        shown = "; ".join(f"{name} has {listed(list(part.var_names[:2]))}" for name, part in parts.items())
        raise ReadError(paths[0], f"The references have no gene names in common: {shown}.")
    told = [
        f"{name}: {note}" for name, one in zip(names, references, strict=True) for note in reading_notes(one)
    ]
    cells = ", ".join(f"{name} ({part.n_obs:,} cells, {part.n_vars:,} genes)" for name, part in parts.items())
    note = f"{len(parts)} references were joined over {adata.n_vars:,} genes in common: {cells}."
    add_notes(adata, [*told, note, *_alike(adata, cell_type_key)])
    return adata


def _names(paths: Sequence[Path]) -> list[str]:
    """Return a name for each path: that of the file, with a number where two are the same."""
    stems = [path.name.split(".")[0] or path.name for path in paths]
    return [
        stem if stems.count(stem) == 1 else f"{stem} {number}" for number, stem in enumerate(stems, start=1)
    ]


def _check(references: Sequence[AnnData], names: Sequence[str], paths: Sequence[Path]) -> None:
    without_cells = [name for name, one in zip(names, references, strict=True) if is_signatures(one)]
    if without_cells:
        raise ReadError(
            paths[0],
            f"{listed(without_cells)} holds signatures without cells, which cannot be joined with others. "
            "Choose references of cells, or this one alone.",
        )


def _plain(adata: AnnData) -> AnnData:
    """Return counts, layers and columns of cells, with each gene once."""
    genes = pd.Index(adata.var_names.astype(str))
    plain = AnnData(_summed(adata.X, genes), obs=adata.obs.copy())
    plain.var_names = genes.unique()
    for name, layer in adata.layers.items():
        plain.layers[name] = _summed(layer, genes)
    if adata.raw is not None and RAW not in adata.layers and genes.isin(adata.raw.var_names).all():
        raw = pd.Index(adata.raw.var_names.astype(str))
        counts = csr_matrix(_summed(adata.raw.X, raw))
        plain.layers[RAW] = counts[:, raw.unique().get_indexer(plain.var_names)]
    return plain


def _summed(matrix: Any, genes: pd.Index[str]) -> Any:
    """Return a matrix with one column for each name."""
    if matrix is None or genes.is_unique:
        return matrix
    codes, unique = pd.factorize(genes)
    places = (np.ones(len(codes), np.float32), (np.arange(len(codes)), codes))
    return csr_matrix(matrix) @ csr_matrix(places, shape=(len(codes), len(unique)))


def _alike(adata: AnnData, cell_type_key: str | None) -> list[str]:
    """Tell of names of types that differ only in case, spaces or signs, and may mean the same."""
    if cell_type_key is None or cell_type_key not in adata.obs:
        return []
    alike = defaultdict(list)
    for name in pd.unique(adata.obs[cell_type_key].dropna().astype(str)):
        alike[re.sub(r"[\W_]", "", name).lower()].append(name)
    same = [" and ".join(map(repr, names)) for names in alike.values() if len(names) > 1]
    if not same:
        return []
    return [
        "Names of cell types that differ only in case, spaces or signs are types of their own: "
        f"{'; '.join(same)}. Rename them if they mean the same."
    ]
