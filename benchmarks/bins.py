"""Simulated bins smaller than a cell: what smoothing and attention are for, as a table and a picture."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm, to_rgb
from matplotlib.figure import Figure

from napari_spotmix import Result, deconvolve, simulate
from napari_spotmix.simulation.simulate import SimulatedTissue
from tables import Table

COUNTS, SEEDS = (20, 40), (0, 1)
WAYS: dict[str, dict[str, Any]] = {
    "none": {"lambda_c": 0.0},
    "laplacian": {"attention": False},
    "attention": {},
}
#: Bins along a side of the picture.
_SIDE = 36


def tissue(counts: float, seed: int = 0, n_spots: int = 6000) -> SimulatedTissue:
    """Simulate bins of 4 um over cells of 12 um, with sharp borders."""
    return simulate(
        n_spots,
        layout="square",
        counts_per_spot=counts,
        pitch_um=4,
        cell_diameter_um=12,
        random_state=seed,
        image=False,
    )


def bins() -> Table:
    """Return the RMSE of each way to smooth, by depth and seed."""
    rows = {(counts, seed): _errors(tissue(counts, seed)) for counts in COUNTS for seed in SEEDS}
    table = pd.DataFrame(rows).T.rename_axis(["counts", "seed"])
    table["attention / laplacian"] = table["attention"] / table["laplacian"]
    return Table("bins", "RMSE on simulated bins of 4 um, cells of 12 um:", table)


def _errors(simulated: SimulatedTissue) -> dict[str, float]:
    truth = simulated.spatial.obsm["truth"].to_numpy()
    found = {}
    for name, options in WAYS.items():
        print(f"bins {name}", file=sys.stderr, flush=True)
        proportions = _deconvolve(simulated, **options).proportions.to_numpy()
        found[name] = float(
            np.sqrt(np.nanmean((proportions - truth) ** 2))
        )  # bins without counts are not estimated
    return found


def _deconvolve(simulated: SimulatedTissue, **options: Any) -> Result:
    return deconvolve(simulated.spatial, simulated.reference, cell_type_key="cell_type", **options)


def draw_edges(file: Path, counts: float = 40) -> None:
    """Write a picture of the true cell types, of those found, and of the edges between bins."""
    simulated = tissue(counts)
    result = _deconvolve(simulated)
    spatial = simulated.spatial
    places = spatial.obs[["array_col", "array_row"]].to_numpy(float)
    corner = _liveliest(places, spatial.obsm["truth"].to_numpy().argmax(axis=1))
    figure = Figure(figsize=(13.5, 4.3), layout="constrained")
    true, found, edges = figure.subplots(1, 3)
    colors = result.colors
    _draw_types(true, places, spatial.obsm["truth"], colors)
    _draw_types(found, places, result.proportions, colors)
    lines = _draw_edges(edges, places, result)
    figure.colorbar(lines, ax=edges, shrink=0.9, label="weight of a neighbor, of the bin's own counts = 1")
    titles = "cell types, true", "cell types, found", "edges, learned"
    for axes, title in zip((true, found, edges), titles, strict=True):
        axes.set(title=title, xticks=[], yticks=[], aspect="equal")
        axes.set(
            xlim=corner[0] + np.array([-0.5, _SIDE - 0.5]), ylim=corner[1] + np.array([_SIDE - 0.5, -0.5])
        )
    figure.savefig(file, dpi=100)


def _liveliest(places: np.ndarray, types: np.ndarray) -> np.ndarray:
    """Return the (x, y) corner of the window in which the most types share the bins most evenly."""
    best, most = places.min(axis=0), -1.0
    for x in range(0, int(places[:, 0].max()) - _SIDE + 2, 4):
        for y in range(0, int(places[:, 1].max()) - _SIDE + 2, 4):
            inside = ((places >= (x, y)) & (places < (x + _SIDE, y + _SIDE))).all(axis=1)
            share = np.bincount(types[inside]) / _SIDE**2
            entropy = -float((share[share > 0] * np.log(share[share > 0])).sum())
            if entropy > most:
                best, most = np.array([x, y], float), entropy
    return best


def _draw_types(axes: Axes, places: np.ndarray, proportions: pd.DataFrame, colors: dict[str, str]) -> None:
    """Draw each bin in the mixture of its types' colors."""
    mixed = proportions.to_numpy() @ np.array([to_rgb(colors[name]) for name in proportions.columns])
    size = places.max(axis=0).astype(int) + 1
    picture = np.ones((size[1], size[0], 3))
    picture[places[:, 1].astype(int), places[:, 0].astype(int)] = np.clip(mixed, 0, 1)
    axes.imshow(picture, interpolation="nearest")


def _draw_edges(axes: Axes, places: np.ndarray, result: Result) -> LineCollection:
    """Draw each edge, the brighter the more its ends are drawn together."""
    edges = result.weights.tocoo()
    once = edges.row < edges.col
    ends = np.stack([places[edges.row[once]], places[edges.col[once]]], axis=1)
    weight = result.parameters["learned"]["lambda_c"] * edges.data[once]
    order = np.argsort(weight)
    lines = LineCollection(list(ends[order]), array=weight[order], cmap="magma", norm=LogNorm(1e-3, 1))
    axes.add_collection(lines)
    axes.set_facecolor("black")
    return lines
