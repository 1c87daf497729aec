"""Keeps a viewer's layers in accord with its session, and turns clicks into picked spots."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Layer
from qtpy.QtCore import QTimer

from napari_spotmix.ui.canvas import layers
from napari_spotmix.ui.canvas.legend import niche_colors
from napari_spotmix.ui.canvas.pies import pies_layer
from napari_spotmix.ui.canvas.spatialdata_interop import introduce
from napari_spotmix.ui.state.session import (
    COUNTS,
    DOMINANT,
    ERRORS,
    GRAPH,
    NICHES,
    PIES,
    UNEXPLAINED,
    Camera,
    Session,
    Shown,
    name_of,
)
from napari_spotmix.ui.text import plain

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.types import FullLayerData
    from napari.utils.events import Event

    from napari_spotmix.result import Result

__all__ = ["Scene"]

#: A press that moves further than this before its release, in screen pixels, is a drag.
_DRAG_PX = 4.0
_NEIGHBORHOOD, _SELECTION = "Neighborhood", "Selected spot"
#: The feature that a map shows.
_MAPS = {UNEXPLAINED: "unexplained", COUNTS: "counts", ERRORS: "dominant_error"}


class Scene:
    """The layers of one session in one viewer.

    A layer is made when what it shows is first looked at, and only the chosen one is visible. All cell types
    share a layer, and so do all blends: to color spots anew takes a fraction of what it takes to add them.
    Any of them may be deleted by the user at any time: what is needed again is made again. Layers of single
    cell types are added where the user wants them; they are the user's, and left alone from then on.
    """

    def __init__(self, viewer: ViewerModel, session: Session) -> None:
        self._viewer = viewer
        self._session = session
        self._of_tissue: list[Layer] = []
        self._of_types: dict[Shown | type, Layer] = {}
        self._of_spot: list[Layer] = []
        # One at a time, so that the window stays alive.
        self._adding, self._to_add = QTimer(interval=0), list[str]()
        self._adding.timeout.connect(self._add_own_layer)
        session.tissue_changed.connect(self._show_tissue)
        session.image_changed.connect(self._show_image)
        session.result_changed.connect(self._drop_result)
        session.shown_changed.connect(self._show_type)
        session.result_replayed.connect(self._show_spot)
        session.spot_changed.connect(self._show_spot)
        session.opacity_changed.connect(self._set_opacity)
        session.threshold_changed.connect(self._set_threshold)
        session.camera_wanted.connect(self._look_at)
        session.layers_wanted.connect(self._add_own_layers)
        viewer.scene.camera.events.zoom.connect(self._note_camera)
        viewer.scene.camera.events.center.connect(self._note_camera)
        viewer.mouse_drag_callbacks.append(self._on_press)
        viewer.mouse_move_callbacks.append(self._on_move)
        for key, action in self._keys().items():
            viewer.bind_key(key, action, overwrite=True)
        viewer.layers.events.removed.connect(self._on_removed)
        self._adopt()

    def _adopt(self) -> None:
        """Take over what an earlier dock of this viewer has made."""
        for layer in self._viewer.layers:
            kept = layer.metadata.get(layers.METADATA, {})
            if self._is_of_session(kept.get("result")) and not kept.get("own"):
                self._of_types[_kind_of(kept["shown"])] = layer
            elif layer.name in (_NEIGHBORHOOD, _SELECTION) and kept:
                self._of_spot.append(layer)
        if self._session.tissue is not None and not self._is_open(self._session.tissue.adata):
            self._show_tissue()

    def _is_of_session(self, result: Result | None) -> bool:
        """Whether a result is the session's, or came of the same run."""
        own = self._session.result
        return own is not None and result is not None and result.spatial is own.spatial

    def let_go(self) -> None:
        """Let go of the viewer and the session; the layers stay."""
        session = self._session
        session.tissue_changed.disconnect(self._show_tissue)
        session.image_changed.disconnect(self._show_image)
        session.result_changed.disconnect(self._drop_result)
        session.shown_changed.disconnect(self._show_type)
        session.result_replayed.disconnect(self._show_spot)
        session.spot_changed.disconnect(self._show_spot)
        session.opacity_changed.disconnect(self._set_opacity)
        session.threshold_changed.disconnect(self._set_threshold)
        session.camera_wanted.disconnect(self._look_at)
        session.layers_wanted.disconnect(self._add_own_layers)
        self._adding.stop()
        self._viewer.scene.camera.events.zoom.disconnect(self._note_camera)
        self._viewer.scene.camera.events.center.disconnect(self._note_camera)
        if self._on_move in self._viewer.mouse_move_callbacks:
            self._viewer.mouse_move_callbacks.remove(self._on_move)
        if self._on_press in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.remove(self._on_press)
        for key in self._keys():
            self._viewer.bind_key(key, None)
        self._viewer.layers.events.removed.disconnect(self._on_removed)

    def layer_of(self, shown: Shown) -> Layer | None:
        """Return the layer that shows a cell type, or a map like `DOMINANT`, or None if none does."""
        layer = self._of_types.get(_kind_of(shown))
        return None if layer is None or layer.metadata[layers.METADATA]["shown"] != shown else layer

    def _note_camera(self) -> None:
        """Let the session know where the viewer looks, to keep it with the result."""
        camera = self._viewer.scene.camera
        y, x = map(float, camera.center[-2:])
        self._session.camera = Camera((y, x), float(camera.zoom))

    def _look_at(self, camera: Camera) -> None:
        self._viewer.scene.camera.center = camera.center
        self._viewer.scene.camera.zoom = camera.zoom

    # The tissue

    def _show_tissue(self) -> None:
        self._remove(self._of_tissue)
        tissue = self._session.tissue
        if tissue is None or self._is_open(tissue.adata):
            return
        origin = {"path": tissue.path, "reading": tissue.reading, "choices": tissue.choices}
        data = layers.tissue_layers(tissue.adata, tissue.name, **origin)
        self._of_tissue = [self._insert(item, at) for at, item in enumerate(data)]
        # A slide is mostly glass: look at the spots.
        self._viewer.reset_view(layers=self._of_tissue[-1:])

    def _show_image(self) -> None:
        tissue, image = self._session.tissue, self._session.image
        if image is not None:
            data = layers.other_image_layer(image, None if tissue is None else tissue.adata, image.name)
            at = sum(layer in self._of_tissue and isinstance(layer, Image) for layer in self._viewer.layers)
            self._of_tissue.append(self._insert(data, at))

    def _is_open(self, adata: Any) -> bool:
        return self._spots_of(adata) is not None

    def _spots_of(self, adata: Any) -> Layer | None:
        """Return the layer of all spots of the data, as they were loaded."""
        for layer in self._viewer.layers:
            kept = layer.metadata.get(layers.METADATA)
            if isinstance(kept, dict) and kept.get("spatial") is adata:
                return layer
        return None

    # The result

    def _drop_result(self) -> None:
        self._to_add = []
        self._remove(self._of_spot)
        self._remove(list(self._of_types.values()))
        self._of_types.clear()
        spots = None if self._session.tissue is None else self._spots_of(self._session.tissue.adata)
        if spots is not None:
            # Under those of a result nobody sees them, and they take as long to draw.
            spots.visible = self._session.result is None

    def _show_type(self) -> None:
        session = self._session
        shown = session.shown
        if shown is None or session.result is None:
            return
        layer = self._up_to_date(shown)
        for other in self._of_types.values():
            if other.visible != (other is layer):  # napari arranges its canvas anew at every change
                other.visible = other is layer
        self._activate(layer)

    def _up_to_date(self, shown: Shown) -> Layer:
        """Return the layer of what is shown, made or colored anew where it has to be."""
        kind = _kind_of(shown)
        kept = self._of_types.get(kind)
        if kept is not None and self._is_outdated(kept):
            if shown in (PIES, GRAPH):
                self._remove([kept])  # other slices are other triangles
            else:
                self._recolor(shown)
        if kind not in self._of_types:
            self._of_types[kind] = self._make_type(shown)
        return self._of_types[kind]

    def _activate(self, layer: Layer) -> None:
        if self._viewer.layers.selection.active is not layer:
            self._viewer.layers.selection.active = layer
        else:
            self._viewer.update_status_from_cursor()  # it names the layer, which may show something else now

    def _set_opacity(self) -> None:
        for layer in self._of_types.values():
            layer.opacity = self._session.opacity

    def _make_type(self, shown: Shown) -> Layer:
        layer = Layer.create(*self._type_data(shown))
        self._label(layer, shown)  # before it is there: other plugins look at a layer once it is
        layer.opacity = self._session.opacity
        self._viewer.layers.insert(self._top_of_types(), layer)
        if isinstance(shown, str) or shown in _MAPS:
            _color_bar(layer).visible = True
        return layer

    def _add_own_layers(self) -> None:
        """Add a layer for each cell type that has none of its own."""
        if self._session.result is not None:
            there = {layer.metadata[layers.METADATA]["shown"] for layer in self._own_layers()}
            self._to_add = [name for name in self._session.result.cell_types if name not in there]
            if str in self._of_types:
                shared = self._of_types[str]
                shared.name = self._layer_name(shared.metadata[layers.METADATA]["shown"])
            self._adding.start()

    def _add_own_layer(self) -> None:
        """Add the next one, hidden, below what is shown."""
        if not self._to_add:
            self._adding.stop()
            return
        name, active = self._to_add.pop(0), self._viewer.layers.selection.active
        layer = Layer.create(*layers.proportion_layer(self._session.result, name))
        layer.visible = False
        self._label(layer, name)
        layer.metadata[layers.METADATA]["own"] = True
        self._viewer.layers.insert(self._bottom_of_types(), layer)
        _color_bar(layer).visible = True
        self._viewer.layers.selection.active = active

    def _own_layers(self) -> list[Layer]:
        """Return the layers of single cell types that were added for this result."""
        kept = [(layer, layer.metadata.get(layers.METADATA, {})) for layer in self._viewer.layers]
        return [layer for layer, of in kept if of.get("own") and of["result"] is self._session.result]

    def _bottom_of_types(self) -> int:
        of_types = [*self._of_types.values(), *self._own_layers()]
        return min(map(self._viewer.layers.index, of_types), default=self._top_of_types())

    def _recolor(self, shown: Shown) -> None:
        """Show another cell type or another result in a layer that is there: others follow when looked at."""
        layer, data = self._of_types[_kind_of(shown)], self._type_data(shown)
        layers.recolor(layer, data)
        layer.name = data[1]["name"]
        self._label(layer, shown)

    def _label(self, layer: Layer, shown: Shown) -> None:
        """Write down what a layer shows, and of what."""
        session = self._session
        layer.metadata[layers.METADATA] = {
            "result": session.result,
            "shown": shown,
            "threshold": session.threshold,
            "niches": session.niches,
            "edges": session.edges if shown is GRAPH else None,
        }
        introduce(layer)

    def _is_outdated(self, layer: Layer) -> bool:
        kept, session = layer.metadata[layers.METADATA], self._session
        if kept["shown"] != session.shown or layers.is_foreign(layer):
            return True
        if kept["shown"] is NICHES:
            return kept["niches"] is not session.niches
        if kept["shown"] is GRAPH and kept["edges"] is not session.edges:
            return True
        has_threshold = kept["shown"] is DOMINANT or isinstance(kept["shown"], str | tuple)
        is_other = has_threshold and kept["threshold"] != session.threshold
        return kept["result"] is not session.result or is_other

    def _set_threshold(self) -> None:
        if self._session.shown is not None:
            self._show_type()

    def _layer_name(self, shown: Shown) -> str:
        """Return a name; the plain ones of cell types are those of their own layers, where there are such."""
        is_of_own = isinstance(shown, str) and bool(self._to_add or self._own_layers())
        # napari shows the names of layers in labels that guess at HTML.
        return plain(name_of(shown)) + (" (Explore)" if is_of_own else "")

    def _type_data(self, shown: Shown) -> FullLayerData:
        result, threshold = self._session.result, self._session.threshold
        name = self._layer_name(shown)
        if shown is DOMINANT:
            return layers.dominant_layer(result, name, threshold)
        if shown is PIES:
            return pies_layer(result, name)
        if shown is GRAPH:
            return layers.graph_layer(result, name, self._session.edges)
        if shown is NICHES:
            found = self._session.niches
            assert found is not None
            return layers.niche_layer(result, name, found.codes, niche_colors(found))
        if isinstance(shown, tuple):
            return layers.blend_layer(result, name, shown, threshold)
        if isinstance(shown, str):
            return layers.proportion_layer(result, shown, threshold, name=name)
        return layers.map_layer(result, name, _MAPS[shown])

    def _top_of_types(self) -> int:
        """Return where the next layer of a type goes: below what marks the picked spot, and below regions."""
        marks = [
            at
            for at, layer in enumerate(self._viewer.layers)
            if layer in self._of_spot or "holds" in layer.metadata.get(layers.METADATA, {})
        ]
        return min(marks, default=len(self._viewer.layers))

    # The picked spot

    def _show_spot(self) -> None:
        spot, result = self._session.spot, self._session.result
        if spot is None or result is None:
            for layer in self._of_spot:
                layer.visible = False
            return
        active = self._viewer.layers.selection.active
        self._mark(layers.neighborhood_layer(result, spot, _NEIGHBORHOOD))
        self._mark(layers.selection_layer(result, spot, _SELECTION))
        self._viewer.layers.selection.active = active

    def _mark(self, data: FullLayerData) -> None:
        """Change a layer where it is there already: napari takes half a second to remove one."""
        kept = next((layer for layer in self._of_spot if layer.name == data[1]["name"]), None)
        if kept is None:
            kept = self._insert(data, len(self._viewer.layers))
            kept.metadata[layers.METADATA] = {"marks": "spot"}
            self._of_spot.append(kept)
        else:
            layers.update_layer(kept, data)
        kept.visible = True

    def _on_press(self, viewer: ViewerModel, event: Event) -> Iterator[None]:
        """Pick the spot under a click; the viewer is asked, since a layer hears only its own clicks."""
        start = np.array(event.pos, dtype=float)
        is_click = event.button == 1 and not event.modifiers and self._is_navigating()
        yield
        while event.type == "mouse_move":
            is_click = is_click and float(np.abs(np.array(event.pos) - start).max()) <= _DRAG_PX
            yield
        if is_click and viewer.dims.ndisplay == 2:
            y, x = event.position[-2:]
            self._session.pick_at(y, x)

    def _on_move(self, viewer: ViewerModel, event: Event) -> None:
        """Point at the spot under the mouse; while something is dragged, at none."""
        if event.is_dragging or viewer.dims.ndisplay != 2:
            self._session.hover(None)
        else:
            y, x = event.position[-2:]
            self._session.hover_at(y, x)

    def _keys(self) -> dict[str, Callable[[ViewerModel], None]]:
        """Return what keys do while the canvas has the focus."""
        session = self._session
        return {
            "Escape": lambda _: session.step_back(),
            "Up": lambda _: session.walk(-1, 0),
            "Down": lambda _: session.walk(1, 0),
            "Left": lambda _: session.walk(0, -1),
            "Right": lambda _: session.walk(0, 1),
            "T": lambda _: self._toggle_tissue(),
        }

    def press(self, key: str) -> bool:
        """Do what a key does on the canvas, and return whether it does anything."""
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

    def _is_navigating(self) -> bool:
        """Whether a click is free, and not one that draws or selects in the active layer."""
        active = self._viewer.layers.selection.active
        return active is None or str(getattr(active, "mode", "pan_zoom")) == "pan_zoom"

    # Layers

    def _insert(self, data: FullLayerData, at: int) -> Layer:
        layer = Layer.create(*data)
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


def _color_bar(layer: Layer) -> Any:
    return layer.colorbar if isinstance(layer, Image) else layer.face_colorbar


def _kind_of(shown: Shown) -> Shown | type:
    """Return what has a layer of its own: all cell types share one, and so do all blends."""
    return type(shown) if isinstance(shown, str | tuple) else shown
