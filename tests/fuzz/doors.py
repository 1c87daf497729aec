"""The doors that users have: commands, functions and what the window calls. Each ends as it should, or not.

A door ends well with a result, or with an `InputError` whose problems have at most 600 letters each. Anything
else is a fault: another exception, a warning of a library, letters on the terminal that are not ours.
"""

from __future__ import annotations

import importlib.util
import random
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from napari_spotmix import InputError, read_reference, read_regions, read_result, read_spatial
from napari_spotmix.base.errors import ConvergenceWarning
from napari_spotmix.base.text import LONGEST_MESSAGE
from napari_spotmix.io import close_files, read_image
from tests.cli.commands import spotmix
from tests.torture.sample import FAST

__all__ = ["REFUSED", "RESULT", "Door", "Fault", "command", "function"]

RESULT, REFUSED = "result", "refused"

#: Runs once, and returns what it says if it refuses its input, "" for a result; or raises.
Door = Callable[[], str]

_WARNING = re.compile(r"^.*:\d+: \w*Warning: .*$", re.MULTILINE)
#: Letters around a problem on the terminal: its number, and the name of its file.
_AROUND = 200


class Fault(Exception):
    """An end that no user should see."""


def command(*words: object) -> Door:
    """Return a door: a command line."""

    def run() -> str:
        done = spotmix(*words, columns=LONGEST_MESSAGE * 2)
        said = done.stdout + done.stderr
        if done.returncode not in (0, 1, 2):
            raise Fault(f"{words[0]} ends with {done.returncode}: {said[-500:]}")
        if done.returncode and not re.search(r"Error:|problem|failed|\u2502", said):
            raise Fault(f"{words[0]} fails without a word: {said[-500:]}")
        if "Traceback (most" in said:
            raise Fault(f"{words[0]} shows a traceback: {said[-500:]}")
        if leaked := _WARNING.search(said):
            raise Fault(f"{words[0]} shows a warning: {leaked[0][:300]}")
        longest = max((line for line in said.splitlines()), key=len, default="")
        if len(longest) > LONGEST_MESSAGE + _AROUND:
            raise Fault(f"{words[0]} has a line of {len(longest)} letters: {longest[:300]}")
        return said or " " if done.returncode else ""

    return run


def function(name: str, call: Callable[[], Any]) -> Door:
    """Return a door: a function of the public API, or one that the window calls."""

    def run() -> str:
        with warnings.catch_warnings(record=True) as caught:
            for kind in (UserWarning, RuntimeWarning, FutureWarning):  # what Python shows by default
                warnings.simplefilter("always", kind)
            try:
                call()
                said = ""
            except InputError as error:
                longest = max(error.problems, key=len)
                if len(longest) > LONGEST_MESSAGE:
                    raise Fault(f"{name} has a message of {len(longest)} letters: {longest}") from error
                said = str(error)
        seen = [
            one for one in caught if not issubclass(one.category, (ConvergenceWarning, DeprecationWarning))
        ]
        if seen:
            raise Fault(
                f"{name} warns: {seen[0].category.__name__}: {seen[0].message} ({seen[0].filename})"[:400]
            )
        return said

    return run


def of_spots(mutant: Path, sources: Path, moments: random.Random) -> Iterator[Door]:
    """Yield what is done with spots."""
    cells = sources / "cells.h5ad"
    yield command("check", mutant, cells)
    backed = moments.random() < 0.5
    yield function("read_spatial", lambda: close_files(read_spatial(mutant, backed=backed)))
    if moments.random() < 0.3 and importlib.util.find_spec("napari"):
        yield function("view", lambda: _viewed_tissue(mutant))
    yield from _run(mutant, cells, moments)


def of_reference(mutant: Path, sources: Path, moments: random.Random) -> Iterator[Door]:
    """Yield what is done with a reference."""
    yield command("check", sources / "plain.h5ad", mutant)
    backed = moments.random() < 0.5
    yield function("read_reference", lambda: close_files(read_reference(mutant, backed=backed)))
    yield from _run(sources / "plain.h5ad", mutant, moments)


