"""Spots from tables of counts and coordinates, however people export them."""

from __future__ import annotations

import csv
import gzip
import io
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from napari_spotmix import Cancelled, ReadError, read_spatial
from napari_spotmix.base.progress import Progress
from napari_spotmix.io import files_read, reading_notes
from napari_spotmix.io.readers.detect import detect_format
from napari_spotmix.simulation.simulate import simulate
from tests.io.layouts import write_png

SPOTS = [f"AACT{number:02d}-1" for number in range(12)]
GENES = ["Actb", "Gapdh", "Nkx2.1", "H2-K1", "Actb"]
COUNTS = np.random.default_rng(3).poisson(1.5, (len(SPOTS), len(GENES)))
XY = np.column_stack([10.0 + 3 * np.arange(len(SPOTS)), 90.0 - 2.5 * np.arange(len(SPOTS))])


def as_text(rows: list[list[object]], delimiter: str = ",", **how: object) -> bytes:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, **({"lineterminator": "\n"} | how)).writerows(rows)
    return text.getvalue().encode()


def by_spot(corner: str = "") -> list[list[object]]:
    return [[corner, *GENES], *([name, *row] for name, row in zip(SPOTS, COUNTS.tolist(), strict=True))]


def by_gene(corner: str = "") -> list[list[object]]:
    return [[corner, *SPOTS], *([name, *row] for name, row in zip(GENES, COUNTS.T.tolist(), strict=True))]


def coordinates(header: tuple[str, ...] = ("barcode", "x", "y")) -> list[list[object]]:
    # In another order than the counts, as real ones.
    return [list(header), *([SPOTS[n], *XY[n].tolist()] for n in reversed(range(len(SPOTS))))]


def write(folder: Path, counts: bytes | None = None, places: bytes | None = None) -> Path:
    (folder / "counts.csv").write_bytes(as_text(by_spot()) if counts is None else counts)
    (folder / "coords.csv").write_bytes(as_text(coordinates()) if places is None else places)
    return folder / "counts.csv"


def assert_is_the_section(adata) -> None:
    assert list(adata.obs_names) == SPOTS
    assert list(adata.var_names) == GENES
    assert adata.X.dtype == np.float32
    assert adata.X.format == "csr"
    np.testing.assert_array_equal(adata.X.toarray(), COUNTS)
    np.testing.assert_array_equal(adata.obsm["spatial"], XY)


def refusal(path: Path, **how: object) -> str:
    with pytest.raises(ReadError) as caught:
        read_spatial(path, **how)
    return str(caught.value)


def notes_of(path: Path, **how: object) -> str:
    return "\n".join(reading_notes(read_spatial(path, **how)))


# What is read


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|", " "])
@pytest.mark.parametrize("table", [by_spot, by_gene])
def test_side_of_the_spots_and_the_delimiter_are_found_out(tmp_path, table, delimiter):
    counts = write(tmp_path, as_text(table(), delimiter))
    for path in (counts, tmp_path):
        assert detect_format(path).kind == "tables"
        assert_is_the_section(read_spatial(path))
        assert [file.name for file in files_read(path)] == ["counts.csv", "coords.csv"]
    side = "rows" if table is by_spot else "columns"
    assert f"Spots are the {side} of `counts.csv`" in notes_of(counts)
    assert "the columns 'x' and 'y' of `coords.csv`" in notes_of(counts)


