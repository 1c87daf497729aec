"""Inputs as people have them, from public reports: each is read, and gives the known truth.

They are not part of this repository, so they may be absent. The layouts themselves are written, and read, by
test_layouts_of_others.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.spatial import cKDTree

from napari_spotmix import ReadError, deconvolve, read_reference, read_spatial
from napari_spotmix.dataset.fixes import apply_fixes

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"
pytestmark = pytest.mark.skipif(not CASES.exists(), reason="there is no ../shared/cases")

#: Spatial data, reference, the fixes that `spotmix check` offers, and options.
READ: tuple[tuple[str, str, tuple[str, ...], dict[str, str]], ...] = (
    ("section.h5ad", "cells.h5ad", (), {}),
    ("r-row-names", "cells.h5ad", (), {}),
    ("r-row-names-in-obs/section.h5ad", "cells.h5ad", (), {}),
    ("cellxgene-beads.h5ad", "cells.h5ad", (), {}),
    ("cellxgene-whole-slide.h5ad", "cells.h5ad", ("reference:genes=gene_ids",), {}),
    ("section.h5ad", "cellxgene-cells.h5ad", ("reference:genes=feature_name", "reference:raw"), {}),
    ("geo-flat-h5", "cells.h5ad", (), {}),
    ("geo-h5-and-spatial", "cells.h5ad", (), {}),
    ("merscope-entity-id", "cells.h5ad", (), {}),
    ("xenium-bundle", "cells.h5ad", (), {}),
    ("cosmx-flat", "cells.h5ad", (), {}),
    ("curio-folder", "cells.h5ad", (), {}),
    (
        "seurat-without-coordinates.h5ad",
        "cells.h5ad",
        ("spatial:raw",),
        {"coordinates": "seurat-positions.csv"},
    ),
    ("section.h5ad", "reference-geo", (), {}),
    ("two-genomes", "cells.h5ad", ("spatial:genome=GRCh38",), {}),
    ("space-ranger-4", "cells.h5ad", (), {}),
)
#: Root mean square error of section.h5ad, and how much more is accepted.
RMSE, TOLERANCE = 0.0108, 0.002


def truth_at(adata: AnnData) -> pd.DataFrame:
    """Return the truth of each spot, by its coordinates: other layouts name spots in other ways."""
    section = read_spatial(CASES / "section.h5ad")
    truth = pd.read_csv(CASES / "truth.csv", index_col=0).loc[section.obs_names]
    distance, rows = cKDTree(section.obsm["spatial"]).query(adata.obsm["spatial"])
    assert distance.max() < 1, "coordinates are those of the section, to a pixel"
    return truth.iloc[rows].set_axis(adata.obs_names)


@pytest.mark.parametrize(("spatial", "reference", "fixes", "options"), READ)
def test_each_layout_gives_the_truth(
    spatial: str, reference: str, fixes: tuple[str, ...], options: dict[str, Any]
) -> None:
    spots = read_spatial(CASES / spatial, **{name: CASES / value for name, value in options.items()})
    spots, cells = apply_fixes(spots, read_reference(CASES / reference), fixes)
    found = deconvolve(spots, cells).proportions
    truth = truth_at(spots)
    assert len(found) == (140 if "whole-slide" in spatial else 196)
    error = float(np.sqrt(((found[truth.columns] - truth) ** 2).to_numpy().mean()))
    assert error < RMSE + TOLERANCE


def test_a_compressed_reference_must_be_unpacked() -> None:
    with pytest.raises(ReadError, match="Unpack it first"):
        read_reference(CASES / "reference-gz" / "cells.h5ad.gz")
