"""What a deconvolution gives back."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array, csr_matrix

from napari_spotmix.base.colors import cell_type_colors
from napari_spotmix.base.errors import InputError, ReadError
from napari_spotmix.base.keys import ADDED, SPATIAL, added_keys
from napari_spotmix.base.progress import ProgressCallback, silent
from napari_spotmix.base.text import count
from napari_spotmix.base.threads import Threads
from napari_spotmix.dataset.access import spot_counts
from napari_spotmix.dataset.regions import Region, from_geojson, to_geojson
from napari_spotmix.io import check_whole, copied, read_spatial, restored_names, with_safe_names
from napari_spotmix.model.attention import attention_between
from napari_spotmix.model.learning.heldout import Smoothing
from napari_spotmix.model.refit import Problem
from napari_spotmix.model.solver.solve import Solution
from napari_spotmix.params import Parameters, describe

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["Result", "read_result"]

#: Reason of a spot whose counts were fitted and gave nothing.
UNMATCHED = "counts fit no cell type"

_COLOR = re.compile("#[0-9a-fA-F]{6}")


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
        Why a spot was not estimated; "" where it was.
    signatures : DataFrame of float64, shape (n_cell_types, n_genes)
        Expected share of each gene in the counts of a cell of each type.
    weights : csr_array of float64, shape (n_spots, n_spots)
        Symmetric edge weights ``W = exp(-alpha d^2) Attn``.
    attention : csr_array of float64, shape (n_spots, n_spots)
        ``Attn`` alone, 0 to 1, on the same edges.
    standard_errors : DataFrame of float32, shape (n_spots, n_cell_types)
        Of `proportions`, at most 1; also where a type was not found. The true share lies within 1.64 of
        them, cut to 0 to 1, about nine times in ten. Without rows in a result read from an older file.
    misfit : Series of float64, shape (n_spots,)
        Share of the counts around a spot that a type missing in the reference would have.
    residual_genes : DataFrame, shape (n_genes, 5)
        Genes in the order of how unusual their totals are: ``observed`` and ``expected`` counts (on up to
        10,000 spots), ``log2_ratio``, ``z`` (positive: more than expected), and ``scatter``, by which the
        spots' counts differ from the fit beyond sampling, as a share of it.
    parameters : dict
        ``given`` (every parameter), ``learned`` (what was chosen or estimated), ``versions``, ``summary``.
    notes : tuple of str
        What the user should know: genes summed, spots left out, types with few cells.
    spatial : AnnData
        The spots that were given, unchanged.
    problem : Problem or None
        What `refit` needs; None where the result was read from a file, which does not hold it.
    chosen_colors : dict of str
        Color of cell types, "#rrggbb", where it is not that of their place in the palette.
    regions : tuple of Region
        Outlines that somebody has drawn on the tissue.
    view : dict
        What napari showed of it when it was saved, to be shown again.
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
    misfit: pd.Series = field(default_factory=lambda: pd.Series(dtype=float))
    residual_genes: pd.DataFrame = field(default_factory=pd.DataFrame)
    parameters: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    problem: Problem | None = None
    chosen_colors: dict[str, str] = field(default_factory=dict)
    regions: tuple[Region, ...] = ()
    view: dict[str, Any] = field(default_factory=dict)
    niches: pd.Series | None = None
    region_of_spot: pd.Series | None = None
    region_comparison: pd.DataFrame = field(default_factory=pd.DataFrame)

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
        return self.cell_proportions if self._given("share", "rna") == "cells" else self.rna_proportions

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
        """RNA of a cell of each type relative to a typical type, as far as the reference tells it."""
        content = self.parameters.get("learned", {}).get("rna_content", np.ones(len(self.cell_types)))
        return pd.Series(np.asarray(content, dtype=float), index=self.abundances.columns)

    @cached_property
    def dominant(self) -> pd.Series:
        """The type with the largest proportion in each spot, categorical, NaN where not estimated."""
        values = self.proportions.to_numpy()
        known = ~np.isnan(values).any(axis=1)
        codes = np.full(len(values), -1)
        codes[known] = values[known].argmax(axis=1)
        categories = pd.CategoricalDtype(self.cell_types)
        return pd.Series(pd.Categorical.from_codes(codes, dtype=categories), index=self.proportions.index)

    @cached_property
    def dominant_error(self) -> pd.Series:
        """Standard error of the proportion of each spot's largest type; NaN where there is none."""
        if not len(self.standard_errors):
            return pd.Series(np.nan, index=self.abundances.index)
        codes = self.dominant.cat.codes.to_numpy()
        errors = self.standard_errors.to_numpy(float)[np.arange(len(codes)), codes]
        return pd.Series(np.where(codes < 0, np.nan, errors), index=self.abundances.index)

    @property
    def edges(self) -> csr_array:
        """Who neighbors whom, float64 (n_spots, n_spots), each edge with weight 1, to compare neighbors by.

        Not `weights`: attention is made from the proportions, and each type would seem to be near itself.
        """
        edges = self.weights
        return csr_array((np.ones(edges.nnz), edges.indices, edges.indptr), shape=edges.shape)

    @property
    def links(self) -> csr_array:
        """Former name of `edges`."""
        return self.edges

    @cached_property
    def uses_attention(self) -> bool:
        """Whether likeness tells neighbors apart in `weights`."""
        return bool((self.attention.data < 1).any())

    @property
    def tried_attention(self) -> dict[str, Any] | None:
        """The best attention that learning tried, used or not, as in ``learned["evidence"]``, or None."""
        return _best_attention(self.parameters.get("learned", {}).get("evidence", {}))

    @cached_property
    def unused_attention(self) -> csr_array | None:
        """The attention that was learned but not used, 0 to 1 on the edges of `weights`, or None.

        What is kept of it is its sharpness, in files too; spots are compared by their `abundances`.
        """
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
        """1 minus the row sum of normalized abundances, at least 0; NaN where it has no meaning."""
        share = (1.0 - self.abundances.sum(axis=1, skipna=False)).clip(lower=0.0)
        return share if self._given("normalize", True) else share * np.nan

    def supporting_genes(self, spot: int, n_genes: int = 3) -> dict[str, list[str]]:
        """Return the genes that speak most for each cell type of a spot.

        With the other types in its place, each by its proportion, the spot's counts of a gene would be less
        likely: by ``y log((1 - x) / (1 - s))``, where `s` is the type's share of what is expected of the gene
        and `x` of all that is expected. A gene that all types express alike speaks for none.

        Parameters
        ----------
        spot : int
            Position in the tables.
        n_genes : int, optional
            At most this many for each type.

        Returns
        -------
        dict of str to list of str
            Types in order of their columns, those that the spot has and that some gene speaks for; empty for
            a result read from a file, which does not hold the signatures.

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
        counts = spot_counts(self.spatial, self._given("layer", None), spot)
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

    def _given(self, name: str, default: Any) -> Any:
        return self.parameters.get("given", {}).get(name, default)

    def refit(
        self,
        *,
        lambda_c: float | None = None,
        without: Sequence[str] = (),
        n_threads: int = 0,
        on_progress: ProgressCallback = silent,
    ) -> Result:
        """Solve again with another smoothness or without some cell types, from what the fit has kept.

        Weights of genes, attention and edges stay as they were fitted, and the counts are not read again: so
        this is quick (a fraction of a second for thousands of spots), and a fit with the same parameters
        from the start may differ a little.

        Parameters
        ----------
        lambda_c : float, optional
            Smoothness; as it was where not given.
        without : sequence of str, optional
            Cell types to leave out.
        n_threads : int, optional
            0 uses every core. The result does not depend on it.
        on_progress : callable, optional
            As for `deconvolve`.

        Returns
        -------
        Result
            ``parameters['learned']['refit']`` says what was changed; its notes say so too. What takes
            the counts (`standard_errors`, `misfit`, `residual_genes`) is empty.

        Raises
        ------
        InputError
            If this result was read from a file; if the smoothness or the number of threads is out of
            bounds; if a type is unknown or none is left.

        Examples
        --------
        >>> from napari_spotmix import deconvolve, simulate
        >>> tissue = simulate(n_spots=60, n_genes=120, n_cell_types=4, image=False)
        >>> result = deconvolve(tissue.spatial, tissue.reference, lambda_c=0.1)
        >>> smoother = result.refit(lambda_c=10.0)
        >>> bool(smoother.proportions.var().sum() < result.proportions.var().sum())
        True
        """
        without = (without,) if isinstance(without, str) else without
        nearby = self._nearby_problem(lambda_c, without, n_threads)
        with Threads.of(n_threads) as threads:
            problem, solution = nearby.solved(
                tolerance=self._given("tolerance", Parameters.tolerance),
                max_sweeps=self._given("max_sweeps", Parameters.max_sweeps),
                threads=threads,
                on_progress=on_progress,
            )
        return self._refitted(problem, solution, without)

    def _nearby_problem(self, lambda_c: float | None, without: Sequence[str], n_threads: int) -> Problem:
        if self.problem is None:
            raise InputError(
                "This result was read from a file, which does not hold what solving again needs. "
                "Run the deconvolution again."
            )
        unknown = [name for name in without if name not in self.cell_types]
        problems = [
            f"`without`: {name!r} is no cell type of this result, which has {', '.join(self.cell_types)}."
            for name in unknown
        ]
        if set(self.cell_types) <= set(without):
            problems.append("`without`: at least one cell type must be left.")
        given = {"lambda_c": lambda_c, "n_threads": n_threads}
        problems += [
            wrong for info in describe() if (wrong := info.problem(given.get(info.name, info.default)))
        ]
        if problems:
            raise InputError(problems)
        problem = self.problem.only(self._left(without)) if without else self.problem
        return problem if lambda_c is None else replace(problem, lambda_c=float(lambda_c))

    def _left(self, without: Sequence[str]) -> NDArray[np.int64]:
        return np.array([k for k, name in enumerate(self.cell_types) if name not in without], np.int64)

    def _refitted(self, problem: Problem, solution: Solution, without: Sequence[str]) -> Result:
        left = self._left(without)
        learned = dict(self.parameters["learned"])
        left_out = [*learned.get("resolved", {}).get("without", []), *without]
        learned |= {
            "lambda_c": problem.lambda_c,
            "n_sweeps": solution.n_sweeps,
            "violation": solution.violation,
            "mean_explained": float(problem.abundances.sum(axis=1).mean()),
            "rna_content": self.rna_content.iloc[left].tolist(),
            "resolved": {"lambda_c": problem.lambda_c, "without": left_out},
        }
        fitted = self.reasons.isin(["", UNMATCHED]).to_numpy()
        reasons = self.reasons.mask(fitted, "")
        abundances, reasons = over_all_spots(
            problem.abundances, fitted, reasons, self.abundances.columns[left]
        )
        return replace(
            self,
            abundances=abundances,
            reasons=reasons,
            signatures=self.signatures.iloc[left],
            standard_errors=pd.DataFrame(),
            misfit=pd.Series(dtype=float),
            residual_genes=pd.DataFrame(),
            parameters=self.parameters | {"learned": learned, "summary": _refit_summary(problem, left_out)},
            notes=(*self.notes, _refit_note(problem, without)),
            problem=problem,
            # They are of other proportions.
            niches=None,
            region_comparison=pd.DataFrame(),
            # A type keeps its color when another is left out.
            chosen_colors=self.colors,
        )

    def to_anndata(self, key_added: str = ADDED) -> AnnData:
        """Return a copy of the spots with the result added, in the slots that `keys.added_keys` names.

        Parameters
        ----------
        key_added : str, optional
            Prefix of every slot written.

        Returns
        -------
        AnnData
            Everything that was in the input is kept; it opens in scanpy, squidpy and
            napari-spatialdata. It may be written as it is: in the names of columns "/", which a file
            cannot hold, is "_", and ``uns["spotmix_names"]`` has the true names.

        Raises
        ------
        InputError
            If `key_added` cannot be a key, or is that of the coordinates.
        """
        _check_prefix(key_added)
        keys = added_keys(key_added)
        adata = copied(self.spatial)
        adata.obsm[keys["proportions"]] = self.proportions
        adata.obsm[keys["cell_proportions"]] = self.cell_proportions
        adata.obsm[keys["rna_proportions"]] = self.rna_proportions
        adata.obsm[keys["abundances"]] = self.abundances
        if len(self.standard_errors):
            adata.obsm[keys["standard_errors"]] = self.standard_errors
            adata.obs[keys["misfit"]] = self.misfit
            adata.uns[keys["residual_genes"]] = self.residual_genes
        adata.obs[keys["dominant"]] = self.dominant
        adata.obs[keys["unexplained"]] = self.unexplained
        adata.obs[keys["counts"]] = self.counts
        adata.obs[keys["reason"]] = self.reasons.astype("category")
        adata.obsp[keys["graph"]] = csr_matrix(self.weights)
        adata.obsp[keys["attention"]] = csr_matrix(self.attention)
        adata.uns[keys["colors"]] = list(self.colors.values())
        if self.regions:
            adata.uns[keys["regions"]] = to_geojson(self.regions)
        if self.view:
            adata.uns[keys["view"]] = json.dumps(self.view)
        adata.uns[keys["parameters"]] = storable(self.parameters) | {"notes": list(self.notes)}
        _add_analysis(self, adata, keys)
        return with_safe_names(adata)

    @classmethod
    def from_anndata(cls, adata: AnnData, key_added: str = ADDED) -> Result:
        """Return the result that `to_anndata` has added, as after reading a file.

        Parameters
        ----------
        adata : AnnData
            Spots with a result; it becomes `spatial` as it is, with what was added to it.
        key_added : str, optional
            Prefix under which the result was added.

        Returns
        -------
        Result
            Its `signatures` are empty: they are not kept with the spots.

        Raises
        ------
        InputError
            If slots of the result are missing; names them all.
        """
        keys = added_keys(key_added)
        adata = restored_names(adata)
        problems = _missing_slots(adata, keys)
        if problems:
            raise InputError(problems)
        parameters = dict(adata.uns[keys["parameters"]])
        notes = np.atleast_1d(np.asarray(parameters.pop("notes", []), dtype=object))
        abundances = pd.DataFrame(adata.obsm[keys["abundances"]])
        return cls(
            abundances=abundances,
            counts=adata.obs[keys["counts"]],
            reasons=adata.obs[keys["reason"]].astype(object).fillna("").astype(str),
            signatures=pd.DataFrame(index=abundances.columns),
            weights=csr_array(adata.obsp[keys["graph"]]),
            attention=csr_array(adata.obsp[keys["attention"]]),
            spatial=adata,
            standard_errors=pd.DataFrame(adata.obsm.get(keys["standard_errors"])),
            misfit=pd.Series(adata.obs.get(keys["misfit"]), dtype=float),
            residual_genes=pd.DataFrame(adata.uns.get(keys["residual_genes"])),
            parameters=parameters,
            notes=tuple(str(note) for note in notes),
            chosen_colors=_colors_in_file(abundances.columns, adata.uns.get(keys["colors"])),
            regions=from_geojson(str(adata.uns[keys["regions"]])) if keys["regions"] in adata.uns else (),
            view=_view_in_file(adata.uns.get(keys["view"])),
            niches=adata.obs.get(keys["niche"]),
            region_of_spot=adata.obs.get(keys["region"]),
            region_comparison=_comparison_in_file(adata.uns.get(keys["region_comparison"])),
        )


def read_result(path: str | Path, *, backed: bool = False, on_progress: ProgressCallback = silent) -> Result:
    """Read the result in the folder of a finished run, or in its ``spatial.h5ad``.

    Parameters
    ----------
    path : path
    backed : bool, optional
        As for `read_spatial`: whether to leave the counts in their file.
    on_progress : callable, optional
        As for `read_spatial`.

    Raises
    ------
    ReadError
        If ``spatial.h5ad`` is missing, damaged, of another run than ``recipe.toml``, or holds no result.
    """
    path = Path(path)
    file = path / "spatial.h5ad" if path.is_dir() else path
    check_whole(path)
    if not file.exists():
        raise ReadError(path, "holds no `spatial.h5ad`. Choose the folder that `spotmix run` has written.")
    adata = read_spatial(file, backed=backed, on_progress=on_progress)
    try:
        return Result.from_anndata(adata)
    except ReadError:
        raise
    except InputError as error:
        raise ReadError(file, error.problems) from error


def _add_analysis(result: Result, adata: AnnData, keys: dict[str, str]) -> None:
    """Store what was found in a result; what the spots hold of an earlier one is removed."""
    for role, found in (("niche", result.niches), ("region", result.region_of_spot)):
        if found is not None:
            adata.obs[keys[role]] = found.astype("category")
        elif keys[role] in adata.obs:
            del adata.obs[keys[role]]
    tables = {"niche_composition": pd.DataFrame(), "region_comparison": result.region_comparison}
    if result.niches is not None:
        tables["niche_composition"] = niche_table(result.proportions, result.niches)
    for role, table in tables.items():
        adata.uns.pop(keys[role], None)
        if len(table):
            adata.uns[keys[role]] = storable_table(table)


def niche_table(proportions: pd.DataFrame, niches: pd.Series) -> pd.DataFrame:
    """Return mean proportions, a row for each cell type and a column for each niche, as files hold them.

    Names of columns must not have "/" in a file, as those of cell types may.
    """
    composition = proportions.groupby(niches, observed=True).mean().T
    return pd.DataFrame(
        composition.to_numpy(),
        index=pd.Index(composition.index, name="cell_type"),
        columns=[str(name) for name in composition.columns],
    )


def storable_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with its index as the first column: a file needs unique names of rows."""
    plain = table.reset_index()
    plain.index = plain.index.astype(str)
    return plain


