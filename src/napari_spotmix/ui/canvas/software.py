"""Many points drawn quickly by a processor, on a virtual display or a remote desktop.

napari draws each point as an instance of a square, which is quick on a graphics card. Mesa's llvmpipe, which
draws on the processor, starts again for every instance: it takes 29 ms for 5,000 points, and 7 ms if they are
points of OpenGL. It leaves out OpenGL points with their middle outside of the canvas, and draws none above
255 pixels, so spots that are zoomed in are left to napari.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from qtpy.QtGui import QOffscreenSurface, QOpenGLContext
from qtpy.QtWidgets import QWidget
from vispy.visuals.shaders import Function

from napari_spotmix.ui.state.connections import Connections

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from vispy.scene import Node, SceneCanvas
    from vispy.scene.visuals import Markers

    _Hooks = tuple[Any, Any, Any]

__all__ = ["QuickPoints", "is_software"]

#: Fewer points are quick in any case.
_MANY = 500
#: Largest spots in screen pixels: half of one may be missing at the edge of the canvas.
_LARGEST = 16.0
_GL_RENDERER = 0x1F01
_NEEDED = ("_data", "_method", "_draw_mode", "_upload_data")


@cache
def is_software() -> bool:
    """Whether OpenGL draws on the processor, with Mesa's llvmpipe; there must be an application."""
    from vispy.gloo import gl

    surface, context = QOffscreenSurface(), QOpenGLContext()
    surface.create()
    if not context.create() or not context.makeCurrent(surface):
        return False
    try:
        return "llvmpipe" in str(gl.glGetParameter(_GL_RENDERER))
    finally:
        context.doneCurrent()


class QuickPoints:
    """Draws the layers of many points in a window as points of OpenGL while these are small."""

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._canvas: SceneCanvas | None = None
        self._hooks: WeakKeyDictionary[Markers, _Hooks] = WeakKeyDictionary()
        self._connections = Connections()
        self._connections.connect(viewer.scene.camera.events.zoom, self._update)
        self._connections.connect(viewer.layers.events.inserted, self._update)

    def put_on(self, window: QWidget) -> None:
        """Serve the canvas in a window."""
        canvases = (getattr(one, "_vispy_canvas", None) for one in window.findChildren(QWidget))
        self._canvas = next((one for one in canvases if one is not None), None) if is_software() else None
        self._update()

    def release(self) -> None:
        """Disconnect from the viewer, and leave all layers to napari."""
        self._connections.disconnect_all()
        for markers, hooks in self._hooks.items():
            _change(markers, "instanced", hooks)
        self._hooks.clear()

    def _update(self, _: Any = None) -> None:
        """Draw each layer of points by the method that suits its size on the screen."""
        if self._canvas is None:
            return
        zoom = self._viewer.scene.camera.zoom * self._canvas.native.devicePixelRatioF()
        for markers in _markers_below(self._canvas.central_widget):
            is_small = markers._data["a_size"].max() * zoom <= _LARGEST
            if is_small and len(markers._data) >= _MANY and markers._method == "instanced":
                self._hooks[markers] = _change(markers, "points", _hooks_of_points())
            elif not is_small and markers in self._hooks:
                _change(markers, "instanced", self._hooks.pop(markers))


def _markers_below(node: Node) -> Iterator[Markers]:
    """Yield the visuals of the layers of points; napari's and vispy's are private, so they may be missing."""
    for child in node.children:
        markers: Markers = getattr(child, "points_markers", None)
        if all(hasattr(markers, name) for name in _NEEDED) and markers._data is not None:
            yield markers
        yield from _markers_below(child)


def _hooks_of_points() -> _Hooks:
    """Return the hooks of vispy's shaders for points: no corners; positions in a point come from OpenGL."""
    return (
        Function("void setup_texcoord() {}"),
        Function("vec4 apply_offset(vec4 position, float size) { return position; }"),
        "gl_PointCoord",
    )


def _change(markers: Markers, method: str, hooks: _Hooks) -> _Hooks:
    """Draw points by the other of vispy's two methods, and return the hooks of the previous one."""
    vertex, fragment = markers.shared_program.vert, markers.shared_program.frag
    before = vertex["setup_texcoord"], vertex["apply_offset"], fragment["pointcoord"]
    fragment["pointcoord"] = None  # else vispy would give its variable a new value
    vertex["setup_texcoord"], vertex["apply_offset"], fragment["pointcoord"] = hooks
    markers._method = method
    markers._draw_mode = "points" if method == "points" else "triangle_strip"
    markers._upload_data({name: markers._data[name] for name in markers._data.dtype.names})
    markers.update()
    return before
