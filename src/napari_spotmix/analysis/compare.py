"""Two regions of a result, compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from napari_spotmix.analysis.region_tests import Comparison, Composition, compare_regions, region_composition
from napari_spotmix.base.errors import InputError
from napari_spotmix.dataset.regions import Region, inside

if TYPE_CHECKING:
    from napari_spotmix.base.progress import ProgressCallback, Task
    from napari_spotmix.result import Result

__all__ = [
    "Compared",
    "LAYER",
    "REST",
    "compare_task",
]


LAYER, REST = "Regions", "Rest of the tissue"


@dataclass(frozen=True)
class Compared:
    """Two regions of a result beside each other."""

    first: str
    second: str
    cell_types: list[str]
    of_first: Composition
    of_second: Composition
    comparison: Comparison

    def table(self) -> pd.DataFrame:
        """Return one row for each cell type, the largest difference first."""
        columns: dict[str, Any] = {}
        for name, part in ((self.first, self.of_first), (self.second, self.of_second)):
            columns[f"mean in {name}"] = part.mean
            columns[f"95% from, {name}"], columns[f"95% to, {name}"] = part.lower, part.upper
        columns["difference"] = self.comparison.difference
        columns["p"], columns["p adjusted"] = self.comparison.p_value, self.comparison.adjusted
        table = pd.DataFrame(columns, index=pd.Index(self.cell_types, name="cell type"))
        return table.iloc[np.argsort(-np.abs(np.nan_to_num(self.comparison.difference)), kind="stable")]


def compare_task(result: Result, first: Region, second: Region | None) -> Task:
    """Return the task that compares a region with another, or with all of the tissue outside of it."""

    def task(on_progress: ProgressCallback) -> Compared:
        values, places = result.proportions.to_numpy(), result.coordinates
        in_first = inside(first, places)
        in_second = ~in_first if second is None else inside(second, places) & ~in_first
        name = REST if second is None else second.name
        _check_filled({first.name: in_first, name: in_second}, ~np.isnan(values).any(axis=1))
        of = [
            region_composition(values, mask, places, on_progress=on_progress)
            for mask in (in_first, in_second)
        ]
        comparison = compare_regions(values, in_first, in_second, places, on_progress=on_progress)
        return Compared(first.name, name, result.cell_types, *of, comparison)

    return task


def _check_filled(regions: dict[str, np.ndarray], estimated: np.ndarray) -> None:
    """Raise InputError if there is nothing to compare."""
    empty = [name for name, mask in regions.items() if not (mask & estimated).any()]
    if empty:
        raise InputError(
            [f"{name}: no spot with proportions lies in it alone. Draw it over the tissue." for name in empty]
        )
