"""Find out what a table holds from the names of its columns: names, coordinates, counts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from napari_spotmix.io.readers.table_parsing import TableHead, read_head

__all__ = [
    "ARRAY_NAME",
    "COORDINATE_COLUMNS",
    "IN_TISSUE",
    "LongColumns",
    "Table",
    "open_table",
    "plain_name",
]

#: Names of the columns x and y, in lower case without punctuation; pixels of the image before other units.
COORDINATE_COLUMNS = (
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
#: Names of columns with the names of spots.
_NAMES = ("barcode", "barcodes", "bead", "spot", "spots", "spotid", "cell", "cellid", "id", "index", "name")
_NAMES_OF_GENES = ("gene", "genes", "geneid", "genename", "genesymbol", "symbol", "feature")
_NAMES_OF_COUNTS = ("midcount", "midcounts", "umicount", "umicounts", "count", "counts", "umi", "umis", "n")
#: Names of columns that describe a spot, and are not genes.
_DESCRIPTIONS = {
    *(name for pair in COORDINATE_COLUMNS for name in pair),
    *IN_TISSUE,
    *(*_NAMES, *_NAMES_OF_GENES, "", "unnamed0"),
    *("newx", "newy", "z", "row", "col", "arrayrow", "arraycol", "tissue", "area", "sample", "section"),
    *("cluster", "celltype", "numi", "umi", "umis", "ncount", "ncounts", "ngenes", "total", "totalcounts"),
}
#: A table of counts has at least this many other columns of numbers.
_FEWEST_GENES = 3
#: Spots of original Spatial Transcriptomics are named by their position in the array.
ARRAY_NAME = re.compile(r"(\d+(?:\.\d+)?)x(\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class LongColumns:
    """Column numbers of a table with one count per row."""

    gene: int
    x: int
    y: int
    count: int
    symbol: int | None = None


@dataclass(frozen=True)
class Table:
    """A table, and what its columns hold according to their names."""

    head: TableHead

    @property
    def path(self) -> Path:
        """The file of the table."""
        return self.head.path

    @cached_property
    def _plain(self) -> list[str]:
        return [plain_name(name) for name in self.head.columns]

    @cached_property
    def coordinates(self) -> tuple[int, int] | None:
        """The columns x and y, or None."""
        if not self.head.has_header:
            return self._coordinates_by_order()
        pairs = ((x, y) for x, y in COORDINATE_COLUMNS if x in self._plain and y in self._plain)
        return next(((self._plain.index(x), self._plain.index(y)) for x, y in pairs), None)

    def _coordinates_by_order(self) -> tuple[int, int] | None:
        """Return x and y of a table without a header: name, x, y, or the positions of Space Ranger."""
        known = {3: (1, 2), 6: (5, 4)}.get(len(self.head.columns))
        return known if known and set(known) <= set(self.head.numbers) else None

    @cached_property
    def name(self) -> int | None:
        """The column with the names of the rows, or None."""
        if not self.head.has_header or self._plain[0] in ("", "unnamed0"):
            return 0
        known = {column for column, name in enumerate(self._plain) if name in (*_NAMES, *_NAMES_OF_GENES)}
        texts = set(range(len(self._plain))).difference(self.head.numbers)
        first = set() if self.coordinates else {0}
        return next((min(found) for found in (texts & known, texts, known, first) if found), None)

    @cached_property
    def genes(self) -> list[int]:
        """The columns of counts: numbers whose column names do not describe a spot."""
        descriptions = _DESCRIPTIONS if self.coordinates else set()
        columns = self.head.numbers
        return [one for one in columns if one != self.name and self._plain[one] not in descriptions]

    @cached_property
    def long(self) -> LongColumns | None:
        """The columns of a table with one count per row, or None for other tables."""
        gene, count = self.column(*_NAMES_OF_GENES), self.column(*_NAMES_OF_COUNTS)
        if gene is None or count is None or self.coordinates is None or not self.head.has_header:
            return None
        return LongColumns(gene, *self.coordinates, count, self.column("genename"))

    @property
    def is_long(self) -> bool:
        """Whether each row is the count of one gene at one position."""
        return self.long is not None

    @cached_property
    def has_counts(self) -> bool:
        """Whether the table may hold the counts of a section."""
        described = sum(self._plain[column] in _DESCRIPTIONS for column in self.genes)
        return self.head.has_header and not self.is_long and len(self.genes) - described >= _FEWEST_GENES

    @cached_property
    def has_array_names(self) -> bool:
        """Whether the names of all rows, or of all columns of counts, are positions in an array."""
        rows = [row[self.name] for row in self.head.rows] if self.name is not None else []
        columns = [self.head.columns[column] for column in self.genes]
        return any(names and all(map(ARRAY_NAME.fullmatch, names)) for names in (rows, columns))

    @cached_property
    def is_section(self) -> bool:
        """Whether the table holds both counts and coordinates."""
        return self.has_counts and (self.coordinates is not None or self.has_array_names)

    def column(self, *names: str) -> int | None:
        """Return the first column with one of these names, or None."""
        return next((self._plain.index(name) for name in names if name in self._plain), None)


def plain_name(name: str) -> str:
    """Return a name in lower case without punctuation, to compare names of columns.

    Examples
    --------
    >>> plain_name("Pixel_X")
    'pixelx'
    """
    return re.sub(r"[\W_]", "", name).lower()


def open_table(path: Path) -> Table:
    """Read the first lines of a table.

    Raises
    ------
    ReadError
        If the file is not a table.
    """
    return Table(read_head(path))
