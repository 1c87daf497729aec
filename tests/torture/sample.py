"""A small section and its reference, for commands that are run often."""

from __future__ import annotations

from pathlib import Path

from napari_spotmix.simulation.simulate import simulate

__all__ = ["FAST", "write_sample"]

#: Options of a run that takes a moment.
FAST = ("--lambda-c", "0.1", "--n-outer-iterations", "0", "--threads", "1")


def write_sample(folder: Path) -> Path:
    """Write ``spots.h5ad`` and ``cells.h5ad`` and return their folder."""
    tissue = simulate(
        n_spots=60, n_genes=80, n_cell_types=3, n_cells_per_type=20, image=False, random_state=1
    )
    tissue.spatial.write_h5ad(folder / "spots.h5ad")
    tissue.reference.write_h5ad(folder / "cells.h5ad")
    return folder
