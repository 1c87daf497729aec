"""Layers of genes and of columns of ``obs``: they need the spots alone, not a result."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from napari.layers import Image, Layer
from napari.utils.colormaps import Colormap
from napari.utils.colormaps.standardize_color import transform_color

from napari_spotmix.base.colors import MAP
from napari_spotmix.base.weak_cache import weakly_cached
from napari_spotmix.dataset.bin_grid import bin_grid
from napari_spotmix.dataset.geometry import placed_spots
from napari_spotmix.output.figure_maps import two_sided
from napari_spotmix.ui.canvas import layers
from napari_spotmix.ui.canvas.bins import bins_layer
from napari_spotmix.ui.text import plain

if TYPE_CHECKING:
    from anndata import AnnData
    from napari.types import FullLayerData

    from napari_spotmix.ui.state.spot_values import SpotValues

__all__ = ["is_changed_by_others", "start_of", "values_colormap", "values_layer"]

#: Name of the feature that holds the values.
_VALUE = "value"
_CLEAR = "#00000000"
_N_COLORS = 1001


def values_layer(adata: AnnData, name: str, found: SpotValues, end: float) -> FullLayerData:
    """Return spots, or bins, colored by a value each from 0 to `end`, or by their label.

    Where a value is 0 nothing is drawn. Spots without a value are hollow and gray, and bins are left out.
    """
    shown = found.numbers[placed_spots(adata)]
    grid = bin_grid(adata)
    if found.labels is not None:
        codes = shown.astype(np.int64)
        rgba = transform_color([*found.labels.colors, _CLEAR])[codes]
        if grid is not None:
            return bins_layer(grid, name, rgba)
        names = np.array([*map(plain, found.labels.names), None], dtype=object)[codes]
        settings = _points(adata, name, names, codes >= 0) | {"face_color": rgba}
        return layers.positions(adata), settings, "points"
    colormap, limits = values_colormap(adata, found), (start_of(found, end), end)
    if grid is not None:
        of_bins = {"colormap": colormap, "contrast_limits": [*limits], "gamma": 1.0}
        return bins_layer(grid, name, shown, of_bins)
    colored = {"face_color": _VALUE, "face_colormap": colormap, "face_contrast_limits": limits}
    return layers.positions(adata), _points(adata, name, shown, np.isfinite(shown)) | colored, "points"


def start_of(found: SpotValues, end: float) -> float:
    """Return where colors begin that end at a value."""
    return -end if found.is_signed else 0.0


def values_colormap(adata: AnnData, found: SpotValues) -> Colormap:
    """Return the colors of values: none at 0; of values of both signs, blue below it and orange above."""
    over_image = layers.has_image(adata)
    return _two_sided(over_image) if found.is_signed else layers.overlay_colormap(MAP, over_image)


@lru_cache(maxsize=2)
def _two_sided(over_image: bool) -> Colormap:
    colors = two_sided(_N_COLORS, over_image=over_image)
    name = f"blue to orange over {'image' if over_image else 'gray'}"
    return Colormap(colors, name=name, display_name=name)


def _points(adata: AnnData, name: str, shown: np.ndarray, is_known: np.ndarray) -> dict[str, Any]:
    is_dense = len(is_known) > layers.MOST_OUTLINED
    symbol = layers.symbol_of(adata)
    return layers.point_settings(adata, name) | {
        "features": pd.DataFrame({"spot": _names(adata), _VALUE: shown}),
        "border_color": transform_color([layers.UNKNOWN, _CLEAR])[is_known.astype(int)],
        "border_width": np.where(is_known, 0.0, 0.12),
        "antialiasing": 0 if is_dense else 1,
        "canvas_size_limits": (3 if is_dense else 2, 10000),
        "symbol": symbol if is_known.all() else np.where(is_known, symbol, "x"),
    }


@weakly_cached
def _names(adata: AnnData) -> pd.Index:
    # As plain text: napari's status bar guesses at HTML.
    names: pd.Index = adata.obs_names[placed_spots(adata)].astype(str).map(plain)
    return names


def is_changed_by_others(layer: Layer) -> bool:
    """Whether another plugin has colored spots by its own features."""
    return not isinstance(layer, Image) and _VALUE not in layer.features
