"""Names from files, made safe to show where Qt guesses between plain and rich text."""

from __future__ import annotations

from collections.abc import Sequence

from napari_spotmix.base.text import count, percent, printable
from napari_spotmix.io.readers.detect import display_name

__all__ = ["bullet_list", "count", "display_name", "literal", "percent", "plain", "printable", "shortened"]

_WORD_JOINER = "\u2060"


def literal(text: str) -> str:
    """Return `text` for a widget that shows plain text: control characters but the ends of lines written out.

    Examples
    --------
    >>> print(literal("T" + chr(0x202E) + "cell"))
    T\\u202ecell
    """
    return printable(text, keep="\n" + _WORD_JOINER)


def plain(text: str) -> str:
    """Return `text` so that Qt shows it literally, wherever it would otherwise guess at HTML.

    Labels and tooltips of Qt turn into rich text when they hold a tag, or its escape. An invisible
    word joiner after each ``<`` and ``&`` keeps them plain and leaves what is read unchanged. Control
    characters are written out, except for the ends of lines.

    Examples
    --------
    >>> plain("T/NK <b>") == "T/NK <\u2060b>"
    True
    >>> plain("NK & T")
    'NK & T'
    """
    text = literal(text)
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


def bullet_list(lines: Sequence[str]) -> str:
    """Return the lines as plain text with a bullet each.

    Examples
    --------
    >>> bullet_list(["a", "b"])
    '• a\\n• b'
    """
    return "\n".join(f"• {line}" for line in lines)
