"""What is loaded, fitted and shown: the state behind the widgets of one viewer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakKeyDictionary

from psygnal import Signal

from napari_spotmix.base.color_range import ColorRange
from napari_spotmix.dataset.bin_grid import MOST_POINTS
from napari_spotmix.result import View
from napari_spotmix.ui.state.display import Display
from napari_spotmix.ui.state.edges import EdgeMap, offered_edges
from napari_spotmix.ui.state.loaded import LoadedData, LoadedTissue
from napari_spotmix.ui.state.maps import (
    COUNTS,
    DOMINANT,
    ERRORS,
    GRAPH,
    NICHES,
    PIES,
    UNEXPLAINED,
    Column,
    Gene,
    Shown,
    SpotMap,
)
from napari_spotmix.ui.state.opening import OpenedTissue, result_in, simulated_reference
from napari_spotmix.ui.state.pointer import Pointer
from napari_spotmix.ui.state.region_history import RegionHistory
from napari_spotmix.ui.state.saved_view import SavedView

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_spotmix.analysis.niches import Niches
    from napari_spotmix.dataset.regions import Region
    from napari_spotmix.result import Result
    from napari_spotmix.ui.state.spot_values import Contents, SpotValues

__all__ = ["Made", "Session", "session_of"]

#: A result and the regions drawn on it.
Made: TypeAlias = "tuple[Result | None, tuple[Region, ...]]"

#: Maps that are shown again with a saved result; niches have to be found again first.
_RESTORED = (UNEXPLAINED, COUNTS)
_RESTORED_OF_POINTS = (PIES, GRAPH)
#: Genes and columns whose values are kept; of a million spots, each has 4 MB.
_MOST_VALUES = 12


class Session:
    """The result of one viewer, with what was loaded for it, how it is displayed and what is pointed at.

    It knows no widget and no layer.

    Attributes
    ----------
    data : LoadedData
    display : Display
    pointer : Pointer
    result : Result or None
        What is shown: of the last run, or solved again from it.
    learned : Result or None
        The result of the last run itself.
    regions : tuple of Region
    region_history : RegionHistory
        The steps in which they were drawn.
    niches : Niches or None
    contents : Contents or None
        The genes and columns that can be shown, once they are known.
    known_values : dict
        The values of the genes and columns that were read, the newest last.

    Signals
    -------
    result_changed
        A run has given another result, or the result was dropped.
    result_replayed
        The result of the run was solved again.
    regions_changed, niches_changed
    niches_wanted : int, bool
        A saved view asks for so many niches, and whether to show them.
    layers_wanted
        A layer is to be added for each cell type.
    contents_changed
    gene_wanted : str
        The gene of this name is to be shown.
    regions_wanted : str
        The labels of this column of ``obs`` are to be compared as regions.
    regions_opened : tuple of Region
        Regions of a file are to be drawn.
    file_wanted : Path
        A file is to be opened, as one that is dropped on the window.
    """

    result_changed = Signal()
    result_replayed = Signal()
    regions_changed = Signal()
    niches_changed = Signal()
    niches_wanted = Signal(int, bool)
    layers_wanted = Signal()
    contents_changed = Signal()
    gene_wanted = Signal(str)
    regions_wanted = Signal(str)
    regions_opened = Signal(tuple)
    file_wanted = Signal(Path)

    def __init__(self) -> None:
        self.data = LoadedData()
        self.display = Display()
        self.pointer = Pointer()
        self.result: Result | None = None
        self.learned: Result | None = None
        self.regions: tuple[Region, ...] = ()
        self.region_history = RegionHistory()
        self.niches: Niches | None = None
        self.contents: Contents | None = None
        self.known_values: dict[SpotMap, SpotValues] = {}
        self._saved: Made = (None, ())
        # Connected first, so that no listener sees a result with the tissue of another one.
        self.data.tissue_changed.connect(self._drop_result)

    def _drop_result(self) -> None:
        self.contents = None
        self.known_values.clear()
        self.set_result(None)
        self.mark_saved(self.made)
        self.contents_changed.emit()

    # What is in a file

    @property
    def made(self) -> Made:
        """The result and the regions that there are now."""
        return self.result, self.regions

    def mark_saved(self, made: Made) -> None:
        """Note that a result and regions are in a file."""
        self._saved = made

    @property
    def is_saved(self) -> bool:
        """Whether nothing would be lost with the window."""
        return not (self.has_unsaved_result or self.has_unsaved_regions)

    @property
    def has_unsaved_result(self) -> bool:
        """Whether the result was run, adjusted or colored since it was saved or opened."""
        return self.result is not None and self.result is not self._saved[0]

    @property
    def has_unsaved_regions(self) -> bool:
        """Whether regions were drawn, changed or removed since they were saved or opened."""
        return list(map(_content, self.regions)) != list(map(_content, self._saved[1]))

    @property
    def spatial(self) -> AnnData | None:
        """The spots that are loaded."""
        return None if self.data.tissue is None else self.data.tissue.adata

    @property
    def layer(self) -> str | None:
        """The layer of the spots' counts: that of the run."""
        return None if self.learned is None else self.learned.provenance.layer

    def set_contents(self, contents: Contents | None) -> None:
        """Take the genes and columns of the spots, None until they are known."""
        self.contents = contents
        self.contents_changed.emit()

    def show_values(self, shown: SpotMap, values: SpotValues) -> None:
        """Take the values of a gene or a column, and show them."""
        if self.spatial is None:
            return
        self.known_values.pop(shown, None)
        self.known_values[shown] = values
        on_screen = {shown, self.display.shown, *self.display.panels}
        unseen = [one for one in self.known_values if one not in on_screen]
        for old in unseen[: max(len(self.known_values) - _MOST_VALUES, 0)]:
            del self.known_values[old]
        self.pointer.place(self.spatial)
        self.display.show(shown)

    @property
    def shown_values(self) -> tuple[SpotMap, SpotValues] | None:
        """The gene or the column that is shown, with its values."""
        shown = self.display.shown
        if not isinstance(shown, Gene | Column) or shown not in self.known_values:
            return None
        return shown, self.known_values[shown]

    def open(self, opened: OpenedTissue) -> None:
        """Take spots, with the result that their file holds and the reference that came with them."""
        before, image, tissue = self.data.tissue, self.data.image, opened.tissue
        self.data.set_tissue(tissue)
        if image is not None and before is not None and tissue.path and before.section == tissue.section:
            self.data.set_image(image)  # other bins of the same section
        if opened.result is not None:
            self.set_result(opened.result)
            self.mark_saved(self.made)
        if opened.reference is not None:
            self.data.set_reference(opened.reference)

    def open_in_memory(self, tissue: LoadedTissue, reference: AnnData | None) -> None:
        """Take spots that are in memory, and the reference that came with them."""
        labeled = None if reference is None else simulated_reference(reference)
        self.open(OpenedTissue(tissue, result_in(tissue.adata), labeled))

    def set_result(self, result: Result | None) -> None:
        """Take the result of a run, and show its overview or the view that was saved with it."""
        former = self.layer
        self.result = self.learned = result
        is_other_layer = self.layer != former
        if is_other_layer:  # with other counts, and maybe with other genes
            self.contents = None
            self.known_values.clear()
        self.pointer.begin(result)
        self.display.shown = None
        # Regions that were drawn stay for another run of the same tissue.
        self.regions = () if result is None else result.regions or self.regions
        self.niches = None
        self.display.show_panels(())
        # Chosen ends belong to the types of the result that was shown.
        self.display.set_color_range(ColorRange(self.display.color_range.mode))
        self.result_changed.emit()
        if is_other_layer:
            self.contents_changed.emit()
        self.pointer.spot_changed.emit()
        if result is not None:
            self.display.show(DOMINANT)
            self._restore(result)

    def replay(self, result: Result) -> None:
        """Take the run's result, solved again; what is shown and picked stays."""
        self.result = result
        self.pointer.replace_result(result)
        self.niches = None
        if self._is_gone(self.display.shown, result):
            self.display.shown = DOMINANT
        if not {name for name in self.display.panels if isinstance(name, str)} <= set(result.cell_types):
            self.display.show_panels(())
        self.result_replayed.emit()
        if self.display.shown is not None:
            self.display.show(self.display.shown)

    def _is_gone(self, shown: Shown | None, result: Result) -> bool:
        """Whether what is shown is not in a result."""
        if isinstance(shown, str | tuple):
            return not set((shown,) if isinstance(shown, str) else shown) <= set(result.cell_types)
        return shown is NICHES or (shown is ERRORS and not len(result.standard_errors))

    def set_color(self, cell_type: str, color: str) -> None:
        """Give a cell type another color everywhere, "#rrggbb"; it is saved with the result."""
        if self.result is None or self.learned is None:
            return
        chosen = {cell_type: color}
        self.learned = replace(self.learned, chosen_colors=self.learned.chosen_colors | chosen)
        self.replay(replace(self.result, chosen_colors=self.result.chosen_colors | chosen))

    @property
    def edges(self) -> EdgeMap:
        """The values of edges that the graph shows: those asked for if the result offers them."""
        if self.result is None:
            return EdgeMap.ATTENTION
        offered = offered_edges(self.result)
        wanted = self.display.edges
        return wanted if wanted in offered else offered[0]

    def set_regions(self, regions: tuple[Region, ...]) -> None:
        """Take the regions that are drawn on the tissue."""
        self.regions = regions
        self.regions_changed.emit()

    def set_niches(self, niches: Niches, *, is_shown: bool = True) -> None:
        """Take the niches of the result, and show them."""
        self.niches = niches
        self.niches_changed.emit()
        if is_shown:
            self.display.show(NICHES)

    def step_back(self) -> None:
        """Clear the selection; if no spot is picked, end side by side; before a run, hide the map."""
        if self.pointer.spot is None:
            if self.result is None and self.display.shown is not None:
                self.display.hide()
            self.display.show_panels(())
        self.pointer.pick(None)

    # The view that is saved with a result

    @property
    def view(self) -> View:
        """What is on the screen, to be saved with the result."""
        n_niches = None if self.niches is None else len(self.niches.composition)
        return SavedView.of(self.display, spot=self.pointer.spot, n_niches=n_niches).as_view()

    def _restore(self, result: Result) -> None:
        """Show what was shown when the result was saved."""
        n_spots = len(result.abundances)
        saved = SavedView.read(result.view or View(), result.cell_types, n_spots)
        display = self.display
        display.edges = saved.edges
        if saved.color_range is not None:
            display.set_color_range(saved.color_range)
        restored = _RESTORED + (_RESTORED_OF_POINTS if n_spots <= MOST_POINTS else ())
        if isinstance(saved.shown, str | tuple) or saved.shown in restored:
            display.show(saved.shown)
        if saved.threshold is not None:
            display.set_threshold(saved.threshold)
        if saved.opacity is not None:
            display.set_opacity(saved.opacity)
        if saved.spot is not None:
            self.pointer.pick(saved.spot)
        if saved.camera is not None:
            display.look_at(saved.camera)
        if len(saved.panels) > 1:
            display.show_panels(saved.panels)
        if saved.n_niches is not None:
            # Found again with the same seed, they are the same.
            self.niches_wanted.emit(saved.n_niches, saved.shown is NICHES)


def _content(region: Region) -> tuple[str, bytes]:
    return region.name, region.outline.tobytes()


# A viewer's state outlives its dock, which can be closed and opened again.
_sessions: WeakKeyDictionary[Any, Session] = WeakKeyDictionary()


def session_of(viewer: Any) -> Session:
    """Return the session of a viewer, made on the first call and gone with the viewer."""
    return _sessions.setdefault(viewer, Session())
