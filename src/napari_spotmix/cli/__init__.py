"""The command ``spotmix``: read, deconvolve, write; and show what was written.

One module for each command. Nothing heavy is imported before it is needed: ``spotmix --help`` and refusals
of the command line load neither NumPy nor napari.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from napari_spotmix.cli._ending import WRONG_INPUT, ended_by_signals, leave, say

if TYPE_CHECKING:
    from cyclopts import App

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code.

    0: done. 1: some sections of a samplesheet failed. 2: wrong input, all of it reported. 130: cancelled by
    Ctrl-C (143: ended by another program), with nothing left behind.
    """
    with ended_by_signals():  # before anything else is imported
        try:
            _do(arguments)
        except OSError as error:  # files have sentences of their own; mostly this is standard output
            from napari_spotmix.base.text import shortened

            what = shortened(str(error.filename or "the output of the command"))
            leave(WRONG_INPUT, f"Error: {what}: {error.strerror or error}. Check the disk and the path.")
        except MemoryError:
            from napari_spotmix.base.errors import NO_MEMORY

            leave(WRONG_INPUT, f"Error: {NO_MEMORY}")


def _do(arguments: Sequence[str] | None) -> None:
    from cyclopts import CycloptsError

    from napari_spotmix.base.errors import InputError
    from napari_spotmix.cli._options import as_options, with_current_options
    from napari_spotmix.cli._terminal import without_afterthoughts

    app = _app()
    words = with_current_options(sys.argv[1:] if arguments is None else arguments)
    try:
        with without_afterthoughts():
            app(words, exit_on_error=False, result_action="return_value")
    except CycloptsError as error:  # cyclopts has printed what is wrong
        say(f"See {' '.join(['spotmix', *(error.command_chain or ()), '--help'])}", sys.stderr)
        sys.exit(WRONG_INPUT)
    except InputError as error:
        said = f"Error: {as_options(str(error))}"
        if error.__cause__ is not None:
            # HDF5 tries again at the end to write what it could not, and crashes if the disk is full.
            leave(WRONG_INPUT, said)
        say(said, sys.stderr)
        sys.exit(WRONG_INPUT)


def _app() -> App:
    from cyclopts import App

    from napari_spotmix.cli._check import check
    from napari_spotmix.cli._export import export
    from napari_spotmix.cli._figure import figure
    from napari_spotmix.cli._niches import niches
    from napari_spotmix.cli._regions import regions
    from napari_spotmix.cli._report import report
    from napari_spotmix.cli._rerun import rerun
    from napari_spotmix.cli._run import run_command
    from napari_spotmix.cli._view import demo, view
    from napari_spotmix.cli._warm_up import warm_up

    app = App(
        name="spotmix",
        help="Estimate the proportion of each cell type in every spot of a tissue section, and show it "
        "in napari.\n\n"
        "New here? `spotmix demo` shows a finished example; `spotmix run --help` explains how to run your "
        "own data.",
        help_format="markdown",
        version=_version,
    )
    app.command(run_command(), name="run")
    app.command(rerun)
    app.command(check)
    app.command(demo)
    app.command(view)
    app.command(figure)
    app.command(regions)
    app.command(niches)
    app.command(report)
    app.command(export)
    app.command(warm_up)
    return app


def _version() -> str:
    from napari_spotmix import __version__

    return __version__
