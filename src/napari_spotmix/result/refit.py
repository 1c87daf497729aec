"""A result that is solved again with another smoothness or without some cell types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_spotmix.base.errors import InputError
from napari_spotmix.base.progress import ProgressCallback
from napari_spotmix.base.text import count
from napari_spotmix.base.threads import Threads
from napari_spotmix.model.refit import RefitProblem
from napari_spotmix.model.solver.solve import Solution
from napari_spotmix.params import describe
from napari_spotmix.result.data import UNMATCHED, Result, over_all_spots
from napari_spotmix.result.provenance import Change

__all__ = ["refit"]


def refit(
    result: Result,
    lambda_c: float | None,
    without: str | Sequence[str],
    *,
    n_threads: int,
    on_progress: ProgressCallback,
) -> Result:
    """Solve again, as `Result.refit` describes."""
    without = (without,) if isinstance(without, str) else without
    nearby = _nearby_problem(result, lambda_c, without, n_threads)
    with Threads.of(n_threads) as threads:
        problem, solution = nearby.solved(
            tolerance=result.provenance.tolerance,
            max_sweeps=result.provenance.max_sweeps,
            threads=threads,
            on_progress=on_progress,
        )
    return _refitted(result, problem, solution, without)


def _nearby_problem(
    result: Result, lambda_c: float | None, without: Sequence[str], n_threads: int
) -> RefitProblem:
    if result.problem is None:
        raise InputError(
            "This result was read from a file, which does not hold what a refit needs. "
            "Run the deconvolution again."
        )
    known = ", ".join(result.cell_types)
    problems = [
        f"`without`: {name!r} is not a cell type of this result. Its cell types are {known}."
        for name in without
        if name not in result.cell_types
    ]
    if set(result.cell_types) <= set(without):
        problems.append("`without`: at least one cell type must be left.")
    given = {"lambda_c": lambda_c, "n_threads": n_threads}
    problems += [wrong for info in describe() if (wrong := info.problem(given.get(info.name, info.default)))]
    if problems:
        raise InputError(problems)
    problem = result.problem.only(_left(result, without)) if without else result.problem
    return problem if lambda_c is None else replace(problem, lambda_c=float(lambda_c))


def _left(result: Result, without: Sequence[str]) -> NDArray[np.int64]:
    return np.array([k for k, name in enumerate(result.cell_types) if name not in without], np.int64)


def _refitted(result: Result, problem: RefitProblem, solution: Solution, without: Sequence[str]) -> Result:
    left = _left(result, without)
    before = result.provenance.learned
    change = Change(problem.lambda_c, (*(before.refit.without if before.refit else ()), *without))
    learned = replace(
        before,
        lambda_c=problem.lambda_c,
        n_sweeps=solution.n_sweeps,
        violation=solution.violation,
        mean_explained=float(problem.abundances.sum(axis=1).mean()),
        rna_content=tuple(result.rna_content.iloc[left].tolist()),
        refit=change,
    )
    fitted = result.reasons.isin(["", UNMATCHED]).to_numpy()
    abundances, reasons = over_all_spots(
        problem.abundances, problem.spots, result.reasons.mask(fitted, ""), result.abundances.columns[left]
    )
    return replace(
        result,
        abundances=abundances,
        reasons=reasons,
        signatures=result.signatures.iloc[left],
        standard_errors=pd.DataFrame(),
        interval_table=pd.DataFrame(),
        misfit=pd.Series(dtype=float),
        residual_genes=pd.DataFrame(),
        provenance=replace(result.provenance, learned=learned, summary=_summary(problem, change)),
        notes=(*result.notes, _note(problem, without)),
        problem=problem,
        # These are of the former proportions.
        niches=None,
        region_comparison=pd.DataFrame(),
        # A type keeps its color if another is left out.
        chosen_colors=result.colors,
    )


def _summary(problem: RefitProblem, change: Change) -> str:
    n_spots, n_types = problem.abundances.shape
    size = f"{count(n_spots, 'spot')}, {count(n_types, 'cell type')}"
    text = f"{size}; solved again with smoothness {problem.lambda_c:.3g}"
    return f"{text} and without {', '.join(change.without)}." if change.without else f"{text}."


def _note(problem: RefitProblem, without: Sequence[str]) -> str:
    types = f", without {', '.join(without)}" if without else ""
    return f"Solved again with lambda_c {problem.lambda_c:.3g}{types}; weights and attention stay as fitted."
