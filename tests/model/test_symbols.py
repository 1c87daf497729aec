"""The page of symbols: every letter is listed, and what computes it exists."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from pkgutil import resolve_name

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "symbols.md"
TEXT = PAGE.read_text(encoding="utf-8")
LETTERS = "Y|S|X|W|D|L|Attn|alpha|beta|lambda_r|lambda_c|kappa|phi|y*|w|gamma|M|b|V"
#: Letter, meaning, shape, unit, name.
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TEXT.splitlines()
    if line.startswith("| `")
]


def test_every_letter_is_listed_once_with_shape_unit_and_function() -> None:
    assert [row[0].split("`")[1] for row in ROWS] == LETTERS.split("|")
    for row in ROWS:
        assert len(row) == 5
        assert all(row)
        assert re.fullmatch(r"`napari_spotmix\.model\.[\w.]+`", row[4])


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(napari_spotmix\.[\w.]+)`", TEXT))))
def test_what_computes_a_symbol_exists(name: str) -> None:
    owner, _, last = name.rpartition(".")
    found = resolve_name(owner)
    own_fields = {field.name for field in fields(found)} if is_dataclass(found) else set()
    assert last in own_fields or hasattr(found, last)


def test_the_letters_of_the_model_page_link_to_the_symbols() -> None:
    for page in (PAGE.with_name("model.md"), PAGE.parents[1] / "README.md"):
        assert "symbols.md)" in page.read_text(encoding="utf-8")
