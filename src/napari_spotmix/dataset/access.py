"""The one place that decides which part of an AnnData is used.

Layer, counts, gene names, labels, coordinates, positions in the array, and the library of ``uns['spatial']``
with its images and scale factors. Everything else asks here; the names of the slots are in `base.keys`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import issparse

from napari_spotmix.base.errors import InputError
from napari_spotmix.base.keys import (
    ARRAY_COL,
    ARRAY_ROW,
    IMAGES,
    RAW,
    RESOLUTIONS,
    SCALE_FACTORS,
    SPATIAL,
    image_scale,
)
from napari_spotmix.base.text import name_order
from napari_spotmix.io import sparse_problem
from napari_spotmix.io.libraries import libraries, library_column

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = [
    "array_positions",
    "coordinates",
    "gene_names",
    "gene_table",
    "has_layer",
    "images",
    "labels",
    "layers",
    "layers_chosen",
    "libraries",
    "library",
    "library_column",
    "matrix",
    "placed_images",
    "scale_factor",
    "scale_factors",
    "spot_counts",
    "tissue_image",
]


# ---------------------------------------------------------------------------------------- counts and genes


def has_layer(adata: AnnData, layer: str | None) -> bool:
    """Return whether there is a layer of that name; `raw` counts as one, by the name `keys.RAW`."""
    return layer in adata.layers or _is_raw(adata, layer)


def _is_raw(adata: AnnData, layer: str | None) -> bool:
    return layer == RAW and RAW not in adata.layers and adata.raw is not None


def layers(adata: AnnData) -> list[str]:
    """Return the names of all layers, `RAW` last if there is a `raw`."""
    return [*adata.layers, *([RAW] if _is_raw(adata, RAW) else [])]


def layers_chosen(spatial: AnnData, reference: AnnData, layer: str | None) -> tuple[str | None, str | None]:
    """Return the layer that is used of each: `layer` if there is one of that name, else None for `X`.

    If neither has it, it is returned for the spatial data, so that `check` reports it as missing.
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
    return [str(name) for name in gene_table(adata, layer).index]


def gene_table(adata: AnnData, layer: str | None) -> pd.DataFrame:
    """Return what is known of the genes of `matrix`: `var`, or that of `raw`."""
    table: pd.DataFrame = adata.raw.var if _is_raw(adata, layer) else adata.var
    return table


def spot_counts(adata: AnnData, layer: str | None, spot: int) -> pd.Series[float]:
    """Return the counts of one spot that are not 0.

    Parameters
    ----------
    adata : AnnData, n_spots x n_genes
        Not modified.
    layer : str or None
        As given to `deconvolve`: `X` is used if `adata` has no layer of that name.
    spot : int
        Row of the spot.

    Returns
    -------
    Series of float64
        By gene name, counts of duplicated names summed. Empty if the counts are on disk by column (CSC),
        since the whole file would have to be read.

    Examples
    --------
    >>> from anndata import AnnData
    >>> spots = AnnData(np.array([[0, 2, 1]]), var=pd.DataFrame(index=["A", "B", "C"]))
    >>> spot_counts(spots, "counts", 0).to_dict()
    {'B': 2.0, 'C': 1.0}
    """
    chosen = layer if has_layer(adata, layer) else None
    counts = matrix(adata, chosen)
    if getattr(counts, "format", "") == "csc" and not issparse(counts):
        return pd.Series(dtype=float)
    row: Any = counts[spot]
    if problem := sparse_problem(row):  # of a matrix on disk, whose indices were not read before
        raise InputError(
            f"The counts of spot {spot} are damaged: {problem}. Copy or download the file again."
        )
    values = np.asarray(row.toarray() if hasattr(row, "toarray") else row, dtype=float).ravel()
    seen = np.flatnonzero(values)
    names = adata.raw.var_names if _is_raw(adata, chosen) else adata.var_names
    return pd.Series(values[seen], index=names[seen].astype(str)).groupby(level=0).sum()


# ------------------------------------------------------------------------------------------ labels of cells


def labels(reference: AnnData, cell_type_key: str) -> pd.Categorical[str]:
    """Return the labels as text, with only the types that have cells, in the order of their names.

    An empty label, as joined tables and other programs leave it, is not a label.
    """
    given = pd.Categorical(reference.obs[cell_type_key]).remove_unused_categories()
    # By way of text, since a column may hold both 1 and "1".
    names = [str(name) for name in given.categories]
    number = pd.Index(sorted({name for name in names if name.strip()}, key=name_order), dtype=object)
    codes = np.append(number.get_indexer(pd.Index(names)), -1)[given.codes]
    return pd.Categorical.from_codes(codes, categories=number)


# --------------------------------------------------------------------------------------- positions of spots


def coordinates(spatial: AnnData) -> NDArray[np.float64]:
    """Return (x, y) of each spot in full-resolution pixels, float64 (n_spots, 2)."""
    return np.asarray(spatial.obsm[SPATIAL], dtype=np.float64)[:, :2]


def array_positions(spatial: AnnData) -> NDArray[np.float64] | None:
    """Return (row, column) of each spot in the array, float64 (n_spots, 2), or None if not in the file."""
    names = [ARRAY_ROW, ARRAY_COL]
    obs = spatial.obs
    if not all(name in obs and np.issubdtype(obs[name].dtype, np.number) for name in names):
        return None
    return np.asarray(obs[names].to_numpy(float))


# ------------------------------------------------------------------------------------ images and their scale


def library(spatial: AnnData) -> Mapping[str, Any]:
    """Return the library whose images and scale factors are used: the first one; empty if there is none."""
    return next(iter(libraries(spatial).values()), {})


def scale_factors(spatial: AnnData) -> Mapping[str, Any]:
    """Return the scale factors of the library, as they are in the file; empty if there are none."""
    found = library(spatial).get(SCALE_FACTORS)
    return found if isinstance(found, Mapping) else {}


def scale_factor(spatial: AnnData, name: str) -> float | None:
    """Return one scale factor, or None if it is missing or no number above 0."""
    value = scale_factors(spatial).get(name)
    if not isinstance(value, (int, float, np.integer, np.floating)):
        return None
    return float(value) if 0 < value <= sys.float_info.max else None  # whole numbers may be larger


def images(spatial: AnnData) -> dict[str, Any]:
    """Return all images of the library by resolution, with or without a scale factor."""
    found = library(spatial).get(IMAGES)
    if not isinstance(found, Mapping):
        return {}
    return {str(name): image for name, image in found.items() if image is not None}


def placed_images(spatial: AnnData) -> list[tuple[str, NDArray[Any], float]]:
    """Return the images that have a scale factor: resolution, pixels, pixels in one full-resolution pixel."""
    found = [
        (name, np.asarray(image), scale_factor(spatial, image_scale(name)))
        for name, image in images(spatial).items()
    ]
    return [
        (name, image, factor) for name, image, factor in found if factor is not None and image.ndim in (2, 3)
    ]


def tissue_image(spatial: AnnData) -> tuple[NDArray[Any], float] | None:
    """Return the finest image with a scale factor, and the full-resolution pixels in one of its pixels."""
    placed = {name: (image, 1.0 / factor) for name, image, factor in placed_images(spatial)}
    return next((placed[name] for name in RESOLUTIONS if name in placed), None)
