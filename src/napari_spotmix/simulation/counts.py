"""Tissue with known truth: cells, the spots that capture their RNA, and a reference of the same types.

    Y_ig ~ Poisson(N_i sum_k Q_ik S_kg)

with ``N_i`` the expected counts of a spot, ``Q`` (n_spots, n_cell_types) the share of each cell type
in its RNA, and ``S`` (n_cell_types, n_genes) the signatures as the tissue's technology sees them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.sparse import coo_array, csr_array, vstack
from scipy.spatial import KDTree

from napari_spotmix.base.progress import Progress, ProgressCallback, silent
from napari_spotmix.simulation.anatomy import (
    Anatomy,
    CellPositions,
    CellType,
    cell_type_table,
    hexagonal,
    outline,
    place_cells,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

__all__ = [
    "LAYOUTS",
    "LayoutName",
    "SimulatedReference",
    "SimulatedSpots",
    "SimulatedCounts",
    "draw_counts",
    "draw_signatures",
    "simulate_reference",
    "simulate_tissue",
]

LayoutName = Literal["hexagonal", "square"]

_BIN_GRID = 3  # points per side of a bin; each belongs to the nearest cell
_BLOCK = 1 << 20  # entries and molecules drawn at once


@dataclass(frozen=True)
class SpotLattice:
    """Defaults of a lattice of spots: pitch, diameter in pitches, and mean counts of a spot."""

    pitch_um: float
    diameter: float
    counts_per_spot: float


#: Visium's spots, and bins smaller than a cell; the diameter is in pitches.
LAYOUTS: dict[LayoutName, SpotLattice] = {
    "hexagonal": SpotLattice(pitch_um=100.0, diameter=0.55, counts_per_spot=1000.0),
    "square": SpotLattice(pitch_um=4.0, diameter=1.0, counts_per_spot=30.0),
}


@dataclass(frozen=True, eq=False)
class SimulatedSpots:
    """Positions of the spots.

    Attributes
    ----------
    xy_um : ndarray of float64, shape (n_spots, 2)
        Middle of each spot, (x, y) from the upper left corner of the image.
    rows, columns : ndarray of int64, shape (n_spots,)
        Its position in the grid; columns of a hexagonal grid count half pitches.
    pitch_um, diameter_um : float
        Distance of neighbors, and diameter of a spot or side of a bin.
    """

    xy_um: Floats
    rows: Integers
    columns: Integers
    pitch_um: float
    diameter_um: float


@dataclass(frozen=True, eq=False, kw_only=True)
class SimulatedCounts:
    """Simulated counts, and the tissue that they come from.

    Attributes
    ----------
    anatomy, cells, spots
        The tissue.
    cell_types : tuple of CellType
        Their order is that of every axis of cell types.
    counts : csr_array of float32, shape (n_spots, n_genes)
        Observed counts.
    cells_in_spots : csr_array of float64, shape (n_spots, n_cell_types)
        Number of cells in each spot (hexagonal), or share of a bin that each type covers (square).
    truth : csr_array of float64, shape (n_spots, n_cell_types)
        True proportions of cells; rows sum to 1.
    truth_rna : csr_array of float64, shape (n_spots, n_cell_types)
        True proportions of RNA; rows sum to 1.
    expected_counts : ndarray of float64, shape (n_spots,)
        Expected total of each spot.
    signatures : ndarray of float64, shape (n_cell_types, n_genes)
        Share of each gene in the RNA of each type, as the reference sees it; rows sum to 1.
    tissue_signatures : ndarray of float64, shape (n_cell_types, n_genes)
        The same as the tissue sees it: different if there is a platform effect.
    markers : ndarray of int64, shape (n_genes,)
        Cell type that a gene is a marker of, -1 for none.
    """

    anatomy: Anatomy
    cells: CellPositions
    spots: SimulatedSpots
    cell_types: tuple[CellType, ...]
    counts: csr_array
    cells_in_spots: csr_array
    truth: csr_array
    truth_rna: csr_array
    expected_counts: Floats
    signatures: Floats
    tissue_signatures: Floats
    markers: Integers

    @property
    def extent_um(self) -> Floats:
        """Width and height of the field of view, the same margin on all sides."""
        return np.asarray(self.spots.xy_um.max(axis=0) + self.spots.xy_um.min(axis=0))


@dataclass(frozen=True, eq=False)
class SimulatedReference:
    """Labeled single cells.

    Attributes
    ----------
    counts : csr_array of float32, shape (n_cells, n_genes)
        Observed counts.
    types : ndarray of int64, shape (n_cells,)
        Index of the type of each cell.
    """

    counts: csr_array
    types: Integers


def simulate_tissue(
    n_spots: int,
    n_genes: int,
    n_cell_types: int,
    *,
    layout: LayoutName,
    counts_per_spot: float,
    pitch_um: float,
    cell_diameter_um: float,
    platform_effect: float,
    random_state: int,
    on_progress: ProgressCallback = silent,
) -> SimulatedCounts:
    """Simulate a tissue and the counts of its spots.

    Parameters
    ----------
    n_spots, n_genes, n_cell_types : int
        Sizes; the tissue is as large as the spots need.
    layout : {"hexagonal", "square"}
        Separate spots that hold several cells, or contiguous bins.
    counts_per_spot : float
        Mean of the total of a spot.
    pitch_um : float
        Distance of neighboring spots, or side of a bin.
    cell_diameter_um : float
        Distance of neighboring cells where they are packed most closely.
    platform_effect : float
        Standard deviation of the logarithm of a factor per gene between reference and tissue.
    random_state : int
        Seed; the same one gives the same tissue.
    on_progress : callable, optional
        Called with each step; what it raises stops the simulation.

    Returns
    -------
    SimulatedCounts

    Notes
    -----
    Time and memory grow with the number of counts: no dense (n_spots, n_genes) array is made.
    """
    cell_types = cell_type_table(n_cell_types)
    shape_rng, cell_rng, gene_rng, depth_rng, count_rng = np.random.default_rng(random_state).spawn(5)
    on_progress(Progress("Placing cells", 0, 1))
    spots, anatomy = _lay_out(n_spots, layout, pitch_um, shape_rng)
    cells = place_cells(anatomy, cell_types, cell_diameter_um, cell_rng)
    on_progress(Progress("Placing cells", 1, 1))
    if layout == "hexagonal":
        amounts = _cells_in_spots(spots, cells, n_cell_types)
    else:
        amounts = _cells_under_bins(spots, cells, n_cell_types, cell_diameter_um, on_progress)
    rna = _scale_columns(amounts, np.array([cell_type.rna for cell_type in cell_types]))
    expected = _expected_counts(rna, counts_per_spot, depth_rng)
    signatures, markers = draw_signatures(cell_types, n_genes, gene_rng)
    seen = _through_platform(signatures, platform_effect, gene_rng)
    truth_rna = _rows_to_one(rna)
    return SimulatedCounts(
        anatomy=anatomy,
        cells=cells,
        spots=spots,
        cell_types=cell_types,
        counts=draw_counts(_scale_rows(truth_rna, expected), seen, count_rng, on_progress),
        cells_in_spots=amounts,
        truth=_rows_to_one(amounts),
        truth_rna=truth_rna,
        expected_counts=expected,
        signatures=signatures,
        tissue_signatures=seen,
        markers=markers,
    )


def _lay_out(
    n_spots: int, layout: LayoutName, pitch_um: float, rng: np.random.Generator
) -> tuple[SimulatedSpots, Anatomy]:
    """Take the innermost `n_spots` of a grid under a blob's outline, and grow the tissue around them."""
    amplitudes = np.array([0.10, 0.05, 0.035, 0.025, 0.02, 0.012])
    harmonics = np.column_stack([amplitudes, rng.uniform(0, 2 * np.pi, len(amplitudes))])
    harmonics[0, 1] = rng.normal(0, 0.5)  # wider than high, as sections are mostly shown
    area = pitch_um**2 * (np.sqrt(0.75) if layout == "hexagonal" else 1.0)
    half_width = 1.45 * np.sqrt(n_spots * area / np.pi) + 2 * pitch_um
    xy, rows, columns = (
        hexagonal(pitch_um, half_width) if layout == "hexagonal" else _square(pitch_um, half_width)
    )
    level = outline(xy, harmonics)
    inside = np.sort(np.argsort(level, kind="stable")[:n_spots])
    radius = float(level[inside].max()) + pitch_um * LAYOUTS[layout].diameter / 2
    xy, rows, columns = xy[inside], rows[inside], columns[inside]
    margin = 0.12 * radius + pitch_um
    center = margin - xy.min(axis=0)
    columns = columns - (columns.min() - rows.min() % 2 if layout == "square" else columns.min() // 2 * 2)
    rows = rows - rows.min() // 2 * 2
    spots = SimulatedSpots(xy + center, rows, columns, pitch_um, pitch_um * LAYOUTS[layout].diameter)
    return spots, Anatomy.grow(rng, harmonics, center, radius)


def _square(pitch_um: float, half_width_um: float) -> tuple[Floats, Integers, Integers]:
    n = int(half_width_um / pitch_um) + 1
    rows, columns = np.divmod(np.arange((2 * n + 1) ** 2), 2 * n + 1)
    return np.column_stack([columns - n, rows - n]) * pitch_um, rows, columns


def _cells_in_spots(spots: SimulatedSpots, cells: CellPositions, n_cell_types: int) -> csr_array:
    """Count the cells of each type whose middle is in a spot; an empty spot takes the nearest cell."""
    distance, nearest = map(np.asarray, KDTree(spots.xy_um).query(cells.xy_um, workers=-1))
    caught = distance < spots.diameter_um / 2
    index, types = nearest[caught], cells.types[caught]
    empty = np.setdiff1d(np.arange(len(spots.xy_um)), index)
    closest = np.asarray(KDTree(cells.xy_um).query(spots.xy_um[empty])[1])
    index, types = np.concatenate([index, empty]), np.concatenate([types, cells.types[closest]])
    return csr_array(coo_array((np.ones(len(index)), (index, types)), shape=(len(spots.xy_um), n_cell_types)))


def _cells_under_bins(
    spots: SimulatedSpots,
    cells: CellPositions,
    n_cell_types: int,
    cell_diameter_um: float,
    on_progress: ProgressCallback,
) -> csr_array:
    """Measure how much of each bin the cells of each type cover, every point belonging to the nearest cell.

    Points far from any cell, as in cavities, hold only a little RNA that has leaked there.
    """
    steps = (np.arange(_BIN_GRID) + 0.5) / _BIN_GRID - 0.5
    offsets = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2) * spots.pitch_um
    tree, n_spots, block = KDTree(cells.xy_um), len(spots.xy_um), _BLOCK // 16
    parts = []
    for start in range(0, n_spots, block):
        on_progress(Progress("Overlaying bins and cells", start, n_spots))
        points = (spots.xy_um[start : start + block, None] + offsets).reshape(-1, 2)
        distance, nearest = tree.query(points, workers=-1)
        covered = np.where(distance < 1.5 * cell_diameter_um, 1.0, 0.2) / len(offsets)
        rows = np.repeat(np.arange(len(points) // len(offsets)), len(offsets))
        shape = (len(points) // len(offsets), n_cell_types)
        parts.append(csr_array(coo_array((covered, (rows, cells.types[nearest])), shape=shape)))
    on_progress(Progress("Overlaying bins and cells", n_spots, n_spots))
    return csr_array(vstack(parts, format="csr"))


def _expected_counts(rna: csr_array, counts_per_spot: float, rng: np.random.Generator) -> Floats:
    """Return the expected total of each spot: its RNA times the efficiency of its capture."""
    content = np.asarray(rna.sum(axis=1)).ravel()
    captured = content * rng.lognormal(0, 0.25, len(content))
    return np.asarray(counts_per_spot * captured / captured.mean())


def draw_signatures(
    cell_types: tuple[CellType, ...], n_genes: int, rng: np.random.Generator
) -> tuple[Floats, Integers]:
    """Draw the signatures of cell types that are more similar within a lineage than across.

    Returns
    -------
    signatures : ndarray of float64, shape (n_cell_types, n_genes)
        Rows sum to 1.
    markers : ndarray of int64, shape (n_genes,)
        Type that a gene is a marker of, -1 for none.
    """
    n_types = len(cell_types)
    lineages = np.unique([cell_type.lineage for cell_type in cell_types], return_inverse=True)[1]
    n_markers = max(1, min(25, n_genes // (3 * n_types)))
    logs = rng.normal(0, 1.4, n_genes) + rng.normal(0, 0.3, (lineages.max() + 1, n_genes))[lineages]
    logs += rng.normal(0, 0.2, (n_types, n_genes))
    markers = np.full(n_genes, -1)
    chosen = rng.permutation(n_genes)[: n_types * n_markers].reshape(n_types, n_markers)
    for index, genes in enumerate(chosen):
        markers[genes] = index
        # A marker is rare elsewhere, and the types of its lineage have a little of it.
        logs[:, genes] -= 1.0
        logs[lineages == lineages[index]] += np.where(np.isin(np.arange(n_genes), genes), 0.7, 0.0)
        logs[index, genes] += rng.uniform(1.0, 3.0, n_markers)
    expression = np.exp(logs)
    return expression / expression.sum(axis=1, keepdims=True), markers


def _through_platform(signatures: Floats, strength: float, rng: np.random.Generator) -> Floats:
    seen = signatures * np.exp(strength * rng.normal(0, 1, signatures.shape[1]))
    return np.asarray(seen / seen.sum(axis=1, keepdims=True))


def draw_counts(
    rates: csr_array, signatures: Floats, rng: np.random.Generator, on_progress: ProgressCallback = silent
) -> csr_array:
    """Draw ``Poisson(rates @ signatures)`` without ever forming that product.

    The molecules of each type in each spot are a Poisson number, and each one draws its gene from
    the type's signature: the sum over types is what is asked for, exactly.

    Parameters
    ----------
    rates : csr_array of float64, shape (n_spots, n_cell_types)
        Expected molecules of each type in each spot.
    signatures : ndarray of float64, shape (n_cell_types, n_genes)
        Rows sum to 1.
    rng : Generator
        Source of randomness.
    on_progress : callable, optional
        Called with each block of spots.

    Returns
    -------
    csr_array of float32, shape (n_spots, n_genes)
        Sorted indices, no zeros stored.
    """
    n_spots, n_genes = rates.shape[0], signatures.shape[1]
    molecules = rng.poisson(rates.data)
    total = int(molecules.sum())
    ladder = _ladder(signatures)
    # There are at most as many entries as molecules; memory never touched costs nothing and is cut off below.
    indices, data = np.empty(total, dtype=np.int32), np.empty(total, dtype=np.float32)
    indptr = np.zeros(n_spots + 1, dtype=np.int64)
    block = max(1, min(_BLOCK // n_genes, int(_BLOCK * n_spots / max(total, 1))))
    filled = 0
    for start in range(0, n_spots, block):
        on_progress(Progress("Drawing counts", start, n_spots))
        stop = min(start + block, n_spots)
        part = slice(rates.indptr[start], rates.indptr[stop])
        rows = np.repeat(np.arange(stop - start), np.diff(rates.indptr[start : stop + 1]))
        genes = _draw_genes(np.repeat(rates.indices[part], molecules[part]), ladder, n_genes, rng)
        cells = np.repeat(rows, molecules[part]) * n_genes + genes
        counts = np.bincount(cells, minlength=(stop - start) * n_genes)
        stored = np.flatnonzero(counts)
        at = slice(filled, filled + len(stored))
        indices[at], data[at] = stored % n_genes, counts[stored]
        edges = np.searchsorted(stored, np.arange(1, stop - start + 1) * n_genes)
        indptr[start + 1 : stop + 1] = filled + edges
        filled += len(stored)
    on_progress(Progress("Drawing counts", n_spots, n_spots))
    indices.resize(filled, refcheck=False)
    data.resize(filled, refcheck=False)
    if filled < np.iinfo(np.int32).max:
        indptr = indptr.astype(np.int32)
    return csr_array((data, indices, indptr), shape=(n_spots, n_genes))


def _ladder(signatures: Floats) -> Floats:
    """All cumulative signatures on one rising line, that of type k between k and k + 1."""
    steps = np.cumsum(signatures, axis=1)
    steps /= steps[:, -1:]
    return np.asarray((steps + np.arange(len(steps))[:, None]).ravel())


def _draw_genes(
    types: NDArray[np.integer], ladder: Floats, n_genes: int, rng: np.random.Generator
) -> Integers:
    genes = np.searchsorted(ladder, types + rng.random(len(types)), side="right") - types * n_genes
    return np.minimum(genes, n_genes - 1)


def simulate_reference(
    tissue: SimulatedCounts,
    *,
    n_cells_per_type: int,
    counts_per_cell: float,
    overdispersion: float,
    random_state: int,
) -> SimulatedReference:
    """Draw labeled single cells from the signatures of a tissue, before any platform effect.

    Parameters
    ----------
    tissue : SimulatedCounts
        Whose types are drawn.
    n_cells_per_type : int
        Cells of each type.
    counts_per_cell : float
        Median of the total of a cell with an RNA content of 1.
    overdispersion : float
        Typical variance of a count beyond Poisson, as a multiple of its squared mean; varies by gene.
    random_state : int
        Seed.

    Returns
    -------
    SimulatedReference
        Cells in the order of their types.
    """
    rng = np.random.default_rng([random_state, 1])
    shape = 1 / (overdispersion * np.exp(rng.normal(0, 0.5, tissue.signatures.shape[1])))
    blocks = []
    for cell_type, signature in zip(tissue.cell_types, tissue.signatures, strict=True):
        depth = counts_per_cell * cell_type.rna * rng.lognormal(0, 0.4, (n_cells_per_type, 1))
        rate = depth * signature * rng.gamma(shape, 1 / shape, (n_cells_per_type, len(shape)))
        blocks.append(csr_array(rng.poisson(rate).astype(np.float32)))
    return SimulatedReference(
        csr_array(vstack(blocks, format="csr")), np.repeat(np.arange(len(blocks)), n_cells_per_type)
    )


def _scale_rows(matrix: csr_array, factors: Floats) -> csr_array:
    data = matrix.data * np.repeat(factors, np.diff(matrix.indptr))
    return csr_array((data, matrix.indices, matrix.indptr), shape=matrix.shape)


def _scale_columns(matrix: csr_array, factors: Floats) -> csr_array:
    return csr_array(
        (matrix.data * factors[matrix.indices], matrix.indices, matrix.indptr), shape=matrix.shape
    )


def _rows_to_one(matrix: csr_array) -> csr_array:
    return _scale_rows(matrix, 1 / np.asarray(matrix.sum(axis=1)).ravel())
