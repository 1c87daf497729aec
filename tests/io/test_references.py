"""References of every kind: how cells get their labels, what a table holds, and several as one."""

from __future__ import annotations

import builtins
import gzip
import warnings
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from napari_spotmix import ReadError, read_reference, read_spatial
from napari_spotmix.base.errors import InputError
from napari_spotmix.io import (
    MissingLabels,
    checksums,
    is_signatures,
    label_columns,
    output_problems,
    reading_notes,
)
from tests.io import layouts_of_others as others
from tests.io.layouts import REAL_DATA, Section, section, write_folder, write_h5, write_mtx

ALL = np.ones(12, bool)
TYPES = ["B cell", "T cell", "NK/T"] * 4


@pytest.fixture
def cells() -> Section:
    return section()


def write_labels(
    path: Path, cells: Section, header: str = "barcode,cell_type", types: list[str] = TYPES
) -> Path:
    rows = [f"{name},{kind}" for name, kind in zip(cells.barcodes, types, strict=True)]
    path.write_text("\n".join([*([header] if header else []), *reversed(rows)]) + "\n")
    return path


def adata_of(cells: Section, types: list[str] = TYPES, genes: list[str] | None = None) -> anndata.AnnData:
    obs = pd.DataFrame({"cell_type": pd.Categorical(types)}, index=cells.barcodes)
    adata = anndata.AnnData(csr_matrix(cells.counts.astype(np.float32)), obs=obs)
    adata.var_names = genes or [f"g{number}" for number in range(adata.n_vars)]
    return adata


def write_store(path: Path, adata: anndata.AnnData, zarr_format: int = 3) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # anndata's own look ahead
        with anndata.settings.override(zarr_write_format=zarr_format):
            adata.write_zarr(path)


def table_of(cells: Section) -> pd.DataFrame:
    return pd.DataFrame(cells.counts, index=cells.barcodes, columns=[f"g{n}" for n in range(7)])


# ------------------------------------------------------------------------------------- 10x and labels


@pytest.mark.parametrize("kind", ["h5", "mtx", "mtx.gz", "outs"])
def test_10x_matrix_takes_labels_from_its_folder(tmp_path, cells, kind):
    path = tmp_path / "filtered_feature_bc_matrix"
    if kind in ("h5", "outs"):
        path = path.with_suffix(".h5")
        write_h5(path, cells, ALL)
    else:
        write_mtx(path, cells, ALL, zipped=kind.endswith("gz"), legacy=False)
    write_labels(tmp_path / "cell_types.csv", cells)
    reference = read_reference(tmp_path if kind == "outs" else path, cell_type_key="cell_type")
    assert list(reference.obs_names) == cells.barcodes
    assert list(reference.obs["cell_type"]) == TYPES
    assert np.array_equal(reference.X.toarray(), cells.counts)
    assert any("12 of 12 cells have a label" in note for note in reading_notes(reference))


def test_cells_without_labels_ask_for_them(tmp_path, cells):
    write_h5(tmp_path / "counts.h5", cells, ALL)
    with pytest.raises(MissingLabels, match="Give a table of cells and their types"):
        read_reference(tmp_path / "counts.h5")
    labels = write_labels(tmp_path / "mine.csv", cells)
    assert list(read_reference(tmp_path / "counts.h5", labels=labels).obs["cell_type"]) == TYPES


@pytest.mark.parametrize("header", ["", '"","x"', "Barcode,graph_cluster"])
def test_labels_are_found_under_any_header(tmp_path, cells, header):
    write_h5(tmp_path / "counts.h5", cells, ALL)
    labels = write_labels(tmp_path / "l.csv", cells, header)
    reference = read_reference(tmp_path / "counts.h5", labels=labels, cell_type_key="cell_type")
    assert list(reference.obs["cell_type"]) == TYPES


