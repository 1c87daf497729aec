"""The arrays that panels side by side are drawn from, made in a thread without a window.

All coordinates are (x, y) in full-resolution pixels, as the canvas of the panels wants them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from numpy.typing import NDArray

from napari_spotmix.base.progress import Progress
from napari_spotmix.dataset.bin_grid import bin_grid
from napari_spotmix.dataset.geometry import placed_spots
from napari_spotmix.ui.canvas import layers
from napari_spotmix.ui.canvas.value_layers import values_colormap

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.utils.colormaps import Colormap

    from napari_spotmix.base.progress import ProgressCallback, Task
    from napari_spotmix.result import Result
    from napari_spotmix.ui.state.maps import Gene, PanelMap
    from napari_spotmix.ui.state.spot_values import SpotValues

__all__ = ["PanelData", "Picture", "SpotsVisual", "arrangement", "panels_task", "tissue_pictures"]

#: The tissue below all panels together has no more pixels than this: each panel holds its own copy.
_MOST_PIXELS = 8_000_000
#: Steps of the colors.
_N_COLORS = 1001


@dataclass(frozen=True)
class Picture:
    """Pixels and their position.

    Attributes
    ----------
    pixels : ndarray of uint8, shape (rows, columns, 3 or 4)
    to_xy : ndarray of float64, shape (3, 3)
        From (column, row) of the pixels' edges to (x, y).
    opacity : float
    """

    pixels: NDArray[np.uint8]
    to_xy: NDArray[np.float64]
    opacity: float = 1.0


@dataclass(frozen=True)
class SpotsVisual:
    """How spots are drawn: their positions xy (n_spots, 2), diameter, and names of symbols."""

    xy: NDArray[np.float64]
    diameter: float
    symbol: Any


@dataclass(frozen=True)
class PanelData:
    """The content of the panels of some cell types and genes.

    Attributes
    ----------
    names : tuple of str or Gene
    tissue : list of Picture
        The same below each panel.
    spots : SpotsVisual or None
        None if bins are drawn as pictures.
    colors : list
        For each the colors of its spots, uint8 (n_spots, 4), or the Picture of its bins.
    """

    names: tuple[PanelMap, ...]
    tissue: list[Picture]
    spots: SpotsVisual | None
    colors: list[Any]


def arrangement(n_panels: int, width: float, height: float, aspect: float) -> tuple[int, int]:
    """Return the rows and columns that make panels largest, for a tissue of width / height `aspect`.

    Examples
    --------
    >>> arrangement(4, 1000, 1000, 1.0), arrangement(2, 1000, 500, 1.0), arrangement(3, 600, 900, 4.0)
    ((2, 2), (1, 2), (3, 1))
    """

    def size(n_columns: int) -> float:
        n_rows = -(-n_panels // n_columns)
        return min(width / n_columns / aspect, height / n_rows)

    n_columns = max(range(1, n_panels + 1), key=size)
    return -(-n_panels // n_columns), n_columns


def panels_task(
    result: Result,
    ends: Mapping[PanelMap, float],
    threshold: float,
    tissue: Sequence[Layer],
    opacity: float,
    genes: Mapping[Gene, SpotValues] | None = None,
) -> Task:
    """Return the task that makes the content of the panels of some cell types and genes.

    Parameters
    ----------
    result : Result
    ends : mapping of str or Gene to float
        Where the colors of each end.
    threshold : float
        Spots with a smaller proportion are faded.
    tissue : sequence of Layer
        Images below the spots, the lowest first.
    opacity : float
        Of the spots.
    genes : mapping, optional
        The values of the genes.
    """
    known = dict(genes or {})
    # Layers belong to the window, so their settings are read here; only pixels are read in the thread.
    sources = [_Source.of(layer) for layer in tissue if _is_flat(layer)]

    def task(on_progress: ProgressCallback) -> PanelData:
        on_progress(Progress("Drawing panels", 0, len(ends) + 1))
        pictures = [source.picture(_MOST_PIXELS // len(ends)) for source in sources]
        colors = []
        for step, (name, end) in enumerate(ends.items(), start=1):
            on_progress(Progress("Drawing panels", step, len(ends) + 1))
            if isinstance(name, str):
                colormap = layers.proportion_colormap(result, threshold / end)
                values = result.proportions[name].to_numpy()
            else:
                colormap, values = values_colormap(result.spatial, known[name]), known[name].numbers
            colors.append(_colored(result, values, end, _lookup(colormap, opacity)))
        return PanelData(tuple(ends), pictures, _spots(result), colors)

    return task


def _lookup(colormap: Colormap, opacity: float) -> NDArray[np.uint8]:
    """Return the colors of a range, and as the last one that of what is unknown: none."""
    colors = np.array(colormap.map(np.linspace(0, 1, _N_COLORS)), dtype=float)
    colors[:, 3] *= opacity
    rgba = np.rint(255 * np.vstack([colors, np.zeros(4)]))
    return np.asarray(rgba, dtype=np.uint8)


def _colored(result: Result, values: NDArray[Any], end: float, lookup: NDArray[np.uint8]) -> Any:
    """Return the colors of spots by their values (n_spots,), or the picture of the bins."""
    values = values[placed_spots(result.spatial)]
    known = np.clip(np.nan_to_num(values) / end, 0, 1)
    at = np.where(np.isnan(values), _N_COLORS, np.rint(known * (_N_COLORS - 1))).astype(np.int32)
    grid = bin_grid(result.spatial)
    if grid is None:
        return np.asarray(lookup[at], dtype=np.uint8)
    pixels = np.full(grid.shape, _N_COLORS, np.int32)
    pixels[grid.rows, grid.columns] = at
    return Picture(lookup[pixels], _edges_to_xy(grid.affine, np.ones(2)))


def _spots(result: Result) -> SpotsVisual | None:
    if bin_grid(result.spatial) is not None:
        return None
    placed = placed_spots(result.spatial)
    return SpotsVisual(
        np.asarray(result.coordinates[placed], dtype=float),
        layers.spot_diameter(result.spatial),
        layers.symbols_of(result),
    )


def _edges_to_xy(affine: NDArray[np.float64], step: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the transform from edges of pixels, each `step` wide, to (x, y).

    `affine` maps (row, column) of the middles of whole pixels to (y, x).
    """
    turned = affine[np.ix_([1, 0, 2], [1, 0, 2])]
    middles = np.array([[step[1], 0, -0.5], [0, step[0], -0.5], [0, 0, 1]])
    return np.asarray(turned @ middles, dtype=float)


