"""Regions drawn on the tissue: their composition, and how two of them differ."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from magicgui.widgets import ComboBox, PushButton
from qtpy.QtWidgets import QFileDialog

from napari_spotmix.analysis.regions import REST, compare_regions
from napari_spotmix.dataset.regions import Region, to_geojson
from napari_spotmix.io.atomic import write_atomically
from napari_spotmix.io.keeping import check_replaceable
from napari_spotmix.ui.panels.notify import reporting, show_problem
from napari_spotmix.ui.panels.panel import Panel
from napari_spotmix.ui.panels.region_comparison import RegionComparison
from napari_spotmix.ui.panels.region_drawing import RegionDrawing
from napari_spotmix.ui.panels.section import Form, add_all, bring_into_view, plain_label, row_of
from napari_spotmix.ui.panels.task_button import TaskButton
from napari_spotmix.ui.state.maps import Column
from napari_spotmix.ui.state.spot_values import column_task
from napari_spotmix.ui.state.worker import Runner
from napari_spotmix.ui.text import count, printable

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_spotmix.base.progress import ProgressCallback, Task
    from napari_spotmix.dataset.annotations import Labels
    from napari_spotmix.result import Result
    from napari_spotmix.ui.state.session import Session
    from napari_spotmix.ui.state.spot_values import SpotValues

__all__ = ["DRAWN", "RegionsPanel", "comparison_task", "label_comparison_task"]


#: The choice of regions that are drawn, not labels of spots.
DRAWN = "Drawn outlines"


class RegionsPanel(Panel):
    """Draws regions, names them, compares them, and saves the comparison."""

    def __init__(self, viewer: ViewerModel, session: Session) -> None:
        super().__init__(session)
        self.compared: pd.DataFrame | None = None
        #: The outlines that are compared, or were.
        self._outlines: tuple[Region, ...] = ()
        self.labels: Labels | None = None
        self._reading = Runner(self)
        self.source = ComboBox(
            label="From",
            choices=[DRAWN],
            tooltip="Outlines that you draw, or the labels of a column of obs",
        )
        self._source = Form((self.source,))
        self.drawing = RegionDrawing(viewer, session)
        self.first = ComboBox(label="Region", tooltip="The region to compare")
        self.second = ComboBox(label="Against", tooltip="What to compare it with")
        self._choice = Form((self.first, self.second))
        self.compare = TaskButton(
            self._comparison,
            self._say,
            text="Compare",
            tooltip="Compare the two regions; press again to cancel",
        )
        self.state = plain_label()
        self.comparison = RegionComparison()
        self.open_outlines = PushButton(
            text="Open outlines…", tooltip="Draw the regions of a GeoJSON file, for example of QuPath"
        )
        self.save_outlines = PushButton(text="Save outlines…", tooltip="GeoJSON, which QuPath can read")
        self._files = row_of(self.open_outlines, self.save_outlines)
        add_all(
            self,
            self._source,
            self.drawing,
            self._files.native,
            self._choice,
            self.compare.native,
            self.state,
            self.comparison,
        )
        self._connect()
        self._begin()

    def _connect(self) -> None:
        connect, session = self._connections.connect, self._session
        connect(self.compare.runner.finished, self._take)
        connect(self.source.changed, self._choose_source)
        connect(self._reading.finished, self._take_labels)
        connect(self._reading.failed, show_problem)
        connect(session.contents_changed, self._offer_sources)
        connect(session.data.tissue_changed, self._offer_sources)
        connect(session.regions_wanted, self._want_labels)
        connect(self.comparison.save.changed, self._choose_table)
        connect(self.save_outlines.changed, self._choose_outlines)
        connect(self.open_outlines.changed, self._choose_file)
        connect(session.result_changed, self._begin)
        connect(session.result_replayed, self._forget)
        connect(session.regions_changed, self._follow_regions)

    @property
    def summary(self) -> str:
        """How many regions there are."""
        regions = self._session.regions
        return count(len(regions), "region") if regions else ""

    @property
    def runners(self) -> tuple[Runner, ...]:
        return (self.compare.runner, self._reading)

    def release(self) -> None:
        """Stop comparing, and disconnect from the session and the viewer; the layer stays."""
        self.drawing.release()
        super().release()

    def _comparison(self) -> Task | None:
        """Return the task that compares what is chosen."""
        result = self._session.result
        regions, first, second = self._session.regions, self.first.value, self.second.value
        other = None if second == REST else second
        if result is None or first not in self._choices():
            return None
        if self.labels is not None:
            return label_comparison_task(result, self.labels, first, other)
        self._outlines = _named(regions, {first, second})
        return comparison_task(result, regions, first, other)

    # Labels

    def _choices(self) -> list[str]:
        """Return the names of the regions: of outlines, or of labels with spots that were estimated."""
        result = self._session.result
        if self.labels is None or result is None:
            return _names(self._session.regions)
        used = set(self.labels.codes[result.dominant.notna().to_numpy()])
        return [name for at, name in enumerate(self.labels.names) if at in used]

    @reporting
    def _offer_sources(self) -> None:
        """Offer the columns of labels that the spots have."""
        contents, kept = self._session.contents, self.source.value
        columns = [] if contents is None else [one.name for one in contents.columns if one.n_labels]
        with self.source.changed.blocked():
            self.source.choices = [(DRAWN, DRAWN), *((printable(name), Column(name)) for name in columns)]
            is_kept = isinstance(kept, Column) and kept.name in columns
            self.source.value = kept if is_kept else DRAWN
        if not is_kept:
            self.labels = None
        self._show()

    @reporting
    def _want_labels(self, column: str) -> None:
        """Take the labels of a column as regions."""
        if Column(column) in self.source.choices:
            self.source.value = Column(column)

    @reporting
    def _choose_source(self, chosen: object) -> None:
        contents, spatial = self._session.contents, self._session.spatial
        self._reading.cancel()
        self.compare.runner.cancel()
        self.labels = self.compared = None
        if isinstance(chosen, Column) and contents is not None and spatial is not None:
            annotation = next(one for one in contents.columns if one.name == chosen.name)
            self._reading.start(column_task(spatial, annotation))
        self._show()

    @reporting
    def _take_labels(self, found: tuple[Column, SpotValues]) -> None:
        """Offer labels as regions, and show where they are."""
        column, values = found
        if column == self.source.value:
            self.labels = values.labels
            self._show()
            self._session.display.show_panels(())
            self._session.show_values(column, values)

    # The comparison

    @reporting
    def _take(self, compared: pd.DataFrame) -> None:
        self.compared = compared
        self._show()
        bring_into_view(self.comparison)

    def _begin(self) -> None:
        """Take the regions of another result, and draw them."""
        self.compare.runner.cancel()
        self.drawing.begin()
        result = self._session.result
        stored = pd.DataFrame() if result is None else result.region_comparison
        self.compared = _first_comparison(stored) if len(stored) else None
        if self.compared is not None:
            self._outlines = _named(self._session.regions, _names_in(self.compared))
        self._show()

    def _forget(self) -> None:
        """Drop the comparison of an earlier result."""
        self.compared = None
        self._show()

    @reporting
    def _follow_regions(self) -> None:
        """Drop a comparison, or stop it, if what it compares was changed; others stay."""
        names = {region.name for region in self._outlines}
        is_drawn = self.labels is None and bool(names)
        if is_drawn and not _are_same(self._outlines, _named(self._session.regions, names)):
            self._outlines = ()
            self.compared = None
            self.compare.runner.cancel()
        self._show()

    def _show(self) -> None:
        result = self._session.result
        has_result, is_drawn = result is not None, self.source.value == DRAWN
        self._source.setVisible(has_result and len(self.source.choices) > 1)
        self.drawing.setVisible(has_result and is_drawn)
        choices = self._choices() if is_drawn or self.labels is not None else []
        shown = [(printable(name), name) for name in choices]
        for field, offered in ((self.first, shown), (self.second, [(REST, REST), *shown])):
            kept = field.value
            field.choices = offered
            if kept in [value for _, value in offered]:
                field.value = kept
        for widget in (self._choice, self.compare.native):
            widget.setVisible(has_result and bool(choices))
        self._files.native.setVisible(has_result and is_drawn)
        self.save_outlines.enabled = bool(self._session.regions)
        self.comparison.show_table(self.compared, {} if result is None else result.colors)
        if not has_result:
            self._say("After a run, regions can be drawn and compared here.")
        else:
            hint = "Draw a region to see its composition." if is_drawn else "Reading labels…"
            self._say("" if choices or self.compared is not None else hint)

    def _say(self, text: str) -> None:
        self.state.setText(text)
        self.state.setVisible(bool(text))

    # Files

    @reporting
    def _choose_file(self) -> None:
        path, _kind = QFileDialog.getOpenFileName(self, "Open outlines", "", "GeoJSON (*.geojson)")
        if path:
            self._session.file_wanted.emit(Path(path))

    @reporting
    def _choose_table(self) -> None:
        if self.compared is not None:
            text = self.compared.to_csv(lineterminator="\n")
            self._write("Save the comparison", "regions.csv", "Table (*.csv)", lambda: text)

    @reporting
    def _choose_outlines(self) -> None:
        regions = self._session.regions
        self._write(
            "Save the outlines", "regions.geojson", "GeoJSON (*.geojson)", lambda: to_geojson(regions)
        )

    def _write(self, title: str, name: str, kind: str, text: Callable[[], str]) -> None:
        path, _ = QFileDialog.getSaveFileName(self, title, name, kind)
        if path:
            check_replaceable(Path(path), self._session.data.files)
            write_atomically(path, lambda aside: aside.write_text(text(), encoding="utf-8", newline=""))
            self._say(f"Saved {path}.")


def comparison_task(result: Result, regions: tuple[Region, ...], first: str, second: str | None) -> Task:
    """Return the task that compares a region with another, or with all of the tissue outside of it."""

    def task(on_progress: ProgressCallback) -> pd.DataFrame:
        # Spots in both outlines count for the first: a core can be compared with what is drawn around it.
        compare = partial(compare_regions, result, first, second, regions=regions, shared="first")
        return compare(on_progress=on_progress)

    return task


def label_comparison_task(result: Result, labels: Labels, first: str, second: str | None) -> Task:
    """Return the task that compares the spots of a label with those of another, or with all others."""

    def task(on_progress: ProgressCallback) -> pd.DataFrame:
        other = None if second is None else labels.spots(second)
        compared = compare_regions(result, labels.spots(first), other, on_progress=on_progress)
        return compared.assign(first=first, second=REST if second is None else second)

    return task


def _names(regions: tuple[Region, ...]) -> list[str]:
    """Return each name once: outlines of the same name are one region."""
    return list(dict.fromkeys(region.name for region in regions))


def _first_comparison(stored: pd.DataFrame) -> pd.DataFrame:
    """Return the first of the comparisons in a table."""
    is_first = (stored["first"] == stored["first"].iloc[0]) & (stored["second"] == stored["second"].iloc[0])
    return pd.DataFrame(stored[is_first])


def _names_in(compared: pd.DataFrame) -> set[str]:
    """Return the names of what is compared."""
    return {str(compared[name].iloc[0]) for name in ("first", "second")}


def _named(regions: tuple[Region, ...], names: set[str]) -> tuple[Region, ...]:
    return tuple(region for region in regions if region.name in names)


def _are_same(some: tuple[Region, ...], others: tuple[Region, ...]) -> bool:
    return len(some) == len(others) and all(
        one.name == other.name and np.array_equal(one.outline, other.outline)
        for one, other in zip(some, others, strict=True)
    )
