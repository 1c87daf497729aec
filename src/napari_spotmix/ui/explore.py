"""The list of cell types: colour, name and mean share of each; a click or an arrow key shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, Container, FloatSlider, LineEdit, PushButton
from qtpy.QtCore import QAbstractListModel, QModelIndex, QRect, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPalette
from qtpy.QtWidgets import (
    QAbstractItemView,
    QColorDialog,
    QFileDialog,
    QListView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QWidget,
)

from napari_spotmix.errors import InputError
from napari_spotmix.progress import Progress
from napari_spotmix.ui.notify import problem_text, show_problem, telling
from napari_spotmix.ui.paint import draw_name, draw_number, fill
from napari_spotmix.ui.pies import has_pies
from napari_spotmix.ui.section import add_all, plain_label
from napari_spotmix.ui.session import (
    COUNTS,
    DOMINANT,
    ERRORS,
    GRAPH,
    MOST_BLENDED,
    NICHES,
    PIES,
    UNEXPLAINED,
    name_of,
)
from napari_spotmix.ui.text import percent, plain
from napari_spotmix.ui.worker import Runner, Task

if TYPE_CHECKING:
    from napari_spotmix.progress import ProgressCallback
    from napari_spotmix.result import Result
    from napari_spotmix.ui.session import Session, Shown

__all__ = ["ExplorePanel", "Row", "rows_of"]

_ROW_ROLE = Qt.ItemDataRole.UserRole
_MOST_ROWS = 11
#: More edges than these, counted both ways, would be a carpet that takes seconds to draw.
_MOST_EDGES = 400_000
_BAR, _NUMBER = 70, 44
_MAP_COLORS = ("#3b0f70", "#8c2981", "#de4968", "#fe9f6d")
_TIPS: dict[Shown, str] = {
    DOMINANT: "Each spot in the colour of its largest cell type",
    PIES: "Each spot as a pie of its proportions; come near to see them",
    ERRORS: "Standard error of the proportion of each spot's largest cell type",
    UNEXPLAINED: "Share of each spot's counts that no mixture of the reference's cell types explains",
    NICHES: "Groups of spots with like neighbourhoods",
    GRAPH: "Attention between neighbours: where it is low, dark edges, lies a border",
    COUNTS: "Number of counts of each spot, of the genes shared with the reference",
}
SORT_BY_MEAN, SORT_BY_NAME = "Largest first", "By name"


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
    result: Result, *, by_name: bool = False, containing: str = "", has_niches: bool = False
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
    if has_niches:
        maps.append(Row(NICHES, name_of(NICHES), overview.colors))
    maps = [Row(PIES, name_of(PIES), overview.colors), *maps] if has_pies(result) else maps
    return [overview, *(row for row in [*rows, *maps] if containing.casefold() in row.name.casefold())]


def _maps_of(result: Result) -> list[Shown]:
    maps = [UNEXPLAINED, COUNTS]
    if len(result.standard_errors):
        maps.append(ERRORS)
    if 0 < result.attention.nnz <= _MOST_EDGES:
        maps.append(GRAPH)
    return maps


#: What figures call the maps that they can draw.
_IN_FIGURES: dict[Shown, str] = {
    DOMINANT: "dominant",
    PIES: "pies",
    UNEXPLAINED: "unexplained",
    COUNTS: "counts",
}


def as_in_figures(shown: Shown | None) -> str | list[str] | None:
    """Return what figures call what is shown, or None: of a blend, each type is drawn beside the others."""
    if isinstance(shown, tuple):
        return list(shown)
    return shown if isinstance(shown, str) or shown is None else _IN_FIGURES.get(shown)


def figure_task(result: Result, shown: str | list[str], path: Path, opacity: float) -> Task:
    """Return the task that draws a figure and writes it."""

    def task(on_progress: ProgressCallback) -> Path:
        # Imported in the thread: matplotlib takes its time.
        from napari_spotmix import figure

        if problems := figure.save_problems(path):
            raise InputError(problems)
        drawn = figure.draw(result, shown, opacity=opacity)
        on_progress(Progress("Drawing", 1, 2))
        return figure.save(drawn, path)

    return task


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
        return row if role == _ROW_ROLE else None

    def replace(self, rows: Sequence[Row]) -> None:
        self.beginResetModel()
        self.rows = list(rows)
        self.endResetModel()


def _tooltip(row: Row) -> str:
    if row.mean is None:
        return _TIPS[row.key]
    return f"{row.name}: {percent(row.mean)} of the tissue on average"


class _Painter(QStyledItemDelegate):
    """Paints a row itself, so that a name is never anything but text."""

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex) -> QSize:
        return QSize(120, max(22, option.fontMetrics.height() + 6))

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        row: Row = index.data(_ROW_ROLE)
        is_current = bool(option.state & QStyle.StateFlag.State_Selected)
        palette = option.palette
        painter.save()
        if is_current:
            painter.fillRect(option.rect, palette.color(QPalette.ColorRole.Highlight))
        text = QPalette.ColorRole.HighlightedText if is_current else QPalette.ColorRole.Text
        painter.setPen(palette.color(text))
        font = option.font
        font.setBold(is_current)
        painter.setFont(font)
        _paint_row(painter, option.rect.adjusted(6, 0, -6, 0), row)
        painter.restore()


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


class TypeList(QListView):
    """The list; a click shows a type again even if it is the current one."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = _Rows()
        self.setModel(self.rows)
        self.setItemDelegate(_Painter(self))
        self.setUniformItemSizes(True)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)

    def select(self, key: Shown | None) -> None:
        """Mark the rows of what is shown without showing it again."""
        keys = key if isinstance(key, tuple) else (key,)
        indices = [self.rows.index(at) for at, row in enumerate(self.rows.rows) if row.key in keys]
        chosen = self.selectionModel()
        blocked = chosen.blockSignals(True)
        chosen.clearSelection()
        if not (self.currentIndex() in indices and len(indices) > 1):
            chosen.setCurrentIndex(indices[0] if indices else QModelIndex(), chosen.SelectionFlag.NoUpdate)
        for index in indices:
            chosen.select(index, chosen.SelectionFlag.Select)
        chosen.blockSignals(blocked)
        if indices:
            self.scrollTo(self.currentIndex())
        self.viewport().update()

    @property
    def chosen(self) -> Shown | None:
        """What the marked rows ask for: several cell types are blended, else the current row counts."""
        current = self.currentIndex()
        marked = [self.rows.rows[index.row()].key for index in self.selectedIndexes()]
        types = [key for key in marked if isinstance(key, str)]
        if len(types) > 1 and len(types) == len(marked):
            in_order = [row.key for row in self.rows.rows if row.key in types]
            return tuple(str(key) for key in in_order[:MOST_BLENDED])
        return self.rows.rows[current.row()].key if current.isValid() else None

    def fit(self) -> None:
        """Take the height of the rows, up to eleven of them."""
        rows = min(self.rows.rowCount(), _MOST_ROWS)
        self.setFixedHeight(rows * max(self.sizeHintForRow(0), 1) + 2 * self.frameWidth() + 2)


