"""napari-spotmix: cell-type proportions of spatial transcriptomics, seen over the tissue.

Examples
--------
>>> from napari_spotmix import deconvolve, simulate
>>> tissue = simulate(n_spots=60, n_genes=120, n_cell_types=4, random_state=1)
>>> result = deconvolve(tissue.spatial, tissue.reference, cell_type_key="cell_type")
>>> result.proportions.shape
(60, 4)
"""

from __future__ import annotations

from napari_spotmix.base.ending import end_command_at_signals

end_command_at_signals()  # a program that imports the package keeps its own handlers

from importlib import import_module  # noqa: E402
from typing import TYPE_CHECKING, Any  # noqa: E402

from napari_spotmix.base import old_names  # noqa: E402

if TYPE_CHECKING:
    from napari_spotmix.analysis.colocalization import colocalization
    from napari_spotmix.analysis.neighborhood import neighborhood
    from napari_spotmix.analysis.niches import find_niches
    from napari_spotmix.analysis.regions import compare_regions, read_regions
    from napari_spotmix.base.errors import Cancelled, InputError, ReadError
    from napari_spotmix.base.progress import Progress
    from napari_spotmix.io import read_reference, read_spatial
    from napari_spotmix.output.exporters import export
    from napari_spotmix.params import Parameters
    from napari_spotmix.result import Result, read_result
    from napari_spotmix.simulation.simulate import simulate
    from napari_spotmix.workflow.deconvolve import deconvolve

__all__ = [
    "Cancelled",
    "InputError",
    "Parameters",
    "Progress",
    "ReadError",
    "Result",
    "colocalization",
    "compare_regions",
    "deconvolve",
    "export",
    "find_niches",
    "neighborhood",
    "read_reference",
    "read_regions",
    "read_result",
    "read_spatial",
    "simulate",
]

__version__: str

# Loaded when first used, so that importing the package stays fast and needs neither numba nor Qt.
_HOME = {
    "Cancelled": "base.errors",
    "InputError": "base.errors",
    "Parameters": "params",
    "Progress": "base.progress",
    "ReadError": "base.errors",
    "Result": "result",
    "colocalization": "analysis.colocalization",
    "compare_regions": "analysis.regions",
    "deconvolve": "workflow.deconvolve",
    "export": "output.exporters",
    "find_niches": "analysis.niches",
    "neighborhood": "analysis.neighborhood",
    "read_reference": "io",
    "read_regions": "analysis.regions",
    "read_result": "result",
    "read_spatial": "io",
    "simulate": "simulation.simulate",
}

old_names.install()


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("napari-spotmix")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
