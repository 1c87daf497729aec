"""The colours of cell types: one assignment for layers, bars, legends, figures and files."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["PALETTE", "cell_type_colors"]

#: Thirty colours, ordered so that the first ones differ most for any kind of colour vision and stand out
#: from stained tissue and from glass: six of Okabe and Ito (2008), then colours far, in CIELAB as seen
#: with normal, deuteranopic and protanopic vision, from those before them and from eosin and haematoxylin.
PALETTE: tuple[str, ...] = (
    "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#552200", "#00ff99",
    "#0022aa", "#99aa55", "#55dddd", "#005555", "#9900ff", "#003355", "#5577ff", "#44eebb",
    "#778899", "#776633", "#4499ff", "#770033", "#003388", "#7733bb", "#ccdd66", "#aa2200",
    "#dd33bb", "#77bbaa", "#66ddff", "#993388", "#aabb88", "#556655",
)  # fmt: skip


def cell_type_colors(cell_types: Sequence[str]) -> dict[str, str]:
    """Return a hex colour per cell type, in the order given; beyond thirty the palette starts again.

    Examples
    --------
    >>> cell_type_colors(["B", "T"])
    {'B': '#e69f00', 'T': '#56b4e9'}
    """
    return {name: PALETTE[index % len(PALETTE)] for index, name in enumerate(cell_types)}
