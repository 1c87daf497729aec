"""Find and read a table of cell labels, and join it to the counts by the names of cells.

References
----------
10x Genomics, "Cell Types" and "Secondary Analysis Outputs" of Cell Ranger (a column of barcodes first);
Cable et al. 2022 (Nat Biotechnol 40:517), ``Reference`` of RCTD: ``cell_types.csv``, or ``meta_data.csv``
with numbers of clusters and ``cell_type_dict.csv`` with their names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from anndata import AnnData

from napari_spotmix.base.errors import ReadError
from napari_spotmix.base.keys import CELL_TYPE
from napari_spotmix.base.text import agreeing, quoted
from napari_spotmix.io.notes import add_notes
from napari_spotmix.io.problems import listed
from napari_spotmix.io.readers.h5ad import label_columns
from napari_spotmix.io.readers.table_columns import open_table
from napari_spotmix.io.readers.table_counts import text_columns
from napari_spotmix.io.readers.table_parsing import is_table_name

__all__ = [
    "LabelTable",
    "MissingLabels",
    "find_labels",
    "has_types",
    "join_labels",
    "label_files",
    "may_be_labels",
    "missing_labels",
    "read_labels",
]

#: Names of tables of labels, the most likely first.
_NAMES = (
    r"cell[_. -]?(types?|labels?|annotations?)",
    r"labels?|annotations?|annotated",
    r"meta[_. -]?data|cells|clusters?",
)
_DICTIONARY = re.compile(r"cell[_. -]?types?[_. -]?dict(ionary)?", re.IGNORECASE)
#: Names of columns with types of cells.
_TYPES = re.compile(r"(.*[_. -])?cell[_. -]?(type|label|annotation|class|subclass)s?", re.IGNORECASE)
#: Columns whose numbers may be codes of cell types.
_CODES = re.compile(r"type|label|annot|cluster|class|ident|leiden|louvain", re.IGNORECASE)
#: The suffix of a barcode with the number of its library.
_LIBRARY = r"-\d+$"
_WITHOUT_LIBRARY = " (by names without the number of the library, such as '-1')"
_ADVICE = "Use files of the same data set, or use the same names in both."


class MissingLabels(ReadError):
    """A reference whose labels are missing; it can be read together with a table of labels."""


@dataclass(frozen=True)
class LabelTable:
    """A table with a row per cell, as text.

    Attributes
    ----------
    path : Path
    header : list of str
        The first line of the file.
    columns : DataFrame of str, shape (n_rows, n_columns)
        One of the columns holds the names of cells.
    """

    path: Path
    header: list[str]
    columns: pd.DataFrame

    def n_matching(self, cells: pd.Index[str]) -> int:
        """Return the number of rows with the name of one of `cells`, in the column that has most.

        Columns whose values repeat are ignored: they hold cell types, which can be the names of signatures.
        """
        is_of_names = self.columns.nunique() * 2 > len(self.columns)
        found = self.columns.loc[:, is_of_names].isin(cells).sum()
        return max((int(n_rows) for n_rows in found), default=0)

    def of(self, cells: pd.Index[str]) -> tuple[pd.DataFrame, str]:
        """Return the other columns for `cells`, and a description of how the names were matched.

        Raises
        ------
        ReadError
            If no cell has a row, or a cell has several rows that differ.
        """
        columns = self._with_first_line(cells)
        short_names = cells.str.replace(_LIBRARY, "", regex=True)
        ways = [(columns, cells, ""), (_without_library(columns), short_names, _WITHOUT_LIBRARY)]
        found = [_name_column(*way[:2]) for way in ways]
        # Without the suffix, names may not be unique.
        best = 1 if found[1][1] > found[0][1] and ways[1][1].is_unique else 0
        (name, n_cells), (named, names, words) = found[best], ways[best]
        if not n_cells:
            raise ReadError(self.path.parent, self._no_match(cells))
        others = columns.drop(columns=name).set_axis(pd.Index(named[name], name=None))
        return self._unique(others[others.index.isin(names)]).reindex(names).set_axis(cells), words

    def _with_first_line(self, cells: pd.Index[str]) -> pd.DataFrame:
        """Return all rows; a first line with the name of a cell is a row, not a header."""
        if not cells.isin(self.header).any():
            return self.columns
        first = pd.DataFrame([self.header], columns=self.columns.columns, dtype=object)
        return pd.concat([first, self.columns], ignore_index=True)

    def _unique(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return one row per cell; identical rows are dropped."""
        rows = rows[~rows.reset_index().duplicated().to_numpy()]
        twice = rows.index[rows.index.duplicated()].unique()
        if len(twice):
            raise ReadError(
                self.path.parent,
                f"`{self.path.name}` must have one label per cell, found {len(twice):,} cells with several: "
                f"{listed(list(twice), most=3)}. Keep one row for each.",
            )
        return rows

    def _no_match(self, cells: pd.Index[str]) -> str:
        shown = self.columns.iloc[0].tolist()
        return (
            f"No cell has a label: `{self.path.name}` has rows such as {listed(shown, most=3)}, but the "
            f"cells have names such as {listed(list(cells[:2]))}. {_ADVICE}"
        )


def _name_column(columns: pd.DataFrame, cells: pd.Index[str]) -> tuple[str, int]:
    """Return the column with the names of most of `cells`, and their number."""
    n_cells = {str(column): int(cells.isin(columns[column]).sum()) for column in columns}
    name = max(n_cells, key=lambda column: n_cells[column])
    return name, n_cells[name]


