"""Figures for publication: a result over its tissue, drawn by matplotlib without a window.

Colors are those of the viewer. Only matplotlib's objects are used, not pyplot, which needs the main thread.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from difflib import get_close_matches
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from napari_spotmix.base.color_range import ColorRange, end_words
from napari_spotmix.base.errors import InputError
from napari_spotmix.io import write_atomically
from napari_spotmix.io.keeping import MARK
from napari_spotmix.output import figure_maps as maps
from napari_spotmix.output import figure_page as on_page
from napari_spotmix.output.figure_maps import FigureMap
from napari_spotmix.output.figure_page import FigurePage
from napari_spotmix.output.ranges import ends_of_types, rule_of
from napari_spotmix.output.scene import Crop, FigureScene, colormap_of, scene_of, scene_of_spots, usual_top

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_spotmix.dataset.regions import Region
    from napari_spotmix.result import Result

__all__ = [
    "MAPS",
    "SUFFIXES",
    "Crop",
    "FigureScene",
    "area_of",
    "colormap_of",
    "draw",
    "draw_maps",
    "save",
    "scene_of",
    "usual_top",
]

MapName = Literal["dominant", "unexplained", "counts", "errors", "pies", "graph"]

#: What can be shown other than cell types.
MAPS: tuple[str, ...] = get_args(MapName)
#: Formats of figures, by the ending of their names.
SUFFIXES = (".png", ".svg", ".pdf")

_MOST_PANELS = 12
#: More types than these cannot be distinguished in a blend.
MOST_BLENDED = 6


def draw(
    result: Result,
    shown: str | Sequence[str],
    *,
    image: bool = True,
    opacity: float = 1.0,
    region: Crop | None = None,
    dark: bool = False,
    color_range: ColorRange | str | float | None = None,
    threshold: float = 0.0,
    blend: bool = False,
    outlines: bool = False,
) -> Figure:
    """Draw proportions, or another map of a result, over the tissue.

    Parameters
    ----------
    result : Result
    shown : str or sequence of str
        A cell type; "dominant", "unexplained", "counts", "errors" (the standard error of each spot's largest
        proportion), "graph" (attention between neighbors, or weights without it) or "pies" (the proportions
        of every spot, of at most 6,000); or 2 to 12 cell types, drawn side by side.
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
    threshold : float, optional
        Spots with a smaller proportion are faded: of a cell type, of the sum of a blend, or of the dominant
        type.
    blend : bool, optional
        Whether to draw several cell types in one map, their colors blended.
    outlines : bool, optional
        Whether to draw ``result.regions``, with their names.

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
    problems = [*_name_problems(result, names), *_option_problems(opacity, region, threshold)]
    rule = rule_of(result)
    try:
        rule = rule if color_range is None else ColorRange.of(color_range)
    except ValueError as error:
        problems.append(str(error))
    if blend and not 2 <= len(names) <= MOST_BLENDED:
        problems.append(f"`blend` needs 2 to {MOST_BLENDED} cell types, found {len(names)}.")
    if problems:
        raise InputError(problems)
    if blend:
        drawn = [maps.blend_map(result, names, rule, threshold)]
    elif names[0] in result.cell_types:
        ends = ends_of_types(result, names, rule)
        drawn = [maps.type_map(result, name, ends[name], threshold) for name in names]
    else:
        drawn = [maps.map_of_result(result, names[0], rule, threshold)]
    regions = result.regions if outlines else ()
    return draw_maps(
        result.spatial, drawn, image=image, opacity=opacity, region=region, dark=dark, regions=regions
    )


def draw_maps(
    adata: AnnData,
    drawn: Sequence[FigureMap],
    *,
    image: bool = True,
    opacity: float = 1.0,
    region: Crop | None = None,
    dark: bool = False,
    regions: Sequence[Region] = (),
) -> Figure:
    """Draw maps of spots side by side; the other arguments are those of `draw`.

    Raises
    ------
    InputError
        If there is nothing to draw.
    """
    scene = scene_of_spots(adata, image, opacity, region)
    page = FigurePage(scene, len(drawn), dark)
    for axes, one in zip(page.panels, drawn, strict=True):
        _draw_map(page, axes, one)
        on_page.draw_outlines(page, axes, regions)
    _explain(page, drawn)
    on_page.draw_scale_bar(page, adata)
    crossed = next((one for one in drawn if not one.known[scene.spots].all() and one.edges is None), None)
    if crossed is not None:
        on_page.explain_crosses(page, crossed.unknown)
    return page.figure


