"""Many points drawn quickly where a processor draws them: on a virtual display or a remote desktop.

napari draws each point as an instance of a square. A graphics card takes no notice. Mesa's llvmpipe, which
draws where there is none, begins anew for every instance: 29 ms for 5,000 points, which it draws in 7 ms as
points of OpenGL. Of those it leaves out what has its middle outside of the canvas, and it draws none that has
more than 255 pixels, so spots that are seen from nearby are left to napari.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from qtpy.QtGui import QOffscreenSurface, QOpenGLContext
from qtpy.QtWidgets import QWidget
from vispy.visuals.shaders import Function

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from vispy.scene import Node, SceneCanvas
    from vispy.scene.visuals import Markers

    _Hooks = tuple[Any, Any, Any]

__all__ = ["QuickPoints", "is_software"]

#: Fewer points are quick either way.
_MANY = 500
#: Pixels of the screen that a spot may have: half of it may be missing at the edge of the canvas.
_LARGEST = 16.0
_GL_RENDERER = 0x1F01
_NEEDED = ("_data", "_method", "_draw_mode", "_upload_data")


@cache
def is_software() -> bool:
    """Whether OpenGL draws on the processor, by what is slow at instances; there must be an application."""
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
    """Has the layers of many points in a window drawn as points of OpenGL while they are small."""

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._canvas: SceneCanvas | None = None
        self._hooks: WeakKeyDictionary[Markers, _Hooks] = WeakKeyDictionary()
        viewer.scene.camera.events.zoom.connect(self._look)
        viewer.layers.events.inserted.connect(self._look)

    def put_on(self, window: QWidget) -> None:
        """Look after the canvas in a window."""
        canvases = (getattr(one, "_vispy_canvas", None) for one in window.findChildren(QWidget))
        self._canvas = next((one for one in canvases if one is not None), None) if is_software() else None
        self._look()

    def let_go(self) -> None:
        """Let go of the viewer, and leave all layers to napari."""
        self._viewer.scene.camera.events.zoom.disconnect(self._look)
        self._viewer.layers.events.inserted.disconnect(self._look)
        for markers, hooks in self._hooks.items():
            _change(markers, "instanced", hooks)
        self._hooks.clear()

    def _look(self) -> None:
        """Have each layer of points drawn in the way that suits its size on the screen."""
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
    """Yield what draws the layers of points: of napari and vispy neither offers it, so it may be missing."""
    for child in node.children:
        markers = getattr(child, "points_markers", None)
        if all(hasattr(markers, name) for name in _NEEDED) and markers._data is not None:
            yield markers
        yield from _markers_below(child)


def _hooks_of_points() -> _Hooks:
    """Return what vispy puts into its shaders for points: no corners, places within a point from OpenGL."""
    return (
        Function("void setup_texcoord() {}"),
        Function("vec4 apply_offset(vec4 place, float size) { return place; }"),
        "gl_PointCoord",
    )


def _change(markers: Markers, method: str, hooks: _Hooks) -> _Hooks:
    """Have points drawn by the other of vispy's two methods, and return the hooks of the one before."""
    vertex, fragment = markers.shared_program.vert, markers.shared_program.frag
    before = vertex["setup_texcoord"], vertex["apply_offset"], fragment["pointcoord"]
    fragment["pointcoord"] = None  # else vispy would give its variable a new value
    vertex["setup_texcoord"], vertex["apply_offset"], fragment["pointcoord"] = hooks
    markers._method = method
    markers._draw_mode = "points" if method == "points" else "triangle_strip"
    markers._upload_data({name: markers._data[name] for name in markers._data.dtype.names})
    markers.update()
    return before
