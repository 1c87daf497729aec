"""Which spot is picked, and which one is under the mouse."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from psygnal import Signal

from napari_spotmix.analysis.neighborhood import neighbors_of
from napari_spotmix.ui.state.spot_finder import SpotFinder

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_spotmix.result import Result

__all__ = ["Pointer"]

#: A neighbor is in a direction if the cosine of the angle to it is at least this: about 45 degrees.
_AHEAD = 0.7


class Pointer:
    """Points at spots of a result.

    Signals
    -------
    spot_changed
        Another spot is picked, or none.
    hover_changed
        The mouse is over a spot, or has left the spots.
    """

    spot_changed = Signal()
    hover_changed = Signal()

    def __init__(self) -> None:
        self.spot: int | None = None
        self.hovered: int | None = None
        self._result: Result | None = None
        self._spatial: AnnData | None = None
        self._finder: SpotFinder | None = None

    def begin(self, result: Result | None) -> None:
        """Point at the spots of another run, at none to begin with; `spot_changed` is left to the caller."""
        self._result = result
        self._spatial = None if result is None else result.spatial
        self.spot = self.hovered = self._finder = None

    def place(self, spatial: AnnData) -> None:
        """Point at spots that have no result: they can be hovered over, but not picked."""
        if self._spatial is not spatial:
            self._spatial, self._finder = spatial, None

    def replace_result(self, result: Result) -> None:
        """Point at the same spots of a result that was solved again."""
        self._result = result

    def pick(self, spot: int | None) -> None:
        """Inspect a spot, or clear the selection."""
        if spot != self.spot:
            self.spot = spot
            self.spot_changed.emit()

    def pick_at(self, y: float, x: float) -> None:
        """Inspect the spot at a point of the tissue (full-resolution pixels), or clear the selection."""
        if self._result is not None:
            self.pick(self._spot_at(y, x))

    def hover(self, spot: int | None) -> None:
        """Point at a spot, or at none; emitted every time, since the mouse moves within a spot too."""
        if spot is not None or self.hovered is not None:
            self.hovered = spot
            self.hover_changed.emit()

    def hover_at(self, y: float, x: float) -> None:
        """Point at the spot at a point of the tissue, or at none."""
        if self._spatial is not None:
            self.hover(self._spot_at(y, x))

    def walk(self, down: float, right: float) -> None:
        """Pick the neighbor in a direction from the picked spot, if it has one there."""
        if self._result is None or self.spot is None:
            return
        self.hover(None)  # the spot under the mouse is not the one that is looked at
        neighbors = neighbors_of(self._result, self.spot)[0]
        step = self._result.coordinates[neighbors] - self._result.coordinates[self.spot]
        length = np.linalg.norm(step, axis=1)
        ahead = step @ [right, down] / np.where(length > 0, length, 1.0)
        if len(ahead) and ahead.max() >= _AHEAD:
            self.pick(int(neighbors[ahead.argmax()]))

    def _spot_at(self, y: float, x: float) -> int | None:
        if self._spatial is None:
            return None
        if self._finder is None:
            self._finder = SpotFinder(self._spatial)
        return self._finder.at(x, y)
