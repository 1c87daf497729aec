"""Numbers of an earlier version, which a change of structure must not move."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_spotmix import deconvolve, simulate

FROZEN = Path(__file__).parent / "frozen" / "simulated_proportions.csv"
#: What the frozen bytes were computed with; elsewhere the last bits may differ.
MADE_WITH = {"numba": "0.68.1", "numpy": "2.4.6", "scipy": "1.17.1"}
MADE_ON = "emeraldrapids"


@pytest.fixture(scope="module")
def proportions() -> pd.DataFrame:
    tissue = simulate(n_spots=400, n_genes=500, n_cell_types=6, random_state=0)
    return deconvolve(tissue.spatial, tissue.reference).proportions


def test_proportions_of_simulated_tissue_are_those_of_the_earlier_version(proportions: pd.DataFrame) -> None:
    frozen = pd.read_csv(FROZEN, index_col=0)
    pd.testing.assert_frame_equal(proportions, frozen, rtol=0, atol=1e-6, check_names=False)


def test_their_bytes_are_the_same_where_the_same_libraries_and_processor_compute_them(
    proportions: pd.DataFrame, tmp_path: Path
) -> None:
    from llvmlite import binding

    here = {name: version(name) for name in MADE_WITH}, binding.get_host_cpu_name()
    if here != (MADE_WITH, MADE_ON):
        pytest.skip(f"the frozen bytes were made with {MADE_WITH} on {MADE_ON}")
    proportions.to_csv(tmp_path / "proportions.csv")
    digests = [
        hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / "proportions.csv", FROZEN)
    ]
    assert digests[0] == digests[1]
    assert np.isfinite(proportions.to_numpy()).all()
