"""From data to layers: pure functions, no window needed.

AnnData holds (x, y), napari wants (y, x): `to_yx` alone converts between them. The unit of the world is
the full-resolution pixel, so spots keep their coordinates and images are scaled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from napari.layers import Image, Points
from napari.utils.colormaps import Colormap, ensure_colormap
from napari.utils.colormaps.standardize_color import transform_color
from scipy.sparse import triu

from napari_spotmix.analysis.neighborhood import neighbors_of
from napari_spotmix.base.color_range import ColorRange
from napari_spotmix.base.colors import MAP, PROPORTION, overlay
from napari_spotmix.base.keys import BIN_SIZE
from napari_spotmix.base.weak_cache import weakly_cached
from napari_spotmix.dataset import geometry as scale
from napari_spotmix.dataset.access import coordinates, scale_factors, tissue_image
from napari_spotmix.dataset.bin_grid import bin_grid
from napari_spotmix.dataset.geometry import placed_spots, to_yx
from napari_spotmix.output.figure_maps import FADED, blended
from napari_spotmix.output.ranges import end_of_map, ends_of_types
from napari_spotmix.ui.canvas.bins import bins_layer
from napari_spotmix.ui.canvas.layer_info import KEY, TissueInfo
from napari_spotmix.ui.state.edges import EdgeMap, edge_limits, edge_values
from napari_spotmix.ui.text import plain

if TYPE_CHECKING:
    from anndata import AnnData
    from napari.layers import Layer
    from napari.types import FullLayerData

    from napari_spotmix.io import TissueImage
    from napari_spotmix.result import Result

__all__ = [
    "ATTENTION_COLORMAP",
    "MOST_OUTLINED",
    "UNKNOWN",
    "blend_layer",
    "dominant_layer",
    "graph_layer",
    "has_image",
    "image_layer",
    "is_changed_by_others",
    "is_tissue",
    "map_colormap",
    "map_layer",
    "neighborhood_layer",
    "niche_layer",
    "other_image_layer",
    "overlay_colormap",
    "point_settings",
    "positions",
    "proportion_colormap",
    "proportion_layer",
    "recolor",
    "selection_layer",
    "set_end",
    "spot_diameter",
    "spots_layer",
    "symbol_of",
    "symbols_of",
    "tissue_layers",
    "update_layer",
]


ATTENTION_COLORMAP = "plasma"

#: The color of what was not estimated.
UNKNOWN = "#808080"


_CLEAR = "#00000000"

#: Fine enough for each step of the slider of the threshold.
_N_COLORS = 1001

#: Colormaps that are kept: dragging the end of the colors makes one for each step.
_MOST_COLORMAPS = 64

#: The color of bins without a result.
_VEIL = "#80808040"

#: Outlines are never thinner than a pixel of the screen: around more spots than this, they hide the colors.
MOST_OUTLINED = 3000

#: napari's status bar shows every feature: more columns of ``obs`` than these could not be read.
_MOST_COLUMNS = 6

#: An edge of full attention is drawn with so many lines.
_MOST_LINES = 4

_UPDATED = (
    *("features", "size", "face_color", "border_color", "border_width"),
    *("edge_color", "edge_colormap", "edge_contrast_limits"),
)


def spot_diameter(adata: AnnData) -> float:
    """Return the diameter of a spot in full-resolution pixels: as given, else half the usual distance.

    For bins that are drawn as an image, it is their side.
    """
    grid = bin_grid(adata)
    if grid is not None:
        return grid.side
    return scale.spot_diameter(adata)


def tissue_layers(tissue: TissueInfo, name: str) -> list[FullLayerData]:
    """Return the image, if there is one, and the spots over it; the layer of spots keeps the `TissueInfo`."""
    image = image_layer(tissue.adata, f"{plain(name)} image")
    spots = spots_layer(tissue.adata, f"{plain(name)} spots")
    spots[1]["metadata"] = {KEY: tissue}
    return [spots] if image is None else [image, spots]


def image_layer(adata: AnnData, name: str) -> FullLayerData | None:
    """Return the finest tissue image, scaled to full-resolution pixels, or None."""
    found = tissue_image(adata)
    return None if found is None else _image(*found, name)


def other_image_layer(image: TissueImage, adata: AnnData | None, name: str) -> FullLayerData:
    """Return another image of the section, pyramid and all, in register with the spots.

    An image of the same shape as the section's own, at any resolution, covers the same area. Without an own
    image to compare with, its pixels are taken as full-resolution pixels.
    """
    height, width = image.height_width
    own = None if adata is None else image_layer(adata, name)
    step = 1.0
    if own is not None:
        covered = own[0].shape[1] * own[1]["scale"][1]
        has_same_shape = abs(own[0].shape[0] / own[0].shape[1] * width / height - 1) < 0.01
        step = covered / width if has_same_shape else 1.0
    middle = (step - 1.0) / 2
    settings: dict[str, Any] = {"name": plain(name), "scale": (step, step), "translate": (middle, middle)}
    is_pyramid = len(image.levels) > 1
    if image.is_rgb:
        settings["rgb"] = True
    data = image.levels if is_pyramid else image.levels[0]
    return data, settings | {"multiscale": is_pyramid}, "image"


def _image(pixels: np.ndarray, step: float, name: str) -> FullLayerData:
    # napari puts the middle of a pixel at its index: that of the first is in the middle of `step` pixels.
    middle = (step - 1.0) / 2
    settings: dict[str, Any] = {"name": name, "scale": (step, step), "translate": (middle, middle)}
    if pixels.ndim == 3 and pixels.shape[-1] in (3, 4):
        settings["rgb"] = True
    return pixels, settings, "image"


def spots_layer(adata: AnnData, name: str) -> FullLayerData:
    """Return the spots as thin outlines at their true size, with the first columns of ``obs``."""
    spots, grid = placed_spots(adata), bin_grid(adata)
    if grid is not None:
        veil = np.broadcast_to(transform_color(_VEIL)[0], (len(spots), 4))
        return bins_layer(grid, name, veil)
    features = adata.obs.iloc[spots, :_MOST_COLUMNS].reset_index(drop=True)
    features.insert(0, "spot", adata.obs_names[spots].astype(str).map(plain), allow_duplicates=True)
    settings = point_settings(adata, name) | {
        "features": features.loc[:, ~features.columns.duplicated()],
        "face_color": _CLEAR,
        "border_color": _outline(adata) if len(spots) <= MOST_OUTLINED else "#80808030",
        "border_width": 0.08,
    }
    return positions(adata), settings, "points"


def proportion_layer(
    result: Result,
    cell_type: str,
    threshold: float = 0.0,
    *,
    end: float | None = None,
    name: str | None = None,
) -> FullLayerData:
    """Return the spots colored by the proportion of one cell type, from 0 to `end`.

    The usual end is the type's own maximum. Spots that were not estimated are hollow and gray; their feature
    `not estimated` says why. Bins that were not estimated are left out of their image. Below the `threshold`,
    colors are faded.
    """
    if end is None:
        end = ends_of_types(result, [cell_type], ColorRange())[cell_type]
    values = _of_placed(result, result.proportions[cell_type].to_numpy())
    colormap = proportion_colormap(result, threshold / end)
    return _valued_layer(result, name or plain(cell_type), "proportion", values, colormap, end)


def proportion_colormap(result: Result, faded_below: float = 0.0) -> Colormap:
    """Return the colors of proportions: none at 0, and faded below a share of the range."""
    return overlay_colormap(PROPORTION, has_image(result.spatial), faded_below)


def map_colormap(result: Result, shown: object, faded_below: float = 0.0) -> Colormap:
    """Return the colors of a cell type, given by its name, or of a map of its own."""
    is_type = isinstance(shown, str)
    return (
        proportion_colormap(result, faded_below)
        if is_type
        else overlay_colormap(MAP, has_image(result.spatial))
    )


@lru_cache(maxsize=_MOST_COLORMAPS)
def overlay_colormap(base: str, over_image: bool, faded_below: float = 0.0) -> Colormap:
    """Return a colormap for overlays, faded below a share of its range."""
    colors = overlay(base, ensure_colormap(base).map, _N_COLORS, over_image=over_image)
    # Where a type is absent, nothing appears that was not there without a threshold.
    is_faded = np.linspace(0, 1, _N_COLORS) < faded_below
    colors[is_faded, 3] = np.minimum(colors[is_faded, 3], FADED)
    name = f"{base} over {'image' if over_image else 'gray'}" + (f" from {faded_below:g}" * (faded_below > 0))
    return Colormap(colors, name=name, display_name=name)


def blend_layer(
    result: Result,
    name: str,
    cell_types: Sequence[str],
    threshold: float = 0.0,
    ends: Mapping[str, float] | None = None,
) -> FullLayerData:
    """Return the spots in the blended colors of some cell types, as `figure_maps.blended` mixes them."""
    shares = _of_placed(result, result.proportions[list(cell_types)].to_numpy())
    ends = ends or ends_of_types(result, cell_types, ColorRange())
    own = transform_color([result.colors[one] for one in cell_types])[:, :3]
    over_image = has_image(result.spatial)
    colors = blended(shares, [ends[one] for one in cell_types], own, threshold, over_image)
    return _colored_layer(result, name, colors)


def map_layer(result: Result, name: str, feature: str, *, end: float | None = None) -> FullLayerData:
    """Return the spots colored by one of their features, from 0 to `end`; few spots exceed the usual one."""
    values = _of_placed(result, getattr(result, feature).to_numpy(float))
    if end is None:
        end = end_of_map(result, feature, ColorRange())
    return _valued_layer(result, name, feature, values, map_colormap(result, None), end)


def set_end(layer: Layer, end: float, colormap: Colormap, start: float = 0.0) -> None:
    """Let the colors of a map end at another value: quicker than coloring it again."""
    prefix = "" if isinstance(layer, Image) else "face_"
    limits = [start, end] if isinstance(layer, Image) else (start, end)
    wanted = {f"{prefix}contrast_limits": limits, f"{prefix}colormap": colormap}
    _set_changed(layer, wanted, *wanted)


def _valued_layer(
    result: Result, name: str, feature: str, values: np.ndarray, colormap: Colormap, end: float
) -> FullLayerData:
    """Return spots, or bins, colored by a value each from 0 to `end`."""
    grid = bin_grid(result.spatial)
    if grid is not None:
        values = np.where(_is_estimated(result), values, np.nan)
        return bins_layer(
            grid, name, values, {"colormap": colormap, "contrast_limits": [0.0, end], "gamma": 1.0}
        )
    features = _features(result)
    if feature not in features:
        features.insert(1, feature, values)
    is_known = features["dominant"].notna().to_numpy()
    settings = _result_points(result, name, features) | {
        # No outlines: where a value is 0, nothing is drawn.
        "border_color": transform_color([UNKNOWN, _CLEAR])[is_known.astype(int)],
        "border_width": np.where(is_known, 0.0, 0.12),
        "face_color": feature,
        "face_colormap": colormap,
        "face_contrast_limits": (0.0, end),
    }
    return positions(result.spatial), settings, "points"


def niche_layer(result: Result, name: str, label: np.ndarray, colors: Sequence[str]) -> FullLayerData:
    """Return the spots in the color of their niche, a number from 0; -1 for what was not estimated."""
    rgba = transform_color([*colors, _CLEAR])[_of_placed(result, label)]
    return _colored_layer(result, name, rgba)


def dominant_layer(result: Result, name: str, threshold: float = 0.0) -> FullLayerData:
    """Return the spots in the color of their largest cell type, faded where that is below a threshold."""
    # As RGBA: napari takes long to read the names of so many colors. Code -1 is the last: not known.
    colors = transform_color([*result.colors.values(), _CLEAR])
    rgba = colors[_of_placed(result, result.dominant.cat.codes.to_numpy())]
    if threshold > 0:
        largest = _of_placed(result, result.proportions.to_numpy().max(axis=1))
        rgba[largest < threshold, 3] = FADED
    return _colored_layer(result, name, rgba)


def _colored_layer(result: Result, name: str, rgba: np.ndarray) -> FullLayerData:
    """Return spots, or bins, in a color each."""
    grid = bin_grid(result.spatial)
    if grid is not None:
        return bins_layer(grid, name, rgba)
    settings = _result_points(result, name, _features(result)) | {"face_color": rgba}
    return positions(result.spatial), settings, "points"


def selection_layer(result: Result, spot: int, name: str) -> FullLayerData:
    """Return the outlines of a spot (white around black, visible on any ground) and of its neighbors."""
    neighbors, _, attention = neighbors_of(result, spot)
    rows = np.concatenate([neighbors, [spot, spot]])
    diameter = spot_diameter(result.spatial)
    settings = {
        "name": name,
        "size": np.concatenate([np.full(len(neighbors), 1.1), [1.22, 1.36]]) * diameter,
        "face_color": _CLEAR,
        "border_color": ["#202020"] * (len(neighbors) + 1) + ["#ffffff"],
        "border_width": np.concatenate([np.full(len(neighbors), 0.06), [0.09, 0.08]]),
        "symbol": symbol_of(result.spatial),
        "features": pd.DataFrame(
            {
                "spot": result.abundances.index[rows].astype(str),
                "attention": np.concatenate([attention, [np.nan, np.nan]]),
            }
        ),
    }
    return to_yx(result.coordinates[rows]), settings, "points"


def neighborhood_layer(result: Result, spot: int, name: str) -> FullLayerData:
    """Return the edges from a spot to its neighbors, in color and width by attention from 0 to 1.

    Vectors (n_lines, 2, 2), each from the spot's center to a neighbor's; features `weight` (W)
    and `attention` (Attn), in the order of the row of ``result.weights``. A layer of vectors has one width:
    the higher the attention in an edge, the more lines are drawn next to each other, one to four.
    """
    neighbors, weights, attention = neighbors_of(result, spot)
    n_lines = 1 + np.rint((_MOST_LINES - 1) * np.clip(attention, 0, 1)).astype(int)
    start = to_yx(result.coordinates[[spot]])
    along = np.repeat(to_yx(result.coordinates[neighbors]) - start, n_lines, axis=0)
    width = spot_diameter(result.spatial) * 0.06
    vectors = np.stack([start + _offsets(along, n_lines, width), along], axis=1)
    neighbors, weights, attention = (np.repeat(each, n_lines) for each in (neighbors, weights, attention))
    settings = {
        "name": name,
        "edge_width": width,
        "vector_style": "line",
        "opacity": 1.0,
        "features": pd.DataFrame(
            {
                "neighbor": result.abundances.index[neighbors].astype(str),
                "weight": weights,
                "attention": attention,
            }
        ),
    }
    if len(vectors):
        settings |= {
            "edge_color": "attention",
            "edge_colormap": ATTENTION_COLORMAP,
            "edge_contrast_limits": (0.0, 1.0),
        }
    return vectors.reshape(-1, 2, 2), settings, "vectors"


def _offsets(along: np.ndarray, n_lines: np.ndarray, width: float) -> np.ndarray:
    """Return the offset of each line from its edge's middle, so that the lines of an edge touch."""
    number = np.concatenate([np.arange(n) - (n - 1) / 2 for n in n_lines] or [np.zeros(0)])
    length = np.linalg.norm(along, axis=1, keepdims=True)
    across = np.divide(along[:, ::-1] * [1, -1], length, out=np.zeros_like(along), where=length > 0)
    # A little less than their width: there are no gaps between them.
    return np.asarray(across * number[:, None] * width * 0.9, dtype=float)


