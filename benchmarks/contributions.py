"""What each step adds to the accuracy, how much chance decides, and how near learning comes to the best."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from known import KnownSet, geometric_mean
from napari_spotmix import deconvolve
from tables import Table

#: From plain least squares to the defaults: each step switches one more part on.
_POISSON: dict[str, Any] = {"cell_variation": 0.0, "platform_effect": "off", "lambda_c": 0.0, "share": "rna"}
STEPS: dict[str, dict[str, Any]] = {
    "least squares": {"weights": "none", "lambda_c": 0.0, "share": "rna"},
    "noise of counting": _POISSON,
    "+ within-type variability": {"platform_effect": "off", "lambda_c": 0.0, "share": "rna"},
    "+ platform effect": {"lambda_c": 0.0, "share": "rna"},
    "+ shares of cells": {"lambda_c": 0.0},
    "+ smoothing": {"attention": False},
    "+ attention": {},
}
SEEDS = (0, 1, 2)
#: Of the grid that the truth chooses from.
STRENGTHS, DECAYS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0), (0.1, 0.3, 1.0)


def steps(sets: list[KnownSet]) -> Table:
    """Return the RMSE after each step, and what the step changes on the geometric mean."""
    table = pd.DataFrame({one.name: {step: one.error(**STEPS[step]) for step in STEPS} for one in sets}).T
    mean = table.apply(geometric_mean)
    table.loc["geometric mean"] = mean
    table.loc["over the step before"] = mean / mean.shift()
    return Table("ablation", "RMSE with one part after the other; the last are the defaults:", table)


def seeds(sets: list[KnownSet]) -> Table:
    """Return the RMSE of some seeds, and in how many spots the dominant type changes."""
    table = pd.DataFrame({one.name: _by_seed(one) for one in sets}).T
    table.loc["geometric mean"] = table[list(SEEDS)].apply(geometric_mean)
    table.insert(
        len(SEEDS), "largest / smallest", table[list(SEEDS)].max(axis=1) / table[list(SEEDS)].min(axis=1)
    )
    return Table(
        "seeds", "RMSE by seed, and the share of spots whose dominant type is not that of seed 0:", table
    )


def _by_seed(one: KnownSet) -> dict[Any, float]:
    shares = {seed: one.deconvolve(random_state=seed).proportions for seed in SEEDS}
    errors = {seed: one.score(shares[seed], one.truth)["rmse"] for seed in SEEDS}
    dominant = {seed: shares[seed].to_numpy().argmax(axis=1) for seed in SEEDS}
    changed = {f"changed, {seed}": float((dominant[seed] != dominant[0]).mean()) for seed in SEEDS[1:]}
    return errors | changed


def orders(sets: list[KnownSet]) -> Table:
    """Return how far proportions move if spots, genes, cells and cell types come in another order."""
    table = pd.DataFrame({one.name: {"largest change": _moved(one)} for one in sets}).T
    return Table(
        "order", "Largest change of a proportion in another order of all rows and columns:", table, 9
    )


def _moved(one: KnownSet) -> float:
    rng, key = np.random.default_rng(0), "cell_type"
    spatial, cells = (
        data[rng.permutation(data.n_obs)][:, rng.permutation(data.n_vars)].copy()
        for data in (one.spatial, one.reference)
    )
    names = cells.obs[key].astype(str)
    cells.obs[key] = pd.Categorical(names, categories=rng.permutation(names.unique()))
    plain = one.deconvolve().proportions
    moved = deconvolve(spatial, cells, cell_type_key=key).proportions
    return float((moved.loc[plain.index, plain.columns] - plain).abs().max(axis=None))


def grid(sets: list[KnownSet]) -> Table:
    """Return what is learned beside no smoothing and the best of a grid that the truth chose."""
    table = pd.DataFrame({one.name: _beside_grid(one) for one in sets}).T
    ratios = ["learned / best", "learned / none", "defaults / none"]
    table[ratios] = table[ratios].astype(float)
    table.loc["geometric mean"] = table[ratios].apply(geometric_mean)
    title = "RMSE with smoothing by distance (no attention), learned, and chosen from a grid by the truth:"
    return Table("grid", title, table)


def _beside_grid(one: KnownSet) -> dict[str, float]:
    none, learned = one.error(lambda_c=0.0), one.error(attention=False)
    errors = {
        (lambda_c, alpha): one.error(lambda_c=lambda_c, alpha=alpha, attention=False)
        for lambda_c in STRENGTHS
        for alpha in DECAYS
    } | {(0.0, float("nan")): none}
    best = min(errors, key=lambda point: errors[point])
    return {
        "none": none,
        "learned": learned,
        "best of grid": errors[best],
        "its lambda_c": best[0],
        "its alpha": best[1],
        "learned / best": learned / errors[best],
        "learned / none": learned / none,
        "defaults / none": one.error() / none,
    }
