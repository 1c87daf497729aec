"""The genes of a section in one order, found by any of their names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_spotmix.base.text import name_order
from napari_spotmix.dataset.access import gene_names, gene_table, has_layer
from napari_spotmix.dataset.identifiers import may_be_names

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["GeneIndex", "gene_index"]

#: Columns of `var` with other names of the genes that are searched too.
_MOST_COLUMNS = 3
#: Between the names of a gene.
_END = "\n"


@dataclass(frozen=True, eq=False)
class GeneIndex:
    """The names of genes, sorted, with what else each is called.

    Attributes
    ----------
    names : sequence of str
        In the order of `base.text.name_order`.
    others : sequence of str
        What else each gene is called, such as its Ensembl identifier, and which it is of those with its name;
        "" if nothing.
    columns : ndarray of int64, shape (n_genes,)
        Where each is in the matrix of counts.
    folded : sequence of str
        All names of each gene without case, each between two ends of lines: one text is searched fastest.
    """

    names: Sequence[str]
    others: Sequence[str]
    columns: NDArray[np.int64]
    folded: Sequence[str]

    def __len__(self) -> int:
        return len(self.names)

    def matching(self, text: str) -> list[int]:
        """Return the genes with a name that contains a text: first equal ones, then those that begin with it.

        Parameters
        ----------
        text : str
            Case is ignored; all genes match an empty text.

        Returns
        -------
        list of int
            Positions in `names`.

        Examples
        --------
        >>> from anndata import AnnData
        >>> import pandas as pd
        >>> var = pd.DataFrame({"gene_ids": ["ENSMUSG1", "ENSMUSG2"]}, index=["Myh7b", "Myh7"])
        >>> index = gene_index(AnnData(np.eye(2), var=var))
        >>> [index.names[at] for at in index.matching("MYH7")]
        ['Myh7', 'Myh7b']
        >>> [index.names[at] for at in index.matching("ensmusg1")]
        ['Myh7b']
        """
        wanted = text.strip().casefold()
        if not wanted:
            return list(range(len(self.names)))
        equal, first = f"{_END}{wanted}{_END}", f"{_END}{wanted}"
        found: tuple[list[int], list[int], list[int]] = ([], [], [])
        for at, names in enumerate(self.folded):
            if wanted in names:
                found[0 if equal in names else 1 if first in names else 2].append(at)
        return [at for group in found for at in group]

    def at(self, name: str) -> int | None:
        """Return the position of the gene that is called exactly so, or None."""
        return next((at for at, known in enumerate(self.names) if known == name), None)


def gene_index(adata: AnnData, layer: str | None = None) -> GeneIndex:
    """Return the genes of a section, sorted by name.

    Parameters
    ----------
    adata : AnnData
        Not modified.
    layer : str or None, optional
        As given to `deconvolve`: `X` is used if `adata` has no layer of that name.
    """
    chosen = layer if has_layer(adata, layer) else None
    names, var = gene_names(adata, chosen), gene_table(adata, chosen)
    columns = [var.iloc[:, at] for at in range(var.shape[1])]
    columns = [column for column in columns if may_be_names(column)][:_MOST_COLUMNS]
    more = [["" if pd.isna(value) else str(value) for value in column] for column in columns]
    order = sorted(range(len(names)), key=lambda at: name_order(names[at]))
    called = [tuple(other[at] for other in more if other[at] not in ("", names[at])) for at in order]
    numbered = _numbered(names)
    return GeneIndex(
        [names[at] for at in order],
        [
            ", ".join([*dict.fromkeys(others), *numbered[at]])
            for at, others in zip(order, called, strict=True)
        ],
        np.array(order, dtype=np.int64),
        [
            f"{_END}{_END.join((names[at], *others)).casefold()}{_END}"
            for at, others in zip(order, called, strict=True)
        ],
    )


def _numbered(names: Sequence[str]) -> list[list[str]]:
    """Return for each name that occurs several times which of them it is.

    Examples
    --------
    >>> _numbered(["A", "B", "A"])
    [['1 of 2 with this name'], [], ['2 of 2 with this name']]
    """
    total, seen = Counter(names), Counter[str]()
    seen_before = []
    for name in names:
        seen[name] += 1
        seen_before.append(seen[name])
    return [
        [f"{number} of {total[name]} with this name"] if total[name] > 1 else []
        for name, number in zip(names, seen_before, strict=True)
    ]
