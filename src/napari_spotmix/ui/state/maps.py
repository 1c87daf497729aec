"""What can be shown on the canvas: a cell type, a blend of several, a gene, or a map of its own."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

__all__ = [
    "COUNTS",
    "DOMINANT",
    "ERRORS",
    "FEATURES",
    "GRAPH",
    "MOST_BLENDED",
    "MOST_PANELS",
    "NICHES",
    "PIES",
    "UNEXPLAINED",
    "Column",
    "Gene",
    "MapKind",
    "Measure",
    "PanelMap",
    "Shown",
    "SpotMap",
    "feature_of",
    "name_of",
]


class MapKind(Enum):
    """A map that is not of single cell types; the value is its name on the screen."""

    DOMINANT = "Dominant type"
    UNEXPLAINED = "Unexplained share"
    COUNTS = "Counts"
    ERRORS = "Standard error"
    PIES = "Pies"
    GRAPH = "Attention graph"
    NICHES = "Niches"


#: Each spot in the color of its largest cell type.
DOMINANT: Final = MapKind.DOMINANT

#: The share of a spot's counts that the cell types do not explain.
UNEXPLAINED: Final = MapKind.UNEXPLAINED

#: How many counts a spot has.
COUNTS: Final = MapKind.COUNTS

#: The standard error of the proportion of each spot's largest type.
ERRORS: Final = MapKind.ERRORS

#: Each spot as a pie of its proportions.
PIES: Final = MapKind.PIES

#: Every edge between neighbors in the color of its attention.
GRAPH: Final = MapKind.GRAPH

#: Each spot in the color of its niche, once niches have been found.
NICHES: Final = MapKind.NICHES

#: The feature of the spots that a map shows on a scale from 0.
FEATURES: Final[dict[MapKind, str]] = {
    UNEXPLAINED: "unexplained",
    COUNTS: "counts",
    ERRORS: "dominant_error",
}


class Measure(Enum):
    """How the counts of a gene are shown; the value is its name on the screen."""

    COUNTS = "Counts"
    PER_DEPTH = "Per 10,000"
    LOG = "Log"


@dataclass(frozen=True)
class Gene:
    """The counts of a gene: its name, its column in the matrix of counts, and how they are shown."""

    name: str
    column: int
    measure: Measure = Measure.COUNTS


@dataclass(frozen=True)
class Column:
    """A column of ``obs``."""

    name: str


#: What is a value of each spot that needs no result.
SpotMap = Gene | Column

#: What can be shown side by side.
PanelMap = str | Gene

#: A cell type, several of them blended, a gene, a column, or a map of its own.
Shown = str | tuple[str, ...] | MapKind | Gene | Column

#: More types than these cannot be distinguished in a blend.
MOST_BLENDED: Final = 6

#: More panels than these would be too small to see.
MOST_PANELS: Final = 12


def name_of(shown: Shown) -> str:
    """Return the name on the screen of what is shown.

    Examples
    --------
    >>> name_of(DOMINANT), name_of("T cell"), name_of(("T cell", "B cell"))
    ('Dominant type', 'T cell', 'T cell + B cell')
    """
    if isinstance(shown, str):
        return shown
    if isinstance(shown, Gene | Column):
        return shown.name
    return " + ".join(shown) if isinstance(shown, tuple) else shown.value


def feature_of(shown: SpotMap) -> str:
    """Return the name by which the end of a map's colors is kept.

    Examples
    --------
    >>> feature_of(Gene("Ckm", 3)), feature_of(Column("cluster"))
    ('gene Ckm: counts', 'obs cluster')
    """
    if isinstance(shown, Column):
        return f"obs {shown.name}"
    return f"gene {shown.name}: {shown.measure.name.lower().replace('_', ' ')}"
