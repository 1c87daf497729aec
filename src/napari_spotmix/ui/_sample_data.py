"""Sample data: a simulated section with its reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari.types import FullLayerData

__all__ = ["simulated_tissue"]


def simulated_tissue() -> list[FullLayerData]:
    """Return the stained image and the spots of a simulated tissue; its reference comes with the spots."""
    from napari_spotmix.simulation.simulate import simulate
    from napari_spotmix.ui.canvas.layer_info import TissueInfo
    from napari_spotmix.ui.canvas.layers import tissue_layers

    tissue = simulate()
    return tissue_layers(TissueInfo(tissue.spatial, reference=tissue.reference), "Simulated tissue")
