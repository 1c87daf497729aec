"""Diagnose the files of spatial data and reference."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_spotmix.base.errors import attempted
from napari_spotmix.base.keys import CELL_TYPE
from napari_spotmix.base.progress import ProgressCallback, silent
from napari_spotmix.dataset.diagnostics.both import diagnose
from napari_spotmix.dataset.finding import PROBLEM, Finding
from napari_spotmix.dataset.fixes import apply_fixes, parse_fixes
from napari_spotmix.io import Reading, close_files, output_problems, read_reference, read_spatial

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["diagnose_files"]


def diagnose_files(
    spatial: str | Path,
    reference: str | Path | Sequence[str | Path],
    *,
    reading: Reading | None = None,
    labels: str | Path | None = None,
    cell_type_key: str = CELL_TYPE,
    fixes: Sequence[str] = (),
    output: str | Path | None = None,
    on_progress: ProgressCallback = silent,
    **settings: Any,
) -> list[Finding]:
    """Read both as a run does, and return everything that is worth knowing before it; raises no InputError.

    Parameters
    ----------
    spatial, reference, labels
        As `read_spatial` and `read_reference` take them. Counts of the spots stay on disk.
    reading : Reading, optional
        What `read_spatial` takes besides the path.
    cell_type_key, **settings
        As `diagnose` takes them.
    fixes : sequence of str, optional
        Applied first.
    output : path, optional
        Folder for the results, to check that they can be written.

    Returns
    -------
    list of Finding
        Problems first, among them what cannot be read.

    Examples
    --------
    >>> for one in diagnose_files("no/such/outs", "cells.h5ad"):
    ...     print(one.level, one.message)
    problem no/such/outs: does not exist. Check the spelling of the path.
    problem cells.h5ad: does not exist. Check the spelling of the path.
    """
    references = [reference] if isinstance(reference, (str, Path)) else list(reference)
    inputs = {"spatial": spatial, **{f"reference_{n}": path for n, path in enumerate(references, start=1)}}
    inputs |= {} if labels is None else {"labels": labels}
    problems = [] if output is None else output_problems(output, inputs)
    wanted = attempted(problems, lambda: parse_fixes(fixes))
    with ExitStack() as files:

        def read_spots() -> AnnData:
            how = reading or Reading()
            found = read_spatial(spatial, **asdict(how), backed=True, on_progress=on_progress)
            files.callback(close_files, found)
            return found

        def read_cells() -> AnnData:
            found = read_reference(
                references, cell_type_key=cell_type_key, labels=labels, backed=True, on_progress=on_progress
            )
            files.callback(close_files, found)
            return found

        def diagnose_both() -> list[Finding]:
            both = apply_fixes(tissue, cells, wanted or (), cell_type_key=cell_type_key)
            return diagnose(*both, cell_type_key=cell_type_key, on_progress=on_progress, **settings)

        tissue, cells = attempted(problems, read_spots), attempted(problems, read_cells)
        can_be_read = tissue is not None and cells is not None
        found = (attempted(problems, diagnose_both) or []) if can_be_read else []
    return [*(Finding(PROBLEM, problem) for problem in problems), *found]
