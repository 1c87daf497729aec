"""Names of cell types that differ only in spelling, and those that differ in a sign."""

from __future__ import annotations

import pytest

from napari_spotmix.dataset.spelling import differ_only_in_spelling

SAME = [
    ("T cell", "t-cell"),
    ("T_cell", "t-Cell"),
    ("T_cell", "T  cell "),
    ("Т cell", "T cell"),
    ("NK/T", "NK-T"),
    ("NK/T", "NK_T"),
    ("Ⅱ", "II"),
    ("CD4+ T-cell", "CD4+ T cell"),
    ("CD4\u2212 T", "CD4- T"),
    ("CD4\u207a T", "CD4+ T"),
]

DIFFERENT = [
    ("CD4+ T", "CD4- T"),
    ("CD4+ T", "CD4 T"),
    ("CD4- T", "CD4 T"),
    ("CD4\u2212 T", "CD4+ T"),
    ("CD8+", "CD8-"),
    ("CD8-", "CD8"),
    ("CD8+", "CD8"),
    ("CD4-CD8+", "CD4 CD8+"),
    ("CD4-CD8-", "CD4+CD8-"),
    ("CD4-CD8-", "CD4 CD8-"),
    ("Th1", "Th17"),
    ("T1", "T2"),
    ("NKT", "NK/T"),
    ("T cell", "Tcell"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_case_spaces_hyphens_and_letters_that_look_the_same_are_spelling(one: str, other: str) -> None:
    assert differ_only_in_spelling(one, other)
    assert differ_only_in_spelling(other, one)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_signs_of_markers_and_numbers_are_no_spelling(one: str, other: str) -> None:
    assert not differ_only_in_spelling(one, other)
    assert not differ_only_in_spelling(other, one)
