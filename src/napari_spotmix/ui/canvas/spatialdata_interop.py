"""What napari's status bar shows of bins, and the metadata that napari-spatialdata reads."""

from __future__ import annotations

from types import MethodType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData
from napari.layers import Image, Layer, Points
from scipy.sparse import issparse

from napari_spotmix.base.keys import ADDED, SPATIAL, added_keys
from napari_spotmix.base.weak_cache import weakly_cached
from napari_spotmix.dataset.bin_grid import bin_grid
from napari_spotmix.dataset.geometry import placed_spots
from napari_spotmix.ui.canvas.layer_info import map_of
from napari_spotmix.ui.canvas.layers import UNKNOWN
from napari_spotmix.ui.text import plain

if TYPE_CHECKING:
    from napari_spotmix.result import Result

__all__ = ["describe_bin", "for_spatialdata", "serve_others"]

_REGION, _INSTANCE, _ATTRS = "region", "instance_id", "spatialdata_attrs"
_NOT_ESTIMATED = "not estimated"


def serve_others(layer: Layer) -> None:
    """Let napari's status bar describe bins, and napari-spatialdata work on spots."""
    info = map_of(layer)
    if isinstance(layer, Points) and info is not None:
        layer.metadata.update(for_spatialdata(info.result))
    elif isinstance(layer, Image):
        # An image has no features, which the status bar shows of points.
        layer.get_status = MethodType(_status_of_bins, layer)


def for_spatialdata(result: Result) -> dict[str, Any]:
    """Return the metadata that napari-spatialdata reads from a layer of spots.

    Returns
    -------
    dict
        `adata`: the spots of the layer in its order, with proportions in ``obsm["spotmix"]`` and the dominant
        type in ``obs``; `region_key` and `instance_key`: columns of its ``obs``; `indices`: the instance of
        each point. Neither `sdata` nor `table_names`: with these it would read its own file. Nor `name`:
        it takes a layer with one for its own, and raises when that is removed.

    Notes
    -----
    As its versions 0.5 to 0.7 read it; tried with 0.7.2. Counts are shared with the result, not copied.
    """
    return {
        "adata": _annotated(result),
        "region_key": _REGION,
        "instance_key": _INSTANCE,
        "indices": placed_spots(result.spatial).tolist(),
    }


@weakly_cached
def _annotated(result: Result) -> AnnData:
    """Return the spots annotated with the result."""
    spots, keys = placed_spots(result.spatial), added_keys(ADDED)
    obs = result.spatial.obs.iloc[spots].copy()
    obs[keys["dominant"]], colors = _dominant(result, spots)
    obs[keys["counts"]] = result.counts.iloc[spots]
    obs[keys["unexplained"]] = result.unexplained.iloc[spots]
    obs[_REGION] = pd.Categorical(["spots"] * len(spots))
    obs[_INSTANCE] = spots
    counts = result.spatial.X
    is_whole = len(spots) == result.spatial.n_obs
    return AnnData(
        # Counts that stay in their file are not read for this.
        X=counts if is_whole and (issparse(counts) or isinstance(counts, np.ndarray)) else None,
        obs=obs,
        var=result.spatial.var,
        obsm={
            SPATIAL: result.coordinates[spots],
            keys["proportions"]: result.proportions.iloc[spots],
        },
        uns={
            keys["colors"]: np.array(colors),  # of a list it makes no palette
            _ATTRS: {"region": ["spots"], "region_key": _REGION, "instance_key": _INSTANCE},
        },
    )


def _dominant(result: Result, spots: np.ndarray) -> tuple[pd.Series, list[str]]:
    """Return the dominant type of spots, and a color of each category; with no category all go white."""
    dominant, colors = result.dominant.iloc[spots], list(result.colors.values())
    if dominant.notna().all():
        return dominant, colors
    return dominant.cat.add_categories(_NOT_ESTIMATED).fillna(_NOT_ESTIMATED), [*colors, UNKNOWN]


def describe_bin(result: Result, y: float, x: float) -> list[str]:
    """Describe the bin at a point, in the form of the features of points in napari's status bar."""
    grid = bin_grid(result.spatial)
    found = None if grid is None else grid.at(y, x)
    if found is None:
        return []
    at = int(placed_spots(result.spatial)[found])
    facts = {"spot": result.abundances.index[at]}
    if result.reasons.iloc[at]:
        facts[_NOT_ESTIMATED] = result.reasons.iloc[at]
    else:
        facts["dominant"] = result.dominant.iloc[at]
        facts["counts"] = f"{result.counts.iloc[at]:.0f}"
        facts["unexplained"] = f"{result.unexplained.iloc[at]:.3f}"
    # Names as plain text: napari's status bar guesses at HTML.
    return [plain(f"{name}: {value}") for name, value in facts.items()]


def _status_of_bins(layer: Image, position: Any = None, **settings: Any) -> dict[str, str]:
    """Return napari's status of an image, with a description of the bin there."""
    status = type(layer).get_status(layer, position, **settings)
    info = map_of(layer)
    if position is not None and info is not None and settings.get("world"):
        y, x = map(float, position[-2:])
        if facts := describe_bin(info.result, y, x):
            status["coordinates"] += "; " + ", ".join(facts)
            status["value"] += "; " + ", ".join(facts)
    return dict(status)