@pytest.mark.parametrize(
    "as_bytes",
    [
        lambda rows: b"\xef\xbb\xbf" + as_text(rows),
        lambda rows: as_text(rows, lineterminator="\r\n"),
        lambda rows: as_text(rows, lineterminator="\r"),
        lambda rows: as_text(rows, quoting=csv.QUOTE_ALL),
        lambda rows: as_text(rows).rstrip(b"\n"),
        lambda rows: as_text(rows) + b"\n\n",
        lambda rows: b"# exported by a colleague\n\n" + as_text(rows),
        lambda rows: gzip.compress(as_text(rows)),
        lambda rows: gzip.compress(as_text(rows)[:50]) + gzip.compress(as_text(rows)[50:]),
    ],
    ids=["bom", "crlf", "cr", "quoted", "no-last-newline", "empty-lines", "comment", "gzip", "bgzip"],
)
def test_text_of_any_program_is_read(tmp_path, as_bytes):
    assert_is_the_section(read_spatial(write(tmp_path, as_bytes(by_gene()), as_bytes(coordinates()))))


def test_row_names_without_a_name_of_their_column_as_r_writes(tmp_path):
    rows = by_gene()
    rows[0] = rows[0][1:]
    assert_is_the_section(read_spatial(write(tmp_path, as_text(rows))))


def test_names_as_r_mangles_them_are_matched_with_a_note(tmp_path):
    rows = by_gene()
    rows[0] = ["", *(name.replace("-", ".") for name in SPOTS)]
    adata = read_spatial(write(tmp_path, as_text(rows)))
    np.testing.assert_array_equal(adata.obsm["spatial"], XY)
    assert "by names as R writes them" in "\n".join(reading_notes(adata))


@pytest.mark.parametrize("compression", ["snappy", "zstd"])
@pytest.mark.parametrize("turned", [False, True])
def test_parquet(tmp_path, compression, turned):
    table = pd.DataFrame(COUNTS, index=SPOTS, columns=[*GENES[:-1], "Actb2"])
    places = pd.DataFrame(XY, index=pd.Index(SPOTS, name="barcode"), columns=["x", "y"])[::-1]
    (table.T if turned else table).to_parquet(tmp_path / "counts.parquet", compression=compression)
    places.to_parquet(tmp_path / "coords.parquet")
    adata = read_spatial(tmp_path)
    np.testing.assert_array_equal(adata.X.toarray(), COUNTS)
    np.testing.assert_array_equal(adata.obsm["spatial"], XY)
    assert list(adata.obs_names) == SPOTS


def test_text_in_parquet_that_is_not_utf8_is_reported(tmp_path):
    table = pd.DataFrame(COUNTS, index=SPOTS, columns=[*GENES[:-1], "Actb2"])
    table.to_parquet(tmp_path / "counts.parquet")
    names = [name.encode() for name in SPOTS[:-1]] + [b"spot\x80"]
    offsets = np.cumsum([0, *map(len, names)]).astype(np.int32)
    text = pa.StringArray.from_buffers(len(names), pa.py_buffer(offsets), pa.py_buffer(b"".join(names)))
    x, y = (pa.array(column) for column in XY.T.astype(float))
    pq.write_table(pa.table({"barcode": text, "x": x, "y": y}), tmp_path / "coords.parquet")
    with pytest.raises(ReadError, match=r"`coords.parquet` is damaged.*Invalid UTF8"):
        read_spatial(tmp_path)


@pytest.mark.parametrize("name", ["barcode", "", "Unnamed: 0"])
def test_coordinates_inside_the_table_of_counts(tmp_path, name):
    rows = [[*row, *place] for row, place in zip(by_spot(name), [["x", "y"], *XY.tolist()], strict=True)]
    (tmp_path / "section.tsv").write_bytes(as_text(rows, "\t"))
    assert_is_the_section(read_spatial(tmp_path / "section.tsv"))
    assert_is_the_section(read_spatial(tmp_path))


def test_spots_without_names_are_numbered(tmp_path):
    rows = [[*row[1:], *place] for row, place in zip(by_spot(), [["x", "y"], *XY.tolist()], strict=True)]
    (tmp_path / "section.csv").write_bytes(as_text(rows))
    adata = read_spatial(tmp_path / "section.csv")
    assert list(adata.obs_names) == [str(number) for number in range(1, 13)]
    np.testing.assert_array_equal(adata.X.toarray(), COUNTS)


