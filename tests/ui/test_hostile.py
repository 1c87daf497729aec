"""Inputs that must not harm the window: it goes on, says what is wrong, and opens the next file."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari._qt.dialogs.qt_notification import NapariQtNotification
from qtpy.QtCore import QEvent, QMimeData, QPointF, Qt, QTimer, QUrl
from qtpy.QtGui import QDropEvent
from qtpy.QtWidgets import QApplication, QLabel

from napari_spotmix.base.text import LONGEST_MESSAGE
from napari_spotmix.io.readers import hdf5_inspection, safety
from napari_spotmix.result import Result, View
from napari_spotmix.simulation.simulate import SimulatedTissue
from napari_spotmix.ui.demo import show_result
from napari_spotmix.ui.dock import DeconvolutionWidget
from napari_spotmix.ui.state.loaded import LoadedTissue
from tests.ui.hostile import BIDI, FILES, FOLDERS, IMAGES, LINES, MARKUP, Make

pytestmark = [
    pytest.mark.viewer,
    pytest.mark.skipif(sys.platform == "win32", reason="names, links and pipes are those of POSIX"),
]

#: No event waits longer, in seconds.
LONGEST_PAUSE = 0.2


class Window:
    """A viewer with the dock in it, to which files are given as a user gives them."""

    def __init__(self, qtbot: Any, viewer: Any, dock: Any, messages: list[str], patch: Any) -> None:
        self.qtbot, self.viewer, self.dock, self.messages = qtbot, viewer, dock, messages
        self.patch = patch
        QApplication.sendEvent(viewer.window._qt_window, QEvent(QEvent.Type.WindowActivate))

    @property
    def routes(self) -> dict[str, Callable[[Path], None]]:
        """The ways in which a file comes into the window."""
        load = self.dock.load
        return {
            "spatial data": lambda path: setattr(load.spots.spatial, "value", path),
            "image": lambda path: setattr(load.spots.image, "value", path),
            "reference": lambda path: setattr(load.cells.reference, "value", path),
            "drop": self.drop,
            "open": self.open,
        }

    def drop(self, *paths: Path) -> None:
        mime = QMimeData()
        mime.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
        event = QDropEvent(
            QPointF(9, 9),
            Qt.DropAction.CopyAction,
            mime,
            Qt.MouseButton.LeftButton,
            Qt.KeyboardModifier.NoModifier,
        )
        self.viewer.window._qt_viewer.dropEvent(event)

    def open(self, path: Path) -> None:
        """Open a path as the dialogs of File > Open do."""
        self.viewer.window._qt_viewer._qt_open([str(path)], stack=False, plugin="napari-spotmix")

    def again(self, route: str, path: Path) -> None:
        """Give the same path again; in the form, by its button."""
        load = self.dock.load
        fields = {"spatial data": load.spots.spatial, "reference": load.cells.reference}
        if route in fields:
            self.patch.setattr(fields[route], "_show_file_dialog", lambda *_, **__: str(path))
            self.qtbot.mouseClick(fields[route].choose_btn.native, Qt.MouseButton.LeftButton)
        else:
            self.routes[route](path)

    def pause(self, act: Callable[[], None], is_done: Callable[[], bool]) -> float:
        """Return the longest time in which no event was handled, from an action until it is done."""
        ticks: list[float] = []
        timer = QTimer()
        timer.timeout.connect(lambda: ticks.append(time.perf_counter()))
        timer.start(5)
        self.qtbot.wait(20)
        QTimer.singleShot(0, act)  # in the event loop, as a user acts
        self.qtbot.wait(20)
        self.qtbot.waitUntil(is_done, timeout=20_000)
        timer.stop()
        return float(np.diff([*ticks, time.perf_counter()]).max())

    def is_refused(self) -> bool:
        return bool(self.messages) and not self.dock.load.is_busy

    def problems(self, route: str, path: Path) -> list[str]:
        """Give a path to the window, and return what is wrong with its answer."""
        found = []
        for _ in range(3):  # the pause of a busy machine does not come again
            self.messages.clear()
            pause = self.pause(lambda: self.routes[route](path), self.is_refused)
            if pause < LONGEST_PAUSE:
                break
        else:
            found.append(f"a pause of {pause:.2f} s")
        state = self.dock.load.state.text()
        if len(self.messages) != 1:
            found.append(f"{len(self.messages)} messages: {self.messages}")
        for text in (self.messages[0], state):
            if len(text.replace("\u2060", "")) > LONGEST_MESSAGE + len("Failed: "):
                found.append(f"a message of {len(text)} letters")
            if not text.replace("\n", "").replace("\u2060", "").isprintable():
                found.append(f"control characters: {text!r}")
        if Qt.mightBeRichText(self.messages[0]):
            found.append(f"markup: {self.messages[0]}")
        if not state.startswith("Failed: "):
            found.append(f"the dock says {state!r}")
        return [f"{path.name!r}: {problem}" for problem in found]


@pytest.fixture
def window(
    qtbot: Any, make_dock: Callable[..., Any], messages: list[str], monkeypatch: pytest.MonkeyPatch
) -> Window:
    # napari asks which plugin is to read a folder.
    choose = "napari._qt.dialogs.qt_reader_dialog.QtReaderDialog.get_user_choices"
    monkeypatch.setattr(choose, lambda _: ("Spotmix", False))
    return Window(qtbot, *make_dock(), messages, monkeypatch)


@pytest.fixture(scope="module")
def good(tissue: SimulatedTissue, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("good") / "gut.h5ad"
    tissue.spatial.write_h5ad(path)
    tissue.reference.write_h5ad(path.with_name("cells.h5ad"))
    return path


def made(makers: tuple[Make, ...], folder: Path, good: Path) -> list[Path]:
    """Return the inputs, each in a folder of its own."""
    paths = []
    for make in makers:
        (folder / make.__name__).mkdir()
        paths.append(make(folder / make.__name__, good))
    return paths


@pytest.mark.parametrize(
    ("route", "makers"),
    [
        ("spatial data", FILES + FOLDERS + IMAGES),
        ("image", IMAGES),
        ("reference", FILES + FOLDERS + IMAGES),
        ("drop", FILES + FOLDERS),
        ("open", FILES + FOLDERS),
    ],
)
def test_every_input_is_refused_in_one_message_while_the_window_goes_on(
    route: str, makers: tuple[Make, ...], window: Window, good: Path, tmp_path: Path
) -> None:
    paths = made(makers, tmp_path, good)
    assert [problem for path in paths for problem in window.problems(route, path)] == []
    assert len(window.viewer.layers) == 0
    route = "spatial data" if route in ("image", "reference") else route
    window.routes[route](good)
    window.qtbot.waitUntil(lambda: window.dock.session.data.tissue is not None, timeout=10_000)
    window.routes["reference"](good.with_name("cells.h5ad"))
    window.qtbot.waitUntil(lambda: window.dock.run.run.enabled, timeout=10_000)
    assert [layer.name for layer in window.viewer.layers] == ["gut image", "gut spots"]


def test_a_file_is_opened_next_to_what_is_loaded_and_offered(
    window: Window, good: Path, tmp_path: Path
) -> None:
    other = tmp_path / f"{MARKUP}{LINES}{BIDI}.h5ad"
    other.write_bytes(good.read_bytes())
    QTimer.singleShot(0, lambda: window.drop(good, other))
    window.qtbot.waitUntil(lambda: len(window.viewer.layers) == 4, timeout=20_000)
    assert window.messages == []
    assert window.dock.session.data.tissue.path == good
    name = window.viewer.layers[-1].name
    assert name.replace("\u2060", "") == rf"{MARKUP}a\nb\tca\u202egnp.b spots"
    assert not Qt.mightBeRichText(name)
    window.dock.load.open_layer.box.value = name
    assert window.dock.session.data.tissue.path == other
    assert "\u202e" not in window.dock.load.state.text()


def test_a_file_opens_the_dock_if_there_is_none(qtbot: Any, window: Window, good: Path) -> None:
    viewer = window.viewer
    window.dock.close_session()
    viewer.window.remove_dock_widget(window.dock)
    QTimer.singleShot(0, lambda: window.open(good))
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=20_000)
    docks = viewer.window.dock_widgets.values()
    assert sum(isinstance(dock, DeconvolutionWidget) for dock in docks) == 1


@pytest.fixture
def endless(tmp_path: Path) -> Any:
    """Make the process that inspects files busy forever, as a damaged index does, until it is undone."""
    script = tmp_path / "endless.py"
    script.write_text("import time\nwhile True:\n    time.sleep(0.01)\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(safety, "_idle", [])
        patch.setattr(safety, "_found", type(safety._found)())
        patch.setattr(hdf5_inspection, "__file__", str(script))
        yield patch


@pytest.mark.parametrize("route", ["spatial data", "reference", "drop"])
def test_an_endless_read_can_be_cancelled(route: str, window: Window, good: Path, endless: Any) -> None:
    dock, qtbot = window.dock, window.qtbot
    assert dock.load.stop.isHidden()
    path = good if route != "reference" else good.with_name("cells.h5ad")
    QTimer.singleShot(0, lambda: window.routes[route](path))
    qtbot.waitUntil(lambda: not dock.load.stop.isHidden(), timeout=3000)
    qtbot.wait(200)
    assert dock.load.state.text().startswith("Reading")
    pause = window.pause(dock.load.stop.click, lambda: not dock.load.is_busy)
    assert pause < 2 * LONGEST_PAUSE
    assert dock.load.state.text() == "Cancelled."
    assert dock.load.stop.isHidden()
    assert window.messages == []
    endless.undo()
    window.again(route, path)
    data = dock.session.data
    qtbot.waitUntil(lambda: (data.reference if route == "reference" else data.tissue) is not None)


def test_another_file_replaces_an_endless_read(
    window: Window, good: Path, tmp_path: Path, endless: Any
) -> None:
    (tmp_path / "endless.h5ad").write_bytes(good.read_bytes())
    window.routes["spatial data"](tmp_path / "endless.h5ad")
    window.qtbot.wait(200)
    assert window.dock.load.is_busy
    endless.undo()
    window.routes["spatial data"](good)
    window.qtbot.waitUntil(lambda: window.dock.session.data.tissue is not None, timeout=5000)
    assert window.dock.session.data.tissue.path == good


@pytest.mark.parametrize(
    "text", ["https://example.org/<b>a</b>.h5ad", "reference::https://me:secret@x.org/a"]
)
def test_a_url_in_the_form_is_refused_by_its_name(text: str, window: Window) -> None:
    line = window.dock.load.spots.spatial.line_edit.native
    window.qtbot.keyClicks(line, text)
    window.qtbot.keyClick(line, Qt.Key.Key_Return)
    (message,) = window.messages
    assert "is a URL. Files and folders of this computer can be chosen here" in message
    assert "secret" not in message
    assert "is a URL" in window.dock.load.state.text()
    assert not window.dock.load.is_busy


@pytest.mark.parametrize("text", ["[" * 100_000, "[1, 2]", '{"camera": [1, 2], "spot": -1, "types": 3}'])
def test_a_saved_view_that_is_none_is_left_out(text: str) -> None:
    assert View.from_json(text) == View()


def test_names_of_300_letters_are_shown_shortened(window: Window, tmp_path: Path) -> None:
    window.routes["spatial data"](tmp_path / ("a" * 300) / ("b" * 300))
    window.qtbot.waitUntil(window.is_refused, timeout=5000)
    assert len(window.messages[0]) <= LONGEST_MESSAGE
    label: QLabel = window.dock.load.state
    assert label.textFormat() == Qt.TextFormat.PlainText


def test_a_notification_covers_the_scale_bar(
    qtbot: Any, make_dock: Callable[..., Any], tissue: SimulatedTissue
) -> None:
    viewer, dock = make_dock(show=True)
    dock.session.open_in_memory(LoadedTissue(tissue.spatial, "Gut"), tissue.reference)
    canvas, bar = viewer.window._qt_viewer.canvas.native, dock.overlays.scale_bar
    qtbot.waitUntil(bar.isVisible)
    # The window is that of all tests: notifications of others may still fade out.
    for other in canvas.findChildren(NapariQtNotification):
        other.hide()
    assert canvas.childAt(bar.geometry().center()) is None, "clicks pass through it"
    notification = NapariQtNotification("message", "error", parent=canvas)
    notification.show()
    viewer.scene.camera.zoom *= 1.1
    above = canvas.children()
    assert above.index(notification) > above.index(bar)
    notification.close()


def test_a_result_opens_from_its_folder_and_from_its_file(
    window: Window, good: Path, result: Result, tmp_path: Path
) -> None:
    dock, qtbot = window.dock, window.qtbot
    show_result(dock, result, "Gut")
    dock.run.save_to(tmp_path / "run")
    qtbot.waitUntil(lambda: not dock.run.is_running, timeout=10_000)
    dock.session.open_in_memory(LoadedTissue(result.spatial.copy(), "Other"), None)
    for act, path in ((window.drop, tmp_path / "run"), (window.open, tmp_path / "run" / "spatial.h5ad")):
        before = dock.session.result
        QTimer.singleShot(0, lambda act=act, path=path: act(path))
        qtbot.waitUntil(lambda before=before: dock.session.result not in (None, before), timeout=20_000)
        assert dock.session.data.tissue.path == tmp_path / "run" / "spatial.h5ad"
        np.testing.assert_array_equal(dock.session.result.proportions, result.proportions)
        assert dock.session.is_saved
    assert window.messages == []


def test_a_reference_that_is_dropped_is_used_as_the_reference(window: Window, good: Path) -> None:
    dock = window.dock
    QTimer.singleShot(0, lambda: window.drop(good.with_name("cells.h5ad")))
    window.qtbot.waitUntil(lambda: dock.session.data.reference is not None, timeout=20_000)
    assert dock.load.cells.reference.path == good.with_name("cells.h5ad")
    assert window.messages == ["Used as the reference: cells, which has labels and no coordinates."]
    assert dock.session.data.tissue is None
    assert len(window.viewer.layers) == 0
