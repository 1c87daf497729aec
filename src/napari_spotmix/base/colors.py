"""The colors of cell types and niches: one assignment for layers, bars, legends, figures and files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_spotmix.base.oklch import extended

__all__ = [
    "MAP",
    "NICHE_PALETTE",
    "PALETTE",
    "PROPORTION",
    "USUAL",
    "cell_type_colors",
    "niche_colors",
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

#: Forty colors, all seen on a black canvas and on glass, ordered so that the first ones differ most for any
#: kind of color vision and stand out from stained tissue: five of Okabe and Ito (2008), then colors far, in
#: CIELAB and OKLab as seen with normal, deuteranopic and protanopic vision, from each other and the stains.
PALETTE: tuple[str, ...] = (
    "#e69f00", "#56b4e9", "#009e73", "#0072b2", "#d55e00", "#4433ff", "#8877ff", "#00dd77",
    "#77ddcc", "#446633", "#bb0099", "#dd1144", "#e5d520", "#2255cc", "#88aa44", "#9999ff",
    "#007777", "#994400", "#aa00cc", "#0066ff", "#99dd55", "#00aaaa", "#ff22cc", "#aa6655",
    "#aa33ff", "#ff55aa", "#aa3366", "#ff9999", "#33ddff", "#00cc99", "#119911", "#22bb66",
    "#dd0088", "#ff7744", "#ff77cc", "#aa77dd", "#ff2277", "#aa55bb", "#cc44ee", "#007722",
)  # fmt: skip
#: Twenty muted colors of niches: cell types have vivid ones, and no niche is taken for a type.
NICHE_PALETTE: tuple[str, ...] = (
    "#d8b070", "#787830", "#68b8b0", "#488090", "#90d8f8", "#a09070", "#785850", "#306090",
    "#b0d8b0", "#7898d0", "#7078a8", "#a8b888", "#90c0f8", "#688878", "#90a8c8", "#886848",
    "#889858", "#d08898", "#a8c8d8", "#885070",
)  # fmt: skip
#: Chroma, in OKLCH, of further colors of types and of niches.
_VIVID, _MUTED = (0.125, 0.25), (0.035, 0.095)


def cell_type_colors(cell_types: Iterable[str], kept: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return a hex color for each cell type, all different.

    They are assigned in the order of sorted names, whatever the order in which types are given.

    Parameters
    ----------
    cell_types : iterable of str
    kept : mapping of str to str, optional
        Types that have these colors, "#rrggbb"; the others get what is left of the palette.

    Returns
    -------
    dict of str to str
        In the order given.

    Examples
    --------
    >>> cell_type_colors(["T", "B"])
    {'T': '#56b4e9', 'B': '#e69f00'}
    >>> cell_type_colors(["A", "B"], kept={"B": "#e69f00"})
    {'A': '#56b4e9', 'B': '#e69f00'}
    """
    names = list(dict.fromkeys(cell_types))
    own = {name: color for name, color in (kept or {}).items() if name in set(names)}
    palette = extended(PALETTE, len(names) + len(own), _VIVID)
    taken = {color.lower() for color in own.values()}
    free = iter([color for color in palette if color not in taken])
    own |= {name: next(free) for name in sorted(set(names) - set(own))}
    return {name: own[name] for name in names}


def niche_colors(niches: Iterable[str]) -> dict[str, str]:
    """Return a hex color for each niche, by its number: "3" has the third one, also without "1" and "2".

    Examples
    --------
    >>> niche_colors(["1", "3"])
    {'1': '#d8b070', '3': '#68b8b0'}
    """
    names = list(dict.fromkeys(niches))
    numbered = {str(number) for number in range(1, len(NICHE_PALETTE) + 1)}
    others = [name for name in names if name not in numbered]
    palette = extended(NICHE_PALETTE, len(NICHE_PALETTE) + len(others), _MUTED)
    further = dict(zip(others, palette[len(NICHE_PALETTE) :], strict=True))
    return {name: further.get(name) or palette[int(name) - 1] for name in names}


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