def test_cells_of_the_same_name_each_have_their_label(tmp_path, cells):
    twice = Section(**{**vars(cells), "barcodes": [cells.barcodes[0], *cells.barcodes[:-1]]})
    counts = pd.DataFrame(cells.counts, index=twice.barcodes, columns=[f"g{n}" for n in range(7)])
    counts.to_csv(tmp_path / "counts.csv")
    labels = write_labels(tmp_path / "l.csv", cells)
    reference = read_reference(tmp_path / "counts.csv", labels=labels, cell_type_key="cell_type")
    assert list(reference.obs["cell_type"]) == [TYPES[0], *TYPES[:-1]]


def test_counts_with_an_imaginary_part_are_refused(tmp_path, cells):
    write_h5(tmp_path / "counts.h5", cells, ALL)
    with h5py.File(tmp_path / "counts.h5", "a") as file:
        data = file["matrix/data"][:]
        del file["matrix/data"]
        file["matrix/data"] = data.astype(np.complex64)
    with pytest.raises(ReadError, match="`data` must be real numbers, found complex64"):
        read_reference(tmp_path / "counts.h5", labels=write_labels(tmp_path / "l.csv", cells))


def test_a_column_that_is_asked_for_keeps_its_name(tmp_path, cells):
    write_h5(tmp_path / "counts.h5", cells, ALL)
    labels = write_labels(tmp_path / "l.csv", cells, "id,leiden", [str(n % 3) for n in range(12)])
    reference = read_reference(tmp_path / "counts.h5", labels=labels, cell_type_key="leiden")
    assert list(reference.obs["leiden"].cat.categories) == ["0", "1", "2"]


def test_library_numbers_of_barcodes_may_be_missing(tmp_path, cells):
    write_h5(tmp_path / "counts.h5", cells, ALL)
    bare = Section(**{**vars(cells), "barcodes": [name.removesuffix("-1") for name in cells.barcodes]})
    reference = read_reference(tmp_path / "counts.h5", labels=write_labels(tmp_path / "l.csv", bare))
    assert list(reference.obs["cell_type"]) == TYPES
    assert "without the number of the library" in reading_notes(reference)[0]


def test_cells_that_are_missing_from_the_labels_are_counted(tmp_path, cells):
    write_h5(tmp_path / "counts.h5", cells, ALL)
    labels = write_labels(tmp_path / "l.csv", cells)
    labels.write_text("\n".join(labels.read_text().splitlines()[:9]))
    reference = read_reference(tmp_path / "counts.h5", labels=labels)
    assert reference.obs["cell_type"].isna().sum() == 4
    assert "8 of 12 cells have a label" in reading_notes(reference)[0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            "barcode,cell_type\nnobody-1,B\nno one-1,T\n",
            "No cell has a label: `l.csv` has rows such as 'nobody-1'",
        ),
        ("barcode,depth\n{0},3.5\n{1},4.5\n", "must have a column of cell types"),
        (
            "barcode,cell_type\n{0},B\n{0},T\n{1},T\n",
            "must have one label per cell, found 1 cells with several",
        ),
        ("", "`l.csv` is empty"),
    ],
)
def test_labels_that_cannot_be_used_say_why(tmp_path, cells, content, words):
    write_h5(tmp_path / "counts.h5", cells, ALL)
    (tmp_path / "l.csv").write_text(content.format(*cells.barcodes))
    with pytest.raises(ReadError) as caught:
        read_reference(tmp_path / "counts.h5", labels=tmp_path / "l.csv")
    assert words in str(caught.value)


@pytest.mark.parametrize(("name", "words"), [("nowhere.csv", "does not exist"), ("folder", "is a folder")])
def test_labels_that_are_not_a_file(tmp_path, cells, name, words):
    write_h5(tmp_path / "counts.h5", cells, ALL)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ReadError, match=f"`labels` must be a table.*{words}"):
        read_reference(tmp_path / "counts.h5", labels=tmp_path / name)


def test_several_tables_of_labels_are_ambiguous(tmp_path, cells):
    write_h5(tmp_path / "counts.h5", cells, ALL)
    for name in ("cell_types.csv", "my_cell_labels.tsv"):
        write_labels(tmp_path / name, cells)
    with pytest.raises(ReadError, match="Expected one table of labels, found several"):
        read_reference(tmp_path / "counts.h5")