def _without_library(columns: pd.DataFrame) -> pd.DataFrame:
    return columns.replace(_LIBRARY, "", regex=True)


def may_be_labels(path: Path) -> bool:
    """Return whether a file may be a table of labels, by its name.

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


def has_types(path: Path) -> bool:
    """Return whether a table has a column whose name says that it holds types of cells."""
    if not is_table_name(path.name):
        return False
    return any(_TYPES.fullmatch(name) for name in open_table(path).head.columns)


def find_labels(folders: list[Path], prefix: str = "", without: Sequence[Path] = ()) -> Path | None:
    """Return the most likely table of labels in the first folder that has one, `without` some files.

    Of several, the one with the prefix of the counts is chosen, as in downloads from GEO.

    Raises
    ------
    ReadError
        If several are equally likely.
    """
    for folder in folders:
        files = sorted(set(folder.iterdir()).difference(without))
        ranked = [(rank, path) for path in files if (rank := _rank(path)) is not None]
        best = [path for rank, path in ranked if rank == min(ranked)[0]]
        if prefix and len(best) > 1:
            best = [path for path in best if path.name.startswith(prefix)] or best
        if len(best) > 1:
            names = listed([path.name for path in best])
            raise ReadError(
                folder, f"Expected one table of labels, found several: {names}. Give one as `labels`."
            )
        if best:
            return best[0]
    return None


def label_files(path: Path) -> list[Path]:
    """Return every file that is read for the labels at `path`."""
    dictionary = _dictionary(path)
    return [path] if dictionary is None else [path, dictionary]


def _dictionary(path: Path) -> Path | None:
    files = sorted(path.parent.iterdir()) if path.parent.is_dir() else []
    return next((one for one in files if is_table_name(one.name) and _DICTIONARY.search(one.stem)), None)


def read_labels(path: Path) -> LabelTable:
    """Read a table of labels with any delimiter; codes get their names from a dictionary in the same folder.

    Raises
    ------
    ReadError
        If it is not a table of at least two columns.
    """
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise ReadError(
            path,
            f"`labels` must be a table of cells and their types (CSV or TSV), but it {found}. "
            "Check the spelling of the path.",
        )
    head = open_table(path).head
    columns = pd.DataFrame(dict(enumerate(text_columns(head))), dtype=object)
    columns = columns.set_axis([name or f"column {n + 1}" for n, name in enumerate(head.columns)], axis=1)
    columns = columns.loc[:, ~columns.columns.duplicated()]
    dictionary = _dictionary(path)
    return LabelTable(path, head.columns, columns if dictionary is None else _translated(columns, dictionary))


def _translated(columns: pd.DataFrame, dictionary: Path) -> pd.DataFrame:
    """Replace the numbers of clusters by the names of cell types."""
    codes, names = text_columns(open_table(dictionary).head)[:2]
    name_of = dict(zip(codes, names, strict=True))
    coded = [column for column in columns if columns[column].isin(name_of).all()]
    return columns.assign(**{str(column): columns[column].map(name_of) for column in coded})


def join_labels(adata: AnnData, table: LabelTable, cell_type_key: str | None) -> None:
    """Add the columns of a table to ``obs``, in place, and note how many cells have a label.

    The most likely column of types is named `keys.CELL_TYPE`, unless `cell_type_key` names another.

    Raises
    ------
    ReadError
        If no cell has a row, or no column holds types.
    """
    columns, words = table.of(pd.Index(adata.obs_names.astype(str)))
    columns = columns.where(columns != "").apply(_typed)
    likely = label_columns(AnnData(obs=columns.set_axis(pd.RangeIndex(len(columns)).astype(str))))
    if not likely:
        raise ReadError(
            table.path.parent,
            f"`{table.path.name}` must have a column of cell types: text with at least two different values; "
            f"found the columns {listed(list(table.columns))}. Give another table as `labels`.",
        )
    chosen = cell_type_key if cell_type_key in columns else likely[0]
    if cell_type_key in (None, CELL_TYPE) and CELL_TYPE not in columns:
        columns = columns.rename(columns={chosen: CELL_TYPE})
    n_labeled = int(columns[CELL_TYPE if chosen not in columns else chosen].notna().sum())
    # By position: names of cells may repeat, and each of them has its row.
    others = adata.obs.drop(columns=adata.obs.columns.intersection(columns.columns))
    adata.obs = others.assign(**{str(name): columns[name].array for name in columns})
    note = (
        f"Cell types were read from the column {quoted(chosen)} of `{table.path.name}`{words}: "
        f"{n_labeled:,} of {adata.n_obs:,} cells {agreeing(n_labeled, 'have')} a label."
    )
    add_notes(adata, [note])


def _typed(column: pd.Series[str]) -> pd.Series:
    """Return labels, also numbers of clusters, as categories and other numbers as numbers."""
    numbers = pd.to_numeric(column, errors="coerce")
    is_number = bool(numbers.notna().eq(column.notna()).all())
    if is_number and not _CODES.search(str(column.name)):
        return numbers
    return column.astype("category")


def missing_labels(path: Path) -> MissingLabels:
    """Return the error for a reference without labels."""
    return MissingLabels(
        path,
        "holds cells without labels. Give a table of cells and their types (CSV or TSV) as `labels`, "
        "or save it as `cell_types.csv` in the same folder.",
    )
