"""The range of a map's colors: one rule for the window, panels, figures and the report.

A range begins at 0. Its end is the map's own rounded maximum, 1, one end for all maps, or what the user has
chosen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_spotmix.base.colors import USUAL

__all__ = [
    "LEAST_PRESENT",
    "ColorRange",
    "RangeMode",
    "end_words",
    "largest_present",
    "largest_proportion",
    "largest_usual",
    "rounded_up",
]

#: A smaller proportion counts as absent: it does not decide the range of a map.
LEAST_PRESENT = 0.01
#: Share of the spots with a type that are not above its maximum: a few extreme spots do not hide all others.
_OF_PRESENT = 0.995
_ROUND = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
_SMALLEST_END = 1e-4


class RangeMode(Enum):
    """Where the colors of proportions end; the value is its name on the screen."""

    OWN = "Own maximum"
    FULL = "0 to 1"
    SAME = "Same for all"


@dataclass(frozen=True)
class ColorRange:
    """The rule for the ends of colors.

    Attributes
    ----------
    mode : RangeMode
        For proportions of cell types.
    chosen : mapping of str to float
        Ends that were chosen for single cell types; they apply with `RangeMode.OWN`.
    same : float or None
        The end that was chosen for all types; it applies with `RangeMode.SAME`.
    of_maps : mapping of str to float
        Ends that were chosen for other maps, by the name of the feature that they show.

    Examples
    --------
    >>> rule = ColorRange(chosen={"B": 0.15})
    >>> rule.ends({"T": 0.2, "B": 0.1})
    {'T': 0.2, 'B': 0.15}
    >>> ColorRange(RangeMode.SAME).ends({"T": 0.2, "B": 0.1})
    {'T': 0.2, 'B': 0.2}
    """

    mode: RangeMode = RangeMode.OWN
    chosen: Mapping[str, float] = field(default_factory=dict)
    same: float | None = None
    of_maps: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, given: ColorRange | str | float) -> ColorRange:
        """Return the rule that an argument names: own, full or same, or one end for all types.

        Raises
        ------
        ValueError
            If it names none; the message says what is expected.

        Examples
        --------
        >>> ColorRange.of("full").mode, ColorRange.of("0.3").same
        (<RangeMode.FULL: '0 to 1'>, 0.3)
        """
        if isinstance(given, ColorRange):
            return given
        mode = next((one for one in RangeMode if one.name.lower() == given), None)
        if mode is not None:
            return cls(mode)
        with suppress(ValueError):
            if 0 < float(given) <= 1:
                return cls(RangeMode.SAME, same=float(given))
        raise ValueError(
            "`color_range` must be own, full, same, or the end of the colors of all types, above 0 and at "
            f"most 1; found {given!r}."
        )

    def ends(self, maxima: Mapping[str, float]) -> dict[str, float]:
        """Return the end of each type's colors, from the rounded maxima of all that are compared."""
        if self.mode is RangeMode.FULL:
            return dict.fromkeys(maxima, 1.0)
        if self.mode is RangeMode.SAME:
            return dict.fromkeys(maxima, self.same or max(maxima.values(), default=1.0))
        return {name: self.chosen.get(name, largest) for name, largest in maxima.items()}

    def in_mode(self, mode: RangeMode) -> ColorRange:
        """Return the rule in a mode, without ends that were chosen for types."""
        return replace(self, mode=mode, chosen={}, same=None)

    def with_ends(self, ends: Mapping[str, float]) -> ColorRange:
        """Return the rule with other ends of types; unless each has its own, the largest for all."""
        ends = {name: rounded_end(min(end, 1.0)) for name, end in ends.items()}
        if self.mode is RangeMode.OWN:
            return replace(self, chosen={**self.chosen, **ends})
        return replace(self, mode=RangeMode.SAME, same=max(ends.values()))

    def with_map_end(self, feature: str, end: float | None) -> ColorRange:
        """Return the rule with another end of a map that shows no type; None for its own maximum."""
        others = {name: kept for name, kept in self.of_maps.items() if name != feature}
        return replace(self, of_maps=others if end is None else {**others, feature: rounded_end(end)})

    def as_dict(self) -> dict[str, Any]:
        """Return what files hold."""
        return {
            "mode": self.mode.name.lower(),
            "chosen": dict(self.chosen),
            "same": self.same,
            "maps": dict(self.of_maps),
        }

    @classmethod
    def from_dict(cls, saved: Any) -> ColorRange | None:
        """Return the rule that a file holds, without values of the wrong kind; None if it holds none.

        Examples
        --------
        >>> ColorRange.from_dict({"mode": "same", "same": 0.3, "chosen": {"T": "much"}})
        ColorRange(mode=<RangeMode.SAME: 'Same for all'>, chosen={}, same=0.3, of_maps={})
        """
        if not isinstance(saved, dict):
            return None
        mode = next((one for one in RangeMode if one.name.lower() == saved.get("mode")), RangeMode.OWN)
        same = saved.get("same")
        return cls(
            mode,
            _ends(saved.get("chosen"), 1.0),
            same if _is_end(same, 1.0) else None,
            _ends(saved.get("maps")),
        )


