"""Figures of what is shown, and the report, made and written in a thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_spotmix.base.errors import InputError
from napari_spotmix.base.progress import Progress
from napari_spotmix.io import checksums, run_cancellable, write_atomically
from napari_spotmix.io.keeping import check_replaceable
from napari_spotmix.ui.state.edges import EdgeMap, edge_limits, edge_values
from napari_spotmix.ui.state.map_range import end_of_values
from napari_spotmix.ui.state.maps import FEATURES, GRAPH, NICHES, PIES, Column, Gene, Measure, Shown
from napari_spotmix.ui.text import printable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from anndata import AnnData
    from matplotlib.figure import Figure

    from napari_spotmix.base.color_range import ColorRange
    from napari_spotmix.base.progress import ProgressCallback, Task
    from napari_spotmix.dataset.regions import Region
    from napari_spotmix.io import ReadOptions
    from napari_spotmix.output.figure_maps import FigureMap
    from napari_spotmix.output.scene import Crop
    from napari_spotmix.result import Result
    from napari_spotmix.ui.state.session import Session
    from napari_spotmix.ui.state.spot_values import SpotValues

__all__ = ["FigureContent", "Framing", "content_of", "figure_task", "report_task"]

_STAGE = "Drawing"

#: Name and color of each niche.
Entries = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Framing:
    """What of the section is on the framing.

    Attributes
    ----------
    area : tuple of float or None
        Left, top, right and bottom in full-resolution pixels; None for all of it.
    has_tissue, has_regions : bool
        Whether the image of the tissue and the regions are visible.
    """

    area: Crop | None = None
    has_tissue: bool = True
    has_regions: bool = True


@dataclass(frozen=True, eq=False)
class FigureContent:
    """What a figure draws: maps, made in the thread, of spots, and how."""

    adata: AnnData
    make: Callable[[], list[FigureMap]]
    opacity: float
    framing: Framing
    regions: tuple[Region, ...] = ()


def content_of(session: Session, framing: Framing, niches: Entries = ()) -> FigureContent | None:
    """Return what a session shows, as figures draw it; None if it shows no map.

    What it shows may change while a figure is drawn: everything is taken now.
    """
    adata, display, result = session.spatial, session.display, session.result
    shown: Sequence[Shown] = display.panels or (() if display.shown is None else (display.shown,))
    makers = [_maker(session, one, niches) for one in shown]
    if adata is None or not makers or any(maker is None for maker in makers):
        return None
    regions = session.regions if framing.has_regions and result is not None else ()
    return FigureContent(
        adata, lambda: [maker() for maker in makers if maker], display.opacity, framing, regions
    )


def _maker(session: Session, shown: Shown, niches: Entries) -> Callable[[], FigureMap] | None:
    """Return what makes a map, to be called in a thread; None if it cannot be shown."""
    result = session.result
    if isinstance(shown, Gene | Column):
        return _maker_of_values(session, shown)
    if result is None:
        return None
    if shown is NICHES:
        found = session.niches
        return None if found is None else lambda: _niche_map(found.codes, niches)
    if shown is GRAPH:
        edges = session.edges
        return lambda: _edge_map(result, edges)
    types = [one for one in session.display.panels if isinstance(one, str)]
    rule, threshold = session.display.color_range, session.display.threshold
    return lambda: _map_of(result, shown, types, rule, threshold)


def _map_of(result: Result, shown: Shown, panels: list[str], rule: ColorRange, threshold: float) -> FigureMap:
    """Return a map that is of cell types, or of a feature of the spots."""
    from napari_spotmix.output import figure_maps as maps
    from napari_spotmix.output.ranges import end_of_map, ends_of_types

    if isinstance(shown, tuple):
        return maps.blend_map(result, shown, rule, threshold)
    if isinstance(shown, str):
        return maps.type_map(result, shown, ends_of_types(result, panels or [shown], rule)[shown], threshold)
    if shown in FEATURES:
        feature = FEATURES[shown]
        return maps.feature_map(result, feature, end_of_map(result, feature, rule))
    return maps.pies_map(result) if shown is PIES else maps.dominant_map(result, threshold)


def _maker_of_values(session: Session, shown: Gene | Column) -> Callable[[], FigureMap] | None:
    adata, values = session.spatial, session.known_values.get(shown)
    if adata is None or values is None:
        return None
    end = end_of_values(session, shown)
    return lambda: _values_map(adata, shown, values, end)


def _values_map(adata: AnnData, shown: Gene | Column, found: SpotValues, end: float) -> FigureMap:
    from napari_spotmix.output import figure_maps as maps

    if found.labels is not None:
        entries = list(zip(found.labels.names, found.labels.colors, strict=True))
        return maps.labels_map(shown.name, found.labels.codes, entries)
    unit = {
        Measure.COUNTS: "counts",
        Measure.PER_DEPTH: "counts per 10,000",
        Measure.LOG: "log(1 + per 10,000)",
    }
    label = printable(f"{shown.name}: {unit[shown.measure]}" if isinstance(shown, Gene) else shown.name)
    numbers = found.numbers.astype(np.float64)
    return maps.values_map(adata, shown.name, numbers, end, label, is_signed=found.is_signed)


def _niche_map(codes: np.ndarray, niches: Entries) -> FigureMap:
    from napari_spotmix.output.figure_maps import labels_map

    return labels_map(NICHES.value, codes, niches, unknown="not estimated")


def _edge_map(result: Result, edges: EdgeMap) -> FigureMap:
    from napari_spotmix.output.figure_maps import edges_map

    known = result.dominant.notna().to_numpy()
    return edges_map(edges.value, edge_values(result, edges), edge_limits(result, edges), known)


def figure_task(content: FigureContent, path: Path, inputs: Mapping[str, Path] | None = None) -> Task:
    """Return the task that draws a figure and writes it; never over a file of `inputs`."""

    def draw() -> Figure:
        from napari_spotmix.output import figure

        framing = content.framing
        return figure.draw_maps(
            content.adata,
            content.make(),
            image=framing.has_tissue,
            opacity=content.opacity,
            region=figure.area_of(content.adata, framing.area),
            regions=content.regions,
        )

    def task(on_progress: ProgressCallback) -> Path:
        # Imported in the thread: matplotlib takes its time.
        from napari_spotmix.output import figure

        if problems := figure.save_problems(path):
            raise InputError(problems)
        check_replaceable(path, inputs or {})
        drawn = run_cancellable(draw, _STAGE, on_progress, 0, 2)

        def save(aside: Path) -> None:
            # The temporary file has a folder of its own.
            folder = aside.parent
            run_cancellable(lambda: figure.save(drawn, aside), _STAGE, on_progress, 1, 2, writes_into=folder)
            on_progress(Progress(_STAGE, 2, 2))  # a figure that was cancelled meanwhile is not kept

        return write_atomically(path, save)

    return task


def report_task(result: Result, inputs: Mapping[str, Path], how: ReadOptions, title: str, path: Path) -> Task:
    """Return the task that writes the report of a result, made of these files."""

    def task(on_progress: ProgressCallback) -> Path:
        from napari_spotmix.output.report import make_report

        check_replaceable(path, inputs)
        sums = checksums(inputs, how, on_progress=on_progress)
        html = make_report(result, sums, title=title, on_progress=on_progress)
        return write_atomically(path, lambda aside: aside.write_text(html, encoding="utf-8", newline="\n"))

    return task
