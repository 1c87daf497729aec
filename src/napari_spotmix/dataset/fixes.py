"""What can be fixed in the data before a run: pure functions from AnnData to AnnData, each with a name.

A fix is written ``ROLE:NAME`` or ``ROLE:NAME=VALUE``, such as ``spatial:swap-xy`` or
``reference:drop-below=10``. The command line takes fixes in this form and a recipe keeps them, so that a
rerun applies them again. No fix changes its input, nor any file.

=================  ==============================================================================
name               what is done
=================  ==============================================================================
``layer=NAME``     counts are taken from that layer
``raw``            counts and genes are taken from `raw`
``genes=COLUMN``   genes are named by that column of `var`
``no-versions``    versions such as ``.1`` are removed from Ensembl identifiers
``sum-genes``      columns of the same gene are summed
``name-apart``     a number is added to repeated barcodes
``swap-xy``        x and y of the spots are swapped
``flip-x``         spots are mirrored left to right, at the center of the image
``flip-y``         spots are mirrored top to bottom, at the center of the image
``merge=A+B``      cells of types A and B become one type
``drop=A``         cells of type A are dropped
``drop-below=N``   types with fewer than N cells are dropped
=================  ==============================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import csr_array

from napari_spotmix.base.errors import InputError
from napari_spotmix.base.keys import CELL_TYPE, SPATIAL
from napari_spotmix.dataset.matrix_blocks import csr
from napari_spotmix.dataset.registration import extent_of, moved
from napari_spotmix.dataset.spelling import differ_only_in_spelling
from napari_spotmix.io import replaced

__all__ = [
    "FIXES",
    "Fix",
    "apply_fixes",
    "parse_fix",
    "parse_fixes",
    "without_version",
]


#: Which data a fix may change.
ROLES = ("spatial", "reference")

_ENSEMBL = r"^(ENS[A-Z]*[GT]\d{6,})\.\d+$"


@dataclass(frozen=True)
class Fix:
    """One fix of the spatial data or of the reference.

    Attributes
    ----------
    role : str
        ``"spatial"`` or ``"reference"``.
    name : str
        One of `FIXES`.
    value : str
        What the fix needs: a layer, a column, types or a number; "" if it needs nothing.

    Examples
    --------
    >>> str(Fix("spatial", "layer", "counts"))
    'spatial:layer=counts'
    """

    role: str
    name: str
    value: str = ""

    def __str__(self) -> str:
        return f"{self.role}:{self.name}{f'={self.value}' if self.value else ''}"

    @property
    def words(self) -> str:
        """What it does, in words for a button.

        Examples
        --------
        >>> Fix("reference", "drop-below", "10").words
        'Drop types below 10 cells'
        """
        return FIXES[self.name].words.format(self.value)


@dataclass(frozen=True)
class _Kind:
    """The function of a fix, the words of its button, and whether it needs a value."""

    fix: Callable[[AnnData, str, str], AnnData]
    words: str
    needs: bool = False


def parse_fix(text: str | Fix) -> Fix:
    """Return the fix that is written ``ROLE:NAME`` or ``ROLE:NAME=VALUE``.

    Raises
    ------
    InputError
        If the fix is unknown; lists all fixes.

    Examples
    --------
    >>> parse_fix("spatial:layer=counts")
    Fix(role='spatial', name='layer', value='counts')
    """
    role, _, rest = str(text).partition(":")
    name, _, value = rest.partition("=")
    if role in ROLES and name in FIXES and bool(value) == FIXES[name].needs:
        return Fix(role, name, value)
    known = ", ".join(f"{key}={'...'}" if kind.needs else key for key, kind in FIXES.items())
    raise InputError(
        f"`fix`: unknown fix {str(text)!r}. Expected `spatial:` or `reference:` and one of {known}. "
        "`spotmix check` prints the fixes that these data need."
    )


def apply_fixes(
    spatial: AnnData, reference: AnnData, fixes: Iterable[str | Fix], *, cell_type_key: str = CELL_TYPE
) -> tuple[AnnData, AnnData]:
    """Apply fixes in their order; neither input is modified, and what no fix changes is shared with them.

    Parameters
    ----------
    spatial, reference : AnnData
        As `deconvolve` takes them.
    fixes : iterable of str or Fix
        Such as ``"reference:drop-below=10"``.
    cell_type_key : str, optional
        Column of ``reference.obs`` with the labels.

    Returns
    -------
    spatial, reference : AnnData
        The fixed data; counts on disk stay there.

    Raises
    ------
    InputError
        Lists all unknown fixes; or the first fix that these data do not allow.

    Examples
    --------
    >>> spots = AnnData(np.ones((2, 1)), obsm={"spatial": np.array([[1.0, 5.0], [2.0, 6.0]])})
    >>> apply_fixes(spots, spots, ["spatial:swap-xy"])[0].obsm["spatial"].tolist()
    [[5.0, 1.0], [6.0, 2.0]]
    """
    data = {"spatial": spatial, "reference": reference}
    for fix in parse_fixes(fixes):
        try:
            data[fix.role] = FIXES[fix.name].fix(data[fix.role], fix.value, cell_type_key)
        except InputError as error:
            raise InputError([f"`fix` {str(fix)!r}: {text}" for text in error.problems]) from error
    return data["spatial"], data["reference"]


def parse_fixes(fixes: Iterable[str | Fix]) -> list[Fix]:
    """Return what `parse_fix` does for each; raises InputError with all that are unknown."""
    found: list[Fix] = []
    problems: list[str] = []
    for text in fixes:
        try:
            found.append(parse_fix(text))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return found


def _from_layer(adata: AnnData, name: str, _: str) -> AnnData:
    if name not in adata.layers:
        raise InputError(f"layer {name!r} not found. Choose one of: {_listed(adata.layers)}.")
    layers = {other: item for other, item in adata.layers.items() if other != name}
    return replaced(adata, X=adata.layers[name], layers=layers)


def _from_raw(adata: AnnData, _: str, __: str) -> AnnData:
    if adata.raw is None:
        raise InputError("the data have no `raw`. Choose a layer with `layer=NAME`.")
    return _of_genes(adata, adata.raw.X, adata.raw.var)


def _of_genes(adata: AnnData, counts: Any, genes: pd.DataFrame) -> AnnData:
    return replaced(adata, X=counts, var=genes, layers={}, varm={}, varp={}, raw=None)


def _named_by(adata: AnnData, column: str, _: str) -> AnnData:
    if column not in adata.var:
        raise InputError(f"`var` has no column {column!r}. Choose one of: {_listed(adata.var)}.")
    given = adata.var[column].astype(object)
    known = given.notna() & (given.astype(str).str.strip() != "")
    return _named(adata, given.astype(str).where(known, adata.var_names.to_series(index=given.index)))


def _without_versions(adata: AnnData, _: str, __: str) -> AnnData:
    return _named(adata, without_version(adata.var_names))


def _named(adata: AnnData, names: Iterable[str]) -> AnnData:
    genes = adata.var.copy()
    genes.index = pd.Index([str(name) for name in names], dtype=object)
    return replaced(adata, var=genes)


def without_version(names: Iterable[str]) -> pd.Index[str]:
    """Return names with the versions of Ensembl identifiers removed.

    Examples
    --------
    >>> list(without_version(["ENSMUSG00000029580.14", "Actb.1"]))
    ['ENSMUSG00000029580', 'Actb.1']
    """
    return pd.Index(pd.Series(list(names), dtype=object).astype(str).str.replace(_ENSEMBL, r"\1", regex=True))


def _summed(adata: AnnData, _: str, __: str) -> AnnData:
    number, names = pd.factorize(adata.var_names)
    if len(names) == adata.n_vars:
        return adata
    counts = csr(adata.X)
    entries = (np.arange(adata.n_vars), number)
    columns = csr_array((np.ones(adata.n_vars, np.float32), entries), shape=(adata.n_vars, len(names)))
    first = ~adata.var_names.duplicated()
    return _of_genes(adata, csr_array(counts @ columns), adata.var[first])


def _named_apart(adata: AnnData, _: str, __: str) -> AnnData:
    from anndata.utils import make_index_unique

    spots = adata.obs.copy()
    spots.index = make_index_unique(pd.Index(spots.index.astype(str)))
    return replaced(adata, obs=spots)


def _moving(move: str) -> Callable[[AnnData, str, str], AnnData]:
    def fix(adata: AnnData, _: str, __: str) -> AnnData:
        if SPATIAL not in adata.obsm:
            raise InputError(f"`obsm[{SPATIAL!r}]` is missing: no coordinates to move.")
        xy = moved(np.asarray(adata.obsm[SPATIAL]), [move], extent_of(adata))
        return replaced(adata, obsm={**adata.obsm, SPATIAL: xy})

    return fix


def _merged(adata: AnnData, value: str, cell_type_key: str) -> AnnData:
    names = _labels(adata, cell_type_key)
    kept, other = _two_types(value, set(names.dropna()))
    together = kept if differ_only_in_spelling(kept, other) else f"{kept} + {other}"
    return _labeled(adata, cell_type_key, names.replace({kept: together, other: together}))


def _two_types(value: str, types: set[str]) -> tuple[str, str]:
    """Split ``A+B`` at the plus sign that leaves two types: their names may hold one themselves."""
    for at in (at for at, letter in enumerate(value) if letter == "+"):
        if value[:at] in types and value[at + 1 :] in types:
            return value[:at], value[at + 1 :]
    raise InputError(
        f"expected two cell types with a + between them, found {value!r}. "
        f"The types are {_listed(sorted(types))}."
    )


def _dropped(adata: AnnData, value: str, cell_type_key: str) -> AnnData:
    names = _labels(adata, cell_type_key)
    if value not in set(names.dropna()):
        raise InputError(
            f"unknown cell type {value!r}. Choose one of: {_listed(sorted(set(names.dropna())))}."
        )
    return _labeled(adata, cell_type_key, names.where(names != value))


def _few_dropped(adata: AnnData, value: str, cell_type_key: str) -> AnnData:
    if not value.isdecimal():
        raise InputError(f"expected a number of cells, found {value!r}.")
    names = _labels(adata, cell_type_key)
    number = names.map(names.value_counts())
    return _labeled(adata, cell_type_key, names.where(number >= int(value)))


def _labels(adata: AnnData, cell_type_key: str) -> pd.Series[str]:
    if cell_type_key not in adata.obs:
        raise InputError(
            f"`cell_type_key`: the reference has no column {cell_type_key!r}. "
            f"Choose one of: {_listed(adata.obs.columns)}."
        )
    given = adata.obs[cell_type_key].astype(object)
    return pd.Series(given.astype(str).where(given.notna()))


def _labeled(adata: AnnData, cell_type_key: str, names: pd.Series[str]) -> AnnData:
    return replaced(adata, obs=adata.obs.assign(**{cell_type_key: names.astype("category")}))


def _listed(names: Iterable[Any]) -> str:
    shown = [repr(str(name)) for name in names]
    return ", ".join(shown[:12]) + (", ..." if len(shown) > 12 else "") if shown else "none"


#: Every fix by its name.
FIXES: Mapping[str, _Kind] = {
    "layer": _Kind(_from_layer, "Use layer {}", needs=True),
    "raw": _Kind(_from_raw, "Use raw"),
    "genes": _Kind(_named_by, "Name genes by {}", needs=True),
    "no-versions": _Kind(_without_versions, "Remove versions"),
    "sum-genes": _Kind(_summed, "Sum duplicates"),
    "name-apart": _Kind(_named_apart, "Number the repeats"),
    "swap-xy": _Kind(_moving("swap-xy"), "Swap x and y"),
    "flip-x": _Kind(_moving("flip-x"), "Flip left to right"),
    "flip-y": _Kind(_moving("flip-y"), "Flip top to bottom"),
    "merge": _Kind(_merged, "Merge {}", needs=True),
    "drop": _Kind(_dropped, "Drop {}", needs=True),
    "drop-below": _Kind(_few_dropped, "Drop types below {} cells", needs=True),
}
