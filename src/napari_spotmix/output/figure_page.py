"""A page with maps, and what is drawn on it by matplotlib: spots, pies, edges, outlines, bars and legends.

Lengths are inches on the page, points for text, and full-resolution pixels on the tissue (y down).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import ListedColormap, Normalize, to_rgba
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon
from matplotlib.path import Path as Outline
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import AffineDeltaTransform
from numpy.typing import NDArray

from napari_spotmix.base.errors import InputError
from napari_spotmix.base.text import printable
from napari_spotmix.dataset.geometry import length_words, microns_per_pixel, round_length
from napari_spotmix.output.scene import FigureScene

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_spotmix.dataset.regions import Region

__all__ = [
    "FigurePage",
    "draw_bar",
    "draw_edges",
    "draw_legend",
    "draw_outlines",
    "draw_pies",
    "draw_scale_bar",
    "draw_spots",
    "explain_crosses",
    "fitted",
    "label_of_bar",
]

Floats = NDArray[np.float64]

_MOST_PIES = 6000
_MOST_NAMED = 16
#: More spots become an image inside an SVG or PDF, which would be slow to open and to edit otherwise.
_MOST_VECTORS = 5000
#: Smaller pieces of a pie are invisible.
_LEAST_PIECE = 0.005
_FONT_SIZE = 9.0
_UNKNOWN = "#808080"

# Inches: the longest side of a map by the number of columns; space between and around.
_SIDES = (5.0, 3.2, 2.4, 2.0)
_LEAST_CELL = 1.2  # width of a narrow map with its title
_MARGIN, _GAP, _TITLE, _BELOW = 0.15, 0.15, 0.25, 0.4
_BAR_WIDTH, _BAR_HEIGHTS, _BAR_SPACE = 0.13, (1.5, 2.4), 0.75


class FigurePage:
    """A figure with its panels; a color bar or a legend makes it wider."""

    def __init__(self, scene: FigureScene, n_panels: int, dark: bool) -> None:
        self.scene = scene
        self.ground, self.ink = ("#151515", "#eeeeee") if dark else ("#ffffff", "#202020")
        self.figure = Figure(facecolor=self.ground)
        FigureCanvasAgg(self.figure)
        n_columns = _columns(n_panels, scene.aspect)
        n_rows = -(-n_panels // n_columns)
        longest = _SIDES[min(max(n_columns, n_rows), len(_SIDES)) - 1]
        self.width, self.height = longest / max(1.0, scene.aspect), longest * min(1.0, scene.aspect)
        self.cell = max(self.width, _LEAST_CELL)
        self.title_height = _TITLE if n_panels > 1 else 0.0
        self.extent = (
            n_columns * self.cell + (n_columns - 1) * _GAP,
            n_rows * (self.height + self.title_height),
        )
        self.figure.set_size_inches(self.extent[0] + 2 * _MARGIN, self.extent[1] + _MARGIN + _BELOW)
        #: Right of the panels, where the next bar or legend begins.
        self.right = self.extent[0]
        self.panels = [self._panel(*divmod(at, n_columns)) for at in range(n_panels)]
        self.lowest_left = self.panels[(n_rows - 1) * n_columns]

    def _panel(self, row: int, column: int) -> Axes:
        top = row * (self.height + self.title_height) + self.title_height
        left = column * (self.cell + _GAP) + (self.cell - self.width) / 2
        axes = self.add_axes((left, top, self.width, self.height), "map")
        axes.set_axis_off()
        first, upper, last, lower = self.scene.region
        axes.set_xlim(first, last)
        axes.set_ylim(lower, upper)
        _draw_image(axes, self.scene)
        return axes

    def add_axes(self, box: tuple[float, float, float, float], label: str) -> Axes:
        """Add axes at left, top, width and height, in inches from the upper left corner of the panels."""
        left, top, width, height = box
        total_width, total_height = self.figure.get_size_inches()
        bottom = total_height - _MARGIN - top - height
        bounds = (
            (_MARGIN + left) / total_width,
            bottom / total_height,
            width / total_width,
            height / total_height,
        )
        return self.figure.add_axes(bounds, label=label)

    def widen(self, width: float, least_height: float = 0.0) -> None:
        """Add space at the right, and below if the page is lower than `least_height`; nothing moves."""
        before = self.figure.get_size_inches()
        after = np.array([before[0] + width, max(before[1], least_height)])
        self.figure.set_size_inches(*after)
        for axes in self.figure.axes:
            left, bottom, across, up = axes.get_position().bounds
            raised = (bottom * before[1] + after[1] - before[1]) / after[1]
            axes.set_position(
                (
                    left * before[0] / after[0],
                    raised,
                    across * before[0] / after[0],
                    up * before[1] / after[1],
                )
            )

    def name_panels(self, ranges: Sequence[tuple[str, str]]) -> None:
        """Name each panel, with the range of its colors if it has one of its own."""
        most = most_letters(self.cell)
        for axes, (name, words) in zip(self.panels, ranges, strict=True):
            title = axes.set_title(
                fitted(name, most - len(words)) + words, fontsize=_FONT_SIZE, color=self.ink, pad=4
            )
            _literal(title)

    def points(self, length: float) -> float:
        """Return the points on the page of a length on the tissue."""
        return 72 * self.width * length / (self.scene.region[2] - self.scene.region[0])


def _cross(diameter: float) -> Outline:
    reach = diameter * np.array([[-1, -1], [1, 1], [-1, 1], [1, -1]]) / 3
    return Outline(reach, [Outline.MOVETO, Outline.LINETO] * 2)


def _columns(n_panels: int, aspect: float) -> int:
    """Return the columns of a grid that is about 1.5 times as wide as high, with few gaps."""
    wanted = min(n_panels, max(1, round(float(np.sqrt(1.5 * n_panels * aspect)))))
    n_rows = -(-n_panels // wanted)
    return -(-n_panels // n_rows)


def _draw_image(axes: Axes, scene: FigureScene) -> None:
    if scene.image is None:
        return
    pixels, step = scene.image
    height, width = pixels.shape[:2]
    # A full-resolution pixel has its center at its index, so the first one begins half a pixel before 0.
    extent = (-0.5, width * step - 0.5, height * step - 0.5, -0.5)
    is_gray = pixels.ndim == 2 or pixels.shape[2] not in (3, 4)
    shown = pixels.reshape(height, width, -1)[..., 0] if is_gray else pixels
    if shown.dtype.kind in "ui" and shown.dtype != np.uint8:
        shown = shown / np.iinfo(shown.dtype).max
    limits = axes.axis()
    axes.imshow(shown, extent=extent, cmap="gray", aspect="auto", label="tissue")
    axes.axis(limits)


def draw_spots(
    page: FigurePage, axes: Axes, colors: Floats, known: NDArray[np.bool_], *, outlined: bool = True
) -> None:
    """Draw the spots in their colors, RGBA (n_drawn, 4), and those that are not known as crosses."""
    scene = page.scene
    line = 0.0 if scene.is_dense or not outlined else page.points(0.03 * scene.diameter)
    _add(axes, scene, scene.outline, colors[known], known, line)
    if not (known.all() or scene.is_dense):
        width = max(0.8, page.points(0.1 * scene.diameter))
        crosses = _add(axes, scene, _cross(scene.diameter), np.zeros((1, 4)), ~known, width)
        crosses.set_edgecolor(_UNKNOWN if scene.image is None else "#202020")


def _add(
    axes: Axes, scene: FigureScene, outline: Outline, colors: Floats, drawn: NDArray[np.bool_], line: float
) -> PathCollection:
    colors = colors * [1, 1, 1, scene.opacity]
    edge = to_rgba("#202020", 0.63 * scene.opacity) if scene.image is not None else to_rgba(_UNKNOWN)
    shapes = PathCollection(
        [outline],
        offsets=scene.xy[drawn],
        offset_transform=axes.transData,
        facecolors=colors,
        edgecolors=[edge] if line else "none",
        linewidths=line,
        # Soft edges of bins side by side would leave lines between them.
        antialiaseds=not scene.is_bin,
        rasterized=len(scene.spots) > _MOST_VECTORS,
        label="spots",
    )
    shapes.set_transform(AffineDeltaTransform(axes.transData))  # type: ignore[arg-type]
    axes.add_collection(shapes, autolim=False)
    return shapes


def label_of_bar(page: FigurePage, before: str, name: str) -> str:
    """Return what a color bar measures, with a name that is shortened to its height."""
    most = most_letters(max(_BAR_HEIGHTS[0], page.extent[1])) - len(before) - 1
    return f"{before} {fitted(name, most)}" if before else fitted(name, most)


def draw_bar(
    page: FigurePage,
    colormap: ListedColormap,
    limits: tuple[float, float],
    label: str,
    *,
    exceeds: bool,
    end: str = "",
) -> None:
    """Draw the color bar; with `end` as the name of its end if that differs between panels."""
    least, most = limits
    height = float(np.clip(page.extent[1], *_BAR_HEIGHTS))
    page.widen(_GAP + _BAR_WIDTH + _BAR_SPACE, height + 2 * _MARGIN)
    top = max(0.0, page.extent[1] - height) / 2
    axes = page.add_axes((page.right + _GAP, top, _BAR_WIDTH, height), "color bar")
    page.right += _GAP + _BAR_WIDTH + _BAR_SPACE
    bar = page.figure.colorbar(
        ScalarMappable(Normalize(least, most), colormap), cax=axes, extend="max" if exceeds else "neither"
    )
    bar.outline.set_edgecolor(page.ink)
    bar.outline.set_linewidth(0.5)
    if bar.solids is not None:
        bar.solids.set_rasterized(True)  # or its steps show as lines
    bar.set_ticks([0.0, most] if end else _ticks(least, most), labels=["0", end] if end else None)
    axes.tick_params(labelsize=_FONT_SIZE - 1, colors=page.ink, width=0.5, length=2.5)
    axes.set_ylabel(label, fontsize=_FONT_SIZE, color=page.ink)
    _literal(axes.yaxis.label)


def _ticks(start: float, end: float) -> list[float]:
    """Return round numbers from one end to the other, and the last itself.

    Examples
    --------
    >>> [f"{one:.2f}" for one in _ticks(0.0, 0.15)]
    ['0.00', '0.03', '0.06', '0.09', '0.12', '0.15']
    >>> [f"{one:.1f}" for one in _ticks(-1.0, 1.0)]
    ['-1.0', '-0.8', '-0.4', '0.0', '0.4', '0.8', '1.0']
    """
    last = end - 0.07 * (end - start)
    inner = [float(one) for one in MaxNLocator(5).tick_values(start, end) if start <= one < last]
    return [*([start] if start < 0 and inner and inner[0] - start > end - last else []), *inner, end]


def draw_pies(page: FigurePage, axes: Axes, shares: Floats, colors: Floats) -> None:
    if len(shares) > _MOST_PIES:
        raise InputError(
            f"`show`: at most {_MOST_PIES:,} spots can be drawn as pies, found {len(shares):,}. "
            "Choose a smaller region, or show 'dominant'."
        )
    ends = np.cumsum(shares, axis=1)
    spots, types = np.nonzero(shares >= _LEAST_PIECE)
    angles = 360 * np.stack([ends[spots, types] - shares[spots, types], ends[spots, types]], axis=1)
    pieces = [_piece(start, end, page.scene.diameter) for start, end in angles]
    shapes = PathCollection(
        pieces,
        offsets=page.scene.xy[spots],
        offset_transform=axes.transData,
        facecolors=colors[types] * [1, 1, 1, page.scene.opacity],
        edgecolors="none",
        rasterized=len(shares) > _MOST_VECTORS,
        label="pies",
    )
    shapes.set_transform(AffineDeltaTransform(axes.transData))  # type: ignore[arg-type]
    axes.add_collection(shapes, autolim=False)


def _piece(start: float, end: float, diameter: float) -> Outline:
    """Return a piece of a pie, which starts at the top and goes clockwise; y points down."""
    whole = end - start > 359.9
    piece = Outline.unit_circle() if whole else Outline.wedge(start - 90, end - 90)
    return Outline(np.asarray(piece.vertices) * diameter / 2, piece.codes)


def draw_legend(page: FigurePage, entries: Sequence[tuple[str, str]]) -> None:
    """Add these names and colors, as many as there is room for."""
    named, left = entries[:_MOST_NAMED], len(entries) - _MOST_NAMED
    keys = [_key(color, page.scene.is_bin) for _, color in named]
    texts = [fitted(name, 40) for name, _ in named]
    if left > 0:
        keys, texts = [*keys, _key("none", False)], [*texts, f"and {left} more"]
    # Names are set afterwards: matplotlib omits those that begin with "_".
    legend = page.figure.legend(
        keys,
        ["x"] * len(keys),
        loc="upper left",
        fontsize=_FONT_SIZE,
        labelcolor=page.ink,
        frameon=False,
        borderaxespad=0,
        borderpad=0,
        handletextpad=0.3,
        handlelength=1.0,
    )
    for text, name in zip(legend.get_texts(), texts, strict=True):
        text.set_text(name)
        _literal(text)
    _put_at_right(page, legend)


def _key(color: str, is_bin: bool) -> Line2D:
    marker = "s" if is_bin else "o"
    return Line2D(
        [], [], linestyle="none", marker=marker, markersize=7, markerfacecolor=color, markeredgecolor="none"
    )


def _put_at_right(page: FigurePage, legend: Legend) -> None:
    """Make room for the legend at the right of the map, and below if the legend is higher."""
    box = legend.get_window_extent(page.figure.canvas.get_renderer())  # type: ignore[attr-defined]
    width, height = np.array([box.width, box.height]) / page.figure.dpi
    page.widen(_GAP + width, height + 2 * _MARGIN)
    across, up = page.figure.get_size_inches()
    legend.set_bbox_to_anchor(((_MARGIN + page.extent[0] + _GAP) / across, 1 - _MARGIN / up))


# ------------------------------------------------------------------------------------ edges and outlines


def draw_edges(page: FigurePage, axes: Axes, lines: Floats, colors: Floats, width: float) -> None:
    """Draw lines (n, 2, 2), each from (x, y) to (x, y), of a width on the tissue."""
    axes.add_collection(
        LineCollection(
            list(lines),
            colors=colors * [1, 1, 1, page.scene.opacity],
            linewidths=page.points(width),
            rasterized=len(lines) > _MOST_VECTORS,
            label="edges",
        ),
        autolim=False,
    )


def draw_outlines(page: FigurePage, axes: Axes, regions: Sequence[Region]) -> None:
    """Draw regions as outlines with their names, readable on a stained tissue or on the page."""
    ink = "#000000" if page.scene.image is not None else page.ink
    for region in regions:
        axes.add_patch(
            Polygon(region.outline, closed=True, fill=False, edgecolor=ink, linewidth=1.2, label="region")
        )
        left, top, right, bottom = page.scene.region
        x, y = region.outline.mean(axis=0)
        if left < x < right and top < y < bottom:
            name = axes.text(
                x, y, fitted(region.name, 30), color=ink, fontsize=_FONT_SIZE, ha="center", va="center"
            )
            _literal(name)


# ------------------------------------------------------------------------------------- scale bar and text


def draw_scale_bar(page: FigurePage, adata: AnnData) -> None:
    """Draw a bar of a round length below the first map of the last row."""
    microns = microns_per_pixel(adata)
    left, _, right, _ = page.scene.region
    length = round_length((right - left) * (microns or 1.0) / 4)
    axes = page.lowest_left
    transform = axes.get_xaxis_transform()
    drop = -0.1 / page.height
    axes.plot(
        [left, left + length / (microns or 1.0)],
        [drop, drop],
        transform=transform,
        color=page.ink,
        linewidth=2,
        solid_capstyle="butt",
        clip_on=False,
        gid="scale-bar",
        label="scale bar",
    )
    axes.text(
        left,
        drop - 0.05 / page.height,
        length_words(length, microns is not None),
        transform=transform,
        va="top",
        fontsize=_FONT_SIZE - 1,
        color=page.ink,
    )
    axes.set_xlim(left, right)


def explain_crosses(page: FigurePage, words: str) -> None:
    """Explain the crosses below the last map."""
    if page.scene.is_dense:
        return
    axes = page.panels[-1]
    settings: Any = {"transform": axes.transAxes, "ha": "right", "va": "top", "color": page.ink}
    axes.text(1, -0.15 / page.height, f"× {words}", fontsize=_FONT_SIZE - 1, **settings)


def _literal(text: Text) -> None:
    """Show a name as it is: "$" does not begin a formula."""
    text.set_parse_math(False)
    text.set_usetex(False)


def most_letters(length: float) -> int:
    """Return about how many letters fit into a length in inches."""
    return int(72 * length / (0.6 * _FONT_SIZE))


def fitted(name: str, most: int) -> str:
    """Return a name shortened to at most `most` characters, without control characters.

    Examples
    --------
    >>> fitted("effector memory CD8+ T cell", 15), fitted("B" + chr(7), 15)
    ('effecto… T cell', 'B\\\\x07')
    """
    shown = printable(name)
    half = max(1, (most - 1) // 2)
    return shown if len(shown) <= most else f"{shown[:half]}…{shown[-half:]}"
