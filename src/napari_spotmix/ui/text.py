"""Names from files, made safe to show where Qt guesses between plain and rich text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from napari_spotmix.io.space_ranger import PART_OF_A_RUN

__all__ = ["bullet_list", "count", "display_name", "percent", "plain", "shortened"]

_WORD_JOINER = "\u2060"


def plain(text: str) -> str:
    """Return `text` so that Qt shows it literally, wherever it would otherwise guess at HTML.

    Labels and tooltips of Qt turn into rich text when they hold a tag, or its escape. An invisible
    word joiner after each ``<`` and ``&`` keeps them plain and leaves what is read unchanged.

    Examples
    --------
    >>> plain("T/NK <b>") == "T/NK <\u2060b>"
    True
    >>> plain("NK & T")
    'NK & T'
    """
    if "<" not in text and "&lt;" not in text:
        return text
    return text.replace("&", "&" + _WORD_JOINER).replace("<", "<" + _WORD_JOINER)


def shortened(text: str, most: int) -> str:
    """Return at most so many characters of a text, its middle left out.

    Examples
    --------
    >>> shortened("effector memory CD8+ T cell", 15)
    'effecto… T cell'
    """
    half = (most - 1) // 2
    return text if len(text) <= most else f"{text[:half]}…{text[-half:]}"


def percent(share: float) -> str:
    """Return a share for people: no more digits than can be trusted.

    Examples
    --------
    >>> percent(0.714), percent(0.0312), percent(0.0), percent(float("nan"))
    ('71%', '3.1%', '0%', '–')
    """
    if share != share:
        return "–"
    value = 100 * share
    if value < 0.05:
        return "0%"
    return f"{value:.1f}%" if value < 9.95 else f"{value:.0f}%"


def count(number: int, noun: str) -> str:
    """Return a number with its noun.

    Examples
    --------
    >>> count(1, "spot"), count(1234, "spot")
    ('1 spot', '1,234 spots')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def bullet_list(lines: Sequence[str]) -> str:
    """Return the lines as plain text with a bullet each.

    Examples
    --------
    >>> bullet_list(["a", "b"])
    '• a\\n• b'
    """
    return "\n".join(f"• {line}" for line in lines)


def display_name(path: Path) -> str:
    """Return what people call the data at a path: the run's folder, not the ``outs`` or bins in it.

    Examples
    --------
    >>> display_name(Path("Vis5A/outs")), display_name(Path("liver.h5ad"))
    ('Vis5A', 'liver')
    >>> display_name(Path("Brain/outs/binned_outputs/square_008um"))
    'Brain'
    """
    path = path.resolve()
    names = (place.name for place in (path, *path.parents) if not PART_OF_A_RUN.fullmatch(place.name))
    return next(names, "").removesuffix(".h5ad")
