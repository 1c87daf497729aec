"""The dock widget: load, run, explore, adjust, inspect, from top to bottom."""

from __future__ import annotations

import weakref
from contextlib import suppress
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject, QSize, Qt, QTimer, Signal
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QFrame, QMainWindow, QScrollArea, QVBoxLayout, QWidget

from napari_spotmix.ui.canvas.hover import HoverBox
from napari_spotmix.ui.canvas.legend import (
    Legend,
    legend_of,
    legend_of_edges,
    legend_of_niches,
    legend_of_pies,
)
from napari_spotmix.ui.canvas.scale_bar import ScaleBar
from napari_spotmix.ui.canvas.scene import Scene
from napari_spotmix.ui.canvas.side_by_side import SideBySide
from napari_spotmix.ui.canvas.software import QuickPoints
from napari_spotmix.ui.canvas.title import Title, title_of
from napari_spotmix.ui.panels.adjust import AdjustPanel
from napari_spotmix.ui.panels.check import CheckPanel
from napari_spotmix.ui.panels.explore import ExplorePanel
from napari_spotmix.ui.panels.inspect import InspectPanel
from napari_spotmix.ui.panels.load import LoadPanel
from napari_spotmix.ui.panels.regions import RegionsPanel
from napari_spotmix.ui.panels.run import RunPanel
from napari_spotmix.ui.panels.section import Section
from napari_spotmix.ui.panels.tissue import TissuePanel
from napari_spotmix.ui.state.session import DOMINANT, GRAPH, NICHES, PIES, Session, session_of

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_spotmix.result import Result
    from napari_spotmix.ui.state.session import Shown

__all__ = ["DeconvolutionWidget"]

#: Pixels that the dock is at least, usually and at most wide, where the letters are not large.
_NARROWEST, _USUAL, _WIDEST = 320, 400, 430
#: Left and right of the content: margins, frames and the scroll bar.
_AROUND = 30
#: By how much it may be wider than its content needs.
_SLACK = 30


def _close(dock: weakref.ref[DeconvolutionWidget], _: QObject | None = None) -> None:
    """Close the session of a dock that its window has taken with it."""
    found = dock()
    if found is not None:
        found.close_session()


class _CloseWatch(QObject):
    """Tells when a window is asked to close. A window keeps its event filters, so it must not be the dock."""

    asked = Signal()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Close:
            self.asked.emit()
        return False


