"""Find the tables of a section: counts, and coordinates in the same table or in another one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import islice
from pathlib import Path

from napari_spotmix.base.errors import ReadError
from napari_spotmix.io.problems import Gatherer, listed
from napari_spotmix.io.readers.options import ReadOptions
from napari_spotmix.io.readers.table_columns import Table, open_table
from napari_spotmix.io.readers.table_parsing import is_table_name

__all__ = [
    "SectionTables",
    "find_section",
    "find_tables",
    "open_tables",
    "takes_coordinates",
    "why_no_spots",
]

#: Folders with more tables are not searched.
_MOST_TABLES = 50
_IMAGES = (".png", ".jpg", ".jpeg")
_EXPECTED = (
    "Expected a table of counts with the names of spots on one side and of genes on the other, "
    "and a table of coordinates with the names of spots, x and y."
)


@dataclass(frozen=True)
class SectionTables:
    """The files of a section.

    Attributes
    ----------
    counts : Table
    coordinates : Table or None
        None if the table of counts holds the coordinates.
    image : Path or None
        The image whose pixels the coordinates refer to.
    """

    counts: Table
    coordinates: Table | None
    image: Path | None = None

    @property
    def root(self) -> Path:
        """The folder of the table of counts."""
        return self.counts.path.parent

    @property
    def files(self) -> list[Path]:
        """Every file that is read, in a fixed order."""
        files = [self.counts.path, self.coordinates.path if self.coordinates else None, self.image]
        return [file for file in files if file is not None]


# Detection


def find_tables(path: Path) -> Path | None:
    """Return `path` if it is a table of counts with known coordinates, or a folder with such a table."""
    counts, coordinates = _candidates(path)
    return path if any(table.is_section or coordinates for table in counts) else None


def takes_coordinates(path: Path) -> bool:
    """Return whether `path` is, or holds, a table of counts that can have a separate table of coordinates."""
    return (path.is_dir() or is_table_name(path.name)) and bool(_candidates(path)[0])


def _candidates(path: Path) -> tuple[list[Table], list[Table]]:
    """Return the tables that may hold the counts, and separate tables that may hold their coordinates."""
    tables = open_tables(path if path.is_dir() else path.parent)
    coordinates = [table for table in tables if table.coordinates and not table.is_long]
    if not path.is_dir():
        given = [table for table in _valid_tables([path]) if table.has_counts]
        return given, [table for table in coordinates if table.path != path and not table.is_section]
    only_counts = [table for table in tables if table.has_counts and not table.coordinates]
    if only_counts and coordinates:
        return only_counts, coordinates
    return [table for table in tables if table.is_section] or only_counts, []


def open_tables(folder: Path) -> list[Table]:
    """Open all tables of a folder; files with the name of a table that are not tables are skipped."""
    return _valid_tables(_table_paths(folder))


def _table_paths(folder: Path) -> list[Path]:
    """Return the files named as tables; none for a folder with so many that they are not one section."""
    found = (path for path in folder.iterdir() if is_table_name(path.name) and path.is_file())
    paths = list(islice(found, _MOST_TABLES + 1))
    return sorted(paths) if len(paths) <= _MOST_TABLES else []


def _valid_tables(paths: Sequence[Path]) -> list[Table]:
    """Return the paths that are tables; the problems of others are reported when they are needed."""
    found = []
    for path in paths:
        try:
            found.append(open_table(path))
        except ReadError:
            continue
    return found


def why_no_spots(path: Path) -> str | None:
    """Return why no section can be read from a table or a folder of tables; None if `path` is neither."""
    if path.is_dir():
        return _why_no_folder(path)
    if not is_table_name(path.name):
        return None
    try:
        table = open_table(path)
    except ReadError as error:
        return f"cannot be read as a table of counts: {' '.join(error.problems)}"
    return _why_no_table(table)


def _why_no_table(table: Table) -> str:
    if table.has_counts:
        return (
            "is a table of counts, but without columns x and y, and no table of coordinates is in the same "
            f"folder{_broken_tables(table.path.parent)}: copy it there, or name it as `coordinates`. "
            f"{_EXPECTED}"
        )
    if table.coordinates and not table.is_long:
        others = [
            one.path.name for one in open_tables(table.path.parent) if one.has_counts and not one.coordinates
        ]
        which = f" ({listed(others)})" if others else ""
        return f"holds the coordinates of spots, but no counts. Choose the table of counts instead{which}."
    return f"is a table, but not one of counts: its columns are {listed(table.head.columns)}. {_EXPECTED}"


def _why_no_folder(folder: Path) -> str | None:
    names = [path.name for path in _table_paths(folder)]
    if not names:
        return None
    counts, _ = _candidates(folder)
    if counts:
        found = listed([table.path.name for table in counts])
        return (
            f"holds counts ({found}) but no table of coordinates, with the names of spots, x and y"
            f"{_broken_tables(folder)}. Copy it there, or name it as `coordinates`. "
            "If these are single cells, choose them as the reference."
        )
    return f"holds tables ({listed(names)}), but none of counts{_broken_tables(folder)}. {_EXPECTED}"


def _broken_tables(folder: Path) -> str:
    """Return the problems of files named as tables, one of which may be the missing table."""
    problems: list[str] = []
    for path in _table_paths(folder):
        try:
            open_table(path)
        except ReadError as error:
            problems += error.problems
    return f" ({' '.join(problems[:2])})" if problems else ""


# Choosing the tables


def find_section(path: Path, options: ReadOptions) -> SectionTables:
    """Find the tables of the section at `path`.

    Raises
    ------
    ReadError
        If there are none, or they are ambiguous.
    """
    if options.coordinates is not None:
        return _with_given_coordinates(path, Path(options.coordinates))
    counts, coordinates = _candidates(path)
    if len(counts) > 1:
        found = listed([table.path.name for table in counts])
        raise ReadError(path, f"Expected one table of counts, found several: {found}. Choose one of them.")
    if not counts:
        raise ReadError(path, why_no_spots(path) or f"holds no table. {_EXPECTED}")
    table = counts[0]
    if table.coordinates is None and coordinates:
        return _with_image(table, _nearest_by_name(table, coordinates))
    if table.is_section:
        return SectionTables(table, None)
    raise ReadError(path, _why_no_table(table))


def _with_given_coordinates(path: Path, given: Path) -> SectionTables:
    if path.is_dir():
        counts = [table for table in open_tables(path) if table.has_counts and table.path != given]
        if len(counts) != 1:
            found = listed([table.path.name for table in counts])
            raise ReadError(path, f"Expected one table of counts, found {found}. Choose the file.")
        table = counts[0]
    else:
        table = open_table(path)
    coordinates = open_table(given)
    gather = Gatherer(table.path.parent)
    if not table.has_counts:
        gather.problems.append(f"`{path.name}` {_why_no_table(table)}")
    if coordinates.coordinates is None:
        gather.problems.append(f"`{given.name}` {_no_coordinates(coordinates)}")
    gather.raise_all()
    return _with_image(table, coordinates)


def _no_coordinates(table: Table) -> str:
    return (
        "must have columns of x and y (such as 'x' and 'y', 'xcoord' and 'ycoord', 'pixel_x' and 'pixel_y'), "
        f"found {listed(table.head.columns)}. Rename its columns, or choose another table."
    )


def _nearest_by_name(counts: Table, coordinates: list[Table]) -> Table:
    """Return the table of coordinates whose file name shares the longest part with that of the counts."""

    def in_common(table: Table) -> int:
        a, b = (one.path.name.split(".")[0].lower() for one in (counts, table))
        return SequenceMatcher(None, a, b, autojunk=False).find_longest_match().size

    ranked = sorted(coordinates, key=in_common, reverse=True)
    if len(ranked) > 1 and in_common(ranked[0]) == in_common(ranked[1]):
        found = listed([table.path.name for table in coordinates])
        raise ReadError(
            counts.path,
            f"Expected one table of coordinates, found several: {found}. Name one of them as `coordinates`.",
        )
    return ranked[0]


def _with_image(counts: Table, coordinates: Table) -> SectionTables:
    """Add the image with the name of the counts, if the coordinates are pixels of an image."""
    in_pixels = coordinates.column("pixelx") is not None
    stem = counts.path.name.split(".")[0]
    images = [counts.path.with_name(stem + suffix) for suffix in _IMAGES] if in_pixels else []
    return SectionTables(counts, coordinates, next((image for image in images if image.is_file()), None))
