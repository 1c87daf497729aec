"""The range of the colors of what a session shows: its ends, and how the user changes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from napari_spotmix.output.ranges import end_of_map, ends_of_types
from napari_spotmix.ui.state.maps import FEATURES

if TYPE_CHECKING:
    from napari_spotmix.ui.state.session import Session

__all__ = ["drop_chosen_ends", "set_ends", "shown_ends", "shows_types"]


def shown_ends(session: Session) -> dict[str, float]:
    """Return the end of each cell type in panels, in a blend or alone, or of a map by its feature.

    Empty for maps without a range.
    """
    result, display = session.result, session.display
    shown = display.panels or display.shown
    if result is None or shown is None:
        return {}
    if isinstance(shown, str | tuple):
        return ends_of_types(result, (shown,) if isinstance(shown, str) else shown, display.color_range)
    feature = FEATURES.get(shown)
    return {} if feature is None else {feature: end_of_map(result, feature, display.color_range)}


def shows_types(session: Session) -> bool:
    """Return whether the colors are those of cell types, so that a rule for all of them applies."""
    return bool(session.display.panels) or isinstance(session.display.shown, str | tuple)


def set_ends(session: Session, ends: Mapping[str, float]) -> None:
    """Choose the ends of what is shown."""
    display = session.display
    if shows_types(session):
        display.set_color_range(display.color_range.with_ends(ends))
    else:
        for feature, end in ends.items():
            display.set_color_range(display.color_range.with_map_end(feature, end))


def drop_chosen_ends(session: Session) -> None:
    """Return to the rule for the ends of what is shown."""
    display = session.display
    rule = display.color_range
    if shows_types(session):
        display.set_color_range(rule.in_mode(rule.mode))
    else:
        for feature in shown_ends(session):
            display.set_color_range(rule.with_map_end(feature, None))