def graph_layer(result: Result, name: str, edges: EdgeMap = EdgeMap.ATTENTION) -> FullLayerData:
    """Return every edge between neighbors once, in the color of its value: borders are dark."""
    upper = triu(edge_values(result, edges)).tocoo()
    first, second = upper.coords
    feature = "weight" if edges is EdgeMap.WEIGHTS else "attention"
    start, end = to_yx(result.coordinates[first]), to_yx(result.coordinates[second])
    settings = {
        "name": name,
        "edge_width": spot_diameter(result.spatial) * 0.2,
        "vector_style": "line",
        "opacity": 1.0,
        "features": pd.DataFrame({feature: upper.data}),
        "edge_color": feature,
        "edge_colormap": ATTENTION_COLORMAP,
        "edge_contrast_limits": edge_limits(result, edges),
    }
    return np.stack([start, end - start], axis=1), settings, "vectors"


def update_layer(layer: Layer, data: FullLayerData) -> None:
    """Give a layer of the picked spot the data of another spot."""
    values, settings, _ = data
    layer.data = values
    for name in _UPDATED:  # in this order: colors are made from the features
        if name in settings:
            setattr(layer, name, settings[name])


def recolor(layer: Layer, data: FullLayerData) -> None:
    """Give a layer of spots or bins other values: of another cell type, or of another result."""
    values, settings, kind = data
    if kind == "image":
        layer.data = values
        _set_changed(layer, settings, "contrast_limits", "colormap")
        return
    # New features emit two events, for their values and for their colors, and napari would draw twice.
    with layer._face.events.color_properties.blocker():
        layer.features = settings["features"]
    is_mapped = isinstance(settings["face_color"], str)
    if not is_mapped or layer.face_color_mode != "colormap":  # else colors have followed the features
        layer.face_color = settings["face_color"]
    if is_mapped:
        _set_changed(layer, settings, "face_contrast_limits", "face_colormap")
    if not np.array_equal(layer.border_width, settings["border_width"]):  # other spots are estimated
        for name in ("border_color", "border_width", "symbol"):
            setattr(layer, name, settings[name])


