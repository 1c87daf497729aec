"""Numbers and nouns as text, the same in the window, on the terminal and in the report."""

from __future__ import annotations

import re

__all__ = [
    "LONGEST_MESSAGE",
    "agreeing",
    "count",
    "name_order",
    "percent",
    "printable",
    "quoted",
    "shortened",
]

#: Letters of a message; names and cells of a file in it may be of any length.
LONGEST_MESSAGE = 600
#: Letters of one quotation from a file.
_LONGEST_QUOTE = 120

_DIGITS = "0123456789"
_SINGULAR = {
    "agree": "agrees",
    "begin": "begins",
    "stand": "stands",
    "are": "is",
    "have": "has",
    "were": "was",
}


def percent(share: float) -> str:
    """Return a share, 0 to 1, as a percentage with two significant digits.

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
    """Return a number with its noun in singular or plural.

    Examples
    --------
    >>> count(1, "spot"), count(1234, "spot")
    ('1 spot', '1,234 spots')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def name_order(name: str) -> tuple[list[tuple[int, str]], str]:
    """Return the key by which names are sorted for people: numbers by their value.

    Examples
    --------
    >>> sorted(["Type 10", "type 2", "Type 1", "L2/3", "L2"], key=name_order)
    ['L2', 'L2/3', 'Type 1', 'type 2', 'Type 10']
    """
    parts = re.findall(r"\d{1,18}|\D+|\d", name, re.ASCII)
    return [(int(part), "") if part[0] in _DIGITS else (-1, part.casefold()) for part in parts], name


def agreeing(number: int, verb: str) -> str:
    """Return the singular or plural form of a verb for a number.

    Examples
    --------
    >>> agreeing(1, "have"), agreeing(2, "have")
    ('has', 'have')
    """
    return _SINGULAR[verb] if number == 1 else verb


def shortened(text: str, most: int = LONGEST_MESSAGE) -> str:
    """Return text of at most `most` letters: the middle is left out, so that the advice at the end stays.

    Examples
    --------
    >>> shortened("a" * 50 + "z" * 50, 11)
    'aaaaaaa…zzz'
    >>> shortened("short", 11)
    'short'
    """
    if len(text) <= most:
        return text
    end = (most - 1) // 3
    return f"{text[: most - 1 - end]}…{text[len(text) - end :]}"


def printable(text: str, keep: str = "") -> str:
    """Return text with its control characters written out, those in `keep` excepted: for all that is shown.

    A name from a file could otherwise begin a line, or turn the order of letters around.

    Examples
    --------
    >>> print(printable("T" + chr(0x202E) + "cell" + chr(10)))
    T\\u202ecell\\n
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in keep else repr(char)[1:-1] for char in text)


def quoted(value: object, most: int = _LONGEST_QUOTE) -> str:
    """Return what a file holds in quotes, shortened: for every message that quotes from a file.

    Examples
    --------
    >>> quoted("B cell"), quoted("x" * 1000, 5)
    ("'B cell'", "'xxx…x'")
    """
    return repr(shortened(value, most)) if isinstance(value, str) else shortened(repr(value), most)
