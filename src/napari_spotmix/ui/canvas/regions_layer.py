"""The layer that regions are drawn in: from regions to shapes, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from napari.layers import Shapes

from napari_spotmix.dataset.access import coordinates
from napari_spotmix.dataset.geometry import placed_spots, to_yx
from napari_spotmix.dataset.regions import Region
from napari_spotmix.ui.canvas.layer_info import KEY, RegionsInfo
from napari_spotmix.ui.canvas.layers import spot_diameter
from napari_spotmix.ui.state.region_history import DrawnShape

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = [
    "LAYER",
    "line_width",
    "outline_of",
    "regions_layer",
    "regions_of",
    "set_shapes",
    "shapes_of",
    "shapes_of_regions",
]

#: Name of the layer that regions are drawn in.
LAYER = "Regions"

#: Corners of an ellipse that is kept as a polygon.
_CORNERS = 64
_ENCLOSING = ("polygon", "rectangle", "ellipse")
#: A section is so many times as wide as an outline of a region.
_THINNEST = 400


def outline_of(shape: np.ndarray, kind: str) -> np.ndarray:
    """Return the corners (x, y) of a shape of napari, whose own are (y, x)."""
    corners = np.asarray(shape, dtype=float)[:, -2:]
    if kind == "ellipse":
        middle, half = corners.mean(axis=0), (corners[1] - corners[0]) / 2
        other = (corners[3] - corners[0]) / 2
        turn = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)[:, None]
        corners = middle + np.cos(turn) * half + np.sin(turn) * other
    return corners[:, ::-1].copy()


def shapes_of_regions(regions: Sequence[Region]) -> tuple[DrawnShape, ...]:
    """Return regions as polygons."""
    return tuple(DrawnShape(region.name, "polygon", to_yx(region.outline)) for region in regions)


def regions_of(shapes: Sequence[DrawnShape]) -> tuple[Region, ...]:
    """Return the shapes that enclose something as regions."""
    return tuple(
        Region(shape.name, outline_of(shape.corners, shape.kind))
        for shape in shapes
        if shape.kind in _ENCLOSING and len(shape.corners) >= 3
    )


def shapes_of(layer: Shapes) -> list[DrawnShape]:
    """Return what is drawn in a layer; a shape without a name has an empty one."""
    names = list(layer.features.get("name", []))
    found = []
    for at, (corners, kind) in enumerate(zip(layer.data, layer.shape_type, strict=True)):
        name = names[at] if at < len(names) and isinstance(names[at], str) else ""
        found.append(DrawnShape(name, str(kind), np.array(corners, dtype=float)[:, -2:]))
    return found


def set_shapes(layer: Shapes, shapes: Sequence[DrawnShape]) -> None:
    """Draw other shapes in a layer."""
    layer.selected_data.clear()
    layer.data = [(shape.corners, shape.kind) for shape in shapes]
    set_names(layer, shapes)
    layer.edge_width = [layer.current_edge_width] * len(shapes)
    layer.refresh()


def set_names(layer: Shapes, shapes: Sequence[DrawnShape]) -> None:
    """Name the shapes of a layer, if their names differ."""
    names = [shape.name for shape in shapes]
    if list(layer.features.get("name", [])) != names:
        layer.features = _features(names)


def regions_layer(adata: AnnData, shapes: Sequence[DrawnShape], *, over_image: bool) -> Shapes:
    """Return a layer with these shapes, readable on a stained tissue or on the dark canvas."""
    ink = "black" if over_image else "white"
    width = line_width(adata)
    layer = Shapes(
        [shape.corners for shape in shapes] or None,
        ndim=2,
        shape_type=[shape.kind for shape in shapes] or "polygon",
        name=LAYER,
        features=_features([shape.name for shape in shapes]),
        text={"string": "{name}", "size": 14, "color": ink, "anchor": "center"},
        edge_color=ink,
        edge_width=width,
        face_color="#00000000",
        opacity=1.0,
        metadata={KEY: RegionsInfo(adata)},
    )
    layer.current_edge_width = width
    return layer


def _features(names: Sequence[Any]) -> pd.DataFrame:
    return pd.DataFrame({"name": pd.Series(names, dtype=object)})


def line_width(adata: AnnData) -> float:
    """Return the width of an outline in full-resolution pixels: thin compared with all of the section."""
    xy = coordinates(adata)[placed_spots(adata)]
    extent = float(np.ptp(xy, axis=0).max()) if len(xy) else 0.0
    return max(extent / _THINNEST, spot_diameter(adata) / 20)
