"""Where an AnnData keeps what is needed: layer, counts, gene names, labels, coordinates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from napari_spotmix.base.keys import RAW, SPATIAL
from napari_spotmix.dataset.matrix_blocks import value_blocks

__all__ = [
    "coordinates",
    "gene_names",
    "has_layer",
    "holds_counts",
    "labels",
    "layers",
    "layers_chosen",
    "layers_of_counts",
    "matrix",
]


def has_layer(adata: AnnData, layer: str | None) -> bool:
    """Tell whether there is a layer of that name; `raw` counts as one, by the name `keys.RAW`."""
    return layer in adata.layers or _is_raw(adata, layer)


def _is_raw(adata: AnnData, layer: str | None) -> bool:
    return layer == RAW and RAW not in adata.layers and adata.raw is not None


def layers_chosen(spatial: AnnData, reference: AnnData, layer: str | None) -> tuple[str | None, str | None]:
    """Return the layer of each that is used: `layer` where there is one, else None for `X`.

    Where neither has it, the spatial data are asked for it, and `check` tells that it is missing.
    """
    in_reference = has_layer(reference, layer)
    in_spatial = has_layer(spatial, layer) or not in_reference
    return layer if in_spatial else None, layer if in_reference else None


def matrix(adata: AnnData, layer: str | None) -> Any:
    """Return `X`, the layer of that name, or the `X` of `raw`."""
    if _is_raw(adata, layer):
        return adata.raw.X
    return adata.X if layer is None else adata.layers[layer]


def gene_names(adata: AnnData, layer: str | None) -> list[str]:
    """Return the names of the columns of `matrix`; `raw` has genes of its own."""
    names = adata.raw.var_names if _is_raw(adata, layer) else adata.var_names
    return [str(name) for name in names]


def layers(adata: AnnData) -> list[str]:
    return [*adata.layers, *([RAW] if _is_raw(adata, RAW) else [])]


def layers_of_counts(adata: AnnData) -> list[str]:
    """Return the layers, and `RAW` where there is a `raw`, that hold whole numbers, none of them negative."""
    return [name for name in layers(adata) if holds_counts(matrix(adata, name))]


def holds_counts(values: Any) -> bool:
    """Tell whether a matrix holds only whole numbers, none of them negative."""
    n_blocks, dtype, blocks = value_blocks(values)
    if not n_blocks or dtype.kind not in "iuf":
        return False
    return all(bool(((block == np.round(block)) & (block >= 0)).all()) for block in blocks)


def coordinates(spatial: AnnData) -> NDArray[np.float64]:
    """Return (x, y) of each spot, float64 (n_spots, 2)."""
    return np.asarray(spatial.obsm[SPATIAL], dtype=np.float64)[:, :2]


def labels(reference: AnnData, cell_type_key: str) -> pd.Categorical[str]:
    """Return the labels as text, with only the types that have cells, in the reference's own order.

    A label that is empty, as of columns that were joined or saved by other programs, is none.
    """
    given = pd.Categorical(reference.obs[cell_type_key]).remove_unused_categories()
    # By way of text, since a column may hold both 1 and "1".
    names = [str(name) for name in given.categories]
    number = pd.Index([name for name in names if name.strip()], dtype=object).unique()
    codes = np.append(number.get_indexer(pd.Index(names)), -1)[given.codes]
    return pd.Categorical.from_codes(codes, categories=number)
