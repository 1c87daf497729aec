"""Samplesheets: what they may hold, and everything that is wrong with one reported at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from napari_spotmix import ReadError
from napari_spotmix.workflow.cohort import is_samplesheet, read_samplesheet
from napari_spotmix.workflow.cohort.section import order_of, spec_of_order
from napari_spotmix.workflow.cohort.sheet import folder_name
from napari_spotmix.workflow.spec import RunSpec, changed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with files that a sheet may name; nothing is read of them."""
    for name in ("a.h5ad", "b.h5ad", "cells.h5ad"):
        (tmp_path / name).touch()
    return tmp_path


def sheet(folder: Path, text: str) -> Path:
    path = folder / "sheet.csv"
    path.write_bytes(text.encode())
    return path


def problems(path: Path) -> tuple[str, ...]:
    with pytest.raises(ReadError) as caught:
        read_samplesheet(path, path.parent / "out")
    return caught.value.problems


def test_each_row_is_a_run_with_a_folder_of_its_own(folder: Path) -> None:
    text = "sample,spatial,reference,condition\nleft,a.h5ad,cells.h5ad,ko\nright/1,b.h5ad,cells.h5ad,\n"
    left, right = read_samplesheet(sheet(folder, text), folder / "out")
    assert left.spec == RunSpec(folder / "a.h5ad", folder / "cells.h5ad", folder / "out" / "left")
    assert (left.condition, right.condition) == ("ko", "")
    assert right.spec.output == folder / "out" / "right_1"


@pytest.mark.parametrize(
    ("delimiter", "mark", "end"), [(";", "\ufeff", "\r\n"), ("\t", "", "\n"), (",", "\ufeff", "\n")]
)
def test_sheets_are_read_as_spreadsheets_write_them(
    folder: Path, delimiter: str, mark: str, end: str
) -> None:
    rows = ["sample,spatial,reference,condition", "ä,a.h5ad,cells.h5ad,ko", ",,,", ""]
    path = sheet(folder, mark + end.join(rows).replace(",", delimiter))
    assert is_samplesheet(path)
    (section,) = read_samplesheet(path, folder)
    assert section.sample == "ä"


def test_further_columns_are_settings_and_parameters_and_empty_cells_take_the_default(folder: Path) -> None:
    text = "sample,spatial,layer,lambda_c,attention,n_genes\none,a.h5ad,counts,0.5,no,100\ntwo,b.h5ad,,,,\n"
    defaults = {"reference": folder / "cells.h5ad", "lambda_c": 2.0, "cell_type_key": "label", "layer": None}
    one, two = read_samplesheet(sheet(folder, text), folder, defaults=defaults)
    assert one.spec.layer == "counts"
    assert changed(one.spec.parameters) == {"n_genes": 100, "lambda_c": 0.5, "attention": False}
    assert two.spec.layer is None
    assert changed(two.spec.parameters) == {"lambda_c": 2.0}
    assert one.spec.cell_type_key == two.spec.cell_type_key == "label"


def test_urls_are_taken_as_they_are(folder: Path) -> None:
    text = "sample,spatial,reference\none,s3://bucket/outs,https://example.org/cells.h5ad?download=1\n"
    (section,) = read_samplesheet(sheet(folder, text), folder)
    assert section.spec.spatial == "s3://bucket/outs"
    assert section.spec.reference == "https://example.org/cells.h5ad?download=1"


def test_every_problem_is_reported_with_its_row_and_column(folder: Path) -> None:
    text = (
        "sample,spatial,reference,lambda_c,attention,weights,n_genes\n"
        "one,a.h5ad,cells.h5ad,-1,maybe,heavy,many\n"
        "one,missing.h5ad,,x,,,\n"
        ",a.h5ad,cells.h5ad,,,,\n"
        "ONE,a.h5ad,cells.h5ad,,,,,,\n"
    )
    found = problems(sheet(folder, text))
    expected = [
        "Row 2, column lambda_c: must be at least 0, found -1.0.",
        "Row 2, column attention: must be True or False, found 'maybe'.",
        "Row 2, column weights: must be one of 'poisson', 'none', found 'heavy'.",
        "Row 2, column n_genes: must be a whole number, found 'many'.",
        f"Row 3, column spatial: {folder / 'missing.h5ad'} does not exist.",
        "Row 3, column reference: the cell is empty.",
        "Row 3, column lambda_c: must be a finite number, found 'x'.",
        "Row 3, column sample: 'one' is already the name of row 2.",
        "Row 4, column sample: the cell is empty.",
        "Row 5: expected 7 cells, as in the header, found 9.",
        "Row 5, column sample: 'ONE' would get the same folder as 'one' of row 2.",
    ]
    assert all(any(text.startswith(words) for text in found) for words in expected), found
    assert len(found) == len(expected)


