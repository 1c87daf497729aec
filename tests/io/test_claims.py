"""Parts of a file that claim too much are refused, or left out if not needed; libraries stay silent."""

from __future__ import annotations

import logging
import re
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import h5py
import imagecodecs
import numpy as np
import pytest
import tifffile
import zarr
from scipy.sparse import csc_matrix, csr_matrix

from napari_spotmix import InputError, ReadError, read_reference, read_spatial
from napari_spotmix.dataset.matrix_blocks import row_blocks
from napari_spotmix.io import close_files, read_image, reading_notes, write_h5ad
from napari_spotmix.io.quiet import quiet_libraries
from napari_spotmix.io.readers.chunk_headers import chunk_kind, chunk_problem
from napari_spotmix.model.counts import is_in_order
from napari_spotmix.simulation.simulate import SimulatedTissue, simulate
from tests.io.layouts import section, slide, write_folder


@pytest.fixture(scope="module")
def tissue() -> SimulatedTissue:
    return simulate(n_spots=60, n_genes=80, n_cell_types=4, random_state=3, image=False)


@pytest.fixture
def path(tissue: SimulatedTissue, tmp_path: Path) -> Path:
    adata = tissue.spatial.copy()
    adata.uns["colors"], adata.uns["spotmix_other"] = ["#ff0000"], {"a": 1}
    adata.write_h5ad(tmp_path / "spots.h5ad")
    return tmp_path / "spots.h5ad"


