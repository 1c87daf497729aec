"""Cell types of single cells from a table beside their counts: found, read, and joined by the names of cells.

References
----------
10x Genomics, "Cell Types" and "Secondary Analysis Outputs" of Cell Ranger (a column of barcodes first);
Cable et al. 2022 (Nat Biotechnol 40:517), ``Reference`` of RCTD: ``cell_types.csv``, or ``meta_data.csv``
with numbers of clusters and ``cell_type_dict.csv`` with their names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from anndata import AnnData

from napari_spotmix.base.errors import ReadError
from napari_spotmix.base.keys import CELL_TYPE
from napari_spotmix.base.text import agreeing
from napari_spotmix.io.notes import add_notes
from napari_spotmix.io.problems import listed
from napari_spotmix.io.readers.table_parsing import is_table_name
from napari_spotmix.io.readers.h5ad import label_columns
from napari_spotmix.io.readers.table_files import open_table
from napari_spotmix.io.readers.tables import text_columns

__all__ = ["LabelTable", "find_labels", "join_labels", "label_files", "may_be_labels", "read_labels"]

#: Names of tables of labels, the likeliest first.
_NAMES = (
    r"cell[_. -]?(types?|labels?|annotations?)",
    r"labels?|annotations?|annotated",
    r"meta[_. -]?data|cells|clusters?",
)
_DICTIONARY = re.compile(r"cell[_. -]?types?[_. -]?dict(ionary)?", re.IGNORECASE)
#: Columns of numbers that may stand for types.
_GROUPS = re.compile(r"type|label|annot|cluster|class|ident|leiden|louvain", re.IGNORECASE)
#: What programs add to a barcode: the number of its library.
_LIBRARY = r"-\d+$"
_CUT = " (by names without the number of the library, such as '-1')"
_ADVICE = "Take both from the same data set, or make the names alike."


class MissingLabels(ReadError):
    """A reference that can be read once a table of labels is given."""


@dataclass(frozen=True)
class LabelTable:
    """What is known of cells, as text.

    Attributes
    ----------
    path : Path
    header : list of str
        The first line as it stands in the file.
    columns : DataFrame of str, shape (n_rows, n_columns)
        With the names of cells in one of the columns.
    """

    path: Path
    header: list[str]
    columns: pd.DataFrame

    def n_matching(self, cells: pd.Index[str]) -> int:
        """Return how many rows are named after one of `cells`, in the column where most are.

        A column in which most values come again and again holds types, which signatures are named after too.
        """
        is_of_names = self.columns.nunique() * 2 > len(self.columns)
        found = self.columns.loc[:, is_of_names].isin(cells).sum()
        return max((int(n_rows) for n_rows in found), default=0)

    def of(self, cells: pd.Index[str]) -> tuple[pd.DataFrame, str]:
        """Return the other columns for `cells`, and how names were changed for them to match.

        Raises
        ------
        ReadError
            If no cell has a row, or one has several that differ.
        """
        columns = self._with_first_line(cells)
        ways = [(columns, cells, ""), (_cut(columns), cells.str.replace(_LIBRARY, "", regex=True), _CUT)]
        found = [_named(*way[:2]) for way in ways]
        # Shortened, two cells may have one name.
        best = 1 if found[1][1] > found[0][1] and ways[1][1].is_unique else 0
        (name, n_cells), (named, names, words) = found[best], ways[best]
        if not n_cells:
            raise ReadError(self.path.parent, self._no_match(cells))
        others = columns.drop(columns=name).set_axis(pd.Index(named[name], name=None))
        return self._unique(others[others.index.isin(names)]).reindex(names).set_axis(cells), words

    def _with_first_line(self, cells: pd.Index[str]) -> pd.DataFrame:
        """Return all rows; a first line that names a cell is no header."""
        if not cells.isin(self.header).any():
            return self.columns
        first = pd.DataFrame([self.header], columns=self.columns.columns, dtype=object)
        return pd.concat([first, self.columns], ignore_index=True)

    def _unique(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return one row for each cell; the same row may stand several times."""
        rows = rows[~rows.reset_index().duplicated().to_numpy()]
        twice = rows.index[rows.index.duplicated()].unique()
        if len(twice):
            raise ReadError(
                self.path.parent,
                f"`{self.path.name}` names {len(twice):,} cells more than once, with labels that differ: "
                f"{listed(list(twice), most=3)}. Keep one row for each.",
            )
        return rows

    def _no_match(self, cells: pd.Index[str]) -> str:
        shown = self.columns.iloc[0].tolist()
        return (
            f"No cell has a label: `{self.path.name}` has rows such as {listed(shown, most=3)}, the cells "
            f"are called {listed(list(cells[:2]))}. {_ADVICE}"
        )


def _named(columns: pd.DataFrame, cells: pd.Index[str]) -> tuple[str, int]:
    """Return the column that names most of `cells`, and how many it names."""
    n_cells = {str(column): int(cells.isin(columns[column]).sum()) for column in columns}
    name = max(n_cells, key=lambda column: n_cells[column])
    return name, n_cells[name]