def test_h5ad_without_labels_takes_a_table(tmp_path, cells):
    bare = adata_of(cells)
    del bare.obs["cell_type"]
    bare.write_h5ad(tmp_path / "cells.h5ad")
    with pytest.raises(ReadError, match="Give a table of cell types as `labels`"):
        read_reference(tmp_path / "cells.h5ad", cell_type_key="cell_type")
    labels = write_labels(tmp_path / "l.csv", cells)
    reference = read_reference(tmp_path / "cells.h5ad", cell_type_key="cell_type", labels=labels)
    assert list(reference.obs["cell_type"]) == TYPES


def test_spots_are_not_a_reference(tmp_path, cells):
    outs = write_folder(tmp_path / "outs", cells)
    with pytest.raises(ReadError, match="holds spatial data"):
        read_reference(outs)
    (tmp_path / "tissue.png").touch()
    with pytest.raises(ReadError, match=r"is not a reference\. Expected an \.h5ad file"):
        read_reference(tmp_path / "tissue.png")


# --------------------------------------------------------------------------------- tables, loom, zarr


@pytest.mark.parametrize("turned", [False, True])
def test_table_of_cells_is_read_either_way_round(tmp_path, cells, turned):
    table = table_of(cells)
    (table.T if turned else table).to_csv(tmp_path / "dge.csv")
    write_labels(tmp_path / "meta_data.csv", cells)
    reference = read_reference(tmp_path / "dge.csv")
    assert reference.shape == (12, 7)
    assert np.array_equal(reference.X.toarray(), cells.counts)
    assert list(read_reference(tmp_path).obs["cell_type"]) == TYPES, "the folder finds its table"


def test_numbers_of_clusters_get_their_names_from_a_dictionary(tmp_path, cells):
    table_of(cells).T.to_csv(tmp_path / "dge.csv")
    write_labels(tmp_path / "meta_data.csv", cells, "barcode,cluster", ["1", "2", "3"] * 4)
    (tmp_path / "cell_type_dict.csv").write_text("Cluster,Name\n1,B cell\n2,T cell\n3,NK/T\n")
    assert list(read_reference(tmp_path).obs["cell_type"]) == TYPES
    names = [one["name"] for one in checksums({"reference": tmp_path})["reference"]["files"]]
    assert names == ["dge.csv", "meta_data.csv", "cell_type_dict.csv"]


def test_loom_is_read_with_its_labels(tmp_path, cells):
    import loompy

    path = str(tmp_path / "cells.loom")
    genes = {"Gene": np.array([f"g{n}" for n in range(7)])}
    loompy.create(path, cells.counts.T, genes, {"CellID": np.array(cells.barcodes), "Class": np.array(TYPES)})
    reference = read_reference(path, cell_type_key="Class")
    assert list(reference.obs["Class"]) == TYPES
    assert list(reference.var_names) == list(genes["Gene"])
    assert np.array_equal(reference.X.toarray(), cells.counts)


@pytest.mark.parametrize(("package", "extra"), [("loompy", "loom"), ("spatialdata", "spatialdata")])
def test_a_missing_extra_is_named(tmp_path, cells, monkeypatch, package, extra):
    found = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == package:
            raise ImportError(name)
        return found(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)

    if package == "loompy":
        (tmp_path / "a.loom").write_bytes(b"\x89HDF\r\n\x1a\n")
        with pytest.raises(ReadError, match=rf"pip install 'napari-spotmix\[{extra}\]'"):
            read_reference(tmp_path / "a.loom")
    else:
        import zarr

        zarr.open_group(tmp_path / "a.zarr", mode="w", attributes={"spatialdata_attrs": {}})
        write_store(tmp_path / "a.zarr" / "tables" / "table", adata_of(cells))
        zarr.open_group(tmp_path / "a.zarr" / "tables", mode="a")
        with pytest.raises(ReadError, match=rf"pip install 'napari-spotmix\[{extra}\]'"):
            read_spatial(tmp_path / "a.zarr")


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_zarr_store_of_cells(tmp_path, cells, zarr_format):
    write_store(tmp_path / "cells.zarr", adata_of(cells), zarr_format)
    reference = read_reference(tmp_path / "cells.zarr", cell_type_key="cell_type")
    assert list(reference.obs["cell_type"]) == TYPES


