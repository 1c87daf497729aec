"""What a comparison of regions has found, in words: the same in napari and on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_spotmix.base.text import count, percent, printable, shortened
from napari_spotmix.params import SIGNIFICANCE

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["about_p_values", "differing", "headline", "interval_words", "p_words"]

#: The level of intervals in tables of before they named it.
_FORMER_LEVEL = 0.95
#: Letters of a name in a sentence.
_LONGEST = 80


def differing(table: pd.DataFrame) -> list[str]:
    """Return the cell types of which a comparison has evidence for a difference, the clearest first.

    Examples
    --------
    >>> import pandas as pd
    >>> differing(pd.DataFrame({"p_holm": [0.01, 0.4]}, index=["T cell", "B cell"]))
    ['T cell']
    """
    return [str(name) for name in table.index[(table["p_holm"] < SIGNIFICANCE).to_numpy()]]


def _shown(name: object) -> str:
    return shortened(printable(str(name)), _LONGEST)


def headline(table: pd.DataFrame) -> str:
    """Return what a comparison says first: the clearest difference, if there is evidence for any.

    Parameters
    ----------
    table : DataFrame
        As `compare_regions` returns it.

    Examples
    --------
    >>> import pandas as pd
    >>> columns = {"mean_first": [0.09, 0.3], "mean_second": [0.04, 0.2], "p_holm": [0.012, 0.4]}
    >>> table = pd.DataFrame(columns, index=["T cell", "B cell"]).assign(first="tumor", second="stroma")
    >>> headline(table)
    '1 of 2 cell types differs. T cell: 9.0% against 4.0%, p = .012.'
    >>> headline(table.assign(p_holm=[0.3, 0.4]))
    'No difference found between tumor and stroma: the smallest adjusted p is .30.'
    """
    first, second = (_shown(table[name].iloc[0]) for name in ("first", "second"))
    if table["p_holm"].isna().all():
        return f"Too few spots to judge a difference between {first} and {second}."
    found = differing(table)
    if not found:
        smallest = p_words(float(table["p_holm"].min())).replace("p = ", "").replace("p < ", "below ")
        return f"No difference found between {first} and {second}: the smallest adjusted p is {smallest}."
    clearest = table.iloc[0]
    verb = "differs" if len(found) == 1 else "differ"
    means = f"{percent(clearest['mean_first'])} against {percent(clearest['mean_second'])}"
    return (
        f"{len(found)} of {count(len(table), 'cell type')} {verb}. {_shown(found[0])}: {means}, "
        f"{p_words(float(clearest['p_holm']))}."
    )


def interval_words(table: pd.DataFrame) -> str:
    """Return the level of the intervals of a comparison.

    Examples
    --------
    >>> import pandas as pd
    >>> interval_words(pd.DataFrame({"level": [0.9]})), interval_words(pd.DataFrame({"mean_first": [0.2]}))
    ('90% interval', '95% interval')
    """
    level = float(table["level"].iloc[0]) if "level" in table else _FORMER_LEVEL
    return f"{level if 0 < level < 1 else _FORMER_LEVEL:.0%} interval"


def about_p_values(n_types: int) -> str:
    """Return how the p values of a comparison of so many types are adjusted."""
    return (
        f"p: adjusted for {count(n_types, 'cell type')} (Holm) and for the similarity of neighboring spots; "
        f"* below {SIGNIFICANCE:g}."
    )


def p_words(p: float) -> str:
    """Return a p value as papers write it.

    Examples
    --------
    >>> p_words(0.0004), p_words(0.0321), p_words(0.6), p_words(float("nan"))
    ('p < .001', 'p = .032', 'p = .60', 'p unknown')
    """
    if p != p:
        return "p unknown"
    if p < 0.001:
        return "p < .001"
    return "p = " + (f"{p:.3f}" if p < 0.1 else f"{p:.2f}").removeprefix("0")
