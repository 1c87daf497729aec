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
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from napari_spotmix.base.colors import NICHE_PALETTE, PALETTE
from napari_spotmix.ui.demo import open_dock, spot_at_a_border
from napari_spotmix.ui.dock import DeconvolutionWidget
from napari_spotmix.ui.state.maps import DOMINANT

PICTURES = Path(__file__).parent / "pictures"
SIZE = 1280, 800
CELL_TYPE = "Smooth muscle"


def main() -> None:
    """Walk through the tutorial and take a picture at each step."""
    viewer, dock = open_dock("napari")
    dock.load.sample.native.click()
    wait_until(lambda: dock.session.data.what_is_missing() is None and not dock.check.is_busy)
    take(viewer, "1-loaded")
    dock.run.run.native.click()
    wait_until(lambda: dock.session.result is not None)
    take(viewer, "2-dominant")
    dock.session.display.show(CELL_TYPE)
    take(viewer, "3-one-type")
    assert dock.session.result is not None
    spot = spot_at_a_border(dock.session.result)
    dock.session.display.show(DOMINANT)
    dock.session.pointer.pick(spot)
    take(viewer, "demo")
    look_closer(viewer, dock.session.result.coordinates[spot])
    take(viewer, "4-inspect")
    adjust(dock)
    viewer.reset_view(layers=[dock.scene.layer_of(CELL_TYPE)])
    take(viewer, "5-adjust")
    dock.adjust.back.native.click()
    wait_until(lambda: not dock.adjust.is_running)
    dock.sections["Adjust"].set_open(False)
    dock.sections["Run"].set_open(True)
    dock.session.display.show((CELL_TYPE, "Epithelial", "Fibroblast"))
    take(viewer, "6-blend")
    side_by_side(dock)
    take(viewer, "9-side-by-side")
    dock.session.display.show_panels(())
    regions(viewer, dock)
    take(viewer, "7-regions")
    niches(dock)
    take(viewer, "8-niches")
    viewer.close()


def side_by_side(dock: DeconvolutionWidget) -> None:
    """Show the six largest types in a panel each."""
    assert dock.session.result is not None
    means = dock.session.result.mean_proportions.sort_values(ascending=False)
    dock.session.display.show_panels(tuple(means.index[:6]))
    wait_until(lambda: not dock.overlays.side_by_side.is_busy)


def regions(viewer: napari.Viewer, dock: DeconvolutionWidget) -> None:
    """Draw two regions and compare the first with the rest."""
    assert dock.session.result is not None
    dock.session.display.show(DOMINANT)
    for name in ("Run", "Explore", "Inspect"):
        dock.sections[name].set_open(False)
    dock.sections["Regions"].set_open(True)
    dock.regions.drawing.polygon.native.click()
    layer = viewer.layers["Regions"]
    low, high = (np.nanquantile(dock.session.result.coordinates[:, ::-1], q, axis=0) for q in (0.0, 1.0))
    for top, bottom, left, right in ((0.72, 0.9, 0.25, 0.5), (0.12, 0.32, 0.35, 0.65)):
        corners = np.array([[top, left], [top, right], [bottom, right], [bottom, left]])
        layer.add(low + corners * (high - low), shape_type="polygon")
    layer.mode = "pan_zoom"
    dock.regions.drawing.names.item(0).setText("muscle")
    dock.regions.drawing.names.item(1).setText("glands")
    dock.regions.second.value = "glands"
    dock.regions.compare.native.click()
    wait_until(lambda: dock.regions.compared is not None)


def niches(dock: DeconvolutionWidget) -> None:
    """Find niches, and which types are near each other."""
    dock.sections["Regions"].set_open(False)
    dock.sections["Tissue"].set_open(True)
    dock.tissue.search.native.click()
    wait_until(lambda: dock.tissue.pairs is not None)


def adjust(dock: DeconvolutionWidget) -> None:
    """Smooth by hand, and leave a cell type out."""
    dock.session.pointer.pick(None)
    dock.session.display.show(CELL_TYPE)
    dock.sections["Run"].set_open(False)  # so that all of Adjust is seen
    dock.sections["Adjust"].set_open(True)
    dock.adjust.slider.setValue(dock.adjust.slider.value() + 80)
    dock.adjust.types.item(1).setCheckState(Qt.CheckState.Unchecked)
    wait_until(lambda: not dock.adjust.is_running)


def look_closer(viewer: napari.Viewer, xy: np.ndarray) -> None:
    """Zoom in on a position (x, y)."""
    viewer.scene.camera.center = (float(xy[1]), float(xy[0]))
    viewer.scene.camera.zoom *= 3


def wait_until(is_done: Callable[[], bool], seconds: float = 120) -> None:
    """Let the window live until something is done."""
    end = time.monotonic() + seconds
    while not is_done():
        if time.monotonic() > end:
            raise TimeoutError(f"The window has not finished within {seconds:.0f} s.")
        QApplication.processEvents()
        time.sleep(0.02)


def take(viewer: napari.Viewer, name: str) -> None:
    """Write what the window shows, once it has settled."""
    settled = time.monotonic() + 1.5
    wait_until(lambda: time.monotonic() > settled)
    pixels = viewer.screenshot(canvas_only=False, flash=False)
    few_colors(Image.fromarray(pixels[..., :3])).save(PICTURES / f"{name}.png", optimize=True)


def few_colors(picture: Image.Image) -> Image.Image:
    """Return a small version in 256 colors: cell types and interface exactly, the tissue about."""
    colors, n_pixels = np.unique(np.asarray(picture).reshape(-1, 3), axis=0, return_counts=True)
    types = np.array([list(bytes.fromhex(color[1:])) for color in PALETTE + NICHE_PALETTE], np.uint8)
    common = colors[np.argsort(-n_pixels)][: 256 - 160 - len(types)].astype(np.uint8)
    # The octree spreads its colors evenly, so that the few pixels of a color bar get theirs too.
    about = np.array(picture.quantize(160, Image.Quantize.FASTOCTREE).getpalette(), np.uint8).reshape(-1, 3)
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.concatenate([types, common, about])[:256].tobytes())
    picture.thumbnail(SIZE)
    return picture.quantize(palette=palette, dither=Image.Dither.NONE)


if __name__ == "__main__":
    main()
