"""The stained picture: colors of hematoxylin and eosin, each nucleus where its cell is."""

from __future__ import annotations

import numpy as np
import pytest

from napari_spotmix.simulation.counts import SimulatedCounts, simulate_tissue
from napari_spotmix.simulation.histology import render

UM_PER_PX = 1.5


@pytest.fixture(scope="module")
def tissue() -> SimulatedCounts:
    return simulate_tissue(
        250,
        60,
        10,
        layout="hexagonal",
        counts_per_spot=100.0,
        pitch_um=100.0,
        cell_diameter_um=12.0,
        platform_effect=0.0,
        random_state=5,
    )


@pytest.fixture(scope="module")
def picture(tissue: SimulatedCounts) -> np.ndarray:
    return render(tissue, UM_PER_PX, np.random.default_rng(0))


def is_nucleus(picture: np.ndarray) -> np.ndarray:
    """Red light is taken by hematoxylin and hardly by eosin."""
    return picture[..., 0] < 140


def at(picture: np.ndarray, xy_um: np.ndarray) -> np.ndarray:
    column, row = np.rint(xy_um / UM_PER_PX).astype(int).T
    return picture[row, column]


def test_picture_covers_the_field_of_view(tissue: SimulatedCounts, picture: np.ndarray) -> None:
    assert picture.dtype == np.uint8
    width, height = tissue.extent_um / UM_PER_PX
    assert picture.shape == (int(np.ceil(height)), int(np.ceil(width)), 3)


def test_each_nucleus_is_where_its_cell_is(tissue: SimulatedCounts, picture: np.ndarray) -> None:
    nuclei, xy = is_nucleus(picture), tissue.cells.xy_um
    assert at(nuclei, xy).mean() > 0.95
    for shift in ([9.0, 0.0], [0.0, 9.0], [-9.0, 0.0], [0.0, -9.0]):
        assert at(nuclei, xy + shift).mean() < 0.5


def test_long_nuclei_point_along_their_fibers(tissue: SimulatedCounts, picture: np.ndarray) -> None:
    long = tissue.cells.types == [kind.name for kind in tissue.cell_types].index("Smooth muscle")
    xy, angles = tissue.cells.xy_um[long], tissue.cells.angles[long]
    step = 5 * np.column_stack([np.cos(angles), np.sin(angles)])
    nuclei = is_nucleus(picture)
    assert at(nuclei, xy + step).mean() > 0.8
    assert at(nuclei, xy + step[:, ::-1] * (-1, 1)).mean() < 0.4
    inside_muscle = tissue.anatomy.depth(xy) > 0.3
    off = (angles - tissue.anatomy.direction(xy))[inside_muscle]
    assert np.median(np.abs(np.sin(off))) < 0.3


def test_nuclei_of_glands_point_to_the_middle_of_theirs(tissue: SimulatedCounts, picture: np.ndarray) -> None:
    epithelial = (tissue.cells.types == 0) & (np.abs(np.sin(2 * tissue.cells.angles)) > 0.7)
    xy, angles = tissue.cells.xy_um[epithelial], tissue.cells.angles[epithelial]
    step = 4 * np.column_stack([np.cos(angles), np.sin(angles)])
    nuclei = is_nucleus(picture)
    radial, around = at(nuclei, xy + step).mean(), at(nuclei, xy + step[:, ::-1] * (-1, 1)).mean()
    assert radial > around + 0.15
    assert at(nuclei, xy - 2 * step).mean() < 0.25


def test_hematoxylin_under_a_spot_goes_with_its_number_of_cells(
    tissue: SimulatedCounts, picture: np.ndarray
) -> None:
    steps = np.arange(-27, 28, 3.0)
    disc = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    disc = disc[np.hypot(*disc.T) < tissue.spots.diameter_um / 2]
    n_cells = tissue.cells_in_spots.sum(axis=1)

    def similarity(picture: np.ndarray) -> float:
        points = np.clip(tissue.spots.xy_um[:, None] + disc, 0, (min(picture.shape[:2]) - 1) * UM_PER_PX)
        nuclei = at(is_nucleus(picture), points.reshape(-1, 2)).reshape(points.shape[:2]).mean(axis=1)
        return float(np.corrcoef(nuclei, n_cells)[0, 1])

    # The picture is padded to a square, so that it can be turned.
    side = max(picture.shape[:2])
    square = np.full((side, side, 3), 243, dtype=np.uint8)
    square[: picture.shape[0], : picture.shape[1]] = picture
    registered = similarity(square)
    assert registered > 0.7
    mirrored = (picture[:, ::-1], picture[::-1], picture.transpose(1, 0, 2))
    for turned in mirrored:
        square[:] = 243
        square[: turned.shape[0], : turned.shape[1]] = turned
        assert similarity(square) < registered - 0.3


def test_nuclei_are_blue_purple_on_pink(tissue: SimulatedCounts, picture: np.ndarray) -> None:
    red, green, blue = at(picture, tissue.cells.xy_um).mean(axis=0)
    assert blue > red > green
    inside = tissue.anatomy.outline(np.argwhere(np.ones(picture.shape[:2]))[:, ::-1] * UM_PER_PX) < 0.95
    stroma = picture.reshape(-1, 3)[inside & ~is_nucleus(picture).ravel()]
    red, green, blue = stroma.mean(axis=0)
    assert red > blue > green
    assert red - green > 40


def test_glass_and_cavities_are_white(tissue: SimulatedCounts, picture: np.ndarray) -> None:
    assert picture[:5].min() > 235
    assert len(tissue.anatomy.glands.centers_um) > 5
    assert at(picture, tissue.anatomy.glands.centers_um).min() > 225


def test_scale_changes_the_resolution_and_not_the_place(tissue: SimulatedCounts) -> None:
    fine = render(tissue, 1.0, np.random.default_rng(0))[::3, ::3].astype(float).mean(axis=-1)
    coarse = render(tissue, 3.0, np.random.default_rng(0)).astype(float).mean(axis=-1)
    height, width = np.minimum(fine.shape, coarse.shape)
    fine, coarse = fine[:height, :width], coarse[:height, :width]
    similarity = np.corrcoef(fine.ravel(), coarse.ravel())[0, 1]
    assert similarity > 0.6
    assert similarity > np.corrcoef(fine[:, ::-1].ravel(), coarse.ravel())[0, 1] + 0.1


def test_same_seed_paints_the_same_picture(tissue: SimulatedCounts, picture: np.ndarray) -> None:
    assert render(tissue, UM_PER_PX, np.random.default_rng(0)).tobytes() == picture.tobytes()
    assert render(tissue, UM_PER_PX, np.random.default_rng(1)).tobytes() != picture.tobytes()