def area_of(adata: AnnData, area: Crop | None) -> Crop | None:
    """Return the part of an area that the section has, None if that is all of it.

    Raises
    ------
    InputError
        If no spot is in the area.
    """
    if area is None:
        return None
    whole = scene_of_spots(adata, image=False).region
    left, top = max(area[0], whole[0]), max(area[1], whole[1])
    right, bottom = min(area[2], whole[2]), min(area[3], whole[3])
    if left >= right or top >= bottom:
        raise InputError("No spot is on the screen. Choose the whole section.")
    return None if (left, top, right, bottom) == whole else (left, top, right, bottom)


def _draw_map(page: FigurePage, axes: Axes, drawn: FigureMap) -> None:
    spots = page.scene.spots
    if drawn.shares is not None and drawn.slice_colors is not None:
        on_page.draw_pies(page, axes, drawn.shares[spots], drawn.slice_colors)
    if drawn.edges is None:
        on_page.draw_spots(page, axes, drawn.colors[spots], drawn.known[spots], outlined=drawn.is_outlined)
        return
    xy = np.full((len(drawn.known), 2), np.nan)
    xy[spots] = page.scene.xy
    lines = xy[drawn.edges.spots]
    is_seen = np.isfinite(lines).all(axis=(1, 2))
    on_page.draw_edges(page, axes, lines[is_seen], drawn.edges.colors[is_seen], 0.2 * page.scene.diameter)


def _explain(page: FigurePage, drawn: Sequence[FigureMap]) -> None:
    """Add titles, the legend, and a color bar for each kind of values."""
    limits = {(one.scale.kind, one.scale.limits) for one in drawn if one.scale is not None}
    kinds = list(dict.fromkeys(one.scale.kind for one in drawn if one.scale is not None))
    if len(drawn) > 1:
        names_range = len(limits) > len(kinds)
        page.name_panels([(one.name, _range_words(one) if names_range else "") for one in drawn])
    if drawn[0].legend is not None:
        on_page.draw_legend(page, drawn[0].legend(page.scene.spots))
    for kind in kinds:
        scales = [one.scale for one in drawn if one.scale is not None and one.scale.kind == kind]
        first, exceeds = scales[0], any(one.exceeds for one in scales)
        label = kind if len(scales) > 1 else first.label
        label = on_page.label_of_bar(page, *label.split("\n", 1)) if "\n" in label else label
        if len({one.limits for one in scales}) == 1:
            on_page.draw_bar(page, first.colormap, first.limits, label, exceeds=exceeds)
        else:
            on_page.draw_bar(page, first.colormap, (0.0, 1.0), label, exceeds=exceeds, end="end of\neach map")


def _range_words(drawn: FigureMap) -> str:
    return "" if drawn.scale is None else f"  0–{end_words(drawn.scale.limits[1])}"


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


def _option_problems(opacity: float, region: Crop | None, threshold: float) -> list[str]:
    """Return what is wrong with how a map is drawn."""
    problems = [
        f"`{name}` must be from 0 to 1, found {value!r}."
        for name, value in (("opacity", opacity), ("threshold", threshold))
        if not 0 <= value <= 1
    ]
    if region is not None and not _is_region(region):
        problems.append(
            "`region` must be left, top, right and bottom in full-resolution pixels, left below right and "
            f"top below bottom, found {region!r}."
        )
    return problems


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
        elif name == "errors" and not len(result.standard_errors):
            problems.append("`show`: this result has no standard errors. Run again, or show another map.")
    return problems


def _unknown_name(result: Result, name: str) -> str:
    near = get_close_matches(name, [*result.cell_types, *MAPS], n=1)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    known = ", ".join([*result.cell_types, *MAPS])
    return f"`show`: unknown cell type or map {name!r}.{guess} This result has {known}."


def _is_region(region: Crop) -> bool:
    is_finite = len(region) == 4 and bool(np.isfinite(region).all())
    return is_finite and region[0] < region[2] and region[1] < region[3]
