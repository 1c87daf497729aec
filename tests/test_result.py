"""A result as AnnData: through a file and back, as scanpy and napari-spatialdata read it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse import csr_array, csr_matrix

from napari_spotmix import InputError, Result, deconvolve, simulate
from napari_spotmix.base.colors import cell_type_colors
from napari_spotmix.base.keys import added_keys
from napari_spotmix.result import Learned, Provenance, View
from napari_spotmix.result.file import storable

HOSTILE = ['T/NK "cells" <b>', "β-Zellen, größer als é", "a\\b;c'd", "_index", ".", "日本語"]


@pytest.fixture(scope="module")
def whole() -> Result:
    """With an image, one spot without counts, and the note of napari-spatialdata."""
    tissue = simulate(n_spots=90, n_genes=150, n_cell_types=6, random_state=2)
    matrix = tissue.spatial.X.tolil()
    matrix[5] = 0
    tissue.spatial.X = matrix.tocsr()
    tissue.spatial.obs["region_id"] = pd.Categorical(["spots"] * 90)
    tissue.spatial.obs["instance_id"] = np.arange(90)
    tissue.spatial.uns["spatialdata_attrs"] = {
        "region": "spots",
        "region_key": "region_id",
        "instance_key": "instance_id",
    }
    return deconvolve(tissue.spatial, tissue.reference, lambda_c=0.1)


@pytest.fixture(scope="module")
def saved(whole: Result, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("result") / "spatial.h5ad"
    whole.to_anndata().write_h5ad(path)
    return path


@pytest.fixture
def opened(saved: Path) -> AnnData:
    return anndata.read_h5ad(saved)


def renamed(result: Result, names: list[str]) -> Result:
    back = dict(zip(result.cell_types, names, strict=True))
    return replace(
        result,
        abundances=result.abundances.rename(columns=back),
        signatures=result.signatures.rename(index=back),
    )


def test_rows_of_proportions_sum_to_one_or_are_unknown(whole: Result) -> None:
    total = whole.proportions.sum(axis=1, skipna=False)
    assert total.isna().to_numpy().nonzero()[0].tolist() == [5]
    np.testing.assert_allclose(total.dropna(), 1, rtol=1e-12)
    assert (whole.proportions.drop(index=whole.proportions.index[5]) >= 0).all().all()
    assert whole.proportions.iloc[5].isna().all()


def test_proportions_of_rna_are_abundances_over_their_sum(whole: Result) -> None:
    X = whole.abundances.to_numpy()
    np.testing.assert_allclose(whole.rna_proportions, X / X.sum(axis=1, keepdims=True))


def test_proportions_of_cells_times_rna_content_are_those_of_rna(whole: Result) -> None:
    assert whole.rna_content.max() > 1.1 * whole.rna_content.min()
    rna = whole.cell_proportions.to_numpy() * whole.rna_content.to_numpy()
    np.testing.assert_allclose(rna / rna.sum(axis=1, keepdims=True), whole.rna_proportions)


def test_proportions_are_of_cells_unless_those_of_rna_are_asked_for(whole: Result) -> None:
    of_rna = replace(whole, provenance=Provenance({"share": "rna"}, whole.provenance.learned))
    pd.testing.assert_frame_equal(whole.proportions, whole.cell_proportions)
    pd.testing.assert_frame_equal(of_rna.proportions, whole.rna_proportions)


def test_the_dominant_type_has_the_largest_proportion(whole: Result) -> None:
    known = whole.dominant.notna()
    assert known.sum() == 89
    assert (whole.proportions[known].idxmax(axis=1) == whole.dominant[known].astype(str)).all()
    assert list(whole.dominant.cat.categories) == whole.cell_types


def test_unexplained_is_what_is_missing_to_one(whole: Result) -> None:
    total = whole.abundances.sum(axis=1, skipna=False)
    np.testing.assert_allclose(whole.unexplained, np.maximum(1 - total, 0))
    raw = replace(whole, provenance=Provenance({"normalize": False}))
    assert raw.unexplained.isna().all()


def test_a_spot_without_abundances_has_no_proportions(whole: Result) -> None:
    abundances = whole.abundances.copy()
    abundances.iloc[7] = 0.0
    empty = replace(whole, abundances=abundances)
    assert empty.proportions.iloc[7].isna().all()
    assert pd.isna(empty.dominant.iloc[7])


def test_coordinates_are_x_and_y_of_the_input(whole: Result) -> None:
    np.testing.assert_array_equal(whole.coordinates, whole.spatial.obsm["spatial"])


def test_the_input_stays_as_it_was(whole: Result) -> None:
    before = set(whole.spatial.obsm), set(whole.spatial.obs), set(whole.spatial.uns)
    whole.to_anndata()
    assert (set(whole.spatial.obsm), set(whole.spatial.obs), set(whole.spatial.uns)) == before


def test_every_slot_is_there_after_reading(whole: Result, opened: AnnData) -> None:
    keys = added_keys()
    for key in ("proportions", "cell_proportions", "rna_proportions", "abundances", "standard_errors"):
        table = getattr(whole, key)
        read = opened.obsm[keys[key]]
        assert isinstance(read, pd.DataFrame)
        assert list(read.columns) == whole.cell_types
        assert list(read.index) == list(opened.obs_names) == list(whole.abundances.index)
        np.testing.assert_array_equal(read, table)
    np.testing.assert_array_equal(opened.obs[keys["unexplained"]], whole.unexplained)
    np.testing.assert_array_equal(opened.obs[keys["misfit"]], whole.misfit)
    pd.testing.assert_frame_equal(opened.uns[keys["residual_genes"]], whole.residual_genes)
    np.testing.assert_array_equal(
        opened.uns[keys["intervals"]][["below", "above"]], whole.interval_table[["below", "above"]]
    )
    np.testing.assert_array_equal(opened.obs[keys["counts"]], whole.counts)
    assert opened.obs[keys["reason"]].astype(str).tolist() == whole.reasons.tolist()
    assert (csr_array(opened.obsp[keys["graph"]]) != whole.weights).nnz == 0
    assert (csr_array(opened.obsp[keys["attention"]]) != whole.attention).nnz == 0


def test_intervals_are_the_same_after_reading_and_contain_the_proportions(
    whole: Result, opened: AnnData
) -> None:
    read = Result.from_anndata(opened)
    for before, after in zip(whole.intervals(), read.intervals(), strict=True):
        pd.testing.assert_frame_equal(before, after, check_freq=False)
    lower, upper = whole.intervals()
    known = whole.proportions.notna().all(axis=1)
    assert lower[~known].isna().all(axis=None)
    assert ((lower <= whole.proportions) & (whole.proportions <= upper))[known].all(axis=None)
    assert ((lower >= 0) & (upper <= 1))[known].all(axis=None)
    some = whole.intervals(slice(3, 9))[1]
    pd.testing.assert_frame_equal(some, upper.iloc[3:9])


def test_intervals_of_older_files_are_symmetric(whole: Result) -> None:
    adata = whole.to_anndata()
    del adata.uns["spotmix_intervals"]
    old = Result.from_anndata(adata)
    lower, upper = old.intervals()
    away = 1.6449 * old.standard_errors
    pd.testing.assert_frame_equal(lower, (old.proportions - away).clip(0, 1), check_dtype=False)
    pd.testing.assert_frame_equal(upper, (old.proportions + away).clip(0, 1), check_dtype=False)
    assert [len(ends) for ends in replace(old, standard_errors=pd.DataFrame()).intervals()] == [0, 0]


@pytest.mark.parametrize("spoil", ["below", "standard_error", "rows", "text", "kind"])
def test_a_damaged_table_of_intervals_is_reported(whole: Result, spoil: str) -> None:
    adata = whole.to_anndata()
    table = adata.uns["spotmix_intervals"].copy()
    if spoil in table:
        table[spoil] = -1.0
    elif spoil == "text":
        table["above"] = "wide"
    adata.uns["spotmix_intervals"] = {"rows": table[:-1], "kind": 3}.get(spoil, table)
    with pytest.raises(InputError, match=r"uns\['spotmix_intervals'\].*must hold a table of intervals"):
        Result.from_anndata(adata)


def test_the_dominant_type_is_categorical_with_a_color_each(whole: Result, opened: AnnData) -> None:
    dominant = opened.obs["spotmix_dominant"]
    assert isinstance(dominant.dtype, pd.CategoricalDtype)
    assert list(dominant.cat.categories) == whole.cell_types
    colors = dict(zip(dominant.cat.categories, opened.uns["spotmix_dominant_colors"], strict=True))
    assert colors == cell_type_colors(whole.cell_types)
    assert dominant.isna().to_numpy().nonzero()[0].tolist() == [5]


@pytest.mark.parametrize(
    ("stored", "is_taken"),
    [("#123ABC", True), ("red; <b>", False), ("#12345", False), ("", False)],
)
def test_colors_are_those_of_the_file_if_they_are_valid(whole: Result, stored: str, is_taken: bool) -> None:
    adata = whole.to_anndata()
    usual = cell_type_colors(whole.cell_types)
    edited = list(usual.values())
    edited[1] = stored
    adata.uns["spotmix_dominant_colors"] = edited
    expected = usual | {whole.cell_types[1]: stored} if is_taken else usual
    assert Result.from_anndata(adata).colors == expected
    del adata.uns["spotmix_palette"]
    assert Result.from_anndata(adata).colors == expected
    adata.uns["spotmix_dominant_colors"] = edited[:1]
    assert Result.from_anndata(adata).colors == usual
    del adata.uns["spotmix_dominant_colors"]
    assert Result.from_anndata(adata).colors == usual


def test_colors_are_kept_by_name_through_a_file(whole: Result, tmp_path: Path) -> None:
    types = whole.cell_types
    chosen = replace(whole, chosen_colors={types[1]: "#123abc"})
    chosen.to_anndata().write_h5ad(tmp_path / "whole.h5ad")
    adata = anndata.read_h5ad(tmp_path / "whole.h5ad")
    table = adata.uns["spotmix_palette"]
    assert dict(zip(table["cell_type"], table["color"], strict=True)) == chosen.colors
    adata.obs["spotmix_dominant"] = adata.obs["spotmix_dominant"].cat.reorder_categories(types[::-1])
    adata.uns["spotmix_dominant_colors"] = adata.uns["spotmix_dominant_colors"][::-1]
    assert Result.from_anndata(adata).colors == chosen.colors, "colors follow names, not positions"
    few = adata[adata.obs["spotmix_dominant"].isin(types[:1])].copy()
    assert len(few.uns["spotmix_dominant_colors"]) == 1
    assert Result.from_anndata(few).colors == chosen.colors, "a part of the section has the colors of all"


@pytest.mark.parametrize(
    "table",
    [
        "red",
        pd.DataFrame({"cell_type": ["a"]}),
        pd.DataFrame({"cell_type": [b"\x00"], "color": ["url(x)"]}),
        pd.DataFrame({"cell_type": [1.5], "color": [None]}),
    ],
)
def test_a_damaged_table_of_colors_is_no_obstacle(whole: Result, table: Any) -> None:
    adata = whole.to_anndata()
    adata.uns["spotmix_palette"] = table
    adata.uns["spotmix_dominant_colors"] = {"a": 1}
    assert Result.from_anndata(adata).colors == cell_type_colors(whole.cell_types)


def test_colors_follow_their_types_into_a_part_of_the_section(opened: AnnData) -> None:
    all_colors = dict(
        zip(opened.obs["spotmix_dominant"].cat.categories, opened.uns["spotmix_dominant_colors"], strict=True)
    )
    part = opened[opened.obs["spotmix_dominant"].isin(list(all_colors)[1:3])].copy()
    kept = dict(
        zip(part.obs["spotmix_dominant"].cat.categories, part.uns["spotmix_dominant_colors"], strict=True)
    )
    assert kept
    assert all(all_colors[name] == color for name, color in kept.items())


def assert_same_tree(found: Any, wanted: Any) -> None:
    if isinstance(wanted, dict):
        assert set(found) == set(wanted)
        for key in wanted:
            assert_same_tree(found[key], wanted[key])
    elif isinstance(wanted, pd.DataFrame):
        pd.testing.assert_frame_equal(found, wanted)
    elif isinstance(wanted, np.ndarray):
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)
    else:
        assert found == wanted


def test_everything_that_was_in_the_input_is_kept(whole: Result, opened: AnnData) -> None:
    given = whole.spatial
    assert (opened.X != given.X).nnz == 0
    np.testing.assert_array_equal(opened.obsm["spatial"], given.obsm["spatial"])
    assert_same_tree(opened.uns["spatial"], given.uns["spatial"])
    assert_same_tree(opened.uns["spatialdata_attrs"], given.uns["spatialdata_attrs"])
    assert opened.uns["spatial"]["simulated"]["images"]["hires"].dtype == np.uint8
    for column in given.obs:
        assert opened.obs[column].tolist() == given.obs[column].tolist()
    for key in given.varm:
        np.testing.assert_array_equal(opened.varm[key], given.varm[key])


def test_parameters_and_notes_are_kept(whole: Result, opened: AnnData) -> None:
    kept = opened.uns["spotmix"]
    assert kept["given"]["lambda_c"] == 0.1
    assert kept["given"]["weights"] == "poisson"
    assert kept["given"]["random_state"] == 0
    assert "n_threads" not in kept["given"]
    assert kept["versions"]["numpy"] == np.__version__
    assert kept["learned"]["n_spots_fitted"] == 89
    assert list(kept["notes"]) == list(whole.notes)
    assert len(whole.notes) >= 1


def test_a_result_comes_back_from_its_file(whole: Result, opened: AnnData) -> None:
    back = Result.from_anndata(opened)
    pd.testing.assert_frame_equal(back.abundances, whole.abundances, check_names=False)
    pd.testing.assert_frame_equal(back.proportions, whole.proportions, check_names=False)
    assert back.dominant.tolist()[:5] == whole.dominant.tolist()[:5]
    assert back.reasons.tolist() == whole.reasons.tolist()
    assert back.notes == whole.notes
    assert back.cell_types == whole.cell_types
    np.testing.assert_array_equal(back.counts, whole.counts)
    np.testing.assert_array_equal(back.unexplained, whole.unexplained)
    np.testing.assert_array_equal(back.coordinates, whole.coordinates)
    assert (back.weights != whole.weights).nnz == 0


def test_back_and_forth_twice_changes_nothing(opened: AnnData, tmp_path: Path) -> None:
    again = Result.from_anndata(opened).to_anndata()
    again.write_h5ad(tmp_path / "again.h5ad")
    twice = anndata.read_h5ad(tmp_path / "again.h5ad")
    assert set(twice.obsm) == set(opened.obsm)
    assert set(twice.obs) == set(opened.obs)
    assert_same_tree(dict(twice.uns), dict(opened.uns))


def test_another_prefix_leaves_room_for_a_second_result(whole: Result) -> None:
    both = replace(whole, spatial=whole.to_anndata()).to_anndata("second")
    for prefix in ("spotmix", "second"):
        back = Result.from_anndata(both, prefix)
        np.testing.assert_array_equal(back.abundances, whole.abundances)
    assert set(added_keys("second").values()) & set(both.obs) == {
        "second_dominant",
        "second_unexplained",
        "second_counts",
        "second_reason",
        "second_misfit",
    }


@pytest.mark.parametrize("prefix", ["spatial", "", "a/b"])
def test_a_prefix_that_would_harm_the_data_is_refused(whole: Result, prefix: str) -> None:
    with pytest.raises(InputError, match="`key_added`"):
        whole.to_anndata(prefix)


def test_a_result_without_notes_comes_back_without_notes(whole: Result, tmp_path: Path) -> None:
    replace(whole, notes=()).to_anndata().write_h5ad(tmp_path / "quiet.h5ad")
    assert Result.from_anndata(anndata.read_h5ad(tmp_path / "quiet.h5ad")).notes == ()


def test_spots_without_a_result_are_refused_in_one_sentence(whole: Result) -> None:
    with pytest.raises(InputError) as caught:
        Result.from_anndata(whole.spatial)
    assert len(caught.value.problems) == 1
    assert "holds spots, but no result of a run. Open the `spatial.h5ad`" in str(caught.value)


def test_half_a_result_is_refused_with_all_that_is_missing(whole: Result) -> None:
    half = whole.to_anndata()
    del half.obsm["spotmix_abundances"], half.obs["spotmix_reason"]
    with pytest.raises(InputError) as caught:
        Result.from_anndata(half)
    assert len(caught.value.problems) == 2
    assert "`obsm['spotmix_abundances']` is missing" in str(caught.value)
    assert "spatial.h5ad" in str(caught.value)


def test_hostile_names_of_types_survive_a_file(whole: Result, tmp_path: Path) -> None:
    result = renamed(whole, HOSTILE)
    result.to_anndata().write_h5ad(tmp_path / "hostile.h5ad")
    opened = anndata.read_h5ad(tmp_path / "hostile.h5ad")
    assert list(opened.obs["spotmix_dominant"].cat.categories) == HOSTILE
    assert opened.obsm["spotmix"].shape == (90, 6)
    back = Result.from_anndata(opened)
    assert back.cell_types == HOSTILE
    np.testing.assert_array_equal(back.abundances, whole.abundances)


@pytest.mark.filterwarnings("ignore")  # scanpy's own, of its plotting and of matplotlib's
def test_scanpy_reads_and_draws_the_file(saved: Path, whole: Result) -> None:
    scanpy = pytest.importorskip("scanpy", reason="scanpy is not installed")
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("agg")
    adata = scanpy.read_h5ad(saved)
    (library,) = adata.uns["spatial"]
    column = scanpy.get.obs_df(adata, obsm_keys=[("spotmix", whole.cell_types[0])])
    np.testing.assert_array_equal(column.iloc[:, 0], whole.proportions.iloc[:, 0])
    (axes,) = scanpy.pl.spatial(adata, color="spotmix_dominant", library_id=library, show=False)
    assert axes.get_images()[0].get_array().shape == adata.uns["spatial"][library]["images"]["hires"].shape
    labels = {text.get_text() for text in axes.get_legend().get_texts()}
    assert set(adata.obs["spotmix_dominant"].dropna()) <= labels
    plt.close("all")


def test_the_section_is_laid_out_as_space_ranger_readers_expect(opened: AnnData) -> None:
    section = opened.uns["spatial"]["simulated"]
    factors, image = section["scalefactors"], section["images"]["hires"]
    on_image = opened.obsm["spatial"] * factors["tissue_hires_scalef"]
    height, width = image.shape[:2]
    assert (on_image >= 0).all()
    assert (on_image <= [width, height]).all()
    assert factors["spot_diameter_fullres"] > 0


def test_storable_drops_what_a_file_cannot_hold() -> None:
    assert storable({"a": None, "b": {"c": None, "d": (1, (2, None))}}) == {"b": {"d": [1, [2, None]]}}


def test_what_a_file_says_wrongly_of_a_run_is_skipped(whole: Result) -> None:
    adata = whole.to_anndata()
    adata.uns["spotmix"] = {
        "given": {
            "share": 3,
            "normalize": "yes",
            "layer": ["a"],
            "random_state": -1,
            "fix": "flip-y",
            "n": {"a": 1},
        },
        "learned": {
            "lambda_c": "much",
            "n_edges": 2.5,
            "platform_effect": 1,
            "rna_content": [1.0, 2.0],
            "evidence": {"ridge": {"loss": 1.0}, "laplacian": 3, "chosen": ["ridge"]},
            "data_term": [1],
            "refit": {"lambda_c": None, "without": [1]},
            "of tomorrow": 1,
        },
        "versions": ["3.11"],
        "summary": b"text",
    }
    back = Result.from_anndata(adata)
    assert back.provenance.share == "rna"
    assert back.provenance.normalize
    assert (back.provenance.layer, back.provenance.random_state, back.provenance.fixes) == (None, 0, ())
    assert back.provenance.learned == Learned(rna_content=(1.0, 2.0), refit=back.provenance.learned.refit)
    assert (back.rna_content == 1).all()
    assert (back.provenance.versions, back.provenance.summary, back.notes) == ({}, "", ())
    back.to_anndata()


@pytest.mark.parametrize("parameters", [3, "text", ["a"], None])
def test_parameters_that_are_no_dictionary_are_refused(whole: Result, parameters: Any) -> None:
    adata = whole.to_anndata()
    adata.uns["spotmix"] = parameters
    with pytest.raises(InputError, match="parameters of the result must be a dictionary, found"):
        Result.from_anndata(adata)


def test_what_a_run_has_learned_comes_back_from_its_file(whole: Result, opened: AnnData) -> None:
    back = Result.from_anndata(opened)
    assert back.provenance.learned == whole.provenance.learned
    assert back.provenance.versions == whole.provenance.versions
    assert back.parameters["learned"] == whole.parameters["learned"]


def test_a_view_comes_back_from_its_file(whole: Result) -> None:
    assert View.from_json("[" * 100_000) == View()
    view = View(types=("B", "T"), opacity=0.5, side_by_side=("T",), camera=(1.0, 2.0, 0.5))
    assert Result.from_anndata(replace(whole, view=view).to_anndata()).view == view
    assert Result.from_anndata(whole.to_anndata()).view is None


def test_supporting_genes_are_found_in_raw_and_without_the_layer(whole: Result) -> None:
    expected = whole.supporting_genes(0)
    assert expected
    adata = whole.spatial.copy()
    of_reference = Provenance({"layer": "of the reference only"})
    assert replace(whole, provenance=of_reference).supporting_genes(0) == expected
    adata.raw = adata
    some = adata[:, :20].copy()
    in_raw = replace(whole, spatial=some, provenance=Provenance({"layer": "raw"}))
    assert in_raw.supporting_genes(0) == expected


def test_supporting_genes_are_those_whose_counts_a_type_is_needed_for() -> None:
    rng = np.random.default_rng(50)
    S = rng.dirichlet(np.full(12, 0.3), size=3)
    genes = [f"g{at}" for at in range(12)]
    names = [*genes[:11], "g3", "unknown"]  # g3 stands twice, g11 not at all
    distinct = pd.DataFrame(index=[f"column{at}" for at in range(13)])
    Y = rng.poisson(40 * rng.random((4, 13)))
    X = rng.dirichlet(np.ones(3), size=4)
    X[1, 2] = 0.0
    spatial = AnnData(csr_matrix(Y.astype(np.float32)), var=distinct)
    spatial.layers["raw"] = spatial.X.toarray() * 2
    spatial.X = spatial.X * 0
    spatial.var_names = names
    none = csr_array((4, 4))
    shares = pd.DataFrame(X, index=spatial.obs_names, columns=list("abc"))
    signatures = pd.DataFrame(S, index=shares.columns, columns=genes)
    totals, reasons = pd.Series(1.0, index=shares.index), pd.Series("", index=shares.index)
    provenance = Provenance({"layer": "raw"})
    result = Result(shares, totals, reasons, signatures, none, none, spatial, provenance=provenance)
    for spot in range(4):
        found = result.supporting_genes(spot, 4)
        assert set(found) <= {name for name, x in zip("abc", X[spot], strict=True) if x > 0}
        for k, name in enumerate("abc"):
            lost = {}
            for g, gene in enumerate(genes[:11]):
                y = 2 * Y[spot][[at for at, other in enumerate(names) if other == gene]].sum()
                part = X[spot] / X[spot].sum()
                expected = part @ S[:, g]
                others = np.delete(part, k) / (1 - part[k])
                lost[gene] = y * (np.log(expected) - np.log(others @ np.delete(S[:, g], k)))
            ranked = sorted((gene for gene in lost if lost[gene] > 0), key=lambda gene: -lost[gene])
            assert found.get(name, []) == ranked[:4]
    unknown = replace(result, signatures=pd.DataFrame(index=shares.columns))
    assert unknown.supporting_genes(0) == {}


def test_dates_of_the_user_are_written_as_text(tmp_path: Path) -> None:
    tissue = simulate(n_spots=30, n_genes=60, n_cell_types=3, image=False)
    spatial = tissue.spatial
    spatial.obs["day"] = pd.date_range("2026-01-01", periods=30)
    spatial.obs["after"] = pd.to_timedelta(np.arange(30), unit="D")
    spatial.obs["month"] = pd.period_range("2026-01", periods=30, freq="M")
    result = deconvolve(spatial, tissue.reference)
    result.to_anndata().write_h5ad(tmp_path / "result.h5ad")
    read = anndata.read_h5ad(tmp_path / "result.h5ad").obs
    assert list(read["day"][:2]) == ["2026-01-01", "2026-01-02"]
    assert read["month"].iloc[-1] == "2028-06"
    assert read["after"].iloc[1] == "1 days"
    assert spatial.obs["day"].dtype.kind == "M"


def test_a_result_prints_as_a_few_lines(whole: Result) -> None:
    lines = repr(whole).splitlines()
    first = whole.mean_proportions.idxmax()
    assert lines[0] == "Result: 90 spots, 6 cell types. Mean proportions:"
    assert lines[1] == f"  {first}: {whole.mean_proportions[first]:.1%}"
    assert lines[6:] == ["  and 1 more"]
    assert len(repr(renamed(whole, ["x" * 10_000 + str(n) for n in range(6)]))) < 600


def test_cell_types_can_be_the_variables(whole: Result) -> None:
    adata = whole.to_anndata(of="cell_types")
    np.testing.assert_array_equal(adata.X, whole.proportions)
    assert list(adata.var_names) == list(whole.cell_types)
    assert list(adata.var["color"]) == list(whole.colors.values())
    np.testing.assert_allclose(adata.var["mean"], whole.proportions.mean())
    assert list(adata.uns["spatial"]) == list(whole.spatial.uns["spatial"])
    np.testing.assert_array_equal(adata.obsm["spatial"], whole.spatial.obsm["spatial"])
    adata.X[0] = 7.0
    assert whole.proportions.to_numpy()[0].max() <= 1
    with pytest.raises(InputError, match="`of` must be"):
        whole.to_anndata(of="spots")  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore")  # scanpy's own, of its plotting and of matplotlib's
def test_scanpy_draws_a_cell_type_as_a_gene(whole: Result, tmp_path: Path) -> None:
    scanpy = pytest.importorskip("scanpy", reason="scanpy is not installed")
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("agg")
    whole.to_anndata(of="cell_types").write_h5ad(tmp_path / "types.h5ad")
    adata = anndata.read_h5ad(tmp_path / "types.h5ad")
    drawn = scanpy.pl.embedding(adata, "spatial", color=str(whole.cell_types[1]), show=False)
    assert drawn.get_title() == whole.cell_types[1]
    plt.close("all")