class DeconvolutionWidget(QWidget):
    """Cell-type deconvolution of what is open in a viewer.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Handed over by napari; its session stays with it when the dock is closed and opened again.
    """

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__()
        # napari hands out a proxy; the viewer itself tells its session and its layers apart.
        viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self._layers = viewer.layers
        self.session: Session = session_of(viewer)
        self.scene = Scene(viewer, self.session)
        self.load = LoadPanel(viewer, self.session)
        self.check = CheckPanel(self.session)
        self.run = RunPanel(self.session)
        self.explore = ExplorePanel(self.session)
        self.adjust = AdjustPanel(self.session)
        self.regions = RegionsPanel(viewer, self.session)
        self.tissue = TissuePanel(self.session)
        self.inspect = InspectPanel(self.session)
        self.sections = {
            "Data": Section("Data", self.load, tip="Choose spatial data and a labeled reference"),
            "Check": Section(
                "Check", self.check, tip="What is worth knowing of these data before a run", open=False
            ),
            "Run": Section("Run", self.run, tip="Estimate the cell types of each spot"),
            "Explore": Section("Explore", self.explore, tip="Choose what is shown over the tissue"),
            "Adjust": Section(
                "Adjust",
                self.adjust,
                tip="Try another smoothness, or leave cell types out: solved again at once",
                open=False,
            ),
            "Regions": Section(
                "Regions", self.regions, tip="Draw regions on the tissue and compare them", open=False
            ),
            "Tissue": Section(
                "Tissue", self.tissue, tip="Which cell types lie near each other, and niches", open=False
            ),
            "Inspect": Section("Inspect", self.inspect, tip="Look into one spot"),
        }
        self.title = Title()
        self.legend = Legend()
        self.hover = HoverBox(self.session)
        self.scale_bar = ScaleBar(viewer, self.session)
        self.quick = QuickPoints(viewer)
        self.beside = SideBySide(viewer, self.session, self.scene.press)
        self.is_closed = False
        # Looked at once the window has closed: napari may still ask, and stay open.
        self._closing = QTimer(self, singleShot=True, interval=0)
        self._closing.timeout.connect(self._stop_if_closed)
        self._watch = _CloseWatch()
        self._watch.asked.connect(self._closing.start)
        # Once all parts of the content have learned of other letters.
        self._refit = QTimer(self, singleShot=True, interval=0)
        self._refit.timeout.connect(self._fit_letters)
        self.destroyed.connect(partial(_close, weakref.ref(self)))
        self._lay_out()
        # Data that change under a run would leave its result without its tissue.
        self.run.busy_changed.connect(self.load.setDisabled)
        self.run.busy_changed.connect(self.check.setDisabled)
        self.check.found.connect(self._show_findings)
        for signal in self._signals():
            signal.connect(self._summarize)
        self.session.result_changed.connect(self._fold_what_is_done)
        self._layers.events.removed.connect(self._clear_empty_canvas)
        self.session.shown_changed.connect(self._explain)
        self.session.result_changed.connect(self._explain)
        self.session.result_replayed.connect(self._explain)
        self.session.panels_changed.connect(self._explain)
        self.session.spot_changed.connect(self._scroll_to_spot)
        self._summarize()

    def sizeHint(self) -> QSize:
        """Return a width that leaves the canvas the largest thing on the screen."""
        return QSize(max(_USUAL, self.minimumWidth()), 700)

    def close_session(self) -> None:
        """Stop every thread and let go of the viewer; the layers and the session stay."""
        if self.is_closed:
            return
        self.is_closed = True
        for panel in (self.load, self.check, self.run, self.explore, self.adjust, self.regions, self.tissue):
            panel.close_runners()
        for signal in self._signals():
            signal.disconnect(self._summarize)
        self.session.result_changed.disconnect(self._fold_what_is_done)
        self._layers.events.removed.disconnect(self._clear_empty_canvas)
        self.session.shown_changed.disconnect(self._explain)
        self.session.result_changed.disconnect(self._explain)
        self.session.result_replayed.disconnect(self._explain)
        self.session.panels_changed.disconnect(self._explain)
        self.session.spot_changed.disconnect(self._scroll_to_spot)
        for part in (self.scene, *self._panels, self.hover, self.scale_bar, self.quick, self.beside):
            part.let_go()
        with suppress(RuntimeError):  # the window may have taken them along
            for box in self._boxes:
                box.setParent(None)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Step back when Escape is pressed: look into no spot, then at one map."""
        if event.key() == Qt.Key.Key_Escape:
            self.session.step_back()
        else:
            super().keyPressEvent(event)

    def event(self, event: QEvent) -> bool:
        """Watch the window that the dock is put into."""
        if event.type() in (QEvent.Type.ParentChange, QEvent.Type.Show):
            self._watch_window()
        return super().event(event)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Watch what the content needs."""
        if event.type() == QEvent.Type.LayoutRequest:
            self._refit.start()
        return False

    def _lay_out(self) -> None:
        inner = QWidget()
        inner.installEventFilter(self)
        column = QVBoxLayout(inner)
        column.setContentsMargins(4, 4, 4, 4)
        column.setSpacing(4)
        for section in self.sections.values():
            column.addWidget(section)
        column.addStretch()
        self.area = area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        # With large letters the buttons may be wider than the dock: they can be reached all the same.
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)
        area.setWidget(inner)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(area)
        order = [widget for section in self.sections.values() for widget in section.in_tab_order]
        for first, second in pairwise(order):
            QWidget.setTabOrder(first, second)
        self.setMinimumWidth(_NARROWEST)
        self.setMaximumWidth(_WIDEST)

    def _fit_letters(self) -> None:
        """Be as wide as the content needs, folded or not, but leave a third of the screen."""
        needed = max(section.content.minimumSizeHint().width() for section in self.sections.values())
        narrowest = min(max(_NARROWEST, needed + _AROUND), 2 * self.screen().availableGeometry().width() // 3)
        self.setMinimumWidth(narrowest)
        self.setMaximumWidth(max(_WIDEST, narrowest + _SLACK))

    def _signals(self) -> tuple[Any, ...]:
        session = self.session
        return (
            session.tissue_changed,
            session.reference_changed,
            session.result_changed,
            session.result_replayed,
            session.shown_changed,
            session.panels_changed,
            session.spot_changed,
            session.regions_changed,
            session.niches_changed,
        )

    @property
    def _boxes(self) -> tuple[Any, ...]:
        """What lies over the canvas."""
        return self.title, self.legend, self.hover, self.scale_bar, self.beside

    @property
    def _panels(self) -> tuple[Any, ...]:
        return (
            self.load,
            self.check,
            self.run,
            self.explore,
            self.adjust,
            self.regions,
            self.tissue,
            self.inspect,
        )

    def _summarize(self) -> None:
        for section, panel in zip(self.sections.values(), self._panels, strict=True):
            section.set_summary(panel.summary)
        self.sections["Data"].set_summary(self.load.summary, tip=self.load.full_names)

    def _fold_what_is_done(self) -> None:
        is_done = self.session.result is not None
        self.sections["Data"].set_open(not is_done)
        if is_done:
            self.sections["Check"].set_open(False)

    def _show_findings(self, findings: list[Any]) -> None:
        """Open what needs to be looked at, sum up the rest, and start no run that a problem would end."""
        self.run.hold(sum(one.level == "problem" for one in findings))
        if self.session.result is None:
            self.sections["Check"].set_open(any(one.level != "note" for one in findings))
        self._summarize()

    def _clear_empty_canvas(self) -> None:
        if not self._layers:
            self._clear_canvas()

    def _clear_canvas(self) -> None:
        self.title.show_text("")
        self.legend.show_entries([])

    def _explain(self) -> None:
        """Say on the canvas what its colors mean; panels say it themselves."""
        result, shown = self.session.result, self.session.shown
        if result is None or shown is None or self.session.panels:
            self._clear_canvas()
            return
        self.title.show_text(title_of(shown, self.session.edges))
        self.legend.show_entries(self._entries(result, shown))

    def _entries(self, result: Result, shown: Shown) -> list[tuple[str, str]]:
        """Return the names and colors of what is shown, where there are such."""
        if isinstance(shown, tuple):
            return [(name, result.colors[name]) for name in shown]
        if shown is DOMINANT:
            return legend_of(result)
        if shown is PIES:
            return legend_of_pies(result)
        if shown is NICHES and self.session.niches is not None:
            return legend_of_niches(result, self.session.niches)
        if shown is GRAPH:
            return legend_of_edges(result, self.session.edges)
        return []

    def _scroll_to_spot(self) -> None:
        """Bring what a click has asked for into view, once it has its size."""
        if self.session.spot is not None:
            QTimer.singleShot(0, self._show_inspector)

    def _show_inspector(self) -> None:
        bar = self.area.verticalScrollBar()
        bar.setValue(bar.maximum())

    def _watch_window(self) -> None:
        window = self.window()
        if self.parent() is None:
            self._stop_if_closed()
            return
        window.installEventFilter(self._watch)
        if isinstance(window, QMainWindow) and window.centralWidget() is not self.legend.parent():
            for box in self._boxes:
                box.put_on(window.centralWidget())
            self.quick.put_on(window.centralWidget())
            self._explain()

    def _stop_if_closed(self) -> None:
        if not self.window().isVisible():
            self.close_session()
