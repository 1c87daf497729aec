"""Find a gene by its name, and show its counts over the tissue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
from magicgui.widgets import ComboBox
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QHBoxLayout, QLineEdit, QWidget

from napari_spotmix.ui.panels.gene_links import GeneLinks
from napari_spotmix.ui.panels.notify import reporting, show_problem
from napari_spotmix.ui.panels.section import Form, add_all, plain_label
from napari_spotmix.ui.panels.values import NameList, NameRow, ValuesPanel
from napari_spotmix.ui.state.maps import Gene, Measure
from napari_spotmix.ui.state.spot_values import Contents, contents_task, gene_task
from napari_spotmix.ui.state.worker import Runner
from napari_spotmix.ui.text import count, printable

if TYPE_CHECKING:
    from napari_spotmix.dataset.gene_index import GeneIndex
    from napari_spotmix.result import Result
    from napari_spotmix.ui.state.maps import SpotMap
    from napari_spotmix.ui.state.session import Session
    from napari_spotmix.ui.state.spot_values import SpotValues

__all__ = ["ALONE", "GenesPanel", "residual_rows"]

_MOST_ROWS, _MOST_RESIDUAL = 7, 4
#: The first choice of what a gene is shown next to.
ALONE = "No cell type"
_NOT_WHOLE = "These counts are not whole numbers: the file may hold normalized values."


def residual_rows(result: Result) -> list[tuple[str, list[str]]]:
    """Return the genes whose totals differ most from the fit: those with more counts, then with fewer."""
    table = result.residual_genes
    if "z" not in table or not isinstance(table["z"], pd.Series):
        return []
    score = pd.to_numeric(table["z"], errors="coerce").to_numpy(float)
    names = [str(name) for name in table.index]
    sides = (("More than expected", score > 0), ("Fewer than expected", score < 0))
    rows = [
        (label, [name for name, is_it in zip(names, side, strict=True) if is_it][:_MOST_RESIDUAL])
        for label, side in sides
    ]
    return [row for row in rows if row[1]]


class _Search(QLineEdit):
    """A field that gives the list below the focus when the down arrow is pressed."""

    left_down = Signal()

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        if event is not None and event.key() == Qt.Key.Key_Down:
            self.left_down.emit()
        else:
            super().keyPressEvent(event)


class GenesPanel(ValuesPanel):
    """Shows the counts of a gene, alone or next to a cell type."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._pending = ""
        self._finder = Runner(self)
        self.hint = plain_label("Choose spatial data first.")
        self.search = _Search()
        self.search.setPlaceholderText("Find a gene")
        self.search.setClearButtonEnabled(True)
        self.search.setAccessibleName("Find a gene")
        self.search.setToolTip(
            "Any part of a name; Enter shows the first gene, the down arrow moves to the list"
        )
        self.measure = ComboBox(
            choices=[(one.value, one) for one in Measure],
            tooltip="Counts as they are, per 10,000 counts of the spot, or log(1 + counts per 10,000)",
        )
        self._head = QWidget()
        row = QHBoxLayout(self._head)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.search, 1)
        row.addWidget(self.measure.native)
        self.list = NameList(
            "Genes", "Click a gene, or use the arrow keys, to show its counts", _MOST_ROWS, self._choose
        )
        self.n_genes = plain_label()
        self.beside = ComboBox(
            label="Next to", choices=[ALONE], tooltip="Show the gene and a cell type side by side"
        )
        self._choice = Form((self.beside,))
        self.residual = GeneLinks("Genes that the cell types do not explain; click one to see where")
        add_all(
            self,
            self.hint,
            self._head,
            self.list,
            self.n_genes,
            self._choice,
            self.state,
            self.cancel.native,
            self.residual,
        )
        self._follow()
        self._begin()

    def _follow(self) -> None:
        connect, session = self._connections.connect, self._session
        connect(self._finder.finished, self._take_contents)
        connect(self._finder.failed, show_problem)
        connect(self.search.textChanged, self._fill)
        connect(self.search.returnPressed, self._choose_first)
        connect(self.search.left_down, self._enter_list)
        connect(self.measure.changed, self._measure_again)
        connect(self.beside.changed, self._put_next_to)
        connect(self.residual.asked, self.show_named)
        connect(session.gene_wanted, self.show_named)
        connect(session.data.tissue_changed, self._begin)
        connect(session.result_changed, self._begin)
        connect(session.result_replayed, self._show_result)
        connect(session.display.panels_changed, self._mark_panels)
        connect(session.display.shown_changed, self._mark)

    @property
    def runners(self) -> tuple[Runner, ...]:
        return (self.runner, self._finder)

    @property
    def is_busy(self) -> bool:
        return super().is_busy or self._finder.is_running

    @property
    def _index(self) -> GeneIndex | None:
        contents = self._session.contents
        return None if contents is None else contents.genes

    # The genes of the section

    @reporting
    def _begin(self) -> None:
        """Find the genes of other spots."""
        session, spatial = self._session, self._session.spatial
        self.runner.drop()
        self._rest("")
        self._pending = ""
        if spatial is not None and session.contents is None:
            self._finder.start(contents_task(spatial, session.layer))
        self._show_result()
        self._fill()

    @reporting
    def _take_contents(self, contents: Contents) -> None:
        self._session.set_contents(contents)
        self._fill()
        pending, self._pending = self._pending, ""
        if pending:
            self.show_named(pending)

    @reporting
    def _fill(self, _: str = "") -> None:
        """List the genes that match what was typed."""
        index, is_loaded = self._index, self._session.spatial is not None
        self.hint.setVisible(not is_loaded)
        for widget in (self._head, self.list, self.n_genes):
            widget.setVisible(is_loaded)
        matches = [] if index is None else index.matching(self.search.text())
        self.list.show_numbers(matches, self._row)
        if index is None:
            self.n_genes.setText("Sorting genes…")
        elif self.search.text().strip():
            self.n_genes.setText(f"{len(matches):,} of {count(len(index), 'gene')}")
        else:
            self.n_genes.setText(count(len(index), "gene"))
        self._mark()

    def _row(self, number: int) -> NameRow:
        index = self._index
        return NameRow("") if index is None else NameRow(index.names[number], index.others[number])

    # What is shown

    def _choose_first(self) -> None:
        if self.list.names.numbers:
            self._choose(self.list.names.numbers[0])

    def _enter_list(self) -> None:
        if self.list.names.numbers:
            self.list.setFocus()
            self.list.setCurrentIndex(self.list.names.index(0))

    @reporting
    def _choose(self, number: int) -> None:
        index = self._index
        if index is not None:
            self._want_gene(index.names[number], int(index.columns[number]))

    def _want_gene(self, name: str, column: int) -> None:
        spatial = self._session.spatial
        if spatial is not None:
            gene = Gene(name, column, self.measure.value)
            self._want(gene, gene_task(spatial, self._session.layer, gene))

    @reporting
    def show_named(self, name: str) -> None:
        """Show the gene of a name, once the genes are known."""
        index = self._index
        if index is None:
            self._pending = name
            return
        number = index.at(name)
        if number is None:
            self._rest(printable(f"{name} is not among the genes of these spots."))
            return
        if number not in self.list.names.numbers:
            self.search.clear()
        self._choose(number)

    @reporting
    def _measure_again(self, _: object = None) -> None:
        """Show the gene on the screen, or the one that is being read, in other units."""
        known = self._wanted if self.runner.is_running else self._session.display.shown
        if isinstance(known, Gene):
            self._want_gene(known.name, known.column)

    @reporting
    def _take(self, found: tuple[SpotMap, SpotValues]) -> None:
        super()._take(found)
        shown, values = found
        if isinstance(shown, Gene):
            self._put_next_to()
            if shown.measure is Measure.COUNTS and not values.is_whole:
                self._rest(_NOT_WHOLE)

    def _mark(self) -> None:
        """Select the gene that is shown."""
        shown, index = self._session.display.shown, self._index
        if isinstance(shown, Gene) and index is not None:
            with self.measure.changed.blocked():
                self.measure.value = shown.measure
            self.list.select(int((index.columns == shown.column).argmax()))
        else:
            self.list.select(None)

    # Next to a cell type

    @reporting
    def _put_next_to(self, _: object = None) -> None:
        """Show the gene and the chosen type side by side, or the gene alone."""
        shown, cell_type = self._session.display.shown, self.beside.value
        display = self._session.display
        if cell_type in (None, ALONE):
            display.show_panels(())
        elif isinstance(shown, Gene):
            display.show_panels((cell_type, shown))
        else:
            self._rest("Choose a gene now.")

    def _mark_panels(self) -> None:
        """Follow panels that were opened or closed elsewhere."""
        panels = self._session.display.panels
        types = [one for one in panels if isinstance(one, str)]
        is_pair = len(types) == 1 and any(isinstance(one, Gene) for one in panels)
        with self.beside.changed.blocked():
            self.beside.value = types[0] if is_pair and types[0] in self.beside.choices else ALONE

    def _show_result(self) -> None:
        """Offer the cell types of a result, and its residual genes."""
        result = self._session.result
        types: Sequence[str] = ()
        if result is not None:
            types = list(result.mean_proportions.sort_values(ascending=False).index)
        with self.beside.changed.blocked():
            kept = self.beside.value
            self.beside.choices = [(ALONE, ALONE), *((printable(name), name) for name in types)]
            self.beside.value = kept if kept in types else ALONE
        self._choice.setVisible(result is not None)
        learned = self._session.learned
        rows = [] if learned is None else residual_rows(learned)
        self.residual.show_rows("Residual genes", rows)
        self.residual.setVisible(bool(rows))
