"""Sets with known truth: what every table of accuracy.py is measured on."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from napari_spotmix import Parameters, Result, deconvolve, read_reference, read_spatial

#: Takes proportions and truth, returns metrics by name.
Score = Callable[[pd.DataFrame, pd.DataFrame], dict[str, float]]


def load_score(path: Path) -> Score:
    """Load the function `score` from a file that belongs to no package."""
    spec = importlib.util.spec_from_file_location("score", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    score: Score = module.score
    return score


@dataclass(frozen=True)
class KnownSet:
    """Spots and reference of one folder; what was measured once is not measured again."""

    folder: Path
    score: Score
    _errors: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.folder.name

    @cached_property
    def spatial(self) -> AnnData:
        return read_spatial(self.folder / "spatial.h5ad")

    @cached_property
    def reference(self) -> AnnData:
        return read_reference(self.folder / "reference.h5ad")

    @property
    def truth(self) -> pd.DataFrame:
        return self.spatial.obsm["truth"]

    def deconvolve(self, **options: Any) -> Result:
        """Deconvolve with the defaults but for `options`."""
        print(f"{self.name} {options or ''}", file=sys.stderr, flush=True)
        return deconvolve(self.spatial, self.reference, cell_type_key="cell_type", **options)

    def error(self, **options: Any) -> float:
        """Return the RMSE of the proportions with the defaults but for `options`."""
        # Not again where an option has its default.
        asked = repr(replace(Parameters(), **options))
        if asked not in self._errors:
            self._errors[asked] = self.score(self.deconvolve(**options).proportions, self.truth)["rmse"]
        return self._errors[asked]


def geometric_mean(values: Iterable[float]) -> float:
    """Return the geometric mean, of what is there."""
    return float(np.exp(np.nanmean(np.log(np.asarray(list(values), dtype=float)))))
