"""Numbers and nouns as text, the same in the window, on the terminal and in the report."""

from __future__ import annotations

__all__ = ["agreeing", "count", "percent"]

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


def agreeing(number: int, verb: str) -> str:
    """Return the singular or plural form of a verb for a number.

    Examples
    --------
    >>> agreeing(1, "have"), agreeing(2, "have")
    ('has', 'have')
    """
    return _SINGULAR[verb] if number == 1 else verb