def _comparison_in_file(table: Any) -> pd.DataFrame:
    """Return the comparison that a file holds; an empty table if it holds none."""
    if not isinstance(table, pd.DataFrame) or "cell_type" not in table:
        return pd.DataFrame()
    return table.set_index("cell_type")


def _best_attention(evidence: dict[str, Any]) -> dict[str, Any] | None:
    """Return the way to smooth by likeness that predicted held-out genes best."""
    tried = [one for one in evidence.values() if isinstance(one, dict) and one["sharpness"] > 0]
    return min(tried, key=lambda one: float(one["loss"]), default=None)


def _smoothing(evidence: dict[str, Any], n_cell_types: int) -> Smoothing:
    """Return how to smooth from what is written of it."""
    known = {each.name: evidence[each.name] for each in fields(Smoothing) if each.name in evidence}
    metric = tuple(np.asarray(known.pop("metric", ()), dtype=float).tolist())
    # Without some of the types it is not known whose entries were whose.
    return Smoothing(**known, metric=metric if len(metric) == n_cell_types else ())


def _view_in_file(text: Any) -> dict[str, Any]:
    """Return what a file says was shown; nothing where it does not say it in JSON."""
    try:
        view = json.loads(text) if isinstance(text, str) else {}
    except ValueError:
        view = {}
    return view if isinstance(view, dict) else {}


