"""Commands in processes that are forked from one in which everything is imported already.

Starting Python, importing what a command needs and loading compiled kernels takes three seconds of a core.
Most tests need less than one for their work. A forked process is a process of its own all the same: with its
environment, folder, limits, output and end. Tests of the start itself (signals during the imports, a
terminal, what is loaded) need a fresh process, see `tests.cli.commands`.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from typing import Any

__all__ = ["IS_POSSIBLE", "run"]

#: macOS can fork, but its frameworks may crash after it.
IS_POSSIBLE = sys.platform == "linux"

_servers: list[_Server] = []


def run(
    arguments: Sequence[object],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    limits: Mapping[str, int],
    timeout: float = 240,
) -> subprocess.CompletedProcess[str]:
    """Run the command ``spotmix`` to its end, as ``subprocess.run`` does; standard input is empty.

    Parameters
    ----------
    arguments : sequence
        The words after ``spotmix``.
    cwd : Path
    environment : mapping
        All its variables. Those that libraries read while they are imported do nothing.
    limits : mapping
        Limits of the process, as ``{"RLIMIT_FSIZE": 1024}``.
    timeout : float
        Seconds.
    """
    words = list(map(str, arguments))
    with tempfile.TemporaryDirectory() as name:
        out, err = Path(name, "out"), Path(name, "err")
        out.touch()
        err.touch()
        order = {
            "words": words,
            "cwd": str(cwd),
            "environment": dict(environment),
            "limits": dict(limits),
            "streams": [os.devnull, str(out), str(err)],
        }
        code = _server().answer(order, timeout)
        return subprocess.CompletedProcess(["spotmix", *words], code, out.read_text(), err.read_text())


def _server() -> _Server:
    """Return the process that forks, which is started with the first command."""
    if not _servers:
        _servers.append(_Server())
    return _servers[0]


class _Server:
    """A process that takes orders line by line, and answers with exit codes."""

    def __init__(self) -> None:
        # In a session of its own: what it forks is ended with it.
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def answer(self, order: Mapping[str, Any], timeout: float) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            if not select.select([self._process.stdout], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(order["words"], timeout)
            return int(self._process.stdout.readline())
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it, and what it has forked."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with suppress(BrokenPipeError):
            self._process.communicate()
        _servers.remove(self)


@atexit.register
def _end() -> None:
    for server in [*_servers]:
        server.stop()


# ------------------------------------------------------------------------------- in the process that forks


def _serve() -> None:
    """Fork a process for each order. Without more orders, or without those who give them, it ends."""
    _warm_up()
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if not child:
            break
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    else:
        return
    _become(order)


def _become(order: Mapping[str, Any]) -> None:
    """Be the process of a command; that ends as any Python does."""
    import resource

    from napari_spotmix.cli import main

    for number, path in enumerate(order["streams"]):
        stream = os.open(path, os.O_RDWR)
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["environment"])
    for name, value in order["limits"].items():
        resource.setrlimit(getattr(resource, name), (value, value))
    sys.argv[:] = ["spotmix", *order["words"]]
    main()


def _warm_up() -> None:
    """Load what commands load, by a whole run, and keep nothing alive that must not be forked."""
    import gc

    from napari_spotmix import simulate
    from napari_spotmix.cli import main
    from napari_spotmix.io.readers import safety
    from napari_spotmix.output import exporters, figure  # noqa: F401

    tissue = simulate(n_spots=60, n_genes=80, n_cell_types=3, n_cells_per_type=20, image=False)
    with tempfile.TemporaryDirectory() as name, redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        files = [f"{name}/spots.h5ad", f"{name}/cells.h5ad"]
        tissue.spatial.write_h5ad(files[0])
        tissue.reference.write_h5ad(files[1])
        main(["run", *files, "-o", f"{name}/out", "--threads", "1"])
    safety._end()
    safety._found.clear()
    assert threading.active_count() == 1, "a thread is lost in what is forked"
    gc.freeze()


if __name__ == "__main__":
    _serve()
