"""Drawing regions: tools, the list of names, and undo of every step."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from magicgui.widgets import PushButton
from napari.layers import Shapes
from qtpy.QtCore import QEvent, Qt, Signal
from qtpy.QtGui import QKeyEvent, QKeySequence, QShortcut
from qtpy.QtWidgets import QListWidget, QListWidgetItem

from napari_spotmix.dataset.regions import Region
from napari_spotmix.ui.canvas.layer_info import KEY, RegionsInfo, info_of
from napari_spotmix.ui.canvas.layers import has_image
from napari_spotmix.ui.canvas.regions_layer import (
    line_width,
    regions_layer,
    regions_of,
    set_names,
    set_shapes,
    shapes_of,
    shapes_of_regions,
)
from napari_spotmix.ui.panels.notify import reporting
from napari_spotmix.ui.panels.panel import Panel
from napari_spotmix.ui.panels.section import add_all, plain_label, row_of
from napari_spotmix.ui.state.connections import Connections
from napari_spotmix.ui.state.region_history import DrawnShape, free_name, named_shapes
from napari_spotmix.ui.text import plain, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari.components import ViewerModel

    from napari_spotmix.ui.state.session import Session

__all__ = ["RegionDrawing"]

_MOST_ROWS = 4
#: A copy is shifted by so many widths of its outline.
_ASIDE = 8
_DELETING = (Qt.Key.Key_Delete, Qt.Key.Key_Backspace)
_UNFINISHED = ("adding", "changing", "removing")
_TIP = "Click a name to choose a region; double-click or F2 renames it, Delete deletes it"


class _Names(QListWidget):
    """A list that says when its current row is to be deleted."""

    unwanted = Signal()

    def event(self, event: QEvent | None) -> bool:
        """Keep the key from shortcuts of the window."""
        is_key = isinstance(event, QKeyEvent) and event.key() in _DELETING
        if event is None or not is_key or event.type() != QEvent.Type.ShortcutOverride:
            return super().event(event)
        event.accept()
        return True

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        if event is not None and event.key() in _DELETING:
            self.unwanted.emit()
        else:
            super().keyPressEvent(event)


class RegionDrawing(Panel):
    """Draws regions in a layer of the viewer, and lists them. Each step can be undone."""

    def __init__(self, viewer: ViewerModel, session: Session) -> None:
        super().__init__(session)
        self._viewer = viewer
        self._history = session.region_history
        self._drawing = Connections()
        self._is_held = False
        self.polygon = PushButton(
            text="Polygon", tooltip="Click to place each corner; finish with a double-click or Escape"
        )
        self.lasso = PushButton(text="Lasso", tooltip="Hold the mouse button and draw around a region")
        self.edit = PushButton(text="Edit", tooltip="Drag corners of the chosen region, or all of it")
        self._tools = row_of(self.polygon, self.lasso, self.edit)
        self.names = _Names()
        self.names.setToolTip(_TIP)
        self.names.setAccessibleName("Regions")
        self.undo = PushButton(text="Undo")
        self.redo = PushButton(text="Redo")
        self.rename = PushButton(text="Rename", tooltip="Rename the chosen region (F2)")
        self.duplicate = PushButton(
            text="Duplicate", tooltip="Add a copy of the chosen region, shifted a little"
        )
        self.delete = PushButton(text="Delete", tooltip="Delete the chosen region (Delete); Undo restores it")
        self._steps = row_of(self.undo, self.redo, self.rename, self.duplicate, self.delete)
        self.state = plain_label()
        self.state.hide()
        add_all(self, self._tools.native, self.names, self._steps.native, self.state)
        for child in (self._tools, self._steps):
            _narrow(child)
        self._connect()
        self._bind()

    def _connect(self) -> None:
        connect = self._connections.connect
        connect(self.polygon.changed, lambda: self._draw("add_polygon"))
        connect(self.lasso.changed, lambda: self._draw("add_polygon_lasso"))
        connect(self.edit.changed, self._edit)
        connect(self.undo.changed, self.step_back)
        connect(self.redo.changed, self.step_forward)
        connect(self.rename.changed, self._rename_in_place)
        connect(self.duplicate.changed, self._duplicate)
        connect(self.delete.changed, self._delete)
        connect(self.names.unwanted, self._delete)
        connect(self.names.itemChanged, self._rename)
        connect(self.names.currentRowChanged, self._choose)
        connect(self._session.regions_changed, self._show)
        connect(self._session.regions_opened, self._add)
        connect(self._viewer.layers.events.removed, self._on_removed)

    def _bind(self) -> None:
        """Let keys act on the canvas and in the dock."""
        for key, act in (("Control-Z", self.step_back), ("Control-Shift-Z", self.step_forward)):
            self._viewer.bind_key(key, lambda _, act=act: act(), overwrite=True)
            self._connections.on_disconnect(partial(self._viewer.bind_key, key, None))
        for keys, act in (("Ctrl+Z", self.step_back), ("Ctrl+Shift+Z", self.step_forward)):
            shortcut = QShortcut(QKeySequence(keys), self)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            self._connections.connect(shortcut.activated, act)

    def release(self) -> None:
        """Disconnect from the session and the viewer; the layer stays."""
        self._drawing.disconnect_all()
        super().release()

    # The layer

    @property
    def layer(self) -> Shapes | None:
        """The layer that regions are drawn in, None without any."""
        shapes = (layer for layer in self._viewer.layers if isinstance(layer, Shapes))
        return next((layer for layer in shapes if info_of(layer, RegionsInfo)), None)

    def begin(self) -> None:
        """Draw the regions of the session; a layer of another section, or of other regions, is removed."""
        layer, wanted, adata = self.layer, self._session.regions, self._session.spatial
        shapes = shapes_of_regions(wanted)
        if layer is not None and not self._shows(layer, shapes):
            layer.metadata.pop(KEY)  # or its removal would count as a step of the user
            self._viewer.layers.remove(layer)
            layer = None
        if layer is not None:
            self._follow(layer)
            shapes = tuple(shapes_of(layer))
        elif wanted and adata is not None:
            self._add_layer(shapes)
        if not _are_same(shapes, self._history.now):
            self._history.begin(shapes)
        self._show()

    def _shows(self, layer: Shapes, wanted: Sequence[DrawnShape]) -> bool:
        info = info_of(layer, RegionsInfo)
        drawn = shapes_of_regions(regions_of(shapes_of(layer)))
        return info is not None and info.adata is self._session.spatial and _are_same(drawn, wanted)

    def _add_layer(self, shapes: Sequence[DrawnShape]) -> Shapes | None:
        adata = self._session.spatial
        if adata is None:
            return None
        over_image = has_image(adata) or self._session.data.image is not None
        layer = regions_layer(adata, shapes, over_image=over_image)
        self._viewer.add_layer(layer)
        self._follow(layer)
        return layer

    def _follow(self, layer: Shapes) -> None:
        """Listen to what is drawn in a layer, which may be that of an earlier dock."""
        self._drawing.disconnect_all()
        self._drawing.connect(layer.events.data, self._on_drawn)
        self._drawing.connect(layer.events.features, self._on_drawn)
        self._drawing.connect(layer.selected_data.events.items_changed, self._on_selected)

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Take no notice of changes of the layer and the list: they are made here."""
        before, self._is_held = self._is_held, True
        try:
            yield
        finally:
            self._is_held = before

    def _on_drawn(self, event: Any = None) -> None:
        """Take what was drawn, moved or deleted; new shapes get names."""
        layer = self.layer
        if self._is_held or layer is None or not _is_finished(layer, event):
            return
        shapes = named_shapes(shapes_of(layer), len(self._history.now))
        with self._held():
            set_names(layer, shapes)
        if self._history.note(shapes):
            self._session.set_regions(regions_of(shapes))

    def _on_removed(self, event: Any) -> None:
        if info_of(event.value, RegionsInfo) and self._history.note(()):
            self._session.set_regions(())

    def _on_selected(self, *_: Any) -> None:
        """Choose in the list what is selected on the canvas."""
        layer = self.layer
        if layer is not None and len(layer.selected_data) == 1 and not self._is_held:
            row = self._row_of(next(iter(layer.selected_data)))
            with self._held():
                self.names.setCurrentRow(row if row >= 0 else self.names.currentRow())

    # Steps

    @reporting
    def step_back(self, *_: Any) -> None:
        """Undo the last step; while a polygon is drawn, give it up."""
        before = len(self._history.now)
        if not self._finish() or len(self._history.now) > before:
            self._put(self._history.undo())

    @reporting
    def step_forward(self, *_: Any) -> None:
        """Do again what was undone last."""
        self._finish()
        self._put(self._history.redo())

    def _finish(self) -> bool:
        """Finish a shape that is being drawn, if it has enough corners; return whether there was one."""
        layer = self.layer
        if layer is None or len(layer.data) <= len(self._history.now):
            return False
        mode, layer.mode = layer.mode, "pan_zoom"
        layer.mode = mode
        return True

    def _change(self, shapes: Sequence[DrawnShape]) -> None:
        """Draw other shapes, as a step."""
        if self._history.note(shapes):
            self._put(shapes)

    def _put(self, shapes: Sequence[DrawnShape]) -> None:
        """Draw these shapes, in a new layer if there is none."""
        layer = self.layer
        with self._held():
            if layer is not None:
                set_shapes(layer, shapes)
            elif shapes:
                self._add_layer(shapes)
        self._session.set_regions(regions_of(shapes))

    @reporting
    def _add(self, regions: tuple[Region, ...]) -> None:
        """Draw further regions, as a step; their names stay: outlines that share one are one region."""
        self._finish()
        self._change([*self._history.now, *shapes_of_regions(regions)])

    @reporting
    def _draw(self, mode: str) -> None:
        layer = self.layer or self._add_layer(())
        if layer is not None:
            layer.visible = True
            self._viewer.layers.selection.active = layer
            layer.mode = mode
            self.say("Draw on the tissue now.")

    @reporting
    def _edit(self, *_: Any) -> None:
        layer = self.layer
        if layer is not None:
            layer.visible = True
            self._viewer.layers.selection.active = layer
            layer.mode = "direct"
            self._select(layer)
            self.say("Drag a corner, or a region. Choose Polygon or Lasso to draw another one.")

    @reporting
    def _choose(self, _: int) -> None:
        """Select the chosen region on the canvas, so that its corners are seen."""
        layer = self.layer
        self._allow()
        if layer is not None and not self._is_held and layer.mode in ("direct", "select"):
            self._select(layer)

    def _select(self, layer: Shapes) -> None:
        at = self._chosen()
        if at is not None:
            with self._held():
                layer.selected_data = {at}
            layer.refresh()

    # The list

    def say(self, text: str) -> None:
        """Show a sentence below the list."""
        self.state.setText(text)
        self.state.setVisible(bool(text))

    def _rows(self) -> list[int]:
        """Return the index of the shape of each row: lines enclose nothing, and are left out."""
        return [at for at, shape in enumerate(self._history.now) if regions_of([shape])]

    def _row_of(self, at: int) -> int:
        rows = self._rows()
        return rows.index(at) if at in rows else -1

    def _chosen(self) -> int | None:
        """Return the index of the chosen shape."""
        row, rows = self.names.currentRow(), self._rows()
        return rows[row] if 0 <= row < len(rows) else None

    def _rename_in_place(self, *_: Any) -> None:
        item = self.names.currentItem()
        if item is not None:
            self.names.editItem(item)

    @reporting
    def _rename(self, item: QListWidgetItem) -> None:
        if self._is_held:
            return
        row, name = self.names.row(item), item.text().strip()
        self._finish()
        rows, shapes = self._rows(), list(self._history.now)
        if not 0 <= row < len(rows) or name == shapes[rows[row]].name:
            return
        if not name or name in [shape.name for shape in shapes]:
            self._show()
            self.say(f"Another region is called {printable(name)}." if name else "A region needs a name.")
            return
        shapes[rows[row]] = replace(shapes[rows[row]], name=name)
        self._change(shapes)

    @reporting
    def _duplicate(self, *_: Any) -> None:
        self._finish()
        at, shapes, adata = self._chosen(), self._history.now, self._session.spatial
        if at is None or adata is None:
            return
        taken = {shape.name for shape in shapes}
        name = f"{shapes[at].name} copy"
        name = free_name(name, taken) if name in taken else name
        copied = replace(shapes[at], name=name, corners=shapes[at].corners + _ASIDE * line_width(adata))
        self._change([*shapes, copied])
        self.names.setCurrentRow(self._row_of(len(shapes)))

    @reporting
    def _delete(self, *_: Any) -> None:
        self._finish()
        at = self._chosen()
        if at is not None:
            self._change([shape for one, shape in enumerate(self._history.now) if one != at])

    def _show(self) -> None:
        """List the regions; the chosen row stays."""
        row, names = self.names.currentRow(), [self._history.now[at].name for at in self._rows()]
        with self._held():
            self.names.clear()
            for name in names:
                item = QListWidgetItem(name)
                item.setFlags(item.flags() | Qt.ItemFlag.ItemIsEditable)
                self.names.addItem(item)
            self.names.setCurrentRow(min(max(row, 0), len(names) - 1))
        self.names.setVisible(bool(names))
        self._steps.native.setVisible(bool(names or self._history.undone or self._history.redone))
        self.names.setFixedHeight(
            min(len(names), _MOST_ROWS) * max(self.names.sizeHintForRow(0), 1)
            + 2 * self.names.frameWidth()
            + 2
        )
        self.say("")
        self._allow()

    def _allow(self) -> None:
        """Enable the buttons that can do something, and say what."""
        history, is_chosen = self._history, self._chosen() is not None
        for button in (self.rename, self.duplicate, self.delete, self.edit):
            button.enabled = is_chosen
        for button, verb, step, keys in (
            (self.undo, "Undo", history.undone, "Ctrl+Z"),
            (self.redo, "Redo", history.redone, "Ctrl+Shift+Z"),
        ):
            button.enabled = bool(step)
            button.tooltip = plain(f"{verb}: {step} ({keys})" if step else f"Nothing to {verb.lower()}")


def _are_same(some: Sequence[DrawnShape], others: Sequence[DrawnShape]) -> bool:
    return len(some) == len(others) and all(map(DrawnShape.is_same, some, others))


def _is_finished(layer: Shapes, event: Any) -> bool:
    """Whether the shapes are finished after an event, and none is being drawn."""
    action = getattr(event, "action", None)
    if action is None:  # of features: a shape that is pasted has no other event
        return not str(layer.mode).startswith("add_")
    return str(getattr(action, "value", action)) not in _UNFINISHED


def _narrow(row: Any) -> None:
    """Let buttons share the width of the dock, however long their texts are."""
    for button in row:
        button.native.setMinimumWidth(0)
