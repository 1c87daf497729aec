"""Maps as figures draw them: spots, pies or edges in colors, with the scale or legend that explains them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.colors import ListedColormap, to_rgba_array
from numpy.typing import NDArray
from scipy.sparse import csr_array, triu

from napari_spotmix.base.color_range import ColorRange, end_words
from napari_spotmix.base.colors import MAP, PROPORTION, opacity_over_tissue, over_ground
from napari_spotmix.dataset.access import tissue_image
from napari_spotmix.output.ranges import end_of_map, ends_of_types
from napari_spotmix.output.scene import colormap_of

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_spotmix.result import Result

__all__ = [
    "FADED",
    "FigureEdges",
    "FigureMap",
    "FigureScale",
    "blend_map",
    "blended",
    "dominant_map",
    "edges_map",
    "faded",
    "feature_map",
    "labels_map",
    "pies_map",
    "type_map",
    "two_sided",
    "values_map",
]

Floats = NDArray[np.float64]

#: Opacity of spots below the threshold: they can still be found.
FADED = 0.06
#: Below 0, at 0 and above it. Unlike red, orange is seen on eosin.
_SIDES = ["#1f5fa8", "#f7f7f7", "#e69f00"]
_N_COLORS = 256
_CLEAR = (0.0, 0.0, 0.0, 0.0)
_EDGES = "plasma"
_LABELS = {
    "unexplained": "Share of counts not explained",
    "counts": "Counts per spot",
    "dominant_error": "Standard error of the largest proportion",
}
_NOT_ESTIMATED, _NO_VALUE = "not estimated", "no value"


@dataclass(frozen=True, eq=False)
class FigureScale:
    """The color bar of a map: its colors, the values at their ends, what they are, and if some exceed it.

    `kind` names what maps have in common that share a bar. After a line break, a `label` holds a name from a
    file, which is shortened if it is too long.
    """

    colormap: ListedColormap
    limits: tuple[float, float]
    label: str
    kind: str
    exceeds: bool = False


@dataclass(frozen=True, eq=False)
class FigureEdges:
    """Lines between spots.

    Attributes
    ----------
    spots : ndarray of int, shape (n_edges, 2)
        Rows of the spots that each connects.
    colors : ndarray of float64, shape (n_edges, 4)
        RGBA, 0 to 1.
    """

    spots: NDArray[np.int64]
    colors: Floats


@dataclass(frozen=True, eq=False)
class FigureMap:
    """A map of all spots.

    Attributes
    ----------
    name : str
        Above its panel, if there are several.
    known : ndarray of bool, shape (n_spots,)
        Spots that are drawn; the others are crosses.
    colors : ndarray of float64, shape (n_spots, 4)
        RGBA, 0 to 1.
    scale : FigureScale or None
    legend : callable or None
        Returns (name, color) of what is drawn of some spots, the most frequent first.
    is_outlined : bool
        Whether spots have outlines.
    shares : ndarray of float64, shape (n_spots, n_slices), or None
        Slices of pies, in `slice_colors`.
    edges : FigureEdges or None
    unknown : str
        What a cross stands for.
    """

    name: str
    known: NDArray[np.bool_]
    colors: Floats
    scale: FigureScale | None = None
    legend: Callable[[NDArray[np.intp]], list[tuple[str, str]]] | None = None
    is_outlined: bool = False
    shares: Floats | None = None
    slice_colors: Floats | None = None
    edges: FigureEdges | None = None
    unknown: str = _NOT_ESTIMATED


def type_map(result: Result, name: str, end: float, threshold: float = 0.0) -> FigureMap:
    """Return the proportions of a cell type, from 0 to `end`, faded below a threshold."""
    values = result.proportions[name].to_numpy(float)
    return _scaled(result, name, values, PROPORTION, end, f"Proportion of\n{name}", threshold)


def feature_map(result: Result, feature: str, end: float) -> FigureMap:
    """Return a feature of the spots, such as ``counts``."""
    values = np.asarray(getattr(result, feature), dtype=float)
    return _scaled(result, feature, values, MAP, end, _LABELS[feature], 0.0)


def _scaled(
    result: Result, name: str, values: Floats, colormap: str, end: float, label: str, threshold: float
) -> FigureMap:
    estimated = result.dominant.notna().to_numpy()
    known = estimated & ~np.isnan(values)
    scale = colormap_of(colormap, over_tissue=_has_image(result.spatial))
    colors = scale(np.clip(np.nan_to_num(values) / end, 0, 1))
    if threshold > 0:
        colors = faded(colors, values < threshold)
        scale = ListedColormap(faded(scale.colors, np.linspace(0, end, scale.N) < threshold))  # type: ignore[arg-type]
    exceeds = bool((values[known] > end).any())
    kind = "Proportion" if colormap == PROPORTION else label
    return FigureMap(name, known, colors, FigureScale(scale, (0.0, end), label, kind, exceeds))


def dominant_map(result: Result, threshold: float = 0.0) -> FigureMap:
    """Return each spot in the color of its largest cell type, faded where that is below a threshold."""
    codes = result.dominant.cat.codes.to_numpy().astype(np.int64)
    colors = np.vstack([to_rgba_array(list(result.colors.values())), _CLEAR])[codes]
    if threshold > 0:
        colors = faded(colors, result.proportions.to_numpy().max(axis=1) < threshold)
    entries = list(result.colors.items())
    return FigureMap(
        "Dominant type", codes >= 0, colors, legend=_by_frequency(entries, codes), is_outlined=True
    )


def pies_map(result: Result) -> FigureMap:
    """Return each spot as a pie of its proportions."""
    shares = result.proportions.to_numpy()
    entries = list(result.colors.items())

    def legend(spots: NDArray[np.intp]) -> list[tuple[str, str]]:
        drawn = shares[spots]
        drawn = drawn[~np.isnan(drawn).any(axis=1)]
        return _ordered(entries, drawn.mean(axis=0) if len(drawn) else np.zeros(len(entries)))

    return FigureMap(
        "Pies",
        result.dominant.notna().to_numpy(),
        np.zeros((len(shares), 4)),
        legend=legend,
        is_outlined=True,
        shares=np.nan_to_num(shares),
        slice_colors=to_rgba_array(list(result.colors.values())),
    )


def blend_map(
    result: Result, cell_types: Sequence[str], rule: ColorRange, threshold: float = 0.0
) -> FigureMap:
    """Return the blended colors of some cell types; the legend names the end of each."""
    ends = ends_of_types(result, cell_types, rule)
    shares = result.proportions[list(cell_types)].to_numpy()
    own = to_rgba_array([result.colors[one] for one in cell_types])[:, :3]
    colors = blended(shares, [ends[one] for one in cell_types], own, threshold, _has_image(result.spatial))
    entries = [(f"{one}: 0 – {end_words(ends[one])}", result.colors[one]) for one in cell_types]
    known = result.dominant.notna().to_numpy()
    return FigureMap(" + ".join(cell_types), known, colors, legend=lambda _: entries)


def blended(shares: Floats, ends: Sequence[float], own: Floats, threshold: float, over_image: bool) -> Floats:
    """Return the RGBA of spots in the blended colors of some cell types.

    Each type counts by its proportion as a share of its own end, so that rare types are seen; the larger the
    sum, the more opaque.

    Examples
    --------
    >>> shares, red_and_blue = np.array([[0.2, 0.2], [np.nan, np.nan]]), np.eye(3)[[0, 2]]
    >>> blended(shares, [0.4, 0.4], red_and_blue, 0.0, True).tolist()
    [[0.5, 0.0, 0.5, 1.0], [0.0, 0.0, 0.0, 0.0]]
    """
    parts = np.nan_to_num(shares / np.asarray(ends))
    total = parts.sum(axis=1, keepdims=True)
    mixed = np.divide(parts @ own, total, out=np.zeros((len(parts), 3)), where=total > 0)
    colors = over_ground(mixed, np.clip(total[:, 0], 0, 1), over_image=over_image)
    colors = faded(colors, shares.sum(axis=1) < threshold)
    colors[np.isnan(shares[:, 0]), 3] = 0.0
    return colors


def labels_map(
    name: str, codes: NDArray[np.int64], entries: Sequence[tuple[str, str]], unknown: str = _NO_VALUE
) -> FigureMap:
    """Return each spot in the color of its label: its number among `entries`, -1 without one."""
    colors = np.vstack([to_rgba_array([color for _, color in entries]), _CLEAR])[codes]
    order = list(entries)

    def legend(spots: NDArray[np.intp]) -> list[tuple[str, str]]:
        drawn = set(codes[spots].tolist())
        return [entry for at, entry in enumerate(order) if at in drawn]

    return FigureMap(name, codes >= 0, colors, legend=legend, is_outlined=True, unknown=unknown)


def values_map(
    adata: AnnData, name: str, values: Floats, end: float, label: str, *, is_signed: bool = False
) -> FigureMap:
    """Return a number of each spot, from 0 to `end`, or with both signs from -`end` to `end`."""
    over_image, known, label = _has_image(adata), np.isfinite(values), f"\n{label}"
    start = -end if is_signed else 0.0
    colormap = (
        ListedColormap(two_sided(_N_COLORS, over_image=over_image))
        if is_signed
        else colormap_of(MAP, over_tissue=over_image)
    )
    colors = colormap(np.clip((np.nan_to_num(values) - start) / (end - start), 0, 1))
    exceeds = bool((values[known] > end).any())
    return FigureMap(
        name, known, colors, FigureScale(colormap, (start, end), label, label, exceeds), unknown=_NO_VALUE
    )


def edges_map(
    name: str, values: csr_array, limits: tuple[float, float], known: NDArray[np.bool_]
) -> FigureMap:
    """Return every edge between neighbors once, in the color of its value."""
    upper = triu(values).tocoo()
    colormap = ListedColormap(mpl.colormaps[_EDGES](np.linspace(0, 1, _N_COLORS)))
    low, high = limits
    colors = colormap(np.clip((upper.data - low) / (high - low), 0, 1))
    edges = FigureEdges(np.column_stack(upper.coords).astype(np.int64), colors)
    return FigureMap(
        name, known, np.zeros((len(known), 4)), FigureScale(colormap, limits, name, name), edges=edges
    )


def two_sided(n_colors: int, *, over_image: bool) -> Floats:
    """Return the colors of values of both signs, (n_colors, 4): blue below 0, none at it, orange above."""
    sides = np.linspace(-1, 1, n_colors)
    ends = to_rgba_array(_SIDES)
    rgb = np.column_stack([np.interp(sides, [-1, 0, 1], ends[:, channel]) for channel in range(3)])
    return over_ground(rgb, opacity_over_tissue(np.abs(sides)), over_image=over_image)


def faded(colors: Floats, where: NDArray[np.bool_]) -> Floats:
    """Return colors with those at some positions nearly transparent; none becomes more opaque."""
    colors = np.array(colors, dtype=float)
    colors[where, 3] = np.minimum(colors[where, 3], FADED)
    return colors


def map_of_result(result: Result, name: str, rule: ColorRange, threshold: float = 0.0) -> FigureMap:
    """Return a map by its name: "dominant", "pies", "unexplained", "counts", "errors" or "graph"."""
    if name == "dominant":
        return dominant_map(result, threshold)
    if name == "pies":
        return pies_map(result)
    if name == "graph":
        known = result.dominant.notna().to_numpy()
        if result.uses_attention:
            return edges_map("Attention", result.attention, (0.0, 1.0), known)
        largest = float(result.weights.data.max(initial=0.0))
        return edges_map("Weights", result.weights, (0.0, largest or 1.0), known)
    feature = "dominant_error" if name == "errors" else name
    return feature_map(result, feature, end_of_map(result, feature, rule))


def _by_frequency(
    entries: Sequence[tuple[str, str]], codes: NDArray[np.int64]
) -> Callable[[NDArray[np.intp]], list[tuple[str, str]]]:
    def legend(spots: NDArray[np.intp]) -> list[tuple[str, str]]:
        drawn = codes[spots]
        return _ordered(entries, np.bincount(drawn[drawn >= 0], minlength=len(entries)).astype(float))

    return legend


def _ordered(entries: Sequence[tuple[str, str]], frequency: Floats) -> list[tuple[str, str]]:
    """Return the entries that occur, the most frequent first."""
    return [entries[at] for at in np.argsort(-frequency, kind="stable") if frequency[at] > 0]


def _has_image(adata: AnnData) -> bool:
    return tissue_image(adata) is not None
