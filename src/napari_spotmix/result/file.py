"""A result as AnnData, and as the ``spatial.h5ad`` of a run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix, issparse

from napari_spotmix.base.colors import niche_colors
from napari_spotmix.base.errors import InputError, ReadError
from napari_spotmix.base.keys import SPATIAL, added_keys
from napari_spotmix.base.progress import ProgressCallback, silent
from napari_spotmix.dataset.regions import from_geojson, to_geojson
from napari_spotmix.io import (
    check_complete,
    copied,
    read_spatial,
    restored_names,
    sparse_damage,
    to_csr,
    with_safe_names,
)
from napari_spotmix.result.data import Result
from napari_spotmix.result.provenance import Provenance
from napari_spotmix.result.view import View

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["from_anndata", "niche_table", "read_result", "storable", "storable_table", "to_anndata"]

_CHANGED = "The file was changed or is damaged: run again, or use an earlier copy."
_INTERVALS = ("proportion", "standard_error", "below", "above")
#: What a comparison of regions must hold to be shown.
_COMPARED_NAMES = ("cell_type", "first", "second")
_COMPARED = (
    *("n_spots_first", "n_spots_second", "mean_first", "mean_second"),
    *("lower_first", "upper_first", "p_holm"),
)
_COLOR = re.compile("#[0-9a-fA-F]{6}")


def to_anndata(result: Result, key_added: str) -> AnnData:
    """Return a copy of the spots with a result added, as `Result.to_anndata` describes."""
    _check_prefix(key_added)
    keys = added_keys(key_added)
    adata = copied(result.spatial)
    _write_dates_as_text(adata)
    adata.obsm[keys["proportions"]] = result.proportions
    adata.obsm[keys["cell_proportions"]] = result.cell_proportions
    adata.obsm[keys["rna_proportions"]] = result.rna_proportions
    adata.obsm[keys["abundances"]] = result.abundances
    if len(result.standard_errors):
        adata.obsm[keys["standard_errors"]] = result.standard_errors
        adata.obs[keys["misfit"]] = result.misfit
        if len(result.interval_table):
            adata.uns[keys["intervals"]] = storable_table(result.interval_table)
        adata.uns[keys["residual_genes"]] = result.residual_genes
    adata.obs[keys["dominant"]] = result.dominant
    adata.obs[keys["unexplained"]] = result.unexplained
    adata.obs[keys["counts"]] = result.counts
    adata.obs[keys["reason"]] = result.reasons.astype("category")
    adata.obsp[keys["graph"]] = csr_matrix(result.weights)
    adata.obsp[keys["attention"]] = csr_matrix(result.attention)
    adata.uns[keys["colors"]] = list(result.colors.values())
    adata.uns[keys["palette"]] = _palette(result)
    if result.regions:
        adata.uns[keys["regions"]] = to_geojson(result.regions)
    if result.view is not None:
        adata.uns[keys["view"]] = result.view.to_json()
    adata.uns[keys["parameters"]] = storable(result.provenance.as_dict()) | {"notes": list(result.notes)}
    _add_analysis(result, adata, keys)
    return with_safe_names(adata)


def of_cell_types(result: Result, key_added: str) -> AnnData:
    """Return the spots with cell types as variables, as `Result.to_anndata` describes."""
    from anndata import AnnData

    keys, whole = added_keys(key_added), to_anndata(result, key_added)
    shares, colors = result.proportions, result.colors
    types = pd.DataFrame(
        {"color": [colors[name] for name in result.cell_types], "mean": shares.mean().to_numpy()},
        index=pd.Index(shares.columns.astype(str), name=None),
    )
    return AnnData(
        shares.to_numpy(dtype=np.float64, copy=True),
        obs=whole.obs,
        var=types,
        obsm={SPATIAL: whole.obsm[SPATIAL]} if SPATIAL in whole.obsm else {},
        obsp={keys[name]: whole.obsp[keys[name]] for name in ("graph", "attention")},
        uns={key: whole.uns[key] for key in (SPATIAL, keys["colors"]) if key in whole.uns},
    )


def from_anndata(adata: AnnData, key_added: str) -> Result:
    """Return the result that was added to spots, as `Result.from_anndata` describes."""
    keys = added_keys(key_added)
    if damage := sparse_damage(adata):
        raise InputError(f"{damage} Copy or download the file again, or run again.")
    adata = restored_names(adata)
    problems = _missing_slots(adata, keys) or _wrong_kinds(adata, keys)
    if problems:
        raise InputError(problems)
    parameters = adata.uns[keys["parameters"]]
    abundances = pd.DataFrame(adata.obsm[keys["abundances"]])
    return Result(
        abundances=abundances,
        counts=adata.obs[keys["counts"]],
        reasons=adata.obs[keys["reason"]].astype(object).fillna("").astype(str),
        signatures=pd.DataFrame(index=abundances.columns),
        weights=to_csr(adata.obsp[keys["graph"]]),
        attention=to_csr(adata.obsp[keys["attention"]]),
        spatial=adata,
        standard_errors=pd.DataFrame(adata.obsm.get(keys["standard_errors"])),
        interval_table=_interval_table(adata.uns.get(keys["intervals"])),
        misfit=pd.Series(adata.obs.get(keys["misfit"]), dtype=float),
        residual_genes=pd.DataFrame(adata.uns.get(keys["residual_genes"])),
        provenance=Provenance.from_dict(parameters),
        notes=_notes(parameters),
        chosen_colors=_colors(adata, keys, abundances.columns),
        regions=from_geojson(str(adata.uns[keys["regions"]])) if keys["regions"] in adata.uns else (),
        view=View.from_json(adata.uns[keys["view"]]) if keys["view"] in adata.uns else None,
        niches=adata.obs.get(keys["niche"]),
        region_of_spot=adata.obs.get(keys["region"]),
        region_comparison=_comparison(adata.uns.get(keys["region_comparison"])),
    )


def read_result(path: Path, *, backed: bool = False, on_progress: ProgressCallback = silent) -> Result:
    """Read the result of a finished run, as `napari_spotmix.read_result` describes."""
    file = path / "spatial.h5ad" if path.is_dir() else path
    check_complete(path)
    if not file.exists():
        raise ReadError(path, "holds no `spatial.h5ad`. Choose the folder that `spotmix run` wrote.")
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
    adata.uns.pop(keys["niche_colors"], None)
    if result.niches is not None:
        niches = [str(name) for name in adata.obs[keys["niche"]].cat.categories]
        of_niche = niche_colors(niches)
        adata.uns[keys["niche_colors"]] = [of_niche[name] for name in niches]
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


def _write_dates_as_text(adata: AnnData) -> None:
    """Replace columns that anndata computes with but cannot write."""
    for table in (adata.obs, adata.var):
        for name, dtype in table.dtypes.items():
            if isinstance(dtype, (pd.PeriodDtype, pd.IntervalDtype)) or dtype.kind in "mM":
                table[name] = table[name].astype(str)


def storable_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with its index as the first column: a file needs unique names of rows."""
    plain = table.reset_index()
    plain.index = plain.index.astype(str)
    return plain


