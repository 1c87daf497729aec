"""From AnnData to a result: bad input in words, odd input, seeds, recovery of a known truth, cancelling."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any, Literal

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse import csc_matrix, csr_matrix
from scipy.stats import spearmanr

from napari_spotmix import InputError, Parameters, Result, deconvolve, simulate
from napari_spotmix.base.errors import Cancelled
from napari_spotmix.base.progress import Progress
from napari_spotmix.dataset.finding import messages
from napari_spotmix.dataset.validation import check
from napari_spotmix.simulation.simulate import SimulatedTissue
from tests.model.oracles import dense_minimizer, dense_statistics


@pytest.fixture(scope="module")
def tissue() -> SimulatedTissue:
    return simulate(n_spots=80, n_genes=150, n_cell_types=4, random_state=3, image=False)


@pytest.fixture(scope="module")
def section() -> SimulatedTissue:
    """The size of a real section of deep spots, with ten types, one of them rare."""
    return simulate(n_spots=900, n_genes=1000, n_cell_types=10, counts_per_spot=5000, image=False)


@pytest.fixture
def spatial(tissue: SimulatedTissue) -> AnnData:
    return tissue.spatial.copy()


@pytest.fixture
def reference(tissue: SimulatedTissue) -> AnnData:
    return tissue.reference.copy()


def problems_of(spatial: AnnData, reference: AnnData, **options: Any) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        deconvolve(spatial, reference, **options)
    return caught.value.problems


def only_problem(spatial: AnnData, reference: AnnData, **options: Any) -> str:
    problems = problems_of(spatial, reference, **options)
    assert len(problems) == 1, problems
    return problems[0]


def rmse(result: Result, truth: pd.DataFrame) -> float:
    return float(np.sqrt(((result.proportions[truth.columns] - truth) ** 2).to_numpy().mean()))


# What is refused, and in which words


def test_no_shared_genes(spatial: AnnData, reference: AnnData) -> None:
    reference.var_names = [f"ENSG{number:011d}" for number in range(reference.n_vars)]
    problem = only_problem(spatial, reference)
    assert "share no gene names" in problem
    assert repr(spatial.var_names[0]) in problem
    assert "'ENSG00000000000'" in problem
    assert "identifiers" in problem


def test_other_species_and_versions_are_named_as_the_cause(spatial: AnnData, reference: AnnData) -> None:
    spatial.var_names = [f"ENSMUSG{number:011d}.3" for number in range(spatial.n_vars)]
    reference.var_names = [f"ENSG{number:011d}" for number in range(reference.n_vars)]
    problem = only_problem(spatial, reference)
    assert problem.startswith("The species differ: the spatial data has Ensembl identifiers of mouse")
    assert "the reference has those of human" in problem
    reference.var_names = [f"ENSMUSG{number:011d}" for number in range(10_000, 10_000 + reference.n_vars)]
    assert "species" not in only_problem(spatial, reference)
    reference.var_names = [f"ENSMUSG{number:011d}" for number in range(reference.n_vars)]
    assert only_problem(spatial, reference).startswith("The versions of Ensembl identifiers differ")


def test_gene_names_that_differ_only_by_case(spatial: AnnData, reference: AnnData) -> None:
    swapped = [name.swapcase() for name in reference.var_names]
    assert not set(swapped) & set(spatial.var_names)
    reference.var_names = swapped
    problem = only_problem(spatial, reference)
    assert f"{spatial.n_vars} names agree if case is ignored" in problem
    assert "species" in problem


def test_label_column_missing(spatial: AnnData, reference: AnnData) -> None:
    problem = only_problem(spatial, reference, cell_type_key="celltype")
    assert problem.startswith("`cell_type_key`: the reference has no column 'celltype'.")
    assert "cell_type" in problem.split("Choose one of:")[1]


def test_one_cell_type(spatial: AnnData, reference: AnnData) -> None:
    reference.obs["cell_type"] = "T cell"
    problem = only_problem(spatial, reference)
    assert "holds 1 cell type ('T cell'); at least 2 are needed" in problem


def test_no_label_at_all(spatial: AnnData, reference: AnnData) -> None:
    reference.obs["cell_type"] = pd.Categorical([None] * reference.n_obs)
    assert "holds 0 cell types; at least 2 are needed" in only_problem(spatial, reference)


@pytest.mark.parametrize("which", ["spatial", "reference"])
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize(
    ("value", "words"), [(-1.0, "holds 1 negative value,"), (np.nan, "NaN or infinite"), (np.inf, "infinite")]
)
def test_values_that_are_no_counts(
    spatial: AnnData, reference: AnnData, which: str, dense: bool, value: float, words: str
) -> None:
    adata = {"spatial": spatial, "reference": reference}[which]
    matrix = adata.X.toarray()
    matrix[3, 5] = value
    adata.X = matrix if dense else csr_matrix(matrix)
    problem = only_problem(spatial, reference)
    assert problem.startswith(f"The {which} data (`X`) holds")
    assert words in problem
    assert "Raw counts are needed." in problem


@pytest.mark.parametrize("which", ["spatial", "reference"])
def test_log_normalized_values_name_the_layer_of_counts(
    spatial: AnnData, reference: AnnData, which: str
) -> None:
    adata = {"spatial": spatial, "reference": reference}[which]
    adata.layers["counts"] = adata.X.copy()
    total = np.asarray(adata.X.sum(axis=1))
    adata.X = csr_matrix(np.log1p(adata.X.toarray() / total * 1e4))
    problem = only_problem(spatial, reference)
    assert problem.startswith(f"The {which} data (`X`) looks log-normalized")
    assert "The layer 'counts' holds whole numbers: choose 'counts' as `layer`." in problem


def test_log_normalized_values_name_raw_if_there_is_no_layer(spatial: AnnData, reference: AnnData) -> None:
    spatial.raw = spatial.copy()
    spatial.X = csr_matrix(np.log1p(spatial.X.toarray() * 0.37))
    assert "Its `raw` holds whole numbers: choose 'raw' as `layer`." in only_problem(spatial, reference)


def test_counts_in_raw_are_chosen_as_a_layer(spatial: AnnData, reference: AnnData) -> None:
    expected = deconvolve(spatial, reference).proportions
    for adata in (spatial, reference):
        adata.raw = adata.copy()
        adata.X = csr_matrix(np.log1p(adata.X.toarray()))
    fewer = reference[:, ::-1].copy()  # `raw` has genes of its own, in its own order
    assert np.array_equal(deconvolve(spatial, fewer, layer="raw").proportions, expected)


@pytest.mark.parametrize("which", ["spatial", "reference"])
def test_a_layer_is_taken_from_whichever_has_it(spatial: AnnData, reference: AnnData, which: str) -> None:
    expected = deconvolve(spatial, reference).proportions
    adata, other = (spatial, "reference") if which == "spatial" else (reference, "spatial")
    adata.layers["counts"], adata.X = adata.X.copy(), csr_matrix(np.log1p(adata.X.toarray()))
    result = deconvolve(spatial, reference, layer="counts")
    assert np.array_equal(result.proportions, expected)
    assert f"The {other} data has no layer 'counts': its counts are taken from `X`." in result.notes


def signatures(reference: AnnData, scale: float = 1.0) -> AnnData:
    means = pd.DataFrame(reference.X.toarray()).groupby(reference.obs["cell_type"].to_numpy()).mean()
    adata = AnnData(csr_matrix(means.to_numpy() * scale), uns={"spotmix_signatures": True})
    adata.var_names = reference.var_names
    adata.obs["cell_type"] = pd.Categorical(means.index)
    return adata


def test_signatures_without_cells_serve_as_a_reference(spatial: AnnData, reference: AnnData) -> None:
    result = deconvolve(spatial, signatures(reference))
    truth = spatial.obsm["truth_rna"] if "truth_rna" in spatial.obsm else spatial.obsm["truth"]
    of_cells = deconvolve(spatial, reference).rna_proportions
    found = result.proportions[of_cells.columns]
    error, error_of_cells = (np.abs(one - truth[one.columns]).mean(axis=None) for one in (found, of_cells))
    assert error < 1.3 * error_of_cells + 0.01
    assert any("signatures, not single cells" in note for note in result.notes)
    assert not any("fewer than 10 reference cells" in note for note in result.notes)
    assert result.parameters["learned"]["cell_variation"] == 0
    assert np.array_equal(result.proportions, result.rna_proportions)
    assert (result.standard_errors.to_numpy() > 0).all()


def test_the_scale_of_signatures_does_not_matter(spatial: AnnData, reference: AnnData) -> None:
    one, other = (deconvolve(spatial, signatures(reference, scale)).proportions for scale in (1.0, 2.0**-10))
    assert np.allclose(one, other, atol=1e-6)


def test_scaled_values(spatial: AnnData, reference: AnnData) -> None:
    spatial.X = spatial.X.toarray() - spatial.X.toarray().mean(axis=0)
    assert "negative values, as scaled or centered data do" in only_problem(spatial, reference)


def test_counts_per_million(spatial: AnnData, reference: AnnData) -> None:
    spatial.X = csr_matrix(spatial.X.toarray() / np.asarray(spatial.X.sum(axis=1)) * 1e6)
    assert "looks normalized" in only_problem(spatial, reference)


def test_values_that_are_no_numbers(spatial: AnnData, reference: AnnData) -> None:
    words = AnnData(np.full(spatial.shape, "many", dtype=object), obs=spatial.obs, var=spatial.var)
    words.obsm["spatial"] = spatial.obsm["spatial"]
    assert "not numbers" in only_problem(words, reference)


def test_no_counts_at_all(spatial: AnnData, reference: AnnData) -> None:
    spatial.X = csr_matrix(spatial.shape, dtype=np.float32)
    assert "no counts at all" in only_problem(spatial, reference)


def test_values_larger_than_any_count(spatial: AnnData, reference: AnnData) -> None:
    values = reference.X.astype(np.float64).toarray()
    values[3, 4] = 1e300
    reference.X = csr_matrix(values)
    assert "values up to 1e+300, larger than any count" in only_problem(spatial, reference)


def test_no_matrix(spatial: AnnData, reference: AnnData) -> None:
    spatial.X = None
    assert "is empty" in only_problem(spatial, reference)


def test_layer_missing(spatial: AnnData, reference: AnnData) -> None:
    spatial.layers["raw_counts"] = spatial.X.copy()
    problem = only_problem(spatial, reference, layer="counts")
    assert problem == "`layer`: the spatial data has no layer 'counts'. Choose one of: raw_counts."


def test_coordinates_missing(spatial: AnnData, reference: AnnData) -> None:
    spatial.obsm["X_umap"] = spatial.obsm.pop("spatial")
    problem = only_problem(spatial, reference)
    assert "`obsm['spatial']` is missing" in problem
    assert "X_umap" in problem


def test_one_coordinate(spatial: AnnData, reference: AnnData) -> None:
    spatial.obsm["spatial"] = spatial.obsm["spatial"][:, :1]
    assert "must have two columns, x and y, found shape (80, 1)" in only_problem(spatial, reference)


def test_coordinates_that_are_no_numbers(spatial: AnnData, reference: AnnData) -> None:
    spatial.obsm["spatial"] = np.full((spatial.n_obs, 2), "left", dtype=object)
    assert "`obsm['spatial']` must hold numbers" in only_problem(spatial, reference)


def test_what_is_no_anndata_is_refused_with_how_to_read_it() -> None:
    problems = problems_of("spots.h5ad", None)  # type: ignore[arg-type]
    assert problems == (
        "`spatial` must be an AnnData, found str. Read a file with `read_spatial`.",
        "`reference` must be an AnnData, found NoneType. Read a file with `read_reference`.",
    )


def test_no_place_at_all(spatial: AnnData, reference: AnnData) -> None:
    spatial.obsm["spatial"] = np.full((80, 2), np.nan)
    assert "every spot" in only_problem(spatial, reference)


@pytest.mark.parametrize("scale", [1e200, 1e-200])
def test_coordinates_whose_squares_are_no_numbers(spatial: AnnData, reference: AnnData, scale: float) -> None:
    spatial.obsm["spatial"] = spatial.obsm["spatial"].astype(np.float64) * scale
    assert "not positions in pixels or micrometers" in only_problem(spatial, reference)


def test_sample_column_missing(spatial: AnnData, reference: AnnData) -> None:
    assert only_problem(spatial, reference, library_key="slide").startswith("`library_key`: the spatial data")


def test_unknown_parameters_are_all_named(spatial: AnnData, reference: AnnData) -> None:
    problems = problems_of(spatial, reference, lamda_c=1.0, smooth=True)
    assert [problem.split(".")[0] for problem in problems] == [
        "`lamda_c` is not a parameter",
        "`smooth` is not a parameter",
    ]
    assert "Choose one of: n_genes," in problems[0]


def test_bad_values_of_parameters_are_all_named(spatial: AnnData, reference: AnnData) -> None:
    problems = problems_of(
        spatial, reference, lambda_c=-1.0, n_outer_iterations=1.5, weights="gauss", alpha=np.nan
    )
    names = [re.match(r"`(\w+)` must be", problem) for problem in problems]
    assert sorted(name[1] for name in names if name) == ["alpha", "lambda_c", "n_outer_iterations", "weights"]


def test_all_problems_are_listed_at_once(spatial: AnnData, reference: AnnData) -> None:
    del spatial.obsm["spatial"]
    spatial.X = -spatial.X
    reference.var_names = [f"gene {number}" for number in range(reference.n_vars)]
    problems = problems_of(spatial, reference, cell_type_key="kind")
    words = ("negative", "obsm['spatial']", "'kind'", "share no gene names")
    assert len(problems) == 4
    for problem, word in zip(problems, words, strict=True):
        assert word in problem
    assert messages(check(spatial, reference, cell_type_key="kind")) == list(problems)


def test_a_type_without_counts_of_the_shared_genes(spatial: AnnData, reference: AnnData) -> None:
    matrix = reference.X.toarray()
    silent = reference.obs["cell_type"].cat.categories[2]
    matrix[(reference.obs["cell_type"] == silent).to_numpy()] = 0
    reference.X = csr_matrix(matrix)
    problem = only_problem(spatial, reference)
    assert repr(silent) in problem
    assert "Drop the type" in problem


def test_spots_without_one_shared_count(spatial: AnnData, reference: AnnData) -> None:
    only = spatial[:, :20].copy()
    only.X = csr_matrix(np.pad(np.zeros((80, 19)), ((0, 0), (0, 1)), constant_values=2.0))
    only.var_names = [*only.var_names[:19], "not in the reference"]
    assert "there is nothing to fit" in only_problem(only, reference)


def test_good_input_has_no_problems(spatial: AnnData, reference: AnnData) -> None:
    assert check(spatial, reference) == []


# What is changed, and reported


def test_spots_without_counts_are_kept_as_nan_and_reported(spatial: AnnData, reference: AnnData) -> None:
    matrix = spatial.X.toarray()
    matrix[[4, 17]] = 0
    spatial.X = csr_matrix(matrix)
    result = deconvolve(spatial, reference)
    assert list(result.proportions.index) == list(spatial.obs_names)
    unknown = result.proportions.isna().all(axis=1).to_numpy()
    assert np.flatnonzero(unknown).tolist() == [4, 17]
    assert result.proportions.isna().sum().sum() == 2 * 4
    assert (result.reasons[unknown] == "no counts of the shared genes").all()
    assert (result.reasons[~unknown] == "").all()
    assert any("2 of 80 spots are not estimated" in note for note in result.notes)
    assert result.weights[[4, 17]].nnz == 0
    assert result.weights.shape == (80, 80)
    assert result.dominant.isna().sum() == result.unexplained.isna().sum() == 2


def test_spots_without_coordinates_are_kept_as_nan_and_reported(spatial: AnnData, reference: AnnData) -> None:
    spatial.obsm["spatial"] = spatial.obsm["spatial"].astype(float)
    spatial.obsm["spatial"][7, 1] = np.nan
    result = deconvolve(spatial, reference)
    assert result.proportions.isna().all(axis=1).sum() == 1
    assert result.reasons.iloc[7] == "no coordinates"
    assert any("(no coordinates)" in note for note in result.notes)


def test_spots_left_out_change_nothing_for_the_others(spatial: AnnData, reference: AnnData) -> None:
    gone = spatial.copy()
    gone.obsm["spatial"] = gone.obsm["spatial"].astype(float)
    gone.obsm["spatial"][[0, 50]] = np.nan
    kept = np.setdiff1d(np.arange(80), [0, 50])
    with_nan, without = deconvolve(gone, reference), deconvolve(spatial[kept].copy(), reference)
    np.testing.assert_array_equal(with_nan.abundances.iloc[kept], without.abundances)
    assert (with_nan.weights[kept][:, kept] != without.weights).nnz == 0


def test_duplicate_gene_names_are_summed_and_reported(spatial: AnnData, reference: AnnData) -> None:
    plain = deconvolve(spatial, reference)
    first = np.floor(spatial.X.toarray()[:, :10] / 2)
    rest = spatial.X.toarray()
    rest[:, :10] -= first
    twice = AnnData(csr_matrix(np.hstack([first, rest])), obs=spatial.obs)
    twice.obsm["spatial"] = spatial.obsm["spatial"]
    twice.var_names = [*spatial.var_names[:10], *spatial.var_names]
    split = deconvolve(twice, reference)
    assert any("10 gene names are found more than once in the spatial data" in note for note in split.notes)
    np.testing.assert_allclose(split.abundances, plain.abundances, atol=1e-9)
    assert list(split.to_anndata().var_names) == list(twice.var_names)  # and anndata does not warn of them


def test_duplicate_gene_names_of_the_reference_are_summed(spatial: AnnData, reference: AnnData) -> None:
    plain = deconvolve(spatial, reference)
    first = np.floor(reference.X.toarray()[:, :1] / 2)
    rest = reference.X.toarray()
    rest[:, :1] -= first
    twice = AnnData(csr_matrix(np.hstack([rest, first])), obs=reference.obs)
    twice.var_names = [*reference.var_names, reference.var_names[0]]
    split = deconvolve(spatial, twice)
    assert any("more than once in the reference data" in note for note in split.notes)
    np.testing.assert_allclose(split.abundances, plain.abundances, atol=1e-12)


def test_a_gene_that_the_reference_never_shows_is_no_shared_gene(
    spatial: AnnData, reference: AnnData
) -> None:
    matrix, cells = spatial.X.toarray(), reference.X.toarray()
    cells[:, 30] = 0
    reference.X = csr_matrix(cells)
    plain = deconvolve(spatial, reference)
    matrix[:, 30] = 10_000
    spatial.X = csr_matrix(matrix)
    flooded = deconvolve(spatial, reference)
    assert spatial.var_names[30] not in flooded.signatures
    np.testing.assert_array_equal(flooded.abundances, plain.abundances)
    np.testing.assert_array_equal(flooded.counts, plain.counts)


def test_spots_whose_counts_fit_no_type_are_kept_as_nan(spatial: AnnData, reference: AnnData) -> None:
    chosen = deconvolve(spatial, reference, n_genes=20).signatures.columns
    matrix = spatial.X.toarray()
    matrix[9, spatial.var_names.isin(chosen)] = 0
    assert matrix[9].any()
    spatial.X = csr_matrix(matrix)
    result = deconvolve(spatial, reference, n_genes=20, lambda_c=0.0)
    assert result.abundances.isna().all(axis=1).to_numpy().nonzero()[0].tolist() == [9]
    assert result.reasons.iloc[9] == "counts fit no cell type"


def test_types_with_few_cells_are_reported(spatial: AnnData, reference: AnnData) -> None:
    name = reference.obs["cell_type"].cat.categories[1]
    cells = (reference.obs["cell_type"] == name).to_numpy()
    keep = ~cells | (np.cumsum(cells) <= 3)
    result = deconvolve(spatial, reference[keep].copy())
    assert any(f"{name} (3)" in note for note in result.notes)


def test_cells_without_a_label_are_left_out_and_reported(spatial: AnnData, reference: AnnData) -> None:
    labels = reference.obs["cell_type"].astype(object)
    labels.iloc[::7] = None
    reference.obs["cell_type"] = labels
    result = deconvolve(spatial, reference)
    n_missing = int(labels.isna().sum())
    assert f"{n_missing} of {reference.n_obs} reference cells have no label and are dropped." in result.notes
    labeled = reference[labels.notna().to_numpy()].copy()
    np.testing.assert_allclose(result.abundances, deconvolve(spatial, labeled).abundances, atol=1e-12)


def test_labels_that_are_numbers_become_text(spatial: AnnData, reference: AnnData) -> None:
    reference.obs["cluster"] = reference.obs["cell_type"].cat.codes.astype(int)
    assert deconvolve(spatial, reference, cell_type_key="cluster").cell_types == ["0", "1", "2", "3"]


def test_categories_without_cells_are_no_types(spatial: AnnData, reference: AnnData) -> None:
    reference.obs["cell_type"] = reference.obs["cell_type"].cat.add_categories(["Unicorn"])
    assert "Unicorn" not in deconvolve(spatial, reference).cell_types


def test_genes_of_one_side_only_and_their_order_do_not_matter(spatial: AnnData, reference: AnnData) -> None:
    plain = deconvolve(spatial[:, :120].copy(), reference[:, :120].copy())
    order = np.random.default_rng(1).permutation(150)
    mixed = deconvolve(spatial[:, :120].copy(), reference[:, order].copy())
    np.testing.assert_allclose(mixed.abundances, plain.abundances, atol=1e-9)
    assert list(mixed.signatures.columns) == list(plain.signatures.columns)


@pytest.mark.parametrize("kind", ["float64", "int64", "uint16", "dense", "csc"])
def test_every_kind_of_matrix_gives_the_same_result(spatial: AnnData, reference: AnnData, kind: str) -> None:
    plain = deconvolve(spatial, reference)
    make = {"dense": lambda X: X.toarray(), "csc": csc_matrix}.get(kind, lambda X: X.astype(kind))
    spatial.X, reference.X = make(spatial.X), make(reference.X)
    # float32 references are averaged in float32.
    np.testing.assert_allclose(deconvolve(spatial, reference).abundances, plain.abundances, atol=1e-5)


def test_a_layer_serves_as_counts(spatial: AnnData, reference: AnnData) -> None:
    plain = deconvolve(spatial, reference)
    spatial.layers["counts"] = spatial.X.copy()
    spatial.X = csr_matrix(np.log1p(spatial.X.toarray()))
    by_layer = deconvolve(spatial, reference, layer="counts")
    np.testing.assert_array_equal(by_layer.abundances, plain.abundances)


def test_more_than_two_coordinates_and_a_table_of_them_are_read(spatial: AnnData, reference: AnnData) -> None:
    plain = deconvolve(spatial, reference)
    xyz = np.column_stack([spatial.obsm["spatial"], np.ones(80)])
    spatial.obsm["spatial"] = pd.DataFrame(xyz, index=spatial.obs_names, columns=["x", "y", "z"])
    np.testing.assert_array_equal(deconvolve(spatial, reference).abundances, plain.abundances)


def test_samples_are_not_linked(spatial: AnnData, reference: AnnData) -> None:
    spatial.obs["slide"] = np.where(np.arange(80) % 2, "a", "b")
    result = deconvolve(spatial, reference, library_key="slide", graph="knn", lambda_c=1.0)
    row, column = result.weights.tocoo().coords
    assert len(row)
    assert (row % 2 == column % 2).all()


def test_files_left_on_disk_and_half_precision_serve_too(
    spatial: AnnData, reference: AnnData, tmp_path: Path
) -> None:
    spatial.X.data = np.minimum(spatial.X.data, 2048)  # whole numbers that half precision can hold
    expected = deconvolve(spatial, reference)
    spatial.write_h5ad(tmp_path / "spots.h5ad")
    backed = anndata.read_h5ad(tmp_path / "spots.h5ad", backed="r")
    halves = spatial.copy()
    halves.X = spatial.X.toarray().astype(np.float16)
    try:
        for given in (backed, halves):
            result = deconvolve(given, reference)
            np.testing.assert_array_equal(result.to_anndata().obsm["spotmix"], expected.proportions)
    finally:
        backed.file.close()


def test_one_spot(spatial: AnnData, reference: AnnData) -> None:
    result = deconvolve(spatial[:1].copy(), reference, lambda_c=1.0)
    assert result.proportions.to_numpy().sum() == pytest.approx(1)


def test_inputs_are_not_modified(spatial: AnnData, reference: AnnData) -> None:
    before = [(adata.copy(), adata.X, list(adata.obs.columns)) for adata in (spatial, reference)]
    spatial.X.data.flags.writeable = reference.X.data.flags.writeable = False
    result = deconvolve(spatial, reference)
    assert result.spatial is spatial
    for adata, (copy, matrix, columns) in zip((spatial, reference), before, strict=True):
        assert adata.X is matrix
        assert (adata.X != copy.X).nnz == 0
        assert list(adata.obs.columns) == columns
        assert set(adata.obsm) == set(copy.obsm)
        assert set(adata.uns) == set(copy.uns)
        assert not adata.obsp
        pd.testing.assert_frame_equal(adata.obs, copy.obs)


# What comes out


def test_plain_weights_minimize_the_stated_objective(spatial: AnnData, reference: AnnData) -> None:
    """||Y - XS||^2 + lr ||X||^2 + lc Tr(X'LX), by an independent dense solver."""
    small = spatial[:30].copy()
    result = deconvolve(
        small,
        reference,
        weights="none",
        normalize=False,
        lambda_r=0.002,
        lambda_c=0.01,
        tolerance=1e-12,
        max_sweeps=100_000,
    )
    genes = list(result.signatures.columns)
    Y, S = small[:, genes].X.toarray().astype(float), result.signatures.to_numpy()
    stated = dense_statistics(Y, S, np.ones((1, len(genes))), np.zeros(30, int), np.ones(30))
    expected = dense_minimizer(stated, result.weights, 0.002, 0.01)
    np.testing.assert_allclose(result.abundances, expected, atol=1e-7 * expected.max())
    assert result.weights.nnz > 60


def test_parameters_may_be_given_together_or_one_by_one(spatial: AnnData, reference: AnnData) -> None:
    params = Parameters(lambda_c=0.7, n_outer_iterations=1)
    together = deconvolve(spatial, reference, params=params)
    single = deconvolve(spatial, reference, lambda_c=0.7, n_outer_iterations=1)
    both = deconvolve(spatial, reference, params=Parameters(lambda_c=9.0, n_outer_iterations=1), lambda_c=0.7)
    for other in (single, both):
        np.testing.assert_array_equal(other.abundances, together.abundances)
        assert other.parameters["given"] == together.parameters["given"]
    assert together.parameters["learned"]["lambda_c"] == 0.7


def test_neither_threads_nor_a_seed_change_a_bit(section: SimulatedTissue) -> None:
    first = deconvolve(section.spatial, section.reference, n_threads=1, random_state=5)
    again = deconvolve(section.spatial, section.reference, n_threads=3, random_state=6)
    np.testing.assert_array_equal(first.abundances, again.abundances)
    np.testing.assert_array_equal(first.weights.data, again.weights.data)


def test_a_known_truth_is_recovered(section: SimulatedTissue) -> None:
    result = deconvolve(section.spatial, section.reference)
    truth = section.spatial.obsm["truth_rna"][result.cell_types]
    flat = float(np.sqrt(((truth - 1 / truth.shape[1]) ** 2).to_numpy().mean()))
    # Thousands of counts in a spot, but signatures as alike as real ones: a quarter of no knowledge at all.
    assert rmse(result, truth) < 0.045 < flat / 4
    right = (result.proportions.to_numpy().argmax(axis=1) == truth.to_numpy().argmax(axis=1)).mean()
    assert right > 0.9
    for name in truth:
        assert np.corrcoef(result.proportions[name], truth[name])[0, 1] > 0.7


@pytest.mark.parametrize("layout", ["hexagonal", "square"])
def test_spots_that_vary_by_counting_alone_lose_nothing(layout: Literal["hexagonal", "square"]) -> None:
    """The cells of this reference vary, those of the tissue do not; only the signatures have errors."""
    made = simulate(300, 300, 6, layout=layout, random_state=1, image=False)
    learned, without = (
        deconvolve(made.spatial, made.reference, cell_type_key="cell_type", **options)
        for options in ({}, {"cell_variation": 0.0})
    )
    assert learned.parameters["learned"]["cell_variation"] < 0.01
    truth = made.spatial.obsm["truth"]
    assert rmse(learned, truth) < 1.02 * rmse(without, truth)


def test_proportions_of_cells_and_of_rna_each_meet_their_own_truth(section: SimulatedTissue) -> None:
    result = deconvolve(section.spatial, section.reference)
    estimates = {"truth": result.cell_proportions, "truth_rna": result.rna_proportions}
    for key, truth in ((key, section.spatial.obsm[key]) for key in estimates):
        errors = {of: float(((p[truth.columns] - truth) ** 2).mean(axis=None)) for of, p in estimates.items()}
        assert min(errors, key=errors.__getitem__) == key


def coverage(result: Result, truth: pd.DataFrame) -> np.ndarray:
    """Tell which intervals of 90% hold the truth."""
    lower, upper = (ends.to_numpy() for ends in result.intervals())
    values = truth[result.cell_types].to_numpy()
    return (lower <= values + 1e-9) & (values <= upper + 1e-9)


def test_intervals_of_ninety_percent_hold_the_truth_about_as_often(section: SimulatedTissue) -> None:
    result = deconvolve(section.spatial, section.reference, share="rna")
    truth = section.spatial.obsm["truth_rna"]
    held = coverage(result, truth)
    assert 0.88 < held.mean() < 0.97
    assert 0.86 < held[(truth > 0)[result.cell_types].to_numpy()].mean() < 0.97


def test_standard_errors_are_as_large_as_errors_and_rank_them(section: SimulatedTissue) -> None:
    result = deconvolve(section.spatial, section.reference, share="rna")
    away = (result.proportions - section.spatial.obsm["truth_rna"][result.cell_types]).to_numpy()
    stated = result.standard_errors.to_numpy()
    assert 0.7 < np.sqrt((stated**2).mean() / (away**2).mean()) < 1.4
    assert spearmanr(stated.ravel(), np.abs(away).ravel())[0] > 0.65


def test_intervals_hold_where_cells_bring_unequal_rna(section: SimulatedTissue) -> None:
    result = deconvolve(section.spatial, section.reference)
    assert coverage(result, section.spatial.obsm["truth"]).mean() > 0.88


@pytest.mark.parametrize("options", [{"weights": "none"}, {"normalize": False}])
def test_errors_mean_the_same_for_every_data_term(section: SimulatedTissue, options: dict[str, Any]) -> None:
    result = deconvolve(section.spatial, section.reference, share="rna", lambda_c=0.0, **options)
    held = coverage(result, section.spatial.obsm["truth_rna"])
    assert 0.85 < held.mean() <= 0.99


def test_a_type_that_the_reference_lacks_is_reported_with_position_and_genes(
    section: SimulatedTissue,
) -> None:
    truth = section.spatial.obsm["truth"]
    missing = truth.mean().idxmax()
    partial = section.reference[section.reference.obs["cell_type"] != missing].copy()
    result = deconvolve(section.spatial, partial)
    found = [note for note in result.notes if "may lack a cell type" in note]
    assert len(found) == 1
    assert str(missing).replace(" ", "-") in found[0]
    assert np.corrcoef(result.misfit, truth[missing])[0, 1] > 0.4


@pytest.mark.parametrize("platform_effect", [0.0, 0.3])
def test_a_complete_reference_lacks_nothing(platform_effect: float) -> None:
    tissue = simulate(
        n_spots=900,
        n_genes=600,
        n_cell_types=8,
        platform_effect=platform_effect,
        image=False,
        random_state=5,
    )
    result = deconvolve(tissue.spatial, tissue.reference)
    assert not [note for note in result.notes if "lack" in note or "cannot be distinguished" in note]
    assert result.parameters["learned"]["confusable_types"] == []


def test_twins_in_the_reference_are_reported(spatial: AnnData, reference: AnnData) -> None:
    labels = reference.obs["cell_type"].astype(str).to_numpy(copy=True)
    members = np.flatnonzero(labels == labels[0])
    labels[members[::2]] = "Twin"
    reference.obs["cell_type"] = labels
    found = [note for note in deconvolve(spatial, reference).notes if "cannot be distinguished" in note]
    assert len(found) == 1
    assert "Twin" in found[0]
    assert labels[members[1]] in found[0]


def test_totals_that_cannot_be_rna_content_are_reported(spatial: AnnData, reference: AnnData) -> None:
    first, second = reference.obs["cell_type"].unique()[:2]
    for cell_type, factor in ((first, 15), (second, 200)):
        members = (reference.obs["cell_type"] == cell_type).to_numpy()
        reference.X = csr_matrix(reference.X.multiply(np.where(members, factor, 1)[:, None]))
    found = [note for note in deconvolve(spatial, reference).notes if "RNA content" in note]
    assert len(found) == 1
    assert "only in part" in found[0]
    assert not [note for note in deconvolve(spatial, reference, share="rna").notes if "RNA content" in note]


def test_the_rare_type_is_found_where_it_is(section: SimulatedTissue) -> None:
    truth = section.spatial.obsm["truth_rna"]["Neuroendocrine"]
    assert truth.mean() < 0.03
    found = deconvolve(section.spatial, section.reference).proportions["Neuroendocrine"]
    nests = truth > 0.15
    assert nests.sum() >= 10
    assert found[nests].mean() > 0.6 * truth[nests].mean()
    assert found[truth == 0].mean() < 0.02


def test_neighbors_help_shallow_bins_and_attention_helps_more() -> None:
    bins = simulate(1600, 600, 8, layout="square", counts_per_spot=30, image=False)
    truth = bins.spatial.obsm["truth_rna"]
    alone, plain, attentive = (
        deconvolve(bins.spatial, bins.reference, **options)
        for options in ({"lambda_c": 0.0}, {"attention": False}, {})
    )
    assert attentive.parameters["learned"]["layout"] == "square"
    assert rmse(plain, truth) < 0.95 * rmse(alone, truth)
    assert rmse(attentive, truth) < 0.9 * rmse(plain, truth)


def test_proportions_do_not_depend_on_depth(spatial: AnnData, reference: AnnData) -> None:
    deeper = spatial.copy()
    deeper.X = csr_matrix(spatial.X.toarray() * np.arange(1, 81)[:, None])
    options: dict[str, Any] = {"weights": "none", "lambda_c": 0.0, "lambda_r": 0.0, "tolerance": 1e-10}
    plain, scaled = deconvolve(spatial, reference, **options), deconvolve(deeper, reference, **options)
    np.testing.assert_allclose(scaled.proportions, plain.proportions, atol=1e-6)


def test_a_reference_of_more_types_gives_the_absent_ones_little(section: SimulatedTissue) -> None:
    stroma = section.spatial.obsm["truth_rna"]["Epithelial"] == 0
    found = deconvolve(section.spatial[stroma.to_numpy()].copy(), section.reference).proportions
    assert found["Epithelial"].mean() < 0.02


# Progress and cancelling

STAGES = [
    "Checking the input",
    "Averaging the reference",
    "Counting",
    "Comparing cells of the reference",
    "Linking neighbors",
    "Weighing genes (first fit)",
    "Reducing counts (first fit)",
    "Solving (first fit)",
    "Comparing spots (iteration 1 of 1)",
    "Comparing cells (iteration 1 of 1)",
    "Learning the data term",
    "Comparing with the reference (iteration 1 of 1)",
    "Learning the smoothing (folds of genes)",
    "Learning the smoothing (ridge)",
    "Learning the smoothing (laplacian)",
    "Learning the smoothing (attention)",
    "Weighing genes (iteration 1 of 1)",
    "Reducing counts (iteration 1 of 1)",
    "Solving (iteration 1 of 1)",
    "Comparing genes",
    "Comparing patches",
    "Measuring noise",
    "Measuring errors",
    "Drawing pseudo-spots",
    "Fitting pseudo-spots",
    "Calibrating errors",
    "Writing up",
]


def test_stages_come_in_order(spatial: AnnData, reference: AnnData) -> None:
    calls: list[Progress] = []
    deconvolve(spatial, reference, n_outer_iterations=1, on_progress=calls.append)
    assert list(dict.fromkeys(call.stage for call in calls)) == STAGES
    assert all(0 <= call.fraction <= 1 for call in calls)
    for stage in STAGES:
        steps = [call.step for call in calls if call.stage == stage]
        assert steps == sorted(steps)


@pytest.mark.parametrize("stage", STAGES)
def test_cancelling_at_any_stage_leaves_nothing_running(
    spatial: AnnData, reference: AnnData, stage: str
) -> None:
    before = set(threading.enumerate())
    after_cancel: list[str] = []
    cancelled = False

    def cancel(progress: Progress) -> None:
        nonlocal cancelled
        if cancelled:
            after_cancel.append(progress.stage)
        if progress.stage == stage:
            cancelled = True
            raise Cancelled

    with pytest.raises(Cancelled):
        deconvolve(spatial, reference, n_outer_iterations=1, n_threads=2, on_progress=cancel)
    assert not after_cancel
    assert set(threading.enumerate()) == before
    assert set(spatial.obsm) == {"spatial", "truth", "truth_rna"}


def test_bad_input_starts_no_threads(spatial: AnnData, reference: AnnData) -> None:
    before = set(threading.enumerate())
    assert problems_of(spatial, reference, cell_type_key="kind")
    assert set(threading.enumerate()) == before


def test_labels_that_read_alike_are_one_type(spatial: AnnData, reference: AnnData) -> None:
    mixed = reference.copy()
    names = pd.Categorical(reference.obs["cell_type"]).codes.astype(object)
    names[::2] = [str(name) for name in names[::2]]
    mixed.obs["cell_type"] = pd.Categorical(names)
    result = deconvolve(spatial, mixed, lambda_c=0.0)
    assert result.cell_types == sorted(set(result.cell_types))
    assert len(result.cell_types) == reference.obs["cell_type"].nunique()


def test_a_column_with_a_label_per_cell_is_refused(spatial: AnnData, reference: AnnData) -> None:
    named = reference.copy()
    named.obs["cell_type"] = [f"cell {number}" for number in range(named.n_obs)]
    with pytest.raises(InputError, match=r"400 different labels for 400 cells.*Choose the column"):
        deconvolve(spatial, named)
