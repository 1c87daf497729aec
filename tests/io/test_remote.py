"""Inputs by URL: fetched completely or not at all, once, with a clear message if they cannot be."""

from __future__ import annotations

import hashlib
import http.server
import sys
import threading
import tomllib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from napari_spotmix import Cancelled, InputError, simulate
from napari_spotmix.base import urls
from napari_spotmix.base.progress import Progress
from napari_spotmix.io import fetched, remote
from napari_spotmix.io.readers.detect import detect_format
from napari_spotmix.workflow.run import run
from napari_spotmix.workflow.spec import RunSpec


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv(remote.CACHE_VARIABLE, str(folder))
    return folder


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryFileSystem]:
    """A remote store in memory, allowed for the test alone."""
    monkeypatch.setattr(urls, "PROTOCOLS", (*urls.PROTOCOLS, "memory"))
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()


class Server(http.server.SimpleHTTPRequestHandler):
    asked: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path.startswith("/forbidden"):
            self.send_error(403)
        elif self.path.startswith("/broken"):
            self.send_response(200)
            self.send_header("Content-Length", "1000000")
            self.end_headers()
            self.wfile.write(b"x" * 1000)
        else:
            super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Address and folder of a web server on loopback."""
    pytest.importorskip("aiohttp", reason="fsspec[http] is not installed")
    folder = tmp_path / "web"
    folder.mkdir()
    Server.asked.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Server, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()


def kept(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.rglob("*") if path.is_file())


def test_a_file_is_fetched_once_and_again_when_it_has_changed(web: tuple[str, Path], cache: Path) -> None:
    address, folder = web
    (folder / "cells 1.h5ad").write_bytes(b"first")
    url = f"{address}/cells%201.h5ad?download=1"
    first = fetched(url)
    assert (first.name, first.read_bytes()) == ("cells 1.h5ad", b"first")
    n_asked = Server.asked.count("/cells%201.h5ad?download=1")
    assert fetched(url) == first
    assert len(kept(cache)) == 1
    (folder / "cells 1.h5ad").write_bytes(b"the second")
    assert fetched(url).read_bytes() == b"the second"
    assert Server.asked.count("/cells%201.h5ad?download=1") > n_asked


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("missing.h5ad", "missing.h5ad: the file was not found"),
        ("forbidden.h5ad", "forbidden.h5ad: could not be fetched .*403"),
        ("broken.h5ad", "broken.h5ad: could not be fetched"),
    ],
)
def test_a_failed_fetch_is_reported_and_leaves_no_file(
    web: tuple[str, Path], cache: Path, path: str, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        fetched(f"{web[0]}/{path}")
    assert kept(cache) == []


def test_a_missing_server_is_reported_without_the_password() -> None:
    pytest.importorskip("aiohttp", reason="fsspec[http] is not installed")
    with pytest.raises(InputError) as caught:
        fetched("http://me:secret@127.0.0.1:9/cells.h5ad")
    assert str(caught.value).startswith("http://127.0.0.1:9/cells.h5ad: could not be fetched")
    assert "secret" not in str(caught.value)


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(InputError, match=r'pip install "fsspec\[s3\]"'):
        fetched("s3://bucket/cells.h5ad")


def test_only_files_that_are_read_are_fetched_from_a_space_ranger_folder(
    memory: MemoryFileSystem,
) -> None:
    for name in ("spatial/tissue_positions.csv", "filtered_feature_bc_matrix.h5", "possorted_genome_bam.bam"):
        memory.pipe(f"/run/outs/{name}", b"x")
    copy = fetched("memory://run/outs")
    assert copy.name == "outs"
    files = {path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file()}
    assert files == {"spatial/tissue_positions.csv", "filtered_feature_bc_matrix.h5"}
    assert detect_format(copy).kind == "space_ranger"


def test_any_other_folder_is_fetched_as_a_whole(memory: MemoryFileSystem) -> None:
    for name in ("zarr.json", "tables/x/zarr.json"):
        memory.pipe(f"/store.zarr/{name}", b"{}")
    copy = fetched("memory://store.zarr")
    assert (copy / "tables" / "x" / "zarr.json").read_bytes() == b"{}"


def test_cancelling_leaves_nothing(memory: MemoryFileSystem, cache: Path) -> None:
    memory.pipe("/cells.h5ad", b"x" * 10**7)

    def stop(progress: Progress) -> None:
        assert progress.stage == "Fetching cells.h5ad"
        if progress.step:
            raise Cancelled

    with pytest.raises(Cancelled):
        fetched("memory://cells.h5ad", on_progress=stop)
    assert kept(cache) == []
    assert not list(cache.rglob(".spotmix-*"))


def test_a_run_by_url_keeps_the_url_and_the_checksum_in_its_recipe(
    memory: MemoryFileSystem, tmp_path: Path
) -> None:
    tissue = simulate(n_spots=60, n_genes=100, n_cell_types=3, image=False, random_state=1)
    for name, adata in (("spots", tissue.spatial), ("cells", tissue.reference)):
        adata.write_h5ad(tmp_path / f"{name}.h5ad")
        memory.pipe(f"/data/{name}.h5ad", (tmp_path / f"{name}.h5ad").read_bytes())
    by_url = RunSpec("memory://data/spots.h5ad", "memory://data/cells.h5ad", tmp_path / "url")
    by_path = RunSpec(tmp_path / "spots.h5ad", tmp_path / "cells.h5ad", tmp_path / "path")
    for spec in (by_url, by_path):
        run(spec)
    tables = [(tmp_path / name / "proportions.csv").read_bytes() for name in ("url", "path")]
    assert tables[0] == tables[1]
    entry = tomllib.loads((tmp_path / "url" / "recipe.toml").read_text())["inputs"]["reference"]
    assert entry["path"] == "memory://data/cells.h5ad"
    digest = hashlib.sha256((tmp_path / "cells.h5ad").read_bytes()).hexdigest()
    assert entry["files"] == [
        {"name": "cells.h5ad", "bytes": (tmp_path / "cells.h5ad").stat().st_size, "sha256": digest}
    ]


def test_both_urls_that_fail_are_reported_at_once(memory: MemoryFileSystem, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        run(RunSpec("memory://no/spots.h5ad", "memory://no/cells.h5ad", tmp_path / "out"))
    assert len(caught.value.problems) == 2
    assert not (tmp_path / "out").exists()


def test_a_file_url_is_the_file_itself(tmp_path: Path) -> None:
    assert fetched(tmp_path.as_uri()) == tmp_path
