"""Find out what a table holds from the names of its columns: names, coordinates, counts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from napari_spotmix.io.readers.coordinate_columns import (
    COORDINATE_COLUMNS,
    ColumnPair,
    choose_columns,
    plain_name,
)
from napari_spotmix.io.readers.table_parsing import TableHead, is_whole, read_head

__all__ = ["ARRAY_NAME", "IN_TISSUE", "LongColumns", "Table", "open_table"]

IN_TISSUE = ("selected", "intissue")
#: Names of columns with the names of spots.
_NAMES = (
    *("barcode", "barcodes", "bead", "beads", "beadid", "spot", "spots", "spotid", "spotname"),
    *("cell", "cells", "cellid", "cellname", "entityid", "objectid", "label", "labelid", "binid"),
    *("id", "index", "name", "rowname", "rownames"),
)
#: Names that pandas and R give to the names, or the numbers, of rows.
_UNNAMED = ("", "unnamed0", "x", "v1", "rownames", "index")
#: Columns that are tried as names of spots.
_MOST_NAMES = 8
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
    """A table, and what its columns hold according to their names and first values.

    Attributes
    ----------
    head : TableHead
    named : int or None
        The column with the names of rows, if it is known by its values.
    """

    head: TableHead
    named: int | None = None

    @property
    def path(self) -> Path:
        """The file of the table."""
        return self.head.path

    @cached_property
    def _plain(self) -> list[str]:
        return [plain_name(name) for name in self.head.columns]

    @cached_property
    def pair(self) -> ColumnPair | None:
        """The columns x and y with those that have the same names, or None."""
        if self.head.has_header:
            return choose_columns(self.head.columns, self.head.numbers)
        by_order = self._coordinates_by_order()
        return None if by_order is None else ColumnPair(*by_order)

    @property
    def coordinates(self) -> tuple[int, int] | None:
        """The columns x and y, or None."""
        return None if self.pair is None else (self.pair.x, self.pair.y)

    def _coordinates_by_order(self) -> tuple[int, int] | None:
        """Return x and y of a table without a header: name, x, y, or the positions of Space Ranger."""
        known = {3: (1, 2), 6: (5, 4)}.get(len(self.head.columns))
        return known if known and set(known) <= set(self.head.numbers) else None

    @property
    def name(self) -> int | None:
        """The column with the names of the rows, or None; the likeliest, unless `named` says which."""
        return self.named if self.named is not None else next(iter(self.names), None)

    @cached_property
    def names(self) -> list[int]:
        """The columns that may hold the names of the rows, the most likely first."""
        if not self.head.has_header:
            return [0]
        free = [column for column in range(len(self._plain)) if column not in (self.coordinates or ())]
        known = {column for column in free if self._plain[column] in (*_NAMES, *_NAMES_OF_GENES)}
        texts = set(free).difference(self.head.numbers)
        unnamed = {column for column in free[:1] if column == 0 and self._plain[0] in ("", "unnamed0")}
        unnamed -= self.row_numbers if texts else set()
        first = set() if self.coordinates else {0}
        ranked = (unnamed, texts & known, texts, known, first)
        return list(dict.fromkeys(column for group in ranked for column in sorted(group)))[:_MOST_NAMES]

    @cached_property
    def possible_names(self) -> list[int]:
        """As `names`, with the columns of whole numbers, which can be names if they match those of others."""
        whole = [one for one in self.head.numbers if all(is_whole(row[one]) for row in self.head.rows)]
        others = [column for column in whole if column not in (self.coordinates or ())]
        return list(dict.fromkeys([*self.names, *others]))[:_MOST_NAMES]

    @cached_property
    def row_numbers(self) -> set[int]:
        """The columns that only number the rows, as R and pandas write them."""
        found = set()
        for column in self.head.numbers:
            values = [row[column] for row in self.head.rows]
            counted = [[str(start + row) for row in range(len(values))] for start in (0, 1)]
            if self._plain[column] in _UNNAMED and len(values) > 1 and values in counted:
                found.add(column)
        return found

    @cached_property
    def genes(self) -> list[int]:
        """The columns of counts: numbers whose column names do not describe a spot."""
        descriptions = _DESCRIPTIONS if self.coordinates else set()
        left_out = {self.name, *self.row_numbers}
        columns = [one for one in self.head.numbers if one not in left_out]
        return [one for one in columns if self._plain[one] not in descriptions]

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


def open_table(path: Path) -> Table:
    """Read the first lines of a table.

    Raises
    ------
    ReadError
        If the file is not a table.
    """
    return Table(read_head(path))
