"""Write docs/reference/parameters.md from the parameters themselves; a test checks that it is up to date."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from napari_spotmix.params import ParameterInfo, describe

PAGE = Path(__file__).parent / "reference" / "parameters.md"

HEAD = """\
# Parameters

<!-- Made by `make docs` from src/napari_spotmix/params.py. Change it there. -->

Every parameter has a default that suits most sections. The names are the same everywhere: in Python they
are arguments of `deconvolve`, on the command line options of `spotmix run` with dashes for underscores
(`--lambda-c`; two are shorter: `--seed` and `--threads`), and in `recipe.toml` keys. The form in napari shows
the labels.

A value out of bounds is refused before anything is computed, and the message lists all that is wrong.
"""


def parameters_page() -> str:
    """Return the page as Markdown: one table per group, in the order of the dataclass."""
    groups = [
        _section(group, list(infos)) for group, infos in groupby(describe(), key=lambda info: info.group)
    ]
    return "\n".join([HEAD, *groups])


def _section(group: str, infos: list[ParameterInfo]) -> str:
    rows = [
        f"| `{info.name}` | {info.label} | {_default(info)} | {_allowed(info)} | {info.help} |"
        for info in infos
    ]
    head = ["| Name | Label | Default | Allowed | What it does |", "| --- | --- | --- | --- | --- |"]
    return "\n".join([f"## {group}", "", *head, *rows, ""])


def _default(info: ParameterInfo) -> str:
    return "learned" if info.default is None else f"`{info.default}`"


def _allowed(info: ParameterInfo) -> str:
    if info.choices:
        return ", ".join(f"`{choice}`" for choice in info.choices)
    if info.kind is bool:
        return "`True`, `False`"
    bounds = [f"at least {info.minimum:g}"] if info.minimum is not None else []
    bounds += [f"at most {info.maximum:g}"] if info.maximum is not None else []
    words = ", ".join(bounds) or "any number"
    return f"{words}; unit: {info.unit}" if info.unit else words


if __name__ == "__main__":
    PAGE.write_text(parameters_page(), encoding="utf-8")
