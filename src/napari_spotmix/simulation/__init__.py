"""Simulated tissue of known truth."""

from __future__ import annotations

from napari_spotmix.simulation.simulate import SimulatedTissue, simulate

__all__ = ["SimulatedTissue", "simulate"]
