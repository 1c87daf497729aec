"""How programs change the names of genes: prefixes of genomes, versions, and the names that R allows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import pandas as pd

__all__ = ["as_in_r", "genomes_in", "of_genome", "without_version"]

_ENSEMBL = r"^(ENS[A-Z]*[GT]\d{6,})\.\d+$"
#: Genome, and underscores until all prefixes are equally long, as of Cell Ranger: GRCh38_ACTB, mm10___Actb.
_GENOME = re.compile(
    r"((?:GRC[hmz]|hg|mm|rn|mRatBN|Rnor|danRer|galGal|susScr|dm|ce|sacCer)\d[\d.]*)_+(?=[^_])"
)
#: Prefixes count as such if at least this share of the names have one.
_MOST = 0.5
#: What R's make.names replaces by a dot, and names to which it adds an X.
_NOT_IN_R = re.compile(r"[^A-Za-z0-9._]")
_WITH_X = re.compile(r"[^A-Za-z.]|\.\d")


def without_version(names: Iterable[str]) -> pd.Index[str]:
    """Return names with the versions of Ensembl identifiers removed.

    Examples
    --------
    >>> list(without_version(["ENSMUSG00000029580.14", "Actb.1"]))
    ['ENSMUSG00000029580', 'Actb.1']
    """
    return pd.Index(pd.Series(list(names), dtype=object).astype(str).str.replace(_ENSEMBL, r"\1", regex=True))


def genomes_in(names: Sequence[str]) -> dict[str, int]:
    """Return the genomes whose prefixes the names have, with the number of names; the most frequent first.

    Examples
    --------
    >>> genomes_in(["GRCh38_ACTB", "GRCh38_GAPDH", "mm10___Actb"])
    {'GRCh38': 2, 'mm10': 1}
    >>> genomes_in(["Actb", "Gapdh"])
    {}
    """
    found = Counter(match[1] for name in names if (match := _GENOME.match(str(name))))
    return dict(found.most_common()) if found.total() >= _MOST * max(len(names), 1) else {}


def of_genome(name: str, genome: str) -> str | None:
    """Return a name without the prefix of a genome; None if it has another prefix or none.

    Examples
    --------
    >>> of_genome("mm10___Actb", "mm10"), of_genome("GRCh38_ACTB", "mm10")
    ('Actb', None)
    """
    match = _GENOME.match(name)
    return name[match.end() :] if match and match[1] == genome else None


def as_in_r(names: Iterable[str]) -> pd.Index[str]:
    """Return names as R's make.names does: punctuation becomes dots, and no name begins with a digit.

    Examples
    --------
    >>> list(as_in_r(["H2-K1", "1700001O22Rik", "Actb"]))
    ['H2.K1', 'X1700001O22Rik', 'Actb']
    """
    return pd.Index([_in_r(str(name)) for name in names], dtype=object)


def _in_r(name: str) -> str:
    return _NOT_IN_R.sub(".", f"X{name}" if _WITH_X.match(name) else name)
