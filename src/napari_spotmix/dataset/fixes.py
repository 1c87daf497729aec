"""What can be fixed in data before a run: pure functions from AnnData to AnnData, each with a name.

A fix is written ``ROLE:NAME`` or ``ROLE:NAME=VALUE``, as in ``spatial:swap-xy`` or
``reference:drop-below=10``. This is what the command line takes and what a recipe keeps, so that a rerun
fixes alike. No fix changes what it is given, nor any file.

=================  ==============================================================================
name               what is done
=================  ==============================================================================
``layer=NAME``     counts are taken from that layer
``raw``            counts and genes are taken from `raw`
``genes=COLUMN``   genes are called by that column of `var`
``no-versions``    ``.1`` and the like are taken off Ensembl identifiers
``sum-genes``      columns that stand for one gene are summed
``name-apart``     spots that share a barcode get a number added
``swap-xy``        x and y of the spots are exchanged
``flip-x``         spots are mirrored left to right, in the middle of their image
``flip-y``         spots are mirrored top to bottom
``merge=A+B``      cells of type B are taken for cells of type A
``drop=A``         cells of type A are left out
``drop-below=N``   types with fewer than N cells are left out
=================  ==============================================================================
"""

from __future__ import annotations

import re
import unicodedata
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
from napari_spotmix.io import replaced

__all__ = [
    "FIXES",
    "Fix",
    "all_parsed",
    "fixed",
    "parsed",
    "same_but_for_spelling",
    "without_version",
]


#: What a fix may be of.
ROLES = ("spatial", "reference")

_ENSEMBL = r"^(ENS[A-Z]*[GT]\d{6,})\.\d+$"

_JOINED = re.compile(r"(?<=\w)[-_/\u2010\u2011\u2013](?=\w)|_")

#: Letters of other scripts that look like Latin ones.
_LOOK_ALIKES = str.maketrans("АВЕКМНОРСТХаеорсухіјѕΑΒΕΖΗΙΚΜΝΟΡΤΥΧνο", "ABEKMHOPCTXaeopcyxijsABEZHIKMNOPTYXvo")


@dataclass(frozen=True)
class Fix:
    """One fix of the spots or of the reference.

    Attributes
    ----------
    role : str
        ``"spatial"`` or ``"reference"``.
    name : str
        One of `FIXES`.
    value : str
        What it is told: a layer, a column, types or a number; "" where it needs nothing.

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
        """What it does, for a button.

        Examples
        --------
        >>> Fix("reference", "drop-below", "10").words
        'Drop types below 10 cells'
        """
        return FIXES[self.name].words.format(self.value)


@dataclass(frozen=True)
class _Kind:
    """How a fix is done, what its button says, and whether it needs a value."""

    fix: Callable[[AnnData, str, str], AnnData]
    words: str
    needs: bool = False


def parsed(text: str | Fix) -> Fix:
    """Return the fix that is written so.

    Raises
    ------
    InputError
        If there is no such fix; lists those that there are.

    Examples
    --------
    >>> parsed("spatial:layer=counts")
    Fix(role='spatial', name='layer', value='counts')
    """
    role, _, rest = str(text).partition(":")
    name, _, value = rest.partition("=")
    if role in ROLES and name in FIXES and bool(value) == FIXES[name].needs:
        return Fix(role, name, value)
    known = ", ".join(f"{key}={'...'}" if kind.needs else key for key, kind in FIXES.items())
    raise InputError(
        f"`fix`: there is no fix {str(text)!r}. Expected spatial: or reference: and one of {known}; "
        "`spotmix check` tells which would help."
    )


def fixed(
    spatial: AnnData, reference: AnnData, fixes: Iterable[str | Fix], *, cell_type_key: str = CELL_TYPE
) -> tuple[AnnData, AnnData]:
    """Return both after fixes, in their order; neither is modified, and what is not fixed is shared.

    Raises
    ------
    InputError
        All fixes that there are not, or the first that cannot be done with these data.

    Examples
    --------
    >>> spots = AnnData(np.ones((2, 1)), obsm={"spatial": np.array([[1.0, 5.0], [2.0, 6.0]])})
    >>> fixed(spots, spots, ["spatial:swap-xy"])[0].obsm["spatial"].tolist()
    [[5.0, 1.0], [6.0, 2.0]]
    """
    data = {"spatial": spatial, "reference": reference}
    for fix in all_parsed(fixes):
        try:
            data[fix.role] = FIXES[fix.name].fix(data[fix.role], fix.value, cell_type_key)
        except InputError as error:
            raise InputError([f"`fix` {str(fix)!r}: {text}" for text in error.problems]) from error
    return data["spatial"], data["reference"]


def all_parsed(fixes: Iterable[str | Fix]) -> list[Fix]:
    """Return the fixes that are written so; raises InputError of all that there are not."""
    found: list[Fix] = []
    problems: list[str] = []
    for text in fixes:
        try:
            found.append(parsed(text))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return found


def _from_layer(adata: AnnData, name: str, _: str) -> AnnData:
    if name not in adata.layers:
        raise InputError(f"there is no layer {name!r}, only {_listed(adata.layers)}.")
    layers = {other: item for other, item in adata.layers.items() if other != name}
    return replaced(adata, X=adata.layers[name], layers=layers)


def _from_raw(adata: AnnData, _: str, __: str) -> AnnData:
    if adata.raw is None:
        raise InputError("there is no `raw`.")
    return _of_genes(adata, adata.raw.X, adata.raw.var)


def _of_genes(adata: AnnData, counts: Any, genes: pd.DataFrame) -> AnnData:
    return replaced(adata, X=counts, var=genes, layers={}, varm={}, varp={}, raw=None)


def _called_by(adata: AnnData, column: str, _: str) -> AnnData:
    if column not in adata.var:
        raise InputError(f"`var` has no column {column!r}, only {_listed(adata.var)}.")
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
    """Return names with the versions of Ensembl identifiers taken off.

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
    places = (np.arange(adata.n_vars), number)
    columns = csr_array((np.ones(adata.n_vars, np.float32), places), shape=(adata.n_vars, len(names)))
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
            raise InputError("there are no coordinates to move.")
        xy = moved(np.asarray(adata.obsm[SPATIAL]), [move], extent_of(adata))
        return replaced(adata, obsm={**adata.obsm, SPATIAL: xy})

    return fix


