"""Open the files that are dropped on the window, or chosen with File > Open, without blocking it."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from napari.layers import Layer
from napari.utils.notifications import show_info, show_warning

from napari_spotmix.dataset.regions import Region, inside
from napari_spotmix.ui.canvas.layer_info import TissueInfo
from napari_spotmix.ui.canvas.layers import tissue_layers
from napari_spotmix.ui.panels.field_reader import FieldReader, Status
from napari_spotmix.ui.panels.unsaved import OPENING
from napari_spotmix.ui.state.loaded import LoadedReference
from napari_spotmix.ui.state.opening import Opened, OpenedTissue, opened_task
from napari_spotmix.ui.text import count, plain, shortened

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from qtpy.QtCore import QObject

    from napari_spotmix.ui.panels.unsaved import UnsavedQuestion
    from napari_spotmix.ui.state.session import Session

__all__ = ["FileOpener"]

#: Letters of a name that is shown while a file is read.
_LETTERS = 40


class FileOpener:
    """Reads files one after the other.

    The first is taken if nothing is loaded, and so are a result and a reference; other spots become layers.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        session: Session,
        unsaved: UnsavedQuestion,
        status: Status,
        parent: QObject,
    ) -> None:
        self._viewer, self._session, self._unsaved = viewer, session, unsaved
        self._waiting: deque[Path] = deque()
        # Read while the data must not change, and taken after that.
        self._is_held = False
        self._held: list[OpenedTissue | LoadedReference] = []
        self.reader = FieldReader(parent, status, lambda _: self._next())

    def open(self, path: Path) -> None:
        """Read a path, after those that were given before."""
        self._waiting.append(path)
        self._next()

    def set_held(self, is_held: bool) -> None:
        """Take nothing in place of what is loaded until this is undone."""
        self._is_held = is_held
        while self._held and not self._is_held:
            self._take(self._held.pop(0))

    def _next(self) -> None:
        if self._waiting and not self.reader.runner.is_running:
            path = self._waiting.popleft()
            more = f", {len(self._waiting)} more" if self._waiting else ""
            self.reader.start(opened_task(path), self._take, f"{shortened(path.name, _LETTERS)}{more}")

    def _take(self, opened: Opened) -> None:
        try:
            if isinstance(opened, tuple):
                self._take_regions(opened)
            elif isinstance(opened, LoadedReference):
                self._take_reference(opened)
            elif self._session.data.tissue is not None and opened.result is None:
                self._add(opened)
            elif self._is_held:
                self._held.append(opened)
            else:
                self._unsaved.ask(lambda: self._session.open(opened), doing=OPENING)
        finally:
            self._next()

    def _take_regions(self, regions: tuple[Region, ...]) -> None:
        """Draw regions on the result that is shown."""
        result = self._session.result
        if result is None:
            show_warning("Run first, or open a result: regions are drawn on it. Then open this file again.")
        elif not any(inside(region, result.coordinates).any() for region in regions):
            show_warning("No spot is inside the regions of this file: are they of another section?")
        else:
            self._session.regions_opened.emit(regions)
            show_info(f"Drawn on the tissue: {count(len(regions), 'region')} of the file.")

    def _take_reference(self, reference: LoadedReference) -> None:
        if self._is_held:
            self._held.append(reference)
            return
        self._session.data.set_reference(reference)
        show_info(plain(f"Used as the reference: {reference.name}, which has labels and no coordinates."))

    def _add(self, opened: OpenedTissue) -> None:
        """Add layers, which *Open layer* then offers; what is loaded stays."""
        tissue = opened.tissue
        info = TissueInfo(tissue.adata, tissue.path, tissue.reading, tissue.choices)
        for data in tissue_layers(info, tissue.name):
            self._viewer.add_layer(Layer.create(*data))