def test_a_wrong_header_is_reported_with_what_was_meant(folder: Path) -> None:
    found = problems(sheet(folder, "sample,spatial,referense,lambda_c,lambda_c\nx,a.h5ad,cells.h5ad,1,1\n"))
    assert len(found) == 3
    assert "'reference' is missing" in found[0]
    assert found[1].endswith("Did you mean 'reference'?")
    assert "'lambda_c' occurs 2 times" in found[2]


def test_rows_are_checked_though_the_header_is_wrong(folder: Path) -> None:
    path = sheet(folder, "sample,spatial,lambda_c,magic\none,a.h5ad,-1,x\none,gone.h5ad,1,\n")
    missing, unknown, bound, gone, twice = problems(path)
    assert "'reference' is missing" in missing
    assert unknown.startswith("Row 1, column 4: 'magic'")
    assert bound == "Row 2, column lambda_c: must be at least 0, found -1.0."
    assert gone.startswith("Row 3, column spatial: ")
    assert "gone.h5ad does not exist." in gone
    assert twice.startswith("Row 3, column sample: 'one' is already the name of row 2")


def test_an_unknown_fix_is_reported_before_anything_runs(folder: Path) -> None:
    text = "sample,spatial,reference,fix,gem_bin\none,a.h5ad,cells.h5ad,spatial:flip-x|spatial:foo,2.5\n"
    number, problem = problems(sheet(folder, text))
    assert number == "Row 2, column gem_bin: must be a whole number, found '2.5'."
    assert problem.startswith("Row 2, column fix: unknown fix 'spatial:foo'")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"sample,spatial,reference\n,,\n", "no rows"),
        ("sample,spatial,reference\nM\xfcller,a.h5ad,b.h5ad\n".encode("latin-1"), "is not UTF-8"),
        (b"sample,spatial,reference\nx,a\0.h5ad,cells.h5ad\n", "does not exist"),
    ],
)
def test_a_file_that_is_no_sheet_is_refused_in_one_sentence(folder: Path, content: bytes, words: str) -> None:
    path = folder / "sheet.csv"
    path.write_bytes(content)
    with pytest.raises(ReadError, match=words):
        read_samplesheet(path, folder)


def test_a_table_of_counts_is_no_samplesheet(folder: Path) -> None:
    assert not is_samplesheet(sheet(folder, "spot,x,y,Actb,Gapdh\ns1,0,1,5,2\n"))
    assert not is_samplesheet(folder / "a.h5ad")
    assert not is_samplesheet(folder)


@pytest.mark.parametrize(
    ("sample", "folder"),
    [
        ("../../etc", "_.._etc"),
        ("a\nb", "a_b"),
        ("CON", "_CON"),
        (" x. ", "x"),
        ("Müller 7", "Müller 7"),
        ("x" * 300, "x" * 100),
    ],
)
def test_folders_have_names_that_are_safe_anywhere(sample: str, folder: str) -> None:
    assert folder_name(sample) == folder
    assert len(Path(folder_name(sample)).parts) == 1


def test_a_worker_gets_the_same_run_as_json(folder: Path) -> None:
    text = (
        "sample,spatial,reference,layer,lambda_c,more_references,gem_bin,image\n"
        "one,a.h5ad,https://x.org/c.h5ad,raw,2,cells.h5ad|b.h5ad,20,b.h5ad\n"
    )
    (section,) = read_samplesheet(sheet(folder, text), folder / "out")
    order = json.loads(json.dumps(order_of(section, 3)))
    spec = spec_of_order(order)
    assert changed(spec.parameters) == {"lambda_c": 2.0, "n_threads": 3}
    assert spec.more_references == (folder / "cells.h5ad", folder / "b.h5ad")
    assert (spec.gem_bin, spec.image) == (20, folder / "b.h5ad")
    assert (spec.spatial, spec.reference, spec.layer, spec.output) == (
        section.spec.spatial,
        section.spec.reference,
        "raw",
        section.spec.output,
    )
