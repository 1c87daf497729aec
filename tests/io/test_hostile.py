"""Files that carry other files, claim more than they hold or never end: refused, soon, in one sentence."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from napari_spotmix import Cancelled, ReadError, read_spatial
from napari_spotmix.base.progress import Progress
from napari_spotmix.io import detect_format, read_image
from napari_spotmix.io.readers import hdf5_inspection, images, safety
from napari_spotmix.io.readers.store_inspection import check_store
from napari_spotmix.simulation.simulate import SimulatedTissue, simulate

#: Longest message, in letters.
LONGEST = 600


@pytest.fixture(scope="module")
def tissue() -> SimulatedTissue:
    return simulate(n_spots=60, n_genes=80, n_cell_types=4, random_state=3, image=False)


@pytest.fixture
def path(tissue: SimulatedTissue, tmp_path: Path) -> Path:
    tissue.spatial.write_h5ad(tmp_path / "spots.h5ad")
    return tmp_path / "spots.h5ad"


def claim(group: h5py.Group, name: str, shape: tuple[int, ...], kind: object = "f4") -> h5py.Dataset:
    """Create an array of which nothing is written."""
    array = group.create_dataset(name, shape=shape, dtype=kind, chunks=True, compression="gzip")
    array.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    return array


def external_storage(file: h5py.File) -> None:
    secret = Path(file.filename).with_name("secret")
    secret.write_bytes(b"private")
    array = file.create_dataset("uns/secret", shape=(7,), dtype="u1", external=[(str(secret), 0, 7)])
    array.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})


def external_link(file: h5py.File) -> None:
    other = Path(file.filename).with_name("other.h5")
    with h5py.File(other, "w") as target:
        target["values"] = np.arange(3)
    file["uns/values"] = h5py.ExternalLink(str(other), "/values")


def virtual(file: h5py.File) -> None:
    other = Path(file.filename).with_name("other.h5")
    with h5py.File(other, "w") as target:
        target["values"] = np.arange(3)
    layout = h5py.VirtualLayout(shape=(3,), dtype="i8")
    layout[:] = h5py.VirtualSource(str(other), "values", shape=(3,))
    file.create_virtual_dataset("uns/values", layout)


def soft_loop(file: h5py.File) -> None:
    file["uns/itself"] = h5py.SoftLink("/uns")


def hard_loop(file: h5py.File) -> None:
    file["uns/itself"] = file["uns"]


def doubling(file: h5py.File) -> None:
    group = file.create_group("uns/deepest")
    for level in range(40):
        above = file.create_group(f"uns/level{level}")
        above["a"], above["b"] = group, group
        group = above


def many_claims(file: h5py.File) -> None:
    for number in range(20):
        claim(file["uns"], f"part{number}", (50_000_000,))


def many_links(file: h5py.File) -> None:
    claim(file["uns"], "part", (100_000_000,))
    for number in range(20):
        file[f"uns/link{number}"] = h5py.SoftLink("/uns/part")


def names_of_any_length(file: h5py.File) -> None:
    claim(file["uns"], "names", (60_000_000,), h5py.string_dtype())


def long_names(file: h5py.File) -> None:
    claim(file["obs"], "long", (60,), "S10000000")


def tiny_chunks(file: h5py.File) -> None:
    """Nothing is stored, and HDF5 needs kilobytes for each chunk."""
    file.create_dataset("uns/tiny", (1_000_000,), "u1", chunks=(1,))


REFUSED = {
    external_storage: "keeps the values of `uns/secret` in another file",
    external_link: "has a link to another file, `uns/values`",
    virtual: "takes the values of `uns/values` from other arrays",
    soft_loop: "a group that holds itself, `uns/itself`",
    hard_loop: "a group that holds itself, `uns/itself`",
    doubling: "claims too much memory",
    many_claims: "claims too much memory: `uns`",
    many_links: "claims too much memory: `uns`",
    names_of_any_length: "claims too much memory: `uns/names`",
    tiny_chunks: "claims too much memory: `uns/tiny`",
    long_names: "claims too much memory: `obs/long`",
}


@pytest.mark.parametrize("change", REFUSED)
@pytest.mark.parametrize("backed", [False, True])
def test_hdf5_that_must_not_be_read_is_refused(
    change: Callable[[h5py.File], None], backed: bool, path: Path
) -> None:
    with h5py.File(path, "a") as file:
        change(file)
    with pytest.raises(ReadError, match=REFUSED[change]) as caught:
        read_spatial(path, backed=backed)
    assert len(str(caught.value)) <= LONGEST + len(str(path))


def test_names_that_share_one_long_text_are_counted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5_inspection, "_LARGE", 1 << 20)
    monkeypatch.setattr(hdf5_inspection, "_MOST", 1)
    with h5py.File(path, "a") as file:
        file.create_dataset("uns/names", data=["x" * 10_000] * 200, dtype=h5py.string_dtype())
    walk = hdf5_inspection._Walk(0)
    with h5py.File(path, "r") as file, pytest.raises(Exception, match=r"`uns/names` claims"):
        walk.text(file["uns/names"], "uns/names")


def test_links_within_the_file_are_read(path: Path, tissue: SimulatedTissue) -> None:
    with h5py.File(path, "a") as file:
        file["layers/again"] = h5py.SoftLink("/X")
        file["obsm/again"] = file["obsm/spatial"]
    found = read_spatial(path)
    np.testing.assert_array_equal(found.layers["again"].toarray(), tissue.spatial.X.toarray())


def endless(path: Path) -> None:
    """Make the process that inspects files busy forever, as HDF5 is with a damaged index."""
    path.write_text("import time\nwhile True:\n    time.sleep(0.01)\n", encoding="utf-8")


def test_an_endless_inspection_can_be_cancelled(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "endless.py"
    endless(script)
    monkeypatch.setattr(safety, "_idle", [])
    monkeypatch.setattr(hdf5_inspection, "__file__", str(script))
    started = time.monotonic()
    cancelled: list[float] = []

    def cancel(_: Progress) -> None:
        if time.monotonic() > started + 1:
            cancelled.append(time.monotonic())
            raise Cancelled

    with pytest.raises(Cancelled):
        read_spatial(path, on_progress=cancel)
    assert time.monotonic() - cancelled[0] < 0.5
    assert safety._idle == []


def test_a_process_that_ends_is_a_damaged_file(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "crash.py"
    script.write_text("import os\nos.abort()\n", encoding="utf-8")
    monkeypatch.setattr(safety, "_idle", [])
    monkeypatch.setattr(hdf5_inspection, "__file__", str(script))
    with pytest.raises(ReadError, match="HDF5 cannot get through its structure"):
        read_spatial(path)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_command_that_reads_without_end_can_be_ended(
    number: signal.Signals, code: int, path: Path, tmp_path: Path
) -> None:
    endless(tmp_path / "endless.py")
    child = (
        "import sys\nfrom napari_spotmix.io.readers import hdf5_inspection\n"
        "hdf5_inspection.__file__ = 'endless.py'\n"
        "from napari_spotmix.cli import main\nmain(sys.argv[1:])\n"
    )
    command = [sys.executable, "-c", child, "run", path, path, "--output", "out"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        process.stderr.readline()  # it reads
        time.sleep(1)
        process.send_signal(number)
        assert process.wait(timeout=20) == code
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".spotmix-*"))


# -------------------------------------------------------------------------------- stores


@pytest.fixture
def store(tissue: SimulatedTissue, tmp_path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about formats of Zarr
        tissue.spatial.write_zarr(tmp_path / "spots.zarr")
    return tmp_path / "spots.zarr"


def claim_terabytes(store: Path) -> None:
    for file in (store / "obsm" / "spatial").iterdir():
        if file.name in (".zarray", "zarr.json"):
            metadata = json.loads(file.read_text(encoding="utf-8"))
            metadata["shape"] = [60, 10**12]
            file.write_text(json.dumps(metadata), encoding="utf-8")


def link_out(store: Path) -> None:
    (store.parent / "secret").write_bytes(b"private")
    (store / "uns" / "secret").symlink_to(store.parent / "secret")


def link_back(store: Path) -> None:
    (store / "uns" / "itself").symlink_to(store / "uns")


def pipe_inside(store: Path) -> None:
    os.mkfifo(store / "uns" / "pipe")


@pytest.mark.skipif(sys.platform == "win32", reason="links and pipes are those of POSIX")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (claim_terabytes, "claims too much memory.*`obsm/spatial`"),
        (link_out, "a link to another file or folder, `uns/secret`"),
        (link_back, "a link to another file or folder, `uns/itself`"),
        (pipe_inside, "`uns/pipe`, which is neither a file nor a folder"),
    ],
)
def test_stores_that_must_not_be_read_are_refused(
    change: Callable[[Path], None], words: str, store: Path
) -> None:
    read_spatial(store)
    change(store)
    with pytest.raises(ReadError, match=words):
        read_spatial(store)


def test_images_may_be_larger_than_memory_but_not_without_limit(tmp_path: Path) -> None:
    image = tmp_path / "section.zarr" / "images" / "slide"
    image.mkdir(parents=True)
    for side, is_refused in ((200_000, False), (1_000_000, True)):
        metadata = {"shape": [3, side, side], "chunks": [3, 512, 512], "dtype": "|u1", "zarr_format": 2}
        (image / ".zarray").write_text(json.dumps(metadata), encoding="utf-8")
        with pytest.raises(ReadError, match="`images/slide`") if is_refused else nullcontext():
            check_store(tmp_path / "section.zarr", ("images", "labels"), may_be_empty=True)


@pytest.mark.parametrize("content", ["[1, 2]", "3", "[" * 100_000, "{", "\xff"])
def test_metadata_of_another_kind_are_reported(content: str, tmp_path: Path) -> None:
    (tmp_path / "odd.zarr").mkdir()
    (tmp_path / "odd.zarr" / "zarr.json").write_text(content, encoding="latin-1")
    assert detect_format(tmp_path / "odd.zarr").kind == "unreadable"


# -------------------------------------------------------------------------------- other files


@pytest.mark.skipif(sys.platform == "win32", reason="pipes are those of POSIX")
@pytest.mark.parametrize("name", ["spots.h5ad", "counts.csv", "tissue.tif"])
def test_a_pipe_is_refused(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(ReadError, match="a pipe or a device"):
        read_spatial(tmp_path / name)
    if name.endswith(".tif"):
        with pytest.raises(ReadError, match="a pipe or a device"):
            read_image(tmp_path / name)


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes are those of Linux")
def test_a_name_that_no_recipe_can_hold_is_refused(path: Path) -> None:
    odd = os.fsdecode(os.fsencode(path.parent) + b"/spots\xff.h5ad")
    shutil.copy(path, odd)
    with pytest.raises(ReadError, match="is not UTF-8"):
        read_spatial(odd)


@pytest.mark.parametrize(
    "dtype", [h5py.vlen_dtype(np.int32), np.dtype("V4"), np.dtype("S3"), h5py.opaque_dtype(np.dtype("M8[s]"))]
)
def test_a_column_that_cannot_be_written_is_refused(path: Path, dtype: np.dtype) -> None:
    with h5py.File(path, "a") as file:
        obs = file["obs"]
        column = obs.create_dataset("odd", shape=(60,), dtype=dtype)
        if dtype.kind == "O":
            column[0] = [1, 2]
        column.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        names = [*obs.attrs["column-order"], "odd"]
        obs.attrs["column-order"] = np.array(names, dtype=h5py.string_dtype())
    with pytest.raises(ReadError, match=r"obs\['odd'\].*neither text nor numbers"):
        read_spatial(path)


def test_a_stack_of_pages_is_read_page_by_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((50, 40, 30), np.uint8), photometric="minisblack")
    monkeypatch.setattr(images, "MAX_BYTES", 10_000)
    image = read_image(tmp_path / "stack.tif")
    assert not isinstance(image.levels[0], np.ndarray)
    assert image.levels[0].shape == (50, 40, 30)
    image.close()
