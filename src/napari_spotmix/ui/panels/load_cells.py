"""Choose a reference and its labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, PushButton
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_spotmix import io
from napari_spotmix.base.errors import InputError
from napari_spotmix.ui.panels.field_reader import FieldReader, Status, why_not_used
from napari_spotmix.ui.panels.notify import reporting
from napari_spotmix.ui.panels.path_edit import PathEdit
from napari_spotmix.ui.state.opening import reference_task
from napari_spotmix.ui.text import plain

if TYPE_CHECKING:
    from napari_spotmix.ui.panels.section import Form
    from napari_spotmix.ui.state.connections import Connections
    from napari_spotmix.ui.state.loaded import LoadedData

__all__ = ["TABLES", "CellFields"]

TABLES = "Tables (*.csv *.tsv *.txt *.gz *.parquet)"
_REFERENCES = f"References (*.h5ad *.h5 *.loom *.csv *.tsv *.txt *.gz *.parquet);;AnnData (*.h5ad);;{TABLES}"
_ADD = "Join further references with this one"


class CellFields:
    """The fields that choose labeled cells: files, the table of labels, and the column of cell types."""

    def __init__(self, form: Form, data: LoadedData, status: Status, connections: Connections) -> None:
        self._form, self._data, self._status = form, data, status
        self._asked: tuple[Path, ...] = ()
        self.reference = PathEdit(
            self._read,
            self._refuse,
            cleared=self._return,
            folders="folder with a 10x matrix or tables",
            label="Reference",
            filter=_REFERENCES,
            tooltip="Labeled single cells with raw counts: .h5ad, loom; a 10x matrix or a table, with a "
            "table of labels. Or a table of signatures, genes x cell types",
        )
        self.add = PushButton(text="+", tooltip=_ADD)
        self.add.native.setAccessibleName("Add a reference")
        self.add.native.setFixedWidth(28)
        self.reference.native.layout().addWidget(self.add.native)
        self.label_table = PathEdit(
            self._read_labels,
            self._refuse,
            label="Label table",
            filter=TABLES,
            tooltip="CSV or TSV with the name of each cell and its type",
        )
        self.labels = ComboBox(label="Cell types", choices=self._columns, nullable=True)
        form.add(self.reference, self.label_table, self.labels)
        self.reader = FieldReader(form, status, self._on_failure)
        connections.connect(self.labels.changed, self._choose_column)
        connections.connect(self.add.changed, self._add_references)

    def show(self) -> None:
        """Show which reference and which labels are in use."""
        reference, key = self._data.reference, self._data.cell_type_key
        with self.labels.changed.blocked():
            self.labels.reset_choices()
            self.labels.value = key
        self.reference.reflect(
            *((reference.path, reference.name) if reference else (None, "Labeled cells, e.g. .h5ad"))
        )
        self.labels.enabled = bool(self._columns())
        self.labels.tooltip = (
            "Column of the reference's obs that holds the cell types"
            if self.labels.enabled
            else "Choose a reference first: its columns are listed here"
        )

    def show_label_table(self) -> None:
        """Ask for a table of labels only if the cells have none, or have them from one."""
        reference = self._data.reference
        table = None if reference is None else reference.labels
        is_unlabeled = reference is not None and reference.path is not None and not reference.columns
        self.label_table.reflect(table, "Cells and their types")
        self._form.show_field(self.label_table, table is not None or is_unlabeled)
        self._asked = () if reference is None or reference.path is None else (reference.path, *reference.more)
        self.add.visible = bool(self._asked)
        more = () if reference is None else reference.more
        self.add.tooltip = plain(_ADD + "".join(f"\n{path}" for path in more))

    def _columns(self, _: Any = None) -> tuple[str, ...]:
        return () if self._data.reference is None else self._data.reference.columns

    @reporting
    def _choose_column(self, column: str | None) -> None:
        if column != self._data.cell_type_key:
            self._data.set_cell_type_key(column)

    def _read(self, *paths: Path, labels: Path | None = None) -> None:
        """Read references, joined if there are several."""
        self._asked = paths
        self._form.show_field(self.label_table, labels is not None)
        self.reader.start(reference_task(paths, labels), self._data.set_reference)

    def _return(self) -> None:
        """Show the reference that is in use."""
        self.show()
        self.show_label_table()
        self._status.rest()

    @property
    def obstacle(self) -> str | None:
        """Why a run would use another reference than the field shows; None if it would not."""
        reference = self._data.reference
        if reference is None:
            return None
        return why_not_used(self.reader, self.reference.path, reference.path, reference.name)

    def _refuse(self, error: InputError) -> None:
        self.reader.fail(error)

    def _read_labels(self, path: Path) -> None:
        if self._asked:
            self._read(*self._asked, labels=path)

    @reporting
    def _add_references(self, _: Any = None) -> None:
        """Choose further references, and read them together with those that are chosen already."""
        start = str(self._asked[-1].parent) if self._asked else ""
        parent: QWidget = self._form
        chosen, _kind = QFileDialog.getOpenFileNames(parent, "Further references", start, _REFERENCES)
        if chosen:
            paths = dict.fromkeys((*self._asked, *map(Path, chosen)))
            self._read(*paths, labels=self.label_table.path)

    def _on_failure(self, error: BaseException) -> None:
        self.reference.forget()
        if isinstance(error, io.MissingLabels):
            self._form.show_field(self.label_table, True)
