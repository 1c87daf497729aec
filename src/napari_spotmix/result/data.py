"""The data of a result, and what is derived from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array

from napari_spotmix.base.colors import cell_type_colors
from napari_spotmix.base.keys import ADDED, SPATIAL
from napari_spotmix.base.old_names import Renamed
from napari_spotmix.base.progress import ProgressCallback, silent
from napari_spotmix.dataset.regions import Region
from napari_spotmix.result.provenance import Provenance, TriedSmoothing
from napari_spotmix.result.view import View

if TYPE_CHECKING:
    from anndata import AnnData

    from napari_spotmix.model.learning.heldout import Smoothing
    from napari_spotmix.model.refit import RefitProblem

__all__ = ["UNMATCHED", "Result", "over_all_spots"]

#: Reason of a spot whose counts were fitted and gave nothing.
UNMATCHED = "counts fit no cell type"
#: Cell types in the text of a result, and the most letters of a name.
_SHOWN, _NAME = 5, 60


@dataclass(frozen=True, eq=False)
class Result:
    """Abundances of cell types in spots, and all that is needed to understand them.

    Spots that could not be estimated (no counts, no coordinates) are kept in every table, as NaN,
    with the reason in `reasons`.

    Attributes
    ----------
    abundances : DataFrame of float64, shape (n_spots, n_cell_types)
        Minimizer of the model, >= 0. With normalized counts a row sums to about 1, and 1 minus
        the sum is the share of the spot's counts that the reference does not explain.
    counts : Series of float64, shape (n_spots,)
        Counts of each spot over the genes that were fitted.
    reasons : Series of str, shape (n_spots,)
        Why a spot was not estimated; "" if it was.
    signatures : DataFrame of float64, shape (n_cell_types, n_genes)
        Expected share of each gene in the counts of a cell of each type.
    weights : csr_array of float64, shape (n_spots, n_spots)
        Symmetric edge weights ``W = exp(-alpha d^2) Attn``.
    attention : csr_array of float64, shape (n_spots, n_spots)
        ``Attn`` alone, 0 to 1, on the same edges.
    standard_errors : DataFrame of float32, shape (n_spots, n_cell_types)
        Of `proportions`, at most 1; also of types that were not found. Without rows in a result of an older
        file.
    interval_table : DataFrame, shape (n_nodes, 4)
        What `intervals` reads: ``below`` and ``above``, how far the ends of the 90% interval are from a
        ``proportion`` with a ``standard_error``. Without rows in a result of an older file.
    misfit : Series of float64, shape (n_spots,)
        Share of the counts around a spot that a type missing from the reference would have.
    residual_genes : DataFrame, shape (n_genes, 5)
        Genes, those with the most unusual totals first: ``observed`` and ``expected`` counts (on up to
        10,000 spots), ``log2_ratio``, ``z`` (positive: more than expected), and ``scatter``, by which the
        spots' counts differ from the fit beyond sampling, as a share of it.
    provenance : Provenance
        Every parameter, what was learned, versions, and a summary.
    notes : tuple of str
        What the user should know: genes summed, spots left out, types with few cells.
    spatial : AnnData
        The spots that were given, unchanged.
    problem : RefitProblem or None
        What `refit` needs; None for a result that was read from a file, which does not hold it.
    chosen_colors : dict of str
        "#rrggbb" of the cell types that do not have the palette's color.
    regions : tuple of Region
        Outlines that were drawn on the tissue.
    view : View or None
        What napari showed when the result was saved, to be shown again.
    niches : Series of categories, shape (n_spots,), or None
        Niche of each spot, if niches are stored with the result (`analysis.niches.stored_niches`).
    region_of_spot : Series of categories, shape (n_spots,), or None
        Region of each spot, if that is stored with the result.
    region_comparison : DataFrame
        Table of `compare_regions` that is stored with the result; without rows if none is.
    """

    abundances: pd.DataFrame
    counts: pd.Series
    reasons: pd.Series
    signatures: pd.DataFrame
    weights: csr_array
    attention: csr_array
    spatial: AnnData
    standard_errors: pd.DataFrame = field(default_factory=pd.DataFrame)
    interval_table: pd.DataFrame = field(default_factory=pd.DataFrame)
    misfit: pd.Series = field(default_factory=lambda: pd.Series(dtype=float))
    residual_genes: pd.DataFrame = field(default_factory=pd.DataFrame)
    provenance: Provenance = field(default_factory=Provenance)
    notes: tuple[str, ...] = ()
    problem: RefitProblem | None = None
    chosen_colors: dict[str, str] = field(default_factory=dict)
    regions: tuple[Region, ...] = ()
    view: View | None = None
    niches: pd.Series | None = None
    region_of_spot: pd.Series | None = None
    region_comparison: pd.DataFrame = field(default_factory=pd.DataFrame)

    telling_genes = Renamed("supporting_genes")
    resolve = Renamed("refit")
    links = Renamed("edges")

    def __repr__(self) -> str:
        """Return a few lines: the size, and the mean proportions of the most frequent cell types."""
        means = self.mean_proportions.sort_values(ascending=False)
        shown = [f"  {str(name)[:_NAME]}: {mean:.1%}" for name, mean in means[:_SHOWN].items()]
        n_more = len(means) - len(shown)
        more = [f"  and {n_more:,} more"] if n_more else []
        size = f"{len(self.abundances):,} spots, {len(means):,} cell types"
        return "\n".join([f"Result: {size}. Mean proportions:", *shown, *more])

    @property
    def parameters(self) -> dict[str, Any]:
        """`provenance` as files hold it: ``given``, ``learned``, ``versions`` and ``summary``; a copy."""
        return self.provenance.as_dict()

    @property
    def cell_types(self) -> list[str]:
        """Names of the cell types, in the order of the columns."""
        return list(self.abundances.columns)

    @property
    def colors(self) -> dict[str, str]:
        """Color of each cell type, "#rrggbb": the same in layers, lists, legends and files."""
        usual = cell_type_colors(self.cell_types)
        return {name: self.chosen_colors.get(name, color) for name, color in usual.items()}

    @property
    def coordinates(self) -> np.ndarray:
        """(x, y) of each spot in full-resolution pixels, float64 (n_spots, 2)."""
        return np.asarray(self.spatial.obsm[SPATIAL], dtype=float)[:, :2]

    @property
    def proportions(self) -> pd.DataFrame:
        """`cell_proportions`, or `rna_proportions` if the parameter `share` asks for them."""
        return self.cell_proportions if self.provenance.share == "cells" else self.rna_proportions

    @cached_property
    def rna_proportions(self) -> pd.DataFrame:
        """Shares of each spot's RNA, abundances divided by their row sums: rows sum to 1, or are NaN."""
        return _shares(self.abundances)

    @cached_property
    def cell_proportions(self) -> pd.DataFrame:
        """Shares of each spot's cells, from abundances over `rna_content`: rows sum to 1, or are NaN."""
        return _shares(self.abundances / self.rna_content)

    @cached_property
    def rna_content(self) -> pd.Series:
        """RNA of a cell of each type relative to a typical type, from the reference; 1 if unknown."""
        known = self.provenance.learned.rna_content or ()
        content = known if len(known) == len(self.cell_types) else np.ones(len(self.cell_types))
        return pd.Series(np.asarray(content, dtype=float), index=self.abundances.columns)

    @cached_property
    def dominant(self) -> pd.Series:
        """The type with the largest proportion in each spot, categorical; NaN if not estimated."""
        values = self.proportions.to_numpy()
        known = ~np.isnan(values).any(axis=1)
        codes = np.full(len(values), -1)
        codes[known] = values[known].argmax(axis=1)
        categories = pd.CategoricalDtype(self.cell_types)
        return pd.Series(pd.Categorical.from_codes(codes, dtype=categories), index=self.proportions.index)

    @cached_property
    def dominant_error(self) -> pd.Series:
        """Standard error of the proportion of each spot's largest type; NaN if unknown."""
        if not len(self.standard_errors):
            return pd.Series(np.nan, index=self.abundances.index)
        codes = self.dominant.cat.codes.to_numpy()
        errors = self.standard_errors.to_numpy(float)[np.arange(len(codes)), codes]
        return pd.Series(np.where(codes < 0, np.nan, errors), index=self.abundances.index)

    def intervals(self, spots: slice = slice(None)) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the ends of the 90% interval of each proportion.

        Over all spots and types, about nine of ten intervals contain the true share. They need not be
        symmetric: at a share of 0 they only reach upwards. In a result of an older file they are 1.64
        standard errors to both sides, cut to 0 to 1.

        Parameters
        ----------
        spots : slice, optional
            All by default. The tables are computed each time, not kept.

        Returns
        -------
        lower, upper : DataFrame of float64, shape (n_spots, n_cell_types)
            NaN for spots without an estimate. Without rows if there are no `standard_errors`.

        Examples
        --------
        >>> from napari_spotmix import deconvolve, simulate
        >>> tissue = simulate(n_spots=60, n_genes=120, n_cell_types=4, image=False)
        >>> result = deconvolve(tissue.spatial, tissue.reference)
        >>> lower, upper = result.intervals()
        >>> bool(((lower <= result.proportions) & (result.proportions <= upper)).all(axis=None))
        True
        """
        from napari_spotmix.model.uncertainty.calibration import Z90, IntervalTable

        if not len(self.standard_errors):
            return pd.DataFrame(), pd.DataFrame()
        shares, errors = self.proportions[spots], self.standard_errors[spots].to_numpy(float)
        own = shares.to_numpy(float)
        if len(self.interval_table):
            columns = (self.interval_table[name] for name in ("standard_error", "below", "above"))
            ends = IntervalTable.of_columns(*columns).ends(own, errors)
        else:
            ends = (own - Z90 * errors).clip(0.0, 1.0), (own + Z90 * errors).clip(0.0, 1.0)
        lower, upper = (pd.DataFrame(end, index=shares.index, columns=shares.columns) for end in ends)
        return lower, upper

    @property
    def edges(self) -> csr_array:
        """Who neighbors whom, float64 (n_spots, n_spots), each edge with weight 1, to compare neighbors by.

        Not `weights`: attention is computed from the proportions, and each type would seem to be near itself.
        """
        edges = self.weights
        return csr_array((np.ones(edges.nnz), edges.indices, edges.indptr), shape=edges.shape)

    @cached_property
    def uses_attention(self) -> bool:
        """Whether `weights` depend on the similarity of neighbors."""
        return bool((self.attention.data < 1).any())

    @property
    def tried_attention(self) -> TriedSmoothing | None:
        """The best attention that learning tried, used or not, or None."""
        return self.provenance.learned.evidence.best_attention

    @cached_property
    def unused_attention(self) -> csr_array | None:
        """The attention that was learned but not used, 0 to 1 on the edges of `weights`, or None.

        Files hold its sharpness only; it is computed from `abundances`.
        """
        from napari_spotmix.base.threads import Threads
        from napari_spotmix.model.attention import attention_between

        tried = self.tried_attention
        if self.uses_attention or tried is None:
            return None
        abundances = np.nan_to_num(self.abundances.to_numpy(float))
        heads = _smoothing(tried, abundances.shape[1]).heads(abundances.shape[1])
        with Threads.of(0) as threads:
            return attention_between(abundances, self.weights, heads, threads)

    @cached_property
    def mean_proportions(self) -> pd.Series:
        """Mean proportion of each type over the spots that were estimated."""
        return self.proportions.mean()

    @cached_property
    def unexplained(self) -> pd.Series:
        """1 minus the row sum of normalized abundances, at least 0; NaN without normalized counts."""
        share = (1.0 - self.abundances.sum(axis=1, skipna=False)).clip(lower=0.0)
        return share if self.provenance.normalize else share * np.nan

    def supporting_genes(self, spot: int, n_genes: int = 3) -> dict[str, list[str]]:
        """Return the genes that support each cell type of a spot most.

        If the other types replaced it, in their proportions, the spot's counts of a gene would be less
        likely: by ``y log((1 - x) / (1 - s))``, where `s` is the type's share of the expected counts of the
        gene, and `x` its share of all expected counts. A gene that all types express equally supports none.

        Parameters
        ----------
        spot : int
            Position in the tables.
        n_genes : int, optional
            At most this many for each type.

        Returns
        -------
        dict of str to list of str
            Genes of each type that the spot has and a gene supports, in the order of the columns; empty for a
            result that was read from a file, which does not hold the signatures.

        Examples
        --------
        >>> from napari_spotmix import deconvolve, simulate
        >>> tissue = simulate(n_spots=60, n_genes=120, n_cell_types=4, image=False)
        >>> result = deconvolve(tissue.spatial, tissue.reference, lambda_c=0.1)
        >>> genes = result.supporting_genes(0)
        >>> largest = result.dominant.iloc[0]
        >>> len(genes[largest])
        3
        """
        from napari_spotmix.dataset.access import spot_counts

        counts = spot_counts(self.spatial, self.provenance.layer, spot)
        counts = counts[counts.index.isin(self.signatures.columns)]
        abundances = self.abundances.to_numpy()[spot]
        if not len(counts) or np.isnan(abundances).any():
            return {}
        contributions = abundances[:, None] * self.signatures[counts.index].to_numpy()
        expected = contributions.sum(axis=0)
        share = np.divide(contributions, expected, out=np.zeros_like(contributions), where=expected > 0)
        of_all = np.minimum(abundances / abundances.sum(), 1 - 1e-9)[:, None]
        lost = counts.to_numpy() * (np.log1p(-of_all) - np.log1p(-np.minimum(share, 1 - 1e-9)))
        order = np.argsort(-lost, axis=1, kind="stable")[:, :n_genes]
        found = {
            name: [str(counts.index[g]) for g in best if lost[k, g] > 0]
            for k, (name, best) in enumerate(zip(self.cell_types, order, strict=True))
        }
        return {name: genes for name, genes in found.items() if genes}

    def refit(
        self,
        *,
        lambda_c: float | None = None,
        without: Sequence[str] = (),
        n_threads: int = 0,
        on_progress: ProgressCallback = silent,
    ) -> Result:
        """Solve again with another smoothness or without some cell types, from the statistics of the fit.

        Weights of genes, attention and edges stay as fitted, and the counts are not read again. This takes a
        fraction of a second for thousands of spots; a fit from the start may differ slightly.

        Parameters
        ----------
        lambda_c : float, optional
            Smoothness; unchanged by default.
        without : sequence of str, optional
            Cell types to leave out.
        n_threads : int, optional
            0 uses every core. The result does not depend on it.
        on_progress : callable, optional
            As for `deconvolve`.

        Returns
        -------
        Result
            `provenance.learned.refit` and the notes say what was changed. What needs the counts
            (`standard_errors`, `misfit`, `residual_genes`) is empty.

        Raises
        ------
        InputError
            If this result was read from a file, the smoothness or the number of threads is out of bounds,
            a type is unknown, or no type is left; lists every problem.

        Examples
        --------
        >>> from napari_spotmix import deconvolve, simulate
        >>> tissue = simulate(n_spots=60, n_genes=120, n_cell_types=4, image=False)
        >>> result = deconvolve(tissue.spatial, tissue.reference, lambda_c=0.1)
        >>> smoother = result.refit(lambda_c=10.0)
        >>> bool(smoother.proportions.var().sum() < result.proportions.var().sum())
        True
        """
        from napari_spotmix.result.refit import refit

        return refit(self, lambda_c, without, n_threads=n_threads, on_progress=on_progress)

    def to_anndata(self, key_added: str = ADDED, *, of: Literal["genes", "cell_types"] = "genes") -> AnnData:
        """Return a copy of the spots with the result added, in the slots that `keys.added_keys` names.

        Parameters
        ----------
        key_added : str, optional
            Prefix of every slot written.
        of : {"genes", "cell_types"}, optional
            What the variables are: genes, with counts in `X`; or cell types, with `proportions` in `X`, NaN
            for spots that were not estimated. Then ``color="Macrophage"`` works in scanpy and squidpy;
            ``var`` has the ``color`` of each type and its ``mean`` proportion, and there are no slots for
            single genes, so that `from_anndata` does not take it.

        Returns
        -------
        AnnData
            All that the input holds, and the result; it opens in scanpy, squidpy and napari-spatialdata. It
            can be written to a file: names of columns have "_" for "/", which files do not allow, and
            ``uns["spotmix_names"]`` has the true names.

        Raises
        ------
        InputError
            If `key_added` cannot be a key, or is the key of the coordinates; or for another `of`.
        """
        from napari_spotmix.base.errors import InputError
        from napari_spotmix.result.file import of_cell_types, to_anndata

        if of not in ("genes", "cell_types"):
            raise InputError(f"`of` must be 'genes' or 'cell_types', found {of!r}.")
        return to_anndata(self, key_added) if of == "genes" else of_cell_types(self, key_added)

    @classmethod
    def from_anndata(cls, adata: AnnData, key_added: str = ADDED) -> Result:
        """Return the result that `to_anndata` has added.

        Parameters
        ----------
        adata : AnnData
            Spots with a result; it becomes `spatial`, unchanged.
        key_added : str, optional
            Prefix under which the result was added.

        Returns
        -------
        Result
            Without `signatures` and `problem`, which are not stored with the spots.

        Raises
        ------
        InputError
            If slots of the result are missing (lists them all), or hold something else.
        """
        from napari_spotmix.result.file import from_anndata

        return from_anndata(adata, key_added)


def _smoothing(tried: TriedSmoothing, n_cell_types: int) -> Smoothing:
    """Return the smoothing of a candidate."""
    from napari_spotmix.model.learning.heldout import Smoothing

    # Without some of the types it is unknown whose entries were whose.
    metric = tried.metric if len(tried.metric) == n_cell_types else ()
    return Smoothing(tried.smoothness, tried.alpha, tried.sharpness, tried.ridge, tried.spread, metric)


def _shares(abundances: pd.DataFrame) -> pd.DataFrame:
    total = abundances.sum(axis=1, skipna=False)
    return abundances.div(total.where(total > 0), axis=0)


def over_all_spots(
    abundances: NDArray[np.float64],
    spots: NDArray[np.int64],
    reasons: pd.Series,
    cell_types: pd.Index,
) -> tuple[pd.DataFrame, pd.Series]:
    """Return the abundances of some spots as a table of all spots, NaN if not estimated, and reasons."""
    table = np.full((len(reasons), len(cell_types)), np.nan)
    table[spots] = abundances
    unmatched = table.sum(axis=1) == 0
    table[unmatched] = np.nan
    return pd.DataFrame(table, index=reasons.index, columns=cell_types), reasons.mask(unmatched, UNMATCHED)