def of_image(mutant: Path, sources: Path, moments: random.Random) -> Iterator[Door]:
    """Yield what is done with an image."""
    yield function("read_image", lambda: read_image(mutant).close())
    yield function("read_spatial", lambda: read_spatial(sources / "plain.h5ad", image=mutant))
    if moments.random() < 0.3:
        yield from _run(sources / "plain.h5ad", sources / "cells.h5ad", moments, "--image", mutant)


def _run(spots: Path, cells: Path, moments: random.Random, *options: object) -> Iterator[Door]:
    """Yield a run, and what is done with its result."""
    output = _output()
    yield function("run", lambda: _checked_run(spots, cells, output, options))
    if (output / "spatial.h5ad").exists() and moments.random() < 0.3:
        yield from _of_result(output, moments)


def _checked_run(spots: Path, cells: Path, output: Path, options: tuple[object, ...]) -> None:
    """Run, and check that what is written is a result: proportions from 0 to 1 that sum to 1, or none."""
    said = command("run", spots, cells, "-o", output, "--no-report", *FAST, *options)()
    if said:
        if output.exists():
            raise Fault("run was refused, but has written")
        raise InputError(said)
    table = pd.read_csv(output / "proportions.csv", index_col=0).to_numpy()
    rows = table[~np.isnan(table).any(axis=1)]
    if not len(rows) or (rows < 0).any() or np.abs(rows.sum(axis=1) - 1).max() > 1e-4:
        raise Fault(
            f"run has written proportions that are none: {rows.min() if len(rows) else 'all are missing'}"
        )


def of_result(mutant: Path, sources: Path, moments: random.Random) -> Iterator[Door]:
    """Yield what is done with a result that was changed."""
    backed = moments.random() < 0.3
    yield function("read_result", lambda: read_result(mutant, backed=backed))
    yield command("regions", mutant)
    yield from _of_result(mutant, moments)
    yield command("rerun", mutant, "-o", _output()) if moments.random() < 0.1 else command("niches", mutant)


def _of_result(result: Path, moments: random.Random) -> Iterator[Door]:
    """Yield some of what is done with a result."""
    target = _output()
    target.mkdir()
    exports = ("a.csv", "a.parquet", "a.geojson")
    found = [
        command("export", result, "--to", target / moments.choice(exports)),
        command(
            "figure",
            result,
            "--show",
            moments.choice(("dominant", "unexplained", "counts", "pies")),
            "--dpi",
            40,
            "-o",
            target / moments.choice(("a.png", "a.svg", "a.pdf")),
        ),
        command("report", result, "-o", target / "a.html"),
        command("niches", result, "--keep"),
    ]
    if importlib.util.find_spec("napari"):
        found.append(function("view", lambda: _viewed_result(result)))
    yield from moments.sample(found, 3)


def of_regions(mutant: Path, sources: Path, moments: random.Random) -> Iterator[Door]:
    """Yield what is done with outlines."""
    yield function("read_regions", lambda: read_regions(mutant))
    yield command("regions", sources / "result", "--regions", mutant)


def of_recipe(mutant: Path, sources: Path, moments: random.Random) -> Iterator[Door]:
    """Yield what is done with a recipe."""
    output = _output()
    yield command("rerun", mutant, "-o", output)
    yield command("export", mutant, "--to", _output().with_suffix(".csv"))


def of_sheet(mutant: Path, sources: Path, moments: random.Random) -> Iterator[Door]:
    """Yield what is done with a samplesheet."""
    yield command("check", mutant)
    if moments.random() < 0.2:
        yield command("run", mutant, "-o", _output(), "--at-once", 1, "--no-report")


def _output() -> Path:
    """Return a path in the current folder that does not exist."""
    at = 0
    while (path := Path(f"output{at}").absolute()).exists() or path.with_suffix(".csv").exists():
        at += 1
    return path


def _viewed_tissue(path: Path) -> None:
    """Do what the window does with spots, up to their layers."""
    from napari_spotmix.ui._reader import get_reader, read_tissue

    if get_reader(str(path)) is not None:
        read_tissue(str(path))


def _viewed_result(path: Path) -> None:
    """Do what the window does with a result, up to its layers."""
    from napari_spotmix.ui.canvas.layers import proportion_layer
    from napari_spotmix.ui.state.prepare import prepare

    result = read_result(path)
    prepare(result)
    proportion_layer(result, result.cell_types[0])
