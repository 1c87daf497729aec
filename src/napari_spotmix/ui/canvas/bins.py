"""Bins on a grid as an image layer with a pyramid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_spotmix.dataset.bin_grid import BinGrid, pyramid

if TYPE_CHECKING:
    from napari.types import FullLayerData

__all__ = ["bins_layer"]


def bins_layer(
    grid: BinGrid, name: str, values: NDArray[Any], settings: dict[str, Any] | None = None
) -> FullLayerData:
    """Return bins as an image with a pyramid.

    Parameters
    ----------
    grid : BinGrid
    name : str
    values : ndarray, shape (n_bins,) or (n_bins, 4)
        A value per bin, or its color as RGBA from 0 to 1.
    settings : dict, optional
        Of the layer.
    """
    levels = pyramid(grid.image(values))
    is_rgb = levels[0].ndim == 3
    if is_rgb:
        levels = [np.rint(np.nan_to_num(level) * 255).astype(np.uint8) for level in levels]
    usual = {"name": name, "affine": grid.affine, "interpolation2d": "nearest", "rgb": is_rgb}
    is_pyramid = len(levels) > 1
    data = levels if is_pyramid else levels[0]
    return data, usual | {"multiscale": is_pyramid} | (settings or {}), "image"
