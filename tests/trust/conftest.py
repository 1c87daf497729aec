"""A small section, its reference, and a finished run of both."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from tests.cli.commands import spotmix
from tests.torture.sample import FAST, write_sample


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``spots.h5ad`` and ``cells.h5ad``."""
    return write_sample(tmp_path_factory.mktemp("sample"))


@pytest.fixture(scope="session")
def _finished(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("finished") / "results"
    done = spotmix("run", sample / "spots.h5ad", sample / "cells.h5ad", "-o", output, *FAST)
    assert done.returncode == 0, done.stderr
    return output


@pytest.fixture
def finished(_finished: Path, tmp_path: Path) -> Path:
    """The folder of a finished run, for this test alone."""
    return Path(shutil.copytree(_finished, tmp_path / "results"))


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """Let Ctrl-C reach the commands that are tested, also if the tests run in the background of a shell."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