# ----------------------------------------------------------------------------------------- signatures


def write_signatures(path: Path, turned: bool = False) -> pd.DataFrame:
    genes = [f"g{n}" for n in range(30)]
    means = np.random.default_rng(2).gamma(1.0, 2.0, (30, 4)).round(4)
    table = pd.DataFrame(means, index=genes, columns=["B", "T", "NK/T", "Mφ <b>"])
    (table.T if turned else table).to_csv(path, sep="\t" if path.suffix == ".tsv" else ",")
    return table


@pytest.mark.parametrize(("name", "turned"), [("a.csv", False), ("a.tsv", True)])
def test_signatures_are_read_either_way_round(tmp_path, name, turned):
    table = write_signatures(tmp_path / name, turned)
    reference = read_reference(tmp_path / name, cell_type_key="cell_type")
    assert is_signatures(reference)
    assert label_columns(reference) == ["cell_type"]
    assert list(reference.obs["cell_type"]) == list(table.columns)
    assert np.allclose(reference.X.toarray(), table.T.to_numpy())
    assert "was read as signatures" in reading_notes(reference)[0]


def test_gzipped_signatures_in_a_folder_with_labels_of_spots(tmp_path):
    write_signatures(tmp_path / "a.csv")
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress((tmp_path / "a.csv").read_bytes()))
    (tmp_path / "metadata.csv").write_text("spot,area\nx,1\n")
    assert is_signatures(read_reference(tmp_path / "a.csv.gz"))


def test_labels_of_other_cells_do_not_make_signatures_cells(tmp_path, cells):
    table = write_signatures(tmp_path / "a.csv")
    write_labels(tmp_path / "cell_types.csv", cells, types=list(table.columns) * 3)
    assert is_signatures(read_reference(tmp_path / "a.csv"))


def test_a_table_of_cells_is_not_taken_for_signatures(tmp_path, cells):
    table_of(cells).T.to_csv(tmp_path / "counts.csv")
    with pytest.raises(MissingLabels):
        read_reference(tmp_path / "counts.csv")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: table.mul(-1), "negative or infinite values"),
        (
            lambda table: table.set_axis(["B", "B", "T", "U"], axis=1),
            "must have unique cell types, found some more than once: 'B'",
        ),
        (lambda table: table.iloc[:4], r"must have more genes than cell types, found 4 rows and columns"),
        (lambda table: table.mask(table > 3), "empty cells"),
        (lambda table: table.astype(str).add("?"), "must be a table of counts or signatures"),
    ],
)
def test_signatures_that_cannot_be_used_say_why(tmp_path, change, words):
    change(write_signatures(tmp_path / "a.csv")).to_csv(tmp_path / "a.csv")
    with pytest.raises(ReadError, match=words):
        read_reference(tmp_path / "a.csv")


# -------------------------------------------------------------------------------------------- several


def test_several_references_are_joined_over_their_genes(tmp_path, cells):
    adata_of(cells).write_h5ad(tmp_path / "a.h5ad")
    genes = ["g6", "g1", "other", "g1", "g3", "g4", "g5"]
    with_twice = adata_of(cells, ["b cell", "T cell", "Mast"] * 4, genes)
    with_twice.write_h5ad(tmp_path / "b.h5ad")
    both = read_reference([tmp_path / "a.h5ad", tmp_path / "b.h5ad"], cell_type_key="cell_type")
    assert both.shape == (24, 5)
    assert set(both.var_names) == {"g1", "g3", "g4", "g5", "g6"}
    assert both.obs_names.is_unique
    assert list(both.obs["reference"].unique()) == ["a", "b"]
    second = both[both.obs["reference"] == "b", "g1"].X.toarray().ravel()
    assert np.array_equal(second, cells.counts[:, 1] + cells.counts[:, 3]), "columns of one gene are summed"
    notes = " ".join(reading_notes(both))
    assert (
        "2 references were joined over their 5 shared genes: a (12 cells, 7 genes), b (12 cells, 6 genes)"
        in notes
    )
    assert "'B cell' and 'b cell'" in notes


