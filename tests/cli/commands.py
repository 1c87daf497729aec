"""The command ``spotmix``: in this process, if that is enough, and in a process of its own."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from napari_spotmix.cli import main
from tests import warm

#: As a terminal of this width shows it, without colors.
COLUMNS = 100


@dataclass(frozen=True)
class Done:
    """Exit code and output of a command."""

    returncode: int
    stdout: str
    stderr: str


def spotmix(*arguments: object, cwd: Path | None = None, columns: int = COLUMNS) -> Done:
    """Run a command in this process, which has everything imported."""
    out, err = io.StringIO(), io.StringIO()
    environment = {"COLUMNS": str(columns), "NO_COLOR": "1"}
    code: object = 0
    with (
        redirect_stdout(out),
        redirect_stderr(err),
        chdir(cwd or Path.cwd()),
        mock.patch.dict(os.environ, environment),
        mock.patch("napari_spotmix.cli.leave", _leave),
    ):
        try:
            main(list(map(str, arguments)))
        except SystemExit as end:
            code = end.code
    return Done(code if isinstance(code, int) else int(code is not None), out.getvalue(), err.getvalue())


def _leave(code: int, words: str) -> None:
    """End the command, but not the process."""
    print(words, file=sys.stderr)
    raise SystemExit(code)


def command(*arguments: object) -> list[str]:
    """Return the words of a command for a process of its own."""
    script = Path(sys.executable).with_name("spotmix")
    start = [str(script)] if script.exists() else [sys.executable, "-m", "napari_spotmix.cli"]
    return [*start, *map(str, arguments)]


def spotmix_process(
    *arguments: object, cwd: Path | None = None, limits: Mapping[str, int] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, which has everything imported if this system can fork.

    `limits` are those of the process, as ``{"RLIMIT_FSIZE": 1024}``.
    """
    if not warm.IS_POSSIBLE:
        return fresh_process(*arguments, cwd=cwd, limits=limits)
    return warm.run(arguments, cwd=cwd or Path.cwd(), environment=_environment(), limits=limits or {})


def fresh_process(
    *arguments: object, cwd: Path | None = None, limits: Mapping[str, int] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, from the start of Python: as a user does, but slowly."""

    def limit() -> None:
        import resource

        for name, value in (limits or {}).items():
            resource.setrlimit(getattr(resource, name), (value, value))

    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        env=_environment(),
        cwd=cwd,
        check=False,
        timeout=240,
        preexec_fn=limit if limits else None,
    )


def _environment() -> dict[str, str]:
    return {**os.environ, "COLUMNS": str(COLUMNS), "NO_COLOR": "1"}
