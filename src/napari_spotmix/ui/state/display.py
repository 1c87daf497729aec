"""How a result is displayed: which map, which panels, opacity, threshold and camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from psygnal import Signal

from napari_spotmix.base.color_range import ColorRange
from napari_spotmix.ui.state.edges import EdgeMap
from napari_spotmix.ui.state.maps import GRAPH, MOST_PANELS, PanelMap, Shown

__all__ = ["Camera", "Display", "LegendPlace"]


@dataclass(frozen=True)
class Camera:
    """Where the camera is: center (y, x) in full-resolution pixels, and screen pixels for each of them."""

    center: tuple[float, float]
    zoom: float


@dataclass(frozen=True)
class LegendPlace:
    """Where the legend is: at which corner of the canvas, how far from it (x, y in pixels), and if folded."""

    is_right: bool = False
    is_low: bool = True
    away: tuple[int, int] = (0, 0)
    is_folded: bool = False

    def folded(self, is_folded: bool) -> LegendPlace:
        """Return the same place, folded or not.

        Examples
        --------
        >>> LegendPlace(is_right=True).folded(True)
        LegendPlace(is_right=True, is_low=True, away=(0, 0), is_folded=True)
        """
        return replace(self, is_folded=is_folded)


class Display:
    """What one viewer displays of its result.

    Signals
    -------
    shown_changed
        Another map is shown, or the same one again.
    panels_changed, opacity_changed, threshold_changed, color_range_changed
    camera_wanted : Camera
        A saved view asks for this position of the camera.
    """

    shown_changed = Signal()
    panels_changed = Signal()
    opacity_changed = Signal()
    threshold_changed = Signal()
    color_range_changed = Signal()
    camera_wanted = Signal(object)

    def __init__(self) -> None:
        self.shown: Shown | None = None
        self.panels: tuple[PanelMap, ...] = ()
        self.opacity = 1.0
        self.threshold = 0.0
        self.color_range = ColorRange()
        self.edges: EdgeMap | None = None
        self.camera: Camera | None = None
        self.legend = LegendPlace()

    def show(self, shown: Shown) -> None:
        """Show a cell type, a blend or a map; asked again, it is shown again."""
        self.shown = shown
        self.shown_changed.emit()

    def hide(self) -> None:
        """Show no map."""
        self.shown = None
        self.shown_changed.emit()

    def show_panels(self, maps: Sequence[PanelMap]) -> None:
        """Show cell types and genes side by side, over what is shown, which stays; none to end that."""
        panels = tuple(maps)[:MOST_PANELS]
        if panels != self.panels:
            self.panels = panels
            self.panels_changed.emit()

    def show_edges(self, edges: EdgeMap) -> None:
        """Show the attention graph with other values of its edges, or the same again."""
        self.edges = edges
        self.show(GRAPH)

    def set_opacity(self, opacity: float) -> None:
        """Set how much of the tissue shows through the spots: 1 hides it."""
        self.opacity = opacity
        self.opacity_changed.emit()

    def set_threshold(self, threshold: float) -> None:
        """Fade the spots in which what is shown has a smaller proportion than this."""
        self.threshold = threshold
        self.threshold_changed.emit()

    def set_color_range(self, color_range: ColorRange) -> None:
        """Set the rule for the ends of the colors."""
        if color_range != self.color_range:
            self.color_range = color_range
            self.color_range_changed.emit()

    def look_at(self, camera: Camera) -> None:
        """Ask the viewer to move its camera."""
        self.camera_wanted.emit(camera)
