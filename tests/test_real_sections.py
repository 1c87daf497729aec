"""Real sections and sets with known truth; they are not part of this repository, so they may be absent."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_spotmix import Result, deconvolve, read_reference, read_spatial
from napari_spotmix.base.threads import Threads
from napari_spotmix.model.objective import violation
from napari_spotmix.model.refit import RefitProblem
from napari_spotmix.model.solver.solve import solve

SHARED = Path(__file__).resolve().parents[2] / "shared"
DEMO, BENCH = SHARED / "data" / "demo", SHARED / "data" / "bench"
MUSCLE, PANCREAS = DEMO / "mouse_muscle_injury_visium", DEMO / "pdac_st_moncada"
SCORE = SHARED / "tools" / "score.py"


def needs(*paths: Path) -> pytest.MarkDecorator:
    missing = [str(path.relative_to(SHARED.parent)) for path in paths if not path.exists()]
    return pytest.mark.skipif(bool(missing), reason=f"there is no ../{', ../'.join(missing)}")


@pytest.fixture(scope="module")
def muscle() -> Result:
    spatial, reference = read_spatial(MUSCLE / "outs"), read_reference(MUSCLE / "reference.h5ad")
    return deconvolve(spatial, reference, cell_type_key="cell_type")


def muscle_share(result: Result) -> np.ndarray:
    """Share of four genes of the contracting fiber in each spot's counts."""
    spatial = result.spatial
    fiber = spatial.var_names.isin(["Acta1", "Ckm", "Myh4", "Tnnc2"])
    counts = np.asarray(spatial.X.sum(axis=1)).ravel()
    return np.asarray(spatial.X[:, fiber].sum(axis=1)).ravel() / np.maximum(counts, 1)


@needs(MUSCLE)
def test_intact_muscle_is_myofiber(muscle: Result) -> None:
    share = muscle_share(muscle)
    intact = share >= np.quantile(share, 0.7)
    assert muscle.proportions["Myofibre"][intact].mean() >= 0.8


@needs(MUSCLE)
def test_the_reference_explains_the_muscle_section(muscle: Result) -> None:
    assert 0.87 <= muscle.abundances.sum(axis=1).mean() <= 1.15


@needs(MUSCLE)
def test_platform_factors_that_would_stand_in_for_muscle_are_refused(muscle: Result) -> None:
    evidence = muscle.parameters["learned"]["data_term"]["platform_effect"]
    assert evidence["explained"] < 1 / 1.15
    assert not evidence["used"]
    assert not muscle.parameters["learned"]["platform_effect"]


@needs(MUSCLE)
def test_macrophages_are_in_the_injury(muscle: Result) -> None:
    share = muscle_share(muscle)
    intact = share >= np.quantile(share, 0.7)
    macrophages = muscle.proportions[[name for name in muscle.cell_types if "acrophage" in name]].sum(axis=1)
    assert macrophages[~intact].mean() > 5 * macrophages[intact].mean()
    assert macrophages[~intact].mean() > 0.1


@needs(MUSCLE)
def test_the_muscle_section_is_hexagonal_and_complete(muscle: Result) -> None:
    assert muscle.parameters["learned"]["layout"] == "hexagonal"
    assert muscle.proportions.shape == (982, 17)
    assert np.diff(muscle.weights.indptr).max() == 6
    np.testing.assert_allclose(muscle.proportions.sum(axis=1), 1)


@needs(PANCREAS)
def test_a_reference_with_few_cells_runs_and_says_so() -> None:
    spatial, reference = read_spatial(PANCREAS / "spatial.h5ad"), read_reference(PANCREAS / "reference.h5ad")
    result = deconvolve(spatial, reference, cell_type_key="cell_type")
    assert result.proportions.shape == (428, 20)
    np.testing.assert_allclose(result.proportions.sum(axis=1), 1)
    few = reference.obs["cell_type"].value_counts()
    rare = few[(few > 0) & (few < 10)]
    note = next(note for note in result.notes if "fewer than 10 reference cells" in note)
    assert len(rare) > 0
    assert all(f"{name} ({n})" in note for name, n in rare.items())
    assert result.parameters["learned"]["layout"] == "square"


@pytest.fixture(scope="module")
def embryo_bins() -> RefitProblem:
    """26,318 bins smaller than a cell, in 661 pieces, with the attention that was learned on them."""
    folder = BENCH / "hd_seqfish_embryo"
    spatial, reference = read_spatial(folder / "spatial.h5ad"), read_reference(folder / "reference.h5ad")
    problem = deconvolve(spatial, reference, cell_type_key="cell_type").problem
    assert problem is not None
    return problem


@needs(BENCH)
@pytest.mark.parametrize("lambda_c", [1e-4, 1e-2, 1.0, 10.0, 100.0, 1e3])
def test_fewer_than_sixty_sweeps_over_real_bins_for_any_smoothing(
    embryo_bins: RefitProblem, lambda_c: float
) -> None:
    with Threads.of(0) as threads:
        cold = solve(
            embryo_bins.statistics,
            embryo_bins.weights,
            lambda_r=embryo_bins.lambda_r,
            lambda_c=lambda_c,
            tolerance=1e-4,
            threads=threads,
        )
        near = replace(embryo_bins, lambda_c=1.1 * lambda_c, abundances=cold.abundances)
        _, warm = near.solved(tolerance=1e-4, max_sweeps=1000, threads=threads)
    assert cold.n_sweeps < 60
    assert warm.n_sweeps < 60
    left = violation(cold.abundances, embryo_bins.statistics, embryo_bins.weights, near.lambda_r, lambda_c)
    assert left <= 1.001e-4 * cold.abundances.max()


def load_score() -> Callable[[pd.DataFrame, pd.DataFrame], dict[str, float]]:
    spec = importlib.util.spec_from_file_location("score", SCORE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.score


@needs(BENCH, SCORE)
@pytest.mark.parametrize(
    ("name", "largest"),
    [
        ("starmap_v1", 0.101),
        ("seqfish_embryo", 0.077),
        ("merfish_mpoa_bins", 0.092),
        ("peer_sdeper_starmap", 0.090),
        ("mix_9cell_dropseqref", 0.148),
        ("synth_pancreas_islets", 0.062),
        ("synth_nospatial_celllines", 0.068),
    ],
)
def test_the_error_against_a_known_truth_stays_small(name: str, largest: float) -> None:
    spatial = read_spatial(BENCH / name / "spatial.h5ad")
    reference = read_reference(BENCH / name / "reference.h5ad")
    result = deconvolve(spatial, reference, cell_type_key="cell_type")
    assert load_score()(result.proportions, spatial.obsm["truth"])["rmse"] <= largest