@pytest.fixture
def store(tissue: SimulatedTissue, tmp_path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about formats of Zarr
        tissue.spatial.write_zarr(tmp_path / "spots.zarr")
    return tmp_path / "spots.zarr"


# --------------------------------------------------------------------------------------------- uns


@pytest.mark.parametrize("backed", [False, True])
def test_what_is_large_in_uns_is_left_out(backed: bool, path: Path) -> None:
    with h5py.File(path, "a") as file:
        zeros = np.zeros(1 << 24, "f8")
        zeros[::1000] = np.random.default_rng(0).random(len(zeros[::1000]))  # so that it is no bomb
        array = file.create_dataset("uns/large", data=zeros, compression="gzip", compression_opts=1)
        array.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    adata = read_spatial(path, backed=backed)
    assert "large" not in adata.uns
    assert list(adata.uns["colors"]) == ["#ff0000"]
    assert "spatial" in adata.uns or "spotmix_other" in adata.uns
    assert reading_notes(adata) == ("`uns` of the file: 'large' is large and was not read.",)
    close_files(adata)


@pytest.mark.parametrize("backed", [False, True])
def test_what_cannot_be_read_in_uns_is_left_out_unless_it_is_needed(backed: bool, path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["uns/colors"].attrs["encoding-type"] = "of tomorrow"
        file["uns/nowhere"] = h5py.SoftLink("/no/such/node")
    adata = read_spatial(path, backed=backed)
    assert reading_notes(adata) == (
        "`uns` of the file: 'colors', 'nowhere' cannot be read and was left out.",
    )
    close_files(adata)
    with h5py.File(path, "a") as file:
        file["uns/spotmix_other"].attrs["encoding-type"] = "of tomorrow"
    with pytest.raises(ReadError, match="of tomorrow"):
        read_spatial(path, backed=backed)


@pytest.mark.parametrize("backed", [False, True])
def test_scalars_that_cannot_be_written_are_left_out(backed: bool, path: Path, tmp_path: Path) -> None:
    with h5py.File(path, "a") as file:
        for name, value in (("odd", np.complex128(1j)), ("bytes", np.void(b"abc"))):
            file[f"uns/spotmix_other/{name}"] = value
            file[f"uns/spotmix_other/{name}"].attrs.update(
                {"encoding-type": "numeric-scalar", "encoding-version": "0.2.0"}
            )
        opaque = file.create_dataset("uns/spotmix_other/opaque", data=np.zeros(3, "V4"))
        opaque.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    adata = read_spatial(path, backed=backed)
    (note,) = reading_notes(adata)
    assert note.endswith("'spotmix_other/opaque' holds neither numbers nor text and was left out.")
    assert "'spotmix_other/bytes', 'spotmix_other/odd'," in note
    assert not {"odd", "bytes", "opaque"} & adata.uns["spotmix_other"].keys()
    close_files(adata)


def test_uns_of_a_store_is_read_in_the_same_way(tissue: SimulatedTissue, tmp_path: Path) -> None:
    adata = tissue.spatial.copy()
    adata.uns["large"], adata.uns["small"] = np.random.default_rng(0).random(9 << 20), [1, 2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about formats of Zarr
        adata.write_zarr(tmp_path / "spots.zarr")
    read = read_spatial(tmp_path / "spots.zarr")
    assert "large" not in read.uns
    assert list(read.uns["small"]) == [1, 2]
    assert reading_notes(read) == ("`uns` of the file: 'large' is large and was not read.",)


# ------------------------------------------------------------------------------------------- chunks


@pytest.mark.parametrize("backed", [False, True])
def test_an_array_of_millions_of_chunks_is_refused(backed: bool, path: Path) -> None:
    with h5py.File(path, "a") as file:
        kept = dict(file["X/indptr"].attrs)
        del file["X/indptr"]
        file.create_dataset("X/indptr", (10**7,), "i1", chunks=(1,)).attrs.update(kept)
    with pytest.raises(ReadError, match="`X/indptr` claims"):
        read_spatial(path, backed=backed)


def blosc_header(content: bytes) -> bytes:
    return content[:4] + struct.pack("<I", 2**31 - 1) + content[8:]


def blosc_bomb(_: bytes) -> bytes:
    return bytes(imagecodecs.blosc_encode(b"\0" * 50_000_000, level=1))


def number_of_names(content: bytes) -> bytes:
    plain = bytes(imagecodecs.blosc_decode(content))
    return bytes(imagecodecs.blosc_encode(struct.pack("<I", 2**29) + plain[4:], level=1))


@pytest.mark.parametrize(
    ("array", "change", "words"),
    [
        ("X/data", blosc_header, "2,147,483,647 bytes"),
        ("X/data", blosc_bomb, "50,000,000 bytes"),
        ("var/_index", blosc_header, "2,147,483,647 bytes"),
        ("var/_index", number_of_names, "536,870,912 names, expected at most 80"),
    ],
)
def test_chunks_of_a_store_may_not_claim_more_than_their_array(
    array: str, change: Callable[[bytes], bytes], words: str, store: Path
) -> None:
    chunk = store / array / "0"
    chunk.write_bytes(change(chunk.read_bytes()))
    with pytest.raises(ReadError, match=rf"the chunk `{array}/0` claims {words}"):
        read_spatial(store)


@pytest.mark.parametrize("n_values", [10, 300, 70_000, 10**6])
@pytest.mark.parametrize("codec", ["zstd", "blosc", "lz4", ""])
def test_what_is_read_from_a_header_is_what_a_chunk_holds(codec: str, n_values: int, tmp_path: Path) -> None:
    values = np.arange(n_values, dtype="f4").tobytes()
    packed = {
        "zstd": lambda: imagecodecs.zstd_encode(values),
        "blosc": lambda: imagecodecs.blosc_encode(values),
        "lz4": lambda: imagecodecs.lz4_encode(values, header=True),
        "": lambda: values,
    }[codec]()
    (tmp_path / "0").write_bytes(packed)
    codecs = [{"name": "bytes"}, *([{"name": codec}] if codec else [])]
    right, wrong = (chunk_kind({"codecs": codecs}, n, 4) for n in (n_values, n_values - 300))
    assert right is not None
    assert wrong is not None
    assert chunk_problem(tmp_path / "0", right) == ""
    if codec and n_values > 300:
        assert f"claims {4 * n_values:,} bytes" in chunk_problem(tmp_path / "0", wrong)


def test_the_shape_of_a_matrix_may_not_be_a_million_numbers(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "outs", section())
    with h5py.File(folder / "filtered_feature_bc_matrix.h5", "a") as file:
        del file["matrix/shape"]
        file.create_dataset("matrix/shape", (10**8,), "i1", chunks=(10**6,))
    with pytest.raises(ReadError, match="`shape` must be two integers"):
        read_spatial(folder)


def test_numbers_are_no_names(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "outs", section())
    with h5py.File(folder / "filtered_feature_bc_matrix.h5", "a") as file:
        del file["matrix/barcodes"]
        file.create_dataset("matrix/barcodes", (10**8,), "i1", chunks=(10**6,))
    with pytest.raises(ReadError, match="must be names, found 'int8'"):
        read_spatial(folder)


# ------------------------------------------------------------------------------------------- images


def test_an_image_must_have_the_tiles_that_it_claims(tmp_path: Path) -> None:
    path = tmp_path / "slide.tif"
    slide(path, np.zeros((300, 300, 3), np.uint8))
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages.first.tags["ImageWidth"].overwrite(400_000)
    with pytest.raises(ReadError, match=r"400,000 x 300 pixels need 31,250 tiles or strips, found 25"):
        read_image(path)


def test_libraries_warn_of_nothing_in_a_damaged_image(tmp_path: Path) -> None:
    path = tmp_path / "slide.tif"
    slide(path, np.zeros((300, 300, 3), np.uint8))
    with tifffile.TiffFile(path) as tiff:
        at = tiff.pages.first.tags["TileLength"].offset
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, at + 4, 40_000)  # so many lengths, of which the first is 0
    path.write_bytes(content)
    with warnings.catch_warnings(record=True) as caught, suppress(ReadError):
        warnings.simplefilter("always")
        read_image(path)
    assert caught == []


def test_libraries_print_nothing_of_a_damaged_image(tmp_path: Path) -> None:
    path = tmp_path / "slide.tif"
    slide(path, np.zeros((300, 300, 3), np.uint8))
    content = bytearray(path.read_bytes())
    (n_tags,) = struct.unpack_from("<H", content, 8)
    struct.pack_into("<I", content, 10 + 12 * n_tags, 2**31)  # where the next page is
    path.write_bytes(content)
    png = bytearray(imagecodecs.png_encode(np.zeros((9, 9), np.uint8)))
    png[25] = 5  # a kind of colors that does not exist
    (tmp_path / "a.png").write_bytes(png)
    code = "import sys\nfrom napari_spotmix.io import read_image\nfor one in sys.argv[1:]:\n"
    code += "    try: read_image(one)\n    except ValueError: pass"
    words = [sys.executable, "-c", code, str(path), str(tmp_path / "a.png")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""


def test_only_what_zarr_leaves_behind_is_kept_from_the_log(caplog: pytest.LogCaptureFixture) -> None:
    quiet_libraries()
    logger = logging.getLogger("asyncio")
    logger.error("Task exception was never retrieved\nfuture: <Task coro=<get() at zarr/core/group.py>>")
    logger.error("Task exception was never retrieved\nfuture: <Task coro=<get() at other.py>>")
    assert [record.getMessage()[-10:] for record in caplog.records] == ["other.py>>"]


# ------------------------------------------------------------------------------------ order of bytes


@pytest.mark.parametrize("kind", [csr_matrix, csc_matrix])
@pytest.mark.parametrize("backed", [False, True])
def test_indices_in_another_order_of_bytes_are_read(
    kind: Callable[..., csr_matrix], backed: bool, tissue: SimulatedTissue, tmp_path: Path
) -> None:
    path = tmp_path / "spots.h5ad"
    adata = tissue.spatial.copy()
    adata.X = kind(adata.X)
    adata.write_h5ad(path)
    with h5py.File(path, "a") as file:
        for name, dtype in (("indices", ">i4"), ("indptr", ">i8")):
            values = file[f"X/{name}"][()].astype(dtype)
            del file[f"X/{name}"]
            file[f"X/{name}"] = values
    read = read_spatial(path, backed=backed)
    counts = row_blocks(read.X)
    rows = counts if hasattr(counts, "indptr") else counts.read(0, read.n_obs)
    assert is_in_order(rows)
    np.testing.assert_array_equal(rows.toarray(), tissue.spatial.X.toarray())
    close_files(read)


@pytest.mark.parametrize("number", ["1" + "0" * 400, "-1" + "0" * 400, "1e400", "NaN"])
@pytest.mark.parametrize("name", ["spot_diameter_fullres", "tissue_hires_scalef", "tissue_lowres_scalef"])
def test_scale_factors_of_400_digits_are_refused(name: str, number: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "outs", section())
    file = folder / "spatial" / "scalefactors_json.json"
    file.write_text(re.sub(rf'("{name}": )[\d.]+', rf"\g<1>{number}", file.read_text()))
    with pytest.raises(ReadError, match=name):
        read_spatial(folder)


def test_a_small_parquet_file_may_not_claim_hundreds_of_millions_of_cells(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    n = 10**6
    columns = {f"Gene{at}": pa.array(np.ones(n, "i4")) for at in range(100)}
    pq.write_table(pa.table({"spot": pa.array(["a"] * n), **columns}), tmp_path / "counts.parquet")
    (tmp_path / "coordinates.csv").write_text("spot,x,y\na,1,2\nb,2,3\n")
    with pytest.raises(ReadError, match="claims too much memory: 1,000,000 rows of 101 columns"):
        read_spatial(tmp_path)


def test_memory_that_runs_out_is_reported(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_out(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("napari_spotmix.io.readers.h5ad.set_coordinates", run_out)
    monkeypatch.setattr("napari_spotmix.io.read.read_labeled", run_out)
    for read in (read_spatial, read_reference):
        with pytest.raises(ReadError, match="do not fit into memory"):
            read(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda line: line + "," + line.split(",")[1], "must have each column once, found 'in_tissue' again"),
        (lambda line: re.sub(r",\d+,(\d+,[\d.]+,[\d.]+)$", r",1e300,\1", line), "found 1e+300"),
    ],
)
def test_positions_with_a_column_twice_or_huge_numbers_are_refused(
    change: Callable[[str], str], words: str, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "outs", section())
    file = folder / "spatial" / "tissue_positions.csv"
    file.write_text("\n".join(map(change, file.read_text().splitlines())))
    with pytest.raises(ReadError, match=re.escape(words)):
        read_spatial(folder)


#: Reads a file in a thread, and opens it again: without end, if the thread has left the lock of h5py behind.
READ_TWICE = """
import sys
import h5py
from napari_spotmix.base.cancel import run_cancellable
from napari_spotmix.base.progress import silent

def fail(name):
    raise ValueError(name)

def loop():
    file = h5py.File(sys.argv[1])
    return any(fail(name) for name, _ in file.items())

try:
    run_cancellable(loop, "Reading", silent)
except ValueError as error:
    kept = error
h5py.File(sys.argv[1]).close()
print(kept)
"""


def test_an_error_in_a_loop_over_a_group_of_hdf5_leaves_no_lock(path: Path) -> None:
    words = [sys.executable, "-c", READ_TWICE, str(path)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "X\n"


def test_a_damaged_table_of_raw_is_refused_and_does_not_wait_for_a_lock(
    tissue: SimulatedTissue, tmp_path: Path
) -> None:
    adata = tissue.spatial.copy()
    adata.raw = adata
    adata.write_h5ad(tmp_path / "spots.h5ad")
    with h5py.File(tmp_path / "spots.h5ad", "a") as file:
        file["raw/var"].attrs["column-order"] = "csc_matrix"
    with pytest.raises(ReadError, match="doesn't exist"):
        read_spatial(tmp_path / "spots.h5ad", backed=True)
    with h5py.File(tmp_path / "spots.h5ad") as file:
        assert "X" in file


def test_names_with_nul_characters_are_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "outs", section())
    with h5py.File(folder / "filtered_feature_bc_matrix.h5", "a") as file:
        file["matrix/features/name"][0] = b"Ge\0e"
    with pytest.raises(ReadError, match="NUL character"):
        read_spatial(folder)


def test_text_with_nul_characters_is_reported_when_it_is_written(
    tissue: SimulatedTissue, tmp_path: Path
) -> None:
    adata = tissue.spatial.copy()
    adata.obs["note"] = "a\0b"
    adata.obs["note"] = adata.obs["note"].astype(object)
    with pytest.raises(InputError, match="holds a NUL character"):
        write_h5ad(adata, tmp_path / "a.h5ad")


@pytest.mark.parametrize("of", ["path", "store"])
def test_names_of_the_rows_and_columns_of_a_matrix_are_counted(
    of: str, request: pytest.FixtureRequest, tissue: SimulatedTissue
) -> None:
    """A sparse matrix of any shape is small; the names that it gets if it has none are not."""
    given: Path = request.getfixturevalue(of)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about formats of Zarr
        opened = h5py.File(given, "a") if of == "path" else zarr.open_group(given, mode="a")
        opened["X"].attrs["shape"] = [60, 100_000_000]
    if of == "path":
        opened.close()
    with pytest.raises(ReadError, match="claims too much memory"):
        read_spatial(given)