def _colors_in_file(cell_types: pd.Index, colors: Any) -> dict[str, str]:
    """Return the colors that a file gives its cell types; none where they are not one each."""
    found = [str(color) for color in np.atleast_1d([] if colors is None else colors)]
    is_usable = len(found) == len(cell_types) and all(_COLOR.fullmatch(color) for color in found)
    return dict(zip(cell_types, found, strict=True)) if is_usable else {}


def _shares(abundances: pd.DataFrame) -> pd.DataFrame:
    total = abundances.sum(axis=1, skipna=False)
    return abundances.div(total.where(total > 0), axis=0)


def over_all_spots(
    abundances: NDArray[np.float64],
    fitted: NDArray[np.bool_],
    reasons: pd.Series,
    cell_types: pd.Index,
) -> tuple[pd.DataFrame, pd.Series]:
    """Return the abundances of the fitted spots as a table of all, NaN where there are none, and why."""
    table = np.full((len(fitted), len(cell_types)), np.nan)
    table[fitted] = abundances
    unmatched = fitted & (table.sum(axis=1) == 0)
    table[unmatched] = np.nan
    return pd.DataFrame(table, index=reasons.index, columns=cell_types), reasons.mask(unmatched, UNMATCHED)


def _refit_summary(problem: Problem, left_out: list[str]) -> str:
    n_spots, n_types = problem.abundances.shape
    size = f"{count(n_spots, 'spot')}, {count(n_types, 'cell type')}"
    text = f"{size}; solved again with smoothness {problem.lambda_c:.3g}"
    return f"{text} and without {', '.join(left_out)}." if left_out else f"{text}."