class ExplorePanel(QWidget):
    """Chooses what is shown over the tissue."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self.filter = LineEdit(label="", tooltip="Show only cell types whose name contains this")
        self.filter.native.setPlaceholderText("Filter cell types")
        self.filter.native.setClearButtonEnabled(True)
        self.sort = ComboBox(choices=[SORT_BY_MEAN, SORT_BY_NAME], tooltip="Order of the list")
        self._head = Container(widgets=[self.filter, self.sort], layout="horizontal", labels=False)
        self._head.margins = (0, 0, 0, 0)
        self.opacity = FloatSlider(
            label="Opacity",
            value=1.0,
            min=0.1,
            max=1.0,
            step=0.05,
            tooltip="How much of the tissue shows through the spots",
        )
        self.threshold = FloatSlider(
            label="Present above",
            value=0.0,
            min=0.0,
            max=0.5,
            step=0.01,
            tooltip="Spots with a smaller proportion of what is shown are faded",
        )
        self.figure = PushButton(text="Save figure…")
        self._foot = Container(widgets=[self.opacity, self.threshold])
        self._foot.margins = (0, 0, 0, 0)
        self.list = TypeList()
        self.list.setToolTip(
            "Click, or use the arrow keys, to show a cell type; with Ctrl or Shift, to blend up to six. "
            "Double-click: its colour"
        )
        self.hint = plain_label("Cell types are listed here after a run.")
        self.legend = plain_label("Mean over the tissue; bars relative to the largest.")
        self.state = plain_label()
        self.state.hide()
        add_all(
            self,
            self.hint,
            self._head.native,
            self.list,
            self.legend,
            self._foot.native,
            self.figure.native,
            self.state,
        )
        self._drawer = Runner(self)
        self._drawer.finished.connect(lambda path: self._say(f"Saved {path}."))
        self._drawer.failed.connect(self._fail)
        self.figure.changed.connect(self._choose_where_to_draw)
        self.filter.changed.connect(self._fill)
        self.sort.changed.connect(self._fill)
        self.opacity.changed.connect(session.set_opacity)
        self.threshold.changed.connect(session.set_threshold)
        self.list.selectionModel().selectionChanged.connect(self._choose)
        self.list.clicked.connect(self._choose)
        self.list.doubleClicked.connect(self._choose_color)
        session.result_changed.connect(self._show)
        session.result_replayed.connect(self._fill)
        session.niches_changed.connect(self._fill)
        session.shown_changed.connect(self._mark)
        session.threshold_changed.connect(self._follow)
        session.opacity_changed.connect(self._follow)
        self._show()

    @telling
    def _choose_color(self, index: QModelIndex) -> None:
        """Let the user choose the colour of a cell type."""
        row: Row = self.list.rows.rows[index.row()]
        if isinstance(row.key, str):
            color = QColorDialog.getColor(QColor(row.colors[0]), self, f"Colour of {plain(row.name)}")
            if color.isValid():
                self._session.set_color(row.key, color.name())

    @property
    def summary(self) -> str:
        """One line on what is shown."""
        shown = self._session.shown
        return "" if shown is None else name_of(shown)

    def save_figure(self, path: Path) -> None:
        """Draw what is shown into a PNG, SVG or PDF file."""
        result, shown = self._session.result, as_in_figures(self._session.shown)
        if result is not None and shown is not None:
            opacity = self._session.opacity
            self._drawer.start(figure_task(result, shown, path, opacity))
            self._say("Drawing…")

    def close_runners(self) -> None:
        """Stop what runs."""
        self._drawer.close()

    @telling
    def _choose_where_to_draw(self) -> None:
        path, _ = QFileDialog.getSaveFileName(
            self, "Save a figure", "figure.pdf", "Figures (*.pdf *.svg *.png)"
        )
        if path:
            self.save_figure(Path(path))

    def _say(self, words: str) -> None:
        self.state.setText(words)
        self.state.setVisible(bool(words))

    @telling
    def _fail(self, error: BaseException) -> None:
        self._say(f"Failed: {problem_text(error)}")
        show_problem(error)

    def let_go(self) -> None:
        """Let go of the session."""
        self._session.result_changed.disconnect(self._show)
        self._session.result_replayed.disconnect(self._fill)
        self._session.niches_changed.disconnect(self._fill)
        self._session.shown_changed.disconnect(self._mark)
        self._session.threshold_changed.disconnect(self._follow)
        self._session.opacity_changed.disconnect(self._follow)

    def _show(self) -> None:
        has_result = self._session.result is not None
        self.hint.setVisible(not has_result)
        for widget in (self._head.native, self.list, self.legend, self._foot.native, self.figure.native):
            widget.setVisible(has_result)
        self._say("")
        self._fill()

    def _follow(self) -> None:
        """Let the sliders stand where the session has them, also where it was a file that said so."""
        for slider, value in (
            (self.opacity, self._session.opacity),
            (self.threshold, self._session.threshold),
        ):
            if abs(slider.value - value) > 1e-9:
                slider.value = min(max(value, slider.min), slider.max)

    def _fill(self) -> None:
        result = self._session.result
        by_name = self.sort.value == SORT_BY_NAME
        blocked = self.list.selectionModel().blockSignals(True)
        self.list.rows.replace(
            []
            if result is None
            else rows_of(
                result,
                by_name=by_name,
                containing=self.filter.value,
                has_niches=self._session.niches is not None,
            )
        )
        self.list.selectionModel().blockSignals(blocked)
        self.list.fit()
        self._mark()

    def _mark(self) -> None:
        shown = self._session.shown
        self.list.select(shown)
        self.figure.enabled = as_in_figures(shown) is not None
        self.figure.tooltip = (
            "What is shown, with scale bar and legend, as PDF, SVG or PNG"
            if self.figure.enabled
            else "Of this there is no figure yet: choose cell types, pies, or a map of share or counts"
        )

    @telling
    def _choose(self, *_: object) -> None:
        chosen = self.list.chosen
        if chosen is not None:
            self._session.show(chosen)