def is_changed_by_others(layer: Layer) -> bool:
    """Whether another plugin has colored spots by its own features."""
    return isinstance(layer, Points) and "dominant" not in layer.features


def _set_changed(layer: Layer, settings: dict[str, Any], *names: str) -> None:
    """Set what differs: napari draws again whenever something is set."""
    for name in names:
        if name in settings and getattr(layer, name) != settings[name]:
            setattr(layer, name, settings[name])


def _features(result: Result) -> pd.DataFrame:
    """Return the features of the spots in every map; each layer has its own copy."""
    return _shared_features(result).copy()


@weakly_cached
def _shared_features(result: Result) -> pd.DataFrame:
    spots = placed_spots(result.spatial)
    reasons = result.reasons.iloc[spots].astype(object)
    return pd.DataFrame(
        {
            # Names as plain text: napari's status bar guesses at HTML.
            "spot": result.abundances.index[spots].astype(str).map(plain),
            "dominant": pd.Categorical(result.dominant.iloc[spots]).rename_categories(plain),
            # Whole numbers: napari shows three digits of any other.
            "counts": np.rint(np.nan_to_num(result.counts.to_numpy()[spots])).astype(int),
            "unexplained": result.unexplained.to_numpy()[spots],
            # napari's status bar leaves None out, so only spots with a reason show one.
            "not estimated": reasons.where(reasons != "", None).to_numpy(),
        }
    )


