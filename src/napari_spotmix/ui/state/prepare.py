"""What takes long to compute of a large result, done in the thread that made it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_spotmix.dataset.bin_grid import bin_grid
from napari_spotmix.ui.state.edges import MOST_EDGES

if TYPE_CHECKING:
    from napari_spotmix.result import Result

__all__ = ["prepare"]


def prepare(result: Result) -> None:
    """Compute what is kept with a result, so that no window waits for it."""
    bin_grid(result.spatial)
    _ = (result.dominant, result.mean_proportions, result.unexplained)
    if result.attention.nnz <= MOST_EDGES:
        _ = result.unused_attention