def test_problems_of_several_references_are_reported_at_once(tmp_path, cells):
    adata_of(cells).write_h5ad(tmp_path / "a.h5ad")
    with pytest.raises(InputError) as caught:
        read_reference([tmp_path / "no.h5ad", tmp_path / "a.h5ad", tmp_path / "nor.h5ad"])
    assert len(caught.value.problems) == 2
    assert "nor.h5ad: does not exist" in str(caught.value)


def test_references_that_cannot_be_joined(tmp_path, cells):
    adata_of(cells).write_h5ad(tmp_path / "a.h5ad")
    adata_of(cells, genes=[f"ENSG{n}" for n in range(7)]).write_h5ad(tmp_path / "b.h5ad")
    write_signatures(tmp_path / "s.csv")
    with pytest.raises(ReadError, match="must share gene names"):
        read_reference([tmp_path / "a.h5ad", tmp_path / "b.h5ad"])
    with pytest.raises(ReadError, match="Only references with single cells can be joined"):
        read_reference([tmp_path / "a.h5ad", tmp_path / "s.csv"])
    with pytest.raises(InputError, match="must name at least one reference"):
        read_reference([])


def test_every_file_that_is_read_is_an_input(tmp_path, cells):
    write_h5(tmp_path / "counts.h5", cells, ALL)
    labels = write_labels(tmp_path / "proportions.csv", cells)
    adata_of(cells).write_h5ad(tmp_path / "a.h5ad")
    inputs = {"reference": tmp_path / "counts.h5", "reference_2": tmp_path / "a.h5ad", "labels": labels}
    sums = checksums(inputs)
    assert {role: [one["name"] for one in entry["files"]] for role, entry in sums.items()} == {
        "reference": ["counts.h5"],
        "reference_2": ["a.h5ad"],
        "labels": ["proportions.csv"],
    }
    (problem,) = output_problems(tmp_path, inputs)
    assert "is the input `labels` and is not overwritten" in problem


# ------------------------------------------------------------------------------------------ real files


@pytest.mark.skipif(
    not REAL_DATA.is_dir(), reason="needs real data at ../shared/data, not part of the repository"
)
@pytest.mark.parametrize(
    ("folder", "shape", "n_types"),
    [("Merfish_Ref", (1308, 134), 14), ("Vignette", (475, 384), 19), ("Visium_Ref", (510, 307), 17)],
)
def test_real_references_of_rctd_open(folder, shape, n_types):
    reference = read_reference(
        REAL_DATA / "formats/slideseq_spacexr/Reference" / folder, cell_type_key="cell_type"
    )
    assert reference.shape == shape
    assert reference.obs["cell_type"].nunique() == n_types
    assert reference.obs["cell_type"].notna().all()


@pytest.mark.skipif(
    not REAL_DATA.is_dir(), reason="needs real data at ../shared/data, not part of the repository"
)
@pytest.mark.parametrize("name", ["", "filtered_feature_bc_matrix", "filtered_feature_bc_matrix.h5"])
def test_real_cell_ranger_output_opens_with_labels(tmp_path, name):
    path = REAL_DATA / "formats/cellranger/3.0.0" / name
    with pytest.raises(MissingLabels):
        read_reference(path)
    with gzip.open(
        REAL_DATA / "formats/cellranger/3.0.0/filtered_feature_bc_matrix/barcodes.tsv.gz", "rt"
    ) as file:
        barcodes = file.read().split()
    labels = tmp_path / "labels.csv"
    labels.write_text("".join(f"{name},{'AB'[n % 2]}\n" for n, name in enumerate(barcodes)))
    reference = read_reference(path, labels=labels, cell_type_key="cell_type")
    assert reference.n_obs == len(barcodes)
    assert reference.obs["cell_type"].notna().all()


