"""Small results of known numbers, with names that try to do something."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import csr_array
from scipy.spatial import KDTree

from napari_spotmix.result import Provenance, Result

#: What a file may call a cell type. None of it may do anything, all of it must be readable.
HOSTILE = (
    'T/NK "cells" <b>',
    "<script>document.title='hacked'</script>",
    '"><img src=x onerror="document.title=\'hacked\'">',
    "javascript:document.title='hacked'",
    "B\u202ellec",
    "{{ 7 * 7 }} & {% include 'style.css' %}",
    "MesenchymalStromalProgenitorWithAVeryLongNameAndNoSpaceAnywhereInIt" * 2,
)
PITCH = 100.0


def a_section(side: int = 12, *, image: bool = True, names: tuple[str, ...] = HOSTILE) -> Result:
    """Return a result on a square array; the first type rules the left, the second the right.

    The last spot was not estimated, and the first type is alone in the first spot.
    """
    row, column = np.divmod(np.arange(side * side), side)
    xy = PITCH * np.column_stack([column + 1.0, row + 1.0])
    index = pd.Index([f"spot {at}" for at in range(len(xy))])
    spatial = AnnData(np.ones((len(xy), 1), np.float32), obs=pd.DataFrame(index=index))
    spatial.obsm["spatial"] = xy
    pixels = np.full((14 * side, 14 * side, 3), (230, 190, 210), np.uint8)
    factors = {"tissue_hires_scalef": 14 / PITCH, "spot_diameter_fullres": 60.0, "microns_per_pixel": 1.0}
    library = {"images": {"hires": pixels} if image else {}, "scalefactors": factors}
    spatial.uns["spatial"] = {"made": library}
    shares = np.random.default_rng(0).uniform(0, 0.1, (len(xy), len(names)))
    shares[:, 0] += column < side // 2
    shares[:, 1] += column >= side // 2
    shares[0] = np.eye(len(names))[0]
    shares /= shares.sum(axis=1, keepdims=True)
    shares[-1] = np.nan
    reasons = pd.Series("", index)
    reasons.iloc[-1] = "no counts"
    edges = _neighbors(xy)
    table = pd.DataFrame(shares * 0.9, index=index, columns=list(names))
    return Result(
        table,
        pd.Series(np.arange(1.0, len(xy) + 1), index),
        reasons,
        table.iloc[:0].T,
        edges,
        edges,
        spatial,
        standard_errors=table * 0 + 0.05,
        provenance=Provenance.from_dict(
            {
                "given": {"normalize": True, "layer": "<i>counts</i>", "lambda_c": None},
                "learned": LEARNED,
                "versions": {"python": "3.11", "napari-spotmix": "0.1.0"},
                "summary": f"{len(xy)} spots, {len(names)} cell types.",
            }
        ),
        notes=("Type 'T <i>' has 3 cells.", "1 spot was left out: no counts."),
    )


LEARNED = {
    "n_genes_used": 5000,
    "lambda_c": 0.0641,
    "layout": "square",
    "evidence": {
        "none": {"loss": 14392.55, "gain": 0.0, "standard_error": 0.0},
        "ridge": {"loss": 14392.56, "gain": -0.0008, "standard_error": 0.0004},
        "attention": {"loss": 4359.29, "gain": 33.26, "standard_error": 3.78},
        "chosen": "attention",
        "reason": "Neighbors are weighted by distance and likeness: this predicted held-out genes best.",
    },
    "data_term": {"platform_effect": {"used": False, "gain": 2.0, "error": 3.0, "explained": 0.9}},
}


def _neighbors(xy: np.ndarray) -> csr_array:
    first, second = KDTree(xy).query_pairs(1.1 * PITCH, output_type="ndarray").T
    ends = np.concatenate([first, second]), np.concatenate([second, first])
    return csr_array((np.full(2 * len(first), 0.5), ends), shape=(len(xy), len(xy)))
