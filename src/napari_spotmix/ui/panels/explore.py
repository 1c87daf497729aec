"""Choose what is shown over the tissue, and how; save it as a figure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from magicgui.widgets import ComboBox, FloatSlider, LineEdit
from qtpy.QtCore import QModelIndex
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QColorDialog, QFileDialog, QHBoxLayout, QPushButton, QTabBar, QWidget

from napari_spotmix.ui.canvas.legend import legend_of_niches
from napari_spotmix.ui.panels.columns import ColumnsPanel
from napari_spotmix.ui.panels.genes import GenesPanel
from napari_spotmix.ui.panels.notify import reporting
from napari_spotmix.ui.panels.panel import Panel
from napari_spotmix.ui.panels.section import Form, add_all, plain_label, row_of
from napari_spotmix.ui.panels.task_button import TaskButton
from napari_spotmix.ui.panels.type_list import Row, TypeList, rows_of
from napari_spotmix.ui.state.edges import EdgeMap, about_edges, offered_edges
from napari_spotmix.ui.state.figures import FigureContent, Framing, content_of, figure_task
from napari_spotmix.ui.state.maps import GRAPH, MOST_PANELS, Column, Gene, Shown, name_of
from napari_spotmix.ui.text import plain, printable

if TYPE_CHECKING:
    from napari_spotmix.base.progress import Task
    from napari_spotmix.ui.state.display import Display
    from napari_spotmix.ui.state.session import Session
    from napari_spotmix.ui.state.worker import Runner

__all__ = ["ExplorePanel"]

#: The tabs, each with its tooltip.
_TABS = {
    "Cell types": "Proportions of cell types, and maps of the result",
    "Genes": "Counts of any gene",
    "Annotations": "Columns of obs: clusters, annotations, and numbers",
}
_TYPES, _GENES, _COLUMNS = range(len(_TABS))

ON_SCREEN, WHOLE_SECTION = "As on screen", "Whole section"
_FIGURE_TIP = "What is shown, with regions, scale bar and legend, as PDF, SVG or PNG"

SORT_BY_MEAN, SORT_BY_NAME = "Largest first", "By name"
#: Without a choice of types, so many are shown side by side.
_USUAL_PANELS = 9


class MapSettings:
    """How maps are drawn: the values of edges, opacity and threshold, as magicgui fields."""

    def __init__(self) -> None:
        self.edges = ComboBox(
            label="Edges", choices=list(EdgeMap), tooltip="What the colors of edges between neighbors show"
        )
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
            tooltip="Spots with a smaller proportion are faded",
        )
        self.edge_row = Form((self.edges,))
        self.sliders = Form((self.opacity, self.threshold))

    def follow(self, display: Display) -> None:
        """Set the sliders to the values of the display, which a saved view may have changed."""
        for slider, value in ((self.opacity, display.opacity), (self.threshold, display.threshold)):
            if abs(slider.value - value) > 1e-9:
                slider.value = min(max(value, slider.min), slider.max)


class ExplorePanel(Panel):
    """Chooses what is shown over the tissue."""

    def __init__(self, session: Session, framing: Callable[[], Framing] = Framing) -> None:
        super().__init__(session)
        self._display, self._framing = session.display, framing
        self._marked: Shown | None = None
        self.tabs = QTabBar()
        self.tabs.setExpanding(False)
        self.tabs.setDrawBase(False)
        for at, (name, tip) in enumerate(_TABS.items()):
            self.tabs.addTab(name)
            self.tabs.setTabToolTip(at, tip)
        self.genes = GenesPanel(session)
        self.columns = ColumnsPanel(session)
        self.filter = LineEdit(label="", tooltip="Show only cell types whose name contains this")
        self.filter.native.setPlaceholderText("Filter cell types")
        self.filter.native.setClearButtonEnabled(True)
        self.sort = ComboBox(choices=[SORT_BY_MEAN, SORT_BY_NAME], tooltip="Order of the list")
        self._head = row_of(self.filter, self.sort)
        self.settings = MapSettings()
        self.about_edges = plain_label()
        self.figure = TaskButton(self._drawing, self._say, text="Save figure…", tooltip=_FIGURE_TIP)
        self.side_by_side = QPushButton("Side by side")
        self.side_by_side.setCheckable(True)
        self.area = ComboBox(choices=[ON_SCREEN, WHOLE_SECTION], tooltip="What a figure shows of the section")
        self._buttons = _row(self.side_by_side, self.figure.native, self.area.native)
        self.list = TypeList()
        self.hint = plain_label("Cell types are listed here after a run.")
        self.legend = plain_label("Mean over the tissue; bars relative to the largest.")
        self.state = plain_label()
        self.state.hide()
        add_all(
            self,
            self.tabs,
            self.hint,
            self.genes,
            self.columns,
            self._head.native,
            self.list,
            self.legend,
            self.settings.edge_row,
            self.about_edges,
            self.settings.sliders,
            self._buttons,
            self.state,
        )
        self._connect()
        self._show()

    def _connect(self) -> None:
        connect, session, display = self._connections.connect, self._session, self._session.display
        connect(self.tabs.currentChanged, self._turn)
        connect(session.gene_wanted, self._turn_to_genes)
        connect(self.figure.runner.finished, self._saved)
        connect(self.filter.changed, self._fill)
        connect(self.sort.changed, self._fill)
        connect(self.settings.edges.changed, display.show_edges)
        connect(self.settings.opacity.changed, display.set_opacity)
        connect(self.settings.threshold.changed, display.set_threshold)
        connect(self.side_by_side.clicked, self._set_side_by_side)
        connect(self.list.selection.selectionChanged, self._choose)
        connect(self.list.clicked, self._choose)
        connect(self.list.doubleClicked, self._choose_color)
        connect(session.result_changed, self._show)
        connect(session.result_replayed, self._fill)
        connect(session.niches_changed, self._fill)
        connect(display.shown_changed, self._mark)
        connect(display.panels_changed, self._mark)
        connect(display.threshold_changed, self._follow)
        connect(display.opacity_changed, self._follow)

    @reporting
    def _choose_color(self, index: QModelIndex) -> None:
        """Let the user choose the color of a cell type."""
        row: Row = self.list.rows.rows[index.row()]
        if isinstance(row.key, str):
            color = QColorDialog.getColor(QColor(row.colors[0]), self, f"Color of {plain(row.name)}")
            if color.isValid():
                self._session.set_color(row.key, color.name())

    @property
    def summary(self) -> str:
        """One line on what is shown."""
        shown, panels = self._display.shown, self._display.panels
        if panels:
            has_genes = any(isinstance(one, Gene) for one in panels)
            return f"{len(panels)} {'maps' if has_genes else 'cell types'} side by side"
        return "" if shown is None else printable(name_of(shown))

    @property
    def runners(self) -> tuple[Runner, ...]:
        return (self.figure.runner, *self.genes.runners, *self.columns.runners)

    def release(self) -> None:
        """Stop what runs, and disconnect from the session."""
        self.genes.release()
        self.columns.release()
        super().release()

    def _drawing(self) -> Task | None:
        """Ask where to, and return the task that draws."""
        kinds = "Figures (*.pdf *.svg *.png)"
        path, _ = QFileDialog.getSaveFileName(self, "Save a figure", "figure.pdf", kinds)
        return self._drawing_to(Path(path)) if path else None

    def _drawing_to(self, path: Path) -> Task | None:
        """Return the task that draws what is shown into a PNG, SVG or PDF file."""
        content = self._content()
        return None if content is None else figure_task(content, path, self._session.data.files)

    def _content(self) -> FigureContent | None:
        """Return what a figure would draw."""
        result, niches, framing = self._session.result, self._session.niches, self._framing()
        if self.area.value == WHOLE_SECTION:
            framing = replace(framing, area=None)
        entries = [] if result is None or niches is None else legend_of_niches(result, niches)
        return content_of(self._session, framing, entries)

    def _say(self, text: str) -> None:
        self.state.setText(text)
        self.state.setVisible(bool(text))

    def _saved(self, path: Path) -> None:
        self._say(f"Saved {path}.")

    def _show(self) -> None:
        self._say("")
        self._fill()
        self._turn()

    def _turn(self, _: int = 0) -> None:
        """Show the page of the current tab."""
        has_result, page = self._session.result is not None, self.tabs.currentIndex()
        is_types = page == _TYPES
        self.hint.setVisible(is_types and not has_result)
        for widget in (self._head.native, self.list, self.legend, self.side_by_side):
            widget.setVisible(is_types and has_result)
        self.genes.setVisible(page == _GENES)
        self.columns.setVisible(page == _COLUMNS)
        is_shown = has_result or self._display.shown is not None
        self._buttons.setVisible(is_shown)
        self.settings.sliders.setVisible(is_shown)
        self.settings.sliders.show_field(self.settings.threshold, is_types)

    def _turn_to_genes(self, _: str) -> None:
        self.tabs.setCurrentIndex(_GENES)

    def _follow_shown(self) -> None:
        """Turn to the page of another map that is shown."""
        shown = self._display.shown
        if shown != self._marked:
            self._marked = shown
            if shown is not None:
                self.tabs.setCurrentIndex(_page_of(shown))
            self._turn()

    def _follow(self) -> None:
        self.settings.follow(self._display)

    def _fill(self) -> None:
        result = self._session.result
        by_name = self.sort.value == SORT_BY_NAME
        blocked = self.list.selection.blockSignals(True)
        self.list.rows.replace(
            []
            if result is None
            else rows_of(
                result,
                by_name=by_name,
                containing=self.filter.value,
                niches=self._session.niches,
            )
        )
        self.list.selection.blockSignals(blocked)
        self.list.fit()
        self._mark()

    def _mark(self) -> None:
        shown = self._display.panels or self._display.shown
        self._follow_shown()
        self.list.select(shown)
        self._mark_side_by_side()
        self._show_edges()

    def _show_edges(self) -> None:
        """Offer the values of the edges while the graph is shown, and explain them."""
        result, edges = self._session.result, self.settings.edges
        is_graph = self._display.shown is GRAPH and result is not None
        self.settings.edge_row.setVisible(is_graph)
        self.about_edges.setVisible(is_graph)
        if is_graph and result is not None:
            with edges.changed.blocked():
                edges.choices = [(one.value, one) for one in offered_edges(result)]
                edges.value = self._session.edges
            self.about_edges.setText(about_edges(result, self._session.edges))

    def _mark_side_by_side(self) -> None:
        """Say what side by side would show, or that it is shown."""
        self.side_by_side.setChecked(bool(self._display.panels))
        n_chosen = len(self.list.marked)
        if self._display.panels:
            tip = "Back to a single map (Escape)"
        elif n_chosen > 1:
            n_shown = min(n_chosen, MOST_PANELS)
            tip = f"The {n_shown} chosen cell types next to each other, panned and zoomed together"
        else:
            tip = (
                "The largest cell types next to each other, panned and zoomed together. "
                f"To choose two to {MOST_PANELS} yourself, click them with Ctrl or Shift"
            )
        self.side_by_side.setToolTip(tip)

    @reporting
    def _set_side_by_side(self, is_wanted: bool) -> None:
        result = self._session.result
        if not is_wanted or result is None:
            self._display.show_panels(())
            return
        largest = result.mean_proportions.sort_values(ascending=False).index[:_USUAL_PANELS]
        self._display.show_panels(self.list.marked if len(self.list.marked) > 1 else tuple(largest))

    @reporting
    def _choose(self, *_: object) -> None:
        """Show what is selected; side by side, several types stay there, and a single one ends it."""
        chosen = self.list.chosen
        if self._display.panels and isinstance(chosen, tuple):
            self._display.show_panels(self.list.marked)
        elif chosen is not None:
            self._display.show_panels(())
            self._display.show(chosen)


def _page_of(shown: Shown) -> int:
    """Return the tab from which a map is chosen."""
    return _GENES if isinstance(shown, Gene) else _COLUMNS if isinstance(shown, Column) else _TYPES


def _row(*widgets: QWidget) -> QWidget:
    """Put widgets next to each other."""
    row = QWidget()
    layout = QHBoxLayout(row)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(4)
    for widget in widgets:
        layout.addWidget(widget)
    return row
