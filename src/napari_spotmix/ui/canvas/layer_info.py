"""What the plugin keeps with a layer, in the layer's metadata."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from napari_spotmix.io.readers.options import DEFAULT, Choices, ReadOptions

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData
    from napari.layers import Layer

    from napari_spotmix.analysis.niches import Niches
    from napari_spotmix.base.color_range import ColorRange
    from napari_spotmix.result import Result
    from napari_spotmix.ui.state.edges import EdgeMap
    from napari_spotmix.ui.state.maps import Shown, SpotMap
    from napari_spotmix.ui.state.spot_values import SpotValues

__all__ = [
    "KEY",
    "LayerInfo",
    "MapInfo",
    "RegionsInfo",
    "SpotInfo",
    "TissueInfo",
    "ValuesInfo",
    "info_of",
    "map_of",
    "tissue_of",
]

#: Key in a layer's metadata.
KEY = "spotmix"


@dataclass(frozen=True)
class LayerInfo:
    """What the plugin keeps with one of its layers."""


@dataclass(frozen=True, eq=False)
class TissueInfo(LayerInfo):
    """All spots as they were loaded, with the origin of the data and the reference that came with them."""

    adata: AnnData
    path: Path | None = None
    reading: ReadOptions = DEFAULT
    choices: Choices = field(default_factory=Choices)
    reference: AnnData | None = None


@dataclass(frozen=True, eq=False)
class MapInfo(LayerInfo):
    """A map of a result: what it shows, and of what; `is_own` if the user has added it for one cell type."""

    result: Result
    shown: Shown
    threshold: float = 0.0
    niches: Niches | None = None
    edges: EdgeMap | None = None
    color_range: ColorRange | None = None
    is_own: bool = False


@dataclass(frozen=True, eq=False)
class ValuesInfo(LayerInfo):
    """A map of a gene or of a column of ``obs``: of which spots, and what it shows."""

    adata: AnnData
    shown: SpotMap
    values: SpotValues
    end: float


@dataclass(frozen=True)
class SpotInfo(LayerInfo):
    """A mark of the picked spot."""


@dataclass(frozen=True, eq=False)
class RegionsInfo(LayerInfo):
    """The regions that are drawn on a tissue: of which spots."""

    adata: AnnData


_Info = TypeVar("_Info", bound=LayerInfo)


def info_of(layer: Layer, kind: type[_Info]) -> _Info | None:
    """Return what the plugin keeps with a layer of this kind, None with any other."""
    info = layer.metadata.get(KEY)
    return info if isinstance(info, kind) else None


def tissue_of(layer: Layer) -> TissueInfo | None:
    """Return the spatial data that a layer holds, or None."""
    return info_of(layer, TissueInfo)


def map_of(layer: Layer) -> MapInfo | None:
    """Return the map that a layer is, or None."""
    return info_of(layer, MapInfo)
