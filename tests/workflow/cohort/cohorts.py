"""Small sections, and the command that runs them in processes of their own."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

from napari_spotmix import simulate

#: Never converges, so that there is time to cancel.
ENDLESS = {"tolerance": "1e-14", "max_sweeps": "100000000", "n_outer_iterations": "0", "lambda_c": "1000"}
OUTPUTS = ("spatial.h5ad", "proportions.csv", "recipe.toml")


def write_sections(folder: Path, n: int) -> None:
    """Write `n` sections of 150 spots, ``s0.h5ad`` and so on, with two references that share two types."""
    for number in range(n):
        tissue = simulate(
            n_spots=150, n_genes=120, n_cell_types=4, n_cells_per_type=25, image=False, random_state=number
        )
        tissue.spatial.write_h5ad(folder / f"s{number}.h5ad")
        if number < 2:
            tissue.reference.write_h5ad(folder / f"cells{number}.h5ad")


def write_sheet(path: Path, rows: list[list[str]], extra: tuple[str, ...] = ()) -> Path:
    lines = [["sample", "spatial", "reference", "condition", *extra], *rows]
    path.write_text("".join(",".join(line) + "\n" for line in lines), encoding="utf-8")
    return path


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "napari_spotmix.cli", *map(str, arguments)]


class Running:
    """A command whose words on stderr are read while it runs."""

    def __init__(self, *arguments: object) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stream:
            self.lines.extend(stream)

    def wait_for(self, words: str, seconds: float = 180) -> None:
        end = time.monotonic() + seconds
        while not re.search(words, self.said):
            assert time.monotonic() < end, f"it never said {words!r}: {self.said}"
            assert self.process.poll() is None, f"it ended: {self.said}"
            time.sleep(0.02)

    @property
    def said(self) -> str:
        return "".join(self.lines)

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self, seconds: float = 240) -> tuple[int, str]:
        """Wait for its end and return its code and what it said on stdout."""
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            out = stream.read()
        self.process.wait(seconds)
        self._listener.join(seconds)
        return self.process.returncode, out


def contents(output: Path) -> dict[str, bytes]:
    """Return the bytes of every file of a cohort that must not depend on how it was run."""
    names = [*OUTPUTS, "proportions.parquet"]
    files = [path for name in names for path in output.rglob(name) if ".spotmix-" not in str(path)]
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in files}
