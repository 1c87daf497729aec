"""A result of known proportions on a square grid."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.sparse import csr_array

from napari_spotmix.model.graph import build_graph
from napari_spotmix.result import Provenance, Result

SIDE = 16
TYPES = ["T/NK", "B cell", "Stroma"]


@pytest.fixture
def result() -> Result:
    """Stroma fills the right third, T/NK cells the rest; spot 5 was not estimated."""
    rng = np.random.default_rng(0)
    xy = np.argwhere(np.ones((SIDE, SIDE)))[:, ::-1] * 100.0
    right = xy[:, 0] >= 1000
    centers = np.where(right[:, None], [1.0, 2.0, 7.0], [7.0, 2.0, 1.0])
    shares = np.array([rng.dirichlet(10 * center) for center in centers])
    shares[5] = np.nan
    names = pd.Index([f"s{number}" for number in range(len(xy))])
    weights = csr_array(build_graph(xy).squared_distance)
    weights.data[:] = 0.5
    attention = weights.copy()
    attention.data[:] = 1.0
    reasons = pd.Series("", index=names)
    reasons.iloc[5] = "no counts"
    spatial = AnnData(np.ones((len(xy), 2), np.float32), obsm={"spatial": xy})
    spatial.obs_names = names
    return Result(
        abundances=pd.DataFrame(shares, index=names, columns=TYPES),
        counts=pd.Series(100.0, index=names),
        reasons=reasons,
        signatures=pd.DataFrame(index=TYPES),
        weights=weights,
        attention=attention,
        spatial=spatial,
        provenance=Provenance(given={"normalize": True, "random_state": 3}),
    )
