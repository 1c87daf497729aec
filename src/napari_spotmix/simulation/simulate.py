"""Simulated tissue with known truth, as AnnData: the sample data of the plugin and of every test."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.ndimage import gaussian_filter
from scipy.sparse import csr_matrix

from napari_spotmix.base.errors import InputError
from napari_spotmix.base.keys import SPATIAL
from napari_spotmix.base.progress import Progress, ProgressCallback, silent
from napari_spotmix.simulation.anatomy import CELL_TYPES, REGIONS
from napari_spotmix.simulation.counts import (
    LAYOUTS,
    LayoutName,
    SimulatedCounts,
    simulate_reference,
    simulate_tissue,
)
from napari_spotmix.simulation.histology import render

__all__ = ["LIBRARY", "SimulatedTissue", "simulate"]

#: Name of the simulated section in ``uns["spatial"]``.
LIBRARY = "simulated"

_UM_PER_PX = 0.5  # of the full-resolution picture, which is never made
_HIRES_SIDE, _HIRES_SCALE = 2000, 0.5  # pixels at most, and scale at most
_LOWRES_STEP = 3  # pixels of hires to one of lowres
_COUNTS_PER_CELL, _OVERDISPERSION = 4000.0, 0.2


@dataclass(frozen=True, eq=False)
class SimulatedTissue:
    """A section and a reference of the same cell types.

    Attributes
    ----------
    spatial : AnnData
        ``X`` counts, csr float32 (n_spots, n_genes); ``obsm["spatial"]`` (x, y) in full-resolution
        pixels; ``obsm["truth"]`` and ``obsm["truth_rna"]`` true proportions of cells and of their RNA;
        ``obs["region"]``; ``varm["signatures"]`` the share of each gene in each type's RNA in this tissue;
        ``uns["spatial"]["simulated"]`` the stained picture and its scale factors.
    reference : AnnData
        ``X`` counts, csr float32 (n_cells, n_genes); ``obs["cell_type"]`` labels.
    """

    spatial: AnnData
    reference: AnnData


def simulate(
    n_spots: int = 900,
    n_genes: int = 1000,
    n_cell_types: int = 10,
    *,
    layout: LayoutName = "hexagonal",
    counts_per_spot: float | None = None,
    n_cells_per_type: int = 100,
    pitch_um: float | None = None,
    cell_diameter_um: float = 12.0,
    platform_effect: float = 0.0,
    random_state: int = 0,
    image: bool = True,
    on_progress: ProgressCallback = silent,
) -> SimulatedTissue:
    """Simulate a tissue section with known composition, and a labeled reference.

    The tissue resembles the wall of a gut: layers with sharp borders, glands, follicles, vessels,
    an infiltrate that fades out, and from four types on a rare one (1.5% of the cells) in nests.

    Parameters
    ----------
    n_spots : int, optional
        Spots under the tissue, at least 10; the tissue is as large as they need.
    n_genes : int, optional
        Genes, at least two per cell type.
    n_cell_types : int, optional
        Cell types, 2 to 30.
    layout : {"hexagonal", "square"}, optional
        Separate spots that hold several cells, as in Visium, or contiguous bins, by default smaller than
        a cell.
    counts_per_spot : float, optional
        Mean of the total of a spot; by default 1000 for spots and 30 for bins.
    n_cells_per_type : int, optional
        Reference cells of each type.
    pitch_um : float, optional
        Distance of neighboring spots (by default 100; their diameter is 0.55 pitches), or side
        of a bin (by default 4), in micrometers.
    cell_diameter_um : float, optional
        Distance of neighboring cells where they are packed most closely, in micrometers.
    platform_effect : float, optional
        Standard deviation of the logarithm of a factor per gene by which tissue and reference differ.
    random_state : int, optional
        Seed; the same one gives the same bytes.
    image : bool, optional
        Whether to render the stained picture.
    on_progress : callable, optional
        Called with each step; what it raises stops the simulation.

    Returns
    -------
    SimulatedTissue

    Raises
    ------
    InputError
        If an argument is out of bounds; lists every such argument.

    Examples
    --------
    >>> tissue = simulate(n_spots=60, n_genes=120, n_cell_types=4, random_state=1)
    >>> tissue.spatial.shape, tissue.reference.shape
    ((60, 120), (400, 120))
    >>> list(tissue.spatial.obsm["truth"].columns)
    ['Epithelial', 'Fibroblast', 'Macrophage', 'Neuroendocrine']
    """
    problems = _problems(locals())
    if problems:
        raise InputError(problems)
    defaults = LAYOUTS[layout]
    tissue = simulate_tissue(
        n_spots,
        n_genes,
        n_cell_types,
        layout=layout,
        counts_per_spot=defaults.counts_per_spot if counts_per_spot is None else counts_per_spot,
        pitch_um=defaults.pitch_um if pitch_um is None else pitch_um,
        cell_diameter_um=cell_diameter_um,
        platform_effect=platform_effect,
        random_state=random_state,
        on_progress=on_progress,
    )
    genes = _gene_names(tissue)
    spatial = _spatial(tissue, layout, genes)
    spatial.uns[SPATIAL] = {LIBRARY: _picture(tissue, image, random_state, on_progress)}
    return SimulatedTissue(spatial, _reference(tissue, n_cells_per_type, random_state, genes))


def _problems(given: dict[str, Any]) -> list[str]:
    """Return all problems with the arguments of `simulate`."""
    problems = [
        text for name, bounds in _WHOLE.items() if (text := _number_problem(name, given[name], int, *bounds))
    ]
    for name, bounds in _REAL.items():
        if given[name] is None and name in ("counts_per_spot", "pitch_um"):
            continue
        if text := _number_problem(name, given[name], float, *bounds):
            problems.append(text)
    if given["layout"] not in get_args(LayoutName):
        allowed = " or ".join(repr(name) for name in get_args(LayoutName))
        problems.append(f"`layout` must be {allowed}, found {given['layout']!r}.")
    if not isinstance(given["image"], bool):
        problems.append(f"`image` must be True or False, found {given['image']!r}.")
    if not problems and given["n_genes"] < 2 * given["n_cell_types"]:
        needed = 2 * given["n_cell_types"]
        problems.append(
            f"`n_genes` must be at least two per cell type, {needed} for {given['n_cell_types']} types, "
            f"found {given['n_genes']}. Ask for more genes or fewer types."
        )
    return problems


_WHOLE: dict[str, tuple[float, float]] = {
    "n_spots": (10, 100_000_000),
    "n_genes": (4, 100_000),
    "n_cell_types": (2, len(CELL_TYPES)),
    "n_cells_per_type": (1, 100_000),
    "random_state": (0, math.inf),
}
_REAL: dict[str, tuple[float, float]] = {
    "counts_per_spot": (0.01, 1e6),
    "pitch_um": (0.5, 1000),
    "cell_diameter_um": (4, 50),
    "platform_effect": (0, 3),
}


def _number_problem(name: str, value: Any, kind: type, minimum: float, maximum: float) -> str | None:
    allowed = (int, np.integer) if kind is int else (int, float, np.integer, np.floating)
    if isinstance(value, bool) or not isinstance(value, allowed) or not math.isfinite(value):
        return f"`{name}` must be {'a whole' if kind is int else 'a finite'} number, found {value!r}."
    if not minimum <= value <= maximum:
        bounds = f"at least {minimum:g}" if math.isinf(maximum) else f"from {minimum:g} to {maximum:,g}"
        return f"`{name}` must be {bounds}, found {value!r}."
    return None


def _spatial(tissue: SimulatedCounts, layout: LayoutName, genes: pd.Index) -> AnnData:
    spots = tissue.spots
    names = [cell_type.name for cell_type in tissue.cell_types]
    index = pd.Index(_hexagonal_barcodes(len(spots.rows)) if layout == "hexagonal" else _bin_names(tissue))
    regions = tissue.anatomy.regions(spots.xy_um)
    obs = pd.DataFrame(
        {
            "in_tissue": np.ones(len(index), dtype=np.int64),
            "array_row": spots.rows,
            "array_col": spots.columns,
            "region": pd.Categorical.from_codes(regions, dtype=pd.CategoricalDtype(list(REGIONS))),
        },
        index=index,
    )
    spatial = AnnData(csr_matrix(tissue.counts), obs=obs, var=pd.DataFrame(index=genes))
    spatial.obsm[SPATIAL] = spots.xy_um / _UM_PER_PX
    spatial.obsm["truth"] = pd.DataFrame(tissue.truth.toarray(), index=index, columns=names)
    spatial.obsm["truth_rna"] = pd.DataFrame(tissue.truth_rna.toarray(), index=index, columns=names)
    spatial.varm["signatures"] = pd.DataFrame(tissue.tissue_signatures.T, index=genes, columns=names)
    return spatial


def _reference(tissue: SimulatedCounts, n_cells_per_type: int, random_state: int, genes: pd.Index) -> AnnData:
    reference = simulate_reference(
        tissue,
        n_cells_per_type=n_cells_per_type,
        counts_per_cell=_COUNTS_PER_CELL,
        overdispersion=_OVERDISPERSION,
        random_state=random_state,
    )
    names = [cell_type.name for cell_type in tissue.cell_types]
    index = pd.Index([f"cell-{number:06d}" for number in range(len(reference.types))])
    labels = pd.Categorical.from_codes(reference.types, dtype=pd.CategoricalDtype(names))
    obs = pd.DataFrame({"cell_type": labels}, index=index)
    return AnnData(csr_matrix(reference.counts), obs=obs, var=pd.DataFrame(index=genes))


def _picture(
    tissue: SimulatedCounts, image: bool, random_state: int, on_progress: ProgressCallback
) -> dict[str, Any]:
    """Images and scale factors, as Space Ranger has them."""
    hires_scale = min(_HIRES_SCALE, _HIRES_SIDE * _UM_PER_PX / float(tissue.extent_um.max()))
    scalefactors = {
        "tissue_hires_scalef": hires_scale,
        "tissue_lowres_scalef": hires_scale / _LOWRES_STEP,
        "spot_diameter_fullres": tissue.spots.diameter_um / _UM_PER_PX,
        "microns_per_pixel": _UM_PER_PX,
    }
    images = {}
    if image:
        on_progress(Progress("Staining", 0, 1))
        rng = np.random.default_rng([random_state, 2])
        images["hires"] = render(tissue, _UM_PER_PX / hires_scale, rng)
        blurred = gaussian_filter(images["hires"], (_LOWRES_STEP / 2, _LOWRES_STEP / 2, 0), truncate=2)
        images["lowres"] = np.ascontiguousarray(blurred[::_LOWRES_STEP, ::_LOWRES_STEP])
        on_progress(Progress("Staining", 1, 1))
    return {"images": images, "scalefactors": scalefactors, "metadata": {}}


def _gene_names(tissue: SimulatedCounts) -> pd.Index:
    """Markers are named for their type, so that a list of genes can be read."""
    stems = [cell_type.name.replace(" ", "-") for cell_type in tissue.cell_types]
    names = []
    for gene, marker in enumerate(tissue.markers):
        names.append(f"{stems[marker]}-m{gene:05d}" if marker >= 0 else f"Gene{gene:05d}")
    return pd.Index(names)


def _hexagonal_barcodes(n_spots: int) -> list[str]:
    """Sixteen bases per spot, all different: an odd factor permutes the numbers below 4^16."""
    codes = (np.arange(1, n_spots + 1, dtype=np.uint64) * np.uint64(2654435769)) % np.uint64(1 << 32)
    digits = (codes[:, None] >> np.arange(0, 32, 2, dtype=np.uint64)) & np.uint64(3)
    letters = np.frombuffer(b"ACGT", dtype=np.uint8)[digits]
    return [f"{row.tobytes().decode()}-1" for row in letters]


def _bin_names(tissue: SimulatedCounts) -> list[str]:
    spots = tissue.spots
    stem = f"s_{round(spots.pitch_um):03d}um"
    return [f"{stem}_{row:05d}_{column:05d}-1" for row, column in zip(spots.rows, spots.columns, strict=True)]
