"""Leave out the spots of an AnnData that are not under tissue, as for the folders of Space Ranger."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from napari_spotmix.base.keys import IN_TISSUE
from napari_spotmix.base.text import agreeing
from napari_spotmix.io.notes import add_notes
from napari_spotmix.io.on_disk import close_files, is_on_disk

__all__ = ["only_under_tissue"]


def only_under_tissue(adata: AnnData) -> AnnData:
    """Return the spots whose ``obs['in_tissue']`` is not 0, and note how many were left out.

    Whole-slide files, as of CELLxGENE, hold all spots of the array. If no spot is under tissue, the column
    says nothing, and all are kept. Counts on disk are read if spots are left out.
    """
    off = _off_tissue(adata)
    n_off = int(off.sum())
    if n_off == 0:
        return adata
    if n_off == adata.n_obs:
        add_notes(adata, [f"All spots were kept, although `obs[{IN_TISSUE!r}]` is 0 for all of them."])
        return adata
    was_on_disk = is_on_disk(adata.X)
    kept = adata[np.flatnonzero(~off)].to_memory()
    close_files(adata)
    are, were = agreeing(n_off, "are"), agreeing(n_off, "were")
    notes = [
        f"{n_off:,} of {adata.n_obs:,} spots {are} not under tissue (`obs[{IN_TISSUE!r}]` is 0) and {were} "
        "dropped."
    ]
    if was_on_disk:
        notes.append("The counts were read into memory: spots of their file were dropped.")
    add_notes(kept, notes)
    return kept


def _off_tissue(adata: AnnData) -> NDArray[np.bool_]:
    if IN_TISSUE not in adata.obs:
        return np.zeros(adata.n_obs, bool)
    given = adata.obs[IN_TISSUE]
    words = given.astype(str).str.strip().str.lower()  # bool, numbers, categories and text alike
    numbers = pd.to_numeric(words.replace({"false": "0", "true": "1"}), errors="coerce")
    return np.asarray(numbers.to_numpy(dtype=np.float64) == 0)
