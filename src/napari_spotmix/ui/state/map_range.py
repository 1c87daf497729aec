"""The range of the colors of what a session shows: its ends, and how the user changes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from napari_spotmix.output.ranges import end_of_map, ends_of_types
from napari_spotmix.ui.state.maps import FEATURES, Column, Gene, SpotMap, feature_of

if TYPE_CHECKING:
    from napari_spotmix.ui.state.session import Session

__all__ = ["drop_chosen_ends", "end_of_values", "is_signed", "set_ends", "shown_ends", "shows_types"]

#: What an end belongs to: a cell type or a feature by its name, a gene or a column.
Key = str | Gene | Column


def shown_ends(session: Session) -> dict[Key, float]:
    """Return the end of each map in panels, of each cell type in a blend, or of what is shown alone.

    Empty for maps without a range.
    """
    result, display = session.result, session.display
    shown = display.panels or display.shown
    if isinstance(shown, Gene | Column):
        found = session.known_values.get(shown)
        return {} if found is None or found.labels is not None else {shown: end_of_values(session, shown)}
    if result is None or shown is None:
        return {}
    if isinstance(shown, str | tuple):
        names = (shown,) if isinstance(shown, str) else shown
        types = [name for name in names if isinstance(name, str)]
        of_types = ends_of_types(result, types, display.color_range) if types else {}
        return {
            name: of_types[name] if isinstance(name, str) else end_of_values(session, name) for name in names
        }
    feature = FEATURES.get(shown)
    return {} if feature is None else {feature: end_of_map(result, feature, display.color_range)}


def end_of_values(session: Session, shown: SpotMap) -> float:
    """Return the end of the colors of a gene or a column: its rounded maximum, or what was chosen."""
    chosen = session.display.color_range.of_maps.get(feature_of(shown))
    return session.known_values[shown].end if chosen is None else chosen


def is_signed(session: Session) -> bool:
    """Return whether the colors of what is shown begin below 0."""
    found = None if session.display.panels else session.shown_values
    return found is not None and found[1].is_signed


def shows_types(session: Session) -> bool:
    """Return whether the colors are those of cell types, so that a rule for all of them applies."""
    return bool(session.display.panels) or isinstance(session.display.shown, str | tuple)


def set_ends(session: Session, ends: Mapping[Key, float]) -> None:
    """Choose the ends of what is shown."""
    display = session.display
    rule = display.color_range
    types = {name: end for name, end in ends.items() if isinstance(name, str)}
    if shows_types(session) and types:
        rule = rule.with_ends(types)
    for key, end in ends.items():
        if not isinstance(key, str):
            rule = rule.with_map_end(feature_of(key), end)
        elif not shows_types(session):
            rule = rule.with_map_end(key, end)
    display.set_color_range(rule)


def drop_chosen_ends(session: Session) -> None:
    """Return to the rule for the ends of what is shown."""
    display = session.display
    rule = display.color_range
    if shows_types(session):
        rule = rule.in_mode(rule.mode)
    for key in shown_ends(session):
        if not isinstance(key, str) or not shows_types(session):
            rule = rule.with_map_end(key if isinstance(key, str) else feature_of(key), None)
    display.set_color_range(rule)
