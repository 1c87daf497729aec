"""The view that is saved with a result, read without trusting its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_spotmix.params import MOST_NICHES
from napari_spotmix.ui.state.display import Camera, Display
from napari_spotmix.ui.state.edges import Edges
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
    edges : Edges or None
    camera : Camera or None
    """

    map: MapKind | None = None
    types: tuple[str, ...] = ()
    threshold: float | None = None
    opacity: float | None = None
    spot: int | None = None
    panels: tuple[str, ...] = ()
    n_niches: int | None = None
    edges: Edges | None = None
    camera: Camera | None = None

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
            panels=display.panels,
            n_niches=n_niches,
            edges=display.edges,
            camera=display.camera,
        )

    @classmethod
    def read(cls, saved: Mapping[str, Any], cell_types: list[str], n_spots: int) -> SavedView:
        """Return the view of a file, without what is unknown, out of bounds or of the wrong type.

        Examples
        --------
        >>> SavedView.read({"types": ["T", "unknown"], "opacity": 7, "spot": 3}, ["T"], 5)
        SavedView(map=None, types=('T',), threshold=None, opacity=None, spot=3, panels=(), n_niches=None, \
edges=None, camera=None)
        """
        spot, n_niches, panels = saved.get("spot"), saved.get("niches"), saved.get("side by side")
        return cls(
            map=next((one for one in MapKind if one.name == saved.get("map")), None),
            types=_known(saved.get("types"), cell_types)[:MOST_BLENDED],
            threshold=_share(saved.get("threshold")),
            opacity=_share(saved.get("opacity")),
            spot=spot if type(spot) is int and 0 <= spot < n_spots else None,
            panels=_known(panels, cell_types),
            n_niches=n_niches if type(n_niches) is int and 2 <= n_niches <= MOST_NICHES else None,
            edges=next((one for one in Edges if one.name == saved.get("edges")), None),
            camera=_camera(saved.get("camera")),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the view as it is written into a file."""
        return {
            "map": None if self.map is None else self.map.name,
            "types": list(self.types),
            "threshold": self.threshold,
            "opacity": self.opacity,
            "spot": self.spot,
            "side by side": list(self.panels),
            "niches": self.n_niches,
            "edges": None if self.edges is None else self.edges.name,
            "camera": None if self.camera is None else [*self.camera.center, self.camera.zoom],
        }

    @property
    def shown(self) -> Shown | None:
        """The cell type, the blend or the map that was shown, None if the file says nothing of it."""
        if self.types:
            return self.types[0] if len(self.types) == 1 else self.types
        return self.map


def _known(names: Any, cell_types: list[str]) -> tuple[str, ...]:
    listed = names if isinstance(names, list) else []
    return tuple(name for name in listed if isinstance(name, str) and name in cell_types)


def _share(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 <= value <= 1 else None


def _camera(value: Any) -> Camera | None:
    """Return the camera of [y, x, zoom]."""
    if not (isinstance(value, list) and len(value) == 3):
        return None
    if not all(type(one) is float and np.isfinite(one) for one in value) or value[2] <= 0:
        return None
    return Camera((value[0], value[1]), value[2])