# The tissue


def tissue_pictures(tissue: Sequence[Layer], most_pixels: int) -> list[Picture]:
    """Return images of the viewer as pictures of at most so many pixels."""
    return [_Source.of(layer).picture(most_pixels) for layer in tissue if _is_flat(layer)]


def _is_flat(layer: Layer) -> bool:
    return isinstance(layer, Image) and layer.ndim == 2


@dataclass(frozen=True)
class _Source:
    """An image of the viewer: its levels, the finest first, and how its values are colored."""

    levels: list[Any]
    affine: NDArray[np.float64]
    limits: tuple[float, float]
    colormap: Colormap | None
    opacity: float

    @classmethod
    def of(cls, layer: Image) -> _Source:
        corner, down, right = (np.array(layer.data_to_world(at)) for at in ((0, 0), (1, 0), (0, 1)))
        affine = np.eye(3)
        affine[:2] = np.column_stack([down - corner, right - corner, corner])
        levels = list(layer.data) if layer.multiscale else [layer.data]
        colormap = None if layer.rgb else layer.colormap
        low, high = layer.contrast_limits
        return cls(levels, affine, (float(low), float(high)), colormap, float(layer.opacity))

    def picture(self, most_pixels: int) -> Picture:
        """Return the finest level that is small enough, else the last, its pixels averaged until it is."""
        fitting = [level for level in self.levels if level.shape[0] * level.shape[1] <= most_pixels]
        level = fitting[0] if fitting else self.levels[-1]
        step = max(1, int(np.ceil((level.shape[0] * level.shape[1] / most_pixels) ** 0.5)))
        pixels = self._colors(_averaged(np.asarray(level), step))
        whole = np.array(self.levels[0].shape[:2]) / np.array(level.shape[:2])
        return Picture(pixels, _edges_to_xy(self.affine, step * whole), self.opacity)

    def _colors(self, pixels: NDArray[Any]) -> NDArray[np.uint8]:
        if self.colormap is None:
            top = 255 if pixels.dtype == np.uint8 else float(self.limits[1])
            return np.ascontiguousarray(np.clip(pixels * (255 / top), 0, 255).astype(np.uint8))
        low, high = self.limits
        part = np.clip((pixels.astype(float) - low) / ((high - low) or 1.0), 0, 1)
        colors = np.array(self.colormap.map(part.ravel())).reshape(*part.shape, 4)
        return np.asarray(np.rint(255 * colors), dtype=np.uint8)


def _averaged(pixels: NDArray[Any], step: int) -> NDArray[Any]:
    """Return the mean of blocks of `step` x `step` pixels; the rest at the ends is cut off."""
    if step == 1:
        return pixels
    rows, columns = pixels.shape[0] // step, pixels.shape[1] // step
    blocks = pixels[: rows * step, : columns * step].reshape(rows, step, columns, step, *pixels.shape[2:])
    means: NDArray[Any] = blocks.mean(axis=(1, 3), dtype=np.float32)
    return means.astype(pixels.dtype)
