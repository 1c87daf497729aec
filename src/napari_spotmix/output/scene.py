"""What figures and reports have in common: which spots are drawn where, and the ends of their colors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.path import Path as Outline
from numpy.typing import NDArray

from napari_spotmix.base.color_range import largest_usual
from napari_spotmix.base.colors import overlay
from napari_spotmix.base.errors import InputError
from napari_spotmix.dataset.access import coordinates, tissue_image
from napari_spotmix.dataset.bin_grid import bin_grid
from napari_spotmix.dataset.geometry import bin_sides, placed_spots, spot_diameter

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_spotmix.result import Result

__all__ = ["FigureScene", "Crop", "colormap_of", "scene_of", "scene_of_spots", "usual_top"]

Floats = NDArray[np.float64]
#: Left, top, right and bottom, in full-resolution pixels.
Crop = tuple[float, float, float, float]

#: More spots have no outlines, which would hide the colors: as in the viewer.
_MOST_OUTLINED = 3000


@dataclass(frozen=True)
class FigureScene:
    """What is drawn, and where on the tissue.

    Attributes
    ----------
    spots : ndarray of int, shape (n_drawn,)
        Rows of the result.
    xy : ndarray of float64, shape (n_drawn, 2)
        Center of each spot.
    outline : Outline
        Of a spot around its center.
    is_bin : bool
        Whether spots are bins of a grid rather than discs.
    diameter : float
        Of a spot, or side of a bin.
    region : tuple of float
        Left, top, right, bottom.
    image : tuple of ndarray and float, or None
        The tissue image, and the size of its pixels in full-resolution pixels.
    opacity : float
        Of the spots.
    """

    spots: NDArray[np.intp]
    xy: Floats
    outline: Outline
    is_bin: bool
    diameter: float
    region: Crop
    image: tuple[NDArray[Any], float] | None
    opacity: float

    @property
    def aspect(self) -> float:
        """Height over width."""
        left, top, right, bottom = self.region
        return (bottom - top) / (right - left)

    @property
    def is_dense(self) -> bool:
        """Whether there are too many spots for outlines."""
        return self.is_bin or len(self.spots) > _MOST_OUTLINED


def scene_of(
    result: Result, image: bool = True, opacity: float = 1.0, region: Crop | None = None
) -> FigureScene:
    """Return what is drawn of a result, with the arguments of `draw`.

    Raises
    ------
    InputError
        If no spot is in the region, or no spot has coordinates.
    """
    adata = result.spatial
    return _scene(adata, spot_diameter(adata), bin_sides(adata), image, opacity, region)


def scene_of_spots(
    adata: AnnData, image: bool = True, opacity: float = 1.0, region: Crop | None = None
) -> FigureScene:
    """Return what is drawn of spots that need no result, as `scene_of` does.

    Many spots on a grid are bins that touch each other, as in napari, even if the file does not say so.
    """
    diameter, sides = spot_diameter(adata), bin_sides(adata)
    grid = bin_grid(adata) if sides is None else None
    if grid is not None:
        diameter, sides = grid.side, grid.affine[1::-1, 1::-1].T
    return _scene(adata, diameter, sides, image, opacity, region)


def _scene(
    adata: AnnData,
    diameter: float,
    sides: Floats | None,
    image: bool,
    opacity: float,
    region: Crop | None,
) -> FigureScene:
    spots = placed_spots(adata)
    xy = coordinates(adata)[spots]
    region = _around(xy, diameter) if region is None and len(xy) else region
    within = _is_within(xy, region, diameter) if region is not None else np.zeros(0, dtype=bool)
    if region is None or not within.any():
        raise InputError("`region` contains no spots." if len(xy) else "No spot has coordinates.")
    return FigureScene(
        spots=spots[within],
        xy=xy[within],
        outline=_disc(diameter) if sides is None else _square(sides),
        is_bin=sides is not None,
        diameter=diameter,
        region=region,
        image=tissue_image(adata) if image else None,
        opacity=opacity,
    )


def _around(xy: Floats, diameter: float) -> Crop:
    least, most = xy.min(axis=0), xy.max(axis=0)
    margin = diameter + 0.02 * float((most - least).max())
    (left, top), (right, bottom) = (least - margin).tolist(), (most + margin).tolist()
    return left, top, right, bottom


def _is_within(xy: Floats, region: Crop, diameter: float) -> NDArray[np.bool_]:
    reach = diameter / 2
    least, most = np.array(region[:2]) - reach, np.array(region[2:]) + reach
    return np.asarray(((xy > least) & (xy < most)).all(axis=1))


def _disc(diameter: float) -> Outline:
    circle = Outline.unit_circle()
    return Outline(np.asarray(circle.vertices) * diameter / 2, circle.codes)


def _square(sides: Floats) -> Outline:
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]]) / 2
    return Outline(corners @ sides, closed=True)


def usual_top(values: Floats) -> float:
    """Return the end of a map's colors: rounded, most of its values are below; 1 without any values."""
    return largest_usual(values)


def colormap_of(name: str, *, over_tissue: bool) -> ListedColormap:
    """Return a colormap for overlays: its low end is transparent, without an image a faint gray."""
    return ListedColormap(overlay(name, mpl.colormaps[name], 256, over_image=over_tissue))
