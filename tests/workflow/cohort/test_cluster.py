"""Many sections on a real Dask cluster: a scheduler and workers, each a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import psutil
import pytest

from napari_spotmix import InputError
from napari_spotmix.io import OUTPUTS
from napari_spotmix.workflow.cohort import read_samplesheet, run_cohort
from napari_spotmix.workflow.cohort.cluster import _follow
from tests.clock import allowed
from tests.workflow.cohort.cohorts import ENDLESS, Running, contents, write_sections, write_sheet

pytest.importorskip("distributed", reason="the extra `cluster` is not installed")
pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals as on Linux and macOS")


class Cluster:
    """A scheduler on loopback and its workers."""

    def __init__(self, folder: Path, n_workers: int) -> None:
        self._folder = folder
        self._file = folder / "scheduler.json"
        self.scheduler = self._start("dask_scheduler", "--host", "127.0.0.1", "--port", "0")
        self.workers = [self._start("dask_worker", "--nthreads", "1", "--no-nanny") for _ in range(n_workers)]

    def _start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        words = [*arguments, "--no-dashboard", "--scheduler-file", str(self._file)]
        with (self._folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{name}", *words],
                cwd=self._folder,
                stderr=log,
                stdout=log,
            )

    @property
    def address(self) -> str:
        """That of the scheduler, once it is there."""
        end = time.monotonic() + 60
        while True:
            try:
                return str(json.loads(self._file.read_text(encoding="utf-8"))["address"])
            except (OSError, ValueError):
                assert time.monotonic() < end, (self._folder / "dask_scheduler.log").read_text()
                time.sleep(0.05)

    def said(self) -> str:
        return (self._folder / "dask_scheduler.log").read_text(encoding="utf-8")

    def stop(self) -> None:
        for process in [*self.workers, self.scheduler]:
            process.kill()
            process.wait(10)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight sections, one of them broken, and their samplesheet."""
    folder = tmp_path_factory.mktemp("sections")
    write_sections(folder, 8)
    (folder / "s3.h5ad").write_bytes(b"broken")
    rows = [[f"s{n}", f"s{n}.h5ad", f"cells{n % 2}.h5ad", ""] for n in range(8)]
    write_sheet(folder / "sheet.csv", rows)
    return folder


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path, 2)
    yield cluster
    cluster.stop()


def test_a_worker_killed_in_the_middle_loses_and_changes_nothing(folder: Path, cluster: Cluster) -> None:
    sections = read_samplesheet(folder / "sheet.csv", folder / "here", defaults={"report": False})
    here = run_cohort(sections, folder / "here", at_once=2)
    options = ("-o", folder / "there", "--dask", cluster.address, "--no-report")
    running = Running("run", folder / "sheet.csv", *options)
    running.wait_for(r"\[1/8\]")
    cluster.workers[0].send_signal(signal.SIGKILL)
    code, said = running.end()
    assert code == 1, running.said
    assert "8 sections: 7 done, 1 failed." in said
    assert "s3.h5ad: is named .h5ad but is not an HDF5 file" in said
    assert "Remove worker" in cluster.said()
    assert cluster.workers[1].poll() is None
    assert [one.state for one in here.outcomes].count("done") == 7
    assert contents(folder / "there") == contents(folder / "here")
    assert len(contents(folder / "there")) == 7 * len(OUTPUTS) + 1


class Lost:
    """A future whose result was there, and went with its worker before it could be fetched."""

    def __init__(self, statuses: list[str]) -> None:
        self._statuses = statuses

    @property
    def status(self) -> str:
        return self._statuses.pop(0)

    def result(self, timeout: float) -> dict[str, str]:
        if self._statuses[0] != "here":
            raise TimeoutError
        return {"state": "done"}

    def exception(self) -> Exception:
        return OSError("no space left")

    def release(self) -> None:
        self._statuses = ["released"]


def test_a_result_that_is_lost_with_its_worker_is_waited_for_or_was_reported_already() -> None:
    """The moment between the end of a section and the end of its worker is too short for a test to hit."""
    passed_on: list[tuple[str, Mapping[str, Any]]] = []
    events: SimpleQueue[Any] = SimpleQueue()
    events.put(("d", {"outcome": {"state": "failed"}}))
    events.put(("d", {"outcome": {"state": "unchanged"}}))
    futures = {
        "a": Lost(["pending", "lost", "finished", "lost", "finished", "here"]),
        "b": Lost(["lost", "error"]),
        "c": Lost(["cancelled"]),
        "d": Lost(["lost"]),
    }
    _follow(futures, events, lambda *one: passed_on.append(one), lambda: None)
    outcomes = {sample: said["outcome"] for sample, said in passed_on}
    assert outcomes["a"] == {"state": "done"}
    assert outcomes["b"]["message"] == "on the cluster: no space left"
    assert outcomes["c"]["message"] == "on the cluster: the cluster has cancelled it"
    assert outcomes["d"] == {"state": "failed"}
    assert len(passed_on) == 4


def test_cancelling_stops_the_workers_within_half_a_second(
    folder: Path, tmp_path: Path, cluster: Cluster
) -> None:
    files = [str(folder / "s0.h5ad"), str(folder / "cells0.h5ad"), ""]
    sheet = write_sheet(tmp_path / "sheet.csv", [["a", *files, *ENDLESS.values()]], tuple(ENDLESS))
    running = Running("run", sheet, "-o", tmp_path / "out", "--dask", cluster.address)
    running.wait_for("a +started")
    workers = [psutil.Process(worker.pid) for worker in cluster.workers]
    wait_until(lambda: busy(workers), 60)
    start = time.monotonic()
    running.process.send_signal(signal.SIGINT)
    code, _ = running.end()
    assert code == 130
    assert time.monotonic() - start < allowed(1.5)
    assert "Cancelled." in running.said
    wait_until(lambda: not busy(workers), 10)
    assert not (tmp_path / "out").exists()


def busy(workers: list[psutil.Process]) -> bool:
    """Tell whether a worker computes just now."""
    return any(worker.cpu_percent(0.3) > 20 for worker in workers)


def wait_until(is_so: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_scheduler_that_does_not_answer_is_reported(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_spotmix.workflow.cohort.cluster._TIMEOUT", 0.5)
    sections = read_samplesheet(folder / "sheet.csv", tmp_path)
    with pytest.raises(InputError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        run_cohort(sections, tmp_path, dask="tcp://127.0.0.1:9")


def test_without_distributed_the_message_says_what_to_install(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r'pip install "napari-spotmix\[cluster\]"'):
        run_cohort(read_samplesheet(folder / "sheet.csv", tmp_path), tmp_path, dask="tcp://x:1")
