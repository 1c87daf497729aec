"""The list of what can be shown: color, name and mean share of each cell type, then further maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QAbstractListModel, QModelIndex, QRect, Qt
from qtpy.QtGui import QColor, QPainter
from qtpy.QtWidgets import QAbstractItemView

from napari_spotmix.base.colors import niche_colors
from napari_spotmix.ui.canvas.paint import draw_name, draw_number, fill
from napari_spotmix.ui.canvas.pies import has_pies
from napari_spotmix.ui.panels.painted_rows import ROW, PaintedRows
from napari_spotmix.ui.state.edges import MOST_EDGES
from napari_spotmix.ui.state.maps import (
    COUNTS,
    DOMINANT,
    ERRORS,
    GRAPH,
    MOST_BLENDED,
    MOST_PANELS,
    NICHES,
    PIES,
    UNEXPLAINED,
    name_of,
)
from napari_spotmix.ui.text import percent, plain

if TYPE_CHECKING:
    from napari_spotmix.analysis.niches import Niches
    from napari_spotmix.result import Result
    from napari_spotmix.ui.state.maps import PanelMap, Shown

__all__ = ["Row", "TypeList", "rows_of"]

_MOST_ROWS = 11
_BAR, _NUMBER = 70, 44
_MAP_COLORS = ("#3b0f70", "#8c2981", "#de4968", "#fe9f6d")
_TIPS: dict[Shown, str] = {
    DOMINANT: "Each spot in the color of its largest cell type",
    PIES: "Each spot as a pie of its proportions; zoom in to see them",
    ERRORS: "Standard error of the proportion of each spot's largest cell type",
    UNEXPLAINED: "Share of each spot's counts that no mixture of the reference's cell types explains",
    NICHES: "Groups of spots with similar neighborhoods",
    GRAPH: "Attention between neighbors: dark edges, where it is low, mark a border",
    COUNTS: "Counts of each spot, of the genes shared with the reference",
}


@dataclass(frozen=True)
class Row:
    """One entry of the list.

    `mean` is the mean proportion over the tissue, None for the overview; `length` that of its bar,
    1 for the largest type.
    """

    key: Shown
    name: str
    colors: tuple[str, ...]
    mean: float | None = None
    length: float = 0.0


def rows_of(
    result: Result, *, by_name: bool = False, containing: str = "", niches: Niches | None = None
) -> list[Row]:
    """Return the overview, cell types in order, and further maps: those whose name contains a text."""
    means = result.mean_proportions
    colors = result.colors
    ranked = (
        sorted(result.cell_types, key=str.casefold)
        if by_name
        else list(means.sort_values(ascending=False).index)
    )
    lengths = (means / means.max()).fillna(0.0)
    rows = [Row(name, name, (colors[name],), float(means[name]), float(lengths[name])) for name in ranked]
    overview = Row(DOMINANT, name_of(DOMINANT), tuple(colors[name] for name in ranked[:4]))
    maps = [Row(key, name_of(key), _MAP_COLORS) for key in _maps_of(result)]
    if niches is not None:
        maps.append(Row(NICHES, name_of(NICHES), tuple(niche_colors(niches.names).values())[:4]))
    maps = [Row(PIES, name_of(PIES), overview.colors), *maps] if has_pies(result) else maps
    return [overview, *(row for row in [*rows, *maps] if containing.casefold() in row.name.casefold())]


def _maps_of(result: Result) -> list[Shown]:
    maps: list[Shown] = [UNEXPLAINED, COUNTS]
    if len(result.standard_errors):
        maps.append(ERRORS)
    if 0 < result.attention.nnz <= MOST_EDGES:
        maps.append(GRAPH)
    return maps


class _Rows(QAbstractListModel):
    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Row] = []

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        return len(self.rows)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        row = self.rows[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return row.name
        if role == Qt.ItemDataRole.ToolTipRole:
            return plain(_tooltip(row))
        return row if role == ROW else None

    def replace(self, rows: Sequence[Row]) -> None:
        self.beginResetModel()
        self.rows = list(rows)
        self.endResetModel()


def _tooltip(row: Row) -> str:
    if row.mean is None:
        return _TIPS[row.key]
    return f"{row.name}: {percent(row.mean)} of the tissue on average"


def _paint_row(painter: QPainter, area: QRect, row: Row) -> None:
    middle = area.center().y()
    _paint_swatch(painter, QRect(area.left(), middle - 6, 12, 12), row.colors)
    name = area.adjusted(20, 0, 0, 0)
    if row.mean is not None:
        bar = QRect(area.right() - _BAR - _NUMBER, middle - 4, _BAR, 8)
        painter.fillRect(bar, QColor(128, 128, 128, 70))
        fill(painter, bar.adjusted(0, 0, round(bar.width() * (row.length - 1)), 0), row.colors[0])
        draw_number(painter, area, percent(row.mean))
        name.setRight(bar.left() - 6)
    draw_name(painter, name, row.name)


def _paint_swatch(painter: QPainter, area: QRect, colors: Sequence[str]) -> None:
    width = area.width() / len(colors)
    for at, color in enumerate(colors):
        left = round(area.left() + at * width)
        fill(painter, QRect(left, area.top(), round(width), area.height()), color)


class TypeList(PaintedRows):
    """The list of cell types and maps; a click shows one again even if it is the current one."""

    def __init__(self) -> None:
        super().__init__(_paint_row)
        self.rows = _Rows()
        self.setModel(self.rows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setAccessibleName("Cell types and maps")
        self.setToolTip(
            "Click, or use the arrow keys, to show a cell type; with Ctrl or Shift, to blend up to "
            f"{MOST_BLENDED} or to choose up to {MOST_PANELS} for side by side. Double-click: its color"
        )

    def select(self, key: Shown | tuple[PanelMap, ...] | None) -> None:
        """Select the rows of what is shown, without showing it again; a selection that asks for it stays."""
        if isinstance(key, tuple) and key in (self.chosen, self.marked):
            return
        keys = key if isinstance(key, tuple) else (key,)
        indices = [self.rows.index(at) for at, row in enumerate(self.rows.rows) if row.key in keys]
        chosen = self.selection
        blocked = chosen.blockSignals(True)
        chosen.clearSelection()
        if not (self.currentIndex() in indices and len(indices) > 1):
            chosen.setCurrentIndex(indices[0] if indices else QModelIndex(), chosen.SelectionFlag.NoUpdate)
        for index in indices:
            chosen.select(index, chosen.SelectionFlag.Select)
        chosen.blockSignals(blocked)
        if indices:
            self.scrollTo(self.currentIndex())
        if (viewport := self.viewport()) is not None:
            viewport.update()

    @property
    def marked(self) -> tuple[str, ...]:
        """The selected cell types, from top to bottom; none if other maps are selected too."""
        rows = [self.rows.rows[index.row()] for index in self.selectedIndexes()]
        types = {row.key for row in rows if isinstance(row.key, str)}
        return (
            tuple(str(row.key) for row in self.rows.rows if row.key in types)
            if len(types) == len(rows)
            else ()
        )

    @property
    def chosen(self) -> Shown | None:
        """What the selected rows ask for: several cell types are blended, else the current row counts."""
        current = self.currentIndex()
        if len(self.marked) > 1:
            return self.marked[:MOST_BLENDED]
        return self.rows.rows[current.row()].key if current.isValid() else None

    def fit(self) -> None:
        """Take the height of the rows, up to eleven of them."""
        rows = min(self.rows.rowCount(), _MOST_ROWS)
        self.setFixedHeight(rows * max(self.sizeHintForRow(0), 1) + 2 * self.frameWidth() + 2)
