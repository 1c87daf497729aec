"""From templates to a page in which no text of a file can do anything."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from napari_spotmix.words import count, percent

__all__ = ["page", "shown"]


def page(template: str, **content: Any) -> str:
    """Return a page as HTML, every text in it escaped.

    Parameters
    ----------
    template : str
        Name of a file in `templates`.
    **content
        What it asks for; a name that is missing is an error.
    """
    return _templates().get_template(template).render(**content) + "\n"


@cache
def _templates() -> Environment:
    made = Environment(
        loader=PackageLoader("napari_spotmix.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=shown,
    )
    made.filters |= {"percent": percent, "count": count, "number": number}
    return made


def shown(value: Any) -> Any:
    """Return a text without characters that are not seen, which could turn its order or hide in it.

    Examples
    --------
    >>> shown("T" + chr(0x202E) + "cell"), shown(3)
    ('T\\\\u202ecell', 3)
    """
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "".join(char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in value)


def number(value: Any) -> str:
    """Return a value of a parameter for people.

    Examples
    --------
    >>> number(0.06411014930971097), number(5000), number(True), number(None), number([])
    ('0.0641', '5,000', 'yes', 'learned', '–')
    """
    if value is None:
        return "learned"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(value) if len(str(value)) and not isinstance(value, list) else ", ".join(map(number, value)) or "–"
