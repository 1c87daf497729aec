"""What the plugin puts over the canvas: title, color bar, legend, hover box, scale bar, and panels."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtWidgets import QWidget

from napari_spotmix.ui.canvas.hover import HoverBox
from napari_spotmix.ui.canvas.legend import entries_of, legend_title
from napari_spotmix.ui.canvas.legend_box import Legend
from napari_spotmix.ui.canvas.range_box import RangeBox
from napari_spotmix.ui.canvas.scale_bar import ScaleBar
from napari_spotmix.ui.canvas.side_by_side import SideBySide
from napari_spotmix.ui.canvas.title import Title, title_of
from napari_spotmix.ui.state.connections import Connections
from napari_spotmix.ui.state.map_range import shown_ends

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_spotmix.ui.canvas.on_screen import OnScreen
    from napari_spotmix.ui.state.session import Session

__all__ = ["Overlays"]


class Overlays:
    """Everything over the canvas of one viewer; `press` runs the action of a key on the canvas."""

    def __init__(
        self, viewer: ViewerModel, session: Session, on_screen: OnScreen, press: Callable[[str], bool]
    ) -> None:
        self._session, self._on_screen = session, on_screen
        self.title = Title()
        self.color_bar = RangeBox(session)
        self.hover = HoverBox(session)
        self.scale_bar = ScaleBar(viewer, session, on_screen)
        self.legend = Legend(session.display, (self.title, self.color_bar, self.scale_bar))
        self.side_by_side = SideBySide(viewer, session, press)
        self._connections = Connections()
        camera = viewer.scene.camera.events
        entered = (box.entered for box in (self.legend, self.color_bar))
        self._connections.connect_each(camera.zoom, camera.center, *entered, slot=self._point_at_none)
        self._connections.connect(on_screen.layers_changed, self._follow_layers)
        self._connections.connect(on_screen.mode_changed, self._follow_mode)
        self._connections.connect_each(
            session.result_changed,
            session.result_replayed,
            session.display.shown_changed,
            session.display.panels_changed,
            slot=self.explain,
        )
        self._connections.connect(session.display.color_range_changed, self._name_ranges)
        self._follow_mode()

    @property
    def _all(self) -> tuple[Title | Legend | RangeBox | HoverBox | ScaleBar | SideBySide, ...]:
        return self.title, self.legend, self.color_bar, self.hover, self.scale_bar, self.side_by_side

    def put_on(self, canvas: QWidget) -> None:
        """Appear over a widget, where napari's notifications are, and follow its size."""
        canvas = canvas.findChild(QOpenGLWidget) or canvas
        if canvas is not self.legend.parent():
            for overlay in self._all:
                overlay.put_on(canvas)
            self.explain()

    def release(self) -> None:
        """Disconnect from the session and the viewer, and leave the canvas."""
        self._connections.disconnect_all()
        for overlay in self._all:
            overlay.release()
            with suppress(RuntimeError):  # a window that was closed has deleted it
                overlay.setParent(None)

    def explain(self) -> None:
        """Say on the canvas what its colors mean; panels say it themselves."""
        session, shown = self._session, self._session.display.shown
        is_known = session.result is not None or session.shown_values is not None
        is_seen = shown is not None and self._on_screen.shows(shown)
        if not is_known or shown is None or not is_seen or session.display.panels:
            self._clear()
            return
        self.title.show_text(title_of(shown, session.edges))
        self.color_bar.show_range(is_shown=bool(shown_ends(session)))
        entries = entries_of(session)
        self.legend.show_entries(entries, legend_title(session, len(entries)))  # next to the others

    def _name_ranges(self) -> None:
        """Name the ranges of a blend in its legend; everything else stays while an end is dragged."""
        if isinstance(self._session.display.shown, tuple) and not self._session.display.panels:
            self.explain()

    def _follow_layers(self) -> None:
        """Go with the layer of the map when it is hidden or deleted, and come back with it."""
        self.explain()
        if not self._on_screen.has_map and not self._session.display.panels:
            self._point_at_none()

    def _follow_mode(self) -> None:
        """Leave the whole canvas to what is drawn."""
        for box in (self.legend, self.color_bar):
            box.set_clickable(self._on_screen.is_navigating)
        if not self._on_screen.is_navigating:
            self._point_at_none()

    def _point_at_none(self, _: Any = None) -> None:
        self._session.pointer.hover(None)

    def _clear(self) -> None:
        self.title.show_text("")
        self.legend.show_entries([])
        self.color_bar.show_range(is_shown=False)
