"""Choose spots, the options that their files offer, and another image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox

from napari_spotmix import io
from napari_spotmix.base.errors import InputError
from napari_spotmix.base.keys import BIN_SIZE
from napari_spotmix.dataset.access import scale_factors
from napari_spotmix.io.readers.options import DEFAULT
from napari_spotmix.ui.panels.field_reader import FieldReader, Status, why_not_used
from napari_spotmix.ui.panels.load_cells import TABLES
from napari_spotmix.ui.panels.notify import reporting
from napari_spotmix.ui.panels.path_edit import PathEdit
from napari_spotmix.ui.panels.unsaved import OPENING
from napari_spotmix.ui.state.opening import choices_task, image_task, tissue_task
from napari_spotmix.ui.text import count

if TYPE_CHECKING:
    from napari_spotmix.ui.panels.section import Form
    from napari_spotmix.ui.panels.unsaved import UnsavedQuestion
    from napari_spotmix.ui.state.connections import Connections
    from napari_spotmix.ui.state.loaded import LoadedTissue
    from napari_spotmix.ui.state.opening import OpenedTissue
    from napari_spotmix.ui.state.session import Session

__all__ = ["SpotFields"]

_IMAGES = f"Images ({' '.join(f'*{end} *{end.upper()}' for end in sorted(io.IMAGE_SUFFIXES))})"
_SPOTS = f"Spots (*.h5ad {' '.join(f'*{end} *{end}.gz' for end in io.TABLE_SUFFIXES)})"


class SpotFields:
    """The fields that choose spots: their path, coordinates, table, size of bins, and another image."""

    def __init__(
        self,
        form: Form,
        session: Session,
        unsaved: UnsavedQuestion,
        status: Status,
        connections: Connections,
    ) -> None:
        self._form, self._session, self._data = form, session, session.data
        self._unsaved, self._status = unsaved, status
        self._asked: tuple[Path, io.ReadOptions] | None = None
        self._may_be_joined = False
        self.spatial = PathEdit(
            self._read,
            self._refuse,
            cleared=self._return,
            folders="Space Ranger output folder",
            label="Spatial data",
            filter=_SPOTS,
            tooltip="A Space Ranger output folder (outs), an .h5ad file with obsm['spatial'], or a table of "
            "counts (CSV, TSV, parquet, GEM) with its coordinates in it or in the same folder",
        )
        self.bin_size = ComboBox(
            label="Bin size",
            choices=self._bin_sizes,
            tooltip="Side of the bins. 8 µm is about one cell; smaller bins hold fewer counts",
        )
        self.table = ComboBox(
            label="Table",
            choices=self._tables,
            tooltip="The table of counts to read from the SpatialData store",
        )
        self.section = ComboBox(
            label="Section",
            choices=self._sections,
            tooltip="The file holds several sections. Each is shown and estimated by itself; "
            "the command `spotmix run` estimates all of them",
        )
        self.coordinates = PathEdit(
            self._take_coordinates,
            self._refuse,
            label="Coordinates",
            filter=TABLES,
            tooltip="Table of each spot's name, x and y, if they are not in the same folder as the counts",
        )
        self.image = PathEdit(
            self._read_image,
            self._refuse,
            label="Other image",
            filter=_IMAGES,
            tooltip="Optional: the full-resolution image that the spots' coordinates refer to",
        )
        form.add(self.spatial, self.section, self.coordinates, self.table, self.bin_size, self.image)
        form.show_field(self.coordinates, False)
        self.reader = FieldReader(form, status, self._on_failure)
        self.image_reader = FieldReader(form, status, lambda _: self.image.forget())
        connections.connect(self.bin_size.changed, self._choose_bin_size)
        connections.connect(self.table.changed, self._choose_table)
        connections.connect(self.section.changed, self._choose_section)

    def show(self) -> None:
        """Show which spots are in use, and the options that their file offers."""
        tissue = self._data.tissue
        path, name = (None, "Folder, .h5ad or table") if tissue is None else (tissue.path, tissue.name)
        self.spatial.reflect(path, name)
        if self._data.image is None:
            self.image.reflect(None, "Optional")
        self._show_options()

    def show_coordinates(self) -> None:
        """Show which table of coordinates the spots were read with."""
        tissue = self._data.tissue
        if tissue is not None:
            self._offer_coordinates(tissue.path, tissue.reading, tissue.choices)

    # Reading

    def _read(self, path: Path, reading: io.ReadOptions = DEFAULT) -> None:
        """Find out which options the path offers, and show them, before reading takes its time."""

        def start() -> None:
            take = partial(self._read_as, path, reading)
            self.reader.start(choices_task(path, reading), take)

        self._unsaved.ask(start, self._return, doing=OPENING)

    def _refuse(self, error: InputError) -> None:
        self.reader.fail(error)

    def _read_as(self, path: Path, reading: io.ReadOptions, choices: io.Choices) -> None:
        self._offer_coordinates(path, reading, choices)
        self.reader.start(tissue_task(path, reading, choices), self._take)

    def _take(self, opened: OpenedTissue) -> None:
        self._unsaved.ask_again(lambda: self._session.open(opened), self._return, doing=OPENING)

    def _return(self) -> None:
        """Show what is in use in place of what was chosen."""
        self.show()
        self.show_coordinates()
        self._status.rest()

    @property
    def obstacle(self) -> str | None:
        """Why a run would use other spots than the field shows; None if it would not."""
        tissue = self._data.tissue
        if tissue is None:
            return None
        return why_not_used(self.reader, self.spatial.path, tissue.path, tissue.name)

    def _read_image(self, path: Path) -> None:
        self.image_reader.start(image_task(path), self._data.set_image)

    def _on_failure(self, _: BaseException) -> None:
        self._unsaved.keep()
        self.spatial.forget()
        self.coordinates.forget()
        self._form.show_field(self.coordinates, self._may_be_joined)
        self._show_options()

    # The options

    @reporting
    def _take_coordinates(self, path: Path) -> None:
        if self._asked is not None:
            asked, reading = self._asked
            self._read(asked, replace(reading, coordinates=path))

    def _offer_coordinates(self, path: Path | None, reading: io.ReadOptions, choices: io.Choices) -> None:
        """Ask for a table of coordinates if a path can be read with one, even if reading it has failed.

        For data that usually hold their own, only if reading has failed, or was done with such a table.
        """
        self._asked = None if path is None else (path, reading)
        self._may_be_joined = choices.coordinates
        self.coordinates.reflect(reading.coordinates, "Spots with x and y")
        is_needed = not choices.own_coordinates or reading.coordinates is not None
        self._form.show_field(self.coordinates, choices.coordinates and is_needed)

    def _tables(self, _: Any = None) -> tuple[str, ...]:
        return () if self._data.tissue is None else self._data.tissue.choices.tables

    @reporting
    def _choose_table(self, name: str | None) -> None:
        tissue = self._data.tissue
        if name is not None and tissue is not None and tissue.path and name != _table_of(tissue):
            self._read(tissue.path, replace(tissue.reading, table=name))

    def _sections(self, _: Any = None) -> tuple[str, ...]:
        return () if self._data.tissue is None else self._data.tissue.choices.sections

    @reporting
    def _choose_section(self, name: str | None) -> None:
        tissue = self._data.tissue
        if name is not None and tissue is not None and tissue.path and name != tissue.reading.section:
            self._read(tissue.path, replace(tissue.reading, section=name))

    def _bin_sizes(self, _: Any = None) -> list[tuple[str, float]]:
        tissue = self._data.tissue
        return [(_size_text(size), size.um) for size in tissue.choices.bin_sizes] if tissue else []

    @reporting
    def _choose_bin_size(self, um: float | None) -> None:
        tissue = self._data.tissue
        if um is not None and tissue is not None and tissue.path and um != _bin_size_of(tissue):
            self._read(tissue.path, replace(tissue.reading, bin_um=um, table=None))

    def _show_options(self) -> None:
        """Show which bins and which table are loaded, if there are others to choose."""
        tissue = self._data.tissue
        self._show_option(self.bin_size, [um for _, um in self._bin_sizes()], tissue and _bin_size_of(tissue))
        self._show_option(self.table, self._tables(), tissue and _table_of(tissue))
        self._show_option(self.section, self._sections(), tissue and tissue.reading.section)

    def _show_option(self, box: ComboBox, offered: Sequence[Any], chosen: Any) -> None:
        with box.changed.blocked():
            box.reset_choices()
            if chosen in offered:
                box.value = chosen
        self._form.show_field(box, len(offered) > 1)


def _bin_size_of(tissue: LoadedTissue) -> float | None:
    return scale_factors(tissue.adata).get(BIN_SIZE)


def _table_of(tissue: LoadedTissue) -> str | None:
    """Return the name of the table that was read, as it is offered."""
    given, names = tissue.reading.table, tissue.choices.tables
    return next((name for name in names if given in (None, name)), None)


def _size_text(size: io.BinSize) -> str:
    return f"{size.um:g} µm" + (f" · {count(size.n_bins, 'bin')}" if size.n_bins is not None else "")
