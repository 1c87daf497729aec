"""Time and memory of a run, from the size of its input: a small model, fitted to measured runs.

The runs, the fit and its error: ``benchmarks/cost.py``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from anndata import AnnData
from anndata.abc import CSCDataset, CSRDataset

from napari_spotmix.io.on_disk import size_of_file
from napari_spotmix.params import LARGE_FILE

__all__ = ["LARGEST", "WITHIN", "Size", "machine_megabytes", "needed"]

#: Seconds and megabytes for one unit of what `Size.seconds` and `Size.megabytes` list.
_SECONDS = (5.30, 0.046, 3.31, 10.7, 0.803)
_MEGABYTES = (396.0, 2.27, 5.84, 21.2)
#: Learning takes no longer for more spots than about this many.
_LEARNS_FROM = 10_000
#: Spots of the largest run that the model was fitted to.
LARGEST = 1_000_000
#: The estimate of most runs that the model was not fitted to is within this factor.
WITHIN = 1.5


class Size(NamedTuple):
    """How large an input is.

    Attributes
    ----------
    n_spots, n_types : int
    spot_entries, cell_entries : int
        Counts that are stored, of spots and of reference cells.
    spot_bytes, cell_bytes : int
        Their memory; 0 for spots in a file so large that a run reads it in blocks.
    """

    n_spots: int
    n_types: int
    spot_entries: int
    cell_entries: int
    spot_bytes: int
    cell_bytes: int

    @classmethod
    def of(cls, spatial: AnnData, reference: AnnData, n_types: int) -> Size:
        """Measure data, without reading what is on disk."""
        spots, cells = _stored(spatial.X), _stored(reference.X)
        is_left = size_of_file(spatial.X) > LARGE_FILE
        return cls(spatial.n_obs, n_types, spots[0], cells[0], 0 if is_left else spots[1], cells[1])

    @property
    def seconds(self) -> list[float]:
        """The terms of the time: a constant, and millions of entries or of pairs of spot and type."""
        learned_from = min(self.n_spots, _LEARNS_FROM)
        return [
            1.0,
            self.spot_entries / 1e6,
            self.n_spots * self.n_types / 1e6,
            learned_from * self.n_types / 1e6,
            self.cell_entries / 1e6,
        ]

    @property
    def megabytes(self) -> list[float]:
        """The terms of the memory: a constant, the counts, and what is kept for each spot and type."""
        return [
            1.0,
            self.spot_bytes / 2**20,
            self.cell_bytes / 2**20,
            8 * self.n_spots * self.n_types / 2**20,
        ]


def _stored(matrix: Any) -> tuple[int, int]:
    """Return how many values a matrix stores, and in how many bytes with their indices."""
    if isinstance(matrix, (CSRDataset, CSCDataset)):
        data = matrix.group["data"]
        return len(data), len(data) * (data.dtype.itemsize + matrix.group["indices"].dtype.itemsize)
    if hasattr(matrix, "indptr"):
        return len(matrix.data), matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes
    n_values = int(np.prod(matrix.shape))
    return n_values, n_values * matrix.dtype.itemsize


def needed(size: Size) -> tuple[float, float]:
    """Return about how many seconds and megabytes a whole run takes with default settings.

    Examples
    --------
    >>> seconds, megabytes = needed(Size(1000, 10, 10**6, 10**6, 8 * 10**6, 8 * 10**6))
    >>> seconds < 60, megabytes < 1000
    (True, True)
    """
    return float(np.dot(_SECONDS, size.seconds)), float(np.dot(_MEGABYTES, size.megabytes))


def machine_megabytes() -> float:
    """Return the memory of this machine, in MB."""
    import psutil

    return float(psutil.virtual_memory().total) / 2**20
