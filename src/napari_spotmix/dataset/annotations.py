"""What is known of the spots beforehand: the columns of ``obs`` as numbers or labels, and their colors."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_spotmix.base.colors import cell_type_colors
from napari_spotmix.base.errors import InputError
from napari_spotmix.base.keys import ARRAY_COL, ARRAY_ROW
from napari_spotmix.base.text import name_order, quoted

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["Annotation", "Labels", "annotations_of", "labels_of", "numbers_of"]

#: A column with more different labels names its spots, and does not group them.
MOST_LABELS = 200
#: Whole numbers with at most so many values, one after the other from 0 or 1, are labels of clusters.
_MOST_CLUSTERS = 50
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True)
class Annotation:
    """A column of ``obs``: its name, and how many different labels it has, None if it holds numbers."""

    name: str
    n_labels: int | None


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels of spots.

    Attributes
    ----------
    names : tuple of str
        All labels that occur, in one order.
    codes : ndarray of int64, shape (n_spots,)
        The number of each spot's label in `names`, -1 without one.
    colors : tuple of str
        "#rrggbb" of each name.
    """

    names: tuple[str, ...]
    codes: NDArray[np.int64]
    colors: tuple[str, ...]

    def spots(self, name: str) -> NDArray[np.bool_]:
        """Return which spots have a label, bool (n_spots,)."""
        return np.asarray(self.codes == self.names.index(name))


def annotations_of(adata: AnnData) -> list[Annotation]:
    """Return the columns of ``obs`` that can be shown, in the order of the file.

    Left out are columns with a single value or none, and those with more than 200 labels.

    Examples
    --------
    >>> from anndata import AnnData
    >>> obs = pd.DataFrame({"cluster": ["a", "b", "a"], "score": [0.1, 0.2, 0.3]}, index=list("xyz"))
    >>> annotations_of(AnnData(obs=obs))
    [Annotation(name='cluster', n_labels=2), Annotation(name='score', n_labels=None)]
    """
    found = []
    for at, name in enumerate(adata.obs.columns):
        column = adata.obs.iloc[:, at]
        if _is_labels(column, str(name)):
            n_labels = int(column.nunique())
            if 2 <= n_labels <= MOST_LABELS:
                found.append(Annotation(str(name), n_labels))
        elif _is_numbers(column) and column.notna().any() and column.min() < column.max():
            found.append(Annotation(str(name), None))
    return list({one.name: one for one in reversed(found)}.values())[::-1]


def _is_numbers(column: pd.Series[Any]) -> bool:
    dtype = column.dtype
    return pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_complex_dtype(dtype)


def _is_labels(column: pd.Series[Any], name: str) -> bool:
    """Return whether a column groups spots, by text, yes and no, or the numbers of clusters."""
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype) or pd.api.types.is_bool_dtype(dtype):
        return True
    if not pd.api.types.is_integer_dtype(dtype):
        return pd.api.types.is_string_dtype(dtype) or pd.api.types.is_object_dtype(dtype)
    if name in (ARRAY_ROW, ARRAY_COL) or not len(column):
        return False
    low, high = int(column.min()), int(column.max())
    is_short = low in (0, 1) and high - low < _MOST_CLUSTERS
    return is_short and 1 < column.nunique() == high - low + 1


def _column(adata: AnnData, name: str) -> pd.Series[Any]:
    for at, known in enumerate(adata.obs.columns):
        if str(known) == name:
            column: pd.Series[Any] = adata.obs.iloc[:, at]
            return column
    raise InputError(f"`obs` has no column {quoted(name)}. Choose another column.")


def numbers_of(adata: AnnData, name: str) -> NDArray[np.float64]:
    """Return the numbers of a column of ``obs``, float64 (n_spots,), NaN where there is none."""
    values = pd.to_numeric(_column(adata, name), errors="coerce").to_numpy(float, na_value=np.nan)
    return np.where(np.isfinite(values), values, np.nan)


def labels_of(adata: AnnData, name: str) -> Labels:
    """Return the labels of a column of ``obs``, with the colors that the file gives them, if it does.

    Colors are in ``uns[name + "_colors"]``, as scanpy writes them; others are those of the palette.

    Examples
    --------
    >>> from anndata import AnnData
    >>> obs = pd.DataFrame({"cluster": ["10", "2", None]}, index=list("xyz"))
    >>> found = labels_of(AnnData(obs=obs), "cluster")
    >>> found.names, found.codes.tolist(), found.spots("10").tolist()
    (('2', '10'), [1, 0, -1], [True, False, False])
    """
    given = pd.Categorical(_column(adata, name))
    # By way of text, since a column may hold both 1 and "1".
    texts = [str(label) for label in given.categories]
    used = np.unique(given.codes[given.codes >= 0])
    names = sorted({texts[at] for at in used if texts[at].strip()}, key=name_order)
    if len(names) > MOST_LABELS:
        raise InputError(f"`obs[{quoted(name)}]` has {len(names):,} labels, expected at most {MOST_LABELS}.")
    number = pd.Index(names, dtype=object)
    codes = np.append(number.get_indexer(pd.Index(texts, dtype=object)), -1)[given.codes]
    return Labels(tuple(names), codes.astype(np.int64), _colors(adata, name, texts, names))


def _colors(adata: AnnData, name: str, texts: list[str], names: list[str]) -> tuple[str, ...]:
    """Return the color of each name: of the file if it has one for each of its categories."""
    usual = cell_type_colors(names)
    stored = adata.uns.get(f"{name}_colors")
    is_list = isinstance(stored, (list, tuple, np.ndarray)) and np.ndim(stored) == 1
    given = [str(color) for color in stored] if is_list and stored is not None else []
    if len(given) == len(texts) and all(_COLOR.match(color) for color in given):
        usual |= {text: color[:7].lower() for text, color in zip(texts, given, strict=True)}
    return tuple(usual[one] for one in names)
