"""The names of genes in both data sets: why none agree, and the fixes that make them agree."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import pandas as pd
from anndata import AnnData

from napari_spotmix.base.text import agreeing, count
from napari_spotmix.dataset.fixes import Fix
from napari_spotmix.dataset.gene_spelling import as_in_r, genomes_in, of_genome, without_version

__all__ = [
    "agree_but_for_case",
    "few_names",
    "fixes_for_names",
    "may_be_names",
    "most_shared",
    "no_shared_genes",
]

#: Ensembl identifiers of genes, and the species that their prefixes stand for.
_ENSEMBL = re.compile(r"(ENS[A-Z]*)G\d{6,}(\.\d+)?$")
_SPECIES = {"ENS": "human", "ENSMUS": "mouse", "ENSRNO": "rat", "ENSDAR": "zebrafish", "ENSGAL": "chicken"}
#: A column of `var` that repeats itself more than this holds no names of genes.
_DISTINCT = 0.5
#: Other names must bring this many times the genes.
_WORTH_IT = 2.0


# ------------------------------------------------------------------------------------------ why none agree


def no_shared_genes(spatial: Sequence[str], reference: Sequence[str]) -> str:
    """Return the message for data that share no gene name: the cause first, if the names show it.

    Examples
    --------
    >>> print(no_shared_genes(["ENSMUSG00000000001"], ["ENSG00000000003"]))
    The species differ: the spatial data has Ensembl identifiers of mouse ('ENSMUSG00000000001'), the
    reference has those of human ('ENSG00000000003'). They share no gene names. Use a reference of the same
    species.
    """
    ours, theirs = _species_of(spatial), _species_of(reference)
    found = f"the spatial data has {few_names(spatial)}; the reference has {few_names(reference)}"
    none = "They share no gene names"
    if ours is not None and theirs is not None and ours != theirs:
        return (
            f"The species differ: the spatial data has Ensembl identifiers of {ours} ({few_names(spatial)}), "
            f"the reference has those of {theirs} ({few_names(reference)}). {none}. "
            "Use a reference of the same species."
        )
    if (ours is None) != (theirs is None):
        return (
            f"The gene identifiers differ: the spatial data has {_kind(ours)} ({few_names(spatial)}), the "
            f"reference has {_kind(theirs)} ({few_names(reference)}). {none}. "
            "Use the same kind of identifier in both."
        )
    if set(without_version(spatial)) & set(without_version(reference)):
        return (
            f"The versions of Ensembl identifiers differ: {found}. {none}. Remove the versions, such as `.1`."
        )
    if (words := _genomes(spatial, reference)) is not None:
        return f"{words} {none}. Use the genes of one genome, without the prefixes."
    if set(as_in_r(spatial)) & set(as_in_r(reference)):
        return (
            f"Gene names were changed by R in one of both (dots for punctuation): {found}. {none}. Write the "
            "names in both as R does."
        )
    n_but_for_case = agree_but_for_case(spatial, reference)
    if n_but_for_case:
        names, agree = count(n_but_for_case, "name"), agreeing(n_but_for_case, "agree")
        return (
            f"The species seem to differ: {found}. {none}, but {names} {agree} if case is ignored, as gene "
            "names of human and mouse do. Use a reference of the same species."
        )
    advice = (
        "Use the same species and the same kind of identifier in both."
        if ours is None
        else f"All are Ensembl identifiers of {ours}: check which genes each file holds."
    )
    return f"The spatial data and the reference share no gene names: {found}. {advice}"


def _genomes(spatial: Sequence[str], reference: Sequence[str]) -> str | None:
    """Return which genomes the names of genes begin with, or None if they begin with none."""
    found = {"spatial data": genomes_in(spatial), "reference": genomes_in(reference)}
    words = [
        f"the {role} begin with the names of genomes ("
        + ", ".join(f"{genome}: {count(number, 'gene')}" for genome, number in genomes.items())
        + ")"
        for role, genomes in found.items()
        if genomes
    ]
    if not words:
        return None
    without = [
        f"those of the {role} do not ({few_names(names)})"
        for role, names in (("spatial data", spatial), ("reference", reference))
        if not found[role]
    ]
    return f"Gene names of {', '.join([*words, *without])}."


def agree_but_for_case(spatial: Sequence[str], reference: Sequence[str]) -> int:
    """Return how many different names of the spatial data the reference has if case is ignored."""
    return len({str(name).lower() for name in spatial} & {str(name).lower() for name in reference})


def _kind(species: str | None) -> str:
    return "other names" if species is None else f"Ensembl identifiers of {species}"


def _species_of(names: Sequence[str]) -> str | None:
    """Return the species if most names are Ensembl identifiers of its genes, else None.

    Examples
    --------
    >>> _species_of(["ENSMUSG00000000001", "ENSMUSG00000000028.16"]), _species_of(["Actb", "Ckm"])
    ('mouse', None)
    """
    prefixes = Counter(found[1] for name in names if (found := _ENSEMBL.match(str(name))))
    prefix, n_names = prefixes.most_common(1)[0] if prefixes else ("", 0)
    return _SPECIES.get(prefix, f"the species '{prefix}'") if 2 * n_names > len(names) else None


def few_names(names: Sequence[str] | pd.Index[str]) -> str:
    """Return the first three names, quoted.

    Examples
    --------
    >>> few_names(["Actb", "Ckm", "Xist", "Fos"])
    "'Actb', 'Ckm', 'Xist', ..."
    """
    return ", ".join(repr(str(name)) for name in names[:3]) + (", ..." if len(names) > 3 else "")


# --------------------------------------------------------------------------- other names that agree better


def fixes_for_names(spatial: AnnData, reference: AnnData) -> tuple[Fix, ...]:
    """Return the fixes after which both share clearly more gene names, if the data hold such names."""
    n_now = len(set(spatial.var_names) & set(reference.var_names))
    fixes, n_best = most_shared(spatial, reference)
    return fixes if n_best > max(_WORTH_IT * n_now, n_now + 1) else ()


def most_shared(spatial: AnnData, reference: AnnData) -> tuple[tuple[Fix, ...], int]:
    """Return the fewest fixes after which the most gene names are shared, and how many then are."""
    ways = [
        (len(set(spots) & set(cells)), (*one, *other))
        for (one, spots), (other, cells) in product(
            list(_names_of(spatial, "spatial")), list(_names_of(reference, "reference"))
        )
    ]
    n_best, fixes = max(ways, key=lambda way: (way[0], -len(way[1])))
    return fixes, n_best


def _names_of(adata: AnnData, role: str) -> Iterator[tuple[tuple[Fix, ...], pd.Index[str]]]:
    """Yield every set of names that genes have in the data, with the fixes that choose it."""
    columns: dict[tuple[Fix, ...], pd.Series[Any]] = {(): adata.var_names.to_series()}
    columns |= {
        (Fix(role, "genes", str(column)),): adata.var[column]
        for column in adata.var
        if may_be_names(adata.var[column])
    }
    for fixes, values in columns.items():
        given = pd.Index(values.dropna().astype(str))
        for chosen, names in _of_genomes(given, role):
            yield (*fixes, *chosen), names
            for fix, change in (("no-versions", without_version), ("r-names", as_in_r)):
                changed = change(names)
                if not changed.equals(names):
                    yield (*fixes, *chosen, Fix(role, fix)), changed


def _of_genomes(names: pd.Index[str], role: str) -> Iterator[tuple[tuple[Fix, ...], pd.Index[str]]]:
    """Yield the names, and those of each genome without its prefix, if they have such prefixes."""
    yield (), names
    for genome in genomes_in(list(names)):
        of_it = [name for given in names if (name := of_genome(given, genome)) is not None]
        yield (Fix(role, "genome", genome),), pd.Index(of_it, dtype=object)


def may_be_names(column: pd.Series[Any]) -> bool:
    """Return whether a column of `var` holds names of genes: text that seldom repeats itself."""
    is_text = isinstance(column.dtype, pd.CategoricalDtype) or pd.api.types.is_string_dtype(column.dtype)
    return bool(is_text) and column.nunique() > _DISTINCT * len(column)