@pytest.mark.parametrize("kind", ["table", "matrix"])
def test_a_cell_that_occurs_twice_gives_no_warning_of_a_library(
    kind: str, tmp_path: Path, cells: Section
) -> None:
    """Warnings are errors in tests: what is said, is said as a message."""
    cells.barcodes[1] = cells.barcodes[0]
    write_labels(tmp_path / "cell_types.csv", cells)
    if kind == "table":
        table_of(cells).to_csv(tmp_path / "counts.csv")
        path = tmp_path
    else:
        path = tmp_path / "cells.h5"
        write_h5(path, cells, ALL)
    with pytest.raises(ReadError, match=r"twice|unique"):
        read_reference(path, labels=tmp_path / "cell_types.csv")


# --------------------------------------------------------------------------------- cells in place


@pytest.mark.parametrize("write", [others.xenium, others.cosmx, others.merscope])
def test_cells_of_an_imaging_assay_are_a_reference_with_labels(tmp_path, write):
    made = others.small()
    folder = write(tmp_path / "run", made)
    with pytest.raises(ReadError):
        read_reference(folder)
    labels = write_labels(tmp_path / "l.csv", made)
    reference = read_reference(folder, labels=labels)
    rows = [made.barcodes.index(name) for name in reference.obs_names]
    assert list(reference.obs["cell_type"]) == [TYPES[row] for row in rows]
    np.testing.assert_array_equal(reference.X.toarray(), made.counts[rows])
    (folder / "cell_types.csv").write_bytes(labels.read_bytes())
    assert list(read_reference(folder).obs["cell_type"]) == list(reference.obs["cell_type"])


def test_few_cells_with_coordinates_and_types_are_not_taken_for_signatures(tmp_path):
    made = others.small()
    folder = tmp_path / "portal"
    folder.mkdir()
    header = ["NAME", "X", "Y", "Main_molecular_cell_type"]
    rows = zip(made.barcodes, *made.xy.T.tolist(), TYPES, strict=True)
    kinds = ["TYPE", "numeric", "numeric", "group"]
    others.write_table(folder / "mock_spatial.csv", header, [kinds, *rows])
    by_gene = zip(made.symbols, *made.counts, strict=True)
    others.write_table(folder / "raw_expression_pd.csv", ["GENE", *made.barcodes], by_gene)
    reference = read_reference(folder)
    assert not is_signatures(reference)
    assert list(reference.obs["cell_type"]) == TYPES
    np.testing.assert_array_equal(reference.X.toarray(), made.counts)


IMAGING = REAL_DATA / "imaging_small"


@pytest.mark.skipif(not IMAGING.exists(), reason="there is no ../shared/data/imaging_small")
@pytest.mark.parametrize(
    ("name", "shape", "total"),
    [("Xenium", (6, 4), 21), ("CosMx", (9, 8), 7), ("MERSCOPE", (8, 9), 0), ("STARmapPLUS", (9, 8), 1)],
)
def test_real_cells_open_as_a_section_and_as_a_reference(tmp_path, name, shape, total):
    folder = IMAGING / f"{name}_small"
    section = read_spatial(folder)
    assert section.shape == shape
    assert section.X.sum() == total
    types = [f"type {number % 2}" for number in range(section.n_obs)]
    table = pd.DataFrame({"cell": section.obs_names, "cell_type": types})
    table.to_csv(tmp_path / "labels.csv", index=False)
    cells = read_reference(folder, labels=tmp_path / "labels.csv")
    assert not is_signatures(cells)
    assert list(cells.obs["cell_type"].reindex(section.obs_names)) == types
    np.testing.assert_array_equal(cells[section.obs_names].X.toarray(), section.X.toarray())