def _merged(adata: AnnData, value: str, cell_type_key: str) -> AnnData:
    names = _labels(adata, cell_type_key)
    kept, other = _two_types(value, set(names.dropna()))
    together = kept if same_but_for_spelling(kept) == same_but_for_spelling(other) else f"{kept} + {other}"
    return _labeled(adata, cell_type_key, names.replace({kept: together, other: together}))


def _two_types(value: str, types: set[str]) -> tuple[str, str]:
    """Split ``A+B`` where both are types: their names may hold a + themselves."""
    for place in (at for at, letter in enumerate(value) if letter == "+"):
        if value[:place] in types and value[place + 1 :] in types:
            return value[:place], value[place + 1 :]
    raise InputError(f"expected two cell types with a + between them; there are {_listed(sorted(types))}.")


def _dropped(adata: AnnData, value: str, cell_type_key: str) -> AnnData:
    names = _labels(adata, cell_type_key)
    if value not in set(names.dropna()):
        raise InputError(
            f"there is no cell type {value!r}; there are {_listed(sorted(set(names.dropna())))}."
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
        raise InputError(f"`cell_type_key`: there is no column {cell_type_key!r} of cell types.")
    given = adata.obs[cell_type_key].astype(object)
    return pd.Series(given.astype(str).where(given.notna()))


def _labeled(adata: AnnData, cell_type_key: str, names: pd.Series[str]) -> AnnData:
    return replaced(adata, obs=adata.obs.assign(**{cell_type_key: names.astype("category")}))


def same_but_for_spelling(name: str) -> str:
    """Return what is left of a name without case, spaces, hyphens and letters that only look different.

    Examples
    --------
    >>> same_but_for_spelling("T_cell ") == same_but_for_spelling("t-Cell") == same_but_for_spelling("Т cell")
    True
    """
    plain = unicodedata.normalize("NFKC", name).translate(_LOOK_ALIKES).casefold()
    plain = "".join(letter if letter.isprintable() else " " for letter in plain)
    # A hyphen at the end of a word means something: CD4- is not CD4.
    return " ".join(_JOINED.sub(" ", plain).split())


def _listed(names: Iterable[Any]) -> str:
    shown = [repr(str(name)) for name in names]
    return ", ".join(shown[:12]) + (", ..." if len(shown) > 12 else "") if shown else "nothing"


#: Every fix by its name.
FIXES: Mapping[str, _Kind] = {
    "layer": _Kind(_from_layer, "Use layer {}", needs=True),
    "raw": _Kind(_from_raw, "Use raw"),
    "genes": _Kind(_called_by, "Name genes by {}", needs=True),
    "no-versions": _Kind(_without_versions, "Take versions off"),
    "sum-genes": _Kind(_summed, "Sum duplicates"),
    "name-apart": _Kind(_named_apart, "Number the repeats"),
    "swap-xy": _Kind(_moving("swap-xy"), "Swap x and y"),
    "flip-x": _Kind(_moving("flip-x"), "Flip left to right"),
    "flip-y": _Kind(_moving("flip-y"), "Flip top to bottom"),
    "merge": _Kind(_merged, "Merge {}", needs=True),
    "drop": _Kind(_dropped, "Drop {}", needs=True),
    "drop-below": _Kind(_few_dropped, "Drop types below {} cells", needs=True),
}
