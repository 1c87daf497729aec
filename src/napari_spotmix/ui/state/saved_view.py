"""The view that is saved with a result, read without trusting its file."""

from __future__ import annotations

from dataclasses import dataclass

from napari_spotmix.base.color_range import ColorRange
from napari_spotmix.params import MOST_NICHES
from napari_spotmix.result import View
from napari_spotmix.ui.state.display import Camera, Display
from napari_spotmix.ui.state.edges import EdgeMap
from napari_spotmix.ui.state.maps import MOST_BLENDED, MapKind, Shown

__all__ = ["SavedView"]


@dataclass(frozen=True)
class SavedView:
    """What is on the screen; None or empty for what is not, or what a file does not say properly.

    Attributes
    ----------
    map : MapKind or None
    types : tuple of str
        The cell type or the blend that is shown.
    threshold, opacity : float or None
        From 0 to 1.
    spot : int or None
        The picked spot.
    panels : tuple of str
        Cell types side by side.
    n_niches : int or None
        Of the niches that were found.
    edges : EdgeMap or None
    camera : Camera or None
    color_range : ColorRange or None
    """

    map: MapKind | None = None
    types: tuple[str, ...] = ()
    threshold: float | None = None
    opacity: float | None = None
    spot: int | None = None
    panels: tuple[str, ...] = ()
    n_niches: int | None = None
    edges: EdgeMap | None = None
    camera: Camera | None = None
    color_range: ColorRange | None = None

    @classmethod
    def of(cls, display: Display, *, spot: int | None, n_niches: int | None) -> SavedView:
        """Return the view that is on the screen."""
        shown = display.shown
        return cls(
            map=shown if isinstance(shown, MapKind) else None,
            types=shown if isinstance(shown, tuple) else (shown,) if isinstance(shown, str) else (),
            threshold=display.threshold,
            opacity=display.opacity,
            spot=spot,
            panels=tuple(name for name in display.panels if isinstance(name, str)),
            n_niches=n_niches,
            edges=display.edges,
            camera=display.camera,
            color_range=display.color_range,
        )

    @classmethod
    def read(cls, saved: View, cell_types: list[str], n_spots: int) -> SavedView:
        """Return the view of a file, without what does not fit the result.

        Examples
        --------
        >>> view = View(types=("T", "unknown"), spot=7)
        >>> found = SavedView.read(view, ["T"], 5)
        >>> found.types, found.spot
        (('T',), None)
        """
        return cls(
            map=next((one for one in MapKind if one.name == saved.map), None),
            types=_known(saved.types, cell_types)[:MOST_BLENDED],
            threshold=saved.threshold,
            opacity=saved.opacity,
            spot=saved.spot if saved.spot is not None and saved.spot < n_spots else None,
            panels=_known(saved.side_by_side, cell_types),
            n_niches=saved.niches if saved.niches is not None and 2 <= saved.niches <= MOST_NICHES else None,
            edges=next((one for one in EdgeMap if one.name == saved.edges), None),
            camera=None if saved.camera is None else Camera(saved.camera[:2], saved.camera[2]),
            color_range=saved.color_range,
        )

    def as_view(self) -> View:
        """Return the view as it is stored with a result."""
        return View(
            map=None if self.map is None else self.map.name,
            types=self.types,
            threshold=self.threshold,
            opacity=self.opacity,
            spot=self.spot,
            side_by_side=self.panels,
            niches=self.n_niches,
            edges=None if self.edges is None else self.edges.name,
            camera=None if self.camera is None else (*self.camera.center, self.camera.zoom),
            color_range=self.color_range,
        )

    @property
    def shown(self) -> Shown | None:
        """The cell type, the blend or the map that was shown, None if the file does not say."""
        if self.types:
            return self.types[0] if len(self.types) == 1 else self.types
        return self.map


def _known(names: tuple[str, ...], cell_types: list[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name in cell_types)