def _is_estimated(result: Result) -> np.ndarray:
    return _of_placed(result, result.dominant.notna().to_numpy())


def _of_placed(result: Result, values: np.ndarray) -> np.ndarray:
    return values[placed_spots(result.spatial)]


def positions(adata: AnnData) -> np.ndarray:
    """Return (y, x) of the spots that have coordinates."""
    return to_yx(coordinates(adata)[placed_spots(adata)])


def point_settings(adata: AnnData, name: str) -> dict[str, Any]:
    """Return what all layers of spots have in common."""
    return {
        "name": name,
        "size": spot_diameter(adata),
        "symbol": symbol_of(adata),
        "border_width_is_relative": True,
    }


def _result_points(result: Result, name: str, features: pd.DataFrame) -> dict[str, Any]:
    known = features["dominant"].notna().to_numpy()
    is_dense = len(known) > MOST_OUTLINED
    outline = _CLEAR if is_dense else _outline(result.spatial)
    return point_settings(result.spatial, name) | {
        "features": features,
        "border_color": transform_color([UNKNOWN, outline])[known.astype(int)],
        "border_width": np.where(known, 0.0 if is_dense else 0.03, 0.12),
        # Spots of a pixel or two would be nothing but soft edge.
        "antialiasing": 0 if is_dense else 1,
        "canvas_size_limits": (3 if is_dense else 2, 10000),
        "symbol": symbols_of(result),
    }


def symbols_of(result: Result) -> Any:
    """Return how spots are drawn; a cross says "not known", where an empty disc would say "none"."""
    known, symbol = _is_estimated(result), symbol_of(result.spatial)
    return symbol if known.all() else np.where(known, symbol, "x")


def is_tissue(layer: Layer) -> bool:
    """Whether a layer is an image under the spots, and not bins that the plugin draws as an image."""
    return isinstance(layer, Image) and KEY not in layer.metadata


def has_image(adata: AnnData) -> bool:
    """Return whether there is an image of the tissue under the spots."""
    return image_layer(adata, "") is not None


def _outline(adata: AnnData) -> str:
    """Return a color that is visible on the tissue, or on a canvas that may be dark or light."""
    return "#202020a0" if has_image(adata) else UNKNOWN


def symbol_of(adata: AnnData) -> str:
    """Return how a spot is drawn: bins of Visium HD are squares, spots are discs."""
    is_bin = BIN_SIZE in scale_factors(adata) or bin_grid(adata) is not None
    return "square" if is_bin else "disc"
