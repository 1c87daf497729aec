"""Layers whose points stay as they are: spots come from a file, and their colors from a result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.layers import Points

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.utils.events import Event

__all__ = ["lock"]


def lock(layer: Layer) -> Layer:
    """Let no mouse or key add, move or delete anything in a layer, and return it."""
    layer.editable = False
    # napari allows editing again whenever a layer has new data or is shown in 2D.
    layer.events.editable.connect(_stay_locked)
    if isinstance(layer, Points):
        # Delete removes selected points, and A selects all, in any mode.
        selection = layer.selected_data
        selection.events.items_changed.connect(lambda: selection.clear() if selection else None)
    return layer


def _stay_locked(event: Event) -> None:
    event.source.editable = False
