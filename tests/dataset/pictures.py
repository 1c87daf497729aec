"""A section whose outline cannot be taken for its mirror image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["lay_on_picture"]

SIDES = (300, 240)


def lay_on_picture(spots: AnnData) -> None:
    """Put spots on a piece of tissue like the letter F, and its picture under them."""
    rows, columns = np.mgrid[15 : SIDES[0] - 15 : 12, 15 : SIDES[1] - 60 : 12].reshape(2, -1)
    on_tissue = (columns < 60) | (rows < 70) | ((rows > 120) & (rows < 160) & (columns < 120))
    cells = np.flatnonzero(on_tissue)
    cells = cells[np.linspace(0, len(cells) - 1, spots.n_obs).round().astype(int)]
    picture = np.full((*SIDES, 3), 244, np.uint8)
    for row, column in zip(rows[on_tissue], columns[on_tissue], strict=True):
        picture[row - 6 : row + 6, column - 6 : column + 6] = (200, 90, 160)
    # As the coordinates are in full-resolution pixels, of which the picture has one in four.
    spots.obsm["spatial"] = 4.0 * np.column_stack([columns[cells], rows[cells]])
    factors = {"tissue_lowres_scalef": 0.25, "spot_diameter_fullres": 40.0}
    spots.uns["spatial"] = {"F": {"images": {"lowres": picture}, "scalefactors": factors}}
