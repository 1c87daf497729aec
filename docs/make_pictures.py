"""Make the pictures of the documentation: the steps of the tutorial on the simulated tissue.

Needs a display; `make docs` provides one in memory where there is none.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
from PIL import Image
from qtpy.QtWidgets import QApplication

from napari_spotmix.ui.dock import DeconvolutionWidget

PICTURES = Path(__file__).parent / "pictures"
SIZE = 1440, 900
CELL_TYPE = "Smooth muscle"


def main() -> None:
    """Walk through the tutorial and take a picture at each step."""
    viewer = napari.Viewer(show=True)
    viewer.window._qt_window.resize(*SIZE)
    viewer.open_sample("napari-spotmix", "simulated_tissue")
    _, dock = viewer.window.add_plugin_dock_widget("napari-spotmix", "Cell-type deconvolution")
    assert isinstance(dock, DeconvolutionWidget)
    wait_until(lambda: dock.session.what_is_missing() is None)
    take(viewer, "1-loaded")
    dock.run.start()
    wait_until(lambda: not dock.run.is_running)
    take(viewer, "2-dominant")
    dock.session.show(CELL_TYPE)
    take(viewer, "3-one-type")
    dock.session.pick(border_spot(dock))
    take(viewer, "4-inspect")
    viewer.close()


def border_spot(dock: DeconvolutionWidget) -> int:
    """Return the spot whose attention to its neighbours differs most: one at a border."""
    assert dock.session.result is not None
    attention = dock.session.result.attention.tocsr()
    spread = [
        np.ptp(attention.data[a:b]) if b - a == 6 else 0.0
        for a, b in zip(attention.indptr, attention.indptr[1:], strict=False)
    ]
    return int(np.argmax(spread))


def wait_until(is_done: Callable[[], bool], seconds: float = 120) -> None:
    """Let the window live until something is done."""
    end = time.monotonic() + seconds
    while not is_done():
        if time.monotonic() > end:
            raise TimeoutError("the window did not get there")
        QApplication.processEvents()
        time.sleep(0.02)


def take(viewer: napari.Viewer, name: str) -> None:
    """Write what the window shows, with few enough colours to be small."""
    settled = time.monotonic() + 1.0
    wait_until(lambda: time.monotonic() > settled)
    pixels = viewer.screenshot(canvas_only=False, flash=False)
    picture = Image.fromarray(pixels).convert("RGB")
    picture.thumbnail(SIZE)
    picture.quantize(256, dither=Image.Dither.NONE).save(PICTURES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
