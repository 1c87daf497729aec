"""What can be fixed in the data before a run: pure functions from AnnData to AnnData, each with a name.

A fix is written ``ROLE:NAME`` or ``ROLE:NAME=VALUE``, such as ``spatial:swap-xy`` or
``reference:drop-below=10``. The command line takes fixes in this form and a recipe keeps them, so that a
rerun applies them again. No fix changes its input, nor any file. They are applied in the order of this table,
whatever the order in which they are given: a set of fixes always makes the same data.

=================  ==============================================================================
name               what is done
=================  ==============================================================================
``layer=NAME``     counts are taken from that layer
``raw``            counts and genes are taken from `raw`
``genes=COLUMN``   genes are named by that column of `var`
``genome=NAME``    genes of that genome are kept, without its prefix such as ``GRCh38_``
``no-versions``    versions such as ``.1`` are removed from Ensembl identifiers
``r-names``        genes are named as R does: dots for punctuation, an X before a digit
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
from napari_spotmix.dataset.gene_spelling import as_in_r, genomes_in, of_genome, without_version
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
    """Apply fixes; neither input is modified, and what no fix changes is shared with them.

    The order in which fixes are given does not matter.

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
    in_order = sorted(parse_fixes(fixes), key=lambda fix: (list(FIXES).index(fix.name), str(fix)))
    merged: dict[str, dict[str, str]] = {role: {} for role in ROLES}
    for fix in in_order:
        try:
            if fix.name == "merge":
                data[fix.role] = _merged(data[fix.role], fix.value, cell_type_key, merged[fix.role])
            else:
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
    return _of_genes(adata, adata.raw.X, _genes_of_raw(adata))


def _genes_of_raw(adata: AnnData) -> pd.DataFrame:
    """Return the genes of `raw`, with the columns that only ``var`` has, such as their symbols."""
    genes: pd.DataFrame = adata.raw.var
    more = adata.var[[column for column in adata.var if column not in genes]]
    if more.empty or more.index.has_duplicates:
        return genes
    both: pd.DataFrame = pd.concat([genes, more.reindex(genes.index).set_axis(genes.index)], axis=1)
    return both


def _of_genes(adata: AnnData, counts: Any, genes: pd.DataFrame) -> AnnData:
    return replaced(adata, X=counts, var=genes, layers={}, varm={}, varp={}, raw=None)


def _named_by(adata: AnnData, column: str, _: str) -> AnnData:
    if column not in adata.var:
        raise InputError(f"`var` has no column {column!r}. Choose one of: {_listed(adata.var)}.")

    def names(genes: pd.DataFrame) -> Iterable[str]:
        if column not in genes:
            return genes.index
        given = genes[column].astype(object)
        known = given.notna() & (given.astype(str).str.strip() != "")
        return given.astype(str).where(known, genes.index.to_series(index=given.index))

    return _renamed(adata, names)


def _without_versions(adata: AnnData, _: str, __: str) -> AnnData:
    return _renamed(adata, lambda genes: without_version(genes.index))


def _named_as_in_r(adata: AnnData, _: str, __: str) -> AnnData:
    return _renamed(adata, lambda genes: as_in_r(genes.index))


def _renamed(adata: AnnData, names: Callable[[pd.DataFrame], Iterable[str]]) -> AnnData:
    """Return data with other names of genes, also of those in `raw`, which can be chosen as a layer."""

    def named(genes: pd.DataFrame) -> pd.DataFrame:
        return genes.set_axis(pd.Index([str(name) for name in names(genes)], dtype=object))

    if adata.raw is None:
        return replaced(adata, var=named(adata.var))
    genes = named(_genes_of_raw(adata))
    varm = {
        key: item.set_axis(genes.index) if isinstance(item, pd.DataFrame) else item
        for key, item in adata.raw.varm.items()
    }
    raw = {"X": adata.raw.X, "var": genes, "varm": varm}
    return replaced(adata, var=named(adata.var), raw=raw)


def _of_one_genome(adata: AnnData, genome: str, _: str) -> AnnData:
    found = [of_genome(str(name), genome) for name in adata.var_names]
    kept = np.flatnonzero([name is not None for name in found])
    if not len(kept):
        known = genomes_in(list(adata.var_names))
        raise InputError(f"no gene has the prefix of {genome!r}. Choose one of: {_listed(known)}.")
    genes = adata.var.iloc[kept].apply(lambda column: _without_genome(column, genome))
    counts = adata.X if len(kept) == adata.n_vars else csr(adata.X)[:, kept]
    return _of_genes(adata, counts, genes.set_axis(pd.Index([found[gene] for gene in kept], dtype=object)))


def _without_genome(column: pd.Series[Any], genome: str) -> pd.Series[Any]:
    """Return a column of ``var``, such as the identifiers of genes, without the prefix of a genome."""
    is_text = isinstance(column.dtype, pd.CategoricalDtype) or pd.api.types.is_string_dtype(column.dtype)
    if not is_text:
        return column
    texts = column.astype(object)
    return texts.map(lambda text: (of_genome(text, genome) or text) if isinstance(text, str) else text)


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


def _merged(adata: AnnData, value: str, cell_type_key: str, merged: dict[str, str] | None = None) -> AnnData:
    """Merge two types; `merged` says what types that were merged before are called now, and is extended."""
    now = {} if merged is None else merged
    names = _labels(adata, cell_type_key)
    kept, other = (_called(name, now) for name in _two_types(value, {*names.dropna(), *now}))
    if kept == other:
        return adata
    together = kept if differ_only_in_spelling(kept, other) else f"{kept} + {other}"
    now |= {name: together for name in (kept, other) if name != together}
    return _labeled(adata, cell_type_key, names.replace({kept: together, other: together}))


def _called(name: str, now: Mapping[str, str]) -> str:
    """Return what a type is called after merges."""
    while name in now:
        name = now[name]
    return name


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
    "genome": _Kind(_of_one_genome, "Use genes of {}", needs=True),
    "no-versions": _Kind(_without_versions, "Remove versions"),
    "r-names": _Kind(_named_as_in_r, "Name genes as R does"),
    "sum-genes": _Kind(_summed, "Sum duplicates"),
    "name-apart": _Kind(_named_apart, "Number the repeats"),
    "swap-xy": _Kind(_moving("swap-xy"), "Swap x and y"),
    "flip-x": _Kind(_moving("flip-x"), "Flip left to right"),
    "flip-y": _Kind(_moving("flip-y"), "Flip top to bottom"),
    "merge": _Kind(_merged, "Merge {}", needs=True),
    "drop": _Kind(_dropped, "Drop {}", needs=True),
    "drop-below": _Kind(_few_dropped, "Drop types below {} cells", needs=True),
}
