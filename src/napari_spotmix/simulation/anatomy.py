"""An invented piece of tissue: its outline, zones, glands, vessels, and the cells in it.

The tissue resembles the wall of a gut, since that holds every kind of pattern a method has to
cope with: three layers with sharp borders, glands that repeat, dense round follicles, an
infiltrate that fades out, and nests of a rare type. Lengths are in micrometers, x right, y down.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from scipy.spatial import KDTree

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

__all__ = [
    "CELL_TYPES",
    "REGIONS",
    "Anatomy",
    "CellPositions",
    "CellType",
    "cell_type_table",
    "hexagonal",
    "place_cells",
]

#: Names of the regions; `Anatomy.regions` gives their indices.
REGIONS = ("Mucosa", "Submucosa", "Muscle", "Follicle", "Infiltrate")

# Finer zones, in which cells of a type are equally likely everywhere.
GLAND, LAMINA, SUBMUCOSA, MUSCLE, FOLLICLE, MANTLE, VESSEL, INFILTRATE = range(8)
_REGION_OF_ZONE = np.array([0, 0, 1, 2, 3, 3, 1, 4])
# Share of the closest packing that cells reach in each zone.
_DENSITY = np.array([1.0, 0.62, 0.32, 0.5, 1.0, 1.0, 0.8, 0.85])

# Borders of the layers in units of the tissue's radius, from top to bottom.
_MUCOSA_ENDS, _SUBMUCOSA_ENDS = -0.22, 0.22
_ROUNDNESS = 1.16
# Cavities of glands and vessels, and where the nuclei of glands stand, in radii.
_GLAND_LUMEN, _GLAND_NUCLEI, _VESSEL_LUMEN = 0.34, 0.76, 0.62
# Amplitude and frequency of the waves of the layers, over the tissue's radius.
_WAVES = np.array([[0.10, 2.4], [0.03, 5.5]])
_RARE_SHARE = 0.015
_RARE_SCATTERED = 0.1


class CellType(NamedTuple):
    """What is known of a cell type before any tissue is made.

    `weights` are relative frequencies in the zones gland, lamina, submucosa, muscle, follicle,
    mantle, vessel and infiltrate; all zero marks the rare type, which lives in nests.
    """

    name: str
    lineage: str
    rna: float
    nucleus_um: tuple[float, float]
    darkness: float
    orientation: Literal["along", "radial", "random"]
    weights: tuple[float, ...]


_RARE = CellType("Neuroendocrine", "neural", 1.2, (6.0, 7.0), 1.0, "random", (0,) * 8)

#: The common types, most important first, so that any number of them makes a plausible tissue.
CELL_TYPES: tuple[CellType, ...] = (
    CellType("Epithelial", "epithelial", 1.3, (5.5, 8.5), 0.95, "radial", (70, 2, 0, 0, 0, 0, 0, 0)),
    CellType("Fibroblast", "stromal", 0.9, (3.2, 11.0), 0.9, "along", (1, 22, 62, 8, 2, 5, 8, 10)),
    CellType("Macrophage", "myeloid", 1.2, (5.5, 7.5), 0.8, "random", (0, 9, 5, 2, 3, 4, 1, 46)),
    CellType("T cell", "lymphoid", 0.5, (6.2, 6.6), 1.15, "random", (1, 12, 4, 1, 10, 66, 1, 24)),
    CellType("Smooth muscle", "muscle", 1.0, (3.0, 15.0), 0.85, "along", (0, 1, 3, 82, 0, 0, 50, 4)),
    CellType("Endothelial", "vascular", 0.8, (3.0, 9.0), 0.95, "along", (0, 8, 16, 6, 3, 5, 40, 6)),
    CellType("B cell", "lymphoid", 0.5, (6.4, 6.9), 1.2, "random", (0, 3, 1, 0, 78, 14, 0, 3)),
    CellType("Plasma cell", "lymphoid", 1.6, (6.0, 7.0), 1.1, "random", (0, 34, 3, 0, 2, 5, 0, 6)),
    CellType("Goblet", "epithelial", 1.5, (4.5, 7.0), 1.0, "radial", (28, 0, 0, 0, 0, 0, 0, 0)),
    CellType("Dendritic cell", "myeloid", 1.0, (5.0, 7.5), 0.85, "random", (0, 3, 1, 0, 4, 10, 0, 7)),
    CellType("Pericyte", "stromal", 0.8, (3.0, 9.0), 0.9, "along", (0, 4, 8, 4, 1, 1, 25, 3)),
    CellType("Neutrophil", "myeloid", 0.4, (5.0, 5.5), 1.2, "random", (0, 2, 1, 0, 0, 1, 2, 18)),
    CellType("Mast cell", "myeloid", 1.0, (5.5, 6.5), 0.95, "random", (0, 5, 6, 2, 0, 1, 1, 3)),
    CellType("Enterocyte", "epithelial", 1.4, (5.5, 9.0), 0.9, "radial", (40, 0, 0, 0, 0, 0, 0, 0)),
    CellType("NK cell", "lymphoid", 0.5, (6.2, 6.8), 1.1, "random", (0, 4, 1, 0, 2, 8, 0, 9)),
    CellType("Myofibroblast", "stromal", 1.1, (3.2, 12.0), 0.9, "along", (0, 10, 6, 14, 0, 0, 5, 10)),
    CellType("Schwann cell", "neural", 0.8, (3.0, 10.0), 0.85, "along", (0, 2, 6, 14, 0, 0, 2, 1)),
    CellType("Lymphatic endothelial", "vascular", 0.8, (3.0, 9.0), 0.9, "along", (0, 6, 9, 3, 1, 4, 8, 3)),
    CellType("Monocyte", "myeloid", 0.8, (5.5, 7.0), 0.95, "random", (0, 3, 2, 1, 0, 2, 4, 16)),
    CellType("Stem cell", "epithelial", 1.2, (5.0, 7.5), 1.1, "radial", (14, 0, 0, 0, 0, 0, 0, 0)),
    CellType("Regulatory T cell", "lymphoid", 0.5, (6.2, 6.6), 1.15, "random", (0, 4, 1, 0, 4, 14, 0, 8)),
    CellType("Germinal-center B cell", "lymphoid", 0.9, (7.0, 7.6), 1.0, "random", (0, 0, 0, 0, 42, 2, 0, 0)),
    CellType("Adipocyte", "stromal", 0.7, (3.0, 8.0), 0.9, "random", (0, 0, 12, 2, 0, 0, 1, 1)),
    CellType("Interstitial cell", "muscle", 0.9, (3.0, 11.0), 0.9, "along", (0, 0, 1, 15, 0, 0, 0, 0)),
    CellType("Enteric neuron", "neural", 1.8, (8.0, 9.0), 0.75, "random", (0, 0, 3, 7, 0, 0, 0, 0)),
    CellType("Tuft cell", "epithelial", 1.0, (5.0, 7.5), 0.95, "radial", (8, 0, 0, 0, 0, 0, 0, 0)),
    CellType("Eosinophil", "myeloid", 0.5, (5.0, 6.0), 1.1, "random", (0, 6, 3, 0, 0, 1, 1, 6)),
    CellType("Innate lymphoid cell", "lymphoid", 0.5, (6.2, 6.8), 1.1, "random", (0, 7, 1, 0, 2, 5, 0, 2)),
    CellType("Paneth cell", "epithelial", 1.6, (5.5, 7.5), 1.0, "radial", (10, 0, 0, 0, 0, 0, 0, 0)),
    CellType("Mesothelial", "stromal", 0.9, (4.0, 9.0), 0.9, "along", (0, 0, 3, 6, 0, 0, 0, 0)),
)  # fmt: skip


def cell_type_table(n_cell_types: int) -> tuple[CellType, ...]:
    """Return that many cell types; from four on, the last is the rare one.

    Examples
    --------
    >>> [cell_type.name for cell_type in cell_type_table(4)]
    ['Epithelial', 'Fibroblast', 'Macrophage', 'Neuroendocrine']
    """
    return CELL_TYPES[:n_cell_types] if n_cell_types < 4 else (*CELL_TYPES[: n_cell_types - 1], _RARE)


def hexagonal(pitch_um: float, half_width_um: float) -> tuple[Floats, Integers, Integers]:
    """Return (x, y), rows and columns of a hexagonal grid that covers a square around the origin.

    Columns count half pitches, as in Visium: odd rows hold odd columns.
    """
    n_rows = int(half_width_um / (pitch_um * np.sqrt(0.75))) + 1
    n_columns = int(half_width_um / pitch_um) + 1
    rows, columns = np.divmod(np.arange((2 * n_rows + 1) * (2 * n_columns + 1)), 2 * n_columns + 1)
    rows, columns = rows - n_rows, 2 * (columns - n_columns)
    columns = columns + rows % 2
    return np.column_stack([columns * pitch_um / 2, rows * pitch_um * np.sqrt(0.75)]), rows, columns


@dataclass(frozen=True, eq=False)
class Discs:
    """Round structures, slightly out of round, that do not overlap."""

    centers_um: Floats
    radii_um: Floats
    phases: Floats

    @cached_property
    def _tree(self) -> KDTree:
        return KDTree(self.centers_um)

    def relative(self, xy_um: Floats) -> tuple[Floats, Floats, Floats]:
        """Return each point's distance from the nearest center, in radii and in micrometers outside
        the disc, and its direction in radians."""
        if not len(self.centers_um):
            far = np.full(len(xy_um), np.inf)
            return far, far, np.zeros(len(xy_um))
        index = self._tree.query(xy_um, workers=-1)[1]
        dx, dy = (xy_um - self.centers_um[index]).T
        angle = np.arctan2(dy, dx)
        radius = self.radii_um[index] * _roundness(angle, self.phases[index])
        distance = np.hypot(dx, dy)
        return distance / radius, distance - radius, angle

    def where(self, kept: NDArray[np.bool_]) -> Discs:
        """Return some of the discs."""
        return Discs(self.centers_um[kept], self.radii_um[kept], self.phases[kept])

    def scaled(self, factor: float) -> Discs:
        """Return discs of the same shape, larger or smaller."""
        return Discs(self.centers_um, factor * self.radii_um, self.phases)

    def around(self, spacing_um: float) -> tuple[Floats, Floats]:
        """Return points around the edge of each disc, and their directions."""
        numbers = np.maximum(4, np.rint(2 * np.pi * self.radii_um / spacing_um)).astype(np.int64)
        disc = np.repeat(np.arange(len(numbers)), numbers)
        step = np.arange(len(disc)) - np.repeat(np.cumsum(numbers) - numbers, numbers)
        angle = self.phases[disc] + 2 * np.pi * step / numbers[disc]
        radius = self.radii_um[disc] * _roundness(angle, self.phases[disc])
        return self.centers_um[disc] + radius[:, None] * np.column_stack(
            [np.cos(angle), np.sin(angle)]
        ), angle


def _roundness(angle: Floats, phase: Floats) -> Floats:
    """Radius in a direction, relative to the mean one; at most `_ROUNDNESS`."""
    return np.asarray(1 + 0.11 * np.cos(2 * (angle - phase)) + 0.05 * np.cos(3 * angle + 5 * phase))


@dataclass(frozen=True, eq=False, kw_only=True)
class Anatomy:
    """The shape of a tissue and of all in it, as functions of the position.

    Attributes
    ----------
    center_um : ndarray of float64, shape (2,)
        Middle of the tissue.
    radius_um : float
        Its mean radius; layers and lesions scale with it, glands and cells do not.
    """

    center_um: Floats
    radius_um: float
    harmonics: Floats
    waves: Floats
    glands: Discs
    vessels: Discs
    follicles: Discs
    infiltrate_um: Floats
    nests_um: Floats

    @classmethod
    def grow(
        cls, rng: np.random.Generator, harmonics: Floats, center_um: Floats, radius_um: float
    ) -> Anatomy:
        """Draw an anatomy of that outline and size."""
        waves = rng.uniform(0, 2 * np.pi, 2)
        none = Discs(np.empty((0, 2)), np.empty(0), np.empty(0))
        empty = np.empty((0, 2))
        bare = cls(
            center_um=center_um, radius_um=radius_um, harmonics=harmonics, waves=waves,
            glands=none, vessels=none, follicles=none, infiltrate_um=empty, nests_um=empty,
        )  # fmt: skip
        spots = np.array([[0.42, 0.3], [-0.5, 0.02], [0.1, 0.55]]) + rng.uniform(-0.05, 0.05, (3, 2))
        placed = bare._at(spots)
        follicles = bare._follicles(rng, min(210.0, 0.13 * radius_um))
        vessels = bare._scatter(rng, min(75.0, 0.1 * radius_um), 5.5, -0.02, _SUBMUCOSA_ENDS)
        return replace(
            bare,
            glands=bare._scatter(rng, min(58.0, 0.17 * radius_um), 2.3, -2.0, _MUCOSA_ENDS),
            vessels=vessels.where(follicles.relative(vessels.centers_um)[0] > 1.5),
            follicles=follicles,
            infiltrate_um=placed[:1],
            nests_um=placed[1:],
        )

    def outline(self, xy_um: Floats) -> Floats:
        """Return the distance from the middle in units of the outline: below 1 is inside."""
        return outline(xy_um - self.center_um, self.harmonics) / self.radius_um

    def depth(self, xy_um: Floats) -> Floats:
        """Return the position across the layers, in radii, waves straightened."""
        u, v = ((xy_um - self.center_um) / self.radius_um).T
        return np.asarray(v + self._wave(u))

    def direction(self, xy_um: Floats) -> Floats:
        """Return the direction of the layers, and so of the fibers, in radians."""
        u = (xy_um[:, 0] - self.center_um[0]) / self.radius_um
        slope = (_WAVES[:, 0] * _WAVES[:, 1] * np.cos(u[:, None] * _WAVES[:, 1] + self.waves)).sum(axis=1)
        return np.asarray(np.arctan(-slope))

    def infiltration(self, xy_um: Floats) -> Floats:
        """Return the probability that a cell belongs to the infiltrate, fading out from its middle."""
        distance = np.linalg.norm((xy_um - self.infiltrate_um) / self.radius_um, axis=1)
        return np.asarray(np.exp(-((distance / 0.36) ** 2)))

    def lumen(self, xy_um: Floats) -> Floats:
        """Return the distance from the cavities of glands and vessels, in micrometers; negative inside."""
        gland = self.glands.scaled(_GLAND_LUMEN).relative(xy_um)[1]
        return np.minimum(gland, self.vessels.scaled(_VESSEL_LUMEN).relative(xy_um)[1])

    def blood(self, xy_um: Floats) -> Floats:
        """Return how far a point is inside the blood that fills some vessels, in micrometers."""
        filled = self.vessels.where(self.vessels.phases > 0.8 * np.pi)
        return -filled.scaled(0.88 * _VESSEL_LUMEN).relative(xy_um)[1]

    def zones(self, xy_um: Floats) -> Integers:
        """Return the zone of each point, the infiltrate left out."""
        depth = self.depth(xy_um)
        zones = np.digitize(depth, [_MUCOSA_ENDS, _SUBMUCOSA_ENDS]) + LAMINA
        follicle = self.follicles.relative(xy_um)[0]
        zones[follicle < 1] = MANTLE
        zones[follicle < 0.66] = FOLLICLE
        zones[self.vessels.relative(xy_um)[0] < 1] = VESSEL
        zones[self.glands.relative(xy_um)[0] < 1] = GLAND
        return zones

    def regions(self, xy_um: Floats) -> Integers:
        """Return the index into `REGIONS` of each point."""
        regions = _REGION_OF_ZONE[self.zones(xy_um)]
        layered = (regions == 1) | (regions == 2)
        regions[layered & (self.infiltration(xy_um) > 0.5)] = REGIONS.index("Infiltrate")
        return regions

    def _wave(self, u: Floats) -> Floats:
        return np.asarray((_WAVES[:, 0] * np.sin(u[:, None] * _WAVES[:, 1] + self.waves)).sum(axis=1))

    def _at(self, layered: Floats) -> Floats:
        """Positions of points given as (u, depth)."""
        uv = np.column_stack([layered[:, 0], layered[:, 1] - self._wave(layered[:, 0])])
        return self.center_um + self.radius_um * uv

    def _scatter(
        self, rng: np.random.Generator, radius: float, pitch: float, top: float, bottom: float
    ) -> Discs:
        """Discs of uneven size on a shaken grid, wholly within a range of depths and the outline."""
        xy = _turn(hexagonal(pitch * radius, 2.2 * self.radius_um)[0], rng.uniform(0, np.pi)) + self.center_um
        xy = xy + rng.normal(0, 0.085 * pitch * radius, xy.shape)
        nearest = np.asarray(KDTree(xy).query(xy, k=2)[0])[:, 1]
        radii = np.minimum(nearest / (1.92 * _ROUNDNESS), 1.3 * radius)
        depth, margin = self.depth(xy), 1.2 * radii / self.radius_um
        inside = (depth > top + margin) & (depth < bottom - margin) & (self.outline(xy) < 1 - 1.4 * margin)
        inside &= radii > 0.55 * radius
        return Discs(xy[inside], radii[inside], rng.uniform(0, 2 * np.pi, int(inside.sum())))

    def _follicles(self, rng: np.random.Generator, radius: float) -> Discs:
        beneath_mucosa = _MUCOSA_ENDS + 1.25 * radius / self.radius_um
        u = np.array([-0.62, -0.12, 0.66]) + rng.uniform(-0.06, 0.06, 3)
        centers = self._at(np.column_stack([u, np.full(3, beneath_mucosa)]))
        return Discs(centers, radius * rng.uniform(0.8, 1.1, 3), rng.uniform(0, 2 * np.pi, 3))


def _turn(xy: Floats, angle: float) -> Floats:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.asarray(xy @ np.array([[cos, sin], [-sin, cos]]))


def outline(offset_um: Floats, harmonics: Floats) -> Floats:
    """Return the distance of points from the origin divided by the radius of a blob in their direction.

    Parameters
    ----------
    offset_um : ndarray of float64, shape (n, 2)
        (x, y) from the middle.
    harmonics : ndarray of float64, shape (n_harmonics, 2)
        Amplitude and phase of the second and higher waves around the outline.
    """
    dx, dy = offset_um.T
    angle = np.arctan2(dy, dx)
    radius = np.ones(len(offset_um))
    for order, (amplitude, phase) in enumerate(harmonics, start=2):
        radius += amplitude * np.cos(order * angle + phase)
    return np.asarray(np.hypot(dx, dy) / radius)


@dataclass(frozen=True, eq=False)
class CellPositions:
    """Positions, types and orientations of the cells of a tissue.

    Attributes
    ----------
    xy_um : ndarray of float64, shape (n_cells, 2)
        Middle of each cell.
    types : ndarray of int64, shape (n_cells,)
        Index of its cell type.
    angles : ndarray of float64, shape (n_cells,)
        Direction of the long axis of its nucleus, in radians.
    """

    xy_um: Floats
    types: Integers
    angles: Floats


def place_cells(
    anatomy: Anatomy, cell_types: tuple[CellType, ...], diameter_um: float, rng: np.random.Generator
) -> CellPositions:
    """Fill a tissue with cells and draw the type of each from the composition of its zone.

    Parameters
    ----------
    anatomy : Anatomy
        The tissue to fill.
    cell_types : tuple of CellType
        The types to draw from.
    diameter_um : float
        Distance of neighboring cells where they are packed most closely.
    rng : Generator
        Source of randomness.

    Returns
    -------
    CellPositions
    """
    xy, zones, radial = _positions(anatomy, diameter_um, rng)
    fading = (zones != GLAND) & (zones != FOLLICLE) & (zones != MANTLE) & (zones != VESSEL)
    zones[fading & (rng.random(len(xy)) < anatomy.infiltration(xy))] = INFILTRATE
    kept = rng.random(len(xy)) < _DENSITY[zones]
    xy, zones, radial = xy[kept], zones[kept], radial[kept]
    types = _draw_types(zones, cell_types, rng)
    if not any(cell_types[-1].weights):
        _make_nests(types, xy, anatomy, len(cell_types) - 1, rng)
    return CellPositions(xy, types, _angles(anatomy, xy, radial, types, cell_types, rng))


def _positions(
    anatomy: Anatomy, diameter_um: float, rng: np.random.Generator
) -> tuple[Floats, Integers, Floats]:
    """Cells in a shaken close packing; those of glands stand in a ring around the cavity."""
    xy = hexagonal(diameter_um, 1.6 * anatomy.radius_um)[0]
    xy = xy + anatomy.center_um + rng.normal(0, 0.17 * diameter_um, xy.shape)
    xy = xy[anatomy.outline(xy) < 1]
    zones = anatomy.zones(xy)
    free = (zones != GLAND) & (anatomy.lumen(xy) > 0)
    ring, radial = anatomy.glands.scaled(_GLAND_NUCLEI).around(0.56 * diameter_um)
    ring = ring + rng.normal(0, 0.1 * diameter_um, ring.shape)
    angles = np.concatenate([np.zeros(int(free.sum())), radial])
    return (
        np.concatenate([xy[free], ring]),
        np.concatenate([zones[free], np.full(len(ring), GLAND)]),
        angles,
    )


def _draw_types(zones: Integers, cell_types: tuple[CellType, ...], rng: np.random.Generator) -> Integers:
    weights = np.array([cell_type.weights for cell_type in cell_types], dtype=float).T
    empty = weights.sum(axis=1) == 0
    weights[empty, 0] = 1.0
    cumulative = np.cumsum(weights / weights.sum(axis=1, keepdims=True), axis=1)
    cumulative[:, -1] = 1.0
    n_types = len(cell_types)
    flat = (cumulative + np.arange(len(cumulative))[:, None]).ravel()
    drawn = np.searchsorted(flat, zones + rng.random(len(zones)), side="right") - zones * n_types
    return np.asarray(np.minimum(drawn, n_types - 1))


def _make_nests(types: Integers, xy: Floats, anatomy: Anatomy, rare: int, rng: np.random.Generator) -> None:
    """Turn a fixed share of the cells into the rare type: most around the nests, the rest anywhere."""
    n_rare = max(1, round(_RARE_SHARE * len(types)))
    n_scattered = int(_RARE_SCATTERED * n_rare)
    distance = KDTree(anatomy.nests_um).query(xy)[0] * rng.uniform(0.8, 1.6, len(xy))
    types[np.argsort(distance, kind="stable")[: n_rare - n_scattered]] = rare
    types[rng.choice(len(types), n_scattered, replace=False)] = rare


def _angles(
    anatomy: Anatomy, xy: Floats, radial: Floats, types: Integers, cell_types: tuple[CellType, ...],
    rng: np.random.Generator,
) -> Floats:  # fmt: skip
    orientation = np.array([cell_type.orientation for cell_type in cell_types])[types]
    relative, _, around = anatomy.vessels.relative(xy)
    fibers = np.where(relative < 1.1, around + np.pi / 2, anatomy.direction(xy))
    angles = np.where(
        orientation == "along", fibers + rng.normal(0, 0.22, len(xy)), rng.uniform(0, np.pi, len(xy))
    )
    return np.where(orientation == "radial", radial + rng.normal(0, 0.1, len(xy)), angles)
