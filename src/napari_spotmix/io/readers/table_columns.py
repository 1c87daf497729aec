"""What a table holds by the names of its columns, and which tables make a section."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property
from pathlib import Path

from napari_spotmix.base.errors import ReadError
from napari_spotmix.io.problems import Gatherer, listed
from napari_spotmix.io.readers.table_parsing import Head, is_table_name, read_head
from napari_spotmix.io.readers.options import ReadOptions

__all__ = [
    "ARRAY_NAME",
    "IN_TISSUE",
    "LongColumns",
    "PLACES",
    "Section",
    "Table",
    "find_section",
    "open_table",
    "open_tables",
    "plain_name",
    "find_tables",
    "takes_coordinates",
    "why_no_spots",
]

#: Names of the columns x and y, without case and signs; pixels of the image go before other units.
PLACES = (
    ("pixelx", "pixely"),
    ("pxlcolinfullres", "pxlrowinfullres"),
    ("imagecol", "imagerow"),
    ("x", "y"),
    ("xcoord", "ycoord"),
    ("coordx", "coordy"),
    ("xcoordinate", "ycoordinate"),
    ("xcentroid", "ycentroid"),
    ("centroidx", "centroidy"),
    ("centerx", "centery"),
    ("xlocation", "ylocation"),
    ("xposition", "yposition"),
    ("xpos", "ypos"),
    ("posx", "posy"),
    ("spatialx", "spatialy"),
    ("spatial1", "spatial2"),
    ("xum", "yum"),
    ("xpx", "ypx"),
)
IN_TISSUE = ("selected", "intissue")
#: What names a spot, and what else describes one: no genes.
_NAMES = ("barcode", "barcodes", "bead", "spot", "spots", "spotid", "cell", "cellid", "id", "index", "name")
_NAMES_OF_GENES = ("gene", "genes", "geneid", "genename", "genesymbol", "symbol", "feature")
_NAMES_OF_COUNTS = ("midcount", "midcounts", "umicount", "umicounts", "count", "counts", "umi", "umis", "n")
_DESCRIPTIONS = {
    *(name for pair in PLACES for name in pair),
    *IN_TISSUE,
    *(*_NAMES, *_NAMES_OF_GENES, "", "unnamed0"),
    *("newx", "newy", "z", "row", "col", "arrayrow", "arraycol", "tissue", "area", "sample", "section"),
    *("cluster", "celltype", "numi", "umi", "umis", "ncount", "ncounts", "ngenes", "total", "totalcounts"),
}
#: A table with fewer other columns of numbers is no table of counts.
_FEWEST_GENES = 3
#: A folder with more tables is not looked through.
_MOST_TABLES = 50
#: Spots of original Spatial Transcriptomics are named by their place in the array.
ARRAY_NAME = re.compile(r"(\d+(?:\.\d+)?)x(\d+(?:\.\d+)?)")
_IMAGES = (".png", ".jpg", ".jpeg")
_WANTED = (
    "Expected a table of counts with names of spots on one side and of genes on the other, "
    "and a table of coordinates with the names of spots, x and y."
)


@dataclass(frozen=True)
class LongColumns:
    """Numbers of the columns of a table with one count in each row."""

    gene: int
    x: int
    y: int
    count: int
    symbol: int | None = None


@dataclass(frozen=True)
class Table:
    """A table, and what its columns hold by their names."""

    head: Head

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.head.path

    @cached_property
    def _plain(self) -> list[str]:
        return [plain_name(name) for name in self.head.columns]

    @cached_property
    def places(self) -> tuple[int, int] | None:
        """The columns x and y, None if there are none."""
        if not self.head.has_header:
            return self._places_by_order()
        pairs = ((x, y) for x, y in PLACES if x in self._plain and y in self._plain)
        return next(((self._plain.index(x), self._plain.index(y)) for x, y in pairs), None)

    def _places_by_order(self) -> tuple[int, int] | None:
        """Read a table without a header as name, x, y, or as Space Ranger's positions."""
        known = {3: (1, 2), 6: (5, 4)}.get(len(self.head.columns))
        return known if known and set(known) <= set(self.head.numbers) else None

    @cached_property
    def name(self) -> int | None:
        """The column with names of rows, None if there is none."""
        if not self.head.has_header or self._plain[0] in ("", "unnamed0"):
            return 0
        known = {column for column, name in enumerate(self._plain) if name in (*_NAMES, *_NAMES_OF_GENES)}
        texts = set(range(len(self._plain))).difference(self.head.numbers)
        first = set() if self.places else {0}
        return next((min(found) for found in (texts & known, texts, known, first) if found), None)

    @cached_property
    def genes(self) -> list[int]:
        """The columns of counts: numbers that do not describe a spot, as far as their names tell."""
        descriptions = _DESCRIPTIONS if self.places else set()
        columns = self.head.numbers
        return [one for one in columns if one != self.name and self._plain[one] not in descriptions]

    @cached_property
    def long(self) -> LongColumns | None:
        """The columns of a table whose rows are counts of one gene in one place, None for another."""
        gene, count = self.column(*_NAMES_OF_GENES), self.column(*_NAMES_OF_COUNTS)
        if gene is None or count is None or self.places is None or not self.head.has_header:
            return None
        return LongColumns(gene, *self.places, count, self.column("genename"))

    @property
    def is_long(self) -> bool:
        """Whether each row is a count of one gene in one place."""
        return self.long is not None

    @cached_property
    def has_counts(self) -> bool:
        """Whether it may hold the counts of a section."""
        described = sum(self._plain[column] in _DESCRIPTIONS for column in self.genes)
        return self.head.has_header and not self.is_long and len(self.genes) - described >= _FEWEST_GENES

    @cached_property
    def has_array_names(self) -> bool:
        """Whether the names of all rows, or of all columns with counts, are places in an array."""
        rows = [row[self.name] for row in self.head.rows] if self.name is not None else []
        columns = [self.head.columns[column] for column in self.genes]
        return any(names and all(map(ARRAY_NAME.fullmatch, names)) for names in (rows, columns))

    @cached_property
    def is_section(self) -> bool:
        """Whether it holds both counts and places."""
        return self.has_counts and (self.places is not None or self.has_array_names)

    def column(self, *names: str) -> int | None:
        """Return the first column of one of these names."""
        return next((self._plain.index(name) for name in names if name in self._plain), None)


def plain_name(name: str) -> str:
    """Return a name without case and signs, as names of columns are compared."""
    return re.sub(r"[\W_]", "", name).lower()


def open_table(path: Path) -> Table:
    """Look at the first lines of a table.

    Raises
    ------
    ReadError
        If it is none.
    """
    return Table(read_head(path))


