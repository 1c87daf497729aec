"""The entries of the legend of categories, which napari does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_spotmix.base.color_range import end_words
from napari_spotmix.base.colors import niche_colors
from napari_spotmix.ui.canvas.layers import ATTENTION_COLORMAP
from napari_spotmix.ui.canvas.pies import THINNEST
from napari_spotmix.ui.state.edges import EdgeMap, edge_limits, scale_words
from napari_spotmix.ui.state.map_range import shown_ends
from napari_spotmix.ui.state.maps import DOMINANT, GRAPH, NICHES, PIES
from napari_spotmix.ui.text import count, printable

if TYPE_CHECKING:
    from napari_spotmix.analysis.niches import Niches
    from napari_spotmix.result import Result
    from napari_spotmix.ui.state.session import Session

__all__ = [
    "entries_of",
    "legend_of",
    "legend_of_edges",
    "legend_of_niches",
    "legend_of_pies",
    "legend_title",
]

#: A niche is named by its largest type, and by its second if that has this share.
_LEAST = 0.15


def legend_of(result: Result) -> list[tuple[str, str]]:
    """Return (name, color) of each type that is the largest anywhere, the most frequent first."""
    colors = result.colors
    frequent = result.dominant.value_counts()
    return [(str(name), colors[str(name)]) for name, spots in frequent.items() if spots > 0]


def legend_of_pies(result: Result) -> list[tuple[str, str]]:
    """Return (name, color) of each type with a slice in any pie, the most abundant first."""
    means = result.mean_proportions.sort_values(ascending=False, kind="stable")
    seen = result.proportions.max() >= THINNEST
    return [(name, result.colors[name]) for name in means.index if seen[name]]


def legend_of_niches(result: Result, niches: Niches) -> list[tuple[str, str]]:
    """Return (number and largest types, color) of each niche."""
    names = np.array(result.cell_types, dtype=object)
    colors = niche_colors(niches.names)
    entries = []
    for niche, composition in zip(niches.names, niches.composition.to_numpy(), strict=True):
        first, second = np.argsort(-composition, kind="stable")[[0, min(1, len(composition) - 1)]]
        largest = [first, second] if second != first and composition[second] >= _LEAST else [first]
        entries.append((f"{printable(niche)}: {', '.join(names[largest])}", colors[niche]))
    return entries


def legend_of_edges(result: Result, edges: EdgeMap) -> list[tuple[str, str]]:
    """Return the colors of edges by their value, the largest first."""
    from napari.utils.colormaps import ensure_colormap

    if edges is EdgeMap.WEIGHTS and np.ptp(result.weights.data) == 0:
        return [("All edges have the same weight", "")]
    words = scale_words(edge_limits(result, edges))
    words[0] = f"{'Weight' if edges is EdgeMap.WEIGHTS else 'Attention'} {words[0]}"
    rgba = ensure_colormap(ATTENTION_COLORMAP).map(np.linspace(1, 0, len(words)))
    colors = ["#{:02x}{:02x}{:02x}".format(*color) for color in np.rint(255 * rgba[:, :3]).astype(int)]
    head = [("Learned, not used", "")] if edges is EdgeMap.UNUSED else []
    return [*head, *zip(words, colors, strict=True)]


def entries_of(session: Session) -> list[tuple[str, str]]:
    """Return the names and colors of what a session shows, none for maps with a color bar."""
    result, shown = session.result, session.display.shown
    found = session.shown_values
    if found is not None:
        labels = found[1].labels
        return [] if labels is None else list(zip(map(printable, labels.names), labels.colors, strict=True))
    if result is None or shown is None:
        return []
    if isinstance(shown, tuple):
        ends = shown_ends(session)
        return [(f"{name}: 0 – {end_words(ends[name])}", result.colors[name]) for name in shown]
    if shown is DOMINANT:
        return legend_of(result)
    if shown is PIES:
        return legend_of_pies(result)
    if shown is NICHES and session.niches is not None:
        return legend_of_niches(result, session.niches)
    if shown is GRAPH:
        return legend_of_edges(result, session.edges)
    return []


def legend_title(session: Session, n_entries: int) -> str:
    """Return the title of the legend: how many of what it names."""
    if session.display.shown is GRAPH:
        return "Edges"
    is_niches = session.shown_values is None and session.display.shown is NICHES
    noun = "label" if session.shown_values is not None else "niche" if is_niches else "type"
    return count(n_entries, noun)
