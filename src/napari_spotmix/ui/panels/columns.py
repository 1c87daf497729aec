"""Show a column of ``obs`` over the tissue: clusters, annotations, and numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from magicgui.widgets import PushButton

from napari_spotmix.ui.panels.notify import reporting
from napari_spotmix.ui.panels.section import add_all, plain_label
from napari_spotmix.ui.panels.values import NameList, NameRow, ValuesPanel
from napari_spotmix.ui.state.maps import Column
from napari_spotmix.ui.state.spot_values import column_task
from napari_spotmix.ui.text import count

if TYPE_CHECKING:
    from napari_spotmix.dataset.annotations import Annotation
    from napari_spotmix.ui.state.maps import SpotMap
    from napari_spotmix.ui.state.session import Session
    from napari_spotmix.ui.state.spot_values import SpotValues

__all__ = ["ColumnsPanel"]

_MOST_ROWS = 9


class ColumnsPanel(ValuesPanel):
    """Lists the columns of ``obs``; a click shows one."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.hint = plain_label()
        self.list = NameList(
            "Annotations",
            "Click a column of obs, or use the arrow keys, to show it",
            _MOST_ROWS,
            self._choose,
        )
        self.compare = PushButton(
            text="Compare labels as regions",
            tooltip="Choose two of these labels in Regions, and compare them",
        )
        add_all(self, self.hint, self.list, self.compare.native, self.state, self.cancel.native)
        connect = self._connections.connect
        connect(self.compare.changed, self._compare)
        connect(session.contents_changed, self._fill)
        connect(session.result_changed, self._mark)
        connect(session.data.tissue_changed, self._fill)
        connect(session.display.shown_changed, self._mark)
        self._fill()

    @property
    def _columns(self) -> list[Annotation]:
        contents = self._session.contents
        return [] if contents is None else contents.columns

    def _row(self, number: int) -> NameRow:
        column = self._columns[number]
        return NameRow(column.name, "numbers" if column.n_labels is None else count(column.n_labels, "label"))

    @reporting
    def _fill(self) -> None:
        """List the columns of other spots."""
        self.runner.drop()
        self._rest("")
        columns = self._columns
        self.list.show_numbers(range(len(columns)), self._row)
        self.list.setVisible(bool(columns))
        self.hint.setVisible(not columns)
        if self._session.spatial is None:
            self.hint.setText("Choose spatial data first.")
        elif self._session.contents is None:
            self.hint.setText("Reading columns…")
        else:
            self.hint.setText("`obs` has no column of numbers, or of 2 to 200 different labels.")
        self._mark()

    @reporting
    def _choose(self, number: int) -> None:
        spatial, column = self._session.spatial, self._columns[number]
        if spatial is not None:
            self._want(Column(column.name), column_task(spatial, column))

    @reporting
    def _take(self, found: tuple[SpotMap, SpotValues]) -> None:
        self._session.display.show_panels(())  # they would cover it
        super()._take(found)

    def _mark(self) -> None:
        """Select the column that is shown."""
        shown = self._session.display.shown
        names = [column.name for column in self._columns]
        is_known = isinstance(shown, Column) and shown.name in names
        self.list.select(names.index(shown.name) if is_known and isinstance(shown, Column) else None)
        values = self._session.shown_values
        has_labels = is_known and values is not None and values[1].labels is not None
        self.compare.native.setVisible(has_labels and self._session.result is not None)

    @reporting
    def _compare(self) -> None:
        shown = self._session.display.shown
        if isinstance(shown, Column):
            self._session.regions_wanted.emit(shown.name)
