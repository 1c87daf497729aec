"""Regions drawn on the tissue: their composition, and how two of them differ."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from magicgui.widgets import ComboBox, PushButton
from napari.layers import Shapes
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QListWidget, QListWidgetItem

from napari_spotmix.analysis.regions import REST, compare_regions
from napari_spotmix.dataset.geometry import to_yx
from napari_spotmix.dataset.regions import Region, to_geojson
from napari_spotmix.io.atomic import write_atomically
from napari_spotmix.io.keeping import check_replaceable
from napari_spotmix.params import INTERVAL_LEVEL
from napari_spotmix.ui.canvas.layer_info import KEY, RegionsInfo, info_of
from napari_spotmix.ui.canvas.layers import image_layer
from napari_spotmix.ui.panels.inspect import Bar, Bars
from napari_spotmix.ui.panels.notify import reporting, show_problem
from napari_spotmix.ui.panels.panel import Panel
from napari_spotmix.ui.panels.section import Form, add_all, plain_label, row_of
from napari_spotmix.ui.panels.task_button import TaskButton
from napari_spotmix.ui.state.connections import Connections
from napari_spotmix.ui.state.maps import Column
from napari_spotmix.ui.state.spot_values import column_task
from napari_spotmix.ui.state.worker import Runner
from napari_spotmix.ui.text import count, percent, printable

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_spotmix.base.progress import ProgressCallback, Task
    from napari_spotmix.dataset.annotations import Labels
    from napari_spotmix.result import Result
    from napari_spotmix.ui.state.session import Session
    from napari_spotmix.ui.state.spot_values import SpotValues

__all__ = [
    "DRAWN",
    "LAYER",
    "RegionsPanel",
    "comparison_task",
    "label_comparison_task",
    "outline_of",
]


#: The choice of regions that are drawn, not labels of spots.
DRAWN = "Drawn outlines"

#: Name of the layer that regions are drawn in.
LAYER = "Regions"

_MOST_ROWS, _MOST_BARS = 4, 12

#: Corners of an ellipse that is kept as a polygon.
_CORNERS = 64

_KEY = (
    f"Strong: the region, with its {INTERVAL_LEVEL:.0%} interval. Pale: the other. "
    "p: adjusted for the number of types (Holm) and for the similarity of neighbors."
)

_SHAPES = ("polygon", "rectangle", "ellipse")


def outline_of(shape: np.ndarray, kind: str) -> np.ndarray:
    """Return the corners (x, y) of a shape of napari, whose own are (y, x)."""
    corners = np.asarray(shape, dtype=float)[:, -2:]
    if kind == "ellipse":
        middle, half = corners.mean(axis=0), (corners[1] - corners[0]) / 2
        other = (corners[3] - corners[0]) / 2
        turn = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)[:, None]
        corners = middle + np.cos(turn) * half + np.sin(turn) * other
    return corners[:, ::-1].copy()


class RegionsPanel(Panel):
    """Draws regions, names them, compares them, and saves the comparison."""

    def __init__(self, viewer: ViewerModel, session: Session) -> None:
        super().__init__(session)
        self._viewer = viewer
        self._drawing = Connections()
        self.compared: pd.DataFrame | None = None
        self.labels: Labels | None = None
        self._reading = Runner(self)
        self.source = ComboBox(
            label="From",
            choices=[DRAWN],
            tooltip="Outlines that you draw, or the labels of a column of obs",
        )
        self._source = Form((self.source,))
        self.polygon = PushButton(
            text="Polygon", tooltip="Click to place each corner; finish with a double-click or Escape"
        )
        self.lasso = PushButton(text="Lasso", tooltip="Hold the mouse button and draw around a region")
        self._tools = row_of(self.polygon, self.lasso)
        self.names = QListWidget()
        self.names.setToolTip("Double-click to rename; delete a region in the layer, as any shape")
        self.first = ComboBox(label="Region", tooltip="The region to compare")
        self.second = ComboBox(label="Against", tooltip="What to compare it with")
        self._choice = Form((self.first, self.second))
        self.compare = TaskButton(
            self._comparison,
            lambda text: self.state.setText(text),
            text="Compare",
            tooltip="Compare the two regions; press again to cancel",
        )
        self.state = plain_label()
        self.bars = Bars()
        self.save_table = PushButton(text="Save table…", tooltip="The numbers behind the bars, as CSV")
        self.save_outlines = PushButton(text="Save outlines…", tooltip="GeoJSON, which QuPath can read")
        self._keep = row_of(self.save_table, self.save_outlines)
        add_all(
            self,
            self._source,
            self._tools.native,
            self.names,
            self._choice,
            self.compare.native,
            self.state,
            self.bars,
            self._keep.native,
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
        connect(self.polygon.changed, lambda: self._draw("add_polygon"))
        connect(self.lasso.changed, lambda: self._draw("add_polygon_lasso"))
        connect(self.names.itemChanged, self._rename)
        connect(self.save_table.changed, self._choose_table)
        connect(self.save_outlines.changed, self._choose_outlines)
        connect(session.result_changed, self._begin)
        connect(session.result_replayed, self._forget)
        connect(session.regions_changed, self._show)
        connect(self._viewer.layers.events.removed, self._on_removed)

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
        self._drawing.disconnect_all()
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

    # Drawing

    def _layer(self) -> Shapes | None:
        shapes = (layer for layer in self._viewer.layers if isinstance(layer, Shapes))
        return next((layer for layer in shapes if info_of(layer, RegionsInfo)), None)

    @reporting
    def _draw(self, mode: str) -> None:
        layer = self._layer() or self._add_layer(())
        layer.visible = True
        self._viewer.layers.selection.active = layer
        layer.mode = mode
        self.state.setText("Draw on the tissue now.")

    def _add_layer(self, regions: tuple[Region, ...]) -> Shapes:
        """Add the layer that regions are drawn in."""
        result = self._session.result
        # Readable on a stained tissue, or on the dark canvas.
        has_image = result is not None and image_layer(result.spatial, "") is not None
        ink = "black" if has_image else "white"
        layer = Shapes(
            [to_yx(region.outline) for region in regions] or None,
            ndim=2,
            shape_type="polygon",
            name=LAYER,
            features=pd.DataFrame({"name": pd.Series([region.name for region in regions], dtype=object)}),
            text={"string": "{name}", "size": 14, "color": ink, "anchor": "center"},
            edge_color=ink,
            edge_width=_line_width(result),
            face_color="#00000000",
            opacity=1.0,
            metadata={KEY: RegionsInfo()},
        )
        self._viewer.add_layer(layer)
        self._follow(layer)
        return layer

    def _follow(self, layer: Shapes) -> None:
        """Listen to what is drawn in a layer, which may be that of an earlier dock."""
        self._drawing.disconnect_all()
        self._drawing.connect(layer.events.data, self._on_drawn)

    def _on_drawn(self, event: Any = None) -> None:
        """Take the regions that were drawn, moved or deleted; new ones get names."""
        if event is not None and str(getattr(event.action, "value", event.action)) in ("adding", "changing"):
            return
        layer = self._layer()
        if layer is None:
            return
        names = _named(layer.features.get("name", pd.Series(dtype=object)), len(layer.data))
        if list(layer.features.get("name", [])) != names:
            layer.features = pd.DataFrame({"name": pd.Series(names, dtype=object)})
        kinds = [str(kind) for kind in layer.shape_type]
        self._session.set_regions(
            tuple(
                Region(name, outline_of(shape, kind))
                for name, shape, kind in zip(names, layer.data, kinds, strict=True)
                if kind in _SHAPES and len(shape) >= 3
            )
        )

    def _on_removed(self, event: Any) -> None:
        if info_of(event.value, RegionsInfo):
            self._session.set_regions(())

    @reporting
    def _rename(self, item: QListWidgetItem) -> None:
        layer, at = self._layer(), self.names.row(item)
        name = item.text().strip()
        regions = self._session.regions
        if layer is None or not name or name in [one.name for one in regions]:
            self._show()
            return
        names = list(layer.features["name"])
        names[names.index(regions[at].name)] = name
        layer.features = pd.DataFrame({"name": pd.Series(names, dtype=object)})
        self._on_drawn()

    # The comparison

    @reporting
    def _take(self, compared: pd.DataFrame) -> None:
        self.compared = compared
        self._show()

    def _begin(self) -> None:
        """Take the regions of another result, and draw them."""
        self.compare.runner.cancel()
        layer, wanted = self._layer(), self._session.regions
        drawn = [] if layer is None else list(layer.features.get("name", []))
        if layer is not None and drawn != [region.name for region in wanted]:
            self._viewer.layers.remove(layer)  # this also removes its regions from the session
            self._session.set_regions(wanted)
            layer = None
        if layer is not None:
            self._follow(layer)
        elif wanted:
            self._add_layer(wanted)
        result = self._session.result
        stored = pd.DataFrame() if result is None else result.region_comparison
        self.compared = _first_comparison(stored) if len(stored) else None
        self._show()

    def _forget(self) -> None:
        """Drop the comparison of an earlier result."""
        self.compared = None
        self._show()

    def _show(self) -> None:
        has_result, regions = self._session.result is not None, self._session.regions
        names = [region.name for region in regions]
        is_drawn = self.source.value == DRAWN
        self._source.setVisible(has_result and len(self.source.choices) > 1)
        self._tools.native.setVisible(has_result and is_drawn)
        self._fill(names if is_drawn else [])
        choices = self._choices() if is_drawn or self.labels is not None else []
        shown = [(printable(name), name) for name in choices]
        self.first.choices, self.second.choices = shown, [(REST, REST), *shown]
        for widget in (self._choice, self.compare.native):
            widget.setVisible(has_result and bool(choices))
        self.save_outlines.native.setVisible(is_drawn and bool(names))
        self._show_compared(has_result, choices)

    def _show_compared(self, has_result: bool, names: list[str]) -> None:
        compared = self.compared
        self.bars.setVisible(compared is not None)
        self.save_table.native.setVisible(compared is not None)
        if compared is not None:
            self.bars.show_bars(
                _bars_of(compared, self._session.result.colors if self._session.result else {})
            )
            self.state.setText(_comparison_text(compared))
        elif not has_result:
            self.state.setText("After a run, regions can be drawn and compared here.")
        else:
            hint = (
                "Draw a region to see its composition." if self.source.value == DRAWN else "Reading labels…"
            )
            self.state.setText("" if names else hint)

    def _fill(self, names: list[str]) -> None:
        blocked = self.names.blockSignals(True)
        self.names.clear()
        for name in names:
            item = QListWidgetItem(name)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsEditable)
            self.names.addItem(item)
        self.names.blockSignals(blocked)
        self.names.setVisible(bool(names))
        rows = min(len(names), _MOST_ROWS)
        self.names.setFixedHeight(
            rows * max(self.names.sizeHintForRow(0), 1) + 2 * self.names.frameWidth() + 2
        )

    # Saving

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
            self.state.setText(f"Saved {path}.")


def _line_width(result: Result | None) -> float:
    """Return the width of an outline: thin compared with the whole tissue."""
    if result is None:
        return 1.0
    extent = np.nanmax(result.coordinates, axis=0) - np.nanmin(result.coordinates, axis=0)
    return float(extent.max()) / 400


def _named(given: Any, n_shapes: int) -> list[str]:
    """Return a name for each shape: the given one if it is unique, else the next free number."""
    names: list[str] = []
    for at in range(n_shapes):
        name = given.iloc[at] if at < len(given) else None
        if not isinstance(name, str) or not name or name in names:
            taken = {*names, *(one for one in given if isinstance(one, str))}
            name = next(
                f"Region {number}"
                for number in range(1, n_shapes + len(taken) + 2)
                if f"Region {number}" not in taken
            )
        names.append(name)
    return names


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


def _bars_of(compared: pd.DataFrame, colors: dict[str, str]) -> list[Bar]:
    return [
        Bar(
            str(name),
            colors.get(str(name), "#808080"),
            float(row.mean_first),
            float(row.mean_second),
            float(row.lower_first),
            float(row.upper_first),
            note=_p_value(float(row.p_holm)),
        )
        for name, row in compared.head(_MOST_BARS).iterrows()
    ]


def _p_value(p: float) -> str:
    """Return an adjusted p value in a few letters.

    Examples
    --------
    >>> _p_value(0.0004), _p_value(0.0321), _p_value(0.6), _p_value(float("nan"))
    ('p<.001', 'p .032', 'p .60', '–')
    """
    if p != p:
        return "–"
    if p < 0.001:
        return "p<.001"
    return "p " + (f"{p:.3f}" if p < 0.1 else f"{p:.2f}").removeprefix("0")


def _comparison_text(compared: pd.DataFrame) -> str:
    clearest = compared.iloc[0]
    sizes = [
        f"{clearest['first']}: {count(int(clearest['n_spots_first']), 'spot')}",
        f"{clearest['second']}: {count(int(clearest['n_spots_second']), 'spot')}",
    ]
    means = f"{percent(clearest['mean_first'])} against {percent(clearest['mean_second'])}"
    return f"{'; '.join(sizes)}. {compared.index[0]}: {means}. {_KEY}"