def _comparison(table: Any) -> pd.DataFrame:
    """Return the comparison that a file holds; an empty table if it holds none, or one that is damaged."""
    needed = {*_COMPARED_NAMES, *_COMPARED}
    if not isinstance(table, pd.DataFrame) or not needed <= set(table) or not table.columns.is_unique:
        return pd.DataFrame()
    is_numeric = all(pd.api.types.is_numeric_dtype(table[name]) for name in _COMPARED)
    if not is_numeric or not np.isfinite(table[list(_COMPARED[:2])].to_numpy(float)).all():
        return pd.DataFrame()
    return table.set_index("cell_type")


def _interval_table(table: Any) -> pd.DataFrame:
    """Return the table of intervals that a file holds; an empty table if it holds none."""
    return pd.DataFrame() if table is None else table[list(_INTERVALS)].reset_index(drop=True)


def _is_interval_table(value: Any) -> bool:
    from napari_spotmix.model.uncertainty.calibration import IntervalTable

    if not isinstance(value, pd.DataFrame) or not set(_INTERVALS) <= set(value):
        return False
    try:
        IntervalTable.of_columns(*(value[name] for name in _INTERVALS[1:]))
    except (ValueError, TypeError):
        return False
    return True


def _notes(parameters: Mapping[str, Any]) -> tuple[str, ...]:
    notes = np.atleast_1d(np.asarray(parameters.get("notes", []), dtype=object))
    return tuple(str(note) for note in notes)