def _cut(columns: pd.DataFrame) -> pd.DataFrame:
    return columns.replace(_LIBRARY, "", regex=True)


def may_be_labels(path: Path) -> bool:
    """Tell by its name whether a file may be a table of labels.

    Examples
    --------
    >>> [may_be_labels(Path(name)) for name in ("cell_types.csv", "GSM1_metadata.tsv.gz", "counts.csv")]
    [True, True, False]
    """
    return _rank(path) is not None


def _rank(path: Path) -> int | None:
    stem = path.name.split(".")[0] if is_table_name(path.name) else ""
    if _DICTIONARY.search(stem):
        return None
    patterns = (rf"(.*[_. -])?({names})" for names in _NAMES)
    return next((n for n, words in enumerate(patterns) if re.fullmatch(words, stem, re.IGNORECASE)), None)


def find_labels(folders: list[Path]) -> Path | None:
    """Return the likeliest table of labels in the first folder that has one.

    Raises
    ------
    ReadError
        If several are as likely.
    """
    for folder in folders:
        ranked = [(rank, path) for path in sorted(folder.iterdir()) if (rank := _rank(path)) is not None]
        best = [path for rank, path in ranked if rank == min(ranked)[0]]
        if len(best) > 1:
            names = listed([path.name for path in best])
            raise ReadError(
                folder, f"Several tables of labels to choose from: {names}. Give one as `labels`."
            )
        if best:
            return best[0]
    return None


def label_files(path: Path) -> list[Path]:
    """Return every file that reading the labels at `path` opens."""
    dictionary = _dictionary(path)
    return [path] if dictionary is None else [path, dictionary]


def _dictionary(path: Path) -> Path | None:
    beside = sorted(path.parent.iterdir()) if path.parent.is_dir() else []
    return next((one for one in beside if is_table_name(one.name) and _DICTIONARY.search(one.stem)), None)


def read_labels(path: Path) -> LabelTable:
    """Read a table of labels, whatever delimits it; where a dictionary lies beside, names stand for numbers.

    Raises
    ------
    ReadError
        If it is no table of at least two columns.
    """
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise ReadError(path, f"`labels` must be a table of cells and their types (CSV or TSV); it {found}.")
    head = open_table(path).head
    columns = pd.DataFrame(dict(enumerate(text_columns(head))), dtype=object)
    columns = columns.set_axis([name or f"column {n + 1}" for n, name in enumerate(head.columns)], axis=1)
    columns = columns.loc[:, ~columns.columns.duplicated()]
    dictionary = _dictionary(path)
    return LabelTable(path, head.columns, columns if dictionary is None else _translated(columns, dictionary))


def _translated(columns: pd.DataFrame, dictionary: Path) -> pd.DataFrame:
    """Put the names of types in place of the numbers of clusters."""
    numbers, names = text_columns(open_table(dictionary).head)[:2]
    name_of = dict(zip(numbers, names, strict=True))
    coded = [column for column in columns if columns[column].isin(name_of).all()]
    return columns.assign(**{str(column): columns[column].map(name_of) for column in coded})


def join_labels(adata: AnnData, table: LabelTable, cell_type_key: str | None) -> None:
    """Add the columns of a table to ``obs``, in place, and tell how many cells have a label.

    The likeliest column of types is called `keys.CELL_TYPE`, unless `cell_type_key` asks for another.

    Raises
    ------
    ReadError
        If no cell has a row, or no column holds types.
    """
    columns, words = table.of(pd.Index(adata.obs_names.astype(str)))
    columns = columns.where(columns != "").apply(_typed)
    likely = label_columns(AnnData(obs=columns))
    if not likely:
        raise ReadError(
            table.path.parent,
            f"`{table.path.name}` has no column of cell types, text with at least two different values; "
            f"found {listed(list(table.columns))}.",
        )
    chosen = cell_type_key if cell_type_key in columns else likely[0]
    if cell_type_key in (None, CELL_TYPE) and CELL_TYPE not in columns:
        columns = columns.rename(columns={chosen: CELL_TYPE})
    n_labeled = int(columns[CELL_TYPE if chosen not in columns else chosen].notna().sum())
    adata.obs = adata.obs.drop(columns=adata.obs.columns.intersection(columns.columns)).join(columns)
    note = (
        f"Cell types come from the column {chosen!r} of `{table.path.name}`{words}: {n_labeled:,} of "
        f"{adata.n_obs:,} cells {agreeing(n_labeled, 'have')} a label."
    )
    add_notes(adata, [note])


def _typed(column: pd.Series[str]) -> pd.Series:
    """Return numbers as numbers, unless they stand for groups of cells, and labels as categories."""
    numbers = pd.to_numeric(column, errors="coerce")
    is_number = bool(numbers.notna().eq(column.notna()).all())
    if is_number and not _GROUPS.search(str(column.name)):
        return numbers
    return column.astype("category")


def _missing_labels(path: Path) -> MissingLabels:
    return MissingLabels(
        path,
        "holds cells without labels. Give a table of cells and their types (CSV or TSV) as `labels`, "
        "or put it beside, named `cell_types.csv`.",
    )