def _ends(saved: Any, most: float = math.inf) -> dict[str, float]:
    found = saved.items() if isinstance(saved, dict) else ()
    return {name: float(end) for name, end in found if _is_end(end, most)}


def _is_end(end: Any, most: float) -> bool:
    return type(end) in (int, float) and math.isfinite(end) and 0 < end <= most


def rounded_up(value: float) -> float:
    """Return the next round number that is not smaller.

    Examples
    --------
    >>> rounded_up(0.083), rounded_up(0.2), rounded_up(1234.0)
    (0.1, 0.2, 1500.0)
    """
    power = math.floor(math.log10(value))
    digits = value / 10.0**power
    # Rounding again: 2 * 10.0**-1 is not always 0.2.
    return float(f"{next(one for one in _ROUND if digits <= one * (1 + 1e-9)) * 10.0**power:.3g}")


def rounded_end(value: float) -> float:
    """Return an end with two significant digits, and not 0: what a drag or a keyboard gives.

    Examples
    --------
    >>> rounded_end(0.12345), rounded_end(0.0)
    (0.12, 0.0001)
    """
    return float(f"{max(value, _SMALLEST_END):.2g}")


def largest_proportion(values: NDArray[np.float64]) -> float:
    """Return the rounded maximum of a type's proportions (n_spots,), which may be NaN.

    It is above all but 0.5% of the spots in which the type is present, so it depends neither on a few extreme
    spots nor on how many spots have none of the type. At least 0.01.

    Examples
    --------
    >>> largest_proportion(np.array([0.0, 0.0, 0.07, 0.18, np.nan]))
    0.2
    """
    present = values[values >= LEAST_PRESENT]
    if not len(present):
        return LEAST_PRESENT
    return min(rounded_up(float(np.quantile(present, _OF_PRESENT, method="higher"))), 1.0)


def largest_usual(values: NDArray[np.float64]) -> float:
    """Return the end of a map that shows no proportions: rounded, above 98% of the values; 1 without any.

    Examples
    --------
    >>> largest_usual(np.array([0.0, 850.0, 1234.0]))
    1500.0
    """
    known = values[~np.isnan(values)]
    end = float(np.quantile(known, USUAL)) if len(known) else 1.0
    return rounded_up(end) if end > 0 else 1.0


def largest_present(values: NDArray[np.floating]) -> float:
    """Return the end of a map of values that most spots may lack, such as a gene's counts; 1 without any.

    Rounded, and above all but 0.5% of the spots with a value above 0, as for proportions.

    Examples
    --------
    >>> largest_present(np.array([0.0, 0.0, 0.0, 7.0, np.nan])), largest_present(np.zeros(3))
    (8.0, 1.0)
    """
    present = values[values > 0]
    if not len(present):
        return 1.0
    return rounded_up(float(np.quantile(present, _OF_PRESENT, method="higher")))


def end_words(end: float) -> str:
    """Return an end as text.

    Examples
    --------
    >>> end_words(0.2), end_words(1.0), end_words(15000.0)
    ('0.2', '1', '15,000')
    """
    return f"{end:,.0f}" if end >= 1000 else f"{end:g}"
