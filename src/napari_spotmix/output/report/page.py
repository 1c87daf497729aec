"""Pages from templates, with every text of a file escaped."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from napari_spotmix.base.text import count, percent, printable

__all__ = ["page", "shown"]


def page(template: str, **content: Any) -> str:
    """Return a page as HTML, every text in it escaped.

    Parameters
    ----------
    template : str
        Name of a file in `templates`.
    **content
        What the template needs; a missing name is an error.
    """
    return _templates().get_template(template).render(**content) + "\n"


@cache
def _templates() -> Environment:
    made = Environment(
        loader=PackageLoader("napari_spotmix.output.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=shown,
    )
    made.filters |= {"percent": percent, "count": count, "number": number, "nats": nats}
    return made


def shown(value: Any) -> Any:
    """Return a text with invisible characters, which could reverse its order or hide in it, as escapes.

    Examples
    --------
    >>> shown("T" + chr(0x202E) + "cell"), shown(3)
    ('T\\\\u202ecell', 3)
    """
    if not isinstance(value, str) or hasattr(value, "__html__"):  # markup of the templates
        return value
    return printable(value, keep="\n")


def number(value: Any) -> str:
    """Return a value of a parameter as people read it.

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
    return ", ".join(map(number, value)) or "–" if isinstance(value, list) else str(value)


def nats(value: float) -> str:
    """Return a difference of losses: two decimals, or one digit if it is smaller.

    Examples
    --------
    >>> nats(33.258), nats(-0.00241)
    ('33.26', '−0.002')
    """
    text = f"{value:,.2f}" if abs(value) >= 0.01 or value == 0 else f"{value:.1g}"
    return text.replace("-", "−")
