"""Choose the data: spots, an image, a reference and its labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, FileEdit, PushButton
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_spotmix import io
from napari_spotmix.base.errors import InputError
from napari_spotmix.base.keys import BIN_SIZE
from napari_spotmix.base.progress import Progress, ProgressCallback
from napari_spotmix.dataset.access import scale_factors
from napari_spotmix.dataset.bin_grid import bin_grid
from napari_spotmix.io.readers.reading import DEFAULT
from napari_spotmix.ui.canvas.layers import METADATA, prepare
from napari_spotmix.ui.panels.notify import problem_text, show_problem, telling
from napari_spotmix.ui.panels.section import Form, add_all, plain_label
from napari_spotmix.ui.state.session import Reference, Session, Tissue
from napari_spotmix.ui.state.worker import Runner
from napari_spotmix.ui.text import bullet_list, count, display_name, plain, shortened

if TYPE_CHECKING:
    from anndata import AnnData
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_spotmix.result import Result

__all__ = ["LoadPanel", "PathEdit", "simulate_task"]

_IMAGES = f"Images ({' '.join(f'*{end} *{end.upper()}' for end in sorted(io.IMAGE_SUFFIXES))})"
_SPOTS = f"Spots (*.h5ad {' '.join(f'*{end} *{end}.gz' for end in io.TABLE_SUFFIXES)})"
#: Letters of a section's name; the tooltip has all of it.
_LETTERS = 32
_TABLES = "Tables (*.csv *.tsv *.txt *.gz *.parquet)"
_REFERENCES = f"References (*.h5ad *.h5 *.loom *.csv *.tsv *.txt *.gz *.parquet);;AnnData (*.h5ad);;{_TABLES}"


class PathEdit(FileEdit):
    """A path to type or to choose; `chosen` is told of it once it is complete, not at every key.

    Parameters
    ----------
    chosen : callable
        Takes the Path.
    folders : str
        What a folder is called that can be chosen too, by a button of its own; "" for none.
    """

    def __init__(self, chosen: Callable[[Path], Any], *, folders: str = "", **settings: Any) -> None:
        super().__init__(mode="r", nullable=True, **settings)
        self._chosen = chosen
        self._last: Path | None = None
        self.choose_btn.text = "File…"
        if folders:
            self.folder_btn = PushButton(text="Folder…", tooltip=f"Choose a {folders}")
            self._folders = folders
            self.folder_btn.changed.connect(self._choose_folder)
            self.native.layout().addWidget(self.folder_btn.native)
        self.line_edit.native.setClearButtonEnabled(True)
        self._is_typing = False
        self.line_edit.native.textEdited.connect(self._typed)  # comes before `changed`, and only for keys
        self.line_edit.native.editingFinished.connect(self._complete)
        self.line_edit.changed.connect(self._set_or_typed)

    def reflect(self, path: Path | None, hint: str) -> None:
        """Show which path is in use, without reading it again, or a hint where there is none."""
        self._last = path
        self.line_edit.native.setPlaceholderText(hint)
        self.line_edit.native.setToolTip("" if path is None else plain(str(path)))
        if self.value != path:
            with self.line_edit.changed.blocked():
                self.line_edit.value = "" if path is None else str(path)

    def forget(self) -> None:
        """Take the same path again when it is next given, as after an error."""
        self._last = None

    def _choose_folder(self) -> None:
        start = str(self.value) if self.value else ""
        folder = QFileDialog.getExistingDirectory(self.native, self._folders, start)
        if folder:
            self.value = folder

    def _typed(self) -> None:
        self._is_typing = True

    def _set_or_typed(self) -> None:
        if not self._is_typing:
            self._complete()

    def _complete(self) -> None:
        self._is_typing = False
        path = self.value
        if path != self._last:
            self._last = path
            if path is not None:
                self._chosen(path)


def result_in(adata: AnnData) -> Result | None:
    """Return the result that data hold, with what takes long to find out of it, or None."""
    from napari_spotmix.result import Result

    try:
        result = Result.from_anndata(adata)
    except InputError:
        return None
    prepare(result)
    return result


class LoadPanel(QWidget):
    """Reads what is chosen in a thread and hands it to the session."""

    def __init__(self, viewer: ViewerModel, session: Session) -> None:
        super().__init__()
        self._viewer = viewer
        self._session = session
        self.layer = ComboBox(
            label="Open layer",
            nullable=True,
            choices=self._layer_names,
            tooltip="Spatial data that are open in this viewer already",
        )
        self.spatial = PathEdit(
            self._read_spatial,
            folders="Space Ranger output folder",
            label="Spatial data",
            filter=_SPOTS,
            tooltip="A Space Ranger output folder (outs), an .h5ad file with obsm['spatial'], or a table of "
            "counts (CSV, TSV, parquet, GEM) with its coordinates in it or beside it",
        )
        self.bin_size = ComboBox(
            label="Bin size",
            choices=self._bin_sizes,
            tooltip="Side of the bins. 8 µm is about one cell; smaller bins hold fewer counts",
        )
        self.table = ComboBox(
            label="Table",
            choices=self._tables,
            tooltip="Which table of counts of the SpatialData store is read",
        )
        self.coordinates = PathEdit(
            self._take_coordinates,
            label="Coordinates",
            filter=_TABLES,
            tooltip="Table of each spot's name, x and y: needed where none lies beside the counts",
        )
        self.image = PathEdit(
            self._read_image,
            label="Other image",
            filter=_IMAGES,
            tooltip="Optional: the full-resolution image that the spots' coordinates refer to",
        )
        self.reference = PathEdit(
            self._read_reference,
            folders="folder with a 10x matrix or tables",
            label="Reference",
            filter=_REFERENCES,
            tooltip="Labeled single cells with raw counts: .h5ad, loom; a 10x matrix or a table, with a "
            "table of labels. Or a table of signatures, genes x cell types",
        )
        self.add_btn = PushButton(text="+", tooltip="Join further references with this one")
        self.add_btn.native.setFixedWidth(28)
        self.reference.native.layout().addWidget(self.add_btn.native)
        self.label_table = PathEdit(
            self._take_label_table,
            label="Label table",
            filter=_TABLES,
            tooltip="CSV or TSV with the name of each cell and its type",
        )
        self.labels = ComboBox(
            label="Cell types",
            choices=self._label_columns,
            nullable=True,
            tooltip="Column of the reference's obs that holds the cell types",
        )
        self.sample = PushButton(
            text="Try it on simulated tissue",
            tooltip="Load a simulated section with its reference; no files needed",
        )
        self.state = plain_label()
        self._asked: tuple[Path, ...] = ()
        self._asked_spots: tuple[Path, io.Reading] | None = None
        cells = [self.reference, self.label_table, self.labels]
        spots = [self.layer, self.spatial, self.coordinates, self.table, self.bin_size, self.image]
        self._form = Form([*spots, *cells])
        add_all(self, self._form, self.sample.native, self.state)
        self._runners = {
            field: self._runner(field) for field in (self.spatial, self.image, self.reference, self.sample)
        }
        self.layer.changed.connect(self._take_layer)
        self.labels.changed.connect(self._choose_labels)
        self.bin_size.changed.connect(self._choose_bin_size)
        self.table.changed.connect(self._choose_table)
        self.add_btn.changed.connect(self._add_references)
        self.sample.changed.connect(self._simulate)
        viewer.layers.events.inserted.connect(self._layers_changed)
        viewer.layers.events.removed.connect(self._layers_changed)
        session.tissue_changed.connect(self._show)
        session.tissue_changed.connect(self._show_places)
        session.reference_changed.connect(self._show)
        session.reference_changed.connect(self._show_labels)
        self._form.show_field(self.coordinates, False)
        self._layers_changed()
        self._show()
        self._show_labels()

    @property
    def summary(self) -> str:
        """One line on what is loaded."""
        tissue, reference = self._session.tissue, self._session.reference
        parts = []
        if tissue is not None:
            parts.append(f"{shortened(tissue.name, _LETTERS)}, {count(tissue.adata.n_obs, 'spot')}")
        if reference is not None and self._session.cell_type_key is not None:
            n_types = reference.adata.obs[self._session.cell_type_key].nunique()
            parts.append(f"reference {count(n_types, 'type')}")
        return " · ".join(parts)

    @property
    def full_names(self) -> str:
        """What is loaded, by names of any length, a line each."""
        loaded = (self._session.tissue, self._session.reference)
        return "\n".join(one.name for one in loaded if one is not None)

    @property
    def is_busy(self) -> bool:
        """Whether something is being read."""
        return any(runner.is_running for runner in self._runners.values())

    def close_runners(self) -> None:
        """Stop reading."""
        for runner in self._runners.values():
            runner.close()

    def let_go(self) -> None:
        """Let go of the viewer and the session."""
        self._viewer.layers.events.inserted.disconnect(self._layers_changed)
        self._viewer.layers.events.removed.disconnect(self._layers_changed)
        self._session.tissue_changed.disconnect(self._show)
        self._session.tissue_changed.disconnect(self._show_places)
        self._session.reference_changed.disconnect(self._show)
        self._session.reference_changed.disconnect(self._show_labels)

    # Reading

    def _runner(self, field: Any) -> Runner:
        runner = Runner(self)
        runner.progressed.connect(self._tell)
        runner.failed.connect(lambda error: self._fail(field, error))
        runner.cancelled.connect(lambda: self._tell(None))
        runner.finished.connect(lambda take: self._take(take))
        return runner

    def _start(self, field: Any, task: Callable[[ProgressCallback], Callable[[], None]]) -> None:
        self._say("Reading…")
        self._runners[field].start(task)

    @telling
    def _take(self, take: Callable[[], None]) -> None:
        self._tell(None)
        take()

    def _tell(self, progress: Progress | None) -> None:
        self._say(f"{progress.stage}…" if progress else self._overview())

    def _overview(self) -> str:
        """What is loaded, and what the reader wants known of it."""
        loaded = (self._session.tissue, self._session.reference)
        notes = [note for one in loaded if one is not None for note in io.reading_notes(one.adata)]
        return "\n".join([self.summary, bullet_list(notes)]).strip()

    def _say(self, words: str) -> None:
        self.state.setText(words)
        self.state.setVisible(bool(words))

    def _fail(self, field: Any, error: BaseException) -> None:
        self._say(f"Failed: {problem_text(error)}")
        for edit in (field, *([self.coordinates] if field is self.spatial else [])):
            if isinstance(edit, PathEdit):
                edit.forget()
        if isinstance(error, io.MissingLabels):
            self._form.show_field(self.label_table, True)
        self._show_choices()
        show_problem(error)

    def _read_spatial(self, path: Path, how: io.Reading = DEFAULT) -> None:
        """Find out what could be told of the path, and show it, before reading takes its time."""

        def task(_: ProgressCallback) -> Callable[[], None]:
            choices = io.choices(path, how)
            return lambda: self._read_as(path, how, choices)

        self._start(self.spatial, task)

    def _read_as(self, path: Path, how: io.Reading, choices: io.Choices) -> None:
        self._ask_for_places(path, how, choices)

        def task(on_progress: ProgressCallback) -> Callable[[], None]:
            is_large = io.is_large(path, how)
            adata = io.read_spatial(path, **vars(how), backed=is_large, on_progress=on_progress)
            bin_grid(adata)  # takes a while for a million bins, and is kept
            tissue = Tissue(adata, display_name(path), path, how, choices)
            result = result_in(adata)
            return lambda: self._take_tissue(tissue, result)

        self._start(self.spatial, task)

    def _read_reference(self, *paths: Path, labels: Path | None = None) -> None:
        """Read references, joined where there are several."""
        self._asked = paths
        self._form.show_field(self.label_table, labels is not None)

        def task(on_progress: ProgressCallback) -> Callable[[], None]:
            backed = io.is_large(paths[0])
            adata = io.read_reference(paths, labels=labels, backed=backed, on_progress=on_progress)
            name, columns = " + ".join(path.stem for path in paths), tuple(io.label_columns(adata))
            reference = Reference(adata, name, columns, paths[0], paths[1:], labels)
            return lambda: self._session.set_reference(reference)

        self._start(self.reference, task)

    def _take_label_table(self, path: Path) -> None:
        if self._asked:
            self._read_reference(*self._asked, labels=path)

    @telling
    def _add_references(self, _: Any = None) -> None:
        """Choose further references, and read them together with those that are chosen already."""
        start = str(self._asked[-1].parent) if self._asked else ""
        chosen, _kind = QFileDialog.getOpenFileNames(self, "Further references", start, _REFERENCES)
        if chosen:
            paths = dict.fromkeys((*self._asked, *map(Path, chosen)))
            self._read_reference(*paths, labels=self.label_table.value)

    def _read_image(self, path: Path) -> None:
        def task(_: ProgressCallback) -> Callable[[], None]:
            image = io.read_image(path)
            return lambda: self._session.set_image(image)

        self._start(self.image, task)

    def _simulate(self) -> None:
        def task(on_progress: ProgressCallback) -> Callable[[], None]:
            spatial, reference = simulate_task(on_progress)
            return lambda: self.take(Tissue(spatial, "Simulated tissue"), reference)

        self._start(self.sample, task)

    def take(self, tissue: Tissue, reference: AnnData | None) -> None:
        """Take spots that are in memory already, and the reference that came with them."""
        self._take_tissue(tissue, result_in(tissue.adata))
        if reference is not None:
            columns = tuple(io.label_columns(reference))
            self._session.set_reference(Reference(reference, "simulated reference", columns))

    def _take_tissue(self, tissue: Tissue, result: Result | None) -> None:
        """Take spots, and show the result that a finished run has left in their file."""
        before, image = self._session.tissue, self._session.image
        self._session.set_tissue(tissue)
        if image is not None and before is not None and tissue.path and before.path == tissue.path:
            self._session.set_image(image)  # other bins of the same section
        if result is not None:
            self._session.set_result(result)

    # What the viewer has open

    def _layer_names(self, _: Any = None) -> list[str]:
        return [layer.name for layer in self._viewer.layers if _spatial_of(layer) is not None]

    def _layers_changed(self) -> None:
        self.layer.reset_choices()
        self._offer_layers()
        if self._session.tissue is None and self._layer_names():
            self.layer.value = self._layer_names()[0]

    @telling
    def _take_layer(self, name: str | None) -> None:
        if name is None or name not in self._viewer.layers:
            return
        kept = self._viewer.layers[name].metadata[METADATA]
        tissue = self._session.tissue
        if tissue is None or tissue.adata is not kept["spatial"]:
            origin = {key: kept[key] for key in ("path", "reading", "choices") if key in kept}
            opened = Tissue(kept["spatial"], name.removesuffix(" spots"), **origin)
            self.take(opened, kept.get("reference"))

    def _offer_layers(self) -> None:
        """Ask for a layer only where one could be chosen that is not the current one."""
        current = None if self._session.tissue is None else self._session.tissue.adata
        found = (_spatial_of(layer) for layer in self._viewer.layers)
        self._form.show_field(self.layer, any(adata is not None and adata is not current for adata in found))

    # What the reader can be told of the spots

    @telling
    def _take_coordinates(self, path: Path) -> None:
        if self._asked_spots is not None:
            asked, how = self._asked_spots
            self._read_spatial(asked, replace(how, coordinates=path))

    def _show_places(self) -> None:
        tissue = self._session.tissue
        if tissue is not None:
            self._ask_for_places(tissue.path, tissue.reading, tissue.choices)

    def _ask_for_places(self, path: Path | None, how: io.Reading, choices: io.Choices) -> None:
        """Ask for a table of coordinates where a path can be read with one, be it read already or not."""
        self._asked_spots = None if path is None else (path, how)
        self.coordinates.reflect(how.coordinates, "Spots with x and y")
        self._form.show_field(self.coordinates, choices.coordinates)

    def _tables(self, _: Any = None) -> tuple[str, ...]:
        tissue = self._session.tissue
        return () if tissue is None else tissue.choices.tables

    @telling
    def _choose_table(self, name: str | None) -> None:
        tissue = self._session.tissue
        if name is not None and tissue is not None and tissue.path and name != _table_of(tissue):
            self._read_spatial(tissue.path, replace(tissue.reading, table=name))

    def _bin_sizes(self, _: Any = None) -> list[tuple[str, float]]:
        tissue = self._session.tissue
        return [(_size_words(size), size.um) for size in tissue.choices.bin_sizes] if tissue else []

    @telling
    def _choose_bin_size(self, um: float | None) -> None:
        tissue = self._session.tissue
        if um is not None and tissue is not None and tissue.path and um != _bin_size_of(tissue):
            self._read_spatial(tissue.path, replace(tissue.reading, bin_um=um, table=None))

    def _show_choices(self) -> None:
        """Show which bins and which table are loaded, where there are others to choose."""
        tissue = self._session.tissue
        self._show_choice(self.bin_size, [um for _, um in self._bin_sizes()], tissue and _bin_size_of(tissue))
        self._show_choice(self.table, self._tables(), tissue and _table_of(tissue))

    def _show_choice(self, box: ComboBox, offered: Sequence[Any], chosen: Any) -> None:
        with box.changed.blocked():
            box.reset_choices()
            if chosen in offered:
                box.value = chosen
        self._form.show_field(box, len(offered) > 1)

    # The labels

    def _show_labels(self) -> None:
        """Ask for a table of labels only where cells have none, or have them from one."""
        reference = self._session.reference
        table = None if reference is None else reference.labels
        is_unlabeled = reference is not None and reference.path is not None and not reference.columns
        self.label_table.reflect(table, "Cells and their types")
        self._form.show_field(self.label_table, table is not None or is_unlabeled)
        self._asked = () if reference is None or reference.path is None else (reference.path, *reference.more)
        self.add_btn.visible = bool(self._asked)
        self.add_btn.tooltip = plain(_say_paths(reference))

    def _label_columns(self, _: Any = None) -> tuple[str, ...]:
        reference = self._session.reference
        return () if reference is None else reference.columns

    @telling
    def _choose_labels(self, column: str | None) -> None:
        if column != self._session.cell_type_key:
            self._session.set_cell_type_key(column)

    def _show(self) -> None:
        key = self._session.cell_type_key
        with self.labels.changed.blocked():
            self.labels.reset_choices()
            self.labels.value = key
        tissue, reference = self._session.tissue, self._session.reference
        self.spatial.reflect(*((tissue.path, tissue.name) if tissue else (None, "Folder, .h5ad or table")))
        self.reference.reflect(
            *((reference.path, reference.name) if reference else (None, "Labeled cells, e.g. .h5ad"))
        )
        if self._session.image is None:
            self.image.reflect(None, "Optional")
        self._offer_layers()
        self._show_choices()
        self._say(self._overview())
        self.state.setToolTip("" if tissue is None else plain(tissue.name))
        self.labels.enabled = bool(self._label_columns())
        self.labels.tooltip = (
            "Column of the reference's obs that holds the cell types"
            if self.labels.enabled
            else "Choose a reference first: its columns are listed here"
        )


def _say_paths(reference: Reference | None) -> str:
    """Return a tooltip with all files of a reference, where there are several."""
    more = () if reference is None else reference.more
    return "Join further references with this one" + "".join(f"\n{path}" for path in more)


def simulate_task(on_progress: ProgressCallback) -> tuple[AnnData, AnnData]:
    """Make the tissue that the samples show; the import is late since it brings numba."""
    from napari_spotmix.simulation.simulate import simulate

    tissue = simulate(on_progress=on_progress)
    return tissue.spatial, tissue.reference


def _bin_size_of(tissue: Tissue) -> float | None:
    return scale_factors(tissue.adata).get(BIN_SIZE)


def _table_of(tissue: Tissue) -> str | None:
    """Return the name of the table that was read, as it is offered."""
    told, names = tissue.reading.table, tissue.choices.tables
    return next((name for name in names if told in (None, name)), None)


def _size_words(size: io.BinSize) -> str:
    return f"{size.um:g} µm" + (f" · {count(size.n_bins, 'bin')}" if size.n_bins is not None else "")


def _spatial_of(layer: Layer) -> AnnData | None:
    kept = layer.metadata.get(METADATA)
    return kept.get("spatial") if isinstance(kept, dict) else None
