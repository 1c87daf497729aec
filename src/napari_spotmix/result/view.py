"""What napari showed of a result when it was saved."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from napari_spotmix.base.color_range import ColorRange

__all__ = ["View"]


@dataclass(frozen=True)
class View:
    """What was on the screen; None, or empty, for what was not, or what a file does not say properly.

    Whether names and numbers fit the result is for whoever shows it to check.

    Attributes
    ----------
    map : str or None
        Name of a map of its own, as "COUNTS".
    types : tuple of str
        The cell types shown: one, or several blended.
    threshold, opacity : float or None
        0 to 1.
    spot : int or None
        Position of the picked spot.
    side_by_side : tuple of str
        Cell types in panels.
    niches : int or None
        Number of niches, if they were found.
    edges : str or None
        Name of what the graph showed.
    color_range : ColorRange or None
        The ends of the colors of maps.
    camera : tuple of float or None
        y and x in full-resolution pixels, and the zoom in screen pixels for each of them.

    Examples
    --------
    >>> View.from_json('{"types": ["T cell"], "opacity": "much"}')
    View(map=None, types=('T cell',), threshold=None, opacity=None, spot=None, side_by_side=(), niches=None, \
edges=None, camera=None, color_range=None)
    """

    map: str | None = None
    types: tuple[str, ...] = ()
    threshold: float | None = None
    opacity: float | None = None
    spot: int | None = None
    side_by_side: tuple[str, ...] = ()
    niches: int | None = None
    edges: str | None = None
    camera: tuple[float, float, float] | None = None
    color_range: ColorRange | None = None

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> View:
        """Return the view of a dictionary as of `as_dict`, without values of the wrong kind."""
        return cls(
            map=_text(saved.get("map")),
            types=_texts(saved.get("types")),
            threshold=_share(saved.get("threshold")),
            opacity=_share(saved.get("opacity")),
            spot=_position(saved.get("spot")),
            side_by_side=_texts(saved.get("side by side")),
            niches=_position(saved.get("niches")),
            edges=_text(saved.get("edges")),
            camera=_camera(saved.get("camera")),
            color_range=ColorRange.from_dict(saved.get("color range")),
        )

    @classmethod
    def from_json(cls, text: Any) -> View:
        """Return the view of a file; an empty one if the file holds no JSON object."""
        try:
            saved = json.loads(text) if isinstance(text, str) else {}
        except (ValueError, RecursionError):  # nested more deeply than any view
            saved = {}
        return cls.from_dict(saved if isinstance(saved, dict) else {})

    def as_dict(self) -> dict[str, Any]:
        """Return what files hold, as JSON."""
        return {
            "map": self.map,
            "types": list(self.types),
            "threshold": self.threshold,
            "opacity": self.opacity,
            "spot": self.spot,
            "side by side": list(self.side_by_side),
            "niches": self.niches,
            "edges": self.edges,
            "camera": None if self.camera is None else list(self.camera),
            "color range": None if self.color_range is None else self.color_range.as_dict(),
        }

    def to_json(self) -> str:
        """Return what files hold."""
        return json.dumps(self.as_dict())


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _texts(values: Any) -> tuple[str, ...]:
    return tuple(one for one in values if isinstance(one, str)) if isinstance(values, list) else ()


def _share(value: Any) -> float | None:
    return float(value) if type(value) in (int, float) and 0 <= value <= 1 else None


def _position(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _camera(values: Any) -> tuple[float, float, float] | None:
    if not (isinstance(values, list) and len(values) == 3):
        return None
    if not all(type(one) is float and math.isfinite(one) for one in values) or values[2] <= 0:
        return None
    return values[0], values[1], values[2]
