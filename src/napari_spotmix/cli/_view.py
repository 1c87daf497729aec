"""``spotmix demo`` and ``spotmix view``, which open a window."""

from __future__ import annotations

import importlib.util
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from napari_spotmix.base.errors import InputError, ReadError

__all__ = ["demo", "view"]

#: At most so many sections are named if one has to be chosen.
MOST_SHOWN = 12


def demo(
    *,
    screenshot: Annotated[
        Path | None, Parameter(help="Save a picture of the window to this PNG file, and close the window.")
    ] = None,
) -> None:
    """Open napari with a simulated tissue that is already deconvolved.

    Click a spot to see its composition, and a cell type in the list to see its map.
    Needs no files.

    For example:

        spotmix demo

    Parameters
    ----------
    screenshot
        Where to write the picture.
    """
    _check_screenshot(screenshot)
    _check_viewer()
    from napari_spotmix.ui.demo import run_demo

    run_demo(screenshot)


def view(
    directory: Annotated[
        Path,
        Parameter(help="The folder that was the `--output` of `spotmix run`, or of one of its sections."),
    ],
) -> None:
    """Open the results of `spotmix run` in napari.

    For example:

        spotmix view results

    Parameters
    ----------
    directory
        Folder of a finished run, or its ``spatial.h5ad``.
    """
    if directory.name == "spatial.h5ad" and directory.is_file():
        directory = directory.absolute().parent
    if not (directory / "spatial.h5ad").is_file():
        raise ReadError(directory, _why_not(directory))
    _check_viewer()
    from napari_spotmix.ui.demo import view as open_results

    open_results(directory)


def _why_not(directory: Path) -> str:
    from napari_spotmix.workflow.cohort.joint import samples_of

    folders = list(samples_of(directory).values())
    if not folders:
        return "is not the folder of a finished run: it holds no `spatial.h5ad`. Make one with `spotmix run`."
    lines = [f"  spotmix view {shlex.quote(str(folder))}" for folder in folders[:MOST_SHOWN]]
    rest = len(folders) - MOST_SHOWN
    more = [f"  and {rest} more"] if rest > 0 else []
    return "\n".join(["holds the results of many sections. Choose one of them:", *lines, *more])


def _check_screenshot(path: Path | None) -> None:
    if path is not None and path.is_dir():
        raise InputError(f"`--screenshot`: {path} is a folder. Give the name of a PNG file.")
    if path is not None and not path.absolute().parent.is_dir():
        raise InputError(
            f"`--screenshot`: the folder {path.absolute().parent} does not exist. Create it first."
        )


def _check_viewer() -> None:
    """Report what is missing to open a window, before napari itself fails."""
    if not any(_is_installed(name) for name in ("PyQt6", "PySide6", "PyQt5", "PySide2")):
        raise InputError(
            "napari needs a Qt library to open a window, and none is installed. "
            'Install one with `pip install "napari-spotmix[all]"`.'
        )
    has_display = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"))
    if sys.platform.startswith("linux") and not has_display:
        raise InputError(
            "There is no display to open a window on (DISPLAY is not set). "
            "On a server put `xvfb-run -a` before the command, for example "
            "`xvfb-run -a spotmix demo --screenshot demo.png`."
        )


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ValueError:  # what Python raises for a module that is blocked
        return False
