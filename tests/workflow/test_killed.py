"""What is left of a run that is killed: no broken file, no mixture, nothing that is in the way of another."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import tomllib
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest

from napari_spotmix.base.errors import ReadError
from napari_spotmix.io import OUTPUTS, output_problems
from napari_spotmix.io.results import REPORT, check_complete
from napari_spotmix.params import Parameters
from napari_spotmix.result import read_result
from napari_spotmix.simulation.simulate import simulate
from napari_spotmix.workflow.run import run
from napari_spotmix.workflow.spec import RunSpec

pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork"), reason="needs processes that can be killed as on POSIX"
)

#: Runs once to have everything compiled, then in forked processes, each killed after a part of that time.
KILL_OFTEN = """
import os, random, signal, sys, time
from pathlib import Path
from napari_spotmix.params import Parameters
from napari_spotmix.workflow.run import run
from napari_spotmix.workflow.spec import RunSpec

spots, cells, base, number = *map(Path, sys.argv[1:4]), int(sys.argv[4])

def spec(output, lambda_c):
    return RunSpec(spots, cells, base / output, parameters=Parameters(lambda_c=lambda_c, n_threads=1))

run(spec("first", 1.0))
begin = time.monotonic()
run(spec("second", 1.0))
length = time.monotonic() - begin
moments = random.Random(0)
for at in range(number):
    output = "first" if at % 2 else f"new {at}"
    child = os.fork()
    if not child:
        run(spec(output, 2.0))
        os._exit(0)
    time.sleep(length * (at + moments.random()) / number)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""

#: Writes a result, over another and into new folders, and is killed after the first so many moves.
KILL_WHILE_MOVING = """
import os, signal, sys
from pathlib import Path
from napari_spotmix import deconvolve, read_reference, read_spatial
from napari_spotmix.io import make_recipe, write_outputs

spots, cells, base = map(Path, sys.argv[1:4])
data = read_spatial(spots), read_reference(cells)
replace = Path.replace

def write(output, lambda_c):
    result = deconvolve(*data, lambda_c=lambda_c, n_outer_iterations=0)
    recipe = make_recipe({}, result.parameters)
    write_outputs(output, adata=result.to_anndata(), proportions=result.proportions, recipe=recipe)

def killed_after(moves):
    def counted(self, target):
        nonlocal moves
        if moves == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        moves -= 1
        return replace(self, target)
    return counted

for moves in range(3):
    write(base / f"old {moves}", 0.1)
    for name in ("old", "new"):
        child = os.fork()
        if not child:
            Path.replace = killed_after(moves)
            write(base / f"{name} {moves}", 5.0)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("files")
    tissue = simulate(n_spots=60, n_genes=80, n_cell_types=3, n_cells_per_type=20, image=False)
    tissue.spatial.write_h5ad(folder / "spots.h5ad")
    tissue.reference.write_h5ad(folder / "cells.h5ad")
    return folder / "spots.h5ad", folder / "cells.h5ad"


def python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)


def assert_complete_or_refused(folder: Path) -> None:
    """Every file can be read, and a folder that holds a part of a run is refused with the right message."""
    found = {path.name for path in folder.iterdir()} & set(OUTPUTS)
    if "recipe.toml" in found:
        tomllib.loads((folder / "recipe.toml").read_text(encoding="utf-8"))
    if "proportions.csv" in found:
        assert len(pd.read_csv(folder / "proportions.csv")) == 60
    assert found in (set(), set(OUTPUTS)) or "recipe.toml" in found
    with suppress(ReadError):  # a part of a run is refused
        check_complete(folder)
        if found:
            assert len(read_result(folder).proportions) == 60


def test_ten_kills_leave_no_broken_file_and_the_folder_can_be_used_again(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    done = python(KILL_OFTEN, *files, tmp_path, 10)
    assert done.returncode == 0, done.stderr
    for folder in tmp_path.iterdir():
        if not folder.name.startswith("."):
            assert_complete_or_refused(folder)
    for name in ("first", "new 0", "new 8"):
        assert not output_problems(tmp_path / name)
        run(RunSpec(*files, tmp_path / name, parameters=Parameters(lambda_c=2.0)))
        assert {path.name for path in (tmp_path / name).iterdir()} == {*OUTPUTS, REPORT}
        expected = (tmp_path / "first" / "proportions.csv").read_bytes()
        assert (tmp_path / name / "proportions.csv").read_bytes() == expected
    assert not list(tmp_path.rglob(".spotmix-*")), "what the killed runs have left there is gone"


def test_a_run_killed_between_two_moves_is_never_taken_for_whole(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    done = python(KILL_WHILE_MOVING, *files, tmp_path)
    assert done.returncode == 0, done.stderr
    assert read_result(tmp_path / "old 0").parameters["given"]["lambda_c"] == 0.1
    assert not list((tmp_path / "new 0").iterdir())
    for name in ("old 1", "old 2", "new 1", "new 2"):
        with pytest.raises(ReadError, match="a run was killed while it wrote its files"):
            read_result(tmp_path / name)
        assert not output_problems(tmp_path / name)
    for name in ("old 1", "new 2"):
        parameters = Parameters(lambda_c=5.0, n_outer_iterations=0)
        run(RunSpec(*files, tmp_path / name, parameters=parameters))
        assert read_result(tmp_path / name).parameters["given"]["lambda_c"] == 5.0
        assert {path.name for path in (tmp_path / name).iterdir()} == {*OUTPUTS, REPORT}
    assert not list(tmp_path.glob(".spotmix-*"))
