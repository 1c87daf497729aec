"""What the plugin puts over the canvas: title, color bar, legend, hover box, scale bar, and panels."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QWidget

from napari_spotmix.ui.canvas.hover import HoverBox
from napari_spotmix.ui.canvas.legend import Legend, entries_of
from napari_spotmix.ui.canvas.range_box import RangeBox
from napari_spotmix.ui.canvas.scale_bar import ScaleBar
from napari_spotmix.ui.canvas.side_by_side import SideBySide
from napari_spotmix.ui.canvas.title import Title, title_of
from napari_spotmix.ui.state.connections import Connections
from napari_spotmix.ui.state.map_range import shown_ends

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_spotmix.ui.state.session import Session

__all__ = ["Overlays"]


class Overlays:
    """Everything over the canvas of one viewer; `press` runs the action of a key on the canvas."""

    def __init__(self, viewer: ViewerModel, session: Session, press: Callable[[str], bool]) -> None:
        self._session = session
        self._layers = viewer.layers
        self.title = Title()
        self.legend = Legend()
        self.color_bar = RangeBox(session)
        self.hover = HoverBox(session)
        self.scale_bar = ScaleBar(viewer, session)
        self.side_by_side = SideBySide(viewer, session, press)
        self._connections = Connections()
        self._connections.connect(viewer.layers.events.removed, self._clear_empty_canvas)
        self._connections.connect_each(
            session.result_changed,
            session.result_replayed,
            session.display.shown_changed,
            session.display.panels_changed,
            slot=self.explain,
        )

        self._connections.connect(session.display.color_range_changed, self._name_ranges)

    @property
    def _all(self) -> tuple[Title | Legend | RangeBox | HoverBox | ScaleBar | SideBySide, ...]:
        return self.title, self.legend, self.color_bar, self.hover, self.scale_bar, self.side_by_side

    def put_on(self, canvas: QWidget) -> None:
        """Appear over a widget, and follow its size."""
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
        if not is_known or shown is None or session.display.panels:
            self._clear()
            return
        self.title.show_text(title_of(shown, session.edges))
        noun = "type" if session.shown_values is None else "label"
        self.legend.show_entries(entries_of(session), noun)
        self.color_bar.show_range(is_shown=bool(shown_ends(session)))

    def _name_ranges(self) -> None:
        """Name the ranges of a blend in its legend; everything else stays while an end is dragged."""
        if isinstance(self._session.display.shown, tuple) and not self._session.display.panels:
            self.explain()

    def _clear_empty_canvas(self, _: Any = None) -> None:
        if not self._layers:
            self._clear()
            self._session.pointer.hover(None)

    def _clear(self) -> None:
        self.title.show_text("")
        self.legend.show_entries([])
        self.color_bar.show_range(is_shown=False)