def _palette(result: Result) -> pd.DataFrame:
    """Return the color of each type by its name, with types that were left out."""
    colors = result.chosen_colors | result.colors
    return storable_table(pd.DataFrame({"color": pd.Series(colors, dtype=str)}).rename_axis("cell_type"))


def _colors(adata: AnnData, keys: Mapping[str, str], cell_types: pd.Index) -> dict[str, str]:
    """Return the colors that a file gives its cell types, by name.

    Those of the categories of the dominant type come first, since other programs change them, and drop the
    colors of categories that a part of a section does not have. The table has all of them.
    """
    found: dict[str, str] = {}
    table = adata.uns.get(keys["palette"])
    if isinstance(table, pd.DataFrame) and {"cell_type", "color"} <= set(table):
        found = _valid(table["cell_type"], table["color"])
    dominant, stored = adata.obs.get(keys["dominant"]), adata.uns.get(keys["colors"])
    is_categorical = isinstance(getattr(dominant, "dtype", None), pd.CategoricalDtype)
    categories = dominant.cat.categories if dominant is not None and is_categorical else cell_types
    if stored is not None and np.size(stored) == len(categories):
        found |= _valid(categories, np.atleast_1d(stored))
    return found


def _valid(names: Iterable[Any], colors: Iterable[Any]) -> dict[str, str]:
    """Return colors by name; empty unless each is "#rrggbb"."""
    found = {str(name): str(color) for name, color in zip(names, colors, strict=True)}
    return found if all(map(_COLOR.fullmatch, found.values())) else {}


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
    advice = "Open the `spatial.h5ad` that `spotmix run` or Save wrote."
    if missing == wanted:
        return [f"holds spots, but no result of a run. {advice}"]
    return [f"`{slot}[{name!r}]` is missing, which a result needs. {advice}" for slot, name in missing]


def _wrong_kinds(adata: AnnData, keys: dict[str, str]) -> list[str]:
    """Return a problem for each slot that holds values of another kind than a result does."""
    n_types = np.shape(adata.obsm[keys["abundances"]])[-1]
    expected = (
        ("obsm", "abundances", f"a table of numbers for {adata.n_obs:,} spots", _is_table_of_numbers),
        ("obsm", "standard_errors", f"a table of numbers for {n_types:,} types", _is_table_of_numbers),
        ("obs", "counts", "numbers", _are_numbers),
        ("obs", "misfit", "numbers", _are_numbers),
        ("obsp", "graph", "a sparse matrix of numbers", _is_sparse),
        ("obsp", "attention", "a sparse matrix of numbers", _is_sparse),
        ("uns", "intervals", "a table of intervals", _is_interval_table),
        ("uns", "residual_genes", "a table", lambda value: isinstance(value, pd.DataFrame)),
        ("uns", "regions", "text, GeoJSON", lambda value: isinstance(value, str)),
    )
    found = [
        (slot, keys[role], words, getattr(adata, slot)[keys[role]], is_right)
        for slot, role, words, is_right in expected
        if keys[role] in getattr(adata, slot)
    ]
    problems = [
        f"`{slot}[{name!r}]` must hold {words}, found {type(value).__name__}. " + _CHANGED
        for slot, name, words, value, is_right in found
        if not is_right(value)
    ]
    errors = adata.obsm.get(keys["standard_errors"])
    if not problems and errors is not None and np.shape(errors) != (adata.n_obs, n_types):
        problems.append(
            f"`obsm[{keys['standard_errors']!r}]` must have {n_types:,} columns, "
            f"found {np.shape(errors)[1]:,}. {_CHANGED}"
        )
    return problems


def _are_numbers(value: Any) -> bool:
    return getattr(np.asarray(value), "dtype", np.dtype(object)).kind in "iuf"


def _is_table_of_numbers(value: Any) -> bool:
    is_table = isinstance(value, (pd.DataFrame, np.ndarray)) and value.ndim == 2 and value.shape[1] > 0
    return is_table and _are_numbers(value)


def _is_sparse(value: Any) -> bool:
    return issparse(cast("object", value)) and value.dtype.kind in "biuf"


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
