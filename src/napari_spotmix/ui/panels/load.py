"""Choose the data: spots, an image, a reference and its labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from magicgui.widgets import PushButton
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QPushButton

from napari_spotmix import io
from napari_spotmix.ui.panels.field_reader import FieldReader
from napari_spotmix.ui.panels.load_cells import CellFields
from napari_spotmix.ui.panels.load_spots import SpotFields
from napari_spotmix.ui.panels.open_file import FileOpener
from napari_spotmix.ui.panels.open_layer import OpenLayerField
from napari_spotmix.ui.panels.panel import Panel
from napari_spotmix.ui.panels.section import Form, add_all, plain_label
from napari_spotmix.ui.panels.unsaved import OPENING
from napari_spotmix.ui.state.opening import simulate_task
from napari_spotmix.ui.text import bullet_list, count, literal, plain, shortened

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_spotmix.ui.panels.unsaved import UnsavedQuestion
    from napari_spotmix.ui.state.opening import OpenedTissue
    from napari_spotmix.ui.state.session import Session
    from napari_spotmix.ui.state.worker import Runner

__all__ = ["LoadPanel"]

#: Letters of a section's name; the tooltip has all of it.
_LETTERS = 32


class LoadPanel(Panel):
    """Reads what is chosen in threads and hands it to the session.

    Signals
    -------
    obstacle_changed : str or None
        Why a run would not use what the form shows.
    """

    obstacle_changed = Signal(object)

    def __init__(self, viewer: ViewerModel, session: Session, unsaved: UnsavedQuestion) -> None:
        super().__init__(session)
        self._data, self._unsaved = session.data, unsaved
        self.sample = PushButton(
            text="Try it on simulated tissue",
            tooltip="Load a simulated section with its reference; no files needed",
        )
        self.state = plain_label()
        self.stop = QPushButton("Cancel")
        self.stop.setToolTip("Stop reading; what is loaded stays")
        self._form = form = Form()
        self.open_layer = OpenLayerField(form, viewer, session, unsaved, self._connections)
        self.spots = SpotFields(form, session, unsaved, self, self._connections)
        self.cells = CellFields(form, session.data, self, self._connections)
        self._simulator = FieldReader(self, self)
        self.opener = FileOpener(viewer, session, unsaved, self, self)
        add_all(self, form, self.sample.native, self.state, self.stop)
        connect = self._connections.connect
        connect(session.file_wanted, self.opener.open)
        connect(self.sample.changed, self._simulate)
        connect(self.stop.clicked, self._cancel)
        connect(self._data.tissue_changed, self._show)
        connect(self._data.tissue_changed, self.spots.show_coordinates)
        connect(self._data.reference_changed, self._show)
        connect(self._data.reference_changed, self.cells.show_label_table)
        self.open_layer.follow_layers()
        self._show()
        self.cells.show_label_table()

    @property
    def summary(self) -> str:
        """One line on what is loaded."""
        tissue, reference = self._data.tissue, self._data.reference
        parts = []
        if tissue is not None:
            parts.append(f"{shortened(tissue.name, _LETTERS)}, {count(tissue.adata.n_obs, 'spot')}")
        if reference is not None and self._data.cell_type_key is not None:
            n_types = reference.adata.obs[self._data.cell_type_key].nunique()
            parts.append(f"reference {count(n_types, 'type')}")
        return " · ".join(parts)

    @property
    def full_names(self) -> str:
        """The full names of what is loaded, a line each."""
        loaded = (self._data.tissue, self._data.reference)
        return "\n".join(one.name for one in loaded if one is not None)

    @property
    def is_busy(self) -> bool:
        """Whether something is being read."""
        return any(runner.is_running for runner in self.runners)

    @property
    def runners(self) -> tuple[Runner, ...]:
        fields = (self.spots.reader, self.spots.image_reader, self.cells.reader)
        return tuple(reader.runner for reader in (*fields, self._simulator, self.opener.reader))

    def say(self, text: str) -> None:
        """Show the current task."""
        self.state.setText(literal(text))
        self.state.setVisible(bool(text))
        self.stop.setVisible(self.is_busy)
        self.obstacle_changed.emit(self.obstacle)

    @property
    def obstacle(self) -> str | None:
        """Why a run would not use what the form shows, and what to do; None if it would."""
        return self.spots.obstacle or self.cells.obstacle

    def rest(self) -> None:
        """Say what is loaded, and what the reader has noted of it."""
        loaded = (self._data.tissue, self._data.reference)
        notes = [note for one in loaded if one is not None for note in io.reading_notes(one.adata)]
        self.say("\n".join([self.summary, bullet_list(notes)]).strip())

    def set_held(self, is_held: bool) -> None:
        """Disable what would change the data; reading of files that were dropped can still be followed."""
        self._form.setDisabled(is_held)
        self.sample.native.setDisabled(is_held)
        self.opener.set_held(is_held)

    def _cancel(self) -> None:
        for runner in self.runners:
            runner.cancel()

    def _simulate(self) -> None:
        self._unsaved.ask(self._start_simulating, doing=OPENING)

    def _start_simulating(self) -> None:
        self._simulator.start(simulate_task, self._take_simulated)

    def _take_simulated(self, opened: OpenedTissue) -> None:
        self._unsaved.ask_again(lambda: self._session.open(opened), doing=OPENING)

    def _show(self) -> None:
        self.cells.show()
        self.spots.show()
        self.open_layer.show()
        self.rest()
        self.state.setToolTip("" if self._data.tissue is None else plain(self._data.tissue.name))
