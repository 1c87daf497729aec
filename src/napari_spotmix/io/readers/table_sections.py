@dataclass(frozen=True)
class Section:
    """The files of a section; `places` is None where they stand in the table of counts."""

    counts: Table
    places: Table | None
    image: Path | None = None

    @property
    def root(self) -> Path:
        """The folder of the table of counts."""
        return self.counts.path.parent

    @property
    def files(self) -> list[Path]:
        """Every file that is read, in a fixed order."""
        files = [self.counts.path, self.places.path if self.places else None, self.image]
        return [file for file in files if file is not None]


# What is there


def find_tables(path: Path) -> Path | None:
    """Return `path` if it is a table of counts whose places are known, or a folder with such."""
    counts, places = _candidates(path)
    is_known = [table for table in counts if table.is_section or places]
    return path if is_known else None


def takes_coordinates(path: Path) -> bool:
    """Tell whether a table of counts lies at `path`, whose places may be told in another table."""
    return (path.is_dir() or is_table_name(path.name)) and bool(_candidates(path)[0])


def _candidates(path: Path) -> tuple[list[Table], list[Table]]:
    """Return the tables that may hold the counts, and those beside them that may hold places."""
    beside = open_tables(path if path.is_dir() else path.parent)
    places = [table for table in beside if table.places and not table.is_long]
    if not path.is_dir():
        given = [table for table in _tables([path]) if table.has_counts]
        return given, [table for table in places if table.path != path and not table.is_section]
    only_counts = [table for table in beside if table.has_counts and not table.places]
    if only_counts and places:
        return only_counts, places
    return [table for table in beside if table.is_section] or only_counts, []


def open_tables(folder: Path) -> list[Table]:
    """Look at all tables of a folder; a file that is named as one and is none is passed over."""
    return _tables(_table_paths(folder))


def _table_paths(folder: Path) -> list[Path]:
    """Return the files named as tables; none of a folder with so many that they are no section."""
    paths = sorted(path for path in folder.iterdir() if is_table_name(path.name) and path.is_file())
    return paths if len(paths) <= _MOST_TABLES else []


def _tables(paths: Sequence[Path]) -> list[Table]:
    """Return those that are tables; what is wrong with another is told where it is asked for."""
    found = []
    for path in paths:
        try:
            found.append(open_table(path))
        except ReadError:
            continue
    return found


def why_no_spots(path: Path) -> str | None:
    """Say why no section is read from a table or a folder of tables; None if `path` is neither."""
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
            "is a table of counts, but it has no columns x and y, and no table of coordinates lies beside it"
            f"{_of_broken(table.path.parent)}: put it beside, or name it as `coordinates`. {_WANTED}"
        )
    if table.places and not table.is_long:
        beside = [
            one.path.name for one in open_tables(table.path.parent) if one.has_counts and not one.places
        ]
        which = f" ({listed(beside)})" if beside else ""
        return f"holds the coordinates of spots, but no counts. Choose the table of counts instead{which}."
    return f"is a table, but not one of counts: its columns are {listed(table.head.columns)}. {_WANTED}"


def _why_no_folder(folder: Path) -> str | None:
    names = [path.name for path in _table_paths(folder)]
    if not names:
        return None
    counts, _ = _candidates(folder)
    if counts:
        found = listed([table.path.name for table in counts])
        return (
            f"holds counts ({found}) but no table of coordinates, with the names of spots, x and y"
            f"{_of_broken(folder)}. Put it there, or name it as `coordinates`; "
            "or is this a reference of single cells?"
        )
    return f"holds tables ({listed(names)}), but none of counts{_of_broken(folder)}. {_WANTED}"


def _of_broken(folder: Path) -> str:
    """Say what is wrong with files beside that are named as tables: one may be what is missing."""
    problems: list[str] = []
    for path in _table_paths(folder):
        try:
            open_table(path)
        except ReadError as error:
            problems += error.problems
    return f" ({' '.join(problems[:2])})" if problems else ""


# Which tables belong together


def find_section(path: Path, options: ReadOptions) -> Section:
    """Find the tables of the section at `path`.

    Raises
    ------
    ReadError
        If there is none, or several to choose from.
    """
    if options.coordinates is not None:
        return _told_section(path, Path(options.coordinates))
    counts, places = _candidates(path)
    if len(counts) > 1:
        found = listed([table.path.name for table in counts])
        raise ReadError(path, f"Several tables of counts to choose from: {found}. Choose the one to read.")
    if not counts:
        raise ReadError(path, why_no_spots(path) or f"holds no table. {_WANTED}")
    table = counts[0]
    if table.places is None and places:
        return _with_image(table, _nearest_by_name(table, places))
    if table.is_section:
        return Section(table, None)
    raise ReadError(path, _why_no_table(table))


def _told_section(path: Path, coordinates: Path) -> Section:
    if path.is_dir():
        counts = [table for table in open_tables(path) if table.has_counts and table.path != coordinates]
        if len(counts) != 1:
            found = listed([table.path.name for table in counts])
            raise ReadError(path, f"One table of counts was expected, found {found}. Choose the file.")
        table = counts[0]
    else:
        table = open_table(path)
    places = open_table(coordinates)
    gather = Gatherer(table.path.parent)
    if not table.has_counts:
        gather.problems.append(f"`{path.name}` {_why_no_table(table)}")
    if places.places is None:
        gather.problems.append(f"`{coordinates.name}` {_no_places(places)}")
    gather.raise_all()
    return _with_image(table, places)


def _no_places(table: Table) -> str:
    return (
        "must have columns of x and y (such as 'x' and 'y', 'xcoord' and 'ycoord', 'pixel_x' and 'pixel_y'), "
        f"found {listed(table.head.columns)}."
    )


def _nearest_by_name(counts: Table, places: list[Table]) -> Table:
    """Return the table of places whose file has most of its name in common with that of the counts."""

    def in_common(table: Table) -> int:
        a, b = (one.path.name.split(".")[0].lower() for one in (counts, table))
        return SequenceMatcher(None, a, b, autojunk=False).find_longest_match().size

    ranked = sorted(places, key=in_common, reverse=True)
    if len(ranked) > 1 and in_common(ranked[0]) == in_common(ranked[1]):
        found = listed([table.path.name for table in places])
        raise ReadError(
            counts.path,
            f"Several tables of coordinates to choose from: {found}. Name one of them as `coordinates`.",
        )
    return ranked[0]


def _with_image(counts: Table, places: Table) -> Section:
    """Add the image of the same name where the places are pixels of one."""
    in_pixels = places.column("pixelx") is not None
    stem = counts.path.name.split(".")[0]
    images = [counts.path.with_name(stem + suffix) for suffix in _IMAGES] if in_pixels else []
    return Section(counts, places, next((image for image in images if image.is_file()), None))
