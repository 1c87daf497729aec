"""Whether two names of cell types differ only in spelling."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["differ_only_in_spelling", "spelling_key"]

#: Letters of other scripts that look like Latin ones.
_CONFUSABLE = str.maketrans("АВЕКМНОРСТХаеорсухіјѕΑΒΕΖΗΙΚΜΝΟΡΤΥΧνο", "ABEKMHOPCTXaeopcyxijsABEZHIKMNOPTYXvo")
#: Hyphens, dashes and minus signs, all of which are typed for a hyphen or for "negative".
_DASHES = re.compile(r"[\u2010-\u2015\u2212]")
#: What joins two words, as a space does.
_JOINED = re.compile(r"(?<=\w)[-/](?=\w)|_")
#: The same in a name that says of markers whether they are there: the hyphen of "CD4-CD8+" is a sign.
_JOINED_BUT_SIGNS = re.compile(r"(?<=[^\W\d])-(?=\w)|(?<=\w)/(?=\w)|_")
#: A plus sign after a word, or a hyphen that ends one.
_SIGN = re.compile(r"(?<=\w)(\+|-(?!\w))")


def spelling_key(name: str) -> str:
    """Return a name without case, extra spaces, hyphens between words, and letters that only look different.

    Signs of markers stay: CD4+, CD4- and CD4 are three names.

    Examples
    --------
    >>> [spelling_key(name) for name in ("T_cell ", "t-Cell", "CD4+ T", "CD4- T", "NK/T")]
    ['t cell', 't cell', 'cd4+ t', 'cd4- t', 'nk t']
    """
    plain = _DASHES.sub("-", unicodedata.normalize("NFKC", name)).translate(_CONFUSABLE).casefold()
    plain = "".join(letter if letter.isprintable() else " " for letter in plain)
    joined = _JOINED_BUT_SIGNS if _SIGN.search(plain) else _JOINED
    return " ".join(joined.sub(" ", plain).split())


def differ_only_in_spelling(one: str, other: str) -> bool:
    """Return whether two names have the same `spelling_key`.

    Examples
    --------
    >>> differ_only_in_spelling("T_cell", "t-Cell"), differ_only_in_spelling("CD4+ T", "CD4- T")
    (True, False)
    """
    return spelling_key(one) == spelling_key(other)
