"""Pies: every slice as large as its proportion, in its type's color, and gone with what it showed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from napari.layers import Layer, Surface
from napari.utils.colormaps.standardize_color import transform_color

from napari_spotmix.result import Result
from napari_spotmix.ui.canvas.layers import spot_diameter
from napari_spotmix.ui.canvas.legend import legend_of, legend_of_pies
from napari_spotmix.ui.canvas.pies import pies_layer
from napari_spotmix.ui.demo import show_result
from napari_spotmix.ui.state.maps import DOMINANT, PIES

pytestmark = pytest.mark.viewer


def areas(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    first, second, third = (vertices[triangles[:, at]] for at in range(3))
    along, across = second - first, third - first
    return np.abs(along[:, 0] * across[:, 1] - along[:, 1] * across[:, 0]) / 2


def test_slices_are_as_large_as_their_proportions(result: Result) -> None:
    (vertices, triangles), settings, _ = pies_layer(result, "Pies")
    center, radius = result.coordinates[12, ::-1], spot_diameter(result.spatial) / 2
    mine = np.linalg.norm(vertices[triangles].mean(axis=1) - center, axis=1) < radius
    area = areas(vertices, triangles[mine])
    colors = settings["vertex_colors"][triangles[mine][:, 1]]
    share = result.proportions.iloc[12]
    # An arc of a few corners has less area than its circle.
    assert 0.9 < area.sum() / (np.pi * radius**2) <= 1.0
    for name, color in result.colors.items():
        is_slice = np.isclose(colors, transform_color(color)[0], atol=1e-3).all(axis=1)
        expected = share[name] if share[name] >= 0.01 else 0.0
        assert area[is_slice].sum() / area.sum() == pytest.approx(expected, abs=0.02)


def test_the_first_slice_begins_at_the_top_and_goes_clockwise(result: Result) -> None:
    quarter = result.abundances.copy() * 0.0
    quarter.iloc[:, 0], quarter.iloc[:, 1] = 0.25, 0.75
    (vertices, triangles), settings, _ = pies_layer(replace(result, abundances=quarter), "Pies")
    color = transform_color(next(iter(result.colors.values())))[0]
    first = np.isclose(settings["vertex_colors"][triangles[:, 1]], color, atol=1e-3).all(axis=1)
    nearest = np.linalg.norm(vertices[triangles].mean(axis=1) - result.coordinates[12, ::-1], axis=1)
    mine = first & (nearest < spot_diameter(result.spatial) / 2)
    corners = vertices[triangles[mine]].reshape(-1, 2) - result.coordinates[12, ::-1]
    # Up is a smaller y, to the right a larger x.
    assert (corners[:, 0] <= 1e-6).all()
    assert (corners[:, 1] >= -1e-6).all()


def test_a_spot_without_estimate_has_no_pie(result: Result) -> None:
    data = pies_layer(result, "Pies")
    vertices = data[0][0]
    away = np.linalg.norm(vertices - result.coordinates[4, ::-1], axis=1)
    assert away.min() > spot_diameter(result.spatial) / 4
    assert isinstance(Layer.create(*data), Surface)


def test_the_legend_of_pies_names_every_visible_slice(result: Result) -> None:
    shares = pd.DataFrame(0.0, index=result.abundances.index, columns=result.cell_types)
    large, small, hardly, *_ = result.cell_types
    shares[large], shares[small], shares[hardly] = 0.8, 0.194, 0.006
    shown = replace(result, abundances=shares)
    assert legend_of_pies(shown) == [(name, shown.colors[name]) for name in (large, small)]
    assert [name for name, _ in legend_of(shown)] == [large]


def test_pies_follow_another_result_and_are_picked(make_dock: Any, result: Result) -> None:
    viewer, dock = make_dock()
    show_result(dock, result, "Gut")
    dock.session.display.show(PIES)
    layer = dock.scene.layer_of(PIES)
    assert isinstance(layer, Surface)
    assert layer.visible
    assert not dock.scene.layer_of(DOMINANT).visible
    sliced = result.proportions.max() >= 0.01
    assert dict(dock.overlays.legend.entries) == {name: result.colors[name] for name in sliced.index[sliced]}
    means = [result.mean_proportions[name] for name, _ in dock.overlays.legend.entries]
    assert means == sorted(means, reverse=True)
    x, y = result.coordinates[12]
    dock.session.pointer.pick_at(y, x)
    assert dock.session.pointer.spot == 12
    changed = result.abundances.copy()
    changed.iloc[:] = 1.0
    dock.session.replay(replace(result, abundances=changed))
    again = dock.scene.layer_of(PIES)
    assert again is not layer
    assert layer not in viewer.layers
    assert len(again.data[0]) != len(layer.data[0])
    dock.session.display.set_opacity(0.5)
    assert again.opacity == 0.5
