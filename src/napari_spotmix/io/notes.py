"""Notes for the user about how data were read, stored with the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from napari_spotmix.base.keys import NOTES
from napari_spotmix.base.text import shortened

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["NOTES", "add_notes", "reading_notes"]


def add_notes(adata: AnnData, notes: Sequence[str]) -> None:
    """Append sentences to ``adata.uns["spotmix_notes"]``, in place."""
    if notes:
        adata.uns[NOTES] = [*reading_notes(adata), *map(shortened, notes)]


def reading_notes(adata: AnnData) -> tuple[str, ...]:
    """Return the notes on how `adata` was read: a missing image, dropped features.

    Examples
    --------
    >>> from anndata import AnnData
    >>> adata = AnnData(uns={"spotmix_notes": ["No image was found."]}, shape=(1, 1))
    >>> reading_notes(adata)
    ('No image was found.',)
    """
    return tuple(str(note) for note in np.atleast_1d(np.asarray(adata.uns.get(NOTES, []), dtype=object)))
