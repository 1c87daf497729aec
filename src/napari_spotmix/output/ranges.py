"""The ends of the colors of a result's maps, by the rule of `base.color_range`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from napari_spotmix.base.color_range import ColorRange, RangeMode, largest_proportion, largest_usual
from napari_spotmix.base.weak_cache import weakly_cached
from napari_spotmix.dataset.geometry import placed_spots

if TYPE_CHECKING:
    from napari_spotmix.result import Result

__all__ = ["end_of_map", "ends_of_types", "rule_of"]


def rule_of(result: Result) -> ColorRange:
    """Return the rule that was saved with a result; without one, each map has its own maximum."""
    saved = None if result.view is None else result.view.color_range
    return ColorRange() if saved is None else saved


def ends_of_types(result: Result, names: Sequence[str], rule: ColorRange) -> dict[str, float]:
    """Return the end of the colors of each cell type that is shown.

    One end for all is the largest maximum of the types that are shown together; for a type that is shown
    alone, that of all types, so that it can be compared with the one that was shown before.
    """
    is_compared_with_all = rule.mode is RangeMode.SAME and len(names) == 1
    known = _maxima(result)
    compared = result.cell_types if is_compared_with_all else names
    for name in compared:
        if name not in known:
            values = result.proportions[name].to_numpy(float)
            known[name] = largest_proportion(values[placed_spots(result.spatial)])
    ends = rule.ends({name: known[name] for name in compared})
    return {name: ends[name] for name in names}


def end_of_map(result: Result, feature: str, rule: ColorRange) -> float:
    """Return the end of the colors of a map that shows a feature of spots, such as ``counts``."""
    if feature in rule.of_maps:
        return rule.of_maps[feature]
    values = np.where(result.dominant.notna(), getattr(result, feature).to_numpy(float), np.nan)
    return largest_usual(values[placed_spots(result.spatial)])


@weakly_cached
def _maxima(result: Result) -> dict[str, float]:
    """Return the rounded maxima that are known so far: those of a million bins take a moment each."""
    return {}
