"""Cell types and genes side by side: a panel each, seen through one camera, over napari's own canvas.

napari's grid would need an image and a layer of points for each panel: twelve take seconds to add, and more
to remove. These panels have no layers: leaving them shows the map as it was, and deleting layers is safe.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QEvent, QObject, QRect, Qt
from qtpy.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent, QPalette, QResizeEvent
from qtpy.QtWidgets import QPushButton, QWidget
from vispy.scene import PanZoomCamera, SceneCanvas, ViewBox
from vispy.scene.visuals import Image as ImageVisual
from vispy.scene.visuals import Markers
from vispy.visuals.transforms import MatrixTransform

from napari_spotmix.base.color_range import end_words
from napari_spotmix.dataset.geometry import length_words, microns_per_pixel, round_length
from napari_spotmix.ui.canvas import layers
from napari_spotmix.ui.canvas.color_bar import TISSUE, ColorBar
from napari_spotmix.ui.canvas.on_screen import StillMouse
from napari_spotmix.ui.canvas.overlay import raise_below_notifications
from napari_spotmix.ui.canvas.paint import draw_name, draw_number, fill
from napari_spotmix.ui.canvas.panel_data import PanelData, Picture, arrangement, panels_task
from napari_spotmix.ui.canvas.title import title_of
from napari_spotmix.ui.canvas.value_layers import values_colormap
from napari_spotmix.ui.panels.notify import reporting, show_problem
from napari_spotmix.ui.state.connections import Connections
from napari_spotmix.ui.state.edges import EdgeMap
from napari_spotmix.ui.state.map_range import shown_ends
from napari_spotmix.ui.state.maps import Gene, PanelMap, name_of
from napari_spotmix.ui.state.worker import Runner
from napari_spotmix.ui.text import plain, printable

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.utils.events import Event
    from vispy.scene.events import SceneMouseEvent

    from napari_spotmix.result import Result
    from napari_spotmix.ui.state.session import Session

__all__ = ["SideBySide"]

_TITLE, _FOOT, _GAP = 22, 30, 3
_SWATCH, _RAMP = 11, 40
#: A press that moves further than this before its release, in screen pixels, is a drag.
_DRAG_PX = 4.0
#: The mark of the picked spot has at least so many screen pixels.
_LEAST_MARK = 12
#: The scale bar is at most this long, in pixels of the screen.
_LONGEST = 110


class SideBySide(QWidget):
    """The panels of the chosen cell types, over the canvas of a window while there are any.

    Parameters
    ----------
    viewer : ViewerModel
        Its images are shown below the spots, and its camera is where the panels begin.
    session : Session
    press : callable
        Runs the action of a key on the canvas; returns whether it has one.
    """

    def __init__(self, viewer: ViewerModel, session: Session, press: Callable[[str], bool]) -> None:
        super().__init__()
        self._viewer, self._session, self._press = viewer, session, press
        self.canvas: SceneCanvas | None = None
        self.panels: list[_Panel] = []
        self._extent = np.zeros(2), np.ones(2)
        self._pressed_at: np.ndarray | None = None
        self._mouse = StillMouse()
        self._runner = Runner(self)
        self._foot = _Foot(self, session)
        self._connections = Connections()
        self._connect()
        self.hide()

    def _connect(self) -> None:
        connect, session, display = self._connections.connect, self._session, self._session.display
        connect(self._runner.finished, self._draw)
        connect(self._runner.failed, show_problem)
        connect(self._foot.back.clicked, self._leave)
        connect(display.panels_changed, self._show)
        connect(display.threshold_changed, self._refill)
        connect(display.opacity_changed, self._refill)
        connect(display.color_range_changed, self._refill)
        connect(session.result_replayed, self._refill)
        connect(session.pointer.spot_changed, self._mark)
        connect(self._viewer.layers.events.inserted, self._follow_tissue)
        connect(self._viewer.layers.events.removed, self._follow_tissue)

    def _leave(self, _: bool = False) -> None:
        self._session.display.show_panels(())

    @property
    def is_busy(self) -> bool:
        """Whether the content of the panels is being made."""
        return self._runner.is_running

    def put_on(self, window: QWidget) -> None:
        """Cover a widget and follow its size."""
        self.setParent(window)
        window.installEventFilter(self)
        self._show()

    def release(self) -> None:
        """Disconnect from the viewer and the session, and close the panels."""
        self._connections.disconnect_all()
        self._runner.close()
        self._foot.bar.release()
        self._clear()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        if event is not None and event.type() == QEvent.Type.Resize and self.isVisible():
            self._fill_parent()
        return False

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        self._place()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        QPainter(self).fillRect(self.rect(), self._ground())

    def _ground(self) -> QColor:
        return QColor.fromRgbF(*map(float, self._viewer.canvas.background_color))

    # What is shown

    @reporting
    def _show(self) -> None:
        """Open with the panels that are asked for, or close."""
        names, result = self._session.display.panels, self._session.result
        if not names or result is None or self.parent() is None:
            self._runner.cancel()
            self._clear()
            self.hide()
            return
        if tuple(panel.name for panel in self.panels) != names:
            self._open(result, names)
        self._refill()

    def _open(self, result: Result, names: Sequence[PanelMap]) -> None:
        """Make empty panels over the canvas."""
        rect = self.panels[0].view.camera.rect if self.panels else None
        self._clear()
        self._fill_parent()
        canvas = self.canvas = SceneCanvas(
            keys=None, parent=self, bgcolor=self._viewer.canvas.background_color, autoswap=False
        )
        canvas.native.setAccessibleName("Cell types side by side")
        self._extent = _extent(result)
        self.panels = [_Panel(self, canvas, result, name) for name in names]
        for panel in self.panels[1:]:
            panel.view.camera.link(self.panels[0].view.camera)
        canvas.events.mouse_press.connect(self._on_press)
        canvas.events.mouse_release.connect(self._on_release)
        canvas.events.mouse_move.connect(self._on_move)
        canvas.events.key_press.connect(self._on_key)
        canvas.events.draw.connect(lambda _: self._foot.measure(self._microns_per_pixel()))
        canvas.native.show()
        self._place()
        self.look_at(self._seen() if rect is None else rect)
        self.show()
        raise_below_notifications(self)
        canvas.native.setFocus()

    def _clear(self) -> None:
        for panel in self.panels:
            panel.close()
        self.panels = []
        if self.canvas is not None:
            with suppress(RuntimeError):  # the window may have taken it along
                self.canvas.native.hide()
                self.canvas.close()
                self.canvas.native.deleteLater()
        self.canvas = None

    @reporting
    def _refill(self) -> None:
        """Make the content again, in a thread, with the current result, threshold and opacity."""
        display, result = self._session.display, self._session.result
        if display.panels and result is not None and self.panels:
            ends = {one: end for one, end in shown_ends(self._session).items() if one in display.panels}
            genes = {one: self._session.known_values[one] for one in ends if isinstance(one, Gene)}
            task = panels_task(result, ends, display.threshold, self._tissue(), display.opacity, genes)
            self._runner.start(task)

    def _tissue(self) -> list[Any]:
        return [layer for layer in self._viewer.layers if layers.is_tissue(layer) and layer.visible]

    @reporting
    def _draw(self, data: PanelData) -> None:
        if data.names != tuple(panel.name for panel in self.panels):
            return
        for panel, colors in zip(self.panels, data.colors, strict=True):
            panel.show_tissue(data.tissue)
            panel.show_spots(data, colors)
            panel.title.update()  # its share and color may have changed
        self._mark()

    def _follow_tissue(self, event: Event) -> None:
        """Draw again when an image of the tissue is added or removed."""
        if self.panels and layers.is_tissue(event.value):
            self._refill()

    def _mark(self) -> None:
        """Outline the picked spot in each panel."""
        result, spot = self._session.result, self._session.pointer.spot
        if not self.panels or result is None or self.canvas is None:
            return
        for panel in self.panels:
            panel.mark(None if spot is None else layers.selection_layer(result, spot, "")[:2])
        self.canvas.update()

    # Layout and camera

    def _fill_parent(self) -> None:
        parent = self.parent()
        if isinstance(parent, QWidget):
            self.setGeometry(parent.rect())

    def _place(self) -> None:
        """Give each panel its part of the widget."""
        width, height = self.width(), self.height() - _FOOT
        self._foot.setGeometry(0, height, width, _FOOT)
        if self.canvas is None or height < 1:
            return
        self.canvas.native.setGeometry(0, 0, width, height)
        n_rows, n_columns = arrangement(len(self.panels), width, height, self._aspect())
        # All of one size: one camera shows the same in each.
        across, down = width // n_columns, height // n_rows
        for at, panel in enumerate(self.panels):
            row, column = divmod(at, n_columns)
            panel.set_area(QRect(column * across, row * down, across - _GAP, down - _GAP))

    def _aspect(self) -> float:
        low, high = self._extent
        size = np.maximum(high - low, 1e-9)
        return float(np.clip(size[0] / size[1], 0.1, 10))

    def _seen(self) -> tuple[float, float, float, float]:
        """Return the part of the spots on napari's canvas: left, bottom, width and height."""
        camera = self._viewer.scene.camera
        half = np.array(self._viewer.canvas.size[::-1]) / camera.zoom / 2
        center = np.array(camera.center[:-3:-1])
        low, high = self._extent
        low, high = np.maximum(center - half, low), np.minimum(center + half, high)
        if (high <= low).any():
            low, high = self._extent
        return (*low, *(high - low))

    @property
    def area(self) -> tuple[float, float, float, float] | None:
        """Left, top, right and bottom of what each panel shows, None without panels."""
        if not self.panels:
            return None
        panel = self.panels[0]
        corners = [(panel.area.left(), panel.area.top()), (panel.area.right(), panel.area.bottom())]
        (left, top), (right, bottom) = (panel.world_at(np.array(corner)) for corner in corners)
        return min(left, right), min(top, bottom), max(left, right), max(top, bottom)

    def look_at(self, rect: Any) -> None:
        """Show a part of the world, (left, bottom, width, height) or a Rect, in all panels."""
        self.panels[0].view.camera.rect = rect

    def look_at_all(self) -> None:
        """Show all spots."""
        low, high = self._extent
        self.look_at((*low, *(high - low)))

    def _microns_per_pixel(self) -> float | None:
        """Return the micrometers of a pixel of the screen, None if they are unknown."""
        result = self._session.result
        size = microns_per_pixel(result.spatial) if self.panels and result is not None else None
        return None if size is None else size / self.panels[0].zoom

    # Mouse and keys

    def _panel_at(self, pos: np.ndarray) -> _Panel | None:
        return next((panel for panel in self.panels if panel.area.contains(*map(int, pos[:2]))), None)

    def _on_press(self, event: SceneMouseEvent) -> None:
        self._pressed_at = np.array(event.pos[:2]) if event.button == 1 else None

    @reporting
    def _on_release(self, event: SceneMouseEvent) -> None:
        start, self._pressed_at = self._pressed_at, None
        panel = self._panel_at(event.pos)
        if panel is None or start is None or np.abs(event.pos[:2] - start).max() > _DRAG_PX:
            return
        x, y = panel.world_at(event.pos)
        self._session.pointer.pick_at(y, x)

    @reporting
    def _on_move(self, event: SceneMouseEvent) -> None:
        if self._mouse.is_still(event):
            return
        panel = self._panel_at(event.pos)
        if panel is None or event.button is not None:
            self._session.pointer.hover(None)
        else:
            x, y = panel.world_at(event.pos)
            self._session.pointer.hover_at(y, x)

    @reporting
    def _on_key(self, event: Any) -> None:
        key = "" if event.key is None else str(event.key.name)
        if key == "Home":
            self.look_at_all()
        event.handled = key == "Home" or self._press(key)  # else napari acts on it too
        if key == "T":
            self._refill()

    def leaveEvent(self, event: QEvent | None) -> None:
        self._session.pointer.hover(None)


