"""The colors of cell types: one assignment for layers, bars, legends, figures and files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["MAP", "PALETTE", "PROPORTION", "USUAL", "cell_type_colors", "opacity_over_tissue", "pair_color"]

#: Colormap of proportions: perceptually uniform; hematoxylin and eosin have none of its greens and yellows.
PROPORTION = "viridis"
#: Colormap of all that is no proportion, so that the two are not confused.
MAP = "magma"
#: Share of the spots whose values are below the end of such a colormap.
USUAL = 0.98

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


def opacity_over_tissue(share: ArrayLike) -> NDArray[np.float64]:
    """Return the opacity of a color by its position in the colormap, 0 to 1: low values show the tissue.

    Examples
    --------
    >>> opacity_over_tissue([0.0, 0.125, 0.25, 1.0]).tolist()
    [0.1, 0.55, 1.0, 1.0]
    """
    return np.clip(0.1 + 0.9 * np.asarray(share, dtype=float) / 0.25, 0.1, 1.0)


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
