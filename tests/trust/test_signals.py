"""SIGINT and SIGTERM end the command at any moment with 130 or 143, without a traceback or files left."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.commands import command
from tests.clock import allowed

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals as on Linux and macOS")
SIGNALS = (signal.SIGINT, signal.SIGTERM)

#: Begins to write a store in a thread that goes on after a cancel, and ends as a cancelled command does.
GOES_ON_WRITING = """
import sys, threading, time
from concurrent.futures import Future
from pathlib import Path
from napari_spotmix.base.ending import end_process
from napari_spotmix.base.unfinished import removed_when_done

folder = Path(sys.argv[1])
removed_when_done(folder, Future())

def write():
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "part").write_text("x")

for _ in range(4):
    threading.Thread(target=write, daemon=True).start()
time.sleep(0.3)
end_process(130)
"""


def ended(process: subprocess.Popen[str], number: int) -> tuple[int, str]:
    process.send_signal(number)
    words = process.communicate(timeout=60)[1]
    return process.returncode, words


def is_code(code: int, number: int) -> bool:
    """A shell shows both as 128 plus the number: our exit code, and the end before Python has started."""
    return code in (128 + number, -number)


def ready(process: subprocess.Popen[str]) -> None:
    """Wait until the handlers are there, which is when the first line of the program runs."""
    caught = 0
    while not caught and process.poll() is None:
        text = Path(f"/proc/{process.pid}/status").read_text()
        caught = int(text.split("SigCgt:")[1].split()[0], 16) & (1 << (signal.SIGTERM - 1))
        time.sleep(0.0005)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to see the handlers")
@pytest.mark.parametrize("number", SIGNALS)
def test_signals_end_the_command_from_the_first_line_on(number: int, tmp_path: Path) -> None:
    delays = random.Random(int(number))
    for _ in range(6):
        words = command("run", "missing", "cells", "-o", tmp_path / "out")
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        ready(process)
        time.sleep(delays.uniform(0, 0.12))
        code, said = ended(process, number)
        assert code in (128 + number, 2), said
        assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_at_once_is_never_success(number: int, tmp_path: Path) -> None:
    words = command("run", "missing", "cells", "-o", tmp_path / "out")
    for delay in (0, 0.002, 0.005):
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        time.sleep(delay)
        code, _ = ended(process, number)
        assert is_code(code, number)


def test_a_program_that_imports_the_package_keeps_its_handlers() -> None:
    code = (
        "import signal; before = [signal.getsignal(n) for n in (2, 15)]\n"
        "import napari_spotmix, napari_spotmix.cli\n"
        "assert [signal.getsignal(n) for n in (2, 15)] == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_handlers_are_as_before_after_a_command_in_this_process() -> None:
    from tests.cli.commands import spotmix

    before = [signal.getsignal(number) for number in SIGNALS]
    spotmix("--version")
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_nothing_is_left_though_a_library_goes_on_writing(tmp_path: Path) -> None:
    begin = time.monotonic()
    for at in range(5):
        folder = tmp_path / f".spotmix-{at}"
        code = subprocess.run([sys.executable, "-c", GOES_ON_WRITING, folder], check=False).returncode
        assert code == 130
        assert list(tmp_path.iterdir()) == []
    assert time.monotonic() - begin < allowed(10)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to see the handlers")
@pytest.mark.parametrize("number", SIGNALS)
def test_a_second_signal_changes_nothing(number: int, tmp_path: Path) -> None:
    words = command("run", "missing", "cells", "-o", tmp_path / "out")
    for between in (0, 0.001, 0.01):
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        ready(process)
        process.send_signal(number)
        time.sleep(between)
        code, said = ended(process, number)
        assert code == 128 + number, said
        assert "Traceback" not in said
