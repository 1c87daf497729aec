"""Hand a path to the dock of an open window, without blocking the window.

The dock imports NumPy, AnnData, numba and more, which takes seconds the first time. So they are imported in a
thread, and this module imports none of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import napari
from napari.utils.notifications import show_error
from qtpy.QtCore import QCoreApplication, QThread

from napari_spotmix.ui.state.worker import Runner

if TYPE_CHECKING:
    from napari import Viewer

    from napari_spotmix.base.progress import ProgressCallback

__all__ = ["is_window_open", "open_in_window"]

#: Kept until they have finished.
_loaders: list[Runner] = []


def is_window_open() -> bool:
    """Return whether this is the thread of a window that handles events, and would be blocked."""
    thread, application = QThread.currentThread(), QCoreApplication.instance()
    if thread is None or application is None or thread != application.thread():
        return False
    return thread.loopLevel() > 0 and napari.current_viewer() is not None


def open_in_window(path: str) -> None:
    """Let the dock of the current window read a path; the dock is opened if it is not there."""
    viewer = napari.current_viewer()
    loader = Runner()
    _loaders[:] = [one for one in _loaders if one.is_running]
    _loaders.append(loader)
    loader.finished.connect(lambda _: _give(viewer, Path(path)))
    loader.failed.connect(lambda error: show_error(f"napari-spotmix cannot be loaded: {error}"))
    loader.start(_load)


def _load(_: ProgressCallback) -> None:
    import napari_spotmix.ui.dock  # noqa: F401


def _give(viewer: Viewer | None, path: Path) -> None:
    from napari_spotmix.ui.panels.notify import reporting

    @reporting
    def give() -> None:
        if viewer is not None and napari.current_viewer() is not None:  # else it was closed meanwhile
            _, dock = viewer.window.add_plugin_dock_widget("napari-spotmix", "Cell-type deconvolution")
            dock.open_file(path)

    give()