def _extent(result: Result) -> tuple[np.ndarray, np.ndarray]:
    """Return the lower and the upper corner (x, y) of all spots."""
    half = layers.spot_diameter(result.spatial) / 2
    xy = result.coordinates
    return np.nanmin(xy, axis=0) - half, np.nanmax(xy, axis=0) + half


class _Panel:
    """One type or gene: its title, and a view of tissue and spots."""

    def __init__(self, owner: SideBySide, canvas: SceneCanvas, result: Result, name: PanelMap) -> None:
        self.name = name
        self.area = QRect()
        self.title = _Title(owner, owner._session, name)
        self.view = ViewBox(parent=canvas.scene)
        self.view.camera = PanZoomCamera(aspect=1, flip=(False, True))
        self._tissue: list[Any] = []
        self._pictures: list[Picture] = []
        self._spots: Any = None
        self._marks: Any = None

    def close(self) -> None:
        """Remove the title; the view is closed with its canvas."""
        with suppress(RuntimeError):
            self.title.setParent(None)
            self.title.deleteLater()

    def set_area(self, area: QRect) -> None:
        """Take a part of the canvas, the title at its top."""
        self.title.setGeometry(area.left(), area.top(), area.width(), _TITLE)
        self.title.show()
        self.title.raise_()
        self.area = area.adjusted(0, _TITLE, 0, 0)
        self.view.pos = (self.area.left(), self.area.top())
        self.view.size = (max(self.area.width(), 1), max(self.area.height(), 1))

    @property
    def zoom(self) -> float:
        """Pixels of the screen for a full-resolution pixel."""
        return abs(float(self.view.camera.transform.scale[0]))

    def world_at(self, pos: np.ndarray) -> tuple[float, float]:
        """Return (x, y) in the tissue under a point of the canvas."""
        mapped = self.view.scene.transform.imap(np.array(pos[:2]) - [self.area.left(), self.area.top()])
        return float(mapped[0]), float(mapped[1])

    def show_tissue(self, pictures: Sequence[Picture]) -> None:
        """Show images below the spots."""
        if len(pictures) == len(self._pictures) and all(
            one.opacity == other.opacity and np.array_equal(one.pixels, other.pixels)
            for one, other in zip(pictures, self._pictures, strict=True)
        ):
            return  # sending pixels to the graphics card takes longest
        for old in self._tissue:
            old.parent = None
        self._pictures = list(pictures)
        self._tissue = [self._shown(picture, order) for order, picture in enumerate(pictures)]

    def _shown(self, picture: Picture, order: int) -> Any:
        visual = ImageVisual(picture.pixels, interpolation="nearest", parent=self.view.scene)
        visual.opacity = picture.opacity
        _put(visual, picture, order)
        return visual

    def show_spots(self, data: PanelData, colors: Any) -> None:
        """Show the spots in their colors, or the picture of the bins."""
        if isinstance(colors, Picture):
            if self._spots is None:
                self._spots = self._shown(colors, 100)
            else:
                self._spots.set_data(colors.pixels)
            return
        if data.spots is None:
            return
        if self._spots is None:
            self._spots = _markers(self.view.scene, 100)
        # Spots of a pixel or two would be nothing but soft edge.
        is_dense = len(data.spots.xy) > layers.MOST_OUTLINED
        self._spots.antialias = 0 if is_dense else 1
        self._spots.canvas_size_limits = (3 if is_dense else 2, 10_000)
        self._spots.set_data(
            data.spots.xy.astype(np.float32),
            size=data.spots.diameter,
            edge_width=0,
            face_color=colors.astype(np.float32) / 255,
            symbol=data.spots.symbol,
        )

    def mark(self, marks: tuple[Any, dict[str, Any]] | None) -> None:
        """Outline the picked spot like the layer on napari's canvas, white around black; None removes it."""
        if marks is None:
            if self._marks is not None:
                self._marks.visible = False
            return
        if self._marks is None:
            self._marks = _markers(self.view.scene, 200)
            self._marks.canvas_size_limits = (_LEAST_MARK, 10_000)
        yx, settings = marks
        rings = slice(-2, None)  # its neighbors come before
        self._marks.visible = True
        self._marks.set_data(
            yx[rings, ::-1].astype(np.float32),
            size=settings["size"][rings],
            edge_width=None,
            edge_width_rel=settings["border_width"][rings],
            edge_color=settings["border_color"][rings],
            face_color=(0, 0, 0, 0),
            symbol=settings["symbol"],
        )


