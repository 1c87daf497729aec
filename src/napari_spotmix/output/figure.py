"""Figures for publication: a result over its tissue, drawn by matplotlib without a window.

Colors are those of the viewer. Only matplotlib's objects are used, not pyplot, which needs the main thread.
Lengths are inches on the page, points for text, and full-resolution pixels on the tissue (y down).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PathCollection
from matplotlib.colors import ListedColormap, Normalize, to_rgba, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.path import Path as Outline
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import AffineDeltaTransform
from numpy.typing import NDArray

from napari_spotmix.base.color_range import ColorRange, end_words
from napari_spotmix.base.colors import MAP, PROPORTION
from napari_spotmix.base.errors import InputError
from napari_spotmix.base.text import printable
from napari_spotmix.dataset.geometry import length_words, microns_per_pixel, round_length
from napari_spotmix.io import write_atomically
from napari_spotmix.io.keeping import MARK
from napari_spotmix.output.ranges import end_of_map, ends_of_types, rule_of
from napari_spotmix.output.scene import Crop, FigureScene, colormap_of, scene_of, usual_top

if TYPE_CHECKING:
    from napari_spotmix.result import Result

__all__ = [
    "MAPS",
    "SUFFIXES",
    "Crop",
    "FigureScene",
    "colormap_of",
    "draw",
    "save",
    "scene_of",
    "usual_top",
]

Floats = NDArray[np.float64]
MapName = Literal["dominant", "unexplained", "counts", "pies"]

#: What can be shown other than cell types.
MAPS: tuple[str, ...] = get_args(MapName)
#: Formats of figures, by the ending of their names.
SUFFIXES = (".png", ".svg", ".pdf")

_MOST_PANELS = 12
_MOST_PIES = 6000
_MOST_NAMED = 16
#: More spots become an image inside an SVG or PDF, which would be slow to open and to edit otherwise.
_MOST_VECTORS = 5000
#: Smaller pieces of a pie are invisible.
_LEAST_PIECE = 0.005
_FONT_SIZE = 9.0
_UNKNOWN = "#808080"
_LABELS = {"unexplained": "Share of counts not explained", "counts": "Counts per spot"}

# Inches: the longest side of a map by the number of columns; space between and around.
_SIDES = (5.0, 3.2, 2.4, 2.0)
_LEAST_CELL = 1.2  # width of a narrow map with its title
_MARGIN, _GAP, _TITLE, _BELOW = 0.15, 0.15, 0.25, 0.4
_BAR_WIDTH, _BAR_HEIGHTS, _BAR_SPACE = 0.13, (1.5, 2.4), 0.75


def draw(
    result: Result,
    shown: str | Sequence[str],
    *,
    image: bool = True,
    opacity: float = 1.0,
    region: Crop | None = None,
    dark: bool = False,
    color_range: ColorRange | str | float | None = None,
) -> Figure:
    """Draw proportions, or another map of a result, over the tissue.

    Parameters
    ----------
    result : Result
    shown : str or sequence of str
        A cell type; "dominant", "unexplained", "counts" or "pies" (the proportions of every spot, of at most
        6,000); or 2 to 12 cell types, drawn side by side.
    image : bool, optional
        Whether to draw the spots over the tissue image, if there is one.
    opacity : float, optional
        Of the spots, 0 to 1.
    region : tuple of float, optional
        Left, top, right and bottom of what is drawn, in full-resolution pixels; all spots by default.
    dark : bool, optional
        Light on dark, for slides.
    color_range : str, float or ColorRange, optional
        Where the colors end: "own" (the rounded maximum of each map), "full" (1), "same" (the largest
        maximum of the types that are drawn), or the end for all of them. By default as napari has saved it,
        else "own".

    Returns
    -------
    Figure
        Its size, in inches, follows from its content; `save` writes it.

    Raises
    ------
    InputError
        If a name is unknown, or there is nothing to draw; lists every problem.

    Examples
    --------
    >>> from napari_spotmix import deconvolve, simulate
    >>> tissue = simulate(n_spots=60, n_genes=120, n_cell_types=4)
    >>> result = deconvolve(tissue.spatial, tissue.reference, lambda_c=0.1)
    >>> figure = draw(result, "Fibroblast")
    >>> [axes.get_label() for axes in figure.axes]
    ['map', 'color bar']
    """
    names = [shown] if isinstance(shown, str) else list(shown)
    rule = _check(result, names, opacity, region, color_range)
    scene = scene_of(result, image, opacity, region)
    page = _Page(scene, len(names), dark)
    is_type = names[0] in result.cell_types
    if names[0] in ("dominant", "pies") and not is_type:
        _draw_types(page, result, names[0])
    else:
        ends = (
            ends_of_types(result, names, rule) if is_type else {names[0]: end_of_map(result, names[0], rule)}
        )
        _draw_values(page, result, ends, is_type)
    _draw_scale_bar(page, result)
    _explain_crosses(page, result)
    return page.figure


def save(figure: Figure, path: str | Path, dpi: float = 300) -> Path:
    """Write a figure as PNG, SVG or PDF, by the suffix of the name, completely or not at all.

    The same figure gives the same bytes. Text stays text in SVG and PDF, so that it can be edited.

    Parameters
    ----------
    figure : Figure
        As `draw` returns it.
    path : path
        The file; it is replaced if it exists.
    dpi : float, optional
        Pixels per inch, also of images inside an SVG or PDF.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    InputError
        If the name has another suffix, or the file cannot be written.
    """
    path = Path(path)
    if problems := save_problems(path, dpi):
        raise InputError(problems)
    # The mark by which a later figure may replace this one (`io.keeping`).
    made = {"Creator": MARK}
    undated: dict[str, Any] = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    suffix = path.suffix.lower()
    settings = {"dpi": dpi, "format": suffix[1:], "metadata": made | undated[suffix], "facecolor": "auto"}
    # matplotlib reads these from its global settings only.
    settled: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "spotmix",
        "pdf.fonttype": 42,
        "pdf.compression": 6,
    }
    with _settings, mpl.rc_context(settled):
        # Into memory first: matplotlib leaves a file open if the disk is full.
        drawn = BytesIO()
        figure.savefig(drawn, **settings)
        return write_atomically(path, lambda aside: aside.write_bytes(drawn.getvalue()))


_settings = threading.Lock()


def save_problems(path: Path, dpi: float = 300) -> list[str]:
    """Return what is wrong with the name and the resolution of a figure, before it is drawn."""
    problems = []
    if path.suffix.lower() not in SUFFIXES:
        problems.append(f"`output` must end with .png, .svg or .pdf, found {path.name!r}.")
    if not 10 <= dpi <= 2400:
        problems.append(f"`dpi` must be from 10 to 2400, found {dpi:g}.")
    return problems


# ---------------------------------------------------------------------------------------- arguments


def _check(
    result: Result,
    names: list[str],
    opacity: float,
    region: Crop | None,
    color_range: ColorRange | str | float | None,
) -> ColorRange:
    """Return the rule for the ends of colors, if all arguments are right."""
    rule = rule_of(result)
    problems = _name_problems(result, names)
    if not 0 <= opacity <= 1:
        problems.append(f"`opacity` must be from 0 to 1, found {opacity!r}.")
    if region is not None and not _is_region(region):
        problems.append(
            "`region` must be left, top, right and bottom in full-resolution pixels, left below right and "
            f"top below bottom, found {region!r}."
        )
    try:
        rule = rule if color_range is None else ColorRange.of(color_range)
    except ValueError as error:
        problems.append(str(error))
    if problems:
        raise InputError(problems)
    return rule


def _name_problems(result: Result, names: list[str]) -> list[str]:
    if not 1 <= len(names) <= _MOST_PANELS or len(set(names)) < len(names):
        return [f"`show` must be 1 to {_MOST_PANELS} different cell types, found {', '.join(names)}."]
    maps = MAPS if len(names) == 1 else ()
    problems = []
    for name in names:
        if name in MAPS and name not in result.cell_types and not maps:
            problems.append(f"`show`: {name!r} can only be shown alone. Draw it in a separate figure.")
        elif name not in (*result.cell_types, *maps):
            problems.append(_unknown_name(result, name))
        elif name == "unexplained" and result.unexplained.isna().all():
            problems.append(
                "`show`: the unexplained share is not defined without normalized counts (`normalize`)."
            )
    return problems


def _unknown_name(result: Result, name: str) -> str:
    near = get_close_matches(name, [*result.cell_types, *MAPS], n=1)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    known = ", ".join([*result.cell_types, *MAPS])
    return f"`show`: unknown cell type or map {name!r}.{guess} This result has {known}."


def _is_region(region: Crop) -> bool:
    is_finite = len(region) == 4 and bool(np.isfinite(region).all())
    return is_finite and region[0] < region[2] and region[1] < region[3]


# ----------------------------------------------------------------------------------------------- the page


class _Page:
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


def _draw_spots(
    page: _Page, axes: Axes, colors: Floats, known: NDArray[np.bool_], *, outlined: bool = True
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


# --------------------------------------------------------------------------------- values, their color bar


def _draw_values(page: _Page, result: Result, ends: Mapping[str, float], is_type: bool) -> None:
    """Draw a panel per name, from 0 to its end, and the color bar."""
    names = list(ends)
    values = [_values(result, name, is_type)[page.scene.spots] for name in names]
    estimated = result.dominant.notna().to_numpy()[page.scene.spots]
    colormap = colormap_of(PROPORTION if is_type else MAP, over_tissue=page.scene.image is not None)
    for axes, value, end in zip(page.panels, values, ends.values(), strict=True):
        known = estimated & ~np.isnan(value)
        colors = colormap(np.clip(np.nan_to_num(value) / end, 0, 1))
        # No outlines: where a value is 0, nothing is drawn.
        _draw_spots(page, axes, colors, known, outlined=False)
    exceeds = any((one[estimated] > end).any() for one, end in zip(values, ends.values(), strict=True))
    has_one_end = len(set(ends.values())) == 1
    if len(names) > 1:
        _title(page, {name: "" if has_one_end else f"  0–{end_words(end)}" for name, end in ends.items()})
    label = _LABELS.get(names[0], "") if not is_type else "Proportion"
    if is_type and len(names) == 1:
        label = f"Proportion of {_fitted(names[0], _most_letters(max(_BAR_HEIGHTS[0], page.extent[1])) - 14)}"
    if has_one_end:
        _draw_bar(page, colormap, ends[names[0]], label, exceeds=exceeds)
    else:
        _draw_bar(page, colormap, 1.0, label, exceeds=exceeds, end="end of\neach map")


def _values(result: Result, name: str, is_type: bool) -> Floats:
    values = result.proportions[name] if is_type else getattr(result, name)
    return np.asarray(values, dtype=float)


def _title(page: _Page, ranges: Mapping[str, str]) -> None:
    """Name each panel, with the range of its colors if it has one of its own."""
    most = _most_letters(page.cell)
    for axes, (name, words) in zip(page.panels, ranges.items(), strict=True):
        title = axes.set_title(
            _fitted(name, most - len(words)) + words, fontsize=_FONT_SIZE, color=page.ink, pad=4
        )
        _literal(title)


def _draw_bar(
    page: _Page, colormap: ListedColormap, most: float, label: str, *, exceeds: bool, end: str = ""
) -> None:
    """Draw the color bar; with `end` as the name of its end if that differs between panels."""
    height = float(np.clip(page.extent[1], *_BAR_HEIGHTS))
    page.widen(_GAP + _BAR_WIDTH + _BAR_SPACE, height + 2 * _MARGIN)
    top = max(0.0, page.extent[1] - height) / 2
    axes = page.add_axes((page.extent[0] + _GAP, top, _BAR_WIDTH, height), "color bar")
    bar = page.figure.colorbar(
        ScalarMappable(Normalize(0.0, most), colormap), cax=axes, extend="max" if exceeds else "neither"
    )
    bar.outline.set_edgecolor(page.ink)
    bar.outline.set_linewidth(0.5)
    if bar.solids is not None:
        bar.solids.set_rasterized(True)  # or its steps show as lines
    bar.set_ticks([0.0, most] if end else _ticks(most), labels=["0", end] if end else None)
    axes.tick_params(labelsize=_FONT_SIZE - 1, colors=page.ink, width=0.5, length=2.5)
    axes.set_ylabel(label, fontsize=_FONT_SIZE, color=page.ink)
    _literal(axes.yaxis.label)


def _ticks(end: float) -> list[float]:
    """Return round numbers from 0, and the end itself.

    Examples
    --------
    >>> [f"{one:.2f}" for one in _ticks(0.15)]
    ['0.00', '0.03', '0.06', '0.09', '0.12', '0.15']
    """
    return [float(one) for one in MaxNLocator(5).tick_values(0.0, end) if one < 0.93 * end] + [end]


# ------------------------------------------------------------------------------ cell types, their legend


def _draw_types(page: _Page, result: Result, shown: str) -> None:
    """Draw each spot in the color of its dominant type, or as a pie, and the legend."""
    axes, spots = page.panels[0], page.scene.spots
    known = result.dominant.notna().to_numpy()[spots]
    shares = result.proportions.to_numpy()[spots]
    colors = to_rgba_array(list(result.colors.values()))
    if shown == "pies":
        _draw_pies(page, axes, np.nan_to_num(shares), colors)
        _draw_spots(page, axes, np.zeros((len(spots), 4)), known)
        frequency = shares[known].mean(axis=0) if known.any() else np.zeros(len(colors))
    else:
        codes = result.dominant.cat.codes.to_numpy()[spots]
        _draw_spots(page, axes, colors[codes], known)
        frequency = np.bincount(codes[known], minlength=len(colors)).astype(float)
    _draw_legend(page, result.colors, frequency)


def _draw_pies(page: _Page, axes: Axes, shares: Floats, colors: Floats) -> None:
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


def _draw_legend(page: _Page, colors: Mapping[str, str], frequency: Floats) -> None:
    """Add the names of the types that are drawn, the most frequent first."""
    names = list(colors)
    order = [at for at in np.argsort(-frequency, kind="stable") if frequency[at] > 0]
    named, left = order[:_MOST_NAMED], len(order) - _MOST_NAMED
    keys = [_key(colors[names[at]], page.scene.is_bin) for at in named]
    texts = [_fitted(names[at], 40) for at in named]
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


def _put_at_right(page: _Page, legend: Legend) -> None:
    """Make room for the legend at the right of the map, and below if the legend is higher."""
    box = legend.get_window_extent(page.figure.canvas.get_renderer())  # type: ignore[attr-defined]
    width, height = np.array([box.width, box.height]) / page.figure.dpi
    page.widen(_GAP + width, height + 2 * _MARGIN)
    across, up = page.figure.get_size_inches()
    legend.set_bbox_to_anchor(((_MARGIN + page.extent[0] + _GAP) / across, 1 - _MARGIN / up))


# ------------------------------------------------------------------------------------- scale bar and text


def _draw_scale_bar(page: _Page, result: Result) -> None:
    """Draw a bar of a round length below the first map of the last row."""
    microns = microns_per_pixel(result.spatial)
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


def _explain_crosses(page: _Page, result: Result) -> None:
    """Explain the crosses below the last map, if there are any."""
    if page.scene.is_dense or result.dominant.notna().to_numpy()[page.scene.spots].all():
        return
    axes = page.panels[-1]
    settings: Any = {"transform": axes.transAxes, "ha": "right", "va": "top", "color": page.ink}
    axes.text(1, -0.15 / page.height, "× not estimated", fontsize=_FONT_SIZE - 1, **settings)


def _literal(text: Text) -> None:
    """Show a name as it is: "$" does not begin a formula."""
    text.set_parse_math(False)
    text.set_usetex(False)


def _most_letters(length: float) -> int:
    """Return about how many letters fit into a length in inches."""
    return int(72 * length / (0.6 * _FONT_SIZE))


def _fitted(name: str, most: int) -> str:
    """Return a name shortened to at most `most` characters, without control characters.

    Examples
    --------
    >>> _fitted("effector memory CD8+ T cell", 15), _fitted("B" + chr(7), 15)
    ('effecto… T cell', 'B\\\\x07')
    """
    shown = printable(name)
    half = max(1, (most - 1) // 2)
    return shown if len(shown) <= most else f"{shown[:half]}…{shown[-half:]}"
