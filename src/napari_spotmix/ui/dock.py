"""The dock widget: load, check, run, explore, adjust, regions, tissue, inspect, from top to bottom."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject, QSize, Qt, QTimer, Signal
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QFrame, QMainWindow, QScrollArea, QVBoxLayout, QWidget

from napari_spotmix.model.compilation import begin_to_compile
from napari_spotmix.ui.canvas.on_screen import OnScreen
from napari_spotmix.ui.canvas.overlays import Overlays
from napari_spotmix.ui.canvas.scene import Scene
from napari_spotmix.ui.canvas.software import QuickPoints
from napari_spotmix.ui.panels.adjust import AdjustPanel
from napari_spotmix.ui.panels.check import CheckPanel
from napari_spotmix.ui.panels.explore import ExplorePanel
from napari_spotmix.ui.panels.inspect import InspectPanel
from napari_spotmix.ui.panels.load import LoadPanel
from napari_spotmix.ui.panels.panel import Panel
from napari_spotmix.ui.panels.regions import RegionsPanel
from napari_spotmix.ui.panels.run import RunPanel
from napari_spotmix.ui.panels.section import FoldableSection, soon
from napari_spotmix.ui.panels.tissue import TissuePanel
from napari_spotmix.ui.panels.unsaved import UnsavedQuestion
from napari_spotmix.ui.state.connections import Connections, SignalLike
from napari_spotmix.ui.state.figures import Framing
from napari_spotmix.ui.state.session import Session, session_of

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_spotmix.dataset.diagnostics import Finding

__all__ = ["DeconvolutionWidget"]

#: The dock's smallest, usual and largest width in pixels, with letters of usual size.
_NARROWEST, _USUAL, _WIDEST = 320, 400, 430
#: Left and right of the content: margins, frames and the scroll bar.
_AROUND = 30
#: By how much the dock may be wider than its content needs.
_SLACK = 30

#: Each section: its tooltip, and whether it is open at the beginning.
_SECTIONS = {
    "Data": ("Choose spatial data and a labeled reference", True),
    "Check": ("Problems and warnings in these data, before a run", False),
    "Run": ("Estimate the cell types of each spot", True),
    "Explore": ("Choose what is shown over the tissue", True),
    "Adjust": ("Try another smoothness, or leave cell types out: solved again at once", False),
    "Regions": ("Draw regions on the tissue and compare them", False),
    "Tissue": ("Which cell types are near each other, and niches", False),
    "Inspect": ("Inspect a spot", True),
}


def _close(dock: weakref.ref[DeconvolutionWidget], _: QObject | None = None) -> None:
    """Close the session of a dock that was deleted with its window."""
    found = dock()
    if found is not None:
        found.close_session()


def _is_torn_down(window: QMainWindow) -> bool:
    """Return whether `viewer.close()` has closed what is in the middle of a window of napari."""
    center = window.centralWidget()
    layout = None if center is None else center.layout()
    inside = None if layout is None else layout.itemAt(0)
    widget = None if inside is None else inside.widget()
    return widget is None or widget.isHidden()


class _CloseWatch(QObject):
    """Emits when a window is asked to close, and keeps it open while the dock has a question.

    A window keeps its event filters, so it must not be the dock, nor hold it.
    """

    asked = Signal()

    def __init__(self, may_close: Callable[[QObject | None], bool]) -> None:
        super().__init__()
        self._may_close = weakref.WeakMethod(may_close)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        if event is None or event.type() != QEvent.Type.Close:
            return False
        may_close = self._may_close()
        if may_close is not None and not may_close(watched):
            event.ignore()
            return True
        self.asked.emit()
        return False


class DeconvolutionWidget(QWidget):
    """Cell-type deconvolution of the data that are open in a viewer.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Given by napari; its session is kept when the dock is closed and opened again.
    """

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__()
        # napari gives a proxy; sessions and layers are kept by the viewer itself.
        viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self.session: Session = session_of(viewer)
        self.on_screen = OnScreen(viewer, self.session)
        self.scene = Scene(viewer, self.session, self.on_screen)
        self.unsaved = UnsavedQuestion(self.session, self)
        self.load = LoadPanel(viewer, self.session, self.unsaved)
        self.check = CheckPanel(self.session, self.unsaved)
        self.run = RunPanel(self.session)
        self.explore = ExplorePanel(self.session, self._framing)
        self.adjust = AdjustPanel(self.session)
        self.regions = RegionsPanel(viewer, self.session)
        self.tissue = TissuePanel(self.session)
        self.inspect = InspectPanel(self.session)
        self.sections = {
            title: FoldableSection(title, panel, tip=tip, open=is_open)
            for (title, (tip, is_open)), panel in zip(_SECTIONS.items(), self._panels, strict=True)
        }
        self.overlays = Overlays(viewer, self.session, self.on_screen, self.scene.press)
        self.quick = QuickPoints(viewer)
        self.is_closed = False
        # Read once the window has closed: napari may still ask, and stay open.
        self._closing = soon(self)
        self._watch = _CloseWatch(self._may_close)
        # Once all parts of the content have changed the size of their letters.
        self._refit = soon(self)
        self.destroyed.connect(partial(_close, weakref.ref(self)))
        self._lay_out()
        self._connections = Connections()
        self._connect()
        self._summarize()
        begin_to_compile()

    def _connect(self) -> None:
        connect, session = self._connections.connect, self.session
        connect(self._closing.timeout, self._stop_if_closed)
        connect(self._watch.asked, self._closing.start)
        connect(self._refit.timeout, self._fit_letters)
        connect(self.load.obstacle_changed, self.run.wait_for)
        connect(self.unsaved.save_asked, self.run.save_first)
        # Data that change during a run would leave its result without its tissue.
        connect(self.run.busy_changed, self.load.set_held)
        connect(self.run.busy_changed, self.check.setDisabled)
        connect(self.check.found, self._show_findings)
        self._connections.connect_each(*self._summarized, slot=self._summarize)
        connect(session.result_changed, self._fold_finished)
        connect(session.pointer.spot_changed, self._scroll_to_spot)
        connect(session.regions_wanted, self._open_regions)
        connect(session.gene_wanted, self._stay_at_bottom)

    @property
    def _summarized(self) -> tuple[SignalLike, ...]:
        """What changes the summaries of sections."""
        session = self.session
        return (
            session.data.tissue_changed,
            session.data.reference_changed,
            session.result_changed,
            session.result_replayed,
            session.regions_changed,
            session.niches_changed,
            session.display.shown_changed,
            session.display.panels_changed,
            session.pointer.spot_changed,
        )

    def sizeHint(self) -> QSize:
        """Return a width that leaves most of the screen to the canvas."""
        return QSize(max(_USUAL, self.minimumWidth()), 700)

    def open_file(self, path: Path) -> None:
        """Open spots as File > Open asks for it: read in a thread, with the progress in *Data*."""
        self.sections["Data"].set_open(True)
        self.load.opener.open(path)

    def close_session(self) -> None:
        """Stop every thread and disconnect from the viewer; the layers and the session stay."""
        if self.is_closed:
            return
        self.is_closed = True
        self.unsaved.close()
        self._connections.disconnect_all()
        for panel in self._panels:
            panel.release()
        self.scene.release()
        self.overlays.release()
        self.on_screen.release()
        self.quick.release()

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Step back when Escape is pressed: clear the selection, then end side by side."""
        if event is not None and event.key() == Qt.Key.Key_Escape:
            self.session.step_back()
        else:
            super().keyPressEvent(event)

    def event(self, event: QEvent | None) -> bool:
        """Watch the window that the dock is put into."""
        if event is not None and event.type() in (QEvent.Type.ParentChange, QEvent.Type.Show):
            self._watch_window()
        return super().event(event)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Watch for changes of the size that the content needs."""
        if event is not None and event.type() == QEvent.Type.LayoutRequest:
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
        # With large letters the buttons may be wider than the dock: they can still be reached.
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
        narrowest = max(_NARROWEST, needed + _AROUND)
        screen = self.screen()
        if screen is not None:
            narrowest = min(narrowest, 2 * screen.availableGeometry().width() // 3)
        self.setMinimumWidth(narrowest)
        self.setMaximumWidth(max(_WIDEST, narrowest + _SLACK))

    @property
    def _panels(self) -> tuple[Panel, ...]:
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

    def _fold_finished(self) -> None:
        is_finished = self.session.result is not None
        self.sections["Data"].set_open(not is_finished)
        if is_finished:
            self.sections["Check"].set_open(False)

    def _show_findings(self, findings: list[Finding]) -> None:
        """Open the check if there is a problem or a warning, and disable Run if there is a problem."""
        self.run.hold(sum(one.level == "problem" for one in findings))
        if self.session.result is None:
            self.sections["Check"].set_open(any(one.level != "note" for one in findings))
        self._summarize()

    def _framing(self) -> Framing:
        """Return what of the section is on the screen: on napari's canvas, or in the panels over it."""
        seen = self.scene.framing()
        area = self.overlays.side_by_side.area
        return seen if area is None else replace(seen, area=area, has_regions=False)

    def _open_regions(self, _: str) -> None:
        section = self.sections["Regions"]
        section.set_open(True)
        QTimer.singleShot(0, lambda: self.area.ensureWidgetVisible(section))

    def _stay_at_bottom(self, _: str) -> None:
        """Keep the genes of a spot under the mouse while the tab above them turns to genes."""
        bar = self.area.verticalScrollBar()
        if bar is not None:
            below = bar.maximum() - bar.value()
            QTimer.singleShot(0, lambda: bar.setValue(bar.maximum() - below))

    def _scroll_to_spot(self) -> None:
        """Scroll to the inspector of a picked spot, once it has its size."""
        if self.session.pointer.spot is not None:
            QTimer.singleShot(0, self._show_inspector)

    def _show_inspector(self) -> None:
        bar = self.area.verticalScrollBar()
        if bar is not None:
            bar.setValue(bar.maximum())

    def _watch_window(self) -> None:
        window = self.window()
        if self.parent() is None:
            self._stop_if_closed()
            return
        if window is None:
            return
        window.installEventFilter(self._watch)
        canvas = window.centralWidget() if isinstance(window, QMainWindow) else None
        if canvas is not None:
            self.overlays.put_on(canvas)
            self.quick.put_on(canvas)

    def _may_close(self, window: QObject | None) -> bool:
        """Return whether a window may close now; if not, ask, and close it after the answer.

        A window that is not shown, or that a script has closed, asks nothing.
        """
        if not isinstance(window, QMainWindow) or not window.isVisible() or _is_torn_down(window):
            return True
        if self.is_closed or self.unsaved.is_settled:
            return True
        self.unsaved.ask(partial(self._close_window, window), doing="Closing napari")
        return False

    def _close_window(self, window: QMainWindow) -> None:
        """Close a window after the question; napari remembers whether it was to quit, too."""
        QMainWindow.close(window)
        self.unsaved.keep()  # napari may have asked as well, and stay open

    def _stop_if_closed(self) -> None:
        window: Any = self.window()
        if not window.isVisible():
            self.close_session()
