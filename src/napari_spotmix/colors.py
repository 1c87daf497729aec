"""The colours of cell types: one assignment for layers, bars, legends, figures and files."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["PALETTE", "cell_type_colors"]

#: Thirty colours, ordered so that the first ones differ most for any kind of colour vision:
#: the eight of Okabe and Ito (2008), then Paul Tol's muted and light schemes.
PALETTE: tuple[str, ...] = (
    "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#882255",
    "#332288", "#44aa99", "#ddcc77", "#117733", "#88ccee", "#aa4499", "#999933", "#cc6677",
    "#661100", "#6699cc", "#aaaa00", "#bbcc33", "#77aadd", "#ee8866", "#ffaabb", "#99ddff",
    "#dddddd", "#777777", "#225555", "#663333", "#9970ab", "#5aae61",
)  # fmt: skip


def cell_type_colors(cell_types: Sequence[str]) -> dict[str, str]:
    """Return a hex colour per cell type, in the order given; beyond thirty the palette starts again.

    Examples
    --------
    >>> cell_type_colors(["B", "T"])
    {'B': '#e69f00', 'T': '#56b4e9'}
    """
    return {name: PALETTE[index % len(PALETTE)] for index, name in enumerate(cell_types)}
