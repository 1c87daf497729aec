"""Simulated tissue of known truth."""

from __future__ import annotations

from napari_spotmix.simulation.simulate import LIBRARY, SimulatedTissue, simulate

__all__ = ["LIBRARY", "SimulatedTissue", "simulate"]
