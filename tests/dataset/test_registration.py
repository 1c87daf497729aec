"""Spots that are not on their tissue are reported, but only if it is clear."""

from __future__ import annotations

import numpy as np
import pytest
from anndata import AnnData

from napari_spotmix.dataset.diagnostics import diagnose
from napari_spotmix.dataset.fixes import apply_fixes
from napari_spotmix.dataset.registration import MOVES, better_moves, extent_of, moved
from napari_spotmix.io import read_spatial
from napari_spotmix.simulation.simulate import simulate
from tests.dataset.pictures import lay_on_picture
from tests.io.layouts import REAL_DATA

WAYS = [("swap-xy",), ("flip-x",), ("flip-y",), ("flip-x", "flip-y"), ("swap-xy", "flip-x"), MOVES]


def on_picture() -> AnnData:
    spots = AnnData(np.ones((150, 1), np.float32))
    lay_on_picture(spots)
    return spots


@pytest.mark.parametrize("way", WAYS, ids="+".join)
def test_what_was_turned_is_found_and_fixed(way: tuple[str, ...]) -> None:
    spots = on_picture()
    right = spots.obsm["spatial"]
    spots.obsm["spatial"] = moved(right, way[::-1], extent_of(spots))
    fixes = [f"spatial:{move}" for move in better_moves(spots)]
    assert fixes
    assert np.allclose(apply_fixes(spots, spots, fixes)[0].obsm["spatial"], right)


def test_no_fix_is_offered_for_spots_on_their_tissue_or_without_a_clear_outline() -> None:
    assert better_moves(on_picture()) == ()
    for seed in range(3):
        assert better_moves(simulate(n_spots=300, n_genes=40, random_state=seed).spatial) == ()
    blank = on_picture()
    blank.uns["spatial"]["F"]["images"]["lowres"][:] = 244
    blank.obsm["spatial"] = blank.obsm["spatial"][:, ::-1].copy()
    assert better_moves(blank) == ()


REAL = [
    "demo/mouse_muscle_injury_visium/outs",
    "formats/visium_v1_mouse_muscle_Vis7B_5dpi",
    "formats/visium_v2_mouse_embryo_full",
]


@pytest.mark.parametrize("name", REAL)
def test_real_sections_are_registered_and_are_found_when_turned(name: str) -> None:
    folder = REAL_DATA / name
    if not folder.exists():
        pytest.skip(f"needs the real section {folder}")
    spots = read_spatial(folder)
    right = spots.obsm["spatial"]
    assert better_moves(spots) == ()
    if "embryo" in name:  # the picture shows more than the section, and a slide holder: nothing is clear
        return
    for way in WAYS:
        spots.obsm["spatial"] = moved(right, way[::-1], extent_of(spots))
        back = moved(spots.obsm["spatial"], better_moves(spots), extent_of(spots))
        assert np.allclose(back, right), way


def test_spots_off_the_image_are_reported() -> None:
    tissue = simulate(n_spots=60, n_genes=40, n_cell_types=3)
    tissue.spatial.obsm["spatial"] += 1e4
    words = [one.message for one in diagnose(tissue.spatial, tissue.reference) if one.level == "warning"]
    assert any("60 of 60 spots lie outside of the hires image" in text for text in words)


def test_a_spot_far_off_and_a_library_of_another_kind_do_no_harm() -> None:
    spots = on_picture()
    spots.obsm["spatial"][0] = 1e12
    assert better_moves(spots) == ()
    for library in (
        {"images": None},
        {"images": {"lowres": np.zeros(3)}, "scalefactors": {"tissue_lowres_scalef": "?"}},
    ):
        spots.uns["spatial"] = {"F": library}
        assert better_moves(spots) == ()