def test_columns_that_describe_spots_are_not_genes(tmp_path):
    rows = [
        [*row, *place, *more]
        for row, place, more in zip(
            by_spot(), [["x", "y"], *XY.tolist()], [["nUMI", "cluster"], *[[7, "a"]] * 12], strict=True
        )
    ]
    (tmp_path / "section.csv").write_bytes(as_text(rows))
    assert_is_the_section(read_spatial(tmp_path))
    assert "dropped: 'nUMI', 'cluster'" in notes_of(tmp_path)


def test_coordinates_can_be_given(tmp_path):
    counts = write(tmp_path)
    other = tmp_path / "elsewhere" / "places of section 1 – Größe.txt"
    other.parent.mkdir()
    (tmp_path / "coords.csv").rename(other)
    assert "no table of coordinates is in the same folder" in refusal(counts)
    assert_is_the_section(read_spatial(counts, coordinates=other))
    assert_is_the_section(read_spatial(tmp_path, coordinates=str(other)))


def test_coordinates_without_a_header(tmp_path):
    adata = read_spatial(write(tmp_path, places=as_text(coordinates()[1:])))
    assert_is_the_section(adata)
    assert "`coords.csv` has no header: its columns 2 and 3" in "\n".join(reading_notes(adata))


def test_positions_of_space_ranger_serve_as_coordinates(tmp_path):
    rows = [[SPOTS[n], int(n < 10), n // 4, n % 4, XY[n, 1], XY[n, 0]] for n in range(12)]
    adata = read_spatial(write(tmp_path, places=as_text(rows)))
    assert list(adata.obs_names) == SPOTS[:10]
    np.testing.assert_array_equal(adata.obsm["spatial"], XY[:10])
    assert "2 of 12 spots are not under tissue" in "\n".join(reading_notes(adata))


def test_of_several_tables_of_coordinates_that_of_the_same_name_is_taken(tmp_path):
    counts = write(tmp_path)
    counts.rename(tmp_path / "Puck_200115_08.digital_expression.csv")
    (tmp_path / "coords.csv").rename(tmp_path / "Puck_200115_08_bead_locations.csv")
    wrong = [*coordinates()[:1], *([name, 0, 0] for name in SPOTS)]
    (tmp_path / "Puck_190926_02_bead_locations.csv").write_bytes(as_text(wrong))
    assert_is_the_section(read_spatial(tmp_path))


def test_ambiguous_tables_of_coordinates_must_be_given(tmp_path):
    counts = write(tmp_path)
    (tmp_path / "coords.csv").rename(tmp_path / "xyz1.csv")
    (tmp_path / "xyz2.csv").write_bytes(as_text(coordinates()))
    assert "Expected one table of coordinates, found several: 'xyz1.csv', 'xyz2.csv'" in refusal(counts)
    assert_is_the_section(read_spatial(counts, coordinates=tmp_path / "xyz2.csv"))


def test_several_tables_of_counts_are_named(tmp_path):
    write(tmp_path)
    (tmp_path / "more.csv").write_bytes(as_text(by_spot()))
    assert "Expected one table of counts, found several: 'counts.csv', 'more.csv'" in refusal(tmp_path)


def write_original(folder: Path) -> Path:
    """Write a section of original Spatial Transcriptomics, with two of its spots outside of the tissue."""
    array = [(10 + n // 4, 12 + n % 4) for n in range(12)]
    genes = [f"ENSMUSG{n:011d}.{n + 1}" for n in range(len(GENES))]
    counts = [[f"{x}x{y}", *row] for (x, y), row in zip(array, COUNTS.tolist(), strict=True)]
    (folder / "MOB1.tsv.gz").write_bytes(gzip.compress(as_text([["", *genes], *counts], "\t")))
    header = ["x", "y", "new_x", "new_y", "pixel_x", "pixel_y", "selected"]
    rows = [[x, y, x + 0.02, y, 2.0 * x, 1.5 * y, int(n < 10)] for n, (x, y) in enumerate(array)]
    (folder / "alignment_table_MOB1.tsv").write_bytes(as_text([header, *rows], "\t"))
    return folder / "MOB1.tsv.gz"


def test_original_spatial_transcriptomics(tmp_path):
    counts = write_original(tmp_path)
    write_png(tmp_path / "MOB1.png", "hires")  # 40 x 44 pixels: all spots lie on it
    adata = read_spatial(counts)
    assert adata.shape == (10, 5)
    assert adata.obs_names[5] == "11x13"
    assert adata.obsm["spatial"][5].tolist() == [22.0, 19.5]
    assert adata.var_names[2] == "ENSMUSG00000000002"
    assert adata.var["gene_ids"].iloc[2] == "ENSMUSG00000000002.3"
    library = adata.uns["spatial"]["MOB1"]
    assert library["scalefactors"]["tissue_hires_scalef"] == 1.0
    assert library["images"]["hires"].shape == (40, 44, 3)
    assert files_read(counts)[-1].name == "MOB1.png"


def test_image_that_does_not_hold_all_spots_is_dropped_with_a_note(tmp_path):
    counts = write_original(tmp_path)
    write_png(tmp_path / "MOB1.png", "lowres")  # 12 x 16 pixels
    adata = read_spatial(counts)
    assert "spatial" not in adata.uns
    assert "`MOB1.png` was dropped: some spots are outside of it" in "\n".join(reading_notes(adata))


def test_names_of_spots_are_coordinates_if_there_is_no_table(tmp_path):
    counts = write_original(tmp_path)
    (tmp_path / "alignment_table_MOB1.tsv").unlink()
    adata = read_spatial(counts)
    assert adata.obsm["spatial"][5].tolist() == [11.0, 13.0]
    assert "their positions in the array" in "\n".join(reading_notes(adata))


def test_names_of_adjusted_positions_are_matched(tmp_path):
    counts = write_original(tmp_path)
    text = gzip.decompress(counts.read_bytes()).decode()
    for x in (10, 11, 12):
        text = text.replace(f"\n{x}x", f"\n{x}.02x")
    counts.write_text(text)
    assert read_spatial(counts).shape == (10, 5)


def test_what_pandas_writes_comes_back(tmp_path):
    spots = simulate(n_spots=60, n_genes=120, n_cell_types=4, image=False).spatial
    pd.DataFrame(spots.X.toarray(), spots.obs_names, spots.var_names).T.to_csv(tmp_path / "counts.csv")
    pd.DataFrame(spots.obsm["spatial"], spots.obs_names, ["x", "y"]).to_csv(tmp_path / "coords.csv")
    read = read_spatial(tmp_path)
    np.testing.assert_array_equal(read.X.toarray(), spots.X.toarray())
    np.testing.assert_array_equal(read.obsm["spatial"], spots.obsm["spatial"])
    assert list(read.var_names) == list(spots.var_names)


# Notes


def test_spots_without_coordinates_are_kept_with_a_note(tmp_path):
    rows = [row for row in coordinates() if row[0] != SPOTS[3]]
    rows[1][1], rows[2][2] = "NA", ""
    adata = read_spatial(write(tmp_path, places=as_text([*rows, ["GHOST-1", 1, 2]])))
    assert list(adata.obs_names) == SPOTS
    assert np.flatnonzero(np.isnan(adata.obsm["spatial"]).any(axis=1)).tolist() == [3, 10, 11]
    notes = "\n".join(reading_notes(adata))
    assert "3 of 12 spots have no coordinates, and are kept, but not fitted." in notes
    assert "1 spot of `coords.csv` has no counts" in notes


def test_hostile_names_stay_text(tmp_path):
    names = ['=cmd|"/C calc"!A1', "<script>alert(1)</script>", "../../etc/passwd", "a,b\tc", "💥", "''"]
    rows = [["", *GENES], *([name, *row] for name, row in zip(names, COUNTS.tolist(), strict=False))]
    places = [["barcode", "x", "y"], *([name, n, n] for n, name in enumerate(names))]
    assert list(read_spatial(write(tmp_path, as_text(rows), as_text(places))).obs_names) == names


# What is refused


def changed(rows: list[list[object]], row: int, column: int, cell: object) -> list[list[object]]:
    rows[row][column] = cell
    return rows


WORD, NO_COUNT, SHORT = (
    changed(by_spot(), 5, 2, "n.d."),
    changed(by_spot(), 5, 2, ""),
    as_text(by_spot())[:-4],
)
TWICE, UNNAMED = changed(by_spot(), 5, 0, SPOTS[0]), changed(by_spot(), 5, 0, "")
COMMA, PLACES_TWICE = changed(coordinates(), 5, 1, "3,5"), changed(coordinates(), 5, 0, SPOTS[0])
REFUSED = {
    "empty": (b"", None, "`counts.csv` is empty (0 bytes)"),
    "only a header": (as_text(by_spot()[:1]), None, "must have rows, found only the line ',Actb"),
    "text": (
        b"Dear colleague,\nplease find\nattached\n",
        None,
        "`counts.csv` must have the same number of cells in each line",
    ),
    "one column": (b"Actb\n1\n2\n", None, "found no tabs, commas or semicolons"),
    "binary": (b"\x00\x01\x02,\x03\n" * 9, None, "`counts.csv` must be text"),
    "utf-16": ("a,b\n1,2\n".encode("utf-16"), None, "text in UTF-16. Save it as UTF-8"),
    "latin-1": ("Gr\xf6\xdfe,b\n1,2\n".encode("latin-1"), None, "must be text in UTF-8"),
    "excel": (b"PK\x03\x04" + b"x" * 50, None, "an Excel workbook. Unpack it, or save its sheet as CSV"),
    "cut gzip": (gzip.compress(as_text(by_spot()))[:-20], None, "is truncated: it ends too early"),
    "word": (as_text(WORD), None, "must hold numbers in the column 'Gapdh', found 'n.d.' in line 6"),
    "no count": (
        as_text(NO_COUNT),
        None,
        "must have a number in each cell of its counts, found 1 empty cells",
    ),
    "short row": (SHORT, None, "found 5 in line 13"),
    "decimal comma": (None, as_text(COMMA), "decimal commas are not supported"),
    "decimal commas": (None, b"barcode,x,y\nA,1,5,2,5\n", "If decimals are written with commas"),
    "twice": (as_text(TWICE), None, f"must have unique names of spots, found 1 more than once: '{SPOTS[0]}'"),
    "places twice": (
        None,
        as_text(PLACES_TWICE),
        "`coords.csv` must have unique names of spots, found 1 more than once",
    ),
    "no name": (as_text(UNNAMED), None, "`counts.csv` must have names of spots in each row"),
    "others": (None, b"barcode,x,y\nA,1,2\nB,3,4\n", "neither the rows ('AACT00-1', 'AACT01-1') nor"),
}


@pytest.mark.parametrize(("counts", "places", "words"), REFUSED.values(), ids=REFUSED)
def test_a_damaged_table_gets_one_clear_message(tmp_path, counts, places, words):
    path = write(tmp_path, counts, places)
    message = refusal(path, coordinates=tmp_path / "coords.csv")
    assert words in message
    assert words in refusal(path) + refusal(tmp_path)


def test_problems_of_both_tables_are_reported_at_once(tmp_path):
    path = write(tmp_path, as_text(changed(by_spot(), 5, 2, "?")), as_text(changed(coordinates(), 5, 2, "?")))
    message = refusal(path)
    assert "`coords.csv` must hold numbers in the column 'y'" in message
    assert "`counts.csv` must hold numbers in the column 'Gapdh'" in message


def test_wrong_columns_of_coordinates_are_reported_with_the_expected_ones(tmp_path):
    path = write(tmp_path, places=as_text(coordinates(("barcode", "lon", "lat"))))
    message = refusal(path, coordinates=tmp_path / "coords.csv")
    assert "must have columns of x and y" in message
    assert "found 'barcode', 'lon', 'lat'" in message
    assert "its columns are" not in message


def test_folder_given_for_a_file(tmp_path):
    path = write(tmp_path)
    (tmp_path / "folder").mkdir()
    assert "is a folder, expected a file" in refusal(path, coordinates=tmp_path / "folder")
    assert "does not exist" in refusal(path, coordinates=tmp_path / "nowhere.csv")
    assert "does not exist" in refusal(tmp_path / "nowhere.csv", coordinates=tmp_path / "coords.csv")


def test_gzip_is_detected_by_content_not_by_name(tmp_path):
    write(tmp_path)
    plain = (tmp_path / "counts.csv").rename(tmp_path / "counts.csv.gz")
    assert_is_the_section(read_spatial(plain))  # a browser has unzipped it
    plain.write_bytes(b"\xb1\xd9" + bytes(range(128, 200)))
    assert "is named .gz but not gzip: it begins with" in refusal(plain)


@pytest.mark.parametrize("row", [b"0," * 30, b"B,0,0,0,0,0\n" * 5], ids=["without lines", "with lines"])
def test_a_zip_bomb_is_stopped_early(tmp_path, row):
    path = tmp_path / "counts.csv.gz"
    with gzip.open(path, "wb", compresslevel=9) as file:
        file.write(as_text(by_spot()) if b"\n" in row else b"")
        for _ in range(100):
            file.write(row * 17_500)  # 1 MB, which becomes 1 kB
    (tmp_path / "coords.csv").write_bytes(as_text(coordinates()))
    began = time.process_time()
    assert "must grow at most 500 times when decompressed" in refusal(
        path, coordinates=tmp_path / "coords.csv"
    )
    assert time.process_time() - began < 5


def test_text_without_cells_is_no_table(tmp_path):
    path = tmp_path / "counts.csv.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b"x" * (1 << 17))
    assert "found more than 64 kB without a tab, comma, space or end of line" in refusal(path)


def test_columns_without_end_are_refused_before_they_are_split(tmp_path):
    path = tmp_path / "counts.csv"
    path.write_bytes(b"x," * 2_100_000 + b"\nB," + b"1," * 10)
    assert "must have at most 2,097,152 columns, found 2,100,001" in refusal(path)


def test_a_line_without_end_is_not_read_to_its_end(tmp_path):
    path = write(tmp_path, b"0," * (35 << 20))
    assert "must have lines of at most 64 MB" in refusal(path)


def test_other_tables_are_described(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(as_text(coordinates()))
    assert "holds the coordinates of spots, but no counts" in refusal(path)
    path.write_bytes(b"barcode,cluster,nUMI\nA,1,30\nB,2,40\n")
    assert "is a table, but not one of counts: its columns are 'barcode', 'cluster', 'nUMI'" in refusal(path)
    assert "holds tables ('table.csv'), but none of counts" in refusal(tmp_path)
    path.write_bytes(as_text(by_gene()))
    assert "If these are single cells, choose them as the reference." in refusal(tmp_path)


def test_a_broken_file_in_the_folder_is_named(tmp_path):
    path = write(tmp_path, places=b"")
    assert "`coords.csv` is empty (0 bytes)" in refusal(path)
    assert "`coords.csv` is empty (0 bytes)" in refusal(tmp_path)


def test_tables_are_read_into_memory_with_a_note(tmp_path):
    assert "tables cannot be read in blocks" in notes_of(write(tmp_path), backed=True)


def test_reading_is_cancelled(tmp_path):
    def cancel(progress: Progress) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        read_spatial(write(tmp_path), on_progress=cancel)
