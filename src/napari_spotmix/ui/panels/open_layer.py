"""Choose spatial data that a layer of the viewer holds already."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox

from napari_spotmix.ui.canvas.layer_info import tissue_of
from napari_spotmix.ui.panels.notify import reporting
from napari_spotmix.ui.panels.unsaved import OPENING
from napari_spotmix.ui.state.loaded import LoadedTissue

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_spotmix.ui.panels.section import Form
    from napari_spotmix.ui.panels.unsaved import UnsavedQuestion
    from napari_spotmix.ui.state.connections import Connections
    from napari_spotmix.ui.state.session import Session

__all__ = ["OpenLayerField"]


class OpenLayerField:
    """A list of the layers that hold spatial data, shown while one of them is not in use."""

    def __init__(
        self,
        form: Form,
        viewer: ViewerModel,
        session: Session,
        unsaved: UnsavedQuestion,
        connections: Connections,
    ) -> None:
        self._form, self._viewer, self._session, self._unsaved = form, viewer, session, unsaved
        self.box = ComboBox(
            label="Open layer",
            nullable=True,
            choices=self._names,
            tooltip="Spatial data that are open in this viewer already",
        )
        form.add(self.box)
        connections.connect(self.box.changed, self._take)
        connections.connect(viewer.layers.events.inserted, self.follow_layers)
        connections.connect(viewer.layers.events.removed, self.follow_layers)

    def follow_layers(self, _: Any = None) -> None:
        """Offer the layers that are open now; take the first one if nothing is loaded."""
        self.box.reset_choices()
        self.show()
        if self._session.data.tissue is None and self._names():
            self.box.value = self._names()[0]

    def show(self) -> None:
        """Show the list if a layer could be chosen that is not in use."""
        tissue = self._session.data.tissue
        current = None if tissue is None else tissue.adata
        found = (tissue_of(layer) for layer in self._viewer.layers)
        self._form.show_field(self.box, any(one is not None and one.adata is not current for one in found))

    def _names(self, _: Any = None) -> list[str]:
        return [layer.name for layer in self._viewer.layers if tissue_of(layer) is not None]

    @reporting
    def _take(self, name: str | None) -> None:
        if name is None or name not in self._viewer.layers:
            return
        info, tissue = tissue_of(self._viewer.layers[name]), self._session.data.tissue
        if info is not None and (tissue is None or tissue.adata is not info.adata):
            opened = LoadedTissue(
                info.adata, name.removesuffix(" spots"), info.path, info.reading, info.choices
            )
            take = partial(self._session.open_in_memory, opened, info.reference)
            self._unsaved.ask(take, self._return, doing=OPENING)

    def _return(self) -> None:
        """Choose none: what is in use stays."""
        with self.box.changed.blocked():
            self.box.value = None
