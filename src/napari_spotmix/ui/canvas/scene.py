"""Keeps a viewer's layers up to date with its session, and turns clicks into picked spots."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Layer
from napari.utils.notifications import show_info
from qtpy.QtCore import QTimer

from napari_spotmix.base.colors import niche_colors
from napari_spotmix.output.ranges import end_of_map, ends_of_types
from napari_spotmix.ui.canvas import layers, value_layers
from napari_spotmix.ui.canvas.layer_info import (
    KEY,
    MapInfo,
    RegionsInfo,
    SpotInfo,
    TissueInfo,
    ValuesInfo,
    info_of,
    map_of,
    tissue_of,
)
from napari_spotmix.ui.canvas.locked import lock
from napari_spotmix.ui.canvas.on_screen import OnScreen, StillMouse
from napari_spotmix.ui.canvas.pies import pies_layer
from napari_spotmix.ui.canvas.spatialdata_interop import serve_others
from napari_spotmix.ui.state.connections import Connections
from napari_spotmix.ui.state.display import Camera
from napari_spotmix.ui.state.figures import Framing
from napari_spotmix.ui.state.map_range import end_of_values, shown_ends
from napari_spotmix.ui.state.maps import (
    DOMINANT,
    FEATURES,
    GRAPH,
    NICHES,
    PIES,
    Column,
    Gene,
    Shown,
    SpotMap,
    name_of,
)
from napari_spotmix.ui.text import plain

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.types import FullLayerData
    from napari.utils.events import Event

    from napari_spotmix.result import Result
    from napari_spotmix.ui.state.session import Session

__all__ = ["Scene"]

#: A press that moves further than this before its release, in screen pixels, is a drag.
_DRAG_PX = 4.0
_NEIGHBORHOOD, _SELECTION = "Neighborhood", "Selected spot"


class Scene:
    """The layers of one session in one viewer.

    A layer is made when it is first shown, and only the chosen one is visible. All cell types share a layer,
    and so do all blends, and all genes and columns of numbers: coloring spots again takes a fraction of the
    time of adding them. The user may delete any of them at any time: it is made again when needed. Layers of
    single cell types are added if the user asks for them; from then on they belong to the user and are not
    changed.
    """

    def __init__(self, viewer: ViewerModel, session: Session, on_screen: OnScreen) -> None:
        self._viewer = viewer
        self._session = session
        self._on_screen = on_screen
        self._mouse = StillMouse()
        self._of_tissue: list[Layer] = []
        self._of_types: dict[Shown | type, Layer] = {}
        self._of_spot: list[Layer] = []
        # One at a time, so that the window stays responsive.
        self._adding, self._to_add = QTimer(), list[str]()
        self._adding.setInterval(0)
        self._flat = QTimer()
        self._flat.setSingleShot(True)
        self._connections = Connections()
        self._connect()
        self._bind()
        self._adopt()

    def _connect(self) -> None:
        connect, session, display = self._connections.connect, self._session, self._session.display
        connect(session.data.tissue_changed, self._show_tissue)
        connect(session.data.image_changed, self._show_image)
        connect(session.result_changed, self._drop_result)
        connect(session.result_replayed, self._show_spot)
        connect(session.layers_wanted, self._add_own_layers)
        connect(session.pointer.spot_changed, self._show_spot)
        connect(display.shown_changed, self._show_type)
        connect(display.opacity_changed, self._set_opacity)
        connect(display.threshold_changed, self._set_threshold)
        connect(display.color_range_changed, self._set_range)
        connect(display.panels_changed, self._set_range)
        connect(display.camera_wanted, self._move_camera)
        connect(self._adding.timeout, self._add_own_layer)
        connect(self._viewer.scene.camera.events.zoom, self._note_camera)
        connect(self._viewer.scene.camera.events.center, self._note_camera)
        connect(self._viewer.layers.events.removed, self._on_removed)
        connect(self._viewer.dims.events.ndisplay, self._on_ndisplay)
        connect(self._flat.timeout, self._return_to_2d)

    def _bind(self) -> None:
        """Act on the mouse and on keys until `release`."""
        viewer, undo = self._viewer, self._connections.on_disconnect
        for callbacks, act in (
            (viewer.mouse_drag_callbacks, self._on_press),
            (viewer.mouse_move_callbacks, self._on_move),
        ):
            callbacks.append(act)
            undo(partial(_remove_from, callbacks, act))
        for key, action in self._keys().items():
            viewer.bind_key(key, action, overwrite=True)
            undo(partial(viewer.bind_key, key, None))

    def _adopt(self) -> None:
        """Take over the layers that an earlier dock of this viewer has made."""
        for layer in self._viewer.layers:
            info, of_values = map_of(layer), info_of(layer, ValuesInfo)
            if of_values is not None and of_values.adata is self._session.spatial:
                self._of_types[_kind_of_values(of_values)] = layer
            elif info is not None and self._is_of_session(info.result) and not info.is_own:
                self._of_types[_kind_of(info.shown)] = layer
            elif info_of(layer, SpotInfo):
                self._of_spot.append(layer)
        for layer in self._of_types.values():
            layer.events.opacity.connect(self._take_opacity)
        tissue = self._session.data.tissue
        if tissue is not None and not self._is_open(tissue.adata):
            self._show_tissue()

    def _is_of_session(self, result: Result) -> bool:
        """Whether a result is the session's, or of the same run."""
        own = self._session.result
        return own is not None and result.spatial is own.spatial

    def release(self) -> None:
        """Disconnect from the viewer and the session; the layers stay."""
        with suppress(RuntimeError):  # Qt deletes timers before this when the program ends
            self._adding.stop()
            self._flat.stop()
        self._connections.disconnect_all()

    def layer_of(self, shown: Shown) -> Layer | None:
        """Return the layer that shows a cell type, or a map like `DOMINANT`, or None if none does."""
        of_values = (info_of(layer, ValuesInfo) for layer in self._of_types.values())
        if isinstance(shown, Gene | Column):
            found = next((info for info in of_values if info and info.shown == shown), None)
            return None if found is None else self._of_types[_kind_of_values(found)]
        layer = self._of_types.get(_kind_of(shown))
        return None if layer is None or _map_of(layer).shown != shown else layer

    def framing(self) -> Framing:
        """Return what of the section the canvas shows."""
        viewer, camera = self._viewer, self._viewer.scene.camera
        area = None
        if viewer.dims.ndisplay == 2:
            half = np.array(viewer.canvas.size) / camera.zoom / 2
            center = np.array(camera.center[-2:])
            (top, left), (bottom, right) = (center - half).tolist(), (center + half).tolist()
            area = (left, top, right, bottom)
        images = [layer.visible for layer in viewer.layers if layers.is_tissue(layer)]
        outlines = [layer.visible for layer in viewer.layers if info_of(layer, RegionsInfo)]
        return Framing(area, any(images) or not images, any(outlines))

    def _note_camera(self) -> None:
        """Note where the camera is, to save it with the result."""
        if self._viewer.dims.ndisplay != 2:
            return
        camera = self._viewer.scene.camera
        y, x = map(float, camera.center[-2:])
        self._session.display.camera = Camera((y, x), float(camera.zoom))

    def _move_camera(self, camera: Camera) -> None:
        self._viewer.scene.camera.center = camera.center
        self._viewer.scene.camera.zoom = camera.zoom

    def _on_ndisplay(self) -> None:
        """Return to 2D once napari has changed to 3D, where images cover spots; volumes may stay in 3D."""
        dims = self._viewer.dims
        if dims.ndisplay == 3 and dims.ndim == 2 and self._session.data.tissue is not None:
            self._flat.start(0)

    def _return_to_2d(self) -> None:
        camera = self._session.display.camera
        self._viewer.dims.ndisplay = 2
        if camera is not None:
            self._move_camera(camera)
        show_info("Spots are shown in 2D only: in 3D, the image would cover them.")

    # The tissue

    def _show_tissue(self) -> None:
        self._remove(self._of_tissue)
        tissue = self._session.data.tissue
        if tissue is None:
            return
        spots = self._spots_of(tissue.adata)
        if spots is not None:
            self._viewer.reset_view(layers=[spots])
            return
        info = TissueInfo(tissue.adata, tissue.path, tissue.reading, tissue.choices)
        data = layers.tissue_layers(info, tissue.name)
        self._of_tissue = [self._insert(item, at) for at, item in enumerate(data)]
        # A slide is mostly glass: show the spots.
        self._viewer.reset_view(layers=self._of_tissue[-1:])

    def _show_image(self) -> None:
        tissue, image = self._session.data.tissue, self._session.data.image
        if image is not None:
            data = layers.other_image_layer(image, None if tissue is None else tissue.adata, image.name)
            at = sum(layer in self._of_tissue and isinstance(layer, Image) for layer in self._viewer.layers)
            self._of_tissue.append(self._insert(data, at))

    def _is_open(self, adata: Any) -> bool:
        return self._spots_of(adata) is not None

    def _spots_of(self, adata: Any) -> Layer | None:
        """Return the layer of all spots of the data, as they were loaded."""
        for layer in self._viewer.layers:
            info = tissue_of(layer)
            if info is not None and info.adata is adata:
                return layer
        return None

    # The result

    def _drop_result(self) -> None:
        self._to_add = []
        self._remove(self._of_spot)
        self._remove(list(self._of_types.values()))
        self._of_types.clear()
        tissue = self._session.data.tissue
        spots = None if tissue is None else self._spots_of(tissue.adata)
        if spots is not None:
            # Hidden under those of a result, they would take as long to draw.
            spots.visible = self._session.result is None

    def _show_type(self) -> None:
        shown, result = self._session.display.shown, self._session.result
        layer = None
        if isinstance(shown, Gene | Column):
            layer = self._values_up_to_date(shown)
        elif shown is not None and result is not None:
            layer = self._up_to_date(result, shown)
        elif result is not None:
            return
        for other in self._of_types.values():
            if other.visible != (other is layer):  # napari arranges its canvas again at every change
                other.visible = other is layer
        spots = None if self._session.spatial is None else self._spots_of(self._session.spatial)
        if result is None and spots is not None:
            spots.visible = layer is None
        if layer is not None:
            self._activate(layer)

    def _values_up_to_date(self, shown: SpotMap) -> Layer | None:
        """Return the layer of a gene or a column, made or colored again if necessary."""
        spatial, values = self._session.spatial, self._session.known_values.get(shown)
        if spatial is None or values is None:
            return None
        info = ValuesInfo(spatial, shown, values, end_of_values(self._session, shown))
        kind = _kind_of_values(info)
        kept = self._of_types.get(kind)
        before = None if kept is None else info_of(kept, ValuesInfo)
        is_same = before is not None and (before.values, before.shown, before.end) == (
            values,
            shown,
            info.end,
        )
        if kept is not None and is_same and not value_layers.is_changed_by_others(kept):
            return kept
        data = value_layers.values_layer(spatial, plain(name_of(shown)), values, info.end)
        if kept is None:
            return self._add_map(kind, data, info)
        layers.recolor(kept, data)
        kept.name = data[1]["name"]
        kept.metadata[KEY] = info
        return kept

    def _add_map(self, kind: type, data: FullLayerData, info: ValuesInfo) -> Layer:
        layer = self._of_types[kind] = lock(Layer.create(*data))
        layer.metadata[KEY] = info
        return self._insert_map(layer)

    def _up_to_date(self, result: Result, shown: Shown) -> Layer:
        """Return the layer of what is shown, made or colored again if necessary."""
        kind = _kind_of(shown)
        kept = self._of_types.get(kind)
        if kept is not None and self._is_outdated(kept, result):
            if shown in (PIES, GRAPH):
                self._remove([kept])  # other slices are other triangles
            else:
                self._recolor(result, shown)
        if kind not in self._of_types:
            self._of_types[kind] = self._make_type(result, shown)
        return self._of_types[kind]

    def _activate(self, layer: Layer) -> None:
        if self._viewer.layers.selection.active is not layer:
            self._viewer.layers.selection.active = layer
        else:
            self._viewer.update_status_from_cursor()  # it names the layer, which may show something else now

    def _set_opacity(self) -> None:
        for layer in self._of_types.values():
            layer.opacity = self._session.display.opacity

    def _make_type(self, result: Result, shown: Shown) -> Layer:
        layer = lock(Layer.create(*self._type_data(result, shown)))
        self._label(layer, self._info(result, shown))  # before other plugins see the layer
        return self._insert_map(layer)

    def _insert_map(self, layer: Layer) -> Layer:
        """Add a layer below the marks; its opacity and that of the dock follow each other."""
        layer.opacity = self._session.display.opacity
        layer.events.opacity.connect(self._take_opacity)
        self._viewer.layers.insert(self._top_of_types(), layer)
        return layer

    def _take_opacity(self, event: Event) -> None:
        if event.source in self._of_types.values() and event.source.opacity != self._session.display.opacity:
            self._session.display.set_opacity(event.source.opacity)

    def _add_own_layers(self) -> None:
        """Add a layer for each cell type that has none of its own."""
        if self._session.result is not None:
            own = {_map_of(layer).shown for layer in self._own_layers()}
            self._to_add = [name for name in self._session.result.cell_types if name not in own]
            if str in self._of_types:
                shared = self._of_types[str]
                shared.name = self._layer_name(_map_of(shared).shown)
            self._adding.start()

    def _add_own_layer(self) -> None:
        """Add the next one, hidden, below what is shown."""
        result = self._session.result
        if not self._to_add or result is None:
            self._adding.stop()
            return
        name, active = self._to_add.pop(0), self._viewer.layers.selection.active
        end = ends_of_types(result, [name], self._session.display.color_range)[name]
        layer = lock(Layer.create(*layers.proportion_layer(result, name, end=end)))
        layer.visible = False
        self._label(layer, replace(self._info(result, name), is_own=True))
        self._viewer.layers.insert(self._bottom_of_types(), layer)
        _color_bar(layer).visible = True
        self._viewer.layers.selection.active = active

    def _own_layers(self) -> list[Layer]:
        """Return the layers of single cell types that were added for this result."""
        found = [(layer, map_of(layer)) for layer in self._viewer.layers]
        result = self._session.result
        return [layer for layer, info in found if info and info.is_own and info.result is result]

    def _bottom_of_types(self) -> int:
        of_types = [*self._of_types.values(), *self._own_layers()]
        return min(map(self._viewer.layers.index, of_types), default=self._top_of_types())

    def _recolor(self, result: Result, shown: Shown) -> None:
        """Show another cell type or another result in an existing layer; other layers follow when shown."""
        layer, data = self._of_types[_kind_of(shown)], self._type_data(result, shown)
        layers.recolor(layer, data)
        layer.name = data[1]["name"]
        self._label(layer, self._info(result, shown))

    def _info(self, result: Result, shown: Shown) -> MapInfo:
        session = self._session
        edges = session.edges if shown is GRAPH else None
        display = session.display
        return MapInfo(result, shown, display.threshold, session.niches, edges, display.color_range)

    def _label(self, layer: Layer, info: MapInfo) -> None:
        """Note what a layer shows, and of what."""
        layer.metadata[KEY] = info
        serve_others(layer)

    def _is_outdated(self, layer: Layer, result: Result, *, ignore_range: bool = False) -> bool:
        info, session = _map_of(layer), self._session
        if info.shown != session.display.shown or layers.is_changed_by_others(layer):
            return True
        if info.shown is NICHES:
            return info.niches is not session.niches
        if info.shown is GRAPH and info.edges is not session.edges:
            return True
        is_of_types = isinstance(info.shown, str | tuple)
        is_other = (info.shown is DOMINANT or is_of_types) and info.threshold != session.display.threshold
        has_range = is_of_types or info.shown in FEATURES
        is_other = is_other or (
            has_range and not ignore_range and info.color_range != session.display.color_range
        )
        return info.result is not result or is_other

    def _set_threshold(self) -> None:
        if self._session.display.shown is not None:
            self._show_type()

    def _set_range(self) -> None:
        """Let the colors end elsewhere, also while an end is dragged."""
        shown, result, display = self._session.display.shown, self._session.result, self._session.display
        if isinstance(shown, Gene | Column) and not display.panels:
            self._set_range_of_values(shown)
            return
        if result is None or shown is None or display.panels:
            return  # the map below the panels follows when they are left
        layer = self.layer_of(shown)
        info = None if layer is None else map_of(layer)
        is_simple = isinstance(shown, str) or shown in FEATURES
        if (
            layer is None
            or info is None
            or not is_simple
            or self._is_outdated(layer, result, ignore_range=True)
        ):
            self._show_type()
            return
        (end,) = shown_ends(self._session).values()
        layers.set_end(layer, end, layers.map_colormap(result, shown, display.threshold / end))
        layer.metadata[KEY] = self._info(result, shown)

    def _set_range_of_values(self, shown: SpotMap) -> None:
        layer = self.layer_of(shown)
        info = None if layer is None else info_of(layer, ValuesInfo)
        if layer is None or info is None or info.values.labels is not None:
            return
        end, found = end_of_values(self._session, shown), info.values
        if end != info.end:
            colormap = value_layers.values_colormap(info.adata, found)
            layers.set_end(layer, end, colormap, value_layers.start_of(found, end))
            layer.metadata[KEY] = replace(info, end=end)

    def _layer_name(self, shown: Shown) -> str:
        """Return a name; if cell types have layers of their own, the shared layer says that it is another."""
        is_of_own = isinstance(shown, str) and bool(self._to_add or self._own_layers())
        # napari shows the names of layers in labels that guess at HTML.
        return plain(name_of(shown)) + (" (Explore)" if is_of_own else "")

    def _type_data(self, result: Result, shown: Shown) -> FullLayerData:
        name, threshold = self._layer_name(shown), self._session.display.threshold
        rule = self._session.display.color_range
        if shown is DOMINANT:
            return layers.dominant_layer(result, name, threshold)
        if shown is PIES:
            return pies_layer(result, name)
        if shown is GRAPH:
            return layers.graph_layer(result, name, self._session.edges)
        niches = self._session.niches
        if shown is NICHES and niches is not None:
            colors = niche_colors(niches.names)
            return layers.niche_layer(result, name, niches.codes, [colors[one] for one in niches.names])
        if isinstance(shown, tuple):
            return layers.blend_layer(result, name, shown, threshold, ends_of_types(result, shown, rule))
        if isinstance(shown, str):
            end = ends_of_types(result, [shown], rule)[shown]
            return layers.proportion_layer(result, shown, threshold, end=end, name=name)
        if isinstance(shown, Gene | Column):
            raise RuntimeError("Genes and columns have layers of their own.")
        feature = FEATURES[shown]
        return layers.map_layer(result, name, feature, end=end_of_map(result, feature, rule))

    def _top_of_types(self) -> int:
        """Return the index for the next layer of a type: below the marks of a picked spot and regions."""
        marks = [
            at
            for at, layer in enumerate(self._viewer.layers)
            if layer in self._of_spot or info_of(layer, RegionsInfo)
        ]
        return min(marks, default=len(self._viewer.layers))

    # The picked spot

    def _show_spot(self) -> None:
        spot, result = self._session.pointer.spot, self._session.result
        if spot is None or result is None:
            for layer in self._of_spot:
                layer.visible = False
            return
        active = self._viewer.layers.selection.active
        self._mark(layers.neighborhood_layer(result, spot, _NEIGHBORHOOD))
        self._mark(layers.selection_layer(result, spot, _SELECTION))
        self._viewer.layers.selection.active = active

    def _mark(self, data: FullLayerData) -> None:
        """Change the layer if it exists: napari takes half a second to remove one."""
        kept = next((layer for layer in self._of_spot if layer.name == data[1]["name"]), None)
        if kept is None:
            kept = self._insert(data, len(self._viewer.layers))
            kept.metadata[KEY] = SpotInfo()
            self._of_spot.append(kept)
        else:
            layers.update_layer(kept, data)
        kept.visible = True

    def _on_press(self, viewer: ViewerModel, event: Event) -> Iterator[None]:
        """Pick the spot under a click, of the viewer: a layer gets only its own clicks."""
        self._session.pointer.hover(None)  # a drag moves the tissue away under the box
        start = np.array(event.pos, dtype=float)
        is_click = event.button == 1 and not event.modifiers and self._on_screen.is_navigating
        yield
        while event.type == "mouse_move":
            is_click = is_click and float(np.abs(np.array(event.pos) - start).max()) <= _DRAG_PX
            yield
        if is_click and viewer.dims.ndisplay == 2:
            y, x = event.position[-2:]
            self._session.pointer.pick_at(y, x)

    def _on_move(self, viewer: ViewerModel, event: Event) -> None:
        """Point at the spot under the mouse; at none without a map, and during a drag or drawing."""
        if self._mouse.is_still(event):
            return
        on_screen = self._on_screen
        is_pointing = on_screen.is_navigating and not event.is_dragging and on_screen.has_map
        if not is_pointing or viewer.dims.ndisplay != 2:
            self._session.pointer.hover(None)
        else:
            y, x = event.position[-2:]
            self._session.pointer.hover_at(y, x)

    def _keys(self) -> dict[str, Callable[[ViewerModel], None]]:
        """Return the actions of keys while the canvas has the focus."""
        session, walk = self._session, self._session.pointer.walk
        return {
            "Escape": lambda _: session.step_back(),
            "Up": lambda _: walk(-1, 0),
            "Down": lambda _: walk(1, 0),
            "Left": lambda _: walk(0, -1),
            "Right": lambda _: walk(0, 1),
            "T": lambda _: self._toggle_tissue(),
        }

    def press(self, key: str) -> bool:
        """Run the action of a key, and return whether it has one."""
        action = self._keys().get(key)
        if action is not None:
            action(self._viewer)
        return action is not None

    def _toggle_tissue(self) -> None:
        """Hide the tissue's images, or show them."""
        images = [layer for layer in self._viewer.layers if layers.is_tissue(layer)]
        is_hidden = not any(layer.visible for layer in images)
        for layer in images:
            layer.visible = is_hidden

    # Layers

    def _insert(self, data: FullLayerData, at: int) -> Layer:
        layer = lock(Layer.create(*data))
        self._viewer.layers.insert(min(at, len(self._viewer.layers)), layer)
        return layer

    def _remove(self, gone: list[Layer]) -> None:
        for layer in list(gone):
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
        gone.clear()

    def _on_removed(self, event: Event) -> None:
        layer = event.value
        self._of_types = {key: kept for key, kept in self._of_types.items() if kept is not layer}
        for group in (self._of_tissue, self._of_spot):
            if layer in group:
                group.remove(layer)


def _remove_from(callbacks: list[Any], callback: Any) -> None:
    if callback in callbacks:
        callbacks.remove(callback)


def _map_of(layer: Layer) -> MapInfo:
    """Return the map of a layer that is known to be one."""
    info = map_of(layer)
    if info is None:
        raise RuntimeError(f"The layer '{layer.name}' has lost its metadata of the plugin.")
    return info


def _kind_of_values(info: ValuesInfo) -> type:
    """Return the key of a layer of values: all genes and numbers share one, and so do all labels."""
    return Gene if info.values.labels is None else Column


def _color_bar(layer: Layer) -> Any:
    return layer.colorbar if isinstance(layer, Image) else layer.face_colorbar


def _kind_of(shown: Shown) -> Shown | type:
    """Return the key of a layer: all cell types share one, and so do all blends."""
    return type(shown) if isinstance(shown, str | tuple) else shown
