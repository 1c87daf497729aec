"""What of the plugin is on the screen of a viewer, and what a click there does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_spotmix.ui.canvas.layer_info import ValuesInfo, info_of, map_of
from napari_spotmix.ui.state.connections import Connections

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari.components import ViewerModel

    from napari_spotmix.ui.state.maps import Shown
    from napari_spotmix.ui.state.session import Session

__all__ = ["OnScreen", "StillMouse"]


class StillMouse:
    """Recognizes moves of the mouse to where it is: Qt sends them when the window changes below it."""

    def __init__(self) -> None:
        self._at: tuple[float, ...] | None = None

    def is_still(self, event: Any) -> bool:
        """Return whether the mouse is where it was at the last event (of vispy)."""
        before = self._at
        pos = getattr(event, "pos", None)
        self._at = None if pos is None else tuple(map(float, pos))
        return self._at is not None and self._at == before


class OnScreen:
    """Which maps can be seen: the user may hide or delete any layer, and draw in another one.

    Signals
    -------
    layers_changed
        A layer was added, removed, shown or hidden.
    mode_changed
        A click does something else, since another layer or another tool is active.
    """

    layers_changed = Signal()
    mode_changed = Signal()

    def __init__(self, viewer: ViewerModel, session: Session) -> None:
        self._viewer, self._session = viewer, session
        self._connections, self._of_layers, self._of_active = Connections(), Connections(), Connections()
        connect = self._connections.connect
        connect(viewer.layers.events.inserted, self._follow_layers)
        connect(viewer.layers.events.removed, self._follow_layers)
        connect(viewer.layers.selection.events.active, self._follow_active)
        self._follow_layers()
        self._follow_active()

    def release(self) -> None:
        """Disconnect from the viewer."""
        for connections in (self._connections, self._of_layers, self._of_active):
            connections.disconnect_all()

    @property
    def is_empty(self) -> bool:
        """Whether no layer can be seen."""
        return not any(layer.visible for layer in self._viewer.layers)

    @property
    def has_map(self) -> bool:
        """Whether any map of the session can be seen."""
        return any(True for _ in self._maps())

    def shows(self, shown: Shown) -> bool:
        """Return whether this map can be seen."""
        return any(one == shown for one in self._maps())

    @property
    def is_navigating(self) -> bool:
        """Whether a click picks a spot, and does not draw or select in the active layer."""
        active = self._viewer.layers.selection.active
        return active is None or str(getattr(active, "mode", "pan_zoom")) == "pan_zoom"

    def _maps(self) -> Iterator[Shown]:
        spatial = self._session.spatial
        for layer in self._viewer.layers:
            info, of_values = map_of(layer), info_of(layer, ValuesInfo)
            if layer.visible and info is not None and info.result.spatial is spatial:
                yield info.shown
            elif layer.visible and of_values is not None and of_values.adata is spatial:
                yield of_values.shown

    def _follow_layers(self, _: Any = None) -> None:
        self._of_layers.disconnect_all()
        for layer in self._viewer.layers:
            self._of_layers.connect(layer.events.visible, self._tell_layers)
        self.layers_changed.emit()

    def _tell_layers(self, _: Any = None) -> None:
        self.layers_changed.emit()

    def _follow_active(self, _: Any = None) -> None:
        self._of_active.disconnect_all()
        active = self._viewer.layers.selection.active
        if active is not None:
            self._of_active.connect(active.events.mode, self._tell_mode)
        self.mode_changed.emit()

    def _tell_mode(self, _: Any = None) -> None:
        self.mode_changed.emit()
