"""Regions drawn on the tissue: what they are made of, and how two of them differ."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from magicgui.widgets import ComboBox, Container, PushButton
from napari.layers import Shapes
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QListWidget, QListWidgetItem, QWidget

from napari_spotmix.analysis.regions import REST, compare_regions
from napari_spotmix.dataset.geometry import to_yx
from napari_spotmix.dataset.regions import Region, to_geojson
from napari_spotmix.io.atomic import write_aside
from napari_spotmix.params import INTERVAL_LEVEL
from napari_spotmix.ui.canvas.layers import METADATA, image_layer
from napari_spotmix.ui.panels.inspect import Bar, Bars
from napari_spotmix.ui.panels.notify import telling
from napari_spotmix.ui.panels.section import add_all, plain_label
from napari_spotmix.ui.panels.task_button import TaskButton
from napari_spotmix.ui.text import count, percent

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_spotmix.base.progress import ProgressCallback, Task
    from napari_spotmix.result import Result
    from napari_spotmix.ui.state.session import Session

__all__ = [
    "LAYER",
    "RegionsPanel",
    "comparison_task",
    "outline_of",
]


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


class RegionsPanel(QWidget):
    """Draws regions, names them, compares them, and keeps what comes of it."""

    def __init__(self, viewer: ViewerModel, session: Session) -> None:
        super().__init__()
        self._viewer, self._session = viewer, session
        #: Table of `compare_regions`.
        self.compared: pd.DataFrame | None = None
        self.polygon = PushButton(
            text="Polygon", tooltip="Click corner after corner; Escape or a double click ends"
        )
        self.lasso = PushButton(text="Lasso", tooltip="Hold the mouse button and draw around a region")
        self._tools = _row(self.polygon, self.lasso)
        self.names = QListWidget()
        self.names.setToolTip("Double-click to rename; delete a region in the layer, as any shape")
        self.first = ComboBox(label="Region", tooltip="What is compared")
        self.second = ComboBox(label="Against", tooltip="What it is compared with")
        self._choice = Container(widgets=[self.first, self.second])
        self._choice.margins = (0, 0, 0, 0)
        self.compare = TaskButton(
            self._comparison,
            lambda words: self.state.setText(words),
            text="Compare",
            tooltip="Set the region beside the other; while this runs, stop it",
        )
        self.state = plain_label()
        self.bars = Bars()
        self.save_table = PushButton(text="Save table…", tooltip="The numbers behind the bars, as CSV")
        self.save_outlines = PushButton(text="Save outlines…", tooltip="GeoJSON, as QuPath reads it")
        self._keep = _row(self.save_table, self.save_outlines)
        add_all(
            self,
            self._tools.native,
            self.names,
            self._choice.native,
            self.compare.native,
            self.state,
            self.bars,
            self._keep.native,
        )
        self.compare.runner.finished.connect(self._take)
        self.polygon.changed.connect(lambda: self._draw("add_polygon"))
        self.lasso.changed.connect(lambda: self._draw("add_polygon_lasso"))
        self.names.itemChanged.connect(self._rename)
        self.save_table.changed.connect(self._choose_table)
        self.save_outlines.changed.connect(self._choose_outlines)
        session.result_changed.connect(self._begin)
        session.result_replayed.connect(self._forget)
        session.regions_changed.connect(self._show)
        viewer.layers.events.removed.connect(self._on_removed)
        self._begin()

    @property
    def summary(self) -> str:
        """How many regions there are."""
        regions = self._session.regions
        return count(len(regions), "region") if regions else ""

    def close_runners(self) -> None:
        """Stop what runs."""
        self.compare.close_runner()

    def let_go(self) -> None:
        """Let go of the session and the viewer; the layer stays."""
        session = self._session
        session.result_changed.disconnect(self._begin)
        session.result_replayed.disconnect(self._forget)
        session.regions_changed.disconnect(self._show)
        self._viewer.layers.events.removed.disconnect(self._on_removed)
        layer = self._layer()
        if layer is not None:
            layer.events.data.disconnect(self._on_drawn)

    def _comparison(self) -> Task | None:
        """Return the task that compares what is chosen."""
        result = self._session.result
        regions, first, second = self._session.regions, self.first.value, self.second.value
        if result is None or first not in _names(regions):
            return None
        return comparison_task(result, regions, first, None if second == REST else second)

    # Drawing

    def _layer(self) -> Shapes | None:
        kept = (layer for layer in self._viewer.layers if layer.metadata.get(METADATA) == {"holds": LAYER})
        return next((layer for layer in kept if isinstance(layer, Shapes)), None)

    @telling
    def _draw(self, mode: str) -> None:
        layer = self._layer() or self._add_layer(())
        layer.visible = True
        self._viewer.layers.selection.active = layer
        layer.mode = mode
        self.state.setText("Draw on the tissue now.")

    def _add_layer(self, regions: tuple[Region, ...]) -> Shapes:
        """Add the layer that regions are drawn in."""
        assert self._session.result is not None
        # To be read on a stained tissue, or on a canvas that is dark.
        ink = "white" if image_layer(self._session.result.spatial, "") is None else "black"
        layer = Shapes(
            [to_yx(region.outline) for region in regions] or None,
            ndim=2,
            shape_type="polygon",
            name=LAYER,
            features=pd.DataFrame({"name": pd.Series([region.name for region in regions], dtype=object)}),
            text={"string": "{name}", "size": 14, "color": ink, "anchor": "center"},
            edge_color=ink,
            edge_width=self._line_width(),
            face_color="#00000000",
            opacity=1.0,
            metadata={METADATA: {"holds": LAYER}},
        )
        self._viewer.add_layer(layer)
        layer.events.data.connect(self._on_drawn)
        return layer

    def _line_width(self) -> float:
        """Return the width of an outline: thin beside the whole tissue."""
        assert self._session.result is not None
        extent = np.nanmax(self._session.result.coordinates, axis=0) - np.nanmin(
            self._session.result.coordinates, axis=0
        )
        return float(extent.max()) / 400

    def _on_drawn(self, event: Any = None) -> None:
        """Take what has been drawn, moved or deleted; new shapes get names."""
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
        if event.value.metadata.get(METADATA) == {"holds": LAYER}:
            self._session.set_regions(())

    @telling
    def _rename(self, item: QListWidgetItem) -> None:
        layer, at = self._layer(), self.names.row(item)
        wanted = item.text().strip()
        regions = self._session.regions
        if layer is None or not wanted or wanted in [one.name for one in regions]:
            self._show()
            return
        names = list(layer.features["name"])
        names[names.index(regions[at].name)] = wanted
        layer.features = pd.DataFrame({"name": pd.Series(names, dtype=object)})
        self._on_drawn()

    # What comes of it

    @telling
    def _take(self, compared: pd.DataFrame) -> None:
        self.compared = compared
        self._show()

    def _begin(self) -> None:
        """Take the regions of another result, and draw them."""
        self.compare.runner.cancel()
        layer, wanted = self._layer(), self._session.regions
        drawn = [] if layer is None else list(layer.features.get("name", []))
        if layer is not None and drawn != [region.name for region in wanted]:
            self._viewer.layers.remove(layer)  # with which its regions go
            self._session.set_regions(wanted)
            layer = None
        if layer is not None:
            layer.events.data.connect(self._on_drawn)  # it may be that of an earlier dock
        elif wanted:
            self._add_layer(wanted)
        result = self._session.result
        stored = pd.DataFrame() if result is None else result.region_comparison
        self.compared = _first_comparison(stored) if len(stored) else None
        self._show()

    def _forget(self) -> None:
        """Drop a comparison of other numbers."""
        self.compared = None
        self._show()

    def _show(self) -> None:
        has_result, regions = self._session.result is not None, self._session.regions
        names = [region.name for region in regions]
        for widget in (self._tools.native, self._choice.native, self.compare.native):
            widget.setVisible(has_result)
        self._fill(names)
        choices = _names(regions)
        self.first.choices, self.second.choices = choices, [REST, *choices]
        self._choice.native.setVisible(bool(names))
        self.compare.native.setVisible(bool(names))
        self.save_outlines.native.setVisible(bool(names))
        self._show_compared(has_result, names)

    def _show_compared(self, has_result: bool, names: list[str]) -> None:
        compared = self.compared
        self.bars.setVisible(compared is not None)
        self.save_table.native.setVisible(compared is not None)
        if compared is not None:
            self.bars.show_bars(
                _bars_of(compared, self._session.result.colors if self._session.result else {})
            )
            self.state.setText(_in_words(compared))
        elif not has_result:
            self.state.setText("After a run, regions can be drawn and compared here.")
        else:
            self.state.setText("" if names else "Draw a region to see what it is made of.")

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

    # Keeping

    @telling
    def _choose_table(self) -> None:
        if self.compared is not None:
            text = self.compared.to_csv(lineterminator="\n")
            self._write("Save the comparison", "regions.csv", "Table (*.csv)", lambda: text)

    @telling
    def _choose_outlines(self) -> None:
        regions = self._session.regions
        self._write(
            "Save the outlines", "regions.geojson", "GeoJSON (*.geojson)", lambda: to_geojson(regions)
        )

    def _write(self, title: str, name: str, kind: str, text: Callable[[], str]) -> None:
        path, _ = QFileDialog.getSaveFileName(self, title, name, kind)
        if path:
            write_aside(path, lambda aside: aside.write_text(text(), encoding="utf-8", newline=""))
            self.state.setText(f"Saved {path}.")


def _row(*widgets: PushButton) -> Container:
    row = Container(widgets=list(widgets), layout="horizontal", labels=False)
    row.margins = (0, 0, 0, 0)
    return row


def _named(given: Any, n_shapes: int) -> list[str]:
    """Return a name for each shape, those given where they are new, else the next number that is free."""
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


def _names(regions: tuple[Region, ...]) -> list[str]:
    """Return each name once: outlines of the same name are one region."""
    return list(dict.fromkeys(region.name for region in regions))


def _first_comparison(stored: pd.DataFrame) -> pd.DataFrame:
    """Return the first of the comparisons in a table."""
    is_first = (stored["first"] == stored["first"].iloc[0]) & (stored["second"] == stored["second"].iloc[0])
    return stored[is_first]


def _bars_of(compared: pd.DataFrame, colors: dict[str, str]) -> list[Bar]:
    return [
        Bar(
            str(name),
            colors.get(str(name), "#808080"),
            *map(float, (row.mean_first, row.mean_second, row.lower_first, row.upper_first)),
            note=_p_value(float(row.p_holm)),
        )
        for name, row in compared.head(_MOST_BARS).iterrows()
    ]


def _p_value(p: float) -> str:
    """Return an adjusted p value for people.

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


def _in_words(compared: pd.DataFrame) -> str:
    clearest = compared.iloc[0]
    sizes = [
        f"{clearest['first']}: {count(int(clearest['n_spots_first']), 'spot')}",
        f"{clearest['second']}: {count(int(clearest['n_spots_second']), 'spot')}",
    ]
    means = f"{percent(clearest['mean_first'])} against {percent(clearest['mean_second'])}"
    return f"{'; '.join(sizes)}. {compared.index[0]}: {means}. {_KEY}"
