"""The colors of cell types: one assignment for layers, bars, legends, figures and files."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "MAP",
    "PALETTE",
    "PROPORTION",
    "USUAL",
    "cell_type_colors",
    "opacity_over_tissue",
    "over_ground",
    "overlay",
    "pair_color",
]

#: Colormap of proportions: perceptually uniform; hematoxylin and eosin have none of its greens and yellows.
PROPORTION = "viridis"
#: Colormap of all that is no proportion, so that the two are not confused.
MAP = "magma"
#: Share of the values that are not above the end of such a colormap.
USUAL = 0.98

Floats = NDArray[np.float64]

#: Where overlays begin in their colormap: viridis is too dark before, and its violet is that of nuclei.
_FIRST = {PROPORTION: 0.3, MAP: 0.1}
#: Share of the range from which on an overlay is opaque.
_OPAQUE_FROM = 0.3
#: Without an image the spots are the tissue: where there is nothing they are a faint gray.
_GRAY, _LEAST_OPACITY = 0.5, 0.22

#: Thirty colors, ordered so that the first ones differ most for any kind of color vision and stand out
#: from stained tissue and from glass: six of Okabe and Ito (2008), then colors far, in CIELAB as seen
#: with normal, deuteranopic and protanopic vision, from those before them and from eosin and hematoxylin.
PALETTE: tuple[str, ...] = (
    "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#552200", "#00ff99",
    "#0022aa", "#99aa55", "#55dddd", "#005555", "#9900ff", "#003355", "#5577ff", "#44eebb",
    "#778899", "#776633", "#4499ff", "#770033", "#003388", "#7733bb", "#ccdd66", "#aa2200",
    "#dd33bb", "#77bbaa", "#66ddff", "#993388", "#aabb88", "#556655",
)  # fmt: skip


def cell_type_colors(cell_types: Sequence[str]) -> dict[str, str]:
    """Return a hex color for each cell type, in the order given; after thirty the palette repeats.

    Examples
    --------
    >>> cell_type_colors(["B", "T"])
    {'B': '#e69f00', 'T': '#56b4e9'}
    """
    return {name: PALETTE[index % len(PALETTE)] for index, name in enumerate(cell_types)}


def overlay(name: str, colormap: Callable[[Floats], Floats], n_colors: int, *, over_image: bool) -> Floats:
    """Return the colors of a map over the tissue: none at 0, opaque from 30% of the range on.

    Parameters
    ----------
    name : str
        Of the colormap.
    colormap : callable
        Returns the RGBA of positions, 0 to 1: a colormap of napari or matplotlib.
    n_colors : int
    over_image : bool
        Without an image, spots stay a faint gray where a value is 0.

    Returns
    -------
    ndarray of float64, shape (n_colors, 4)
    """
    share = np.linspace(0, 1, n_colors)
    first = _FIRST.get(name, 0.0)
    rgb = np.asarray(colormap(first + (1 - first) * share), dtype=float)[:, :3]
    return over_ground(rgb, opacity_over_tissue(share), over_image=over_image)


def opacity_over_tissue(share: ArrayLike) -> Floats:
    """Return the opacity of a color by its position in the range, 0 to 1: nothing is drawn at 0.

    Examples
    --------
    >>> opacity_over_tissue([0.0, 0.15, 0.3, 1.0]).tolist()
    [0.0, 0.5, 1.0, 1.0]
    """
    return np.clip(np.asarray(share, dtype=float) / _OPAQUE_FROM, 0, 1)


def over_ground(rgb: Floats, opacity: Floats, *, over_image: bool) -> Floats:
    """Return RGBA of colors (n, 3) with an opacity each (n,); without an image, over a faint gray.

    Examples
    --------
    >>> over_ground(np.ones((2, 3)), np.array([0.0, 1.0]), over_image=True)[:, 3].tolist()
    [0.0, 1.0]
    """
    if over_image:
        return np.column_stack([rgb, opacity])
    whole = opacity + (1 - opacity) * _LEAST_OPACITY
    part = (opacity / whole)[:, None]
    return np.column_stack([rgb * part + _GRAY * (1 - part), whole])


#: Moran's I at which the colors of pairs of types end: few are larger.
_STRONGEST = 0.5
_APART, _NEUTRAL, _TOGETHER, _UNKNOWN = "#2166ac", "#f7f7f7", "#b2182b", "#808080"


def pair_color(value: float) -> str:
    """Return the color of a Moran's I: red for types found together, blue for types found apart.

    Examples
    --------
    >>> pair_color(0.0), pair_color(9.0), pair_color(-9.0), pair_color(float("nan"))
    ('#f7f7f7', '#b2182b', '#2166ac', '#808080')
    """
    if value != value:
        return _UNKNOWN
    part = min(abs(value) / _STRONGEST, 1.0)
    ends = (bytes.fromhex(color[1:]) for color in (_NEUTRAL, _TOGETHER if value > 0 else _APART))
    return "#" + bytes(round(a + part * (b - a)) for a, b in zip(*ends, strict=True)).hex()
