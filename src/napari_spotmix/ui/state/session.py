"""What is loaded, fitted and shown: the state behind the widgets of one viewer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from psygnal import Signal

from napari_spotmix.analysis.neighborhood import neighbors_of
from napari_spotmix.dataset.bin_grid import MOST_POINTS
from napari_spotmix.io.readers.options import DEFAULT, Choices, ReadOptions
from napari_spotmix.params import MOST_NICHES
from napari_spotmix.result import View
from napari_spotmix.ui.canvas.edges import Edges, offered_edges

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_spotmix.analysis.niches import Niches
    from napari_spotmix.dataset.regions import Region
    from napari_spotmix.io import TissueImage
    from napari_spotmix.result import Result
from napari_spotmix.ui.state.spot_finder import SpotFinder

__all__ = [
    "COUNTS",
    "Camera",
    "DOMINANT",
    "ERRORS",
    "GRAPH",
    "MOST_BLENDED",
    "MOST_PANELS",
    "NICHES",
    "PIES",
    "Reference",
    "Session",
    "Shown",
    "Tissue",
    "UNEXPLAINED",
    "name_of",
    "session_of",
]


class _Special(Enum):
    DOMINANT = "Dominant type"
    UNEXPLAINED = "Unexplained share"
    COUNTS = "Counts"
    ERRORS = "Standard error"
    PIES = "Pies"
    GRAPH = "Attention graph"
    NICHES = "Niches"


#: Shown in place of one cell type: each spot in the color of its largest one.
DOMINANT: Final = _Special.DOMINANT

#: What the cell types do not explain of a spot's counts, and how many counts it has.
UNEXPLAINED: Final = _Special.UNEXPLAINED

COUNTS: Final = _Special.COUNTS

#: How sure the proportion of each spot's largest type is.
ERRORS: Final = _Special.ERRORS

#: Each spot as a pie of its proportions.
PIES: Final = _Special.PIES

#: Every edge between neighbors in the color of its attention.
GRAPH: Final = _Special.GRAPH

#: Each spot in the color of its niche, once niches have been found.
NICHES: Final = _Special.NICHES

#: A cell type, several of them blended, or a map of its own.
Shown = str | tuple[str, ...] | _Special

#: So many types can be told apart in a blend.
MOST_BLENDED: Final = 6

#: So many panels side by side are still large enough to see.
MOST_PANELS: Final = 12

#: A neighbor lies in a direction if the cosine of the angle to it is at least this: 45 degrees or so.
_AHEAD = 0.7


def name_of(shown: Shown) -> str:
    """Return what stands on the screen for what is shown.

    Examples
    --------
    >>> name_of(DOMINANT), name_of("T cell"), name_of(("T cell", "B cell"))
    ('Dominant type', 'T cell', 'T cell + B cell')
    """
    if isinstance(shown, str):
        return shown
    return " + ".join(shown) if isinstance(shown, tuple) else str(shown.value)


@dataclass(frozen=True)
class Camera:
    """Where the viewer looks: (y, x) in full-resolution pixels, and pixels of the screen for each of them."""

    center: tuple[float, float]
    zoom: float


@dataclass(frozen=True)
class Tissue:
    """Spatial data and where it came from; `path` is None for what was never a file.

    `reading` is what the reader was told beside the path, and `choices` what it could have been told.
    """

    adata: AnnData
    name: str
    path: Path | None = None
    reading: ReadOptions = DEFAULT
    choices: Choices = field(default_factory=Choices)
    fixes: tuple[str, ...] = ()
    original: AnnData | None = None

    @property
    def inputs(self) -> dict[str, Path]:
        """What was read, by role, as `Job.inputs` calls it."""
        beside = {"image": self.reading.image, "coordinates": self.reading.coordinates}
        return {role: path for role, path in ({"spatial": self.path} | beside).items() if path is not None}


@dataclass(frozen=True)
class Reference:
    """Labeled cells, where they came from, and the columns that may hold cell types, likeliest first.

    `more` are the files that were joined with the first, `labels` the table that labels were taken from.
    `fixes` is what they have been fixed by since they were read, and `original` what they were before; so
    for the tissue.
    """

    adata: AnnData
    name: str
    columns: tuple[str, ...]
    path: Path | None = None
    more: tuple[Path, ...] = ()
    labels: Path | None = None
    fixes: tuple[str, ...] = ()
    original: AnnData | None = None

    @property
    def inputs(self) -> dict[str, Path]:
        """What was read, by role, as `Job.inputs` calls it."""
        paths = (self.path, *self.more)
        named = {f"reference_{n}" if n > 1 else "reference": path for n, path in enumerate(paths, start=1)}
        return {role: path for role, path in (*named.items(), ("labels", self.labels)) if path is not None}


class Session:
    """What one viewer has loaded, fitted and shows; it knows no widget and no layer."""

    tissue_changed = Signal()
    image_changed = Signal()
    reference_changed = Signal()
    result_changed = Signal()
    result_replayed = Signal()
    shown_changed = Signal()
    spot_changed = Signal()
    opacity_changed = Signal()
    threshold_changed = Signal()
    hover_changed = Signal()
    regions_changed = Signal()
    niches_changed = Signal()
    panels_changed = Signal()
    camera_wanted = Signal(object)
    niches_wanted = Signal(int, bool)
    layers_wanted = Signal()

    def __init__(self) -> None:
        self.tissue: Tissue | None = None
        self.image: TissueImage | None = None
        self.reference: Reference | None = None
        self.cell_type_key: str | None = None
        self.result: Result | None = None
        self.learned: Result | None = None
        self.shown: Shown | None = None
        self.spot: int | None = None
        self.opacity = 1.0
        self.threshold = 0.0
        self.hovered: int | None = None
        self.regions: tuple[Region, ...] = ()
        self.niches: Niches | None = None
        self.panels: tuple[str, ...] = ()
        self.camera: Camera | None = None
        self._edges: Edges | None = None
        self._finder: SpotFinder | None = None

    def set_tissue(self, tissue: Tissue) -> None:
        """Take other spots; what was fitted to the old ones goes."""
        self.tissue = tissue
        self.image = None
        self.set_result(None)
        self.tissue_changed.emit()

    @property
    def inputs(self) -> dict[str, Path]:
        """The files that were read, by role."""
        spatial = {} if self.tissue is None else self.tissue.inputs
        return spatial | ({} if self.reference is None else self.reference.inputs)

    def set_image(self, image: TissueImage) -> None:
        """Take an image in place of the one that came with the spots."""
        self.image = image
        self.image_changed.emit()

    def set_reference(self, reference: Reference) -> None:
        """Take another reference, and its most likely label column."""
        self.reference = reference
        self.cell_type_key = next(iter(reference.columns), None)
        self.reference_changed.emit()

    @property
    def fixes(self) -> tuple[str, ...]:
        """By which fixes the data differ from their files."""
        loaded = [one for one in (self.tissue, self.reference) if one is not None]
        return tuple(fix for one in loaded for fix in one.fixes)

    def set_fixed(self, spatial: AnnData, reference: AnnData, fixes: tuple[str, ...]) -> None:
        """Take what fixes have made of the data; the files, the labels and another image stay chosen."""
        assert self.tissue is not None
        assert self.reference is not None
        self._replace(_fixed(self.tissue, spatial, fixes), _fixed(self.reference, reference, fixes))

    def undo_fixes(self) -> None:
        """Take the data as they were read."""
        assert self.tissue is not None
        assert self.reference is not None
        self._replace(_unfixed(self.tissue), _unfixed(self.reference))

    def _replace(self, tissue: Tissue, reference: Reference) -> None:
        if reference is not self.reference:
            self.reference = reference
            self.reference_changed.emit()
        if tissue is not self.tissue:
            image = self.image
            self.set_tissue(tissue)
            if image is not None:
                self.set_image(image)

    def set_cell_type_key(self, key: str | None) -> None:
        """Take the labels from another column of the reference."""
        self.cell_type_key = key
        self.reference_changed.emit()

    def set_result(self, result: Result | None) -> None:
        """Take what a run gave, and show the overview of it."""
        self.result = self.learned = result
        self.spot = None
        self.hovered = None
        self.shown = None
        self._finder = None
        # What was drawn stays for another run of the same tissue.
        self.regions = () if result is None else result.regions or self.regions
        self.niches = None
        self.show_panels(())
        self.result_changed.emit()
        self.spot_changed.emit()
        if result is not None:
            self.show(DOMINANT)
            self._restore(result)

    @property
    def view(self) -> View:
        """What is on the screen, to be saved with the result."""
        shown = self.shown
        types = shown if isinstance(shown, tuple) else (shown,) if isinstance(shown, str) else ()
        return View(
            map=shown.name if isinstance(shown, _Special) else None,
            types=types,
            threshold=self.threshold,
            opacity=self.opacity,
            spot=self.spot,
            side_by_side=self.panels,
            niches=None if self.niches is None else len(self.niches.composition),
            edges=None if self._edges is None else self._edges.name,
            camera=None if self.camera is None else (*self.camera.center, self.camera.zoom),
        )

    def _restore(self, result: Result) -> None:
        """Show what was shown when the result was saved, to the extent that it fits the result."""
        view = View() if result.view is None else result.view
        types = [name for name in view.types if name in result.cell_types]
        maps = [UNEXPLAINED, COUNTS, *([PIES, GRAPH] if len(result.abundances) <= MOST_POINTS else [])]
        shown = next((one for one in maps if one.name == view.map), None)
        self._edges = next((one for one in Edges if one.name == view.edges), None)
        if types:
            self.show(types[0] if len(types) == 1 else tuple(types[:MOST_BLENDED]))
        elif shown is not None:
            self.show(shown)
        if view.threshold is not None:
            self.set_threshold(view.threshold)
        if view.opacity is not None:
            self.set_opacity(view.opacity)
        if view.spot is not None and view.spot < len(result.abundances):
            self.pick(view.spot)
        if view.camera is not None:
            y, x, zoom = view.camera
            self.camera_wanted.emit(Camera((y, x), zoom))
        panels = [name for name in view.side_by_side if name in result.cell_types]
        if len(panels) > 1:
            self.show_panels(panels)
        if view.niches is not None and 2 <= view.niches <= MOST_NICHES:
            # They are found again, with the same seed.
            self.niches_wanted.emit(view.niches, view.map == NICHES.name and not types)

    def replay(self, result: Result) -> None:
        """Take what came of solving the run's result again; what is shown and picked stays."""
        self.result = result
        wanted = (self.shown,) if isinstance(self.shown, str) else self.shown
        is_gone = isinstance(wanted, tuple) and not set(wanted) <= set(result.cell_types)
        self.niches = None
        if is_gone or self.shown is NICHES or (self.shown is ERRORS and not len(result.standard_errors)):
            self.shown = DOMINANT
        if not set(self.panels) <= set(result.cell_types):
            self.show_panels(())
        self.result_replayed.emit()
        if self.shown is not None:
            self.show(self.shown)

    def show(self, shown: Shown) -> None:
        """Show a cell type or `DOMINANT`; asked again, it is shown again."""
        self.shown = shown
        self.shown_changed.emit()

    def show_panels(self, cell_types: Sequence[str]) -> None:
        """Show cell types side by side, over what is shown, which stays as it is; none to end that."""
        panels = tuple(cell_types)[:MOST_PANELS]
        if panels != self.panels:
            self.panels = panels
            self.panels_changed.emit()

    def set_color(self, cell_type: str, color: str) -> None:
        """Give a cell type another color everywhere, "#rrggbb"; it is kept with the result."""
        assert self.result is not None
        assert self.learned is not None
        chosen = {cell_type: color}
        self.learned = replace(self.learned, chosen_colors=self.learned.chosen_colors | chosen)
        self.replay(replace(self.result, chosen_colors=self.result.chosen_colors | chosen))

    @property
    def edges(self) -> Edges:
        """What the graph shows of its edges, as asked for where there is such; there must be a result."""
        assert self.result is not None
        offered = offered_edges(self.result)
        return self._edges if self._edges in offered else offered[0]

    def set_edges(self, edges: Edges) -> None:
        """Show something else of the edges, or the same again."""
        self._edges = edges
        self.show(GRAPH)

    def set_regions(self, regions: tuple[Region, ...]) -> None:
        """Take what has been drawn on the tissue."""
        self.regions = regions
        self.regions_changed.emit()

    def set_niches(self, niches: Niches, *, is_shown: bool = True) -> None:
        """Take what has been found of the result, and show it."""
        self.niches = niches
        self.niches_changed.emit()
        if is_shown:
            self.show(NICHES)

    def set_opacity(self, opacity: float) -> None:
        """Let the tissue show through the spots."""
        self.opacity = opacity
        self.opacity_changed.emit()

    def set_threshold(self, threshold: float) -> None:
        """Fade the spots in which what is shown has a smaller proportion than this."""
        self.threshold = threshold
        self.threshold_changed.emit()

    def hover_at(self, y: float, x: float) -> None:
        """Point at the spot under a point of the tissue, or at none."""
        if self.result is not None:
            self.hover(self.finder.at(x, y))

    def hover(self, spot: int | None) -> None:
        """Point at a spot, or at none; told each time, since the mouse moves within a spot too."""
        if spot is not None or self.hovered is not None:
            self.hovered = spot
            self.hover_changed.emit()

    def pick(self, spot: int | None) -> None:
        """Look into a spot, or into none."""
        if spot != self.spot:
            self.spot = spot
            self.spot_changed.emit()

    def step_back(self) -> None:
        """Look into no spot; where none is picked, end side by side."""
        if self.spot is None:
            self.show_panels(())
        self.pick(None)

    def walk(self, down: float, right: float) -> None:
        """Look into the neighbor that lies in a direction from the picked spot, if one does."""
        if self.result is None or self.spot is None:
            return
        neighbors = neighbors_of(self.result, self.spot)[0]
        step = self.result.coordinates[neighbors] - self.result.coordinates[self.spot]
        length = np.linalg.norm(step, axis=1)
        ahead = step @ [right, down] / np.where(length > 0, length, 1.0)
        if len(ahead) and ahead.max() >= _AHEAD:
            self.pick(int(neighbors[ahead.argmax()]))

    def pick_at(self, y: float, x: float) -> None:
        """Look into the spot under a point of the tissue (full-resolution pixels), or into none."""
        if self.result is not None:
            self.pick(self.finder.at(x, y))

    @property
    def finder(self) -> SpotFinder:
        """Tells the spot under a point; there must be a result."""
        assert self.result is not None
        if self._finder is None:
            self._finder = SpotFinder(self.result.spatial)
        return self._finder

    def what_is_missing(self) -> str | None:
        """Say what has to be chosen before a run, or None if all is there."""
        if self.tissue is None:
            return "Choose spatial data first."
        if self.reference is None:
            return "Choose a reference first."
        if not self.reference.columns:
            return "The reference has no column of cell types: text with at least two different values."
        if self.cell_type_key is None:
            return "Choose the column with the cell types first."
        return None


_Loaded = TypeVar("_Loaded", Tissue, Reference)


def _fixed(loaded: _Loaded, adata: AnnData, fixes: tuple[str, ...]) -> _Loaded:
    """Return what is loaded with other data, or itself where these are its own."""
    if adata is loaded.adata:
        return loaded
    role = "spatial:" if isinstance(loaded, Tissue) else "reference:"
    own = tuple(fix for fix in fixes if fix.startswith(role))
    return replace(loaded, adata=adata, fixes=loaded.fixes + own, original=loaded.original or loaded.adata)


def _unfixed(loaded: _Loaded) -> _Loaded:
    if loaded.original is None:
        return loaded
    return replace(loaded, adata=loaded.original, fixes=(), original=None)


# A viewer's state outlives its dock, which can be closed and opened again.
_sessions: WeakKeyDictionary[Any, Session] = WeakKeyDictionary()


def session_of(viewer: Any) -> Session:
    """Return the session of a viewer, made on the first call and gone with the viewer."""
    return _sessions.setdefault(viewer, Session())
