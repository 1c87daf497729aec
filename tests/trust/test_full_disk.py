"""A full disk ends every command in one sentence, and leaves nothing."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import pytest

from tests.cli.commands import command, fresh_process, spotmix, spotmix_process
from tests.torture.sample import FAST


def mounted(folder: Path, size: str) -> bool:
    """Mount a small file system in memory, if this user may."""
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        return subprocess.run(words, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Return a function that makes a disk of a size."""
    disks: list[Path] = []

    def make(size: str) -> Path:
        disk = tmp_path / f"disk{len(disks)}"
        disk.mkdir()
        if not mounted(disk, size):
            pytest.skip("needs the right to mount a tmpfs, as root has")
        disks.append(disk)
        return disk

    yield make
    for disk in disks:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def assert_one_sentence(code: int, words: str) -> None:
    errors = [line for line in words.splitlines() if line.startswith("Error:")]
    assert (code, len(errors)) == (2, 1), words
    assert "No space left on device" in errors[0]
    assert "Traceback" not in words


COMMANDS = [
    ("export", "--to", "a.csv"),
    ("export", "--as", "long", "--to", "a.parquet"),
    ("export", "--to", "a.geojson"),
    ("export", "--to", "a.zarr"),
    ("figure", "--show", "dominant", "-o", "a.png"),
    ("figure", "--show", "dominant", "-o", "a.pdf"),
    ("figure", "--show", "dominant", "-o", "a.svg"),
    ("report", "-o", "a.html"),
    ("niches", "-o", "a.csv"),
]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: f"{words[0]} {words[-1]}")
def test_a_full_disk_is_one_sentence_for_each_command(
    words: tuple[str, ...], finished: Path, small_disk: Callable[[str], Path]
) -> None:
    if words[-1].endswith(".zarr"):
        pytest.importorskip("spatialdata")
    disk = small_disk("4k")
    (disk / "filler").write_bytes(b"x" * 4096)
    name, *options, file = words
    done = spotmix(name, finished, *options, disk / file)
    assert_one_sentence(done.returncode, done.stderr)
    assert [path.name for path in disk.iterdir()] == ["filler"]


@pytest.mark.parametrize("size", ["16k", "64k", "200k"])
def test_a_full_disk_is_one_sentence_for_a_run(
    size: str, sample: Path, small_disk: Callable[[str], Path]
) -> None:
    disk = small_disk(size)
    done = spotmix_process("run", sample / "spots.h5ad", sample / "cells.h5ad", "-o", disk / "out", *FAST)
    assert_one_sentence(done.returncode, done.stderr)
    assert list(disk.iterdir()) == []


def test_a_result_stays_whole_if_there_is_no_room_to_add_to_it(
    finished: Path, small_disk: Callable[[str], Path]
) -> None:
    file = finished / "spatial.h5ad"
    disk = small_disk(f"{file.stat().st_size // 1024 + 60}k")
    copy = disk / "spatial.h5ad"
    copy.write_bytes(file.read_bytes())
    done = fresh_process("niches", copy, "--keep")
    assert_one_sentence(done.returncode, done.stderr)
    assert copy.read_bytes() == file.read_bytes()
    assert [path.name for path in disk.iterdir()] == ["spatial.h5ad"]


class FullAfter:
    """A file that has room for so many writes."""

    def __init__(self, file: Any, n_writes: int) -> None:
        self._file, self._left = file, n_writes

    def write(self, content: Any) -> int:
        self._left -= 1
        if self._left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return int(self._file.write(content))

    def __enter__(self) -> FullAfter:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@pytest.mark.parametrize("n_writes", [0, 1, 2, 5])
@pytest.mark.parametrize("file", ["a.csv", "a.geojson"])
def test_no_room_at_any_write_is_one_sentence(
    n_writes: int, file: str, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Path.open

    def open_full(path: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        found = opened(path, mode, *arguments, **options)
        return FullAfter(found, n_writes) if "w" in mode else found

    target = tmp_path / "new"
    target.mkdir()
    monkeypatch.setattr("napari_spotmix.output.exporters._BATCH", 10)
    monkeypatch.setattr(Path, "open", open_full)
    done = spotmix("export", finished, "--to", target / file)
    monkeypatch.undo()
    assert_one_sentence(done.returncode, done.stderr)
    assert list(target.iterdir()) == []


def test_a_file_of_hdf5_that_cannot_be_closed_is_one_sentence(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = h5py.File.close

    def close(file: h5py.File) -> None:
        is_written = bool(file) and file.mode == "r+"
        closed(file)
        if is_written:
            message = (
                "Unable to flush file's cached information (file write failed: errno = 28, error message"
            )
            raise RuntimeError(message)

    monkeypatch.setattr(h5py.File, "close", close)
    done = spotmix("run", sample / "spots.h5ad", sample / "cells.h5ad", "-o", tmp_path / "out", *FAST)
    monkeypatch.undo()
    assert_one_sentence(done.returncode, done.stderr)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
def test_a_full_disk_below_standard_output_is_one_sentence(finished: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command("niches", finished), stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert_one_sentence(done.returncode, done.stderr)
