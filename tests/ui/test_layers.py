"""From results to layer data, with no window."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from napari.components import ViewerModel
from napari.layers import Layer
from napari.utils.colormaps.standardize_color import transform_color
from qtpy.QtCore import Qt
from scipy.sparse import csr_array

from napari_spotmix.base.color_range import rounded_up
from napari_spotmix.base.colors import cell_type_colors
from napari_spotmix.io import read_image
from napari_spotmix.result import Result
from napari_spotmix.simulation.simulate import SimulatedTissue
from napari_spotmix.ui.canvas import layers
from napari_spotmix.ui.canvas.layer_info import TissueInfo
from napari_spotmix.ui.state.maps import DOMINANT
from napari_spotmix.ui.text import plain

pytestmark = pytest.mark.viewer


def test_image_and_spots_are_in_register(tissue: SimulatedTissue) -> None:
    image, spots = (Layer.create(*data) for data in layers.tissue_layers(TissueInfo(tissue.spatial), "Gut"))
    factor = tissue.spatial.uns["spatial"]["simulated"]["scalefactors"]["tissue_hires_scalef"]
    np.testing.assert_allclose(image.scale, 1 / factor)
    np.testing.assert_array_equal(spots.data, tissue.spatial.obsm["spatial"][:, ::-1])
    np.testing.assert_array_equal(spots.scale, 1)
    # The outer edge of the image's first pixel is the outer edge of the full-resolution image.
    np.testing.assert_allclose(image.data_to_world((-0.5, -0.5)), (-0.5, -0.5))
    under_spots = [tuple(np.round(image.world_to_data(yx)).astype(int)) for yx in spots.data]
    colors = np.array([image.data[at] for at in under_spots]).mean(axis=0)
    assert colors[1] < 0.9 * image.data[0, 0, 1], "spots lie on stained tissue, not on the glass"


def test_spots_have_their_true_size(tissue: SimulatedTissue) -> None:
    (_, _), (_, settings, _) = (None, None), layers.spots_layer(tissue.spatial, "Gut")
    given = tissue.spatial.uns["spatial"]["simulated"]["scalefactors"]["spot_diameter_fullres"]
    assert settings["size"] == pytest.approx(given)
    assert list(settings["features"]["spot"]) == list(tissue.spatial.obs_names)


def test_the_lowres_image_is_used_if_hires_is_missing(tissue: SimulatedTissue) -> None:
    spatial = tissue.spatial.copy()
    library = spatial.uns["spatial"]["simulated"]
    del library["images"]["hires"]
    image = layers.image_layer(spatial, "Gut")
    assert image is not None
    assert image[1]["scale"][0] == pytest.approx(1 / library["scalefactors"]["tissue_lowres_scalef"])
    del library["images"]["lowres"]
    assert [data[2] for data in layers.tissue_layers(TissueInfo(spatial), "Gut")] == ["points"]


def test_spot_size_without_scale_factors_is_half_the_pitch(tissue: SimulatedTissue) -> None:
    spatial = tissue.spatial.copy()
    pitch = layers.spot_diameter(spatial) / 0.55
    del spatial.uns["spatial"]
    assert layers.spot_diameter(spatial) == pytest.approx(pitch / 2, rel=1e-3)


def test_other_image_of_the_same_section_covers_the_same_area(tissue: SimulatedTissue, tmp_path) -> None:
    import imagecodecs

    hires = tissue.spatial.uns["spatial"]["simulated"]["images"]["hires"]
    half = np.ascontiguousarray(hires[::2, ::2])
    path = tmp_path / "other.png"
    path.write_bytes(imagecodecs.png_encode(half))
    own = Layer.create(*layers.image_layer(tissue.spatial, "own"))
    other = Layer.create(*layers.other_image_layer(read_image(path), tissue.spatial, "other"))
    np.testing.assert_allclose(other.extent.world, own.extent.world, rtol=0.02, atol=2 * own.scale[0])


def test_colors_range_from_0_to_the_rounded_maximum_of_the_type(result: Result) -> None:
    viewer = ViewerModel()
    name = result.cell_types[2]
    layer = viewer.add_layer(Layer.create(*layers.proportion_layer(result, name)))
    assert layer.name == name
    low, end = layer.face_contrast_limits
    largest = result.proportions[name].max()
    assert (low, end) == (0, rounded_up(largest))
    assert largest <= end < 2 * largest
    np.testing.assert_allclose(layer.features["proportion"], result.proportions[name])
    expected = layer.face_colormap.map(result.proportions[name].to_numpy() / end)
    known = result.proportions[name].notna().to_numpy()
    np.testing.assert_allclose(layer.face_color[known], expected[known], atol=1e-5)


def test_spots_without_estimate_are_hollow_and_say_why(result: Result) -> None:
    for data in (layers.proportion_layer(result, result.cell_types[0]), layers.dominant_layer(result, "all")):
        layer = Layer.create(*data)
        assert layer.face_color[4, 3] == 0
        assert str(layer.symbol[4]) == "x"
        assert layer.features["not estimated"][4] == "no counts"
        status = layer.get_status(tuple(layer.data[4]), world=True)["coordinates"]
        assert "no counts" in status
        assert "not estimated" not in layer.get_status(tuple(layer.data[5]), world=True)["coordinates"]


def test_the_status_bar_shows_the_proportion_under_the_mouse(result: Result) -> None:
    name = result.cell_types[1]
    spot = int(np.nanargmax(result.proportions[name]))
    layer = Layer.create(*layers.proportion_layer(result, name))
    status = layer.get_status(tuple(layer.data[spot]), world=True)["coordinates"]
    assert "proportion: " in status
    assert f"counts: {round(result.counts.iloc[spot])}, " in status
    assert result.abundances.index[spot] in status


def test_hostile_names_are_literal_in_the_status_bar(result: Result) -> None:
    hostile = result.cell_types[0]
    spot = int(np.nanargmax(result.proportions[hostile]))
    layer = Layer.create(*layers.dominant_layer(result, "all"))
    status = layer.get_status(tuple(layer.data[spot]), world=True)["coordinates"]
    assert Qt.mightBeRichText(hostile)
    assert f"dominant: {plain(hostile)}" in status
    assert not Qt.mightBeRichText(status)


def test_tissue_is_visible_where_a_type_is_absent(result: Result) -> None:
    name = result.cell_types[1]
    result.abundances.loc[result.abundances.index[7], name] = 0.0
    over_tissue = Layer.create(*layers.proportion_layer(result, name))
    assert over_tissue.face_color[7, 3] == over_tissue.border_color[7, 3] == 0
    assert over_tissue.face_colormap.map(1.0)[..., 3] == 1
    blend = Layer.create(*layers.blend_layer(result, "blend", [name]))
    assert blend.face_color[7, 3] == 0
    del result.spatial.uns["spatial"]
    alone = Layer.create(*layers.proportion_layer(result, name))
    gray, opacity = alone.face_color[7, :3], alone.face_color[7, 3]
    assert np.ptp(gray) == 0, "the spots are the tissue"
    assert 0.1 < opacity < 0.3


def test_the_status_bar_is_spared_of_long_tables(tissue: SimulatedTissue) -> None:
    spatial = tissue.spatial.copy()
    for number in range(40):
        spatial.obs[f"score {number}"] = 0.5
    layer = Layer.create(*layers.spots_layer(spatial, "Gut"))
    assert layer.features.columns[0] == "spot"
    status = layer.get_status(tuple(layer.data[5]), world=True)["coordinates"]
    assert spatial.obs_names[5] in status
    assert len(status) < 200


def test_dominant_colors_are_those_of_the_file(result: Result) -> None:
    layer = Layer.create(*layers.dominant_layer(result, "Dominant type"))
    adata = result.to_anndata()
    in_file = dict(
        zip(adata.obs["spotmix_dominant"].cat.categories, adata.uns["spotmix_dominant_colors"], strict=True)
    )
    for spot in (0, 10, 50):
        np.testing.assert_allclose(
            layer.face_color[spot], transform_color(in_file[result.dominant.iloc[spot]])[0], atol=1e-6
        )
    assert in_file == cell_type_colors(result.cell_types)


def test_edges_are_the_row_of_the_weights(result: Result) -> None:
    spot = 30
    vectors, settings, kind = layers.neighborhood_layer(result, spot, "edges")
    row = result.weights[[spot]].tocoo()
    assert kind == "vectors"
    edges = settings["features"].groupby("neighbor", sort=False)
    np.testing.assert_allclose(edges["weight"].first(), row.data)
    np.testing.assert_array_equal(list(edges.groups), result.abundances.index[row.col])
    for (_, lines), neighbor in zip(edges, row.col, strict=True):
        start, along = vectors[lines.index, 0], vectors[lines.index, 1]
        np.testing.assert_allclose(start.mean(axis=0), result.coordinates[spot, ::-1])
        np.testing.assert_allclose((start + along).mean(axis=0), result.coordinates[neighbor, ::-1])
    layer = Layer.create(vectors, settings, kind)
    assert layer.edge_contrast_limits == (0, 1)


def test_edges_are_the_wider_the_higher_their_attention(result: Result) -> None:
    spot = 30
    row = result.attention[[spot]].tocoo()
    result.attention.data[result.attention.indptr[spot] : result.attention.indptr[spot + 1]] = np.linspace(
        0, 1, row.nnz
    )
    vectors, settings, _ = layers.neighborhood_layer(result, spot, "edges")
    widths = []
    for _, lines in settings["features"].groupby("neighbor", sort=False):
        off = np.linalg.norm(np.diff(vectors[lines.index, 0], axis=0), axis=1)
        assert (off < settings["edge_width"]).all(), "lines of one edge touch each other"
        widths.append(off.sum() + settings["edge_width"])
    assert widths == sorted(widths)
    assert widths[-1] > 3 * widths[0]


def test_spot_without_neighbors_has_no_edges(result: Result) -> None:
    lonely = result.weights.tolil()
    lonely[7, :] = 0
    lonely = lonely.tocsr()
    lonely.eliminate_zeros()
    alone = Result(**{**result.__dict__, "weights": lonely, "attention": lonely})
    layer = Layer.create(*layers.neighborhood_layer(alone, 7, "edges"))
    assert len(layer.data) == 0
    assert len(Layer.create(*layers.selection_layer(alone, 7, "spot")).data) == 2


def test_spots_without_coordinates_are_left_out_of_layers_only(result: Result) -> None:
    result.spatial.obsm["spatial"][3] = np.nan
    layer = Layer.create(*layers.proportion_layer(result, result.cell_types[0]))
    assert len(layer.data) == len(result.abundances) - 1
    assert result.abundances.index[3] not in set(layer.features["spot"])
    assert np.isfinite(layer.extent.world).all()


def test_outlines_do_not_hide_the_colors_of_dense_spots() -> None:
    n_spots = 5000
    spots = pd.Index([f"spot {number}" for number in range(n_spots)])
    shares = np.random.default_rng(0).dirichlet([1, 1], n_spots)
    spatial = AnnData(np.ones((n_spots, 1), np.float32), obs=pd.DataFrame(index=spots))
    spatial.obsm["spatial"] = np.stack(np.divmod(np.arange(n_spots, dtype=float), 100), axis=1)
    no_edges = csr_array((n_spots, n_spots))
    dense = Result(
        abundances=pd.DataFrame(shares, index=spots, columns=["B", "T"]),
        counts=pd.Series(1.0, index=spots),
        reasons=pd.Series("", index=spots),
        signatures=pd.DataFrame(index=["B", "T"]),
        weights=no_edges,
        attention=no_edges,
        spatial=spatial,
    )
    layer = Layer.create(*layers.proportion_layer(dense, "B"))
    assert (layer.border_color[:, 3] == 0).all()
    assert (layer.border_width == 0).all()


def test_layers_have_features_of_their_own(result: Result) -> None:
    one, other = (Layer.create(*layers.proportion_layer(result, name)) for name in result.cell_types[:2])
    before = other.features.copy()
    one.features["counts"] = 0
    one.features.loc[0, "unexplained"] = 0.123
    pd.testing.assert_frame_equal(other.features, before)
    again = Layer.create(*layers.proportion_layer(result, result.cell_types[1]))
    pd.testing.assert_frame_equal(again.features, before)


def test_the_opacity_of_a_layer_and_of_the_dock_follow_each_other(explored: Any) -> None:
    _, dock = explored
    names = dock.session.result.cell_types
    dock.session.display.show(names[0])
    dock.scene.layer_of(names[0]).opacity = 0.4
    assert dock.explore.settings.opacity.value == pytest.approx(0.4)
    dock.session.display.show(DOMINANT)
    assert dock.scene.layer_of(DOMINANT).opacity == pytest.approx(0.4)
    dock.explore.settings.opacity.value = 0.8
    assert dock.scene.layer_of(DOMINANT).opacity == pytest.approx(0.8)
