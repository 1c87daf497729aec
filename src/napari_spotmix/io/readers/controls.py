"""Leave negative controls and blanks of imaging assays out of the genes, and say so."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from napari_spotmix.base.text import agreeing, count
from napari_spotmix.io.problems import listed

__all__ = ["are_controls", "controls_note"]

#: Xenium, CosMx (old and new panels) and MERSCOPE, as their manuals name them.
_CONTROL = re.compile(
    r"neg(ative)?[_-]?control([_-]?(probe|codeword))?[_-].*|unassigned[_-]?codeword[_-]?.*"
    r"|deprecated[_-]?codeword[_-]?.*|intergenic[_-]region[_-].*|genomic[_-]?control[_-]?.*"
    r"|negative[_-]?\d+|negprb[_-]?\d+|systemcontrol[_-]?\d+|falsecode[_-]?\d+|blank[_-].*",
    re.IGNORECASE,
)


def are_controls(names: Iterable[str]) -> NDArray[np.bool_]:
    """Return which names are those of controls and blanks.

    Examples
    --------
    >>> are_controls(["Actb", "Blank-12", "NegControlProbe_00042", "SystemControl1", "NEGR1"]).tolist()
    [False, True, True, True, False]
    """
    return np.array([_CONTROL.fullmatch(name) is not None for name in names], dtype=bool)


def controls_note(names: list[str]) -> str:
    """Return the note that controls were left out."""
    were, shown = agreeing(len(names), "were"), listed(names, most=3)
    return f"{count(len(names), 'control')} (negative controls and blanks, such as {shown}) {were} dropped."