def _refit_note(problem: Problem, without: Sequence[str]) -> str:
    types = f", without {', '.join(without)}" if without else ""
    return f"Solved again with lambda_c {problem.lambda_c:.3g}{types}; weights and attention stay as fitted."


def _check_prefix(key_added: str) -> None:
    if key_added == SPATIAL:
        raise InputError(f"`key_added`: {key_added!r} would replace the coordinates. Choose another prefix.")
    if not key_added or "/" in key_added:
        raise InputError(f"`key_added` must be a name without '/', found {key_added!r}.")


def _missing_slots(adata: AnnData, keys: dict[str, str]) -> list[str]:
    roles = {
        "obsm": ("abundances",),
        "obs": ("counts", "reason"),
        "obsp": ("graph", "attention"),
        "uns": ("parameters",),
    }
    wanted = [(slot, keys[role]) for slot in roles for role in roles[slot]]
    missing = [(slot, name) for slot, name in wanted if name not in getattr(adata, slot)]
    advice = "Open the `spatial.h5ad` that `spotmix run` or Save has written."
    if missing == wanted:
        return [f"holds spots, but no result of a run. {advice}"]
    return [f"`{slot}[{name!r}]` is missing, which a result holds. {advice}" for slot, name in missing]


def storable(value: Any) -> Any:
    """Return `value` with None dropped from dictionaries and tuples as lists, as h5ad and TOML need.

    Examples
    --------
    >>> storable({"lambda_c": None, "genes": ("a", "b")})
    {'genes': ['a', 'b']}
    """
    if isinstance(value, dict):
        return {key: storable(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [storable(item) for item in value]
    return value
