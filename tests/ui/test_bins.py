"""Bins on a grid as an image: in register, picked where they are drawn, only if they are a grid."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from napari.layers import Image, Layer
from napari.utils.colormaps.standardize_color import transform_color
from scipy.sparse import csr_array

from napari_spotmix.base.color_range import ColorRange, RangeMode, largest_proportion, rounded_up
from napari_spotmix.dataset import bin_grid as bins
from napari_spotmix.dataset.bin_grid import bin_grid, pyramid
from napari_spotmix.result import Result
from napari_spotmix.ui.canvas import layers
from napari_spotmix.ui.demo import show_result
from napari_spotmix.ui.state.maps import DOMINANT

pytestmark = pytest.mark.viewer

N_ROWS, N_COLUMNS = 70, 90


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a small grid be drawn as a large one."""
    monkeypatch.setattr(bins, "MOST_POINTS", 1000)
    monkeypatch.setattr(bins, "_SMALLEST_LEVEL", 32)
    monkeypatch.setattr(bins, "_PATCH", 500)


def binned(turn: float = 0.0, *, has_array: bool = False, seed: int = 1) -> AnnData:
    """Return bins 12 pixels apart, in random order, one in ten missing, turned by an angle."""
    rng = np.random.default_rng(seed)
    row, column = np.divmod(rng.permutation(N_ROWS * N_COLUMNS)[: N_ROWS * N_COLUMNS * 9 // 10], N_COLUMNS)
    at = np.column_stack([column, row]) * 12.0
    turned = at @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) + [300.0, 500.0]
    names = [f"bin{i}" for i in range(len(row))]
    obs = pd.DataFrame({"array_row": row + 5, "array_col": column + 8}, index=names)
    adata = AnnData(csr_array(np.ones((len(row), 2))), obs=obs if has_array else obs[[]])
    adata.obsm["spatial"] = turned
    return adata


def result_of(adata: AnnData) -> Result:
    rng = np.random.default_rng(2)
    shares = pd.DataFrame(rng.dirichlet([1, 1, 1], len(adata)), index=adata.obs_names, columns=list("abc"))
    shares.iloc[3] = np.nan
    reasons = pd.Series("", index=adata.obs_names)
    reasons.iloc[3] = "no counts"
    none = csr_array((len(adata), len(adata)))
    counts = pd.Series(np.arange(len(adata), dtype=float), index=adata.obs_names)
    return Result(shares, counts, reasons, pd.DataFrame(index=shares.columns), none, none, adata)


@pytest.mark.parametrize(("turn", "has_array"), [(0.0, False), (0.0, True), (0.3, True)])
def test_every_bin_is_drawn_at_its_coordinates(turn: float, has_array: bool) -> None:
    adata = binned(turn, has_array=has_array)
    result = result_of(adata)
    layer = Layer.create(*layers.proportion_layer(result, "b"))
    assert isinstance(layer, Image)
    assert layer.multiscale
    finest = np.asarray(layer.data[0])
    for spot in (0, 17, 900, len(adata) - 1):
        position = layer.world_to_data(adata.obsm["spatial"][spot, ::-1])
        np.testing.assert_allclose(position, np.rint(position), atol=1e-6)
        at = tuple(np.rint(position).astype(int))
        assert finest[at] == pytest.approx(result.proportions["b"].iloc[spot])
    assert np.isfinite(finest).sum() == len(adata) - 1, "a bin that was not estimated is left out"
    assert layer.contrast_limits == [0, largest_proportion(result.proportions["b"].to_numpy())]


def test_coarser_levels_are_means_and_stay_in_register() -> None:
    rng = np.random.default_rng(3)
    pixels = rng.random((64, 128)).astype(np.float32)
    pixels[rng.random(pixels.shape) < 0.4] = np.nan
    pixels[:2, :2] = np.nan
    levels = pyramid(pixels)
    assert [level.shape for level in levels] == [(64, 128), (32, 64), (16, 32)]
    blocks = pixels.reshape(32, 2, 64, 2).transpose(0, 2, 1, 3).reshape(32, 64, 4)
    known = ~np.isnan(blocks).all(axis=2)
    assert not known[0, 0]
    np.testing.assert_allclose(levels[1][known], np.nanmean(blocks[known], axis=1), rtol=1e-6)
    assert np.isnan(levels[1][~known]).all()


def test_the_bin_under_the_mouse_is_found_and_its_neighbor_is_another() -> None:
    adata = binned(0.3, has_array=True)
    grid = bin_grid(adata)
    assert grid is not None
    for spot in (5, 1234):
        x, y = adata.obsm["spatial"][spot]
        along = np.array([np.cos(0.3), np.sin(0.3)])
        assert grid.at(y, x) == spot
        assert grid.at(y + 5.5 * along[1], x + 5.5 * along[0]) == spot
        assert grid.at(y + 6.5 * along[1], x + 6.5 * along[0]) != spot
    assert grid.at(-1e5, 0.0) is None
    assert grid.at(1e5, 1e5) is None
    assert grid.side == pytest.approx(12.0)


def test_dominant_types_have_their_colors_and_counts_their_map() -> None:
    adata = binned()
    result = result_of(adata)
    layer = Layer.create(*layers.dominant_layer(result, "Dominant type"))
    assert layer.rgb
    grid = bin_grid(adata)
    finest = np.asarray(layer.data[0])
    expected = transform_color([result.colors[name] for name in result.dominant.iloc[:3]])
    np.testing.assert_allclose(finest[grid.rows[:3], grid.columns[:3]] / 255, expected, atol=0.003)
    assert finest[grid.rows[3], grid.columns[3], 3] == 0
    counts = Layer.create(*layers.map_layer(result, "Counts", "counts"))
    assert counts.contrast_limits[1] == rounded_up(np.quantile(result.counts.drop("bin3"), 0.98))


@pytest.mark.parametrize(
    "what", ["few", "askew without an array", "oblong", "scattered", "two at one position"]
)
def test_what_is_no_grid_of_many_square_bins_is_drawn_as_points(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    adata = binned(0.3 if what == "askew without an array" else 0.0, has_array=what == "oblong")
    xy = adata.obsm["spatial"]
    if what == "few":
        monkeypatch.setattr(bins, "MOST_POINTS", 20_000)
    elif what == "oblong":
        xy[:, 0] *= 2
    elif what == "scattered":
        xy += np.random.default_rng(4).normal(0, 5, xy.shape)
    elif what == "two at one position":
        xy[10] = xy[11]
    assert bin_grid(adata) is None
    data = layers.proportion_layer(result_of(adata), "a")
    assert data[2] == "points"


def test_a_grid_is_forgotten_with_its_data() -> None:
    adata = binned()
    assert bin_grid(adata) is bin_grid(adata)
    grid = weakref.ref(bin_grid(adata))
    del adata
    gc.collect()
    assert grid() is None


def test_a_user_shows_picks_and_recolors_bins(make_dock: Any) -> None:
    viewer, dock = make_dock()
    result = result_of(binned())
    show_result(dock, result, "bins")
    assert isinstance(dock.scene.layer_of(DOMINANT), Image)
    assert not viewer.layers["bins spots"].visible, "they lie below those of the result"
    dock.session.display.show("b")
    assert dock.overlays.color_bar.bar.end.text() == f"{dock.scene.layer_of('b').contrast_limits[1]:g}"
    x, y = result.coordinates[20]
    dock.session.pointer.pick_at(y, x)
    assert dock.session.pointer.spot == 20
    outline = viewer.layers["Selected spot"]
    assert {str(symbol) for symbol in outline.symbol} == {"square"}
    changed = result_of(result.spatial)
    changed.abundances.iloc[:] = changed.abundances.to_numpy()[:, ::-1]
    dock.session.replay(changed)
    grid = bin_grid(result.spatial)
    shown = np.asarray(dock.scene.layer_of("b").data[0])[grid.rows, grid.columns]
    np.testing.assert_allclose(shown, changed.proportions["b"], rtol=1e-6)
    dock.session.display.set_color_range(ColorRange(RangeMode.FULL))
    dock.explore.settings.threshold.value = 0.4
    assert dock.scene.layer_of("b").contrast_limits == [0, 1]
    assert "from 0.4" in dock.scene.layer_of("b").colormap.name
    dock.session.display.show(("a", "c"))
    assert dock.scene.layer_of(("a", "c")).rgb
