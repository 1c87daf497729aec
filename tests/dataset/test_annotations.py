"""Columns of `obs` as labels and numbers, with the colors of the file."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from napari_spotmix.base.colors import cell_type_colors
from napari_spotmix.base.errors import InputError
from napari_spotmix.dataset.annotations import annotations_of, labels_of, numbers_of


def with_columns(**columns: object) -> AnnData:
    n_spots = len(next(iter(columns.values())))
    return AnnData(obs=pd.DataFrame(columns, index=[f"spot{at}" for at in range(n_spots)]))


def test_columns_are_labels_or_numbers_and_those_that_name_spots_are_left_out() -> None:
    n = 300
    adata = with_columns(
        cluster=pd.Categorical(["a", "b", "c"] * 100, categories=["c", "b", "a", "unused"]),
        text=["x", "y"] * 150,
        barcode=[f"b{at}" for at in range(n)],
        constant=["same"] * n,
        in_tissue=np.ones(n, int),
        leiden=np.arange(n) % 7,
        depth=np.arange(n) * 10,
        array_row=np.arange(n) % 20,
        is_edge=np.arange(n) % 2 == 0,
        score=np.linspace(-1, 1, n),
        empty=np.full(n, np.nan),
    )
    found = {one.name: one.n_labels for one in annotations_of(adata)}
    assert found == {
        "cluster": 3,
        "text": 2,
        "leiden": 7,
        "depth": None,
        "array_row": None,
        "is_edge": 2,
        "score": None,
    }


def test_a_column_that_occurs_twice_is_taken_once() -> None:
    adata = with_columns(score=[1.5, 2.5, 4.0], other=["a", "b", "a"])
    adata.obs.columns = ["score", "score"]
    assert [one.name for one in annotations_of(adata)] == ["score"]
    assert numbers_of(adata, "score").tolist() == [1.5, 2.5, 4.0]


def test_labels_are_in_one_order_and_an_empty_label_is_none() -> None:
    found = labels_of(with_columns(cluster=["10", "9", "", None, "9"]), "cluster")
    assert found.names == ("9", "10")
    assert found.codes.tolist() == [1, 0, -1, -1, 0]
    assert found.spots("9").tolist() == [False, True, False, False, True]
    assert found.colors == tuple(cell_type_colors(["9", "10"]).values())


def test_colors_of_the_file_are_taken_if_they_are_valid() -> None:
    adata = with_columns(cluster=pd.Categorical(["b", "a"], categories=["b", "a"]))
    adata.uns["cluster_colors"] = np.array(["#11AA22", "#334455ff"])
    assert labels_of(adata, "cluster").colors == ("#334455", "#11aa22")
    usual = tuple(cell_type_colors(["a", "b"]).values())
    for wrong in (["#112233"], ["red", "#112233"], "#112233", 7, {"a": 1}, [["#112233", "#112233"]]):
        adata.uns["cluster_colors"] = wrong
        assert labels_of(adata, "cluster").colors == usual, wrong


def test_numbers_that_are_not_finite_are_unknown() -> None:
    assert np.isnan(numbers_of(with_columns(score=[np.inf, -np.inf, np.nan]), "score")).all()
    nullable = with_columns(score=pd.array([1, None, 3], dtype="Int64"))
    assert numbers_of(nullable, "score")[[0, 2]].tolist() == [1.0, 3.0]


def test_a_column_that_does_not_exist_is_reported() -> None:
    with pytest.raises(InputError, match="no column 'missing'"):
        numbers_of(with_columns(score=[1.0]), "missing")
