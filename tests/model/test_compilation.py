"""Kernels are compiled once, in the background, and a run waits for those that it needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from time import monotonic, sleep

import pytest

from napari_spotmix import Cancelled
from napari_spotmix.base.progress import Progress
from napari_spotmix.model import compilation
from napari_spotmix.model.compilation import _Compilation, mark
from tests.clock import allowed

ROOT = Path(__file__).parents[2]
NOTHING_COMPILED = os.environ.get("NUMBA_DISABLE_JIT", "0") != "0"
needs_compiler = pytest.mark.skipif(NOTHING_COMPILED, reason="NUMBA_DISABLE_JIT is set: nothing is compiled")


def python(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", dedent(code)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_compiler
@pytest.mark.skipif(sys.platform == "win32", reason="the list is that of platforms with 64-bit longs")
def test_the_list_holds_what_fits_call(tmp_path: Path) -> None:
    """If this fails, run ``.ci/record_signatures.py``."""
    script = ROOT / ".ci" / "record_signatures.py"
    subprocess.run([sys.executable, "-W", "ignore", script, tmp_path / "found.json"], check=True)
    listed = ROOT / "src" / "napari_spotmix" / "model" / "kernels" / "signatures.json"
    assert json.loads((tmp_path / "found.json").read_text()) == json.loads(listed.read_text())


#: Two kernels that are compiled in a second instead of all.
FEW = """
    import json
    from pathlib import Path
    from napari_spotmix.model import compilation
    from napari_spotmix.model.kernels import ahead
    every_run, some_runs = json.loads(ahead.SIGNATURES.read_text())
    ahead.SIGNATURES = Path({path!r})
    few = {{"counts.row_totals": every_run["counts.row_totals"]}}
    more = {{"sweep.plane_sums": some_runs["sweep.plane_sums"]}}
    ahead.SIGNATURES.write_text(json.dumps([few, more]))
"""


@needs_compiler
def test_what_is_compiled_ahead_is_not_compiled_again(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    few = dedent(FEW.format(path=str(tmp_path / "few.json")))
    assert python(few + "ahead.main()", NUMBA_CACHE_DIR=str(cache)) == "0 1\n1 1\n"
    assert [path.name.split(".")[1].split("-")[0] for path in sorted(cache.rglob("*.nbi"))] == [
        "row_totals",
        "plane_sums",
    ]
    assert (
        python(few + "print(compilation.mark().exists()); ahead.main()", NUMBA_CACHE_DIR=str(cache))
        == "True\n"
    )
    code = """
        from numba import typeof
        kernel = ahead.all_kernels()["counts.row_totals"]
        [types] = every_run["counts.row_totals"]
        kernel.compile(tuple(typeof(ahead._example(one)) for one in types))
        print(sum(kernel.stats.cache_hits.values()), sum(kernel.stats.cache_misses.values()))
    """
    assert python(few + dedent(code), NUMBA_CACHE_DIR=str(cache)) == "1 0\n"


def test_nothing_begins_where_all_is_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "0")
    compilation.mark_done()
    one = _Compilation()
    one.begin()
    assert one._process is None
    one.wait(lambda _: pytest.fail("there is nothing to wait for"), False)


def test_the_mark_of_other_versions_goes_and_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    for name in ("napari-spotmix-compiled-0123", "compiled-mine"):
        (tmp_path / name).touch()
    compilation.mark_done()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["compiled-mine", mark().name]


def test_a_run_waits_for_what_it_needs_and_can_be_cancelled() -> None:
    one = _Compilation()
    code = """
        import sys, time
        print(1, 2, flush=True)
        sys.stdin.readline()
        print(2, 2, flush=True)
        time.sleep(99)
    """
    with subprocess.Popen(
        [sys.executable, "-c", dedent(code)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        one.follow(process)
        seen: list[Progress] = []

        def cancel(progress: Progress) -> None:
            seen.append(progress)
            if progress.step:
                raise Cancelled

        with pytest.raises(Cancelled):
            one.wait(cancel, False)
        assert seen[-1] == Progress("Preparing, once after installation", 1, 2)
        assert process.poll() is None
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        begin = monotonic()
        one.wait(seen.append, False)  # type: ignore[arg-type]
        assert monotonic() - begin < allowed(20)
        assert process.poll() is None  # it goes on with what only some runs need
        process.kill()
        one.wait(seen.append, True)  # type: ignore[arg-type]


@needs_compiler
@pytest.mark.skipif(sys.platform == "win32", reason="processes are listed in another way")
def test_compiling_in_the_background_ends_with_the_process_that_began_it(tmp_path: Path) -> None:
    code = """
        from time import sleep
        from napari_spotmix.model import compilation
        compilation.begin_to_compile()
        process = compilation._COMPILATION._process
        while not compilation._COMPILATION._n_all:  # the compiler is imported, and kernels are listed
            sleep(0.05)
        print(process.pid)
    """
    group = int(python(code, NUMBA_CACHE_DIR=str(tmp_path)))
    end = monotonic() + allowed(20)
    while monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        sleep(0.05)
    pytest.fail("a process that compiles is still there")
