"""Choose what is shown over the tissue, and how; save it as a figure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from magicgui.widgets import ComboBox, Container, FloatSlider, LineEdit
from qtpy.QtCore import QModelIndex
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QColorDialog, QFileDialog, QHBoxLayout, QPushButton, QWidget

from napari_spotmix.ui.canvas.edges import Edges, about_edges, offered_edges
from napari_spotmix.ui.panels.notify import telling
from napari_spotmix.ui.panels.section import add_all, plain_label
from napari_spotmix.ui.panels.task_button import TaskButton
from napari_spotmix.ui.panels.type_list import Row, TypeList, rows_of
from napari_spotmix.ui.state.figures import as_in_figures, figure_task
from napari_spotmix.ui.state.session import GRAPH, MOST_PANELS, name_of
from napari_spotmix.ui.text import plain

if TYPE_CHECKING:
    from napari_spotmix.base.progress import Task
    from napari_spotmix.ui.state.session import Session

__all__ = ["ExplorePanel"]

SORT_BY_MEAN, SORT_BY_NAME = "Largest first", "By name"
#: Without a choice of types, so many are shown side by side.
_USUAL_PANELS = 9


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
        self.edges = ComboBox(
            label="Edges", choices=list(Edges), tooltip="What the colors of edges between neighbors show"
        )
        self._edges = Container(widgets=[self.edges])
        self._edges.margins = (0, 0, 0, 0)
        self.about_edges = plain_label()
        self.figure = TaskButton(self._drawing, self._say, text="Save figure…", tooltip="")
        self.beside = QPushButton("Side by side")
        self.beside.setCheckable(True)
        self._buttons = _row(self.beside, self.figure.native)
        self._foot = Container(widgets=[self.opacity, self.threshold])
        self._foot.margins = (0, 0, 0, 0)
        self.list = TypeList()
        self.list.setToolTip(
            "Click, or use the arrow keys, to show a cell type; with Ctrl or Shift, to blend up to six "
            f"or to choose up to {MOST_PANELS} for side by side. "
            "Double-click: its color"
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
            self._edges.native,
            self.about_edges,
            self._foot.native,
            self._buttons,
            self.state,
        )
        self.figure.runner.finished.connect(lambda path: self._say(f"Saved {path}."))
        self.filter.changed.connect(self._fill)
        self.sort.changed.connect(self._fill)
        self.edges.changed.connect(session.set_edges)
        self.opacity.changed.connect(session.set_opacity)
        self.threshold.changed.connect(session.set_threshold)
        self.beside.clicked.connect(self._set_beside)
        self.list.selectionModel().selectionChanged.connect(self._choose)
        self.list.clicked.connect(self._choose)
        self.list.doubleClicked.connect(self._choose_color)
        session.result_changed.connect(self._show)
        session.result_replayed.connect(self._fill)
        session.niches_changed.connect(self._fill)
        session.shown_changed.connect(self._mark)
        session.panels_changed.connect(self._mark)
        session.threshold_changed.connect(self._follow)
        session.opacity_changed.connect(self._follow)
        self._show()

    @telling
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
        shown, panels = self._session.shown, self._session.panels
        if panels:
            return f"{len(panels)} cell types side by side"
        return "" if shown is None else name_of(shown)

    def close_runners(self) -> None:
        """Stop what runs."""
        self.figure.close_runner()

    def _drawing(self) -> Task | None:
        """Ask where to, and return the task that draws."""
        kinds = "Figures (*.pdf *.svg *.png)"
        path, _ = QFileDialog.getSaveFileName(self, "Save a figure", "figure.pdf", kinds)
        return self._drawing_to(Path(path)) if path else None

    def _drawing_to(self, path: Path) -> Task | None:
        """Return the task that draws what is shown into a PNG, SVG or PDF file."""
        result, shown = self._session.result, as_in_figures(self._session.panels or self._session.shown)
        if result is None or shown is None:
            return None
        return figure_task(result, shown, path, self._session.opacity)

    def _say(self, words: str) -> None:
        self.state.setText(words)
        self.state.setVisible(bool(words))

    def let_go(self) -> None:
        """Let go of the session."""
        self._session.result_changed.disconnect(self._show)
        self._session.result_replayed.disconnect(self._fill)
        self._session.niches_changed.disconnect(self._fill)
        self._session.shown_changed.disconnect(self._mark)
        self._session.panels_changed.disconnect(self._mark)
        self._session.threshold_changed.disconnect(self._follow)
        self._session.opacity_changed.disconnect(self._follow)

    def _show(self) -> None:
        has_result = self._session.result is not None
        self.hint.setVisible(not has_result)
        for widget in (self._head.native, self.list, self.legend, self._foot.native, self._buttons):
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
        panels = self._session.panels
        shown = panels or self._session.shown
        self.list.select(shown)
        self._mark_beside()
        self._show_edges()
        self.figure.enabled = as_in_figures(shown) is not None
        self.figure.tooltip = (
            "What is shown, with scale bar and legend, as PDF, SVG or PNG"
            if self.figure.enabled
            else "Of this there is no figure yet: choose cell types, pies, or a map of share or counts"
        )

    def _show_edges(self) -> None:
        """Offer what can be seen of the edges of the graph while it is shown, and say what that is."""
        session = self._session
        is_graph = session.shown is GRAPH and session.result is not None
        self._edges.native.setVisible(is_graph)
        self.about_edges.setVisible(is_graph)
        if is_graph:
            with self.edges.changed.blocked():
                self.edges.choices = [(one.value, one) for one in offered_edges(session.result)]
                self.edges.value = session.edges
            self.about_edges.setText(about_edges(session.result, session.edges))

    def _mark_beside(self) -> None:
        """Say what side by side would show, or that it is shown."""
        self.beside.setChecked(bool(self._session.panels))
        n_chosen = len(self.list.marked)
        if self._session.panels:
            tip = "Back to one map, as it was (Escape)"
        elif n_chosen > 1:
            n_shown = min(n_chosen, MOST_PANELS)
            tip = f"The {n_shown} chosen cell types beside each other, moved and zoomed as one"
        else:
            tip = (
                "The largest cell types beside each other, moved and zoomed as one. "
                f"To choose two to {MOST_PANELS} yourself, click them with Ctrl or Shift"
            )
        self.beside.setToolTip(tip)

    @telling
    def _set_beside(self, is_wanted: bool) -> None:
        result = self._session.result
        if not is_wanted or result is None:
            self._session.show_panels(())
            return
        largest = result.mean_proportions.sort_values(ascending=False).index[:_USUAL_PANELS]
        self._session.show_panels(self.list.marked if len(self.list.marked) > 1 else tuple(largest))

    @telling
    def _choose(self, *_: object) -> None:
        """Show what is marked; side by side, several types stay there, and a single one ends it."""
        chosen = self.list.chosen
        if self._session.panels and isinstance(chosen, tuple):
            self._session.show_panels(self.list.marked)
        elif chosen is not None:
            self._session.show_panels(())
            self._session.show(chosen)


def _row(*widgets: QWidget) -> QWidget:
    """Put widgets beside each other."""
    row = QWidget()
    layout = QHBoxLayout(row)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(4)
    for widget in widgets:
        layout.addWidget(widget)
    return row
