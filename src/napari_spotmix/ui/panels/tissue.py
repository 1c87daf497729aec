"""The tissue as a whole: which cell types are near each other, and niches of similar neighborhoods."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from magicgui.widgets import ComboBox, PushButton, SpinBox
from qtpy.QtGui import QGuiApplication, QKeyEvent, QKeySequence
from qtpy.QtWidgets import QFileDialog

from napari_spotmix.analysis.colocalization import Colocalization, colocalization
from napari_spotmix.analysis.niches import Niches, find_niches, stored_niches
from napari_spotmix.io.atomic import write_atomically
from napari_spotmix.io.keeping import check_replaceable
from napari_spotmix.params import MOST_NICHES, N_NICHES
from napari_spotmix.ui.panels.heat_map import HeatMap
from napari_spotmix.ui.panels.notify import reporting
from napari_spotmix.ui.panels.panel import Panel
from napari_spotmix.ui.panels.section import Form, add_all, bring_into_view, plain_label, row_of
from napari_spotmix.ui.panels.task_button import TaskButton
from napari_spotmix.ui.state.maps import DOMINANT, NICHES

if TYPE_CHECKING:
    from napari_spotmix.base.progress import ProgressCallback, Task
    from napari_spotmix.result import Result
    from napari_spotmix.ui.state.session import Session
    from napari_spotmix.ui.state.worker import Runner

__all__ = [
    "TissuePanel",
    "Whole",
    "tissue_task",
]


#: Orders of the types in the map of pairs.
CLUSTERED, AS_LISTED = "Clustered", "As in the reference"


@dataclass(frozen=True)
class Whole:
    """What was found in the tissue as a whole."""

    colocalization: Colocalization
    niches: Niches


def tissue_task(result: Result, n_niches: int) -> Task:
    """Return the task that finds which types are near each other, and niches."""

    def task(on_progress: ProgressCallback) -> Whole:
        together = colocalization(result, on_progress=on_progress)
        return Whole(together, find_niches(result, n_niches, on_progress=on_progress))

    return task


class TissuePanel(Panel):
    """Analyzes the whole tissue, and shows what it finds."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.pairs: Colocalization | None = None
        #: Whether to show the niches that a saved view asked for; None if the user asked.
        self._restored_on_screen: bool | None = None
        self.n_niches = SpinBox(
            label="Niches",
            value=N_NICHES,
            min=2,
            max=MOST_NICHES,
            tooltip="Number of groups of spots with similar neighborhoods",
        )
        self.state = plain_label()
        self.search = TaskButton(
            self._search,
            self.state.setText,
            text="Find",
            tooltip="Find which types are near each other, and niches; press again to cancel",
        )
        self._head = row_of(self.n_niches, self.search, labels=True)
        self.order = ComboBox(
            label="Order",
            choices=[CLUSTERED, AS_LISTED],
            tooltip="Types that are near each other next to each other, or in the order of the reference",
        )
        self._order = Form((self.order,))
        self.map = HeatMap()
        self.copy = PushButton(
            text="Copy table", tooltip="All pairs of types, separated by tabs, for a spreadsheet (Ctrl+C)"
        )
        self.save = PushButton(text="Save table…", tooltip="All pairs of types with Moran's I and z, as CSV")
        self._keep = row_of(self.copy, self.save)
        self.show_niches = PushButton(text="Show niches", tooltip="Each spot in the color of its niche")
        add_all(
            self,
            self._head.native,
            self.state,
            self._order,
            self.map,
            self._keep.native,
            self.show_niches.native,
        )
        connect = self._connections.connect
        connect(self.search.runner.finished, self._take)
        connect(self.map.asked, self._blend)
        connect(self.order.changed, self._show)
        connect(self.copy.changed, self._copy)
        connect(self.save.changed, self._save)
        connect(self.show_niches.changed, self._show_niches)
        connect(session.result_changed, self._forget)
        connect(session.result_replayed, self._forget)
        connect(session.niches_wanted, self._find_again)
        self._show()

    @property
    def summary(self) -> str:
        """One line on what was found."""
        niches = self._session.niches
        return "" if niches is None else f"{len(niches.composition)} niches"

    @property
    def runners(self) -> tuple[Runner, ...]:
        return (self.search.runner,)

    def _show_niches(self) -> None:
        self._session.display.show(NICHES)

    def _find_again(self, n_niches: int, is_on_screen: bool) -> None:
        """Find the niches that a saved view had."""
        if self._session.result is not None:
            self.n_niches.value = n_niches
            self.search.run(tissue_task(self._session.result, n_niches))
            self._restored_on_screen = is_on_screen

    def _search(self) -> Task | None:
        result = self._session.result
        self._restored_on_screen = None
        return None if result is None else tissue_task(result, int(self.n_niches.value))

    @reporting
    def _take(self, whole: Whole) -> None:
        self.pairs = whole.colocalization
        # Meanwhile the user may have chosen another map.
        is_asked = self._restored_on_screen is None
        is_shown = is_asked or (bool(self._restored_on_screen) and self._session.display.shown is DOMINANT)
        self._session.set_niches(whole.niches, is_shown=is_shown)
        self._show()
        if is_asked:
            bring_into_view(self.map)

    def _blend(self, first: str, second: str) -> None:
        self._session.display.show(first if first == second else (first, second))

    def _forget(self) -> None:
        """Drop what was found of another result; show the niches that are stored with this one."""
        self.search.runner.cancel()
        self.pairs = None
        result = self._session.result
        stored = None if result is None else stored_niches(result)
        if stored is not None:
            self._session.set_niches(stored, is_shown=False)
        self._show()

    def _show(self) -> None:
        result, pairs = self._session.result, self.pairs
        self._head.native.setVisible(result is not None)
        for widget in (self._order, self.map, self._keep.native):
            widget.setVisible(pairs is not None)
        self.show_niches.native.setVisible(self._session.niches is not None)
        if result is None:
            self.state.setText("After a run: which cell types are near each other, and niches.")
        elif pairs is None:
            self.state.setText("Find which cell types are near each other, and niches.")
        else:
            names = result.cell_types if self.order.value == AS_LISTED else pairs.similar_order
            self.map.show_pairs({name: result.colors[name] for name in names}, pairs)
            self.state.setText(
                "Red: together in neighboring spots; blue: apart; white: no more than chance. "
                "Click a cell, or move with the arrow keys and press Enter, to see both types."
            )

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Copy the pairs by the keys of the system."""
        if event is not None and event.matches(QKeySequence.StandardKey.Copy):
            self._copy()
        else:
            super().keyPressEvent(event)

    def _copy(self, *_: object) -> None:
        clipboard = QGuiApplication.clipboard()
        if self.pairs is not None and clipboard is not None:
            clipboard.setText(self.pairs.pairs.to_csv(sep="\t", index=False, lineterminator="\n"))

    @reporting
    def _save(self, *_: object) -> None:
        if self.pairs is None:
            return
        text = self.pairs.pairs.to_csv(index=False, lineterminator="\n")
        path, _filter = QFileDialog.getSaveFileName(self, "Save the pairs", "pairs.csv", "Table (*.csv)")
        if path:
            check_replaceable(Path(path), self._session.data.files)
            write_atomically(path, lambda aside: aside.write_text(text, encoding="utf-8", newline=""))
            self.state.setText(f"Saved {path}.")
