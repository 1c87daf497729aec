"""Measure wait times in the viewer and compare them with napari alone for the same number of points.

    python benchmarks/viewer.py [N ...] [--page FILE]

Each N is a number of spots (default: 5,000, 100,000 and 1,000,000): Visium-like spots up to 20,000, square
bins above. Each size runs in a separate process, in a real window. Without a display, start the command with
``xvfb-run``. The result shown is the simulated ground truth, so nothing has to be fitted. ``--page`` also
writes the table to a page of the documentation.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tables import Table, fill

#: Steps that a user waits for, and the targets in milliseconds for 5,000 spots and for a million.
AIMS = {
    "adding the result": (500, 3000),
    "until the map is seen": (50, 300),
    "dragging the end of the colors": (50, 300),
    "picking a spot": (20, 20),
    "panning": (None, None),
    "six types side by side": (None, None),
    "panning side by side": (None, None),
}


def truth_as_result(n_spots: int) -> Any:
    """Return the simulated ground truth as a result, with a graph of neighboring spots."""
    from scipy.sparse import csr_array

    from napari_spotmix import simulate
    from napari_spotmix.model.graph import build_graph
    from napari_spotmix.result import Provenance, Result

    is_binned = n_spots > 20_000
    tissue = simulate(
        n_spots=n_spots,
        n_genes=60,
        n_cell_types=20,
        layout="square" if is_binned else "hexagonal",
        counts_per_spot=50,
        image=not is_binned,
    )
    spatial = tissue.spatial
    graph = build_graph(np.asarray(spatial.obsm["spatial"], dtype=float))
    edges = graph.squared_distance
    weights = csr_array((np.exp(-0.3 * edges.data), edges.indices, edges.indptr), shape=edges.shape)
    return Result(
        abundances=spatial.obsm["truth"],
        counts=pd.Series(np.asarray(spatial.X.sum(axis=1)).ravel(), index=spatial.obs_names),
        reasons=pd.Series("", index=spatial.obs_names),
        signatures=pd.DataFrame(index=spatial.obsm["truth"].columns),
        weights=weights,
        attention=weights,
        spatial=spatial,
        provenance=Provenance(given={"normalize": True, "share": "rna"}, summary="ground truth"),
    )


def measure(n_spots: int) -> dict[str, float]:
    """Open a window, repeat the steps of a user, and return the milliseconds of each step."""
    from qtpy.QtWidgets import QApplication

    from napari_spotmix.ui.demo import open_dock
    from napari_spotmix.ui.state.loaded import LoadedTissue
    from napari_spotmix.ui.state.prepare import prepare
    from napari_spotmix.ui.state.spot_finder import SpotFinder

    result = truth_as_result(n_spots)
    viewer, dock = open_dock("Benchmark")
    viewer.window.resize(1600, 1000)
    dock.session.data.set_tissue(LoadedTissue(result.spatial, "tissue"))
    _settle(QApplication.instance())

    def timed(step: Callable[[], object]) -> float:
        start = time.perf_counter()
        step()
        _settle(QApplication.instance())
        return 1000 * (time.perf_counter() - start)

    prepare(result)  # a run does this in its thread
    before = _megabytes()
    waits = {"adding the result": timed(lambda: dock.session.set_result(result))}
    types = result.cell_types
    dock.session.display.show(types[0])
    _settle(QApplication.instance())
    waits["first look at a type"] = float(
        np.median([timed(lambda t=t: dock.session.display.show(t)) for t in types[1:6]])
    )
    waits["back to a type"] = float(
        np.median([timed(lambda t=t: dock.session.display.show(t)) for t in types[1:6]])
    )
    parts = np.median([_in_parts(lambda t=t: dock.session.display.show(t)) for t in types[1:6]], axis=0)
    waits |= dict(zip(("until the window draws", "until the map is seen"), map(float, parts), strict=True))
    waits["dragging the end of the colors"] = dragging(dock)
    positions = result.coordinates[np.linspace(0, n_spots - 1, 20).astype(int)]
    finder = SpotFinder(result.spatial)
    start = time.perf_counter()
    for x, y in positions:
        found = finder.at(x, y)
        assert found is not None
    waits["picking a spot"] = 1000 * (time.perf_counter() - start) / len(positions)
    waits["panning"] = float(np.median([timed(lambda s=s: _pan(viewer, s)) for s in (1, -1, 1, -1, 1)]))
    waits |= side_by_side(dock, timed)
    waits["memory, MB"] = _megabytes() - before
    dock.session.set_result(None)
    _settle(QApplication.instance())  # OpenGL fails if a layer is removed before it is drawn
    viewer.layers.clear()
    _settle(QApplication.instance())
    dock.close_session()  # so that the plugin does not change how these points are drawn
    waits |= alone(viewer, result, timed)
    viewer.close()
    return waits


def dragging(dock: Any) -> float:
    """Return the milliseconds until the colors of a type are seen with another end."""
    from napari_spotmix.ui.state.map_range import set_ends

    name = dock.session.display.shown
    return float(
        np.median([_in_parts(lambda e=e: set_ends(dock.session, {name: e / 10}))[1] for e in range(2, 8)])
    )


def side_by_side(dock: Any, timed: Callable[[Callable[[], object]], float]) -> dict[str, float]:
    """Return the milliseconds to show six types side by side, and to pan them."""
    from qtpy.QtWidgets import QApplication

    def open_panels() -> None:
        dock.session.display.show_panels(dock.session.result.cell_types[:6])
        while dock.overlays.side_by_side.is_busy:
            QApplication.processEvents()

    opening = timed(open_panels)
    camera = dock.overlays.side_by_side.panels[0].view.camera
    step = 50 / dock.overlays.side_by_side.panels[0].zoom
    moving = float(np.median([timed(lambda s=s: camera.pan(s * step, 0)) for s in (1, -1, 1, -1, 1)]))
    dock.session.display.show_panels(())
    return {"six types side by side": opening, "panning side by side": moving}


def alone(viewer: Any, result: Any, timed: Callable[[Callable[[], object]], float]) -> dict[str, float]:
    """Return the milliseconds of napari alone for the same number of points, colored by a feature."""
    values = result.abundances.iloc[:, :2].rename(columns=lambda name: f"_{name}").to_numpy()
    features = pd.DataFrame({"first": values[:, 0], "second": values[:, 1]})
    made: list[Any] = []
    size = float(np.ptp(result.coordinates, axis=0).max()) / len(result.coordinates) ** 0.5
    options = {"features": features, "face_color": "first", "size": size, "border_width": 0}
    add = timed(lambda: made.append(viewer.add_points(result.coordinates[:, ::-1], **options)))
    switch = timed(lambda: setattr(made[0], "face_color", "second"))
    viewer.reset_view()
    pan = float(np.median([timed(lambda s=s: _pan(viewer, s)) for s in (1, -1, 1)]))
    return {"points alone: adding": add, "points alone: switching": switch, "points alone: panning": pan}


def _in_parts(step: Callable[[], object]) -> tuple[float, float]:
    """Return the milliseconds of a step, and until the first drawing after it; lists are drawn later."""
    from qtpy.QtWidgets import QApplication

    start = time.perf_counter()
    step()
    done = time.perf_counter()
    QApplication.processEvents()
    seen = time.perf_counter()
    _settle(QApplication.instance())
    return 1000 * (done - start), 1000 * (seen - start)


def _pan(viewer: Any, sign: int) -> None:
    z, y, x = viewer.scene.camera.center
    viewer.scene.camera.center = (z, y, x + sign * 50 / viewer.scene.camera.zoom)


def _settle(application: Any) -> None:
    """Process all pending events of the window, including drawing."""
    for _ in range(10):
        application.processEvents()


def _megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure each size in a separate process and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "sizes", nargs="*", type=int, metavar="N", default=[5000, 100_000, 1_000_000], help="spots"
    )
    parser.add_argument("--page", type=Path, metavar="FILE", help="also write the table to this page")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.sizes[0])))
        return
    columns = {}
    for n_spots in options.sizes:
        command = [sys.executable, str(Path(__file__)), str(n_spots), "--one"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        columns[f"{n_spots:,}"] = json.loads(done.stdout.splitlines()[-1])
    table = pd.DataFrame(columns)
    table["aim at 5,000"] = [AIMS.get(name, (np.nan, np.nan))[0] for name in table.index]
    table["at 1,000,000"] = [AIMS.get(name, (np.nan, np.nan))[1] for name in table.index]
    waits = Table("viewer", "Wait times in milliseconds:", table.astype(float).rename_axis("wait"), digits=1)
    waits.print()
    if options.page:
        fill(options.page, [waits])


if __name__ == "__main__":
    main()