def _markers(parent: Any, order: int) -> Any:
    visual = Markers(scaling="visual", parent=parent)
    visual.order = order
    visual.set_gl_state("translucent", depth_test=False)
    return visual


def _put(visual: Any, picture: Picture, order: int) -> None:
    """Put a picture at its position."""
    visual.order = order
    visual.set_gl_state("translucent", depth_test=False, cull_face=False)
    matrix = np.eye(4)
    matrix[:2, :2] = picture.to_xy[:2, :2].T
    matrix[3, :2] = picture.to_xy[:2, 2]
    visual.transform = MatrixTransform(matrix)


class _Title(QWidget):
    """Color, name and range of a type or a gene; a click shows it alone."""

    def __init__(self, parent: QWidget, session: Session, name: PanelMap) -> None:
        super().__init__(parent)
        self._session, self.name = session, name
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setToolTip(plain(f"{name_of(name)}: click to show it alone"))
        self.setAccessibleName(printable(name_of(name)))

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        self._session.display.show_panels(())
        self._session.display.show(self.name)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        result, name = self._session.result, self.name
        if result is None or (isinstance(name, str) and name not in result.colors):
            return
        painter = QPainter(self)
        painter.fillRect(self.rect(), self.palette().color(QPalette.ColorRole.Window))
        painter.setPen(self.palette().color(QPalette.ColorRole.WindowText))
        swatch = QRect(6, (_TITLE - _SWATCH) // 2, _SWATCH, _SWATCH)
        if isinstance(name, str):
            fill(painter, swatch, result.colors[name])
        else:
            swatch.setWidth(_RAMP)
            self._paint_ramp(painter, swatch, name)
        area = self.rect().adjusted(swatch.right() + 7, 0, -6, 0)
        text = self.range_text
        draw_number(painter, area, text)
        room = painter.fontMetrics().horizontalAdvance(text) + 8
        words = printable(name) if isinstance(name, str) else title_of(name, EdgeMap.ATTENTION)
        draw_name(painter, area.adjusted(0, 0, -room, 0), words)

    def _paint_ramp(self, painter: QPainter, area: QRect, gene: Gene) -> None:
        """Paint the colors of a gene, which differ from those of the color bar."""
        found, spatial = self._session.known_values.get(gene), self._session.spatial
        if found is None or spatial is None:
            return
        colors = np.asarray(values_colormap(spatial, found).map(np.linspace(0, 1, area.width())), dtype=float)
        painter.fillRect(area, QColor(TISSUE))
        for at, color in enumerate(colors):
            painter.fillRect(
                area.left() + at, area.top(), 1, area.height(), QColor.fromRgbF(*map(float, color))
            )

    @property
    def range_text(self) -> str:
        """The range of the panel's colors."""
        return f"0 – {end_words(shown_ends(self._session).get(self.name, 1.0))}"


class _Foot(QWidget):
    """The colors and the range of all panels, a scale bar, and the way back."""

    def __init__(self, parent: QWidget, session: Session) -> None:
        super().__init__(parent)
        self._microns: float | None = None
        self.bar = ColorBar(session)
        self.bar.setParent(self)
        self.bar.show()
        self.back = QPushButton("One map", self)
        self.back.setToolTip("Back to a single map (Escape)")

    def measure(self, microns_per_pixel: float | None) -> None:
        """Take the length of a pixel of the screen."""
        if microns_per_pixel != self._microns:
            self._microns = microns_per_pixel
            self.update()

    @property
    def scale_text(self) -> str:
        """The text next to the scale bar; "" without one."""
        return "" if self._microns is None else length_words(round_length(_LONGEST * self._microns), True)

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        size = self.back.sizeHint()
        self.back.setGeometry(self.width() - size.width() - 6, 2, size.width(), self.height() - 4)
        self.bar.setGeometry(0, 0, self.bar.sizeHint().width(), self.height())

    def paintEvent(self, event: QPaintEvent | None) -> None:
        painter = QPainter(self)
        palette = self.palette()
        painter.fillRect(self.rect(), palette.color(QPalette.ColorRole.Window))
        painter.setPen(palette.color(QPalette.ColorRole.WindowText))
        if self._microns is not None:
            self._paint_scale(painter, self.bar.geometry().right() + 12, self._microns)

    def _paint_scale(self, painter: QPainter, left: int, microns: float) -> None:
        length = round(round_length(_LONGEST * microns) / microns)
        line = QRect(left, self.height() // 2 - 1, length, 3)
        painter.fillRect(line, self.palette().color(QPalette.ColorRole.WindowText))
        draw_name(painter, QRect(line.right() + 8, 0, 90, self.height()), self.scale_text)
